"""Transactions, and their quarrel with confirms."""

from __future__ import annotations

import aiormq
import pytest
import pytest_asyncio
from aiormq.abc import AbstractChannel, AbstractConnection

from interop_tests.asyncio_clients.deliveries import assert_usable, declare_queue, drain, publish, ready_count
from interop_tests.deadlines import within
from interop_tests.names import Names

pytestmark = pytest.mark.asyncio

PreconditionFailed = aiormq.exceptions.ChannelPreconditionFailed


@pytest_asyncio.fixture
async def tx(connection: AbstractConnection) -> AbstractChannel:
    """A channel in transaction mode."""
    channel = await within(connection.channel(publisher_confirms=False))
    await within(channel.tx_select())
    return channel


async def test_published_messages_appear_at_the_commit(tx: AbstractChannel, channel: AbstractChannel) -> None:
    queue = await declare_queue(tx)
    await tx.basic_publish(b"a", routing_key=queue)
    await tx.basic_publish(b"b", routing_key=queue)
    assert await ready_count(tx, queue) == 0
    await within(tx.tx_commit())
    assert await drain(channel, queue) == [b"a", b"b"]


async def test_a_rollback_drops_published_messages(tx: AbstractChannel) -> None:
    queue = await declare_queue(tx)
    await tx.basic_publish(b"dropped", routing_key=queue)
    await within(tx.tx_rollback())
    await tx.basic_publish(b"kept", routing_key=queue)
    await within(tx.tx_commit())
    assert await drain(tx, queue) == [b"kept"]


async def test_acknowledgements_count_from_the_commit(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    queue = await declare_queue(channel)
    await publish(channel, queue, b"committed", b"not committed")
    tx = await within(connection.channel(publisher_confirms=False))
    await within(tx.tx_select())
    for commit in (True, False):
        message = await within(tx.basic_get(queue))
        await within(tx.basic_ack(message.delivery_tag or 0))
        if commit:
            await within(tx.tx_commit())
    await within(tx.close())
    assert await drain(channel, queue) == [b"not committed"]


async def test_a_rollback_forgets_acknowledgements_so_that_they_can_be_given_again(
    connection: AbstractConnection, channel: AbstractChannel
) -> None:
    queue = await declare_queue(channel)
    await publish(channel, queue, b"x")
    tx = await within(connection.channel(publisher_confirms=False))
    await within(tx.tx_select())
    message = await within(tx.basic_get(queue))
    await within(tx.basic_ack(message.delivery_tag or 0))
    await within(tx.tx_rollback())
    assert await ready_count(channel, queue) == 0, "a rollback is no requeue"
    await within(tx.basic_ack(message.delivery_tag or 0))
    await within(tx.tx_commit())
    await within(tx.close())
    assert await drain(channel, queue) == []


async def test_closing_the_channel_is_a_rollback(tx: AbstractChannel, channel: AbstractChannel) -> None:
    queue = await declare_queue(tx)
    await tx.basic_publish(b"x", routing_key=queue)
    await within(tx.close())
    assert await drain(channel, queue) == []


async def test_selecting_twice_is_fine(tx: AbstractChannel) -> None:
    await within(tx.tx_select())
    await within(tx.tx_commit())
    await within(tx.tx_rollback())


@pytest.mark.parametrize("method", ["commit", "rollback"])
async def test_commit_and_rollback_need_a_select(connection: AbstractConnection, method: str) -> None:
    channel = await within(connection.channel(publisher_confirms=False))
    with pytest.raises(PreconditionFailed, match="channel is not transactional"):
        await within(channel.tx_commit() if method == "commit" else channel.tx_rollback())
    await assert_usable(connection)


async def test_confirms_cannot_follow_a_transaction(
    connection: AbstractConnection, tx: AbstractChannel
) -> None:
    with pytest.raises(PreconditionFailed, match="cannot switch from tx to confirm mode"):
        await within(tx.confirm_delivery())
    await assert_usable(connection)


async def test_a_transaction_cannot_follow_confirms(
    connection: AbstractConnection, channel: AbstractChannel
) -> None:
    with pytest.raises(PreconditionFailed, match="cannot switch from confirm to tx mode"):
        await within(channel.tx_select())
    await assert_usable(connection)


async def test_publishing_to_a_missing_exchange_fails_before_the_commit(
    connection: AbstractConnection, tx: AbstractChannel, names: Names
) -> None:
    await tx.basic_publish(b"x", exchange=names.exchange())
    with pytest.raises(aiormq.exceptions.ChannelNotFoundEntity, match="no exchange"):
        await within(tx.tx_commit())
    await assert_usable(connection)
