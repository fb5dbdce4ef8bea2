"""Applying commands: the one place where topology changes."""

from __future__ import annotations

import pytest
from pamqp import commands

from harebell.content.table import Table
from harebell.engine.commands import (
    Bind,
    ChangeAccess,
    ClearPolicy,
    Command,
    CreateVhost,
    DeclareExchange,
    DeclareQueue,
    DeleteExchange,
    DeleteQueue,
    DeleteVhost,
    SetPolicy,
    SetVhostDefaultQueueType,
    SetVhostLimits,
    Unbind,
)
from harebell.engine.metadata import apply, destination_of, snapshot
from harebell.errors import NOT_FOUND, BrokerError
from tests.support.client import ClientChannel
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


QUEUE = declaration()
EXCHANGE = DeclareExchange("/", "x", "fanout", True, False, False, {})


def carry_out(node: Node, *changes: Command) -> None:
    for change in changes:
        apply(node.broker, change)


def test_commands_alone_rebuild_a_topology(node: Node, channel: ClientChannel) -> None:
    carry_out(
        node,
        QUEUE,
        EXCHANGE,
        DeclareExchange("/", "top", "topic", True, False, False, {"alternate-exchange": "x"}),
        Bind("/", "top", "x", False, "a.*", {}),
        Bind("/", "x", "q", True, "", {}),
    )
    channel.publish(b"bound", exchange="top", key="a.b")
    channel.publish(b"alternate", exchange="top", key="b.a")
    assert channel.drain("q") == [b"bound", b"alternate"]
    carry_out(node, Unbind("/", "x", "q", True, "", {}), DeleteExchange("/", "top"), DeleteQueue("/", "q"))
    assert "top" not in node.vhost.exchanges
    assert not node.vhost.exchanges["x"].bindings
    assert "q" not in node.vhost.queues


def test_a_queue_has_the_id_its_command_says(node: Node, channel: ClientChannel) -> None:
    carry_out(node, declaration(queue_id=42))
    assert node.queue("q").id == 42


def test_no_id_is_ever_given_twice(node: Node, channel: ClientChannel) -> None:
    ids = []
    for _ in range(3):
        channel.declare_queue("q")
        ids.append(int(node.queue("q").id))
        channel.delete_queue("q")
    assert len(set(ids)) == 3
    node.broker.replay(declaration("old", queue_id=42))
    channel.declare_queue("q")
    assert node.queue("q").id > 42


def test_creating_a_virtual_host_twice_keeps_what_it_holds(node: Node) -> None:
    carry_out(node, QUEUE, CreateVhost("/"))
    assert "q" in node.vhost.queues


def test_deleting_a_virtual_host_tells_its_consumers(node: Node) -> None:
    carry_out(node, CreateVhost("v"))
    node.users.set_permissions("guest", "v", ".*", ".*", ".*")
    client = node.client()
    client.open("v")
    channel = client.channel()
    channel.declare_queue("q")
    channel.consume("q", "t")
    carry_out(node, DeleteVhost("v"))
    node.turn()
    assert channel.expect(commands.Basic.Cancel).consumer_tag == "t"
    assert "v" not in node.broker.vhosts
    client.hang_up()


def test_expiry_and_single_active_consumer_are_read_from_the_arguments(node: Node) -> None:
    arguments: dict[str, object] = {"x-expires": 5000, "x-single-active-consumer": True}
    carry_out(node, declaration(durable=False, arguments=arguments))
    assert node.queue("q").expires == 5000
    assert list(node.vhost.expiring) == [node.queue("q")]
    carry_out(node, DeleteQueue("/", "q"))
    assert not node.vhost.expiring


def test_deleting_an_exchange_unbinds_it_on_both_sides(node: Node) -> None:
    carry_out(node, EXCHANGE, DeclareExchange("/", "y", "fanout", True, False, False, {}), QUEUE)
    carry_out(
        node,
        Bind("/", "x", "q", True, "", {}),
        Bind("/", "y", "x", False, "", {}),
        Bind("/", "x", "x", False, "", {}),
        DeleteExchange("/", "x"),
    )
    assert not node.vhost.exchanges["y"].bindings
    assert not node.queue("q").incoming


