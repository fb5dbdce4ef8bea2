"""Logs in files: what is on disk, what is found there again, and what a disk that fails does to them."""

from __future__ import annotations

import errno
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

import pytest

from harebell.storage.files import DiskFiles
from harebell.storage.page_thread import Damage
from harebell.storage.streams.block_reader import ATTEMPTS
from harebell.storage.streams.files import FileStreamLogs, StreamReports
from harebell.storage.streams.segment_files import WINDOW_OCTETS, decode_index, file_name, parse_name
from harebell.storage.streams.segments import UNKNOWN_KEY
from harebell.storage.streams.writer import OPEN_FILES
from harebell.streaming import StreamLog
from tests.storage.fake_disk import FakeDisk
from tests.storage.streams.stream_rig import DiskPlace, Found, Told, append, block_at, chunk, read

SIZE = len(chunk(0, b"body"))

KEYED_AT = 64
"""Where an index says by which key the segment was compacted."""


def fill(log: StreamLog, chunks: int) -> Found:
    """Append chunks of one size."""
    expected = []
    for number in range(chunks):
        expected += append(log, b"%04d" % number, timestamp=1000 + number)
    return expected


def filled(disk: FakeDisk, chunks: int, per_segment: int, close: bool) -> Found:
    """Leave a log on a disk, stopped in order or not."""
    place = DiskPlace(disk).begin()
    log, _ = place.open(segment_octets=per_segment * SIZE)
    expected = fill(log, chunks)
    place.work()
    if close:
        place.close()
    return expected


def failing(disk: FakeDisk, operation: str, number: int, name: str = "") -> None:
    """Have an operation on a file fail from now on."""

    def before(kind: str, file: str) -> None:
        if kind == operation and file.startswith(name):
            raise OSError(number, os.strerror(number))

    disk.before = before


