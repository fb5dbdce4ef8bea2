"""Transactions: publishes and answers take effect at commit, and only there (AMQP 0-9-1 section 1.9)."""

from __future__ import annotations

import pytest
from pamqp import commands

from harebell.amqp.channel import Channel
from harebell.amqp.connection import Connection
from harebell.engine.broker import Limits
from tests.support.client import ClientChannel
from tests.support.journal import DelayedJournal
from tests.support.node import Node
from tests.support.wire import method

COMMIT = commands.Tx.Commit
ROLLBACK = commands.Tx.Rollback
PERSISTENT = commands.Basic.Properties(delivery_mode=2)


@pytest.fixture
def tx(channel: ClientChannel) -> ClientChannel:
    """A transactional channel, with a queue ``q``."""
    channel.declare_queue("q")
    channel.call(commands.Tx.Select(), commands.Tx.SelectOk)
    return channel


def commit(channel: ClientChannel) -> None:
    channel.call(COMMIT(), commands.Tx.CommitOk)


def rollback(channel: ClientChannel) -> None:
    channel.call(ROLLBACK(), commands.Tx.RollbackOk)


def server_side(node: Node, channel: ClientChannel) -> Channel:
    """Give the broker's side of a channel."""
    for session in node.broker.sessions:
        if isinstance(session, Connection) and channel.number in session.channels:
            found = session.channels[channel.number]
            if found.transaction is not None:
                return found
    raise AssertionError("no session has this channel in a transaction")


def test_publishes_are_held_until_commit(tx: ClientChannel, other: ClientChannel) -> None:
    for body in (b"a", b"b", b"c"):
        tx.publish(body, key="q")
    assert other.ready("q") == 0
    commit(tx)
    assert other.drain("q") == [b"a", b"b", b"c"]
    tx.publish(b"d", key="q")
    assert other.ready("q") == 0


def test_rollback_drops_publishes(tx: ClientChannel, other: ClientChannel) -> None:
    tx.publish(b"a", key="q")
    rollback(tx)
    tx.publish(b"b", key="q")
    commit(tx)
    assert other.drain("q") == [b"b"]


def test_a_consumer_gets_a_committed_message_and_no_other(tx: ClientChannel, other: ClientChannel) -> None:
    other.consume("q", no_ack=True)
    tx.publish(b"a", key="q")
    other.expect_silence()
    commit(tx)
    assert other.bodies() == [b"a"]


def test_routing_is_done_when_publishing(tx: ClientChannel, other: ClientChannel) -> None:
    tx.bind("q", "amq.direct", "k")
    tx.publish(b"a", exchange="amq.direct", key="k")
    tx.unbind("q", "amq.direct", "k")
    tx.publish(b"b", exchange="amq.direct", key="k")
    commit(tx)
    assert other.drain("q") == [b"a"]


def test_a_queue_deleted_before_commit_gets_nothing(tx: ClientChannel, other: ClientChannel) -> None:
    tx.publish(b"a", key="q")
    other.delete_queue("q")
    other.declare_queue("q")
    commit(tx)
    assert other.ready("q") == 0


def test_a_refused_publish_closes_the_channel_at_once(tx: ClientChannel, other: ClientChannel) -> None:
    tx.publish(b"a", key="q")
    tx.publish(exchange="nosuch")
    tx.expect_close(404, commands.Basic.Publish)
    assert other.ready("q") == 0


# returns


def test_a_return_comes_just_before_commit_ok(tx: ClientChannel) -> None:
    tx.publish(b"lost", key="nosuch", mandatory=True)
    tx.publish(b"kept", key="q", mandatory=True)
    tx.expect_silence()
    tx.send(COMMIT())
    answers = tx.client.received()
    assert [answer.frame.name for answer in answers] == ["Basic.Return", "Tx.CommitOk"]
    assert answers[0].body == b"lost"


def test_nothing_is_returned_on_rollback(tx: ClientChannel) -> None:
    tx.publish(b"lost", key="nosuch", mandatory=True)
    rollback(tx)
    commit(tx)
    tx.expect_silence()


# answers


