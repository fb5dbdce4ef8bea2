"""How messages are shown that somebody looks at and nobody takes."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

from harebell.content.message import Message
from harebell.content.properties import parse_properties
from harebell.errors import MalformedContent
from harebell.management.calls import Call
from harebell.management.errors import HttpError, bad_request
from harebell.paging import FLAGGED, RETURN, PageUnreadable

LAST_POSITION: Final = 1 << 59

PREVIEW: Final = 4096
"""Octets of a body that are shown where nothing else is asked for."""

MOST_TRUNCATE: Final = 1 << 30

Found = TypeVar("Found")


def readable(found: Iterable[Found]) -> Iterator[Found]:
    """Go through what is looked up.

    Raises:
        HttpError: 503 if the disk cannot be read at the moment.
    """
    try:
        yield from found
    except PageUnreadable:
        raise busy() from None


def busy() -> HttpError:
    """A message cannot be read from disk at the moment: 503."""
    return HttpError(503, "unavailable", "a message cannot be read from disk at the moment: ask again")


class Style:
    """How much of bodies a call wants to see, and in which encoding.

    Args:
        call: ``truncate`` and ``encoding`` of its query count.
        usual: octets shown if it does not say; None for all.

    Raises:
        HttpError: 400.
    """

    __slots__ = ("base64", "truncate")

    def __init__(self, call: Call, usual: int | None) -> None:
        asked = call.query.number("truncate", 0, MOST_TRUNCATE)
        self.truncate = usual if asked is None else asked
        encoding = call.query.get("encoding") or "auto"
        if encoding not in ("auto", "base64"):
            raise bad_request("Unsupported encoding. Please use auto or base64.")
        self.base64 = encoding == "base64"

    def octets(self, message: Message) -> int:
        """Give the octets of a message that are shown."""
        body = len(message.body)
        return len(message.header) + (body if self.truncate is None else min(body, self.truncate))

    def shown(self, position: int, message: Message, returns: int, now: int) -> dict[str, object]:
        """Describe a message.

        Args:
            returns: how often it came back (``paging.RETURN``).
            now: unix milliseconds.
        """
        payload, encoding = self._payload(message.body)
        try:
            properties = parse_properties(message.header).as_dict()
        except MalformedContent:
            properties = {}
        arrived = int(message.arrived)
        return {
            "position": position,
            "redelivered": returns & FLAGGED != 0,
            "delivery_count": returns // RETURN,
            "arrived": arrived,
            "age": max(0, now - arrived) if arrived else 0,
            "exchange": message.exchange(),
            "routing_key": message.routing_key(),
            "properties": properties,
            "payload_bytes": len(message.body),
            "payload": payload,
            "payload_encoding": encoding,
        }

    def _payload(self, body: bytes) -> tuple[str, str]:
        part = body if self.truncate is None else body[: self.truncate]
        if not self.base64:
            try:
                return part.decode(), "string"
            except UnicodeDecodeError as error:
                # A character that was cut at the end makes no text of something else.
                if len(part) < len(body) and error.start >= len(part) - 3 and error.end == len(part):
                    return part[: error.start].decode(), "string"
        return base64.b64encode(part).decode(), "base64"
