"""The committer: what it reports durable is on disk, whatever the disk does."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable

import pytest

from harebell.histograms import Commits
from harebell.storage.batch import Batch
from harebell.storage.committer import MOST_OCTETS, Committer, Reports
from harebell.storage.records import SEGMENT_HEAD_SIZE
from harebell.storage.segments import segment_name
from tests.storage.fake_disk import FakeDisk
from tests.storage.logs import NODE

FIRST = segment_name(0)


class Told:
    """What the committer reported."""

    def __init__(self) -> None:
        self.all: list[tuple[str, object]] = []

    def reports(self) -> Reports:
        """Give the ears."""
        return Reports(
            lambda lsn, durable: self.all.append(("durable" if durable else "written", lsn)),
            lambda error: self.all.append(("full", error is not None)),
            lambda error: self.all.append(("failed", error.errno)),
        )


@pytest.fixture
def disk() -> FakeDisk:
    return FakeDisk()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def committer(disk: FakeDisk, told: Told) -> Committer:
    return Committer(disk, NODE, 0, told.reports(), retry_seconds=0.0)


def records(disk: FakeDisk, name: str = FIRST) -> bytes:
    """What stands behind the head of a segment."""
    return disk.read(name)[SEGMENT_HEAD_SIZE:]


def raising(code: int, kind: str, when: int = 1) -> Callable[[str, str], None]:
    """Make the n-th operation of a kind fail, and every later one."""
    left = when

    def before(operation: str, name: str) -> None:
        nonlocal left
        if operation == kind:
            left -= 1
            if left <= 0:
                raise OSError(code, "made to fail")

    return before


def test_a_new_segment_is_durable_before_anything_is_written_to_it(disk: FakeDisk, told: Told) -> None:
    Committer(disk, NODE, 64, told.reports())
    after = disk.power_cut(random.Random(0))
    assert len(after.read(segment_name(64))) == SEGMENT_HEAD_SIZE


def test_a_batch_somebody_waits_for_is_synced_once_and_another_not_at_all(
    committer: Committer, disk: FakeDisk, told: Told
) -> None:
    before = disk.syncs
    committer.submit(Batch(b"settles", 7, False, -1))
    committer.work()
    assert (told.all, disk.syncs) == ([("written", 7)], before)
    committer.submit(Batch(b"message", 14, True, -1))
    committer.work()
    assert (told.all[1:], disk.syncs) == ([("durable", 14)], before + 1)
    assert disk.files[FIRST].synced == SEGMENT_HEAD_SIZE + 14, "a sync covers what was written before it"


def test_rotation_syncs_what_nobody_waited_for(committer: Committer, disk: FakeDisk, told: Told) -> None:
    committer.submit(Batch(b"settles", 7, False, 7))
    committer.submit(Batch(b"next", 11, True, -1))
    committer.work()
    assert told.all == [("durable", 7), ("durable", 11)]
    assert (records(disk), records(disk, segment_name(7))) == (b"settles", b"next")
    assert disk.files[FIRST].synced == SEGMENT_HEAD_SIZE + 7


def test_short_writes_are_completed(committer: Committer, disk: FakeDisk, told: Told) -> None:
    disk.short_writes = random.Random(3)
    data = bytes(range(256)) * 40
    committer.submit(Batch(data, len(data), True, -1))
    committer.work()
    assert records(disk) == data
    assert told.all == [("durable", len(data))]


def test_a_full_disk_confirms_nothing_and_loses_nothing(
    committer: Committer, disk: FakeDisk, told: Told
) -> None:
    committer.submit(Batch(b"before", 6, False, -1))
    committer.work()
    disk.space = 4

    def refused() -> None:
        assert not any(kind == "durable" for kind, _ in told.all), "confirmed on a full disk"
        if disk.refusals == 5:
            disk.space = None

    disk.on_full = refused
    committer.submit(Batch(b"0123456789", 16, True, -1))
    committer.work()
    assert told.all == [("written", 6), ("full", True), ("full", False), ("durable", 16)]
    assert records(disk) == b"before0123456789", "a cut attempt was left in the file, or octets are missing"


def test_chores_go_on_while_the_disk_is_full_since_they_make_space(
    committer: Committer, disk: FakeDisk, told: Told
) -> None:
    disk.put("old", b"x" * 100)
    disk.space = 0

    def delete() -> None:
        disk.remove("old")
        disk.space = 100

    committer.submit(Batch(b"message", 7, True, -1))
    committer.do(delete)
    committer.work()
    assert told.all[-1] == ("durable", 7)


def test_rotation_waits_for_space_like_any_write(committer: Committer, disk: FakeDisk, told: Told) -> None:
    disk.space = len(b"message")

    def refused() -> None:
        if disk.refusals == 3:
            disk.space = None

    disk.on_full = refused
    committer.submit(Batch(b"message", 7, True, 7))
    committer.submit(Batch(b"next", 11, True, -1))
    committer.work()
    assert told.all == [("durable", 7), ("full", True), ("full", False), ("durable", 11)]
    assert records(disk, segment_name(7)) == b"next"


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("create", errno.EMFILE),
        ("create", errno.ENFILE),
        ("create", errno.ENOMEM),
        ("sync_folder", errno.EMFILE),
    ],
)
def test_rotation_waits_for_descriptors_and_memory_and_confirms_nothing_meanwhile(
    committer: Committer, disk: FakeDisk, told: Told, kind: str, code: int
) -> None:
    left = 3

    def before(operation: str, name: str) -> None:
        nonlocal left
        if operation == kind and left > 0:
            left -= 1
            raise OSError(code, "made to fail")

    disk.before = before
    committer.submit(Batch(b"message", 7, True, 7))
    committer.submit(Batch(b"next", 11, True, -1))
    committer.work()
    assert left == 0
    assert told.all == [("durable", 7), ("full", True), ("full", False), ("durable", 11)]
    after = disk.power_cut(random.Random(0))
    assert after.read(segment_name(7))[SEGMENT_HEAD_SIZE:] == b"next"


@pytest.mark.parametrize(
    ("kind", "when"), [("write", 1), ("sync", 1), ("write", 2), ("sync", 2), ("sync_folder", 1)]
)
def test_a_lack_of_memory_is_final_once_a_file_is_open(
    committer: Committer, disk: FakeDisk, told: Told, kind: str, when: int
) -> None:
    disk.before = raising(errno.ENOMEM, kind, when)
    committer.submit(Batch(b"message", 7, True, 7))
    committer.submit(Batch(b"next", 11, True, -1))
    committer.work()
    assert told.all[-1] == ("failed", errno.ENOMEM)
    assert ("durable", 11) not in told.all


def test_a_stop_does_not_wait_for_a_full_disk(committer: Committer, disk: FakeDisk, told: Told) -> None:
    disk.space = 0
    committer.submit(Batch(b"message", 7, True, -1))
    committer.submit(Batch(b"clean", 12, True, -1))
    committer.start()
    committer.stop()
    assert told.all == [("full", True)]
    assert records(disk) == b"", "behind a batch that was given up nothing may be written"


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_failed_sync_is_final(committer: Committer, disk: FakeDisk, told: Told, code: int) -> None:
    syncs = disk.syncs
    disk.before = raising(code, "sync")
    committer.submit(Batch(b"message", 7, True, -1))
    committer.work()
    committer.submit(Batch(b"next", 11, True, -1))
    committer.work()
    disk.before = None
    committer.work()
    assert told.all == [("failed", code)]
    assert disk.syncs == syncs, "a sync was tried again"
    assert records(disk) == b"message", "something was written after the failure"


def test_a_failed_write_is_final(committer: Committer, disk: FakeDisk, told: Told) -> None:
    disk.before = raising(errno.EIO, "write")
    committer.submit(Batch(b"message", 7, True, -1))
    committer.submit(Batch(b"next", 11, True, -1))
    committer.work()
    disk.before = None
    committer.work()
    assert told.all == [("failed", errno.EIO)]
    assert records(disk) == b""


@pytest.mark.parametrize("kind", ["create", "write", "sync", "sync_folder"])
def test_a_failure_while_rotating_is_final_but_takes_nothing_back(
    committer: Committer, disk: FakeDisk, told: Told, kind: str
) -> None:
    disk.before = raising(errno.EIO, kind, 1 if kind in ("create", "sync_folder") else 2)
    committer.submit(Batch(b"message", 7, True, 7))
    committer.submit(Batch(b"next", 11, True, -1))
    committer.work()
    assert told.all == [("durable", 7), ("failed", errno.EIO)]


def test_a_chore_that_fails_stops_the_node(committer: Committer, told: Told) -> None:
    def chore() -> None:
        raise OSError(errno.EIO, "made to fail")

    committer.do(chore)
    committer.work()
    assert told.all == [("failed", errno.EIO)]


def test_the_thread_finishes_what_was_submitted(committer: Committer, disk: FakeDisk, told: Told) -> None:
    committer.start()
    for n in range(1, 21):
        committer.submit(Batch(b"%02d" % n, 2 * n, n % 3 == 0, -1))
    committer.stop()
    lsns = [lsn for _, lsn in told.all]
    assert lsns == sorted(set(lsns), key=lsns.index) and lsns[-1] == 40
    assert records(disk) == b"".join(b"%02d" % n for n in range(1, 21))


def test_batches_and_syncs_are_counted(disk: FakeDisk, told: Told) -> None:
    commits = Commits()
    committer = Committer(disk, NODE, 0, told.reports(), commits=commits)
    for batch in (Batch(b"x" * 2000, 1, True, -1), Batch(b"x" * 10, 2, False, -1)):
        committer.submit(batch)
        committer.work()
    assert (sum(commits.batches.counts()), commits.batches.total) == (2, 2010)
    assert sum(commits.syncs.counts()) == 1
    assert commits.syncs.total >= 0


def test_batches_that_wait_are_written_and_synced_together(
    committer: Committer, disk: FakeDisk, told: Told
) -> None:
    before = disk.syncs
    for n, sync in ((1, False), (2, True), (3, False)):
        committer.submit(Batch(b"%02d" % n, 2 * n, sync, -1))
    committer.work()
    assert (told.all, disk.syncs) == ([("durable", 6)], before + 1)
    assert records(disk) == b"010203"


def test_batches_of_two_segments_are_not_put_together(
    committer: Committer, disk: FakeDisk, told: Told
) -> None:
    committer.submit(Batch(b"a", 1, False, -1))
    committer.submit(Batch(b"b", 2, False, 2))
    committer.submit(Batch(b"c", 3, False, -1))
    committer.work()
    assert told.all == [("durable", 2), ("written", 3)]
    assert (records(disk), records(disk, segment_name(2))) == (b"ab", b"c")


def test_batches_are_put_together_up_to_a_limit(committer: Committer, told: Told) -> None:
    for n in range(1, 5):
        committer.submit(Batch(bytes(MOST_OCTETS // 2), n, True, -1))
    committer.work()
    assert told.all == [("durable", 2), ("durable", 4)]


def test_chores_and_the_end_do_not_wait_for_batches_behind_them(committer: Committer, told: Told) -> None:
    done: list[int] = []
    committer.submit(Batch(b"a", 1, True, -1))
    committer.do(lambda: done.append(1))
    committer.submit(Batch(b"b", 2, True, -1))
    committer.stop()
    assert (told.all, done) == ([("durable", 2)], [1])


def test_only_what_follows_synced_octets_says_so(committer: Committer, disk: FakeDisk) -> None:
    for n, sync in ((1, True), (2, False), (3, True), (4, True)):
        committer.submit(Batch(b"ab", 2 * n, sync, -1, b"A"))
        committer.work()
    assert records(disk) == b"AbAbabAb", "what follows a batch that was not synced must not claim that it was"


def test_of_batches_written_together_only_the_first_says_what_is_synced(
    committer: Committer, disk: FakeDisk
) -> None:
    for n in range(1, 4):
        committer.submit(Batch(b"ab", 2 * n, True, -1, b"A"))
    committer.work()
    assert records(disk) == b"Ababab"
