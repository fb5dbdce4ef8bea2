"""Compaction: the last message of each key stays, whatever happens meanwhile."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import SimpleQueue

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harebell.content.chunks import ChunkWriter
from harebell.content.message import Message, address
from harebell.content.properties import build_header
from harebell.content.table import Table
from harebell.storage.files import DiskFiles
from harebell.storage.page_thread import Damage
from harebell.storage.streams.compaction import TOMBSTONE_MS
from harebell.storage.streams.compactor import TEMPORARY
from harebell.storage.streams.files import FileStreamLogs, StreamReports
from harebell.storage.streams.log import SegmentedLog
from harebell.storage.streams.segment_files import file_name
from harebell.streaming import StreamLog
from tests.storage.fake_disk import FakeDisk, PowerCut
from tests.storage.streams.stream_rig import DiskPlace, Place, block_at, read

Event = tuple[int, str, bytes]
"""Offset, key (empty: none) and body."""

SEGMENT = 1500


def put(log: StreamLog, *events: tuple[str, bytes], timestamp: int = 0, by: str = "k") -> list[Event]:
    """Append a chunk of messages with keys; give them with their offsets."""
    writer = ChunkWriter()
    first = int(log.next)
    for offset, (key, body) in enumerate(events, first):
        headers: Table = {"other": "x", "k": key} if key and by == "k" else {"other": "x"}
        message_id = key if key and by == "message-id" else None
        header = build_header(len(body), delivery_mode=2, headers=headers, message_id=message_id)
        route = key if by == "routing-key" else "s"
        writer.add(offset, Message(address("", route), header, body, True))
    following = first + len(events)
    log.append(writer.take(timestamp), first, following, timestamp)
    return [(offset, key, body) for offset, (key, body) in enumerate(events, first)]


def settle(place: Place) -> None:
    """Have all done that follows from what was done."""
    for _ in range(12):
        place.work()


def fill(place: Place, log: StreamLog, timestamp: int = 0) -> list[Event]:
    """Append without keys until all before is compacted, in either log."""
    put_there: list[Event] = []
    for _ in range(150):
        put_there += put(log, ("", b"f" * 60), timestamp=timestamp)
        settle(place)
    return put_there


def latest(events: list[Event]) -> set[tuple[int, bytes]]:
    """What has to stay: the last of each key, and what has none."""
    last = {key: offset for offset, key, _ in events if key}
    return {(offset, body) for offset, key, body in events if not key or last[key] == offset}


def check(events: list[Event], found: list[tuple[int, bytes]]) -> None:
    """Nothing that has to stay is gone, nothing was changed or made up."""
    everything = {(offset, body) for offset, _, body in events}
    assert found == sorted(set(found)), "offsets ascend"
    assert set(found) <= everything
    assert latest(events) <= set(found), "the last message of a key is gone"


@pytest.mark.parametrize("by", ["k", "routing-key", "message-id"])
def test_the_last_message_of_each_key_stays_at_its_offset(place: Place, by: str) -> None:
    log, _ = place.open(segment_octets=SEGMENT)
    log.compact_by(by)
    events = []
    for number in range(40):
        events += put(
            log, (f"key {number % 4}", b"%d" % number), (f"a long key {number % 3}" * 9, b"x"), by=by
        )
    if by != "routing-key":
        events += fill(place, log)
    else:
        for number in range(200):
            events += put(log, (f"other {number % 2}", b"f" * 60), by=by)
            settle(place)
    found = read(log, place.work)
    check(events, found)
    early = [offset for offset, _ in found if offset < 80]
    assert len(early) == 7, f"of seven keys one message each is kept, not {len(early)}"
    assert log.first == min(early)


def test_messages_without_the_key_all_stay(place: Place) -> None:
    log, _ = place.open(segment_octets=SEGMENT)
    log.compact_by("k")
    events = []
    for number in range(100):
        events += put(log, ("", b"%d" % number), ("same", b"v"))
    events += fill(place, log)
    found = read(log, place.work)
    check(events, found)
    assert len(found) < len(events) - 80


def test_without_a_key_nothing_is_compacted(place: Place) -> None:
    log, _ = place.open(segment_octets=SEGMENT)
    events = []
    for _ in range(60):
        events += put(log, ("same", b"v"))
        settle(place)
    assert len(read(log, place.work)) == len(events)


def test_an_empty_body_deletes_its_key_and_goes_after_a_day(place: Place) -> None:
    log, _ = place.open(segment_octets=SEGMENT)
    log.compact_by("k")
    put(log, ("gone", b"1"), ("kept", b"2"))
    for _ in range(20):
        put(log, ("gone", b"x" * 50))
    tombstone = put(log, ("gone", b""))[0][0]
    fill(place, log, timestamp=1000)
    offsets = [offset for offset, _ in read(log, place.work)]
    assert tombstone in offsets, "readers that are behind have to see it"
    assert offsets[:2] == [1, tombstone]
    for number in range(300):
        put(log, ("again", b"%060d" % number), timestamp=1000 + 2 * TOMBSTONE_MS)
        settle(place)
    offsets = [offset for offset, _ in read(log, place.work)]
    assert tombstone not in offsets
    assert offsets[0] == 1


def test_segments_of_which_nothing_is_left_go(place: Place) -> None:
    log, _ = place.open(segment_octets=SEGMENT)
    log.compact_by("k")
    events = []
    for number in range(200):
        events += put(log, ("same", b"%060d" % number))
        settle(place)
    found = read(log, place.work)
    check(events, found)
    assert log.octets < 5 * SEGMENT
    for offset in range(0, 200, 7):
        assert read(log, place.work, offset) == [each for each in found if each[0] >= offset]


@pytest.mark.parametrize("index", [True, False], ids=["with indexes", "without"])
def test_what_compaction_took_is_no_gap(disk: FakeDisk, index: bool) -> None:
    place = DiskPlace(disk).begin()
    log, _ = place.open(segment_octets=SEGMENT)
    log.compact_by("k")
    events = put(log, ("", b"first"))
    for number in range(200):
        events += put(log, ("same", b"%060d" % number))
        settle(place)
    found = read(log, place.work)
    assert len(found) < 100, "this is about segments of which nothing is left"
    place.close()
    for name in disk.names():
        if name.endswith(".index") and not index:
            disk.remove(name)
    for _ in range(2):
        place = DiskPlace(disk).begin()
        log, _ = place.open(segment_octets=SEGMENT)
        assert log.gaps == []
        assert read(log, place.work) == found
        place.close()


def test_more_keys_than_memory_allows_take_more_passes(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SegmentedLog, "_most_keys", 6)
    log, _ = place.open(segment_octets=SEGMENT)
    log.compact_by("k")
    events = []
    for number in range(160):
        events += put(log, *[(f"{number // 20} {key}", b"%d" % number) for key in range(4)])
        settle(place)
    found = read(log, place.work)
    check(events, found)
    assert len(found) < len(events) // 3


def test_another_key_counts_from_then_on(place: Place) -> None:
    log, _ = place.open(segment_octets=SEGMENT)
    log.compact_by("nothing has it")
    events = []
    for number in range(60):
        events += put(log, ("same", b"%d" % number))
        settle(place)
    assert len(read(log, place.work)) == 60
    log.compact_by("k")
    events += fill(place, log)
    assert len([each for each in read(log, place.work) if each[0] < 60]) == 1


KEYS = st.sampled_from(["", "a", "b", "c", "a key that is longer than a hash"])
CHUNKS = st.lists(
    st.lists(st.tuples(KEYS, st.sampled_from([b"", b"v", b"w" * 100])), min_size=1, max_size=6), max_size=60
)


@given(chunks=CHUNKS, on_disk=st.booleans(), again=st.booleans())
@settings(max_examples=60, deadline=None)
def test_replay_gives_what_a_dictionary_has(
    chunks: list[list[tuple[str, bytes]]], on_disk: bool, again: bool
) -> None:
    disk = FakeDisk()
    place: Place = DiskPlace(disk).begin() if on_disk else Place()
    log, _ = place.open(segment_octets=800)
    log.compact_by("k")
    events: list[Event] = []
    for number, chunk in enumerate(chunks):
        events += put(log, *chunk)
        if number % 3 == 0:
            place.work()
    settle(place)
    if on_disk and again:
        assert isinstance(place, DiskPlace)
        place.close()
        place = DiskPlace(disk).begin()
        log, _ = place.open(segment_octets=800)
        log.compact_by("k")
        assert not place.damage
    events += fill(place, log)
    found = read(log, place.work)
    check(events, found)
    table = {key: body for _, key, body in events if key}
    bodies = dict(found)
    replayed = {key: bodies[offset] for offset, key, _ in events if key and offset in bodies}
    assert replayed == table
    if isinstance(place, DiskPlace):
        assert not place.failures
        place.close()


def test_a_reader_goes_on_while_its_segment_is_replaced(disk: FakeDisk) -> None:
    place = DiskPlace(disk, cache_octets=1).begin()
    log, told = place.open(segment_octets=40_000)
    log.compact_by("k")
    for number in range(300):
        put(log, (f"k{number % 100}", b"%0400d" % number))
        place.work()
    block = block_at(log, 0, place.work)
    # Asked for before the swap, read behind it, and the other way round.
    for _ in range(40):
        put(log, ("k", b"v" * 400))
        log.ahead(150)
        assert block_at(log, 250, place.work).messages
        place.work()
    assert block.messages
    found = read(log, place.work)
    assert not place.damage
    assert len(found) < 200
    for offset in range(0, 340, 13):
        assert read(log, place.work, offset) == [each for each in found if each[0] >= offset]
    assert told.arrivals > 0
    place.close()


def test_retention_takes_a_segment_that_is_being_compacted(disk: FakeDisk) -> None:
    for moment in range(1, 30):
        disk = FakeDisk()
        place = DiskPlace(disk).begin()
        log, _ = place.open(segment_octets=SEGMENT)
        log.compact_by("k")
        seen = 0

        def before(
            kind: str, name: str, moment: int = moment, log: StreamLog = log, place: DiskPlace = place
        ) -> None:
            nonlocal seen
            if name.endswith(".stream" + TEMPORARY) or kind == "rename":
                seen += 1
                if seen == moment:
                    log.retain(2 * SEGMENT, -1)

        disk.before = before
        events = []
        for number in range(80):
            events += put(log, (f"k{number % 5}", b"%060d" % number), ("", b"x"))
            place.work()
        disk.before = None
        settle(place)
        found = read(log, place.work)
        assert set(found) <= {(offset, body) for offset, _, body in events}
        kept = {each for each in latest(events) if each[0] >= log.first}
        assert kept <= set(found)
        assert not place.damage
        place.close()
        assert not place.failures
        assert not [name for name in disk.names() if name.endswith(TEMPORARY)]
        again = DiskPlace(disk).begin()
        assert read(again.open(segment_octets=SEGMENT)[0], again.work) == found
        again.close()


def test_a_stream_is_deleted_while_it_is_compacted(disk: FakeDisk) -> None:
    place = DiskPlace(disk).begin()
    log, _ = place.open(segment_octets=SEGMENT)
    log.compact_by("k")

    deleted: list[str] = []

    def before(kind: str, name: str) -> None:
        if kind == "sync" and name.endswith(".stream" + TEMPORARY):
            disk.before = None
            deleted.append(name)
            log.delete()

    disk.before = before
    for number in range(60):
        if not deleted:
            put(log, (f"k{number % 5}", b"%060d" % number))
        place.work()
    assert deleted, "nothing was compacted"
    assert disk.names() == []
    place.close()


def test_a_full_disk_ends_a_pass_and_loses_nothing(disk: FakeDisk) -> None:
    place = DiskPlace(disk).begin()
    log, _ = place.open(segment_octets=SEGMENT)
    log.compact_by("k")
    refused = 0

    def before(kind: str, name: str) -> None:
        nonlocal refused
        if kind == "write" and name.endswith(".stream" + TEMPORARY) and refused < 3:
            refused += 1
            raise OSError(errno.ENOSPC, "no space")

    disk.before = before
    events = []
    for number in range(150):
        events += put(log, (f"k{number % 5}", b"%060d" % number))
        place.work()
    assert refused == 3
    settle(place)
    found = read(log, place.work)
    check(events, found)
    assert len(found) < 100, "it was tried again"
    assert not place.failures
    place.close()


def test_a_damaged_segment_is_left_as_it_is(disk: FakeDisk) -> None:
    place = DiskPlace(disk).begin()
    log, _ = place.open(segment_octets=SEGMENT)
    events = []
    for number in range(80):
        events += put(log, (f"k{number % 5}", b"%060d" % number))
    settle(place)
    name = file_name(1, 0)
    octets = disk.files[name].octets
    octets[300] ^= 1
    before = bytes(octets)
    log.compact_by("k")
    events += fill(place, log, timestamp=1)
    assert bytes(disk.files[name].octets) == before
    found = read(log, place.work)
    assert len(found) < len(events)
    assert {each for each in latest(events) if each[0] > 40} <= set(found)
    place.close()


def test_what_was_compacted_is_known_after_a_restart(disk: FakeDisk) -> None:
    place = DiskPlace(disk).begin()
    log, _ = place.open(segment_octets=SEGMENT)
    log.compact_by("k")
    for number in range(60):
        put(log, (f"k{number % 40}", b"%060d" % number))
        settle(place)
    place.close()
    place = DiskPlace(disk).begin()
    log, _ = place.open(segment_octets=SEGMENT)
    log.compact_by("k")
    looked: list[str] = []
    disk.before = lambda kind, name: looked.append(name) if kind == "create" else None
    for number in range(10):
        put(log, (f"k{number}", b"%060d" % number))
        settle(place)
    assert not [name for name in looked if name.endswith(".stream" + TEMPORARY)], "less than half is new"
    place.close()


def test_threads_compact_what_others_read_and_retain(tmp_path: Path) -> None:
    calls: SimpleQueue[Callable[[], object]] = SimpleQueue()
    failures: list[Exception] = []
    damage: list[Damage] = []
    logs = FileStreamLogs(DiskFiles(tmp_path), cache_octets=1)
    reports = StreamReports(lambda error: None, failures.append, damage.extend)
    logs.begin(lambda function, *arguments: calls.put(partial(function, *arguments)), reports)
    log = logs.open(1, 20_000)
    log.compact_by("k")

    def work() -> None:
        calls.get(timeout=30)()

    chance = random.Random(1)
    events: list[Event] = []
    for number in range(1500):
        keys = [chance.choice(["", "a", "b", "c", f"k{number % 50}"]) for _ in range(4)]
        events += put(log, *[(key, chance.randbytes(30)) for key in keys], timestamp=number)
        while not calls.empty():
            work()
        if number % 50 == 49:
            offset = chance.randint(0, int(log.next))
            check([event for event in events if event[0] >= offset], read(log, work, offset))
    appended = sum(len(body) for _, _, body in events)
    while log.octets > 3 * appended:
        work()
    log.retain(2 * appended, -1)
    first = int(log.first)
    kept = [event for event in events if event[0] >= first]
    check(kept, read(log, work, first))
    logs.close()
    while not calls.empty():
        work()
    assert (failures, damage) == ([], [])
    logs = FileStreamLogs(DiskFiles(tmp_path))
    logs.begin(lambda function, *arguments: calls.put(partial(function, *arguments)), reports)
    check(kept, read(logs.open(1, 20_000), work, first))
    logs.close()
    assert (failures, damage) == ([], [])
    assert not [name for name in DiskFiles(tmp_path).names() if name.endswith(TEMPORARY)]


class History:
    """A folder that lives several times, with a compacted stream."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.disk = FakeDisk()
        self.events: list[Event] = []
        self.first = 0
        self.stored = 0
        self.cuts = 0
        self.renames = 0

    def live(self) -> None:
        """Start, check what is there, work until the power goes or stop in order."""
        left = self.chance.randint(20, 400)

        def before(kind: str, name: str) -> None:
            nonlocal left
            left -= 1
            if kind == "rename" and name.endswith(".stream"):
                self.renames += 1
            if left < 0:
                raise PowerCut()

        self.disk.before = before
        self.disk.short_writes = self.chance.choice([None, random.Random(self.chance.random())])
        try:
            self._live()
            self.disk.before = None
        except PowerCut:
            self.cuts += 1
            self.disk.before = None
            self.disk = self.disk.power_cut(self.chance, block=64)

    def _live(self) -> None:
        chance = self.chance
        self.disk.readers.clear()
        place = DiskPlace(self.disk, sync_octets=chance.choice([500, 5000, 1 << 40])).begin()
        log, told = place.open(segment_octets=SEGMENT)
        log.compact_by("k")
        assert not log.gaps, "no file was deleted but by the log"
        assert not [damage for damage in place.damage if int(damage.file[2:22]) >= self.first]
        found = read(log, place.work)
        assert log.next >= self.stored, "what was stored is there"
        there = [each for each in self.events if each[0] < log.next]
        rest = [each for each in self.events if each[0] >= log.next]
        self._check(there, found)
        self.events = there
        while rest:
            # The journal has the rest.
            assert int(log.next) <= rest[0][0]
            count = chance.randint(1, 3)
            self.events += put(log, *[(key, body) for _, key, body in rest[:count]])
            rest = rest[count:]
        for _ in range(chance.randint(0, 80)):
            action = chance.random()
            if action < 0.6:
                keys = [chance.choice(["", "a", "b", "c", "d"]) for _ in range(chance.randint(1, 3))]
                self.events += put(
                    log, *[(key, chance.randbytes(chance.choice([0, 50, 300]))) for key in keys]
                )
            elif action < 0.65:
                log.sync()
            elif action < 0.68:
                log.retain(4000, -1)
                self.first = max(self.first, int(log.first))
            elif action < 0.75:
                self._check(self.events, read(log, place.work))
            else:
                place.work()
            if told.stored_to:
                self.stored = max(self.stored, told.stored_to[-1])
        assert not place.failures
        if chance.random() < 0.5:
            place.close()
            self.stored = int(log.next)

    def _check(self, events: list[Event], found: list[tuple[int, bytes]]) -> None:
        assert found == sorted(set(found))
        assert set(found) <= {(offset, body) for offset, _, body in events}
        assert {each for each in latest(events) if each[0] >= self.first} <= set(found)


@pytest.mark.parametrize("seed", range(40))
def test_a_power_cut_leaves_the_last_message_of_each_key(seed: int) -> None:
    history = History(seed)
    for _ in range(12):
        history.live()
    assert history.cuts > 1, "the seed does not cut the power"
    assert history.renames > 0, "nothing was compacted"
