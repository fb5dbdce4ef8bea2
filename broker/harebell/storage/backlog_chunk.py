"""Neighbouring messages of one queue as recovery knows them: 32 octets each, more where something is set."""

from __future__ import annotations

from typing import Final

from librt.vecs import append, vec
from mypy_extensions import i32, i64, u8

SETTLED: Final = -1
"""Location of a message that is gone."""

ROOM_KEPT: Final = 256
"""Slots whose memory an empty chunk keeps."""

_POSITION: Final = 0
_LOCATION: Final = 1
_ARRIVED: Final = 2
_SIZES: Final = 3
_WORDS: Final = 4
_LOW_HALF: Final = 0xFFFFFFFF
_MOST_RETURNS: Final = 0x7FFFFFFF


class Chunk:
    """Neighbouring messages of one queue by slot, in order; those settled keep their slot for a while.

    Attributes:
        count: slots in use.
        alive: how many of them hold a message.
        low: no slot before this one holds a message.
        last: no position in the chunk is higher; kept when it is empty.
    """

    def __init__(self) -> None:
        self.count: i64 = 0
        self.alive: i64 = 0
        self.low: i64 = 0
        self.last: i64 = -1
        # Per slot: position, location (-1 once settled), arrived, octets << 32 | share.
        self._rows: vec[i64] = vec[i64]()
        # Filled on demand, up to the highest slot that needed it.
        self._returns: vec[i32] = vec[i32]()
        self._priorities: vec[u8] = vec[u8]()
        self._expirations: vec[i64] = vec[i64]()
        self._holds: vec[i64] = vec[i64]()

    def position(self, slot: i64) -> i64:
        """Give the position of a slot."""
        return self._rows[slot * _WORDS + _POSITION]

    def location(self, slot: i64) -> i64:
        """Give where the record of a slot's message is; -1 if it was settled."""
        return self._rows[slot * _WORDS + _LOCATION]

    def arrived(self, slot: i64) -> i64:
        """Give the unix milliseconds when the message arrived; 0 if it was not noted."""
        return self._rows[slot * _WORDS + _ARRIVED]

    def octets(self, slot: i64) -> i64:
        """Give the octets of the message's body."""
        return (self._rows[slot * _WORDS + _SIZES] >> 32) & _LOW_HALF

    def share(self, slot: i64) -> i64:
        """Give the octets of the message's record for each queue that took it."""
        return self._rows[slot * _WORDS + _SIZES] & _LOW_HALF

    def returned(self, slot: i64) -> i64:
        """Give how often the message came back, see ``paging.RETURN``."""
        returns = self._returns
        return i64(returns[slot]) if slot < len(returns) else 0

    def priority(self, slot: i64) -> i64:
        """Give the message's priority, 0 if it has none."""
        priorities = self._priorities
        return i64(priorities[slot]) if slot < len(priorities) else 0

    def expiration(self, slot: i64) -> i64:
        """Give the message's expiration in milliseconds, -1 if it has none."""
        expirations = self._expirations
        return expirations[slot] if slot < len(expirations) else -1

    def held_until(self, slot: i64) -> i64:
        """Give until when the message waits for a retry, unix milliseconds; 0 if it never did."""
        holds = self._holds
        return holds[slot] if slot < len(holds) else 0

    def has_expirations(self) -> bool:
        """Tell whether some message may have an expiration."""
        return len(self._expirations) > 0

    def first_from(self, position: i64) -> i64:
        """Give the first slot whose position is not lower; ``count`` if there is none."""
        rows = self._rows
        count: i64 = self.count
        if count == 0:
            return 0
        # Mostly neighbours have neighbouring positions.
        guess: i64 = position - rows[_POSITION]
        if guess <= 0:
            return 0
        if guess < count and rows[guess * _WORDS + _POSITION] == position:
            return guess
        low: i64 = 0
        high: i64 = count
        while low < high:
            middle: i64 = (low + high) >> 1
            if rows[middle * _WORDS + _POSITION] < position:
                low = middle + 1
            else:
                high = middle
        return low

    def add(self, position: i64, location: i64, sizes: i64, arrived: i64) -> None:
        """Append a message; its position is higher than all others here."""
        rows = self._rows
        count: i64 = self.count
        at: i64 = count * _WORDS
        if at < len(rows):
            rows[at + _POSITION] = position
            rows[at + _LOCATION] = location
            rows[at + _ARRIVED] = arrived
            rows[at + _SIZES] = sizes
        else:
            rows = append(rows, position)
            rows = append(rows, location)
            rows = append(rows, arrived)
            self._rows = append(rows, sizes)
        self.count = count + 1
        self.alive += 1
        self.last = position

    def replace(self, slot: i64, location: i64, sizes: i64) -> None:
        """A message's record is another one now."""
        self._rows[slot * _WORDS + _LOCATION] = location
        self._rows[slot * _WORDS + _SIZES] = sizes

    def set_returned(self, slot: i64, value: i64) -> None:
        """Set how often a message came back."""
        returns = self._returns
        if slot >= len(returns):
            while len(returns) <= slot:
                returns = append(returns, i32(0))
            self._returns = returns
        returns[slot] = i32(value if value < _MOST_RETURNS else _MOST_RETURNS)

    def describe(self, slot: i64, priority: i64, expiration: i64) -> None:
        """Set a message's priority and expiration."""
        if priority > 0 or slot < len(self._priorities):
            priorities = self._priorities
            while len(priorities) <= slot:
                priorities = append(priorities, u8(0))
            priorities[slot] = u8(priority & 0xFF)
            self._priorities = priorities
        if expiration >= 0 or slot < len(self._expirations):
            expirations = self._expirations
            while len(expirations) <= slot:
                expirations = append(expirations, i64(-1))
            expirations[slot] = expiration
            self._expirations = expirations

    def hold(self, slot: i64, until: i64) -> None:
        """Set until when a message waits for a retry."""
        holds = self._holds
        if slot >= len(holds):
            while len(holds) <= slot:
                holds = append(holds, i64(0))
            self._holds = holds
        holds[slot] = until

    def take(self, slot: i64) -> None:
        """A message that is alive goes elsewhere."""
        self._rows[slot * _WORDS + _LOCATION] = SETTLED
        self.alive -= 1

    def settle(self, first: i64, beyond: i64) -> i64:
        """Settle the positions from ``first`` up to ``beyond``; give how many were held."""
        slot: i64 = self.first_from(first)
        if slot < self.low:
            slot = self.low
        rows = self._rows
        count: i64 = self.count
        gone: i64 = 0
        start = slot
        while slot < count and rows[slot * _WORDS + _POSITION] < beyond:
            if rows[slot * _WORDS + _LOCATION] != SETTLED:
                rows[slot * _WORDS + _LOCATION] = SETTLED
                gone += 1
            slot += 1
        if start <= self.low:
            self.low = slot
        self.alive -= gone
        return gone

    def clear(self) -> None:
        """Forget every slot, but keep a little room for a queue that is short all the time."""
        if len(self._rows) > ROOM_KEPT * _WORDS:
            self._rows = vec[i64]()
        self.count = 0
        self.alive = 0
        self.low = 0
        self._returns = vec[i32]()
        self._priorities = vec[u8]()
        self._expirations = vec[i64]()
        self._holds = vec[i64]()

    def living(self) -> Chunk:
        """Give a chunk of the messages that are alive."""
        found = Chunk()
        self._copy(self.count, found)
        return found

    def give(self, end: i64, taker: Chunk) -> None:
        """Move the messages of the slots up to ``end`` to another chunk, whose positions are all lower."""
        if self.low < end:
            self.alive -= self._copy(end, taker)
            rows = self._rows
            slot: i64 = self.low
            while slot < end:
                rows[slot * _WORDS + _LOCATION] = SETTLED
                slot += 1
            self.low = end

    def _copy(self, end: i64, taker: Chunk) -> i64:
        rows = self._rows
        copied: i64 = 0
        slot: i64 = self.low
        while slot < end:
            at: i64 = slot * _WORDS
            if rows[at + _LOCATION] != SETTLED:
                to: i64 = taker.count
                taker.add(rows[at], rows[at + _LOCATION], rows[at + _SIZES], rows[at + _ARRIVED])
                if slot < len(self._returns) and self._returns[slot] != 0:
                    taker.set_returned(to, i64(self._returns[slot]))
                if slot < len(self._priorities) or slot < len(self._expirations):
                    taker.describe(to, self.priority(slot), self.expiration(slot))
                if slot < len(self._holds) and self._holds[slot] != 0:
                    taker.hold(to, self._holds[slot])
                copied += 1
            slot += 1
        return copied
