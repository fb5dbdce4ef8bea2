"""Browsing with pika's BlockingConnection."""

from __future__ import annotations

import pika
import pytest

from interop_tests.names import Names
from interop_tests.pika_client.conftest import Connect


def test_a_queue_is_looked_through_and_stays_as_it_is(connect: Connect, names: Names) -> None:
    channel = connect().channel()
    queue = names.queue()
    channel.queue_declare(queue, durable=True)
    for number in range(3):
        channel.basic_publish("", queue, b"%d" % number)
    looking = connect().channel()
    seen = []
    for method, properties, body in looking.consume(
        queue, arguments={"x-browse": True}, inactivity_timeout=10
    ):
        assert method is not None, "three messages are to be seen"
        seen.append((properties.headers["x-position"], body, method.redelivered))
        looking.basic_nack(method.delivery_tag, requeue=False)
        if len(seen) == 3:
            break
    looking.cancel()
    assert seen == [(1, b"0", False), (2, b"1", False), (3, b"2", False)]
    assert channel.queue_declare(queue, passive=True).method.message_count == 3


def test_a_browser_is_told_when_its_queue_is_deleted(connect: Connect, names: Names) -> None:
    channel = connect().channel()
    queue = names.queue()
    channel.queue_declare(queue, auto_delete=True)
    looking = connect().channel()
    looking.queue_declare(queue, passive=True)
    deliveries = looking.consume(queue, arguments={"x-browse": True}, inactivity_timeout=10)
    channel.basic_publish("", queue, b"seen")
    assert next(deliveries)[2] == b"seen"
    tag = channel.basic_consume(queue, lambda *_: None)
    channel.basic_cancel(tag)
    with pytest.raises(StopIteration):
        next(deliveries)


def test_a_place_that_is_none_is_refused(connect: Connect, names: Names) -> None:
    channel = connect().channel()
    queue = names.queue()
    channel.queue_declare(queue, durable=True)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        channel.basic_consume(queue, lambda *_: None, arguments={"x-browse": True, "x-browse-from": -1})
    assert closed.value.reply_code == 406
