"""What recovery knows of one queue's messages: where each is, and no message itself.

A message costs 32 octets while the log is read, 4 more once any of its neighbours came back.  Neighbours lie
in chunks, so that those settled from the front, by far the most, are dropped a chunk at a time, and nothing
is ever copied as a whole.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Final

from librt.strings import BytesWriter, write_i32_be, write_i64_be
from mypy_extensions import i32, i64

from harebell.paging import FLAGGED, PAGE_MESSAGES, PAGE_OCTETS, RETURN, KeptChunk, Page
from harebell.storage.backlog_chunk import SETTLED, Chunk

CHUNK_MESSAGES: Final = 4095
"""Messages of a chunk; more are never in one.  A vec grows to one less than a power of two."""

WORTH_COMPACTING: Final = 64
"""Slots from which on a chunk gives up those of settled messages."""

HEADER_ESTIMATE: Final = 32
"""Octets of a message's header, for pages: recovery does not keep them."""


class Backlog:
    """The messages of one queue that are alive, by position.

    Args:
        queue_id: the queue's number.
        bases: lsn of the first record of each segment, oldest first; its index is a segment's number.
        begun: lsn of the record the queue was first seen in.

    Attributes:
        chunks: lower positions first; none is empty but perhaps the last.
        alive: how many messages there are.
        highest: the highest position that was ever seen.
        flagged: messages up to this position may have been delivered.
        kept: chunks of a stream, whose messages are not among the others.
        in_chunks: how many messages these have.
        holding: True if some message waited for a retry.
    """

    def __init__(self, queue_id: i64, bases: list[int], begun: i64 = 0) -> None:
        self.queue_id: i64 = queue_id
        self.bases = bases
        self.begun: i64 = begun
        self.chunks: list[Chunk] = []
        self.alive: i64 = 0
        self.highest: i64 = 0
        self.flagged: i64 = -1
        self.kept: list[KeptChunk] = []
        self.in_chunks: i64 = 0
        self.holding: bool = False

    def __len__(self) -> int:
        return int(self.alive + self.in_chunks)

    def keep(self, chunk: KeptChunk, count: i64) -> None:
        """Take in a chunk of so many messages."""
        self.kept.append(chunk)
        self.in_chunks += count
        last: i64 = chunk.following - 1
        if last > self.highest:
            self.highest = last

    def enqueue(self, position: i64, location: i64, octets: i64, share: i64, arrived: i64) -> None:
        """Take in a message; one that is here already was copied forward and keeps how often it came back.

        Args:
            position: its position in the queue; a lower one than before is of a message copied forward.
            location: where its record is.
            octets: of its body.
            share: octets of its record for each queue that took it.
            arrived: unix milliseconds, 0 if not noted.
        """
        sizes: i64 = octets << 32 | share
        chunks = self.chunks
        if chunks:
            chunk = chunks[-1]
            if position <= chunk.last:
                self._enqueue_late(position, location, sizes, arrived)
                return
            if chunk.count == CHUNK_MESSAGES:
                chunk = Chunk()
                chunks.append(chunk)
        else:
            chunk = Chunk()
            chunks.append(chunk)
        chunk.add(position, location, sizes, arrived)
        self.alive += 1
        if position > self.highest:
            self.highest = position

    def _enqueue_late(self, position: i64, location: i64, sizes: i64, arrived: i64) -> None:
        at: i64 = self._chunk_from(position)
        chunk = self.chunks[at]
        slot: i64 = chunk.first_from(position)
        if slot < chunk.count and chunk.position(slot) == position and chunk.location(slot) != SETTLED:
            chunk.replace(slot, location, sizes)
            return
        # Its first record is gone.  The copies of its neighbours are going to follow: what is before it moves
        # to the chunk before, where it and they are appended.
        before: Chunk | None = None
        if at > 0 and self.chunks[at - 1].count + (slot - chunk.low) < CHUNK_MESSAGES:
            before = self.chunks[at - 1]
        else:
            before = Chunk()
            self.chunks.insert(at, before)
            at += 1
        chunk.give(slot, before)
        before.add(position, location, sizes, arrived)
        self.alive += 1
        if chunk.alive == 0:
            if at == len(self.chunks) - 1:
                chunk.clear()
            else:
                del self.chunks[at]

    def describe(self, position: i64, priority: i64, expiration: i64) -> None:
        """Set what a message's header says.

        Args:
            position: of a message just enqueued.
            priority: 0 if it has none.
            expiration: milliseconds, -1 if it has none.
        """
        at: i64 = self._chunk_from(position)
        if at < len(self.chunks):
            chunk = self.chunks[at]
            slot = chunk.first_from(position)
            if slot < chunk.count and chunk.position(slot) == position:
                chunk.describe(slot, priority, expiration)

    def _chunk_from(self, position: i64) -> i64:
        """Give the index of the first chunk that reaches up to a position."""
        chunks = self.chunks
        low: i64 = 0
        high: i64 = len(chunks)
        if high > 0 and chunks[0].last >= position:
            return 0
        while low < high:
            middle: i64 = (low + high) >> 1
            if chunks[middle].last < position:
                low = middle + 1
            else:
                high = middle
        return low

    def settle(self, first: i64, count: i64) -> None:
        """The queue no longer holds ``count`` positions from ``first`` on; some it may never have held."""
        chunks = self.chunks
        beyond: i64 = first + count
        if beyond - 1 > self.highest:
            self.highest = beyond - 1
        at: i64 = self._chunk_from(first)
        while at < len(chunks):
            chunk = chunks[at]
            if chunk.count > 0 and chunk.position(0) >= beyond:
                return
            done: bool = chunk.last >= beyond - 1
            self.alive -= chunk.settle(first, beyond)
            if chunk.alive > 0:
                if chunk.count >= WORTH_COMPACTING and chunk.alive * 4 < chunk.count * 3:
                    chunks[at] = chunk.living()
                at += 1
            elif at == len(chunks) - 1:
                chunk.clear()
                at += 1
            else:
                del chunks[at]
            if done:
                return

    def requeue(self, first: i64, count: i64) -> None:
        """Deliveries of ``count`` positions from ``first`` on came back."""
        self._returned(first, first + count, -1)

    def hold(self, position: i64, until: i64) -> None:
        """A message that came back waits until a time, unix milliseconds.

        One whose record is gone was copied forward: what is behind the copy says whether it waits.
        """
        at: i64 = self._chunk_from(position)
        if at < len(self.chunks):
            chunk = self.chunks[at]
            slot = chunk.first_from(position)
            if slot < chunk.count and chunk.position(slot) == position:
                chunk.hold(slot, until)
                self.holding = True

    def set_returns(self, position: i64, value: i64) -> None:
        """Set how often a message came back, see ``paging.RETURN``."""
        self._returned(position, position + 1, value)

    def _returned(self, first: i64, beyond: i64, value: i64) -> None:
        chunks = self.chunks
        at: i64 = self._chunk_from(first)
        while at < len(chunks):
            chunk = chunks[at]
            slot: i64 = chunk.first_from(first)
            while slot < chunk.count:
                if chunk.position(slot) >= beyond:
                    return
                if chunk.location(slot) != SETTLED:
                    if value >= 0:
                        chunk.set_returned(slot, value)
                    else:
                        chunk.set_returned(slot, (chunk.returned(slot) + RETURN) | FLAGGED)
                slot += 1
            at += 1

    def flag_all(self) -> None:
        """Whatever is here may have been delivered, and what was enqueued before but was not seen yet."""
        self.flagged = self.highest

    def returned(self, chunk: Chunk, slot: i64) -> i64:
        """Give how often a message came back, ``flag_all`` included, see ``paging.RETURN``."""
        returned = chunk.returned(slot)
        return returned | FLAGGED if chunk.position(slot) <= self.flagged else returned

    def pages(self) -> list[Page]:
        """Turn what is here into pages, oldest first; afterwards nothing is here any more."""
        return self.leveled_pages(0, 0).get(0, [])

    def arrivals(self, limited: bool, ordered: bool) -> Iterator[tuple[int, int, int]]:
        """Go through position, arrival and expiration (-1: none) of messages, oldest first.

        Args:
            limited: True if messages without an expiration have a deadline, too.
            ordered: True if of neighbours without an expiration only the last matters.
        """
        for chunk in self.chunks:
            last: i64 = -1
            for slot in range(chunk.count if limited or chunk.has_expirations() else 0):
                if chunk.location(slot) == SETTLED:
                    continue
                if chunk.expiration(slot) < 0 and (ordered or not limited):
                    last = slot
                    continue
                if last >= 0 and limited:
                    yield chunk.position(last), chunk.arrived(last), -1
                last = -1
                yield chunk.position(slot), chunk.arrived(slot), chunk.expiration(slot)
            if last >= 0 and limited:
                yield chunk.position(last), chunk.arrived(last), -1

    def timed(self) -> Iterator[tuple[int, int, int, int, int]]:
        """Give position, location, segment, share and arrival of what is here, and let go of it."""
        chunks = self.chunks
        self.chunks = []
        self.alive = 0
        chunks.reverse()
        segments = _Segments(self.bases)
        while chunks:
            chunk = chunks.pop()
            for slot in range(chunk.count):
                location = chunk.location(slot)
                if location == SETTLED:
                    continue
                segment = segments.of(location)
                yield chunk.position(slot), location, segment, chunk.share(slot), chunk.arrived(slot)

    def waiting(self, now: i64) -> Iterator[tuple[int, int, int, int, int, int]]:
        """Give what waits for a retry for longer than until now, and let go of it.

        Gives position, location, segment, share, time and returns (``paging.RETURN``) of each.
        """
        segments = _Segments(self.bases)
        for chunk in self.chunks:
            for slot in range(chunk.count):
                until = chunk.held_until(slot)
                location = chunk.location(slot)
                if until <= now or location == SETTLED:
                    continue
                segment = segments.of(location)
                returns = self.returned(chunk, slot)
                chunk.take(slot)
                self.alive -= 1
                yield chunk.position(slot), location, segment, chunk.share(slot), until, returns

    def leveled_pages(self, highest: i64, absent: i64) -> dict[int, list[Page]]:
        """Turn what is here into pages for each priority; afterwards nothing is here any more.

        Args:
            highest: the highest priority that is told apart; 0 for none.
            absent: priority of messages that say none, or 0: the two are not told apart.
        """
        makers: dict[int, _PageMaker] = {}
        made = _PageMaker(self.bases)
        level: i64 = -1
        chunks = self.chunks
        self.chunks = []
        self.alive = 0
        chunks.reverse()
        while chunks:
            chunk = chunks.pop()
            slot: i64 = chunk.low
            while slot < chunk.count:
                if chunk.location(slot) != SETTLED:
                    wanted: i64 = 0
                    if highest > 0:
                        wanted = chunk.priority(slot)
                        if wanted == 0:
                            wanted = absent
                        if wanted > highest:
                            wanted = highest
                    if wanted != level:
                        level = wanted
                        found = makers.get(level)
                        if found is None:
                            found = makers[level] = _PageMaker(self.bases)
                        made = found
                    made.add(chunk, slot, self.returned(chunk, slot))
                slot += 1
        pages: dict[int, list[Page]] = {}
        for number, maker in makers.items():
            maker.close()
            pages[number] = maker.pages
        return pages


