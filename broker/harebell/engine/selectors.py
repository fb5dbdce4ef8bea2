"""Conditions on messages in the words of SQL, as in JMS selectors, without arithmetic.

::

    condition = conjunction {OR conjunction}
    conjunction = negation {AND negation}
    negation = [NOT] (comparison | '(' condition ')')
    comparison = operand [('=' | '<>' | '!=' | '<' | '<=' | '>' | '>=') operand
                         | [NOT] IN '(' literal {',' literal} ')' | [NOT] LIKE text [ESCAPE text]
                         | [NOT] BETWEEN operand AND operand | IS [NOT] NULL]
    operand = name | literal
    literal = 'text' | number | TRUE | FALSE

A name is that of a header; ``properties.priority`` and its like are properties, ``headers.x`` is the header
``x`` whatever it is called, and a name in double quotes may hold any character.  A header that is missing is
NULL.  Comparing NULL, or values of different kinds, gives *unknown*; a message is wanted only if the whole
condition is true.  The length of a condition and the depth of its parentheses are bounded, and so is the work
each message takes.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from mypy_extensions import i64, mypyc_attr

from harebell.content.properties import SHORT_STRINGS, Properties
from harebell.engine.selector_words import NAME, NUMBER, SIGN, TEXT, WORD, BadSelector, Words

TRUE: Final = 1
FALSE: Final = 0
UNKNOWN: Final = -1

MOST_CHARACTERS: Final = 4096
DEEPEST: Final = 32
MOST_PATTERN: Final = 256
MOST_TEXT: Final = 4096
"""Characters of a ``LIKE`` pattern, and of a text that is compared with one; longer text is unknown to it."""

COMPARISONS: Final = ("=", "<>", "!=", "<", "<=", ">", ">=")
NUMBERS: Final = ("priority", "delivery_mode", "timestamp")
"""Properties that are no text."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Node:
    """A part of a condition."""

    def test(self, properties: Properties) -> i64:
        """Tell whether it is true, false or unknown for a message."""
        value = self.value(properties)
        if value is True:
            return TRUE
        return FALSE if value is False else UNKNOWN

    def value(self, properties: Properties) -> object:
        """Give the value it has for a message; None is NULL."""
        result: i64 = self.test(properties)
        return None if result == UNKNOWN else result == TRUE


class Literal(Node):
    """A value."""

    def __init__(self, value: object) -> None:
        self._value = value

    def value(self, properties: Properties) -> object:
        """Give it."""
        return self._value


