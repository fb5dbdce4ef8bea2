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
    REQUEUE,
    SEGMENT_HEAD_SIZE,
    SETTLE,
    BadSegment,
    Gap,
    Record,
    decode_message,
    decode_runs,
    decode_segment_head,
    records_in_group,
    walk,
)
from harebell.storage.segments import NAME_SUFFIX

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
        enqueued: enqueues recorded in each segment, alive or not.
        end: the lsn behind the last valid record.
        clean: True if the node stopped in order, so that flags can be trusted.
        damage: what was not valid.
        missing: sentences about records that are not there at all.
        highest: by queue id, the highest position ever seen.
    """

    def __init__(self) -> None:
        self.commands: list[tuple[int, bytes]] = []
        self.queues: dict[int, dict[int, tuple[Message, bool]]] = {}
        self.bases: list[int] = []
        self.enqueued: list[int] = []
        self.end = 0
        self.clean = True
        self.damage: list[Damage] = []
        self.missing: list[str] = []
        self.highest: dict[int, int] = {}
        self._segment = 0

    def take(self, record: Record) -> None:
        """Apply one record."""
        self.clean = record.kind == CLEAN
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
        self.enqueued[self._segment] += len(stored.enqueues)
        message = Message(stored.address, stored.header, stored.body, True)
        message.segment = self._segment
        for queue_id, position in stored.enqueues:
            # A message copied forward replaces the record it was copied from.
            held = self.queues.setdefault(queue_id, {})
            returned = position in held and held[position][1]
            held[position] = (message, returned)
            if position > self.highest.get(queue_id, 0):
                self.highest[queue_id] = position

    def next_segment(self, base: int) -> None:
        """The records that follow lie in the segment with this base."""
        self._segment = len(self.bases)
        self.bases.append(base)
        self.enqueued.append(0)
        self.end = max(self.end, base)


def recover(files: Files, node: int, strict: bool, progress: Callable[[str], None]) -> Recovered:
    """Read the whole log, cut a torn tail, and set damaged ranges aside.

    Args:
        files: the journal's folder.
        node: id of the data directory; segments of another one are refused.
        strict: refuse to go on where records are damaged.
        progress: told sentences while it takes long.

    Raises:
        BadSegment: a file is of another node or a newer format.
        Loss: damage, and ``strict``.
    """
    recovered = Recovered()
    names = [name for name in files.names() if name.endswith(NAME_SUFFIX)]
    done = since = 0
    for index, name in enumerate(names):
        data = files.read(name)
        _read_segment(files, recovered, name, data, node, index == len(names) - 1, strict)
        done += len(data)
        since += len(data)
        if since >= PROGRESS_EVERY:
            since = 0
            progress(f"recovering: {index + 1} of {len(names)} segments, {done >> 20} MiB read")
    for queue_id in [queue_id for queue_id, held in recovered.queues.items() if not held]:
        del recovered.queues[queue_id]
    return recovered


def _read_segment(
    files: Files, recovered: Recovered, name: str, data: bytes, node: int, last: bool, strict: bool
) -> None:
    try:
        base, owner = decode_segment_head(data)
    except BadSegment as error:
        if last and len(data) < SEGMENT_HEAD_SIZE:
            # A crash while the next segment was made: it holds nothing.
            files.remove(name)
            return
        raise BadSegment(f"{name}: {error}") from None
    if owner != node:
        raise BadSegment(f"{name}: belongs to another data directory")
    if recovered.bases and base != recovered.end:
        _missing(recovered, name, base, strict)
    recovered.next_segment(base)
    for found in walk(data, SEGMENT_HEAD_SIZE, base):
        if isinstance(found, Record):
            recovered.take(found)
            recovered.end = found.end
            continue
        torn = found.tail and last
        _set_aside(files, recovered, name, data, found, base, torn, strict)
        if not torn:
            recovered.end = found.end


def _missing(recovered: Recovered, name: str, base: int, strict: bool) -> None:
    """Records between two segments are gone: a file was cut or deleted by somebody else."""
    text = f"{base - recovered.end} octets of the log before {name} are missing"
    if strict:
        raise Loss(text)
    recovered.clean = False
    recovered.missing.append(text)


def _set_aside(
    files: Files, recovered: Recovered, name: str, data: bytes, gap: Gap, base: int, torn: bool, strict: bool
) -> None:
    offset = gap.lsn - base + SEGMENT_HEAD_SIZE
    damage = Damage(name, offset, gap.end - gap.lsn, torn)
    recovered.clean = False
    if strict and not torn:
        raise Loss(f"{name}: {damage.size} octets at offset {offset} are damaged, valid records follow")
    recovered.damage.append(damage)
    files.replace(damage.kept_as, data[offset : offset + damage.size])
    if torn:
        file = files.append(name)
        try:
            file.truncate(offset)
            file.sync()
        finally:
            file.close()
