"""Class queue: every method, every refusal (AMQP 0-9-1 section 1.7; RabbitMQ where it goes further)."""

from __future__ import annotations

import pytest
from pamqp import base, commands
from pamqp.common import FieldTable

from harebell.engine.broker import Limits
from tests.support.client import Client, ClientChannel, basic_consume, queue_declare
from tests.support.node import Node
from tests.support.wire import OddName, raw_method, short

DECLARE = commands.Queue.Declare
DELETE = commands.Queue.Delete
PURGE = commands.Queue.Purge
BIND = commands.Queue.Bind
UNBIND = commands.Queue.Unbind

LOCKED = "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'q' in vhost '/'"


# declare


def test_declare_ok_tells_name_messages_and_consumers(channel: ClientChannel) -> None:
    channel.declare_queue("q")
    channel.publish(b"a", key="q")
    channel.publish(b"b", key="q")
    channel.qos(1)
    channel.consume("q")
    assert channel.bodies() == [b"a"]
    again = channel.declare_queue("q")
    assert (again.queue, again.message_count, again.consumer_count) == ("q", 1, 1)


def test_an_empty_name_gets_a_new_one_each_time(channel: ClientChannel) -> None:
    first, second = channel.queue(), channel.queue()
    assert first != second
    assert first.startswith("amq.gen-") and second.startswith("amq.gen-")


def test_an_empty_name_means_the_queue_declared_last_on_the_channel(client: Client) -> None:
    channel, other = client.channel(1), client.channel(2)
    channel.declare_queue("first")
    channel.declare_queue("last")
    other.declare_queue("elsewhere")
    channel.publish(b"x", key="last")
    assert channel.get("", no_ack=True) is not None
    channel.bind("", "amq.direct", "k")
    channel.publish(b"y", exchange="amq.direct", key="k")
    assert channel.purge("") == 1
    assert channel.delete_queue("") == 0
    channel.send(queue_declare("last", passive=True))
    channel.expect_close(404, DECLARE)


def test_a_passive_declare_sets_the_queue_declared_last_too(
    channel: ClientChannel, other: ClientChannel
) -> None:
    other.declare_queue("q")
    channel.declare_queue("q", passive=True)
    assert channel.get("") is None


@pytest.mark.parametrize(
    "question",
    [
        BIND(exchange="amq.direct"),
        UNBIND(exchange="amq.direct"),
        PURGE(),
        DELETE(),
        commands.Basic.Get(),
        commands.Basic.Consume(),
    ],
    ids=lambda frame: frame.name,
)
def test_an_empty_name_with_nothing_declared_is_404(channel: ClientChannel, question: base.Frame) -> None:
    channel.send(question)
    channel.expect_close(404, type(question), "NOT_FOUND - no previously declared queue")


def test_a_passive_declare_of_the_empty_name_is_404(channel: ClientChannel) -> None:
    channel.declare_queue("q")
    channel.send(queue_declare("", passive=True))
    channel.expect_close(404, DECLARE, "no queue '' in vhost '/'")


def test_a_passive_declare_of_a_missing_queue_is_404(channel: ClientChannel) -> None:
    channel.send(queue_declare("nosuch", passive=True))
    channel.expect_close(404, DECLARE, "NOT_FOUND - no queue 'nosuch' in vhost '/'")


def test_a_passive_declare_ignores_every_other_flag_and_argument(channel: ClientChannel) -> None:
    channel.declare_queue("q", durable=True)
    channel.call(
        queue_declare("q", True, False, False, True, {"x-max-length": "no"}), commands.Queue.DeclareOk
    )


def test_a_name_of_ours_is_403(channel: ClientChannel) -> None:
    channel.send(queue_declare("amq.mine"))
    channel.expect_close(403, DECLARE, "queue name 'amq.mine' contains reserved prefix 'amq.*'")


