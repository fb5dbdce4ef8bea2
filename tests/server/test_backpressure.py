"""Clients that send too much, read too little, or both: bounded memory, and the others go on."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from pamqp import commands, frame

from tests.server.process import BrokerProcess, eventually, running_broker
from tests.server.wire import Wire, publish

MIB = 1024 * 1024


class Flood(threading.Thread):
    """A publisher that sends one piece over and over, as fast as it is taken.

    Args:
        client: its connection.
        piece: the frames it sends.
        times: how often; without it until ``stop``.
    """

    def __init__(self, client: Wire, piece: bytes, times: int = 0) -> None:
        super().__init__(daemon=True)
        self.client = client
        self.sent = 0
        self._piece = piece
        self._times = times
        self._enough = threading.Event()

    def run(self) -> None:
        """Send."""
        while not self._enough.is_set() and (self._times == 0 or self.sent < self._times):
            try:
                self.client.send(self._piece)
            except OSError:
                return
            self.sent += 1

    def enough(self) -> None:
        """Send no more after the piece that is being sent."""
        self._enough.set()

    def stop(self) -> None:
        """Send no more, and wait for the end."""
        self.enough()
        self.join(30)
        assert not self.is_alive(), "the publisher is still blocked"


def test_publishers_wait_while_memory_is_short_and_consumers_go_on(tmp_path: Path) -> None:
    limit = 120 * MIB
    with running_broker(tmp_path, settings={"LIMITS__MEMORY_HIGH_WATERMARK": str(limit)}) as broker:
        publisher = Wire(broker.port, timeout=60).open(channels=1)
        consumer = Wire(broker.port, timeout=60).open(channels=1)
        consumer.declare("jobs")
        flood = Flood(publisher, publish("jobs", b"x" * 65536))
        flood.start()
        assert publisher.expect(commands.Connection.Blocked).reason == "low on memory"
        eventually(lambda: "memory resource limit alarm set" in broker.log, "the alarm is logged")
        assert broker.resident_bytes() < limit + 64 * MIB, "the alarm came late"

        # A publisher is held only once it publishes: whoever merely connects is served.
        with Wire(broker.port).open(channels=1) as other:
            other.round_trip()
        before = flood.sent
        waiting = consumer.declare("jobs", passive=True).message_count
        assert waiting
        consumer.call(commands.Basic.Consume(queue="jobs", no_ack=True), 1, commands.Basic.ConsumeOk)
        for _ in range(waiting):
            consumer.read_message(commands.Basic.Deliver)
        publisher.expect(commands.Connection.Unblocked)
        eventually(lambda: flood.sent > before, "the publisher goes on")
        reader = threading.Thread(target=consumer.read_until_closed, daemon=True)
        reader.start()
        flood.stop()
        publisher.round_trip()
        publisher.close()
        eventually(lambda: "memory resource limit alarm cleared" in broker.log, "the end is logged")
        broker.assert_unharmed()
    reader.join(10)


def test_a_publisher_that_goes_away_while_it_is_blocked_is_noticed(tmp_path: Path) -> None:
    """Nothing is read from it, so no end of file arrives, and without heartbeats nothing is sent to it."""
    with running_broker(tmp_path, settings={"LIMITS__MEMORY_HIGH_WATERMARK": "100MiB"}) as broker:
        flooding, leaving = Wire(broker.port, timeout=60).open(channels=1), Wire(broker.port).open(channels=1)
        flooding.declare("jobs")
        flood = Flood(flooding, publish("jobs", b"x" * 65536))
        flood.start()
        flooding.expect(commands.Connection.Blocked)
        leaving.send(publish("jobs", b"the last one"))
        leaving.expect(commands.Connection.Blocked)
        descriptors = broker.descriptors()
        leaving.close()
        eventually(lambda: broker.descriptors() < descriptors, "the broker closes its end")
        flood.enough()
        flooding.close()
        flood.stop()


def test_a_client_without_the_capability_is_blocked_without_a_word(tmp_path: Path) -> None:
    with running_broker(tmp_path, settings={"LIMITS__MEMORY_HIGH_WATERMARK": "100MiB"}) as broker:
        publisher = Wire(broker.port, timeout=60)
        publisher.log_in(capabilities={})
        publisher.expect(commands.Connection.Tune)
        publisher.method(commands.Connection.TuneOk(0x7FF, 131072, 2))
        publisher.call(commands.Connection.Open("/"), 0, commands.Connection.OpenOk)
        publisher.call(commands.Channel.Open(), 1, commands.Channel.OpenOk)
        publisher.declare("jobs")
        flood = Flood(publisher, publish("jobs", b"x" * 65536))
        flood.start()
        eventually(lambda: "memory resource limit alarm set" in broker.log, "the alarm is set", 30)
        with Wire(broker.port).open(channels=1) as other:
            other.call(commands.Queue.Purge(queue="jobs"), 1, commands.Queue.PurgeOk)
            eventually(lambda: "limit alarm cleared" in broker.log, "the alarm clears")
            before = flood.sent
            eventually(lambda: flood.sent > before, "the publisher goes on")
            flood.enough()
            eventually(
                lambda: (
                    not flood.is_alive()
                    or other.call(commands.Queue.Purge(queue="jobs"), 1, commands.Queue.PurgeOk)
                ),
                "the flood ends",
            )
            flood.stop()
        publisher.close()
        assert "missed heartbeats" not in broker.log, "a blocked publisher cannot send heartbeats"
        broker.assert_unharmed()


def test_a_consumer_that_does_not_read_costs_no_second_copy(broker_process: BrokerProcess) -> None:
    broker, count, size = broker_process, 800, 65536
    with (
        Wire(broker.port, timeout=60).open(channels=1) as publisher,
        Wire(broker.port, timeout=60).open(channels=1) as stuck,
        Wire(broker.port, timeout=60).open(channels=1) as brisk,
    ):
        for client, queue in ((stuck, "stuck"), (brisk, "brisk")):
            client.declare(queue, exclusive=True)
            client.call(commands.Queue.Bind(queue=queue, exchange="amq.fanout"), 1, commands.Queue.BindOk)
            client.call(commands.Basic.Consume(queue=queue, no_ack=True), 1, commands.Basic.ConsumeOk)
        before = broker.resident_bytes()
        flood = Flood(publisher, publish("", b"x" * size, exchange="amq.fanout"), count)
        flood.start()
        for _ in range(count):
            brisk.read_message(commands.Basic.Deliver)
        publisher.round_trip()
        grown = broker.resident_bytes() - before
        assert grown < count * size * 1.25 + 24 * MIB, (
            f"{grown / MIB:.0f} MiB for {count * size / MIB:.0f} queued"
        )
        tags = [stuck.read_message(commands.Basic.Deliver)[0].delivery_tag for _ in range(count)]
        assert tags == list(range(1, count + 1))


@pytest.mark.parametrize("consumed", [False, True])
def test_a_publisher_at_full_speed_leaves_turns_to_others(
    broker_process: BrokerProcess, consumed: bool
) -> None:
    """The bound is a ratio: an answer to one client for every two MiB that another one publishes."""
    broker = broker_process
    piece = publish("flood", b"x" * 100) * 2000
    times = 32 * MIB // len(piece)
    with (
        Wire(broker.port, timeout=60).open(channels=1) as publisher,
        Wire(broker.port, timeout=60).open(channels=1) as caller,
        Wire(broker.port, timeout=60).open(channels=1) as consumer,
    ):
        reader = threading.Thread(target=consumer.read_until_closed, daemon=True)
        if consumed:
            consumer.declare("flood", exclusive=True)
            consumer.method(commands.Basic.Consume(queue="flood", no_ack=True), 1)
            reader.start()
        publisher.round_trip()
        flood = Flood(publisher, piece, times)
        flood.start()
        answers = 0
        while flood.is_alive():
            caller.round_trip()
            answers += 1
        assert answers > times * len(piece) / MIB / 2, (
            f"{answers} answers in {times * len(piece) / MIB:.0f} MiB"
        )
        publisher.round_trip()
    if consumed:
        reader.join(10)


def test_requests_that_are_long_work_are_taken_a_few_at_a_time(broker_process: BrokerProcess) -> None:
    declare = frame.marshal(commands.Queue.Declare(queue="declared", nowait=True), 1)
    with (
        Wire(broker_process.port, timeout=60).open(channels=1) as busy,
        Wire(broker_process.port, timeout=60).open(channels=1) as caller,
    ):
        flood = Flood(busy, declare * 10_000)
        flood.start()
        started = time.monotonic()
        answers = 0
        while time.monotonic() - started < 1.5:
            caller.round_trip()
            answers += 1
        flood.stop()
        busy.round_trip()
    assert answers > 25, f"{answers} answers in 1.5 s beside a client with pipelined declarations"


def test_a_client_that_asks_and_does_not_read_is_not_read_either(broker_process: BrokerProcess) -> None:
    broker = broker_process
    with Wire(broker.port, timeout=2).open(channels=1) as asker, Wire(broker.port).open(channels=1) as other:
        asker.declare("q" * 255, exclusive=True)
        before = broker.resident_bytes()
        questions = frame.marshal(commands.Queue.Declare(queue="q" * 255, passive=True), 1) * 1000
        with pytest.raises(TimeoutError):
            for _ in range(400):
                asker.send(questions)
        assert broker.resident_bytes() - before < 48 * MIB
        other.round_trip()


def test_pipelined_gets_of_a_large_message_are_answered_as_they_are_read(
    broker_process: BrokerProcess,
) -> None:
    """A hundred kilobytes of get and nack could ask for gigabytes of answers at once."""
    broker = broker_process
    with Wire(broker.port, timeout=60).open(channels=1) as asker, Wire(broker.port).open(channels=1) as other:
        asker.declare("large", exclusive=True)
        asker.send(publish("large", b"x" * MIB))
        before = broker.resident_bytes()
        get = frame.marshal(commands.Basic.Get(queue="large"), 1)
        count = 300
        asker.send(
            *[get + frame.marshal(commands.Basic.Nack(tag, requeue=True), 1) for tag in range(1, count + 1)]
        )
        started = time.monotonic()
        other.round_trip()
        assert time.monotonic() - started < 5
        for tag in range(1, count + 1):
            answer, body = asker.read_message(commands.Basic.GetOk)
            assert (answer.delivery_tag, len(body)) == (tag, MIB)
            if tag % 50 == 1:
                grown = broker.resident_bytes() - before
                assert grown < 64 * MIB, f"{grown / MIB:.0f} MiB of answers wait to be read"
