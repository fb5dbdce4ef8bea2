import json

from harebell.perf.histogram import Histogram
from harebell.perf.options import Options
from harebell.perf.summary import Direction, Summary, as_json, as_text, latency_us
from harebell.perf.url import BrokerURL


def histogram(*values: int) -> Histogram:
    filled = Histogram()
    for value in values:
        filled.record(value, 1)
    return filled


def summary(options: Options, to_confirm: Histogram | None = None) -> Summary:
    return Summary(
        options=options,
        ended="duration",
        seconds=2.0,
        published=Direction(3_000_000, 2.0),
        received=Direction(2_000_000, 2.0),
        confirmed=Direction(1_000_000 if options.confirm else 0, 2.0),
        nacked=7 if options.confirm else 0,
        returned=0,
        received_octets=200_000_000,
        times_blocked=0,
        to_receive=histogram(*range(1_000, 101_000, 1_000)),
        to_confirm=to_confirm or Histogram(),
        notes=["a note"],
    )


def test_rates_are_messages_over_seconds() -> None:
    assert Direction(10, 2.0).rate == 5.0
    assert Direction(10, 0.0).rate == 0.0


def test_the_table_shows_rates_volume_latency_and_notes() -> None:
    assert as_text(summary(Options())).splitlines() == [
        "1 publisher, 1 consumer, 1 queue, 100 octets, ack auto; 2.00 s, duration",
        "",
        "                  messages    messages/s     MiB/s",
        "published        3,000,000     1,500,000     143.1",
        "received         2,000,000     1,000,000      95.4",
        "",
        "latency, µs                 min        p50        p95        p99      p99.9        max",
        "publish to receive            1         50         95         99        100        100",
        "note: a note",
    ]


def test_the_table_shows_confirms_only_where_they_were_asked_for() -> None:
    text = as_text(summary(Options(confirm=50, ack_every=5, prefetch=9, persistent=True), histogram(5_000)))
    assert "confirm 50" in text
    assert "prefetch 9" in text
    assert "persistent" in text
    assert [line.split()[0] for line in text.splitlines() if line.startswith(("conf", "nack"))] == [
        "confirmed",
        "nacked",
    ]
    assert "publish to confirm" in text
    assert "confirm" not in as_text(summary(Options()))


def test_the_json_holds_the_figures_and_no_password() -> None:
    url = BrokerURL("h", 1, "user", "secret", "v")
    text = json.dumps(as_json(summary(Options(url=url, confirm=5))))
    figures = json.loads(text)
    assert "secret" not in text
    assert figures["published_per_s"] == 1_500_000
    assert figures["received_per_s"] == 1_000_000
    assert figures["confirmed_per_s"] == 500_000
    assert figures["nacked"] == 7
    assert figures["out_of_order"] == 0
    assert figures["latency_us"]["publish_to_confirm"] is None
    receive = figures["latency_us"]["publish_to_receive"]
    assert list(receive) == ["min", "mean", "p50", "p95", "p99", "p99.9", "max"]
    assert (receive["min"], receive["mean"], receive["max"]) == (1, 50.5, 100)


def test_latency_of_nothing_is_none() -> None:
    assert latency_us(Histogram()) is None
