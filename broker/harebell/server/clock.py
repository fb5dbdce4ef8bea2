"""Telling the engine the time."""

from __future__ import annotations

import time

from harebell.ports import Clock


def set_clock(clock: Clock) -> float:
    """Set a clock, and give the monotonic time in seconds."""
    now = time.monotonic()
    clock.now = int(now * 1000)
    clock.wall = int(time.time() * 1000)
    return now
