"""The pager: what it pages comes back as it was, and what it lets go of is gone."""

from __future__ import annotations

import os
import random
import struct

import pytest

from harebell.paging import FLAGGED, NOWHERE, RETURN, PageUnreadable
from harebell.storage.page_reader import OPEN_FILES, WINDOW_OCTETS
from harebell.storage.spill import spill_name, spilled_size
from tests.storage.fake_disk import FakeDisk
from tests.storage.pager_rig import FIRST, QUEUE, Rig, Taken, content, contents, counting


def test_persistent_messages_come_back_from_the_journal(rig: Rig, spill: FakeDisk) -> None:
    messages = [rig.journaled(b"%d" % n * n) for n in range(1, 40)]
    rig.commit()
    page = rig.page(messages, durable=True)
    rig.work()
    assert spill.files == {}, "a persistent message of a durable queue is in the journal already"
    for read in (rig.pager.read(page), rig.fetch(page)[0]):
        assert contents(read) == contents(messages)
        for message, found in zip(messages, read, strict=True):
            assert found is not None
            assert (found.segment, found.share, found.location) == (
                message.segment, message.share, message.location,
            )  # fmt: skip
    assert page.claims == [(0, sum(int(message.share) for message in messages))]
    assert page.octets == sum(int(message.size()) for message in messages)


def test_spilled_messages_come_back_without_a_record(rig: Rig, spill: FakeDisk) -> None:
    messages = [rig.message(b"%d" % n) for n in range(40)]
    page = rig.page(messages)
    assert rig.pager.pending == sum(int(spilled_size(message)) for message in messages)
    rig.work()
    assert (rig.pager.pending, list(spill.files)) == (0, [spill_name(0)])
    assert spill.syncs == 0, "what does not outlive the node need not be synced"
    for read in (rig.pager.read(page), rig.fetch(page)[0]):
        assert contents(read) == contents(messages)
        assert {(int(m.segment), int(m.share), int(m.location)) for m in read if m} == {(0, 0, -1)}


def test_what_is_spilled_can_be_read_before_it_is_written(rig: Rig, spill: FakeDisk) -> None:
    messages = [rig.message(b"%d" % n) for n in range(10)]
    page = rig.page(messages)
    assert contents(rig.pager.read(page)) == contents(messages)
    assert spill.files == {}


def test_transient_messages_of_a_durable_queue_are_spilled_beside_the_journaled(rig: Rig) -> None:
    mixed = [rig.journaled(b"a"), rig.message(b"b"), rig.journaled(b"c"), rig.message(b"d", persistent=True)]
    rig.commit()
    page = rig.page(mixed, durable=True)
    assert contents(rig.fetch(page)[0]) == contents(mixed)
    assert [int(page.location(index)) & 1 for index in range(4)] == [0, 1, 0, 1]
    assert page.spilled == [(0, sum(int(spilled_size(mixed[n])) for n in (1, 3)))]


def test_neighbouring_positions_cost_nothing_and_others_are_listed(rig: Rig) -> None:
    dense = rig.page([rig.message(b"x") for _ in range(3)])
    assert (dense.positions, dense.returns) == (b"", b"")
    sparse = rig.page([rig.message(b"x") for _ in range(3)], gap=2)
    assert [int(sparse.position(n)) for n in range(3)] == [6, 9, 12]
    assert [int(sparse.index(n)) for n in (6, 7, 9, 12, 13)] == [0, -1, 1, 2, -1]


def test_returns_are_kept_if_there_are_any(rig: Rig) -> None:
    flagged = 2 * RETURN + FLAGGED
    entries = [(1, rig.message(b"a"), 0), (2, rig.message(b"b"), flagged), (3, rig.message(b"c"), 0)]
    page = rig.pager.write(entries, False)
    assert page is not None
    assert [int(page.returned(index)) for index in range(3)] == [0, flagged, 0]


