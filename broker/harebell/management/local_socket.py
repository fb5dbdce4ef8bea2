"""Administration without a password for who runs the node, as RabbitMQ's tools have it by the Erlang cookie.

The HTTP API is also on a Unix socket in the data directory that only the account of the process and root may
connect to.  The permissions of the file say so, and the system is asked at each connection who is there.
A request that names no user is a local administrator's (``auth/backends.py``).
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
import struct
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from harebell import logs
from harebell.auth.backends import local_administrator
from harebell.ports import User

SOCKET: Final = "management.sock"
"""Name of the socket in the data directory."""

LONGEST: Final = 107 if sys.platform == "linux" else 103
"""Octets in the path of a Unix socket, without the zero at its end (``sun_path`` in unix(7))."""

ROOT: Final = 0


class LocalSocket:
    """The socket: clients can connect once it is open, and wait until somebody serves them.

    Args:
        path: where it is to be.

    Attributes:
        listening: the socket itself; None unless it is open.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.listening: socket.socket | None = None
        self._made: tuple[int, int] | None = None
        self._log = logs.get_logger("management")

    def open(self) -> None:
        """Make it; where that cannot be is a line of the log, since the other addresses are there."""
        try:
            self.listening = self._make()
        except OSError as error:
            self._log.warning(f"no local administration on {self._path}: {error.strerror or error}")
        else:
            self._log.info(f"local administration on {self._path}")

    def close(self) -> None:
        """Remove and close it; safe to call twice, and where a server has closed it."""
        self.remove()
        listening, self.listening = self.listening, None
        if listening is not None:
            listening.close()

    def _make(self) -> socket.socket:
        """Make the socket in a folder nobody else may enter, and move it to its place when all is set.

        So there is no moment at which others may connect, and no other thread sees another umask.

        Raises:
            OSError: it cannot be made, or something that is no socket is in its place.
        """
        if len(os.fsencode(self._path)) > LONGEST:
            raise OSError(errno.ENAMETOOLONG, f"the path has more than {LONGEST} bytes")
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(self._path.lstat().st_mode):
                raise OSError(errno.EEXIST, "what is there is no socket, and stays as it is")
        folder = Path(tempfile.mkdtemp(prefix=".", dir=self._path.parent))
        new = folder / "s"
        listening = socket.socket(socket.AF_UNIX)
        try:
            listening.bind(str(new))
            new.chmod(0o600)
            listening.listen()
            found = new.lstat()
            # Whose socket it was has ended: this process holds the lock of the data directory.
            new.replace(self._path)
        except BaseException:
            listening.close()
            new.unlink(missing_ok=True)
            raise
        finally:
            folder.rmdir()
        self._made = (found.st_dev, found.st_ino)
        return listening

    def remove(self) -> None:
        """Remove it from its folder, unless what is in its place now is another; safe to call twice."""
        made, self._made = self._made, None
        with suppress(OSError):
            found = self._path.lstat()
            if (found.st_dev, found.st_ino) == made:
                self._path.unlink()


def local_user(transport: asyncio.BaseTransport | None) -> User | None:
    """Give the identity of who is at the other end of a Unix socket; None for who may not administer.

    Raises:
        ConnectionResetError: the connection is gone.
    """
    connection = None if transport is None else transport.get_extra_info("socket")
    if connection is None:
        raise ConnectionResetError
    try:
        uid = peer_uid(connection)
    except OSError:
        return None
    if uid in (ROOT, os.geteuid()):
        return local_administrator(uid)
    logs.get_logger("management").warning(f"local administration refused to the account with uid {uid}")
    return None


def peer_uid(connection: socket.socket) -> int:
    """Ask the system for the account of the process that opened a connection on a Unix socket.

    Raises:
        OSError: it does not say.
    """
    uid: int
    if sys.platform == "linux":
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("iII"))
        _, uid, _ = struct.unpack("iII", credentials)
    else:
        # struct xucred of FreeBSD and macOS begins with its version and the uid; the level is SOL_LOCAL.
        _, uid = struct.unpack("II", connection.getsockopt(0, getattr(socket, "LOCAL_PEERCRED", 1), 8))
    return uid
