"""Which queues are looked at, and when; a queue says it itself."""

from __future__ import annotations

from harebell.engine.deadlines import NEVER
from harebell.engine.expiry import FORGOTTEN_KEPT, Expiry
from harebell.engine.queues.queue import Queue
from harebell.ports import Clock


class Timed(Queue):
    """A queue that wants to be looked at when the test says."""

    def __init__(self, name: str) -> None:
        super().__init__(1, name, "classic", True, 0, False, {})
        self.looked_at: list[int] = []
        self.later: int = NEVER
        self.clock: Clock | None = None

    def expire_messages(self) -> int:
        assert self.clock is not None
        self.looked_at.append(int(self.clock.wall))
        later, self.later = self.later, int(NEVER)
        return later


class Rig:
    """An expiry with a clock and some queues."""

    def __init__(self, *names: str) -> None:
        self.clock = Clock()
        self.expiry = Expiry(self.clock)
        self.queues = [Timed(name) for name in names]
        for queue in self.queues:
            queue.clock = self.clock

    def run(self, at: int) -> None:
        self.clock.wall = at
        self.expiry.run()


def test_a_queue_is_looked_at_once_its_time_has_come() -> None:
    rig = Rig("a", "b")
    a, b = rig.queues
    rig.expiry.wake(a, 100)
    rig.expiry.wake(b, 50)
    assert rig.expiry.next == 50
    rig.run(49)
    assert (a.looked_at, b.looked_at) == ([], [])
    rig.run(60)
    assert (a.looked_at, b.looked_at) == ([], [60])
    assert rig.expiry.next == 100
    rig.run(100)
    assert a.looked_at == [100]
    assert rig.expiry.next == NEVER


def test_an_earlier_time_replaces_a_later_one_and_not_the_other_way_round() -> None:
    rig = Rig("a")
    (a,) = rig.queues
    rig.expiry.wake(a, 100)
    rig.expiry.wake(a, 200)
    rig.expiry.wake(a, 50)
    rig.run(50)
    rig.run(300)
    assert a.looked_at == [50]


def test_a_queue_that_asks_again_is_looked_at_again() -> None:
    rig = Rig("a")
    (a,) = rig.queues
    rig.expiry.wake(a, 100)
    rig.expiry.wake(a, 50)
    a.later = 100
    rig.run(50)
    assert rig.expiry.next == 100
    rig.run(100)
    assert a.looked_at == [50, 100], "once for each time it asked for, although 100 is listed twice"


def test_one_that_wants_to_go_on_at_once_does_not_keep_the_others_waiting() -> None:
    rig = Rig("a", "b")
    a, b = rig.queues
    rig.expiry.wake(a, 10)
    rig.expiry.wake(b, 10)
    a.later = 10
    rig.run(10)
    assert (a.looked_at, b.looked_at) == ([10], [10])
    assert rig.expiry.next == 10


def test_a_deleted_queue_is_not_looked_at() -> None:
    rig = Rig("a")
    (a,) = rig.queues
    rig.expiry.wake(a, 10)
    a.deleted = True
    rig.expiry.forget(a)
    rig.run(10)
    assert a.looked_at == []
    assert rig.expiry.next == NEVER


def test_deleted_queues_do_not_gather_until_their_time_comes() -> None:
    rig = Rig("kept")
    rig.expiry.wake(rig.queues[0], 1000)
    for number in range(10 * FORGOTTEN_KEPT):
        queue = Timed(f"temporary {number}")
        rig.expiry.wake(queue, 10_000_000 + number)
        queue.deleted = True
        rig.expiry.forget(queue)
    assert len(rig.expiry._waiting) <= 2 * FORGOTTEN_KEPT + 2
    rig.run(1000)
    assert rig.queues[0].looked_at == [1000]