@pytest.mark.parametrize(
    ("again", "what", "received", "current"),
    [
        (queue_declare("q", durable=False), "durable", "'false'", "'true'"),
        (queue_declare("q", durable=True, auto_delete=True), "auto_delete", "'true'", "'false'"),
        (
            queue_declare("q", durable=True, arguments={"x-max-length": 6}),
            "x-max-length",
            "'6'",
            "'5'",
        ),
        (queue_declare("q", durable=True), "x-max-length", "none", "the value '5' of type 'long'"),
        (
            queue_declare("q", durable=True, arguments={"x-max-length": 5, "x-queue-type": "quorum"}),
            "x-queue-type",
            "the value 'quorum' of type 'longstr'",
            "none",
        ),
    ],
)
def test_a_redeclaration_that_differs_is_406_in_rabbitmq_s_words(
    channel: ClientChannel, again: base.Frame, what: str, received: str, current: str
) -> None:
    arguments: FieldTable = {"x-max-length": 5}
    if what == "durable" or what == "auto_delete":
        arguments = {}
    channel.declare_queue("q", durable=True, arguments=arguments)
    channel.send(again)
    text = channel.expect_close(406, DECLARE)
    assert text == (
        f"PRECONDITION_FAILED - inequivalent arg '{what}' for queue 'q' in vhost '/': "
        f"received {received} but current is {current}"
    )


def test_a_redeclaration_compares_numbers_by_value_and_ignores_what_nobody_knows(
    channel: ClientChannel,
) -> None:
    client = channel.client

    def declare(value: bytes, colour: str) -> None:
        table = (
            b"\x0cx-max-length" + value + b"\x08x-colourS" + len(colour).to_bytes(4, "big") + colour.encode()
        )
        arguments = b"\x00\x00\x01q\x00" + len(table).to_bytes(4, "big") + table
        client.feed(raw_method(1, DECLARE.index, arguments))
        channel.expect(commands.Queue.DeclareOk)

    declare(b"b\x05", "red")
    declare(b"s\x00\x05", "blue")
    declare(b"I\x00\x00\x00\x05", "")
    declare(b"l\x00\x00\x00\x00\x00\x00\x00\x05", "green")


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"x-expires": 0}, "x-expires"),
        ({"x-expires": "1"}, "x-expires"),
        ({"x-expires": 315_360_000_001}, "x-expires"),
        ({"x-message-ttl": -1}, "x-message-ttl"),
        ({"x-message-ttl": True}, "x-message-ttl"),
        ({"x-max-length": -1}, "x-max-length"),
        ({"x-max-length-bytes": 1.5}, "x-max-length-bytes"),
        ({"x-max-priority": 256}, "x-max-priority"),
        ({"x-max-priority": -1}, "x-max-priority"),
        ({"x-overflow": "explode"}, "x-overflow"),
        ({"x-queue-type": "nosuch"}, "x-queue-type"),
        ({"x-queue-type": 1}, "x-queue-type"),
        ({"x-dead-letter-routing-key": "k"}, "x-dead-letter-routing-key"),
        ({"x-dead-letter-exchange": "x" * 256}, "x-dead-letter-exchange"),
        ({"x-single-active-consumer": "yes"}, "x-single-active-consumer"),
        ({"x-queue-mode": "eager"}, "x-queue-mode"),
    ],
)
def test_a_bad_argument_is_406_and_named(channel: ClientChannel, arguments: FieldTable, what: str) -> None:
    channel.send(queue_declare("q", durable=True, arguments=arguments))
    channel.expect_close(406, DECLARE, f"invalid arg '{what}' for queue 'q'")


def test_line_ends_are_taken_out_of_a_declared_name(client: Client, node: Node) -> None:
    channel = client.channel()
    client.feed(raw_method(1, DECLARE.index, b"\x00\x00" + short("a\r\nb") + b"\x00" * 5))
    assert channel.expect(commands.Queue.DeclareOk).queue == "ab"


@pytest.mark.parametrize("name", ["a*b", "x|y", "grüße", "it's", "日本", "n" * 255])
def test_names_pamqp_refuses_are_fine(client: Client, node: Node, name: str) -> None:
    channel = client.channel()
    client.feed(raw_method(1, DECLARE.index, b"\x00\x00" + short(name) + b"\x00" * 5))
    channel.expect(commands.Queue.DeclareOk)
    channel.publish(b"x", key=name)
    assert node.queue(name).ready_count() == 1


