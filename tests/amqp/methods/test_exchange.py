"""Class exchange: every method, every refusal (AMQP 0-9-1 section 1.6; RabbitMQ where it goes further)."""

from __future__ import annotations

import pytest
from pamqp import base, commands
from pamqp.common import FieldTable

from harebell.engine.broker import Limits
from harebell.engine.vhost import PREDECLARED
from tests.support.client import Client, ClientChannel, exchange_declare
from tests.support.node import Node
from tests.support.wire import raw_method, short

DECLARE = commands.Exchange.Declare
DELETE = commands.Exchange.Delete
BIND = commands.Exchange.Bind
UNBIND = commands.Exchange.Unbind

TYPES: list[tuple[str, FieldTable]] = [
    ("direct", {}),
    ("fanout", {}),
    ("topic", {}),
    ("headers", {}),
    ("x-consistent-hash", {}),
    ("x-random", {}),
    ("x-local-random", {}),
    ("x-modulus-hash", {}),
    ("x-recent-history", {"x-recent-history-length": 3}),
]


# declare


@pytest.mark.parametrize(("kind", "arguments"), TYPES)
def test_every_type_can_be_declared_twice(channel: ClientChannel, kind: str, arguments: FieldTable) -> None:
    for _ in range(2):
        channel.declare_exchange("x", kind, durable=True, arguments=arguments)


@pytest.mark.parametrize("name", [name for name, _, _ in PREDECLARED])
def test_the_predeclared_exchanges_are_there(channel: ClientChannel, name: str) -> None:
    channel.call(exchange_declare(name, passive=True), commands.Exchange.DeclareOk)


def test_a_predeclared_exchange_may_be_declared_as_it_is(channel: ClientChannel) -> None:
    channel.declare_exchange("amq.topic", "topic", durable=True)


def test_the_default_exchange_cannot_be_declared(channel: ClientChannel) -> None:
    channel.send(exchange_declare("", "direct", True))
    channel.expect_close(403, DECLARE, "ACCESS_REFUSED - operation not permitted on the default exchange")


def test_the_default_exchange_cannot_be_declared_passively_either(channel: ClientChannel) -> None:
    channel.send(exchange_declare("", passive=True))
    channel.expect_close(403, DECLARE, "operation not permitted on the default exchange")


def test_a_new_name_of_ours_is_403(channel: ClientChannel) -> None:
    channel.send(exchange_declare("amq.mine"))
    channel.expect_close(403, DECLARE, "exchange name 'amq.mine' contains reserved prefix 'amq.*'")


def test_an_unknown_type_is_406_on_the_channel(channel: ClientChannel) -> None:
    channel.send(exchange_declare("x", "x-nosuch"))
    channel.expect_close(406, DECLARE, "unknown exchange type 'x-nosuch'")


@pytest.mark.parametrize(
    ("again", "what", "received", "current"),
    [
        (exchange_declare("x", "fanout", True), "type", "'fanout'", "'direct'"),
        (exchange_declare("x", "direct", False), "durable", "'false'", "'true'"),
        (exchange_declare("x", "direct", True, True), "auto_delete", "'true'", "'false'"),
        (exchange_declare("x", "direct", True, False, True), "internal", "'true'", "'false'"),
        (
            exchange_declare("x", "direct", True, arguments={"alternate-exchange": "y"}),
            "alternate-exchange",
            "the value 'y' of type 'longstr'",
            "none",
        ),
    ],
)
def test_a_redeclaration_that_differs_is_406_in_rabbitmq_s_words(
    channel: ClientChannel, again: base.Frame, what: str, received: str, current: str
) -> None:
    channel.declare_exchange("x", "direct", durable=True)
    channel.send(again)
    text = channel.expect_close(406, DECLARE)
    assert text == (
        f"PRECONDITION_FAILED - inequivalent arg '{what}' for exchange 'x' in vhost '/': "
        f"received {received} but current is {current}"
    )


def test_arguments_nobody_knows_are_not_compared(channel: ClientChannel) -> None:
    channel.declare_exchange("x", arguments={"colour": "red"})
    channel.declare_exchange("x", arguments={"colour": "blue"})


@pytest.mark.parametrize("value", [1, True, None, {"a": 1}, bytearray(b"y")])
def test_an_alternate_exchange_that_is_no_name_is_406(channel: ClientChannel, value: object) -> None:
    question = exchange_declare("x")
    question.arguments = {"alternate-exchange": value}  # type: ignore[dict-item]
    channel.send(question)
    channel.expect_close(406, DECLARE, "alternate-exchange")


def test_bad_arguments_of_a_type_are_406(channel: ClientChannel) -> None:
    channel.send(exchange_declare("x", "x-recent-history", arguments={"x-recent-history-length": 0}))
    channel.expect_close(406, DECLARE, "x-recent-history-length")


def test_a_passive_declare_finds_and_ignores_every_other_flag(channel: ClientChannel) -> None:
    channel.declare_exchange("x", "topic")
    channel.call(exchange_declare("x", "nosuch", True, True, True, passive=True), commands.Exchange.DeclareOk)


