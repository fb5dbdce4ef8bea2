"""Opening, negotiating and closing a connection."""

from __future__ import annotations

import asyncio

import aiormq
import pytest
from aiormq.abc import AbstractChannel, AbstractConnection
from yarl import URL

from interop_tests.asyncio_clients.conftest import Connect
from interop_tests.asyncio_clients.deliveries import (
    Deliveries,
    assert_usable,
    declare_queue,
    get_body,
    publish,
    ready_becomes,
)
from interop_tests.broker_under_test import BrokerUnderTest
from interop_tests.deadlines import within
from interop_tests.names import Names
from interop_tests.tcp_proxy import TcpProxy

pytestmark = pytest.mark.asyncio

CAPABILITIES = (
    "publisher_confirms",
    "exchange_exchange_bindings",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "consumer_priorities",
    "authentication_failure_close",
    "per_consumer_qos",
    "direct_reply_to",
)


@pytest.mark.parametrize("capability", CAPABILITIES)
async def test_server_properties_announce_the_capability(broker: BrokerUnderTest, capability: str) -> None:
    capabilities = broker.server_properties["capabilities"]
    assert isinstance(capabilities, dict)
    assert capabilities.get(capability) is True, f"clients refuse to use {capability} without it"


@pytest.mark.parametrize("key", ["product", "version", "platform", "cluster_name", "information"])
async def test_server_properties_say_what_the_broker_is(broker: BrokerUnderTest, key: str) -> None:
    assert broker.server_properties.get(key), f"no {key} in the server properties"


async def test_a_wrong_password_is_refused_with_403(broker: BrokerUnderTest) -> None:
    url = URL(broker.explicit_url).with_password("not-the-password")
    with pytest.raises(aiormq.exceptions.ProbableAuthenticationError, match="ACCESS_REFUSED"):
        await within(aiormq.connect(url))


async def test_an_unknown_user_is_refused_with_403(broker: BrokerUnderTest, names: Names) -> None:
    url = URL(broker.explicit_url).with_user(names.unique("nobody"))
    with pytest.raises(aiormq.exceptions.ProbableAuthenticationError, match="ACCESS_REFUSED"):
        await within(aiormq.connect(url))


async def test_a_missing_virtual_host_ends_the_connection(broker: BrokerUnderTest) -> None:
    # aiormq does not show the code here; the tests with pika do.
    with pytest.raises(aiormq.exceptions.AMQPError):
        await within(aiormq.connect(URL(broker.explicit_url).with_path("/no-such-vhost")))


async def test_an_unknown_mechanism_ends_the_connection(broker: BrokerUnderTest) -> None:
    url = URL(broker.explicit_url).with_query(auth="external")
    with pytest.raises((aiormq.exceptions.AMQPError, OSError)):
        await within(aiormq.connect(url))


async def test_the_broker_offers_limits_and_a_heartbeat(connection: AbstractConnection) -> None:
    tune = connection.connection_tune
    assert tune.frame_max == 131_072
    assert tune.channel_max == 2047


async def test_hundreds_of_channels_work_side_by_side_on_one_connection(
    connection: AbstractConnection,
) -> None:
    first = await within(connection.channel())
    queue = await declare_queue(first)
    channels = await within(asyncio.gather(*(connection.channel() for _ in range(300))))
    await within(
        asyncio.gather(
            *(
                channel.basic_publish(str(number).encode(), routing_key=queue)
                for number, channel in enumerate(channels)
            )
        )
    )
    consumer = await Deliveries.of(first, queue, no_ack=True)
    assert sorted(map(int, await consumer.bodies(300))) == list(range(300))


async def test_a_closed_channel_number_can_be_opened_again(connection: AbstractConnection) -> None:
    for _ in range(50):
        channel = await within(connection.channel(channel_number=7))
        assert channel.number == 7
        await within(channel.close())
    await assert_usable(connection)


async def test_many_connections_are_served_at_once(connect: Connect) -> None:
    connections = await asyncio.gather(*(connect() for _ in range(40)))
    channels = await asyncio.gather(*(connection.channel() for connection in connections))
    queue = await declare_queue(channels[0])
    await asyncio.gather(*(publish(channel, queue, b"x") for channel in channels))
    await ready_becomes(channels[0], queue, 40)


async def test_closing_the_connection_deletes_its_exclusive_queues_before_close_ok(
    connect: Connect, names: Names
) -> None:
    queue = names.queue("exclusive")
    for _ in range(5):
        connection = await connect()
        await declare_queue(await connection.channel(), queue, exclusive=True)
        await within(connection.close())


async def test_a_connection_error_leaves_other_connections_alone(connect: Connect) -> None:
    failing, other = await connect(), await connect()
    channel = await failing.channel()
    with pytest.raises(aiormq.exceptions.ConnectionNotImplemented):
        await within(channel.basic_qos(prefetch_size=1))
    await assert_usable(other)


async def test_a_lost_connection_requeues_what_was_unacknowledged(
    broker: BrokerUnderTest, channel: AbstractChannel, names: Names
) -> None:
    queue = await declare_queue(channel, names.queue())
    await publish(channel, queue, b"first", b"second")
    async with TcpProxy(broker.host, broker.port) as proxy:
        lost = await within(aiormq.connect(broker.url_at(proxy.port)))
        consumer = await Deliveries.of(await lost.channel(), queue)
        assert await consumer.bodies(2) == [b"first", b"second"]
        proxy.cut()
        await ready_becomes(channel, queue, 2)
        await asyncio.gather(lost.close(), return_exceptions=True)
    messages = [await within(channel.basic_get(queue, no_ack=True)) for _ in range(2)]
    assert [(message.body, message.redelivered) for message in messages] == [
        (b"first", True),
        (b"second", True),
    ]


async def test_the_secret_can_be_updated_on_a_live_connection(
    broker: BrokerUnderTest, connection: AbstractConnection
) -> None:
    await within(connection.update_secret(broker.password, reason="token refresh"))
    await assert_usable(connection)


async def test_an_idle_connection_is_kept_alive_by_heartbeats(broker: BrokerUnderTest) -> None:
    url = URL(broker.explicit_url).with_query(heartbeat="1")
    connection = await within(aiormq.connect(url))
    try:
        # Nothing is sent meanwhile: both sides would give up after about two silent seconds.
        with pytest.raises(TimeoutError):
            await within(asyncio.shield(connection.closing), seconds=4)
        await assert_usable(connection)
    finally:
        await within(connection.close())


async def test_closing_a_channel_requeues_and_keeps_the_connection(
    connection: AbstractConnection, channel: AbstractChannel
) -> None:
    queue = await declare_queue(channel)
    await publish(channel, queue, b"x")
    closing = await within(connection.channel())
    message = await within(closing.basic_get(queue))
    assert message.body == b"x"
    await within(closing.close())
    assert await get_body(channel, queue) == b"x"
