"""Strangers: what can be done to a broker without a password must cost it next to nothing."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import pytest
from pamqp import commands

from tests.hostile.crowd import allow_descriptors
from tests.server.process import BrokerProcess, eventually
from tests.server.wire import PROTOCOL_HEADER, Wire

MIB = 1024 * 1024
TWO_GIB = b"\x01\x00\x00\x7f\xff\xff\xff"
TABLE_BOMB_DEPTH = 580


def half_open_steps() -> list[Callable[[Wire], None]]:
    """The places at which a client can stop."""
    return [
        lambda client: None,
        lambda client: client.send(PROTOCOL_HEADER[:5]),
        lambda client: client.send(PROTOCOL_HEADER),
        lambda client: client.send(PROTOCOL_HEADER, b"\x01\x00\x00\x00\x00\x1f\x00", bytes(7000)),
        lambda client: client.log_in(),
        lambda client: client.tune(),
    ]


def test_a_thousand_half_open_handshakes_keep_nobody_out(broker_process: BrokerProcess) -> None:
    broker, count = broker_process, 1000
    allow_descriptors(count)
    with Wire(broker.port).open():
        before = broker.resident_bytes()
    steps = half_open_steps()
    strangers = [Wire(broker.port) for _ in range(count)]
    for number, client in enumerate(strangers):
        steps[number % len(steps)](client)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        with Wire(broker.port).open(channels=1):
            seconds.append(time.perf_counter() - started)
    each = (broker.resident_bytes() - before) / count
    for client in strangers:
        client.close()
    assert statistics.median(seconds) < 0.5, f"logins took {seconds}"
    assert each < 64 * 1024, f"a half-open handshake takes {each:.0f} bytes"


def test_two_gib_announced_before_the_login_are_not_waited_for(broker_process: BrokerProcess) -> None:
    broker = broker_process
    with Wire(broker.port).open():
        before = broker.resident_bytes()
    for _ in range(50):
        with Wire(broker.port) as client:
            client.start()
            client.send(TWO_GIB, b"x" * 5000)
            assert client.expect(commands.Connection.Close).reply_code == 501
            client.method(commands.Connection.CloseOk())
            client.wait_until_closed()
    assert broker.resident_bytes() - before < MIB


def test_a_frame_that_arrives_in_tiny_pieces_costs_little_more_than_its_size(
    broker_process: BrokerProcess,
) -> None:
    broker, size, count = broker_process, 7800, 30
    clients = [Wire(broker.port) for _ in range(count)]
    for client in clients:
        client.start()
        client.send(b"\x01\x00\x00" + size.to_bytes(4, "big"))
    before = broker.resident_bytes()
    for _ in range(size // 4):
        for client in clients:
            client.send(b"xy")
    each = (broker.resident_bytes() - before) / count
    for client in clients:
        client.close()
    assert each < 32 * 1024, f"{size // 2} octets in pieces of two take {each:.0f} bytes"


@pytest.mark.parametrize("mechanism", ["PLAIN", "AMQPLAIN"])
def test_tables_nested_without_end_are_an_error_and_no_crash(
    broker_process: BrokerProcess, mechanism: str
) -> None:
    bomb = b""
    for _ in range(TABLE_BOMB_DEPTH):
        bomb = b"\x01kF" + len(bomb).to_bytes(4, "big") + bomb
    name = mechanism.encode()
    payload = b"\x00\x0a\x00\x0b" + len(bomb).to_bytes(4, "big") + bomb + bytes([len(name)]) + name
    payload += len(bomb[:3000]).to_bytes(4, "big") + bomb[:3000] + b"\x05en_US"
    with Wire(broker_process.port) as client:
        client.start()
        client.send(b"\x01\x00\x00" + len(payload).to_bytes(4, "big") + payload + b"\xce")
        assert client.expect(commands.Connection.Close).reply_code in (501, 502)
    broker_process.assert_unharmed()


def test_connections_that_come_and_go_leave_nothing_behind(broker_process: BrokerProcess) -> None:
    broker = broker_process
    for _ in range(50):
        with Wire(broker.port).open(channels=1):
            pass
    eventually(lambda: broker.descriptors() < 30, "earlier connections are gone")
    descriptors, memory = broker.descriptors(), broker.resident_bytes()
    for number in range(1000):
        client = Wire(broker.port)
        if number % 4 == 1:
            client.send(PROTOCOL_HEADER)
        elif number % 4 == 2:
            client.open(channels=1)
        elif number % 4 == 3:
            client.open(channels=1).close_politely()
        client.close()
    eventually(lambda: broker.descriptors() <= descriptors, "every descriptor is given back")
    assert broker.resident_bytes() - memory < 8 * MIB
