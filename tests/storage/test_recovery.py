"""Recovery: what is whole is kept, what is not is named and set aside, and nothing damaged is delivered."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from harebell.content.message import Message, address
from harebell.content.properties import build_header
from harebell.paging import FLAGGED, RETURN
from harebell.storage.damage import acknowledge, read_damage
from harebell.storage.records import (
    COMMAND,
    FLAG,
    GROUP,
    MESSAGE,
    PAD,
    REQUEUE,
    RETURNS,
    SEGMENT_HEAD_SIZE,
    SETTLE,
    SYNCED,
    BadSegment,
    Record,
    StoredMessage,
    encode_group,
    encode_message,
    encode_returns,
    message_at,
    walk,
)
from harebell.storage.recovery import Loss, Recovered, flag, recover
from harebell.storage.segments import segment_name
from harebell.storage.snapshot import Snapshot
from tests.storage.fake_disk import FakeDisk, PowerCut
from tests.storage.logs import NODE, Segment, message_payload, runs


def recovered(disk: FakeDisk, strict: bool = False, snapshot: Snapshot | None = None) -> Recovered:
    """Recover a disk."""
    return recover(disk, NODE, strict, lambda text: None, snapshot or Snapshot(0, 0, []))


def entries(found: Recovered, queue_id: int = 1) -> dict[int, tuple[int, int]]:
    """List what is alive in a queue: by position, its lsn and how often it came back."""
    backlog = found.queues.get(queue_id)
    listed: dict[int, tuple[int, int]] = {}
    for chunk in [] if backlog is None else backlog.chunks:
        assert backlog is not None
        for slot in range(chunk.count):
            if chunk.location(slot) >= 0:
                returned = int(backlog.returned(chunk, slot))
                listed[int(chunk.position(slot))] = (int(chunk.location(slot)) // 2, returned)
    return listed


def messages(disk: FakeDisk, found: Recovered, queue_id: int = 1) -> dict[int, Message]:
    """Read what is alive in a queue, by position."""
    held: dict[int, Message] = {}
    for position, (lsn, _) in entries(found, queue_id).items():
        base = max(base for base in found.bases if base <= lsn)
        message = message_at(disk.read(segment_name(base)), lsn - base + SEGMENT_HEAD_SIZE, lsn)
        assert message is not None, f"position {position} cannot be read back at lsn {lsn}"
        held[position] = message
    return held


def bodies(disk: FakeDisk, found: Recovered, queue_id: int = 1) -> dict[int, bytes]:
    """Read the bodies of what is alive in a queue, by position."""
    return {at: bytes(held.body) for at, held in messages(disk, found, queue_id).items()}


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
    assert bodies(disk, found) == {2: b"two", 3: b"three"}
    assert bodies(disk, found, 2) == {1: b"two"}
    returns = [returned for _, returned in entries(found).values()]
    assert returns == [RETURN | FLAGGED, RETURN | FLAGGED]
    assert [returned for _, returned in entries(found, 2).values()] == [0]
    assert (found.clean, found.end, found.highest) == (True, segment.end, {1: 3, 2: 1})


def test_header_and_body_come_back_byte_for_byte(disk: FakeDisk) -> None:
    body = bytes(range(256)) * 300
    Segment(0).message(body, (1, 1)).put(disk)
    held = messages(disk, recovered(disk))[1]
    assert (held.header, held.body, held.persistent) == (b"header", body, True)


def test_a_message_copied_forward_is_one_message_and_keeps_its_flag(disk: FakeDisk) -> None:
    first = Segment(0).message(b"one", (1, 1)).add(REQUEUE, runs((1, 1, 1))).put(disk)
    Segment(first.end).message(b"one", (1, 1)).clean().put(disk)
    found = recovered(disk)
    assert entries(found) == {1: (first.end, RETURN | FLAGGED)}
    assert [page.claims for page in found.queues[1].pages()] == [[(1, first.starts[1] - first.starts[0])]]


def test_a_copied_message_with_an_expiration_and_no_priority_keeps_having_none(disk: FakeDisk) -> None:
    def stored(priority: int | None, *enqueues: tuple[int, int]) -> bytes:
        header = build_header(1, priority=priority, expiration="60000")
        return encode_message(StoredMessage(True, address("", "q"), header, b"x", list(enqueues)))

    segment = Segment(0).add(MESSAGE, stored(None, (1, 1))).add(MESSAGE, stored(5, (1, 2)))
    segment.add(MESSAGE, stored(None, (1, 1))).clean().put(disk)
    levels = recovered(disk).queues[1].leveled_pages(255, 0)
    assert {level: [int(page.first) for page in pages] for level, pages in levels.items()} == {0: [1], 5: [2]}


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_transaction_is_there_as_a_whole_or_not_at_all(disk: FakeDisk, cut: int) -> None:
    segment = Segment(0).message(b"one", (1, 1))
    inner = [(MESSAGE, message_payload(b"in", (2, 1))), (SETTLE, runs((1, 1, 1)))]
    segment.add(GROUP, encode_group(segment.end, inner))
    disk.put(segment.name, bytes(segment.octets[:-cut]))
    found = recovered(disk)
    assert (bodies(disk, found), bodies(disk, found, 2)) == ({1: b"one"}, {})
    segment.put(disk)
    found = recovered(disk)
    assert (bodies(disk, found), bodies(disk, found, 2)) == ({}, {1: b"in"})


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
    assert bodies(disk, found) == {1: b"one"}
    assert (found.damage, found.missing, found.end) == ([], [], first.end)
    assert not found.clean, "the segment shows that the node ran once more"


def test_a_torn_tail_is_cut_and_a_copy_kept(disk: FakeDisk) -> None:
    segment = Segment(0).message(b"one", (1, 1)).message(b"two", (1, 2))
    torn = segment.starts[1]
    disk.put(segment.name, bytes(segment.octets[:-3]))
    found = recovered(disk)
    assert bodies(disk, found) == {1: b"one"}
    (damage,) = found.damage
    assert (damage.torn, damage.offset, damage.size) == (True, torn, len(segment.octets) - 3 - torn)
    assert str(damage).startswith(f"{segment.name}: torn tail cut off: {damage.size} octets at offset {torn}")
    assert disk.read(damage.kept_as) == segment.octets[torn:-3]
    assert disk.read(segment.name) == segment.octets[:torn]
    again = recovered(disk, strict=True)
    assert (bodies(disk, again), again.damage, again.end) == ({1: b"one"}, [], found.end)


def test_strict_does_not_mind_a_torn_tail(disk: FakeDisk) -> None:
    segment = Segment(0).message(b"one", (1, 1)).message(b"two", (1, 2))
    disk.put(segment.name, bytes(segment.octets[:-3]))
    assert bodies(disk, recovered(disk, strict=True)) == {1: b"one"}


def test_damage_in_the_middle_costs_the_record_it_hits(disk: FakeDisk) -> None:
    segment = Segment(0)
    for n in range(1, 10):
        segment.message(b"%d" % n * 40, (1, n))
    segment.add(COMMAND, b"command", SYNCED)
    segment.octets[segment.starts[4] + 30] ^= 16
    segment.put(disk)
    found = recovered(disk)
    assert list(bodies(disk, found)) == [1, 2, 3, 4, 6, 7, 8, 9]
    (damage,) = found.damage
    start, size = segment.starts[4], segment.starts[5] - segment.starts[4]
    text = f"{segment.name}: damage skipped: {size} octets at offset {start}, kept as {damage.kept_as}"
    assert str(damage) == text
    assert disk.read(damage.kept_as) == segment.octets[segment.starts[4] : segment.starts[5]]
    assert not found.clean, "a settle may have been lost"
    segment.put(disk)
    with pytest.raises(Loss, match=f"{segment.name}: {size} octets at offset {segment.starts[4]}"):
        recovered(disk, strict=True)


def test_damage_at_the_end_of_a_segment_that_is_not_the_last_is_no_torn_tail(disk: FakeDisk) -> None:
    first = Segment(0).message(b"one", (1, 1)).message(b"two", (1, 2))
    Segment(first.end).message(b"three", (1, 3)).put(disk)
    first.octets[-1] ^= 1
    first.put(disk)
    found = recovered(disk)
    assert list(bodies(disk, found)) == [1, 3]
    assert [damage.torn for damage in found.damage] == [False]
    assert len(disk.read(first.name)) == len(first.octets), "a segment in the middle must keep its size"


def test_a_damaged_head_costs_nothing_but_a_complaint(disk: FakeDisk) -> None:
    first = Segment(0).message(b"one", (1, 1))
    Segment(first.end).message(b"two", (1, 2)).put(disk)
    first.octets[9] ^= 4
    first.put(disk)
    found = recovered(disk)
    assert bodies(disk, found) == {1: b"one", 2: b"two"}
    assert [(damage.offset, damage.size) for damage in found.damage] == [(0, 32)]


def test_a_missing_segment_is_named(disk: FakeDisk) -> None:
    first = Segment(0).message(b"one", (1, 1)).put(disk)
    second = Segment(first.end).message(b"two", (1, 2))
    third = Segment(second.end).message(b"three", (1, 3)).clean().put(disk)
    found = recovered(disk)
    assert bodies(disk, found) == {1: b"one", 3: b"three"}
    size = second.end - first.end
    assert found.missing == [f"{size} octets of the log before {third.name} are missing"]
    assert (found.clean, found.end) == (False, third.end)
    copy = FakeDisk()
    first.put(copy)
    third.put(copy)
    with pytest.raises(Loss, match="are missing"):
        recovered(copy, strict=True)


def test_a_hole_is_complained_of_once_and_stays_in_the_list(disk: FakeDisk) -> None:
    first = Segment(0).message(b"one", (1, 1)).put(disk)
    second = Segment(first.end).message(b"two", (1, 2))
    third = Segment(second.end).message(b"three", (1, 3)).clean().put(disk)
    recovered(disk)
    again = recovered(disk, strict=True)
    assert (again.missing, list(bodies(disk, again))) == ([], [1, 3])
    assert not again.clean, "a settle may be missing, and no FLAG says so yet"
    (lost,) = read_damage(disk)
    assert (lost.file, lost.offset, lost.octets) == (first.name, len(first.octets), second.end - second.base)
    acknowledge(disk)
    Segment(third.end).add(FLAG, b"").clean().put(disk)
    quiet = recovered(disk, strict=True)
    assert (quiet.missing, read_damage(disk), quiet.clean) == ([], [], True)


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
    assert bodies(disk, found) == {3: b"three"}, "a settled message is back"
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
        after = copy.power_cut(chance)
        found = recovered(after)
        assert list(bodies(after, found)) == [1, 3, 4], f"after a cut before operation {left}"
        assert [lost.offset for lost in read_damage(after)] == [first.starts[1]], f"cut before {left}"
        kept = after.read(f"{first.name}.{first.starts[1]}.damaged")
        assert kept == first.octets[first.starts[1] : first.starts[2]], f"cut before {left}"
        assert recovered(after, strict=True).damage == []
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
    alive = bodies(disk, found)
    again = recovered(disk, strict=True)
    assert (again.damage, again.missing) == ([], []), f"{kind} {start}..{end}: the next start is not quiet"
    assert (bodies(disk, again), again.end) == (alive, found.end)
    assert safe <= set(alive), f"{kind} {start}..{end} of {hit.name} cost {safe - set(alive)}"
    lost = set(where) - set(alive)
    # Where a log that was cut between two records would have gone on nobody can know.
    seamless = hit is segments[-1] and kind == "truncated" and (start <= 32 or start in hit.starts)
    assert not lost or found.damage or found.missing or seamless, f"{kind}: {lost} vanished without a word"
    assert found.clean is False


def test_recovery_tells_how_far_it_is(disk: FakeDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harebell.storage.recovery.PROGRESS_EVERY", 10)
    first = Segment(0).message(b"one", (1, 1)).put(disk)
    Segment(first.end).message(b"two", (1, 2)).put(disk)
    told: list[str] = []
    recover(disk, NODE, False, told.append)
    assert told == [
        "recovering: 1 of 2 segments, 0 MiB read, 1 messages so far",
        "recovering: 2 of 2 segments, 0 MiB read, 2 messages so far",
        "recovered 2 messages in 1 queues from 0.0 MiB",
    ]


def test_how_often_a_message_came_back_is_told_by_the_copy(disk: FakeDisk) -> None:
    segment = Segment(100).message(b"new", (1, 9)).message(b"old", (1, 2)).message(b"older", (1, 1))
    segment.add(RETURNS, encode_returns([(1, 2, 7), (1, 5, 3)])).add(REQUEUE, runs((1, 2, 1)))
    segment.clean().put(disk)
    found = recovered(disk, snapshot=Snapshot(0, 100, []))
    assert bodies(disk, found) == {1: b"older", 2: b"old", 9: b"new"}
    assert [returned for _, returned in entries(found).values()] == [0, 7 + RETURN, 0]


def test_what_was_there_before_an_unclean_start_is_flagged_for_good(disk: FakeDisk) -> None:
    first = Segment(0).message(b"one", (1, 1)).message(b"two", (1, 2)).put(disk)
    segment = Segment(first.end).add(FLAG, b"").message(b"three", (1, 3)).clean().put(disk)
    found = recovered(disk)
    assert found.clean
    assert [returned for _, returned in entries(found).values()] == [FLAGGED, FLAGGED, 0]
    Segment(segment.end).put(disk)
    found = recovered(disk)
    assert not found.clean
    assert [returned for _, returned in entries(found).values()] == [FLAGGED, FLAGGED, FLAGGED]


def test_a_transaction_inside_a_transaction_is_passed_over(disk: FakeDisk) -> None:
    segment = Segment(0)
    innermost = encode_group(24, [(MESSAGE, message_payload(b"in", (1, 1)))])
    segment.add(GROUP, encode_group(0, [(GROUP, innermost)])).put(disk)
    assert recovered(disk).queues == {}


def test_a_message_of_a_transaction_can_be_read_by_its_location(disk: FakeDisk) -> None:
    segment = Segment(1000).message(b"zero", (1, 1))
    inner = [(MESSAGE, message_payload(b"%d" % n, (1, n), (2, n))) for n in range(2, 6)]
    segment.add(GROUP, encode_group(segment.end, inner)).put(disk)
    found = recovered(disk, snapshot=Snapshot(0, 1000, []))
    assert list(bodies(disk, found).values()) == [b"zero", b"2", b"3", b"4", b"5"]
    assert list(bodies(disk, found, 2).values()) == [b"2", b"3", b"4", b"5"]


def _three(marks: int) -> Segment:
    segment = Segment(0).message(b"one", (1, 1)).message(b"two", (1, 2)).message(b"three", (1, 3))
    segment.add(COMMAND, b"command", marks)
    segment.octets[segment.starts[1] + 20] ^= 1
    return segment


def test_what_a_power_cut_leaves_of_unsynced_blocks_is_no_damage(disk: FakeDisk) -> None:
    segment = _three(0).put(disk)
    start, end = segment.starts[1], segment.starts[2]
    found = recovered(disk, strict=True)
    assert list(bodies(disk, found)) == [1, 3]
    (damage,) = found.damage
    assert (damage.what, damage.harmless, damage.offset) == ("unsynced", True, start)
    assert disk.read(damage.kept_as) == segment.octets[start:end]
    assert (read_damage(disk), found.clean) == ([], False)
    again = recovered(disk, strict=True)
    assert (again.damage, list(bodies(disk, again)), again.end) == ([], [1, 3], segment.end)


def test_a_synced_record_behind_it_tells_damage_from_a_power_cut(disk: FakeDisk) -> None:
    segment = _three(SYNCED).put(disk)
    with pytest.raises(Loss):
        recovered(disk, strict=True)
    assert disk.read(segment.name) == segment.octets, "strict recovery must change nothing"
    found = recovered(disk)
    assert ([damage.harmless for damage in found.damage], list(bodies(disk, found))) == ([False], [1, 3])
    (lost,) = read_damage(disk)
    assert (lost.file, lost.offset) == (segment.name, segment.starts[1])
    assert lost.kept_as == found.damage[0].kept_as


def test_a_segment_that_is_not_the_last_was_synced_as_a_whole(disk: FakeDisk) -> None:
    segment = _three(0).put(disk)
    Segment(segment.end).put(disk)
    assert [damage.harmless for damage in recovered(disk).damage] == [False]


def test_damage_is_overwritten_once_it_was_set_aside(disk: FakeDisk) -> None:
    segment = _three(SYNCED).put(disk)
    recovered(disk)
    records = list(walk(disk.read(segment.name), SEGMENT_HEAD_SIZE, 0))
    kinds = [record.kind for record in records if isinstance(record, Record)]
    assert kinds == [MESSAGE, PAD, MESSAGE, COMMAND]
    again = recovered(disk, strict=True)
    assert (again.damage, again.missing) == ([], [])
    assert len(read_damage(disk)) == 1, "it is remembered until somebody acknowledges it"


def test_damage_that_comes_again_at_the_same_place_replaces_no_copy(disk: FakeDisk) -> None:
    segment = _three(SYNCED).put(disk)
    (first,) = recovered(disk).damage
    kept = disk.read(first.kept_as)
    acknowledge(disk)
    octets = bytearray(disk.read(segment.name))
    octets[segment.starts[2] - 1] ^= 1
    octets[segment.starts[2] + 20] ^= 1
    disk.put(segment.name, bytes(octets))
    (second,) = recovered(disk).damage
    assert second.kept_as == f"{segment.name}.{segment.starts[1]}.2.damaged"
    assert disk.read(first.kept_as) == kept
    assert [lost.kept_as for lost in read_damage(disk)] == [second.kept_as]


@pytest.mark.parametrize("left", [*range(1, 14), 30])
def test_a_middle_segment_that_was_cut_is_records_and_a_hole_afterwards(disk: FakeDisk, left: int) -> None:
    first = Segment(0).message(b"one", (1, 1)).message(b"two", (1, 2))
    second = Segment(first.end).message(b"three", (1, 3)).clean().put(disk)
    disk.put(first.name, bytes(first.octets[: first.starts[1] + left]))
    found = recovered(disk)
    assert (list(bodies(disk, found)), found.end) == ([1, 3], second.end)
    assert len(found.missing) == 1 and len(found.damage) == 1
    again = recovered(disk, strict=True)
    assert (again.damage, again.missing, list(bodies(disk, again))) == ([], [], [1, 3])


@pytest.mark.parametrize("size", [1, 11, 12, 100])
def test_octets_appended_to_a_middle_segment_are_set_aside_and_cut(disk: FakeDisk, size: int) -> None:
    first = Segment(0).message(b"one", (1, 1))
    second = Segment(first.end).message(b"three", (1, 3)).put(disk)
    disk.put(first.name, bytes(first.octets) + b"?" * size)
    found = recovered(disk)
    assert disk.read(found.damage[0].kept_as) == b"?" * size
    assert disk.read(first.name) == first.octets
    assert (found.end, found.missing) == (second.end, [])
    assert recovered(disk, strict=True).damage == []


@pytest.mark.parametrize("size", [0, 5, 32])
def test_a_damaged_head_is_written_anew(disk: FakeDisk, size: int) -> None:
    first = Segment(0)
    Segment(0).put(disk)
    disk.put(first.name, bytes(size))
    Segment(500).message(b"two", (1, 2)).put(disk)
    recovered(disk)
    assert disk.read(first.name) == first.octets
    again = recovered(disk, strict=True)
    assert (again.damage, again.missing, list(bodies(disk, again))) == ([], [], [2])


def test_what_was_recovered_is_on_stable_storage(disk: FakeDisk) -> None:
    segment = Segment(0).message(b"one", (1, 1)).put(disk)
    disk.files[segment.name].synced = 0
    recovered(disk)
    assert disk.files[segment.name].synced == len(segment.octets), "a kill leaves octets only the kernel has"


def test_a_full_disk_does_not_keep_a_torn_tail_from_being_cut(disk: FakeDisk) -> None:
    segment = Segment(0).message(b"one", (1, 1)).message(b"two", (1, 2))
    disk.put(segment.name, bytes(segment.octets[:-3]))
    disk.space = 0
    found = recovered(disk, strict=True)
    assert list(bodies(disk, found)) == [1]
    assert str(found.damage[0]).endswith("not kept since the disk is full")


def test_a_full_disk_does_keep_damage_from_being_overwritten(disk: FakeDisk) -> None:
    segment = _three(SYNCED).put(disk)
    disk.space = 0
    with pytest.raises(OSError):
        recovered(disk)
    assert disk.read(segment.name) == segment.octets


def test_messages_whose_declaration_may_be_damaged_are_kept(disk: FakeDisk) -> None:
    segment = Segment(0).message(b"deleted", (3, 1)).add(COMMAND, b"declare 7" * 5)
    segment.message(b"one", (7, 1)).message(b"two", (7, 2), (8, 1), (9, 1)).clean()
    segment.octets[segment.starts[1] + 20] ^= 1
    Segment(segment.end).put(disk)
    segment.put(disk)
    for start in ("first", "second"):
        found = recovered(disk)
        said = found.forget({8}, deleted={9})
        assert said == ["2 messages of queue number 7 whose declaration is lost"], start
        assert (sorted(found.queues), sorted(found.orphans)) == ([8], [7]), start
        assert sorted(found.highest) == [3, 7, 8, 9], "no number may be given again"
        assert said[0] in found.missing


def test_messages_of_deleted_queues_are_dropped_if_no_declaration_can_be_lost(disk: FakeDisk) -> None:
    segment = Segment(0).message(b"one", (7, 1)).message(b"two", (7, 2)).put(disk)
    found = recovered(disk)
    assert (found.forget(set()), found.queues, found.orphans) == ([], {}, {})
    segment.octets[segment.starts[0] + 20] ^= 1
    segment.put(disk)
    Segment(segment.end).put(disk)
    found = recovered(disk, snapshot=Snapshot(segment.end, 0, []))
    assert (found.forget(set()), found.orphans) == ([], {}), "the snapshot would hold the queue"


def test_a_repaired_log_does_not_trust_its_flags(disk: FakeDisk) -> None:
    first = Segment(0).message(b"one", (1, 1)).add(SETTLE, runs((1, 1, 1)))
    first.octets[first.starts[1] + 14] ^= 1
    first.put(disk)
    Segment(first.end).add(FLAG, b"").clean().put(disk)
    flag(disk, recovered(disk))
    found = recovered(disk)
    assert (found.damage, found.clean) == ([], False)
    assert [returned for _, returned in entries(found).values()] == [FLAGGED]


def test_old_copies_are_deleted_but_none_of_damage_nobody_acknowledged(disk: FakeDisk) -> None:
    base = 0
    for n in range(20):
        segment = Segment(base).message(b"one", (1, n + 1)).message(b"two" * 9, (1, 100 + n))
        segment.octets[segment.starts[1] + 30] ^= 1
        segment.put(disk)
        base = segment.end
        disk.put(f"{segment.name}.32.torn", b"kept")
        disk.put(f"{segment.name}.99.unsynced", b"kept")
    Segment(base).put(disk)

    def kept(suffix: str) -> int:
        return len([name for name in disk.names() if name.endswith(suffix)])

    recovered(disk)
    assert (kept(".damaged"), kept(".torn") + kept(".unsynced")) == (20, 16)
    assert len(acknowledge(disk)) == 20
    recovered(disk)
    assert kept(".damaged") == 16
    assert f"{segment.name}.{segment.starts[1]}.damaged" in disk.names(), "the newest stay"
