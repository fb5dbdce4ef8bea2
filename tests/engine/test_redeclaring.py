"""Declarations that differ from what is there, and changing arguments of queues and exchanges."""

from __future__ import annotations

import pytest
from pamqp import commands
from pamqp.common import FieldTable

from harebell.content.table import Table
from harebell.engine.arguments import EXCHANGE_OPTION_ROWS, QUEUE_ARGUMENTS
from harebell.engine.commands import ChangeAccess, ChangeArguments, SetVhostMetadata, decode, encode
from harebell.engine.metadata import snapshot
from harebell.engine.redeclaring import CHANGEABLE, MODES, change_exchange, change_queue, mode_of
from harebell.engine.topology import Caller
from harebell.errors import ACCESS_REFUSED, PRECONDITION_FAILED, BrokerError
from harebell.ports import User
from tests.support.client import ClientChannel, exchange_declare, queue_declare
from tests.support.node import Node

GUEST = User("guest", frozenset())
DECLARE = commands.Queue.Declare


def caller(node: Node, user: User = GUEST) -> Caller:
    return Caller(node.broker, node.vhost, user, 0)


def go_by(node: Node, mode: str) -> None:
    node.broker.commit(SetVhostMetadata("/", {"redeclare": mode}), True)


def refused(channel: ClientChannel, text: str, arguments: FieldTable) -> None:
    channel.send(queue_declare("q", False, False, False, False, arguments))
    channel.expect_close(406, DECLARE, text)
    channel.open()


# modes


@pytest.mark.parametrize("metadata", [{}, {"redeclare": "strict"}, {"redeclare": 7}, {"redeclare": "maybe"}])
def test_what_is_not_said_is_strict(node: Node, channel: ClientChannel, metadata: Table) -> None:
    node.broker.commit(SetVhostMetadata("/", metadata), True)
    assert mode_of(node.vhost) == "strict"
    channel.declare_queue("q", arguments={"x-max-length": 5})
    refused(channel, "inequivalent arg 'x-max-length' for queue 'q' in vhost '/'", {"x-max-length": 6})


def test_warn_takes_what_differs_and_changes_nothing(node: Node, channel: ClientChannel) -> None:
    told: list[str] = []
    node.broker.warned = told.append
    go_by(node, "warn")
    channel.declare_queue("q", arguments={"x-max-length": 5})
    for arguments in ({}, {"x-max-length": 6}, {"x-max-priority": 3}, {"x-queue-type": "quorum"}):
        channel.declare_queue("q", arguments=dict(arguments))
    assert node.queue("q").arguments == {"x-max-length": 5}
    assert node.queue("q").type_name == "classic"
    assert node.vhost.counters.redeclared_otherwise == 4
    assert "received '6' but current is '5'" in told[1] and len(told) == 4
    channel.declare_queue("q", arguments={"x-max-length": 5})
    assert node.vhost.counters.redeclared_otherwise == 4, "an equal declaration is none that differs"


@pytest.mark.parametrize("mode", MODES)
def test_what_is_no_argument_must_be_the_same_in_any_mode(
    node: Node, channel: ClientChannel, mode: str
) -> None:
    go_by(node, mode)
    channel.declare_queue("q")
    channel.send(queue_declare("q", False, True, False, False, {}))
    channel.expect_close(406, DECLARE, "inequivalent arg 'durable'")
    channel.open()
    channel.declare_exchange("e", "fanout")
    channel.send(exchange_declare("e", "direct"))
    channel.expect_close(406, commands.Exchange.Declare, "inequivalent arg 'type'")


def test_update_changes_what_can_be_changed(node: Node, channel: ClientChannel) -> None:
    go_by(node, "update")
    channel.declare_queue("q", arguments={"x-max-length": 5, "x-message-ttl": 1_000})
    for number in range(5):
        channel.publish(b"%d" % number, key="q")
    channel.declare_queue("q", arguments={"x-max-length": 2})
    assert node.queue("q").options.message_ttl == -1
    assert channel.drain("q") == [b"3", b"4"], "the new limit holds at once"
    channel.declare_queue("q", arguments={"x-max-length": 2, "x-overflow": "reject-publish"})
    assert node.queue("q").arguments == {"x-max-length": 2, "x-overflow": "reject-publish"}
    channel.confirm_select()
    for _ in range(3):
        channel.publish(b"", key="q")
    assert channel.outcomes() == ["ack", "ack", "nack"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"x-max-priority": 3},
        {"x-single-active-consumer": True},
        {"x-retain": "7D"},
        {"x-max-priority": 3, "x-max-length": 1},
    ],
)
def test_update_refuses_what_cannot_be_changed_and_names_it(
    node: Node, channel: ClientChannel, arguments: FieldTable
) -> None:
    go_by(node, "update")
    channel.declare_queue("q")
    refused(channel, f"inequivalent arg '{next(iter(arguments))}'", arguments)
    assert node.queue("q").arguments == {}


def test_update_takes_no_bad_value(node: Node, channel: ClientChannel) -> None:
    go_by(node, "update")
    channel.declare_queue("q")
    refused(channel, "invalid arg 'x-max-length'", {"x-max-length": -1})
    refused(channel, "routing_key_but_no_dlx_defined", {"x-dead-letter-routing-key": "k"})
    assert node.queue("q").arguments == {}


