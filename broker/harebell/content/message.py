"""A message as it travels: two raw pieces from the publisher and the address it was sent to."""

from __future__ import annotations

from typing import Final

from mypy_extensions import i32, i64, mypyc_attr

OVERHEAD: Final = 160
"""Bytes of memory a queued message costs beside its header and body, measured on CPython 3.11."""


@mypyc_attr(acyclic=True, free_list_len=1)
class Message:
    """One published message, shared by every queue that took it.

    Attributes:
        address: exchange and routing key as two short strings on the wire; the tail of
            ``basic.deliver`` and ``basic.return``, copied as it is.
        header: the content header payload, byte for byte as published (AMQP 0-9-1 section 4.2.6.1).
        body: the whole body.
        persistent: delivery-mode 2.
        arrived: unix milliseconds when the broker took it; 0 if it was not noted.
        location: where its record can be read (see ``paging.py``); -1 if there is none.
        segment: number of the journal's segment that holds it; 0 if it was never journaled.
        share: octets of its journal record for each queue that took it; 0 if it was never journaled.
    """

    __slots__ = ("address", "arrived", "body", "header", "location", "persistent", "segment", "share")

    def __init__(self, address: bytes, header: bytes, body: bytes, persistent: bool) -> None:
        self.address = address
        self.header = header
        self.body = body
        self.persistent = persistent
        self.arrived: i64 = 0
        self.location: i64 = -1
        self.segment: i32 = 0
        self.share: i32 = 0

    def size(self) -> i64:
        """Bytes of header and body."""
        return len(self.header) + len(self.body)

    def exchange(self) -> str:
        """The name of the exchange it was published to."""
        return self.address[1 : 1 + self.address[0]].decode("utf-8", "surrogateescape")

    def routing_key(self) -> str:
        """The routing key it was published with."""
        return self.address[2 + self.address[0] :].decode("utf-8", "surrogateescape")


def address(exchange: str, routing_key: str) -> bytes:
    """Encode exchange and routing key as the two short strings of a message's address."""
    first = exchange.encode("utf-8", "surrogateescape")
    second = routing_key.encode("utf-8", "surrogateescape")
    return bytes([len(first)]) + first + bytes([len(second)]) + second
