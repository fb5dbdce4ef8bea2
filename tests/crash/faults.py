"""A file layer that fails, or kills its process, at a named operation; a control file says where and how.

The control file is read again whenever it changes, so that a test arms and disarms faults in a running node;
what fired is appended to a file beside it.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import threading
import time
from fnmatch import fnmatch
from pathlib import Path
from typing import Final, NamedTuple

from harebell.storage.files import DiskFiles, LogFile, Reader, ScratchFile
from harebell.storage.records import CLEAN, RECORD_HEAD_SIZE, RECORD_MARK
from harebell.storage.segments import NAME_SUFFIX

KILL: Final = "kill"
EIO: Final = "EIO"
ENOSPC: Final = "ENOSPC"
BEFORE, HALF, AFTER = "before", "half", "after"


class Fault(NamedTuple):
    """What happens at one operation.

    Attributes:
        operation: ``create``, ``write``, ``write-head`` (the first write to a new segment), ``finish`` (a
            write that ends the log in order), ``sync``, ``truncate``, ``close``, ``replace``, ``remove``,
            ``sync_folder``, ``read``, ``patch``.
        name: pattern of the file's name.
        moment: ``before``, ``half`` (only of writes: half of the octets are written) or ``after``.
        nth: which such operation since the fault was armed, 1 for the first.
        effect: ``kill``, ``EIO`` or ``ENOSPC``; errors stay until the fault is disarmed.
    """

    operation: str
    name: str
    moment: str = BEFORE
    nth: int = 1
    effect: str = KILL


class Control:
    """The test's end of a control file.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fired = _fired_file(path)

    def arm(self, *faults: Fault) -> None:
        """Make these faults the ones in force, counting from now."""
        self._fired.unlink(missing_ok=True)
        temporary = self.path.with_suffix(".new")
        temporary.write_text(json.dumps(faults))
        os.replace(temporary, self.path)

    def disarm(self) -> None:
        """Let everything work again; what fired can still be asked."""
        self.path.unlink(missing_ok=True)

    def fired(self) -> list[str]:
        """Give a line for each time a fault struck since it was armed: time, and what it was."""
        return self._fired.read_text().splitlines() if self._fired.exists() else []


def _fired_file(path: Path) -> Path:
    return path.with_suffix(".fired")


