"""Attempts to log in that are answered at once."""

from __future__ import annotations

from typing import NamedTuple

from harebell.auth.backends import UserDirectory
from harebell.ports import Login, User


class Outcome(NamedTuple):
    """Who logged in, or why nobody did."""

    user: User | None
    reason: str


def checked(directory: UserDirectory, login: Login) -> Outcome:
    """Have a directory check a login; it must not verify passwords on threads."""
    answers: list[User | None] = []
    directory.authenticate(login, answers.append)
    (user,) = answers
    return Outcome(user, login.refusal)
