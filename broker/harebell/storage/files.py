"""The file layer: everything storage does to a disk goes through here, so that tests can make it fail."""

from __future__ import annotations

import errno
import os
import shutil
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Final

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Errors of writing: there is no space."""

NO_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE})
"""Only opening a file says so."""

CANNOT_OPEN: Final = NO_DESCRIPTORS | {errno.ENOMEM}
"""Errors of opening a file that say nothing of the disk."""

SHORTAGE: Final = CANNOT_OPEN | {errno.EAGAIN, errno.EINTR}
"""Errors of anything but a sync that say nothing of the disk."""


class LogFile(ABC):
    """A file that is appended to."""

    @abstractmethod
    def write(self, data: bytes) -> int:
        """Append some of ``data`` and give how many octets; may be fewer than asked.

        Raises:
            OSError: nothing can be said of what was written.
        """

    def write_all(self, data: bytes) -> None:
        """Append all of ``data``.

        Raises:
            OSError: some of it may have been written.
        """
        while data:
            data = data[self.write(data) :]

    @abstractmethod
    def sync(self) -> None:
        """Wait until everything written is on stable storage.

        Raises:
            OSError: it may not be, and no later sync can tell; never try again.
        """

    @abstractmethod
    def truncate(self, size: int) -> None:
        """Cut the file to ``size`` octets and append from there."""

    @abstractmethod
    def close(self) -> None:
        """Close the file."""


class Reader(ABC):
    """A file that is read here and there while it may still grow."""

    @abstractmethod
    def read(self, offset: int, size: int) -> bytes:
        """Give the octets from ``offset`` on, fewer than ``size`` only at the end of the file.

        Raises:
            OSError: the disk cannot read them.
        """

    @abstractmethod
    def size(self) -> int:
        """Give the octets the file has now."""

    @abstractmethod
    def close(self) -> None:
        """Close the file."""


class ScratchFile(ABC):
    """A file without a name that is written and read here and there, and never synced."""

    @abstractmethod
    def write(self, offset: int, data: bytes) -> None:
        """Write all of ``data``; octets before it that were never written are zero.

        Raises:
            OSError: some of it may have been written.
        """

    @abstractmethod
    def read(self, offset: int, size: int) -> bytes:
        """Give the octets from ``offset`` on, fewer than ``size`` only at the end of the file.

        Raises:
            OSError: the disk cannot read them.
        """

    @abstractmethod
    def truncate(self) -> None:
        """Give back all space."""

    @abstractmethod
    def close(self) -> None:
        """Close the file, which is gone then."""


class Files(ABC):
    """What storage needs of a file system, below one folder."""

    @abstractmethod
    def names(self) -> list[str]:
        """List the files of the folder."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Give a whole file."""

    @abstractmethod
    def reader(self, name: str) -> Reader:
        """Open an existing file to read parts of it.

        Raises:
            FileNotFoundError: there is none.
            OSError: it cannot be opened now.
        """

    @abstractmethod
    def create(self, name: str) -> LogFile:
        """Make a new file to append to."""

    @abstractmethod
    def append(self, name: str) -> LogFile:
        """Open an existing file to append to."""

    @abstractmethod
    def scratch(self, name: str) -> ScratchFile:
        """Make a file that has this name for a moment only; one left over by a crash in it is replaced."""

    @abstractmethod
    def replace(self, name: str, data: bytes) -> None:
        """Write a file in one step: after a crash it is the old one or the new one, whole and durable."""

    @abstractmethod
    def rename(self, name: str, new_name: str) -> None:
        """Give a file another name, which the file that had it loses; durable once the folder is synced."""

    @abstractmethod
    def patch(self, name: str, offset: int, data: bytes) -> None:
        """Overwrite octets of an existing file, durably; a crash leaves any part of them done."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Delete a file."""

    @abstractmethod
    def sync_folder(self) -> None:
        """Make creations and deletions durable."""

    @abstractmethod
    def free_bytes(self) -> int:
        """Give the free space of the disk."""


