"""aio-pika as applications use it: iterators, context managers, patterns, robust connections."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import aio_pika
import pytest
import pytest_asyncio
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aio_pika.patterns import RPC, Master

from interop_tests.broker_under_test import BrokerUnderTest
from interop_tests.deadlines import eventually, within
from interop_tests.names import Names
from interop_tests.tcp_proxy import TcpProxy

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def connection(broker: BrokerUnderTest) -> AsyncIterator[AbstractConnection]:
    """A plain connection of aio-pika."""
    opened = await within(aio_pika.connect(broker.explicit_url))
    yield opened
    await within(opened.close())


@pytest_asyncio.fixture
async def channel(connection: AbstractConnection) -> AbstractChannel:
    """A channel with publisher confirms."""
    return await within(connection.channel())


def text(body: str, **properties: object) -> aio_pika.Message:
    """Return a message."""
    return aio_pika.Message(body.encode(), **properties)  # type: ignore[arg-type]


async def test_a_work_queue_shares_jobs_and_survives_a_failing_worker(
    channel: AbstractChannel, connection: AbstractConnection, names: Names
) -> None:
    queue = await within(channel.declare_queue(names.queue("jobs"), durable=True))
    done: list[str] = []
    finished = asyncio.Event()

    async def work(message: AbstractIncomingMessage) -> None:
        async with message.process(requeue=True):
            body = message.body.decode()
            if body == "job-3" and not message.redelivered:
                raise ValueError("fails the first time")
            done.append(body)
            if len(done) == 20:
                finished.set()

    for _ in range(2):
        worker = await within(connection.channel())
        await worker.set_qos(prefetch_count=1)
        await (await worker.get_queue(queue.name)).consume(work)
    persistent = aio_pika.DeliveryMode.PERSISTENT
    for number in range(20):
        await within(
            channel.default_exchange.publish(
                text(f"job-{number}", delivery_mode=persistent), routing_key=queue.name
            )
        )
    await within(finished.wait())
    assert sorted(done) == sorted(f"job-{number}" for number in range(20))


async def test_an_iterator_consumes_until_it_is_left_and_leaves_the_rest(
    channel: AbstractChannel, names: Names
) -> None:
    queue = await within(channel.declare_queue(names.queue()))
    await channel.set_qos(prefetch_count=1)
    for number in range(5):
        await within(channel.default_exchange.publish(text(str(number)), routing_key=queue.name))
    seen = []
    async with asyncio.timeout(15):
        async with queue.iterator() as messages:
            async for message in messages:
                async with message.process():
                    seen.append(message.body)
                if len(seen) == 3:
                    break
    assert seen == [b"0", b"1", b"2"]

    async def rest_is_ready() -> bool:
        state = await channel.declare_queue(queue.name, passive=True)
        return state.declaration_result.message_count == 2

    await eventually(rest_is_ready, "the two messages not iterated over are ready")


async def test_publish_subscribe_through_a_fanout_exchange(channel: AbstractChannel, names: Names) -> None:
    exchange = await within(channel.declare_exchange(names.exchange(), aio_pika.ExchangeType.FANOUT))
    queues = [await within(channel.declare_queue(exclusive=True)) for _ in range(3)]
    for queue in queues:
        await queue.bind(exchange)
    await within(exchange.publish(text("news"), routing_key=""))
    for queue in queues:
        message = await within(queue.get(no_ack=True))
        assert message is not None
        assert message.body == b"news"


async def test_an_unroutable_publish_raises_and_a_routable_one_does_not(
    connection: AbstractConnection, names: Names
) -> None:
    channel = await within(connection.channel(on_return_raises=True))
    exchange = await within(channel.declare_exchange(names.exchange(), aio_pika.ExchangeType.DIRECT))
    with pytest.raises(aio_pika.exceptions.PublishError):
        await within(exchange.publish(text("x"), routing_key="nobody"))
    queue = await within(channel.declare_queue(exclusive=True))
    await queue.bind(exchange, "somebody")
    await within(exchange.publish(text("x"), routing_key="somebody"))


async def test_returned_messages_reach_the_callback_when_they_do_not_raise(
    connection: AbstractConnection, names: Names
) -> None:
    channel = await within(connection.channel())
    returned: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
    channel.return_callbacks.add(lambda _, message: returned.put_nowait(message))
    await within(channel.default_exchange.publish(text("back"), routing_key=names.unique("nobody")))
    assert (await within(returned.get())).body == b"back"


async def test_exchanges_bound_to_each_other_route(channel: AbstractChannel, names: Names) -> None:
    source = await within(channel.declare_exchange(names.exchange(), aio_pika.ExchangeType.TOPIC))
    sink = await within(channel.declare_exchange(names.exchange(), aio_pika.ExchangeType.FANOUT))
    await sink.bind(source, "log.#")
    queue = await within(channel.declare_queue(exclusive=True))
    await queue.bind(sink)
    await within(source.publish(text("disk full"), routing_key="log.error.disk"))
    message = await within(queue.get(no_ack=True))
    assert message is not None
    assert message.routing_key == "log.error.disk"


async def test_a_transaction_commits_or_rolls_back_with_its_block(
    connection: AbstractConnection, names: Names
) -> None:
    channel = await within(connection.channel(publisher_confirms=False))
    queue = await within(channel.declare_queue(names.queue()))
    with pytest.raises(ZeroDivisionError):
        async with channel.transaction():
            await channel.default_exchange.publish(text("rolled back"), routing_key=queue.name)
            raise ZeroDivisionError
    async with channel.transaction():
        await channel.default_exchange.publish(text("committed"), routing_key=queue.name)
    message = await within(queue.get(no_ack=True))
    assert message is not None
    assert message.body == b"committed"
    assert await within(queue.get(no_ack=True, fail=False)) is None


async def test_the_rpc_pattern_calls_registered_methods(channel: AbstractChannel, names: Names) -> None:
    rpc = await within(RPC.create(channel))
    method = names.queue("multiply")

    async def multiply(*, x: int, y: int) -> int:
        return x * y

    await rpc.register(method, multiply, auto_delete=True)
    results = await within(asyncio.gather(*(rpc.call(method, {"x": n, "y": 6}) for n in range(10))))
    assert results == [n * 6 for n in range(10)]
    await within(rpc.close())


async def test_an_rpc_call_to_nobody_fails_at_once(channel: AbstractChannel, names: Names) -> None:
    rpc = await within(RPC.create(channel))
    with pytest.raises(aio_pika.exceptions.MessageProcessError):
        await within(rpc.call(names.unique("no-such-method")))
    await within(rpc.close())


async def test_direct_reply_to_works_as_an_rpc(channel: AbstractChannel, names: Names) -> None:
    requests = await within(channel.declare_queue(names.queue("rpc")))

    async def serve(message: AbstractIncomingMessage) -> None:
        async with message.process():
            numbers = json.loads(message.body)
            assert message.reply_to
            await channel.default_exchange.publish(
                text(str(sum(numbers)), correlation_id=message.correlation_id), routing_key=message.reply_to
            )

    await requests.consume(serve)
    reply_queue = await channel.get_queue("amq.rabbitmq.reply-to", ensure=False)
    replies: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
    await reply_queue.consume(replies.put, no_ack=True)
    request = text("[1, 2, 3]", reply_to=reply_queue.name, correlation_id="sum")
    await within(channel.default_exchange.publish(request, routing_key=requests.name))
    reply = await within(replies.get())
    assert (reply.body, reply.correlation_id) == (b"6", "sum")


async def test_the_master_worker_pattern_runs_tasks(channel: AbstractChannel, names: Names) -> None:
    master = Master(channel)
    results: asyncio.Queue[int] = asyncio.Queue()
    queue = names.queue("worker")

    async def worker(*, value: int) -> None:
        await results.put(value * 2)

    await master.create_worker(queue, worker, auto_delete=True)
    for value in range(5):
        await within(master.create_task(queue, kwargs={"value": value}))
    assert sorted([await within(results.get()) for _ in range(5)]) == [0, 2, 4, 6, 8]


async def test_message_properties_survive_the_journey(channel: AbstractChannel, names: Names) -> None:
    queue = await within(channel.declare_queue(names.queue()))
    message = text(
        "{}",
        content_type="application/json",
        headers={"attempt": 1, "tags": ["a", "b"]},
        priority=3,
        expiration=60,
        message_id="m-1",
        correlation_id="c-1",
        app_id="interop",
        type="event",
    )
    await within(channel.default_exchange.publish(message, routing_key=queue.name))
    arrived = await within(queue.get(no_ack=True))
    assert arrived is not None
    assert arrived.headers == {"attempt": 1, "tags": ["a", "b"]}
    assert (arrived.content_type, arrived.priority, arrived.expiration) == ("application/json", 3, 60.0)
    assert (arrived.message_id, arrived.correlation_id) == ("m-1", "c-1")
    assert (arrived.app_id, arrived.type) == ("interop", "event")


async def test_a_failed_passive_declare_closes_the_channel_and_the_next_one_works(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
        await within(channel.get_queue(names.queue(), ensure=True))
    fresh = await within(connection.channel())
    await within(fresh.declare_queue(exclusive=True))


# Robust connections


async def is_routed(connection: AbstractConnection, exchange: str, body: str) -> bool:
    """Publish on a channel of its own and return whether a queue took the message."""
    probe = await within(connection.channel(on_return_raises=True))
    try:
        target = await within(probe.get_exchange(exchange, ensure=True))
        await within(target.publish(text(body), routing_key="key"))
    except (aio_pika.exceptions.PublishError, aio_pika.exceptions.ChannelNotFoundEntity):
        return False
    finally:
        if not probe.is_closed:
            await probe.close()
    return True


async def test_a_robust_connection_recovers_topology_and_consumers_after_network_failures(
    broker: BrokerUnderTest, connection: AbstractConnection, names: Names
) -> None:
    arrived: asyncio.Queue[bytes] = asyncio.Queue()

    async def keep(message: AbstractIncomingMessage) -> None:
        async with message.process():
            arrived.put_nowait(message.body)

    async with TcpProxy(broker.host, broker.port) as proxy:
        robust = await within(aio_pika.connect_robust(broker.url_at(proxy.port), reconnect_interval=0.1))
        async with robust:
            channel = await within(robust.channel())
            await channel.set_qos(prefetch_count=5)
            exchange = await channel.declare_exchange(names.exchange(), auto_delete=True)
            queue = await channel.declare_queue(names.queue(), exclusive=True, auto_delete=True)
            await queue.bind(exchange, "key")
            await queue.consume(keep)
            await within(exchange.publish(text("before"), routing_key="key"))
            assert await within(arrived.get()) == b"before"

            for body in ("after the first failure", "after the second"):
                connections_before = proxy.accepted
                proxy.cut()

                async def reconnected(before: int = connections_before) -> bool:
                    return proxy.accepted > before

                async def routed(body: str = body) -> bool:
                    return await is_routed(connection, exchange.name, body)

                await eventually(reconnected, "the client connects again")
                await eventually(routed, "exchange, queue and binding are back")
                assert await within(arrived.get()) == body.encode()


async def test_unacknowledged_messages_come_back_flagged_to_a_recovered_consumer(
    broker: BrokerUnderTest, channel: AbstractChannel, names: Names
) -> None:
    queue_name = names.queue()
    await within(channel.declare_queue(queue_name, durable=True))
    async with TcpProxy(broker.host, broker.port) as proxy:
        robust = await within(aio_pika.connect_robust(broker.url_at(proxy.port), reconnect_interval=0.1))
        async with robust:
            robust_channel = await within(robust.channel())
            queue = await robust_channel.declare_queue(queue_name, durable=True)
            arrived: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
            await queue.consume(arrived.put)
            await within(channel.default_exchange.publish(text("work"), routing_key=queue_name))
            first = await within(arrived.get())
            assert not first.redelivered
            proxy.cut()
            second = await within(arrived.get())
            assert (second.body, second.redelivered) == (b"work", True)
            await within(second.ack())