class Faults:
    """The node's end of a control file.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = (0, 0)
        self._faults: list[Fault] = []
        self._counts: list[int] = []
        self._lock = threading.Lock()

    def strikes(self, operation: str, name: str, moment: str) -> bool:
        """Kill the process or raise if a fault is due; True if the caller shall write half first.

        Raises:
            OSError: the fault.
        """
        with self._lock:
            self._reload()
            for index, fault in enumerate(self._faults):
                if fault.operation != operation or not fnmatch(name, fault.name):
                    continue
                # Only one moment of an operation counts it, and halves are decided before.
                if moment != (BEFORE if fault.moment == HALF else fault.moment):
                    continue
                self._counts[index] += 1
                if self._counts[index] < fault.nth or (
                    fault.effect == KILL and self._counts[index] > fault.nth
                ):
                    continue
                if fault.moment == HALF and self._counts[index] == fault.nth:
                    return True
                self._fire(fault, name)
        return False

    def strike_after_half(self, operation: str, name: str) -> None:
        """Half is written: a kill happens now, an error at the next attempt, as on a real disk."""
        with self._lock:
            for fault in self._faults:
                if fault.operation == operation and fault.moment == HALF and fault.effect == KILL:
                    self._fire(fault, name)

    def _fire(self, fault: Fault, name: str) -> None:
        line = f"{time.time():.6f} {fault.effect} {fault.moment} {fault.operation} {name}\n"
        fd = os.open(_fired_file(self._path), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(fd, line.encode())
        os.close(fd)
        if fault.effect == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        number = getattr(errno, fault.effect)
        raise OSError(number, f"{os.strerror(number)} (injected)", name)

    def _reload(self) -> None:
        try:
            stat = os.stat(self._path)
        except FileNotFoundError:
            self._seen, self._faults = (0, 0), []
            return
        seen = (stat.st_ino, stat.st_mtime_ns)
        if seen != self._seen:
            self._seen = seen
            self._faults = [Fault(*fields) for fields in json.loads(self._path.read_text())]
            self._counts = [0] * len(self._faults)


class FaultyFile(LogFile):
    """A real file that may fail; octets not synced are lost when a sync fails, as Linux does it."""

    def __init__(self, file: LogFile, name: str, size: int, faults: Faults) -> None:
        self._file = file
        self._name = name
        self._faults = faults
        self._size = self._synced = size
        self._begun = size > 0 or not name.endswith(NAME_SUFFIX)

    def write(self, data: bytes) -> int:
        operation = "finish" if _ends_in_order(data) else "write" if self._begun else "write-head"
        self._begun = True
        if self._faults.strikes(operation, self._name, BEFORE):
            written = self._file.write(data[: max(1, len(data) // 2)])
            self._size += written
            self._faults.strike_after_half(operation, self._name)
            return written
        written = self._file.write(data)
        self._size += written
        self._faults.strikes(operation, self._name, AFTER)
        return written

    def sync(self) -> None:
        try:
            self._faults.strikes("sync", self._name, BEFORE)
        except OSError:
            self._file.truncate(self._synced)
            raise
        self._file.sync()
        self._synced = self._size
        self._faults.strikes("sync", self._name, AFTER)

    def truncate(self, size: int) -> None:
        self._faults.strikes("truncate", self._name, BEFORE)
        self._file.truncate(size)
        self._size = size
        self._synced = min(self._synced, size)
        self._faults.strikes("truncate", self._name, AFTER)

    def close(self) -> None:
        self._faults.strikes("close", self._name, BEFORE)
        self._file.close()


def _ends_in_order(data: bytes) -> bool:
    """Tell whether the last record of a batch is the one of an orderly stop, which has no payload."""
    head = data[-RECORD_HEAD_SIZE:]
    return head[:2] == bytes([RECORD_MARK, CLEAN]) and head[4:8] == bytes(4)


class FaultyReader(Reader):
    """A real file whose parts may not be readable."""

    def __init__(self, reader: Reader, name: str, faults: Faults) -> None:
        self._reader = reader
        self._name = name
        self._faults = faults

    def read(self, offset: int, size: int) -> bytes:
        self._faults.strikes("read", self._name, BEFORE)
        return self._reader.read(offset, size)

    def size(self) -> int:
        return self._reader.size()

    def close(self) -> None:
        self._reader.close()


class FaultyScratch(ScratchFile):
    """A real file without a name that may not be written or read."""

    def __init__(self, file: ScratchFile, name: str, faults: Faults) -> None:
        self._file = file
        self._name = name
        self._faults = faults

    def write(self, offset: int, data: bytes) -> None:
        self._faults.strikes("write", self._name, BEFORE)
        self._file.write(offset, data)

    def read(self, offset: int, size: int) -> bytes:
        self._faults.strikes("read", self._name, BEFORE)
        return self._file.read(offset, size)

    def truncate(self) -> None:
        self._file.truncate()

    def close(self) -> None:
        self._file.close()


class FaultyFiles(DiskFiles):
    """A real folder in which operations may fail.

    Args:
        folder: made if it is missing.
        faults: which.
    """

    def __init__(self, folder: Path, faults: Faults) -> None:
        super().__init__(folder)
        self._faults = faults

    def read(self, name: str) -> bytes:
        self._faults.strikes("read", name, BEFORE)
        return super().read(name)

    def reader(self, name: str) -> Reader:
        return FaultyReader(super().reader(name), name, self._faults)

    def patch(self, name: str, offset: int, data: bytes) -> None:
        self._faults.strikes("patch", name, BEFORE)
        super().patch(name, offset, data)
        self._faults.strikes("patch", name, AFTER)

    def create(self, name: str) -> LogFile:
        self._faults.strikes("create", name, BEFORE)
        file = FaultyFile(super().create(name), name, 0, self._faults)
        self._faults.strikes("create", name, AFTER)
        return file

    def scratch(self, name: str) -> ScratchFile:
        self._faults.strikes("create", name, BEFORE)
        return FaultyScratch(super().scratch(name), name, self._faults)

    def append(self, name: str) -> LogFile:
        size = (self.folder / name).stat().st_size
        return FaultyFile(super().append(name), name, size, self._faults)

    def replace(self, name: str, data: bytes) -> None:
        self._faults.strikes("replace", name, BEFORE)
        super().replace(name, data)
        self._faults.strikes("replace", name, AFTER)

    def remove(self, name: str) -> None:
        self._faults.strikes("remove", name, BEFORE)
        super().remove(name)
        self._faults.strikes("remove", name, AFTER)

    def sync_folder(self) -> None:
        self._faults.strikes("sync_folder", "", BEFORE)
        super().sync_folder()
        self._faults.strikes("sync_folder", "", AFTER)
