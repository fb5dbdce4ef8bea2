"""Answers of the HTTP API, and the JSON in them."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

import orjson

from harebell.management.errors import HttpError

JSON: Final = "application/json"

NO_CACHE: Final = "no-cache"


@dataclass(slots=True)
class Answer:
    """What a handler answers.

    Attributes:
        status: HTTP status.
        body: parts that are sent one after another.
        content_type: of the body.
        headers: further ones.
    """

    status: int = 200
    body: Sequence[bytes] = ()
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)


def ok(value: object) -> Answer:
    """200 with a small JSON value; lists of objects go through ``listing.answer_list``."""
    return Answer(200, (encode(value),))


def created(location: str | None = None) -> Answer:
    """201 for something that was not there before.

    Args:
        location: relative to the path posted to.
    """
    return Answer(201, headers={} if location is None else {"Location": location})


def no_content() -> Answer:
    """204: done, nothing to say."""
    return Answer(204)


def put(existed: bool) -> Answer:
    """Answer a PUT: 204 if it replaced or confirmed something, 201 if it made it."""
    return no_content() if existed else created()


def refusal(error: HttpError) -> Answer:
    """Turn an error into its answer."""
    body = (encode({"error": error.error, "reason": error.reason}),) if error.error else ()
    return Answer(error.status, body, headers=dict(error.headers))


def encode(value: object) -> bytes:
    """Encode JSON; octets that are no UTF-8 show as replacement characters, as JSON knows only text."""
    try:
        return orjson.dumps(value, default=_plain)
    except (TypeError, ValueError, RecursionError):
        return orjson.dumps(_representable(value, 0), default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "replace")
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime.datetime):
        return int(value.timestamp())
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    return str(value)


def _representable(value: object, depth: int) -> object:
    """Make of any value one that JSON can hold."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if isinstance(value, datetime.datetime):
        return int(value.timestamp())
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return float(value)
    if depth > 100:
        return None
    if isinstance(value, dict):
        return {
            str(_representable(str(key), 0)): _representable(each, depth + 1) for key, each in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_representable(each, depth + 1) for each in value]
    return value
