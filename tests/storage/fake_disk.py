"""A disk that can lose power: it keeps what was synced apart from what was only written.

Faults are set by the test: short writes, ENOSPC, EIO on write or sync.  ``power_cut`` gives the files as they
may be found after a cut: every synced octet, and of the unsynced writes any prefix, each of the later ones
perhaps as zeros (blocks reach a real disk in any order).
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable

from harebell.storage.files import Files, LogFile


class FakeFile(LogFile):
    """One open file of a fake disk."""

    def __init__(self, disk: FakeDisk, name: str) -> None:
        self._disk = disk
        self._name = name

    def write(self, data: bytes) -> int:
        return self._disk.write(self._name, data)

    def sync(self) -> None:
        self._disk.sync(self._name)

    def truncate(self, size: int) -> None:
        content = self._disk.content[self._name]
        del content[size:]
        self._disk.synced[self._name] = min(self._disk.synced[self._name], size)

    def close(self) -> None:
        pass


class FakeDisk(Files):
    """Files in memory.

    Attributes:
        content: what a reader sees now.
        synced: how many octets of each file are on stable storage.
        space: octets that may still be written; None is unlimited.
        on_write, on_sync: called before each; may raise.
        skip_sync: the test switch that makes sync a lie.
    """

    def __init__(self) -> None:
        self.content: dict[str, bytearray] = {}
        self.synced: dict[str, int] = {}
        self.durable_names: set[str] = set()
        self.space: int | None = None
        self.short_writes: random.Random | None = None
        self.on_write: Callable[[str], None] | None = None
        self.on_sync: Callable[[str], None] | None = None
        self.skip_sync = False
        self.syncs = 0

    def names(self) -> list[str]:
        return sorted(self.content)

    def read(self, name: str) -> bytes:
        return bytes(self.content[name])

    def create(self, name: str) -> LogFile:
        self.content[name] = bytearray()
        self.synced[name] = 0
        return FakeFile(self, name)

    def append(self, name: str) -> LogFile:
        return FakeFile(self, name)

    def replace(self, name: str, data: bytes) -> None:
        self.write(name + ".tmp", data)
        self.sync(name + ".tmp")
        self.content[name] = self.content.pop(name + ".tmp")
        self.synced[name] = self.synced.pop(name + ".tmp")
        self.sync_folder()

    def remove(self, name: str) -> None:
        del self.content[name]
        del self.synced[name]

    def sync_folder(self) -> None:
        self.durable_names = set(self.content)

    def free_bytes(self) -> int:
        return 1 << 40 if self.space is None else self.space

    def write(self, name: str, data: bytes) -> int:
        if self.on_write is not None:
            self.on_write(name)
        size = len(data)
        if self.short_writes is not None and size > 1:
            size = self.short_writes.randint(1, size)
        if self.space is not None:
            if self.space <= 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            size = min(size, self.space)
            self.space -= size
        self.content.setdefault(name, bytearray()).extend(data[:size])
        self.synced.setdefault(name, 0)
        return size

    def sync(self, name: str) -> None:
        if self.on_sync is not None:
            self.on_sync(name)
        self.syncs += 1
        if not self.skip_sync:
            self.synced[name] = len(self.content[name])

    def power_cut(self, seed: int, block: int = 512) -> FakeDisk:
        """Give the disk as it may be found after losing power now."""
        chance = random.Random(seed)
        after = FakeDisk()
        for name, content in self.content.items():
            if name not in self.durable_names and chance.random() < 0.5:
                continue
            synced = self.synced[name]
            kept = bytearray(content[: chance.randint(synced, len(content))])
            for start in range(synced, len(kept), block):
                if chance.random() < 0.2:
                    kept[start : start + block] = bytes(len(kept[start : start + block]))
            after.content[name] = kept
            after.synced[name] = len(kept)
        after.sync_folder()
        return after
