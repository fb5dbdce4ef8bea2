"""Decoded blocks: nothing damaged gets into them, and the least recently used are dropped first."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from harebell.storage.streams.blocks import BlockCache, CachedBlock
from harebell.storage.streams.segment_files import decode_index, encode_index
from harebell.storage.streams.segments import Segment
from tests.storage.streams.stream_rig import chunk

BODIES = [b"a", b"bb", b"c" * 50, chunk(3, b"forged"), b"e", b"f" * 9]
CHUNKS = [chunk(offset, body) for offset, body in enumerate(BODIES)]
DATA = b"".join(CHUNKS)


def indexed() -> Segment:
    """Make a segment with some blocks."""
    segment = Segment(7, 100, 0)
    for number in range(4):
        segment.add(200_000, 100 + number, 101 + number, number)
    return segment


@given(st.lists(st.tuples(st.integers(0, len(DATA) - 1), st.binary(max_size=60)), max_size=4), st.integers(0))
@example([(0, b"x")], 0)
@example([(8, b"\0\0\0\1")], 0)
def test_of_damaged_octets_only_whole_chunks_are_taken(changes: list[tuple[int, bytes]], cut: int) -> None:
    damaged = bytearray(DATA)
    for at, octets in changes:
        damaged[at : at + len(octets)] = octets
    data = bytes(damaged[: len(damaged) - cut])
    cached = CachedBlock(0, [])
    ranges = cached.decode(data, len(BODIES))
    cached.complete(len(BODIES), False)
    block = cached.block
    found = [(int(block.offset(index)), message.body) for index, message in enumerate(block.messages)]
    assert set(found) <= {*enumerate(BODIES), (3, b"forged")}
    assert [offset for offset, _ in found] == sorted({offset for offset, _ in found})
    assert sum(message.size() for message in block.messages) == block.octets
    assert all(0 <= start < end <= len(data) for start, end in ranges)
    assert all(before[1] <= after[0] for before, after in pairwise(ranges))
    whole = sum(end - start for start, end in ranges) + sum(len(CHUNKS[offset]) for offset, _ in found)
    if (3, b"forged") not in found:
        assert whole == len(data), "octets are neither damaged nor read"


def test_behind_damage_only_offsets_that_can_be_there_are_taken() -> None:
    forged = chunk(50, b"forged")
    chunks = [chunk(0, b"a"), chunk(1, b"\0" + forged), chunk(2, b"c")]
    damaged = bytearray(b"".join(chunks))
    damaged[len(chunks[0])] ^= 1
    cached = CachedBlock(0, [])
    cached.decode(bytes(damaged), 3)
    cached.complete(3, False)
    assert [message.body for message in cached.block.messages] == [b"a", b"c"]
    assert cached.block.offsets == [0, 2]


def test_a_cache_drops_the_least_recently_used() -> None:
    def cached(first: int) -> CachedBlock:
        block = CachedBlock(first, [chunk(first, b"x" * 1000)])
        block.complete(first + 1, False)
        return block

    cost = cached(0).cost
    cache = BlockCache(3 * cost)
    for first in range(3):
        cache.put(1, first, cached(first))
    assert cache.get(1, 0) is not None
    cache.put(2, 0, cached(0))
    assert cache.peek(1, 1) is None
    assert cache.octets == 3 * cost
    for queue_id, first in ((1, 0), (1, 2), (2, 0)):
        assert cache.peek(queue_id, first) is not None
        cache.forget(queue_id, first)
    cache.forget(5, 5)
    assert cache.octets == 0


def test_a_block_that_grows_costs_more() -> None:
    cache = BlockCache(1 << 20)
    cached = CachedBlock(0, [chunk(0, b"x" * 1000)])
    for first in (1, 2):
        cached.complete(first, True)
        cache.put(1, 0, cached)
        assert cache.octets == cached.cost > first * 1000
        cached.rest.append(chunk(first, b"x" * 1000))


def test_an_index_comes_back() -> None:
    segment = indexed()
    found = decode_index(encode_index(segment), 7, 100, 800_000)
    assert found is not None
    for name in ("firsts", "latests", "positions", "next", "last", "latest", "size", "first"):
        assert getattr(found, name) == getattr(segment, name)
    for wrong in ((8, 100, 800_000), (7, 101, 800_000), (7, 100, 800_001)):
        assert decode_index(encode_index(segment), *wrong) is None


@given(st.binary(max_size=300))
def test_any_octets_are_no_index(data: bytes) -> None:
    assert decode_index(data, 0, 0, 0) is None
    index = encode_index(indexed())
    assert decode_index(index + data, 7, 100, 800_000) is None or data == b""
    assert decode_index(index[: -len(data) - 1], 7, 100, 800_000) is None
