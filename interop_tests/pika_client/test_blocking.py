"""pika's BlockingConnection, as scripts and simple workers use it."""

from __future__ import annotations

import threading

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import StreamLostError, UnroutableError

from interop_tests.broker_under_test import BrokerUnderTest
from interop_tests.deadlines import DEADLINE, eventually_now
from interop_tests.names import Names
from interop_tests.pika_client.conftest import Connect, parameters

REPLY_TO = "amq.rabbitmq.reply-to"


def exclusive_queue(channel: BlockingChannel) -> str:
    """Declare a server-named queue that ends with the connection."""
    return str(channel.queue_declare("", exclusive=True).method.queue)


def publish(channel: BlockingChannel, queue: str, *bodies: bytes) -> None:
    """Publish to a queue through the default exchange."""
    for body in bodies:
        channel.basic_publish("", queue, body)


def take(channel: BlockingChannel, queue: str, count: int, **options: object) -> list[bytes]:
    """Consume and acknowledge some messages and return their bodies."""
    bodies: list[bytes] = []
    for method, _, body in channel.consume(queue, inactivity_timeout=DEADLINE, **options):
        assert method is not None, f"only {len(bodies)} of {count} messages arrived within {DEADLINE} s"
        channel.basic_ack(method.delivery_tag)
        bodies.append(body)
        if len(bodies) == count:
            break
    channel.cancel()
    return bodies


def ready_count(channel: BlockingChannel, queue: str) -> int:
    """Return how many messages of a queue are ready."""
    return int(channel.queue_declare(queue, passive=True).method.message_count)


# Connections


def test_closing_right_after_opening_is_clean(connect: Connect) -> None:
    for _ in range(10):
        connect().close()


def test_a_context_manager_closes_the_connection(connect: Connect, names: Names) -> None:
    queue = names.queue()
    for _ in range(3):
        with connect() as connection:
            connection.channel().queue_declare(queue, exclusive=True)


@pytest.mark.parametrize("frame_max", [4096, 8192, 131_072])
def test_bodies_pass_between_connections_of_different_frame_size(
    connect: Connect, channel: BlockingChannel, names: Names, frame_max: int
) -> None:
    queue = names.queue()
    channel.queue_declare(queue)
    narrow = connect(frame_max=frame_max).channel()
    body = bytes(range(256)) * 1200
    narrow.confirm_delivery()
    publish(narrow, queue, body)
    assert take(channel, queue, 1) == [body]
    channel.confirm_delivery()
    publish(channel, queue, body)
    assert take(narrow, queue, 1) == [body]


def test_a_client_may_ask_for_few_channels(connect: Connect) -> None:
    connection = connect(channel_max=3)
    channels = [connection.channel() for _ in range(3)]
    with pytest.raises(pika.exceptions.NoFreeChannels):
        connection.channel()
    channels[1].close()
    assert connection.channel().channel_number == 2


def test_an_idle_connection_is_kept_alive_by_heartbeats(connect: Connect) -> None:
    connection = connect(heartbeat=1)
    connection.process_data_events(time_limit=4)
    assert exclusive_queue(connection.channel())


def test_a_client_that_falls_silent_is_dropped(
    connect: Connect, channel: BlockingChannel, names: Names
) -> None:
    queue = names.queue()
    silent = connect(heartbeat=1)
    silent.channel().queue_declare(queue, exclusive=True)

    def owner_is_gone() -> bool:
        # The silent connection does nothing meanwhile: pika sends heartbeats only while it processes events.
        probe = channel.connection.channel()
        try:
            probe.queue_declare(queue, passive=True)
        except pika.exceptions.ChannelClosedByBroker as error:
            return bool(error.reply_code == 404)
        return False

    eventually_now(owner_is_gone, "the broker drops the silent client and its exclusive queue")
    with pytest.raises(StreamLostError):
        silent.channel()


def test_the_secret_can_be_updated(broker: BrokerUnderTest, connection: pika.BlockingConnection) -> None:
    connection.update_secret(broker.password, "token refresh")
    assert exclusive_queue(connection.channel())


# Publishing


def test_an_unroutable_mandatory_message_raises_with_confirms(channel: BlockingChannel, names: Names) -> None:
    channel.confirm_delivery()
    properties = pika.BasicProperties(content_type="text/plain", delivery_mode=2)
    nowhere = names.unique("nowhere")
    with pytest.raises(UnroutableError) as unroutable:
        channel.basic_publish("amq.direct", nowhere, b"body", properties, mandatory=True)
    (returned,) = unroutable.value.messages
    assert (returned.method.reply_code, returned.method.reply_text) == (312, "NO_ROUTE")
    assert (returned.method.exchange, returned.method.routing_key) == ("amq.direct", nowhere)
    assert (returned.body, returned.properties.content_type) == (b"body", "text/plain")
    queue = exclusive_queue(channel)
    channel.basic_publish("", queue, b"routable", mandatory=True)
    assert take(channel, queue, 1) == [b"routable"]


