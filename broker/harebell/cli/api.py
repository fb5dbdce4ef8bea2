"""A client of the management HTTP API, RabbitMQ's or harebell's; only the standard library.

Whatever goes wrong is a :class:`Failure` with one sentence and an exit code: the host is unknown, nothing
listens, no answer in time, a wrong password, no such object, a request that is refused.
"""

from __future__ import annotations

import html
import json
import socket
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from harebell.cli.exits import (
    DATA,
    NO_USER,
    NOT_PERMITTED,
    SOFTWARE,
    TEMPORARY,
    UNAVAILABLE,
    USAGE,
    Failure,
    address,
)

if TYPE_CHECKING:
    from http.client import HTTPConnection, HTTPResponse

DEFAULT_PORT = 15672
THIS_MACHINE = f"http://guest:guest@127.0.0.1:{DEFAULT_PORT}"
Query = Mapping[str, str | int]

_NOUNS = {
    "queues": "queue",
    "exchanges": "exchange",
    "vhosts": "virtual host",
    "users": "user",
    "policies": "policy",
    "operator-policies": "operator policy",
    "connections": "connection",
    "channels": "channel",
    "nodes": "node",
    "global-parameters": "global parameter",
}
_IN_VHOST = ("queues", "exchanges", "policies", "operator-policies")


class ApiError(Failure):
    """The API answered with an error.

    Attributes:
        status: of HTTP.
        reason: what the answer says, as text.
        answer: the whole answer, decoded.
    """

    def __init__(self, message: str, exit_code: int, status: int, reason: str, answer: Any = None) -> None:
        super().__init__(message, exit_code)
        self.status = status
        self.reason = reason
        self.answer = answer