@pytest.mark.parametrize("close", [True, False])
@pytest.mark.parametrize("chunks", [1, 3, 4, 9])
def test_a_log_is_found_again(disk: FakeDisk, close: bool, chunks: int) -> None:
    expected = filled(disk, chunks, 3, close)
    place = DiskPlace(disk).begin()
    log, told = place.open(segment_octets=3 * SIZE)
    assert (log.first, log.next, log.octets) == (0, chunks, chunks * SIZE)
    assert log.last_chunk() == chunks - 1
    assert read(log, place.work) == expected
    assert log.offset_at(1000 + chunks) == chunks
    log.sync()
    place.work()
    assert told.stored_to == [chunks], "what an earlier process wrote is synced, too"
    assert disk.files[file_name(1, (chunks - 1) // 3 * 3)].synced
    expected += fill(log, 4)
    place.work()
    assert read(log, place.work) == expected
    assert not place.damage
    place.close()


def test_names_say_stream_and_first_offset(disk: FakeDisk) -> None:
    filled(disk, 5, 3, close=True)
    assert disk.names() == [
        "1-00000000000000000000.index",
        "1-00000000000000000000.stream",
        "1-00000000000000000003.index",
        "1-00000000000000000003.stream",
    ]
    assert parse_name("12-00000000000000000003.stream") == (12, 3, "stream")
    assert parse_name(f"{(1 << 63) - 1}-00000000000000000000.index") == ((1 << 63) - 1, 0, "index")
    for name in (f"{1 << 63}-00000000000000000000.index", f"1-{1 << 63:020d}.index"):
        assert parse_name(name) is None
    for name in ("x", "1-3.stream", "1-00000000000000000003.stream.tmp", "-00000000000000000003.index"):
        assert parse_name(name) is None


def test_an_index_spares_reading_the_segments(disk: FakeDisk, reads: list[tuple[int, int]]) -> None:
    filled(disk, 9, 3, close=True)
    DiskPlace(disk).open()
    assert reads == []


@pytest.mark.parametrize("how", ["missing", "damaged", "cut", "stale"])
def test_an_index_that_is_no_good_is_made_again(disk: FakeDisk, how: str) -> None:
    expected = filled(disk, 9, 3, close=True)
    name = file_name(1, 3, "index")
    index = bytes(disk.files[name].octets)
    if how == "missing":
        disk.remove(name)
    elif how == "damaged":
        disk.put(name, index[:50] + b"\xff" + index[51:])
    elif how == "cut":
        disk.put(name, index[:-1])
    else:
        disk.put(name, bytes(disk.files[file_name(1, 0, "index")].octets))
    place = DiskPlace(disk).begin()
    log, _ = place.open()
    assert read(log, place.work) == expected
    made = bytes(disk.files[name].octets)
    assert made[:KEYED_AT] + made[KEYED_AT + 4 : -4] == index[:KEYED_AT] + index[KEYED_AT + 4 : -4]
    again = decode_index(made, 1, 3, 3 * SIZE)
    assert again is not None
    assert again.keyed == UNKNOWN_KEY, "what compaction did is not known"
    assert not place.damage
    place.close()


def test_an_index_is_worthless_once_more_was_appended(disk: FakeDisk) -> None:
    expected = filled(disk, 1, 9, close=True)
    place = DiskPlace(disk).begin()
    log, _ = place.open(segment_octets=9 * SIZE)
    expected += fill(log, 2)
    place.work()
    log, _ = DiskPlace(disk).open()
    assert log.next == 3


@pytest.mark.parametrize("left", [0, 1, 39, 40, SIZE - 1])
def test_a_torn_end_is_cut_and_written_over(disk: FakeDisk, left: int) -> None:
    expected = filled(disk, 5, 3, close=False)
    name = file_name(1, 3)
    disk.put(name, bytes(disk.files[name].octets[: SIZE + left]))
    place = DiskPlace(disk).begin()
    log, _ = place.open(segment_octets=3 * SIZE)
    assert log.next == 4
    assert read(log, place.work) == expected[:4]
    expected = expected[:4] + append(log, b"anew")
    place.work()
    log, _ = DiskPlace(disk).open()
    assert log.next == 5
    assert read(place.logs.open(7, 1), place.work) == []
    assert not place.damage
    place = DiskPlace(disk).begin()
    log, _ = place.open()
    assert read(log, place.work) == expected


def test_a_segment_of_which_nothing_is_left_says_where_to_go_on(disk: FakeDisk) -> None:
    expected = filled(disk, 4, 3, close=False)
    disk.put(file_name(1, 3), bytes(SIZE))
    place = DiskPlace(disk).begin()
    log, told = place.open(segment_octets=3 * SIZE)
    assert (log.first, log.next, log.last_chunk()) == (0, 3, 2)
    assert read(log, place.work) == expected[:3]
    log.sync()
    place.work()
    assert told.stored_to == [3]
    expected = expected[:3] + append(log, b"anew")
    place.work()
    assert read(log, place.work) == expected
    place.close()


def test_a_lone_segment_of_which_nothing_is_left_says_where_to_go_on(disk: FakeDisk) -> None:
    filled(disk, 4, 3, close=False)
    disk.put(file_name(1, 3), b"")
    disk.remove(file_name(1, 0))
    place = DiskPlace(disk).begin()
    log, _ = place.open()
    assert (log.first, log.next) == (3, 3)
    assert read(log, place.work, 0) == []
    assert append(log, b"a") == read(log, place.work, 0) == [(3, b"a")]


def test_the_tail_is_cut_at_its_first_bad_chunk(disk: FakeDisk) -> None:
    expected = filled(disk, 3, 9, close=False)
    octets = disk.files[file_name(1, 0)].octets
    octets[SIZE + 45] ^= 1
    place = DiskPlace(disk).begin()
    log, _ = place.open()
    assert log.next == 1, "the journal brings back the rest"
    assert read(log, place.work) == expected[:1]
    assert len(octets) == SIZE


@pytest.mark.parametrize("at", [0, 8, 12, 36, 40, SIZE - 1])
@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("indexed", [True, False])
def test_damage_in_a_closed_segment_costs_one_chunk(
    disk: FakeDisk, at: int, number: int, indexed: bool
) -> None:
    expected = filled(disk, 5, 3, close=True)
    name = file_name(1, 0)
    disk.files[name].octets[number * SIZE + at] ^= 0x55
    if not indexed:
        disk.remove(file_name(1, 0, "index"))
    place = DiskPlace(disk).begin()
    log, _ = place.open()
    assert read(log, place.work) == [each for each in expected if each[0] != number]
    assert len(place.damage) == 1, "it is told once"
    found = place.damage[0]
    assert (found.file, found.offset, found.octets) == (name, number * SIZE, SIZE)
    place.close()


def test_a_closed_segment_that_is_cut_or_gone_costs_what_was_there(disk: FakeDisk) -> None:
    expected = filled(disk, 9, 3, close=True)
    place = DiskPlace(disk).begin()
    log, _ = place.open()
    del disk.files[file_name(1, 0)].octets[SIZE + 5 :]
    disk.remove(file_name(1, 3))
    assert read(log, place.work) == expected[:1] + expected[6:]
    assert [(each.file, each.offset, each.octets) for each in place.damage] == [
        (file_name(1, 0), SIZE, 5),
        (file_name(1, 0), SIZE + 5, 2 * SIZE - 5),
        (file_name(1, 3), 0, 3 * SIZE),
    ]
    place.close()


@pytest.mark.parametrize("close", [True, False])
def test_a_file_that_is_gone_from_the_middle_is_noticed(disk: FakeDisk, close: bool) -> None:
    expected = filled(disk, 15, 3, close)
    disk.remove(file_name(1, 3))
    disk.remove(file_name(1, 9))
    disk.remove(file_name(1, 9, "index"))
    place = DiskPlace(disk).begin()
    log, _ = place.open()
    assert log.gaps == [(3, 6), (9, 12)]
    assert read(log, place.work) == [each for each in expected if each[0] not in (3, 4, 5, 9, 10, 11)]
    assert not place.damage


def test_what_retention_took_is_no_gap(disk: FakeDisk) -> None:
    place = DiskPlace(disk).begin()
    log, _ = place.open(segment_octets=3 * SIZE)
    fill(log, 9)
    log.retain(0, -1)
    place.close()
    log, _ = DiskPlace(disk).open()
    assert (int(log.first), log.gaps) == (6, [])


def test_a_gap_in_what_came_is_none_of_a_file(disk: FakeDisk) -> None:
    place = DiskPlace(disk).begin()
    log, _ = place.open(segment_octets=2 * SIZE)
    append(log, b"body")
    for _ in range(6):
        append(log, b"body", gap=5)
    expected = read(log, place.work)
    place.close()
    place = DiskPlace(disk).begin()
    log, _ = place.open()
    assert log.gaps == []
    assert read(log, place.work) == expected


def test_a_gap_is_not_guessed_behind_a_segment_without_an_index(disk: FakeDisk) -> None:
    filled(disk, 9, 3, close=True)
    disk.remove(file_name(1, 0, "index"))
    disk.remove(file_name(1, 3))
    for _ in range(2):
        place = DiskPlace(disk).begin()
        log, _ = place.open()
        assert log.gaps == [], "compaction may have emptied what is gone"
        place.close()


def test_a_power_cut_that_brings_some_of_what_was_deleted_back_makes_no_gap(disk: FakeDisk) -> None:
    place = DiskPlace(disk).begin()
    log, _ = place.open(segment_octets=3 * SIZE)
    fill(log, 15)
    place.work()
    log.retain(0, -1)
    place.work()
    for seed in range(20):
        after, _ = DiskPlace(disk.power_cut(random.Random(seed))).open()
        assert after.gaps == []
    place.close()


def test_chunks_in_a_body_are_not_taken_for_chunks(disk: FakeDisk) -> None:
    place = DiskPlace(disk).begin()
    log, _ = place.open(segment_octets=1)
    forged = chunk(1, b"forged", b"forged")
    append(log, forged * 3)
    expected = append(log, b"behind") + append(log, b"behind")
    place.close()
    disk.files[file_name(1, 0)].octets[-1] ^= 1
    place = DiskPlace(disk).begin()
    log, _ = place.open()
    assert read(log, place.work) == expected


def test_damage_that_looks_like_very_many_chunks_ends(disk: FakeDisk) -> None:
    place = DiskPlace(disk).begin()
    log, _ = place.open(segment_octets=1)
    head = chunk(1, bytes(200_000))[:40]
    append(log, head * 5000)
    expected = append(log, b"behind")
    place.close()
    disk.files[file_name(1, 0)].octets[0] ^= 1
    place = DiskPlace(disk).begin()
    log, _ = place.open()
    assert read(log, place.work) == expected


def test_a_large_segment_is_scanned_in_parts(disk: FakeDisk, reads: list[tuple[int, int]]) -> None:
    place = DiskPlace(disk).begin()
    log, _ = place.open(segment_octets=1 << 30)
    sizes = (10, WINDOW_OCTETS - 500, 300, 3 * WINDOW_OCTETS, 10, 10)
    expected = []
    for size in sizes:
        expected += append(log, bytes(size))
    place.work()
    place = DiskPlace(disk).begin()
    reads.clear()
    log, _ = place.open()
    assert log.next == 6
    assert len(reads) <= 6
    assert read(log, place.work) == expected


def test_retention_and_deletion_take_the_files_along(disk: FakeDisk) -> None:
    place = DiskPlace(disk).begin()
    log, _ = place.open(segment_octets=3 * SIZE)
    fill(log, 10)
    place.work()
    read(log, place.work)
    log.retain(0, -1)
    place.work()
    assert disk.names() == [file_name(1, 9)]
    assert len(disk.readers) <= 1, "a file that is gone is kept open"
    log.delete()
    place.work()
    assert disk.names() == []
    place.close()
    assert disk.names() == []


def test_files_of_streams_that_do_not_exist_are_deleted(disk: FakeDisk) -> None:
    filled(disk, 9, 3, close=True)
    disk.put(file_name(5, 0), b"x")
    disk.put(file_name(6, 0, "index"), b"x")
    disk.put(file_name(1, 77, "index"), b"x")
    disk.put("7-0.tmp", b"x")
    disk.put("other", b"x")
    place = DiskPlace(disk)
    place.open()
    assert place.files.unopened() == {5}
    place.files.forget_others({1, 7})
    assert {name for name in disk.names() if not name.startswith("1-")} == {"other"}
    assert len(disk.names()) == 7


def test_a_segment_is_synced_before_the_next_one_is_begun(disk: FakeDisk) -> None:
    place = DiskPlace(disk).begin()
    log, told = place.open(segment_octets=3 * SIZE)
    fill(log, 4)
    place.work()
    assert disk.files[file_name(1, 0)].synced == 3 * SIZE
    assert disk.files[file_name(1, 3)].synced == 0
    assert told.stored_to == [3]


def test_all_is_synced_after_so_many_octets(disk: FakeDisk) -> None:
    place = DiskPlace(disk, sync_octets=4 * SIZE).begin()
    (one, told_one), (two, told_two) = place.open(1), place.open(2)
    fill(one, 2)
    fill(two, 1)
    place.work()
    assert (told_one.stored_to, told_two.stored_to) == ([], [])
    fill(two, 1)
    place.work()
    assert (told_one.stored_to, told_two.stored_to) == ([2], [2])


def test_neighbouring_chunks_are_written_together(disk: FakeDisk) -> None:
    writes = []
    disk.before = lambda kind, name: writes.append(name) if kind == "write" else None
    place = DiskPlace(disk).begin()
    log, _ = place.open()
    fill(log, 50)
    place.work()
    assert len(writes) == 1


def test_many_streams_need_few_descriptors(disk: FakeDisk) -> None:
    place = DiskPlace(disk).begin()
    logs = [place.open(number) for number in range(1, 3 * OPEN_FILES)]
    for _ in range(2):
        for log, _ in logs:
            fill(log, 1)
        place.work()
        assert sum(state.file is not None for state in place.files.writer._open.values()) <= OPEN_FILES
    for log, _ in logs:
        log.sync()
    place.work()
    assert all(told.stored_to[-1] == 2 for _, told in logs)
    place.close()
    place = DiskPlace(disk).begin()
    for number in range(1, 3 * OPEN_FILES):
        log, _ = place.open(number)
        assert len(read(log, place.work)) == 2
    place.close()


@pytest.mark.parametrize("space", [0, 1, SIZE - 1, SIZE, 2 * SIZE + 7])
def test_a_full_disk_loses_nothing(disk: FakeDisk, space: int) -> None:
    place = DiskPlace(disk).begin()
    log, told = place.open(segment_octets=3 * SIZE)
    disk.space = space
    expected = []
    for _ in range(8):
        expected += fill(log, 1)
        log.sync()
        place.work()
        assert read(log, place.work) == expected
    assert [type(error) for error in place.full] == [OSError]
    before = told.stored_to.copy()
    assert all(following * SIZE <= space for following in before)
    disk.space = None
    place.work()
    assert place.full[-1] is None
    assert told.stored_to[-1] == 8
    assert read(log, place.work) == expected
    assert not place.failures
    place.close()
    place = DiskPlace(disk).begin()
    log, _ = place.open()
    assert read(log, place.work) == expected


def test_a_segment_that_is_written_does_not_take_the_next_one_out_of_memory(disk: FakeDisk) -> None:
    place = DiskPlace(disk, cache_octets=1).begin()
    log, _ = place.open(segment_octets=2 * SIZE)
    disk.space = 2 * SIZE
    expected = fill(log, 6)
    place.work()
    assert len(disk.files[file_name(1, 0)].octets) == 2 * SIZE
    for offset in (0, 2, 4):
        assert read(log, place.work, offset) == expected[offset:]
    assert not place.damage
    disk.space = None
    place.close()


def test_deletions_make_space_on_a_full_disk(disk: FakeDisk) -> None:
    place = DiskPlace(disk).begin()
    log, told = place.open(segment_octets=2 * SIZE)
    fill(log, 2)
    place.work()
    disk.space = 0
    fill(log, 4)
    place.work()
    log.retain(0, -1)
    place.work()
    assert disk.names() == [file_name(1, 4)], "an empty file says where the log goes on"
    disk.space = None
    log.sync()
    place.work()
    assert told.stored_to[-1] == 6
    assert [offset for offset, _ in read(log, place.work)] == [4, 5]
    place.close()


def test_a_stop_does_not_wait_for_a_full_disk(disk: FakeDisk) -> None:
    place = DiskPlace(disk).begin()
    log, told = place.open()
    expected = fill(log, 1)
    place.work()
    disk.space = 0
    fill(log, 1)
    place.close()
    assert told.stored_to == [1]
    place = DiskPlace(disk).begin()
    log, _ = place.open()
    assert read(log, place.work) == expected


@pytest.mark.parametrize(
    ("operation", "number"),
    [("write", errno.EIO), ("create", errno.EACCES), ("sync", errno.EIO), ("sync", errno.ENOSPC)],
)
def test_after_a_failure_nothing_is_written_any_more(disk: FakeDisk, operation: str, number: int) -> None:
    place = DiskPlace(disk).begin()
    log, told = place.open()
    failing(disk, operation, number)
    fill(log, 1)
    log.sync()
    place.work()
    assert [getattr(error, "errno", 0) for error in place.failures] == [number]
    disk.before = None
    operations = disk.operations
    fill(log, 1)
    log.sync()
    place.work()
    place.close()
    assert (told.stored_to, disk.operations) == ([], operations)


def test_want_of_descriptors_is_waited_for(disk: FakeDisk) -> None:
    place = DiskPlace(disk).begin()
    log, told = place.open()
    failing(disk, "create", errno.EMFILE)
    expected = fill(log, 1)
    log.sync()
    place.work()
    assert read(log, place.work) == expected
    disk.before = None
    place.work()
    assert told.stored_to == [1]
    assert not place.failures


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE])
@pytest.mark.parametrize("operation", ["read", "open"])
def test_a_block_that_cannot_be_read_is_asked_for_again(disk: FakeDisk, operation: str, number: int) -> None:
    expected = filled(disk, 2, 9, close=True)
    place = DiskPlace(disk).begin()
    log, told = place.open()
    failing(disk, operation, number)
    for _ in range(ATTEMPTS - 1):
        assert log.block(0) is None
        place.work()
    disk.before = None
    assert read(log, place.work) == expected
    assert (told.arrivals, place.damage) == (1, [])