def test_auto_delete_exchanges_go_one_after_the_other(node: Node) -> None:
    for name in ("a", "b", "c"):
        carry_out(node, DeclareExchange("/", name, "fanout", False, True, False, {}))
    carry_out(
        node,
        QUEUE,
        Bind("/", "a", "b", False, "", {}),
        Bind("/", "b", "c", False, "", {}),
        Bind("/", "c", "q", True, "", {}),
        DeleteQueue("/", "q"),
    )
    assert not {"a", "b", "c"} & set(node.vhost.exchanges)


def test_an_auto_delete_cycle_ends(node: Node) -> None:
    for name in ("a", "b"):
        carry_out(node, DeclareExchange("/", name, "fanout", False, True, False, {}))
    carry_out(
        node,
        Bind("/", "a", "b", False, "", {}),
        Bind("/", "b", "a", False, "", {}),
        Unbind("/", "a", "b", False, "", {}),
    )
    assert not {"a", "b"} & set(node.vhost.exchanges)


def test_a_queue_bound_to_a_recent_history_exchange_gets_the_history(channel: ClientChannel) -> None:
    channel.declare_exchange("x", "x-recent-history", arguments={"x-recent-history-length": 2})
    for body in (b"a", b"b", b"c"):
        channel.publish(body, exchange="x")
    no_store = commands.Basic.Properties(headers={"x-recent-history-no-store": True})
    channel.publish(b"d", exchange="x", properties=no_store)
    channel.declare_queue("q")
    channel.bind("q", "x")
    channel.bind("q", "x")
    channel.publish(b"e", exchange="x")
    assert channel.drain("q") == [b"b", b"c", b"e"]


def test_the_history_reaches_a_consumer_at_once(channel: ClientChannel) -> None:
    channel.declare_exchange("x", "x-recent-history")
    channel.publish(b"a", exchange="x")
    queue = channel.queue()
    channel.consume(queue, no_ack=True)
    channel.bind(queue, "x")
    assert channel.bodies() == [b"a"]


@pytest.mark.parametrize("to_queue", [True, False])
def test_a_destination_that_is_missing_is_not_found(node: Node, to_queue: bool) -> None:
    with pytest.raises(BrokerError) as refused:
        destination_of(node.vhost, "nosuch", to_queue)
    assert refused.value.row is NOT_FOUND


# replay, after a snapshot that holds what the commands repeat


def test_a_repeated_declaration_keeps_the_queue_and_its_bindings(node: Node, channel: ClientChannel) -> None:
    bound = Bind("/", "x", "q", True, "", {})
    carry_out(node, EXCHANGE, QUEUE, bound)
    before = node.queue("q")
    for command in (EXCHANGE, QUEUE, bound):
        node.broker.replay(command)
    assert node.queue("q") is before
    assert [binding.destination for binding in node.vhost.exchanges["x"].bindings.values()] == [before]
    channel.publish(b"x", exchange="x")
    assert channel.drain("q") == [b"x"]


def test_a_queue_deleted_and_declared_again_leaves_no_ghost(node: Node, channel: ClientChannel) -> None:
    history: list[Command] = [
        QUEUE,
        Bind("/", "amq.fanout", "q", True, "old", {}),
        DeleteQueue("/", "q"),
        declaration(queue_id=2),
        Bind("/", "amq.fanout", "q", True, "new", {}),
    ]
    carry_out(node, *history)
    for command in history:
        node.broker.replay(command)
    assert node.queue("q").id == 2
    (binding,) = node.vhost.exchanges["amq.fanout"].bindings.values()
    assert (binding.destination, binding.routing_key) == (node.queue("q"), "new")


def test_an_exchange_that_changed_its_type_leaves_no_ghost(node: Node) -> None:
    hashing = DeclareExchange("/", "x", "x-consistent-hash", True, False, False, {})
    history: list[Command] = [
        hashing,
        Bind("/", "amq.fanout", "x", False, "", {}),
        DeleteExchange("/", "x"),
        EXCHANGE,
    ]
    carry_out(node, *history)
    for command in history:
        node.broker.replay(command)
    assert node.vhost.exchanges["x"].type_name == "fanout"
    assert not node.vhost.exchanges["amq.fanout"].bindings


