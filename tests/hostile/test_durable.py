"""Hostile input that is meant to be kept: it must be there after a restart, or have been refused."""

from __future__ import annotations

from pathlib import Path

from pamqp import commands

from tests.hostile.campaign import MIB, run_campaign
from tests.server.process import running_broker
from tests.server.wire import METHOD, Wire, raw_frame

DEEPEST = 64
"""How deeply a client may nest tables."""


def nested(levels: int) -> bytes:
    """The content of a table with so many levels."""
    content = b""
    for _ in range(levels - 1):
        content = b"\x01kF" + len(content).to_bytes(4, "big") + content
    return content


def declare_durable(name: bytes, table: bytes) -> bytes:
    """queue.declare of a durable queue with these arguments."""
    payload = b"\x00\x32\x00\x0a\x00\x00" + bytes([len(name)]) + name + b"\x02"
    return raw_frame(METHOD, 1, payload + len(table).to_bytes(4, "big") + table)


def test_arguments_nested_as_deeply_as_allowed_survive_a_restart(tmp_path: Path) -> None:
    table = nested(DEEPEST)
    with running_broker(tmp_path, data_dir=tmp_path / "data") as broker:
        with Wire(broker.port).open(channels=1) as client:
            client.send(declare_durable(b"deep", table))
            assert client.expect(commands.Queue.DeclareOk).queue == "deep"
            client.send(declare_durable(b"deeper", nested(DEEPEST + 1)))
            assert client.expect(commands.Connection.Close).reply_code == 501
        broker.assert_unharmed()
    with running_broker(tmp_path, data_dir=tmp_path / "data") as broker:
        with Wire(broker.port).open(channels=1) as client:
            client.send(declare_durable(b"deep", table))
            client.expect(commands.Queue.DeclareOk)
        broker.assert_unharmed()


def test_a_broker_with_a_journal_bears_hostile_input_and_recovers_what_is_left(tmp_path: Path) -> None:
    with running_broker(tmp_path, data_dir=tmp_path / "data") as broker:
        outcome = run_campaign(broker, seed=104, inputs=1500)
        assert outcome.grown < 64 * MIB, outcome
    with running_broker(tmp_path, data_dir=tmp_path / "data") as broker:
        with Wire(broker.port).open(channels=1) as client:
            client.round_trip()
        broker.assert_unharmed()
