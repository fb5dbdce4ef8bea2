"""Lists: name filter, order, pages and columns as RabbitMQ does them, built in slices.

Only what is shown is built: a page of a list ordered by name costs a page, whatever the length of the list.
What is ordered by a field that must be worked out is built twice for its pages, but never held.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from heapq import merge
from time import thread_time
from typing import Any, Final, NamedTuple, TypeVar

from harebell.engine.name_patterns import BadPattern, NamePattern
from harebell.management.answers import Answer, encode
from harebell.management.calls import Call
from harebell.management.errors import bad_request
from harebell.management.pacing import Pace

Item = TypeVar("Item")
Row = dict[str, Any]

PAGE_SIZE: Final = 100
MAX_PAGE_SIZE: Final = 500
MAX_NAME: Final = 1024
MAX_COLUMNS: Final = 200

SORTED_AT_ONCE: Final = 1024
"""Objects sorted without a rest."""

MATCH_SECONDS: Final = 1.0
"""Work on matching the names of one list; contrived expressions take long for each of thousands of names."""

PART_OCTETS: Final = 65536
"""Octets of JSON put together before they are sent."""

_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,18}\Z")


class Paging(NamedTuple):
    """A page that is asked for, counted from 1."""

    page: int
    size: int


async def answer_list(
    call: Call,
    items: Iterable[Item],
    render: Callable[[Item], Row],
    *,
    key: Callable[[Item], tuple[str | int, ...]] | None = None,
    name: Callable[[Item], str] | None = None,
    paged: bool = True,
) -> Answer:
    """Answer a list.

    Args:
        call: its query says what of the list is wanted.
        items: what is listed; nobody else changes it while this runs, so a list rather than a view of a dict.
        render: makes the JSON object of an item.
        key: what the list is ordered by when nothing else is asked, as a rule vhost and name; None if the
            items come in order.
        name: gives what the field ``name`` of the query filters by; None for the field of the JSON object.
        paged: whether RabbitMQ pages this list; others ignore what is said of pages.

    Raises:
        HttpError: 400 for a page that is not there and the like.
    """
    query = call.query
    paging = _paging(call) if paged else None
    matches = _name_filter(call) if paging is not None else None
    columns = _columns(query.get("columns"))
    sort = query.get("sort") or ""
    pace = Pace()
    everything: list[Item] = []
    for item in items:
        everything.append(item)
        if pace.due():
            await pace.rest()
    found = everything
    if matches is not None:
        found = await _matching(
            everything, matches, name or (lambda item: str(render(item).get("name", ""))), pace
        )
    if sort:
        found = await _ordered_by_field(found, render, sort.split("."), pace)
    elif key is not None:
        found = await _ordered(found, key, pace)
    if sort and query.flag("sort_reverse"):
        found.reverse()
    if paging is None:
        return Answer(200, await _encoded(found, render, columns, pace))
    page = _cut(found, paging)
    parts = await _encoded(page, render, columns, pace)
    count = len(found)
    rest = {
        "page": paging.page,
        "page_count": -(-count // paging.size),
        "page_size": paging.size,
        "total_count": len(everything),
    }
    head = encode({"filtered_count": count, "item_count": len(page)})[:-1] + b',"items":'
    return Answer(200, [head, *parts, b"," + encode(rest)[1:]])


def answer_object(call: Call, row: Row) -> Answer:
    """Answer one object, of which ``columns`` may ask for parts."""
    columns = _columns(call.query.get("columns"))
    return Answer(200, (encode(row if columns is None else _picked(row, columns)),))


async def _matching(
    items: list[Item], matches: Callable[[str], bool], name: Callable[[Item], str], pace: Pace
) -> list[Item]:
    """Pick items by their names.

    Raises:
        HttpError: 400 if that takes too long.
    """
    found: list[Item] = []
    worked = 0.0
    for item in items:
        text = name(item)
        began = thread_time()
        if matches(text):
            found.append(item)
        worked += thread_time() - began
        if worked > MATCH_SECONDS:
            raise bad_request("Pagination parameters are invalid: the expression takes too long to match")
        if pace.due():
            await pace.rest()
    return found


async def _ordered(items: list[Item], key: Callable[[Item], Any], pace: Pace) -> list[Item]:
    """Sort without holding up others: in runs, which are then merged."""
    runs = []
    for begin in range(0, len(items), SORTED_AT_ONCE):
        runs.append(sorted(items[begin : begin + SORTED_AT_ONCE], key=key))
        if pace.due():
            await pace.rest()
    if len(runs) < 2:
        return runs[0] if runs else []
    ordered = []
    for item in merge(*runs, key=key):
        ordered.append(item)
        if pace.due():
            await pace.rest()
    return ordered


async def _ordered_by_field(
    items: Sequence[Item], render: Callable[[Item], Row], path: list[str], pace: Pace
) -> list[Item]:
    keyed: list[tuple[tuple[int, Any], int]] = []
    for index, item in enumerate(items):
        keyed.append((_rank(_field(render(item), path)), index))
        if pace.due():
            await pace.rest()
    ordered = await _ordered(keyed, lambda pair: pair, pace)
    return [items[index] for _, index in ordered]


async def _encoded(
    items: Sequence[Item], render: Callable[[Item], Row], columns: Columns | None, pace: Pace
) -> list[bytes]:
    """Encode a JSON array, in parts."""
    parts: list[bytes] = []
    open_part: list[bytes] = []
    octets = 0
    separator = b"["
    for item in items:
        row: object = render(item)
        if columns is not None:
            assert isinstance(row, dict)
            row = _picked(row, columns)
        text = encode(row)
        open_part += (separator, text)
        separator = b","
        octets += len(text) + 1
        if octets >= PART_OCTETS:
            parts.append(b"".join(open_part))
            open_part.clear()
            octets = 0
        if pace.due():
            await pace.rest()
    open_part.append(b"[]" if not items else b"]")
    parts.append(b"".join(open_part))
    return parts


def _field(row: object, path: list[str]) -> object:
    for name in path:
        if not isinstance(row, dict):
            return None
        row = row.get(name)
    return row


def _rank(value: object) -> tuple[int, Any]:
    """Order values of any types as Erlang does: numbers, then what is missing, then texts, then others."""
    if isinstance(value, bool):
        return (1, "true" if value else "false")
    if isinstance(value, int | float):
        return (0, value)
    if value is None:
        return (1, "null")
    if isinstance(value, str):
        return (3, value)
    return (2, repr(value))


# Columns ----------------------------------------------------------------------------------------------


class Columns:
    """Fields that are asked for; those with dots ask for parts of objects."""

    __slots__ = ("parts",)

    def __init__(self) -> None:
        self.parts: dict[str, Columns | None] = {}

    def add(self, path: list[str]) -> None:
        """Ask for one more."""
        name, rest = path[0], path[1:]
        below = self.parts.get(name)
        if not rest:
            self.parts[name] = None
        elif name not in self.parts or below is not None:
            below = below or Columns()
            self.parts[name] = below
            below.add(rest)


def _columns(text: str | None) -> Columns | None:
    if text is None:
        return None
    names = text.split(",")
    if len(names) > MAX_COLUMNS:
        raise bad_request(f"more than {MAX_COLUMNS} columns")
    columns = Columns()
    for name in names:
        path = name.split(".")
        if len(path) <= 10:
            columns.add(path)
    return columns


def _picked(row: Row, columns: Columns) -> object:
    """Give the fields asked for; where there are none RabbitMQ gives an empty list."""
    picked: Row = {}
    for name, below in columns.parts.items():
        if name not in row:
            continue
        value = row[name]
        if below is None:
            picked[name] = value
        elif isinstance(value, dict):
            picked[name] = _picked(value, below) or {}
    return picked or []


# Pages ------------------------------------------------------------------------------------------------


def _paging(call: Call) -> Paging | None:
    page_text = call.query.get("page")
    if page_text is None:
        return None
    size_text = call.query.get("page_size")
    if not _WHOLE.match(page_text) or (size_text is not None and not _WHOLE.match(size_text)):
        raise bad_request("Pagination parameters are invalid")
    page = int(page_text)
    size = PAGE_SIZE if size_text is None else int(size_text)
    if page < 1 or not 1 <= size <= MAX_PAGE_SIZE:
        shown = "undefined" if size_text is None else str(size)
        raise bad_request(
            f"Invalid pagination parameters: page number {page}, page size {shown}",
            "invalid_pagination_parameters",
        )
    return Paging(page, size)


def _cut(found: list[Item], paging: Paging) -> list[Item]:
    begin = (paging.page - 1) * paging.size
    if begin >= len(found) and paging.page > 1:
        raise bad_request(
            f"Page out of range, page: {paging.page} page size: {paging.size}, len: {len(found)}",
            "page_out_of_range",
        )
    return found[begin : begin + paging.size]


def _name_filter(call: Call) -> Callable[[str], bool] | None:
    text = call.query.get("name")
    if not text:
        return None
    if len(text) > MAX_NAME:
        raise bad_request("Pagination parameters are invalid")
    if not call.query.flag("use_regex"):
        wanted = text.casefold()
        return lambda name: wanted in name.casefold()
    # What is searched for may be followed by anything anyway; the anchor is left where it is understood.
    anchored = text.startswith("^") and "|" not in text
    bare = text[1:] if anchored else text
    while bare.endswith((".*", ".+")) and not bare.endswith(("\\.*", "\\.+")) and bare[-1] == "*":
        bare = bare[:-2]
    try:
        return NamePattern(("^" if anchored else "") + f"(?i:{bare})").matches
    except BadPattern as error:
        raise bad_request(f"Pagination parameters are invalid: {error}") from None
