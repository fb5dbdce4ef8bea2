"""Every error of the domain, one row each: name, AMQP reply code, scope, HTTP status.

Any layer raises :class:`BrokerError` with a row; ``amqp/closing.py`` alone turns it into a
``channel.close`` or ``connection.close``.  Codes and scopes: AMQP 0-9-1 section 1.1 ("Constants"),
with RabbitMQ's choices where the two differ.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class ErrorRow(NamedTuple):
    """One kind of error: what it is called, its AMQP code and which AMQP object it closes."""

    name: str
    code: int
    hard: bool
    http_status: int


SUCCESS: Final = ErrorRow("REPLY_SUCCESS", 200, False, 200)
NO_ROUTE: Final = ErrorRow("NO_ROUTE", 312, False, 200)
NO_CONSUMERS: Final = ErrorRow("NO_CONSUMERS", 313, False, 200)
CONTENT_TOO_LARGE: Final = ErrorRow("CONTENT_TOO_LARGE", 311, False, 400)
CONNECTION_FORCED: Final = ErrorRow("CONNECTION_FORCED", 320, True, 503)
ACCESS_REFUSED: Final = ErrorRow("ACCESS_REFUSED", 403, False, 401)
NOT_FOUND: Final = ErrorRow("NOT_FOUND", 404, False, 404)
RESOURCE_LOCKED: Final = ErrorRow("RESOURCE_LOCKED", 405, False, 400)
PRECONDITION_FAILED: Final = ErrorRow("PRECONDITION_FAILED", 406, False, 400)
FRAME_ERROR: Final = ErrorRow("FRAME_ERROR", 501, True, 400)
SYNTAX_ERROR: Final = ErrorRow("SYNTAX_ERROR", 502, True, 400)
COMMAND_INVALID: Final = ErrorRow("COMMAND_INVALID", 503, True, 400)
CHANNEL_ERROR: Final = ErrorRow("CHANNEL_ERROR", 504, True, 400)
UNEXPECTED_FRAME: Final = ErrorRow("UNEXPECTED_FRAME", 505, True, 400)
RESOURCE_ERROR: Final = ErrorRow("RESOURCE_ERROR", 506, True, 503)
NOT_ALLOWED: Final = ErrorRow("NOT_ALLOWED", 530, True, 400)
NOT_IMPLEMENTED: Final = ErrorRow("NOT_IMPLEMENTED", 540, True, 501)
INTERNAL_ERROR: Final = ErrorRow("INTERNAL_ERROR", 541, True, 500)

ROWS: Final = (
    SUCCESS,
    CONTENT_TOO_LARGE,
    NO_ROUTE,
    NO_CONSUMERS,
    CONNECTION_FORCED,
    ACCESS_REFUSED,
    NOT_FOUND,
    RESOURCE_LOCKED,
    PRECONDITION_FAILED,
    FRAME_ERROR,
    SYNTAX_ERROR,
    COMMAND_INVALID,
    CHANNEL_ERROR,
    UNEXPECTED_FRAME,
    RESOURCE_ERROR,
    NOT_ALLOWED,
    NOT_IMPLEMENTED,
    INTERNAL_ERROR,
)


class BrokerError(Exception):
    """An error the peer (or the HTTP caller) is told about.

    Args:
        row: the kind of error.
        text: the explanation after ``NAME - `` in the reply text; names of peers appear in quotes.
    """

    def __init__(self, row: ErrorRow, text: str) -> None:
        super().__init__(text)
        self.row = row
        self.text = text

    def __str__(self) -> str:
        return f"{self.row.name} - {self.text}"


class InvalidSchema(Exception):
    """A schema that cannot be used, and why."""


class MalformedContent(Exception):
    """Bytes of a content header or field table that cannot be what they claim to be."""
