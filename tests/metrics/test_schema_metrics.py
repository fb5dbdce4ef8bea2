"""Messages held against schemas are counted, by virtual host, and those that died of it by queue."""

from __future__ import annotations

import json

import aio_pika
from aio_pika.exceptions import DeliveryError

from harebell.engine.commands import SetParameter
from tests.metrics.metered import metered

VALUE = {"format": "json-schema", "schema": '{"type": "integer"}', "id": 1}


async def test_checked_and_invalid_messages_are_counted() -> None:
    async with metered() as broker, await aio_pika.connect(broker.url) as connection:
        assert not list((await broker.scrape()).samples("harebell_schema_checked_total"))
        command = SetParameter("/", "schema", "n/1", json.dumps(VALUE))
        broker.node.broker.commit(command, durable=True)
        channel = await connection.channel()
        await channel.declare_queue("dead")
        dead = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
        for name, mode in (("q", "reject"), ("d", "dead-letter")):
            await channel.declare_queue(name, arguments={"x-schema": "n", "x-schema-mode": mode, **dead})
        for name in ("q", "d"):
            for body in (b"1", b"x", b"2", b"y"):
                try:
                    await channel.default_exchange.publish(aio_pika.Message(body), name)
                except DeliveryError:
                    assert name == "q"
        scrape = await broker.scrape()
    assert scrape.value("harebell_schema_checked_total") == 8
    assert scrape.value("harebell_schema_invalid_total") == 4
    deaths = {
        (labels["queue"], labels["reason"]): value
        for labels, value in scrape.samples("harebell_queue_dead_lettered_total")
        if labels["reason"] == "invalid" and value
    }
    assert deaths == {("d", "invalid"): 2}
