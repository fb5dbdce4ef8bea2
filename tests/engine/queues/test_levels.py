"""The store with priorities against a list for each, with pages on a shelf instead of a disk."""

from __future__ import annotations

from bisect import insort

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harebell.content.message import Message, address
from harebell.content.properties import build_header
from harebell.content.scanning import priority_of
from harebell.engine.queues.levels import PriorityStore
from harebell.engine.queues.queue import Queue
from harebell.engine.queues.ready import ReadyStore
from harebell.engine.queues.residency import Residency
from harebell.paging import FLAGGED, PAGE_MESSAGES, RETURN, Moved
from tests.support.pager import ShelfPager, positions_of

Held = tuple[int, int, int]
"""Minus its level, position and returns of a message in the model, which sorts as messages leave."""


class Owner(Queue):
    """A queue that only listens."""

    def __init__(self) -> None:
        super().__init__(7, "q", "classic", True, 0, False, {})

    def stocked(self) -> None:
        pass

    def lost(self, position: int) -> None:
        raise AssertionError(f"{position} is lost")


def message(position: int, priority: int | None, octets: int = 0) -> Message:
    body = (b"%d" % position).ljust(octets, b".")
    header = build_header(len(body)) if priority is None else build_header(len(body), priority=priority)
    return Message(address("", "q"), header, body, True)


class Shop:
    """A store with its pager.

    Attributes:
        held: what must be in it, in the order in which it must leave.
    """

    def __init__(self, highest: int = 9, absent: int = 0, *, by_return: bool = False) -> None:
        self.pager = ShelfPager()
        self.residency = Residency(self.pager)
        self.store = PriorityStore(Owner(), self.residency, highest, absent, by_return)
        self.highest, self.absent, self.by_return = highest, absent, by_return
        self.next = 1
        self.levels: list[Held] = []
        self.back: list[Held] = []
        self.messages: dict[int, Message] = {}

    @property
    def held(self) -> list[Held]:
        """What must be in it, in the order in which it must leave."""
        return self.back + self.levels

    def fill(self, priority: int | None, count: int = 1, octets: int = 0) -> None:
        level = self.absent if priority is None else min(priority, self.highest)
        for _ in range(count):
            self.messages[self.next] = message(self.next, priority, octets)
            self.store.append(self.messages[self.next], self.next)
            insort(self.levels, (-level, self.next, 0))
            self.next += 1

    def take(self) -> Held:
        if not self.store.warm():
            self.store.read_now()
        taken = self.store.take()
        level, position, returns = (self.back or self.levels).pop(0)
        assert (int(self.store.position), int(self.store.returns)) == (position, returns)
        assert taken.body == self.messages[position].body
        return level, position, returns

    def put_back(self, taken: Held) -> None:
        level, position, returns = taken[0], taken[1], (taken[2] | FLAGGED) + RETURN
        self.store.put_back(self.messages[position], position, returns)
        if self.by_return:
            self.back.append((level, position, returns))
        else:
            insort(self.levels, (level, position, returns))

    def check(self) -> None:
        held = [self.messages[position] for _, position, _ in self.held]
        assert int(self.store.count) == len(held)
        assert int(self.store.octets) == sum(int(each.size()) for each in held)
        assert int(self.store.bodies) == sum(len(each.body) for each in held)
        seen = [(position, returns) for position, _, returns in self.store.peek(9)]
        assert seen == [(position, returns) for _, position, returns in self.held[:9]]
        middle = self.next // 2
        there = sorted((position, returns) for _, position, returns in self.held if position >= middle)
        browsed: list[tuple[int, int]] = []
        while part := self.store.browse_from(browsed[-1][0] + 1 if browsed else middle, 7):
            browsed += [(position, returns) for position, _, returns in part]
            if len(browsed) > 60:
                break
        assert browsed == there[: len(browsed)], "it is seen by position, each once"
        assert len(browsed) > 60 or len(browsed) == len(there), "none is left out"


def test_higher_levels_leave_first_and_each_in_order() -> None:
    shop = Shop(highest=5)
    for priority in (1, None, 5, 3, 200, 5, 0):
        shop.fill(priority)
    assert [shop.take()[1] for _ in range(7)] == [3, 5, 6, 4, 1, 2, 7]
    shop.check()


def test_what_comes_back_takes_its_old_place_in_its_level() -> None:
    shop = Shop()
    for priority in (1, 1, 5):
        shop.fill(priority)
    taken = [shop.take() for _ in range(3)]
    shop.fill(5)
    for each in taken:
        shop.put_back(each)
    assert [shop.take()[1] for _ in range(4)] == [3, 4, 1, 2]


def test_by_return_it_goes_before_all_levels_in_the_order_of_return() -> None:
    shop = Shop(31, 4, by_return=True)
    for priority in (1, 9, None):
        shop.fill(priority)
    first, second = shop.take(), shop.take()
    shop.put_back(second)
    shop.put_back(first)
    shop.fill(31)
    assert [shop.take()[1] for _ in range(4)] == [3, 2, 4, 1]


