"""Whatever a peer sends ends in an answer, a close or a dropped socket; the neighbours notice nothing.

The broker of these tests turns an exception nobody expected (the way to 541) into a failed test.
"""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import commands

from harebell.amqp.connection import CLOSING, OPEN
from tests.support import noise
from tests.support.client import Client
from tests.support.node import Node
from tests.support.wire import HEARTBEAT, PROTOCOL_HEADER, method, raw_frame

SEEDS = st.integers(0, (1 << 32) - 1)
STEPS = 40


def react(client: Client) -> None:
    """Answer closes of channels as a client does, and check that none is a 541."""
    for answer in client.received():
        if isinstance(answer.frame, commands.Channel.Close):
            client.feed(method(answer.channel, commands.Channel.CloseOk(), commands.Channel.Open()))
        elif isinstance(answer.frame, commands.Connection.Close):
            assert answer.frame.reply_code != 541
    kept = sum(len(piece) for piece in client.connection._tail)
    assert kept <= 131072 + 8, f"{kept} octets of a partial frame are kept"


def talk(seed: int, damaged: float) -> None:
    """Have two noisy clients beside a quiet one, then check that nothing is left of them."""
    random, node = Random(seed), Node()
    neighbour = node.connect().channel()
    mine = neighbour.queue()
    noise.furnish(random, neighbour)
    clients: list[Client] = []
    for _ in range(STEPS):
        clients = [client for client in clients if client.connection.phase == OPEN]
        while len(clients) < 2:
            clients.append(node.connect())
            for number in (1, 2, 3):
                clients[-1].channel(number)
        client = random.choice(clients)
        data = noise.question(random)
        client.feed(noise.damage(random, data) if random.random() < damaged else data)
        react(client)
        if client.connection.phase != OPEN:
            client.hang_up()
    neighbour.publish(b"still here", key=mine)
    assert neighbour.drain(mine) == [b"still here"]
    for client in node.clients:
        if client is not neighbour.client:
            client.hang_up()
    for queue in node.vhost.queues.values():
        assert (queue.unacked_count, queue.unacked_bytes, queue.consumer_count()) == (0, 0, 0), queue.name
        assert (queue.ready_octets() > 0) == (queue.ready_count() > 0), queue.name
    assert not node.vhost.reply_queues
    assert not node.vhost.exclusives
    assert not node.awaiting.channels


@settings(max_examples=150)
@given(SEEDS)
def test_odd_but_well_formed_questions_are_answered(seed: int) -> None:
    talk(seed, damaged=0.0)


@settings(max_examples=150)
@given(SEEDS)
def test_damaged_frames_end_one_connection_at_most(seed: int) -> None:
    talk(seed, damaged=0.15)


@given(st.binary(max_size=400), st.integers(0, 6))
def test_random_octets_in_any_phase_are_refused(data: bytes, phase: int) -> None:
    node = Node()
    client = node.client()
    steps = [
        PROTOCOL_HEADER,
        method(0, commands.Connection.StartOk({}, "PLAIN", "\0guest\0guest", "en_US")),
        method(0, commands.Connection.TuneOk(2047, 131072, 0)),
        method(0, commands.Connection.Open("/")),
        method(1, commands.Channel.Open(), commands.Queue.Declare(queue="q")),
        method(1, commands.Basic.Publish(routing_key="q")),
    ]
    for step in steps[:phase]:
        client.feed(step)
    client.feed(data)
    react(client)
    client.hang_up()
    assert len(node.broker.sessions) == 0


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3), st.binary(max_size=30)), max_size=6),
    st.booleans(),
)
def test_random_frames_are_answered_or_refused(
    frames: list[tuple[int, int, bytes]], publishing: bool
) -> None:
    node = Node()
    client = node.connect()
    client.channel()
    if publishing:
        client.send(1, commands.Basic.Publish(routing_key="q"))
    for kind, number, payload in frames:
        client.feed(raw_frame(kind, number, payload))
        react(client)


@given(st.data())
def test_a_truncated_conversation_waits_for_the_rest(data: st.DataObject) -> None:
    node = Node()
    client = node.connect()
    channel = client.channel()
    queue = channel.queue()
    whole = channel.message(b"x" * 50, key=queue) + HEARTBEAT
    cut = data.draw(st.integers(0, len(whole)))
    client.feed(whole[:cut])
    client.expect_silence()
    assert not client.closed
    client.feed(whole[cut:])
    assert channel.drain(queue) == [b"x" * 50]


def test_an_endless_handshake_keeps_next_to_nothing(node: Node) -> None:
    client = node.client()
    client.feed(PROTOCOL_HEADER)
    client.feed(raw_frame(1, 0, b"\x00" * 8192)[:7])
    for _ in range(8191):
        client.connection.receive_data(b"\x00")
    assert sum(map(len, client.connection._tail)) == 7 + 8191
    client.feed(b"\x00" * 1000)
    assert client.connection.phase == CLOSING
    assert client.connection._tail == []


def test_a_body_announced_and_never_sent_costs_nothing(node: Node) -> None:
    client = node.connect()
    for number in range(1, 101):
        client.channel(number)
        client.send(number, commands.Basic.Publish(routing_key="q"))
        client.feed(raw_frame(2, number, b"\x00\x3c\x00\x00" + (16 << 20).to_bytes(8, "big") + b"\x00\x00"))
    assert client.connection.held_bytes() <= 100 * 14, "more than the content headers is kept"
    assert not client.closed


def test_what_channels_keep_is_known_to_the_memory_alarm(node: Node) -> None:
    client = node.connect()
    channel = client.channel()
    large = commands.Basic.Properties(headers={"filler": "x" * 100_000})
    channel.publish(b"", key="nosuch", properties=large)
    assert client.connection.held_bytes() > 100_000, "the header kept for the next message counts"
    channel.publish(b"", key="nosuch")
    assert client.connection.held_bytes() < 100
    client.feed(channel.message(b"x" * 50_000, key="nosuch", splits=[30_000])[:-10])
    assert 30_000 < client.connection.held_bytes() < 51_000