def test_a_name_that_is_no_utf8_is_kept_octet_for_octet(client: Client, node: Node) -> None:
    channel = client.channel()
    client.feed(raw_method(1, DECLARE.index, b"\x00\x00" + short(b"\xff\xfe") + b"\x00" * 5))
    answer = channel.expect(OddName)
    assert answer.payload == b"\x00\x32\x00\x0b\x02\xff\xfe" + b"\x00" * 8
    client.feed(raw_method(1, PURGE.index, b"\x00\x00" + short(b"\xff\xfd") + b"\x00"))
    channel.expect_close(404, PURGE)


def test_one_queue_too_many_is_406() -> None:
    channel = Node(limits=Limits(max_queues=1)).connect().channel()
    channel.declare_queue("q")
    channel.declare_queue("q")
    channel.send(queue_declare("r"))
    channel.expect_close(406, DECLARE, "limit")


# quorum


def test_a_quorum_queue_can_be_declared(channel: ClientChannel) -> None:
    for _ in range(2):
        channel.declare_queue("q", durable=True, arguments={"x-queue-type": "quorum"})


@pytest.mark.parametrize(
    ("asked", "received"),
    [({}, "none"), ({"x-queue-type": "classic"}, "'classic'")],
)
def test_a_quorum_queue_is_redeclared_as_one(
    channel: ClientChannel, asked: FieldTable, received: str
) -> None:
    channel.declare_queue("q", durable=True, arguments={"x-queue-type": "quorum"})
    channel.send(queue_declare("q", durable=True, arguments=asked))
    current = "the value 'quorum' of type 'longstr'" if received == "none" else "'quorum'"
    channel.expect_close(406, DECLARE, f"received {received} but current is {current}")


@pytest.mark.parametrize(
    ("question", "words"),
    [
        (
            queue_declare("q", arguments={"x-queue-type": "quorum"}),
            "invalid property 'non-durable' for queue 'q' in vhost '/'",
        ),
        (
            queue_declare("q", durable=True, exclusive=True, arguments={"x-queue-type": "quorum"}),
            "invalid property 'exclusive-owner' for queue 'q' in vhost '/'",
        ),
        (
            queue_declare("q", exclusive=True, arguments={"x-queue-type": "quorum"}),
            "invalid property 'exclusive-owner' for queue 'q' in vhost '/'",
        ),
        (
            queue_declare("q", durable=True, auto_delete=True, arguments={"x-queue-type": "quorum"}),
            "invalid property 'auto-delete' for queue 'q' in vhost '/'",
        ),
        (
            queue_declare("", durable=True, arguments={"x-queue-type": "quorum"}),
            "Cannot declare a server-named queue for type rabbit_quorum_queue",
        ),
    ],
)
def test_a_quorum_queue_is_durable_shared_lasting_and_named(
    channel: ClientChannel, question: base.Frame, words: str
) -> None:
    channel.send(question)
    channel.expect_close(406, DECLARE, words)


@pytest.mark.parametrize("arguments", [{"x-max-priority": 3}, {"x-queue-version": 2}])
def test_a_quorum_queue_refuses_what_only_classic_ones_know(
    channel: ClientChannel, arguments: FieldTable
) -> None:
    channel.send(queue_declare("q", durable=True, arguments={"x-queue-type": "quorum", **arguments}))
    channel.expect_close(406, DECLARE, "invalid arg")


@pytest.mark.parametrize("conditions", [{"if_unused": True}, {"if_empty": True}])
def test_a_quorum_queue_is_not_deleted_on_a_condition(client: Client, conditions: dict[str, bool]) -> None:
    channel = client.channel()
    channel.declare_queue("q", durable=True, arguments={"x-queue-type": "quorum"})
    channel.send(DELETE(queue="q", **conditions))
    client.expect_close(540, DELETE)