def sync_folder(path: Path) -> None:
    """Make what was created, renamed or deleted in a folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(path: Path) -> None:
    """Make a folder with its parents, durably: a folder lost with the power would take the log along."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(mode=0o750, parents=True, exist_ok=True)
    for folder in missing:
        sync_folder(folder.parent)


class DiskFile(LogFile):
    """A real file."""

    def __init__(self, path: Path, flags: int) -> None:
        self._fd = os.open(path, flags | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o640)

    def write(self, data: bytes) -> int:
        """Append some of ``data``."""
        return os.write(self._fd, data)

    def sync(self) -> None:
        """Wait for the disk."""
        os.fdatasync(self._fd)

    def truncate(self, size: int) -> None:
        """Cut the file."""
        os.ftruncate(self._fd, size)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def _read_at(fd: int, offset: int, size: int) -> bytes:
    data = os.pread(fd, size, offset)
    while data and len(data) < size:
        more = os.pread(fd, size - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


class DiskReader(Reader):
    """A real file, read."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, offset: int, size: int) -> bytes:
        """Read a part."""
        return _read_at(self._fd, offset, size)

    def size(self) -> int:
        """Ask for the size."""
        return os.fstat(self._fd).st_size

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


class DiskScratchFile(ScratchFile):
    """A real file without a name."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_RDWR | os.O_CLOEXEC, 0o640)
        try:
            os.remove(path)
        except BaseException:
            os.close(self._fd)
            raise

    def write(self, offset: int, data: bytes) -> None:
        """Write a part."""
        while data:
            done = os.pwrite(self._fd, data, offset)
            data, offset = data[done:], offset + done

    def read(self, offset: int, size: int) -> bytes:
        """Read a part."""
        return _read_at(self._fd, offset, size)

    def truncate(self) -> None:
        """Cut it."""
        os.ftruncate(self._fd, 0)

    def close(self) -> None:
        """Close it."""
        os.close(self._fd)


class DiskFiles(Files):
    """A real folder.

    Args:
        folder: made if it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        make_folder(folder)

    def names(self) -> list[str]:
        """List the files."""
        return sorted(entry.name for entry in os.scandir(self.folder) if entry.is_file())

    def read(self, name: str) -> bytes:
        """Give a whole file."""
        return (self.folder / name).read_bytes()

    def reader(self, name: str) -> Reader:
        """Open a file to read."""
        return DiskReader(self.folder / name)

    def create(self, name: str) -> LogFile:
        """Make a new file; one left over by a crash before its first sync is replaced."""
        return DiskFile(self.folder / name, os.O_CREAT | os.O_TRUNC)

    def append(self, name: str) -> LogFile:
        """Open an existing file."""
        return DiskFile(self.folder / name, 0)

    def scratch(self, name: str) -> ScratchFile:
        """Make a file and take its name away."""
        return DiskScratchFile(self.folder / name)

    def replace(self, name: str, data: bytes) -> None:
        """Write beside, sync, rename, sync the folder."""
        temporary = name + ".tmp"
        file = self.create(temporary)
        try:
            file.write_all(data)
            file.sync()
        except OSError:
            with suppress(OSError):
                self.remove(temporary)
            raise
        finally:
            file.close()
        self.rename(temporary, name)
        self.sync_folder()

    def rename(self, name: str, new_name: str) -> None:
        """Give a file another name."""
        os.replace(self.folder / name, self.folder / new_name)

    def patch(self, name: str, offset: int, data: bytes) -> None:
        """Overwrite a part, and wait for the disk."""
        fd = os.open(self.folder / name, os.O_WRONLY | os.O_CLOEXEC)
        try:
            while data:
                done = os.pwrite(fd, data, offset)
                data, offset = data[done:], offset + done
            os.fdatasync(fd)
        finally:
            os.close(fd)

    def remove(self, name: str) -> None:
        """Delete a file."""
        os.remove(self.folder / name)

    def sync_folder(self) -> None:
        """Sync the folder itself."""
        sync_folder(self.folder)

    def free_bytes(self) -> int:
        """Give the free space of the disk."""
        return shutil.disk_usage(self.folder).free
