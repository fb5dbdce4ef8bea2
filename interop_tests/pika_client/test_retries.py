"""Retries with backoff with pika's BlockingConnection."""

from __future__ import annotations

import time

from interop_tests.names import Names
from interop_tests.pika_client.conftest import Connect


def test_what_is_given_back_comes_later_and_not_for_ever(connect: Connect, names: Names) -> None:
    channel = connect().channel()
    queue, dead = names.queue(), names.queue("dead")
    channel.queue_declare(dead, durable=True)
    retrying = {
        "x-delayed-retry-type": "all",
        "x-delayed-retry-min": 100,
        "x-delayed-retry-attempts": 2,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": dead,
    }
    channel.queue_declare(queue, durable=True, arguments=retrying)
    channel.basic_publish("", queue, b"again")
    times = []
    for method, properties, _ in channel.consume(queue, inactivity_timeout=10):
        assert method is not None, "it should have come again"
        times.append(time.monotonic())
        assert (properties.headers or {}).get("x-delivery-count", 0) == len(times) - 1
        channel.basic_nack(method.delivery_tag, requeue=True)
        if len(times) == 2:
            break
    channel.cancel()
    assert times[1] - times[0] >= 0.09
    deadline = time.monotonic() + 10
    while (found := channel.basic_get(dead, auto_ack=True))[0] is None and time.monotonic() < deadline:
        channel.connection.process_data_events(0.05)
    assert found[2] == b"again", "after its last attempt a message is dead-lettered"
