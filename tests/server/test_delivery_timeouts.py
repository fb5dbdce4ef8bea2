"""Acknowledgement timeouts of a node, a queue, a policy and a consumer: who is too late loses the channel."""

from __future__ import annotations

import logging
import time

import pytest
from pamqp import commands
from pamqp.common import FieldTable

from harebell.settings.tree import Queue, Settings
from harebell.testing import BrokerThread
from tests.server.wire import Wire, publish

GUIDE = "This timeout value can be configured, see consumers doc guide to learn more"
CONSUME_OK, DELIVER = commands.Basic.ConsumeOk, commands.Basic.Deliver


def declare(client: Wire, name: str, **arguments: int) -> None:
    table: FieldTable = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
    client.declare(name, arguments=table)


def hold_one(client: Wire, queue: str, channel: int, **arguments: int) -> None:
    """Publish a message, and take it on a channel without answering."""
    client.send(publish(queue, b"x"))
    table: FieldTable = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
    client.call(commands.Basic.Consume(queue=queue, arguments=table), channel, CONSUME_OK)
    client.read_message(DELIVER)


def expect_timeout(client: Wire, channel: int, timeout: int) -> float:
    """Wait for the channel to be closed and return how long it took."""
    started = time.monotonic()
    closed = client.expect(commands.Channel.Close)
    assert (closed.reply_code, closed.class_id, closed.method_id) == (406, 0, 0)
    assert closed.reply_text == (
        f"PRECONDITION_FAILED - delivery acknowledgement on channel {channel} timed out. "
        f"Timeout value used: {timeout} ms. {GUIDE}"
    )
    client.method(commands.Channel.CloseOk(), channel)
    return time.monotonic() - started


def test_the_shortest_that_applies_closes_the_channel_and_only_that(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One run for all: a queue's own timeout for consumed and for got messages, a consumer's before it."""
    caplog.set_level(logging.INFO, "harebell")
    with BrokerThread() as broker, Wire(broker.port).open(channels=4) as client:
        declare(client, "patient")
        declare(client, "hurried", consumer_timeout=700)
        hold_one(client, "patient", 4)
        hold_one(client, "hurried", 2)
        assert 0.5 <= expect_timeout(client, 2, 700) < 5, "it is looked at about twice a second"
        assert "on channel 2 has timed out waiting for delivery acknowledgement" in caplog.text

        client.method(commands.Basic.Get(queue="hurried"), 3)
        got, body = client.read_message(commands.Basic.GetOk)
        assert (got.redelivered, body) == (True, b"x")
        expect_timeout(client, 3, 700)

        client.call(commands.Channel.Open(), 3, commands.Channel.OpenOk)
        declare(client, "own")
        hold_one(client, "own", 3, consumer_timeout=300)
        expect_timeout(client, 3, 300)

        client.call(commands.Channel.Open(), 3, commands.Channel.OpenOk)
        for_ever = commands.Basic.Consume(queue="hurried", arguments={"x-consumer-timeout": 0})
        client.call(for_ever, 3, CONSUME_OK)
        client.read_message(DELIVER)
        client.call(commands.Channel.Open(), 2, commands.Channel.OpenOk)
        declare(client, "other")
        hold_one(client, "other", 2, consumer_timeout=1_000)
        expect_timeout(client, 2, 1_000)
        client.round_trip(3)


@pytest.mark.parametrize("every", [True, False])
def test_a_timeout_counts_only_where_every_return_does(every: bool) -> None:
    settings = Settings(queue=Queue(consumer_timeout=600, count_every_return=every))
    with BrokerThread(settings=settings) as broker, Wire(broker.port).open(channels=3) as client:
        arguments: FieldTable = {"x-queue-type": "quorum", "x-delivery-limit": 0}
        client.declare("q", durable=True, arguments=arguments)
        hold_one(client, "q", 2)
        expect_timeout(client, 2, 600)
        client.method(commands.Basic.Get(queue="q"), 3)
        if every:
            client.expect(commands.Basic.GetEmpty)
        else:
            got, body = client.read_message(commands.Basic.GetOk)
            assert (got.redelivered, body) == (True, b"x")


def test_the_node_s_timeout_is_for_all_others() -> None:
    settings = Settings(queue=Queue(consumer_timeout=600))
    with BrokerThread(settings=settings) as broker, Wire(broker.port).open(channels=2) as client:
        declare(client, "any")
        hold_one(client, "any", 2)
        expect_timeout(client, 2, 600)
