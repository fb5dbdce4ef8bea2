"""What was published is what is delivered, got or returned: our hot codec against pamqp's."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import commands

from harebell.amqp.delivery import shortstr
from tests.support.client import FEEDINGS, ClientChannel
from tests.support.node import Node
from tests.support.wire import content, raw_frame, raw_method, raw_publish, short

LEGAL = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40)
SHORT = LEGAL.filter(lambda text: len(text.encode()) <= 255)
VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(-(1 << 63), (1 << 63) - 1), SHORT, st.none()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SHORT, inner, max_size=3),
    max_leaves=8,
)
TIMES = st.datetimes(datetime.datetime(1970, 1, 2), datetime.datetime(2100, 1, 1)).map(
    lambda time: time.replace(microsecond=0, tzinfo=datetime.UTC)
)
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "content_type": SHORT,
        "content_encoding": SHORT,
        "headers": st.dictionaries(SHORT.filter(lambda key: key not in ("CC", "BCC")), VALUES, max_size=4),
        "delivery_mode": st.sampled_from([1, 2]),
        "priority": st.integers(0, 255),
        "correlation_id": SHORT,
        "reply_to": SHORT,
        "expiration": st.integers(60_000, 10**9).map(str),
        "message_id": SHORT,
        "timestamp": TIMES,
        "message_type": SHORT,
        "user_id": st.just("guest"),
        "app_id": SHORT,
        "cluster_id": st.just(""),
    },
)
BODIES = st.binary(max_size=60) | st.integers(0, 20_000).map(lambda size: b"b" * size)
FRAME_SIZES = st.sampled_from([4096, 4097, 5000, 16391, 16392, 131072])


def present(properties: commands.Basic.Properties) -> dict[str, Any]:
    """Give the properties that are there; pamqp does not write empty ones."""
    return {name: value for name, value in dict(properties).items() if value not in (None, "", {})}


@settings(max_examples=150)
@given(st.data())
def test_a_message_survives_publish_deliver_get_and_return(data: st.DataObject) -> None:
    node = Node()
    publishing, receiving = node.client(data.draw(st.sampled_from(["whole", "trailing"]))), node.client()
    frame_max = data.draw(FRAME_SIZES, label="frame_max of the publisher")
    publishing.open(frame_max=frame_max)
    receiving.open(frame_max=data.draw(FRAME_SIZES, label="frame_max of the consumer"))
    number = data.draw(st.sampled_from([1, 2, 255, 256, 32767, 32768, 65535]), label="channel")
    publisher, consumer = publishing.channel(number), receiving.channel(number)
    exchange, key, tag = (data.draw(SHORT, label=label) for label in ("exchange", "key", "tag"))
    exchange = "x" + exchange[:30].replace("\r", "").replace("\n", "")
    declare = b"\x00\x00" + short(exchange) + short("fanout") + b"\x00" * 5
    publishing.feed(raw_method(number, commands.Exchange.Declare.index, declare))
    publisher.expect(commands.Exchange.DeclareOk)
    for queue in ("consumed", "got"):
        consumer.declare_queue(queue)
        arguments = b"\x00\x00" + short(queue) + short(exchange) + short("") + b"\x00" * 5
        receiving.feed(raw_method(number, commands.Queue.Bind.index, arguments))
        consumer.expect(commands.Queue.BindOk)
    arguments = b"\x00\x00" + short("consumed") + short("t" + tag[:30]) + b"\x00" * 5
    receiving.feed(raw_method(number, commands.Basic.Consume.index, arguments))
    consumer.expect(commands.Basic.ConsumeOk)
    for nth in range(1, data.draw(st.integers(1, 3)) + 1):
        given_properties: dict[str, Any] = data.draw(PROPERTIES, label="properties")
        properties = commands.Basic.Properties(**given_properties)
        body = data.draw(BODIES, label="body")
        message = content(number, body, properties, frame_max=frame_max)
        publishing.feed(raw_publish(number, exchange, key) + message)
        publishing.feed(raw_publish(number, "amq.direct", "no-" + key[:30], 1) + message)
        (delivery,) = consumer.deliveries()
        got = consumer.get("got")
        returned = publisher.expect_answer()
        assert got is not None and isinstance(returned.frame, commands.Basic.Return)
        assert (delivery.consumer_tag, delivery.exchange, delivery.routing_key) == (
            "t" + tag[:30],
            exchange,
            key,
        )
        assert (got.exchange, got.routing_key, got.remaining) == (exchange, key, 0)
        assert (returned.frame.exchange, returned.frame.routing_key) == ("amq.direct", "no-" + key[:30])
        assert (delivery.tag, got.tag) == (2 * nth - 1, 2 * nth)
        expected = present(properties)
        sent_header = message[7 : 7 + int.from_bytes(message[3:7], "big")]
        for answer in (delivery.answer, got.answer, returned):
            assert answer.body == body
            assert answer.header == sent_header
            assert present(answer.properties) == expected
    publishing.expect_silence()
    receiving.expect_silence()


@given(st.lists(st.integers(0, 2000), max_size=20), st.sampled_from(FEEDINGS[:1] + FEEDINGS[2:]))
def test_a_body_may_come_in_any_frames(sizes: list[int], feeding: str) -> None:
    channel = Node().connect(feeding).channel()
    queue = channel.queue()
    body = bytes(n % 256 for n in range(sum(sizes) + 1))
    channel.publish(body, key=queue, splits=sizes)
    assert channel.drain(queue) == [body]


@pytest.mark.parametrize("length", [0, 1, 127, 255])
def test_names_of_any_length_fit(channel: ClientChannel, length: int) -> None:
    queue = channel.queue()
    key = "k" * length
    channel.bind(queue, "amq.topic", "#")
    tag = "t" * max(1, length)
    channel.consume(queue, tag)
    channel.publish(b"x", exchange="amq.topic", key=key)
    (delivery,) = channel.deliveries()
    assert (delivery.routing_key, delivery.consumer_tag) == (key, tag)


def test_a_key_that_is_no_utf8_comes_back_octet_for_octet(channel: ClientChannel) -> None:
    client = channel.client
    arguments = b"\x00\x00" + short(b"") + short(b"\xff\xc0") + b"\x01"
    client.feed(
        raw_method(1, commands.Basic.Publish.index, arguments) + raw_frame(2, 1, b"\x00\x3c" + b"\x00" * 12)
    )
    (answer,) = client.received()
    assert getattr(answer.frame, "payload", None) == b"\x00\x3c\x00\x32\x01\x38\x08NO_ROUTE\x00\x02\xff\xc0"


def test_a_short_string_is_its_length_and_its_octets() -> None:
    assert shortstr("") == b"\x00"
    assert shortstr("é") == b"\x02\xc3\xa9"
    assert shortstr("\udcff") == b"\x01\xff"
    with pytest.raises(ValueError):
        shortstr("x" * 256)
