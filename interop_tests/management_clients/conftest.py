"""The HTTP API as plain requests, for what no client of it does, and objects that are removed afterwards."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from interop_tests.broker_under_test import BrokerUnderTest

SECONDS = 30


@dataclass(frozen=True)
class Reply:
    """What was answered: status, headers by name in lower case, and the decoded body."""

    status: int
    headers: dict[str, str]
    body: Any


class HttpApi:
    """Sends requests as one user, the one of the broker's URL unless another is named."""

    def __init__(self, broker: BrokerUnderTest) -> None:
        parts = urlsplit(broker.management_url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 15672)
        self._login = (broker.user, broker.password)

    def ask(self, method: str, path: str, body: object = None, login: tuple[str, str] | None = None) -> Reply:
        """Send a request for a path below the host."""
        credentials = ":".join(login or self._login).encode()
        headers = {
            "Authorization": "Basic " + base64.b64encode(credentials).decode(),
            "Content-Type": "application/json",
        }
        connection = HTTPConnection(*self._address, timeout=SECONDS)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            text = response.read().decode()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, found, json.loads(text) if text else None)
        finally:
            connection.close()


@pytest.fixture
def api(broker: BrokerUnderTest) -> HttpApi:
    """The HTTP API of the broker under test."""
    return HttpApi(broker)


@pytest.fixture
def vhost(api: HttpApi) -> Iterator[str]:
    """A virtual host of the test's own, in which the user of the broker's URL may do everything."""
    name = f"interop/{secrets.token_hex(4)}"
    path = f"/api/vhosts/{quote(name, safe='')}"
    assert api.ask("PUT", path).status == 201
    try:
        yield name
    finally:
        api.ask("DELETE", path)


@pytest.fixture
def user(api: HttpApi) -> Iterator[str]:
    """The name of a user that is deleted afterwards, if the test makes it."""
    name = f"interop-{secrets.token_hex(4)}"
    try:
        yield name
    finally:
        api.ask("DELETE", f"/api/users/{name}")
