"""A queue that takes only what its schema describes, and keeps the rest where somebody can look at it.

python examples/schemas.py [amqp://guest:guest@localhost/ [http://guest:guest@localhost:15672]]
"""

from __future__ import annotations

import asyncio
import json
import sys

import aio_pika
import aiohttp
from yarl import URL

FIELDS = {"id": {"type": "integer"}, "dish": {"type": "string"}}
ORDER = {
    "type": "object",
    "properties": FIELDS,
    "required": ["id", "dish"],
    "additionalProperties": False,
}
ORDER_2 = {**ORDER, "properties": {**FIELDS, "note": {"type": "string"}}}
BROKEN = {**ORDER_2, "required": ["id", "dish", "price"]}


async def register(session: aiohttp.ClientSession, url: URL, schema: object) -> int:
    """Register a version of the schema, and return the status."""
    path = f"{url.origin()}/api/x/schemas/%2F/orders/versions"
    login = aiohttp.encode_basic_auth(url.user or "guest", url.password or "guest")
    headers = {"Authorization": login}
    async with session.post(URL(path, encoded=True), json={"schema": schema}, headers=headers) as answer:
        said = await answer.json()
        print(f"version {said['version']}" if answer.ok else f"refused: {said['reason'][0]}")
        return answer.status


async def main(url: str, http: str) -> list[str]:
    """Return what was wrong with the dead letters."""
    async with aiohttp.ClientSession() as session:
        for schema in (ORDER, ORDER_2, BROKEN):
            await register(session, URL(http), schema)
    wrong: list[str] = []
    async with await aio_pika.connect_robust(url) as connection:
        channel = await connection.channel()
        dead = await channel.declare_queue("orders.invalid", durable=True)
        arguments = {
            "x-schema": "orders",
            "x-schema-mode": "dead-letter",
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": dead.name,
        }
        queue = await channel.declare_queue("orders", durable=True, arguments=dict(arguments))
        for order in ({"id": 1, "dish": "soup"}, {"id": "two", "dish": "pie"}, {"dish": "tea"}):
            body = json.dumps(order).encode()
            await channel.default_exchange.publish(aio_pika.Message(body, delivery_mode=2), queue.name)
        while (letter := await dead.get(fail=False)) is not None:
            await letter.ack()
            wrong.append(str(letter.headers["x-schema-error"]))
            print(f"{letter.body.decode()}: {wrong[-1]}")
        await dead.delete()
        await queue.delete(if_unused=False, if_empty=False)
    return wrong


if __name__ == "__main__":
    defaults = ["amqp://guest:guest@localhost/", "http://guest:guest@localhost:15672"]
    places = [*sys.argv[1:], *defaults[len(sys.argv) - 1 :]]
    asyncio.run(main(places[0], places[1]))
