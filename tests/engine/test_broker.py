"""The engine's root: virtual hosts, what is journaled, and what time deletes."""

from __future__ import annotations

import pytest
from pamqp import commands

from harebell.content.message import OVERHEAD
from harebell.content.table import Table
from harebell.engine.commands import Command, CreateVhost, DeclareQueue, DeleteQueue
from harebell.errors import NOT_ALLOWED, BrokerError
from tests.support.client import ClientChannel, exchange_declare, queue_declare
from tests.support.journal import DelayedJournal
from tests.support.node import Node


def declaration(
    name: str = "q",
    *,
    vhost: str = "/",
    durable: bool = True,
    queue_id: int = 1,
    arguments: Table | None = None,
) -> DeclareQueue:
    return DeclareQueue(
        vhost=vhost,
        name=name,
        type_name="classic",
        durable=durable,
        owner=0,
        auto_delete=False,
        arguments=arguments or {},
        queue_id=queue_id,
    )


def test_the_default_virtual_host_is_there_and_others_are_not(node: Node) -> None:
    assert node.broker.vhost("/").name == "/"
    with pytest.raises(BrokerError) as refused:
        node.broker.vhost("nosuch")
    assert refused.value.row is NOT_ALLOWED


def test_durable_changes_are_journaled_before_they_are_applied_and_others_are_not() -> None:
    journal = DelayedJournal()
    node = Node(journal)
    command = declaration(arguments={"x-max-length": 5})
    assert node.broker.commit(command, durable=True) == 1
    assert node.broker.commit(declaration("t", durable=False), durable=False) == 0
    assert journal.records == [("command", command)]
    assert set(node.vhost.queues) == {"q", "t"}


@pytest.mark.parametrize(
    ("durable", "exclusive", "journaled"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_only_durable_shared_queues_are_journaled(durable: bool, exclusive: bool, journaled: bool) -> None:
    journal = DelayedJournal()
    node = Node(journal)
    channel = node.connect().channel()
    before = journal.written
    channel.send(queue_declare("q", durable=durable, exclusive=exclusive))
    node.sync()
    assert (journal.written > before) == journaled


def test_expired_queues_go_whatever_their_virtual_host(node: Node, channel: ClientChannel) -> None:
    node.broker.commit(CreateVhost("v"), durable=True)
    for vhost in ("/", "v"):
        node.broker.commit(declaration(vhost=vhost, durable=False, arguments={"x-expires": 10}), False)
    node.advance(10)
    assert not node.vhost.queues and not node.broker.vhosts["v"].queues


def test_an_expired_durable_queue_is_deleted_in_the_journal_too() -> None:
    journal = DelayedJournal()
    node = Node(journal)
    node.broker.commit(declaration(arguments={"x-expires": 10}), True)
    node.advance(10)
    assert [type(record[1]) for record in journal.records] == [DeclareQueue, DeleteQueue]


def test_held_bytes_count_ready_and_unacked_messages(node: Node, channel: ClientChannel) -> None:
    assert node.broker.held_bytes() == 0
    channel.declare_queue("q")
    for _ in range(3):
        channel.publish(b"x" * 1000, key="q")
    assert channel.get("q") is not None
    held = node.broker.held_bytes()
    assert 3 * (1000 + OVERHEAD) <= held <= 3 * (1000 + OVERHEAD + 30)
    channel.purge("q")
    channel.ack(1)
    assert node.broker.held_bytes() == 0


# durable exchanges that go with their last binding


def topology_after(journal: DelayedJournal) -> set[str]:
    """Give the exchanges a broker has that recovers from a journal."""
    recovered = Node(DelayedJournal())
    for kind, *fields in journal.records:
        if kind == "command":
            (command,) = fields
            assert isinstance(command, Command)
            recovered.broker.replay(command)
    return set(recovered.vhost.exchanges)


@pytest.mark.parametrize("how", ["unbind", "delete queue", "hang up"])
def test_a_durable_auto_delete_exchange_that_went_does_not_come_back(how: str) -> None:
    journal = DelayedJournal()
    node = Node(journal)
    client = node.connect()
    channel = client.channel()
    channel.send(exchange_declare("x", "fanout", True, True), exchange_declare("y", "fanout", True, True))
    channel.send(commands.Exchange.Bind(destination="y", source="x"))
    node.sync()
    client.received()
    channel.declare_queue("q", exclusive=True)
    channel.bind("q", "y")
    if how == "unbind":
        channel.send(commands.Queue.Unbind(queue="q", exchange="y"))
        channel.expect_silence()
        node.sync()
        channel.expect(commands.Queue.UnbindOk)
    elif how == "delete queue":
        channel.send(commands.Queue.Delete(queue="q", nowait=True))
    else:
        client.hang_up()
    assert not {"x", "y"} & set(node.vhost.exchanges)
    assert not {"x", "y"} & topology_after(journal)


def test_recovery_does_not_guess_that_an_exchange_went() -> None:
    """A binding of a transient queue kept it; the journal knows nothing of that binding."""
    journal = DelayedJournal()
    node = Node(journal)
    channel = node.connect().channel()
    channel.send(exchange_declare("x", "fanout", True, True), queue_declare("d", durable=True))
    channel.send(queue_declare("t"), queue_declare("later", durable=True))
    for queue in ("d", "t"):
        channel.send(commands.Queue.Bind(queue=queue, exchange="x"))
    channel.send(commands.Queue.Unbind(queue="d", exchange="x"))
    channel.send(commands.Queue.Bind(queue="later", exchange="x"))
    node.sync()
    assert "x" in node.vhost.exchanges
    assert "x" in topology_after(journal)