def test_claims_are_summed_by_segment(disk: FakeDisk, spill: FakeDisk) -> None:
    rig = Rig(disk, spill, segment_bytes=1, spill_bytes=1)
    messages = []
    for body in (b"a", b"bb", b"ccc"):
        messages.append(rig.journaled(body))
        rig.commit()
    page = rig.page([messages[0], messages[1], messages[0], messages[2]], durable=True)
    shares = [int(message.share) for message in messages]
    numbers = [int(message.segment) for message in messages]
    assert len(set(numbers)) == 3
    assert page.claims == [(numbers[0], 2 * shares[0]), (numbers[1], shares[1]), (numbers[2], shares[2])]
    assert contents(rig.fetch(page)[0]) == contents([messages[n] for n in (0, 1, 0, 2)])
    rig.stop()


def test_nothing_is_paged_before_its_record_can_be_read(rig: Rig) -> None:
    entries = rig.entries([rig.message(b"transient"), rig.journaled(b"persistent")])
    assert rig.pager.write(entries, True) is None
    assert rig.pager.pending == 0, "it was spilled in vain"
    rig.commit()
    assert rig.pager.write(entries, True) is not None


def test_a_message_of_several_queues_is_spilled_once(rig: Rig, spill: FakeDisk) -> None:
    messages = [rig.message(b"%d" % n) for n in range(5)]
    one = rig.page(messages)
    pending = rig.pager.pending
    rig.work()
    other = rig.page(messages)
    assert rig.pager.pending == 0
    assert (other.locations, other.spilled) == (one.locations, [(0, pending)])
    rig.pager.forget(one)
    assert contents(rig.fetch(other)[0]) == contents(messages)


def test_a_shared_message_is_spilled_again_once_its_file_is_gone(disk: FakeDisk, spill: FakeDisk) -> None:
    rig = Rig(disk, spill, spill_bytes=1)
    message = rig.message(b"shared")
    rig.pager.forget(rig.page([message]))
    rig.pager.forget(rig.page([rig.message(b"opens another file")]))
    rig.work()
    assert spill_name(0) not in spill.files
    page = rig.page([message])
    assert contents(rig.fetch(page)[0]) == contents([message])
    rig.stop()


def test_a_journaled_message_of_a_transient_queue_is_copied(rig: Rig) -> None:
    message = rig.journaled(b"shared with a durable queue")
    rig.commit()
    before = (int(message.location), int(message.share))
    page = rig.page([message], durable=False)
    assert (int(message.location), int(message.share)) == before
    (read,) = rig.fetch(page)[0]
    assert content(read) == content(message)
    assert read is not None and (read.share, read.location) == (0, -1)
    assert page.claims == [] and int(page.location(0)) & 1


def test_a_settled_page_is_settled_in_runs_and_claims_nothing(rig: Rig) -> None:
    page = rig.journal_page(*[b"x"] * 5)
    rig.position = 10
    scattered = [rig.journaled(b"y") for _ in range(4)]
    rig.commit()
    entries = list(zip([20, 21, 25, 26], scattered, [0] * 4, strict=True))
    sparse = rig.pager.write(entries, True)
    assert sparse is not None
    rig.pager.settle(QUEUE, page, True)
    rig.pager.settle(QUEUE, sparse, True)
    assert rig.segments.live_octets == 0
    assert rig.settled() == [(QUEUE, 1, 5), (QUEUE, 20, 2), (QUEUE, 25, 2)]


def test_a_transient_queue_settles_without_the_journal(rig: Rig, spill: FakeDisk) -> None:
    page = rig.page([rig.message(b"x")])
    rig.pager.settle(QUEUE, page, False)
    assert rig.settled() == []
    assert page.spilled == []


def test_a_forgotten_page_leaves_no_record(rig: Rig) -> None:
    page = rig.journal_page(b"x", b"y")
    rig.pager.forget(page)
    assert (int(rig.segments.live_octets), rig.settled()) == (0, [])


