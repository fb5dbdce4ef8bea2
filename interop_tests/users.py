"""Users with just the permissions a test says, made and removed through the HTTP API."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from urllib.parse import quote

from interop_tests.broker_under_test import BrokerUnderTest

PASSWORD = "interop"


class Users:
    """Makes users, and removes them and their virtual hosts afterwards."""

    def __init__(self, broker: BrokerUnderTest) -> None:
        self._broker = broker
        self._users: list[str] = []
        self._vhosts: list[str] = []

    def put(self, name: str, tags: str = "", password: str = PASSWORD) -> None:
        """Add a user, or give an existing one other tags and another password."""
        self._users.append(name)
        self._call("PUT", f"/users/{quote(name, safe='')}", {"password": password, "tags": tags})

    def delete(self, name: str) -> None:
        """Remove a user."""
        self._call("DELETE", f"/users/{quote(name, safe='')}")

    def put_vhost(self, name: str) -> None:
        """Add a virtual host."""
        self._vhosts.append(name)
        self._call("PUT", f"/vhosts/{quote(name, safe='')}", {})

    def delete_vhost(self, name: str) -> None:
        """Remove a virtual host."""
        self._call("DELETE", f"/vhosts/{quote(name, safe='')}")

    def permit(
        self, name: str, configure: str = "", write: str = "", read: str = "", vhost: str | None = None
    ) -> None:
        """Give a user these permissions in the virtual host under test, or another."""
        permissions = {"configure": configure, "write": write, "read": read}
        self._call("PUT", f"/permissions/{self._place(vhost)}/{quote(name, safe='')}", permissions)

    def permit_nothing(self, name: str) -> None:
        """Take all permissions of a user in the virtual host under test."""
        self._call("DELETE", f"/permissions/{self._place(None)}/{quote(name, safe='')}")

    def permit_topics(self, name: str, exchange: str, write: str = ".*", read: str = ".*") -> None:
        """Restrict a user's routing keys on an exchange."""
        permissions = {"exchange": exchange, "write": write, "read": read}
        self._call("PUT", f"/topic-permissions/{self._place(None)}/{quote(name, safe='')}", permissions)

    def limit(self, name: str, limit: str, value: int) -> None:
        """Set a limit of a user; a negative one lifts it."""
        self._call("PUT", f"/user-limits/{quote(name, safe='')}/{limit}", {"value": value})

    def url(self, name: str, vhost: str | None = None) -> str:
        """Give the URL to connect with as that user."""
        broker = self._broker
        return f"amqp://{quote(name, safe='')}:{PASSWORD}@{broker.host}:{broker.port}/{self._place(vhost)}"

    @property
    def address(self) -> str:
        """Host and port."""
        return f"{self._broker.host}:{self._broker.port}"

    def remove_all(self) -> None:
        """Remove what was made here."""
        for name in dict.fromkeys(self._users):
            self._call("DELETE", f"/users/{quote(name, safe='')}", missing_is_fine=True)
        for name in dict.fromkeys(self._vhosts):
            self._call("DELETE", f"/vhosts/{quote(name, safe='')}", missing_is_fine=True)

    def _place(self, vhost: str | None) -> str:
        return quote(self._broker.virtual_host if vhost is None else vhost, safe="")

    def _call(self, method: str, path: str, body: object = None, *, missing_is_fine: bool = False) -> None:
        broker = self._broker
        request = urllib.request.Request(f"{broker.management_url}/api{path}", method=method)
        login = base64.b64encode(f"{broker.user}:{broker.password}".encode()).decode()
        request.add_header("Authorization", f"Basic {login}")
        request.add_header("Content-Type", "application/json")
        if body is not None:
            request.data = json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                answer.read()
        except urllib.error.HTTPError as error:
            if error.code == 404 and missing_is_fine:
                return
            raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()}") from error
