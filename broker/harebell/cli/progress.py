"""A progress bar on the error output of a terminal; nothing where no terminal is."""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType

BAR = 30
EVERY = 0.1
"""Seconds between two looks of the bar."""


class Progress:
    """A bar for work that takes long enough to be worth one.

    Args:
        total: how much there is to do.
        what: what is counted, in the plural.
    """

    def __init__(self, total: int, what: str) -> None:
        self._total, self._what = total, what
        self._done = 0
        self._began = self._shown = time.monotonic()
        self._wide = 0
        self._visible = sys.stderr.isatty() and total > 1

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._wide:
            sys.stderr.write("\r" + " " * self._wide + "\r")
            sys.stderr.flush()

    def advance(self, count: int = 1) -> None:
        """Count work that was done."""
        self._done += count
        now = time.monotonic()
        if self._visible and now - self._shown >= EVERY:
            self._shown = now
            text = progress_text(self._done, self._total, self._what, now - self._began)
            text = text[: shutil.get_terminal_size().columns - 1]
            sys.stderr.write("\r" + text.ljust(self._wide))
            sys.stderr.flush()
            self._wide = len(text)


def progress_text(done: int, total: int, what: str, seconds: float) -> str:
    """Return what the bar looks like.

    Args:
        seconds: since the work began.
    """
    filled = BAR * done // total
    rate = done / seconds if seconds > 0 else 0.0
    left = f", {(total - done) / rate:,.0f} s left" if rate else ""
    return f"[{'#' * filled}{'.' * (BAR - filled)}] {done:,} of {total:,} {what}{left}"
