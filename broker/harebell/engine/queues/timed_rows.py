"""What a store of timed messages keeps of each, by position: 24 octets, 28 once some came back.

Positions come in runs of 4096.  Where many of a run are held they lie in an array, where few are in a dict,
so that neither a store of three messages nor three that are left of very many cost much.
"""

from __future__ import annotations

from typing import Final

from librt.vecs import append, vec
from mypy_extensions import i32, i64

RUN_BITS: Final = 12
RUN: Final = 1 << RUN_BITS

DENSE_FROM: Final = 384
SPARSE_BELOW: Final = 192
"""So many messages of a run make an array worth its memory, and so few do no longer."""

GONE: Final = -1
IN_MEMORY: Final = -3
"""Locations of a message that is held no longer, and of one whose body is in memory."""

_WORDS: Final = 3
_LOCATION: Final = 0
_CLAIM: Final = 1
_DUE: Final = 2


class _Run:
    """Neighbouring positions, by slot."""

    def __init__(self) -> None:
        self.alive: i64 = 0
        self._few: dict[int, tuple[int, int, int, int]] = {}
        self._dense: bool = False
        self._rows: vec[i64] = vec[i64]()
        self._returns: vec[i32] = vec[i32]()

    def put(self, slot: i64, location: i64, claim: i64, due: i64, returns: i64) -> None:
        """Set what is kept of a slot."""
        if not self._dense:
            if int(slot) not in self._few:
                self.alive += 1
            self._few[slot] = (location, claim, due, returns)
            if self.alive >= DENSE_FROM:
                self._thicken()
            return
        rows = self._rows
        at: i64 = slot * _WORDS
        if rows[at + _LOCATION] == GONE:
            self.alive += 1
        rows[at + _LOCATION] = location
        rows[at + _CLAIM] = claim
        rows[at + _DUE] = due
        if returns != 0 or len(self._returns) > 0:
            self._set_returns(slot, returns)

    def _set_returns(self, slot: i64, returns: i64) -> None:
        found = self._returns
        while len(found) < RUN:
            found = append(found, i32(0))
        found[slot] = i32(returns)
        self._returns = found

    def _thicken(self) -> None:
        rows = self._rows
        number: i64 = 0
        while number < RUN:
            rows = append(rows, i64(GONE))
            rows = append(rows, i64(0))
            rows = append(rows, i64(0))
            number += 1
        self._rows = rows
        self._dense = True
        few = self._few
        self._few = {}
        self.alive = 0
        for slot, row in few.items():
            self.put(slot, row[0], row[1], row[2], row[3])

    def _thin(self) -> None:
        few: dict[int, tuple[int, int, int, int]] = {}
        slot: i64 = 0
        while slot < RUN:
            if self._rows[slot * _WORDS + _LOCATION] != GONE:
                few[slot] = (self.location(slot), self.claim(slot), self.due(slot), self.returns(slot))
            slot += 1
        self._few = few
        self._dense = False
        self._rows = vec[i64]()
        self._returns = vec[i32]()

    def drop(self, slot: i64) -> bool:
        """Forget a slot; False if there was nothing."""
        if self._dense:
            at: i64 = slot * _WORDS
            if self._rows[at + _LOCATION] == GONE:
                return False
            self._rows[at + _LOCATION] = GONE
            self.alive -= 1
            if self.alive < SPARSE_BELOW:
                self._thin()
            return True
        if self._few.pop(int(slot), None) is None:
            return False
        self.alive -= 1
        return True

    def location(self, slot: i64) -> i64:
        if self._dense:
            return self._rows[slot * _WORDS + _LOCATION]
        row = self._few.get(int(slot))
        return GONE if row is None else row[0]

    def claim(self, slot: i64) -> i64:
        return self._rows[slot * _WORDS + _CLAIM] if self._dense else self._few[slot][1]

    def due(self, slot: i64) -> i64:
        return self._rows[slot * _WORDS + _DUE] if self._dense else self._few[slot][2]

    def returns(self, slot: i64) -> i64:
        if self._dense:
            return i64(self._returns[slot]) if slot < len(self._returns) else 0
        return self._few[slot][3]

    def slots(self) -> list[int]:
        """List the slots that hold something, ascending."""
        if not self._dense:
            return sorted(self._few)
        found: list[int] = []
        slot: i64 = 0
        while slot < RUN:
            if self._rows[slot * _WORDS + _LOCATION] != GONE:
                found.append(slot)
            slot += 1
        return found


class TimedRows:
    """What is kept of each message, by position.

    Attributes:
        count: messages held.
    """

    def __init__(self) -> None:
        self.count: i64 = 0
        self._runs: dict[int, _Run] = {}

    def put(self, position: i64, location: i64, claim: i64, due: i64, returns: i64) -> None:
        """Set all that is kept of a message.

        Args:
            location: where it is: see ``paging.Page``, or ``IN_MEMORY``.
            claim: what it holds alive on disk; of no meaning here.
            due: its time.
            returns: how often it came back (``paging.RETURN``).
        """
        number: int = position >> RUN_BITS
        run = self._runs.get(number)
        if run is None:
            run = self._runs[number] = _Run()
        before: i64 = run.alive
        run.put(position & (RUN - 1), location, claim, due, returns)
        self.count += run.alive - before

    def move(self, position: i64, location: i64, claim: i64) -> None:
        """A message that is held is elsewhere now."""
        self.put(position, location, claim, self.due(position), self.returns(position))

    def drop(self, position: i64) -> bool:
        """Forget a message; False if it was not held."""
        number: int = position >> RUN_BITS
        run = self._runs.get(number)
        if run is None or not run.drop(position & (RUN - 1)):
            return False
        self.count -= 1
        if run.alive == 0:
            del self._runs[number]
        return True

    def location(self, position: i64) -> i64:
        """Give where a message is; ``GONE`` if it is not held."""
        run = self._runs.get(int(position >> RUN_BITS))
        return GONE if run is None else run.location(position & (RUN - 1))

    def claim(self, position: i64) -> i64:
        """Give the claim of a message that is held."""
        return self._runs[position >> RUN_BITS].claim(position & (RUN - 1))

    def due(self, position: i64) -> i64:
        """Give the time of a message that is held."""
        return self._runs[position >> RUN_BITS].due(position & (RUN - 1))

    def returns(self, position: i64) -> i64:
        """Give how often a message came back that is held."""
        return self._runs[position >> RUN_BITS].returns(position & (RUN - 1))

    def positions(self) -> list[int]:
        """List all positions, ascending."""
        found: list[int] = []
        for number in sorted(self._runs):
            for slot in self._runs[number].slots():
                found.append((number << RUN_BITS) + slot)
        return found

    def clear(self) -> None:
        """Forget everything."""
        self._runs.clear()
        self.count = 0
