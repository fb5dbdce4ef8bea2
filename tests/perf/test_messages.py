import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import body, commands, header

from harebell.perf.messages import (
    BLOCK_OCTETS,
    Address,
    MessageShape,
    OrderedBlocks,
    PublishBlocks,
    publish_frames,
)
from tests.perf.frames import RUN_KEY, decode_all

NAMES = st.text(alphabet="abc.é*|", max_size=20)
ADDRESSES = st.builds(Address, NAMES, NAMES)
SHAPES = st.builds(
    MessageShape,
    size=st.integers(12, 9_000),
    persistent=st.booleans(),
    mandatory=st.booleans(),
    headers=st.sampled_from([None, {}, {"harebell-perf": "x"}]),
    stamped=st.booleans(),
    run_key=st.just(RUN_KEY),
)


@given(ADDRESSES, SHAPES, st.integers(-(1 << 63), (1 << 63) - 1))
def test_publishes_decode_as_what_was_asked_for(address: Address, shape: MessageShape, stamp: int) -> None:
    method, head, *bodies = decode_all(publish_frames(address, shape, stamp, 4096))
    assert isinstance(method, commands.Basic.Publish)
    assert (method.exchange, method.routing_key) == (address.exchange, address.routing_key)
    assert (method.mandatory, method.immediate) == (shape.mandatory, False)
    assert isinstance(head, header.ContentHeader)
    assert head.body_size == shape.size
    assert head.properties.delivery_mode == (2 if shape.persistent else None)
    assert (head.properties.headers or None) == (shape.headers or None)
    parts = [one.value for one in bodies if isinstance(one, body.ContentBody)]
    assert len(parts) == len(bodies)
    assert all(len(part) <= 4096 - 8 for part in parts)
    whole = b"".join(parts)
    assert len(whole) == shape.size
    if shape.stamped:
        assert whole[:12] == struct.pack(">iq", RUN_KEY, stamp)


def test_a_message_without_a_body_has_no_body_frame() -> None:
    assert len(decode_all(publish_frames(Address("", "q"), MessageShape(size=0), 0, 4096))) == 2


@given(st.lists(ADDRESSES, min_size=1, max_size=4), SHAPES, st.lists(st.integers(1, 1_000), max_size=6))
def test_blocks_are_the_single_messages_in_turn(
    addresses: list[Address], shape: MessageShape, counts: list[int]
) -> None:
    blocks = PublishBlocks(addresses, shape, 4096)
    turn = 0
    for stamp, wanted in enumerate(counts, 7):
        count = min(wanted, blocks.per_block)
        expected = [
            publish_frames(addresses[(turn + number) % len(addresses)], shape, stamp, 4096)
            for number in range(count)
        ]
        assert blocks.take(count, stamp) == b"".join(expected)
        turn += count


@given(
    st.lists(ADDRESSES, min_size=1, max_size=4),
    st.lists(st.integers(0, 255), max_size=5),
    st.lists(st.integers(0, 1 << 32), max_size=5),
    st.booleans(),
    st.lists(st.integers(1, 1_000), max_size=4),
)
def test_priorities_and_expirations_come_in_turn(
    addresses: list[Address],
    priorities: list[int],
    expirations: list[int],
    stamped: bool,
    counts: list[int],
) -> None:
    shape = MessageShape(
        size=20,
        stamped=stamped,
        run_key=RUN_KEY,
        priorities=tuple(priorities),
        expirations=tuple(expirations),
    )
    blocks = PublishBlocks(addresses, shape, 4096)
    turn = 0
    for wanted in counts:
        count = min(wanted, blocks.per_block)
        expected = [
            publish_frames(addresses[number % len(addresses)], shape, 7, 4096, turn=number)
            for number in range(turn, turn + count)
        ]
        assert blocks.take(count, 7) == b"".join(expected)
        turn += count


def test_a_publish_has_the_priority_and_the_expiration_of_its_turn() -> None:
    shape = MessageShape(size=0, persistent=True, priorities=(1, 2), expirations=(3, 40, 500))
    _, head = decode_all(publish_frames(Address("", "q"), shape, 0, 4096, turn=4))
    assert isinstance(head, header.ContentHeader)
    properties = head.properties
    assert (properties.delivery_mode, properties.priority, properties.expiration) == (2, 1, "40")


@pytest.mark.parametrize("size", [0, 100, 1_000_000])
def test_a_full_block_is_at_least_one_message_and_never_much_above_its_size(size: int) -> None:
    blocks = PublishBlocks([Address("", "q")], MessageShape(size=size), 131_072)
    assert blocks.per_block >= 1
    assert len(blocks.take(blocks.per_block, 0)) <= max(BLOCK_OCTETS, size + 1_000)


def test_a_body_too_small_for_a_stamp_is_refused() -> None:
    with pytest.raises(ValueError, match="12 octets"):
        MessageShape(size=11, stamped=True)


@given(ADDRESSES, st.integers(16, 9_000), st.lists(st.integers(1, 1_000), max_size=6))
def test_ordered_blocks_number_their_messages_from_0(address: Address, size: int, counts: list[int]) -> None:
    shape = MessageShape(size=size, stamped=True, ordered=True, run_key=RUN_KEY)
    blocks = OrderedBlocks(address, shape, 4096)
    for stamp, wanted in enumerate(counts, 7):
        count = min(wanted, blocks.per_block)
        expected = [publish_frames(address, shape, stamp, 4096, number) for number in range(count)]
        assert blocks.take(count, stamp) == b"".join(expected)


def test_the_number_follows_the_stamp() -> None:
    shape = MessageShape(size=20, stamped=True, ordered=True, run_key=RUN_KEY)
    last = decode_all(publish_frames(Address("", "q"), shape, 7, 4096, 5))[-1]
    assert isinstance(last, body.ContentBody)
    assert last.value[:16] == struct.pack(">iqi", RUN_KEY, 7, 5)


def test_a_body_without_room_for_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="16"):
        MessageShape(size=15, ordered=True)