def test_acks_take_effect_at_commit(tx: ClientChannel, node: Node) -> None:
    tx.publish(b"a", key="q")
    tx.publish(b"b", key="q")
    commit(tx)
    tx.consume("q")
    first, second = tx.deliveries()
    tx.ack(first.tag)
    assert node.queue("q").unacked_count == 2
    commit(tx)
    assert node.queue("q").unacked_count == 1
    tx.ack(second.tag)
    commit(tx)
    assert node.queue("q").unacked_count == 0


def test_an_answered_tag_cannot_be_answered_again_in_the_transaction(tx: ClientChannel) -> None:
    tx.publish(b"a", key="q")
    commit(tx)
    tx.consume("q")
    tx.deliveries()
    tx.ack(1)
    tx.ack(1)
    tx.expect_close(406, commands.Basic.Ack, "unknown delivery tag 1")


def test_rollback_forgets_answers_and_does_not_requeue(tx: ClientChannel, node: Node) -> None:
    for body in (b"a", b"b", b"c", b"d"):
        tx.publish(body, key="q")
    commit(tx)
    tx.consume("q")
    assert [delivery.tag for delivery in tx.deliveries()] == [1, 2, 3, 4]
    tx.ack(2)
    tx.nack(1)
    tx.reject(4, requeue=False)
    rollback(tx)
    tx.expect_silence()
    assert node.queue("q").unacked_count == 4
    tx.ack(1)
    tx.ack(4, multiple=True)
    commit(tx)
    assert node.queue("q").unacked_count == 0


def test_publishes_are_counted_when_they_are_committed(tx: ClientChannel, node: Node) -> None:
    mine, tally = server_side(node, tx), node.vhost.counters.default
    for key in ("q", "nosuch"):
        tx.publish(b"a", key=key)
    rollback(tx)
    assert (mine.published, mine.dropped, tally.received, tally.routed) == (0, 0, 0, 0)
    tx.publish(b"a", key="q")
    tx.publish(b"a", key="nosuch")
    tx.publish(b"a", key="nosuch", mandatory=True)
    assert (mine.published, tally.received) == (0, 0)
    tx.send(COMMIT())
    tx.expect(commands.Basic.Return)
    tx.expect(commands.Tx.CommitOk)
    assert (mine.published, mine.returned, mine.dropped) == (3, 1, 1)
    assert (tally.received, tally.routed, tally.returned, tally.dropped) == (3, 1, 1, 1)


def test_an_ack_that_was_rolled_back_and_given_again_is_counted_once(tx: ClientChannel, node: Node) -> None:
    mine = server_side(node, tx)
    tx.publish(b"a", key="q")
    commit(tx)
    tx.consume("q")
    (delivery,) = tx.deliveries()
    tx.ack(delivery.tag)
    assert mine.acked == 0
    rollback(tx)
    tx.ack(delivery.tag)
    commit(tx)
    assert (mine.acked, node.queue("q").acked) == (1, 1)


def test_nack_and_reject_take_effect_at_commit(tx: ClientChannel, other: ClientChannel) -> None:
    for body in (b"a", b"b", b"c"):
        tx.publish(body, key="q")
    commit(tx)
    for _ in range(3):
        assert tx.get("q") is not None
    tx.nack(3)
    tx.nack(1)
    tx.reject(2, requeue=False)
    assert other.get("q") is None
    commit(tx)
    found = [other.get("q", no_ack=True), other.get("q", no_ack=True)]
    assert [(m.body, m.redelivered) for m in found if m is not None] == [(b"a", True), (b"c", True)]
    assert other.get("q") is None


def test_credit_comes_back_at_commit(tx: ClientChannel) -> None:
    for body in (b"a", b"b"):
        tx.publish(body, key="q")
    commit(tx)
    tx.qos(1)
    tx.consume("q")
    assert tx.bodies() == [b"a"]
    tx.ack(1)
    tx.expect_silence()
    commit(tx)
    assert tx.bodies() == [b"b"]


@pytest.mark.parametrize("how", ["close", "hang up", "error"])
def test_an_open_transaction_is_rolled_back_when_the_channel_goes(
    tx: ClientChannel, other: ClientChannel, how: str
) -> None:
    for body in (b"a", b"b", b"c"):
        tx.publish(body, key="q")
    commit(tx)
    tx.consume("q")
    tx.deliveries()
    tx.ack(2)
    tx.nack(1, requeue=False)
    tx.publish(b"never", key="q")
    if how == "close":
        tx.close()
    elif how == "hang up":
        tx.client.hang_up()
    else:
        tx.ack(77)
    found = [other.get("q", no_ack=True) for _ in range(4)]
    assert [(m.body, m.redelivered) for m in found if m is not None] == [
        (b"a", True),
        (b"b", True),
        (b"c", True),
    ]


