"""Recovery: what is whole is kept, what is not is named and set aside, and nothing damaged is delivered."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from harebell.storage.records import COMMAND, GROUP, REQUEUE, SETTLE, BadSegment, encode_record
from harebell.storage.recovery import Loss, Recovered, recover
from harebell.storage.segments import segment_name
from harebell.storage.snapshot import Snapshot
from tests.storage.fake_disk import FakeDisk, PowerCut
from tests.storage.logs import NODE, Segment, message_payload, runs


def recovered(disk: FakeDisk, strict: bool = False, snapshot: Snapshot | None = None) -> Recovered:
    """Recover a disk."""
    return recover(disk, NODE, strict, lambda text: None, snapshot or Snapshot(0, 0, []))


def bodies(found: Recovered, queue_id: int = 1) -> dict[int, bytes]:
    """List what is alive in a queue, by position."""
    return {at: bytes(held.body) for at, (held, _) in sorted(found.queues.get(queue_id, {}).items())}


@pytest.fixture
def disk() -> FakeDisk:
    return FakeDisk()


def test_an_empty_folder_is_an_empty_log(disk: FakeDisk) -> None:
    found = recovered(disk)
    assert (found.end, found.clean, found.queues, found.bases) == (0, True, {}, [])


def test_messages_settles_and_flags_are_replayed_in_order(disk: FakeDisk) -> None:
    segment = Segment(0).message(b"one", (1, 1)).message(b"two", (1, 2), (2, 1)).message(b"three", (1, 3))
    segment.add(SETTLE, runs((1, 1, 1))).add(REQUEUE, runs((1, 2, 2), (1, 1, 1))).clean().put(disk)
    found = recovered(disk)
    assert bodies(found) == {2: b"two", 3: b"three"}
    assert bodies(found, 2) == {1: b"two"}
    assert [returned for _, returned in found.queues[1].values()] == [True, True]
    assert not found.queues[2][1][1]
    assert (found.clean, found.end, found.highest) == (True, segment.end, {1: 3, 2: 1})


def test_header_and_body_come_back_byte_for_byte(disk: FakeDisk) -> None:
    body = bytes(range(256)) * 300
    Segment(0).message(body, (1, 1)).put(disk)
    held, _ = recovered(disk).queues[1][1]
    assert (held.header, held.body, held.persistent) == (b"header", body, True)


def test_a_message_copied_forward_is_one_message_and_keeps_its_flag(disk: FakeDisk) -> None:
    first = Segment(0).message(b"one", (1, 1)).add(REQUEUE, runs((1, 1, 1))).put(disk)
    Segment(first.end).message(b"one", (1, 1)).clean().put(disk)
    found = recovered(disk)
    ((held, returned),) = found.queues[1].values()
    assert (int(held.segment), returned) == (1, True)


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_transaction_is_there_as_a_whole_or_not_at_all(disk: FakeDisk, cut: int) -> None:
    inner = encode_record(0, 1, message_payload(b"in", (2, 1))) + encode_record(0, SETTLE, runs((1, 1, 1)))
    segment = Segment(0).message(b"one", (1, 1)).add(GROUP, inner)
    disk.put(segment.name, bytes(segment.octets[:-cut]))
    found = recovered(disk)
    assert (bodies(found), bodies(found, 2)) == ({1: b"one"}, {})
    segment.put(disk)
    found = recovered(disk)
    assert (bodies(found), bodies(found, 2)) == ({}, {1: b"in"})


def test_only_an_orderly_stop_at_the_very_end_makes_flags_trustworthy(disk: FakeDisk) -> None:
    first = Segment(0).message(b"one", (1, 1)).clean().put(disk)
    assert recovered(disk).clean
    second = Segment(first.end).put(disk)
    assert not recovered(disk).clean, "the node ran once more, even if it wrote nothing"
    second.message(b"two", (1, 2)).put(disk)
    assert not recovered(disk).clean
    second.clean().put(disk)
    assert recovered(disk).clean


@pytest.mark.parametrize("size", [0, 1, 31, 32])
def test_a_crash_while_a_segment_was_made_leaves_nothing_to_complain_of(disk: FakeDisk, size: int) -> None:
    first = Segment(0).message(b"one", (1, 1)).clean().put(disk)
    disk.put(segment_name(first.end), bytes(size))
    found = recovered(disk)
    assert bodies(found) == {1: b"one"}
    assert (found.damage, found.missing, found.end) == ([], [], first.end)
    assert not found.clean, "the segment shows that the node ran once more"


def test_a_torn_tail_is_cut_and_a_copy_kept(disk: FakeDisk) -> None:
    segment = Segment(0).message(b"one", (1, 1)).message(b"two", (1, 2))
    torn = segment.starts[1]
    disk.put(segment.name, bytes(segment.octets[:-3]))
    found = recovered(disk)
    assert bodies(found) == {1: b"one"}
    (damage,) = found.damage
    assert (damage.torn, damage.offset, damage.size) == (True, torn, len(segment.octets) - 3 - torn)
    assert str(damage).startswith(f"{segment.name}: torn tail cut off: {damage.size} octets at offset {torn}")
    assert disk.read(damage.kept_as) == segment.octets[torn:-3]
    assert disk.read(segment.name) == segment.octets[:torn]
    again = recovered(disk, strict=True)
    assert (bodies(again), again.damage, again.end) == ({1: b"one"}, [], found.end)


def test_strict_does_not_mind_a_torn_tail(disk: FakeDisk) -> None:
    segment = Segment(0).message(b"one", (1, 1)).message(b"two", (1, 2))
    disk.put(segment.name, bytes(segment.octets[:-3]))
    assert bodies(recovered(disk, strict=True)) == {1: b"one"}


def test_damage_in_the_middle_costs_the_record_it_hits(disk: FakeDisk) -> None:
    segment = Segment(0)
    for n in range(1, 10):
        segment.message(b"%d" % n * 40, (1, n))
    segment.octets[segment.starts[4] + 30] ^= 16
    segment.put(disk)
    found = recovered(disk)
    assert list(bodies(found)) == [1, 2, 3, 4, 6, 7, 8, 9]
    (damage,) = found.damage
    start, size = segment.starts[4], segment.starts[5] - segment.starts[4]
    text = f"{segment.name}: damage skipped: {size} octets at offset {start}, kept as {damage.kept_as}"
    assert str(damage) == text
    assert disk.read(damage.kept_as) == segment.octets[segment.starts[4] : segment.starts[5]]
    assert not found.clean, "a settle may have been lost"
    with pytest.raises(Loss, match=f"{segment.name}: {size} octets at offset {segment.starts[4]}"):
        recovered(disk, strict=True)


def test_damage_at_the_end_of_a_segment_that_is_not_the_last_is_no_torn_tail(disk: FakeDisk) -> None:
    first = Segment(0).message(b"one", (1, 1)).message(b"two", (1, 2))
    Segment(first.end).message(b"three", (1, 3)).put(disk)
    first.octets[-1] ^= 1
    first.put(disk)
    found = recovered(disk)
    assert list(bodies(found)) == [1, 3]
    assert [damage.torn for damage in found.damage] == [False]
    assert disk.read(first.name) == first.octets, "a segment in the middle must stay as it is"


def test_a_damaged_head_costs_nothing_but_a_complaint(disk: FakeDisk) -> None:
    first = Segment(0).message(b"one", (1, 1))
    Segment(first.end).message(b"two", (1, 2)).put(disk)
    first.octets[9] ^= 4
    first.put(disk)
    found = recovered(disk)
    assert bodies(found) == {1: b"one", 2: b"two"}
    assert [(damage.offset, damage.size) for damage in found.damage] == [(0, 32)]


def test_a_missing_segment_is_named(disk: FakeDisk) -> None:
    first = Segment(0).message(b"one", (1, 1)).put(disk)
    second = Segment(first.end).message(b"two", (1, 2))
    third = Segment(second.end).message(b"three", (1, 3)).clean().put(disk)
    found = recovered(disk)
    assert bodies(found) == {1: b"one", 3: b"three"}
    size = second.end - first.end
    assert found.missing == [f"{size} octets of the log before {third.name} are missing"]
    assert (found.clean, found.end) == (False, third.end)
    with pytest.raises(Loss, match="are missing"):
        recovered(disk, strict=True)


def test_a_missing_first_segment_is_named_too(disk: FakeDisk) -> None:
    Segment(500).message(b"two", (1, 2)).put(disk)
    assert recovered(disk).missing == [f"500 octets of the log before {segment_name(500)} are missing"]
    assert recovered(disk, snapshot=Snapshot(0, 500, [])).missing == []


def test_a_log_shorter_than_its_snapshot_gives_no_lsn_twice(disk: FakeDisk) -> None:
    Segment(0).message(b"one", (1, 1)).put(disk)
    found = recovered(disk, snapshot=Snapshot(1000, 0, []))
    assert found.end == 1000, "later commands would seem to be in the snapshot"
    assert "at the end of the log are missing" in found.missing[0]


def test_an_interrupted_deletion_is_finished(disk: FakeDisk) -> None:
    first = Segment(0).message(b"one", (1, 1)).put(disk)
    second = Segment(first.end).add(SETTLE, runs((1, 1, 1)))  # deleted already, though it is younger
    third = Segment(second.end).message(b"three", (1, 3)).put(disk)
    found = recovered(disk, snapshot=Snapshot(second.end, second.end, []))
    assert bodies(found) == {3: b"three"}, "a settled message is back"
    assert (found.missing, disk.names(), sorted(disk.durable)) == ([], [third.name], [third.name])


def test_segments_of_another_node_are_refused(disk: FakeDisk) -> None:
    Segment(0, NODE + 1).put(disk)
    with pytest.raises(BadSegment, match="another data directory"):
        recovered(disk)


@pytest.mark.parametrize("name", ["notes.wal", "00000000000000FF.wal", "-000000000000001.wal"])
def test_a_file_with_a_strange_name_is_refused(disk: FakeDisk, name: str) -> None:
    disk.put(name, b"")
    with pytest.raises(BadSegment, match="no segment of the journal"):
        recovered(disk)


def test_a_renamed_segment_is_refused(disk: FakeDisk) -> None:
    disk.put(segment_name(64), bytes(Segment(0).octets))
    with pytest.raises(BadSegment, match=f"was renamed; it is {segment_name(0)}"):
        recovered(disk)


def test_other_files_are_left_alone(disk: FakeDisk) -> None:
    disk.put("README", b"mine")
    disk.put("0000000000000000.wal.32.torn", b"kept")
    recovered(disk)
    assert disk.names() == ["0000000000000000.wal.32.torn", "README"]


def test_an_unknown_command_is_kept_with_its_lsn(disk: FakeDisk) -> None:
    segment = Segment(0).message(b"one", (1, 1)).add(COMMAND, b"command").put(disk)
    ((lsn, payload),) = recovered(disk).commands
    assert (payload, lsn + 32) == (b"command", segment.starts[1])


def test_a_crash_at_any_operation_of_recovery_changes_nothing(disk: FakeDisk) -> None:
    first = Segment(0).message(b"one", (1, 1)).message(b"two", (1, 2)).message(b"three", (1, 3))
    second = Segment(first.end).message(b"four", (1, 4)).message(b"five", (1, 5))
    first.octets[first.starts[1] + 20] ^= 1
    for left in range(1, 40):
        chance = random.Random(left)
        copy = FakeDisk()
        copy.put(first.name, bytes(first.octets))
        copy.put(second.name, bytes(second.octets[:-1]))
        last = left

        def before(kind: str, name: str) -> None:
            nonlocal last
            last -= 1
            if last == 0:
                raise PowerCut

        copy.before = before
        try:
            recovered(copy)
            cut = False
        except PowerCut:
            cut = True
        found = recovered(copy.power_cut(chance))
        assert list(bodies(found)) == [1, 3, 4], f"after a cut before operation {left}"
        if not cut:
            assert left > 5, "recovery did nothing that could be cut"
            return
    raise AssertionError("recovery never comes to an end")


@pytest.mark.parametrize("seed", range(60))
def test_everything_outside_the_range_that_was_hit_survives(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    disk = FakeDisk()
    segments: list[Segment] = []
    where: dict[int, tuple[Segment, int, int]] = {}
    base = 0
    for n in range(1, 61):
        if n % 20 == 1:
            segments.append(Segment(base))
        segment = segments[-1]
        segment.message(chance.randbytes(chance.randint(0, 200)), (1, n))
        where[n] = (segment, segment.starts[-1], len(segment.octets))
        base = segment.end
    hit = chance.choice(segments)
    start = chance.randrange(len(hit.octets))
    end = min(len(hit.octets), start + chance.choice((1, 10, 600)))
    kind = chance.choice(("flipped", "zeroed", "truncated", "garbage behind", "noise"))
    if kind == "flipped":
        hit.octets[start] ^= 1 << chance.randrange(8)
        end = start + 1
    elif kind == "zeroed":
        hit.octets[start:end] = bytes(end - start)
    elif kind == "truncated":
        end = len(hit.octets)
        del hit.octets[start:]
    elif kind == "noise":
        hit.octets[start:end] = chance.randbytes(end - start)
    else:
        start = end = len(hit.octets)
        hit.octets += chance.randbytes(100)
    for segment in segments:
        segment.put(disk)
    found = recovered(disk)
    safe = {n for n, (of, first, last) in where.items() if of is not hit or last <= start or first >= end}
    alive = bodies(found)
    assert safe <= set(alive), f"{kind} {start}..{end} of {hit.name} cost {safe - set(alive)}"
    lost = set(where) - set(alive)
    assert not lost or found.damage or found.missing, f"{kind}: {lost} vanished without a word"
    assert found.clean is False


def test_recovery_tells_how_far_it_is(disk: FakeDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harebell.storage.recovery.PROGRESS_EVERY", 10)
    first = Segment(0).message(b"one", (1, 1)).put(disk)
    Segment(first.end).message(b"two", (1, 2)).put(disk)
    told: list[str] = []
    recover(disk, NODE, False, told.append)
    assert told == [
        "recovering: 1 of 2 segments, 0 MiB read",
        "recovering: 2 of 2 segments, 0 MiB read",
    ]
