"""Waiting for what must happen soon: every wait has a deadline and says what it waited for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

DEADLINE = 15.0
"""Seconds after which something that should take milliseconds counts as never happening."""

POLL_INTERVAL = 0.02
"""Seconds between two looks at a condition that nothing announces."""


async def within(awaitable: Awaitable[T], seconds: float = DEADLINE) -> T:
    """Await something, but fail after some seconds with TimeoutError."""
    async with asyncio.timeout(seconds):
        return await awaitable


async def eventually(
    condition: Callable[[], Awaitable[T]], described: str, *, seconds: float = DEADLINE
) -> T:
    """Ask again and again until the answer is true, and return it.

    Raises AssertionError with the description and the last answer when the seconds are over.
    """
    deadline = time.monotonic() + seconds
    while True:
        answer = await condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {described}; last answer: {answer!r}")
        await asyncio.sleep(POLL_INTERVAL)


def eventually_now(condition: Callable[[], T], described: str, *, seconds: float = DEADLINE) -> T:
    """Do the same for a condition that is asked without awaiting."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {described}; last answer: {answer!r}")
        time.sleep(POLL_INTERVAL)
