"""What the HTTP API answers when it refuses, in RabbitMQ's words (as observed on 3.10)."""

from __future__ import annotations

from typing import Final

from harebell.errors import ACCESS_REFUSED, NOT_FOUND, BrokerError

REALM: Final = 'Basic realm="RabbitMQ Management"'


class HttpError(Exception):
    """A refusal, raised anywhere below a handler.

    Args:
        status: of the answer.
        error: the word clients look at; empty for an answer without a body.
        reason: one sentence for people.
        headers: to be sent with it.
    """

    def __init__(
        self, status: int, error: str = "", reason: object = "", headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(f"{status} {error}: {reason}")
        self.status = status
        self.error = error
        self.reason = reason
        self.headers = headers or {}


def bad_request(reason: object, error: str = "bad_request") -> HttpError:
    """Something is wrong with what was sent: 400."""
    return HttpError(400, error, reason)


def not_found() -> HttpError:
    """There is no such object, or no such path: 404."""
    return HttpError(404, "Object Not Found", "Not Found")


def vhost_not_found() -> HttpError:
    """Something is to be put into a virtual host that is not there: 404."""
    return HttpError(404, "not_found", "vhost_not_found")


def not_authorised(reason: str) -> HttpError:
    """The user is known and lacks a right: 401, and no challenge, or browsers would ask for a password."""
    return HttpError(401, "not_authorised", reason)


def login_failed(reason: str = "Login failed") -> HttpError:
    """The user is unknown, the password wrong, or there were too many wrong ones: 401 with a challenge."""
    return HttpError(401, "not_authorized", reason, {"WWW-Authenticate": REALM})


def login_wanted() -> HttpError:
    """Nobody logged in: 401 with a challenge and no body."""
    return HttpError(401, headers={"WWW-Authenticate": REALM})


def unsupported_media_type() -> HttpError:
    """The body is of a type the resource does not take: 415 without a body."""
    return HttpError(415)


def from_broker_error(error: BrokerError) -> HttpError:
    """Translate an error of the engine or of administration: AMQP's 403 is 401, 404 is 404, others 400."""
    if error.row is ACCESS_REFUSED:
        return not_authorised(f"{error.row.name} - {error.text}")
    if error.row is NOT_FOUND:
        return not_found()
    return HttpError(max(400, error.row.http_status), "bad_request", error.text)
