"""Reading the log after a start: what is alive, and what was damaged.

A bad record with nothing valid behind it is a torn tail, the usual trace of a crash: it is copied aside and
cut.  A bad range in the last segment with valid records behind it, none of which was written after the range
was synced, is the trace of a power cut, since blocks reach a disk in any order: nothing in it was promised.
Any other bad range is damage.  Both are copied aside and overwritten, so that the next start finds records
only; everything else is kept.  Octets whose checksum fails are never delivered.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from harebell.storage.damage import Lost, read_all_damage, remember, tidy
from harebell.storage.files import FULL, Files
from harebell.storage.records import (
    FLAG,
    PAD,
    RECORD_HEAD_SIZE,
    SEGMENT_HEAD_SIZE,
    BadSegment,
    ForeignSegment,
    decode_segment_head,
    encode_record,
    encode_segment_head,
    next_valid,
)
from harebell.storage.replay import PAD_DAMAGED, Damage, Recovered
from harebell.storage.segments import NAME_SUFFIX, segment_name
from harebell.storage.snapshot import NOTHING, Snapshot

__all__ = ["Damage", "Loss", "Recovered", "flag", "recover"]

PROGRESS_EVERY = 1 << 28
"""Octets of log between two progress lines."""


class Loss(Exception):
    """Damage that ``strict`` recovery refuses to start with; the text names file, offset and octets."""


class _Range(NamedTuple):
    """Octets of a segment's file, from ``start`` up to ``end``, that are no valid record."""

    start: int
    end: int


def recover(
    files: Files, node: int, strict: bool, progress: Callable[[str], None], snapshot: Snapshot = NOTHING
) -> Recovered:
    """Read the whole log, cut a torn tail, and set damaged ranges aside.

    What was lost is added to the list of ``damage.py``.  Afterwards the whole log is on stable storage.

    Args:
        files: the journal's folder.
        node: id of the data directory; segments of another one are refused.
        strict: refuse to go on where records are damaged.
        progress: told sentences while it takes long, and one at the end.
        snapshot: says where the log begins.

    Raises:
        BadSegment: a file is of another node or a newer format.
        Loss: damage, and ``strict``.
        OSError: a file cannot be read, or what is damaged cannot be kept.
    """
    names = [name for name in files.names() if name.endswith(NAME_SUFFIX)]
    stale = [name for name in names if _base_in(name) < snapshot.start]
    if stale:
        _finish_deletion(files, stale)
    names = names[len(stale) :]
    recovery = _Recovery(files, node, strict, snapshot)
    recovered = recovery.recovered
    since = 0
    for index, name in enumerate(names):
        before = recovered.octets
        recovery.read(name, names[index + 1] if index + 1 < len(names) else "")
        since += recovered.octets - before
        if since >= PROGRESS_EVERY:
            since = 0
            read = f"{index + 1} of {len(names)} segments, {recovered.octets >> 20} MiB read"
            progress(f"recovering: {read}, {recovered.messages} messages so far")
    if recovered.end < snapshot.lsn:
        # Later commands must not get an lsn that the snapshot already covers.
        recovery.miss(snapshot.lsn, "at the end of the log")
        recovered.end = snapshot.lsn
    if names:
        # A process that was killed leaves octets the kernel holds; what is built on them may be promised.
        recovery.sync(names[-1])
        with suppress(OSError):
            tidy(files)
    recovered.finish()
    if names:
        found = f"{recovered.messages} messages in {len(recovered.queues)} queues"
        progress(f"recovered {found} from {recovered.octets / (1 << 20):.1f} MiB")
    return recovered


def flag(files: Files, recovered: Recovered) -> None:
    """Say at the end of the log that flags cannot be trusted, for whoever reads it next; not for a node.

    Raises:
        OSError: it cannot be written.
    """
    if not recovered.bases:
        return
    name = segment_name(recovered.bases[-1])
    if recovered.end - recovered.bases[-1] + SEGMENT_HEAD_SIZE != len(files.read(name)):
        return
    file = files.append(name)
    try:
        file.write_all(encode_record(recovered.end, FLAG, b""))
        file.sync()
    finally:
        file.close()


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


