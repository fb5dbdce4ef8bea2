"""The sockets of the HTTP API, which are open before the libraries that serve it are loaded."""

from __future__ import annotations

from pathlib import Path

from harebell.administration.host import Listener
from harebell.listening import Listening, listen
from harebell.management.local_socket import SOCKET, LocalSocket
from harebell.settings import Settings
from harebell.tls import Certificates

BACKLOG = 128
"""Connections the system may hold on each address."""


class ApiSockets:
    """Clients can connect once they are open, and wait until somebody serves them.

    Args:
        settings: those of the node.
        data_dir: the data folder, where the local socket goes; None in memory.

    Attributes:
        plain, encrypted: what is listened on without and with TLS; None unless it is.
        local: the local socket; None if there is to be none.
        certificates: those of the HTTPS port; None without one.

    Raises:
        TlsError: certificates cannot be used.
    """

    def __init__(self, settings: Settings, data_dir: Path | None) -> None:
        self._settings = settings
        self.plain: Listening | None = None
        self.encrypted: Listening | None = None
        self.local: LocalSocket | None = None
        self.certificates: Certificates | None = None
        if settings.tls.certificate is not None:
            # Passwords say who uses the API: browsers and tools have no certificate to show.
            most = settings.management.max_connections
            self.certificates = Certificates(settings.tls, verify="none", most_handshakes=most)
        if settings.management.local_socket and data_dir is not None:
            self.local = LocalSocket(data_dir / SOCKET)

    async def open(self) -> list[Listener]:
        """Open them, and give the addresses really listened on.

        Raises:
            OSError: an address cannot be listened on; none is then.
        """
        settings = self._settings
        try:
            self.plain = await listen(settings.http_listeners(settings.management), BACKLOG, "HTTP API")
            if self.certificates is not None:
                self.encrypted = await listen(
                    settings.https_listeners(settings.management), BACKLOG, "HTTP API"
                )
        except OSError:
            self.close()
            raise
        if self.local is not None:
            self.local.open()
        found = [Listener("http", host, port) for host, port in self.plain.addresses]
        if self.encrypted is not None:
            found += [Listener("https", host, port) for host, port in self.encrypted.addresses]
        return found

    def close(self) -> None:
        """Close them; safe to call twice, and where a server has closed them."""
        for each in (self.plain, self.encrypted, self.local):
            if each is not None:
                each.close()
