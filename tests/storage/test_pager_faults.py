"""The pager on disks that are damaged, full, or fail: damage costs what it hit, a failure costs nothing."""

from __future__ import annotations

import errno
import os
import random

import pytest

from harebell.content.message import Message
from harebell.paging import PageUnreadable
from harebell.storage.page_reader import WINDOW_OCTETS
from harebell.storage.page_thread import JournalUnreadable
from harebell.storage.records import SEGMENT_HEAD_SIZE
from harebell.storage.spill import spill_name, spilled_size
from tests.storage.fake_disk import FakeDisk
from tests.storage.pager_rig import FIRST, QUEUE, Rig, Taken, content, contents, counting, failing


def damage(disk: FakeDisk, message: Message, inside: int = 40) -> int:
    """Flip a bit in a message's record in the first segment; gives the record's offset."""
    offset = int(message.location) // 2 + SEGMENT_HEAD_SIZE
    disk.files[FIRST].octets[offset + inside] ^= 4
    return offset


@pytest.mark.parametrize("inside", [0, 4, 5, 9, 20, 40])
def test_a_damaged_record_costs_one_message_and_is_told_once(rig: Rig, disk: FakeDisk, inside: int) -> None:
    messages = [rig.journaled(b"%03d" % n) for n in range(5)]
    rig.commit()
    page = rig.page(messages, durable=True)
    offset = damage(disk, messages[2], inside)
    expected = [*contents(messages[:2]), None, *contents(messages[3:])]
    for _ in range(2):
        assert contents(rig.fetch(page)[0]) == expected
        assert contents(rig.pager.read(page)) == expected
    ((name, where, octets, sentence),) = rig.told.damaged
    assert (name, where) == (FIRST, offset)
    assert 12 <= octets <= messages[2].share
    assert "lost" in sentence


def test_a_lost_message_claims_nothing_and_stays_lost(rig: Rig, disk: FakeDisk) -> None:
    messages = [rig.journaled(b"%03d" % n, QUEUE) for n in range(3)]
    rig.commit()
    page = rig.page(messages, durable=True)
    live = int(rig.segments.live_octets)
    damage(disk, messages[1])
    rig.fetch(page)
    assert int(rig.segments.live_octets) == live - int(messages[1].share)
    damage(disk, messages[1])
    rig.pager.stop()
    assert rig.pager.read(page)[1] is None, "its claim is given up, so it must not come back"
    rig.pager.forget(page)
    assert int(rig.segments.live_octets) == 0


def test_an_absurd_length_is_not_believed(rig: Rig, disk: FakeDisk, reads: list[tuple[int, int]]) -> None:
    messages = [rig.journaled(b"%03d" % n) for n in range(3)]
    rig.commit()
    page = rig.page(messages, durable=True)
    offset = int(messages[1].location) // 2 + SEGMENT_HEAD_SIZE
    disk.files[FIRST].octets[offset + 4 : offset + 8] = b"\xff\xff\xff\xff"
    assert contents(rig.fetch(page)[0]) == [content(messages[0]), None, content(messages[2])]
    assert max(size for _, size in reads) <= WINDOW_OCTETS


def test_damage_to_many_messages_of_a_page_is_one_report(rig: Rig, disk: FakeDisk) -> None:
    messages = [rig.journaled(b"%03d" % n) for n in range(9)]
    rig.commit()
    page = rig.page(messages, durable=True)
    first = damage(disk, messages[2], 0)
    damage(disk, messages[3], 40)
    last = damage(disk, messages[4], 40)
    damage(disk, messages[7], 40)
    assert [m is None for m in rig.fetch(page)[0]] == [n in (2, 3, 4, 7) for n in range(9)]
    assert rig.told.reports_of_damage == 1
    together, alone = rig.told.damaged
    assert (together.offset, together.octets) == (first, last - first + int(messages[4].share))
    assert "3 messages" in together.text
    assert "a message" in alone.text


def test_octets_that_are_wrong_only_once_cost_nothing(rig: Rig, disk: FakeDisk) -> None:
    messages = [rig.journaled(b"%03d" % n) for n in range(5)]
    rig.commit()
    page = rig.page(messages, durable=True)
    damage(disk, messages[1])
    damage(disk, messages[3])
    left = 2

    def before(kind: str, name: str) -> None:
        nonlocal left
        if kind == "read":
            left -= 1
            if left == 0:
                damage(disk, messages[1])
                damage(disk, messages[3])

    for read in (rig.pager.read, lambda page: rig.fetch(page)[0]):
        disk.before = before
        assert contents(read(page)) == contents(messages)
        assert left <= 0, "what was wrong was not read again"
        disk.before = None
        damage(disk, messages[1])
        damage(disk, messages[3])
        left = 2
    assert rig.told.damaged == []


