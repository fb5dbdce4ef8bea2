"""The deliveries of one channel that await an answer, in the order of their tags.

Tags grow, so the window is a list sorted by tag; a tag's place is guessed from its distance to the first
and, where no-ack deliveries left gaps, found by bisection.  Settled entries stay until the head passes
them or half the window is settled, so every operation is constant time, amortised.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from harebell.amqp.leases import NO_LIFE, Lease, own_timeout, shows_life
from harebell.engine.consumers import Consumer, Unacked, acknowledgement_timeout
from harebell.engine.queues.queue import Queue

COMPACT_FROM: Final = 256
"""Settled entries tolerated before the window is swept."""

LOOK_AT_MOST: Final = 10_000
"""Deliveries looked at in one go for one that is over its timeout."""


class UnackedWindow:
    """The unacknowledged deliveries of one channel.

    Attributes:
        shortest: the shortest acknowledgement timeout, in milliseconds, any of them may have but for the
            node's; 0 if there is none.
        leases: by tag, the deliveries whose timeout is their own; None while there is none.
    """

    def __init__(self) -> None:
        self.shortest: i64 = 0
        self.leases: dict[int, Lease] | None = None
        self._read_to: i64 = 0
        self._looked_at: i64 = 0
        self._entries: list[Unacked] = []
        self._head: i64 = 0
        self._settled: i64 = 0

    def __len__(self) -> int:
        return len(self._entries) - self._head - self._settled

    def append(self, entry: Unacked) -> None:
        """Add a delivery; its tag is higher than any before."""
        self._entries.append(entry)

    def oldest(self) -> Unacked | None:
        """Give the longest unanswered delivery."""
        if self._head < len(self._entries):
            return self._entries[self._head]
        return None

    def expect(self, queue: Queue, consumer: Consumer | None) -> None:
        """Note that deliveries of a queue, to a consumer or a get, may have a timeout of their own."""
        timeout: i64 = acknowledgement_timeout(queue, consumer, 0)
        if timeout > 0 and (self.shortest == 0 or timeout < self.shortest):
            self.shortest = timeout

    def read_headers(self) -> bool:
        """Look for messages that say their own timeout among deliveries not looked at; True if one does.

        Of very many the rest is looked at the next time.
        """
        entries = self._entries
        size: i64 = len(entries)
        found = False
        if self._head >= size or entries[size - 1].tag <= self._read_to:
            return False
        index: i64 = self._after(self._read_to)
        stop: i64 = min(size, index + LOOK_AT_MOST)
        while index < stop:
            entry = entries[index]
            if not entry.settled:
                timeout = own_timeout(entry)
                if timeout >= 0:
                    self._lease(entry, timeout)
                    found = True
            self._read_to = entry.tag
            index += 1
        return found

    def _lease(self, entry: Unacked, timeout: i64) -> Lease:
        leases = self.leases
        if leases is None:
            leases = self.leases = {}
        lease = leases.get(entry.tag)
        if lease is None:
            lease = leases[entry.tag] = Lease(entry, timeout)
        return lease

    def lease_of(self, entry: Unacked) -> Lease:
        """Tell what timeout a delivery goes by; what is given is kept only if ``renew`` made it."""
        leases = self.leases
        lease = None if leases is None else leases.get(entry.tag)
        return Lease(entry, own_timeout(entry)) if lease is None else lease

    def renew(self, entry: Unacked, now: i64) -> Lease:
        """Have the time of a delivery count from now on."""
        lease = self._lease(entry, own_timeout(entry))
        lease.since = now
        lease.renewals += 1
        return lease

    def held(self, tag: i64) -> Unacked | None:
        """Give the delivery with a tag, which stays; None if that tag awaits no answer."""
        if self._head >= len(self._entries):
            return None
        index: i64 = self._find(tag)
        if index < 0 or self._entries[index].settled:
            return None
        return self._entries[index]

    def _overdue_lease(
        self, leases: dict[int, Lease], now: i64, usual: i64, silent: i64, beat: i64
    ) -> Unacked | None:
        for tag in list(leases):
            lease = leases[tag]
            entry = lease.entry
            if entry.settled:
                del leases[tag]
                continue
            timeout: i64 = lease.allowed(usual)
            late = timeout > 0 and now - lease.since > timeout
            if late and not shows_life(entry, timeout, silent, beat):
                return entry
        if not leases:
            self.leases = None
        return None

    def overdue(self, now: i64, usual: i64, silent: i64 = NO_LIFE, beat: i64 = 0) -> Unacked | None:
        """Give a delivery that is unanswered for longer than it may be.

        A window whose oldest delivery is younger than every timeout costs nothing more; of others at most
        ``LOOK_AT_MOST`` deliveries are looked at, the next time those after them.

        Args:
            now: clock milliseconds.
            usual: the node's timeout in milliseconds; 0 is none.
            silent: milliseconds for which nothing came from the client.
            beat: milliseconds between its heartbeats; 0 without.
        """
        leases = self.leases
        if leases is not None:
            late = self._overdue_lease(leases, now, usual, silent, beat)
            if late is not None:
                return late
        entries = self._entries
        size: i64 = len(entries)
        shortest: i64 = self.shortest
        if shortest == 0 or (usual != 0 and usual < shortest):
            shortest = usual
        if shortest == 0 or self._head >= size:
            return None
        index: i64 = self._after(self._looked_at)
        stop: i64 = min(size, index + LOOK_AT_MOST)
        while index < stop:
            entry = entries[index]
            age: i64 = now - entry.delivered_at
            if age <= shortest:
                break
            if not entry.settled and (leases is None or entry.tag not in leases):
                timeout: i64 = acknowledgement_timeout(entry.queue, entry.consumer, usual)
                if timeout > 0 and age > timeout and not shows_life(entry, timeout, silent, beat):
                    return entry
            self._looked_at = entry.tag
            index += 1
        if index < stop or stop == size:
            self._looked_at = 0
        return None

    def _after(self, tag: i64) -> i64:
        """Give the index of the first delivery with a higher tag."""
        entries = self._entries
        low: i64 = self._head
        high: i64 = len(entries)
        while low < high:
            middle: i64 = (low + high) // 2
            if entries[middle].tag <= tag:
                low = middle + 1
            else:
                high = middle
        return low

    def take(self, tag: i64) -> Unacked | None:
        """Remove one delivery by its tag; None if that tag awaits no answer."""
        entries = self._entries
        head: i64 = self._head
        size: i64 = len(entries)
        if head >= size:
            return None
        entry = entries[head]
        if entry.tag != tag:
            index: i64 = self._find(tag)
            if index < 0:
                return None
            entry = entries[index]
            if entry.settled:
                return None
            entry.settled = True
            self._settled += 1
            if self._settled > COMPACT_FROM and self._settled * 2 > size - head:
                self._compact()
            return entry
        entry.settled = True
        self._advance(head + 1)
        return entry

    def awaits(self, tag: i64) -> bool:
        """Tell whether a tag is outstanding."""
        if self._head >= len(self._entries):
            return False
        index: i64 = self._find(tag)
        return index >= 0 and not self._entries[index].settled

    def take_up_to(self, tag: i64) -> list[Unacked]:
        """Remove every delivery with a tag up to and including ``tag``, in order; 0 means all."""
        entries = self._entries
        taken: list[Unacked] = []
        head: i64 = self._head
        size: i64 = len(entries)
        while head < size:
            entry = entries[head]
            if tag != 0 and entry.tag > tag:
                break
            head += 1
            if entry.settled:
                self._settled -= 1
            else:
                entry.settled = True
                taken.append(entry)
        self._advance(head)
        return taken

    def restore(self, entries: list[Unacked]) -> None:
        """Bring back deliveries that were taken, to await an answer again (``tx.rollback``)."""
        merged = self.entries() + entries
        for entry in entries:
            entry.settled = False
        merged.sort(key=tag_of)
        self._entries = merged
        self._head = 0
        self._settled = 0

    def entries(self) -> list[Unacked]:
        """List the unanswered deliveries in order."""
        return [entry for entry in self._entries[self._head :] if not entry.settled]

    def in_segment(self, segment: i64) -> list[Unacked]:
        """List the unanswered deliveries whose record is in a segment of the journal; -1 is any."""
        found: list[Unacked] = []
        entries = self._entries
        at: i64 = self._head
        size: i64 = len(entries)
        while at < size:
            entry = entries[at]
            if not entry.settled and (segment < 0 or i64(entry.message.segment) == segment):
                found.append(entry)
            at += 1
        return found

    def _advance(self, head: i64) -> None:
        entries = self._entries
        size: i64 = len(entries)
        while head < size and entries[head].settled:
            head += 1
            self._settled -= 1
        if head == size:
            entries.clear()
            head = 0
        elif head > COMPACT_FROM and head * 2 > size:
            del entries[:head]
            head = 0
        self._head = head

    def _compact(self) -> None:
        self._entries = self.entries()
        self._head = 0
        self._settled = 0

    def _find(self, tag: i64) -> i64:
        entries = self._entries
        low: i64 = self._head
        last: i64 = len(entries) - 1
        first_tag: i64 = entries[low].tag
        if tag < first_tag or tag > entries[last].tag:
            return -1
        high: i64 = low + (tag - first_tag)
        if high > last:
            high = last
        if entries[high].tag == tag:
            return high
        while low <= high:
            middle: i64 = (low + high) // 2
            found: i64 = entries[middle].tag
            if found == tag:
                return middle
            if found < tag:
                low = middle + 1
            else:
                high = middle - 1
        return -1


def tag_of(entry: Unacked) -> i64:
    """Give the tag, to sort by."""
    return entry.tag
