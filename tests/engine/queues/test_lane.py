"""Where lanes wait: pools and the agenda, beside a sorted list."""

from __future__ import annotations

from random import Random

from harebell.engine.queues.lane import NOWHERE, Agenda, Lane, Pool, Tenant
from harebell.engine.queues.stock import Stock


def lanes_of(count: int) -> list[Lane]:
    tenant = Tenant(b"", Stock(), 0)
    return [Lane(tenant, b"", 0, 1, number) for number in range(count)]


def order(lane: Lane) -> tuple[int, int]:
    return int(lane.rank), int(lane.position)


def test_a_pool_serves_lanes_by_rank_and_position_whichever_leave_meanwhile() -> None:
    random = Random(3)
    pool = Pool(1, None)
    waiting: list[Lane] = []
    idle = lanes_of(60)
    for position in range(3000):
        if idle and (not waiting or random.random() < 0.5):
            lane = idle.pop(random.randrange(len(idle)))
            lane.rank, lane.position = random.randrange(3), random.choice((1, -1)) * position
            waiting.append(lane)
            assert pool.add(lane) == (min(waiting, key=order) is lane)
        else:
            lane = random.choice(waiting) if random.random() < 0.5 else min(waiting, key=order)
            waiting.remove(lane)
            pool.drop(lane)
            assert lane.pool is None
            assert lane.index == NOWHERE
            idle.append(lane)
        first = pool.first()
        assert first is (min(waiting, key=order) if waiting else None)
        assert len(pool) == len(waiting)


def test_the_agenda_gives_the_pool_with_the_first_lane_of_those_that_are_not_dry() -> None:
    random = Random(4)
    agenda = Agenda()
    pools = [Pool(1, None) for _ in range(9)]
    lanes = lanes_of(40)
    for position in range(4000):
        lane = random.choice(lanes)
        pool = lane.pool
        if random.random() < 0.2:
            pool = random.choice(pools)
            pool.dry = not pool.dry
        elif pool is not None:
            pool.drop(lane)
        else:
            pool = random.choice(pools)
            lane.rank, lane.position = random.randrange(2), position
            pool.add(lane)
        agenda.note(pool)
        firsts = [each.first() for each in pools if not each.dry]
        expected = min((each for each in firsts if each is not None), key=order, default=None)
        found = agenda.first()
        assert (None if found is None else found.first()) is expected
