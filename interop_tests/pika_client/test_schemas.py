"""A publisher with pika to queues that take only what fits a schema. Not in RabbitMQ."""

from __future__ import annotations

import pika
import pytest
from pika.exceptions import ChannelClosedByBroker, NackError

from interop_tests.broker_under_test import BrokerUnderTest
from interop_tests.names import Names
from interop_tests.pika_client.conftest import Connect
from interop_tests.schemas import BAD, GOOD, register_schema


def test_a_publisher_is_told_by_a_nack(connect: Connect, names: Names, broker: BrokerUnderTest) -> None:
    subject = register_schema(broker, names.queue())
    channel = connect().channel()
    channel.confirm_delivery()
    queue = channel.queue_declare("", exclusive=True, arguments={"x-schema": subject}).method.queue
    channel.basic_publish("", queue, GOOD)
    with pytest.raises(NackError):
        channel.basic_publish("", queue, BAD)
    assert channel.basic_get(queue, auto_ack=True)[2] == GOOD


def test_a_publisher_is_refused(connect: Connect, names: Names, broker: BrokerUnderTest) -> None:
    subject = register_schema(broker, names.queue())
    channel = connect().channel()
    arguments = {"x-schema": subject, "x-schema-mode": "refuse"}
    queue = channel.queue_declare("", exclusive=True, arguments=arguments).method.queue
    with pytest.raises(ChannelClosedByBroker) as refusal:
        channel.basic_publish("", queue, BAD)
        channel.queue_declare(queue, passive=True)
    assert refusal.value.reply_code == 406
    assert "is not of type" in refusal.value.reply_text


def test_a_dead_letter_names_its_mistake(connect: Connect, names: Names, broker: BrokerUnderTest) -> None:
    subject = register_schema(broker, names.queue())
    channel = connect().channel()
    channel.confirm_delivery()
    dead = channel.queue_declare("", exclusive=True).method.queue
    arguments = {
        "x-schema": subject,
        "x-schema-mode": "dead-letter",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": dead,
    }
    queue = channel.queue_declare("", exclusive=True, arguments=arguments).method.queue
    channel.basic_publish("", queue, BAD, pika.BasicProperties(delivery_mode=2))
    _, properties, body = channel.basic_get(dead, auto_ack=True)
    assert body == BAD
    assert properties is not None and properties.headers["x-death"][0]["reason"] == "invalid"
    assert "is not of type" in properties.headers["x-schema-error"]