def test_returns_reach_the_callback_without_confirms(channel: BlockingChannel, names: Names) -> None:
    returned: list[bytes] = []
    channel.add_on_return_callback(lambda _channel, _method, _properties, body: returned.append(body))
    for number in range(3):
        channel.basic_publish("", names.unique("nowhere"), str(number).encode(), mandatory=True)
    eventually_now(
        lambda: channel.connection.process_data_events(0.1) or len(returned) == 3, "three messages come back"
    )
    assert returned == [b"0", b"1", b"2"]


def test_every_property_arrives_as_it_was_sent(broker: BrokerUnderTest, channel: BlockingChannel) -> None:
    queue = exclusive_queue(channel)
    sent = pika.BasicProperties(
        content_type="application/json",
        content_encoding="utf-8",
        headers={"int": 1, "big": 2**60, "text": "é", "list": [1, "a"], "table": {"x": None}, "flag": True},
        delivery_mode=1,
        priority=0,
        correlation_id="c",
        reply_to="r",
        expiration="120000",
        message_id="m",
        timestamp=1_700_000_000,
        type="t",
        user_id=broker.user,
        app_id="a",
        cluster_id="legacy",
    )
    channel.basic_publish("", queue, b"{}", sent)
    _, properties, _ = channel.basic_get(queue, auto_ack=True)
    assert properties == sent


@pytest.mark.parametrize("name", ["tasks|x", "a*b", "it's", "a=b", "schlüssel-🐇", "tab\there", "x" * 100])
def test_names_of_any_characters_work_everywhere(channel: BlockingChannel, names: Names, name: str) -> None:
    queue, exchange = names.queue(name), names.exchange(name)
    assert channel.queue_declare(queue).method.queue == queue
    channel.exchange_declare(exchange, "direct")
    channel.queue_bind(queue, exchange, name)
    channel.basic_publish(exchange, name, b"x")
    method, _, _ = next(channel.consume(queue, inactivity_timeout=DEADLINE))
    assert (method.exchange, method.routing_key) == (exchange, name)
    channel.cancel()


def test_a_name_of_255_bytes_works(channel: BlockingChannel, names: Names) -> None:
    queue = names.queue("q" * (255 - len(names.queue(""))))
    assert channel.queue_declare(queue).method.queue == queue
    publish(channel, queue, b"x")
    assert take(channel, queue, 1) == [b"x"]


# Consuming


def test_a_generator_consumes_and_gives_the_rest_back(channel: BlockingChannel) -> None:
    queue = exclusive_queue(channel)
    publish(channel, queue, *[str(number).encode() for number in range(10)])
    assert take(channel, queue, 4) == [b"0", b"1", b"2", b"3"]
    method, _, body = channel.basic_get(queue)
    assert (body, method.redelivered, method.message_count) == (b"4", True, 5)


def test_start_consuming_calls_back_until_it_is_stopped(channel: BlockingChannel) -> None:
    queue = exclusive_queue(channel)
    seen: list[bytes] = []

    def on_message(_: object, method: pika.spec.Basic.Deliver, __: object, body: bytes) -> None:
        seen.append(body)
        channel.basic_ack(method.delivery_tag)
        if len(seen) == 100:
            channel.stop_consuming()

    channel.basic_qos(prefetch_count=10)
    channel.basic_consume(queue, on_message)
    publish(channel, queue, *[str(number).encode() for number in range(100)])
    channel.start_consuming()
    assert seen == [str(number).encode() for number in range(100)]


def test_worker_threads_acknowledge_through_the_connection(
    connection: pika.BlockingConnection, channel: BlockingChannel
) -> None:
    queue = exclusive_queue(channel)
    publish(channel, queue, *[b"job"] * 6)
    threads: list[threading.Thread] = []
    done: list[int] = []

    def finish(tag: int) -> None:
        channel.basic_ack(tag)
        done.append(tag)
        if len(done) == 6:
            channel.stop_consuming()

    def on_message(_: object, method: pika.spec.Basic.Deliver, __: object, ___: bytes) -> None:
        tag = method.delivery_tag
        work = threading.Thread(target=lambda: connection.add_callback_threadsafe(lambda: finish(tag)))
        threads.append(work)
        work.start()

    channel.basic_qos(prefetch_count=2)
    channel.basic_consume(queue, on_message)
    channel.start_consuming()
    for thread in threads:
        thread.join(DEADLINE)
    assert sorted(done) == [1, 2, 3, 4, 5, 6]


