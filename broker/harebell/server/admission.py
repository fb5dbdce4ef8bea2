"""How many connections may be on their way to a login, all together and of one address."""

from __future__ import annotations

import time
from typing import Final

from harebell import logs

LOG_SECONDS: Final = 10.0
"""Time between two lines about connections that were refused."""


class Origin:
    """Where a connection comes from.

    Args:
        host: the peer's address, which logins are judged by.
        name: both ends, ``127.0.0.1:57604 -> 127.0.0.1:5672``.
        began: when the socket was accepted, monotonic milliseconds.
        secure: whether TLS comes before AMQP.

    Attributes:
        unadmitted: True while it counts among those that have not logged in.
    """

    __slots__ = ("began", "host", "name", "secure", "unadmitted")

    def __init__(self, host: str, name: str, began: int, secure: bool = False) -> None:
        self.host = host
        self.name = name
        self.began = began
        self.secure = secure
        self.unadmitted = False


class Admission:
    """Counts connections from their first octet to their login.

    Args:
        limit: how many there may be; 0 is unlimited.
        per_address: how many of one address; 0 is unlimited.
    """

    def __init__(self, limit: int, per_address: int) -> None:
        self.waiting = 0
        self._limit = limit
        self._per_address = per_address
        self._by_address: dict[str, int] = {}
        self._refused = 0
        self._logged_at = -LOG_SECONDS
        self._log = logs.get_logger("connection")

    def enter(self, origin: Origin) -> bool:
        """Count a connection; False if it is one too many and must be closed at once."""
        here = self._by_address.get(origin.host, 0)
        if self._limit and self.waiting >= self._limit:
            self._refuse(f"{self.waiting} connections have not logged in yet (limits.max_handshakes)")
            return False
        if self._per_address and here >= self._per_address:
            name = "limits.max_handshakes_per_address"
            self._refuse(f"{here} connections of {origin.host} have not logged in yet ({name})")
            return False
        self.waiting += 1
        self._by_address[origin.host] = here + 1
        origin.unadmitted = True
        return True

    def leave(self, origin: Origin) -> None:
        """The connection is open, or gone; safe to call twice."""
        if not origin.unadmitted:
            return
        origin.unadmitted = False
        self.waiting -= 1
        left = self._by_address[origin.host] - 1
        if left:
            self._by_address[origin.host] = left
        else:
            del self._by_address[origin.host]

    def _refuse(self, why: str) -> None:
        self._refused += 1
        now = time.monotonic()
        if now - self._logged_at >= LOG_SECONDS:
            self._logged_at = now
            self._log.warning(f"{self._refused} connections refused: {why}")
            self._refused = 0
