"""Whether everything adds up, and the closing table."""

from __future__ import annotations

from dataclasses import dataclass, field

from examples.order_processing.orders import KINDS, Order, event_id
from examples.order_processing.service import Ledger
from examples.order_processing.topology import DELIVERY_LIMIT

WORK_KINDS = {"payment": "placed", "restaurant": "paid", "delivery": "cooked"}
READERS = ("notification", "analytics")
TRIES_OF_POISON = DELIVERY_LIMIT + 1


@dataclass
class Outcome:
    """What came of a day.

    Attributes:
        orders: that were placed.
        repeats: events in the stream that say again what an earlier one says.
        ledgers: by service.
        charged_cents: what payment charged.
        revenue_cents: what analytics added up.
        notified: offsets of the events notification got, before and after it was down.
        replayed: offsets of the events analytics got.
        alarms: dead letters that were heard of.
        redriven: dead letters that were sent back.
        left: messages left in work queues and among the dead letters, by queue.
    """

    orders: tuple[Order, ...]
    repeats: int
    ledgers: dict[str, Ledger]
    charged_cents: int = 0
    revenue_cents: int = 0
    notified: list[int] = field(default_factory=list)
    replayed: list[int] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    redriven: list[str] = field(default_factory=list)
    left: dict[str, int] = field(default_factory=dict)

    @property
    def events(self) -> int:
        """How many events the stream holds."""
        return len(self.orders) * len(KINDS) + self.repeats


def discrepancies(outcome: Outcome) -> list[str]:
    """Say what does not add up; empty if all does."""
    found = []

    def expect(what: str, wanted: object, got: object) -> None:
        if wanted != got:
            found.append(f"{what}: expected {wanted}, got {got}")

    for name, kind in WORK_KINDS.items():
        expect(f"{name} did", {event_id(kind, order) for order in outcome.orders}, outcome.ledgers[name].done)
    every = {event_id(kind, order) for order in outcome.orders for kind in KINDS}
    for name in READERS:
        expect(f"{name} did", every, outcome.ledgers[name].done)
    repeats = {"payment": 1, "restaurant": 0, "delivery": 1, **dict.fromkeys(READERS, outcome.repeats)}
    for name, ledger in outcome.ledgers.items():
        expect(f"duplicates {name} recognised", repeats[name], ledger.duplicates)
        failures = TRIES_OF_POISON if name == "restaurant" else 0
        expect(f"failures of {name}", failures, ledger.failures)
        expect(f"deliveries to {name}", len(ledger.done) + repeats[name] + failures, ledger.received)
    expect("cents charged", sum(order.cents for order in outcome.orders), outcome.charged_cents)
    expect("cents of revenue", outcome.charged_cents, outcome.revenue_cents)
    expect("events notification got", list(range(outcome.events)), outcome.notified)
    expect("events analytics replayed", list(range(outcome.events)), outcome.replayed)
    expect("dead letters", 1, len(outcome.alarms))
    expect("dead letters sent back", outcome.alarms, outcome.redriven)
    expect("messages left", dict.fromkeys(outcome.left, 0), outcome.left)
    return found


def table(outcome: Outcome) -> str:
    """Draw the closing table."""
    rows = [["service", "deliveries", "done", "duplicates", "failed"]]
    for name, ledger in outcome.ledgers.items():
        counts = (ledger.received, len(ledger.done), ledger.duplicates, ledger.failures)
        rows.append([name, *(str(count) for count in counts)])
    lines = [f"{name:<14}" + "".join(f"{cell:>12}" for cell in cells) for name, *cells in rows]
    lines.insert(1, "─" * len(lines[0]))
    lines.append("")
    lines.append(f"{'orders':<14}{len(outcome.orders):>12}")
    lines.append(f"{'events':<14}{outcome.events:>12}")
    lines.append(f"{'dead letters':<14}{len(outcome.alarms):>12}")
    lines.append(f"{'redriven':<14}{len(outcome.redriven):>12}")
    return "\n".join(lines)
