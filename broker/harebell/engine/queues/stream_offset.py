"""Where a stream's consumer begins: the forms of ``x-stream-offset`` (RabbitMQ's), and a few more."""

from __future__ import annotations

from harebell.content.table import Table, Timestamp
from harebell.engine.argument_checks import LONGEST_MS, interval_ms, wire_type
from harebell.engine.arguments import STREAM_OFFSET
from harebell.engine.erlang_terms import term
from harebell.errors import PRECONDITION_FAILED, BrokerError
from harebell.streaming import StreamLog


def check_offset(arguments: Table, name: str, vhost: str) -> None:
    """Check a consumer's ``x-stream-offset``.

    Raises:
        BrokerError: PRECONDITION_FAILED (RabbitMQ 3.10 fails with 541 for some, later versions as here).
    """
    asked = arguments.get(STREAM_OFFSET)
    if STREAM_OFFSET not in arguments or isinstance(asked, Timestamp) or type(asked) is int:
        return
    if isinstance(asked, str) and (asked in ("first", "last", "next") or interval_ms(asked) > 0):
        return
    raise BrokerError(
        PRECONDITION_FAILED,
        f"invalid arg '{STREAM_OFFSET}' for queue '{name}' in vhost '{vhost}': "
        f"{{invalid_stream_offset_arg,{{{wire_type(asked)},{term(asked)}}}}}",
    )


def begin_time(asked: object, now: int) -> int:
    """Give the time, unix milliseconds, that a checked ``x-stream-offset`` begins at; 0 if it tells none."""
    if isinstance(asked, Timestamp):
        return min(max(1, int(asked) * 1000), LONGEST_MS)
    if isinstance(asked, str) and asked not in ("first", "last", "next"):
        return max(1, now - interval_ms(asked))
    return 0


def first_offset(asked: object, log: StreamLog, now: int) -> int:
    """Give the offset a consumer begins at; a time may be told by the start of the block it is in.

    Args:
        asked: a checked ``x-stream-offset``; a negative number asks for so many of the last messages.
        log: where it reads.
        now: unix milliseconds.
    """
    if asked == "first":
        return int(log.first)
    if asked == "last":
        return int(log.last_chunk())
    since = begin_time(asked, now)
    if since:
        return int(log.offset_at(since))
    if isinstance(asked, int):
        return asked if asked >= 0 else max(int(log.first), int(log.next) + asked)
    return int(log.next)
