"""Which queues have series of their own, and that no counter ever falls."""

from __future__ import annotations

import random
from itertools import count

import pytest

from harebell.engine.queues.queue import Queue
from harebell.metrics.bounded import IDLE_SECONDS, OTHERS, Bounded


def counted(queue: Queue) -> list[int]:
    return [queue.rejected, queue.requeued]


class Rig:
    """Queues that count one thing each, in ``rejected`` and ``requeued``, and a scraper."""

    def __init__(self, limit: int) -> None:
        self.bounded = Bounded(
            limit,
            lambda queue: queue.rejected + queue.requeued,
            lambda queue: [queue.rejected, queue.requeued],
        )
        self.queues: list[Queue] = []
        self.gone = [0, 0]
        self.now = 0.0
        self._ids = count(1)

    def add(self, name: str, rejected: int = 0) -> Queue:
        queue = Queue(next(self._ids), name, "classic", True, 0, False, {})
        queue.rejected = rejected
        self.queues.append(queue)
        return queue

    def delete(self, queue: Queue) -> None:
        self.queues.remove(queue)
        queue.deleted = True
        self.gone = [self.gone[0] + queue.rejected, self.gone[1] + queue.requeued]

    def scrape(self) -> dict[str, list[int]]:
        total = list(self.gone)
        self.bounded.begin(self.now)
        for queue in self.queues:
            total = [total[0] + queue.rejected, total[1] + queue.requeued]
            self.bounded.look(queue.name, queue)
        self.bounded.end()
        return dict(self.bounded.rows(total))


def test_the_busiest_queues_have_series_of_their_own() -> None:
    rig = Rig(limit=2)
    for name, rejected in (("a", 5), ("b", 50), ("c", 20), ("d", 0)):
        rig.add(name, rejected)
    assert rig.scrape() == {"b": [50, 0], "c": [20, 0], OTHERS: [5, 0]}


def test_without_room_all_are_others() -> None:
    rig = Rig(limit=0)
    rig.add("a", 5)
    assert rig.scrape() == {OTHERS: [5, 0]}


def test_a_queue_keeps_its_series_until_it_is_idle_and_another_wants_it() -> None:
    rig = Rig(limit=1)
    first = rig.add("first", 1)
    rig.scrape()
    second = rig.add("second", 1000)
    assert rig.scrape() == {"first": [1, 0], OTHERS: [1000, 0]}
    rig.now = IDLE_SECONDS
    second.rejected += 1
    # What it counted before it got its series stays with the others.
    assert rig.scrape() == {"second": [1001, 0], OTHERS: [1001, 0]}
    first.rejected += 3
    assert rig.scrape() == {"second": [1001, 0], OTHERS: [1004, 0]}


def test_a_deleted_queue_makes_room_and_its_count_is_not_told_again() -> None:
    rig = Rig(limit=1)
    first = rig.add("first", 7)
    rig.scrape()
    rig.delete(first)
    rig.add("second", 2)
    assert rig.scrape() == {"second": [2, 0], OTHERS: [0, 0]}


@pytest.mark.parametrize("seed", range(20))
def test_no_counter_falls_whatever_happens(seed: int) -> None:
    chance = random.Random(seed)
    rig = Rig(limit=3)
    before: dict[str, list[int]] = {}
    grown = [0, 0]
    for step in range(200):
        action = chance.random()
        if action < 0.1 or not rig.queues:
            rig.add(f"queue {step}", chance.randrange(3))
        elif action < 0.15:
            rig.delete(chance.choice(rig.queues))
        elif action < 0.8:
            queue = chance.choice(rig.queues)
            queue.rejected += chance.randrange(4)
            queue.requeued += chance.randrange(2)
        else:
            rig.now += chance.choice([1.0, IDLE_SECONDS])
            after = rig.scrape()
            assert len(after) <= 4
            for name, counted in after.items():
                past = before.get(name, [0, 0])
                assert all(new >= old for new, old in zip(counted, past, strict=True)), (step, name)
            others = after[OTHERS][0] - before.get(OTHERS, [0, 0])[0]
            assert others >= 0
            before = after
            grown = after[OTHERS]
    total = rig.gone[0] + sum(queue.rejected for queue in rig.queues)
    assert grown[0] <= total
