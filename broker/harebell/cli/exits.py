"""Exit codes, from sysexits.h as RabbitMQ's tools use them, and the one way a command fails."""

import errno
import re
import sys
from collections.abc import Sequence

OK = 0
CRASHED = 1
USAGE = 64
DATA = 65  # what was named does not exist, or was refused as it is
NO_USER = 67
UNAVAILABLE = 69  # the node does not answer; a port is taken; a health check failed
SOFTWARE = 70
CANNOT_CREATE = 73  # the data folder cannot be written
IO_FAILED = 74
TEMPORARY = 75  # the data folder is locked; no answer in time
NOT_PERMITTED = 77  # wrong password; the user may not do this
CONFIG = 78
INTERRUPTED = 130

_BIND_ADDRESS = re.compile(r"\('([^']*)', (\d+)[,)]")
OUTPUT_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
"""Why the standard output takes no more, other than that its reader has gone."""

_BIND_ERRORS = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES, errno.EAFNOSUPPORT)


def report(message: str) -> None:
    """Say on the error output, in one line, why a command failed."""
    print(f"harebell: error: {' '.join(message.split())}", file=sys.stderr)


class Failure(Exception):
    """A command cannot do what it was asked; ``str()`` is the one line to say so.

    Attributes:
        exit_code: what the process ends with.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def failure_of(error: BaseException, listeners: Sequence[tuple[str, int]]) -> Failure | None:
    """Turn what stopped a node into a line and an exit code; None for a defect, which deserves its traceback.

    An exception that carries an ``exit_code`` (a locked data folder, say) is taken at its word.

    Args:
        error: what the node raised.
        listeners: the addresses it was to listen on.
    """
    code = getattr(error, "exit_code", None)
    if isinstance(code, int):
        return Failure(str(error), code)
    if not isinstance(error, OSError):
        return None
    if error.filename is None and error.errno in _BIND_ERRORS:
        return Failure(f"cannot listen on {_where(error, listeners)}: {_reason(error)}", UNAVAILABLE)
    if error.filename is not None:
        return Failure(f"{error.filename}: {error.strerror}", CANNOT_CREATE)
    return None


def _where(error: OSError, listeners: Sequence[tuple[str, int]]) -> str:
    if match := _BIND_ADDRESS.search(str(error)):
        return address(match[1], int(match[2]))
    return ", ".join(address(host, port) for host, port in listeners)


def _reason(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the port is in use (is another broker running? choose one with --port)"
    if error.errno == errno.EACCES:
        return "permission denied (ports below 1024 need privileges)"
    return "no such address on this machine"


def address(host: str, port: int) -> str:
    """Write a host and a port as one would in a URL: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
