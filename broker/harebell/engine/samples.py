"""The recent past of one object's counters: a row of numbers at each look that found them changed.

Rows are octets, eight for each number, big-endian: a tenth of what a list of integers takes, and compared at
once.  Looks are numbered; what did not change since costs nothing.
"""

from __future__ import annotations

from typing import Final

from librt.strings import BytesWriter, read_i64_be, write_i64_be
from mypy_extensions import i64

KEPT: Final = 13
"""Looks an object's past goes back: a minute of looks every five seconds, and one before."""

KEPT_LONG: Final = 121
"""The same for the node and its virtual hosts: ten minutes."""


class Samples:
    """What the counters of one object were at the latest looks.

    Args:
        kept: looks it goes back.

    Attributes:
        changed_at: unix milliseconds of the latest look that found a change.
        changed: number of that look.
        starved, starved_before: of a queue, ``Queue.starved_for`` at the latest two looks; it grows without
            anything happening, so it is in no row.
    """

    __slots__ = (
        "_kept",
        "_numbers",
        "_rows",
        "_trimmed",
        "changed",
        "changed_at",
        "starved",
        "starved_before",
    )

    def __init__(self, kept: i64) -> None:
        self.changed_at: i64 = 0
        self.changed: i64 = 0
        self.starved: i64 = 0
        self.starved_before: i64 = 0
        self._kept: i64 = kept
        self._numbers: list[int] = []
        self._rows: list[bytes] = []
        self._trimmed: bool = False

    def note(self, number: i64, wall: i64, row: bytes) -> bool:
        """Take the row of a look; True if anything changed.

        Args:
            number: of the look; they grow.
            wall: its time, unix milliseconds.
        """
        rows = self._rows
        if rows:
            if rows[-1] == row:
                return False
            numbers = self._numbers
            oldest: i64 = number - self._kept
            # The last row before the past that is kept says how that began.
            while len(numbers) > 1 and i64(numbers[1]) <= oldest:
                del numbers[0]
                del rows[0]
                self._trimmed = True
        self.changed = number
        self.changed_at = wall
        self._numbers.append(int(number))
        rows.append(row)
        return True

    def last(self) -> bytes:
        """Give the latest row; empty before the first look."""
        return self._rows[-1] if self._rows else b""

    def at(self, number: i64, field: i64) -> i64:
        """Give one number as it was at a look; -1 if that was before the first.

        Before what is kept it is taken to have been as it was at the beginning of that.
        """
        numbers = self._numbers
        index: i64 = len(numbers) - 1
        while index >= 0 and i64(numbers[index]) > number:
            index -= 1
        if index < 0:
            if not self._trimmed:
                return -1
            index = 0
        return read_i64_be(self._rows[index], 8 * field)

    def grown(self, number: i64, field: i64) -> i64:
        """Give by how much a number changed from the look before ``number`` to that one."""
        if self.changed < number:
            return 0
        before: i64 = self.at(number - 1, field)
        return self.at(number, field) - before if before >= 0 else 0


def row_of(numbers: list[int]) -> bytes:
    """Encode a row."""
    writer = BytesWriter()
    for number in numbers:
        write_i64_be(writer, number)
    return writer.getvalue()
