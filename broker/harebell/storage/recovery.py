"""Reading the log after a start: what is alive, and what was damaged.

A bad record with nothing valid behind it is a torn tail, the usual trace of a crash: it is copied aside and
cut.  A bad range with valid records behind it is damage: it is copied aside and skipped, everything else is
kept.  Octets whose checksum fails are never delivered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from harebell.content.message import Message
from harebell.storage.files import Files
from harebell.storage.records import (
    CLEAN,
    COMMAND,
    GROUP,
    MESSAGE,
    RECORD_HEAD_SIZE,
    REQUEUE,
    SEGMENT_HEAD_SIZE,
    SETTLE,
    BadSegment,
    ForeignSegment,
    Gap,
    Record,
    decode_message,
    decode_runs,
    decode_segment_head,
    records_in_group,
    walk,
)
from harebell.storage.segments import NAME_SUFFIX, segment_name
from harebell.storage.snapshot import NOTHING, Snapshot

PROGRESS_EVERY: Final = 1 << 28
"""Octets of log between two progress lines."""


class Loss(Exception):
    """Damage that ``strict`` recovery refuses to start with; the text names file, offset and octets."""


class Damage:
    """One range of a segment that is no valid record.

    Attributes:
        name: the segment's file.
        offset, size: where in the file.
        torn: True for a torn tail, which is cut; False for damage followed by valid records.
        kept_as: file with a copy of the octets.
    """

    def __init__(self, name: str, offset: int, size: int, torn: bool) -> None:
        self.name = name
        self.offset = offset
        self.size = size
        self.torn = torn
        self.kept_as = f"{name}.{offset}.{'torn' if torn else 'damaged'}"

    def __str__(self) -> str:
        what = "torn tail cut off" if self.torn else "damage skipped"
        return f"{self.name}: {what}: {self.size} octets at offset {self.offset}, kept as {self.kept_as}"


class Recovered:
    """What the log holds.

    Attributes:
        commands: payloads of COMMAND records with their lsn, in order.
        queues: by queue id, position -> (message, returned); only what is alive.
        bases: lsn of the first record of each segment, oldest first.
        end: the lsn behind the last valid record.
        damage: what was not valid.
        missing: sentences about records that are not there at all.
        highest: by queue id, the highest position ever seen.
    """

    def __init__(self, end: int = 0) -> None:
        self.commands: list[tuple[int, bytes]] = []
        self.queues: dict[int, dict[int, tuple[Message, bool]]] = {}
        self.bases: list[int] = []
        self.end = end
        self.damage: list[Damage] = []
        self.missing: list[str] = []
        self.highest: dict[int, int] = {}
        self._segment = 0
        self._stopped = True

    @property
    def clean(self) -> bool:
        """True if the node stopped in order and nothing is damaged, so that flags can be trusted."""
        return self._stopped and not self.damage and not self.missing

    def take(self, record: Record) -> None:
        """Apply one record."""
        self.end = record.end
        self._stopped = record.kind == CLEAN
        self._apply(record.lsn, record.kind, record.payload)

    def _apply(self, lsn: int, kind: int, payload: bytes) -> None:
        if kind == MESSAGE:
            self._message(payload)
        elif kind == SETTLE:
            for queue_id, first, count in decode_runs(payload):
                held = self.queues.get(queue_id)
                if held is not None:
                    for position in range(first, first + count):
                        held.pop(position, None)
        elif kind == REQUEUE:
            for queue_id, first, count in decode_runs(payload):
                held = self.queues.get(queue_id, {})
                for position in range(first, first + count):
                    if position in held:
                        held[position] = (held[position][0], True)
        elif kind == COMMAND:
            self.commands.append((lsn, payload))
        elif kind == GROUP:
            for inner_kind, inner in records_in_group(payload):
                self._apply(lsn, inner_kind, inner)

    def _message(self, payload: bytes) -> None:
        stored = decode_message(payload)
        message = Message(stored.address, stored.header, stored.body, True)
        message.segment = self._segment
        message.share = (RECORD_HEAD_SIZE + len(payload)) // max(1, len(stored.enqueues))
        for queue_id, position in stored.enqueues:
            # A message copied forward replaces the record it was copied from.
            held = self.queues.setdefault(queue_id, {})
            returned = position in held and held[position][1]
            held[position] = (message, returned)
            if position > self.highest.get(queue_id, 0):
                self.highest[queue_id] = position

    def next_segment(self, base: int) -> None:
        """The records that follow lie in the segment with this base.

        Every start makes a segment, so one behind a CLEAN record says that the node ran once more.
        """
        self._segment = len(self.bases)
        self._stopped = False
        self.bases.append(base)
        self.end = base


def recover(
    files: Files, node: int, strict: bool, progress: Callable[[str], None], snapshot: Snapshot = NOTHING
) -> Recovered:
    """Read the whole log, cut a torn tail, and set damaged ranges aside.

    Args:
        files: the journal's folder.
        node: id of the data directory; segments of another one are refused.
        strict: refuse to go on where records are damaged.
        progress: told sentences while it takes long.
        snapshot: says where the log begins.

    Raises:
        BadSegment: a file is of another node or a newer format.
        Loss: damage, and ``strict``.
        OSError: a file cannot be read, or what is damaged cannot be kept.
    """
    recovered = Recovered(snapshot.start)
    names = [name for name in files.names() if name.endswith(NAME_SUFFIX)]
    stale = [name for name in names if _base_in(name) < snapshot.start]
    if stale:
        _finish_deletion(files, stale)
    names = names[len(stale) :]
    done = since = 0
    for index, name in enumerate(names):
        data = files.read(name)
        _Segment(files, recovered, name, data, strict).read(node, index == len(names) - 1)
        done += len(data)
        since += len(data)
        if since >= PROGRESS_EVERY:
            since = 0
            progress(f"recovering: {index + 1} of {len(names)} segments, {done >> 20} MiB read")
    if recovered.end < snapshot.lsn:
        # Later commands must not get an lsn that the snapshot already covers.
        _miss(recovered, f"{snapshot.lsn - recovered.end} octets at the end of the log are missing", strict)
        recovered.end = snapshot.lsn
    for queue_id in [queue_id for queue_id, held in recovered.queues.items() if not held]:
        del recovered.queues[queue_id]
    return recovered


def _base_in(name: str) -> int:
    stem = name.removesuffix(NAME_SUFFIX)
    try:
        base = int(stem, 16)
    except ValueError:
        base = -1
    if base < 0 or name != segment_name(base):
        raise BadSegment(f"{name}: this is no segment of the journal")
    return base


def _finish_deletion(files: Files, names: list[str]) -> None:
    """Delete what a crash left of segments whose end the snapshot has recorded."""
    for name in names:
        files.remove(name)
    files.sync_folder()


def _miss(recovered: Recovered, text: str, strict: bool) -> None:
    """Records are gone: a file was cut or deleted by somebody else."""
    if strict:
        raise Loss(text)
    recovered.missing.append(text)


class _Segment:
    """One segment being read."""

    def __init__(self, files: Files, recovered: Recovered, name: str, data: bytes, strict: bool) -> None:
        self.files = files
        self.recovered = recovered
        self.name = name
        self.data = data
        self.strict = strict
        self.base = _base_in(name)

    def read(self, node: int, last: bool) -> None:
        """Apply its records; ``last`` if no segment follows."""
        # A crash while the segment was made leaves less than a head; it will be made again.
        whole = self._check_head(node) or (last and len(self.data) <= SEGMENT_HEAD_SIZE)
        recovered = self.recovered
        if self.base > recovered.end:
            lost = self.base - recovered.end
            _miss(recovered, f"{lost} octets of the log before {self.name} are missing", self.strict)
        recovered.next_segment(self.base)
        if not whole:
            self._set_aside(0, min(SEGMENT_HEAD_SIZE, len(self.data)), False)
        for found in walk(self.data, SEGMENT_HEAD_SIZE, self.base):
            if isinstance(found, Record):
                recovered.take(found)
            else:
                self._gap(found, found.tail and last)

    def _check_head(self, node: int) -> bool:
        """Tell whether the head is whole; the name and the records' checksums can stand in for a damaged one.

        Raises:
            ForeignSegment: it is whole and says that the segment is not ours.
        """
        try:
            base, owner = decode_segment_head(self.data)
        except ForeignSegment as error:
            raise ForeignSegment(f"{self.name}: {error}") from None
        except BadSegment:
            return False
        if owner != node:
            raise ForeignSegment(f"{self.name}: belongs to another data directory")
        if base != self.base:
            raise ForeignSegment(f"{self.name}: was renamed; it is {segment_name(base)}")
        return True

    def _gap(self, gap: Gap, torn: bool) -> None:
        offset = gap.lsn - self.base + SEGMENT_HEAD_SIZE
        self._set_aside(offset, gap.end - gap.lsn, torn)
        if torn:
            file = self.files.append(self.name)
            try:
                file.truncate(offset)
                file.sync()
            finally:
                file.close()
        else:
            self.recovered.end = gap.end

    def _set_aside(self, offset: int, size: int, torn: bool) -> None:
        damage = Damage(self.name, offset, size, torn)
        if self.strict and not torn:
            raise Loss(f"{self.name}: {size} octets at offset {offset} are damaged")
        self.recovered.damage.append(damage)
        self.files.replace(damage.kept_as, self.data[offset : offset + size])