def test_a_range_nobody_needs_may_be_unreadable(
    rig: Rig, disk: FakeDisk, reads: list[tuple[int, int]]
) -> None:
    messages = [rig.journaled(b"%03d" % n) for n in range(6)]
    rig.commit()
    page = rig.page([*messages[:3], *messages[4:]], durable=True)
    bad = int(messages[3].location) // 2 + SEGMENT_HEAD_SIZE + 20

    def before(kind: str, name: str) -> None:
        if kind == "read" and reads[-1][0] <= bad < sum(reads[-1]):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    disk.before = before
    assert contents(rig.fetch(page)[0]) == contents([*messages[:3], *messages[4:]])
    assert (rig.told.damaged, rig.told.unreadable) == ([], [])


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EACCES])
@pytest.mark.parametrize("operation", ["open", "read"])
@pytest.mark.parametrize("where", ["journal", "spill"])
def test_a_disk_that_cannot_be_read_for_a_while_costs_nothing(
    rig: Rig, disk: FakeDisk, spill: FakeDisk, where: str, operation: str, code: int
) -> None:
    if where == "journal":
        messages = [rig.journaled(b"%03d" % n) for n in range(5)]
        rig.commit()
        page = rig.page(messages, durable=True)
    else:
        messages = [rig.message(b"%03d" % n) for n in range(5)]
        page = rig.page(messages)
    rig.work()
    failed = disk if where == "journal" else spill
    failed.before = failing(operation, code)
    taken = Taken()
    rig.pager.fetch(page, taken)
    for _ in range(3):
        rig.work()
        with pytest.raises(PageUnreadable):
            rig.pager.read(page)
    assert taken.pages == []
    assert rig.told.unreadable == [code], "told once"
    failed.before = None
    assert contents(rig.pager.read(page)) == contents(messages)
    rig.work()
    assert contents(taken.messages[0]) == contents(messages)
    assert rig.told.unreadable == [code, None]
    assert rig.told.damaged == []


def test_a_disk_that_cannot_be_read_is_found_by_whoever_only_reads_at_once(rig: Rig, disk: FakeDisk) -> None:
    page = rig.journal_page(b"a", b"b")
    disk.before = failing("read", errno.EIO)
    for _ in range(3):
        with pytest.raises(PageUnreadable):
            rig.pager.read(page)
        rig.work()
    assert rig.told.unreadable == [errno.EIO]
    disk.before = None
    rig.work()
    assert rig.told.unreadable == [errno.EIO, None]
    assert [m.body for m in rig.pager.read(page) if m] == [b"a", b"b"]


def test_a_journal_that_cannot_be_read_for_long_stops_the_node_and_settles_nothing(
    disk: FakeDisk, spill: FakeDisk
) -> None:
    rig = Rig(disk, spill, patience_seconds=0.0)
    page = rig.journal_page(b"a")
    live = int(rig.segments.live_octets)
    disk.before = failing("read", errno.EIO)
    taken = Taken()
    rig.pager.fetch(page, taken)
    with pytest.raises(AssertionError):
        for _ in range(3):
            rig.work()
    assert [type(error) for error in rig.told.failed] == [JournalUnreadable]
    assert os.strerror(errno.EIO) in str(rig.told.failed[0])
    disk.before = None
    with pytest.raises(PageUnreadable):
        rig.pager.read(page)
    assert (taken.pages, rig.told.damaged, int(rig.segments.live_octets)) == ([], [], live)
    rig.stop()


def test_a_shortage_is_waited_for_longer(disk: FakeDisk, spill: FakeDisk) -> None:
    rig = Rig(disk, spill, patience_seconds=0.0)
    page = rig.journal_page(b"a")
    disk.before = failing("open", errno.EMFILE)
    taken = Taken()
    rig.pager.fetch(page, taken)
    for _ in range(5):
        rig.work()
    assert rig.told.unreadable == [errno.EMFILE]
    disk.before = None
    rig.work()
    assert (taken.pages, rig.told.unreadable) == ([page], [errno.EMFILE, None])
    rig.stop()