def test_what_does_not_fit_any_more_is_passed_over(node: Node) -> None:
    odd: list[Command] = [
        DeleteQueue("/", "nosuch"),
        DeleteExchange("/", "nosuch"),
        Bind("/", "nosuch", "q", True, "", {}),
        Unbind("/", "amq.fanout", "nosuch", True, "", {}),
        DeclareExchange("/", "x", "x-of-a-plugin", True, False, False, {}),
        declaration(vhost="nosuch"),
    ]
    for command in odd:
        node.broker.replay(command)
    assert "x" not in node.vhost.exchanges


def test_a_long_chain_of_auto_delete_exchanges_goes_without_recursion(
    node: Node, channel: ClientChannel
) -> None:
    length = 3000
    commands: list[Command] = [
        DeclareExchange("/", f"x{i}", "fanout", False, True, False, {}) for i in range(length)
    ]
    commands += [Bind("/", f"x{i}", f"x{i + 1}", False, "", {}) for i in range(length - 1)]
    carry_out(node, *commands, DeclareQueue("/", "end", 7, "classic", False, 0, False, {}))
    carry_out(node, Bind("/", f"x{length - 1}", "end", True, "", {}))
    carry_out(node, DeleteQueue("/", "end"))
    assert not [name for name in node.vhost.exchanges if name.startswith("x")]


# what is set for a virtual host as a whole


POLICY = SetPolicy("/", "p", "^q", "queues", {"max-length": 5}, 3, False)
CAP = SetPolicy("/", "p", "^q", "queues", {"max-length": 4}, 0, True)


def without_users(node: Node) -> list[Command]:
    return [command for command in snapshot(node.broker) if not isinstance(command, ChangeAccess)]


def test_policies_limits_and_the_default_type_are_in_the_snapshot_before_the_queues(node: Node) -> None:
    limits = SetVhostLimits("/", {"max-queues": 7})
    default = SetVhostDefaultQueueType("/", "quorum")
    carry_out(node, QUEUE, POLICY, CAP, limits, default)
    found = [command for command in without_users(node) if command != CreateVhost("/")]
    assert found == [default, limits, POLICY, CAP, QUEUE]


def test_a_snapshot_gives_restored_queues_their_options_at_once(node: Node) -> None:
    carry_out(node, QUEUE, POLICY, CAP)
    recovered = Node()
    for command in snapshot(node.broker):
        recovered.broker.replay(command)
    queue = recovered.queue("q")
    assert queue.options.max_length == 4
    assert (queue.policy, queue.operator_policy) == ("p", "p")
    assert snapshot(recovered.broker) == snapshot(node.broker)


def test_what_was_cleared_is_not_in_the_snapshot(node: Node) -> None:
    carry_out(
        node, POLICY, CAP, SetVhostLimits("/", {"max-queues": 7}), SetVhostDefaultQueueType("/", "quorum")
    )
    carry_out(
        node,
        ClearPolicy("/", "p", False),
        ClearPolicy("/", "p", True),
        SetVhostLimits("/", {}),
        SetVhostDefaultQueueType("/", ""),
    )
    assert without_users(node) == [CreateVhost("/")]


def test_a_repeated_policy_is_one_policy(node: Node) -> None:
    carry_out(node, POLICY, POLICY)
    assert [policy.name for policy in node.vhost.policies.regular.all()] == ["p"]
    carry_out(node, ClearPolicy("/", "p", False), ClearPolicy("/", "p", False))
    assert not node.vhost.policies.regular.all()


def test_a_policy_whose_pattern_no_longer_passes_does_not_keep_a_node_from_starting(node: Node) -> None:
    node.broker.replay(SetPolicy("/", "p", "(a+)+", "queues", {"max-length": 5}, 3, False))
    assert len(node.broker.not_replayed) == 1
