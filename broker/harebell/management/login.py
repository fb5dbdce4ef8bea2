"""Who asks: HTTP Basic, checked by the directory of users."""

from __future__ import annotations

import asyncio
import base64
import binascii
import threading

from harebell.auth.backends import NOT_LOOPBACK, WRONG_CREDENTIALS, UserDirectory
from harebell.management.errors import HttpError, login_failed, login_wanted, not_authorised
from harebell.ports import Login, User


class Refused(HttpError):
    """A login was refused.

    Args:
        login: the attempt.

    Attributes:
        user: the name claimed.
        why: the reason, for the log: not all of it is for the client.
    """

    def __init__(self, login: Login) -> None:
        self.user = login.username
        self.why = "invalid credentials" if login.refusal in ("", WRONG_CREDENTIALS) else login.refusal
        if login.refusal == NOT_LOOPBACK:
            told = not_authorised(NOT_LOOPBACK)
        else:
            told = login_failed("Login failed" if login.refusal in ("", WRONG_CREDENTIALS) else login.refusal)
        super().__init__(told.status, told.error, told.reason, told.headers)


def basic_credentials(header: str) -> tuple[str, bytes]:
    """Read an ``Authorization`` header.

    Returns:
        User name and password.

    Raises:
        HttpError: 400 without a body for another scheme and for what is no Base64, as RabbitMQ.
    """
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        raise HttpError(400)
    try:
        octets = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise HttpError(400) from None
    name, colon, password = octets.partition(b":")
    if not colon:
        raise HttpError(400)
    return name.decode("utf-8", "surrogateescape"), password


async def log_in(directory: UserDirectory, header: str | None, peer: str) -> User:
    """Authenticate a request.

    Args:
        directory: knows the users.
        header: ``Authorization``.
        peer: address the request came from.

    Raises:
        HttpError: 400 or 401.
    """
    if header is None:
        raise login_wanted()
    name, password = basic_credentials(header)
    login = Login("PLAIN", name, password, peer, protocol="http")
    user = await authenticate(directory, login)
    if user is not None:
        return user
    raise Refused(login)


async def authenticate(directory: UserDirectory, login: Login) -> User | None:
    """Ask the directory, which may answer at once, later, or from another thread."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[User | None] = loop.create_future()
    here = threading.get_ident()

    def settle(user: User | None) -> None:
        if not answered.done():
            answered.set_result(user)

    def done(user: User | None) -> None:
        if threading.get_ident() == here:
            settle(user)
        else:
            loop.call_soon_threadsafe(settle, user)

    directory.authenticate(login, done)
    return await answered
