"""The timeline on the terminal, and waiting for it to come to something."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import TextIO

COLOURS = (36, 33, 35, 32, 34, 31, 96, 95)
"""Of the services, in the order they appear: cyan, yellow, magenta, green, blue, red, ..."""

SECONDS = 20.0
"""How long anything may take that takes milliseconds."""


class Timeline:
    """Prints what happens, with the milliseconds since the beginning.

    Args:
        out: where to; coloured if it is a terminal and NO_COLOR is not set.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._coloured = out.isatty() and not os.environ.get("NO_COLOR")
        self._began = time.monotonic()
        self._colours: dict[str, int] = {}
        self._told = asyncio.Event()

    def tell(self, who: str, what: str) -> None:
        """Print one thing that happened."""
        colour = self._colours.setdefault(who, COLOURS[len(self._colours) % len(COLOURS)])
        milliseconds = (time.monotonic() - self._began) * 1000
        self.line(f"{milliseconds:7.0f} ms  {self.paint(f'{who:<13}', colour)} {what}")
        self._told.set()

    def heading(self, text: str) -> None:
        """Begin a part of the day."""
        self.line(f"\n{self.paint(text, 1)}")

    def line(self, text: str) -> None:
        """Print a line."""
        print(text, file=self._out, flush=True)

    def paint(self, text: str, code: int) -> str:
        """Colour a text if colours are wanted."""
        return f"\x1b[{code}m{text}\x1b[0m" if self._coloured else text

    async def until(self, reached: Callable[[], bool], what: str) -> None:
        """Wait until things have come to something; looks whenever something is told.

        Raises:
            TimeoutError: they have not; the message says what was waited for.
        """
        try:
            async with asyncio.timeout(SECONDS):
                while not reached():
                    self._told.clear()
                    await self._told.wait()
        except TimeoutError:
            raise TimeoutError(f"waited {SECONDS:.0f} s in vain until {what}") from None