def test_messages_in_memory_again_keep_their_record_and_lose_their_copy(
    disk: FakeDisk, spill: FakeDisk
) -> None:
    rig = Rig(disk, spill, spill_bytes=1)
    mixed = [rig.journaled(b"a"), rig.message(b"b")]
    rig.commit()
    page = rig.page(mixed, durable=True)
    live = int(rig.segments.live_octets)
    rig.page([rig.message(b"opens another file")])
    rig.work()
    assert spill_name(0) in spill.files
    rig.pager.taken(page)
    rig.work()
    assert spill_name(0) not in spill.files
    assert int(rig.segments.live_octets) == live
    rig.stop()


def test_a_page_is_given_later_even_if_it_is_in_memory(rig: Rig) -> None:
    page = rig.page([rig.message(b"x")])
    taken = Taken()
    rig.pager.fetch(page, taken)
    assert taken.pages == []
    rig.work()
    assert taken.pages == [page]


def test_neighbouring_records_are_read_at_once_and_windows_are_used_again(rig: Rig, disk: FakeDisk) -> None:
    bodies = [b"%04d" % n * 25 for n in range(512)]
    pages = [rig.journal_page(*bodies) for _ in range(3)]
    reads: list[str] = []
    disk.before = counting("read", reads)
    assert [contents(found) for found in rig.fetch(*pages)] == [contents(rig.pager.read(p)) for p in pages]
    assert len(reads) <= 6, "a page whose records are neighbours takes a read, or two"


def test_no_read_is_larger_than_a_window(rig: Rig, reads: list[tuple[int, int]]) -> None:
    messages = [rig.journaled(bytes(10_000)) for _ in range(500)]
    rig.commit()
    page = rig.page(messages, durable=True)
    assert contents(rig.fetch(page)[0]) == contents(messages)
    assert max(size for _, size in reads) <= WINDOW_OCTETS
    assert len(reads) <= 7


def test_records_far_apart_and_in_any_order_are_found(rig: Rig) -> None:
    messages = []
    for n in range(60):
        messages.append(rig.journaled(b"%d" % n * 10))
        rig.journaled(bytes(40_000 if n % 3 else 10))
    rig.commit()
    random.Random(4).shuffle(messages)
    page = rig.page(messages, durable=True)
    assert contents(rig.fetch(page)[0]) == contents(messages)


@pytest.mark.parametrize("size", [1 << 20, (1 << 20) - 100, 3 << 20])
def test_records_larger_than_a_window_are_read_whole(rig: Rig, size: int) -> None:
    messages = [rig.journaled(b"small"), rig.journaled(os.urandom(size)), rig.journaled(b"small")]
    rig.commit()
    transient = [rig.message(b"small"), rig.message(os.urandom(size)), rig.message(b"small")]
    page = rig.page(messages + transient, durable=True)
    assert contents(rig.fetch(page)[0]) == contents(messages + transient)
    assert contents(rig.pager.read(page)) == contents(messages + transient)


def test_a_record_of_a_transaction_is_read_from_inside_it(rig: Rig) -> None:
    rig.journal.begin_transaction()
    messages = [rig.journaled(b"one"), rig.journaled(b"two")]
    rig.journal.end_transaction()
    rig.commit()
    page = rig.page(messages, durable=True)
    assert contents(rig.fetch(page)[0]) == contents(messages)


def test_few_files_are_open_at_a_time_and_none_that_is_gone(disk: FakeDisk, spill: FakeDisk) -> None:
    rig = Rig(disk, spill, segment_bytes=1, spill_bytes=1)
    pages = []
    for n in range(2 * OPEN_FILES):
        pages += [rig.journal_page(b"%d" % n), rig.page([rig.message(b"%d" % n)])]
    rig.work()
    rig.fetch(*pages)
    assert len(disk.readers) + len(spill.readers) <= OPEN_FILES
    for page in pages:
        rig.pager.forget(page)
    gone = rig.segments.reclaimable(rig.journal.durable)
    assert len(gone) > OPEN_FILES
    rig.segments.forget(len(gone))
    rig.work()
    assert len(disk.readers) + len(spill.readers) <= 1, "an open file keeps the space of a deleted one"
    rig.stop()