def test_octets_that_the_disk_refuses_for_long_are_passed_over(disk: FakeDisk) -> None:
    expected = filled(disk, 100, 100, close=True)
    place = DiskPlace(disk).begin()
    log, _ = place.open()
    bad = 50 * SIZE

    read_at = type(disk.reader(file_name(1, 0))).read
    disk.readers.clear()
    with pytest.MonkeyPatch.context() as patch:

        def broken(reader: object, offset: int, size: int) -> bytes:
            if offset <= bad < offset + size:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return read_at(reader, offset, size)  # type: ignore[arg-type]

        patch.setattr("tests.storage.fake_disk.FakeReader.read", broken)
        found = read(log, place.work)
    assert 0 < len(found) < 100
    assert set(found) <= set(expected)
    assert place.damage
    place.close()


def test_a_small_cache_still_serves_readers(disk: FakeDisk) -> None:
    place = DiskPlace(disk, cache_octets=1).begin()
    log, _ = place.open(segment_octets=SIZE)
    expected = fill(log, 10)
    place.work()
    for offset in (9, 0, 5, 0):
        assert read(log, place.work, offset) == expected[offset:]
        assert place.files.cache.octets < 3 * SIZE + 1000


def test_appends_before_the_beginning_are_written_then(disk: FakeDisk) -> None:
    place = DiskPlace(disk)
    log, _ = place.open()
    expected = fill(log, 3)
    assert disk.names() == []
    assert read(log, lambda: None) == expected
    place.begin()
    place.work()
    assert disk.names() == [file_name(1, 0)]


