"""``harebell journal``: look into a data directory's journal while no broker runs on it."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import click

from harebell.cli.exits import CONFIG, Failure
from harebell.storage.data_dir import JOURNAL, DataDir, DataDirError
from harebell.storage.files import DiskFiles
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
    decode_segment_head,
    walk,
)
from harebell.storage.recovery import Loss, recover
from harebell.storage.segments import NAME_SUFFIX
from harebell.storage.snapshot import NAME as SNAPSHOT
from harebell.storage.snapshot import BadSnapshot, decode_snapshot

DAMAGED = 65
KIND_NAMES = {
    MESSAGE: "messages",
    SETTLE: "settles",
    REQUEUE: "requeues",
    COMMAND: "commands",
    GROUP: "groups",
    CLEAN: "clean stops",
}

DIRECTORY = click.argument("data_dir", type=click.Path(path_type=Path, exists=True, file_okay=False))


@dataclass
class Segment:
    """What one segment file holds."""

    name: str
    size: int
    base: int = 0
    records: Counter[int] = field(default_factory=Counter)
    gaps: list[str] = field(default_factory=list)


@click.group(short_help="Look into the journal of a stopped broker.")
def journal() -> None:
    """Look into the journal of a broker that does not run: read it, check it, repair it."""


@journal.command()
@DIRECTORY
def inspect(data_dir: Path) -> int:
    """Show what each segment holds."""
    segments = _segments(data_dir)
    names = list(KIND_NAMES.values())
    click.echo(
        "  ".join([f"{'segment':20}", f"{'octets':>12}", *(f"{name:>11}" for name in names), "damage"])
    )
    for segment in segments:
        counts = [f"{segment.records[kind]:>11,}" for kind in KIND_NAMES]
        damage = "; ".join(segment.gaps) or "-"
        click.echo("  ".join([f"{segment.name:20}", f"{segment.size:>12,}", *counts, damage]))
    click.echo(f"{len(segments)} segments, {sum(segment.size for segment in segments):,} octets")
    click.echo(_snapshot(data_dir))
    return 0


@journal.command()
@DIRECTORY
def verify(data_dir: Path) -> int:
    """Check every checksum; exit code 65 if anything is damaged. Changes nothing."""
    damaged = [f"{segment.name}: {gap}" for segment in _segments(data_dir) for gap in segment.gaps]
    snapshot = _snapshot(data_dir)
    if snapshot.startswith("snapshot: damaged"):
        damaged.append(snapshot)
    for line in damaged:
        click.echo(line)
    click.echo(f"{len(damaged)} damaged ranges" if damaged else "every record is valid")
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
        recovered = recover(DiskFiles(held.journal), held.node, False, click.echo)
    except (BadSegment, Loss) as error:
        raise Failure(str(error), DAMAGED) from None
    finally:
        held.close()
    for text in [*map(str, recovered.damage), *recovered.missing]:
        click.echo(text)
    messages = sum(len(held_by) for held_by in recovered.queues.values())
    click.echo(f"{messages} messages in {len(recovered.queues)} queues are readable")
    return 0


def _segments(data_dir: Path) -> list[Segment]:
    folder = data_dir / JOURNAL
    if not folder.is_dir():
        raise Failure(f"{data_dir} is no data directory of harebell: it has no folder {JOURNAL!r}", CONFIG)
    return [_read(path) for path in sorted(folder.glob("*" + NAME_SUFFIX))]


def _read(path: Path) -> Segment:
    data = path.read_bytes()
    segment = Segment(path.name, len(data))
    try:
        segment.base, _ = decode_segment_head(data)
    except BadSegment as error:
        segment.gaps.append(str(error))
        return segment
    for found in walk(data, SEGMENT_HEAD_SIZE, segment.base):
        if isinstance(found, Gap):
            offset = found.lsn - segment.base + SEGMENT_HEAD_SIZE
            kind = "torn tail" if found.tail else "damage"
            segment.gaps.append(f"{kind}: {found.end - found.lsn} octets at offset {offset}")
        else:
            segment.records[found.kind] += 1
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
