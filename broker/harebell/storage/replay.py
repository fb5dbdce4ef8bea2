"""Applying the log's records in order: what is alive afterwards, by queue."""

from __future__ import annotations

from collections.abc import Container

from librt.strings import read_i16_be, read_i32_be, read_i64_be
from mypy_extensions import i64

from harebell.content.chunks import scan_head
from harebell.content.scanning import (
    FLAGS_AT,
    HAS_EXPIRATION,
    HAS_PRIORITY,
    PROPERTIES_AT,
    expiration_of,
    priority_of,
)
from harebell.paging import KeptChunk, journal_location
from harebell.storage.backlog import Backlog
from harebell.storage.records import (
    ARRIVED,
    CHUNK,
    CHUNK_ID_SIZE,
    CLEAN,
    COMMAND,
    ENQUEUE_SIZE,
    FLAG,
    GROUP,
    HOLD_SIZE,
    HOLDS,
    LSN_MASK,
    MESSAGE,
    MESSAGE_HEAD_SIZE,
    PAD,
    RECORD_HEAD_SIZE,
    REQUEUE,
    RETURNS,
    RUN_SIZE,
    SETTLE,
    SYNCED,
    valid_size_at,
)

PAD_DAMAGED = 1
"""First octet of a PAD that covers what had been on stable storage; 0 if the power went before it was."""


class Damage:
    """One range of a segment that is no valid record.

    Attributes:
        name: the segment's file.
        offset, size: where in the file.
        what: ``torn`` for a tail that is cut; ``unsynced`` for what a power cut left in front of records that
            reached the disk earlier; ``damaged`` for what was on stable storage and is not valid any more.
        kept_as: file with a copy of the octets; empty if there was no room for one.
    """

    def __init__(self, name: str, offset: int, size: int, what: str) -> None:
        self.name = name
        self.offset = offset
        self.size = size
        self.what = what
        self.kept_as = ""

    @property
    def torn(self) -> bool:
        """True for a torn tail."""
        return self.what == "torn"

    @property
    def harmless(self) -> bool:
        """True if nothing is lost that was ever promised."""
        return self.what != "damaged"

    def __str__(self) -> str:
        what = "damage skipped"
        if self.what == "torn":
            what = "torn tail cut off"
        elif self.what == "unsynced":
            what = "never synced, skipped"
        where = str(self.size) + " octets at offset " + str(self.offset)
        kept = "kept as " + self.kept_as if self.kept_as else "not kept since the disk is full"
        return self.name + ": " + what + ": " + where + ", " + kept


