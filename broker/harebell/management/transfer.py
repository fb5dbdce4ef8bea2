"""Reading bodies of requests and sending answers, at the pace of clients but not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from aiohttp import web

from harebell.management.answers import NO_CACHE, Answer
from harebell.management.errors import HttpError

BODY_SECONDS: Final = 60.0
"""How long a client may take to send a body."""

WRITE_SECONDS: Final = 60.0
"""How long a client may take to make room for the next part of an answer."""

HEADERS: Final = {
    "Server": "harebell",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "Vary": "accept, accept-encoding, origin",
    "X-Content-Type-Options": "nosniff",
}


class Room:
    """Memory for large bodies: those that arrive, wait for their turn, or are worked on.

    A body takes it as it comes, so one that comes slowly holds up nobody.  When there is none left, all wait
    but the one that began first: there is always one that gets on, and it takes one body more at most.

    Args:
        octets: how much they may take together.
    """

    def __init__(self, octets: int) -> None:
        self._left = octets
        self._shares: dict[Share, None] = {}
        self._freed = asyncio.Event()

    @contextmanager
    def share(self) -> Iterator[Share]:
        """Take part; what the share took is free again at the end."""
        share = Share(self)
        self._shares[share] = None
        try:
            yield share
        finally:
            del self._shares[share]
            self._left += share.octets
            self._freed.set()
            self._freed = asyncio.Event()

    async def take(self, share: Share, octets: int) -> None:
        """Take some for a share, once there is room."""
        while octets > self._left and next(iter(self._shares)) is not share:
            await self._freed.wait()
        self._left -= octets
        share.octets += octets


class Share:
    """What one body takes of a room.

    Attributes:
        octets: how much, so far.
    """

    __slots__ = ("_room", "octets")

    def __init__(self, room: Room) -> None:
        self._room = room
        self.octets = 0

    async def take(self, octets: int) -> None:
        """Take some more, once there is room."""
        await self._room.take(self, octets)


async def read_body(request: web.BaseRequest, most: int, share: Share | None = None) -> bytes:
    """Read a body.

    Args:
        most: octets it may have.
        share: what it takes its memory from; None for a small one.

    Raises:
        HttpError: 413 if it is longer than ``most`` octets, 408 if it does not come.
    """
    too_long = HttpError(413, "bad_request", f"body is longer than {most} octets", {"Connection": "close"})
    if request.content_length is not None and request.content_length > most:
        raise too_long
    if request.headers.get("Expect", "").lower() == "100-continue":
        # The client waits for this before it sends much.
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    parts: list[bytes] = []
    octets = 0
    try:
        async with asyncio.timeout(BODY_SECONDS) as limit:
            while part := await request.content.readany():
                octets += len(part)
                if octets > most:
                    raise too_long
                parts.append(part)
                if share is not None:
                    await _wait_for_room(share, len(part), limit)
    except TimeoutError:
        raise HttpError(
            408, "bad_request", "the body did not come in time", {"Connection": "close"}
        ) from None
    except (web.RequestPayloadError, ValueError):
        raise HttpError(400, "bad_request", "the body cannot be read", {"Connection": "close"}) from None
    return b"".join(parts)


async def _wait_for_room(share: Share, octets: int, limit: asyncio.Timeout) -> None:
    """Take room; the time that takes is not the client's."""
    left = limit.when()
    assert left is not None
    clock = asyncio.get_running_loop().time
    left -= clock()
    limit.reschedule(None)
    await share.take(octets)
    limit.reschedule(clock() + left)


async def send(request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    """Send an answer part by part, and drop a client that does not take it."""
    response = web.StreamResponse(status=answer.status, headers={**HEADERS, **answer.headers})
    if "Connection" in answer.headers:
        response.force_close()
    parts: Sequence[bytes] = answer.body
    if answer.status != 204:
        response.content_length = sum(map(len, parts))
    if parts:
        response.content_type = answer.content_type
    if answer.status == 200:
        response.headers.setdefault("Cache-Control", NO_CACHE)
    try:
        async with asyncio.timeout(WRITE_SECONDS) as limit:
            await response.prepare(request)
            if request.method != "HEAD":
                for part in parts:
                    await response.write(part)
                    limit.reschedule(asyncio.get_running_loop().time() + WRITE_SECONDS)
            await response.write_eof()
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the client does not take the answer") from None
    return response
