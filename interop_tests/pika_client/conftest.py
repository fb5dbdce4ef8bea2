"""Blocking connections and channels of pika, closed after each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from interop_tests.broker_under_test import BrokerUnderTest

Connect = Callable[..., pika.BlockingConnection]


def parameters(broker: BrokerUnderTest, **changes: object) -> pika.ConnectionParameters:
    """Return connection parameters for the broker, with changes by attribute name."""
    chosen = pika.ConnectionParameters(
        host=broker.host,
        port=broker.port,
        virtual_host=broker.virtual_host,
        credentials=pika.PlainCredentials(broker.user, broker.password),
        blocked_connection_timeout=30,
    )
    for name, value in changes.items():
        setattr(chosen, name, value)
    return chosen


@pytest.fixture
def connect(broker: BrokerUnderTest) -> Iterator[Connect]:
    """A function that opens one more connection."""
    opened: list[pika.BlockingConnection] = []

    def open_connection(**changes: object) -> pika.BlockingConnection:
        opened.append(pika.BlockingConnection(parameters(broker, **changes)))
        return opened[-1]

    yield open_connection
    for connection in opened:
        if connection.is_open:
            connection.close()


@pytest.fixture
def connection(connect: Connect) -> pika.BlockingConnection:
    """A connection."""
    return connect()


@pytest.fixture
def channel(connection: pika.BlockingConnection) -> BlockingChannel:
    """A channel."""
    return connection.channel()
