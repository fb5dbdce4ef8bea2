"""Delayed messages: which wait, for how long, and where they go then."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from pamqp import commands
from pamqp.common import FieldTable

from harebell.content.table import Timestamp
from harebell.engine.delay import whole_number
from harebell.engine.policy_control import set_policy
from harebell.engine.queues.delayed import DelayedQueue
from tests.support.client import ClientChannel, Delivery
from tests.support.journal import DelayedJournal
from tests.support.node import Node

START = 1_700_000_000_000


@pytest.fixture
def node() -> Node:
    """A broker whose wall clock says something."""
    journal = DelayedJournal()
    journal.durable = 1 << 40
    node = Node(journal)
    node.clock.wall = START
    return node


@pytest.fixture
def channel(node: Node) -> ClientChannel:
    """A delayed exchange that routes by topic, and a queue bound to it."""
    channel = node.connect().channel()
    declare(channel, "later", "topic")
    channel.declare_queue("q", durable=True)
    channel.bind("q", "later", "a.*")
    return channel


def declare(channel: ClientChannel, name: str, delayed_type: object, **arguments: Any) -> None:
    table: FieldTable = {"x-delayed-type": delayed_type, **arguments}  # type: ignore[dict-item]
    channel.declare_exchange(name, "x-delayed-message", durable=True, arguments=table)


def send(
    channel: ClientChannel,
    body: bytes,
    exchange: str = "later",
    key: str = "a.b",
    mode: int = 2,
    **headers: Any,
) -> None:
    properties = commands.Basic.Properties(
        delivery_mode=mode, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    channel.publish(body, exchange=exchange, key=key, properties=properties)


def waiting(node: Node, exchange: str = "later") -> DelayedQueue:
    assert node.vhost.delays is not None
    return node.vhost.delays.queues[exchange]


def got(channel: ClientChannel, queue: str = "q") -> Delivery:
    delivery = channel.get(queue, no_ack=True)
    assert delivery is not None, f"{queue} should not be empty"
    return delivery


def test_a_message_comes_at_its_time_and_never_before(node: Node, channel: ClientChannel) -> None:
    send(channel, b"m", x_delay=5000)
    assert channel.ready("q") == 0 and waiting(node).ready_count() == 1
    node.advance(4999)
    assert channel.ready("q") == 0, "it came early"
    node.advance(1)
    delivery = got(channel)
    assert (delivery.body, delivery.exchange, delivery.routing_key) == (b"m", "later", "a.b")
    assert delivery.properties.headers == {"x-delay": -5000}
    assert waiting(node).ready_count() == 0


def test_messages_come_in_the_order_of_their_times(node: Node, channel: ClientChannel) -> None:
    for delay in (300, 100, 70_000_000, 200, 100, 5_000_000, 65_000):
        send(channel, str(delay).encode(), x_delay=delay)
    node.advance(300)
    assert channel.drain("q") == [b"100", b"100", b"200", b"300"]
    node.advance(64_700)
    assert channel.drain("q") == [b"65000"]
    node.advance(100_000_000)
    assert channel.drain("q") == [b"5000000", b"70000000"]


@pytest.mark.parametrize("value", [0, -5, True, "soon", "", None, [5000], datetime(2020, 1, 1, tzinfo=UTC)])
def test_what_asks_for_no_delay_is_routed_at_once(channel: ClientChannel, value: Any) -> None:
    send(channel, b"m", x_delay=value)
    assert channel.ready("q") == 1


@pytest.mark.parametrize(("value", "delay"), [("5000", 5000), (5000.9, 5000), (Decimal("5000.5"), 5000)])
def test_texts_and_fractions_are_taken_as_the_plugin_takes_them(
    node: Node, channel: ClientChannel, value: Any, delay: int
) -> None:
    send(channel, b"m", x_delay=value)
    node.advance(delay - 1)
    assert channel.ready("q") == 0
    node.advance(1)
    assert got(channel).properties.headers == {"x-delay": -delay}


def test_numbers_are_read_and_bounded() -> None:
    assert whole_number(1 << 62) == 1 << 50
    assert whole_number(float("inf")) is None and whole_number(Timestamp(5)) is None
    assert whole_number(b"12") == 12 and whole_number("1" * 21) is None


def test_a_delay_may_be_longer_than_32_bits_tell(node: Node, channel: ClientChannel) -> None:
    months = 1 << 33
    send(channel, b"m", x_delay=months)
    node.advance(months - 1)
    assert channel.ready("q") == 0
    node.advance(1)
    assert got(channel).properties.headers == {"x-delay": -months}


@pytest.mark.parametrize("form", ["timestamp", "milliseconds"])
def test_a_message_can_ask_for_a_time(node: Node, channel: ClientChannel, form: str) -> None:
    at = START + 60_000
    value: Any = datetime.fromtimestamp(at / 1000, UTC) if form == "timestamp" else at
    send(channel, b"m", x_deliver_at=value)
    node.advance(59_999)
    assert channel.ready("q") == 0
    node.advance(1)
    assert got(channel).body == b"m"


def test_a_time_that_is_over_is_now(channel: ClientChannel) -> None:
    send(channel, b"m", x_deliver_at=START - 1)
    assert channel.ready("q") == 1


def test_bindings_of_that_moment_count(node: Node, channel: ClientChannel) -> None:
    send(channel, b"m", x_delay=1000)
    channel.unbind("q", "later", "a.*")
    channel.declare_queue("other", durable=True)
    channel.bind("other", "later", "#")
    node.advance(1000)
    assert (channel.ready("q"), channel.ready("other")) == (0, 1)


def test_carbon_copies_go_along_and_blind_ones_are_not_seen(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("cc", durable=True)
    channel.bind("cc", "later", "cc.*")
    channel.declare_queue("bcc", durable=True)
    channel.bind("bcc", "later", "bcc.*")
    send(channel, b"m", x_delay=1000, CC=["cc.x"], BCC=["bcc.x"])
    node.advance(1000)
    for queue in ("q", "cc", "bcc"):
        assert got(channel, queue).properties.headers == {"CC": ["cc.x"], "x-delay": -1000}


def test_a_deleted_exchange_drops_what_it_delays(node: Node, channel: ClientChannel) -> None:
    send(channel, b"m", x_delay=1000)
    channel.delete_exchange("later")
    node.advance(1000)
    delays = node.vhost.delays
    assert delays is not None and delays.dropped == 1
    node.broker.relieve()
    assert not delays.queues, "an empty queue of no exchange should go"


def test_what_no_binding_takes_goes_to_the_alternate_exchange(node: Node, channel: ClientChannel) -> None:
    channel.declare_exchange("spare", "fanout", durable=True)
    channel.declare_queue("spare", durable=True)
    channel.bind("spare", "spare")
    declare(channel, "with", "direct", **{"alternate-exchange": "spare"})
    send(channel, b"m", "with", x_delay=10)
    node.advance(10)
    assert got(channel, "spare").body == b"m"
    send(channel, b"n", "later", "nowhere", x_delay=10)
    node.advance(10)
    assert node.vhost.delays is not None and node.vhost.delays.dropped == 1
    assert node.vhost.exchanges["later"].tally.dropped == 1


def test_confirms_come_when_it_waits_and_mandatory_is_content(node: Node, channel: ClientChannel) -> None:
    channel.confirm_select()
    properties = commands.Basic.Properties(delivery_mode=2, headers={"x-delay": 1000})
    channel.publish(b"m", exchange="later", key="nowhere", properties=properties, mandatory=True)
    node.sync()
    assert channel.confirms() == [("ack", 1, False)]


def test_a_transaction_delays_from_its_commit_on(node: Node, channel: ClientChannel) -> None:
    channel.call(commands.Tx.Select(), commands.Tx.SelectOk)
    send(channel, b"relative", x_delay=1000)
    send(channel, b"absolute", x_deliver_at=START + 1000)
    node.advance(900)
    assert waiting(node).ready_count() == 0
    channel.call(commands.Tx.Commit(), commands.Tx.CommitOk)
    node.advance(100)
    assert channel.drain("q") == [b"absolute"]
    node.advance(900)
    assert channel.drain("q") == [b"relative"]


def test_any_exchange_delays_if_told_to(node: Node, channel: ClientChannel) -> None:
    channel.declare_exchange("plain", "direct", durable=True, arguments={"x-delayed": True})
    channel.declare_exchange("slow", "direct", durable=True, arguments={"x-delay": 2000})
    for exchange in ("plain", "slow", "amq.direct"):
        channel.bind("q", exchange, "k")
    set_policy(node.broker, "/", "p", "^amq.direct$", {"delayed": True}, apply_to="exchanges")
    node.turn()
    send(channel, b"plain", "plain", "k", x_delay=1000)
    send(channel, b"now", "plain", "k")
    send(channel, b"slow", "slow", "k")
    send(channel, b"quick", "slow", "k", x_delay=10)
    send(channel, b"at once", "slow", "k", x_delay=0)
    send(channel, b"again", "slow", "k", x_delay=-10)
    assert channel.drain("q") == [b"now", b"at once"]
    node.advance(10)
    assert channel.drain("q") == [b"quick"]
    node.advance(990)
    assert channel.drain("q") == [b"plain"]
    node.advance(1000)
    assert channel.drain("q") == [b"slow", b"again"]


def test_a_dead_letter_exchange_can_delay(node: Node, channel: ClientChannel) -> None:
    channel.declare_exchange("retry", "direct", durable=True, arguments={"x-delay": 5000})
    table: FieldTable = {"x-dead-letter-exchange": "retry", "x-dead-letter-routing-key": "work"}
    channel.declare_queue("work", durable=True, arguments=table)
    channel.bind("work", "retry", "work")
    for times in range(3):
        if times == 0:
            channel.publish(b"m", key="work", properties=commands.Basic.Properties(delivery_mode=2))
        delivery = channel.get("work")
        assert delivery is not None
        channel.reject(delivery.tag, requeue=False)
        assert channel.ready("work") == 0
        node.advance(4999)
        assert channel.ready("work") == 0
        node.advance(1)
    headers: Any = got(channel, "work").properties.headers
    assert headers["x-death"][0]["count"] == 3


def test_a_retry_loop_through_a_delay_ends_in_a_queue_that_knows_the_id(
    node: Node, channel: ClientChannel
) -> None:
    channel.declare_exchange("retry", "direct", durable=True, arguments={"x-delay": 1000})
    arguments: FieldTable = {
        "x-deduplication-window": 100,
        "x-dead-letter-exchange": "retry",
        "x-dead-letter-routing-key": "again",
    }
    channel.declare_queue("work", durable=True, arguments=arguments)
    channel.bind("work", "retry", "again")
    once = commands.Basic.Properties(delivery_mode=2, message_id="1")
    channel.publish(b"m", key="work", properties=once)
    for _ in range(2):
        delivery = channel.get("work")
        assert delivery is not None, "a dead letter is no duplicate of itself"
        channel.reject(delivery.tag, requeue=False)
        assert channel.ready("work") == 0
        node.advance(1000)
    channel.publish(b"m", key="work", properties=once)
    channel.publish(b"m", exchange="retry", key="again", properties=once)
    node.advance(1000)
    assert channel.ready("work") == 1, "what is published again is left out, delayed or not"


def test_time_limits_count_from_the_routing_on(node: Node, channel: ClientChannel) -> None:
    properties = commands.Basic.Properties(delivery_mode=2, headers={"x-delay": 5000}, expiration="1000")
    channel.publish(b"m", exchange="later", key="a.b", properties=properties)
    node.advance(5000)
    node.advance(999)
    assert channel.ready("q") == 1
    node.advance(10)
    assert channel.ready("q") == 0


def test_a_full_queue_does_not_lose_what_was_confirmed(node: Node, channel: ClientChannel) -> None:
    full: FieldTable = {"x-max-length": 1, "x-overflow": "reject-publish"}
    channel.declare_queue("full", durable=True, arguments=full)
    channel.bind("full", "later", "f.*")
    for body in (b"a", b"b"):
        send(channel, body, key="f.x", x_delay=10)
    node.advance(10)
    assert channel.drain("full") == [b"a", b"b"]


def test_the_default_type_must_be_one(node: Node, channel: ClientChannel) -> None:
    for value in (None, 5, "x-delayed-message", "x-unknown"):
        other = node.connect().channel()
        arguments: FieldTable = {} if value is None else {"x-delayed-type": value}
        other.send(
            commands.Exchange.Declare(exchange="bad", exchange_type="x-delayed-message", arguments=arguments)
        )
        text = "unknown exchange type" if value == "x-unknown" else "Invalid argument, 'x-delayed-type'"
        other.expect_close(406, commands.Exchange.Declare, text)


def test_a_redeclaration_names_the_same_type(node: Node, channel: ClientChannel) -> None:
    declare(channel, "later", "topic")
    declare_again = commands.Exchange.Declare(
        exchange="later",
        exchange_type="x-delayed-message",
        durable=True,
        arguments={"x-delayed-type": "direct"},
    )
    channel.send(declare_again)
    channel.expect_close(406, commands.Exchange.Declare, "inequivalent arg 'x-delayed-type'")


def test_moving_is_one_step_in_the_journal(node: Node, channel: ClientChannel) -> None:
    send(channel, b"m", x_delay=10)
    journal = node.journal
    assert isinstance(journal, DelayedJournal)
    journal.records.clear()
    node.advance(10)
    kinds = [record[0] for record in journal.records]
    assert "message" in kinds and "settle" in kinds


def test_one_is_cancelled_and_one_hastened(node: Node, channel: ClientChannel) -> None:
    for body in (b"a", b"b", b"c"):
        send(channel, body, x_delay=100_000)
    queue = waiting(node)
    found = queue.store.sorted((-1, 0), 10)
    assert found == [(START + 100_000, 1), (START + 100_000, 2), (START + 100_000, 3)]
    assert queue.cancel(1) and not queue.cancel(1)
    assert queue.hasten(3)
    node.expire()
    assert channel.drain("q") == [b"c"]
    node.advance(100_000)
    assert channel.drain("q") == [b"b"]
    assert queue.cancelled == 1


def test_all_are_cancelled(node: Node, channel: ClientChannel) -> None:
    for mode in (1, 2):
        send(channel, b"a", mode=mode, x_delay=100_000)
    assert waiting(node).purge() == 2
    node.advance(100_000)
    assert channel.ready("q") == 0


def test_the_hidden_queue_is_in_no_listing_and_no_limit(node: Node, channel: ClientChannel) -> None:
    send(channel, b"a", x_delay=100_000)
    assert list(node.vhost.queues) == ["q"]
    assert waiting(node) not in list(node.broker.queues())
