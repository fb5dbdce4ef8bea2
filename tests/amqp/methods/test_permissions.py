"""Every method that asks for permissions: with just those it needs it succeeds, without any one it is 403.

``interop_tests/asyncio_clients/test_permissions.py`` says the same of RabbitMQ.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from pamqp import base, commands

from tests.support.client import Client, ClientChannel, basic_consume, exchange_declare, queue_declare
from tests.support.node import Node

PERMISSIONS = ("configure", "write", "read")
NONE = "^$"


@dataclass(frozen=True)
class Operation:
    """A method, the names it asks permissions on, and its answer; no answer for a publish."""

    name: str
    method: base.Frame
    answer: type[base.Frame] | None
    configure: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    read: tuple[str, ...] = ()

    def needs(self) -> list[tuple[str, str]]:
        """List permissions and names, in the order they are looked at."""
        found = [("configure", name) for name in self.configure]
        others = [("write", name) for name in self.write], [("read", name) for name in self.read]
        for pairs in reversed(others) if self.configure else others:
            found += pairs
        return found


def publish(exchange: str, key: str) -> commands.Basic.Publish:
    return commands.Basic.Publish(exchange=exchange, routing_key=key)


TO_DEAD = {"x-dead-letter-exchange": "ae"}
TO_ALTERNATE = {"alternate-exchange": "ae"}

EXCHANGE, QUEUE, BASIC = commands.Exchange, commands.Queue, commands.Basic

OPERATIONS = [
    Operation("exchange.declare", exchange_declare("new"), EXCHANGE.DeclareOk, configure=("new",)),
    Operation(
        "exchange.declare again",
        exchange_declare("x", arguments=TO_ALTERNATE),  # type: ignore[arg-type]
        EXCHANGE.DeclareOk,
        configure=("x",),
    ),
    Operation(
        "exchange.declare with an alternate exchange",
        exchange_declare("new", arguments=TO_ALTERNATE),  # type: ignore[arg-type]
        EXCHANGE.DeclareOk,
        configure=("new",),
        write=("ae",),
        read=("new",),
    ),
    Operation("exchange.delete", EXCHANGE.Delete(exchange="x"), EXCHANGE.DeleteOk, configure=("x",)),
    Operation(
        "exchange.delete, missing", EXCHANGE.Delete(exchange="no"), EXCHANGE.DeleteOk, configure=("no",)
    ),
    Operation(
        "exchange.bind",
        EXCHANGE.Bind(destination="y", source="ae", routing_key="k"),
        EXCHANGE.BindOk,
        write=("y",),
        read=("ae",),
    ),
    Operation(
        "exchange.unbind",
        EXCHANGE.Unbind(destination="y", source="x", routing_key="bound"),
        EXCHANGE.UnbindOk,
        write=("y",),
        read=("x",),
    ),
    Operation("queue.declare", queue_declare("new"), QUEUE.DeclareOk, configure=("new",)),
    Operation("queue.declare again", queue_declare("q"), QUEUE.DeclareOk, configure=("q",)),
    Operation(
        "queue.declare with a dead letter exchange",
        queue_declare("new", arguments=TO_DEAD),  # type: ignore[arg-type]
        QUEUE.DeclareOk,
        configure=("new",),
        write=("ae",),
        read=("new",),
    ),
    Operation(
        "queue.declare with a dead letter exchange again",
        queue_declare("d", arguments=TO_DEAD),  # type: ignore[arg-type]
        QUEUE.DeclareOk,
        configure=("d",),
    ),
    Operation(
        "queue.declare with the default exchange for dead letters",
        queue_declare("new", arguments={"x-dead-letter-exchange": ""}),
        QUEUE.DeclareOk,
        configure=("new",),
        write=("amq.default",),
        read=("new",),
    ),
    Operation(
        "exchange.declare of a super stream",
        exchange_declare("super", "x-super-stream", durable=True, arguments={"x-partitions": 2}),
        EXCHANGE.DeclareOk,
        configure=("super", "super-0", "super-1"),
        write=("super-0", "super-1"),
        read=("super",),
    ),
    Operation(
        "queue.bind",
        QUEUE.Bind(queue="q", exchange="ae", routing_key="k"),
        QUEUE.BindOk,
        write=("q",),
        read=("ae",),
    ),
    Operation(
        "queue.unbind",
        QUEUE.Unbind(queue="q", exchange="x", routing_key="bound"),
        QUEUE.UnbindOk,
        write=("q",),
        read=("x",),
    ),
    Operation("queue.purge", QUEUE.Purge(queue="q"), QUEUE.PurgeOk, read=("q",)),
    Operation("queue.delete", QUEUE.Delete(queue="q"), QUEUE.DeleteOk, configure=("q",)),
    Operation("queue.delete, missing", QUEUE.Delete(queue="no"), QUEUE.DeleteOk, configure=("no",)),
    Operation("basic.get", BASIC.Get(queue="q"), BASIC.GetEmpty, read=("q",)),
    Operation("basic.consume", basic_consume("q"), BASIC.ConsumeOk, read=("q",)),
    Operation(
        "basic.consume of replies", basic_consume("amq.rabbitmq.reply-to", no_ack=True), BASIC.ConsumeOk
    ),
    Operation("basic.publish", publish("x", "bound"), None, write=("x",)),
    Operation("basic.publish to the default exchange", publish("", "q"), None, write=("amq.default",)),
    Operation("basic.qos", BASIC.Qos(prefetch_count=5), BASIC.QosOk),
    Operation("basic.cancel", BASIC.Cancel(consumer_tag="no"), BASIC.CancelOk),
    Operation("basic.recover", BASIC.Recover(requeue=True), BASIC.RecoverOk),
    Operation("confirm.select", commands.Confirm.Select(), commands.Confirm.SelectOk),
    Operation("tx.select", commands.Tx.Select(), commands.Tx.SelectOk),
]

EVERY_NEED = [(operation, *need) for operation in OPERATIONS for need in operation.needs()]


@pytest.fixture
def place(node: Node) -> Node:
    """A node with what the operations work on, and a user of it."""
    channel = node.connect().channel()
    for exchange in ("ae", "y"):
        channel.declare_exchange(exchange)
    channel.declare_exchange("x", arguments={"alternate-exchange": "ae"})
    channel.declare_queue("q")
    channel.declare_queue("d", arguments={"x-dead-letter-exchange": "ae"})
    channel.bind("q", "x", "bound")
    channel.bind_exchange("y", "x", "bound")
    node.users.put_user("u", node.users.users["guest"].password)
    return node


def channel_of(node: Node) -> ClientChannel:
    client: Client = node.client()
    client.open(username="u")
    return client.channel()


def carry_out(channel: ClientChannel, operation: Operation) -> None:
    """Do it, and expect it to succeed."""
    if operation.answer is not None:
        channel.call(operation.method, operation.answer)
        return
    send(channel, operation)
    channel.declare_queue("q", passive=True)


def send(channel: ClientChannel, operation: Operation) -> None:
    """Send the method, with content if it takes any."""
    method = operation.method
    if isinstance(method, commands.Basic.Publish):
        channel.publish(b"", exchange=method.exchange, key=method.routing_key)
    else:
        channel.send(method)


def just(names: tuple[str, ...]) -> str:
    return "|".join(f"^{re.escape(name)}$" for name in names) or NONE


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_with_just_the_permissions_it_needs_a_method_succeeds(place: Node, operation: Operation) -> None:
    read = operation.read if operation.answer is not None else ("q",)
    place.users.set_permissions("u", "/", just(operation.configure), just(operation.write), just(read))
    carry_out(channel_of(place), operation)


@pytest.mark.parametrize(
    ("operation", "permission", "name"),
    EVERY_NEED,
    ids=[f"{operation.name}: {permission} {name}" for operation, permission, name in EVERY_NEED],
)
def test_without_one_of_the_permissions_it_needs_a_method_is_403(
    place: Node, operation: Operation, permission: str, name: str
) -> None:
    granted = {**dict.fromkeys(PERMISSIONS, ".*"), permission: f"^(?!{re.escape(name)}$)"}
    place.users.set_permissions("u", "/", **granted)
    channel = channel_of(place)
    send(channel, operation)
    text = channel.expect_close(403, type(operation.method), f"'{name}' in vhost '/' refused for user 'u'")
    assert text.startswith(("ACCESS_REFUSED - access to queue", "ACCESS_REFUSED - access to exchange"))


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_without_any_permission_a_method_names_what_is_looked_at_first(
    place: Node, operation: Operation
) -> None:
    place.users.set_permissions("u", "/", NONE, NONE, NONE)
    channel = channel_of(place)
    if not operation.needs():
        carry_out(channel, operation)
        return
    send(channel, operation)
    channel.expect_close(403, type(operation.method), f"'{operation.needs()[0][1]}'")


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_what_is_refused_changes_nothing(place: Node, operation: Operation) -> None:
    def state() -> tuple[object, ...]:
        vhost = place.vhost
        bindings = [len(exchange.bindings) for exchange in vhost.exchanges.values()]
        queues = [
            (queue.name, queue.ready_count(), queue.consumer_count()) for queue in vhost.queues.values()
        ]
        return list(vhost.exchanges), bindings, queues

    before = state()
    place.users.set_permissions("u", "/", NONE, NONE, NONE)
    if operation.needs():
        send(channel_of(place), operation)
        assert state() == before


PASSIVE = [queue_declare("q", passive=True), exchange_declare("x", passive=True)]


@pytest.mark.parametrize("method", PASSIVE, ids=["queue", "exchange"])
@pytest.mark.parametrize("permission", PERMISSIONS)
def test_a_passive_declare_needs_any_of_the_three(place: Node, method: base.Frame, permission: str) -> None:
    place.users.set_permissions("u", "/", **{**dict.fromkeys(PERMISSIONS, NONE), permission: "^[qx]$"})
    channel_of(place).send(method)
    place.users.set_permissions("u", "/", NONE, NONE, NONE)
    refused = channel_of(place)
    refused.send(method)
    refused.expect_close(403, type(method))