class Loop:
    """Runs what the threads ask for."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[tuple[Callable[..., object], tuple[object, ...]]] = SimpleQueue()
        self.thread = threading.get_ident()

    def call_soon(self, function: Callable[..., object], *arguments: object) -> None:
        """Take a call, from any thread."""
        self.calls.put((function, arguments))

    def run_one(self) -> None:
        """Wait for a call and make it."""
        function, arguments = self.calls.get(timeout=20)
        function(*arguments)


def test_the_threads_do_it_on_a_real_disk(tmp_path: Path) -> None:
    chance = random.Random(1)
    loop = Loop()
    damage: list[Damage] = []
    failures: list[Exception] = []
    reports = StreamReports(lambda error: None, failures.append, damage.extend)
    expected: Found = []
    for life in range(2):
        logs = FileStreamLogs(DiskFiles(tmp_path))
        log = logs.open(1, 1_000_000)
        told = log.reader = Told()
        logs.begin(loop.call_soon, reports)
        assert read(log, loop.run_one) == expected
        for _ in range(100):
            expected += append(log, *[chance.randbytes(chance.randint(0, 2000)) for _ in range(30)])
        log.sync()
        while not told.stored_to or told.stored_to[-1] < log.next:
            loop.run_one()
        assert read(log, loop.run_one) == expected
        if life == 0:
            log.retain(2_000_000, -1)
            expected = [each for each in expected if each[0] >= log.first]
        logs.close()
    assert (damage, failures) == ([], [])
    assert block_at(log, 0, loop.run_one).first == log.first
