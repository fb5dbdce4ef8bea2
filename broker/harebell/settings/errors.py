"""What can be wrong with settings, and what a reader of them wants to be told."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal


class SettingsError(Exception):
    """The settings cannot be used. ``str()`` is one line for the operator.

    Attributes:
        problems: one line for each thing that is wrong, each naming where the value came from.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        more = len(self.problems) - 1
        rest = f" (and {more} more: see harebell config check)" if more else ""
        super().__init__(self.problems[0] + rest)


@dataclass(frozen=True, slots=True)
class Notice:
    """A remark that stops nothing: an ignored variable, a key of rabbitmq.conf not understood."""

    level: Literal["info", "warning"]
    text: str


def nearest(key: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the known name closest to ``key``, or an empty string."""
    candidates = list(known)
    found = get_close_matches(key, candidates, n=1, cutoff=0.6)
    if not found and "." in key:
        last = key.rpartition(".")[2]
        by_last = {candidate.rpartition(".")[2]: candidate for candidate in candidates}
        found = [by_last[name] for name in get_close_matches(last, by_last, n=1, cutoff=0.7)]
    return f" (did you mean {found[0]!r}?)" if found else ""
