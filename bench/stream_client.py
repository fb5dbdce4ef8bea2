"""A client that reads the offsets of a stream's events."""

from __future__ import annotations

from pamqp import commands, header

from bench.client import Client
from bench.errors import BenchError


class StreamClient(Client):
    """A ``Client`` that can consume from a stream, once."""

    def offsets(self, queue: str, start: str | int, count: int) -> list[int]:
        """Consume ``count`` events, at most 65,535, and return the ``x-stream-offset`` of each.

        ``start`` is where to begin: ``first``, ``last``, or an offset. Raises BenchError for an event without
        an offset, or if no more events come.
        """
        found: list[int] = []
        try:
            self._read_offsets(queue, start, count, found)
        except TimeoutError as error:
            raise BenchError(f"{len(found):,} of {count:,} events came from {queue}, then none") from error
        return found

    def _read_offsets(self, queue: str, start: str | int, count: int, found: list[int]) -> None:
        self._call(commands.Basic.Qos(0, count, False), commands.Basic.QosOk)
        consume = commands.Basic.Consume(queue=queue, arguments={"x-stream-offset": start})
        self._call(consume, commands.Basic.ConsumeOk)
        for _ in range(count):
            self._expect(commands.Basic.Deliver)
            content = self._expect(header.ContentHeader)
            offset = (content.properties.headers or {}).get("x-stream-offset")
            if not isinstance(offset, int):
                raise BenchError(f"an event came from {queue} without an offset")
            found.append(offset)
            left = content.body_size
            while left > 0:
                left -= len(self._next_payload())
