"""Patterns of policies: regular expressions on names that cannot stall the broker.

A pattern is searched for in the name, so anchors are up to who writes it, and the empty one matches all.
RabbitMQ's expressions are PCRE; Python's ``re`` understands nearly all that policies use (look-ahead, as in
``^(?!amq\\.)``, included) and refuses the rest when the policy is set.

``re`` tries every way to match, which for some expressions takes for ever.  So the ways an expression leaves
open are estimated when it is set, in bits, and one with too many is refused:

* a repeat without end (``*``, ``+``, ``{2,}``) has as many ways as a name has characters, 8 bits; the place
  where an expression without ``^`` begins counts as one, a repeat at its very end does not;
* ``?`` has two ways, ``{m,n}`` n - m + 1, a choice whose branches may begin alike one for each branch;
* an expression repeated n times has its ways to the power of n; one with any ways, repeated without end, as
  in ``(a+)+`` or ``(a|ab)*``, has too many.
"""

from __future__ import annotations

import re
import warnings
from typing import Final

MAX_PATTERN: Final = 1024
"""Characters of a pattern."""

MAX_BITS: Final = 24.0
"""Ways to match, as a power of two: what ``re`` goes through well within a second, however contrived."""

NAME_BITS: Final = 8.0
"""Names have at most 255 octets."""

CHOICE_BITS: Final = 1.2
"""What a choice of two counts: more than a bit, since no end of the name cuts it short."""

_QUANTIFIER: Final = re.compile(r"[*+?]|\{(\d+)\}|\{(\d*),(\d*)\}")
_CLASS: Final = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_GROUP: Final = re.compile(r"\?(?:P?<\w+>|[aiLmsux-]*:|>)")
_LOOK_AROUND: Final = ("?=", "?!", "?<=", "?<!")
_UNSUPPORTED: Final = ("?#", "?P=", "?(", "?i", "?a", "?m", "?s", "?x", "?u", "?L")
_TOO_LONG: Final = "could take too long to match"


class BadPattern(Exception):
    """A pattern that is no regular expression, or one that could take for ever."""


class NamePattern:
    """One compiled pattern.

    Args:
        text: the expression.

    Raises:
        BadPattern: it is too long, no regular expression, or could take too long to match.
    """

    __slots__ = ("_anchored", "_compiled", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        if len(text) > MAX_PATTERN:
            raise BadPattern(f"longer than {MAX_PATTERN} characters")
        try:
            with warnings.catch_warnings():
                # ``[[:alpha:]]`` and the like mean something else to PCRE: better refused than misread.
                warnings.simplefilter("error")
                self._compiled = re.compile(text)
        except (re.error, OverflowError, RecursionError, Warning) as error:
            raise BadPattern(str(error)) from None
        # What begins with ``.*`` need not be tried at every place of a name.
        self._anchored = text.startswith(".*") and "|" not in text
        if _bits(text, self._anchored) > MAX_BITS:
            raise BadPattern(_TOO_LONG)

    def matches(self, name: str) -> bool:
        """Tell whether the pattern matches anywhere in a name."""
        if self._anchored and "\n" not in name:
            return self._compiled.match(name) is not None
        return self._compiled.search(name) is not None


def _bits(text: str, anchored: bool) -> float:
    scan = _Scan(text)
    try:
        bits = scan.choice()
    except RecursionError:
        raise BadPattern("nests too deep") from None
    if text.endswith((".*", ".+")) and not text.endswith(("\\.*", "\\.+")):
        bits -= NAME_BITS
    if not anchored and any(begin != "^" for begin in scan.begins):
        bits += NAME_BITS
    return bits


class _Scan:
    """Estimates, in bits, the ways to match an expression that is known to be well formed."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self.begins: list[str] = []
        """How the branches of the last choice scanned begin; in the end those of the whole expression."""

    def choice(self) -> float:
        """Scan branches up to the end or a closing parenthesis, and give the bits of the dearest."""
        most = 0.0
        begins: list[str] = []
        while True:
            begins.append(self._pattern[self._at : self._at + 1])
            most = max(most, self._branch())
            if not self._next_is("|"):
                break
            self._at += 1
        # What begins with anything but a plain character may begin like any other branch.
        plain = all(begin.isalnum() or begin in ("_", "-") for begin in begins)
        if len(begins) > 1 and (not plain or len(set(begins)) < len(begins)):
            most += CHOICE_BITS * (len(begins) - 1).bit_length()
        self.begins = begins
        return most

    def _next_is(self, char: str) -> bool:
        return self._pattern.startswith(char, self._at)

    def _branch(self) -> float:
        total = 0.0
        while self._at < len(self._pattern) and self._pattern[self._at] not in "|)":
            bits = self._atom()
            total += self._repeated(bits)
        return total

    def _atom(self) -> float:
        """Pass one atom and give the ways to match it once."""
        pattern = self._pattern
        char = pattern[self._at]
        if char == "[":
            found = _CLASS.match(pattern, self._at)
            self._at = len(pattern) if found is None else found.end()
        elif char == "\\":
            self._at += 2
        elif char == "(":
            return self._group()
        else:
            self._at += 1
        return 0.0

    def _group(self) -> float:
        self._at += 1
        if self._pattern.startswith(_UNSUPPORTED, self._at) and not _GROUP.match(self._pattern, self._at):
            raise BadPattern("inline flags, comments, named back references and conditions are not supported")
        if self._pattern.startswith(_LOOK_AROUND, self._at):
            self._at += 3 if self._pattern[self._at + 1] == "<" else 2
        else:
            found = _GROUP.match(self._pattern, self._at)
            self._at = self._at if found is None else found.end()
        bits = self.choice()
        self._at += 1
        return bits

    def _repeated(self, bits: float) -> float:
        """Pass the quantifiers of an atom and give the ways to match it so often."""
        while True:
            found = _QUANTIFIER.match(self._pattern, self._at)
            if found is None:
                return bits
            self._at = found.end()
            exactly, low, high = found[1], found[2], found[3]
            if found[0] == "?":
                bits += CHOICE_BITS
            elif exactly is not None:
                bits *= int(exactly)
            elif high:
                bits = bits * int(high) + CHOICE_BITS * (int(high) - int(low or 0)).bit_length()
            elif bits > 0:
                raise BadPattern(_TOO_LONG)
            else:
                bits = NAME_BITS
            # ``*?`` is lazy and ``*+`` possessive: still one repeat.
            if self._next_is("?") or self._next_is("+"):
                self._at += 1
