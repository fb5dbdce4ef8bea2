"""``harebell journal``: look into a data directory's journal, most of it while no broker runs on it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click

from harebell.cli.exits import CONFIG, DATA, IO_FAILED, Failure
from harebell.storage.damage import acknowledge as acknowledge_damage
from harebell.storage.damage import read_damage
from harebell.storage.data_dir import JOURNAL, DataDir, DataDirError
from harebell.storage.files import DiskFiles
from harebell.storage.records import (
    CHUNK,
    CLEAN,
    COMMAND,
    FLAG,
    GROUP,
    HOLDS,
    MESSAGE,
    PAD,
    REQUEUE,
    RETURNS,
    SEGMENT_HEAD_SIZE,
    SETTLE,
    SYNCED,
    BadSegment,
    Gap,
    decode_segment_head,
    walk,
)
from harebell.storage.recovery import Loss, flag, recover
from harebell.storage.segments import NAME_SUFFIX
from harebell.storage.snapshot import NAME as SNAPSHOT
from harebell.storage.snapshot import BadSnapshot, decode_snapshot, read_snapshot

DAMAGED = DATA
PROGRESS_EVERY = 1 << 28
"""Octets of log between two progress lines."""

KIND_NAMES = {
    MESSAGE: "messages",
    SETTLE: "settles",
    REQUEUE: "requeues",
    RETURNS: "returns",
    HOLDS: "holds",
    COMMAND: "commands",
    GROUP: "groups",
    CHUNK: "chunks",
    CLEAN: "clean stops",
    FLAG: "flags",
    PAD: "pads",
}
MARKS_AT = 3

DIRECTORY = click.argument("data_dir", type=click.Path(path_type=Path, exists=True, file_okay=False))


@dataclass
class Segment:
    """What one segment file holds.

    Attributes:
        end: lsn behind the last octet.
        gaps: sentences about octets that are no record.
    """

    name: str
    size: int
    base: int = 0
    end: int = 0
    records: Counter[int] = field(default_factory=Counter)
    gaps: list[str] = field(default_factory=list)


@click.group(short_help="Look into the journal of a broker.")
def journal() -> None:
    """Look into the journal of a broker: read it, check it, repair it, say what was lost."""


@journal.command()
@DIRECTORY
def inspect(data_dir: Path) -> int:
    """Show what each segment holds; the broker should not run."""
    _folder(data_dir)
    names = list(KIND_NAMES.values())
    click.echo(
        "  ".join([f"{'segment':20}", f"{'octets':>12}", *(f"{name:>11}" for name in names), "damage"])
    )
    count = octets = 0
    for segment in _segments(data_dir):
        counts = [f"{segment.records[kind]:>11,}" for kind in KIND_NAMES]
        damage = "; ".join(segment.gaps) or "-"
        click.echo("  ".join([f"{segment.name:20}", f"{segment.size:>12,}", *counts, damage]))
        count += 1
        octets += segment.size
    click.echo(f"{count} segments, {octets:,} octets")
    click.echo(_snapshot(data_dir))
    return 0


@journal.command()
@DIRECTORY
def verify(data_dir: Path) -> int:
    """Check every checksum of a stopped broker; exit code 65 if anything is damaged. Changes nothing."""
    damaged = 0
    for segment in _segments(data_dir):
        for gap in segment.gaps:
            click.echo(f"{segment.name}: {gap}")
        damaged += len(segment.gaps)
    snapshot = _snapshot(data_dir)
    if snapshot.startswith("snapshot: damaged"):
        click.echo(snapshot)
        damaged += 1
    click.echo(f"{damaged} damaged ranges" if damaged else "every record is valid")
    return DAMAGED if damaged else 0


@journal.command()
@DIRECTORY
def repair(data_dir: Path) -> int:
    """Cut a torn tail and set damaged octets aside, as a start of the broker would."""
    try:
        held = DataDir(data_dir)
    except DataDirError as error:
        raise Failure(str(error), error.exit_code) from None
    try:
        files = DiskFiles(held.journal)
        snapshot, complaints = read_snapshot(files)
        recovered = recover(files, held.node, False, click.echo, snapshot)
        if not recovered.clean:
            flag(files, recovered)
    except (BadSegment, BadSnapshot, Loss) as error:
        raise Failure(str(error), DAMAGED) from None
    except OSError as error:
        raise Failure(f"the journal cannot be repaired: {error}", IO_FAILED) from None
    finally:
        held.close()
    for text in [*map(str, recovered.damage), *recovered.missing, *complaints]:
        click.echo(text)
    click.echo(f"{recovered.messages} messages in {len(recovered.queues)} queues are readable")
    return 0


@journal.command()
@DIRECTORY
def damage(data_dir: Path) -> int:
    """List what was lost and not acknowledged yet, also while the broker runs; exit code 65 if anything."""
    losses = read_damage(_files(data_dir))
    if not losses:
        click.echo("nothing was lost, or all of it is acknowledged")
        return 0
    click.echo(f"{'no':>4}  {'found':20}  {'segment':20}  {'offset':>12}  {'octets':>12}  what was lost")
    for lost in losses:
        where = f"{lost.offset:>12,}  {lost.octets:>12,}" if lost.file else f"{'-':>12}  {'-':>12}"
        kept = f" (kept as {lost.kept_as})" if lost.kept_as else ""
        segment = lost.file or "-"
        click.echo(f"{lost.number:>4}  {lost.time:20}  {segment:20}  {where}  {lost.what}{kept}")
    return DAMAGED


@journal.command()
@DIRECTORY
def acknowledge(data_dir: Path) -> int:
    """Say that everything lost so far is known, also while the broker runs: its alarm goes off.

    Octets that were set aside may be deleted from then on, but for the newest.
    """
    try:
        losses = acknowledge_damage(_files(data_dir))
    except OSError as error:
        raise Failure(f"the acknowledgement cannot be written: {error}", IO_FAILED) from None
    for lost in losses:
        click.echo(str(lost))
    click.echo(f"{len(losses)} losses acknowledged" if losses else "there is nothing to acknowledge")
    return 0


def _folder(data_dir: Path) -> Path:
    folder = data_dir / JOURNAL
    if not folder.is_dir():
        raise Failure(f"{data_dir} is no data directory of harebell: it has no folder {JOURNAL!r}", CONFIG)
    return folder


def _files(data_dir: Path) -> DiskFiles:
    return DiskFiles(_folder(data_dir))


def _segments(data_dir: Path) -> Iterator[Segment]:
    """Read one segment after the other; holes in front of them are gaps of theirs."""
    paths = sorted(_folder(data_dir).glob("*" + NAME_SUFFIX))
    expected = -1
    done = since = 0
    for index, path in enumerate(paths):
        segment = _read(path, index == len(paths) - 1)
        if 0 <= expected < segment.base:
            segment.gaps.insert(0, f"{segment.base - expected} octets before it are missing")
        expected = segment.end
        yield segment
        done += segment.size
        since += segment.size
        if since >= PROGRESS_EVERY:
            since = 0
            click.echo(f"{index + 1} of {len(paths)} segments, {done >> 20} MiB read", err=True)


def _read(path: Path, last: bool) -> Segment:
    data = path.read_bytes()
    segment = Segment(path.name, len(data))
    try:
        segment.base, _ = decode_segment_head(data)
    except BadSegment as error:
        segment.gaps.append(str(error))
        try:
            segment.base = int(path.stem, 16)
        except ValueError:
            segment.end = -1
            return segment
    behind = segment.base - SEGMENT_HEAD_SIZE
    segment.end = behind + max(len(data), SEGMENT_HEAD_SIZE)
    gaps: list[Gap] = []
    synced = -1
    for found in walk(data, SEGMENT_HEAD_SIZE, segment.base):
        if isinstance(found, Gap):
            gaps.append(found)
            continue
        segment.records[found.kind] += 1
        if data[found.lsn - behind + MARKS_AT] & SYNCED:
            synced = found.lsn
    for gap in gaps:
        kind = "torn tail" if gap.tail else "damage"
        if last and not gap.tail and gap.end > synced:
            kind = "never synced"
        segment.gaps.append(f"{kind}: {gap.end - gap.lsn} octets at offset {gap.lsn - behind}")
    return segment


def _snapshot(data_dir: Path) -> str:
    path = data_dir / JOURNAL / SNAPSHOT
    if not path.exists():
        return "snapshot: none"
    try:
        snapshot = decode_snapshot(path.read_bytes())
    except BadSnapshot as error:
        return f"snapshot: damaged ({error})"
    return f"snapshot: {len(snapshot.commands)} commands as of lsn {snapshot.lsn}"
