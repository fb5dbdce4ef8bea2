"""Live progress: one line rewritten on a terminal, plain lines elsewhere."""

import shutil
from typing import TextIO

from harebell.perf.measurement import Interval


class ProgressLine:
    """Writes intervals to ``stream``; ``finish`` leaves a terminal on a fresh line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._rewrites = stream.isatty()
        self._width = 0

    def show(self, interval: Interval) -> None:
        """Write one interval."""
        text = progress_text(interval)
        if self._rewrites:
            # A line that wraps cannot be rewritten.
            text = text[: shutil.get_terminal_size().columns - 1]
            self._stream.write("\r" + text.ljust(self._width))
            self._width = len(text)
        else:
            self._stream.write(text + "\n")
        self._stream.flush()

    def finish(self) -> None:
        """End the line that was being rewritten, if there is one."""
        if self._rewrites and self._width:
            self._stream.write("\n")
            self._stream.flush()
            self._width = 0


def progress_text(interval: Interval) -> str:
    """Return what one interval looks like."""
    counts, total = interval.counts, interval.total
    seconds = counts.at / 1e9 or 1.0
    parts = [f"{interval.elapsed:6.1f} s"]
    for name, now, ever in (
        ("published", counts.published, total.published),
        ("received", counts.received, total.received),
        ("confirmed", counts.confirmed, total.confirmed),
    ):
        if ever:
            parts.append(f"{name} {now / seconds:,.0f}/s")
    if interval.p99:
        parts.append(f"p50 {interval.p50 / 1000:,.0f} µs, p99 {interval.p99 / 1000:,.0f} µs")
    if interval.warming_up:
        parts.append("warming up")
    if interval.held:
        parts.append("blocked by the server")
    return "  ".join(parts)