class Recovered:
    """What the log holds.

    Args:
        end: lsn where the log begins.
        covered: commands before this lsn are in the snapshot.

    Attributes:
        commands: payloads of COMMAND records with their lsn, in order.
        queues: by queue id, what is alive.
        orphans: the same for queues whose declaration is lost, see ``forget``.
        bases: lsn of the first record of each segment, oldest first.
        end: the lsn behind the last valid record.
        damage: what was not valid.
        missing: sentences about records that are not there at all.
        highest: by queue id, the highest position ever seen.
        synced: lsn of the last record known to have been written after all before it was synced; -1 if none.
        octets: size of all segments.
    """

    def __init__(self, end: int = 0, covered: int = 0) -> None:
        self.commands: list[tuple[int, bytes]] = []
        self.queues: dict[int, Backlog] = {}
        self.orphans: dict[int, Backlog] = {}
        self.bases: list[int] = []
        self.end = end
        self.damage: list[Damage] = []
        self.missing: list[str] = []
        self.highest: dict[int, int] = {}
        self.synced: i64 = -1
        self.octets = 0
        self._covered = covered
        self._lost: list[tuple[int, int]] = []
        self._queue: Backlog | None = None
        self._stopped = True
        self._unflagged = False

    @property
    def lossy(self) -> bool:
        """True if something is lost that the journal held."""
        return bool(self.missing) or any(not each.harmless for each in self.damage)

    @property
    def clean(self) -> bool:
        """True if the node stopped in order and nothing is damaged, so that flags can be trusted."""
        return self._stopped and not self.damage and not self.missing and not self._unflagged

    @property
    def messages(self) -> int:
        """How many messages are alive, once for each queue that holds them."""
        return sum([len(backlog) for backlog in self.queues.values()])

    def next_segment(self, base: int) -> None:
        """The records that follow lie in the segment with this base.

        Every start makes a segment, so one behind a CLEAN record says that the node ran once more.
        """
        self._stopped = False
        self.bases.append(base)
        self.end = base

    def lose(self, lsn: int, end: int) -> None:
        """A range of the log is not there, or not valid any more."""
        self._lost.append((lsn, end))
        self._unflagged = True

    def flag_all(self) -> None:
        """Whatever is here may have been delivered."""
        for backlog in self.queues.values():
            backlog.flag_all()

    def finish(self) -> None:
        """The log was read to its end."""
        self._queue = None
        if not self.clean:
            self.flag_all()
        queues = self.queues
        self.highest = {queue_id: int(queue.highest) for queue_id, queue in queues.items() if queue.highest}
        self.queues = {queue_id: queue for queue_id, queue in queues.items() if len(queue) > 0}

    def forget(self, existing: Container[int], deleted: Container[int] = ()) -> list[str]:
        """Drop what is of queues that no longer exist; call it when the commands were replayed.

        Messages of a queue whose declaration may have been in a damaged range are kept in ``orphans``.

        Args:
            existing: numbers of the queues that exist.
            deleted: numbers of queues that a command deleted.

        Returns:
            A sentence for each queue whose declaration is lost; they are in ``missing`` as well.
        """
        said: list[str] = []
        for queue_id in [queue_id for queue_id in self.queues if queue_id not in existing]:
            backlog = self.queues.pop(queue_id)
            if queue_id not in deleted and self._may_be_undeclared(int(backlog.begun)):
                self.orphans[queue_id] = backlog
                of = " messages of queue number " + str(queue_id)
                said.append(str(len(backlog)) + of + " whose declaration is lost")
        self.missing.extend(said)
        return said

    def _may_be_undeclared(self, begun: int) -> bool:
        """Tell whether a declaration before ``begun`` can be in a lost range that no snapshot covers."""
        return any(lsn <= begun and end > self._covered for lsn, end in self._lost)

    def replay(self, data: bytes, offset: i64, behind: i64) -> i64:
        """Apply records up to the end or the first octets that are no valid record.

        Args:
            data: a segment's file.
            offset: where to begin.
            behind: what is to be added to an offset to get its lsn.

        Returns:
            The offset behind the last record applied.
        """
        total: i64 = len(data)
        kind: i64 = 0
        begun = offset
        while offset < total:
            size = valid_size_at(data, offset, behind + offset)
            if size < 0:
                break
            kind = data[offset + 1]
            if data[offset + 3] & SYNCED:
                self.synced = behind + offset
            self._apply(data, offset, size, kind, behind + offset, behind + offset)
            offset += size
        if offset > begun:
            self._stopped = kind == CLEAN
            self.end = int(behind + offset)
        return offset

    def _apply(self, data: bytes, offset: i64, size: i64, kind: i64, lsn: i64, outer: i64) -> None:
        first: i64 = offset + RECORD_HEAD_SIZE
        end: i64 = offset + size
        if kind == MESSAGE:
            self._message(data, first, end, lsn)
        elif kind == CHUNK:
            head = scan_head(data, first + CHUNK_ID_SIZE)
            if head is not None and lsn == outer:
                number = len(self.bases) - 1
                chunk = KeptChunk(int(head.first), int(head.next), int(lsn), int(size), number)
                self._backlog(read_i64_be(data, first), lsn).keep(chunk, head.count)
        elif kind in (SETTLE, REQUEUE, RETURNS):
            while first + RUN_SIZE <= end:
                queue = self._backlog(read_i64_be(data, first), lsn)
                position = read_i64_be(data, first + 8)
                count: i64 = i64(read_i32_be(data, first + 16)) & LSN_MASK
                if kind == SETTLE:
                    queue.settle(position, count)
                elif kind == REQUEUE:
                    queue.requeue(position, count)
                else:
                    queue.set_returns(position, count)
                first += RUN_SIZE
        elif kind == HOLDS:
            while first + HOLD_SIZE <= end:
                held = self._backlog(read_i64_be(data, first), lsn)
                held.hold(read_i64_be(data, first + 8), read_i64_be(data, first + 16))
                first += HOLD_SIZE
        elif kind == COMMAND:
            self.commands.append((int(outer), data[first:end]))
        elif kind == GROUP:
            if lsn == outer:
                self._group(data, first, end, outer)
        elif kind == FLAG:
            self._unflagged = False
            self.flag_all()
        elif kind == PAD and (first == end or data[first] == PAD_DAMAGED):
            self.lose(int(lsn), int(lsn + size))

    def _group(self, data: bytes, first: i64, end: i64, outer: i64) -> None:
        """Apply the records of a GROUP, whose own crc vouches for all of them."""
        begun = first
        while first + RECORD_HEAD_SIZE <= end:
            size: i64 = RECORD_HEAD_SIZE + (i64(read_i32_be(data, first + 4)) & LSN_MASK)
            if first + size > end:
                return
            lsn: i64 = outer + RECORD_HEAD_SIZE + (first - begun)
            self._apply(data, first, size, data[first + 1], lsn, outer)
            first += size

    def _message(self, data: bytes, first: i64, end: i64, lsn: i64) -> None:
        if first + MESSAGE_HEAD_SIZE > end:
            return
        flags: i64 = data[first]
        header: i64 = first + MESSAGE_HEAD_SIZE + (i64(read_i16_be(data, first + 1)) & 0xFFFF)
        header_size: i64 = i64(read_i32_be(data, first + 3)) & LSN_MASK
        octets: i64 = i64(read_i32_be(data, first + 7)) & LSN_MASK
        count: i64 = i64(read_i32_be(data, first + 11)) & LSN_MASK
        at: i64 = header + header_size + octets
        after: i64 = at + count * ENQUEUE_SIZE
        if count == 0 or after + (8 if flags & ARRIVED else 0) != end:
            return
        arrived: i64 = 0
        if flags & ARRIVED:
            arrived = read_i64_be(data, after)
        size: i64 = end - first + RECORD_HEAD_SIZE
        share: i64 = size // count if count > 1 else size
        location = journal_location(lsn)
        described: bool = (
            header_size >= PROPERTIES_AT and data[header + FLAGS_AT] & (HAS_PRIORITY | HAS_EXPIRATION) != 0
        )
        priority: i64 = 0
        expiration: i64 = -1
        if described:
            raw = data[header : header + header_size]
            priority = max(0, priority_of(raw))
            expiration = expiration_of(raw)
        while at < after:
            queue = self._backlog(read_i64_be(data, at), lsn)
            position = read_i64_be(data, at + 8)
            queue.enqueue(position, location, octets, share, arrived)
            if described:
                queue.describe(position, priority, expiration)
            at += ENQUEUE_SIZE

    def _backlog(self, queue_id: i64, lsn: i64) -> Backlog:
        queue = self._queue
        if queue is not None and queue.queue_id == queue_id:
            return queue
        queue = self.queues.get(queue_id)
        if queue is None:
            queue = Backlog(queue_id, self.bases, lsn)
            self.queues[queue_id] = queue
        self._queue = queue
        return queue
