"""The PROXY protocol, versions 1 and 2: what a load balancer says of the client it passes on.

Its specification is HAProxy's ``proxy-protocol.txt``.  The reader never asks for an octet of what follows the
header, so that a TLS handshake may come next on the same socket::

    1:  PROXY TCP4 192.0.2.1 198.51.100.1 56324 5672 CR LF        at most 107 octets
    2:  signature (12), version and command, family, length (2), addresses, TLVs
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
TEXT: Final = b"PROXY "
FIRST: Final = len(SIGNATURE)
"""Octets either version has in any case."""

TEXT_MAX: Final = 107
HEAD: Final = 16
BODY_MAX: Final = 4096
"""Octets of addresses and TLVs taken; what load balancers send is some hundred."""

LOCAL: Final = 0x20
PROXY: Final = 0x21
UNSPECIFIED: Final = 0x00
TCP4: Final = 0x11
TCP6: Final = 0x21
UNIX: Final = 0x31
ADDRESS_OCTETS: Final = {UNSPECIFIED: 0, TCP4: 12, TCP6: 36, UNIX: 216}


class ProxyHeaderError(ValueError):
    """The octets are no PROXY header; ``str()`` says why, in words for a log."""


class Ends(NamedTuple):
    """A connection as the load balancer sees it.

    Attributes:
        source, source_port: the client.
        destination, destination_port: what it connected to.
    """

    source: str
    source_port: int
    destination: str
    destination_port: int


class ProxyHeader:
    """Takes one header, in any split.

    Attributes:
        ends: once complete, the connection; None if the load balancer connects on its own account (health
            checks) or does not say for whom.
        wanted: how many octets may be fed next; 0 once the header is complete.
    """

    def __init__(self) -> None:
        self.ends: Ends | None = None
        self.wanted = FIRST
        self._data = b""

    def feed(self, data: bytes) -> None:
        """Take octets, at most as many as wanted.

        Raises:
            ProxyHeaderError: they cannot be a header.
        """
        self._data += data
        found = self._data
        if found[: len(TEXT)] == TEXT[: len(found)]:
            self._text(found)
        elif found[:FIRST] == SIGNATURE[: len(found)]:
            self._binary(found)
        else:
            raise ProxyHeaderError("there is no PROXY header")

    def _text(self, line: bytes) -> None:
        if line.endswith(b"\r\n"):
            self.wanted = 0
            self.ends = _read_line(line[:-2])
        elif len(line) >= TEXT_MAX:
            raise ProxyHeaderError("the line of a PROXY header is longer than 107 octets")
        elif len(line) < FIRST:
            self.wanted = FIRST - len(line)
        else:
            # Whatever else is to come, the line ends in these.
            self.wanted = 1 if line.endswith(b"\r") else min(2, TEXT_MAX - len(line))

    def _binary(self, data: bytes) -> None:
        if len(data) < HEAD:
            self.wanted = HEAD - len(data)
            return
        command, family = data[12], data[13]
        length = int.from_bytes(data[14:HEAD], "big")
        if command not in (LOCAL, PROXY):
            raise ProxyHeaderError(f"version and command {command:#04x} of a PROXY header are unknown")
        if length > BODY_MAX:
            raise ProxyHeaderError(f"a PROXY header of {length} octets is too long")
        if command == PROXY:
            octets = ADDRESS_OCTETS.get(family)
            if octets is None:
                raise ProxyHeaderError(f"family {family:#04x} of a PROXY header is not for streams")
            if length < octets:
                raise ProxyHeaderError("a PROXY header is too short for its addresses")
        self.wanted = HEAD + length - len(data)
        if self.wanted == 0 and command == PROXY:
            self.ends = _read_addresses(family, data[HEAD:])


def _read_line(line: bytes) -> Ends | None:
    words = line.split(b" ")
    if words[1] == b"UNKNOWN":
        return None
    if words[1] not in (b"TCP4", b"TCP6") or len(words) != 6:
        raise ProxyHeaderError("a PROXY header does not name two addresses and two ports")
    kind = IPv4Address if words[1] == b"TCP4" else IPv6Address
    try:
        source, destination = (_address(kind, word.decode("ascii")) for word in words[2:4])
        source_port, destination_port = (_port(word) for word in words[4:6])
    except ValueError:
        raise ProxyHeaderError("an address or a port of a PROXY header is wrong") from None
    return Ends(source, source_port, destination, destination_port)


def _address(kind: type[IPv4Address] | type[IPv6Address], text: str) -> str:
    if "%" in text:
        raise ValueError("a zone means something on one machine only")
    return str(kind(text))


def _port(word: bytes) -> int:
    if not word.isdigit() or len(word) > 5 or (word[:1] == b"0" and word != b"0") or int(word) > 65535:
        raise ValueError("not a port")
    return int(word)


def _read_addresses(family: int, body: bytes) -> Ends | None:
    if family not in (TCP4, TCP6):
        return None
    size, kind = (4, IPv4Address) if family == TCP4 else (16, IPv6Address)
    source, destination = (str(kind(body[start : start + size])) for start in (0, size))
    ports = body[2 * size : 2 * size + 4]
    return Ends(source, int.from_bytes(ports[:2], "big"), destination, int.from_bytes(ports[2:], "big"))