class Api:
    """One broker's HTTP API. Requests are made one at a time, over one connection.

    Args:
        url: ``http://user:password@host:port/prefix`` or ``https://...``; ``unix:/path`` is that of a socket.
        timeout: seconds for connecting and for each answer.
        ca: file of the authorities that vouch for an HTTPS server; the system's when absent.
        verify: whether the certificate of an HTTPS server is checked.
        login: user and password, instead of those in the URL.
        local: the socket to use instead of the URL's address; no login is sent unless one is given.

    Attributes:
        local: the socket, if one is used.

    Raises:
        Failure: the URL is none of these.
    """

    def __init__(
        self,
        url: str,
        timeout: float = 30.0,
        *,
        ca: Path | None = None,
        verify: bool = True,
        login: tuple[str, str] | None = None,
        local: Path | None = None,
    ) -> None:
        self.timeout = timeout
        self.local = local
        if url.startswith("unix:"):
            self.local, url = Path(unquote(urlsplit(url).path)), THIS_MACHINE
        self._anonymous = self.local is not None and login is None
        self._ca, self._verify = ca, verify
        self._connection: HTTPConnection | None = None
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise Failure(f"the URL of the HTTP API cannot be used: {error}", USAGE) from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Failure("the URL of the HTTP API begins with http:// or https://", USAGE)
        self.tls = parts.scheme == "https"
        self.host = parts.hostname
        self.port = port or (15671 if self.tls else DEFAULT_PORT)
        self.prefix = parts.path.rstrip("/").removesuffix("/api")
        user = unquote(parts.username) if parts.username else "guest"
        password = unquote(parts.password) if parts.password is not None else "guest"
        self.user, self._password = login or (user, password)

    @property
    def place(self) -> str:
        """Where the API is, without the login."""
        if self.local is not None:
            return str(self.local)
        return f"{'https' if self.tls else 'http'}://{address(self.host, self.port)}{self.prefix}"

    @property
    def password(self) -> str:
        """The password it logs in with, for other protocols of the same broker."""
        return self._password

    def login_as(self, user: str, password: str) -> Api:
        """Return a client of the same API with another login."""
        scheme = "https" if self.tls else "http"
        url = f"{scheme}://{address(self.host, self.port)}{self.prefix}"
        return Api(
            url, self.timeout, ca=self._ca, verify=self._verify, login=(user, password), local=self.local
        )

    def get(self, *path: str, query: Query | None = None) -> Any:
        """Read an object or a list; each part of the path is escaped here."""
        return self.call("GET", path, query=query)

    def put(self, *path: str, body: Any = None) -> bool:
        """Create or change an object; tell whether it is new."""
        return self._status_of("PUT", path, body) == 201

    def patch(self, *path: str, body: Any = None) -> None:
        """Change parts of an object."""
        self.call("PATCH", path, body=body)

    def post(self, *path: str, body: Any = None, query: Query | None = None) -> Any:
        """Have something done and return the answer."""
        return self.call("POST", path, body=body, query=query)

    def delete(
        self, *path: str, query: Query | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """Delete an object."""
        self.call("DELETE", path, query=query, headers=headers)

    def call(
        self,
        method: str,
        path: tuple[str, ...],
        *,
        body: Any = None,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Make a request and return the decoded answer, None for an empty one.

        Raises:
            ApiError: the answer is an error.
            Failure: there is no answer.
        """
        status, data = self._exchange(method, path, body, query, headers)
        return self._decode(status, data, path)

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _status_of(self, method: str, path: tuple[str, ...], body: Any) -> int:
        status, data = self._exchange(method, path, body, None, None)
        self._decode(status, data, path)
        return status

    def _exchange(
        self,
        method: str,
        path: tuple[str, ...],
        body: Any,
        query: Query | None,
        headers: Mapping[str, str] | None,
    ) -> tuple[int, bytes]:
        target = (
            self.prefix + "/api/" + "/".join(quote(part, safe="", errors="surrogateescape") for part in path)
        )
        if query:
            target += "?" + urlencode(query, errors="surrogateescape")
        data = None if body is None else json.dumps(body).encode()
        # No Accept: RabbitMQ answers 406 to it where it has nothing to say, as when limits are deleted.
        sent = {"Content-Type": "application/json", **(headers or {})}
        if not self._anonymous:
            login = f"{self.user}:{self._password}".encode("utf-8", "surrogateescape")
            sent["Authorization"] = "Basic " + b64encode(login).decode()
        again = self._connection is not None  # a server may have closed a connection that was idle
        while True:
            try:
                response = self._send(method, target, data, sent)
                return response.status, response.read()
            except (ConnectionResetError, BrokenPipeError) as error:
                self.close()
                if not again or method == "POST":
                    raise self._unreachable(error) from None
                again = False
            except (OSError, ValueError) as error:
                self.close()
                raise self._unreachable(error) from None
            except Exception as error:
                from http.client import HTTPException

                self.close()
                if not isinstance(error, HTTPException):
                    raise
                raise Failure(f"what listens at {self.place} does not speak HTTP", UNAVAILABLE) from None

    def _send(self, method: str, target: str, data: bytes | None, headers: Mapping[str, str]) -> HTTPResponse:
        if self._connection is None:
            self._connection = self._connect()
        self._connection.request(method, target, body=data, headers=dict(headers))
        return self._connection.getresponse()

    def _connect(self) -> HTTPConnection:
        if self.local is not None:
            from harebell.cli.local_socket import LocalConnection

            return LocalConnection(self.local, self.timeout)
        from http.client import HTTPConnection, HTTPSConnection

        if not self.tls:
            return HTTPConnection(self.host, self.port, timeout=self.timeout)
        import ssl

        context = ssl.create_default_context(cafile=None if self._ca is None else str(self._ca))
        if not self._verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return HTTPSConnection(self.host, self.port, timeout=self.timeout, context=context)

    def _unreachable(self, error: Exception) -> Failure:
        if isinstance(error, TimeoutError):
            return Failure(f"{self.place} did not answer within {self.timeout:g} s", TEMPORARY)
        if isinstance(error, socket.gaierror):
            return Failure(f"there is no host named {self.host!r}", UNAVAILABLE)
        if isinstance(error, ConnectionRefusedError):
            return Failure(
                f"nothing listens at {self.place}: is the broker running, with its HTTP API? "
                "--url or HAREBELL_URL name another one",
                UNAVAILABLE,
            )
        if self.tls and hasattr(error, "verify_message"):
            why = f"{error.verify_message}; --ca names who vouches for it"
            return Failure(f"the certificate of {self.place} is not trusted: {why}", UNAVAILABLE)
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return Failure(f"{self.place} cannot be reached: {reason}", UNAVAILABLE)

    def _decode(self, status: int, data: bytes, path: tuple[str, ...]) -> Any:
        answer: Any = None
        if data:
            try:
                answer = json.loads(data)
            except ValueError:
                if status < 400:
                    raise Failure(
                        f"what answers at {self.place} is no broker's HTTP API", UNAVAILABLE
                    ) from None
        if status < 400:
            return answer
        raise self._error(status, answer, path)

    def _error(self, status: int, answer: Any, path: tuple[str, ...]) -> ApiError:
        told = answer if isinstance(answer, dict) else {}
        # RabbitMQ escapes reasons for web pages.
        kind, reason = str(told.get("error", "")), html.unescape(_text(told.get("reason", "")))
        code, message = DATA, reason or kind or f"the answer was HTTP {status}"
        if status == 401 and kind in ("not_authorized", ""):
            code = NOT_PERMITTED
            message = f"{self.place} refuses the login of {self.user!r}: {reason or 'wrong user or password'}"
        elif status in (401, 403):
            code, message = NOT_PERMITTED, f"{self.user!r} may not do this: {reason or kind}"
        elif status == 404:
            code, message = (NO_USER if path[0] == "users" else DATA), _missing(path, reason)
        elif status == 503:
            code = UNAVAILABLE
        elif status >= 500:
            code, message = SOFTWARE, f"the broker failed with HTTP {status}: {reason or kind}"
        elif status in (405, 406, 415):
            code, message = SOFTWARE, f"this broker does not offer {'/'.join(path)} (HTTP {status})"
        return ApiError(message, code, status, reason or kind, answer)


def _text(reason: object) -> str:
    return reason if isinstance(reason, str) else json.dumps(reason)


def _missing(path: tuple[str, ...], reason: str) -> str:
    """Say which object of a path does not exist, as far as the path tells."""
    if "vhost" in reason.lower() and len(path) > 1:
        return f"there is no virtual host {path[2] if path[0] in ('users', 'parameters') else path[1]!r}"
    noun = _NOUNS.get(path[0])
    if noun and path[0] in _IN_VHOST and len(path) > 2:
        return f"there is no {noun} {path[2]!r} in virtual host {path[1]!r}"
    if noun and path[0] in _IN_VHOST and len(path) == 2:
        return f"there is no virtual host {path[1]!r}"
    if noun and len(path) > 1:
        return f"there is no {noun} {path[1]!r}"
    if noun is None and len(path) > 1:
        return f"there is no such object: {' '.join(path)}"
    return f"this broker does not offer {'/'.join(path)}"


def default_api(
    environ: Mapping[str, str], timeout: float, *, ca: Path | None = None, verify: bool = True
) -> Api:
    """Make a client of the broker that is meant where none is named.

    It is that of ``HAREBELL_URL``, else this machine's: over its socket, which needs no password, if that
    takes connections, and otherwise as :func:`default_url` says.

    Args:
        environ: the environment variables.
        timeout, ca, verify: as for :class:`Api`.
    """
    local = None
    if not environ.get("HAREBELL_URL"):
        from harebell.cli.local_socket import find_local_socket

        local = find_local_socket(environ)
    return Api(default_url(environ), timeout, ca=ca, verify=verify, local=local)


def default_url(environ: Mapping[str, str]) -> str:
    """Return the URL used when none is named: this machine's, with the login the broker itself was given.

    ``HAREBELL_URL`` wins. In a container the variables that make the first user are there for its tools,
    too.

    Args:
        environ: the environment variables.
    """
    if url := environ.get("HAREBELL_URL"):
        return url
    user = _first(environ, "HAREBELL_AUTH__DEFAULT_USER", "RABBITMQ_DEFAULT_USER") or "guest"
    password = _first(environ, "HAREBELL_AUTH__DEFAULT_PASS", "RABBITMQ_DEFAULT_PASS") or "guest"
    port = environ.get("HAREBELL_MANAGEMENT__PORT", "")
    number = int(port) if port.isdigit() and port != "0" else DEFAULT_PORT
    return f"http://{quote(user, safe='')}:{quote(password, safe='')}@127.0.0.1:{number}"


def _first(environ: Mapping[str, str], *names: str) -> str:
    """Return the first variable that is set, or what the file holds that NAME_FILE names."""
    for name in names:
        if value := environ.get(name):
            return value
        if file := environ.get(name + "_FILE"):
            try:
                return Path(file).read_text().rstrip("\n")
            except OSError:
                continue
    return ""
