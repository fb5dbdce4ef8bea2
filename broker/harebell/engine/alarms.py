"""Resource alarms: while one is set, publishers wait and consumers go on."""

from __future__ import annotations

from typing import Final

MEMORY: Final = "memory"
DISK: Final = "disk"
DISK_FULL: Final = "disk full"
DAMAGE: Final = "damage"
UNREADABLE: Final = "disk unreadable"
"""Alarms: memory above its watermark, free disk space below its limit, a write that found no space.  Losses
that nobody has acknowledged, and messages on disk that cannot be read now, keep no publisher waiting."""

BLOCKING: Final = frozenset({MEMORY, DISK, DISK_FULL})


class Alarms:
    """The set of resource alarms of the node."""

    def __init__(self) -> None:
        self._set: set[str] = set()

    @property
    def active(self) -> bool:
        """True while publishers must wait."""
        return not BLOCKING.isdisjoint(self._set)

    def is_set(self, name: str) -> bool:
        """Tell whether one alarm is set."""
        return name in self._set

    @property
    def reason(self) -> str:
        """The text of ``connection.blocked``, in RabbitMQ's words."""
        low = [MEMORY] if MEMORY in self._set else []
        if self._set & {DISK, DISK_FULL}:
            low.append(DISK)
        return "low on " + " & ".join(low)

    def update(self, name: str, raised: bool) -> bool:
        """Set or clear one alarm; True if that changed anything."""
        before = len(self._set)
        if raised:
            self._set.add(name)
        else:
            self._set.discard(name)
        return len(self._set) != before
