"""What was lost from the journal, remembered until somebody says that they know.

Two small files beside the segments.  The node, which alone may recover and write, keeps the list::

    damage.json           {"format": 1, "next": 3, "more": 0, "losses": [{"number": 1, "time": ..., ...}]}

Whoever acknowledges, while the node runs or not, notes up to which number, and touches nothing else::

    damage.acknowledged   {"format": 1, "until": 2}

An acknowledged loss stays in the list as long as there is something it explains: a file with its octets, or a
hole in the log.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Final

from harebell.storage.files import Files

LIST: Final = "damage.json"
ACKNOWLEDGED: Final = "damage.acknowledged"
FORMAT: Final = 1
MOST: Final = 1000
"""Losses that are listed one by one; more of them are only counted."""

FILES_KEPT: Final = 16
"""Set-aside files that are kept of each sort, the newest ones."""

HARMLESS: Final = (".torn", ".unsynced")
SET_ASIDE: Final = (*HARMLESS, ".damaged")

_lock = threading.Lock()


@dataclass(frozen=True)
class Lost:
    """One loss.

    Attributes:
        file: the segment it is in; empty if it cannot be said.
        offset, octets: where in the file.
        what: what it means, a sentence.
        kept_as: file with a copy of the damaged octets; empty if there are none.
        time: when it was found, UTC.
        number: grows by one with each.
    """

    file: str
    offset: int
    octets: int
    what: str
    kept_as: str = ""
    time: str = ""
    number: int = 0

    def __str__(self) -> str:
        kept = f", kept as {self.kept_as}" if self.kept_as else ""
        where = f"{self.file}: {self.octets} octets at offset {self.offset}: " if self.file else ""
        return f"{where}{self.what}{kept}"

    def same(self, other: Lost) -> bool:
        """Tell whether both are about the same octets."""
        if not self.file:
            return not other.file and self.what == other.what
        return (self.file, self.offset, self.octets) == (other.file, other.offset, other.octets)


@dataclass
class _Known:
    """What the two files say."""

    losses: list[Lost]
    next_number: int = 1
    more: int = 0
    until: int = 0

    def open(self) -> list[Lost]:
        return [lost for lost in self.losses if lost.number > self.until]


def read_damage(files: Files) -> list[Lost]:
    """Give the losses nobody has acknowledged yet, oldest first.

    Raises:
        OSError: a file cannot be read.
    """
    known = _read(files)
    found = known.open()
    if found and known.more:
        found.append(Lost("", 0, 0, f"and {known.more} more", number=known.next_number - 1))
    return found


def read_all_damage(files: Files) -> list[Lost]:
    """Give every loss in the list, those acknowledged as well."""
    return _read(files).losses


def remember(files: Files, losses: Iterable[Lost]) -> list[Lost]:
    """Add losses to the list; those in it already are passed over.

    Returns:
        Those that were new.

    Raises:
        OSError: the list cannot be written.
    """
    with _lock:
        known = _read(files)
        new: list[Lost] = []
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        for lost in losses:
            # Without a copy there is a hole in the log, which is found again at every start.
            listed = known.losses if not lost.kept_as else known.open()
            if any(lost.same(other) for other in [*listed, *new]):
                continue
            if len(known.open()) + len(new) >= MOST:
                known.more += 1
                continue
            new.append(replace(lost, time=now, number=known.next_number))
            known.next_number += 1
        if new or known.more:
            known.losses += new
            _write(files, known)
        return new


def acknowledge(files: Files) -> list[Lost]:
    """Note that everything listed now is known to the operator; give what that was.

    Raises:
        OSError: that cannot be written.
    """
    found = read_damage(files)
    if found:
        until = max(lost.number for lost in found)
        files.replace(ACKNOWLEDGED, json.dumps({"format": FORMAT, "until": until}).encode() + b"\n")
    return found


def tidy(files: Files) -> None:
    """Delete old set-aside files, but none of a loss that is not acknowledged; only for the node itself.

    Raises:
        OSError: a file cannot be read, written or deleted.
    """
    with _lock:
        known = _read(files)
        names = files.names()
        opened = {lost.kept_as for lost in known.open()}
        closed = {lost.kept_as for lost in known.losses} - opened
        harmless = [name for name in names if name.endswith(HARMLESS)]
        damaged = [name for name in names if name in closed]
        stale = sorted(harmless, key=_age)[:-FILES_KEPT] + sorted(damaged, key=_age)[:-FILES_KEPT]
        for name in stale:
            files.remove(name)
        if stale:
            files.sync_folder()
        left = set(names) - set(stale)
        kept = [lost for lost in known.losses if lost.number > known.until or _explains(lost, left)]
        more = known.more if len(kept) and kept[-1].number > known.until else 0
        if (len(kept), more) != (len(known.losses), known.more):
            known.losses, known.more = kept[-2 * MOST :], more
            _write(files, known)


def _explains(lost: Lost, names: set[str]) -> bool:
    if lost.kept_as:
        return lost.kept_as in names
    return not lost.file or lost.file in names


def _age(name: str) -> tuple[str, int]:
    """Sort set-aside files by segment, then by offset."""
    segment, _, rest = name.partition(".wal.")
    digits = rest.partition(".")[0]
    return segment, int(digits) if digits.isdigit() else 0


def _read(files: Files) -> _Known:
    """Read both files; a list that cannot be understood is a loss itself."""
    names = files.names()
    until = 0
    if ACKNOWLEDGED in names:
        try:
            until = int(json.loads(files.read(ACKNOWLEDGED))["until"])
        except (ValueError, KeyError, TypeError):
            until = 0
    if LIST not in names:
        return _Known([], until + 1, 0, until)
    try:
        found = json.loads(files.read(LIST))
        losses = [_lost(entry) for entry in found["losses"]]
        return _Known(losses, max(int(found["next"]), until + 1), int(found["more"]), until)
    except (ValueError, KeyError, TypeError):
        unreadable = Lost("", 0, 0, f"the list of losses, {LIST}, could not be read", number=until + 1)
        return _Known([unreadable], until + 2, 0, until)


def _lost(entry: dict[str, object]) -> Lost:
    texts = [str(entry[name]) for name in ("file", "what", "kept_as", "time")]
    numbers = [int(str(entry[name])) for name in ("offset", "octets", "number")]
    return Lost(texts[0], numbers[0], numbers[1], texts[1], texts[2], texts[3], numbers[2])


def _write(files: Files, known: _Known) -> None:
    losses = [asdict(lost) for lost in known.losses]
    content = {"format": FORMAT, "next": known.next_number, "more": known.more, "losses": losses}
    files.replace(LIST, json.dumps(content, indent=1).encode() + b"\n")
