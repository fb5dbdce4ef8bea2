"""New certificates without a restart: files are looked at now and then, and when the node is told to."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Final

from harebell import logs
from harebell.tls import Certificates, TlsError

LOOK_SECONDS: Final = 5.0
"""Between two looks at the files."""

DAY: Final = 86400.0
WARN_DAYS: Final = 14
"""Before the end of a certificate, from when on the log warns of it."""


class CertificateWatch:
    """Keeps the certificates of all listeners up to date.

    Args:
        look_seconds: between two looks at the files.
    """

    def __init__(self, look_seconds: float = LOOK_SECONDS) -> None:
        self._look_seconds = look_seconds
        self._watched: dict[str, Certificates] = {}
        self._task: asyncio.Task[None] | None = None
        self._warned_at = 0.0
        self._log = logs.get_logger("node")

    def add(self, protocol: str, certificates: Certificates | None) -> None:
        """Watch those of a protocol's listeners; None is for a protocol without TLS."""
        if certificates is not None:
            self._watched[protocol] = certificates

    def ends(self, protocol: str) -> int | None:
        """Give when the certificate of a protocol's listeners ends, unix seconds; None without TLS."""
        found = self._watched.get(protocol)
        return None if found is None else found.expires_at

    def start(self) -> None:
        """Begin to look at the files, if there are any."""
        if self._watched:
            self._task = asyncio.get_running_loop().create_task(self._look())

    def stop(self) -> None:
        """Look no more; safe to call twice."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _look(self) -> None:
        while True:
            self._warn_of_ends()
            await asyncio.sleep(self._look_seconds)
            if await asyncio.to_thread(self._changed):
                await self.reload(changed_only=True)

    def _warn_of_ends(self) -> None:
        """Once a day, say which certificates end soon or have ended."""
        now = time.time()
        if now - self._warned_at < DAY:
            return
        self._warned_at = now
        for protocol, certificates in self._watched.items():
            days = (certificates.expires_at - now) / DAY
            if days < WARN_DAYS:
                when = "has ended" if days < 0 else f"ends in {days:.0f} days"
                self._log.warning(f"the certificate for {protocol} {when}")

    def _changed(self) -> bool:
        return any(certificates.changed() for certificates in self._watched.values())

    async def reload(self, *, changed_only: bool = False) -> bool:
        """Load the files anew; what cannot be used is logged, and the old certificates stay.

        Args:
            changed_only: leave alone those whose files are the same.

        Returns:
            Whether all could be used.
        """
        good = True
        for protocol, certificates in list(self._watched.items()):
            if changed_only and not certificates.changed():
                continue
            try:
                await asyncio.to_thread(certificates.reload)
            except TlsError as error:
                good = False
                self._log.error(f"new certificates for {protocol} cannot be used, the old ones stay: {error}")
            else:
                until = datetime.fromtimestamp(certificates.expires_at, UTC)
                self._log.info(
                    f"new certificates for {protocol} are in use, valid until {until:%Y-%m-%d %H:%M} UTC"
                )
        return good