class _Recovery:
    """One pass through the log."""

    def __init__(self, files: Files, node: int, strict: bool, snapshot: Snapshot) -> None:
        self.files = files
        self.node = node
        self.strict = strict
        self.recovered = Recovered(snapshot.start, snapshot.lsn)
        # Where the octets read last end: what is missing is missing there.
        self._name = ""
        self._size = 0
        self._known = [lost for lost in read_all_damage(files) if not lost.kept_as]

    def sync(self, name: str) -> None:
        """Bring a segment to stable storage."""
        file = self.files.append(name)
        try:
            file.sync()
        finally:
            file.close()

    def miss(self, end: int, where: str) -> None:
        """Octets up to lsn ``end`` are gone: a file was cut or deleted by somebody else."""
        recovered = self.recovered
        octets = end - recovered.end
        text = f"{octets} octets {where} are missing"
        lost = Lost(self._name or segment_name(end), self._size, octets, text)
        recovered.lose(recovered.end, end)
        if any(lost.same(known) for known in self._known):
            return
        if self.strict:
            raise Loss(text)
        recovered.missing.append(text)
        remember(self.files, [lost])

    def read(self, name: str, next_name: str) -> None:
        """Apply a segment's records, and treat what is no record.

        Args:
            name: the segment.
            next_name: the one that follows; empty for the last.
        """
        data = self.files.read(name)
        base = _base_in(name)
        recovered = self.recovered
        recovered.octets += len(data)
        whole = self._check_head(name, base, data)
        if base > recovered.end:
            self.miss(base, f"of the log before {name}")
        recovered.next_segment(base)
        ranges: list[_Range] = []
        # A crash while the segment was made leaves less than a head; it will be made again.
        if not whole and (next_name or len(data) > SEGMENT_HEAD_SIZE):
            ranges.append(_Range(0, min(SEGMENT_HEAD_SIZE, len(data))))
        behind = base - SEGMENT_HEAD_SIZE
        offset = SEGMENT_HEAD_SIZE
        while offset < len(data):
            offset = int(recovered.replay(data, offset, behind))
            if offset < len(data):
                resumed = int(next_valid(data, offset + 1, behind))
                end = len(data) if resumed < 0 else resumed
                ranges.append(_Range(offset, end))
                offset = end
        self._name, self._size = name, max(len(data), SEGMENT_HEAD_SIZE)
        if ranges:
            self._treat(name, data, ranges, next_name)

    def _check_head(self, name: str, base: int, data: bytes) -> bool:
        """Tell whether the head is whole; the name and the records' checksums can stand in for a damaged one.

        Raises:
            ForeignSegment: it is whole and says that the segment is not ours.
        """
        try:
            found, owner = decode_segment_head(data)
        except ForeignSegment as error:
            raise ForeignSegment(f"{name}: {error}") from None
        except BadSegment:
            return False
        if owner != self.node:
            raise ForeignSegment(f"{name}: belongs to another data directory")
        if found != base:
            raise ForeignSegment(f"{name}: was renamed; it is {segment_name(found)}")
        return True

    def _treat(self, name: str, data: bytes, ranges: list[_Range], next_name: str) -> None:
        """Set what is no record aside, list it if it was damaged, then overwrite it, in this order."""
        recovered = self.recovered
        base = _base_in(name)
        behind = base - SEGMENT_HEAD_SIZE
        found: list[Damage] = []
        for start, end in ranges:
            if start == 0 or next_name or behind + end <= recovered.synced:
                what = "damaged"
                if start > 0:
                    recovered.lose(behind + start, behind + end)
            else:
                what = "torn" if end == len(data) else "unsynced"
            damage = Damage(name, start, end - start, what)
            if self.strict and not damage.harmless:
                raise Loss(f"{name}: {damage.size} octets at offset {start} are damaged")
            found.append(damage)
        for damage in found:
            self._keep(damage, data[damage.offset : damage.offset + damage.size])
        losses = [
            Lost(name, damage.offset, damage.size, "damaged", damage.kept_as)
            for damage in found
            if not damage.harmless
        ]
        if losses:
            remember(self.files, losses)
        recovered.damage += found
        limit = _base_in(next_name) - behind if next_name else len(data)
        for damage in found:
            self._overwrite(damage, base, len(data), limit)

    def _keep(self, damage: Damage, octets: bytes) -> None:
        """Copy a range aside; a copy made before a crash in the middle of this is the better one, and stays.

        Raises:
            OSError: it cannot be kept, although it was on stable storage once.
        """
        names = self.files.names()
        stem = f"{damage.name}.{damage.offset}"
        kept_as = f"{stem}.{damage.what}"
        count = 1
        while kept_as in names and len(self.files.read(kept_as)) != damage.size:
            count += 1
            kept_as = f"{stem}.{count}.{damage.what}"
        if kept_as not in names:
            try:
                self.files.replace(kept_as, octets)
            except OSError as error:
                if not damage.harmless or error.errno not in FULL:
                    raise
                return
        damage.kept_as = kept_as

    def _overwrite(self, damage: Damage, base: int, total: int, limit: int) -> None:
        """Make records of a range again, or cut it off.

        Args:
            damage: the range, set aside.
            base: lsn of the segment's first record.
            total: octets of the file.
            limit: where the segment that follows begins, as an offset in this file.
        """
        start, end = damage.offset, damage.offset + damage.size
        if start == 0:
            self.files.patch(damage.name, 0, encode_segment_head(base, self.node))
            return
        behind = base - SEGMENT_HEAD_SIZE
        cut = end
        if end == total:
            # Octets beyond the limit were appended by somebody else; less than a head cannot be a record.
            cut = start if damage.torn else max(start, min(end, limit))
            if cut - start < RECORD_HEAD_SIZE:
                cut = start
            if cut < total:
                file = self.files.append(damage.name)
                try:
                    file.truncate(cut)
                    file.sync()
                finally:
                    file.close()
            self.recovered.end = behind + cut
            self._size = cut
        if cut > start:
            self.files.patch(damage.name, start, _pad(behind + start, cut - start, not damage.harmless))


def _pad(lsn: int, octets: int, damaged: bool) -> bytes:
    """Make a record of so many octets that says nothing."""
    size = octets - RECORD_HEAD_SIZE
    payload = bytes([PAD_DAMAGED if damaged else 0]) + bytes(size - 1) if size else b""
    return encode_record(lsn, PAD, payload)
