"""What becomes of a message that a queue gives up: a new header, the keys to route with, the cycle rule.

RabbitMQ's dead-letter headers, as seen on 3.10 and kept in 4.x:

* ``x-death``: an array of tables, the latest death first, one table for each pair of queue and reason::

      count               l  how often
      reason              S  rejected, expired, maxlen, delivery_limit or invalid
      queue               S  which queue gave it up
      time                T  when it first did, in seconds
      exchange            S  where the message had been published to
      routing-keys        A  the keys it was published with: its own, then those of CC; BCC stays hidden
      original-expiration S  the expiration property it had, if any

  A repeat raises ``count`` and moves the table to the front; all else in it tells of the first time.
* ``x-first-death-queue``, ``-reason`` and ``-exchange``: set together with the first entry of ``x-death``.
* ``x-last-death-queue``, ``-reason`` and ``-exchange``: set at every death (4.x; 3.10 has none).

The expiration property goes, or the message would expire again where it is sent.  CC goes when the queue has
a dead-letter routing key, for that replaces all keys.  Every other property and header stays byte for byte.

RabbitMQ 3.10 reverses the older entries at each hop; the order by recency of 4.x is used here, and the cycle
rule reads that order.

RabbitMQ lets ``x-death`` grow without bound and stumbles over one that a client wrote badly.  Here the
newest :data:`MAX_ENTRIES` entries are kept, fewer if the header would outgrow :data:`MAX_HEADER`; an entry
that is no table is dropped, and an ``x-death`` that is no array, or has no table in it, counts as absent.
"""

from __future__ import annotations

from typing import Final

from librt.strings import BytesWriter, write_i64_be
from mypy_extensions import i64

from harebell.content.message import Message, address
from harebell.content.properties import (
    EXPIRATION,
    HEADERS,
    parse_properties,
    with_header,
    with_property,
    without_expiration,
    without_headers,
)
from harebell.content.table import find_entry, set_entry, value_end
from harebell.errors import MalformedContent

REJECTED: Final = "rejected"
EXPIRED: Final = "expired"
MAXLEN: Final = "maxlen"
DELIVERY_LIMIT: Final = "delivery_limit"
INVALID: Final = "invalid"

MAX_ENTRIES: Final = 256
"""Entries of x-death kept, the newest.  A cycle through more queues than this is not recognised as one."""

MAX_HEADER: Final = 131_064
"""Octets a header may grow to through x-death: what one frame of the usual size, 128 KiB, can carry.

The latest entry is kept in any case, so a header that is larger already, or nearly, still grows by that one.
"""

MAX_KEYS: Final = 8_192
"""Octets of routing keys that one entry of x-death tells; keys beyond them are left out of it."""

MAX_COUNT: Final = (1 << 63) - 1

DEATH: Final = b"x-death"
_FIRST: Final = (b"x-first-death-queue", b"x-first-death-reason", b"x-first-death-exchange")
_LAST: Final = (b"x-last-death-queue", b"x-last-death-reason", b"x-last-death-exchange")
_DELIVERY_COUNT: Final = b"x-delivery-count"
_CC: Final = b"CC"
_BCC: Final = b"BCC"

_COUNT: Final = b"count"
_REASON: Final = b"reason"
_QUEUE: Final = b"queue"
_REJECTED: Final = b"rejected"

_ARRAY: Final = 0x41  # A
_TABLE: Final = 0x46  # F
_TEXT: Final = 0x53  # S
_WHOLE_NUMBERS: Final = b"bBsuIilL"
_SIGNED: Final = b"bsIlL"


class DeadLetter:
    """A message ready to be routed once more.

    Attributes:
        message: addressed to the dead-letter exchange, with the new header and the old body; as persistent
            as before.  It was never journaled.
        keys: what to route it with: its routing key, then those of CC (and of BCC, if the header still
            had it) unless the queue has a dead-letter routing key.  Each once.
        path: the queues it came through since a consumer last rejected it, the one it leaves included.
    """

    def __init__(self, message: Message, keys: list[str], path: set[str]) -> None:
        self.message = message
        self.keys = keys
        self.path = path

    def would_cycle(self, queue: str) -> bool:
        """Tell whether this message must not be put into ``queue``, one of those it was routed to.

        RabbitMQ drops a dead letter for a queue it has passed already, if nobody rejected it since: such
        a cycle would turn for ever with no application in it.  The rule is for each target by itself:
        after routing, cycling queues are left out and the others get the message.
        """
        return queue in self.path