def test_a_page_moved_while_it_is_read_is_read_again_in_its_turn(disk: FakeDisk, spill: FakeDisk) -> None:
    rig = Rig(disk, spill, segment_bytes=1)
    pages = [rig.journal_page(b"first"), rig.journal_page(b"second")]
    taken = Taken()
    for page in pages:
        rig.pager.fetch(page, taken)
    rig.pager.work()
    rig.copy_forward(pages[0])
    rig.work()
    assert taken.pages == pages
    (found,) = taken.messages[0]
    assert found is not None
    assert (found.body, int(found.segment), int(found.share)) == (b"first", *pages[0].claims[0])
    rig.stop()


def test_a_file_that_goes_after_a_move_is_no_loss(disk: FakeDisk, spill: FakeDisk) -> None:
    rig = Rig(disk, spill, segment_bytes=1)
    page = rig.journal_page(b"first")
    rig.journal_page(b"second")
    taken = Taken()
    rig.pager.fetch(page, taken)
    rig.copy_forward(page)
    disk.remove(FIRST)
    rig.segments.forget(1)
    rig.work()
    assert [m.body for m in taken.messages[0] if m] == [b"first"]
    assert rig.told.damaged == []
    rig.stop()


def test_what_left_a_page_is_not_read_and_its_file_may_go(disk: FakeDisk, spill: FakeDisk) -> None:
    rig = Rig(disk, spill, segment_bytes=1)
    messages = []
    for body in (b"first", b"second", b"third"):
        messages.append(rig.journaled(body))
        rig.commit()
    page = rig.page(messages, durable=True)
    taken = Taken()
    rig.pager.fetch(page, taken)
    rig.pager.work()
    page.relocate([(0, NOWHERE), (2, NOWHERE)])
    disk.remove(FIRST)
    rig.segments.forget(1)
    rig.work()
    for found in (taken.messages[0], rig.pager.read(page)):
        assert [None if message is None else message.body for message in found] == [None, b"second", None]
    assert (rig.told.damaged, rig.told.failed) == ([], [])
    rig.stop()


def test_a_page_that_all_messages_left_needs_no_file(disk: FakeDisk, spill: FakeDisk) -> None:
    rig = Rig(disk, spill, segment_bytes=1)
    page = rig.journal_page(b"first", b"second")
    page.relocate([(0, NOWHERE), (1, NOWHERE)])
    assert rig.pager.read(page) == rig.fetch(page)[0] == [None, None]
    rig.stop()


def test_a_page_whose_copy_is_not_written_waits_for_it(rig: Rig) -> None:
    page = rig.journal_page(b"first")
    copy = rig.journaled(b"first")
    page.locations = struct.pack(">q", int(copy.location))
    page.version += 1
    taken = Taken()
    rig.pager.fetch(page, taken)
    rig.work()
    assert taken.pages == []
    with pytest.raises(PageUnreadable):
        rig.pager.read(page)
    other = rig.journal_page(b"second")
    rig.pager.fetch(other, taken)
    rig.work()
    assert taken.pages == [page, other]
    assert [m.body for found in taken.messages for m in found if m] == [b"first", b"second"]


@pytest.mark.parametrize("how", ["settle", "forget", "taken"])
def test_a_page_let_go_of_meanwhile_comes_empty(rig: Rig, spill: FakeDisk, how: str) -> None:
    pages = [rig.page([rig.message(b"a")]), rig.page([rig.message(b"b")])]
    taken = Taken()
    for page in pages:
        rig.pager.fetch(page, taken)
    if how == "settle":
        rig.pager.settle(QUEUE, pages[0], False)
    elif how == "forget":
        rig.pager.forget(pages[0])
    else:
        rig.pager.taken(pages[0])
    rig.work()
    assert taken.pages == pages
    assert [len(found) for found in taken.messages] == [0, 1]
