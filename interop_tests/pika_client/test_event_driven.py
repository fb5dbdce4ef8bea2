"""pika's event-driven adapters: nothing waits for an answer unless it wants to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pika
import pytest
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel

from interop_tests.broker_under_test import BrokerUnderTest
from interop_tests.names import Names
from interop_tests.pika_client.event_loop import Adapter, EventDrivenClient


@pytest.fixture(params=[pika.SelectConnection, AsyncioConnection], ids=["select", "asyncio"])
def adapter(request: pytest.FixtureRequest) -> Iterator[Adapter]:
    """Each of the two event-driven adapters, with an event loop of its own."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield request.param
    asyncio.set_event_loop(None)
    loop.close()


def test_everything_is_pipelined_with_nowait(broker: BrokerUnderTest, names: Names, adapter: Adapter) -> None:
    exchange, inner = names.exchange("outer"), names.exchange("inner")
    queue, removed = names.queue("kept"), names.queue("removed")
    bodies: list[bytes] = []

    def opened(channel: Channel) -> None:
        # No callback means nowait for all of these: the broker must handle them in order and answer none.
        channel.exchange_declare(exchange, "topic")
        channel.exchange_declare(inner, "fanout")
        channel.exchange_bind(inner, exchange, "a.#")
        channel.queue_declare(queue)
        channel.queue_declare(removed)
        channel.queue_bind(queue, inner)
        channel.queue_bind(queue, exchange, "gone")
        channel.basic_publish("", removed, b"purged")
        channel.queue_purge(removed)
        channel.queue_delete(removed)
        channel.exchange_unbind(inner, exchange, "not.bound")
        channel.basic_publish(exchange, "a.b", b"first")
        channel.basic_publish(exchange, "b.a", b"unroutable")
        channel.basic_consume(queue, arrived, auto_ack=True, consumer_tag="tag")
        channel.basic_publish(exchange, "a", b"second")

    def arrived(channel: Channel, _: object, __: object, body: bytes) -> None:
        bodies.append(body)
        if len(bodies) == 2:
            channel.basic_cancel("tag")
            channel.exchange_delete(exchange)
            channel.queue_declare(queue, passive=True, callback=lambda _: client.finish())

    client = EventDrivenClient(adapter, broker, opened)
    client.run()
    assert bodies == [b"first", b"second"]


def test_methods_sent_without_waiting_are_answered_in_order(
    broker: BrokerUnderTest, names: Names, adapter: Adapter
) -> None:
    queues = [names.queue(str(number)) for number in range(50)]
    answers: list[str] = []

    def declared(frame: pika.frame.Method) -> None:
        answers.append(frame.method.queue)
        if len(answers) == len(queues):
            client.finish()

    def opened(channel: Channel) -> None:
        for queue in queues:
            channel.queue_declare(queue, callback=declared)

    client = EventDrivenClient(adapter, broker, opened)
    client.run()
    assert answers == queues


def test_confirms_cover_every_publish_exactly_once(
    broker: BrokerUnderTest, names: Names, adapter: Adapter
) -> None:
    total = 2000
    queue = names.queue()
    outstanding = set(range(1, total + 1))
    negative: list[int] = []

    def confirmed(frame: pika.frame.Method) -> None:
        tag, multiple = frame.method.delivery_tag, frame.method.multiple
        if isinstance(frame.method, pika.spec.Basic.Nack):
            negative.append(tag)
        covered = {number for number in outstanding if number <= tag} if multiple else {tag}
        assert covered <= outstanding, f"{tag} was confirmed before"
        assert covered, f"a confirm for {tag} with multiple={multiple} covers nothing"
        outstanding.difference_update(covered)
        if not outstanding:
            client.finish()

    def selected(_: object) -> None:
        for number in range(total):
            channels[0].basic_publish("", queue, str(number).encode())

    def opened(channel: Channel) -> None:
        channels.append(channel)
        channel.queue_declare(queue)
        channel.confirm_delivery(confirmed, callback=selected)

    channels: list[Channel] = []
    client = EventDrivenClient(adapter, broker, opened)
    client.run()
    assert not outstanding
    assert not negative


