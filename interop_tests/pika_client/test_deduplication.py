"""A worker with pika that publishes again what may have been lost."""

from __future__ import annotations

import pika

from interop_tests.names import Names
from interop_tests.pika_client.conftest import Connect
from interop_tests.pika_client.test_blocking import take


def test_a_publisher_that_lost_its_connection_publishes_again(connect: Connect, names: Names) -> None:
    queue = names.queue()
    arguments = {"x-deduplication-interval": "10m", "x-message-uid": True}
    with connect() as connection:
        connection.channel().queue_declare(queue, durable=True, arguments=arguments)
    for _ in range(3):
        channel = connect().channel()
        channel.confirm_delivery()
        for name in ("one", "two"):
            properties = pika.BasicProperties(message_id=name, delivery_mode=2)
            channel.basic_publish("", queue, name.encode(), properties)
    assert take(channel, queue, 2) == [b"one", b"two"]
    assert channel.queue_declare(queue, passive=True).method.message_count == 0
    method, properties, _ = channel.basic_get(queue)
    assert method is None and properties is None
