"""Frames on their way out: cut to the peer's size, counted, and held back when the peer does not read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands

from harebell.amqp.outbox import HIGH_WATER, LARGE_BODY, Outbox, OutboxSet
from harebell.content.properties import build_header
from tests.support.client import ClientChannel
from tests.support.node import Node
from tests.support.wire import Answer, FrameReader, raw_frame, raw_method

DELIVER = commands.Basic.Deliver("t", 1, False, "", "")


def outbox(frame_max: int = 4096) -> Outbox:
    made = Outbox(OutboxSet())
    made.set_frame_max(frame_max)
    return made


def written(out: Outbox) -> bytes:
    return b"".join(out.take())


def deliver(out: Outbox, channel: int, body: bytes) -> None:
    out.method(channel, DELIVER.index.to_bytes(4, "big") + DELIVER.marshal())
    out.content(channel, build_header(len(body)), body)
    out.written()


def only(answers: list[Answer]) -> Answer:
    (answer,) = answers
    return answer


def test_a_method_is_one_frame() -> None:
    out = outbox()
    out.method(7, b"\x00\x14\x00\x0b\x00\x00\x00\x00")
    assert written(out) == raw_method(7, 0x0014000B, b"\x00" * 4)


def test_raw_octets_go_out_as_they_are() -> None:
    out = outbox()
    out.raw(b"AMQP\x00\x00\x09\x01")
    out.raw(raw_frame(8, 0, b""))
    assert written(out) == b"AMQP\x00\x00\x09\x01" + raw_frame(8, 0, b"")
    assert written(out) == b""


@given(
    st.lists(
        st.sampled_from([0, 1, 100, 4087, 4088, 4089, LARGE_BODY - 1, LARGE_BODY, LARGE_BODY + 1, 70_000]),
        max_size=6,
    ),
    st.sampled_from([4096, 8192, LARGE_BODY + 7, LARGE_BODY + 8, LARGE_BODY + 9, 131072, 0]),
)
def test_bodies_of_any_size_arrive_whole_in_frames_of_the_right_size(
    sizes: list[int], frame_max: int
) -> None:
    out = outbox(frame_max)
    bodies = [bytes([n + 1]) * size for n, size in enumerate(sizes)]
    for body in bodies:
        deliver(out, 1, body)
    pending = out.pending()
    data = written(out)
    assert pending == len(data)
    reader = FrameReader()
    answers = list(reader.read(data))
    assert [answer.body for answer in answers] == bodies
    assert not reader.in_the_middle()
    if frame_max:
        assert all(size <= frame_max for answer in answers for size in answer.frame_sizes)


def test_a_large_body_is_passed_on_without_a_copy() -> None:
    out = outbox(0)
    body = b"x" * 100_000
    deliver(out, 1, body)
    assert any(chunk is body for chunk in out.take())


def test_it_is_listed_once_until_it_is_taken() -> None:
    outboxes = OutboxSet()
    out = Outbox(outboxes)
    out.raw(b"a")
    out.raw(b"b")
    assert outboxes.dirty == [out]
    outboxes.dirty.clear()
    assert written(out) == b"ab"
    out.raw(b"c")
    assert outboxes.dirty == [out]


def state(out: Outbox) -> tuple[bool, bool]:
    return out.open, out.full


def test_beyond_the_mark_it_closes_until_it_is_written() -> None:
    out = outbox(0)
    out.raw(b"x" * HIGH_WATER)
    assert state(out) == (True, False)
    out.raw(b"x")
    assert state(out) == (False, True)
    out.take()
    assert out.reopen()
    assert state(out) == (True, False)
    assert not out.reopen()


def test_while_the_socket_is_full_it_stays_closed() -> None:
    out = outbox()
    out.pause()
    assert state(out) == (False, False)
    assert not out.reopen()
    out.writable = True
    assert out.reopen()


# seen from a queue


def test_a_reader_that_pauses_gets_no_more_and_the_rest_stays_queued(
    node: Node, other: ClientChannel
) -> None:
    channel = node.connect().channel()
    channel.declare_queue("q")
    channel.consume("q", no_ack=True)
    channel.client.out.pause()
    for _ in range(5):
        other.publish(b"x", key="q")
    channel.expect_silence()
    assert other.ready("q") == 5
    channel.client.out.writable = True
    assert channel.client.out.reopen()
    channel.client.connection.writable_again()
    node.turn()
    assert len(channel.bodies()) == 5


def test_a_reader_that_pauses_does_not_hold_up_others(node: Node, other: ClientChannel) -> None:
    paused, reading = node.connect().channel(), node.connect().channel()
    other.declare_queue("q")
    paused.consume("q", no_ack=True)
    reading.consume("q", no_ack=True)
    paused.client.out.pause()
    for _ in range(4):
        other.publish(b"x", key="q")
    assert len(reading.bodies()) == 4


def test_one_turn_gathers_about_the_mark_and_the_next_ones_bring_the_rest(
    node: Node, other: ClientChannel
) -> None:
    other.declare_queue("q")
    for _ in range(40):
        other.publish(b"x" * 100_000, key="q")
    client = node.connect()
    channel = client.channel()
    most = 0
    collect = client.collect

    def measuring(chunks: list[bytes]) -> None:
        nonlocal most
        most = max(most, sum(map(len, chunks)))
        collect(chunks)

    client.collect = measuring  # type: ignore[method-assign]
    channel.consume("q", no_ack=True)
    assert len(channel.bodies()) == 40
    assert most < HIGH_WATER + 200_000


@pytest.mark.parametrize("size", [0, 1, 4088, 4089, 50_000])
def test_get_and_return_cut_their_content_too(node: Node, size: int) -> None:
    client = node.client()
    client.open(frame_max=4096)
    channel = client.channel()
    channel.declare_queue("q")
    body = b"y" * size
    splits = [4000] * (size // 4000)
    channel.publish(body, key="q", splits=splits)
    channel.publish(body, key="nosuch", mandatory=True, splits=splits)
    returned = only(channel.take(commands.Basic.Return))
    message = channel.get("q")
    assert message is not None
    assert returned.body == message.body == body
    assert max(returned.frame_sizes + message.answer.frame_sizes) <= 4096
