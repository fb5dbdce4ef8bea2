"""Celery Flower: its page of the broker asks the HTTP API for the queues of a virtual host."""

from __future__ import annotations

import asyncio

import pytest
from flower.utils.broker import Broker

from interop_tests.broker_under_test import BrokerUnderTest
from interop_tests.management_clients.conftest import HttpApi
from interop_tests.names import Names

SHOWN = ("name", "messages", "messages_ready", "messages_unacknowledged", "consumers")
"""Columns of the page."""


@pytest.mark.parametrize("slashes", ["/", "//"])
def test_the_queues_of_the_default_virtual_host_are_shown(
    broker: BrokerUnderTest, api: HttpApi, names: Names, slashes: str
) -> None:
    queue = names.queue("celery")
    assert api.ask("PUT", f"/api/queues/%2F/{queue}", {"durable": True}).status == 201
    address = broker.management_url.removeprefix("http://")
    url = f"amqp://{broker.user}:{broker.password}@{broker.host}:{broker.port}{slashes}"
    client = Broker(url, http_api=f"http://{broker.user}:{broker.password}@{address}/api/")
    (shown,) = asyncio.run(client.queues([queue]))
    # RabbitMQ knows the numbers seconds later.
    assert set(SHOWN) <= set(shown) or broker.is_rabbitmq
    assert shown["name"] == queue
