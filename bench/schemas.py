"""What a check costs: one channel publishes into a queue with a schema and into one without, in turns.

python bench/schemas.py [messages]

In one process and without a network, so that nothing else is in the difference; the queues drop their heads.
"""

from __future__ import annotations

import asyncio
import io
import json
import statistics
import sys
import time
from typing import Any

import fastavro

from harebell import Broker
from harebell.amqp.channel import Channel
from harebell.amqp.connection import AwaitingJournal, ColdMethods, Connection
from harebell.amqp.outbox import Outbox, OutboxSet
from harebell.content.message import address
from harebell.content.properties import build_header
from harebell.engine.commands import SetParameter
from harebell.engine.topology import Caller, declare_queue
from harebell.ports import User

ROUNDS = 9

FIELDS = {
    "id": {"type": "integer", "minimum": 1},
    "customer": {"type": "string", "pattern": "^[a-z]+-[0-9]+$"},
    "status": {"enum": ["new", "paid", "sent"]},
    "lines": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"dish": {"type": "string"}, "count": {"type": "integer"}},
            "required": ["dish", "count"],
        },
    },
}
ORDER = {"type": "object", "properties": FIELDS, "required": list(FIELDS), "additionalProperties": False}
LINES = [{"dish": "soup of the day", "count": 2}, {"dish": "bread", "count": 1}, {"dish": "pie", "count": 4}]
DATUM = {"id": 4711, "customer": "ann-42", "status": "paid", "lines": LINES}
RECORD: dict[str, Any] = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "customer", "type": "string"},
        {"name": "status", "type": {"type": "enum", "name": "Status", "symbols": ["new", "paid", "sent"]}},
        {
            "name": "lines",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "Line",
                    "fields": [{"name": "dish", "type": "string"}, {"name": "count", "type": "int"}],
                },
            },
        },
    ],
}


def publisher(caller: Caller) -> Channel:
    """Make a channel that no client is behind."""
    connection = Connection(caller.broker, ColdMethods(), Outbox(OutboxSet()), AwaitingJournal(), "", "")
    connection.vhost, connection.user = caller.vhost, caller.user
    connection.routes = caller.vhost.route_cache(caller.user)
    return Channel(connection, 1)


def publish(channel: Channel, queue: str, header: bytes, body: bytes, count: int) -> float:
    """Publish and give nanoseconds for each message."""
    arguments = address("", queue) + b"\0"
    began = time.perf_counter_ns()
    for _ in range(count):
        channel.begin_publish(arguments)
        channel.begin_content(header, 0, len(header))
        channel.add_body(body, 0, len(body))
    return (time.perf_counter_ns() - began) / count


async def main(count: int) -> None:
    """Measure and print."""
    avro = io.BytesIO()
    fastavro.schemaless_writer(avro, fastavro.parse_schema(RECORD), DATUM)
    text = json.dumps(DATUM).encode()
    async with Broker(port=None) as embedded:
        node = embedded._running
        broker = node.broker
        vhost = broker.vhosts["/"]
        caller = Caller(broker, vhost, User("guest", frozenset()), 0)
        for name, kind, schema in (("json", "json-schema", ORDER), ("avro", "avro", RECORD)):
            value = {"format": kind, "schema": json.dumps(schema), "id": 1}
            broker.commit(SetParameter("/", "schema", f"{name}/1", json.dumps(value)), durable=True)
        drop: dict[str, object] = {"x-max-length": 10}
        for name, more in (("plain", {}), ("json", {"x-schema": "json"}), ("avro", {"x-schema": "avro"})):
            declare_queue(caller, name, True, False, False, {**drop, **more})
        channel = publisher(caller)
        cases = {"plain": text, "json": text, "avro": avro.getvalue()}
        found: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(ROUNDS):
            for name, body in cases.items():
                header = build_header(len(body), delivery_mode=1)
                found[name].append(publish(channel, name, header, body, count))
        plain = statistics.median(found["plain"])
        for name, body in cases.items():
            median = statistics.median(found[name])
            more = (median - plain) / 1000
            print(f"{name:6} {len(body):5} octets  {median / 1000:6.2f} us  {more:+.2f} us")
        assert int(vhost.counters.schema_invalid) == 0


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000))
