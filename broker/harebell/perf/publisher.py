"""A connection that publishes as fast as it may."""

import asyncio
import time
from collections.abc import Callable

from harebell.perf.confirm_window import ConfirmWindow
from harebell.perf.connection import Connection
from harebell.perf.errors import PerfError
from harebell.perf.inbound import Inbound
from harebell.perf.messages import BLOCK_OCTETS, PublishBlocks

_BLOCKS_PER_TURN = 4
"""Full blocks written before the loop looks at the other connections."""


class Publisher(Connection):
    """Publishes until its count is reached or it is stopped, within its rate, its window and the socket.

    These call ``pump``: the socket taking more, confirms and deliveries arriving, the clock of a rate limit.
    """

    def __init__(
        self, inbound: Inbound, on_failure: Callable[[PerfError], None], window: ConfirmWindow | None
    ) -> None:
        super().__init__(inbound, on_failure)
        self.window = window
        self.published = 0
        self.last_publish = 0
        self._blocks: PublishBlocks | None = None
        self._room_in_flight: Callable[[], int] | None = None
        self._rate = 0.0
        self._count: int | None = None
        self._began = 0
        self._pump_is_due = False

    @property
    def done(self) -> bool:
        """Whether the whole count is published and, with confirms, settled by the server."""
        if self._count is None or self.published < self._count:
            return False
        return self.window is None or self.window.room() == self.window.size

    def begin(
        self,
        blocks: PublishBlocks,
        rate: float,
        count: int | None,
        room_in_flight: Callable[[], int] | None = None,
    ) -> None:
        """Start: ``rate`` messages a second (0 for no limit), ``count`` in all (None for no end).

        ``room_in_flight`` tells how many may be published now so that consumers stay close behind.
        """
        if self._transport is not None:
            self._transport.set_write_buffer_limits(high=BLOCK_OCTETS * 2, low=BLOCK_OCTETS // 2)
        self._blocks = blocks
        self._rate = rate
        self._room_in_flight = room_in_flight
        self._count = count
        self._began = time.perf_counter_ns()
        self.pump()

    def stop(self) -> None:
        """Publish nothing more."""
        self._blocks = None

    def after_read(self) -> None:
        if self.window is not None:
            self.wake()

    def may_write(self) -> None:
        self.wake()

    def wake(self) -> None:
        """Publish what may be published now, unless that is about to happen anyway."""
        if not self._pump_is_due:
            self.pump()

    def pump(self) -> None:
        """Write what is due now; when that is more than one turn's share, go on in the loop's next turn."""
        self._pump_is_due = False
        blocks = self._blocks
        transport = self._transport
        if blocks is None or transport is None:
            return
        for _ in range(_BLOCKS_PER_TURN):
            if self.write_paused or self.held_by_server:
                return
            now = time.perf_counter_ns()
            count = min(blocks.per_block, self._allowance(now))
            if count <= 0:
                return
            if self.window is not None:
                self.window.publish(count, now)
            self.published += count
            self.last_publish = now
            transport.write(blocks.take(count, now))
        self._pump_is_due = True
        asyncio.get_running_loop().call_soon(self.pump)

    def _allowance(self, now: int) -> int:
        allowed = BLOCK_OCTETS
        if self.window is not None:
            allowed = min(allowed, self.window.room())
        if self._room_in_flight is not None:
            allowed = min(allowed, self._room_in_flight())
        if self._rate:
            allowed = min(allowed, int((now - self._began) * self._rate / 1e9) - self.published)
        if self._count is not None:
            allowed = min(allowed, self._count - self.published)
        return allowed
