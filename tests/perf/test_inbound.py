import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands, frame, heartbeat

from harebell.perf.confirm_window import ConfirmWindow
from harebell.perf.errors import FrameError
from harebell.perf.histogram import Histogram
from harebell.perf.inbound import Inbound
from tests.perf.frames import RUN_KEY, content, decode_all, delivery

NOW = 5_000_000


def inbound(ack_every: int = 0, window: ConfirmWindow | None = None) -> Inbound:
    return Inbound(131_072, RUN_KEY, ack_every, Histogram(), window)


def stamped(sent: int, size: int = 20) -> bytes:
    return (struct.pack(">iq", RUN_KEY, sent) + b"." * size)[:size]


def feed_in_pieces(receiver: Inbound, data: bytes, cuts: list[int]) -> bytes:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return b"".join(receiver.feed(data[a:b], NOW) for a, b in itertools.pairwise(places))


MESSAGES = st.lists(st.tuples(st.binary(max_size=60), st.integers(1, 70)), min_size=1, max_size=12)


@given(MESSAGES, st.lists(st.integers(0, 10_000), max_size=8), st.sampled_from([0, 1, 3]))
def test_deliveries_count_alike_however_the_bytes_are_cut(
    messages: list[tuple[bytes, int]], cuts: list[int], ack_every: int
) -> None:
    wire = b"".join(delivery(tag, payload, split) for tag, (payload, split) in enumerate(messages, 1))
    receiver = inbound(ack_every)
    acks = [
        (method.delivery_tag, method.multiple)
        for method in decode_all(feed_in_pieces(receiver, wire, cuts))
        if isinstance(method, commands.Basic.Ack)
    ]
    assert receiver.received == len(messages)
    assert receiver.received_octets == sum(len(payload) for payload, _ in messages)
    assert receiver.last_delivery == NOW
    expected = [
        (tag, ack_every > 1) for tag in range(1, len(messages) + 1) if ack_every and tag % ack_every == 0
    ]
    assert acks == expected


def test_a_rejecting_connection_answers_without_requeue() -> None:
    receiver = Inbound(131_072, RUN_KEY, 1, Histogram(), None, reject=True)
    (answer,) = decode_all(receiver.feed(delivery(7, b"x", 1), NOW))
    assert isinstance(answer, commands.Basic.Nack)
    assert (answer.delivery_tag, answer.multiple, answer.requeue) == (7, False, False)


@given(st.lists(st.tuples(st.integers(1, NOW), st.integers(12, 30), st.integers(12, 40)), max_size=12))
def test_latency_is_read_from_every_stamp(messages: list[tuple[int, int, int]]) -> None:
    receiver = inbound()
    wire = b"".join(delivery(1, stamped(sent, size), split) for sent, size, split in messages)
    receiver.feed(wire, NOW)
    assert receiver.latency.count == len(messages)
    assert receiver.latency.total == sum(NOW - sent for sent, _, _ in messages)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"short",
        struct.pack(">iq", RUN_KEY + 1, 1) + b"of another run",
        struct.pack(">iq", RUN_KEY, NOW + 1) + b"from the future",
        struct.pack(">iq", RUN_KEY, -5) + b"from before the clock began",
    ],
)
def test_bodies_without_a_stamp_of_this_run_leave_no_latency(payload: bytes) -> None:
    receiver = inbound()
    receiver.feed(delivery(1, payload), NOW)
    assert (receiver.received, receiver.latency.count) == (1, 0)


def test_what_was_not_acknowledged_yet_is_acknowledged_at_the_end() -> None:
    receiver = inbound(ack_every=10)
    assert receiver.feed(delivery(1, b"a") + delivery(2, b"b"), NOW) == b""
    (ack,) = decode_all(receiver.take_last_ack())
    assert isinstance(ack, commands.Basic.Ack)
    assert (ack.delivery_tag, ack.multiple) == (2, True)
    assert receiver.take_last_ack() == b""


def test_returns_count_apart_from_deliveries() -> None:
    receiver = inbound(ack_every=1)
    returned = content(commands.Basic.Return(312, "NO_ROUTE", "", "nowhere"), stamped(1))
    assert receiver.feed(returned + returned, NOW) == b""
    assert (receiver.returned, receiver.received, receiver.latency.count) == (2, 0, 0)


def test_confirms_go_to_the_window() -> None:
    window = ConfirmWindow(10, Histogram())
    receiver = inbound(window=window)
    window.publish(5, 1)
    wire = frame.marshal(commands.Basic.Ack(3, True), 1) + frame.marshal(commands.Basic.Nack(4, False), 1)
    receiver.feed(wire, NOW)
    assert (window.confirmed, window.nacked, window.room()) == (3, 1, 9)


