"""AMQP URLs, as the RabbitMQ URI specification writes them."""

import ssl
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

from harebell.perf.errors import OptionError


@dataclass(frozen=True)
class BrokerURL:
    """Where the broker is and who we are there. ``str()`` leaves the password out."""

    host: str = "127.0.0.1"
    port: int = 5672
    user: str = "guest"
    password: str = field(default="guest", repr=False)
    vhost: str = "/"
    tls: bool = False
    ca_file: str | None = None
    verify: bool = True

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'amqps' if self.tls else 'amqp'}://{self.user}@{host}:{self.port}"

    def tls_context(self) -> ssl.SSLContext | None:
        """Return the TLS settings of an amqps URL, None for amqp. Raises OptionError for a bad CA file."""
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:
            reason = error.strerror or error
            raise OptionError(f"cannot read the CA file {self.ca_file!r}: {reason}") from error
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def parse_url(text: str) -> BrokerURL:
    """Read ``amqp[s]://user:password@host:port/vhost``; ``/`` and no path both mean the virtual host ``/``.

    Of the query parameters of the RabbitMQ specification, ``cacertfile`` and ``verify`` are known.
    Raises OptionError, without repeating the URL because it holds a password.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise OptionError(f"the URL cannot be read: {error}") from error
    if parts.scheme not in ("amqp", "amqps"):
        raise OptionError("the URL must begin with amqp:// or amqps://")
    tls = parts.scheme == "amqps"
    path = parts.path.removeprefix("/")
    if "/" in path:
        raise OptionError("the URL has more than one path segment; write a / in a virtual host as %2F")
    query = parse_qs(parts.query)
    for name in query:
        if name not in ("cacertfile", "verify"):
            raise OptionError(f"the URL parameter {name!r} is not known; cacertfile and verify are")
    verify = query.get("verify", ["verify_peer"])[-1]
    if verify not in ("verify_peer", "verify_none"):
        raise OptionError("the URL parameter verify must be verify_peer or verify_none")
    return BrokerURL(
        host=parts.hostname or "127.0.0.1",
        port=port if port is not None else 5671 if tls else 5672,
        user=unquote(parts.username) if parts.username is not None else "guest",
        password=unquote(parts.password) if parts.password is not None else "guest",
        vhost=unquote(path) or "/",
        tls=tls,
        ca_file=query.get("cacertfile", [None])[-1],
        verify=verify == "verify_peer",
    )