class Header(Node):
    """A header."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._raw_name = name.encode("utf-8", "surrogateescape")

    def value(self, properties: Properties) -> object:
        """Give what the message has; octets count as text."""
        found = properties.header(self._name, self._raw_name)
        return found.decode("utf-8", "surrogateescape") if isinstance(found, bytes) else found


class Property(Node):
    """A property of the message."""

    def __init__(self, name: str) -> None:
        self._name = name

    def value(self, properties: Properties) -> object:
        """Give what the message has."""
        name = self._name
        if name == "priority":
            return int(properties.priority) if properties.priority >= 0 else None
        if name == "delivery_mode":
            return int(properties.delivery_mode) if properties.delivery_mode > 0 else None
        if name == "timestamp":
            return properties.timestamp()
        return properties.text(name)


class Comparison(Node):
    """Two operands and a sign."""

    def __init__(self, sign: str, left: Node, right: Node) -> None:
        self._sign = sign
        self._left = left
        self._right = right

    def test(self, properties: Properties) -> i64:
        """Compare; unknown for NULL and for unlike kinds."""
        return compare(self._sign, self._left.value(properties), self._right.value(properties))


def compare(sign: str, left: object, right: object) -> i64:
    """Compare two values: text by its characters, numbers by their size."""
    order: i64
    if isinstance(left, bool) or isinstance(right, bool):
        if not (isinstance(left, bool) and isinstance(right, bool)) or sign not in ("=", "<>", "!="):
            return UNKNOWN
        order = 0 if left is right else 1
    elif isinstance(left, str) and isinstance(right, str):
        order = 0 if left == right else -1 if left < right else 1
    elif isinstance(left, (int, float, Decimal)) and isinstance(right, (int, float, Decimal)):
        if left != left or right != right:
            return UNKNOWN
        order = 0 if left == right else -1 if left < right else 1
    else:
        return UNKNOWN
    if sign == "=":
        found = order == 0
    elif sign in ("<>", "!="):
        found = order != 0
    elif sign == "<":
        found = order < 0
    elif sign == "<=":
        found = order <= 0
    elif sign == ">":
        found = order > 0
    else:
        found = order >= 0
    return TRUE if found else FALSE


class OneOf(Node):
    """``IN``."""

    def __init__(self, operand: Node, values: list[object]) -> None:
        self._operand = operand
        self._values = values

    def test(self, properties: Properties) -> i64:
        """Tell whether one of the values is it; unknown if it is like none of them in kind."""
        value = self._operand.value(properties)
        found: i64 = UNKNOWN
        for other in self._values:
            same = compare("=", value, other)
            if same == TRUE:
                return TRUE
            found = max(found, same)
        return found


class Like(Node):
    """``LIKE``: ``%`` stands for any text, ``_`` for one character."""

    def __init__(self, operand: Node, pattern: list[str]) -> None:
        self._operand = operand
        self._pattern = pattern

    def test(self, properties: Properties) -> i64:
        """Compare with the pattern; unknown if it is no text."""
        value = self._operand.value(properties)
        if not isinstance(value, str) or len(value) > MOST_TEXT:
            return UNKNOWN
        return TRUE if fits(value, self._pattern) else FALSE


def fits(text: str, pattern: list[str]) -> bool:
    """Tell whether a text fits a pattern, in at most as many steps as one has characters times the other.

    Args:
        pattern: characters; ``""`` is one of any kind, ``"%%"`` any text.
    """
    at: i64 = 0
    place: i64 = 0
    star: i64 = -1
    resume: i64 = 0
    while at < len(text):
        if place < len(pattern) and (pattern[place] == "" or pattern[place] == text[at]):
            at += 1
            place += 1
        elif place < len(pattern) and pattern[place] == "%%":
            star = place
            resume = at
            place += 1
        elif star >= 0:
            resume += 1
            at = resume
            place = star + 1
        else:
            return False
    while place < len(pattern) and pattern[place] == "%%":
        place += 1
    return place == len(pattern)


class IsNull(Node):
    """``IS NULL``."""

    def __init__(self, operand: Node) -> None:
        self._operand = operand

    def test(self, properties: Properties) -> i64:
        """Tell whether it is NULL; never unknown."""
        return TRUE if self._operand.value(properties) is None else FALSE


class Not(Node):
    """``NOT``."""

    def __init__(self, part: Node) -> None:
        self._part = part

    def test(self, properties: Properties) -> i64:
        """Turn it round; unknown stays unknown."""
        found = self._part.test(properties)
        return UNKNOWN if found == UNKNOWN else TRUE - found


class All(Node):
    """``AND``."""

    def __init__(self, parts: list[Node]) -> None:
        self._parts = parts

    def test(self, properties: Properties) -> i64:
        """False if one part is, else unknown if one part is."""
        found: i64 = TRUE
        for part in self._parts:
            one = part.test(properties)
            if one == FALSE:
                return FALSE
            if one == UNKNOWN:
                found = UNKNOWN
        return found


class Either(Node):
    """``OR``."""

    def __init__(self, parts: list[Node]) -> None:
        self._parts = parts

    def test(self, properties: Properties) -> i64:
        """True if one part is, else unknown if one part is."""
        found: i64 = FALSE
        for part in self._parts:
            one = part.test(properties)
            if one == TRUE:
                return TRUE
            if one == UNKNOWN:
                found = UNKNOWN
        return found


class Parser:
    """Makes nodes of words.

    Args:
        words: of the condition.
    """

    def __init__(self, words: Words) -> None:
        self._words = words

    def condition(self, depth: int) -> Node:
        """Read a condition that lies in so many parentheses."""
        if depth > DEEPEST:
            raise self._words.bad(f"more than {DEEPEST} parentheses and NOT within each other")
        parts = [self._conjunction(depth)]
        while self._words.accept(WORD, "OR"):
            parts.append(self._conjunction(depth))
        return parts[0] if len(parts) == 1 else Either(parts)

    def _conjunction(self, depth: int) -> Node:
        parts = [self._negation(depth)]
        while self._words.accept(WORD, "AND"):
            parts.append(self._negation(depth))
        return parts[0] if len(parts) == 1 else All(parts)

    def _negation(self, depth: int) -> Node:
        words = self._words
        if words.accept(WORD, "NOT"):
            if depth >= DEEPEST:
                raise words.bad(f"more than {DEEPEST} parentheses and NOT within each other")
            return Not(self._negation(depth + 1))
        if words.accept(SIGN, "("):
            part = self.condition(depth + 1)
            words.demand(SIGN, ")")
            return part
        return self._comparison()

    def _comparison(self) -> Node:
        words = self._words
        left = self._operand()
        if words.kind == SIGN and words.text in COMPARISONS:
            sign = words.take()
            return Comparison(sign, left, self._operand())
        if words.accept(WORD, "IS"):
            negated = words.accept(WORD, "NOT")
            words.demand(WORD, "NULL")
            return Not(IsNull(left)) if negated else IsNull(left)
        negated = words.accept(WORD, "NOT")
        found = self._membership(left)
        if found is None:
            if negated:
                raise words.bad("expected IN, LIKE or BETWEEN")
            return left
        return Not(found) if negated else found

    def _membership(self, left: Node) -> Node | None:
        words = self._words
        if words.accept(WORD, "BETWEEN"):
            low = self._operand()
            words.demand(WORD, "AND")
            return All([Comparison(">=", left, low), Comparison("<=", left, self._operand())])
        if words.accept(WORD, "IN"):
            words.demand(SIGN, "(")
            values = [self._literal()]
            while words.accept(SIGN, ","):
                values.append(self._literal())
            words.demand(SIGN, ")")
            return OneOf(left, values)
        if words.accept(WORD, "LIKE"):
            pattern = words.demand(TEXT, None)
            escape = ""
            if words.accept(WORD, "ESCAPE"):
                escape = words.demand(TEXT, None)
                if len(escape) != 1:
                    raise words.bad("ESCAPE takes one character")
            return Like(left, self._pattern(pattern, escape))
        return None

    def _pattern(self, text: str, escape: str) -> list[str]:
        if len(text) > MOST_PATTERN:
            raise self._words.bad(f"a pattern of more than {MOST_PATTERN} characters")
        found: list[str] = []
        escaped = False
        for character in text:
            if escaped:
                found.append(character)
                escaped = False
            elif character == escape:
                escaped = True
            elif character == "%":
                found.append("%%")
            else:
                found.append("" if character == "_" else character)
        if escaped:
            raise self._words.bad("nothing after the escape character")
        return found

    def _operand(self) -> Node:
        words = self._words
        if words.kind != NAME:
            return Literal(self._literal())
        name = words.text
        head, dot, rest = name.partition(".")
        if dot and not words.quoted and head == "headers":
            words.take()
            return Header(rest)
        if dot and not words.quoted and head == "properties":
            known = rest.replace("-", "_")
            if known not in SHORT_STRINGS and known not in NUMBERS:
                raise words.bad(f"there is no property '{rest}'")
            words.take()
            return Property(known)
        words.take()
        return Header(name)

    def _literal(self) -> object:
        words = self._words
        if words.kind == TEXT:
            return words.take()
        if words.kind == NUMBER:
            return number(words.take())
        if words.accept(WORD, "TRUE"):
            return True
        if words.accept(WORD, "FALSE"):
            return False
        raise words.bad("expected a name or a value")


def number(text: str) -> int | float:
    """Give the value of a number."""
    return int(text) if text.lstrip("-").isdigit() else float(text)


def parse_selector(text: str) -> Node:
    """Read a condition.

    Raises:
        BadSelector: it is none; with the place, counted from 1.
    """
    if len(text) > MOST_CHARACTERS:
        raise BadSelector(f"a condition of more than {MOST_CHARACTERS} characters")
    words = Words(text)
    parser = Parser(words)
    found = parser.condition(1)
    words.end()
    return found