def test_other_methods_are_left_to_the_connection_with_their_channel() -> None:
    receiver = inbound()
    close = commands.Connection.Close(320, "CONNECTION_FORCED", 0, 0)
    receiver.feed(frame.marshal(close, 0) + frame.marshal(commands.Channel.CloseOk(), 1), NOW)
    assert receiver.replies == [(0, frame.marshal(close, 0)[7:-1]), (1, b"\x00\x14\x00\x29")]


def test_heartbeats_are_taken_silently() -> None:
    receiver = inbound()
    assert receiver.feed(frame.marshal(heartbeat.Heartbeat(), 0), NOW) == b""
    assert receiver.replies == []


def method_frame(payload: bytes) -> bytes:
    return struct.pack(">BHI", 1, 1, len(payload)) + payload + b"\xce"


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        struct.pack(">BHI", 1, 1, 131_065) + b"\x00",
        struct.pack(">BHI", 1, 1, 1 << 31) + b"\x00",
        struct.pack(">BHI", 1, 1, 4) + b"\x00\x0a\x00\x0a\x00",
        struct.pack(">BHI", 9, 1, 0) + b"\xce",
        method_frame(b"\x00"),
        method_frame(b"\x00\x3c\x00\x3c"),
        method_frame(b"\x00\x3c\x00\x3c\xff\x01\x02"),
        method_frame(b"\x00\x3c\x00\x50\x00"),
        frame.marshal(commands.Basic.Ack(1), 1),
        frame.marshal(commands.Basic.Deliver("", 1, False, "", ""), 1) * 2,
        delivery(1, b"x")[:-9] + struct.pack(">BHI", 3, 1, 2) + b"xy\xce",
        struct.pack(">BHI", 3, 1, 0) + b"\xce",
        struct.pack(">BHIHHQH", 2, 1, 14, 60, 0, 0, 0) + b"\xce",
        frame.marshal(commands.Basic.Deliver("", 1, False, "", ""), 1)
        + struct.pack(">BHIHHQH", 2, 1, 14, 60, 0, (1 << 64) - 1, 0)
        + b"\xce",
    ],
)
def test_malformed_bytes_are_one_clear_error(wire: bytes) -> None:
    with pytest.raises(FrameError, match="the server"):
        inbound().feed(wire, NOW)


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.binary(max_size=30).map(method_frame),
            st.binary(max_size=20).map(lambda arguments: method_frame(b"\x00\x3c\x00\x3c" + arguments)),
            st.binary(max_size=20).map(lambda payload: delivery(1, payload)),
        ),
        max_size=6,
    )
)
def test_no_bytes_whatever_cause_anything_but_a_frame_error(pieces: list[bytes]) -> None:
    receiver = inbound(ack_every=1, window=ConfirmWindow(4, Histogram()))
    try:
        for piece in pieces:
            receiver.feed(piece, NOW)
    except FrameError:
        return
    assert receiver.received >= 0


def numbered(sent: int, number: int, size: int = 30) -> bytes:
    return (struct.pack(">iqi", RUN_KEY, sent, number) + b"." * size)[:size]


@pytest.mark.parametrize(
    ("messages", "disorder"),
    [
        ([], 0),
        ([(1, 0), (1, 1), (2, 0), (9, 0)], 0),
        ([(1, 0), (1, 2), (3, 5)], 0),
        ([(1, 0), (1, 0)], 1),
        ([(1, 1), (1, 0), (1, 2)], 1),
        ([(2, 0), (1, 9), (1, 10), (2, 1)], 2),
    ],
)
def test_what_is_repeated_or_overtaken_is_out_of_order(
    messages: list[tuple[int, int]], disorder: int
) -> None:
    receiver = Inbound(131_072, RUN_KEY, 0, Histogram(), None, ordered=True)
    for sent, number in messages:
        receiver.feed(delivery(1, numbered(sent, number)), NOW)
    assert receiver.out_of_order == disorder
    assert receiver.received == len(messages)


@pytest.mark.parametrize("payload", [b"", b"short", numbered(1, 1, 15), b"of somebody else"], ids=repr)
def test_what_no_ordered_run_published_is_out_of_order(payload: bytes) -> None:
    receiver = Inbound(131_072, RUN_KEY, 0, Histogram(), None, ordered=True)
    receiver.feed(delivery(1, payload), NOW)
    assert receiver.out_of_order == 1


def test_order_counts_only_where_it_was_asked_for() -> None:
    receiver = inbound()
    receiver.feed(delivery(1, numbered(2, 0)) + delivery(2, numbered(1, 0)), NOW)
    assert receiver.out_of_order == 0
