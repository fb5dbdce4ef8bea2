"""Listening on several addresses at once."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from harebell import logs

IPV6_OF_EVERY_MACHINE: Final = ("::1", "::")
NO_SUCH_ADDRESS: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

PORT_ATTEMPTS: Final = 10
"""How often a free port is looked for that is free on every address."""


async def listen(runner: web.ServerRunner, pairs: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """Listen on each address and give those really listened on.

    With port 0 every address gets the port the first one was given.  Where there is no IPv6, ``::1`` and
    ``::`` are passed over if another address comes before them.

    Raises:
        OSError: an address cannot be listened on; none is then.
    """
    attempts = PORT_ATTEMPTS if any(port == 0 for _, port in pairs) else 1
    while True:
        try:
            return await _listen(runner, pairs)
        except OSError as error:
            for site in list(runner.sites):
                await site.stop()
            attempts -= 1
            # The port that is free on the first address may be taken on another.
            if attempts == 0 or error.errno != errno.EADDRINUSE:
                raise


async def _listen(runner: web.ServerRunner, pairs: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for host, port in pairs:
        wanted = found[0][1] if port == 0 and found else port
        site = web.TCPSite(runner, host, wanted)
        try:
            await site.start()
        except OSError as error:
            await site.stop()
            # Many containers have no IPv6, and the default addresses must work there as well.
            if found and host in IPV6_OF_EVERY_MACHINE and error.errno in NO_SUCH_ADDRESS:
                logs.get_logger("node").info(f"no metrics on [{host}]:{wanted}: there is no IPv6 here")
                continue
            raise
        found.append((host, _port(runner, len(found))))
    return found


def _port(runner: web.ServerRunner, index: int) -> int:
    return int(runner.addresses[index][1])
