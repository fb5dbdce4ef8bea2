"""Delayed messages with pika, declared and published as for RabbitMQ's plugin."""

from __future__ import annotations

import time

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker

from interop_tests.names import Names
from interop_tests.pika_client.test_blocking import take


def test_a_delayed_message_comes_at_its_time(channel: BlockingChannel, names: Names) -> None:
    exchange, queue = names.exchange(), names.queue()
    channel.exchange_declare(
        exchange, "x-delayed-message", durable=True, arguments={"x-delayed-type": "headers"}
    )
    channel.queue_declare(queue, durable=True)
    channel.queue_bind(queue, exchange, arguments={"x-match": "all", "kind": "a"})
    channel.confirm_delivery()
    began = time.time()
    for delay, kind in ((400, "a"), (100, "b"), (200, "a")):
        properties = pika.BasicProperties(delivery_mode=2, headers={"x-delay": delay, "kind": kind})
        channel.basic_publish(exchange, "", str(delay).encode(), properties, mandatory=True)
    assert take(channel, queue, 2) == [b"200", b"400"]
    assert time.time() - began >= 0.398


def test_the_type_behind_a_delayed_exchange_must_be_one(channel: BlockingChannel, names: Names) -> None:
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.exchange_declare(names.exchange(), "x-delayed-message")
    assert closed.value.reply_code == 406
    assert "'x-delayed-type' must be an existing exchange type" in closed.value.reply_text


def test_exchanges_that_delay_in_a_circle_hand_a_message_on_once(
    channel: BlockingChannel, names: Names
) -> None:
    first, second, queue = names.exchange(), names.exchange(), names.queue()
    channel.queue_declare(queue, durable=True)
    for exchange in (first, second):
        channel.exchange_declare(
            exchange, "x-delayed-message", durable=True, arguments={"x-delayed-type": "fanout"}
        )
        channel.queue_bind(queue, exchange)
    channel.exchange_bind(first, second)
    channel.exchange_bind(second, first)
    channel.confirm_delivery()
    properties = pika.BasicProperties(delivery_mode=2, headers={"x-delay": 200})
    began = time.time()
    channel.basic_publish(first, "", b"once", properties)
    assert take(channel, queue, 1) == [b"once"]
    assert time.time() - began >= 0.198
    channel.basic_publish("", queue, b"last")
    time_is_up = time.time() + 0.3
    while time.time() < time_is_up:
        channel.connection.process_data_events(0.1)
    assert take(channel, queue, 1) == [b"last"], "it came round again"
