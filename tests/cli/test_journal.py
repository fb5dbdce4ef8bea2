"""``harebell journal`` on a data directory: what it shows, what it finds, what it mends."""

from __future__ import annotations

from pathlib import Path

import pytest

from harebell.storage.data_dir import DataDir
from harebell.storage.files import DiskFiles
from harebell.storage.records import (
    CLEAN,
    COMMAND,
    MESSAGE,
    SEGMENT_HEAD_SIZE,
    SYNCED,
    StoredMessage,
    encode_message,
    encode_record,
    encode_segment_head,
)
from harebell.storage.segments import segment_name
from harebell.storage.snapshot import Snapshot, write_snapshot
from tests.cli.running import harebell


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    """A data directory with one segment: a command, two messages, a clean stop."""
    held = DataDir(tmp_path / "data")
    held.journal.mkdir()
    data, lsn = encode_segment_head(0, held.node), 0
    message = encode_message(StoredMessage(True, b"\x00\x01q", b"header", b"body", [(1, 1)]))
    for kind, payload in ((COMMAND, b"declare"), (MESSAGE, message), (MESSAGE, message), (CLEAN, b"")):
        record = encode_record(lsn, kind, payload, SYNCED if kind == CLEAN else 0)
        data, lsn = data + record, lsn + len(record)
    path = held.journal / segment_name(0)
    path.write_bytes(data)
    held.close()
    return path


def test_inspect_counts_the_records_of_each_segment(segment: Path, tmp_path: Path) -> None:
    done = harebell("journal", "inspect", str(tmp_path / "data"), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    row = next(line for line in done.stdout.splitlines() if line.startswith(segment.name))
    assert " ".join(row.split()[1:]) == f"{segment.stat().st_size:,} 2 0 0 0 0 1 0 0 1 0 0 -"
    assert "snapshot: none" in done.stdout


def test_verify_is_content_with_a_sound_journal(segment: Path, tmp_path: Path) -> None:
    done = harebell("journal", "verify", str(tmp_path / "data"), folder=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "every record is valid")


def test_verify_names_damage_by_offset_and_changes_nothing(segment: Path, tmp_path: Path) -> None:
    data = bytearray(segment.read_bytes())
    data[SEGMENT_HEAD_SIZE + 15] ^= 1
    segment.write_bytes(data)
    done = harebell("journal", "verify", str(tmp_path / "data"), folder=tmp_path)
    assert done.returncode == 65
    assert f"{segment.name}: damage: 19 octets at offset {SEGMENT_HEAD_SIZE}" in done.stdout
    assert segment.read_bytes() == data
    assert harebell("journal", "damage", str(tmp_path / "data"), folder=tmp_path).returncode == 0, (
        "what only was looked at is not in the list"
    )


def test_repair_cuts_a_torn_tail_and_keeps_a_copy(segment: Path, tmp_path: Path) -> None:
    data = segment.read_bytes()
    segment.write_bytes(data[:-20])
    done = harebell("journal", "repair", str(tmp_path / "data"), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "torn tail" in done.stdout and "1 messages in 1 queues are readable" in done.stdout
    assert harebell("journal", "verify", str(tmp_path / "data"), folder=tmp_path).returncode == 0
    assert len(list(segment.parent.glob("*.torn"))) == 1


def _damage(segment: Path) -> None:
    data = bytearray(segment.read_bytes())
    data[SEGMENT_HEAD_SIZE + 40] ^= 1
    segment.write_bytes(data)


def test_damage_is_listed_until_it_is_acknowledged_even_while_a_broker_runs(
    segment: Path, tmp_path: Path
) -> None:
    _damage(segment)
    data_dir = str(tmp_path / "data")
    repaired = harebell("journal", "repair", data_dir, folder=tmp_path)
    assert "damage skipped" in repaired.stdout, repaired.stdout + repaired.stderr
    verified = harebell("journal", "verify", data_dir, folder=tmp_path)
    assert verified.stdout.strip() == "every record is valid"
    inspected = harebell("journal", "inspect", data_dir, folder=tmp_path).stdout
    row = next(line for line in inspected.splitlines() if line.startswith(segment.name))
    assert " ".join(row.split()[2:]) == "1 0 0 0 0 1 0 0 1 1 1 -", (
        "a pad, and a flag since a settle may be lost"
    )
    held = DataDir(tmp_path / "data")
    try:
        listed = harebell("journal", "damage", data_dir, folder=tmp_path)
        assert listed.returncode == 65
        assert segment.name in listed.stdout and ".damaged" in listed.stdout
        done = harebell("journal", "acknowledge", data_dir, folder=tmp_path)
        assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "1 losses acknowledged")
        assert harebell("journal", "damage", data_dir, folder=tmp_path).returncode == 0
        again = harebell("journal", "acknowledge", data_dir, folder=tmp_path)
        assert (again.returncode, again.stdout.strip()) == (0, "there is nothing to acknowledge")
    finally:
        held.close()


def test_repair_begins_where_the_snapshot_says(segment: Path, tmp_path: Path) -> None:
    base = 5000
    held = DataDir(tmp_path / "data")
    segment.unlink()
    write_snapshot(DiskFiles(held.journal), Snapshot(base, base, []))
    (held.journal / segment_name(base)).write_bytes(encode_segment_head(base, held.node))
    held.close()
    done = harebell("journal", "repair", str(tmp_path / "data"), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "missing" not in done.stdout


def test_verify_names_a_hole(segment: Path, tmp_path: Path) -> None:
    held = DataDir(tmp_path / "data")
    (held.journal / segment_name(9000)).write_bytes(encode_segment_head(9000, held.node))
    held.close()
    done = harebell("journal", "verify", str(tmp_path / "data"), folder=tmp_path)
    missing = 9000 - segment.stat().st_size + SEGMENT_HEAD_SIZE
    assert f"{segment_name(9000)}: {missing} octets before it are missing" in done.stdout
    assert done.returncode == 65


def test_a_directory_in_use_is_not_repaired(segment: Path, tmp_path: Path) -> None:
    held = DataDir(tmp_path / "data")
    try:
        done = harebell("journal", "repair", str(tmp_path / "data"), folder=tmp_path)
    finally:
        held.close()
    assert done.returncode == 75
    assert "in use by another harebell" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["verify", "inspect", "damage", "acknowledge"])
def test_a_folder_without_a_journal_is_said_to_be_none(command: str, tmp_path: Path) -> None:
    done = harebell("journal", command, str(tmp_path), folder=tmp_path)
    assert done.returncode == 78
    assert "no data directory" in done.stderr
