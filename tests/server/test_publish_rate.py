"""A queue's publish rate: who is ahead waits without being told, and nobody else does."""

from __future__ import annotations

import time

from pamqp import commands

from harebell.testing import BrokerThread
from tests.server.wire import Wire, publish


def test_a_publisher_is_slowed_down_and_others_are_not() -> None:
    with BrokerThread() as broker, Wire(broker.port, timeout=30).open(channels=1) as client:
        client.declare("slow", arguments={"x-publish-rate": 200})
        client.declare("free")
        client.call(commands.Confirm.Select(), 1, commands.Confirm.SelectOk)
        started = time.monotonic()
        client.send(b"".join(publish("slow", b"%d" % number) for number in range(200)))
        with Wire(broker.port).open(channels=1) as other:
            other.send(publish("free", b"x") * 50)
            other.round_trip()
            assert time.monotonic() - started < 0.6, "another connection waited, too"
        confirmed = 0
        while confirmed < 200:
            ack = client.expect(commands.Basic.Ack)
            confirmed = int(ack.delivery_tag or 0)
        took = time.monotonic() - started
        assert 0.7 <= took < 5, f"200 messages at 200 a second, 40 of them at once, took {took:.2f} s"
        client.round_trip()
        assert time.monotonic() - started < 6


def test_a_slow_publisher_s_connection_lives_on_and_closes_in_order() -> None:
    with BrokerThread() as broker, Wire(broker.port, timeout=30).open(channels=1, heartbeat=1) as client:
        client.declare("slow", arguments={"x-publish-rate": 2})
        client.send(b"".join(publish("slow", b"x") for _ in range(9)))
        client.round_trip()
        with Wire(broker.port).open(channels=1) as other:
            declared = other.call(
                commands.Queue.Declare(queue="slow", passive=True), 1, commands.Queue.DeclareOk
            )
        assert declared.message_count == 9, "what was sent before is handled before"