def test_a_return_comes_before_the_confirm_of_its_message(
    broker: BrokerUnderTest, names: Names, adapter: Adapter
) -> None:
    events: list[str] = []

    def confirmed(frame: pika.frame.Method) -> None:
        events.append(f"ack {frame.method.delivery_tag}")
        if frame.method.delivery_tag == 3:
            client.finish()

    def opened(channel: Channel) -> None:
        channel.add_on_return_callback(lambda _, __, ___, body: events.append(f"return {body.decode()}"))
        channel.confirm_delivery(confirmed, callback=lambda _: publish(channel))

    def publish(channel: Channel) -> None:
        for number in ("1", "2", "3"):
            channel.basic_publish("", names.unique("nowhere"), number.encode(), mandatory=True)

    client = EventDrivenClient(adapter, broker, opened)
    client.run()
    for number in ("1", "2", "3"):
        returned = events.index(f"return {number}")
        confirming = [
            position
            for position, event in enumerate(events)
            if event.startswith("ack") and int(event.split()[1]) >= int(number)
        ]
        assert returned < confirming[0], events


def test_acknowledging_from_the_callback_keeps_the_flow_going(
    broker: BrokerUnderTest, names: Names, adapter: Adapter
) -> None:
    queue = names.queue()
    seen: list[bytes] = []

    def arrived(channel: Channel, method: pika.spec.Basic.Deliver, _: object, body: bytes) -> None:
        seen.append(body)
        channel.basic_ack(method.delivery_tag)
        if len(seen) == 500:
            client.finish()

    def opened(channel: Channel) -> None:
        channel.queue_declare(queue)
        channel.basic_qos(prefetch_count=7, callback=lambda _: channel.basic_consume(queue, arrived))
        for number in range(500):
            channel.basic_publish("", queue, str(number).encode())

    client = EventDrivenClient(adapter, broker, opened)
    client.run()
    assert seen == [str(number).encode() for number in range(500)]


def test_a_channel_closed_by_the_broker_tells_its_callback(
    broker: BrokerUnderTest, names: Names, adapter: Adapter
) -> None:
    reasons: list[pika.exceptions.ChannelClosedByBroker] = []

    def closed(_: Channel, reason: pika.exceptions.ChannelClosedByBroker) -> None:
        reasons.append(reason)
        client.connection.channel(on_open_callback=lambda _: client.finish())

    def opened(channel: Channel) -> None:
        channel.add_on_close_callback(closed)
        # The error belongs to a method that wants no answer: the broker closes the channel all the same.
        channel.queue_bind(names.queue("missing"), "amq.direct", "key")

    client = EventDrivenClient(adapter, broker, opened)
    client.run()
    assert [reason.reply_code for reason in reasons] == [404]


def test_what_follows_an_error_on_its_channel_is_ignored(
    broker: BrokerUnderTest, names: Names, adapter: Adapter
) -> None:
    queue = names.queue()
    bodies: list[bytes] = []

    def opened(channel: Channel) -> None:
        channel.add_on_close_callback(lambda *_: client.connection.channel(on_open_callback=look))
        channel.queue_declare(queue)
        channel.basic_publish("", queue, b"before the error")
        channel.basic_publish(names.exchange("missing"), "key", b"the error")
        for _ in range(10):
            channel.basic_publish("", queue, b"after the error")

    def look(channel: Channel) -> None:
        channel.basic_publish("", queue, b"from the next channel")
        channel.basic_consume(queue, arrived, auto_ack=True)

    def arrived(_: Channel, __: object, ___: object, body: bytes) -> None:
        bodies.append(body)
        if body == b"from the next channel":
            client.finish()

    client = EventDrivenClient(adapter, broker, opened)
    client.run()
    assert bodies == [b"before the error", b"from the next channel"]
