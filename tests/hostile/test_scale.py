"""Thousands of everything: no loss, no disorder, no growth out of proportion, and all of it given back."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from pamqp import commands, frame

from tests.hostile import crowd
from tests.server.process import BrokerProcess, eventually
from tests.server.wire import Wire, publish

MIB = 1024 * 1024
FEW, MANY = 1000, 10_000
SHORTEST = 0.03
"""Seconds below which a time says little."""

PROPORTION = 3
"""How much more than in proportion a larger number may take on a busy machine; if time were quadratic it
would take ten times more."""


def seconds_of(action: Callable[[], object]) -> float:
    """Time an action."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def assert_linear(cycle: Callable[[int], dict[str, float]]) -> None:
    """Check that MANY take no more than in proportion to FEW; the better of two tries counts.

    Args:
        cycle: does something so many times and returns the seconds of each step by name.
    """
    few, more = [cycle(FEW), cycle(FEW)], [cycle(MANY), cycle(MANY)]
    for step in few[0]:
        short, long = (min(tried[step] for tried in tries) for tries in (few, more))
        allowed = MANY / FEW * PROPORTION * max(short, SHORTEST)
        assert long < allowed, f"{step}: {FEW:,} take {short:.3f} s, {MANY:,} take {long:.3f} s"


def test_two_thousand_idle_connections(broker_process: BrokerProcess) -> None:
    broker, count = broker_process, 2000
    crowd.allow_descriptors(count)
    with Wire(broker.port).open(channels=1) as client:
        client.round_trip()
        descriptors, memory = broker.descriptors(), broker.resident_bytes()
        with crowd.open_connections(broker.port, count) as connections:
            each = (broker.resident_bytes() - memory) / count
            assert each < 24 * 1024, f"an idle connection takes {each:.0f} bytes"
            assert sum(client.round_trip() for _ in range(20)) < 4
            connections[-1].call(commands.Channel.Open(), 1, commands.Channel.OpenOk)
            connections[-1].round_trip()
        eventually(lambda: broker.descriptors() <= descriptors, "every descriptor is given back", 20)
        assert broker.resident_bytes() - memory < 24 * MIB
        client.round_trip()


def test_channels_come_and_go(broker_process: BrokerProcess) -> None:
    broker, count = broker_process, 2047
    with Wire(broker.port, timeout=60).open() as client:
        crowd.open_channels(client, count)
        crowd.close_channels(client, count)
        memory = broker.resident_bytes()
        for _ in range(3):
            crowd.open_channels(client, count)
            each = (broker.resident_bytes() - memory) / count
            assert each < 8 * 1024, f"a channel takes {each:.0f} bytes"
            crowd.close_channels(client, count)
        assert broker.resident_bytes() - memory < 8 * MIB
        crowd.open_channels(client, count)
        client.method(commands.Channel.Open(), 2048)
        close = client.expect(commands.Connection.Close)
        assert close.reply_code == 530
        assert (
            "number of channels opened (2047) has reached the negotiated channel_max (2047)"
            in close.reply_text
        )


def test_ten_thousand_queues_are_declared_bound_and_deleted_in_linear_time(
    broker_process: BrokerProcess,
) -> None:
    def cycle(count: int) -> dict[str, float]:
        names = [f"queue-{number}" for number in range(count)]
        declared = seconds_of(lambda: crowd.declare_queues(client, names))
        bound = seconds_of(lambda: crowd.bind_queues(client, names, "amq.fanout"))
        crowd.bind_queues(client, names, "amq.topic", "the.same.*")
        crowd.bind_queues(client, names, "amq.direct", "the.same")
        deleted = seconds_of(lambda: crowd.delete_queues(client, names))
        return {"declare": declared, "bind": bound, "delete": deleted}

    with Wire(broker_process.port, timeout=60).open(channels=1) as client:
        cycle(FEW)
        memory = broker_process.resident_bytes()
        assert_linear(cycle)
        assert broker_process.resident_bytes() - memory < 48 * MIB


