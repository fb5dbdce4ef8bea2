"""Finds the socket on which the broker of this machine asks its own account, and root, for no password."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Mapping
from http.client import HTTPConnection
from pathlib import Path

from harebell.settings.errors import SettingsError
from harebell.settings.places import find_config, find_data_dir

NAME = "management.sock"
ANSWER_SECONDS = 2.0


class LocalConnection(HTTPConnection):
    """HTTP over a Unix socket.

    Args:
        path: the socket's.
        timeout: seconds for connecting and for each answer.
    """

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect.

        Raises:
            OSError: nothing listens there, or this account may not connect.
        """
        self.sock = connected(self._path, self.timeout or ANSWER_SECONDS)


def connected(path: Path, timeout: float) -> socket.socket:
    """Connect to a Unix socket.

    Raises:
        OSError: nothing listens there, or this account may not connect.
    """
    made = socket.socket(socket.AF_UNIX)
    try:
        made.settimeout(timeout)
        made.connect(str(path))
    except BaseException:
        made.close()
        raise
    return made


def find_local_socket(environ: Mapping[str, str]) -> Path | None:
    """Find the socket of the broker that ``harebell serve`` would be here; None if none takes connections.

    What another account put there is not used: passwords go over it.

    Args:
        environ: the environment variables.
    """
    path = default_data_dir(environ) / NAME
    try:
        found = path.lstat()
        if not stat.S_ISSOCK(found.st_mode) or os.geteuid() not in (0, found.st_uid):
            return None
        connected(path, ANSWER_SECONDS).close()
    except (OSError, AttributeError):  # there are systems without Unix sockets
        return None
    return path


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """Return the data directory that ``harebell serve`` would use without options.

    The settings would tell as well, but take longer to import than a whole command takes.

    Args:
        environ: the environment variables.
    """
    variables = ("HAREBELL_STORAGE__DATA_DIR", "RABBITMQ_MNESIA_DIR", "RABBITMQ_MNESIA_BASE")
    named = next((environ[name] for name in variables if environ.get(name)), None)
    named = named or _configured(environ)
    return find_data_dir(Path(named) if named else None, environ)


def _configured(environ: Mapping[str, str]) -> str | None:
    """Return what the configuration files say; ``serve`` complains about those that cannot be read."""
    try:
        files = find_config(None, environ, cwd=Path.cwd()).toml
    except (OSError, SettingsError):
        return None
    if environ.get("HAREBELL_DEFAULTS"):
        files = (Path(environ["HAREBELL_DEFAULTS"]), *files)
    for file in reversed(files):
        try:
            text = file.read_text(encoding="utf-8")
            if "data_dir" not in text:
                continue
            import tomllib

            named = tomllib.loads(text).get("storage", {}).get("data_dir")
        except (OSError, ValueError, AttributeError):
            continue
        if isinstance(named, str) and named:
            return named
    return None
