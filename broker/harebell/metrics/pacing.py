"""Making a long answer without keeping the event loop from the clients."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Final

SLICE_SECONDS: Final = 0.001
"""How long an answer is worked on before others get their turn."""

LONGEST_SECONDS: Final = 20.0
"""How long an answer may take altogether; who asked has given up by then."""

CHUNK_OCTETS: Final = 64 * 1024
"""Octets that are handed to the socket in one go."""


async def paced(pieces: Iterable[str]) -> list[bytes]:
    """Make an answer in slices, and give it in chunks.

    Args:
        pieces: each takes less than a slice to make; empty ones are chances to pause.

    Raises:
        TimeoutError: it takes too long.
    """
    chunks: list[bytes] = []
    gathered: list[str] = []
    octets = 0
    began = time.perf_counter()
    until = began + SLICE_SECONDS
    for piece in pieces:
        gathered.append(piece)
        octets += len(piece)
        if octets >= CHUNK_OCTETS:
            chunks.append("".join(gathered).encode())
            gathered.clear()
            octets = 0
        if time.perf_counter() >= until:
            await asyncio.sleep(0)
            if time.perf_counter() - began > LONGEST_SECONDS:
                raise TimeoutError
            until = time.perf_counter() + SLICE_SECONDS
    chunks.append("".join(gathered).encode())
    return chunks
