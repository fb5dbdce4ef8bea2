"""Order per key with pika's BlockingConnection."""

from __future__ import annotations

import pika

from interop_tests.names import Names
from interop_tests.pika_client.conftest import Connect


def test_get_passes_over_keys_that_somebody_has(connect: Connect, names: Names) -> None:
    channel = connect().channel()
    queue = names.queue()
    channel.queue_declare(queue, durable=True, arguments={"x-group-header": "key"})
    for body in ("a1", "a2", "b1"):
        channel.basic_publish("", queue, body.encode(), pika.BasicProperties(headers={"key": body[0]}))
    found = [channel.basic_get(queue) for _ in range(3)]
    assert [body for _, _, body in found] == [b"a1", b"b1", None]
    channel.basic_ack(found[0][0].delivery_tag)
    assert channel.basic_get(queue)[2] == b"a2"


def test_messages_of_a_lost_connection_go_before_later_ones_of_their_key(
    connect: Connect, names: Names
) -> None:
    connection, other = connect(), connect()
    channel, lost = connection.channel(), other.channel()
    queue = names.queue()
    channel.queue_declare(queue, durable=True, arguments={"x-group-header": "key"})
    for body in ("a1", "a2", "b1"):
        channel.basic_publish("", queue, body.encode(), pika.BasicProperties(headers={"key": body[0]}))
    assert lost.basic_get(queue)[2] == b"a1"
    assert channel.basic_get(queue, auto_ack=True)[2] == b"b1"
    assert channel.basic_get(queue)[2] is None
    other.close()
    assert [channel.basic_get(queue, auto_ack=True)[2] for _ in range(2)] == [b"a1", b"a2"]
