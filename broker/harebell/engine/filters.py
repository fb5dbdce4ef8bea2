"""What a consumer asks of the messages it gets: a table, as bindings of a headers exchange, or a selector.

``x-filter`` is a table with headers and the values they must have (see ``exchanges/headers.py``, ``x-match``
and its four forms), or a string with a condition (see ``selectors.py``).
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import mypyc_attr

from harebell.content.message import Message
from harebell.content.properties import Properties, parse_properties
from harebell.content.table import Table, encode_table
from harebell.engine.exchanges.headers import MATCH_FORMS, X_MATCH, same_value
from harebell.engine.selector_words import BadSelector
from harebell.engine.selectors import Node, parse_selector
from harebell.errors import MalformedContent

MOST_CRITERIA: Final = 256
"""Headers a table may ask for."""


class BadFilter(Exception):
    """A filter cannot be read: says why."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Filter:
    """Which messages a consumer wants.

    Attributes:
        source: the same for filters that want the same.
    """

    def __init__(self, source: bytes) -> None:
        self.source = source

    def matches(self, properties: Properties) -> bool:
        """Tell whether a message with these properties is wanted."""
        raise NotImplementedError

    def wants(self, message: Message) -> bool:
        """Tell whether a message is wanted; one that cannot be read is not."""
        try:
            return self.matches(parse_properties(message.header))
        except MalformedContent:
            return False


class HeadersFilter(Filter):
    """Goes by headers and their values."""

    def __init__(self, source: bytes, asked: Table) -> None:
        super().__init__(source)
        form = asked.get(X_MATCH, "all")
        with_x = form in ("all-with-x", "any-with-x")
        self._any_of: bool = form in ("any", "any-with-x")
        self._criteria: list[tuple[str, object]] = []
        for key, value in asked.items():
            if key != X_MATCH and (with_x or not key.startswith("x-")):
                self._criteria.append((key, value))

    def matches(self, properties: Properties) -> bool:
        """Tell whether a message is wanted; no criteria match as all, not as any."""
        headers = properties.headers()
        for key, value in self._criteria:
            if (key in headers and (value is None or same_value(headers[key], value))) == self._any_of:
                return self._any_of
        return not self._any_of


class SelectorFilter(Filter):
    """Goes by a condition."""

    def __init__(self, source: bytes, condition: Node) -> None:
        super().__init__(source)
        self._condition = condition

    def matches(self, properties: Properties) -> bool:
        """Tell whether the condition is true: neither false nor unknown."""
        return self._condition.test(properties) == 1


def make_filter(asked: object) -> Filter:
    """Read the ``x-filter`` of a consumer.

    Raises:
        BadFilter: it cannot be read.
    """
    if isinstance(asked, str):
        try:
            return SelectorFilter(b"s" + asked.encode("utf-8", "surrogateescape"), parse_selector(asked))
        except BadSelector as problem:
            raise BadFilter(str(problem)) from None
    if not isinstance(asked, dict):
        raise BadFilter("expected a table or a string")
    form = asked.get(X_MATCH, "all")
    if not isinstance(form, str) or form not in MATCH_FORMS:
        raise BadFilter(f"expected {X_MATCH} to be one of {', '.join(MATCH_FORMS)}")
    if len(asked) > MOST_CRITERIA:
        raise BadFilter(f"a table with more than {MOST_CRITERIA} entries")
    try:
        source = encode_table(dict(sorted(asked.items())))
    except MalformedContent as problem:
        raise BadFilter(str(problem)) from None
    return HeadersFilter(b"t" + source, asked)
