"""The data directory: one process at a time, one format, one identity.

::

    <data-dir>/
      harebell.json       {"format": 1, "node": "9f0c..."}
      lock                flock'ed by the running node; holds its process id
      journal/            segments (<base lsn, 16 hex digits>.wal), metadata.snapshot, damage.json,
                          octets that were set aside

``docs/formats.md`` has the details.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from pathlib import Path
from typing import Final

from harebell.storage.files import make_folder, sync_folder

FORMAT: Final = 1
IDENTITY: Final = "harebell.json"
LOCK: Final = "lock"
JOURNAL: Final = "journal"


class DataDirError(Exception):
    """The data directory cannot be used; ``str()`` is one line for the operator.

    Attributes:
        exit_code: what the process ends with: 73 not writable or unknown format, 75 locked.
    """

    def __init__(self, text: str, exit_code: int = 73) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class DataDir:
    """A data directory this process holds the lock of.

    Args:
        path: made, with its identity, if it is missing.

    Attributes:
        node: the id written into every segment.

    Raises:
        DataDirError: it is locked, not writable, or of a newer format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = -1
        try:
            make_folder(path)
            self._lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise DataDirError(f"the data directory {path} cannot be used: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(self._lock, 32).decode("ascii", "replace").strip()
            os.close(self._lock)
            raise DataDirError(
                f"the data directory {path} is in use by another harebell (process {holder or 'unknown'})", 75
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
        try:
            self.node = self._identity()
        except DataDirError:
            self.close()
            raise

    @property
    def journal(self) -> Path:
        """The journal's folder."""
        return self.path / JOURNAL

    def close(self) -> None:
        """Give the lock back."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _identity(self) -> int:
        file = self.path / IDENTITY
        try:
            identity = json.loads(file.read_text())
            found, node = int(identity["format"]), int(identity["node"], 16)
        except FileNotFoundError:
            return self._new_identity(file)
        except (OSError, ValueError, KeyError, TypeError):
            raise DataDirError(
                f"{file} is damaged; restore it from a backup or name another folder"
            ) from None
        if not 0 <= node < 1 << 64:
            raise DataDirError(f"{file} is damaged; restore it from a backup or name another folder")
        if found > FORMAT:
            raise DataDirError(f"{self.path} was written by a newer harebell (format {found}, not {FORMAT})")
        return node

    def _new_identity(self, file: Path) -> int:
        if (self.path / JOURNAL).is_dir() and any((self.path / JOURNAL).iterdir()):
            raise DataDirError(f"{file} is missing although there is a journal beside it")
        node = secrets.randbits(63)
        temporary = file.with_suffix(".tmp")
        try:
            with open(temporary, "w") as out:
                out.write(json.dumps({"format": FORMAT, "node": f"{node:016x}"}) + "\n")
                out.flush()
                os.fsync(out.fileno())
            os.replace(temporary, file)
            sync_folder(self.path)
        except OSError as error:
            raise DataDirError(f"{self.path} is not writable: {error.strerror}") from None
        return node
