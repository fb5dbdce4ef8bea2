"""Messages published again to queues and exchanges that remember ids are confirmed, and go nowhere."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands

from harebell.engine.commands import DeclareWindow, DeleteVhost, DeleteWindow
from harebell.engine.deduplicating import settle_all
from harebell.engine.metadata import apply, snapshot
from harebell.engine.policy_control import clear_policy, set_policy
from harebell.engine.policy_work import finish
from harebell.engine.redrive import MOVED, redrive, waiting
from tests.support.client import ClientChannel
from tests.support.journal import DelayedJournal
from tests.support.node import Node

KINDS = ("classic", "quorum")


def declare(channel: ClientChannel, name: str = "q", kind: str = "classic", **arguments: Any) -> None:
    table = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
    channel.declare_queue(name, durable=True, arguments={"x-queue-type": kind, **table})


def exchange(channel: ClientChannel, name: str = "e", kind: str = "fanout", **arguments: Any) -> None:
    """Declare an exchange, and bind a queue of its name to it."""
    table = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
    channel.declare_exchange(name, kind, durable=True, arguments=table)


def put(
    channel: ClientChannel, *ids: str | None, to: str = "", key: str = "q", mode: int = 2, **headers: Any
) -> None:
    """Publish messages with ids, which are their bodies, too."""
    for each in ids:
        properties = commands.Basic.Properties(message_id=each, headers=headers or None, delivery_mode=mode)
        channel.publish(b"-" if each is None else each.encode(), exchange=to, key=key, properties=properties)


def held(node: Node, name: str = "q") -> list[bytes]:
    return [bytes(message.body) for message, _ in node.queue(name).peek(1000)]


@pytest.fixture
def node() -> Node:
    return Node()


@pytest.mark.parametrize("mode", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_queue_leaves_out_what_it_took(node: Node, channel: ClientChannel, kind: str, mode: int) -> None:
    declare(channel, kind=kind, deduplication_window=10)
    put(channel, "a", "b", "a", None, "a", None, "c", mode=mode)
    assert channel.outcomes() == ["ack"] * 7
    assert held(node) == [b"a", b"b", b"-", b"-", b"c"]
    assert (node.queue("q").duplicates, node.queue("q").published) == (2, 5)


def test_the_window_counts_ids(node: Node, channel: ClientChannel) -> None:
    declare(channel, deduplication_window=2)
    put(channel, "a", "b", None, None, "a", "c", "a")
    assert held(node) == [b"a", b"b", b"-", b"-", b"c", b"a"], "a left the window when c came"


@pytest.mark.parametrize("kind", [*KINDS, "stream"])
@pytest.mark.parametrize("interval", ["10s", 10_000, "10000"])
def test_an_id_is_forgotten_after_the_interval(
    node: Node, channel: ClientChannel, kind: str, interval: object
) -> None:
    declare(channel, kind=kind, deduplication_interval=interval)
    put(channel, "a")
    node.advance(9_999)
    put(channel, "a")
    node.advance(1)
    put(channel, "a", "a")
    node.advance(9_999)
    put(channel, "a")
    assert (node.queue("q").published, node.queue("q").duplicates) == (2, 3)


def test_whichever_of_window_and_interval_ends_first_counts(node: Node, channel: ClientChannel) -> None:
    declare(channel, deduplication_window=2, deduplication_interval="1m")
    put(channel, "a", "b", "c", "a")
    node.advance(60_000)
    put(channel, "c")
    assert held(node) == [b"a", b"b", b"c", b"a", b"c"]


def test_the_id_may_be_in_a_header(node: Node, channel: ClientChannel) -> None:
    declare(channel, deduplication_window=5, deduplication_header="order")
    put(channel, "a", "b", order=1)
    put(channel, "c", order="1")
    put(channel, "a")
    assert held(node) == [b"a", b"c", b"a"]


def test_consumed_expired_and_dead_lettered_messages_are_known_still(
    node: Node, channel: ClientChannel
) -> None:
    declare(channel, "dead")
    declare(channel, deduplication_window=9, dead_letter_exchange="", dead_letter_routing_key="dead")
    put(channel, "a", "b")
    first, second = channel.get("q"), channel.get("q")
    assert first is not None and second is not None
    channel.ack(first.tag)
    channel.reject(second.tag, requeue=False)
    properties = commands.Basic.Properties(message_id="c", expiration="5", delivery_mode=2)
    channel.publish(b"c", key="q", properties=properties)
    node.advance(10)
    put(channel, "a", "b", "c")
    assert (held(node), held(node, "dead")) == ([], [b"b", b"c"])


@pytest.mark.parametrize("at", ["queue", "exchange"])
def test_a_message_that_comes_back_is_not_its_own_duplicate(
    node: Node, channel: ClientChannel, at: str
) -> None:
    window: dict[str, Any] = {"deduplication_window": 9}
    exchange(channel, "e", **window if at == "exchange" else {})
    waiting_place: dict[str, Any] = {"dead_letter_exchange": "e", "message_ttl": 100}
    declare(channel, "wait", **waiting_place)
    retried: dict[str, Any] = {"dead_letter_exchange": "", "dead_letter_routing_key": "wait"}
    if at == "queue":
        retried |= window
    declare(channel, "q", **retried)
    channel.bind("q", "e")
    put(channel, "a", to="e")
    for _ in range(3):
        found = channel.get("q")
        assert found is not None and found.body == b"a"
        channel.nack(found.tag, requeue=True)
        found = channel.get("q")
        assert found is not None and found.body == b"a"
        channel.reject(found.tag, requeue=False)
        node.advance(101)
    put(channel, "a", to="e")
    assert held(node) == [b"a"]


def test_a_redriven_message_is_taken_by_the_queue_it_came_from(node: Node, channel: ClientChannel) -> None:
    declare(channel, "dead")
    declare(channel, deduplication_window=9, dead_letter_exchange="", dead_letter_routing_key="dead")
    put(channel, "a")
    found = channel.get("q")
    assert found is not None
    channel.reject(found.tag, requeue=False)
    batch = [waiting(position, message, False) for position, message, _ in node.queue("dead").browse(10)]
    counts = redrive(node.broker, node.vhost, node.queue("dead"), batch, None)
    assert (counts[MOVED], held(node), held(node, "dead")) == (1, [b"a"], [])


def test_a_refused_message_is_not_remembered(node: Node, channel: ClientChannel) -> None:
    declare(channel, "q", deduplication_window=9, max_length=1, overflow="reject-publish")
    declare(channel, "other")
    exchange(channel, "e", deduplication_window=9)
    for queue in ("q", "other"):
        channel.bind(queue, "e")
    put(channel, "a", "b", to="e")
    assert channel.outcomes() == ["ack", "nack"]
    channel.purge("q")
    put(channel, "b", to="e")
    assert channel.outcomes() == ["ack"]
    assert (held(node), held(node, "other")) == ([b"b"], [b"a", b"b", b"b"])
    put(channel, "b", to="e")
    assert held(node) == [b"b"]


def test_each_queue_knows_for_itself(node: Node, channel: ClientChannel) -> None:
    exchange(channel)
    declare(channel, "one", deduplication_window=9)
    declare(channel, "two")
    for name in ("one", "two"):
        channel.bind(name, "e")
    put(channel, "a", "a", to="e")
    assert (held(node, "one"), held(node, "two")) == ([b"a"], [b"a", b"a"])


@pytest.mark.parametrize("kind", ["direct", "fanout", "topic", "headers", "x-random"])
def test_an_exchange_leaves_out_what_it_routed(node: Node, channel: ClientChannel, kind: str) -> None:
    exchange(channel, kind=kind, deduplication_window=9)
    declare(channel)
    channel.bind("q", "e", "q")
    put(channel, "a", "b", "a", None, "a", to="e")
    put(channel, "a", to="e", CC=["q"])
    assert channel.outcomes() == ["ack"] * 6
    assert held(node) == [b"a", b"b", b"-"]
    tally = node.vhost.exchanges["e"].tally
    assert (tally.received, tally.routed, tally.duplicates) == (6, 3, 3)
    put(channel, "a")
    assert held(node)[3:] == [b"a"], "the queue itself, and the default exchange, know no ids"


def test_what_an_exchange_routed_nowhere_is_not_known(node: Node, channel: ClientChannel) -> None:
    exchange(channel, deduplication_window=9)
    put(channel, "a", to="e")
    declare(channel)
    channel.bind("q", "e")
    put(channel, "a", "a", to="e")
    assert held(node) == [b"a"]


def test_of_two_equal_ids_in_a_transaction_one_counts(node: Node) -> None:
    channel = node.connect().channel()
    declare(channel, deduplication_window=9)
    exchange(channel, deduplication_window=9)
    declare(channel, "r")
    channel.bind("r", "e")
    channel.call(commands.Tx.Select(), commands.Tx.SelectOk)
    put(channel, "a", "a")
    put(channel, "a", "a", to="e")
    channel.call(commands.Tx.Rollback(), commands.Tx.RollbackOk)
    for _ in range(2):
        put(channel, "a", "a", "b")
        put(channel, "a", "a", "b", to="e")
        channel.call(commands.Tx.Commit(), commands.Tx.CommitOk)
    assert (held(node), held(node, "r")) == ([b"a", b"b"], [b"a", b"b"])


@pytest.mark.parametrize("at", ["queue", "exchange"])
def test_the_confirm_of_a_duplicate_waits_for_the_original(at: str) -> None:
    slow = Node(DelayedJournal())
    first, second = slow.connect().channel(), slow.connect().channel()
    for method in (
        commands.Queue.Declare(
            queue="q", durable=True, arguments={"x-deduplication-window": 9} if at == "queue" else {}
        ),
        commands.Exchange.Declare(
            exchange="e",
            exchange_type="fanout",
            durable=True,
            arguments={"x-deduplication-window": 9} if at == "exchange" else {},
        ),
        commands.Queue.Bind(queue="q", exchange="e"),
    ):
        first.send(method)
        slow.sync()
    first.take(commands.Queue.DeclareOk, commands.Exchange.DeclareOk, commands.Queue.BindOk)
    for channel in (first, second):
        channel.confirm_select()
    put(first, "a", to="e")
    put(second, "a", to="e")
    put(second, "a", to="e", mode=1)
    assert first.outcomes() == second.outcomes() == []
    slow.sync()
    assert (first.outcomes(), second.outcomes()) == (["ack"], ["ack"] * 2)
    put(second, "a", to="e")
    assert second.outcomes() == ["ack"], "what is durable already is confirmed at once"


def policy(node: Node, name: str, apply_to: str, **definition: object) -> None:
    keys = {key.replace("_", "-"): value for key, value in definition.items()}
    set_policy(node.broker, "/", name, ".*", keys, apply_to=apply_to)
    finish(node.broker)


@pytest.mark.parametrize("apply_to", ["queues", "exchanges"])
def test_a_policy_makes_and_removes_a_window_while_messages_flow(
    node: Node, channel: ClientChannel, apply_to: str
) -> None:
    exchange(channel)
    declare(channel)
    channel.bind("q", "e")
    put(channel, "a", "a", to="e")
    policy(node, "p", apply_to, deduplication_window=5)
    put(channel, "a", "a", "b", to="e")
    policy(node, "p", apply_to, deduplication_window=1)
    put(channel, "a", "b", to="e")
    policy(node, "p", apply_to, deduplication_window=5, deduplication_header="id")
    put(channel, "c", "d", to="e", id=1)
    clear_policy(node.broker, "/", "p")
    finish(node.broker)
    put(channel, "e", "e", to="e", id=1)
    assert held(node) == [b"a", b"a", b"a", b"b", b"a", b"b", b"c", b"e", b"e"]
    assert node.vhost.windows == {}


def test_windows_go_with_their_owners(node: Node, channel: ClientChannel) -> None:
    exchange(channel, deduplication_window=5)
    declare(channel, deduplication_window=5)
    assert sorted(node.vhost.windows) == [(False, "q"), (True, "e")]
    assert sorted(node.vhost.queues) == ["q"], "a window is in no listing"
    channel.delete_queue("q")
    channel.delete_exchange("e")
    assert node.vhost.windows == {}


def test_an_exclusive_queue_has_a_window_in_memory(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("x", exclusive=True, arguments={"x-deduplication-window": 5})
    put(channel, "a", "a", key="x")
    assert held(node, "x") == [b"a"]


def test_a_redeclaration_must_repeat_the_arguments(channel: ClientChannel) -> None:
    exchange(channel, deduplication_window=5)
    channel.send(commands.Exchange.Declare(exchange="e", exchange_type="fanout", durable=True))
    channel.expect_close(406, commands.Exchange.Declare)


def test_windows_without_an_owner_are_removed_after_a_replay(node: Node) -> None:
    broker = node.broker
    broker.replay(DeclareWindow("/", "gone", False, 7, False, "", "00" * 16))
    broker.replay(DeleteWindow("/", "never", True))
    assert list(node.vhost.windows) == [(False, "gone")]
    settle_all(broker)
    assert node.vhost.windows == {}


def test_a_virtual_host_takes_its_windows_along(node: Node, channel: ClientChannel) -> None:
    exchange(channel, deduplication_window=5)
    assert all(not isinstance(command, DeclareWindow) for command in snapshot(node.broker)), (
        "in memory only: nothing for a snapshot"
    )
    windows = node.vhost.windows
    apply(node.broker, DeleteVhost("/"))
    assert windows == {}


def test_a_super_stream_leaves_it_to_its_streams(node: Node, channel: ClientChannel) -> None:
    exchange(channel, kind="x-super-stream", partitions=2, deduplication_window=5)
    put(channel, "a", "a", to="e", key="one")
    assert node.vhost.windows == {}
    assert sum(int(node.queue(f"e-{number}").duplicates) for number in range(2)) == 1


def test_what_the_streams_of_a_super_stream_go_by_is_no_option_of_it(
    node: Node, channel: ClientChannel
) -> None:
    exchange(channel, kind="x-super-stream", partitions=2, deduplication_window=5, schema="orders")

    def subject() -> str | None:
        options = node.vhost.exchanges["e"].options
        return None if options is None else options.schema

    assert subject() is None
    set_policy(node.broker, "/", "p", "^e$", {"schema": "orders"}, apply_to="exchanges")
    finish(node.broker)
    assert subject() == "orders", "a policy is the exchange's own"
    assert node.queue("e-0").options.schema == "orders"


def test_the_route_of_a_super_stream_that_knows_ids_is_a_quick_one(
    node: Node, channel: ClientChannel
) -> None:
    exchange(channel, kind="x-super-stream", partitions=2, deduplication_window=5)
    user = channel.client.connection.user
    assert user is not None
    route = node.vhost.resolve(user, b"\x01e\x03one\x00")
    assert not route.careful


def test_a_transaction_may_outlive_the_window_of_its_exchange(node: Node) -> None:
    channel = node.connect().channel()
    exchange(channel, deduplication_window=5)
    declare(channel)
    channel.bind("q", "e")
    channel.call(commands.Tx.Select(), commands.Tx.SelectOk)
    put(channel, "a", "a", to="e")
    channel.delete_exchange("e")
    channel.call(commands.Tx.Commit(), commands.Tx.CommitOk)
    assert held(node) == [b"a", b"a"]
