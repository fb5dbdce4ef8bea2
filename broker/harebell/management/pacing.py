"""Long work in slices, so that building a list of 10,000 queues does not hold up messages."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Final

SLICE_SECONDS: Final = 0.001
"""Work done before others get their turn."""

OTHERS_SHARE: Final = 9.0
"""How much longer than slices others may work before the next: lists get a tenth of a busy loop."""

IDLE_SECONDS: Final = 0.0002
"""A turn of the event loop that takes less had next to nothing to do."""


class Pace:
    """Says when to rest, and rests for as long as others are busy."""

    __slots__ = ("_began",)

    _resting = 0

    def __init__(self) -> None:
        self._began = perf_counter()

    def due(self) -> bool:
        """Tell whether a slice has been worked; cheap enough to be asked for every object."""
        return perf_counter() - self._began >= SLICE_SECONDS

    async def rest(self) -> None:
        """Let others work; returns at once when they have nothing to do."""
        Pace._resting += 1
        try:
            # Who else rests here will work a slice, too, which is not what the rest is for.
            left = (perf_counter() - self._began) * OTHERS_SHARE * Pace._resting
            while left > 0:
                began = perf_counter()
                await asyncio.sleep(0)
                took = perf_counter() - began
                if took < IDLE_SECONDS:
                    break
                left -= took
        finally:
            Pace._resting -= 1
        self._began = perf_counter()
