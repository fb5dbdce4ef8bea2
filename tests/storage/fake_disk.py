"""A disk that can lose power: it keeps what was synced apart from what was only written.

Faults are set by the test: short writes, ENOSPC, EIO on any operation, a power cut before any operation.
``power_cut`` gives the files as they may be found afterwards: every synced octet; of the unsynced octets any
prefix, any block of which may be zeros (blocks reach a real disk in any order); and of the names created,
renamed or deleted since the folder was synced, each one as it was or as it is.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable

from harebell.storage.files import Files, LogFile, Reader, ScratchFile


class PowerCut(BaseException):
    """The power is gone: nothing may catch this."""


class Content:
    """One file's octets, whatever it is called."""

    def __init__(self, octets: bytes = b"") -> None:
        self.octets = bytearray(octets)
        self.synced = len(octets)


class FakeFile(LogFile):
    """One open file of a fake disk."""

    def __init__(self, disk: FakeDisk, name: str) -> None:
        self._disk = disk
        self._name = name
        self._content = disk.files[name]
        self.closed = False

    def write(self, data: bytes) -> int:
        assert not self.closed, f"{self._name} is written after it was closed"
        disk = self._disk
        disk.operation("write", self._name)
        size = len(data)
        if disk.short_writes is not None and size > 1:
            size = disk.short_writes.randint(1, size)
        if disk.space is not None:
            if disk.space <= 0:
                disk.refusals += 1
                if disk.on_full is not None:
                    disk.on_full()
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            size = min(size, disk.space)
            disk.space -= size
        self._content.octets += data[:size]
        return size

    def sync(self) -> None:
        assert not self.closed, f"{self._name} is synced after it was closed"
        self._disk.operation("sync", self._name)
        self._disk.syncs += 1
        if not self._disk.skip_sync:
            self._content.synced = len(self._content.octets)

    def truncate(self, size: int) -> None:
        self._disk.operation("truncate", self._name)
        del self._content.octets[size:]
        self._content.synced = min(self._content.synced, size)

    def close(self) -> None:
        assert not self.closed, f"{self._name} is closed twice"
        self.closed = True


class FakeReader(Reader):
    """One file of a fake disk, open to be read; it can be read on when its name is gone."""

    def __init__(self, disk: FakeDisk, name: str) -> None:
        self._disk = disk
        self._name = name
        self._content = disk.files[name]
        self.closed = False
        disk.readers.append(self)

    def read(self, offset: int, size: int) -> bytes:
        assert not self.closed, f"{self._name} is read after it was closed"
        self._disk.operation("read", self._name)
        return bytes(self._content.octets[offset : offset + size])

    def size(self) -> int:
        return len(self._content.octets)

    def close(self) -> None:
        assert not self.closed, f"{self._name} is closed twice"
        self.closed = True
        self._disk.readers.remove(self)


class FakeScratch(ScratchFile):
    """A file of a fake disk that has no name."""

    def __init__(self, disk: FakeDisk, name: str) -> None:
        self._disk = disk
        self._name = name
        self.octets = bytearray()
        self.closed = False

    def write(self, offset: int, data: bytes) -> None:
        assert not self.closed, f"{self._name} is written after it was closed"
        disk = self._disk
        disk.operation("write_at", self._name)
        grows = max(0, offset + len(data) - len(self.octets))
        if disk.space is not None:
            if grows > disk.space:
                disk.refusals += 1
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            disk.space -= grows
        self.octets += bytes(grows)
        self.octets[offset : offset + len(data)] = data

    def read(self, offset: int, size: int) -> bytes:
        assert not self.closed, f"{self._name} is read after it was closed"
        self._disk.operation("read_at", self._name)
        return bytes(self.octets[offset : offset + size])

    def truncate(self) -> None:
        if self._disk.space is not None:
            self._disk.space += len(self.octets)
        self.octets.clear()

    def close(self) -> None:
        assert not self.closed, f"{self._name} is closed twice"
        self.closed = True


