"""The part of a request's target behind the question mark."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qsl

from harebell.management.errors import bad_request

MAX_FIELDS: Final = 200


class Query:
    """Fields of a query; of those with the same name the first counts, as on RabbitMQ.

    Args:
        text: still encoded, without the question mark.

    Raises:
        HttpError: 400 if there are too many fields.
    """

    __slots__ = ("_fields", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._fields: dict[str, str] = {}
        try:
            pairs = parse_qsl(
                text, keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="surrogateescape"
            )
        except ValueError:
            raise bad_request(f"more than {MAX_FIELDS} fields in the query") from None
        for name, value in pairs:
            self._fields.setdefault(name, value)

    def get(self, name: str) -> str | None:
        """Give a field's value; None if it is not there."""
        return self._fields.get(name)

    def items(self) -> Iterable[tuple[str, str]]:
        """Go through names and values."""
        return self._fields.items()

    def flag(self, name: str) -> bool:
        """Tell whether a field says ``true``."""
        return self._fields.get(name) == "true"

    def number(self, name: str, lowest: int, highest: int) -> int | None:
        """Give a field's number; None if it is not there.

        Raises:
            HttpError: 400 if it is no whole number, or out of bounds.
        """
        text = self._fields.get(name)
        if text is None:
            return None
        if not (text.isascii() and text.isdigit() and len(text) < 19 and lowest <= int(text) <= highest):
            raise bad_request(f"{name} is not a number from {lowest} to {highest}")
        return int(text)
