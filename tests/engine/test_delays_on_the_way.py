"""Exchanges that delay, reached through others: bindings between exchanges, alternates, dead letters."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands
from pamqp.common import FieldTable

from harebell.engine.policy_control import set_policy
from harebell.engine.policy_work import finish
from harebell.engine.redrive import MOVED, Target, redrive, waiting
from tests.support.client import ClientChannel
from tests.support.journal import DelayedJournal
from tests.support.node import Node

START = 1_700_000_000_000


@pytest.fixture
def node(journal: DelayedJournal) -> Node:
    """A broker whose wall clock says something."""
    node = Node(journal)
    node.clock.wall = START
    return node


@pytest.fixture
def channel(node: Node) -> ClientChannel:
    """A plain exchange bound to queue ``now`` and to one that delays, which is bound to queue ``later``."""
    channel = node.connect().channel()
    channel.declare_exchange("front", "topic", durable=True)
    delaying(channel, "later")
    for queue, exchange in (("now", "front"), ("later", "later")):
        channel.declare_queue(queue, durable=True)
        channel.bind(queue, exchange, "a.*")
    channel.bind_exchange("later", "front", "a.*")
    return channel


def delaying(channel: ClientChannel, name: str, **arguments: Any) -> None:
    table: FieldTable = {"x-delayed-type": "topic", **arguments}
    channel.declare_exchange(name, "x-delayed-message", durable=True, arguments=table)


def send(
    channel: ClientChannel, body: bytes = b"m", exchange: str = "front", key: str = "a.b", **headers: Any
) -> None:
    table = {name.replace("_", "-"): value for name, value in headers.items()}
    properties = commands.Basic.Properties(delivery_mode=2, headers=table or None)
    channel.publish(body, exchange=exchange, key=key, properties=properties)


def waits(node: Node) -> dict[str, int]:
    assert node.vhost.delays is not None
    found = {name: int(queue.ready_count()) for name, queue in node.vhost.delays.queues.items()}
    return {name: count for name, count in found.items() if count}


def headers(channel: ClientChannel, queue: str) -> Any:
    delivery = channel.get(queue, no_ack=True)
    assert delivery is not None, f"{queue} should not be empty"
    return delivery.properties.headers


def test_a_bound_exchange_delays_and_other_queues_get_the_message_at_once(
    node: Node, channel: ClientChannel
) -> None:
    send(channel, x_delay=5000)
    assert waits(node) == {"later": 1}
    assert headers(channel, "now") == {"x-delay": 5000}, "nothing delayed this one"
    node.advance(4999)
    assert channel.ready("later") == 0, "it came early"
    node.advance(1)
    delivery = channel.get("later", no_ack=True)
    assert delivery is not None
    assert (delivery.exchange, delivery.routing_key) == ("front", "a.b"), "it keeps its address"
    assert delivery.properties.headers == {"x-delay": -5000}
    assert channel.ready("now") == 0, "it goes on from the exchange that delayed it"


def test_what_asks_for_no_delay_goes_through_it_at_once(channel: ClientChannel) -> None:
    send(channel)
    assert (channel.ready("now"), channel.ready("later")) == (1, 1)


def test_routes_that_meet_no_delay_stay_as_quick_as_they_were(node: Node, channel: ClientChannel) -> None:
    channel.bind("now", "front", "b.*")
    user = channel.client.connection.user
    assert user is not None
    quick = node.vhost.resolve(user, b"\x05front\x03b.c\x00")
    slow = node.vhost.resolve(user, b"\x05front\x03a.b\x00")
    own = node.vhost.resolve(user, b"\x05later\x03a.b\x00")
    assert (quick.dynamic, quick.careful) == (False, False)
    assert (slow.dynamic, slow.careful) == (True, True)
    assert (own.dynamic, own.careful) == (False, True), "what it does not delay has a route that is known"


def test_a_policy_has_a_bound_exchange_delay_from_now_on(node: Node, channel: ClientChannel) -> None:
    channel.declare_exchange("plain", "topic", durable=True)
    channel.bind_exchange("plain", "front", "p.*")
    channel.declare_queue("p", durable=True)
    channel.bind("p", "plain", "#")
    send(channel, b"before", key="p.q")
    set_policy(node.broker, "/", "slow", "^plain$", {"delay": 1000}, apply_to="exchanges")
    finish(node.broker)
    send(channel, b"after", key="p.q")
    assert channel.drain("p") == [b"before"]
    node.advance(1000)
    assert channel.drain("p") == [b"after"]


def test_an_alternate_exchange_delays(node: Node, channel: ClientChannel) -> None:
    alternate: FieldTable = {"alternate-exchange": "later"}
    channel.declare_exchange("narrow", "direct", durable=True, arguments=alternate)
    send(channel, exchange="narrow", x_delay=100)
    assert waits(node) == {"later": 1}
    node.advance(100)
    assert headers(channel, "later") == {"x-delay": -100}


def test_an_exchange_that_delays_asks_its_alternate_when_the_time_has_come(
    node: Node, channel: ClientChannel
) -> None:
    delaying(channel, "with", **{"alternate-exchange": "front"})
    channel.bind_exchange("with", "front", "w.*")
    channel.bind("now", "front", "w.*")
    send(channel, key="w.x", x_delay=100)
    assert channel.drain("now") == [b"m"]
    node.advance(100)
    assert channel.drain("now") == [b"m"], "no binding takes it, so it goes to the alternate exchange"


def test_each_exchange_that_delays_has_a_copy_of_its_own(node: Node, channel: ClientChannel) -> None:
    delaying(channel, "other")
    channel.bind_exchange("other", "front", "#")
    channel.bind("later", "other", "#")
    send(channel, x_delay=100)
    assert waits(node) == {"later": 1, "other": 1}
    node.advance(100)
    assert channel.drain("later") == [b"m", b"m"]


def test_a_message_waits_once_on_its_way(node: Node, channel: ClientChannel) -> None:
    channel.declare_exchange("first", "fanout", durable=True, arguments={"x-delay": 100})
    channel.declare_exchange("second", "fanout", durable=True, arguments={"x-delay": 1000})
    channel.bind_exchange("second", "first")
    channel.declare_queue("end", durable=True)
    channel.bind("end", "second")
    send(channel, b"own", "first")
    send(channel, b"asked", "first", x_delay=200)
    node.advance(100)
    assert channel.drain("end") == [b"own"]
    node.advance(100)
    assert channel.drain("end") == [b"asked"]
    assert waits(node) == {}


def test_exchanges_that_delay_in_a_circle_pass_a_message_on_once(node: Node, channel: ClientChannel) -> None:
    for name in ("x", "y", "z"):
        channel.declare_exchange(name, "fanout", durable=True, arguments={"x-delay": 100})
        channel.declare_queue(f"q{name}", durable=True)
        channel.bind(f"q{name}", name)
    for source in ("x", "y", "z"):
        for destination in ("x", "y", "z"):
            channel.bind_exchange(destination, source)
    send(channel, exchange="x")
    for _ in range(5):
        node.advance(100)
    assert [channel.drain(f"q{name}") for name in ("x", "y", "z")] == [[b"m"], [b"m"], [b"m"]]
    assert waits(node) == {}


def test_what_is_delivered_before_its_time_waits_nowhere_else(node: Node, channel: ClientChannel) -> None:
    delaying(channel, "behind")
    channel.bind_exchange("behind", "later", "#")
    channel.declare_queue("end", durable=True)
    channel.bind("end", "behind", "#")
    send(channel, x_deliver_at=START + 60_000)
    assert node.vhost.delays is not None
    assert node.vhost.delays.queues["later"].hasten(1)
    node.expire()
    assert (channel.drain("later"), channel.drain("end")) == ([b"m"], [b"m"])


def test_messages_of_two_exchanges_with_one_address_go_their_own_ways(
    node: Node, channel: ClientChannel
) -> None:
    delaying(channel, "other")
    channel.bind_exchange("other", "front", "a.*")
    channel.declare_queue("elsewhere", durable=True)
    channel.bind("elsewhere", "other", "#")
    for _ in range(2):
        send(channel, x_delay=100)
    node.advance(100)
    assert (channel.drain("later"), channel.drain("elsewhere")) == ([b"m", b"m"], [b"m", b"m"])


def test_carbon_copies_come_along_and_blind_ones_are_not_seen(node: Node, channel: ClientChannel) -> None:
    for key in ("cc", "bcc"):
        channel.declare_queue(key, durable=True)
        channel.bind(key, "later", f"{key}.*")
        channel.bind_exchange("later", "front", f"{key}.*")
    send(channel, x_delay=1000, CC=["cc.x"], BCC=["bcc.x"])
    assert headers(channel, "now") == {"CC": ["cc.x"], "x-delay": 1000}
    node.advance(1000)
    for queue in ("later", "cc", "bcc"):
        assert headers(channel, queue) == {"CC": ["cc.x"], "x-delay": -1000}


def test_a_copy_alone_meets_a_delay(node: Node, channel: ClientChannel) -> None:
    channel.bind("now", "front", "plain")
    send(channel, key="plain", x_delay=10, BCC=["a.b"])
    assert channel.drain("now") == [b"m"] and waits(node) == {"later": 1}
    node.advance(10)
    assert headers(channel, "later") == {"x-delay": -10}


def test_a_confirm_stands_for_all_of_it_and_it_is_one_step(
    node: Node, channel: ClientChannel, journal: DelayedJournal
) -> None:
    send(channel, x_delay=10)
    channel.confirm_select()
    journal.durable = 0
    before = len(journal.records)
    send(channel, x_delay=1000)
    kinds = [record[0] for record in journal.records[before:]]
    assert kinds == ["begin", "message", "message", "end"]
    node.turn()
    assert channel.confirms() == []
    journal.durable = 1 << 40
    node.sync()
    assert channel.confirms() == [("ack", 1, False)]


def test_a_refusing_queue_nacks_and_the_rest_is_kept(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("full", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    channel.bind("full", "front", "a.*")
    channel.publish(b"one", key="full")
    channel.confirm_select()
    send(channel, x_delay=10)
    node.sync()
    assert channel.outcomes() == ["nack"]
    assert channel.drain("now") == [b"m"] and waits(node) == {"later": 1}


def test_mandatory_is_content_if_a_message_waits_and_it_is_not_unroutable(
    node: Node, channel: ClientChannel
) -> None:
    channel.unbind("now", "front", "a.*")
    for exchange in ("front", "later"):
        properties = commands.Basic.Properties(headers={"x-delay": 10})
        channel.publish(b"m", exchange=exchange, key="a.b", properties=properties, mandatory=True)
    assert channel.take(commands.Basic.Return) == []
    tally = node.vhost.exchanges["front"].tally
    assert (tally.received, tally.routed, tally.dropped) == (1, 0, 0)
    node.advance(10)
    assert node.vhost.exchanges["later"].tally.routed == 2


def test_a_transaction_delays_from_its_commit_on(node: Node, channel: ClientChannel) -> None:
    channel.call(commands.Tx.Select(), commands.Tx.SelectOk)
    send(channel, x_delay=1000)
    send(channel, b"rolled back", x_delay=1000)
    node.advance(900)
    assert (channel.ready("now"), waits(node)) == (0, {})
    channel.call(commands.Tx.Commit(), commands.Tx.CommitOk)
    assert (channel.ready("now"), waits(node)) == (2, {"later": 2})
    send(channel, b"rolled back", x_delay=1000)
    channel.call(commands.Tx.Rollback(), commands.Tx.RollbackOk)
    node.advance(999)
    assert channel.ready("later") == 0
    node.advance(1)
    assert channel.ready("later") == 2 and waits(node) == {}


def test_a_commit_passes_over_exchanges_that_are_gone(node: Node, channel: ClientChannel) -> None:
    channel.call(commands.Tx.Select(), commands.Tx.SelectOk)
    send(channel, x_delay=1000)
    other = node.connect().channel()
    other.delete_exchange("later")
    node.broker.relieve()
    assert node.vhost.delays is not None and not node.vhost.delays.queues
    channel.call(commands.Tx.Commit(), commands.Tx.CommitOk)
    node.advance(1000)
    assert (channel.ready("now"), channel.ready("later")) == (1, 0)


def test_immediate_takes_nothing_that_waits(node: Node, channel: ClientChannel) -> None:
    properties = commands.Basic.Properties(headers={"x-delay": 10})
    channel.publish(b"m", exchange="front", key="a.b", immediate=True, properties=properties)
    returned = channel.take(commands.Basic.Return)
    assert len(returned) == 1 and waits(node) == {}


def test_dead_letters_are_delayed_behind_their_exchange(node: Node, channel: ClientChannel) -> None:
    channel.bind_exchange("later", "front", "retry")
    channel.bind("now", "front", "retry")
    table: FieldTable = {"x-dead-letter-exchange": "front", "x-dead-letter-routing-key": "retry"}
    channel.declare_queue("work", durable=True, arguments=table)
    channel.bind("work", "later", "retry")
    properties = commands.Basic.Properties(delivery_mode=2, headers={"x-delay": 500})
    for body in (b"m", b"n"):
        channel.publish(body, key="work", properties=properties)
        delivery = channel.get("work")
        assert delivery is not None
        channel.reject(delivery.tag, requeue=False)
    assert channel.drain("now") == [b"m", b"n"] and waits(node) == {"later": 2}
    node.advance(500)
    delivery = channel.get("work")
    assert delivery is not None and delivery.body == b"m"
    channel.reject(delivery.tag, requeue=False)
    assert channel.drain("work") == [b"n", b"m"], "it was delayed already"
    assert channel.drain("now") == [b"m"]


def test_a_dead_letter_and_its_copy_are_one_step(
    node: Node, channel: ClientChannel, journal: DelayedJournal
) -> None:
    send(channel, x_delay=1)
    table: FieldTable = {"x-dead-letter-exchange": "front", "x-dead-letter-routing-key": "a.b"}
    channel.declare_queue("work", durable=True, arguments=table)
    properties = commands.Basic.Properties(delivery_mode=2, headers={"x-delay": 500})
    channel.publish(b"m", key="work", properties=properties)
    delivery = channel.get("work")
    assert delivery is not None
    before = len(journal.records)
    channel.reject(delivery.tag, requeue=False)
    kinds = [record[0] for record in journal.records[before:]]
    assert kinds == ["begin", "message", "message", "settle", "end"]


def test_what_is_sent_back_is_delayed_like_what_is_published(node: Node, channel: ClientChannel) -> None:
    channel.publish(b"m", key="now", properties=commands.Basic.Properties(headers={"x-delay": 50}))
    queue = node.queue("now")
    batch = [waiting(position, message, False) for position, message, _ in queue.browse(1)]
    counts = redrive(node.broker, node.vhost, queue, batch, Target("front", "a.b"), False)
    assert counts[MOVED] == 1 and channel.ready("now") == 0
    assert waits(node) == {"later": 1}
    node.advance(50)
    assert channel.drain("later") == [b"m"]


def test_topic_permissions_are_those_of_the_exchange_published_to(node: Node, channel: ClientChannel) -> None:
    node.users.set_topic_permissions("guest", "/", "later", "^nothing$", "^nothing$")
    node.vhost.topology_changed()
    send(channel, x_delay=10)
    assert waits(node) == {"later": 1}
    send(channel, exchange="later", x_delay=10)
    channel.expect_close(403, commands.Basic.Publish, "access to topic 'a.b'")


def test_ids_are_remembered_with_a_message_that_only_waits(node: Node, channel: ClientChannel) -> None:
    window: FieldTable = {"x-deduplication-window": 100}
    channel.declare_exchange("once", "fanout", durable=True, arguments=window)
    channel.bind_exchange("later", "once")
    for _ in range(2):
        properties = commands.Basic.Properties(delivery_mode=2, message_id="7", headers={"x-delay": 10})
        channel.publish(b"m", exchange="once", key="a.b", properties=properties)
    assert waits(node) == {"later": 1}


def test_a_copy_has_the_id_of_the_message(node: Node, channel: ClientChannel) -> None:
    channel.declare_exchange("ids", "fanout", durable=True, arguments={"x-message-uid": True})
    channel.bind_exchange("later", "ids")
    channel.bind("now", "ids")
    send(channel, exchange="ids", x_delay=10)
    node.advance(10)
    ours, theirs = headers(channel, "now"), headers(channel, "later")
    assert ours["x-message-uid"] == theirs["x-message-uid"]


def test_an_exchange_that_remembers_does_so_once(node: Node, channel: ClientChannel) -> None:
    table: FieldTable = {"x-delayed-type": "x-recent-history"}
    channel.declare_exchange("recent", "x-delayed-message", durable=True, arguments=table)
    channel.bind_exchange("recent", "front", "a.*")
    send(channel, x_delay=10)
    channel.declare_queue("early")
    channel.bind("early", "recent")
    assert channel.ready("early") == 0
    node.advance(10)
    channel.declare_queue("after")
    channel.bind("after", "recent")
    assert (channel.drain("early"), channel.drain("after")) == ([b"m"], [b"m"])
