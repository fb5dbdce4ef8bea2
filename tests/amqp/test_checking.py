"""Messages held against schemas when they are published: nacks, refusals, dead letters."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel, AbstractRobustConnection
from aiormq.exceptions import ChannelPreconditionFailed, DeliveryError

from harebell import Broker
from harebell.engine.commands import SetParameter
from harebell.engine.vhost import Vhost

ORDER = {
    "type": "object",
    "properties": {"id": {"type": "integer"}, "note": {"type": "string"}},
    "required": ["id"],
    "additionalProperties": False,
}
GOOD = b'{"id": 7}'
BAD = b'{"id": "seven"}'


def put_schema(
    broker: Broker, schema: object, subject: str = "orders", version: int = 1, id_: int = 1
) -> None:
    """Keep a version of a schema, as registering it does."""
    value = {"format": "json-schema", "schema": json.dumps(schema), "id": id_}
    command = SetParameter("/", "schema", f"{subject}/{version}", json.dumps(value))
    broker._running.broker.commit(command, durable=True)


def vhost_of(broker: Broker) -> Vhost:
    return broker._running.broker.vhosts["/"]


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    async with Broker() as broker:
        put_schema(broker, ORDER)
        yield broker


@pytest.fixture
async def channel(broker: Broker) -> AsyncIterator[AbstractChannel]:
    connection = await aio_pika.connect(broker.url)
    async with connection:
        yield await connection.channel()


def message(body: bytes, **headers: Any) -> aio_pika.Message:
    return aio_pika.Message(body, headers=headers, delivery_mode=2)


async def publish(
    channel: AbstractChannel, body: bytes, key: str = "orders", headers: dict[str, Any] | None = None
) -> None:
    await channel.default_exchange.publish(message(body, **(headers or {})), key)


async def test_a_message_that_fits_is_put_into_the_queue(channel: AbstractChannel, broker: Broker) -> None:
    await channel.declare_queue("orders", arguments={"x-schema": "orders"})
    await publish(channel, GOOD)
    assert broker.queue("orders").ready == 1


async def test_one_that_does_not_fit_is_nacked_and_counted(channel: AbstractChannel, broker: Broker) -> None:
    await channel.declare_queue("orders", arguments={"x-schema": "orders"})
    for body in (BAD, b"{", b"", b"{}", b'{"id": 1, "more": 2}'):
        with pytest.raises(DeliveryError):
            await publish(channel, body)
    assert broker.queue("orders").ready == 0
    vhost = vhost_of(broker)
    assert int(vhost.queues["orders"].invalid) == 5
    assert (int(vhost.counters.schema_checked), int(vhost.counters.schema_invalid)) == (5, 5)
    assert int(vhost.counters.default.received) == 5
    assert int(vhost.counters.default.dropped) == 0, "it had a queue: it is not unroutable"


async def test_without_confirms_it_is_dropped(broker: Broker) -> None:
    connection = await aio_pika.connect(broker.url)
    async with connection:
        channel = await connection.channel(publisher_confirms=False)
        queue = await channel.declare_queue("orders", arguments={"x-schema": "orders"})
        await publish(channel, BAD)
        await publish(channel, GOOD)
        found = await queue.get(no_ack=True)
        assert found.body == GOOD


async def test_refuse_closes_the_channel_with_406_and_says_why(channel: AbstractChannel) -> None:
    await channel.declare_queue("orders", arguments={"x-schema": "orders", "x-schema-mode": "refuse"})
    with pytest.raises(ChannelPreconditionFailed, match='not valid: schema .orders. version 1: "seven"'):
        await publish(channel, BAD)


async def test_a_dead_letter_says_what_was_wrong(channel: AbstractChannel, broker: Broker) -> None:
    dead = await channel.declare_queue("dead")
    arguments: dict[str, Any] = {
        "x-schema": "orders",
        "x-schema-mode": "dead-letter",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "dead",
    }
    await channel.declare_queue("orders", arguments=arguments)
    await publish(channel, BAD, headers={"colour": "red"})
    found = await dead.get(no_ack=True)
    assert found.body == BAD
    assert found.headers["colour"] == "red"
    deaths: Any = found.headers["x-death"]
    (death,) = deaths
    assert (death["reason"], death["queue"], death["routing-keys"]) == ("invalid", "orders", ["orders"])
    assert found.headers["x-first-death-reason"] == "invalid"
    error = found.headers["x-schema-error"]
    assert error == 'schema \'orders\' version 1: "seven" is not of type "integer" at /id'
    counted = vhost_of(broker).queues["orders"].deaths
    assert counted is not None and int(counted.invalid) == 1
    assert broker.queue("orders").ready == 0


async def test_the_error_header_is_bounded(channel: AbstractChannel) -> None:
    dead = await channel.declare_queue("dead")
    arguments: dict[str, Any] = {
        "x-schema": "orders",
        "x-schema-mode": "dead-letter",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "dead",
    }
    await channel.declare_queue("orders", arguments=arguments)
    await publish(channel, json.dumps({"id": "é" * 10_000}).encode())
    found = await dead.get(no_ack=True)
    assert 100 < len(str(found.headers["x-schema-error"]).encode()) <= 1024


async def test_without_a_dead_letter_exchange_it_is_nacked(channel: AbstractChannel, broker: Broker) -> None:
    await channel.declare_queue("orders", arguments={"x-schema": "orders", "x-schema-mode": "dead-letter"})
    with pytest.raises(DeliveryError):
        await publish(channel, BAD)
    assert broker.queue("orders").ready == 0


async def test_other_queues_take_what_one_does_not(channel: AbstractChannel, broker: Broker) -> None:
    exchange = await channel.declare_exchange("all", aio_pika.ExchangeType.FANOUT)
    for name, arguments in (("orders", {"x-schema": "orders"}), ("any", {})):
        queue = await channel.declare_queue(name, arguments=dict(arguments))
        await queue.bind(exchange)
    with pytest.raises(DeliveryError):
        await exchange.publish(message(BAD), "")
    await exchange.publish(message(GOOD), "")
    assert (broker.queue("orders").ready, broker.queue("any").ready) == (1, 2)


async def test_history_keeps_only_what_the_queue_took(channel: AbstractChannel, broker: Broker) -> None:
    await channel.declare_queue("orders", durable=True, arguments={"x-schema": "orders", "x-retain": "1h"})
    with pytest.raises(DeliveryError):
        await publish(channel, BAD)
    await publish(channel, GOOD)
    history = vhost_of(broker).queues["orders"].history
    assert history is not None and int(history.ready_count()) == 1


@pytest.mark.parametrize("queue_type", ["classic", "quorum", "stream"])
async def test_every_type_of_queue_is_checked(
    channel: AbstractChannel, broker: Broker, queue_type: str
) -> None:
    arguments: dict[str, Any] = {"x-schema": "orders", "x-queue-type": queue_type}
    await channel.declare_queue("orders", durable=True, arguments=arguments)
    with pytest.raises(DeliveryError):
        await publish(channel, BAD)
    await publish(channel, GOOD)
    assert broker.queue("orders").ready == 1


async def test_an_exchange_takes_nothing_that_does_not_fit(channel: AbstractChannel, broker: Broker) -> None:
    exchange = await channel.declare_exchange("shop", durable=True, arguments={"x-schema": "orders"})
    queue = await channel.declare_queue("any")
    await queue.bind(exchange, "k")
    with pytest.raises(DeliveryError):
        await exchange.publish(message(BAD), "k")
    with pytest.raises(DeliveryError):
        await exchange.publish(message(BAD), "nowhere", mandatory=False)
    await exchange.publish(message(GOOD), "k")
    assert broker.queue("any").ready == 1
    assert int(vhost_of(broker).exchanges["shop"].tally.invalid) == 2


@pytest.mark.parametrize("by_policy", [False, True])
async def test_an_exchange_dead_letters(channel: AbstractChannel, broker: Broker, by_policy: bool) -> None:
    dead = await channel.declare_queue("dead", durable=True)
    options = {
        "schema": "orders",
        "schema-mode": "dead-letter",
        "dead-letter-exchange": "",
        "dead-letter-routing-key": "dead",
    }
    if by_policy:
        broker.set_policy("checked", "^shop$", options)
    arguments: dict[str, Any] = {} if by_policy else {f"x-{key}": value for key, value in options.items()}
    exchange = await channel.declare_exchange("shop", arguments=arguments)
    await exchange.publish(message(BAD), "k")
    found = await dead.get(no_ack=True)
    deaths: Any = found.headers["x-death"]
    (death,) = deaths
    assert (death["reason"], death["queue"], death["exchange"]) == ("invalid", "", "shop")
    assert "is not of type" in str(found.headers["x-schema-error"])
    assert found.delivery_mode == 2


async def test_nothing_fits_a_schema_that_is_not_registered(channel: AbstractChannel) -> None:
    await channel.declare_queue("orders", arguments={"x-schema": "later", "x-schema-mode": "refuse"})
    with pytest.raises(ChannelPreconditionFailed, match="no schema 'later' is registered"):
        await publish(channel, GOOD)


async def test_messages_pass_once_their_schema_comes(channel: AbstractChannel, broker: Broker) -> None:
    await channel.declare_queue("orders", arguments={"x-schema": "later"})
    with pytest.raises(DeliveryError):
        await publish(channel, GOOD)
    put_schema(broker, ORDER, "later")
    await publish(channel, GOOD)
    assert broker.queue("orders").ready == 1


async def test_the_latest_version_counts_unless_a_message_names_one(
    channel: AbstractChannel, broker: Broker
) -> None:
    put_schema(broker, {"type": "string"}, version=2, id_=2)
    await channel.declare_queue("orders", arguments={"x-schema": "orders"})
    await publish(channel, b'"text"')
    for named in (1, "1"):
        await publish(channel, GOOD, headers={"x-schema-version": named})
    await publish(channel, b"\0\0\0\0\x01" + GOOD)
    refused: list[tuple[bytes, dict[str, Any]]] = [
        (GOOD, {}),
        (GOOD, {"x-schema-version": 2}),
        (GOOD, {"x-schema-version": 3}),
        (GOOD, {"x-schema-version": "latest"}),
        (b"\0\0\0\0\x02" + GOOD, {}),
        (b"\0\0\0\0\x09" + GOOD, {}),
        (b"\0\0\0\0", {}),
    ]
    for body, headers in refused:
        with pytest.raises(DeliveryError):
            await publish(channel, body, headers=headers)
    assert broker.queue("orders").ready == 4


async def test_a_pinned_version_is_the_only_one(channel: AbstractChannel, broker: Broker) -> None:
    put_schema(broker, {"type": "string"}, version=2, id_=2)
    await channel.declare_queue("orders", arguments={"x-schema": "orders", "x-schema-version": 1})
    await publish(channel, GOOD)
    await publish(channel, b"\0\0\0\0\x01" + GOOD, headers={"x-schema-version": 1})
    refused: list[tuple[bytes, dict[str, Any]]] = [
        (b'"t"', {}),
        (b'"t"', {"x-schema-version": 2}),
        (b'\0\0\0\0\x02"t"', {}),
    ]
    for body, headers in refused:
        with pytest.raises(DeliveryError):
            await publish(channel, body, headers=headers)


async def test_a_body_too_long_to_check_does_not_fit(channel: AbstractChannel, broker: Broker) -> None:
    arguments: dict[str, Any] = {"x-schema": "orders", "x-schema-mode": "refuse"}
    await channel.declare_queue("orders", arguments=arguments)
    long = json.dumps({"id": 1, "note": "x" * 256 * 1024}).encode()
    with pytest.raises(ChannelPreconditionFailed, match="longer than the 262144 that are checked"):
        await publish(channel, long)
    await channel.reopen()
    await channel.declare_queue("wide", arguments={**arguments, "x-schema-max-bytes": 1 << 20})
    await publish(channel, long, "wide")
    assert broker.queue("wide").ready == 1


async def test_a_policy_binds_and_lets_go(channel: AbstractChannel, broker: Broker) -> None:
    await channel.declare_queue("orders")
    await publish(channel, BAD)
    broker.set_policy("checked", "^orders$", {"schema": "orders"})
    with pytest.raises(DeliveryError):
        await publish(channel, BAD)
    broker.clear_policy("checked")
    await publish(channel, BAD)
    assert broker.queue("orders").ready == 2


@pytest.mark.parametrize("mode", ["reject", "refuse", "dead-letter"])
async def test_a_transaction_with_a_message_that_does_not_fit_is_refused(broker: Broker, mode: str) -> None:
    connection = await aio_pika.connect(broker.url)
    async with connection:
        channel = await connection.channel(publisher_confirms=False)
        await channel.declare_queue("dead")
        arguments: dict[str, Any] = {
            "x-schema": "orders",
            "x-schema-mode": mode,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": "dead",
        }
        await channel.declare_queue("orders", arguments=arguments)
        transaction = channel.transaction()
        await transaction.select()
        await publish(channel, GOOD)
        await publish(channel, BAD)
        with pytest.raises(ChannelPreconditionFailed, match="is not of type"):
            await transaction.commit()
    assert (broker.queue("orders").ready, broker.queue("dead").ready) == (0, 0)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"x-schema": 5}, "x-schema"),
        ({"x-schema": "s", "x-schema-mode": "ignore"}, "x-schema-mode"),
        ({"x-schema": "s", "x-schema-version": 0}, "x-schema-version"),
        ({"x-schema": "s", "x-schema-max-bytes": 1 << 30}, "x-schema-max-bytes"),
    ],
)
@pytest.mark.parametrize("kind", ["queue", "exchange"])
async def test_arguments_are_checked(
    channel: AbstractChannel, arguments: dict[str, Any], problem: str, kind: str
) -> None:
    with pytest.raises(ChannelPreconditionFailed, match=problem):
        if kind == "queue":
            await channel.declare_queue("q", arguments=arguments)
        else:
            await channel.declare_exchange("e", arguments=arguments)


async def test_a_redeclaration_must_repeat_the_schema(channel: AbstractChannel) -> None:
    await channel.declare_queue("orders", arguments={"x-schema": "orders"})
    await channel.declare_queue("orders", arguments={"x-schema": "orders"})
    with pytest.raises(ChannelPreconditionFailed, match="inequivalent arg 'x-schema'"):
        await channel.declare_queue("orders")


async def test_confirms_of_many_say_which_fit(broker: Broker) -> None:
    connection: AbstractRobustConnection = await aio_pika.connect_robust(broker.url)
    async with connection:
        channel = await connection.channel()
        await channel.declare_queue("orders", durable=True, arguments={"x-schema": "orders"})
        bodies = [GOOD if number % 3 else BAD for number in range(60)]
        outcomes = await asyncio.gather(*[publish(channel, body) for body in bodies], return_exceptions=True)
    assert [isinstance(each, DeliveryError) for each in outcomes] == [body == BAD for body in bodies]
    assert broker.queue("orders").ready == bodies.count(GOOD)
