"""Connections and channels of aiormq, closed after each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import aiormq
import pytest_asyncio
from aiormq.abc import AbstractChannel, AbstractConnection

from interop_tests.broker_under_test import BrokerUnderTest
from interop_tests.deadlines import within

Connect = Callable[[], Awaitable[AbstractConnection]]


@pytest_asyncio.fixture
async def connect(broker: BrokerUnderTest) -> AsyncIterator[Connect]:
    """A function that opens one more connection."""
    opened: list[AbstractConnection] = []

    async def open_connection() -> AbstractConnection:
        opened.append(await within(aiormq.connect(broker.explicit_url)))
        return opened[-1]

    yield open_connection
    for connection in opened:
        if not connection.is_closed:
            await within(connection.close())


@pytest_asyncio.fixture
async def connection(connect: Connect) -> AbstractConnection:
    """A connection."""
    return await connect()


@pytest_asyncio.fixture
async def channel(connection: AbstractConnection) -> AbstractChannel:
    """A channel in confirm mode, as aiormq opens them: a publish returns when the broker confirmed it."""
    return await within(connection.channel())
