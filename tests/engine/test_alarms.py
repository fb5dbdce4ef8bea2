"""Resource alarms: set, cleared, and named in RabbitMQ's words."""

from __future__ import annotations

from harebell.engine.alarms import DISK, MEMORY, Alarms


def test_alarms_are_set_and_cleared_one_by_one() -> None:
    alarms = Alarms()
    assert not alarms.active
    assert alarms.update(MEMORY, True)
    assert not alarms.update(MEMORY, True)
    assert (alarms.active, alarms.reason) == (True, "low on memory")
    assert alarms.update(DISK, True)
    assert alarms.reason == "low on memory & disk"
    assert alarms.update(MEMORY, False)
    assert alarms.reason == "low on disk"
    assert not alarms.update(MEMORY, False)
    assert alarms.update(DISK, False)
    assert not alarms.active