class FakeDisk(Files):
    """Files in memory.

    Attributes:
        files: what a reader sees now.
        durable: what each name meant when the folder was last synced.
        space: octets that may still be written; None is unlimited.
        refusals: how often a write found no space.
        on_full: called each time.
        before: called with the operation and the file's name before each operation; may raise.
        readers: those that are open.
        scratches: files without a name that were ever made.
        skip_sync: the test switch that makes sync a lie.
        syncs, operations: counters.
    """

    def __init__(self) -> None:
        self.files: dict[str, Content] = {}
        self.durable: dict[str, Content] = {}
        self.space: int | None = None
        self.refusals = 0
        self.on_full: Callable[[], None] | None = None
        self.short_writes: random.Random | None = None
        self.before: Callable[[str, str], None] | None = None
        self.readers: list[FakeReader] = []
        self.scratches: list[FakeScratch] = []
        self.skip_sync = False
        self.syncs = 0
        self.operations = 0

    def operation(self, kind: str, name: str) -> None:
        """Count an operation; the test may make it fail."""
        self.operations += 1
        if self.before is not None:
            self.before(kind, name)

    def names(self) -> list[str]:
        return sorted(self.files)

    def read(self, name: str) -> bytes:
        self.operation("read_all", name)
        return bytes(self.files[name].octets)

    def reader(self, name: str) -> Reader:
        self.operation("open", name)
        if name not in self.files:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return FakeReader(self, name)

    def create(self, name: str) -> LogFile:
        self.operation("create", name)
        self.files[name] = Content()
        return FakeFile(self, name)

    def append(self, name: str) -> LogFile:
        return FakeFile(self, name)

    def scratch(self, name: str) -> ScratchFile:
        self.operation("create", name)
        self.scratches.append(FakeScratch(self, name))
        return self.scratches[-1]

    def replace(self, name: str, data: bytes) -> None:
        temporary = name + ".tmp"
        file = self.create(temporary)
        try:
            while data:
                data = data[file.write(data) :]
            file.sync()
        except OSError:
            self.remove(temporary)
            raise
        self.rename(temporary, name)
        self.sync_folder()

    def rename(self, name: str, new_name: str) -> None:
        self.operation("rename", new_name)
        self.files[new_name] = self.files.pop(name)

    def patch(self, name: str, offset: int, data: bytes) -> None:
        self.operation("patch", name)
        content = self.files[name]
        end = offset + len(data)
        assert offset <= len(content.octets), f"{name} would have a hole"
        # Power lost before the sync leaves a part of it done.
        half = len(data) // 2
        content.octets[offset : offset + half] = data[:half]
        self.operation("sync", name)
        self.syncs += 1
        content.octets[offset:end] = data
        content.synced = max(content.synced, end)

    def remove(self, name: str) -> None:
        self.operation("remove", name)
        if name not in self.files:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        del self.files[name]

    def sync_folder(self) -> None:
        self.operation("sync_folder", "")
        self.syncs += 1
        if not self.skip_sync:
            self.durable = dict(self.files)

    def free_bytes(self) -> int:
        return 1 << 40 if self.space is None else self.space

    def put(self, name: str, octets: bytes) -> None:
        """Put a file there, durably."""
        self.files[name] = self.durable[name] = Content(octets)

    def size(self) -> int:
        """Give the octets of all files."""
        return sum(len(content.octets) for content in self.files.values())

    def power_cut(self, chance: random.Random, block: int = 512) -> FakeDisk:
        """Give the disk as it may be found after losing power now."""
        after = FakeDisk()
        for name in sorted({*self.files, *self.durable}):
            content = chance.choice([self.files.get(name), self.durable.get(name)])
            if content is not None:
                after.put(name, _as_found(content, chance, block))
        return after


def _as_found(content: Content, chance: random.Random, block: int) -> bytes:
    kept = content.octets[: chance.randint(content.synced, len(content.octets))]
    for start in range(content.synced, len(kept), block):
        if chance.random() < 0.2:
            end = min(start + block, len(kept))
            kept[start:end] = bytes(end - start)
    return bytes(kept)
