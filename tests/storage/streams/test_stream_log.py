"""What every log of a stream does, wherever its chunks are."""

from __future__ import annotations

import random

import pytest

from harebell.storage.streams.segments import BLOCK_OCTETS
from tests.storage.streams.stream_rig import Place, append, block_at, chunk, read

LARGE = bytes(BLOCK_OCTETS // 4)


def test_an_empty_log_begins_at_0_and_gives_an_empty_growing_block(place: Place) -> None:
    log, _ = place.open()
    assert (log.first, log.next, log.octets, log.last_chunk(), log.offset_at(5)) == (0, 0, 0, 0, 0)
    block = log.block(0)
    assert block is not None
    assert (block.first, block.next, block.messages, block.growing) == (0, 0, [], True)


def test_the_end_of_a_log_is_an_empty_growing_block(place: Place) -> None:
    log, _ = place.open()
    append(log, b"a", b"b")
    for offset in (2, 1000):
        block = log.block(offset)
        assert block is not None
        assert (block.first, block.next, block.messages, block.growing) == (offset, offset, [], True)


def test_what_was_appended_is_read_at_once_and_again(place: Place) -> None:
    log, _ = place.open()
    expected = append(log, b"a", b"b") + append(log, b"c")
    assert read(log, lambda: None) == expected, "it is in memory still"
    place.work()
    assert read(log, place.work) == expected
    assert read(log, place.work, 1) == expected[1:]
    assert (log.first, log.next) == (0, 3)


def test_a_reader_at_the_end_gets_what_comes_without_the_disk(place: Place) -> None:
    log, _ = place.open()
    append(log, b"a")
    place.work()
    read(log, place.work)
    for number in range(50):
        expected = append(log, b"%d" % number)
        assert read(log, lambda: None, expected[0][0]) == expected
        place.work()


def test_readers_share_a_block_wherever_they_begin_and_while_it_grows(place: Place) -> None:
    log, _ = place.open()
    append(log, b"a", b"b")
    place.work()
    block = block_at(log, 0, place.work)
    assert block_at(log, 1, place.work) is block
    append(log, b"c")
    assert log.block(2) is block
    assert [message.body for message in block.messages] == [b"a", b"b", b"c"]
    assert (block.first, block.next, block.growing) == (0, 3, True)


def test_a_block_ends_at_its_size_and_says_where_to_go_on(place: Place) -> None:
    log, _ = place.open()
    for _ in range(7):
        append(log, LARGE)
    place.work()
    blocks = []
    offset = 0
    while offset < log.next:
        block = block_at(log, offset, place.work)
        blocks.append((int(block.first), int(block.next), block.growing))
        offset = int(block.next)
    assert blocks == [(0, 3, False), (3, 6, False), (6, 7, True)]
    assert block_at(log, 5, place.work) is block_at(log, 3, place.work)


def test_a_reader_in_a_block_that_ends_meanwhile_misses_nothing(place: Place) -> None:
    log, _ = place.open()
    expected = append(log, LARGE, LARGE)
    held = block_at(log, 0, place.work)
    assert held.growing
    expected += append(log, b"in the same block")
    expected += append(log, LARGE * 2)
    assert (held.next, held.growing) == (2, True), "whoever holds it asks again, there"
    assert read(log, place.work, int(held.next)) == expected[2:]
    assert not held.growing


def test_a_large_message_is_a_block_of_its_own(place: Place) -> None:
    log, _ = place.open()
    expected = append(log, b"a") + append(log, LARGE * 8) + append(log, b"b")
    place.work()
    assert read(log, place.work) == expected
    assert len(block_at(log, 1, place.work).messages) == 1


def test_gaps_between_chunks_are_passed_over(place: Place) -> None:
    log, _ = place.open(segment_octets=BLOCK_OCTETS)
    expected = append(log, b"a", gap=5)
    expected += append(log, b"b", gap=10)
    expected += append(log, LARGE * 3, gap=7)
    expected += append(log, LARGE * 3, gap=7)
    assert [offset for offset, _ in expected] == [5, 16, 24, 32]
    place.work()
    assert (log.first, log.next) == (5, 33)
    for offset in range(34):
        assert read(log, place.work, offset) == [each for each in expected if each[0] >= offset]


def test_a_chunk_from_before_is_refused(place: Place) -> None:
    log, _ = place.open()
    append(log, b"a", b"b")
    with pytest.raises(ValueError):
        log.append(chunk(1, b"x"), 1, 2, 0)


def test_ahead_has_a_block_ready(place: Place) -> None:
    log, told = place.open()
    for _ in range(9):
        append(log, LARGE)
    place.work()
    log.ahead(4)
    log.ahead(4)
    log.ahead(1000)
    place.work()
    assert log.block(4) is not None
    assert told.arrivals <= 1, "one reading for all"


def test_a_time_is_found(place: Place) -> None:
    log, _ = place.open(segment_octets=BLOCK_OCTETS * 2)
    for number in range(20):
        append(log, LARGE, timestamp=1000 + 10 * (number // 2))
    place.work()
    assert log.offset_at(0) == 0
    assert log.offset_at(1000) == 0
    assert log.offset_at(1091) == log.next
    for number in range(10):
        found = int(log.offset_at(1000 + 10 * number - 5))
        assert found <= 2 * number, "nothing from that time or later is missed"
        assert found > 2 * number - 4, "it is in the right block"
        early = [m.arrived for m in block_at(log, found, place.work).messages]
        assert early == sorted(early)


def test_a_clock_that_jumps_back_hides_nothing(place: Place) -> None:
    log, _ = place.open()
    append(log, b"a", timestamp=100)
    append(log, b"b", timestamp=50)
    append(log, b"c", timestamp=120)
    assert log.offset_at(50) == 0
    assert log.offset_at(110) <= 2
    assert log.offset_at(121) == 3


def test_the_last_chunk_is_known(place: Place) -> None:
    log, _ = place.open()
    append(log, b"a", b"b")
    assert log.last_chunk() == 0
    append(log, b"c", b"d")
    assert log.last_chunk() == 2


def test_retention_by_size_keeps_at_least_so_much_and_the_last_segment(place: Place) -> None:
    size = len(chunk(0, LARGE))
    log, _ = place.open(segment_octets=2 * size)
    expected = []
    for _ in range(9):
        expected += append(log, LARGE)
    place.work()
    assert log.octets == 9 * size
    log.retain(-1, -1)
    log.retain(8 * size, -1)
    assert log.first == 0
    log.retain(7 * size, -1)
    assert (log.first, log.octets) == (2, 7 * size)
    assert read(log, place.work) == expected[2:]
    log.retain(0, -1)
    assert (log.first, log.next, log.octets) == (8, 9, size)
    place.work()
    assert read(log, place.work) == expected[8:]


def test_retention_by_age_takes_segments_whose_last_chunk_is_too_old(place: Place) -> None:
    size = len(chunk(0, b"x"))
    log, _ = place.open(segment_octets=2 * size)
    for timestamp in (10, 20, 30, 40, 50, 60):
        append(log, b"x", timestamp=timestamp)
    log.retain(-1, 20)
    assert log.first == 0
    log.retain(-1, 41)
    assert log.first == 4
    log.retain(-1, 1000)
    assert log.first == 4, "the segment being written stays"


def test_a_block_that_retention_takes_stays_with_its_readers(place: Place) -> None:
    size = len(chunk(0, LARGE))
    log, _ = place.open(segment_octets=size)
    for _ in range(3):
        append(log, LARGE)
    place.work()
    held = block_at(log, 0, place.work)
    log.retain(0, -1)
    place.work()
    assert len(held.messages) == 1
    assert block_at(log, 0, place.work).first == 2


def test_a_retention_while_a_block_is_read_does_not_leave_its_reader_waiting(place: Place) -> None:
    size = len(chunk(0, LARGE))
    log, told = place.open(segment_octets=size)
    expected = []
    for _ in range(3):
        expected += append(log, LARGE)
    place.work()
    block = log.block(0)
    log.retain(0, -1)
    place.work()
    assert block is not None or told.arrivals == 1
    assert read(log, place.work) == expected[2:]


def test_a_sync_is_told(place: Place) -> None:
    log, told = place.open()
    log.sync()
    place.work()
    append(log, b"a", b"b")
    log.sync()
    place.work()
    log.sync()
    place.work()
    assert told.stored_to == [0, 2, 2]


def test_a_deleted_log_tells_nothing(place: Place) -> None:
    log, told = place.open()
    append(log, b"a")
    place.work()
    log.sync()
    log.ahead(0)
    log.delete()
    place.work()
    assert (told.arrivals, told.stored_to[1:]) == (0, [])
    other, _ = place.open(2)
    assert read(other, place.work) == []


def test_logs_do_not_mix(place: Place) -> None:
    one, _ = place.open(1)
    two, _ = place.open(2)
    first = append(one, b"a") + append(one, b"b")
    second = append(two, b"c")
    place.work()
    assert read(one, place.work) == first
    assert read(two, place.work) == second


@pytest.mark.parametrize("seed", range(8))
def test_any_order_of_appends_reads_and_retention(place: Place, seed: int) -> None:
    chance = random.Random(seed)
    log, _ = place.open(segment_octets=chance.choice([400, 5000, 400_000]))
    expected = []
    clock = 0
    for _ in range(150):
        action = chance.random()
        clock += chance.randint(0, 3)
        if action < 0.5:
            bodies = [
                chance.randbytes(chance.choice([0, 5, 90, 30_000])) for _ in range(chance.randint(1, 4))
            ]
            gap = chance.choice([0, 0, 0, 3])
            expected += append(log, *bodies, timestamp=clock, gap=gap)
        elif action < 0.8:
            offset = chance.randint(0, int(log.next))
            assert read(log, place.work, offset) == [e for e in expected if e[0] >= max(offset, log.first)]
        elif action < 0.9:
            place.work()
        else:
            log.retain(chance.choice([-1, 500, 100_000]), chance.choice([-1, clock - 30]))
    assert read(log, place.work) == [each for each in expected if each[0] >= log.first]
