"""Who did what: a log of administrative actions, each line chained to the one before.

One line of ``audit.jsonl`` in the data folder::

    {"number": 17, "time": 1763900000123, "user": "ann", "peer": "10.0.0.7", "action": "queue.purged",
     "vhost": "/", "object": "orders", "detail": {...}, "previous": "9f2c...", "hash": "51aa..."}

``hash`` is the SHA-256, in hex, of the line's JSON without that key, and ``previous`` is the hash of the line
before: a line that was changed, or left out, shows.  It does not keep whoever can write the file from making
all of it anew; keep the latest hash elsewhere for that.  A file that is full is kept as ``audit-N.jsonl``, N
being the number of its last record; the oldest of many go.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final, TextIO

Record = dict[str, object]

FILE_NAME: Final = "audit.jsonl"
REMEMBERED: Final = 10_000
"""Records kept in memory, for the HTTP API."""

MOST_TEXT: Final = 1024
"""Characters of a text in a record."""

MOST_FIELDS: Final = 32
"""Fields of a detail."""

FULL: Final = 16 * 1024 * 1024
"""Octets after which the log goes on in a new file."""

KEPT_FILES: Final = 16
"""Full files that are kept."""

FIRST: Final = "0" * 64
"""What the first record says of the one before."""


class AuditLog:
    """The audit log of a node.

    Args:
        folder: the data folder; None keeps it in memory only.
        now: gives unix milliseconds.
        failed: told once when it cannot be written any more; it goes on in memory.

    Raises:
        OSError: the file is there and cannot be read.
    """

    def __init__(
        self, folder: Path | None, now: Callable[[], int], failed: Callable[[OSError], None] = lambda _: None
    ) -> None:
        self._now = now
        self._failed = failed
        self._latest: deque[Record] = deque(maxlen=REMEMBERED)
        self._number = 0
        self._previous = FIRST
        self._file: TextIO | None = None
        self._path = Path()
        if folder is not None:
            self._continue(folder / FILE_NAME)

    def _continue(self, path: Path) -> None:
        """Go on behind the last whole record of the file; one that was cut by a crash is taken off."""
        full = _full_files(path.parent)
        for each in [*full[-1:], path]:
            with suppress(FileNotFoundError):
                for record in _records(each):
                    self._latest.append(record)
                    self._number = int(str(record["number"]))
                    self._previous = str(record["hash"])
        with suppress(FileNotFoundError):
            os.truncate(path, whole(path))
        self._path = path
        self._open(path)

    def _open(self, path: Path) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._file = open(descriptor, "a", encoding="utf-8")  # noqa: SIM115 - it stays open

    def _begin_file(self, file: TextIO) -> None:
        """Put a full file aside and go on in a new one."""
        file.close()
        self._path.rename(self._path.with_name(f"audit-{self._number:012}.jsonl"))
        for old in _full_files(self._path.parent)[:-KEPT_FILES]:
            old.unlink()
        self._open(self._path)

    def record(
        self, user: str, peer: str, action: str, vhost: str = "", name: str = "", detail: Record | None = None
    ) -> None:
        """Write down that somebody did something.

        Args:
            user: who; empty for the broker itself.
            peer: from where.
            action: what, as ``queue.purged``.
            vhost, name: to what.
            detail: what else is worth knowing; nothing secret.
        """
        self._number += 1
        record: Record = {
            "number": self._number,
            "time": self._now(),
            "user": _bounded(user),
            "peer": _bounded(peer),
            "action": action,
            "vhost": _bounded(vhost),
            "object": _bounded(name),
            "detail": {key: _bounded(value) for key, value in list((detail or {}).items())[:MOST_FIELDS]},
            "previous": self._previous,
        }
        self._previous = record["hash"] = chained(record)
        self._latest.append(record)
        self._write(record)

    def _write(self, record: Record) -> None:
        if self._file is None:
            return
        try:
            self._file.write(_text(record) + "\n")
            self._file.flush()
            if self._file.tell() >= FULL:
                self._begin_file(self._file)
        except OSError as error:
            self.close()
            self._failed(error)

    def latest(self, most: int = 100, *, user: str = "", action: str = "", since: int = 0) -> list[Record]:
        """List records, the latest first.

        Args:
            most: how many at most.
            user: only those of this user.
            action: only those whose action begins so.
            since: only those at or after this time, unix milliseconds.
        """
        found: list[Record] = []
        for record in reversed(self._latest):
            if len(found) >= most or int(str(record["time"])) < since:
                break
            if user in ("", record["user"]) and str(record["action"]).startswith(action):
                found.append(record)
        return found

    def close(self) -> None:
        """Write what is left and close the file."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                file.close()


def chained(record: Record) -> str:
    """Work out the hash of a record."""
    return sha256(_text({key: value for key, value in record.items() if key != "hash"}).encode()).hexdigest()


def broken(path: Path) -> list[str]:
    """Say where a file of the audit log does not fit together; nothing if it does.

    Raises:
        OSError: it cannot be read.
    """
    faults: list[str] = []
    last: Record | None = None
    for record in _records(path):
        number = int(str(record["number"]))
        if last is not None and (number, record.get("previous")) != (
            int(str(last["number"])) + 1,
            last["hash"],
        ):
            faults.append(f"record {number} does not follow record {last['number']}")
        if record.get("hash") != chained(record):
            faults.append(f"record {number} was changed")
        last = record
    return faults


def whole(path: Path) -> int:
    """Give where the last whole line of a file ends."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        at = max(0, size - FULL)
        file.seek(at)
        return at + file.read().rfind(b"\n") + 1


def _full_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("audit-*.jsonl"))


def _records(path: Path) -> Iterator[Record]:
    """Read the whole lines of a file."""
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and str(record.get("number", "")).isdecimal() and "hash" in record:
                yield record


def _text(record: Record) -> str:
    return json.dumps(record, ensure_ascii=True, separators=(",", ":"), default=str)


def _bounded(value: object) -> object:
    if isinstance(value, str):
        return value if len(value) <= MOST_TEXT else value[:MOST_TEXT] + "..."
    if value is None or isinstance(value, bool | int | float):
        return value
    text = json.dumps(value, default=str)
    return text if len(text) <= MOST_TEXT else text[:MOST_TEXT] + "..."
