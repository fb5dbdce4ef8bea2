"""The figures of a run, as numbers, as JSON and as a table."""

import platform
from dataclasses import dataclass, field

from harebell.perf import inbound
from harebell.perf.histogram import Histogram
from harebell.perf.options import Options, ack_text
from harebell.perf.scenarios import SCENARIOS

PERCENTILES = (("p50", 50_000), ("p95", 95_000), ("p99", 99_000), ("p99.9", 99_900))


@dataclass(frozen=True)
class Direction:
    """How many messages in how many seconds."""

    count: int
    seconds: float

    @property
    def rate(self) -> float:
        """Messages per second, 0 when no time passed."""
        return self.count / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class Summary:
    """The result of a run.

    ``ended`` is one of duration, count, quiet, interrupted and failed. Latencies are in nanoseconds,
    ``processor_share`` is how much of one core the load generator used.
    """

    options: Options
    ended: str
    seconds: float
    published: Direction
    received: Direction
    confirmed: Direction
    nacked: int
    returned: int
    received_octets: int
    times_blocked: int
    to_receive: Histogram
    to_confirm: Histogram
    processor_share: float = 0.0
    out_of_order: int = 0
    notes: list[str] = field(default_factory=list)


def is_compiled() -> bool:
    """Tell whether the hot modules run as machine code."""
    return not inbound.__file__.endswith(".py")


def latency_us(histogram: Histogram) -> dict[str, float] | None:
    """Return minimum, mean, percentiles and maximum in microseconds, None when nothing was measured."""
    if histogram.count == 0:
        return None
    figures = {"min": histogram.minimum / 1000, "mean": round(histogram.mean() / 1000, 1)}
    for name, rank in PERCENTILES:
        figures[name] = histogram.percentile(rank) / 1000
    figures["max"] = histogram.maximum / 1000
    return {name: round(value, 1) for name, value in figures.items()}


def as_json(summary: Summary) -> dict[str, object]:
    """Return the summary for ``json.dumps``; keys are stable, the password is not among them."""
    options = summary.options
    return {
        "ended": summary.ended,
        "seconds": round(summary.seconds, 3),
        "published": summary.published.count,
        "received": summary.received.count,
        "confirmed": summary.confirmed.count,
        "nacked": summary.nacked,
        "returned": summary.returned,
        "out_of_order": summary.out_of_order,
        "received_octets": summary.received_octets,
        "published_per_s": round(summary.published.rate, 1),
        "received_per_s": round(summary.received.rate, 1),
        "confirmed_per_s": round(summary.confirmed.rate, 1),
        "latency_us": {
            "publish_to_receive": latency_us(summary.to_receive),
            "publish_to_confirm": latency_us(summary.to_confirm),
        },
        "times_blocked": summary.times_blocked,
        "notes": summary.notes,
        "options": {
            "url": str(options.url),
            "vhost": options.url.vhost,
            "publishers": options.publishers,
            "consumers": options.consumers,
            "queues": options.queues,
            "type": options.exchange_type,
            "size": options.size,
            "persistent": options.persistent,
            "durable": options.durable,
            "confirm": options.confirm,
            "ack": ack_text(options.ack_every),
            "prefetch": options.prefetch,
            "rate": options.rate,
            "in_flight": options.in_flight,
            "ordered": options.ordered,
            "priority": options.priority,
            "expiration": options.expiration,
            "dead_letters": options.dead_letters,
            "warmup": options.warmup,
        },
        "generator": {
            "python": platform.python_version(),
            "compiled": is_compiled(),
            "cpu": round(summary.processor_share, 3),
        },
    }


def as_text(summary: Summary) -> str:
    """Return the summary as a table of at most 100 columns."""
    options = summary.options
    lines = [_what_ran(summary), ""]
    lines.append(f"{'':<12}{'messages':>14}{'messages/s':>14}{'MiB/s':>10}")
    per_message = summary.received_octets / summary.received.count if summary.received.count else 0
    rows = (
        ("published", summary.published, options.size, options.publishers > 0),
        ("received", summary.received, per_message, options.consumers > 0),
        ("confirmed", summary.confirmed, None, options.confirm > 0),
    )
    for name, direction, octets, wanted in rows:
        if wanted:
            volume = "" if octets is None else f"{direction.rate * octets / 2**20:,.1f}"
            lines.append(f"{name:<12}{direction.count:>14,}{direction.rate:>14,.0f}{volume:>10}".rstrip())
    for name, count, wanted in (
        ("nacked", summary.nacked, options.confirm > 0),
        ("returned", summary.returned, options.mandatory or summary.returned > 0),
        ("disordered", summary.out_of_order, options.ordered and options.consumers > 0),
        ("blocked", summary.times_blocked, summary.times_blocked > 0),
    ):
        if wanted:
            lines.append(f"{name:<12}{count:>14,}")
    lines.extend(_latency_lines(summary))
    lines.extend(f"note: {note}" for note in summary.notes)
    return "\n".join(lines)


def _what_ran(summary: Summary) -> str:
    options = summary.options
    parts = [
        f"{options.publishers} publisher{'s' if options.publishers != 1 else ''}",
        f"{options.consumers} consumer{'s' if options.consumers != 1 else ''}",
        f"{options.queues} queue{'s' if options.queues != 1 else ''}",
        f"{options.size:,} octets",
        f"ack {ack_text(options.ack_every)}",
    ]
    if options.prefetch:
        parts.append(f"prefetch {options.prefetch}")
    if options.confirm:
        parts.append(f"confirm {options.confirm}")
    if options.in_flight:
        parts.append(f"in flight {options.in_flight:,}")
    for name, among in (("priority", options.priority), ("expiration", options.expiration)):
        if among is not None:
            parts.append(f"{name} {among[0]}-{among[1]}")
    if options.dead_letters is not None:
        parts.append(f"dead letters, {options.dead_letters}")
    if options.persistent:
        parts.append("persistent")
    return f"{', '.join(parts)}; {summary.seconds:.2f} s, {summary.ended}"


def _latency_lines(summary: Summary) -> list[str]:
    rows = [
        (name, figures)
        for name, figures in (
            ("publish to receive", latency_us(summary.to_receive)),
            ("publish to confirm", latency_us(summary.to_confirm)),
        )
        if figures is not None
    ]
    if not rows:
        return []
    heads = [name for name in rows[0][1] if name != "mean"]
    lines = ["", f"{'latency, µs':<20}" + "".join(f"{head:>11}" for head in heads)]
    for name, figures in rows:
        lines.append(f"{name:<20}" + "".join(f"{figures[head]:>11,.0f}" for head in heads))
    return lines


def scenario_help() -> str:
    """Return one line per scenario for ``--help``."""
    width = max(len(scenario.name) for scenario in SCENARIOS)
    return "\n".join(f"  {scenario.name:<{width}}  {scenario.summary}" for scenario in SCENARIOS)
