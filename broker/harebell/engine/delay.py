"""For how long exchanges delay messages, and the copies of a message that wait.

A message may meet several exchanges that delay, for one may be bound to another.  Each has a copy of its own
wait, in a hidden queue (``queues/delayed.py``).
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from harebell.content.message import Message
from harebell.content.properties import Properties, with_header
from harebell.content.table import Timestamp, encode_value
from harebell.engine.arguments import DELAY, DELIVER_AT
from harebell.engine.options import ExchangeOptions

if TYPE_CHECKING:
    from harebell.engine.exchanges.exchange import Exchange
    from harebell.engine.queues.queue import Queue

LONGEST: Final = 1 << 50
"""Milliseconds of the longest delay, and the latest time: some ten thousand years."""

_DELAY_KEY: Final = DELAY.encode()
_DELAY_ENTRY: Final = bytes([len(_DELAY_KEY)]) + _DELAY_KEY
_DELIVER_AT_KEY: Final = DELIVER_AT.encode()
_DELIVER_AT_ENTRY: Final = bytes([len(_DELIVER_AT_KEY)]) + _DELIVER_AT_KEY
_BCC: Final = b"BCC"


class Wait:
    """A message is delayed by an exchange on its way.

    Attributes:
        exchange: from which it goes on.
        milliseconds: from now on; 0 if it is delayed until a time.
        until: unix milliseconds when it is to be routed.
        marked: True if its header ``x-delay`` said so.
    """

    def __init__(self, exchange: Exchange, milliseconds: i64, until: i64, marked: bool) -> None:
        self.exchange = exchange
        self.milliseconds: i64 = milliseconds
        self.until: i64 = until
        self.marked: bool = marked

    def copy(self, message: Message, keys: list[str]) -> Message:
        """Make what waits: the header says that the delay was heeded, and tells all keys.

        Args:
            message: as it goes to queues that take it at once.
            keys: what it is routed with; those but the first are in its header ``BCC`` until then.
        """
        header = message.header
        if self.marked:
            # The plugin's mark.
            header = with_header(header, _DELAY_KEY, encode_value(-self.milliseconds))
        if len(keys) > 1:
            copies: list[object] = list(keys[1:])
            header = with_header(header, _BCC, encode_value(copies))
        waits = Message(message.address, header, message.body, message.persistent)
        waits.arrived = self.until
        return waits


class WaitingCopy:
    """A message that is to be put where it waits.

    Attributes:
        message: with the time at which it goes on as ``arrived``.
        queue: where it waits.
        milliseconds: its delay; 0 if it is delayed until a time.
    """

    def __init__(self, message: Message, queue: Queue, milliseconds: i64) -> None:
        self.message = message
        self.queue = queue
        self.milliseconds: i64 = milliseconds


def wait_of(properties: Properties, exchange: Exchange, options: ExchangeOptions, now: i64) -> Wait | None:
    """Tell for how long an exchange delays a message; None if it does not.

    The header ``x-delay`` counts if it is a positive number, in any form a newer plugin takes, and comes out
    negative (so the plugin marks it); else ``x-deliver-at`` if it is later than now; else the exchange's own
    delay, unless ``x-delay`` is zero or no number.

    Args:
        properties: the message's.
        options: the exchange's, one that delays.
        now: unix milliseconds.
    """
    default = True
    if properties.headers_start >= 0:
        raw = properties.raw_headers()
        if raw.find(_DELAY_ENTRY) >= 0 or raw.find(_DELIVER_AT_ENTRY) >= 0:
            headers = properties.headers()
            if DELAY in headers:
                milliseconds = whole_number(headers[DELAY])
                if milliseconds is not None and milliseconds > 0:
                    return Wait(exchange, milliseconds, now + milliseconds, True)
                # A negative one tells of an earlier delay that is over.
                default = milliseconds is not None and milliseconds < 0
            if DELIVER_AT in headers:
                until = _time(headers[DELIVER_AT])
                if until > now:
                    return Wait(exchange, 0, until, False)
    own: i64 = options.delay
    if own > 0 and default:
        return Wait(exchange, own, now + own, False)
    return None


def whole_number(value: object) -> int | None:
    """Read a delay: a number, or a text that is one, cut off at its point; None if it is neither."""
    if isinstance(value, (bool, Timestamp)):
        return None
    number: int | None = None
    if isinstance(value, int):
        number = value
    elif isinstance(value, (float, Decimal)):
        try:
            number = int(value)
        except (ValueError, OverflowError):
            return None
    elif isinstance(value, (str, bytes)) and 0 < len(value) <= 20:
        try:
            number = int(value)
        except ValueError:
            return None
    return number if number is None else min(number, LONGEST)


def _time(value: object) -> int:
    """Read a time, a timestamp or unix milliseconds; 0 if it is neither."""
    if isinstance(value, Timestamp):
        return min(int(value) * 1000, LONGEST)
    found = value if isinstance(value, int) and not isinstance(value, bool) else 0
    return min(found, LONGEST)
