"""Listening on TCP addresses: on all of some or on none, before anything serves who connects."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Sequence
from typing import Any, Final

from harebell import logs

PORT_ATTEMPTS: Final = 10
"""How often a free port is looked for that is free on every address."""

IPV6_OF_EVERY_MACHINE: Final = ("::1", "::")
NO_SUCH_ADDRESS: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class Listening:
    """Sockets that are open: the system lets clients connect, who wait until somebody serves them.

    Attributes:
        addresses: hosts, as they were asked for, and the ports really listened on.
        sockets: theirs; a name may stand for several.
    """

    def __init__(self) -> None:
        self.addresses: list[tuple[str, int]] = []
        self.sockets: list[socket.socket] = []

    def close(self) -> None:
        """Close the sockets; safe to call twice, and where a server has closed them."""
        for each in self.sockets:
            each.close()


async def listen(pairs: Sequence[tuple[str, int]], backlog: int, what: str) -> Listening:
    """Listen on each address.

    With port 0 every address gets the port the first one was given.  Where there is no IPv6, ``::1`` and
    ``::`` are passed over if another address comes before them.

    Args:
        pairs: hosts and ports.
        backlog: connections the system may hold on each.
        what: what is offered there, for the log.

    Raises:
        OSError: an address cannot be listened on; none of these is then.
    """
    attempts = PORT_ATTEMPTS if any(port == 0 for _, port in pairs) else 1
    while True:
        listening = Listening()
        try:
            for host, port in pairs:
                await _add(listening, host, port, backlog, what)
        except OSError as error:
            listening.close()
            attempts -= 1
            # The port that is free on the first address may be taken on another.
            if attempts == 0 or error.errno != errno.EADDRINUSE:
                raise
        else:
            return listening


async def _add(listening: Listening, host: str, port: int, backlog: int, what: str) -> None:
    wanted = listening.addresses[0][1] if port == 0 and listening.addresses else port
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, wanted, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    opened = False
    # IPv4 first: an address of IPv6 may be done without only where there is another.
    for family, _, _, _, address in sorted(dict.fromkeys(found), key=lambda each: each[0] != socket.AF_INET):
        try:
            new = _opened(family, address, wanted, backlog)
        except OSError as error:
            # Many containers have no IPv6, and the default addresses must work there as well.
            missing = address[0] in IPV6_OF_EVERY_MACHINE and error.errno in NO_SUCH_ADDRESS
            if not (listening.sockets and missing):
                raise
            logs.get_logger("node").info(f"no {what} on [{address[0]}]:{wanted}: there is no IPv6 here")
        else:
            listening.sockets.append(new)
            wanted = int(new.getsockname()[1])
            opened = True
    if opened:
        listening.addresses.append((host, wanted))


def _opened(family: int, address: Any, port: int, backlog: int) -> socket.socket:
    listener: socket.socket | None = None
    try:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setblocking(False)
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address[0], port, *address[2:]))
        listener.listen(backlog)
    except OSError as error:
        if listener is not None:
            listener.close()
        # The words of asyncio, which those who report the error know how to read.
        words = (error.strerror or str(error)).lower()
        text = f"error while attempting to bind on address {(address[0], port)!r}: {words}"
        raise OSError(error.errno, text) from None
    return listener