def test_exclusive_queues_go_with_their_connection_however_many(broker_process: BrokerProcess) -> None:
    count = 5000
    with Wire(broker_process.port).open(channels=1) as other:
        with Wire(broker_process.port, timeout=60).open(channels=1) as owner:
            methods = [
                commands.Queue.Declare(queue=f"own-{number}", exclusive=True) for number in range(count)
            ]
            crowd.call_all(owner, methods, [1] * count, commands.Queue.DeclareOk)

        def gone() -> bool:
            other.method(commands.Queue.Declare(queue=f"own-{count - 1}", passive=True), 1)
            answer = other.read_method()
            if isinstance(answer, commands.Channel.Close):
                other.method(commands.Channel.CloseOk(), 1)
                other.call(commands.Channel.Open(), 1, commands.Channel.OpenOk)
                return answer.reply_code == 404
            return False

        eventually(gone, "the last exclusive queue is deleted")


def test_consumers_of_one_queue_are_added_and_removed_in_linear_time(broker_process: BrokerProcess) -> None:
    def cycle(count: int) -> dict[str, float]:
        client.call(commands.Channel.Open(), 2, commands.Channel.OpenOk)
        methods = [
            commands.Basic.Consume(queue="popular", consumer_tag=f"c{number}") for number in range(count)
        ]
        added = seconds_of(lambda: crowd.call_all(client, methods, [2] * count, commands.Basic.ConsumeOk))
        close = commands.Channel.Close(200, "", 0, 0)
        return {"add": added, "remove": seconds_of(lambda: client.call(close, 2, commands.Channel.CloseOk))}

    with Wire(broker_process.port, timeout=60).open(channels=1) as client:
        client.declare("popular", exclusive=True)
        assert_linear(cycle)


def test_a_hundred_thousand_fan_out_deliveries_arrive_once_and_in_order(
    broker_process: BrokerProcess,
) -> None:
    queues, messages = 100, 1000
    names = [f"fan-{number}" for number in range(queues)]
    port = broker_process.port
    with Wire(port).open(channels=1) as publisher, Wire(port, timeout=60).open(channels=1) as consumer:
        crowd.declare_queues(consumer, names)
        crowd.bind_queues(consumer, names, "amq.fanout")
        methods = [commands.Basic.Consume(queue=name, consumer_tag=name, no_ack=True) for name in names]
        crowd.call_all(consumer, methods, [1] * queues, commands.Basic.ConsumeOk)
        publisher.send(*(publish("", b"%d" % number, exchange="amq.fanout") for number in range(messages)))
        expected = dict.fromkeys(names, 0)
        for _ in range(queues * messages):
            delivery, body = consumer.read_message(commands.Basic.Deliver)
            tag = str(delivery.consumer_tag)
            assert body == b"%d" % expected[tag], f"out of order in {tag}"
            expected[tag] += 1
        assert set(expected.values()) == {messages}
        crowd.delete_queues(publisher, names)


@pytest.mark.parametrize("how", ["dropped", "closed"])
def test_unanswered_deliveries_return_in_order_when_their_connection_ends(
    broker_process: BrokerProcess, how: str
) -> None:
    count = 20_000
    port = broker_process.port
    with Wire(port, timeout=60).open(channels=1) as other:
        other.declare("returning")
        with Wire(port, timeout=60).open(channels=1) as client:
            client.send(*(publish("returning", b"%d" % number) for number in range(count)))
            client.method(commands.Basic.Consume(queue="returning"), 1)
            client.expect(commands.Basic.ConsumeOk)
            for _ in range(count):
                client.read_message(commands.Basic.Deliver)
            if how == "closed":
                client.close_politely()
        eventually(lambda: other.declare("returning", passive=True).message_count == count, "all are back")
        get = frame.marshal(commands.Basic.Get(queue="returning", no_ack=True), 1)
        other.send(get * 1000)
        for number in range(1000):
            found, body = other.read_message(commands.Basic.GetOk)
            assert (body, found.redelivered) == (b"%d" % number, True)
        other.call(commands.Queue.Delete(queue="returning"), 1, commands.Queue.DeleteOk)