@pytest.mark.parametrize("paged", [False, True])
def test_a_store_without_levels_becomes_one_of_them(paged: bool) -> None:
    shop = Shop(31, 4, by_return=True)
    plain = ReadyStore(Owner(), shop.residency, True, True)
    for position in range(1, 3001):
        shop.messages[position] = message(position, None)
        plain.append(shop.messages[position], position)
        shop.levels.append((-4, position, 0))
    if paged:
        shop.residency.relieve()
    returned = plain.take()
    plain.put_back(returned, 1, FLAGGED + RETURN)
    shop.levels.remove((-4, 1, 0))
    shop.back.append((-4, 1, FLAGGED + RETURN))
    plain.remove([7])
    shop.levels.remove((-4, 7, 0))
    shop.store.adopt(plain, 4)
    shop.next = 3001
    shop.fill(9)
    shop.fill(None)
    shop.fill(3)
    shop.fill(None)
    shop.check()
    while shop.held:
        shop.take()
    shop.check()
    assert int(shop.pager.used) == 0


def test_what_recovery_found_is_taken_in_level_by_level() -> None:
    shop = Shop()
    for level, first in ((2, 1), (8, 3)):
        entries = []
        for position in (first, first + 1):
            shop.messages[position] = message(position, level)
            entries.append((position, shop.messages[position], FLAGGED))
            insort(shop.levels, (-level, position, FLAGGED))
        page = shop.pager.write(entries, True)
        assert page is not None
        shop.store.restore([page], level)
    shop.check()
    assert [shop.take()[1] for _ in range(4)] == [3, 4, 1, 2]


def test_messages_are_located_and_relocated_in_any_level() -> None:
    shop = Shop()
    for priority in (1, 2):
        shop.fill(priority, 2500)
    shop.residency.relieve()
    found = dict(shop.store.locate([5, 1100, 2600, 3500, 9999]))
    assert sorted(found) == [5, 1100, 2600, 3500]
    moved = []
    for position in (1100, 3500):
        place = found[position]
        assert place.message is None
        shop.pager.shelf[place.location + 1_000_000] = shop.pager.shelf.pop(place.location)
        moved.append(Moved(position, place.location + 1_000_000, 10, 12))
    assert sorted(shop.store.relocate(moved, 3, 9)) == [1100, 3500]
    while shop.held:
        shop.take()


def test_a_closed_store_gives_its_pages_and_ignores_late_ones() -> None:
    shop = Shop()
    shop.fill(3, 2 * PAGE_MESSAGES + 2000)
    shop.residency.relieve()
    in_memory = [position for position, _, _ in shop.store.in_memory()]
    shop.store.warm()
    paged = [position for page in shop.store.close() for position in positions_of(page)]
    assert sorted(in_memory + paged) == [position for _, position, _ in shop.levels]
    shop.pager.hand_back()
    assert (int(shop.store.count), int(shop.pager.used)) == (0, 0)


def test_the_priority_is_read_from_the_header_and_from_nothing_else() -> None:
    assert priority_of(build_header(3, priority=0)) == 0
    assert priority_of(build_header(3, priority=255, content_type="text/plain")) == 255
    assert priority_of(build_header(3, delivery_mode=2)) == -1
    assert priority_of(b"") == -1
    assert priority_of(build_header(3, priority=7)[:-1]) == -1


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_sequence_agrees_with_lists(data: st.DataObject) -> None:
    shop = Shop(*data.draw(st.sampled_from([(5, 0), (31, 4), (0, 0)])), by_return=data.draw(st.booleans()))
    taken: list[Held] = []
    actions = ["fill", "fill", "relieve", "pages", "take", "front", "back", "remove", "clear"]
    for _ in range(data.draw(st.integers(1, 14))):
        action = data.draw(st.sampled_from(actions))
        if action == "fill":
            priority = data.draw(st.none() | st.integers(0, 40))
            shop.fill(priority, data.draw(st.integers(1, 2000)), data.draw(st.sampled_from([0, 0, 50])))
        elif action == "relieve":
            shop.pager.refusing = data.draw(st.booleans())
            shop.residency.relieve()
        elif action == "pages":
            shop.pager.hand_back()
            shop.store.refresh()
        elif action == "take":
            for _ in range(min(len(shop.held), data.draw(st.integers(1, 1500)))):
                taken.append(shop.take())
        elif action == "front":
            _take_fronts(shop, data.draw(st.integers(1, 5)))
        elif action == "back":
            for _ in range(min(len(taken), data.draw(st.integers(1, 50)))):
                shop.put_back(taken.pop(data.draw(st.integers(0, len(taken) - 1))))
        elif action == "remove":
            wanted = sorted(data.draw(st.sets(st.integers(1, shop.next + 1), max_size=40)))
            leaving = [each for each in shop.held if each[1] in wanted]
            found = shop.store.remove(wanted)
            assert [(position, returns) for position, _, returns in found] == sorted(
                (position, returns) for _, position, returns in leaving
            )
            shop.back = [each for each in shop.back if each not in leaving]
            shop.levels = [each for each in shop.levels if each not in leaving]
        elif data.draw(st.integers(0, 3)) == 0:
            shop.store.clear()
            shop.back.clear()
            shop.levels.clear()
        shop.check()
    shop.pager.hand_back()
    while shop.held:
        shop.take()
    shop.check()
    assert int(shop.pager.used) == 0


def _take_fronts(shop: Shop, most: int) -> None:
    """Take some of the oldest of each level, passing over what came back and is in memory for itself."""
    for part in shop.store.fronts():
        for _ in range(most):
            if part.front() is None:
                break
            position = int(part.front_position())
            found = shop.store.take_front(part)
            assert found.body == shop.messages[position].body
            assert int(shop.store.position) == position
            (gone,) = [each for each in shop.levels if each[1] == position]
            shop.levels.remove(gone)
            older = [each for each in shop.levels if each[0] == gone[0] and each[1] < position]
            assert all(returns for _, _, returns in older), "an older one never came back"
