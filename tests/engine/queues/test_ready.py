"""The store of ready messages against a plain list, with pages on a shelf instead of a disk."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harebell.content.message import Message, address
from harebell.content.properties import build_header
from harebell.engine.queues.queue import Queue
from harebell.engine.queues.ready import ReadyStore
from harebell.engine.queues.residency import AHEAD_MESSAGES, KEPT_AHEAD, Residency
from harebell.paging import FLAGGED, NO_LIMIT, NOWHERE, PAGE_MESSAGES, RETURN, Moved
from tests.support.pager import ShelfPager


class Owner(Queue):
    """A queue that only listens."""

    def __init__(self) -> None:
        super().__init__(7, "q", "classic", True, 0, False, {})
        self.stocks = 0
        self.missing: list[int] = []

    def stocked(self) -> None:
        self.stocks += 1

    def lost(self, position: int) -> None:
        self.missing.append(int(position))


class Shop:
    """A store with its owner and its pager."""

    def __init__(self, budget: int = 0, *, dense: bool = True) -> None:
        self.pager = ShelfPager(budget)
        self.residency = Residency(self.pager)
        self.owner = Owner()
        self.store = ReadyStore(self.owner, self.residency, dense)
        self.next = 1

    def fill(self, count: int, octets: int = 3, step: int = 1) -> None:
        for _ in range(count):
            self.store.append(message(b"%d" % self.next, octets), self.next)
            self.next += step

    def take(self) -> tuple[int, bytes, int]:
        if not self.store.warm():
            self.pager.hand_back()
        assert self.store.warm(), "the page that was asked for did not come"
        taken = self.store.take()
        return int(self.store.position), taken.body.rstrip(b"."), int(self.store.returns)

    def drain(self) -> list[int]:
        return [self.take()[0] for _ in range(int(self.store.count))]


def message(text: bytes, octets: int = 3) -> Message:
    body = text.ljust(octets, b".")
    return Message(address("", "q"), build_header(len(body)), body, True)


@pytest.mark.parametrize(("dense", "step"), [(True, 1), (False, 3)])
def test_a_store_over_its_budget_keeps_its_head_and_pages_the_rest(dense: bool, step: int) -> None:
    shop = Shop(dense=dense)
    shop.fill(5000, step=step)
    held = int(shop.pager.used)
    shop.residency.relieve()
    assert len(shop.pager.shelf) >= 5000 - KEPT_AHEAD - 2 * PAGE_MESSAGES
    assert int(shop.pager.used) < held / 2
    assert int(shop.store.count) == 5000
    shop.fill(10, step=step)
    assert shop.drain() == list(range(1, 5010 * step + 1, step))
    assert (int(shop.store.octets), int(shop.pager.used)) == (0, 0)


def test_nothing_is_paged_within_the_budget() -> None:
    shop = Shop(NO_LIMIT)
    shop.fill(5000)
    shop.residency.relieve()
    assert not shop.pager.shelf
    assert shop.drain() == list(range(1, 5001))


def test_few_large_messages_are_paged_too() -> None:
    shop = Shop()
    shop.fill(40, octets=100_000)
    shop.residency.relieve()
    assert len(shop.pager.shelf) > 20
    assert shop.drain() == list(range(1, 41))


def test_a_shallow_store_stays_in_memory() -> None:
    shop = Shop()
    shop.fill(PAGE_MESSAGES)
    shop.residency.relieve()
    assert not shop.pager.shelf


def test_records_that_are_not_in_their_file_yet_keep_their_messages_in_memory() -> None:
    shop = Shop()
    shop.fill(4000)
    shop.pager.refusing = True
    shop.residency.relieve()
    assert not shop.pager.shelf
    shop.pager.refusing = False
    shop.residency.relieve()
    assert shop.pager.shelf
    assert shop.drain() == list(range(1, 4001))


def test_pages_are_read_ahead_up_to_a_bound_and_the_owner_is_told() -> None:
    shop = Shop()
    shop.fill(40_000)
    for _ in range(10):
        shop.residency.relieve()
    for _ in range(KEPT_AHEAD):
        shop.take()
    shop.pager.budget = NO_LIMIT
    assert not shop.store.warm()
    asked = len(shop.pager.asked)
    assert AHEAD_MESSAGES // PAGE_MESSAGES - 1 <= asked <= AHEAD_MESSAGES // PAGE_MESSAGES
    shop.pager.asked[0][1].page_read(shop.pager.asked[0][0], shop.pager.read(shop.pager.asked[0][0]))
    assert shop.owner.stocks == 1
    assert shop.store.warm()


def test_reading_at_once_overtakes_a_page_that_was_asked_for() -> None:
    shop = Shop()
    shop.fill(4000)
    shop.residency.relieve()
    for _ in range(KEPT_AHEAD):
        shop.take()
    assert not shop.store.warm()
    shop.store.read_now()
    assert shop.take()[0] == KEPT_AHEAD + 1
    shop.pager.hand_back()
    assert shop.drain() == list(range(KEPT_AHEAD + 2, 4001))


def test_what_comes_back_goes_first() -> None:
    shop = Shop()
    shop.fill(3000)
    shop.residency.relieve()
    first = shop.store.take()
    shop.take()
    shop.store.put_back(first, 1, FLAGGED | RETURN)
    assert shop.take() == (1, b"1", FLAGGED | RETURN)
    assert shop.take()[0] == 3


def test_a_damaged_record_costs_one_message_and_the_owner_is_told() -> None:
    shop = Shop()
    shop.fill(3000)
    shop.residency.relieve()
    at = min(shop.pager.shelf) + 4
    gone = int(shop.pager.shelf[at].body)
    shop.pager.damaged.add(at)
    found = []
    while int(shop.store.count):
        found.append(shop.take()[0])
        if shop.store.count and not shop.store.warm():
            shop.pager.hand_back()
    assert found == [n for n in range(1, 3001) if n != gone]
    assert shop.owner.missing == [gone]
    assert (int(shop.store.octets), int(shop.pager.used)) == (0, 0)


def test_clearing_gives_the_pages_back_and_late_pages_are_ignored() -> None:
    shop = Shop()
    shop.fill(4000)
    shop.residency.relieve()
    for _ in range(KEPT_AHEAD):
        shop.take()
    shop.store.warm()
    in_memory = [position for position, _, _ in shop.store.in_memory()]
    paged = [
        position for page in shop.store.clear() for position in range(int(page.first), int(page.last) + 1)
    ]
    assert sorted(in_memory + paged) == list(range(KEPT_AHEAD + 1, 4001))
    shop.pager.hand_back()
    assert (int(shop.store.count), int(shop.store.octets), int(shop.pager.used)) == (0, 0, 0)
    shop.fill(3)
    assert shop.drain() == [4001, 4002, 4003]


@pytest.mark.parametrize(("dense", "step"), [(True, 1), (False, 2)])
def test_messages_are_located_wherever_they_are(dense: bool, step: int) -> None:
    shop = Shop(dense=dense)
    shop.fill(4000, step=step)
    shop.residency.relieve()
    first = shop.store.take()
    shop.store.put_back(first, 1, FLAGGED)
    wanted = [1, 1 + step, 1 + 2000 * step, 1 + 3999 * step, 1 + 9999 * step]
    found = dict(shop.store.locate(wanted))
    assert sorted(found) == wanted[:4]
    assert found[1].returns == FLAGGED
    assert [found[at].message is None for at in wanted[:4]] == [False, False, True, False]


def test_paged_messages_take_new_locations_and_claims() -> None:
    shop = Shop()
    shop.fill(4000)
    shop.residency.relieve()
    paged = [1500, 1501, 2900]
    old = dict(shop.store.locate(paged))
    for place in old.values():
        shop.pager.shelf[place.location + 1_000_000] = shop.pager.shelf.pop(place.location)
    moved = [Moved(at, old[at].location + 1_000_000, 10, 12) for at in paged]
    assert shop.store.relocate([Moved(1, 5, 10, 12), *moved], 3, 9) == paged
    assert shop.drain() == list(range(1, 4001))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_sequence_agrees_with_a_list(data: st.DataObject) -> None:
    dense = data.draw(st.booleans())
    shop = Shop(dense=dense)
    step = 1 if dense else data.draw(st.integers(1, 3))
    ready: list[tuple[int, int]] = []
    taken: list[tuple[int, int, Message]] = []
    for _ in range(data.draw(st.integers(1, 12))):
        action = data.draw(
            st.sampled_from(["fill", "fill", "relieve", "take", "back", "clear", "pages", "remove"])
        )
        if action == "fill":
            count = data.draw(st.integers(1, 2500))
            ready.extend((shop.next + n * step, 0) for n in range(count))
            shop.fill(count, step=step)
        elif action == "relieve":
            shop.pager.refusing = data.draw(st.booleans())
            shop.residency.relieve()
        elif action == "pages":
            shop.pager.hand_back()
        elif action == "take":
            for _ in range(min(len(ready), data.draw(st.integers(1, 2000)))):
                if not shop.store.warm():
                    shop.store.read_now()
                message_taken = shop.store.take()
                position, returns = ready.pop(0)
                assert (int(shop.store.position), int(shop.store.returns)) == (position, returns)
                taken.append((position, returns, message_taken))
        elif action == "remove":
            wanted = sorted(data.draw(st.sets(st.integers(1, shop.next + 1), max_size=40)))
            leaving = [entry for entry in ready if entry[0] in wanted]
            found = shop.store.remove(wanted)
            assert [(position, returns) for position, _, returns in found] == leaving
            assert all(int(m.body.rstrip(b".")) == position for position, m, _ in found)
            ready = [entry for entry in ready if entry not in leaving]
        elif action == "back":
            for _ in range(min(len(taken), data.draw(st.integers(1, 50)))):
                position, returns, message_taken = taken.pop()
                returns = (returns | FLAGGED) + RETURN
                shop.store.put_back(message_taken, position, returns)
                ready.append((position, returns))
            ready.sort()
        else:
            shop.store.clear()
            ready.clear()
        assert int(shop.store.count) == len(ready)
        if not shop.store.count:
            assert (int(shop.store.octets), int(shop.store.bodies)) == (0, 0)
        assert [entry[0] for entry in shop.store.peek(7)] == [position for position, _ in ready[:7]]
        there = sorted(position for position, _ in ready)
        middle = there[len(there) // 2] if there else 1
        seen = [entry[0] for entry in shop.store.browse_from(middle, 11)]
        assert seen == [position for position in there if position >= middle][: len(seen)]
        assert len(seen) == 11 or len(seen) == len([position for position in there if position >= middle])
    shop.pager.hand_back()
    assert shop.drain() == [position for position, _ in ready]
    assert (int(shop.store.octets), int(shop.pager.used)) == (0, 0)


def test_what_is_taken_out_of_a_page_is_not_looked_for_on_disk_again() -> None:
    shop = Shop()
    shop.fill(4000)
    shop.residency.relieve()
    pages = len(list(shop.store.pages()))
    first = next(iter(shop.store.pages()))
    shop.store.remove(list(range(int(first.first), int(first.first) + 5)))
    assert [int(first.location(index)) for index in range(6)] == [NOWHERE] * 5 + [int(first.location(5))]
    assert int(first.location(5)) != NOWHERE
    shop.store.remove(list(range(1, int(first.last) + 1)))
    assert len(list(shop.store.pages())) == pages - 1, "an empty page goes"
    assert shop.drain() == list(range(int(first.last) + 1, 4001))
    assert (int(shop.store.octets), int(shop.store.bodies), int(shop.pager.used)) == (0, 0, 0)
    assert shop.owner.missing == []


def test_little_is_read_ahead_while_memory_is_short() -> None:
    shop = Shop()
    shop.fill(40_000)
    for _ in range(10):
        shop.residency.relieve()
    for _ in range(KEPT_AHEAD):
        shop.take()
    assert not shop.store.warm()
    assert len(shop.pager.asked) <= 2


def test_very_many_messages_that_came_back_are_paged_too() -> None:
    shop = Shop()
    shop.fill(30_000)
    for _ in range(10):
        shop.residency.relieve()
    taken = []
    for _ in range(20_000):
        if not shop.store.warm():
            shop.pager.hand_back()
        taken.append((shop.store.take(), int(shop.store.position)))
    for message_taken, position in taken:
        shop.store.put_back(message_taken, position, FLAGGED | RETURN)
    before = int(shop.pager.used)
    for _ in range(20):
        shop.residency.relieve()
    assert int(shop.pager.used) < before / 4
    assert shop.drain() == list(range(1, 30_001))
    assert (int(shop.store.octets), int(shop.pager.used)) == (0, 0)


def test_shallow_stores_are_paged_when_nothing_is_deep() -> None:
    shop = Shop(1000)
    shop.fill(100, octets=1000)
    shop.residency.relieve()
    assert not shop.pager.shelf
    assert shop.residency.press()
    shop.store.offer()
    shop.residency.relieve()
    assert len(shop.pager.shelf) > 80
    assert shop.drain() == list(range(1, 101))
    assert not shop.residency.press()