def test_multiple_covers_what_the_transaction_has_not_answered(tx: ClientChannel, node: Node) -> None:
    for _ in range(4):
        tx.publish(key="q")
    commit(tx)
    tx.consume("q")
    tx.deliveries()
    tx.reject(2, requeue=False)
    tx.ack(3, multiple=True)
    commit(tx)
    assert node.queue("q").unacked_count == 1


def test_a_commit_returns_what_was_handed_back_and_what_failed_as_such() -> None:
    node = Node(limits=Limits(count_every_return=False))
    tx, other = node.connect().channel(), node.connect().channel()
    other.declare_queue("q", durable=True, arguments={"x-queue-type": "quorum"})
    for body in (b"nack", b"reject", b"late"):
        other.publish(body, key="q")
    tx.call(commands.Tx.Select(), commands.Tx.SelectOk)
    for _ in range(3):
        assert tx.get("q")
    tx.nack(1)
    tx.reject(2)
    tx.nack(3)
    commit(tx)
    found = [other.get("q", no_ack=True) for _ in range(3)]
    counts = {m.body: (m.properties.headers or {})["x-delivery-count"] for m in found if m is not None}
    assert list(counts.items()) == [(b"nack", 0), (b"reject", 1), (b"late", 0)], "in this order"


def test_recover_leaves_answers_of_the_transaction_alone(tx: ClientChannel, other: ClientChannel) -> None:
    for body in (b"a", b"b"):
        tx.publish(body, key="q")
    commit(tx)
    assert tx.get("q") and tx.get("q")
    tx.ack(1)
    tx.call(commands.Basic.Recover(True), commands.Basic.RecoverOk)
    assert other.drain("q") == [b"b"]
    commit(tx)
    assert other.ready("q") == 0


def test_commits_and_rollbacks_of_nothing_are_fine(tx: ClientChannel) -> None:
    for _ in range(2):
        commit(tx)
        rollback(tx)


# with a journal


def test_a_commit_is_one_transaction_of_the_journal_and_commit_ok_waits_for_it() -> None:
    journal = DelayedJournal()
    node = Node(journal)
    channel = node.connect().channel()
    channel.send(commands.Queue.Declare(queue="q", durable=True))
    node.sync()
    channel.client.received()
    channel.call(commands.Tx.Select(), commands.Tx.SelectOk)
    before = journal.written
    channel.client.feed(channel.message(b"a", key="q", properties=PERSISTENT) * 2)
    assert journal.written == before
    channel.send(COMMIT())
    channel.expect_silence()
    assert journal.kinds()[before:] == ["begin", "message", "message", "end"]
    node.sync(journal.written - 1)
    channel.expect_silence()
    node.sync()
    channel.expect(commands.Tx.CommitOk)
    assert channel.get("q") is not None
    channel.client.feed(
        method(1, commands.Basic.Ack(1)) + channel.message(b"b", key="q", properties=PERSISTENT)
    )
    channel.send(COMMIT())
    assert journal.kinds()[-4:] == ["begin", "message", "settle", "end"]


def test_a_rollback_writes_nothing() -> None:
    journal = DelayedJournal()
    node = Node(journal)
    channel = node.connect().channel()
    channel.send(commands.Queue.Declare(queue="q", durable=True))
    node.sync()
    channel.client.received()
    channel.call(commands.Tx.Select(), commands.Tx.SelectOk)
    channel.publish(b"a", key="q", properties=PERSISTENT)
    before = journal.written
    rollback(channel)
    assert journal.written == before


def test_a_transaction_over_its_limit_is_refused_and_leaves_nothing() -> None:
    node = Node(limits=Limits(max_transaction_size=1000))
    channel = node.connect().channel()
    channel.declare_queue("q")
    channel.call(commands.Tx.Select(), commands.Tx.SelectOk)
    channel.publish(b"x" * 600, key="q")
    channel.publish(b"x" * 600, key="q")
    channel.expect_close(406, commands.Basic.Publish, "transaction is larger than the limit of 1000 bytes")
    assert node.queue("q").ready_count() == 0