def test_what_was_spilled_is_lost_when_it_cannot_be_read_for_long(
    disk: FakeDisk, spill: FakeDisk, reads: list[tuple[int, int]]
) -> None:
    rig = Rig(disk, spill, patience_seconds=0.0)
    pages = [rig.page([rig.message(b"a"), rig.message(b"b")]), rig.page([rig.message(b"c")])]
    rig.work()
    bad = int(spilled_size(rig.message(b"a")))

    def before(kind: str, name: str) -> None:
        if kind == "read" and reads[-1][0] <= bad < sum(reads[-1]):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    spill.before = before
    taken = Taken()
    for page in pages:
        rig.pager.fetch(page, taken)
    for _ in range(4):
        rig.work()
    assert [[m and m.body for m in found] for found in taken.messages] == [[b"a", None], [b"c"]]
    assert os.strerror(errno.EIO) in rig.told.damaged[0].text
    assert [m and m.body for m in rig.pager.read(pages[0])] == [b"a", None]
    rig.stop()


def test_a_cut_file_is_told(rig: Rig, disk: FakeDisk) -> None:
    page = rig.journal_page(b"a", b"b")
    del disk.files[FIRST].octets[-10:]
    assert [m is None for m in rig.fetch(page)[0]] == [False, True]
    assert "ends within" in rig.told.damaged[0].text


@pytest.mark.parametrize("at_once", [False, True])
def test_a_missing_segment_stops_the_node_at_once(disk: FakeDisk, spill: FakeDisk, at_once: bool) -> None:
    rig = Rig(disk, spill)
    page = rig.journal_page(b"a")
    live = int(rig.segments.live_octets)
    del disk.files[FIRST]
    taken = Taken()
    if at_once:
        for _ in range(2):
            with pytest.raises(PageUnreadable):
                rig.pager.read(page)
    else:
        rig.pager.fetch(page, taken)
        with pytest.raises(AssertionError):
            rig.work()
    assert ["missing" in str(error) for error in rig.told.failed] == [True]
    assert (taken.pages, rig.told.damaged, int(rig.segments.live_octets)) == ([], [], live)
    rig.stop()


def test_a_segment_that_went_since_its_messages_were_lost_is_not_missed(rig: Rig, disk: FakeDisk) -> None:
    messages = [rig.journaled(b"a"), rig.journaled(b"b")]
    rig.commit()
    page = rig.page(messages, durable=True)
    for message in messages:
        damage(disk, message)
    assert rig.pager.read(page) == [None, None]
    del disk.files[FIRST]
    rig.pager.stop()
    assert rig.pager.read(page) == [None, None]
    assert rig.told.failed == []


def test_a_missing_file_of_the_spill_log_costs_what_was_in_it(rig: Rig, spill: FakeDisk) -> None:
    page = rig.page([rig.message(b"a"), rig.message(b"b")])
    rig.work()
    spill.files.clear()
    assert rig.fetch(page) == [[None, None]]
    assert ["missing" in damage.text for damage in rig.told.damaged] == [True]


@pytest.mark.parametrize("operation", ["open", "read"])
def test_a_shortage_loses_nothing(rig: Rig, disk: FakeDisk, operation: str) -> None:
    pages = [rig.journal_page(b"a"), rig.journal_page(b"b")]
    disk.before = failing(operation, errno.EMFILE)
    taken = Taken()
    for page in pages:
        rig.pager.fetch(page, taken)
    rig.work()
    assert taken.pages == []
    with pytest.raises(PageUnreadable, match=os.strerror(errno.EMFILE)):
        rig.pager.read(pages[0])
    disk.before = None
    rig.work()
    assert taken.pages == pages
    assert [m.body for found in taken.messages for m in found if m] == [b"a", b"b"]
    assert rig.told.damaged == []


def test_a_full_disk_loses_nothing_and_recovers(rig: Rig, spill: FakeDisk) -> None:
    journaled = rig.journaled(b"persistent")
    rig.commit()
    early = [rig.message(b"%d" % n) for n in range(10)]
    late = [rig.message(b"later %d" % n) for n in range(10)]
    pages = [rig.page(early)]
    rig.work()
    spill.space = 100
    pages.append(rig.page(late))
    rig.work()
    assert rig.told.full == [True]
    pending = int(rig.pager.pending)
    assert pending == sum(int(spilled_size(message)) for message in late)
    assert rig.pager.write(rig.entries([rig.message(b"no room")]), False) is None
    assert rig.pager.pending == pending
    assert rig.pager.write(rig.entries([journaled, late[0]]), True) is not None, "nothing is to be spilled"
    for _ in range(2):
        assert [contents(found) for found in rig.fetch(*pages)] == [contents(early), contents(late)]
        assert contents(rig.pager.read(pages[1])) == contents(late)
    spill.space = None
    rig.work()
    assert (rig.told.full, int(rig.pager.pending)) == ([True, False], 0)
    assert contents(rig.fetch(pages[1])[0]) == contents(late)
    assert rig.told.damaged == []
    assert rig.pager.write(rig.entries([rig.message(b"room")]), False) is not None


