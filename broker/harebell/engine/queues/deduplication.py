"""Which ids were taken lately, so that a message published twice is taken once.

A stream's window counts messages, with and without an id: what it holds follows from the newest messages
alone, and a start finds it again by reading as many of them.  Those of other queues and of exchanges count
ids (see ``id_window.py``).  With an interval an id is also forgotten that long after it was taken.

Of an id 16 octets are kept, a salted BLAKE2b hash.  With ten million ids in the window the odds that a new
one is taken for one of them are 10^7 / 2^128, about 3 in 10^32 for each message; eight octets would lose a
message now and then, at 5 in 10^13.  Nobody knows the salt, so nobody can choose ids that crowd the tables.

The hashes lie in a ring, in order of arrival, and the ring alone says what is in the window.  Hash tables say
where in the ring one may be.  They are small, so that the processor's caches hold most of them, and a search
leaves the ring alone, which they do not hold, until it has probably found.  A table has buckets of eight
entries, seven for ids and one for what had no room here::

    bits    1   1   30 - N        N
          +---+---+-------------+---------------+
          | 0 | 1 | of its hash | number % 2**N |    0 altogether: free
          +---+---+-------------+---------------+

An entry whose number is that of a message that left the window is as good as free.  The eighth entry has the
number of the last message that went to the next bucket: while that is in the window a search goes on there.
Each table grows by itself, so that memory follows what is known and no growth takes long: 24 to 32 octets for
each message in the window, 8 more with an interval, and what the ring has in reserve until it is full.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

from librt.strings import read_i32_be, read_i64_be
from librt.vecs import append, vec
from mypy_extensions import i32, i64

from harebell.content.properties import parse_properties
from harebell.content.scanning import (
    FLAGS_AT,
    HAS_EXPIRATION,
    HAS_HEADERS,
    HAS_PRIORITY,
    PROPERTIES_AT,
)
from harebell.content.table import find_entry
from harebell.errors import MalformedContent

TABLE_IDS: Final = 16384
"""Ids one table holds on average when the window is full, at most."""

BUCKET: Final = 8
"""Entries of a bucket, the one for what had no room included."""

BUCKET_IDS: Final = 4
"""Ids a bucket is for, on average: beyond them a table does not grow unless searches get long."""

LONGEST_SEARCH: Final = 16
"""Buckets that are looked at, at most: a table grows nevertheless before an id needs more."""

ENTRY_BITS: Final = 30
"""Bits of an entry for a number and a part of the hash."""

_MARK: Final = 1 << ENTRY_BITS
_PART_AT: Final = 32
"""Where in the lower half of a hash the part begins that entries have."""

DEFAULT_WINDOW: Final = 1_000_000
"""Ids remembered where only an interval is asked for."""

HAS_MESSAGE_ID: Final = 0x80
"""Flag in the second octet of a content header's flag word; the others are in the first one."""

HAS_CONTENT_TYPE: Final = 0x80
HAS_CONTENT_ENCODING: Final = 0x40
HAS_DELIVERY_MODE: Final = 0x10
HAS_CORRELATION_ID: Final = 0x04
HAS_REPLY_TO: Final = 0x02

EMPTY_TEXT: Final = b"S\x00\x00\x00\x00"
NOTHING: Final = b""


def window_of(window: i64, interval: i64) -> i64:
    """Give how many messages a window holds that options ask for; 0 if they ask for none.

    Args:
        window, interval: as the options have them: not positive where nothing is set.
    """
    if window > 0:
        return window
    return DEFAULT_WINDOW if interval > 0 else 0


