"""What holds a queue back: a pause, rates, and a bound on unanswered deliveries.

A queue without any of these has no brake and never looks at one.  Time is passed in, so that nothing here
reads a clock.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from harebell.engine.deadlines import NEVER
from harebell.engine.options import ABSENT

MESSAGE: Final = 1000
"""What one message takes from a bucket; a rate of one a second fills in one such unit a millisecond."""

BURST_MS: Final = 200
"""Milliseconds of its rate that a bucket holds: what goes at once after a quiet time."""

STEP_MS: Final = 10
"""Milliseconds of its rate for which it is worth to begin again."""

AHEAD_MS: Final = 50
"""Milliseconds of its rate that a publisher may be ahead before it has to wait."""

QUIET: Final = 3_600_000
"""Milliseconds after which a bucket is full at any rate."""

UNBOUNDED: Final = 1 << 62


class Bucket:
    """So many messages a second: a bucket of tokens that fills evenly.

    It holds a fifth of a second's messages, but at least one: so a low rate goes message by message.

    Args:
        rate: messages a second, 1 or more.
        now: clock milliseconds.
    """

    def __init__(self, rate: i64, now: i64) -> None:
        self.rate: i64 = rate
        self._most: i64 = max(MESSAGE, rate * BURST_MS)
        self._level: i64 = self._most
        self._filled_at: i64 = now

    def _fill(self, now: i64) -> None:
        passed: i64 = min(now - self._filled_at, QUIET)
        if passed > 0:
            self._level = min(self._most, self._level + passed * self.rate)
            self._filled_at = now

    def available(self, now: i64) -> i64:
        """Give how many messages may go now; 0 while more went than may."""
        self._fill(now)
        return 0 if self._level < MESSAGE else self._level // MESSAGE

    def spend(self, count: i64) -> None:
        """So many messages went, whether they might or not."""
        self._level -= count * MESSAGE

    def wait(self, now: i64) -> i64:
        """Give the milliseconds until it is worth to begin again."""
        self._fill(now)
        short: i64 = max(MESSAGE, self.rate * STEP_MS) - self._level
        return 0 if short <= 0 else (short + self.rate - 1) // self.rate

    def overdrawn(self, now: i64) -> i64:
        """Give the milliseconds who filled it must wait; 0 while that is not long enough to be worth it."""
        self._fill(now)
        debt: i64 = -self._level
        if debt <= 0 or debt < self.rate * AHEAD_MS:
            return 0
        return (debt + self.rate - 1) // self.rate


class Brake:
    """What holds the deliveries of a queue back.

    Attributes:
        paused_until: unix milliseconds; 0 if it is not paused, ``NEVER`` until it is resumed.
        reason: why it is paused, in the words of who did it.
        bucket: what it may deliver a second; None for no such limit.
        max_unacked: deliveries that may be unanswered at once; -1 for no such limit.
    """

    def __init__(self) -> None:
        self.paused_until: i64 = 0
        self.reason: str = ""
        self.bucket: Bucket | None = None
        self.max_unacked: i64 = ABSENT

    def idle(self) -> bool:
        """Tell whether it holds nothing back any more."""
        return self.paused_until == 0 and self.bucket is None and self.max_unacked < 0

    def limit(self, rate: i64, max_unacked: i64, now: i64) -> None:
        """Set the limits; a rate that stays the same goes on from where it is.

        Args:
            rate, max_unacked: -1 for none.
            now: clock milliseconds.
        """
        self.max_unacked = max_unacked
        bucket = self.bucket
        if rate < 0:
            self.bucket = None
        elif bucket is None or bucket.rate != rate:
            self.bucket = Bucket(rate, now)

    def paused(self, wall: i64) -> bool:
        """Tell whether the queue is paused.

        Args:
            wall: unix milliseconds.
        """
        return self.paused_until > wall

    def allows(self, now: i64, wall: i64, unacked: i64) -> i64:
        """Give how many messages may be delivered now.

        Args:
            now: clock milliseconds.
            wall: unix milliseconds.
            unacked: deliveries that are unanswered.
        """
        if self.paused_until > wall:
            return 0
        most: i64 = UNBOUNDED
        if self.max_unacked >= 0:
            most = self.max_unacked - unacked
        if self.bucket is not None:
            most = min(most, self.bucket.available(now))
        return max(most, 0)

    def spent(self, count: i64) -> None:
        """So many messages were delivered."""
        if self.bucket is not None:
            self.bucket.spend(count)

    def opens_at(self, now: i64, wall: i64) -> i64:
        """Give the unix milliseconds at which time lets it go on; ``NEVER`` if time does not."""
        if self.paused_until > wall:
            return self.paused_until
        bucket = self.bucket
        if bucket is None or bucket.available(now) > 0:
            return NEVER
        return wall + max(bucket.wait(now), 1)