def test_the_default_queue_type_applies_where_the_flags_fit() -> None:
    node = Node(limits=Limits(default_queue_type="quorum"))
    channel = node.connect().channel()
    channel.declare_queue("plain", durable=True)
    channel.declare_queue("plain", durable=True)
    channel.declare_queue("named", durable=True, arguments={"x-queue-type": "classic"})
    channel.declare_queue("brief")
    channel.declare_queue("mine", durable=True, exclusive=True)
    types = {name: queue.type_name for name, queue in node.vhost.queues.items()}
    assert types == {"plain": "quorum", "named": "classic", "brief": "classic", "mine": "classic"}


# exclusive


def test_an_exclusive_queue_is_gone_with_its_connection(node: Node, other: ClientChannel) -> None:
    client = node.connect()
    channel = client.channel()
    channel.declare_queue("q", exclusive=True, durable=True)
    channel.bind("q", "amq.direct", "k")
    channel.close()
    other.send(queue_declare("q", passive=True))
    other.expect_close(405, DECLARE, LOCKED)
    client.close()
    other.open()
    other.send(queue_declare("q", passive=True))
    other.expect_close(404, DECLARE)
    assert not node.vhost.exchanges["amq.direct"].bindings
    assert not node.vhost.exclusives


@pytest.mark.parametrize(
    "question",
    [
        queue_declare("q"),
        queue_declare("q", exclusive=True),
        queue_declare("q", passive=True),
        BIND(queue="q", exchange="amq.direct"),
        UNBIND(queue="q", exchange="amq.direct"),
        PURGE(queue="q"),
        DELETE(queue="q"),
        commands.Basic.Get(queue="q"),
        basic_consume("q"),
    ],
)
def test_an_exclusive_queue_of_another_connection_is_405(
    client: Client, other: ClientChannel, question: base.Frame
) -> None:
    other.declare_queue("q", exclusive=True)
    channel = client.channel()
    channel.send(question)
    channel.expect_close(405, type(question), LOCKED)


def test_anybody_may_publish_to_an_exclusive_queue(channel: ClientChannel, other: ClientChannel) -> None:
    other.declare_queue("q", exclusive=True)
    channel.publish(b"x", key="q")
    assert other.drain("q") == [b"x"]


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True)])
def test_a_wrong_exclusive_flag_is_405_even_for_the_owner(
    channel: ClientChannel, first: bool, second: bool
) -> None:
    channel.declare_queue("q", exclusive=first)
    channel.send(queue_declare("q", exclusive=second))
    channel.expect_close(405, DECLARE, LOCKED)


def test_an_exclusive_queue_may_be_redeclared_by_its_owner_on_any_channel(client: Client) -> None:
    client.channel(1).declare_queue("q", exclusive=True)
    client.channel(2).declare_queue("q", exclusive=True)


# auto-delete and x-expires


