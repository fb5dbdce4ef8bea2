"""What bodies of requests are made of: types that take what RabbitMQ takes."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict

from harebell.content.table import Table, encode_table
from harebell.errors import MalformedContent
from harebell.management.errors import bad_request

MAX_NAME: Final = 255
"""Octets of a name or a routing key: short strings of AMQP."""


def _parse_bool(value: object) -> object:
    if value in ("true", "false") and isinstance(value, str):
        return value == "true"
    if not isinstance(value, bool):
        raise ValueError("not_boolean")
    return value


def _parse_int(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("not_integer")
    if isinstance(value, str):
        text = value.removeprefix("-")
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            raise ValueError("not_integer")
        return int(value)
    if isinstance(value, float) and -1e15 < value < 1e15:
        return int(value)
    return value


def _parse_table(value: object) -> object:
    if isinstance(value, list) and not value:
        return {}
    if not isinstance(value, dict):
        raise ValueError("not an object")
    try:
        encode_table(value)
    except MalformedContent as error:
        raise ValueError(str(error)) from None
    return value


def _parse_text(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and octets(value) > MAX_NAME:
        raise ValueError(f"longer than {MAX_NAME} octets")
    return value


Bool = Annotated[bool, BeforeValidator(_parse_bool)]
"""``true`` or ``false``, also as text."""

Int = Annotated[int, BeforeValidator(_parse_int)]
"""A whole number, also as text."""

Arguments = Annotated[dict[str, object], BeforeValidator(_parse_table)]
"""Arguments that have a form on the wire; an empty list is an empty object, as PHP writes it."""

ShortText = Annotated[str, BeforeValidator(_parse_text)]
"""A text that is a short string of AMQP, also as a number."""


class Body(BaseModel):
    """Base of bodies: keys that are not known are passed over, as RabbitMQ does."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Changes(Body):
    """Arguments to be changed: new values, and null for those that are to go."""

    arguments: Arguments


def octets(text: str) -> int:
    """Count the octets of a text on the wire."""
    return len(text.encode("utf-8", "surrogateescape"))


def check_name(name: str) -> str:
    """Check that a name from a path is a short string of AMQP, and take line ends out as RabbitMQ does.

    Raises:
        HttpError: 400.
    """
    name = name.replace("\r", "").replace("\n", "")
    if octets(name) > MAX_NAME:
        raise bad_request(f"name is longer than {MAX_NAME} octets")
    return name


def missing(table: Table, names: tuple[str, ...]) -> None:
    """Check that all keys are there.

    Raises:
        HttpError: 400 in RabbitMQ's words.
    """
    absent = [f"{{key_missing,{name}}}" for name in names if name not in table]
    if absent:
        raise bad_request("[" + ",".join(absent) + "]")
