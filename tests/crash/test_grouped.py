"""What the ledger of groups in the crash test says of messages that a kill may take."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.crash.grouped import GroupsBroken, GroupsLedger
from tests.crash.workers import Delivery

LAST, NEXT = 1453, 1477
"""Messages of one key in one queue, one after the other."""


def life(ledger: GroupsLedger, number: int, first: int, confirmed: int, sent: int) -> None:
    """Have the broker deliver one message, and be killed."""
    worker: Any = SimpleNamespace(name="groups.quorum-0", queue="groups.quorum", deliveries=[], broken="")
    trickle: Any = SimpleNamespace(name="t", first=first, confirmed=confirmed, sent=sent, broken="")
    worker.join = trickle.join = lambda seconds: None
    worker.deliveries.append(Delivery(worker, number, 1, False, 0))
    ledger._workers = [worker]
    ledger._trickle = trickle
    ledger.finish()


def test_a_kill_may_take_what_was_delivered_and_not_confirmed() -> None:
    ledger = GroupsLedger(1)
    life(ledger, LAST, 1441, 1448, 1456)
    life(ledger, NEXT, 1457, 1480, 1480)


def test_what_was_confirmed_must_come_before_the_next_of_its_key() -> None:
    ledger = GroupsLedger(1)
    life(ledger, LAST, 1441, 1456, 1456)
    with pytest.raises(GroupsBroken, match=f"before {LAST}"):
        life(ledger, NEXT, 1457, 1480, 1480)
