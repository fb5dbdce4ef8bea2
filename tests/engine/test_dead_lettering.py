"""Moving dead letters: where they go, in which order, and that each move is one step of the journal."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands

from harebell.engine.broker import Limits
from tests.model.test_journal import replay
from tests.support.client import ClientChannel, Delivery
from tests.support.journal import DelayedJournal
from tests.support.node import Node

START = 1_700_000_000_000
PERSISTENT = commands.Basic.Properties(delivery_mode=2)


@pytest.fixture
def node(journal: DelayedJournal) -> Node:
    """A broker that knows the time."""
    node = Node(journal)
    node.clock.wall = START
    return node


def declare(channel: ClientChannel, name: str, to: str | None = None, **arguments: Any) -> None:
    """Declare a durable queue whose dead letters go to a queue."""
    table = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
    if to is not None:
        table |= {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": to}
    channel.declare_queue(name, durable=True, arguments=table)


def put(channel: ClientChannel, key: str, *bodies: bytes, exchange: str = "", **properties: Any) -> None:
    for body in bodies:
        found = commands.Basic.Properties(delivery_mode=2, **properties)
        channel.publish(body, exchange=exchange, key=key, properties=found)


def got(channel: ClientChannel, queue: str) -> Delivery:
    delivery = channel.get(queue)
    assert delivery is not None, f"{queue} should not be empty"
    return delivery


def deaths(delivery: Delivery) -> list[tuple[object, object, object]]:
    headers: Any = delivery.properties.headers
    return [(each["queue"], each["reason"], each["count"]) for each in headers["x-death"]]


def moves_are_whole(journal: DelayedJournal) -> None:
    """Each settle of a dead letter is in the same transaction as its enqueue, in whichever order."""
    inside = False
    settles = messages = 0
    for record in journal.records:
        if record[0] == "begin":
            inside, settles, messages = True, 0, 0
        elif record[0] == "end":
            inside = False
            assert messages <= settles, "a dead letter was enqueued, and not settled where it was"
        elif inside:
            settles += record[0] == "settle"
            messages += record[0] == "message"


def test_what_is_settled_and_what_is_enqueued_are_one_step(node: Node, journal: DelayedJournal) -> None:
    channel = node.connect().channel()
    declare(channel, "dead")
    declare(channel, "q", "dead")
    put(channel, "q", b"a")
    delivery = got(channel, "q")
    journal.records.clear()
    channel.reject(delivery.tag, requeue=False)
    source, target = int(node.queue("q").id), int(node.queue("dead").id)
    assert journal.records == [("begin",), ("message", b"a", (target, 1)), ("settle", source, 1), ("end",)]


def test_a_full_target_gives_up_its_oldest_in_the_same_step(node: Node, journal: DelayedJournal) -> None:
    channel = node.connect().channel()
    declare(channel, "last")
    declare(channel, "middle", "last", max_length=1)
    declare(channel, "q", "middle")
    put(channel, "middle", b"old")
    put(channel, "q", b"new")
    delivery = got(channel, "q")
    journal.records.clear()
    channel.reject(delivery.tag, requeue=False)
    assert journal.kinds() == ["begin", "message", "settle", "message", "settle", "end"]
    assert channel.drain("middle") == [b"new"]
    last = got(channel, "last")
    assert (last.body, deaths(last)) == (b"old", [("middle", "maxlen", 1)])


def test_a_letter_to_several_queues_is_one_record(node: Node, journal: DelayedJournal) -> None:
    channel = node.connect().channel()
    channel.declare_exchange("dlx", "fanout", durable=True)
    for name in ("one", "two"):
        declare(channel, name)
        channel.bind(name, "dlx")
    channel.declare_queue("q", durable=True, arguments={"x-dead-letter-exchange": "dlx"})
    put(channel, "q", b"a")
    channel.reject(got(channel, "q").tag, requeue=False)
    assert journal.kinds()[-4:] == ["begin", "message", "settle", "end"]
    assert [channel.drain(name) for name in ("one", "two")] == [[b"a"], [b"a"]]


def test_a_fan_out_to_a_full_queue_and_its_dead_letter_queue_keeps_the_positions_promised(
    node: Node, journal: DelayedJournal
) -> None:
    """What the full queue gives up goes to a queue that is about to take the new message itself."""
    channel = node.connect().channel()
    channel.declare_exchange("all", "fanout", durable=True)
    declare(channel, "full", "dead", max_length=1)
    declare(channel, "dead")
    for name in ("full", "dead"):
        channel.bind(name, "all")
    put(channel, "", b"a", b"b", b"c", exchange="all")
    moves_are_whole(journal)
    _, held = replay(journal)
    dead = node.queue("dead")
    assert [held[int(dead.id), position][0] for position in range(1, 6)] == [b"a", b"b", b"a", b"c", b"b"]
    assert channel.drain("dead") == [b"a", b"b", b"a", b"c", b"b"]
    assert channel.drain("full") == [b"c"]


def test_a_missing_exchange_or_binding_drops_and_one_declared_later_counts(
    node: Node, journal: DelayedJournal
) -> None:
    channel = node.connect().channel()
    channel.declare_queue("q", durable=True, arguments={"x-dead-letter-exchange": "later"})
    declare(channel, "dead")
    put(channel, "q", b"a", b"b", b"c")
    channel.reject(got(channel, "q").tag, requeue=False)
    channel.declare_exchange("later", "fanout", durable=True)
    channel.reject(got(channel, "q").tag, requeue=False)
    channel.bind("dead", "later")
    channel.reject(got(channel, "q").tag, requeue=False)
    assert channel.drain("dead") == [b"c"]
    assert not replay(journal)[1], "what was dropped is settled"


def test_the_alternate_of_a_dead_letter_exchange_gets_what_it_routes_nowhere(node: Node) -> None:
    channel = node.connect().channel()
    channel.declare_exchange("other", "fanout", internal=True)
    channel.declare_exchange("dlx", arguments={"alternate-exchange": "other"})
    declare(channel, "dead")
    channel.bind("dead", "other")
    channel.declare_queue("q", arguments={"x-dead-letter-exchange": "dlx"})
    put(channel, "q", b"a")
    channel.reject(got(channel, "q").tag, requeue=False)
    assert channel.drain("dead") == [b"a"]


def test_automatic_cycles_end_and_rejected_ones_do_not(node: Node) -> None:
    channel = node.connect().channel()
    declare(channel, "a", "b", message_ttl=100)
    declare(channel, "b", "a", message_ttl=100)
    put(channel, "a", b"round")
    for _ in range(5):
        node.advance(150)
    assert (channel.ready("a"), channel.ready("b")) == (0, 0)
    put(channel, "a", b"again")
    for count in (1, 2, 3):
        channel.reject(got(channel, "a").tag, requeue=False)
        delivery = got(channel, "b")
        assert deaths(delivery)[0] == ("a", "rejected", count)
        channel.reject(delivery.tag, requeue=False)


def test_a_cycle_ends_also_where_history_of_clients_is_not_continued(journal: DelayedJournal) -> None:
    node = Node(journal, Limits(continue_death_history=False))
    node.clock.wall = START
    channel = node.connect().channel()
    declare(channel, "a", "b", message_ttl=100)
    declare(channel, "b", "a", message_ttl=100)
    put(channel, "a", b"round", headers={"x-death": [{"queue": "z", "reason": "expired", "count": 7}]})
    node.advance(150)
    delivery = got(channel, "b")
    assert deaths(delivery) == [("a", "expired", 1)], "what the client wrote does not count"
    channel.nack(delivery.tag)
    for _ in range(5):
        node.advance(150)
    assert (channel.ready("a"), channel.ready("b")) == (0, 0)


def test_a_queue_may_be_its_own_dead_letter_queue_for_rejects(node: Node) -> None:
    channel = node.connect().channel()
    declare(channel, "q", "q")
    put(channel, "q", b"a", b"b")
    channel.reject(got(channel, "q").tag, requeue=False)
    assert channel.drain("q") == [b"b", b"a"]


def test_letters_leave_in_order_and_start_a_new_life(node: Node) -> None:
    channel = node.connect().channel()
    declare(channel, "dead", message_ttl=1000)
    declare(channel, "q", "dead", message_ttl=100)
    put(channel, "q", b"a", b"b", b"c", expiration="5000")
    node.advance(150)
    assert channel.ready("dead") == 3
    node.advance(900)
    delivery = got(channel, "dead")
    assert (delivery.body, delivery.redelivered, delivery.properties.expiration) == (b"a", False, None)
    node.advance(150)
    assert channel.ready("dead") == 0
    channel.nack(delivery.tag)
    assert channel.ready("dead") == 0, "its time was over while it was out"


def test_a_full_target_that_rejects_publishers_takes_dead_letters(node: Node) -> None:
    channel = node.connect().channel()
    declare(channel, "dead", max_length=1, overflow="reject-publish")
    declare(channel, "q", "dead")
    put(channel, "q", b"a", b"b")
    for _ in range(2):
        channel.reject(got(channel, "q").tag, requeue=False)
    assert channel.drain("dead") == [b"a", b"b"]


def test_purges_deletes_and_acks_make_no_dead_letters(node: Node) -> None:
    channel = node.connect().channel()
    declare(channel, "dead")
    declare(channel, "q", "dead")
    put(channel, "q", b"a", b"b", b"c")
    channel.ack(got(channel, "q").tag)
    delivery = got(channel, "q")
    channel.purge("q")
    channel.delete_queue("q")
    channel.reject(delivery.tag, requeue=False)
    assert channel.ready("dead") == 0


def test_transient_messages_move_without_the_journal(node: Node, journal: DelayedJournal) -> None:
    channel = node.connect().channel()
    declare(channel, "dead")
    declare(channel, "q", "dead")
    journal.records.clear()
    channel.publish(b"a", key="q")
    channel.reject(got(channel, "q").tag, requeue=False)
    assert set(journal.kinds()) <= {"begin", "end"}
    assert channel.drain("dead") == [b"a"]


def test_rejects_of_a_transaction_are_part_of_its_step(node: Node, journal: DelayedJournal) -> None:
    channel = node.connect().channel()
    declare(channel, "dead")
    declare(channel, "q", "dead")
    put(channel, "q", b"a", b"b")
    channel.call(commands.Tx.Select(), commands.Tx.SelectOk)
    tags = [got(channel, "q").tag for _ in range(2)]
    journal.records.clear()
    for tag in tags:
        channel.reject(tag, requeue=False)
    assert channel.ready("dead") == 0
    channel.call(commands.Tx.Commit(), commands.Tx.CommitOk)
    assert journal.kinds() == ["begin", "message", "settle", "message", "settle", "end"]
    assert channel.ready("dead") == 2
