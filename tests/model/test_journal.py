"""What the journal was told, replayed by hand, is what the durable queues hold.

Noisy clients publish, consume, answer, commit, delete and hang up; in the end the records alone must say
which persistent messages are in which durable queue, at which position, and which of them came back.
"""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import commands

from harebell.amqp.connection import OPEN
from harebell.engine.broker import Broker
from harebell.engine.commands import ChangeAccess, DeclareQueue, DeleteQueue, encode
from harebell.engine.commands import Command as MetadataCommand
from harebell.engine.metadata import snapshot
from tests.support import noise
from tests.support.client import Client
from tests.support.journal import DelayedJournal
from tests.support.node import Node
from tests.support.wire import method

STEPS = 60

Held = dict[tuple[int, int], tuple[bytes, bool]]


def replay(journal: DelayedJournal) -> tuple[dict[str, int], Held]:
    """Give the ids of the durable queues, and by id and position the messages and whether each came back."""
    queues: dict[str, int] = {}
    held: Held = {}
    records: list[Any] = list(journal.records)
    for kind, *fields in records:
        if kind == "message":
            body, *places = fields
            for place in places:
                assert place not in held, f"{place} was given out twice"
                held[place] = (body, False)
        elif kind == "settle":
            del held[fields[0], fields[1]]
        elif kind == "requeue":
            held[fields[0], fields[1]] = (held[fields[0], fields[1]][0], True)
        elif kind == "command":
            (command,) = fields
            follow(command, queues, held)
    return queues, held


def follow(command: MetadataCommand, queues: dict[str, int], held: Held) -> None:
    if isinstance(command, DeclareQueue):
        assert command.durable and not command.owner
        assert command.queue_id not in queues.values(), "a queue id was given twice"
        queues[command.name] = command.queue_id
    elif isinstance(command, DeleteQueue) and command.name in queues:
        gone = queues.pop(command.name)
        for place in [place for place in held if place[0] == gone]:
            del held[place]


def rebuilt(history: list[MetadataCommand]) -> set[bytes]:
    """Give the durable topology that a recovered broker has after some commands."""
    broker = Node(DelayedJournal()).broker
    for command in history:
        broker.replay(command)
    return topology(broker)


def topology(broker: Broker) -> set[bytes]:
    """List all durable metadata but users: each broker here has a guest whose hash has a salt of its own."""
    return {encode(command) for command in snapshot(broker) if not isinstance(command, ChangeAccess)}


def answer_closes(client: Client) -> None:
    for answer in client.received():
        if isinstance(answer.frame, commands.Channel.Close):
            client.feed(method(answer.channel, commands.Channel.CloseOk(), commands.Channel.Open()))


@settings(max_examples=60)
@given(st.integers(0, (1 << 32) - 1))
def test_the_records_say_what_the_queues_hold(seed: int) -> None:
    random, journal = Random(seed), DelayedJournal()
    node = Node(journal)
    journal.durable = 1 << 40
    noise.furnish(random, node.connect().channel(), durable=True)
    journal.durable = 0
    clients: list[Client] = []
    for _ in range(STEPS):
        clients = [client for client in clients if client.connection.phase == OPEN]
        while len(clients) < 2:
            clients.append(node.connect())
            for number in (1, 2, 3):
                clients[-1].channel(number)
        client = random.choice(clients)
        client.feed(noise.question(random))
        if random.random() < 0.3:
            node.sync(random.randint(int(journal.durable), journal.written))
        answer_closes(client)
        if client.connection.phase != OPEN or random.random() < 0.02:
            client.hang_up()
    for client in node.clients:
        client.hang_up()
    queues, held = replay(journal)
    durable = {name: queue for name, queue in node.vhost.queues.items() if queue.durable}
    assert {name: int(queue.id) for name, queue in durable.items()} == queues
    found: Held = {}
    for queue in durable.values():
        while (entry := queue.get(True, 1, 0)) is not None:
            if entry.message.persistent:
                found[int(queue.id), int(entry.position)] = (entry.message.body, bool(entry.returns))
    assert found == held
    node.sync()
    assert not node.awaiting.channels
    wanted = topology(node.broker)
    commands_told: list[Any] = [record[1] for record in journal.records if record[0] == "command"]
    assert rebuilt(commands_told) == wanted, "the commands of the journal make another topology"
    assert rebuilt(snapshot(node.broker)) == wanted, "a snapshot makes another topology"
    assert rebuilt([*snapshot(node.broker), *commands_told]) == wanted, "a snapshot and its journal disagree"
