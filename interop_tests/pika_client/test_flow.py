"""Rates and bounds of queues with pika's BlockingConnection."""

from __future__ import annotations

import time

import pika
import pytest
from pika.exceptions import ChannelClosedByBroker

from interop_tests.names import Names
from interop_tests.pika_client.conftest import Connect


def test_a_blocking_publisher_is_slowed_down(connect: Connect, names: Names) -> None:
    channel = connect().channel()
    queue = names.queue()
    channel.queue_declare(queue, durable=True, arguments={"x-publish-rate": 50})
    channel.confirm_delivery()
    started = time.monotonic()
    for number in range(60):
        channel.basic_publish("", queue, b"%d" % number, pika.BasicProperties(delivery_mode=2))
    took = time.monotonic() - started
    assert took >= 0.9, f"60 messages at 50 a second, 10 of them at once, took {took:.2f} s"
    assert channel.queue_declare(queue, passive=True).method.message_count == 60


def test_get_is_empty_while_too_much_is_unanswered(connect: Connect, names: Names) -> None:
    channel = connect().channel()
    queue = names.queue()
    channel.queue_declare(queue, durable=True, arguments={"x-max-unacked": 1})
    for body in (b"1", b"2"):
        channel.basic_publish("", queue, body)
    first, _, body = channel.basic_get(queue)
    assert body == b"1"
    assert channel.basic_get(queue)[2] is None
    channel.basic_ack(first.delivery_tag)
    assert channel.basic_get(queue, auto_ack=True)[2] == b"2"


def test_a_rate_of_nothing_is_refused(connect: Connect, names: Names) -> None:
    channel = connect().channel()
    with pytest.raises(ChannelClosedByBroker) as refused:
        channel.queue_declare(names.queue(), durable=True, arguments={"x-delivery-rate": 0})
    assert refused.value.reply_code == 406