def test_an_auto_delete_queue_goes_with_its_last_consumer(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q", auto_delete=True)
    channel.consume("q", "a")
    channel.consume("q", "b")
    channel.cancel("a")
    assert "q" in node.vhost.queues
    channel.cancel("b")
    assert "q" not in node.vhost.queues


def test_an_auto_delete_queue_that_never_had_a_consumer_stays(node: Node, other: ClientChannel) -> None:
    client = node.connect()
    client.channel().declare_queue("q", auto_delete=True)
    client.close()
    assert "q" in node.vhost.queues


@pytest.mark.parametrize("how", ["channel close", "error", "connection close", "hang up"])
def test_an_auto_delete_queue_goes_however_its_last_consumer_goes(node: Node, how: str) -> None:
    client = node.connect()
    channel = client.channel()
    channel.declare_queue("q", auto_delete=True)
    channel.publish(b"x", key="q")
    channel.consume("q")
    channel.deliveries()
    if how == "channel close":
        channel.close()
    elif how == "error":
        channel.ack(99)
        channel.expect_close(406, commands.Basic.Ack)
    elif how == "connection close":
        client.close()
    else:
        client.hang_up()
    assert "q" not in node.vhost.queues


def test_an_auto_delete_queue_goes_with_the_exchanges_that_had_only_it(
    node: Node, channel: ClientChannel
) -> None:
    channel.declare_exchange("source", auto_delete=True)
    channel.declare_exchange("middle", auto_delete=True)
    channel.bind_exchange("middle", "source", "k")
    channel.declare_queue("q", auto_delete=True)
    channel.bind("q", "middle", "k")
    tag = channel.consume("q")
    channel.cancel(tag)
    assert "q" not in node.vhost.queues
    assert "middle" not in node.vhost.exchanges
    assert "source" not in node.vhost.exchanges


def test_an_unused_queue_expires(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q", arguments={"x-expires": 1000})
    node.advance(999)
    assert "q" in node.vhost.queues
    node.advance(1)
    assert "q" not in node.vhost.queues


def test_a_consumer_keeps_a_queue_from_expiring(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q", arguments={"x-expires": 1000})
    tag = channel.consume("q")
    node.advance(5000)
    channel.cancel(tag)
    node.advance(999)
    assert "q" in node.vhost.queues
    node.advance(1)
    assert "q" not in node.vhost.queues


@pytest.mark.parametrize(
    "use",
    [
        queue_declare("q", arguments={"x-expires": 1000}),
        queue_declare("q", passive=True),
        commands.Basic.Get(queue="q"),
    ],
    ids=["declare", "passive declare", "get"],
)
def test_use_puts_expiry_off(node: Node, channel: ClientChannel, use: base.Frame) -> None:
    channel.declare_queue("q", arguments={"x-expires": 1000})
    node.advance(999)
    channel.send(use)
    node.advance(999)
    assert "q" in node.vhost.queues


def test_nothing_else_puts_expiry_off(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q", arguments={"x-expires": 1000})
    node.advance(999)
    channel.publish(b"x", key="q")
    channel.bind("q", "amq.fanout")
    channel.purge("q")
    node.advance(1)
    assert "q" not in node.vhost.queues


# bind and unbind


def test_an_empty_key_with_an_empty_name_is_the_queue_s_name(channel: ClientChannel) -> None:
    channel.declare_queue("q")
    channel.bind("", "amq.direct", "")
    channel.publish(b"x", exchange="amq.direct", key="q")
    assert channel.drain("q") == [b"x"]
    channel.unbind("", "amq.direct", "")
    channel.publish(b"x", exchange="amq.direct", key="q")
    assert channel.ready("q") == 0


def test_an_empty_key_with_a_name_is_the_empty_key(channel: ClientChannel) -> None:
    channel.declare_queue("q")
    channel.bind("q", "amq.direct", "")
    channel.publish(b"no", exchange="amq.direct", key="q")
    channel.publish(b"yes", exchange="amq.direct", key="")
    assert channel.drain("q") == [b"yes"]


@pytest.mark.parametrize("question_class", [BIND, UNBIND])
def test_the_default_exchange_takes_no_bindings(
    channel: ClientChannel, question_class: type[BIND] | type[UNBIND]
) -> None:
    channel.declare_queue("q")
    channel.send(question_class(queue="q", exchange=""))
    channel.expect_close(403, question_class, "operation not permitted on the default exchange")


@pytest.mark.parametrize(
    ("queue", "exchange", "missing"),
    [
        ("nosuch", "amq.direct", "queue 'nosuch'"),
        ("q", "nosuch", "exchange 'nosuch'"),
        ("no-q", "no-x", "exchange 'no-x'"),
    ],
)
def test_binding_what_is_missing_is_404(
    channel: ClientChannel, queue: str, exchange: str, missing: str
) -> None:
    channel.declare_queue("q")
    channel.send(BIND(queue=queue, exchange=exchange))
    channel.expect_close(404, BIND, f"NOT_FOUND - no {missing} in vhost '/'")


@pytest.mark.parametrize(
    ("queue", "exchange"), [("nosuch", "amq.direct"), ("q", "nosuch"), ("no-q", "no-x"), ("q", "amq.direct")]
)
def test_unbinding_what_is_not_there_is_fine(channel: ClientChannel, queue: str, exchange: str) -> None:
    channel.declare_queue("q")
    channel.unbind(queue, exchange, "k")


def test_a_binding_is_known_by_its_key_and_arguments(channel: ClientChannel, node: Node) -> None:
    queue = channel.queue()
    tables: list[FieldTable] = [{"a": 1}, {"a": 1}, {"a": 2}, {}]
    for arguments in tables:
        channel.bind(queue, "amq.headers", "k", arguments)
    assert len(node.vhost.exchanges["amq.headers"].bindings) == 3
    channel.unbind(queue, "amq.headers", "k", {"a": 2})
    assert len(node.vhost.exchanges["amq.headers"].bindings) == 2


def test_a_bad_binding_argument_is_406(channel: ClientChannel) -> None:
    queue = channel.queue()
    channel.send(BIND(queue=queue, exchange="amq.headers", arguments={"x-match": "most"}))
    channel.expect_close(406, BIND, "x-match")


def test_an_auto_delete_exchange_goes_with_its_last_binding(channel: ClientChannel, node: Node) -> None:
    channel.declare_exchange("x", auto_delete=True)
    queue = channel.queue()
    assert "x" in node.vhost.exchanges
    channel.bind(queue, "x", "a")
    channel.bind(queue, "x", "b")
    channel.unbind(queue, "x", "a")
    channel.unbind(queue, "x", "nosuch")
    assert "x" in node.vhost.exchanges
    channel.unbind(queue, "x", "b")
    assert "x" not in node.vhost.exchanges


# purge


def test_purge_removes_what_is_ready_and_leaves_the_rest(channel: ClientChannel) -> None:
    channel.declare_queue("q")
    for body in (b"a", b"b", b"c"):
        channel.publish(body, key="q")
    held = channel.get("q")
    assert held is not None
    assert channel.purge("q") == 2
    assert channel.purge("q") == 0
    channel.nack(held.tag)
    assert channel.drain("q") == [b"a"]


def test_purging_a_missing_queue_is_404(channel: ClientChannel) -> None:
    channel.send(PURGE(queue="nosuch"))
    channel.expect_close(404, PURGE, "no queue 'nosuch' in vhost '/'")


# delete


def test_delete_tells_how_many_messages_went(channel: ClientChannel) -> None:
    channel.declare_queue("q")
    for body in (b"a", b"b", b"c"):
        channel.publish(body, key="q")
    held = channel.get("q")
    assert held is not None
    assert channel.delete_queue("q") == 2
    channel.ack(held.tag)
    channel.expect_silence()


def test_deleting_a_missing_queue_is_fine(channel: ClientChannel) -> None:
    assert channel.delete_queue("nosuch") == 0
    channel.call(DELETE(queue="nosuch", if_unused=True, if_empty=True), commands.Queue.DeleteOk)


def test_if_unused_refuses_while_there_is_a_consumer(channel: ClientChannel) -> None:
    channel.declare_queue("q")
    tag = channel.consume("q")
    channel.cancel(tag)
    channel.consume("q")
    channel.send(DELETE(queue="q", if_unused=True))
    channel.expect_close(406, DELETE, "PRECONDITION_FAILED - queue 'q' in vhost '/' in use")
    channel.open()
    channel.call(DELETE(queue="q", if_unused=True), commands.Queue.DeleteOk)


def test_if_empty_refuses_while_something_is_ready(channel: ClientChannel) -> None:
    channel.declare_queue("q")
    channel.publish(b"x", key="q")
    channel.send(DELETE(queue="q", if_empty=True))
    channel.expect_close(406, DELETE, "PRECONDITION_FAILED - queue 'q' in vhost '/' not empty")
    channel.open()
    assert channel.get("q") is not None
    channel.call(DELETE(queue="q", if_empty=True), commands.Queue.DeleteOk)


def test_delete_tells_the_consumers_of_every_connection(
    client: Client, other: ClientChannel, node: Node
) -> None:
    channel = client.channel()
    channel.declare_queue("q")
    channel.consume("q", "mine")
    other.consume("q", "theirs")
    channel.send(DELETE(queue="q"))
    cancel = channel.expect(commands.Basic.Cancel)
    assert (cancel.consumer_tag, cancel.nowait) == ("mine", True)
    assert channel.expect(commands.Queue.DeleteOk).message_count == 0
    assert other.expect(commands.Basic.Cancel).consumer_tag == "theirs"
    other.cancel("theirs")


def test_a_client_without_consumer_cancel_notify_is_not_told(node: Node, other: ClientChannel) -> None:
    client = node.client()
    client.open(capabilities={})
    channel = client.channel()
    channel.declare_queue("q")
    channel.consume("q", "t")
    other.delete_queue("q")
    client.expect_silence()
    channel.declare_queue("q")
    channel.consume("q", "t")


def test_a_deleted_queue_takes_its_bindings_along(channel: ClientChannel, node: Node) -> None:
    channel.declare_queue("q")
    channel.bind("q", "amq.fanout")
    channel.delete_queue("q")
    channel.declare_queue("q")
    channel.publish(b"x", exchange="amq.fanout")
    assert channel.ready("q") == 0


# direct reply-to's names


@pytest.mark.parametrize("name", ["amq.rabbitmq.reply-to", "amq.rabbitmq.reply-to.nosuch"])
@pytest.mark.parametrize(
    "question_class", [BIND, PURGE, commands.Basic.Get], ids=lambda question: question.name
)
def test_a_reply_to_name_has_neither_bindings_nor_messages(
    channel: ClientChannel, question_class: type[BIND] | type[PURGE] | type[commands.Basic.Get], name: str
) -> None:
    question = question_class(queue=name)
    channel.send(question)
    channel.expect_close(404, question_class)


def test_a_reply_to_name_can_be_declared_deleted_and_unbound(channel: ClientChannel) -> None:
    name = "amq.rabbitmq.reply-to"
    for passive in (True, False):
        answer = channel.declare_queue(name, passive=passive)
        assert (answer.queue, answer.message_count, answer.consumer_count) == (name, 0, 1)
    channel.unbind(name, "amq.direct", "k")
    assert channel.delete_queue(name) == 0


# nowait


def test_nowait_methods_are_carried_out_in_silence(channel: ClientChannel, node: Node) -> None:
    channel.send(
        DECLARE(queue="q", nowait=True),
        DECLARE(queue="q", passive=True, nowait=True),
        BIND(queue="q", exchange="amq.fanout", nowait=True),
    )
    channel.publish(b"x", exchange="amq.fanout")
    assert node.queue("q").ready_count() == 1
    channel.send(PURGE(queue="q", nowait=True))
    assert node.queue("q").ready_count() == 0
    channel.send(DELETE(queue="q", nowait=True))
    assert "q" not in node.vhost.queues
    channel.expect_silence()


# permissions


@pytest.mark.parametrize(
    ("configure", "write", "read", "question", "refused"),
    [
        ("", ".*", ".*", queue_declare("q"), "queue 'q'"),
        ("", ".*", ".*", DELETE(queue="q"), "queue 'q'"),
        (".*", ".*", "", PURGE(queue="q"), "queue 'q'"),
        (".*", "", ".*", BIND(queue="q", exchange="amq.fanout"), "queue 'q'"),
        (".*", ".*", "", BIND(queue="q", exchange="amq.fanout"), "exchange 'amq.fanout'"),
        (".*", "", ".*", UNBIND(queue="q", exchange="amq.fanout"), "queue 'q'"),
        (".*", "^q$", ".*", queue_declare("q", arguments={"x-dead-letter-exchange": "d"}), "exchange 'd'"),
        (".*", ".*", "^d$", queue_declare("q", arguments={"x-dead-letter-exchange": "d"}), "queue 'q'"),
        ("", "", "", queue_declare("q", passive=True), "queue 'q'"),
        (".*", ".*", "", commands.Basic.Get(queue="q"), "queue 'q'"),
        (".*", ".*", "", basic_consume("q"), "queue 'q'"),
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
    channel.expect_close(403, type(question), f"access to {refused} in vhost '/' refused for user 'guest'")
