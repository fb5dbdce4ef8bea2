"""How what stops a node becomes a line and an exit code."""

import errno
import os

import pytest

from harebell.cli.exits import address, failure_of

LISTENERS = [("127.0.0.1", 5672), ("::1", 5672)]


def bind_error(number: int) -> OSError:
    """The error asyncio and uvloop raise when they cannot listen."""
    reason = os.strerror(number).lower()
    return OSError(number, f"error while attempting to bind on address ('::1', 5672, 0, 0): {reason}")


def test_the_address_that_is_taken_is_named() -> None:
    failure = failure_of(bind_error(errno.EADDRINUSE), LISTENERS)
    assert failure is not None
    assert failure.exit_code == 69
    assert str(failure).startswith("cannot listen on [::1]:5672: the port is in use")


def test_without_an_address_in_the_error_all_are_named() -> None:
    failure = failure_of(OSError(errno.EACCES, "Permission denied"), LISTENERS)
    assert failure is not None
    assert str(failure).startswith("cannot listen on 127.0.0.1:5672, [::1]:5672: permission denied")


def test_a_file_that_cannot_be_written_is_73() -> None:
    failure = failure_of(PermissionError(errno.EACCES, "Permission denied", "/data/lock"), LISTENERS)
    assert failure is not None
    assert (failure.exit_code, str(failure)) == (73, "/data/lock: Permission denied")


def test_an_error_that_knows_its_exit_code_is_taken_at_its_word() -> None:
    class Locked(Exception):
        exit_code = 75

    failure = failure_of(Locked("the data folder is in use by process 7"), LISTENERS)
    assert failure is not None
    assert (failure.exit_code, str(failure)) == (75, "the data folder is in use by process 7")


@pytest.mark.parametrize("error", [ValueError("bug"), OSError(errno.EIO, "Input/output error")])
def test_a_defect_is_no_failure_and_keeps_its_traceback(error: Exception) -> None:
    assert failure_of(error, LISTENERS) is None


def test_an_ipv6_address_is_bracketed() -> None:
    assert (address("::1", 1), address("localhost", 1)) == ("[::1]:1", "localhost:1")
