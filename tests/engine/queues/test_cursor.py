"""What readers of a stream keep in memory while they wait, and that they go on where they were."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from pamqp.common import FieldTable

from harebell.content.message import OVERHEAD, Message
from harebell.engine.queues.cursor import KEPT_OCTETS
from harebell.engine.queues.stream import StreamQueue
from harebell.storage.streams.files import FileStreamLogs, StreamReports
from harebell.storage.streams.memory import MemoryStreamLogs
from harebell.streaming import Block, StreamLog
from tests.storage.fake_disk import FakeDisk
from tests.support.client import ClientChannel
from tests.support.node import Node

READERS = 12


def declare(node: Node, **arguments: Any) -> ClientChannel:
    channel = node.connect().channel()
    channel.declare_queue("s", durable=True, arguments={"x-queue-type": "stream", **arguments})
    return channel


def log_of(node: Node) -> StreamLog:
    queue = node.queue("s")
    assert isinstance(queue, StreamQueue)
    return queue.log


def put(channel: ClientChannel, sizes: list[int], first: int = 0) -> list[bytes]:
    """Publish numbered messages of these sizes; give their bodies."""
    bodies = [(b"%d " % number).ljust(size, b".") for number, size in enumerate(sizes, first)]
    for body in bodies:
        channel.publish(body, key="s")
    return bodies


def reader(node: Node, prefetch: int, offset: int = 0) -> ClientChannel:
    channel = node.connect().channel()
    channel.qos(prefetch)
    channel.consume("s", arguments={"x-stream-offset": offset})
    return channel


def blocks_of(log: StreamLog) -> list[Block]:
    found: list[Block] = []
    offset = 0
    while offset < log.next:
        block = log.block(offset)
        assert block is not None, "what is in memory need not be waited for"
        found.append(block)
        offset = int(block.next)
    return found


def held(messages: list[Message]) -> int:
    """Give the references there are to messages, beyond those of their blocks, in octets of memory."""
    usual = sys.getrefcount(messages[-1])
    octets = 0
    for index in range(len(messages)):
        octets += (sys.getrefcount(messages[index]) - usual) * (int(messages[index].size()) + OVERHEAD)
    return octets


@pytest.mark.parametrize("size", [100, 3000, KEPT_OCTETS])
def test_readers_without_credit_keep_little(size: int) -> None:
    node = Node(streams=MemoryStreamLogs(cache_octets=1))
    channel = declare(node)
    count = READERS * 256 * 1024 // size
    put(channel, [size] * count)
    blocks: list[Block] = []
    log = log_of(node)
    for offset in range(0, count * 3 // 4, count // READERS):
        client = reader(node, 1, offset)
        assert len(client.bodies()) == 1
        block = log.block(offset)
        assert block is not None
        blocks.append(block)
    assert len({int(block.first) for block in blocks}) > READERS // 2, "this is about several blocks"
    free = min(sys.getrefcount(block) for block in blocks)
    assert free == sys.getrefcount(Block(0, 0, [], [], 0)) + 1, "a reader keeps a whole block"
    assert sum(sys.getrefcount(block) > free for block in blocks) <= 1, "a reader keeps a whole block"
    for block in blocks:
        assert held(block.messages) <= 2 * (KEPT_OCTETS + size + 200 + OVERHEAD)


def test_readers_share_the_block_that_is_in_memory(node: Node) -> None:
    channel = declare(node)
    put(channel, [1000] * 100)
    (block,) = blocks_of(log_of(node))
    clients = [reader(node, 1, offset) for offset in range(5)]
    assert all(len(client.bodies()) == 1 for client in clients)
    assert len(block.holders) == 5
    assert held(block.messages) <= 5 * 2000, "only unanswered deliveries"


def test_readers_that_have_left_or_stand_by_keep_nothing(node: Node) -> None:
    channel = declare(node)
    put(channel, [1000] * 100)
    (block,) = blocks_of(log_of(node))
    before = sys.getrefcount(block)
    group: FieldTable = {"x-stream-consumer": "g", "x-single-active-consumer": True, "x-stream-offset": 0}
    clients = []
    for tag in ("a", "b"):
        client = node.connect().channel()
        client.qos(1)
        client.consume("s", tag=tag, arguments=group)
        assert len(client.bodies()) == (tag == "a")
        clients.append(client)
    assert len(block.holders) == 1
    for client, tag, holders in zip(clients, ("a", "b"), (1, 0), strict=True):
        client.cancel(tag)
        assert len(block.holders) == holders
        assert sys.getrefcount(block) == before + holders


def test_a_part_has_what_fits_and_knows_its_offsets() -> None:
    messages = [Message(b"", b"h" * 10, b"b" * 90, True) for _ in range(6)]
    dense = Block(40, 46, [], messages, 600)
    gaps = Block(40, 99, [41, 50, 51, 60, 70, 71], messages, 600)
    room = 2 * (100 + OVERHEAD)
    for block, first, following in ((dense, 43, 45), (gaps, 60, 71)):
        part = block.part(3, room + 1)
        assert part is not None
        assert part.messages == messages[3:5]
        assert [int(part.offset(index)) for index in range(2)] == [int(block.offset(3)), int(block.offset(4))]
        assert (part.first, part.next, part.octets) == (first, following, 200)
        end = block.part(4, 1 << 20)
        assert end is not None
        assert end.messages == messages[4:]
        assert block.part(5, 100) is None
        assert block.part(6, 1 << 20) is None


def in_memory(cache: int) -> tuple[Node, Callable[[], None]]:
    node = Node(streams=MemoryStreamLogs(cache))
    return node, node.turn


def on_disk(cache: int) -> tuple[Node, Callable[[], None]]:
    def fail(found: object) -> None:
        raise AssertionError(found)

    logs = FileStreamLogs(FakeDisk(), cache, retry_seconds=0.0)
    logs.begin(lambda call, *what: call(*what), StreamReports(fail, fail, fail), threaded=False)
    node = Node(streams=logs)

    def work() -> None:
        for _ in range(4):
            logs.work()
            node.turn()

    return node, work


@pytest.mark.parametrize("prefetch", [1, 7, 200])
@pytest.mark.parametrize("cache", [1, 1 << 26])
@pytest.mark.parametrize("where", [in_memory, on_disk])
def test_credit_by_credit_each_message_comes_once_and_in_order(
    where: Callable[[int], tuple[Node, Callable[[], None]]], cache: int, prefetch: int
) -> None:
    node, work = where(cache)
    channel = declare(node, **{"x-stream-max-segment-size-bytes": 400_000})
    sizes = [50] * 150 + [5000, 40_000, 20, 20, 200_000, 33_000, 10] + [2500] * 100
    bodies = put(channel, sizes)
    work()
    starts = [0, 3, 160, 220]
    clients = [reader(node, prefetch, offset) for offset in starts]
    found: list[list[bytes]] = [[] for _ in clients]
    for _ in range(4 * len(sizes)):
        work()
        idle = True
        for client, mine in zip(clients, found, strict=True):
            given = client.deliveries()
            mine.extend(each.body for each in given)
            if given:
                idle = False
                client.ack(given[-1].tag, multiple=True)
        if idle and len(bodies) > len(sizes):
            break
        if len(found[0]) > 100 and len(bodies) == len(sizes):
            # The last block grows while readers are in it.
            bodies += put(channel, [600] * 50, len(sizes))
    assert found == [bodies[start:] for start in starts]