class _Segments:
    """Finds segments by location; neighbours mostly have the same.

    Args:
        bases: lsn of the first record of each segment, oldest first.
    """

    def __init__(self, bases: list[int]) -> None:
        self._bases = bases
        self._segment: i64 = 0
        self._low: i64 = -1
        self._high: i64 = -1

    def of(self, location: i64) -> i64:
        """Give the number of the segment of a record."""
        lsn: i64 = location >> 1
        if not self._low <= lsn < self._high:
            bases = self._bases
            segment: i64 = bisect_right(bases, lsn) - 1
            self._segment = segment
            self._low = bases[segment]
            self._high = bases[segment + 1] if segment + 1 < len(bases) else 1 << 62
        return self._segment


class _PageMaker:
    """Pages being made of messages that come in order."""

    def __init__(self, bases: list[int]) -> None:
        self.pages: list[Page] = []
        self._bases = bases
        self._segment: i64 = -1
        # Twice the lsn where the segment begins and where the next one does.
        self._from: i64 = 0
        self._to: i64 = 0
        self._share: i64 = 0
        self._claims: list[tuple[int, int]] = []
        self._first: i64 = 0
        self._last: i64 = 0
        self._count: i64 = 0
        self._octets: i64 = 0
        self._locations = BytesWriter()
        self._positions = BytesWriter()
        self._returns = BytesWriter()

    def add(self, chunk: Chunk, slot: i64, returned: i64) -> None:
        """Add a message to the page, and close that if it is full now."""
        position: i64 = chunk.position(slot)
        count: i64 = self._count
        if count == 0:
            self._first = position
        elif len(self._positions) > 0:
            write_i64_be(self._positions, position)
        elif position != self._first + count:
            for n in range(count):
                write_i64_be(self._positions, self._first + i64(n))
            write_i64_be(self._positions, position)
        if len(self._returns) > 0:
            write_i32_be(self._returns, i32(returned))
        elif returned != 0:
            for _ in range(count):
                write_i32_be(self._returns, 0)
            write_i32_be(self._returns, i32(returned))
        location: i64 = chunk.location(slot)
        write_i64_be(self._locations, location)
        if location < self._from or location >= self._to:
            self._close_claim()
            self._find_segment(location >> 1)
        self._share += chunk.share(slot)
        self._last = position
        self._octets += chunk.octets(slot)
        self._count = count + 1
        if self._count >= PAGE_MESSAGES or self._octets > PAGE_OCTETS:
            self.close()

    def _find_segment(self, lsn: i64) -> None:
        bases = self._bases
        low: i64 = 0
        high: i64 = len(bases)
        while low < high:
            middle: i64 = (low + high) >> 1
            if i64(bases[middle]) <= lsn:
                low = middle + 1
            else:
                high = middle
        self._segment = low - 1
        self._from = i64(bases[low - 1]) * 2 if low > 0 else 0
        self._to = i64(bases[low]) * 2 if low < len(bases) else (1 << 62)

    def _close_claim(self) -> None:
        if self._share > 0:
            self._claims.append((int(self._segment), int(self._share)))
        self._share = 0

    def close(self) -> None:
        """Close the page, if there is one."""
        if self._count == 0:
            return
        self._close_claim()
        claims: dict[int, int] = {}
        for segment, share in self._claims:
            claims[segment] = claims.get(segment, 0) + share
        self.pages.append(
            Page(
                self._first,
                self._last,
                self._count,
                self._positions.getvalue(),
                self._locations.getvalue(),
                self._returns.getvalue(),
                self._octets + self._count * HEADER_ESTIMATE,
                self._octets,
                sorted(claims.items()),
                [],
            )
        )
        self._count = 0
        self._octets = 0
        self._claims = []
        self._locations.truncate(0)
        self._positions.truncate(0)
        self._returns.truncate(0)
