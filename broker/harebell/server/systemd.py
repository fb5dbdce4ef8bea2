"""Tells systemd how the node is: sd_notify(3), without its library."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Mapping

from harebell import logs


class Notifier:
    """Sends states to the service manager; does nothing where there is none.

    Args:
        environment: that of the process: ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID``.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        path = environment.get("NOTIFY_SOCKET", "")
        # An @ stands for the zero octet of the abstract namespace.
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self._seconds = _watchdog_seconds(environment) if path else 0.0
        self._watchdog: asyncio.TimerHandle | None = None

    def ready(self, status: str) -> None:
        """The node serves, again or for the first time; from now on the watchdog is fed."""
        self._send("READY=1", f"STATUS={status}")
        if self._seconds and self._watchdog is None:
            self._feed()

    def reloading(self) -> None:
        """The node takes up new settings; ``ready`` must follow."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", "STATUS=reloading")

    def stopping(self, status: str) -> None:
        """The node lets go of its clients; the watchdog is fed on."""
        self._send("STOPPING=1", f"STATUS={status}")

    def close(self) -> None:
        """Feed the watchdog no more."""
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None

    def _feed(self) -> None:
        """Prove that the event loop runs, twice as often as asked for."""
        self._watchdog = asyncio.get_running_loop().call_later(self._seconds / 2, self._feed)
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
                manager.setblocking(False)
                manager.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            logs.get_logger("node").warning(f"the service manager cannot be told {lines[0]}: {error}")


def _watchdog_seconds(environment: Mapping[str, str]) -> float:
    microseconds = environment.get("WATCHDOG_USEC", "")
    process = environment.get("WATCHDOG_PID", "")
    if not microseconds.isdecimal() or process not in ("", str(os.getpid())):
        return 0.0
    return int(microseconds) / 1_000_000
