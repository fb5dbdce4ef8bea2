"""The pager on disks that are damaged, full, or fail: one fault costs one message at most."""

from __future__ import annotations

import errno
import os
import random

import pytest

from harebell.content.message import Message
from harebell.storage.page_reader import WINDOW_OCTETS
from harebell.storage.records import SEGMENT_HEAD_SIZE
from harebell.storage.spill import spill_name, spilled_size
from tests.storage.fake_disk import FakeDisk
from tests.storage.pager_rig import FIRST, QUEUE, Rig, Taken, content, contents, failing


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


def test_a_range_that_cannot_be_read_costs_only_what_is_in_it(
    rig: Rig, disk: FakeDisk, reads: list[tuple[int, int]]
) -> None:
    messages = [rig.journaled(b"%03d" % n) for n in range(6)]
    rig.commit()
    page = rig.page(messages, durable=True)
    bad = int(messages[3].location) // 2 + SEGMENT_HEAD_SIZE + 20

    def before(kind: str, name: str) -> None:
        if kind == "read" and reads[-1][0] <= bad < sum(reads[-1]):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    disk.before = before
    read = rig.fetch(page)[0]
    assert contents(read) == [*contents(messages[:3]), None, *contents(messages[4:])]
    assert len(rig.told.damaged) == 1


def test_a_read_that_fails_once_costs_nothing(rig: Rig, disk: FakeDisk) -> None:
    messages = [rig.journaled(b"%03d" % n) for n in range(5)]
    rig.commit()
    page = rig.page(messages, durable=True)
    disk.before = failing("read", errno.EIO, 1)
    assert contents(rig.fetch(page)[0]) == contents(messages), "a smaller read succeeds"
    assert rig.told.damaged == []


def test_a_disk_that_cannot_be_read_is_told_for_each_message(rig: Rig, disk: FakeDisk) -> None:
    page = rig.journal_page(b"a", b"b")
    disk.before = failing("read", errno.EIO)
    assert rig.fetch(page) == [[None, None]]
    assert [os.strerror(errno.EIO) in damage[3] for damage in rig.told.damaged] == [True, True]


def test_a_missing_file_and_a_cut_file_are_told(rig: Rig, disk: FakeDisk) -> None:
    page = rig.journal_page(b"a", b"b")
    del disk.files[FIRST].octets[-10:]
    assert [m is None for m in rig.fetch(page)[0]] == [False, True]
    assert "ends within" in rig.told.damaged[0][3]


def test_a_missing_file_is_told(disk: FakeDisk, spill: FakeDisk) -> None:
    rig = Rig(disk, spill)
    page = rig.journal_page(b"a")
    del disk.files[FIRST]
    assert rig.fetch(page) == [[None]]
    assert "missing" in rig.told.damaged[0][3]
    rig.stop()


@pytest.mark.parametrize("operation", ["open", "read"])
def test_a_shortage_loses_nothing(rig: Rig, disk: FakeDisk, operation: str) -> None:
    pages = [rig.journal_page(b"a"), rig.journal_page(b"b")]
    disk.before = failing(operation, errno.EMFILE)
    taken = Taken()
    for page in pages:
        rig.pager.fetch(page, taken)
    rig.work()
    assert taken.pages == []
    with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
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