def dead_letter(
    message: Message,
    queue: str,
    reason: str,
    seconds: i64,
    exchange: str,
    routing_key: str | None,
    keep_history: bool = True,
) -> DeadLetter:
    """Make the dead letter of a message.

    Whatever is in the message's header, this raises nothing.

    Args:
        message: what the queue gives up.
        queue: the queue's name.
        reason: one of ``REJECTED``, ``EXPIRED``, ``MAXLEN``, ``DELIVERY_LIMIT`` and ``INVALID``.
        seconds: now, since 1970.
        exchange: the dead-letter exchange, at most 255 octets.
        routing_key: the dead-letter routing key, at most 255 octets; None to keep the keys.
        keep_history: whether an ``x-death`` in the header is continued.  Up to RabbitMQ 3.13 it is, whoever
            wrote it: an application that republishes what it consumed keeps its counts, and retry counters
            rely on that.  RabbitMQ 4 continues only what it wrote itself, and what a client published
            starts again at 1.  False is for that: pass it for a message whose ``x-death``, if any, came
            from its publisher, so that it is replaced; for a message made by this function pass True.
    """
    old_exchange, old_key = _split_address(message.address)
    try:
        properties = parse_properties(message.header)
    except MalformedContent:
        # It was accepted once, so it travels on; there is no place in it for a history.
        key = _text(old_key) if routing_key is None else routing_key
        unchanged = Message(address(exchange, key), message.header, message.body, message.persistent)
        return DeadLetter(unchanged, [key], _path_of_one(queue, reason))
    found = _Found(properties.raw_headers(), routing_key is None)
    expiration = properties.raw_text(EXPIRATION)
    keys = [old_key, *found.cc]
    death = _new_death(queue, reason, seconds, old_exchange, keys, expiration)
    history = _History(found.history if keep_history else [], queue, reason, death)
    table = BytesWriter()
    table.write(found.others)
    if keep_history and found.history:
        table.write(found.first)
    else:
        _write_names(table, _FIRST, queue, reason, old_exchange)
    _write_names(table, _LAST, queue, reason, old_exchange)
    room: i64 = MAX_HEADER - 4 - len(message.header) + len(properties.raw_headers()) - len(table)
    _write_array(table, history.entries, room)
    header = with_property(message.header, HEADERS, _with_length(table.getvalue()))
    if expiration is not None:
        header = without_expiration(header)
    if routing_key is None:
        names = [_text(key) for key in dict.fromkeys([*keys, *found.bcc])]
    else:
        names = [routing_key]
    letter = Message(address(exchange, names[0]), header, message.body, message.persistent)
    return DeadLetter(letter, names, history.path)


def would_cycle(message: Message, queue: str) -> bool:
    """Tell whether a dead letter must not be put into ``queue``: see :meth:`DeadLetter.would_cycle`.

    For a dead letter that is only at hand as a message: its header says the same as ``path``.
    """
    try:
        found = _Found(parse_properties(message.header).raw_headers(), True)
    except MalformedContent:
        return False
    return queue in _path(found.history)


def with_delivery_count(header: bytes, count: i64) -> bytes:
    """Set ``x-delivery-count``, as quorum queues do on a redelivery; a publisher's own is replaced.

    RabbitMQ 3.10 sends it as a 64-bit number: on ``basic.deliver`` from the second delivery on, on
    ``basic.get-ok`` also the first time, with 0.

    Args:
        header: a content header's payload; it comes back as it is if it is malformed.
        count: unsuccessful deliveries so far.
    """
    try:
        return with_header(header, _DELIVERY_COUNT, b"l" + _int64(count))
    except MalformedContent:
        return header


def has_history(header: bytes) -> bool:
    """Tell whether a content header may have an ``x-death`` among its headers."""
    return header.find(DEATH) >= 0


def without_history(header: bytes) -> bytes:
    """Take ``x-death`` out of a content header, so that counting starts anew (RabbitMQ 4)."""
    return without_headers(header, [DEATH])


class _Found:
    """One pass over a valid header table: what concerns dead letters, and the rest as it came."""

    def __init__(self, table: bytes, keep_cc: bool) -> None:
        self.others: bytes = b""
        self.first: bytes = b""
        self.history: list[bytes] = []
        self.cc: list[bytes] = []
        self.bcc: list[bytes] = []
        others = BytesWriter()
        first = BytesWriter()
        pos: i64 = 0
        copied: i64 = 0
        end: i64 = len(table)
        while pos < end:
            value: i64 = pos + 1 + table[pos]
            after: i64 = value_end(table, value, end)
            size: i64 = value - pos - 1
            if size == 2 or size == 3 or size == 7 or size >= 18:
                key = table[pos + 1 : value]
                ours = True
                if key == _CC:
                    self.cc = _texts(table[value:after])
                    ours = not keep_cc
                elif key == _BCC:
                    self.bcc = _texts(table[value:after])
                elif key == DEATH:
                    self.history = _entries(table[value + 5 : after]) if table[value] == _ARRAY else []
                elif key in _FIRST:
                    first.write(table[pos:after])
                else:
                    ours = key in _LAST
                if ours:
                    others.write(table[copied:pos])
                    copied = after
            pos = after
        if copied == 0:
            self.others = table
        else:
            others.write(table[copied:])
            self.others = others.getvalue()
        self.first = first.getvalue()


