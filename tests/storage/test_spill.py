"""The spill log: what is put there can be read from its files; a file goes when nobody claims any of it."""

from __future__ import annotations

from queue import Empty, SimpleQueue

import pytest

from harebell.content.message import Message, address
from harebell.storage.records import message_at, record_size_at
from harebell.storage.spill import (
    CHUNK_OCTETS,
    SpillChunk,
    SpillLog,
    SpillRemoval,
    spill_name,
    spilled_location,
    spilled_size,
)


class Inbox:
    """Takes what the log hands over."""

    def __init__(self) -> None:
        self.queue: SimpleQueue[object] = SimpleQueue()

    def take(self) -> list[object]:
        """Give everything so far."""
        found: list[object] = []
        try:
            while True:
                found.append(self.queue.get_nowait())
        except Empty:
            return found

    def chunks(self) -> list[SpillChunk]:
        """Give the chunks among it."""
        return [job for job in self.take() if isinstance(job, SpillChunk)]

    def removed(self) -> list[int]:
        """Give the bases of the files that are to go."""
        return [int(job.base) for job in self.take() if isinstance(job, SpillRemoval)]


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


def message(body: bytes = b"body", persistent: bool = False) -> Message:
    """Make a message that was never journaled."""
    made = Message(address("ex", "key"), b"header", body, persistent)
    made.arrived = 1_700_000_000_123
    return made


@pytest.mark.parametrize("persistent", [False, True])
def test_a_record_is_that_of_the_journal_at_its_offset(inbox: Inbox, persistent: bool) -> None:
    log = SpillLog(inbox.queue)
    log.put(message(b"first"))
    stored = message(b"second", persistent)
    size = spilled_size(stored)
    offset = log.put(stored).end - size
    log.flush()
    (chunk,) = inbox.chunks()
    assert record_size_at(chunk.data, offset) == size
    found = message_at(chunk.data, offset, offset)
    assert found is not None
    assert (found.address, found.header, found.body) == (stored.address, stored.header, stored.body)
    assert (found.arrived, found.persistent) == (stored.arrived, persistent)
    assert message_at(chunk.data, offset, offset + 1) is None, "a record is valid at its own offset only"


def test_octets_are_pending_until_their_chunk_is_written(inbox: Inbox) -> None:
    log = SpillLog(inbox.queue)
    for body in (b"1", b"2"):
        log.put(message(body))
    assert log.pending == 2 * spilled_size(message(b"1"))
    log.flush()
    log.flush()
    (chunk,) = inbox.chunks()
    assert log.chunks == [chunk]
    assert log.pending == len(chunk.data)
    log.written(chunk)
    assert (log.pending, log.chunks) == (0, [])


def test_a_large_amount_is_handed_over_before_the_turn_ends(inbox: Inbox) -> None:
    log = SpillLog(inbox.queue)
    log.put(message(bytes(CHUNK_OCTETS // 2)))
    assert inbox.chunks() == []
    log.put(message(bytes(CHUNK_OCTETS // 2)))
    assert len(inbox.chunks()) == 1


def test_files_go_in_any_order_as_soon_as_nobody_claims_them(inbox: Inbox) -> None:
    size = int(spilled_size(message()))
    log = SpillLog(inbox.queue, limit=2 * size)
    bases = [int(log.put(message()).base) for _ in range(6)]
    assert bases == [0, 0, 2 * size, 2 * size, 4 * size, 4 * size]
    log.flush()
    assert [int(chunk.base) for chunk in inbox.chunks()] == [0, 2 * size, 4 * size]
    log.give_up(2 * size, size)
    assert inbox.removed() == []
    log.give_up(2 * size, size)
    assert inbox.removed() == [2 * size]
    log.give_up(4 * size, 2 * size)
    assert inbox.removed() == [], "the file being written stays"
    log.give_up(0, 2 * size)
    assert inbox.removed() == [0]
    log.put(message())
    assert inbox.removed() == [4 * size], "it goes when the next one is begun"


def test_an_offset_is_found_only_where_it_still_is(inbox: Inbox) -> None:
    size = int(spilled_size(message()))
    log = SpillLog(inbox.queue, limit=size)
    for _ in range(3):
        log.put(message())
    log.give_up(size, size)
    found = [log.find(offset) for offset in (0, size - 1, size, 2 * size - 1, 2 * size, 3 * size)]
    assert [None if segment is None else int(segment.base) for segment in found] == [
        0, 0, None, None, 2 * size, None,
    ]  # fmt: skip


def test_a_closed_log_lets_its_files_go_one_by_one(inbox: Inbox) -> None:
    size = int(spilled_size(message()))
    log = SpillLog(inbox.queue, limit=size)
    for _ in range(2):
        log.put(message())
    log.close()
    assert inbox.removed() == []
    log.give_up(size, size)
    assert inbox.removed() == [size], "there is no file being written any more"


def test_names_sort_like_offsets_and_locations_are_odd() -> None:
    assert sorted([spill_name(1 << 40), spill_name(9), spill_name(16)]) == [
        spill_name(9), spill_name(16), spill_name(1 << 40),
    ]  # fmt: skip
    assert spilled_location(21) == 43