class Deduplication:
    """The ids taken last.

    Args:
        window: so many messages are remembered.
        header: key of the header that holds the id; empty: it is the message-id property.
        salt: 16 octets that nobody knows; empty to draw them, for ids that no other process is to know.

    Attributes:
        window, header: as given.
        interval: milliseconds after which an id is forgotten; 0 is never.
        taken: messages noted so far, those long forgotten too.
        high, low: the hash of the id asked for last with ``names``.
    """

    __slots__ = (
        "_asked",
        "_digests",
        "_has_id",
        "_hash",
        "_key",
        "_most_buckets",
        "_number_bits",
        "_number_mask",
        "_part_mask",
        "_table_mask",
        "_tables",
        "_times",
        "header",
        "high",
        "interval",
        "low",
        "taken",
        "window",
    )

    def __init__(self, window: i64, header: str, salt: bytes = NOTHING) -> None:
        self.window: i64 = window
        self.interval: i64 = 0
        self.header = header
        self.taken: i64 = 0
        self._key = header.encode("utf-8", "surrogateescape")
        self._hash = hashlib.blake2b(digest_size=16, salt=salt or secrets.token_bytes(16))
        # Two numbers for each message, both 0 for one without an id.
        self._digests = vec[i64]()
        # When each came, unix milliseconds; only with an interval.
        self._times = vec[i64]()
        tables: i64 = 1
        while tables * TABLE_IDS < window:
            tables *= 2
        self._table_mask: i64 = tables - 1
        self._tables = [_free_entries(1) for _ in range(tables)]
        buckets: i64 = 1
        while buckets < TABLE_IDS // BUCKET_IDS and buckets * BUCKET_IDS < window:
            buckets *= 2
        self._most_buckets: i64 = buckets
        # Twice the window, so that numbers that left it do not look as if they were in it for long.
        bits: i64 = 1
        while 1 << bits < 2 * window and bits < ENTRY_BITS:
            bits += 1
        self._number_bits: i64 = bits
        self._number_mask: i64 = (1 << bits) - 1
        self._part_mask: i64 = (1 << (ENTRY_BITS - bits)) - 1
        # What was worked out for the header asked about last: it is remembered next, as a rule.
        self._asked: bytes = NOTHING
        self._has_id: bool = False
        self.high: i64 = 0
        self.low: i64 = 0

    def names(self, header: bytes) -> bool:
        """Tell whether a message has an id; its hash is in ``high`` and ``low`` then.

        Args:
            header: its content header.
        """
        self._ask(header)
        return self._has_id

    def knows(self, header: bytes, now: i64) -> bool:
        """Tell whether a message has the id of one in the window; one without an id never has.

        Args:
            header: its content header.
            now: unix milliseconds.
        """
        self._ask(header)
        return self._has_id and self._known(self.high, self.low, now)

    def remember(self, header: bytes, now: i64) -> None:
        """Note a message that was taken; the oldest one leaves the window if that is full.

        Args:
            header: its content header.
            now: when it was taken, unix milliseconds.
        """
        self._ask(header)
        self._asked = NOTHING
        has_id = self._has_id
        self._has_id = False
        if has_id:
            self.add(self.high, self.low, now)
        else:
            self.add(0, 0, now)

    def resized(self, window: i64) -> Deduplication:
        """Give another window that remembers of these messages as many of the last as it can hold."""
        other = Deduplication(window, self.header)
        other._hash = self._hash
        other.interval = self.interval
        digests = self._digests
        number: i64 = self.taken - min(self.taken, self.window, window)
        while number < self.taken:
            slot: i64 = number % self.window
            came: i64 = self._times[slot] if self.interval > 0 else 0
            other.add(digests[2 * slot], digests[2 * slot + 1], came)
            number += 1
        return other

    def forget_after(self, interval: i64, now: i64) -> None:
        """Go by another interval, milliseconds; what is known without a time came now."""
        if interval > 0 and self.interval == 0:
            times = vec[i64]()
            for _ in range(min(self.taken, self.window)):
                times = append(times, now)
            self._times = times
        elif interval <= 0:
            self._times = vec[i64]()
        self.interval = max(interval, 0)

    def _ask(self, header: bytes) -> None:
        """Work out the hash of a message's id."""
        if header is self._asked:
            return
        self._asked = header
        self._has_id = False
        raw = self._id(header)
        if raw is None:
            return
        state = self._hash.copy()
        state.update(raw)
        digest = state.digest()
        self.high = read_i64_be(digest, 0)
        self.low = read_i64_be(digest, 8)
        self._has_id = True

    def _id(self, header: bytes) -> bytes | None:
        """Give the octets of an id, of a header with its type; None if there is none, or an empty one."""
        if len(header) < PROPERTIES_AT:
            return None
        try:
            if self._key:
                return self._header_value(header)
            if not header[FLAGS_AT + 1] & HAS_MESSAGE_ID:
                return None
            at: i64 = _message_id_at(header)
            end: i64 = at + 1 + header[at]
            return header[at + 1 : end] if at + 1 < end <= len(header) else None
        except (MalformedContent, IndexError):
            return None

    def _header_value(self, header: bytes) -> bytes | None:
        if not header[FLAGS_AT] & HAS_HEADERS:
            return None
        table = parse_properties(header).raw_headers()
        found = find_entry(table, self._key)
        if found is None:
            return None
        start: i64 = found[0]
        end: i64 = found[1]
        value = table[start:end]
        # A type without a value is that of nothing.
        return None if end - start <= 1 or value == EMPTY_TEXT else value

    def _known(self, high: i64, low: i64, now: i64) -> bool:
        slot = self._find(high, low)
        return slot >= 0 and (self.interval == 0 or self._times[slot] + self.interval > now)

    def _entry(self, low: i64) -> i64:
        """Give the entry of a hash, without its number."""
        return _MARK | (low >> _PART_AT & self._part_mask) << self._number_bits

    def _find(self, high: i64, low: i64) -> i64:
        """Give where in the ring a hash is; negative if it is not in the window."""
        table = self._tables[high & self._table_mask]
        last: i64 = len(table) - 1
        mask: i64 = self._number_mask
        wanted = self._entry(low)
        at: i64 = (low * BUCKET) & last
        search: i64 = 0
        while search < LONGEST_SEARCH:
            end: i64 = at + BUCKET - 1
            while at < end:
                entry: i64 = i64(table[at])
                if entry & ~mask == wanted:
                    slot = self._slot(entry, high, low)
                    if slot >= 0:
                        return slot
                at += 1
            entry = i64(table[end])
            if entry == 0 or (self.taken - entry - 1) & mask >= self.window:
                break
            at = (end + 1) & last
            search += 1
        return -1

    def _place(self, entry: i64) -> i64:
        """Give where in the ring an entry's message is; negative if that left the window."""
        age: i64 = ((self.taken - entry - 1) & self._number_mask) + 1
        if age > self.window or age > self.taken:
            return -1
        return (self.taken - age) % self.window

    def _slot(self, entry: i64, high: i64, low: i64) -> i64:
        """Give where in the ring a hash is whose entry this may be; negative if it is another one's."""
        slot = self._place(entry)
        digests = self._digests
        return slot if slot >= 0 and digests[2 * slot] == high and digests[2 * slot + 1] == low else -1

    def add(self, high: i64, low: i64, now: i64) -> None:
        """Note the hash of an id that was taken at a time, unix milliseconds; both 0 for none."""
        digests = self._digests
        slot: i64 = self.taken % self.window
        if self.taken < self.window:
            digests = append(digests, high)
            digests = append(digests, low)
            self._digests = digests
        else:
            digests[2 * slot] = high
            digests[2 * slot + 1] = low
        if self.interval > 0:
            if slot == len(self._times):
                self._times = append(self._times, now)
            else:
                self._times[slot] = now
        self.taken += 1
        if high != 0 or low != 0:
            self._insert(high, low)

    def _insert(self, high: i64, low: i64) -> None:
        """Enter the message that was noted last."""
        number: i64 = high & self._table_mask
        entry: i64 = self._entry(low) | (self.taken - 1) & self._number_mask
        table = self._tables[number]
        while not self._enter(table, entry, high, low, len(table) < self._most_buckets * BUCKET):
            table = self._tables[number] = self._grown(table)

    def _enter(self, table: vec[i32], entry: i64, high: i64, low: i64, may_grow: bool) -> bool:
        """Find a place for an entry; False if the table had better grow."""
        last: i64 = len(table) - 1
        mask: i64 = self._number_mask
        window: i64 = self.window
        taken: i64 = self.taken
        part: i64 = entry & ~mask
        at: i64 = (low * BUCKET) & last
        place: i64 = -1
        search: i64 = 0
        while True:
            end: i64 = at + BUCKET - 1
            while at < end:
                other: i64 = i64(table[at])
                if other == 0 or (taken - other - 1) & mask >= window:
                    if place < 0:
                        place = at
                elif other & ~mask == part and self._slot(other, high, low) >= 0:
                    # The id was taken again, as a dead letter: the later one stays longer.
                    place = at
                    break
                at += 1
            further: i64 = i64(table[end])
            if place >= 0 and (at < end or further == 0 or (taken - further - 1) & mask >= window):
                break
            search += 1
            if search == LONGEST_SEARCH or (may_grow and place < 0):
                if place < 0:
                    return False
                break
            at = (end + 1) & last
        table[place] = i32(entry)
        # A search has to come as far as this.
        at = (low * BUCKET) & last
        while at // BUCKET != place // BUCKET:
            table[at + BUCKET - 1] = i32(_MARK | entry & mask)
            at = (at + BUCKET) & last
        return True

    def _grown(self, table: vec[i32]) -> vec[i32]:
        """Give a larger table with what of this one is in the window."""
        digests = self._digests
        buckets: i64 = len(table) // BUCKET
        while True:
            buckets *= 2
            larger = _free_entries(buckets)
            fits = True
            at: i64 = 0
            while fits and at < len(table):
                entry: i64 = i64(table[at])
                slot = self._place(entry) if entry != 0 and at % BUCKET != BUCKET - 1 else -1
                if slot >= 0:
                    fits = self._enter(larger, entry, digests[2 * slot], digests[2 * slot + 1], False)
                at += 1
            if fits:
                return larger


def _message_id_at(header: bytes) -> i64:
    """Give where the message-id stands in a header that was parsed when it was published."""
    at: i64 = PROPERTIES_AT
    flags: i64 = header[FLAGS_AT]
    if flags & HAS_CONTENT_TYPE:
        at += 1 + header[at]
    if flags & HAS_CONTENT_ENCODING:
        at += 1 + header[at]
    if flags & HAS_HEADERS:
        at += 4 + i64(read_i32_be(header, at))
    if flags & HAS_DELIVERY_MODE:
        at += 1
    if flags & HAS_PRIORITY:
        at += 1
    if flags & HAS_CORRELATION_ID:
        at += 1 + header[at]
    if flags & HAS_REPLY_TO:
        at += 1 + header[at]
    if flags & HAS_EXPIRATION:
        at += 1 + header[at]
    return at


def _free_entries(buckets: i64) -> vec[i32]:
    return vec[i32]([0 for _ in range(BUCKET * buckets)])
