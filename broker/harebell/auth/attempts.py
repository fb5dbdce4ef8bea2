"""How often logins fail: counted for whoever looks, and slowed down where passwords are guessed.

Wrong passwords for one user from one address are free up to a number.  From then on each has to be followed
by a pause, the longer the more there were; who comes earlier is refused without a look at the password, which
is no wrong password then.  A good one ends it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from harebell.ports import Clock

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 8.0
"""Seconds: each pause is twice the one before, up to the longest."""

FORGOTTEN_AFTER: Final = 60.0
"""Seconds without a wrong password after which the earlier ones do not count any more."""

MAX_GUESSERS: Final = 10_000
"""Users and addresses remembered at once; peers choose both, so the oldest go."""

MAX_NAME: Final = 256
"""Characters of a user name that tell it from others here."""


@dataclass(slots=True)
class AttemptCounts:
    """Logins since the start.

    Attributes:
        succeeded, failed: how many of them.
        slowed: those of the failed ones that came during a pause.
    """

    succeeded: int = 0
    failed: int = 0
    slowed: int = 0


@dataclass(slots=True)
class _Guesser:
    failures: int
    last: float


class LoginAttempts:
    """Counts logins by protocol, and says which of them have to be refused unseen.

    Args:
        free: wrong passwords for one user from one address before the first pause; 0 never makes one.
        clock: the time, set by the rim; one that stands still if absent.

    Attributes:
        counts: by protocol (``amqp``, ``http``).
    """

    def __init__(self, free: int = 10, clock: Clock | None = None) -> None:
        self.counts: dict[str, AttemptCounts] = {}
        self._free = free
        self._clock = clock or Clock()
        self._guessers: dict[tuple[str, str], _Guesser] = {}

    def pause(self, username: str, peer: str) -> float:
        """Give the seconds that a user's next attempt from an address comes too early; 0 if it does not."""
        guesser = self._guessers.get((username[:MAX_NAME], peer))
        if guesser is None or guesser.failures < self._free:
            return 0.0
        # Doubled so often, the longest is reached in any case.
        doublings = min(guesser.failures - self._free, 30)
        pause = min(FIRST_PAUSE * float(1 << doublings), LONGEST_PAUSE)
        return max(0.0, guesser.last + pause - self._now())

    def slowed(self, protocol: str) -> None:
        """An attempt came during a pause."""
        counts = self._counts(protocol)
        counts.failed += 1
        counts.slowed += 1

    def failed(self, protocol: str, username: str, peer: str) -> None:
        """An attempt had a wrong password."""
        self._counts(protocol).failed += 1
        if not self._free:
            return
        key = (username[:MAX_NAME], peer)
        now = self._now()
        # Taken out and put back: the dictionary is in the order of the last failure.
        guesser = self._guessers.pop(key, None)
        if guesser is None or now - guesser.last > FORGOTTEN_AFTER:
            guesser = _Guesser(0, now)
        guesser.failures += 1
        guesser.last = now
        self._guessers[key] = guesser
        while len(self._guessers) > MAX_GUESSERS:
            del self._guessers[next(iter(self._guessers))]

    def succeeded(self, protocol: str, username: str, peer: str) -> None:
        """An attempt was let in."""
        self._counts(protocol).succeeded += 1
        self._guessers.pop((username[:MAX_NAME], peer), None)

    def reset(self) -> None:
        """Count from zero again; what is slowed down stays."""
        self.counts.clear()

    def _now(self) -> float:
        return int(self._clock.now) / 1000

    def _counts(self, protocol: str) -> AttemptCounts:
        return self.counts.setdefault(protocol, AttemptCounts())