def test_recover_gives_everything_back_to_the_queue(channel: BlockingChannel) -> None:
    queue = exclusive_queue(channel)
    publish(channel, queue, b"a", b"b")
    for _ in range(2):
        channel.basic_get(queue)
    channel.basic_recover(requeue=True)
    method, _, body = channel.basic_get(queue)
    assert (body, method.redelivered) == (b"a", True)


def test_a_deleted_queue_cancels_the_consumer(
    connection: pika.BlockingConnection, channel: BlockingChannel, names: Names
) -> None:
    queue = names.queue()
    channel.queue_declare(queue)
    cancelled: list[str] = []
    channel.add_on_cancel_callback(lambda method: cancelled.append(method.method.consumer_tag))
    tag = channel.basic_consume(queue, lambda *_: None)
    connection.channel().queue_delete(queue)
    eventually_now(lambda: connection.process_data_events(0.1) or cancelled, "the consumer is cancelled")
    assert cancelled == [tag]
    assert channel.is_open


def test_a_deleted_queue_ends_a_generator(
    connection: pika.BlockingConnection, channel: BlockingChannel, names: Names
) -> None:
    queue = names.queue()
    channel.queue_declare(queue)
    publish(channel, queue, b"x")
    generator = channel.consume(queue, inactivity_timeout=DEADLINE)
    assert next(generator)[2] == b"x"
    connection.channel().queue_delete(queue)
    assert next(generator, None) is None


def test_a_single_active_consumer_hands_over_when_it_is_cancelled(connect: Connect, names: Names) -> None:
    queue = names.queue()
    first, second = connect(), connect()
    channels = [first.channel(), second.channel()]
    channels[0].queue_declare(queue, arguments={"x-single-active-consumer": True})
    got: list[list[bytes]] = [[], []]
    tags = [
        channel.basic_consume(queue, lambda *message, kept=kept: kept.append(message[3]), auto_ack=True)
        for channel, kept in zip(channels, got, strict=True)
    ]

    def arrived(consumer: int, *bodies: bytes) -> None:
        def done() -> bool:
            for connection in (first, second):
                connection.process_data_events(0.02)
            return got[consumer] == list(bodies)

        eventually_now(done, f"consumer {consumer} has {bodies}")

    publish(channels[1], queue, b"1", b"2")
    arrived(0, b"1", b"2")
    channels[0].basic_cancel(tags[0])
    publish(channels[1], queue, b"3")
    arrived(1, b"3")
    assert got == [[b"1", b"2"], [b"3"]]


def test_a_transaction_commits_and_rolls_back(channel: BlockingChannel) -> None:
    queue = exclusive_queue(channel)
    channel.tx_select()
    publish(channel, queue, b"dropped")
    channel.tx_rollback()
    publish(channel, queue, b"kept")
    assert ready_count(channel, queue) == 0
    channel.tx_commit()
    assert take(channel, queue, 1) == [b"kept"]


# Direct reply-to


def test_direct_reply_to_carries_an_rpc(connect: Connect, channel: BlockingChannel, names: Names) -> None:
    requests = names.queue("requests")
    channel.queue_declare(requests)
    client = connect().channel()
    answers: list[bytes] = []
    client.basic_consume(REPLY_TO, lambda *message: answers.append(message[3]), auto_ack=True)
    client.basic_publish("", requests, b"ping", pika.BasicProperties(reply_to=REPLY_TO, correlation_id="1"))

    method, properties, _ = next(channel.consume(requests, inactivity_timeout=DEADLINE))
    channel.basic_ack(method.delivery_tag)
    living = channel.queue_declare(properties.reply_to, passive=True).method
    assert (living.queue, living.message_count, living.consumer_count) == (properties.reply_to, 0, 1)
    channel.basic_publish("", properties.reply_to, b"pong")
    eventually_now(lambda: client.connection.process_data_events(0.1) or answers, "the reply arrives")
    assert answers == [b"pong"]

    client.connection.close()
    channel.cancel()
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        channel.queue_declare(properties.reply_to, passive=True)
    assert closed.value.reply_code == 404


# Errors while opening


def test_a_wrong_password_is_a_probable_authentication_error(broker: BrokerUnderTest) -> None:
    with pytest.raises(pika.exceptions.ProbableAuthenticationError, match="403.*ACCESS_REFUSED"):
        pika.BlockingConnection(parameters(broker, credentials=pika.PlainCredentials(broker.user, "wrong")))


def test_a_missing_virtual_host_is_a_probable_access_denied_error(broker: BrokerUnderTest) -> None:
    with pytest.raises(pika.exceptions.ProbableAccessDeniedError, match="530.*NOT_ALLOWED.*no-such-vhost"):
        pika.BlockingConnection(parameters(broker, virtual_host="no-such-vhost"))