def test_a_passive_declare_of_a_missing_exchange_is_404(channel: ClientChannel) -> None:
    channel.send(exchange_declare("nosuch", passive=True))
    channel.expect_close(404, DECLARE, "NOT_FOUND - no exchange 'nosuch' in vhost '/'")


def test_line_ends_are_taken_out_of_a_declared_name(client: Client, node: Node) -> None:
    channel = client.channel()
    client.feed(raw_method(1, DECLARE.index, b"\x00\x00" + short("a\r\nb") + short("fanout") + b"\x00" * 5))
    channel.expect(commands.Exchange.DeclareOk)
    assert "ab" in node.vhost.exchanges


@pytest.mark.parametrize("name", ["a*b", "x|y", "grüße", "it's", " ", "n" * 255])
def test_names_pamqp_refuses_are_fine(client: Client, node: Node, name: str) -> None:
    client.channel()
    client.feed(raw_method(1, DECLARE.index, b"\x00\x00" + short(name) + short("fanout") + b"\x00" * 5))
    client.expect(commands.Exchange.DeclareOk, 1)
    assert name in node.vhost.exchanges


def test_one_exchange_too_many_is_406() -> None:
    node = Node(limits=Limits(max_exchanges=len(PREDECLARED) + 1))
    channel = node.connect().channel()
    channel.declare_exchange("x")
    channel.declare_exchange("x")
    channel.send(exchange_declare("y"))
    channel.expect_close(406, DECLARE, "limit")


# delete


def test_delete_removes_the_exchange_and_its_bindings(channel: ClientChannel, node: Node) -> None:
    channel.declare_exchange("x", "fanout")
    queue = channel.queue()
    channel.bind(queue, "x")
    channel.bind_exchange("x", "amq.fanout")
    channel.delete_exchange("x")
    assert not node.queue(queue).incoming
    assert not node.vhost.exchanges["amq.fanout"].bindings
    channel.send(exchange_declare("x", passive=True))
    channel.expect_close(404, DECLARE)


def test_deleting_what_is_not_there_is_fine(channel: ClientChannel) -> None:
    channel.delete_exchange("nosuch")
    channel.call(DELETE(exchange="nosuch", if_unused=True), commands.Exchange.DeleteOk)


def test_the_default_exchange_cannot_be_deleted(channel: ClientChannel) -> None:
    channel.send(DELETE(exchange=""))
    channel.expect_close(403, DELETE, "operation not permitted on the default exchange")


@pytest.mark.parametrize("name", ["amq.direct", "amq.rabbitmq.trace", "amq.nosuch"])
def test_an_exchange_of_ours_cannot_be_deleted(channel: ClientChannel, name: str) -> None:
    channel.send(DELETE(exchange=name))
    channel.expect_close(403, DELETE, f"'{name}'")


def test_if_unused_refuses_while_something_is_bound_to_it(channel: ClientChannel) -> None:
    channel.declare_exchange("x")
    queue = channel.queue()
    channel.bind(queue, "x", "k")
    channel.send(DELETE(exchange="x", if_unused=True))
    channel.expect_close(406, DELETE, "PRECONDITION_FAILED - exchange 'x' in vhost '/' in use")
    channel.open()
    channel.unbind(queue, "x", "k")
    channel.call(DELETE(exchange="x", if_unused=True), commands.Exchange.DeleteOk)


def test_if_unused_does_not_mind_being_bound_to_another(channel: ClientChannel) -> None:
    channel.declare_exchange("x")
    channel.bind_exchange("x", "amq.fanout")
    channel.call(DELETE(exchange="x", if_unused=True), commands.Exchange.DeleteOk)


# bind and unbind between exchanges


def test_a_message_follows_a_binding_between_exchanges(channel: ClientChannel) -> None:
    channel.declare_exchange("source", "topic")
    channel.declare_exchange("destination", "fanout")
    queue = channel.queue()
    channel.bind(queue, "destination")
    channel.bind_exchange("destination", "source", "a.*")
    channel.publish(b"yes", exchange="source", key="a.b")
    channel.publish(b"no", exchange="source", key="b.a")
    assert channel.drain(queue) == [b"yes"]


def test_unbind_ends_it_and_its_answer_is_method_51(channel: ClientChannel) -> None:
    channel.declare_exchange("x", "fanout")
    queue = channel.queue()
    channel.bind(queue, "x")
    channel.bind_exchange("x", "amq.fanout")
    question = UNBIND(destination="x", source="amq.fanout")
    assert channel.call(question, commands.Exchange.UnbindOk).index == 0x00280033
    channel.publish(b"x", exchange="amq.fanout")
    assert channel.ready(queue) == 0


@pytest.mark.parametrize("question_class", [BIND, UNBIND])
@pytest.mark.parametrize(("destination", "source"), [("", "amq.direct"), ("amq.direct", ""), ("", "")])
def test_the_default_exchange_takes_no_bindings(
    channel: ClientChannel, question_class: type[BIND] | type[UNBIND], destination: str, source: str
) -> None:
    channel.send(question_class(destination=destination, source=source))
    channel.expect_close(403, question_class, "operation not permitted on the default exchange")


