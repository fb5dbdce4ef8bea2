"""A reader's place in a stream: what it gets next, and how far it acknowledged."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from mypy_extensions import i64, u8

from harebell.content.message import Message
from harebell.content.properties import parse_properties
from harebell.content.table import Table
from harebell.engine.arguments import STREAM_FILTER, STREAM_FILTER_VALUE, STREAM_MATCH_UNFILTERED
from harebell.engine.consumers import Consumer
from harebell.streaming import Block, BlockHolder, StreamLog

READY: Final = 0
WITHOUT_CREDIT: Final = 1
AT_END: Final = 2
READING: Final = 3
STANDBY: Final = 4
"""What a cursor waits for: its turn, its consumer, messages, the disk, to be the active one of its group."""

KEPT_OCTETS: Final = 32 * 1024
"""What a cursor that waits for its consumer keeps of the messages that come next, if the log has let go of
their block: a reader of single messages shall not have it read again for each."""


class Reading(NamedTuple):
    """How far a reader of a stream is.

    Attributes:
        name: of its group or account; the consumer's tag if it has none.
        offset: of the first message it did not acknowledge, if it is named, else of the next it gets.
        lag: messages from there to the end.
        consumers: how many read under that name now; 0 if only its place is kept.
    """

    name: str
    offset: int
    lag: int
    consumers: int


class Filter:
    """Which messages a consumer wants, by the header ``x-stream-filter-value``; checked exactly.

    Args:
        values: those wanted.
        unfiltered: True to deliver messages without the header too.
    """

    def __init__(self, values: frozenset[str], unfiltered: bool) -> None:
        self._values = values
        self._unfiltered = unfiltered

    def takes(self, message: Message) -> bool:
        """Tell whether a message is wanted."""
        value = parse_properties(message.header).headers().get(STREAM_FILTER_VALUE)
        if value is None:
            return self._unfiltered
        return isinstance(value, str) and value in self._values


def filter_of(arguments: Table) -> Filter | None:
    """Give what a consumer's arguments ask for; None if it wants all."""
    asked = arguments.get(STREAM_FILTER)
    if asked is None:
        return None
    values = asked if isinstance(asked, list) else [asked]
    return Filter(frozenset(str(value) for value in values), arguments.get(STREAM_MATCH_UNFILTERED) is True)


class Tracking:
    """How far a named consumer acknowledged: everything before ``offset``.

    Attributes:
        offset: the first offset not acknowledged, or not delivered.
    """

    def __init__(self, offset: i64) -> None:
        self.offset: i64 = offset
        self._awaited: deque[int] = deque()
        self._answered: set[int] = set()
        self._sent: i64 = offset

    def delivered(self, offset: i64) -> None:
        """A message was handed over; offsets grow."""
        self._awaited.append(offset)
        self._sent = offset + 1

    def acknowledged(self, offset: i64) -> None:
        """A message was acknowledged, in any order."""
        awaited = self._awaited
        answered = self._answered
        answered.add(offset)
        while awaited and awaited[0] in answered:
            answered.discard(awaited.popleft())
        self.offset = awaited[0] if awaited else self._sent

    def awaits(self) -> bool:
        """Tell whether any delivery is not answered."""
        return len(self._awaited) > 0


class Cursor(BlockHolder):
    """One consumer of a stream.

    Attributes:
        consumer: who reads.
        offset: of the next message, or the first one behind it.
        state: what it waits for.
        noted: the offset last noted of it.
        tracking: how far it acknowledged, if it is named.
        since: unix milliseconds; what came earlier is passed over until something is not.  0: nothing is.
        name: under which that is kept; empty for none.
    """

    def __init__(self, consumer: Consumer, offset: i64, wanted: Filter | None) -> None:
        self.consumer = consumer
        self.offset: i64 = offset
        self.state: u8 = READY
        self.listed: bool = False
        self.since: i64 = 0
        self.noted: i64 = -1
        self.name = ""
        self.tracking: Tracking | None = None
        self._wanted = wanted
        self._block: Block | None = None
        self._index: i64 = 0
        self._partial: bool = False
        self._holding: bool = False
        self._asked_ahead: i64 = -1

    def begin(self, offset: i64) -> None:
        """Read from an offset on, now."""
        self.offset = offset
        self.since = 0
        self.noted = offset
        self.tracking = Tracking(offset)
        self.state = READY
        self._let_go()

    def stand_by(self) -> None:
        """Wait until it is the active one of its group."""
        self.state = STANDBY
        self._let_go()

    def leave(self) -> None:
        """Nothing is delivered any more; only acknowledgements may come."""
        self._let_go()

    def evicted(self, block: Block) -> None:
        """The log let go of a block: a cursor that waits for its consumer does so, too."""
        if block is self._block:
            self._holding = False
            if self.state == WITHOUT_CREDIT:
                self._keep_little(block)

    def run(self, log: StreamLog, limit: i64) -> i64:
        """Deliver up to ``limit`` messages, and give their octets; ``state`` says why it ended."""
        left: i64 = limit
        octets: i64 = 0
        consumer = self.consumer
        wanted = self._wanted
        tracking = self.tracking
        self.state = READY
        while left > 0:
            block = self._block
            if block is None or self._index >= len(block.messages):
                self._let_go()
                # Nothing is read for one who can take nothing.
                if self.offset < log.next and not consumer.eligible():
                    self._park()
                    break
                block = self._next_block(log)
                if block is None:
                    break
            if not consumer.eligible():
                self._park()
                break
            message = block.messages[self._index]
            offset: i64 = block.offset(self._index)
            self._index += 1
            self.offset = offset + 1
            left -= 1
            if self.since > 0:
                if message.arrived < self.since:
                    continue
                self.since = 0
            if wanted is not None and not wanted.takes(message):
                continue
            if tracking is not None:
                tracking.delivered(offset)
            octets += message.size()
            consumer.deliver(message, offset, 0)
        return octets

    def _park(self) -> None:
        """Wait for the consumer, and keep the block as long as the log has it in memory."""
        self.consumer.parked = True
        self.state = WITHOUT_CREDIT
        block = self._block
        if block is None or self._holding or self._partial:
            return
        if block.cached:
            block.holders.add(self)
            self._holding = True
        else:
            self._keep_little(block)

    def _keep_little(self, block: Block) -> None:
        """Let go of the block but for what comes next."""
        self._block = block.part(self._index, KEPT_OCTETS)
        self._index = 0
        self._partial = True

    def _let_go(self) -> None:
        block = self._block
        if block is not None and self._holding:
            block.holders.discard(self)
        self._holding = False
        self._block = None

    def _next_block(self, log: StreamLog) -> Block | None:
        """Go on with the block at ``offset``; None, and ``state`` says why, if there is none now."""
        while self.offset < log.next:
            block = log.block(self.offset)
            if block is None:
                self.state = READING
                return None
            self._index = block.index(self.offset)
            if self._index < len(block.messages):
                self._block = block
                self._partial = False
                if not block.growing and block.next != self._asked_ahead:
                    # Once only: this block may be asked for several times.
                    self._asked_ahead = block.next
                    log.ahead(block.next)
                return block
            if block.next <= self.offset:
                break
            self.offset = block.next
        self.state = AT_END
        return None
