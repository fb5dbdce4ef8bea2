"""The standard scenarios: named sets of options, so that figures from two machines mean the same."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    """A name, one line of help, and the options it sets (names as on the command line, without dashes)."""

    name: str
    summary: str
    settings: dict[str, str | int | bool]


SCENARIOS = (
    Scenario("auto-ack", "1 publisher, 1 consumer, 100 octets, automatic acknowledgement", {}),
    Scenario(
        "ack-each",
        "the same, an ack for each, prefetch 100, at most 10,000 messages in flight",
        {"ack": "each", "prefetch": 100, "in_flight": 10_000},
    ),
    Scenario(
        "ack-multiple",
        "the same, one ack for every 50 deliveries",
        {"ack": "multiple:50", "prefetch": 100, "in_flight": 10_000},
    ),
    Scenario(
        "fanout5",
        "1 publisher, a fanout exchange, 5 queues with a consumer each",
        {"type": "fanout", "queues": 5, "consumers": 5},
    ),
    Scenario("1k", "auto-ack with 1,024 octets", {"size": 1024}),
    Scenario("latency", "auto-ack at 5,000 messages a second: look at the percentiles", {"rate": 5000}),
    Scenario(
        "confirm",
        "ack-each with confirms, at most 256 outstanding",
        {"confirm": 256, "ack": "each", "prefetch": 100, "in_flight": 10_000},
    ),
    Scenario(
        "persistent",
        "the same, persistent messages and a durable queue",
        {
            "persistent": True,
            "durable": True,
            "confirm": 256,
            "ack": "each",
            "prefetch": 100,
            "in_flight": 10_000,
        },
    ),
    Scenario(
        "persistent-multiple",
        "persistent, at most 2,048 unconfirmed, one ack for every 50 deliveries",
        {
            "persistent": True,
            "durable": True,
            "confirm": 2048,
            "ack": "multiple:50",
            "prefetch": 100,
            "in_flight": 10_000,
        },
    ),
    Scenario(
        "persistent-single",
        "persistent, each confirmed before the next is published, no consumer",
        {"persistent": True, "durable": True, "confirm": 1, "consumers": 0},
    ),
)

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
