"""kombu and py-amqp, the libraries below Celery."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import amqp
import kombu
import pytest
from kombu.mixins import ConsumerMixin

from interop_tests.broker_under_test import BrokerUnderTest
from interop_tests.deadlines import DEADLINE, eventually_now
from interop_tests.names import Names

REPLY_TO = "amq.rabbitmq.reply-to"


@pytest.fixture
def connection(broker: BrokerUnderTest) -> Iterator[kombu.Connection]:
    """A connection of kombu."""
    with kombu.Connection(broker.url) as opened:
        opened.connect()
        yield opened


@pytest.fixture
def channel(connection: kombu.Connection) -> amqp.Channel:
    """A channel of py-amqp."""
    return connection.channel()


def get(channel: amqp.Channel, queue: str) -> amqp.Message | None:
    """Get one message with automatic acknowledgement."""
    return channel.basic_get(queue, no_ack=True)


@pytest.mark.parametrize("mechanism", ["PLAIN", "AMQPLAIN"])
def test_both_password_mechanisms_log_in(broker: BrokerUnderTest, mechanism: str) -> None:
    with kombu.Connection(broker.url, login_method=mechanism) as connection:
        assert connection.channel().queue_declare(exclusive=True).queue


@pytest.mark.parametrize("mechanism", ["PLAIN", "AMQPLAIN"])
def test_both_password_mechanisms_refuse_a_wrong_password(broker: BrokerUnderTest, mechanism: str) -> None:
    connection = kombu.Connection(
        broker.url.replace(f":{broker.password}@", ":wrong@"), login_method=mechanism
    )
    with pytest.raises(amqp.AccessRefused) as refused:
        connection.connect()
    assert refused.value.reply_code == 403


def test_a_producer_and_a_consumer_declare_what_they_use(connection: kombu.Connection, names: Names) -> None:
    media = kombu.Exchange(names.exchange("media"), "topic", durable=True)
    video = kombu.Queue(names.queue("video"), exchange=media, routing_key="media.video.#")
    with connection.Producer(serializer="json") as producer:
        producer.publish(
            {"name": "clip.mp4", "size": 1301013},
            exchange=media,
            routing_key="media.video.new",
            declare=[video],
            headers={"origin": "test"},
        )
    received: list[tuple[object, object]] = []

    def on_message(body: object, message: kombu.Message) -> None:
        received.append((body, message.headers["origin"]))
        message.ack()

    with connection.Consumer([video], callbacks=[on_message]):
        connection.drain_events(timeout=DEADLINE)
    assert received == [({"name": "clip.mp4", "size": 1301013}, "test")]


@pytest.mark.parametrize(("serializer", "compression"), [("json", "zlib"), ("pickle", None)])
def test_serialised_and_compressed_bodies_survive(
    connection: kombu.Connection, names: Names, serializer: str, compression: str | None
) -> None:
    queue = kombu.Queue(names.queue(), exchange=kombu.Exchange(""), durable=False)
    body = {"numbers": list(range(1000)), "text": "grüße"}
    with connection.Producer() as producer:
        producer.publish(
            body,
            exchange="",
            routing_key=queue.name,
            declare=[queue],
            serializer=serializer,
            compression=compression,
        )
    received: list[object] = []
    with connection.Consumer(
        [queue], callbacks=[lambda got, _: received.append(got)], accept=[serializer], no_ack=True
    ):
        connection.drain_events(timeout=DEADLINE)
    assert received == [body]


def test_a_simple_queue_puts_and_gets(connection: kombu.Connection, names: Names) -> None:
    name = names.queue("simple")
    names.also_exchange(name)
    with connection.SimpleQueue(name) as queue:
        for number in range(5):
            queue.put({"number": number})
        for number in range(5):
            message = queue.get(timeout=DEADLINE)
            assert message.payload == {"number": number}
            message.ack()
        with pytest.raises(queue.Empty):
            queue.get(block=False)


def test_prefetch_and_requeue_with_a_consumer(connection: kombu.Connection, names: Names) -> None:
    queue = kombu.Queue(names.queue(), exchange=kombu.Exchange(""), durable=False)
    with connection.Producer() as producer:
        for number in range(3):
            producer.publish(number, exchange="", routing_key=queue.name, declare=[queue])
    seen: list[tuple[object, bool]] = []

    def on_message(body: object, message: kombu.Message) -> None:
        redelivered = message.delivery_info["redelivered"]
        seen.append((body, redelivered))
        if body == 1 and not redelivered:
            message.requeue()
        else:
            message.ack()

    with connection.Consumer([queue], callbacks=[on_message], prefetch_count=1):
        while len(seen) < 4:
            connection.drain_events(timeout=DEADLINE)
    assert seen == [(0, False), (1, False), (1, True), (2, False)]


def test_a_consumer_mixin_reconnects_after_its_socket_is_gone(
    broker: BrokerUnderTest, connection: kombu.Connection, names: Names
) -> None:
    queue = kombu.Queue(names.queue(), exchange=kombu.Exchange(""), durable=False)
    queue(connection.channel()).declare()
    connection.Producer().publish("before", exchange="", routing_key=queue.name)

    class Worker(ConsumerMixin):
        """Breaks its own connection once, then goes on."""

        def __init__(self) -> None:
            self.connection = kombu.Connection(broker.url)
            self.seen: list[object] = []

        def get_consumers(self, consumer_class: type, _: object) -> list[object]:
            return [consumer_class([queue], callbacks=[self.on_message])]

        def on_message(self, body: object, message: kombu.Message) -> None:
            self.seen.append(body)
            message.ack()
            if body == "before":
                message.channel.connection.sock.shutdown(socket.SHUT_RDWR)
                connection.Producer().publish("after", exchange="", routing_key=queue.name)
            if body == "after":
                self.should_stop = True

    worker = Worker()
    worker.run(timeout=DEADLINE)
    assert worker.seen[-1] == "after"
    worker.connection.release()


def test_the_broker_makes_up_a_consumer_tag(channel: amqp.Channel) -> None:
    queue = channel.queue_declare(exclusive=True).queue
    tags = {channel.basic_consume(queue, callback=print) for _ in range(3)}
    assert len(tags) == 3
    assert all(tag.startswith("amq.ctag-") for tag in tags)


def test_a_tag_and_deliveries_work_without_waiting_for_consume_ok(channel: amqp.Channel) -> None:
    queue = channel.queue_declare(exclusive=True).queue
    seen: list[object] = []
    channel.basic_consume(
        queue,
        consumer_tag="mine",
        nowait=True,
        no_ack=True,
        callback=lambda message: seen.append(message.body),
    )
    channel.basic_publish(amqp.Message("x"), "", queue)
    channel.connection.drain_events(timeout=DEADLINE)
    assert seen == ["x"]


def test_confirmed_publishing_returns_after_the_confirm(channel: amqp.Channel) -> None:
    queue = channel.queue_declare(exclusive=True).queue
    for number in range(10):
        channel.basic_publish_confirm(amqp.Message(str(number)), "", queue)
    assert channel.queue_declare(queue, passive=True).message_count == 10


@pytest.mark.parametrize("kind", ["direct", "fanout", "topic", "headers"])
def test_exchanges_bind_to_exchanges(channel: amqp.Channel, names: Names, kind: str) -> None:
    source, destination = names.exchange("source"), names.exchange("destination")
    channel.exchange_declare(source, kind, auto_delete=False)
    channel.exchange_declare(destination, "fanout", auto_delete=False)
    channel.exchange_bind(destination, source, "key")
    queue = channel.queue_declare(exclusive=True).queue
    channel.queue_bind(queue, destination)
    channel.basic_publish(amqp.Message("x"), source, "key")
    assert get(channel, queue) is not None
    channel.exchange_unbind(destination, source, "key")
    channel.basic_publish(amqp.Message("x"), source, "key")
    assert get(channel, queue) is None


@pytest.mark.parametrize(
    ("method", "error", "code"),
    [
        (lambda channel, name: channel.queue_declare(name, passive=True), amqp.NotFound, 404),
        (lambda channel, _: channel.exchange_declare("amq.mine", "direct"), amqp.AccessRefused, 403),
        (lambda channel, _: channel.exchange_declare("amq.fanout", "direct"), amqp.PreconditionFailed, 406),
    ],
    ids=["404", "403", "406"],
)
def test_errors_close_the_channel_only(
    connection: kombu.Connection, names: Names, method: object, error: type[Exception], code: int
) -> None:
    channel = connection.channel()
    with pytest.raises(error) as raised:
        method(channel, names.queue())  # type: ignore[operator]
    assert raised.value.reply_code == code  # type: ignore[attr-defined]
    assert connection.connected
    assert connection.channel().queue_declare(exclusive=True).queue


def test_an_idle_connection_with_heartbeats_stays(broker: BrokerUnderTest) -> None:
    with kombu.Connection(broker.url, heartbeat=1) as connection:
        connection.connect()
        quiet_until = time.monotonic() + 3.5

        def enough_time_has_passed() -> bool:
            connection.heartbeat_check(rate=2)
            with suppress(TimeoutError):
                connection.drain_events(timeout=0.25)
            return time.monotonic() > quiet_until

        eventually_now(enough_time_has_passed, "more than two silent heartbeat intervals")
        assert connection.channel().queue_declare(exclusive=True).queue


def test_recover_and_reject(channel: amqp.Channel) -> None:
    queue = channel.queue_declare(exclusive=True).queue
    channel.basic_publish(amqp.Message("x"), "", queue)
    assert channel.basic_get(queue).body == "x"
    channel.basic_recover(requeue=True)
    message = channel.basic_get(queue)
    assert message.delivery_info["redelivered"] is True
    channel.basic_reject(message.delivery_tag, requeue=False)
    assert get(channel, queue) is None


def test_a_transaction(channel: amqp.Channel) -> None:
    queue = channel.queue_declare(exclusive=True).queue
    channel.tx_select()
    channel.basic_publish(amqp.Message("x"), "", queue)
    assert get(channel, queue) is None
    channel.tx_commit()
    message = get(channel, queue)
    assert message is not None
    channel.tx_rollback()