@pytest.mark.parametrize(
    ("destination", "source", "missing"),
    [("nosuch", "amq.direct", "nosuch"), ("amq.direct", "nosuch", "nosuch"), ("no-d", "no-s", "no-s")],
)
def test_binding_a_missing_exchange_is_404_and_names_the_source_first(
    channel: ClientChannel, destination: str, source: str, missing: str
) -> None:
    channel.send(BIND(destination=destination, source=source))
    channel.expect_close(404, BIND, f"no exchange '{missing}' in vhost '/'")


@pytest.mark.parametrize(
    ("destination", "source"), [("nosuch", "amq.direct"), ("amq.direct", "nosuch"), ("a", "b")]
)
def test_unbinding_what_is_not_there_is_fine(channel: ClientChannel, destination: str, source: str) -> None:
    channel.call(UNBIND(destination=destination, source=source), commands.Exchange.UnbindOk)


def test_binding_twice_is_one_binding(channel: ClientChannel, node: Node) -> None:
    channel.declare_exchange("x", "fanout")
    for _ in range(2):
        channel.bind_exchange("x", "amq.direct", "k")
    assert len(node.vhost.exchanges["amq.direct"].bindings) == 1


def test_a_key_the_type_does_not_take_is_406(channel: ClientChannel) -> None:
    channel.declare_exchange("h", "x-consistent-hash")
    channel.send(BIND(destination="amq.fanout", source="h", routing_key="heavy"))
    channel.expect_close(406, BIND)


# nowait


def test_nowait_methods_are_carried_out_in_silence(channel: ClientChannel, node: Node) -> None:
    channel.send(
        DECLARE(exchange="x", exchange_type="fanout", nowait=True),
        DECLARE(exchange="x", passive=True, nowait=True),
        BIND(destination="x", source="amq.fanout", nowait=True),
    )
    channel.expect_silence()
    assert len(node.vhost.exchanges["amq.fanout"].bindings) == 1
    channel.send(UNBIND(destination="x", source="amq.fanout", nowait=True))
    assert not node.vhost.exchanges["amq.fanout"].bindings
    channel.send(DELETE(exchange="x", nowait=True))
    assert "x" not in node.vhost.exchanges
    channel.expect_silence()


def test_a_refused_nowait_method_closes_the_channel_all_the_same(channel: ClientChannel) -> None:
    channel.send(DECLARE(exchange="nosuch", passive=True, nowait=True))
    channel.expect_close(404, DECLARE)


# permissions


@pytest.mark.parametrize(
    ("configure", "write", "read", "question", "refused"),
    [
        ("", ".*", ".*", exchange_declare("x"), "x"),
        ("", ".*", ".*", DELETE(exchange="x"), "x"),
        (".*", "", ".*", BIND(destination="amq.direct", source="amq.fanout"), "amq.direct"),
        (".*", ".*", "", BIND(destination="amq.direct", source="amq.fanout"), "amq.fanout"),
        (".*", "", ".*", UNBIND(destination="amq.direct", source="amq.fanout"), "amq.direct"),
        (".*", ".*", "", UNBIND(destination="amq.direct", source="amq.fanout"), "amq.fanout"),
        (".*", "^x$", ".*", exchange_declare("x", arguments={"alternate-exchange": "y"}), "y"),
        (".*", ".*", "^y$", exchange_declare("x", arguments={"alternate-exchange": "y"}), "x"),
        ("", "", "", exchange_declare("x", passive=True), "x"),
    ],
)
def test_a_missing_permission_is_403_in_rabbitmq_s_words(
    channel: ClientChannel,
    node: Node,
    configure: str,
    write: str,
    read: str,
    question: base.Frame,
    refused: str,
) -> None:
    node.users.set_permissions("guest", "/", configure, write, read)
    channel.send(question)
    channel.expect_close(
        403, type(question), f"access to exchange '{refused}' in vhost '/' refused for user 'guest'"
    )


@pytest.mark.parametrize("permissions", [("x", "", ""), ("", "x", ""), ("", "", "x")])
def test_any_permission_is_enough_for_a_passive_declare(
    channel: ClientChannel, node: Node, permissions: tuple[str, str, str]
) -> None:
    channel.declare_exchange("x")
    node.users.set_permissions("guest", "/", *permissions)
    channel.call(exchange_declare("x", passive=True), commands.Exchange.DeclareOk)


def test_a_topic_permission_is_asked_for_the_key_of_a_binding(channel: ClientChannel, node: Node) -> None:
    node.users.set_topic_permissions("guest", "/", "amq.topic", "^w", "^r")
    channel.bind_exchange("amq.direct", "amq.topic", "r.a")
    channel.send(BIND(destination="amq.direct", source="amq.topic", routing_key="w.a"))
    channel.expect_close(403, BIND, "access to topic 'w.a' in exchange 'amq.topic'")
