"""A client of the HTTP API that sends paths exactly as they are given."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from aiohttp import ClientSession, encode_basic_auth
from multidict import CIMultiDictProxy
from yarl import URL

from harebell import Broker
from harebell.settings import Settings


@dataclass(frozen=True)
class Reply:
    """What was answered.

    Attributes:
        status, headers, text: as they came.
    """

    status: int
    headers: CIMultiDictProxy[str]
    text: str

    @property
    def json(self) -> Any:
        """The decoded body."""
        return json.loads(self.text)

    @property
    def error(self) -> tuple[int, str, Any]:
        """Status, error and reason."""
        found = self.json
        return self.status, found["error"], found["reason"]


class Api:
    """Asks the HTTP API of a broker.

    Args:
        broker: the broker, with a management port.
        session: sends requests.
    """

    def __init__(self, broker: Broker, session: ClientSession) -> None:
        self.broker = broker
        self.session = session
        self.base = broker.management_url

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        user: str = "guest",
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """Send a request.

        Args:
            path: below ``/api``, encoded as it is to be sent.
            body: made JSON of, unless it is bytes.
            user: whose password is his name; empty to send no login.
        """
        data = None
        if body is not None:
            data = io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
        login = {"Authorization": encode_basic_auth(user, user)} if user else {}
        url = URL(f"{self.base}/api{path}", encoded=True)
        async with self.session.request(
            method, url, data=data, headers={**login, **(headers or {})}
        ) as reply:
            return Reply(reply.status, reply.headers, await reply.text())

    async def get(self, path: str, user: str = "guest") -> Any:
        """Give what a path shows, which must be there."""
        reply = await self.ask("GET", path, user=user)
        assert reply.status == 200, f"GET {path}: {reply.status} {reply.text}"
        return reply.json

    async def put(self, path: str, body: object = None, user: str = "guest") -> int:
        """Put something, which must work, and give the status."""
        reply = await self.ask("PUT", path, {} if body is None else body, user=user)
        assert reply.status in (201, 204), f"PUT {path}: {reply.status} {reply.text}"
        return reply.status

    async def add_user(self, name: str, tags: str, vhost: str = "/", allowed: str = ".*") -> None:
        """Add a user whose password is his name, with permissions in one virtual host unless it is empty."""
        await self.put(f"/users/{name}", {"password": name, "tags": tags})
        if vhost:
            granted = {"configure": allowed, "write": allowed, "read": allowed}
            await self.put(f"/permissions/{segment(vhost)}/{name}", granted)


def segment(name: str) -> str:
    """Encode a name for a path."""
    return quote(name, safe="")


@asynccontextmanager
async def management_api(settings: Settings | None = None) -> AsyncIterator[Api]:
    """Run a broker with a management port and a client of it."""
    async with Broker(management_port=0, settings=settings) as broker, ClientSession() as session:
        yield Api(broker, session)
