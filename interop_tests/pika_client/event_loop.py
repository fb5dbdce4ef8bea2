"""Runs a callback-style client of pika until it says that it is done."""

from __future__ import annotations

from collections.abc import Callable

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel

from interop_tests.broker_under_test import BrokerUnderTest
from interop_tests.deadlines import DEADLINE
from interop_tests.pika_client.conftest import parameters

Adapter = type[pika.SelectConnection] | type[AsyncioConnection]


class EventDrivenClient:
    """One connection with one channel; `opened` gets the channel, and `finish` ends the run."""

    def __init__(self, adapter: Adapter, broker: BrokerUnderTest, opened: Callable[[Channel], None]) -> None:
        self._opened = opened
        self._problem: BaseException | str | None = None
        self._finished = False
        self.connection = adapter(
            parameters(broker),
            on_open_callback=lambda connection: connection.channel(on_open_callback=self._channel_opened),
            on_open_error_callback=lambda _, problem: self._stop(problem),
            on_close_callback=lambda _, reason: self._stop(None if self._finished else reason),
        )

    def _channel_opened(self, channel: Channel) -> None:
        try:
            self._opened(channel)
        except BaseException as error:
            self._stop(error)

    def _stop(self, problem: BaseException | str | None) -> None:
        self._problem = problem
        self.connection.ioloop.stop()

    def run(self) -> None:
        """Run the loop until the connection is closed after `finish`.

        Raises AssertionError if the connection ended for another reason or the deadline passed.
        """
        loop = self.connection.ioloop
        loop.call_later(DEADLINE, lambda: self._stop(f"not finished within {DEADLINE} s"))
        if isinstance(self.connection, AsyncioConnection):
            loop.run_forever()
        else:
            loop.start()
        assert self._problem is None, f"the connection ended with {self._problem!r}"

    def finish(self) -> None:
        """Say that everything expected has happened, and close."""
        self._finished = True
        self.connection.close()
