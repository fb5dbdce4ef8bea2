"""Whom a request comes from that a reverse proxy passes on: ``X-Forwarded-For``, from trusted proxies only.

Each proxy puts the address it was connected from at the end of the list, so the list is read from its end,
for as long as whoever wrote an entry is trusted.  What clients made up stands before that and does not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

HEADER: Final = "X-Forwarded-For"

UNKNOWN: Final = ""
"""The address of a client whose proxy wrote none that can be read: it is not local, whatever else it is."""


class Proxies:
    """Reverse proxies that are believed.

    Args:
        networks: theirs; empty for none.
    """

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = tuple(ip_network(each, strict=False) for each in networks)

    def client(self, peer: str, forwarded: Sequence[str]) -> str:
        """Give the address of a client.

        Args:
            peer: the address the connection is from.
            forwarded: the values of the header, in the order they came.
        """
        if not self._networks or not forwarded:
            return peer
        address = _read(peer)
        entries = [entry.strip() for value in forwarded for entry in value.split(",")]
        while address is not None and entries and self._trusted(address):
            address = _read(entries.pop())
        return UNKNOWN if address is None else str(address)

    def _trusted(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._networks)


def _read(text: str) -> IPv4Address | IPv6Address | None:
    """Read an address, which some proxies write with its port."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
