"""What a stream has the journal write: a chunk where it alone takes messages, else a record for each."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands
from pamqp.common import FieldTable

from harebell.engine.queues.intake import CHUNK_OCTETS
from tests.support.client import ClientChannel, exchange_declare, queue_declare
from tests.support.journal import DelayedJournal, Record
from tests.support.node import Node

PERSISTENT = commands.Basic.Properties(delivery_mode=2)


class Rig:
    """A broker with two streams, a queue and a fan-out to all three, and a publisher with confirms."""

    def __init__(self) -> None:
        self.journal = DelayedJournal(keeps_chunks=True)
        self.node = Node(self.journal)
        self.channel = self.node.connect().channel()
        self.channel.confirm_select()
        for name, kind in (("s", "stream"), ("t", "stream"), ("q", "classic")):
            self.ask(queue_declare(name, durable=True, arguments={"x-queue-type": kind}))
        self.ask(exchange_declare("all", "fanout", durable=True))
        for name in ("s", "t", "q"):
            self.ask(commands.Queue.Bind(queue=name, exchange="all", routing_key=""))
        self.journal.records.clear()
        self.journal.appended = self.journal.durable = 0
        self.id = int(self.node.queue("s").id)

    def ask(self, method: Any) -> None:
        """Have something declared, durably."""
        self.node.connect().channel().send(method)
        self.node.sync()

    def publish(self, *keys: str, exchange: str = "", channel: ClientChannel | None = None) -> None:
        """Publish messages whose bodies are numbers, each of its queue's."""
        for key in keys:
            (channel or self.channel).publish(key.encode(), exchange=exchange, key=key, properties=PERSISTENT)

    def chunk(self, first: int, last: int, name: str = "s") -> Record:
        """Give the record of a chunk without gaps."""
        return ("chunk", int(self.node.queue(name).id), first, last, last - first + 1)

    def read(self, name: str = "s") -> list[bytes]:
        """Read a stream from its first message on."""
        reader = self.node.connect().channel()
        reader.qos(1000)
        reader.consume(name, tag="r", arguments={"x-stream-offset": "first"})
        return reader.bodies()


@pytest.fixture
def rig() -> Rig:
    """A broker."""
    return Rig()


def test_what_comes_in_one_batch_is_one_record(rig: Rig) -> None:
    rig.publish("s", "s", "s")
    assert rig.journal.records == []
    assert (rig.channel.outcomes(), rig.read()) == ([], [])
    rig.journal.flush()
    assert rig.journal.records == [rig.chunk(0, 2)]
    assert (rig.channel.outcomes(), rig.read()) == ([], [])
    rig.node.sync()
    assert (rig.channel.outcomes(), rig.read()) == (["ack"] * 3, [b"s"] * 3)
    rig.publish("s")
    rig.node.sync()
    assert rig.journal.records == [rig.chunk(0, 2), rig.chunk(3, 3)]


def test_a_confirm_waits_for_the_chunk_and_not_for_what_was_written_before(rig: Rig) -> None:
    rig.publish("q", "s")
    rig.journal.flush()
    assert rig.journal.kinds() == ["message", "chunk"]
    rig.node.sync(1)
    assert rig.channel.outcomes() == ["ack"], "the classic queue's message is durable, and no other"
    rig.node.sync(2)
    assert rig.channel.outcomes() == ["ack"]


def test_streams_have_their_chunks_side_by_side(rig: Rig) -> None:
    rig.publish("s", "t", "s", "q", "t")
    rig.node.sync()
    assert rig.journal.records[1:] == [rig.chunk(0, 1), rig.chunk(0, 1, "t")]
    assert (rig.read(), rig.read("t")) == ([b"s", b"s"], [b"t", b"t"])


