"""Copying forward: what is alive in the oldest segment is written again at the end of the log.

It goes a slice of records at a time; the event loop runs in between.  A message in memory takes its new
location at once.  One that is on disk only takes it when the copy can be read, and counts in its old segment
until then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple, Protocol

from harebell.paging import Moved, Place, journal_location
from harebell.storage.journal import WriteAheadLog
from harebell.storage.records import (
    GROUP,
    MESSAGE,
    RECORD_HEAD_SIZE,
    SEGMENT_HEAD_SIZE,
    Record,
    decode_message,
    message_at,
    records_in_group,
    walk,
)
from harebell.storage.segments import Segments

RECORDS_A_SLICE: Final = 2000
OCTETS_A_SLICE: Final = 1024 * 1024
"""Messages of an old segment looked at in one go, or octets of their records."""

Pair = tuple[int, int]
"""A queue id and a position."""


class Engine(Protocol):
    """Who knows what is alive."""

    def locate(self, pairs: set[Pair], segment: int) -> Mapping[Pair, Place]:
        """Find what is alive among some messages whose records are in a segment."""

    def sync_streams(self, segment: int) -> bool:
        """Have files of streams synced for which segments before this are kept; True if there are any."""

    def relocate(
        self, moves: dict[int, list[Moved]], segment: int, to_segment: int
    ) -> Mapping[int, list[int]]:
        """Note where records were copied; gives the positions whose location changed."""


class _Found(NamedTuple):
    """A MESSAGE record: its lsn, where it is in the file, its octets, who took it."""

    lsn: int
    offset: int
    size: int
    enqueues: list[Pair]


class _Copies(NamedTuple):
    """Copies of messages that are on disk only, readable once the log is written up to ``lsn``."""

    lsn: int
    to_segment: int
    moves: dict[int, list[Moved]]


class Move:
    """Moves one segment.

    Args:
        data: the whole file.
        base: lsn of its first record.
        segment: its number.
        segments: where live octets are counted.

    Attributes:
        missed: True if a message came into memory while it was copied: its old record is still needed.
    """

    def __init__(self, data: bytes, base: int, segment: int, segments: Segments) -> None:
        self._data = data
        self._base = base
        self._found = self._messages(data)
        self._segment = segment
        self._segments = segments
        self._copies: list[_Copies] = []
        self._done = False
        self.missed = False

    def step(self, journal: WriteAheadLog, engine: Engine) -> bool:
        """Look at the next slice; True when all of the segment is copied and every location is noted."""
        self._note(journal, engine)
        if not self._done:
            self._copy(journal, engine)
        return self._done and not self._copies

    def _copy(self, journal: WriteAheadLog, engine: Engine) -> None:
        found: list[_Found] = []
        octets = 0
        self._done = True
        for one in self._found:
            found.append(one)
            octets += one.size
            if len(found) >= RECORDS_A_SLICE or octets >= OCTETS_A_SLICE:
                self._done = False
                break
        living = engine.locate({pair for one in found for pair in one.enqueues}, self._segment)
        moves: dict[int, list[Moved]] = {}
        to_segment = int(self._segments.current)
        for one in found:
            self._copy_one(journal, one, living, moves)
        if moves:
            for moved in moves.values():
                moved.sort()
            self._copies.append(_Copies(int(journal.appended), to_segment, moves))

    def _messages(self, data: bytes) -> Iterator[_Found]:
        """Go through the messages of the segment, those of transactions one by one, too."""
        for record in walk(data, SEGMENT_HEAD_SIZE, self._base):
            if isinstance(record, Record):
                yield from self._of(record)

    def _of(self, record: Record) -> Iterator[_Found]:
        offset = record.lsn - self._base + SEGMENT_HEAD_SIZE
        if record.kind == MESSAGE:
            size = RECORD_HEAD_SIZE + len(record.payload)
            yield _Found(record.lsn, offset, size, decode_message(record.payload).enqueues)
        elif record.kind == GROUP:
            start = RECORD_HEAD_SIZE
            for kind, payload in records_in_group(record.payload):
                size = RECORD_HEAD_SIZE + len(payload)
                if kind == MESSAGE:
                    enqueues = decode_message(payload).enqueues
                    yield _Found(record.lsn + start, offset + start, size, enqueues)
                start += size

    def _copy_one(
        self,
        journal: WriteAheadLog,
        found: _Found,
        living: Mapping[Pair, Place],
        moves: dict[int, list[Moved]],
    ) -> None:
        """Copy a message for the queues that hold it by this record and not by a later copy."""
        here = journal_location(found.lsn)
        pairs = [pair for pair in found.enqueues if pair in living and living[pair].location == here]
        if not pairs:
            return
        message = message_at(self._data, found.offset, found.lsn)
        if message is None:
            return
        share = found.size // max(1, len(found.enqueues))
        returned = [(*pair, living[pair].returns) for pair in pairs if living[pair].returns]
        held_until = [(*pair, living[pair].until) for pair in pairs if living[pair].until]
        journal.copy(message, pairs, returned, held_until)
        for queue_id, position in pairs:
            held = living[(queue_id, position)].message
            if held is None:
                moved = Moved(position, int(message.location), share, int(message.share))
                moves.setdefault(queue_id, []).append(moved)
                continue
            held.location = message.location
            held.segment = message.segment
            held.share = message.share
            self._segments.settle(self._segment, share)

    def _note(self, journal: WriteAheadLog, engine: Engine) -> None:
        """Note the locations of copies that can be read by now.

        A message that left its page meanwhile is in memory, with its old location, or gone: it has no use for
        the copy.
        """
        while self._copies and self._copies[0].lsn <= journal.written:
            copies = self._copies.pop(0)
            changed = engine.relocate(copies.moves, self._segment, copies.to_segment)
            for queue_id, moved in copies.moves.items():
                found = set(changed.get(queue_id, ()))
                for one in moved:
                    if one.position in found:
                        self._segments.settle(self._segment, one.share)
                    else:
                        self._segments.settle(copies.to_segment, one.to_share)
                        self.missed = True