class _History:
    """The entries of x-death after one more death, newest first, each the content of a table."""

    def __init__(self, older: list[bytes], queue: str, reason: str, death: bytes) -> None:
        raw_queue = _raw(queue)
        raw_reason = _raw(reason)
        self.entries: list[bytes] = [death]
        self.path: set[str] = _path_of_one(queue, reason)
        same: list[bytes] = []
        automatic = reason != REJECTED
        for entry in older:
            entry_queue = _text_of(entry, _QUEUE)
            entry_reason = _text_of(entry, _REASON)
            if entry_queue == raw_queue and entry_reason == raw_reason:
                same.append(entry)
            elif len(self.entries) < MAX_ENTRIES:
                self.entries.append(entry)
                automatic = automatic and entry_reason != _REJECTED
                if automatic and entry_queue is not None:
                    self.path.add(_text(entry_queue))
        if same:
            # RabbitMQ before 3.6 wrote an entry for each death, without a count.
            count = _count_of(same[0])
            if count < 0:
                count = len(same)
            self.entries[0] = set_entry(same[0], _COUNT, b"l" + _int64(min(count + 1, MAX_COUNT)))


def _path_of_one(queue: str, reason: str) -> set[str]:
    return set() if reason == REJECTED else {queue}


def _path(entries: list[bytes]) -> set[str]:
    found: set[str] = set()
    for entry in entries:
        if _text_of(entry, _REASON) == _REJECTED:
            break
        queue = _text_of(entry, _QUEUE)
        if queue is not None:
            found.add(_text(queue))
    return found


def _entries(array: bytes) -> list[bytes]:
    """Give the tables in an array's content, without their type and length; other values are passed over."""
    found: list[bytes] = []
    pos: i64 = 0
    end: i64 = len(array)
    while pos < end:
        after: i64 = value_end(array, pos, end)
        if array[pos] == _TABLE:
            found.append(array[pos + 5 : after])
        pos = after
    return found


def _texts(value: bytes) -> list[bytes]:
    """Give the strings in an array, a value with its type octet; nothing if it is no array."""
    found: list[bytes] = []
    if value[0] != _ARRAY:
        return found
    pos: i64 = 5
    end: i64 = len(value)
    while pos < end:
        after: i64 = value_end(value, pos, end)
        if value[pos] == _TEXT:
            found.append(value[pos + 5 : after])
        pos = after
    return found


def _text_of(entry: bytes, key: bytes) -> bytes | None:
    at = find_entry(entry, key)
    if at is None or entry[at[0]] != _TEXT:
        return None
    return entry[at[0] + 5 : at[1]]


def _count_of(entry: bytes) -> int:
    """Give an entry's count, -1 if there is none, it is no whole number, or it is negative."""
    at = find_entry(entry, _COUNT)
    if at is None:
        return -1
    kind = entry[at[0]]
    if kind not in _WHOLE_NUMBERS:
        return -1
    return max(int.from_bytes(entry[at[0] + 1 : at[1]], "big", signed=kind in _SIGNED), -1)


def _new_death(
    queue: str, reason: str, seconds: i64, exchange: bytes, keys: list[bytes], expiration: bytes | None
) -> bytes:
    told = BytesWriter()
    for key in keys:
        if len(told) + len(key) + 5 > MAX_KEYS:
            break
        _write_text(told, key)
    out = BytesWriter()
    out.write(b"\x05countl\x00\x00\x00\x00\x00\x00\x00\x01\x06reason")
    _write_text(out, _raw(reason))
    out.write(b"\x05queue")
    _write_text(out, _raw(queue))
    out.write(b"\x04timeT")
    write_i64_be(out, seconds)
    out.write(b"\x08exchange")
    _write_text(out, exchange)
    out.write(b"\x0crouting-keysA")
    out.write(_with_length(told.getvalue()))
    if expiration is not None:
        out.write(b"\x13original-expiration")
        _write_text(out, expiration)
    return out.getvalue()


def _write_names(
    out: BytesWriter, keys: tuple[bytes, bytes, bytes], queue: str, reason: str, exchange: bytes
) -> None:
    out.append(len(keys[0]))
    out.write(keys[0])
    _write_text(out, _raw(queue))
    out.append(len(keys[1]))
    out.write(keys[1])
    _write_text(out, _raw(reason))
    out.append(len(keys[2]))
    out.write(keys[2])
    _write_text(out, exchange)


def _write_array(out: BytesWriter, entries: list[bytes], room: i64) -> None:
    """Write x-death with as many entries as the room allows, the first one in any case."""
    array = BytesWriter()
    room -= len(DEATH) + 6
    for entry in entries:
        room -= len(entry) + 5
        if room < 0 and len(array) > 0:
            break
        array.append(_TABLE)
        array.write(_with_length(entry))
    out.append(len(DEATH))
    out.write(DEATH)
    out.append(_ARRAY)
    out.write(_with_length(array.getvalue()))


def _write_text(out: BytesWriter, text: bytes) -> None:
    out.append(_TEXT)
    out.write(_with_length(text))


def _split_address(raw: bytes) -> tuple[bytes, bytes]:
    first: i64 = 1 + raw[0]
    return raw[1:first], raw[first + 1 :]


def _with_length(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content


def _int64(number: i64) -> bytes:
    out = BytesWriter()
    write_i64_be(out, number)
    return out.getvalue()


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