def test_a_full_disk_is_no_trouble_any_more_when_nobody_needs_what_waits(
    disk: FakeDisk, spill: FakeDisk
) -> None:
    rig = Rig(disk, spill, spill_bytes=1)
    spill.space = 0
    pages = [rig.page([rig.message(b"a")]), rig.page([rig.message(b"b")]), rig.page([rig.message(b"c")])]
    rig.work()
    assert rig.told.full == [True]
    for page in pages:
        rig.pager.forget(page)
    spill.space = None
    rig.work()
    assert rig.told.full == [True, False]
    assert rig.pager.pending == 0
    rig.stop()


def test_a_short_write_before_the_disk_is_full_is_written_again(rig: Rig, spill: FakeDisk) -> None:
    spill.short_writes = random.Random(1)
    messages = [rig.message(bytes(50)) for _ in range(30)]
    spill.space = 1500
    page = rig.page(messages)
    rig.work()
    spill.space = None
    rig.work()
    assert contents(rig.fetch(page)[0]) == contents(messages)
    assert len(spill.files[spill_name(0)].octets) == sum(int(spilled_size(m)) for m in messages)


@pytest.mark.parametrize("operation", ["create", "write"])
def test_a_failing_spill_disk_is_told_once_and_what_waits_stays_in_memory(
    rig: Rig, spill: FakeDisk, operation: str
) -> None:
    spill.before = failing(operation, errno.EIO)
    messages = [rig.message(b"%d" % n) for n in range(5)]
    page = rig.page(messages)
    rig.work()
    rig.work()
    assert rig.told.stopped == [errno.EIO]
    assert rig.pager.write(rig.entries([rig.message(b"new")]), False) is None
    assert rig.pager.write(rig.entries(messages), False) is not None, "all of it is held already"
    spill.before = None
    assert contents(rig.fetch(page)[0]) == contents(messages)
    assert contents(rig.pager.read(page)) == contents(messages)
    assert rig.pager.pending > 0
    assert rig.told.damaged == []


def test_memory_is_given_back_after_a_spill_disk_failed(rig: Rig, spill: FakeDisk) -> None:
    spill.before = failing("write", errno.EIO)
    page = rig.page([rig.message(b"x")])
    rig.work()
    rig.pager.forget(page)
    rig.work()
    assert rig.pager.pending == 0


def test_what_an_earlier_run_spilled_is_deleted_at_the_start_and_the_rest_at_the_end(
    disk: FakeDisk, spill: FakeDisk
) -> None:
    spill.put(spill_name(0), b"old")
    spill.put(spill_name(77), b"old")
    spill.put("notes.txt", b"not ours")
    rig = Rig(disk, spill)
    assert spill.names() == ["notes.txt"]
    rig.page([rig.message(b"x")])
    rig.work()
    assert spill.names() == [spill_name(0), "notes.txt"]
    rig.stop()
    assert spill.names() == ["notes.txt"]


def test_a_stop_writes_nothing_of_what_is_deleted_with_it(disk: FakeDisk, spill: FakeDisk) -> None:
    rig = Rig(disk, spill)
    rig.page([rig.message(b"x")])
    rig.pager.flush()
    written: list[str] = []
    spill.before = counting("write", written)
    rig.stop()
    assert (written, spill.names()) == ([], [])


def test_a_spill_log_that_is_not_written_any_more_keeps_nobody_waiting(rig: Rig, spill: FakeDisk) -> None:
    page = rig.page([rig.message(b"x")])
    assert rig.pager.backlog == rig.pager.pending > 0
    spill.before = failing("write", errno.EIO)
    rig.work()
    assert rig.pager.pending > 0
    assert rig.pager.backlog == 0
    rig.pager.forget(page)


def test_a_bug_in_the_thread_is_told(disk: FakeDisk, spill: FakeDisk) -> None:
    rig = Rig(disk, spill)
    page = rig.journal_page(b"x")

    def broken(kind: str, name: str) -> None:
        raise ZeroDivisionError

    disk.before = broken
    rig.pager.fetch(page, Taken())
    with pytest.raises(AssertionError):
        rig.work()
    assert [type(error) for error in rig.told.failed] == [ZeroDivisionError]
    disk.before = None
    rig.stop()
