"""Serves the HTTP API on the socket in the data directory (``local_socket.py``)."""

from __future__ import annotations

import asyncio

from harebell.http_listening import BoundedServer
from harebell.management.local_socket import local_user


class LocalServer(BoundedServer):
    """Drops whoever is neither root nor of the account of this process, before anything is read."""

    def _welcome(self, transport: asyncio.Transport) -> bool:
        return local_user(transport) is not None
