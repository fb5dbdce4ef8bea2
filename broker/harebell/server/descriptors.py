"""File descriptors: clients may take most of what the process has, but not those the journal needs."""

from __future__ import annotations

import sys
import time
from typing import Final

from harebell import logs

RESERVE: Final = 64
"""Descriptors that are not for clients, but no more than half of all."""

LOG_SECONDS: Final = 10.0
"""Time between two lines about sockets that were refused."""


def process_limit() -> int:
    """Give how many descriptors the process may have; 0 if it has no limit or the system does not say."""
    try:
        import resource
    except ImportError:
        return 0
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 0 if limit == resource.RLIM_INFINITY else max(0, int(limit))


def client_limit() -> int:
    """Give how many sockets may be accepted by the limit of the process; a huge number if it has none."""
    limit = process_limit()
    return limit - min(RESERVE, limit // 2) if limit else sys.maxsize


class Descriptors:
    """Says which sockets are one too many.

    Attributes:
        limit: how many clients there may be.
    """

    def __init__(self) -> None:
        self.limit = client_limit()
        self._refused = 0
        self._logged_at = -LOG_SECONDS
        self._log = logs.get_logger("connection")

    def refuse(self, clients: int) -> bool:
        """Tell whether a socket must be closed at once, and log that now and then.

        Args:
            clients: how many there are without it.
        """
        if clients < self.limit:
            return False
        self._refused += 1
        now = time.monotonic()
        if now - self._logged_at >= LOG_SECONDS:
            self._logged_at = now
            self._log.error(
                f"{self._refused} connections refused: there are {clients} already, and the other file "
                "descriptors of the process are needed for the journal; raise its limit (ulimit -n)"
            )
            self._refused = 0
        return True
