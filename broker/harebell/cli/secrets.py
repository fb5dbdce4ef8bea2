"""Passwords of users that are made or changed: prompted, from a file or the standard input, or as given."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from harebell.cli.exits import USAGE, Failure
from harebell.cli.options import read_secret

F = TypeVar("F", bound=Callable[..., Any])


def password_argument(function: F) -> F:
    """Add the argument PASSWORD (may be absent, - is the standard input) and --password-file."""
    function = click.option(
        "--password-file", metavar="FILE", help="File with the password; - is the standard input."
    )(function)
    return click.argument("password", required=False)(function)


def chosen_password(password: str | None, file: str | None, *, twice: bool = True) -> str:
    """Return the password a user means; prompted for when none was given.

    Args:
        password: as an argument; ``-`` for the standard input.
        file: its file; ``-`` for the standard input.
        twice: whether a prompt asks again, to find slips.

    Raises:
        Failure: two were given, the file cannot be read, or there is no terminal to ask on.
    """
    if password is not None and file is not None:
        raise Failure("name the password or its file, not both", USAGE)
    if password is None or password == "-":
        password = read_secret(file or "-") if file is not None or password else _asked(twice)
    if not password:
        raise Failure("an empty password lets nobody in", USAGE)
    return password


def _asked(twice: bool) -> str:
    if not sys.stdin.isatty():
        raise Failure("a password is needed: --password-file FILE, or - for the standard input", USAGE)
    prompted: str = click.prompt("Password", hide_input=True, err=True, confirmation_prompt=twice)
    return prompted
