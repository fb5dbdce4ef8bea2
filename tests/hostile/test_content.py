"""Messages at and beyond the limits, whole and in pieces."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from pamqp import commands, frame

from tests.server.process import BrokerProcess, eventually, running_broker
from tests.server.wire import BODY, HEADER, Wire, publish, raw_frame

MIB = 1024 * 1024
LIMIT = 16 * MIB


def content_header(size: int) -> bytes:
    """The payload of a content header that announces so many octets."""
    return b"\x00\x3c\x00\x00" + size.to_bytes(8, "big") + b"\x00\x00"


def begin(queue: str, size: int, channel: int = 1) -> bytes:
    """The first two frames of a message."""
    method = frame.marshal(commands.Basic.Publish(routing_key=queue), channel)
    return method + raw_frame(HEADER, channel, content_header(size))


def test_a_message_at_the_limit_passes_and_one_octet_more_is_refused(broker_process: BrokerProcess) -> None:
    broker = broker_process
    with (
        Wire(broker.port).open(channels=2) as client,
        Wire(broker.port).open(channels=1) as neighbour,
    ):
        client.declare("large", exclusive=True)
        client.send(publish("large", b"x" * LIMIT))
        client.send(begin("large", LIMIT + 1), raw_frame(BODY, 1, b"x" * 1000))
        close = client.expect(commands.Channel.Close)
        assert (close.reply_code, close.reply_text) == (
            406,
            f"PRECONDITION_FAILED - message size {LIMIT + 1} is larger than configured max size {LIMIT}",
        )
        client.send(raw_frame(BODY, 1, b"x" * 1000))  # on its way before the close was seen
        client.method(commands.Channel.CloseOk(), 1)
        client.method(commands.Basic.Get(queue="large", no_ack=True), 2)
        assert client.read_message(commands.Basic.GetOk)[1] == b"x" * LIMIT
        neighbour.round_trip()


@pytest.mark.parametrize("size", [512 * MIB + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
def test_an_impossible_size_closes_the_connection_at_once(broker_process: BrokerProcess, size: int) -> None:
    with Wire(broker_process.port).open(channels=1) as client:
        client.send(begin("large", size))
        assert client.expect(commands.Connection.Close).reply_code == 501


def test_more_body_than_announced_is_an_error(broker_process: BrokerProcess) -> None:
    with Wire(broker_process.port).open(channels=1) as client:
        client.send(begin("large", 10), raw_frame(BODY, 1, b"x" * 6), raw_frame(BODY, 1, b"x" * 5))
        assert client.expect(commands.Connection.Close).reply_code == 501


def test_a_body_in_frames_of_one_octet_arrives_whole(broker_process: BrokerProcess) -> None:
    size = 100_000
    with Wire(broker_process.port).open(channels=1) as client:
        client.declare("slow", exclusive=True)
        before = broker_process.resident_bytes()
        pieces = [raw_frame(BODY, 1, bytes([at % 251])) for at in range(size)]
        client.send(begin("slow", size), *pieces[:-1])
        client.send(raw_frame(8, 0, b""))
        grown = broker_process.resident_bytes() - before
        assert grown < 4 * MIB, f"{size} octets in frames of one take {grown} bytes"
        client.send(pieces[-1])
        client.method(commands.Basic.Get(queue="slow", no_ack=True), 1)
        expected = bytes(at % 251 for at in range(size))
        assert client.read_message(commands.Basic.GetOk)[1] == expected


def test_empty_body_frames_do_not_pile_up(broker_process: BrokerProcess) -> None:
    with Wire(broker_process.port).open(channels=1) as client:
        client.declare("slow", exclusive=True)
        client.send(begin("slow", 1))
        before = broker_process.resident_bytes()
        client.send(raw_frame(BODY, 1, b"") * 200_000)
        client.send(raw_frame(BODY, 1, b"x"))
        client.round_trip()
        assert broker_process.resident_bytes() - before < 4 * MIB


def test_unfinished_messages_count_as_memory(tmp_path: Path) -> None:
    """Two thousand channels with a message each that is never finished must not go unnoticed."""
    limit = 120 * MIB
    with running_broker(tmp_path, settings={"LIMITS__MEMORY_HIGH_WATERMARK": str(limit)}) as broker:
        client = Wire(broker.port, timeout=60).open(channels=300, heartbeat=2)

        def flood() -> None:
            for channel in range(1, 301):
                piece = raw_frame(BODY, channel, b"x" * 100_000) * 10
                try:
                    client.send(begin("nowhere", LIMIT, channel), piece)
                except OSError:
                    return

        sender = threading.Thread(target=flood, daemon=True)
        sender.start()
        assert client.expect(commands.Connection.Blocked).reason == "low on memory"
        with Wire(broker.port).open(channels=1) as other:
            other.round_trip()
        client.close()
        sender.join(30)
        eventually(
            lambda: "limit alarm cleared" in broker.log, "the memory comes back with the connection's end"
        )
        broker.assert_unharmed()


def test_a_hundred_megabytes_pass_where_the_setting_allows_it(tmp_path: Path) -> None:
    size = 100 * MIB
    with running_broker(tmp_path, settings={"AMQP__MAX_MESSAGE_SIZE": "128MiB"}) as broker:
        with (
            Wire(broker.port, timeout=60).open(channels=1) as client,
            Wire(broker.port).open(channels=1) as other,
        ):
            client.declare("large")
            before = broker.resident_bytes()
            client.send(publish("large", b"x" * size))
            other.round_trip()
            client.method(commands.Basic.Get(queue="large"), 1)
            found, body = client.read_message(commands.Basic.GetOk)
            assert body == b"x" * size
            assert found.delivery_tag is not None
            client.method(commands.Basic.Ack(found.delivery_tag), 1)
            client.round_trip()
        eventually(lambda: broker.resident_bytes() - before < 32 * MIB, "the memory is given back")
        broker.assert_unharmed()
