"""Logs of streams to be tested, in memory and on a fake disk, and a reader that does as the engine does."""

from __future__ import annotations

from collections.abc import Callable

from harebell.content.chunks import ChunkWriter
from harebell.content.message import Message, address
from harebell.content.properties import build_header, parse_properties
from harebell.storage.page_thread import Damage
from harebell.storage.streams.blocks import CACHE_OCTETS
from harebell.storage.streams.files import FileStreamLogs, StreamReports
from harebell.storage.streams.memory import MemoryStreamLogs
from harebell.streaming import Block, StreamLog, StreamReader
from tests.storage.fake_disk import FakeDisk

Found = list[tuple[int, bytes]]


class Told(StreamReader):
    """Notes what a log tells."""

    def __init__(self) -> None:
        self.arrivals = 0
        self.stored_to: list[int] = []

    def block_arrived(self) -> None:
        self.arrivals += 1

    def stored(self, following: int) -> None:
        self.stored_to.append(int(following))


class Place:
    """Logs in memory; ``work`` has nothing to do."""

    def __init__(self, cache_octets: int = CACHE_OCTETS) -> None:
        self.logs: MemoryStreamLogs | FileStreamLogs = MemoryStreamLogs(cache_octets)

    def work(self) -> None:
        """Do what was asked of the disk."""

    def open(self, queue_id: int = 1, segment_octets: int = 1 << 20) -> tuple[StreamLog, Told]:
        """Open a log, and listen."""
        log = self.logs.open(queue_id, segment_octets)
        told = Told()
        log.reader = told
        return log, told


class DiskPlace(Place):
    """Logs on a fake disk.

    Attributes:
        damage, failures, full: what was reported.
    """

    def __init__(self, disk: FakeDisk, cache_octets: int = CACHE_OCTETS, sync_octets: int = 1 << 40) -> None:
        self.disk = disk
        self.damage: list[Damage] = []
        self.failures: list[Exception] = []
        self.full: list[OSError | None] = []
        self.files = FileStreamLogs(disk, cache_octets, retry_seconds=0.0, sync_octets=sync_octets)
        self.logs = self.files

    def begin(self) -> DiskPlace:
        """Begin without threads."""
        reports = StreamReports(self.full.append, self.failures.append, self.damage.extend)
        self.files.begin(lambda function, *arguments: function(*arguments), reports, threaded=False)
        return self

    def work(self) -> None:
        self.files.work()

    def close(self) -> None:
        """Stop in order; no file may be left open."""
        self.files.close()
        assert not self.disk.readers, "files are left open"


def chunk(first: int, *bodies: bytes, timestamp: int = 0) -> bytes:
    """Make a chunk without gaps."""
    writer = ChunkWriter()
    for offset, body in enumerate(bodies, first):
        writer.add(offset, Message(address("", "s"), build_header(len(body), delivery_mode=2), body, True))
    return writer.take(timestamp)


def append(log: StreamLog, *bodies: bytes, timestamp: int = 0, gap: int = 0) -> Found:
    """Append a chunk; give its messages."""
    first = int(log.next) + gap
    log.append(chunk(first, *bodies, timestamp=timestamp), first, first + len(bodies), timestamp)
    return list(enumerate(bodies, first))


def block_at(log: StreamLog, offset: int, work: Callable[[], None]) -> Block:
    """Give a block, read if need be."""
    for _ in range(100):
        block = log.block(offset)
        if block is not None:
            return block
        work()
    raise AssertionError(f"the block at {offset} never arrives")


def read(log: StreamLog, work: Callable[[], None], offset: int = 0) -> Found:
    """Read from an offset to the end, as a consumer does; check what every message says of itself."""
    found: Found = []
    while True:
        block = block_at(log, offset, work)
        for index in range(int(block.index(offset)), len(block.messages)):
            message = block.messages[index]
            at = int(block.offset(index))
            assert parse_properties(message.header).headers()["x-stream-offset"] == at
            found.append((at, message.body))
        if block.growing:
            assert block.next >= log.next, "a growing block has all there is"
            return found
        assert block.next > offset, "a reader gets nowhere"
        offset = int(block.next)