def test_a_message_that_others_take_too_comes_behind_the_chunk_before_it(rig: Rig) -> None:
    rig.publish("s", "s")
    rig.publish("", exchange="all")
    rig.publish("s")
    records = rig.journal.records
    assert records[0] == rig.chunk(0, 1)
    assert (rig.id, 2) in records[1] and records[1][0] == "message"
    assert records[2] == ("message", b"s", (rig.id, 3)), "no chunk has messages of both kinds"
    rig.node.sync()
    assert rig.read() == [b"s", b"s", b"", b"s"]
    rig.publish("s", "s")
    rig.node.sync()
    assert records[-1] == rig.chunk(4, 5), "it goes on with chunks"
    assert rig.read() == [b"s", b"s", b"", b"s", b"s", b"s"]
    assert rig.channel.outcomes() == ["ack"] * 6


def test_a_transaction_begins_behind_open_chunks_and_has_none(rig: Rig) -> None:
    transactional = rig.node.connect().channel()
    transactional.call(commands.Tx.Select(), commands.Tx.SelectOk)
    rig.publish("s")
    rig.publish("s", "s", channel=transactional)
    transactional.send(commands.Tx.Commit())
    assert rig.journal.records == [
        rig.chunk(0, 0),
        ("begin",),
        ("message", b"s", (rig.id, 1)),
        ("message", b"s", (rig.id, 2)),
        ("end",),
    ]
    rig.node.sync()
    rig.publish("s")
    rig.node.sync()
    assert rig.journal.records[-1] == rig.chunk(3, 3)
    assert rig.read() == [b"s"] * 4


def test_a_dead_letter_comes_behind_the_open_chunk(rig: Rig) -> None:
    arguments: FieldTable = {
        "x-max-length": 1,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "s",
    }
    rig.ask(queue_declare("dying", durable=True, arguments=arguments))
    rig.publish("s", "dying", "dying")
    rig.node.sync()
    kinds = rig.journal.kinds()
    assert kinds.index("chunk") < kinds.index("begin")
    assert rig.read() == [b"s", b"dying"]


def test_a_stream_deleted_meanwhile_writes_nothing_more(rig: Rig) -> None:
    rig.publish("s")
    rig.ask(commands.Queue.Delete(queue="s"))
    assert "chunk" not in rig.journal.kinds()
    assert rig.journal.open_octets == 0
    assert rig.channel.outcomes() == ["ack"]


def test_a_chunk_that_is_large_is_written_at_once_and_open_ones_are_counted(rig: Rig) -> None:
    rig.publish("t")
    before = rig.journal.open_octets
    assert before > 0
    body = bytes(CHUNK_OCTETS // 4)
    for _ in range(3):
        rig.channel.publish(body, key="s", properties=PERSISTENT)
    assert rig.journal.records == []
    assert rig.journal.open_octets > before + 3 * len(body)
    rig.channel.publish(body, key="s", properties=PERSISTENT)
    assert rig.journal.records == [rig.chunk(0, 3)]
    assert rig.journal.open_octets == before
    rig.node.sync()
    assert rig.journal.open_octets == 0
    assert rig.channel.outcomes() == ["ack"] * 5


def test_the_confirm_of_a_duplicate_waits_for_the_open_chunk(rig: Rig) -> None:
    arguments: FieldTable = {"x-queue-type": "stream", "x-deduplication-window": 10}
    rig.ask(queue_declare("once", durable=True, arguments=arguments))
    known = commands.Basic.Properties(delivery_mode=2, message_id="m")
    rig.channel.publish(b"a", key="once", properties=known)
    again = rig.node.connect().channel()
    again.confirm_select()
    again.publish(b"a", key="once", properties=known)
    rig.journal.flush()
    assert again.outcomes() == []
    rig.node.sync()
    assert again.outcomes() == ["ack"]
    assert rig.read("once") == [b"a"]


def test_an_expected_offset_counts_what_is_in_the_open_chunk(rig: Rig) -> None:
    rig.publish("s", "s")
    for expected in (1, 2):
        properties = commands.Basic.Properties(delivery_mode=2, headers={"x-expected-offset": expected})
        rig.channel.publish(b"e", key="s", properties=properties)
    rig.node.sync()
    assert rig.channel.outcomes() == ["ack", "ack", "nack", "ack"]