def test_update_changes_exchanges(node: Node, channel: ClientChannel) -> None:
    go_by(node, "update")
    channel.declare_queue("lost")
    channel.declare_exchange("other", "fanout")
    channel.bind("lost", "other")
    channel.declare_exchange("e", "direct")
    channel.publish(b"gone", exchange="e")
    channel.declare_exchange("e", "direct", arguments={"alternate-exchange": "other", "x-message-uid": True})
    channel.publish(b"kept", exchange="e")
    assert channel.drain("lost") == [b"kept"]
    channel.declare_exchange("e", "direct")
    channel.publish(b"gone", exchange="e")
    assert channel.drain("lost") == []
    channel.send(exchange_declare("amq.direct", "direct", durable=True, arguments={"x-delay": 5}))
    channel.expect_close(406, commands.Exchange.Declare, "inequivalent arg 'x-delay'")


def test_warn_passes_over_arguments_of_exchanges(node: Node, channel: ClientChannel) -> None:
    go_by(node, "warn")
    channel.declare_exchange("e", "direct")
    channel.declare_exchange("e", "direct", arguments={"alternate-exchange": "other"})
    assert node.vhost.exchanges["e"].arguments == {}


# changing


def test_changes_are_merged_and_null_takes_away(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q", arguments={"x-max-length": 5, "x-unknown": "kept", "x-expires": 60_000})
    change_queue(caller(node), node.queue("q"), {"x-max-length": None, "x-message-ttl": 7})
    assert node.queue("q").arguments == {"x-unknown": "kept", "x-expires": 60_000, "x-message-ttl": 7}
    assert (node.queue("q").options.max_length, node.queue("q").options.message_ttl) == (-1, 7)
    assert change_queue(caller(node), node.queue("q"), {"x-max-length": None}) == 0


def test_a_queue_that_begins_to_give_ids_does_so_for_routes_that_are_known(
    node: Node, channel: ClientChannel
) -> None:
    channel.declare_queue("q")
    channel.publish(b"", key="q")
    change_queue(caller(node), node.queue("q"), {"x-message-uid": True, "x-deduplication-window": 10})
    properties = commands.Basic.Properties(message_id="same")
    channel.publish(b"", key="q", properties=properties)
    channel.publish(b"", key="q", properties=properties)
    first, second = channel.get("q"), channel.get("q")
    assert first is not None and not first.properties.headers
    assert second is not None and second.properties.headers and "x-message-uid" in second.properties.headers
    assert channel.get("q") is None, "the second of the same id is left out"


@pytest.mark.parametrize("changes", [{"x-queue-type": "quorum"}, {"x-max-priority": 2}, {"x-unknown": 1}])
def test_other_arguments_cannot_be_changed(node: Node, channel: ClientChannel, changes: Table) -> None:
    channel.declare_queue("q")
    with pytest.raises(BrokerError, match=f"arg '{next(iter(changes))}' of queue 'q'") as problem:
        change_queue(caller(node), node.queue("q"), changes)
    assert problem.value.row is PRECONDITION_FAILED


def test_an_argument_of_another_queue_type_cannot_be_given(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q")
    with pytest.raises(BrokerError, match="x-max-age"):
        change_queue(caller(node), node.queue("q"), {"x-max-age": "7D"})


def test_changing_takes_the_permissions_of_declaring(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q")
    channel.declare_exchange("e")
    stranger = caller(node, User("stranger", frozenset()))
    with pytest.raises(BrokerError) as problem:
        change_queue(stranger, node.queue("q"), {"x-max-length": 1})
    assert problem.value.row is ACCESS_REFUSED
    for who, name in ((stranger, "e"), (caller(node), "amq.topic")):
        with pytest.raises(BrokerError) as problem:
            change_exchange(who, node.vhost.exchanges[name], {"x-delay": 1})
        assert problem.value.row is ACCESS_REFUSED


def test_what_was_changed_is_replayed_and_in_the_snapshot(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q", durable=True, arguments={"x-max-length": 5})
    channel.declare_exchange("e", "fanout", durable=True)
    change_queue(caller(node), node.queue("q"), {"x-max-length": 3})
    change_exchange(caller(node), node.vhost.exchanges["e"], {"x-delay": 3})
    recovered = Node()
    for command in snapshot(node.broker):
        if not isinstance(command, ChangeAccess):
            recovered.broker.replay(command)
    assert recovered.queue("q").options.max_length == 3
    assert recovered.vhost.exchanges["e"].arguments == {"x-delay": 3}
    again = ChangeArguments("/", "q", False, {"x-max-length": 2})
    recovered.broker.replay(decode(encode(again)))
    assert recovered.queue("q").options.max_length == 2
    recovered.broker.replay(ChangeArguments("/", "nosuch", False, {}))
    assert not recovered.broker.not_replayed


def test_what_changes_can_be_set_by_a_policy() -> None:
    for each in QUEUE_ARGUMENTS:
        assert not each.changes or (each.policy is not None and each.compared)


def test_every_option_of_exchanges_changes() -> None:
    assert {row.key for row in EXCHANGE_OPTION_ROWS} < CHANGEABLE
