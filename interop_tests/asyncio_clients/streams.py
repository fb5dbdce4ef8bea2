"""What the tests of streams say often: declare one, read it from an offset, look at the offsets, and wait."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Final

from aiormq.abc import AbstractChannel, DeliveredMessage

from interop_tests.asyncio_clients.deliveries import Deliveries, declare_queue
from interop_tests.deadlines import eventually, within
from interop_tests.names import Names

STREAM: Final[Mapping[str, str]] = {"x-queue-type": "stream"}


async def declare_stream(channel: AbstractChannel, names: Names, **arguments: object) -> str:
    """Declare a stream; the arguments are without their `x-` and with underscores."""
    given = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
    return await declare_queue(channel, names.queue(), durable=True, arguments={**STREAM, **given})


async def read(
    channel: AbstractChannel,
    stream: str,
    begin: object = "first",
    *,
    prefetch: int = 100,
    exclusive: bool = False,
    **arguments: object,
) -> Deliveries:
    """Start to read a stream.

    Args:
        begin: the `x-stream-offset`.
        prefetch: messages that may be unacknowledged.
        arguments: more consumer arguments, without their `x-` and with underscores.
    """
    await within(channel.basic_qos(prefetch_count=prefetch))
    given = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
    return await Deliveries.of(
        channel, stream, exclusive=exclusive, arguments={"x-stream-offset": begin, **given}
    )


def offset(message: DeliveredMessage) -> int:
    """Return the offset that a message was delivered with."""
    told = (message.header.properties.headers or {})["x-stream-offset"]
    assert isinstance(told, int)
    return told


def offsets(messages: Iterable[DeliveredMessage]) -> list[int]:
    """Return the offsets that messages were delivered with."""
    return [offset(message) for message in messages]


async def clock_shows(moment: float) -> None:
    """Wait until the clock is there: what comes then is told from what came before."""

    async def reached() -> bool:
        return time.time() >= moment

    await eventually(reached, f"it is {moment}")
