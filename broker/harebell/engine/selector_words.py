"""The words of a selector (``selectors.py``), one after the other."""

from __future__ import annotations

import re
from typing import Final

END: Final = "end"
WORD: Final = "word"
NAME: Final = "name"
TEXT: Final = "text"
NUMBER: Final = "number"
SIGN: Final = "sign"
"""Kinds of words; a WORD is one of the language, in capitals."""

RESERVED: Final = frozenset(
    ("AND", "OR", "NOT", "IN", "LIKE", "ESCAPE", "BETWEEN", "IS", "NULL", "TRUE", "FALSE")
)

# Nothing in it can be matched in two ways, so it takes time in proportion to the text.
_WORD: Final = re.compile(
    r"""(?P<name>[A-Za-z_$][A-Za-z0-9_$.\-]*)
      | (?P<quoted>"[^"]+")
      | (?P<text>'(?:[^']|'')*')
      | (?P<number>-?[0-9]{1,64}(?:\.[0-9]{1,64})?(?:[eE][+-]?[0-9]{1,3})?)
      | (?P<sign><>|<=|>=|!=|[=<>(),])""",
    re.VERBOSE,
)
_SPACE: Final = re.compile(r"[ \t\r\n]*")


class BadSelector(Exception):
    """A selector cannot be read: says why, and where."""


class Words:
    """Reads a selector word by word.

    Args:
        source: the selector.

    Attributes:
        kind, text: of the word that is next.
        quoted: True if it is a name in double quotes.

    Raises:
        BadSelector: there is no word where one begins.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0
        self._next = 0
        self.kind = END
        self.text = ""
        self.quoted = False
        self._read()

    def _read(self) -> None:
        source = self._source
        space = _SPACE.match(source, self._next)
        self._at = self._next if space is None else space.end()
        self.quoted = False
        if self._at == len(source):
            self.kind, self.text = END, ""
            return
        found = _WORD.match(source, self._at)
        if found is None:
            raise self.bad("unexpected character")
        self._next = found.end()
        text, kind = found.group(), found.lastgroup or ""
        if kind == "name" and text.upper() in RESERVED:
            kind, text = WORD, text.upper()
        elif kind == "quoted":
            kind, text = NAME, text[1:-1]
            self.quoted = True
        elif kind == "text":
            text = text[1:-1].replace("''", "'")
        self.kind, self.text = kind, text

    def take(self) -> str:
        """Give the next word's text, and go on."""
        text = self.text
        self._read()
        return text

    def accept(self, kind: str, text: str) -> bool:
        """Go on if the next word is this one."""
        if self.kind != kind or self.text != text:
            return False
        self._read()
        return True

    def demand(self, kind: str, text: str | None) -> str:
        """Give the next word, which must be of a kind, and this one unless None.

        Raises:
            BadSelector: it is another one.
        """
        if self.kind != kind or (text is not None and self.text != text):
            raise self.bad("expected " + (text or kind))
        return self.take()

    def end(self) -> None:
        """Check that nothing is left.

        Raises:
            BadSelector: something is.
        """
        if self.kind != END:
            raise self.bad("expected AND, OR or the end")

    def bad(self, problem: str) -> BadSelector:
        """Build the refusal of the next word."""
        shown = f"'{self._source[self._at : self._at + 20]}'" if self._at < len(self._source) else "the end"
        return BadSelector(f"{problem} at position {self._at + 1}, before {shown}")
