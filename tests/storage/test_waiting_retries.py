"""Very many messages that wait for their retry leave memory, and come back in time, whatever happens."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
from pamqp import commands

from harebell.content.message import OVERHEAD, Message
from harebell.engine.queues.retries import KEPT_OCTETS
from harebell.engine.queues.stocked import StockedQueue
from harebell.engine.queues.timed import FAR_KEPT
from harebell.engine.redrive import GONE, MOVED, Target, redrive, waiting
from harebell.paging import NO_LIMIT, PAGE_OCTETS, RETURN, PageUnreadable
from tests.storage.fake_disk import FakeDisk
from tests.storage.logs import Running
from tests.storage.test_restored_rules import START
from tests.support.client import ClientChannel

HOUR = 3_600_000
BODY = bytes(200)
WAITING: dict[str, Any] = {"x-delayed-retry-type": "all", "x-delayed-retry-min": HOUR}


def properties_of(persistent: bool, headers: dict[str, Any] | None = None) -> commands.Basic.Properties:
    """Say what a message is like."""
    return commands.Basic.Properties(delivery_mode=2 if persistent else 1, headers=headers)


class Node:
    """A data directory and the node that runs on it, whose queue is called ``q``."""

    def __init__(self, folder: Path, segment_octets: int = 1_000_000, budget: int = NO_LIMIT) -> None:
        self.folder = folder
        self.segment_octets = segment_octets
        self.budget = budget
        self.now = self._start(FakeDisk(), START)

    def _start(self, disk: FakeDisk, wall: int) -> Running:
        return Running(self.folder, disk, self.segment_octets, budget=self.budget, wall=wall)

    def restart(self, clean: bool = False, away: int = 0) -> None:
        """Stop it in order or kill it, and start it again some milliseconds later."""
        self.now.work()
        wall = int(self.now.node.clock.wall) + away
        disk = self.now.stop(clean)
        disk.readers.clear()
        self.now = self._start(disk, wall)

    @property
    def queue(self) -> StockedQueue:
        """The queue."""
        found = self.now.node.queue("q")
        assert isinstance(found, StockedQueue)
        return found

    @property
    def used(self) -> int:
        """Octets of messages in memory."""
        return int(self.now.store.pager.used)

    def declare(self, kind: str = "classic", durable: bool = True, **arguments: Any) -> None:
        """Declare the queue."""
        table = {**WAITING, "x-queue-type": kind}
        table |= {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
        question = commands.Queue.Declare(queue="q", durable=durable)
        question.arguments = table
        self.now.ask(lambda: self.now.channel.send(question))

    def publish(self, count: int, persistent: bool = True, headers: dict[str, Any] | None = None) -> None:
        """Publish messages to it; each body begins with its number."""
        channel = self.now.channel
        for number in range(count):
            properties = properties_of(persistent, headers)
            channel.publish(b"%06d" % number + BODY, key="q", properties=properties)
        self.now.work()

    def fail(self, count: int) -> None:
        """A consumer gives back so many messages."""
        channel = self.consumer(500)
        failed = 0
        for _ in range(2 * count):
            deliveries = channel.deliveries()
            if not deliveries:
                break
            failed += len(deliveries)
            channel.nack(deliveries[-1].tag, multiple=True)
            self.now.work()
            self.now.node.turn()
        assert failed == count, "all of them come once"
        channel.client.hang_up()
        self.now.work()

    def consumer(self, prefetch: int) -> ClientChannel:
        """Let a consumer come."""
        channel = self.now.node.connect().channel()
        channel.qos(prefetch)
        channel.consume("q")
        self.rest()
        return channel

    def rest(self) -> None:
        """Let the disk and the queue do what there is to do."""
        for _ in range(4):
            self.now.work()
            self.now.node.expire()

    def wait(self, milliseconds: int) -> None:
        """Let time pass, not all at once."""
        for part in (milliseconds // 2, milliseconds - milliseconds // 2):
            self.now.node.advance(part)
            self.rest()

    def bring_back(self, count: int) -> None:
        """Let what is due come back from the disk."""
        for _ in range(count // 10 + 10):
            self.rest()
            if self.queue.delayed_count() == 0:
                break
            self.now.node.advance(20)
        assert (self.queue.ready_count(), self.queue.delayed_count()) == (count, 0)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A data directory."""
    return Node(tmp_path)


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_very_many_messages_far_from_their_retry_leave_memory_and_come_back(node: Node, kind: str) -> None:
    count = 20_000
    node.declare(kind)
    node.publish(count)
    node.fail(count)
    assert node.queue.delayed_count() == count
    each = len(BODY) + OVERHEAD + 100
    assert node.used <= FAR_KEPT * each, "those that wait for an hour are in memory"
    node.restart()
    assert node.used == 0, "what waits is read at the start"
    assert (node.queue.ready_count(), node.queue.delayed_count()) == (0, count)
    node.wait(HOUR - 30_000)
    assert node.queue.ready_count() == 0, "a restart makes none early"
    node.wait(60_000)
    node.bring_back(count)
    listed = node.queue.browse(count)
    assert [int(message.body[:6]) for _, message, _ in listed] == list(range(count))
    assert {returns for _, _, returns in listed} == {RETURN + 1}, "they are flagged, and came back once"


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_what_comes_back_while_memory_is_short_waits_on_disk_for_its_consumers(
    tmp_path: Path, kind: str
) -> None:
    node = Node(tmp_path, budget=200_000)
    count = 6000
    node.declare(kind)
    node.publish(count)
    node.fail(count)
    node.wait(HOUR + 1000)
    for _ in range(20):
        node.wait(100)
    assert 1000 <= node.queue.ready_count() < 3000
    assert node.used < 5 * node.budget + 4 * 1024 * 1024
    channel = node.consumer(0)
    got: list[int] = []
    for _ in range(count):
        node.wait(40)
        found = channel.deliveries()
        if found:
            got += [int(delivery.body[:6]) for delivery in found]
            channel.ack(found[-1].tag, multiple=True)
        if len(got) == count:
            break
    assert sorted(got) == list(range(count))
    node.rest()
    assert node.used == 0


@pytest.mark.parametrize("durable", [True, False])
def test_transient_messages_wait_on_disk_too(node: Node, durable: bool) -> None:
    count = 3000
    node.declare(durable=durable)
    node.publish(count, persistent=not durable)
    node.fail(count)
    assert node.used < 2 * FAR_KEPT * (len(BODY) + OVERHEAD + 100)
    node.wait(HOUR + 1000)
    node.bring_back(count)
    assert [int(message.body[:6]) for _, message, _ in node.queue.browse(count)] == list(range(count))
    assert node.now.channel.purge("q") == count
    node.rest()
    assert (node.used, node.now.store.segments.live_octets) == (0, 0)


def test_large_messages_leave_memory_although_they_are_few(node: Node) -> None:
    node.declare()
    body = bytes(PAGE_OCTETS)
    for _ in range(40):
        node.now.channel.publish(body, key="q", properties=properties_of(True))
    node.now.work()
    node.fail(40)
    assert node.used <= KEPT_OCTETS + PAGE_OCTETS


def test_old_segments_are_copied_forward_while_their_messages_wait(tmp_path: Path) -> None:
    node = Node(tmp_path, segment_octets=20_000)
    node.declare()
    node.now.ask(lambda: node.now.channel.send(commands.Queue.Declare(queue="other", durable=True)))
    count = 1000
    channel = node.now.channel
    for number in range(count):
        channel.publish(b"%06d" % number + BODY, key="q", properties=properties_of(True))
        channel.publish(BODY * 40, key="other", properties=properties_of(True))
        if number % 50 == 0:
            node.now.work()
    node.now.work()
    node.fail(count)
    node.queue.offer()
    channel.purge("other")
    bases = list(node.now.store.segments.bases)
    node.now.maintain(2000)
    assert node.now.store.segments.bases[0] >= bases[len(bases) * 3 // 4], "old segments are kept"
    assert node.used < 1000 * OVERHEAD, "copying brings none of them into memory"
    node.restart()
    assert node.queue.delayed_count() == count
    node.wait(HOUR - 10_000)
    assert node.queue.ready_count() == 0, "copies know until when they wait"
    node.wait(20_000)
    node.bring_back(count)
    listed = node.queue.browse(count)
    assert [(int(message.body[:6]), returns) for _, message, returns in listed] == [
        (number, RETURN + 1) for number in range(count)
    ]


@pytest.mark.parametrize("how", ["purged", "deleted", "deleted one by one", "ended and consumed"])
@pytest.mark.parametrize("restarted", [False, True])
def test_what_waited_on_disk_and_is_gone_keeps_nothing(tmp_path: Path, how: str, restarted: bool) -> None:
    node = Node(tmp_path, segment_octets=20_000)
    count = 1500
    node.declare()
    node.publish(count)
    node.fail(count)
    node.queue.offer()
    if restarted:
        node.restart()
    channel = node.now.channel
    if how == "purged":
        assert channel.purge("q") == count
    elif how == "deleted":
        node.now.ask(lambda: channel.send(commands.Queue.Delete(queue="q")))
    else:
        for position in range(1, count + 1):
            if how == "ended and consumed":
                assert node.queue.retry_now(position)
            else:
                entry = node.queue.withdraw_waiting(position)
                assert entry is not None
                node.queue.settle_dead(entry[1], position)
    if how == "ended and consumed":
        assert node.queue.ready_count() == count
        assert len(channel.drain("q")) == count
    node.rest()
    assert (node.used, node.now.store.segments.live_octets) == (0, 0)
    node.now.maintain(500)
    assert len(node.now.store.segments.bases) <= 3
    node.restart()
    if how != "deleted":
        assert (node.queue.ready_count(), node.queue.delayed_count()) == (0, 0)


def test_a_message_whose_wait_was_ended_waits_again_like_any_other(node: Node) -> None:
    count = 1200
    node.declare()
    node.publish(count)
    node.fail(count)
    for again in range(2, 4):
        for position in range(1, count + 1):
            assert node.queue.retry_now(position)
        node.rest()
        node.fail(count)
        assert node.queue.delayed_count() == count
        # The second wait is twice as long, and so on.
        node.wait(HOUR + 1000)
        assert node.queue.ready_count() == 0
        assert node.queue.browse_waiting(1, 1)[0][2] == again * RETURN + 1
    node.restart()
    node.wait(2 * HOUR - 10_000)
    assert node.queue.ready_count() == 0
    node.wait(12_000)
    node.bring_back(count)


@pytest.mark.parametrize("clean", [True, False], ids=["in order", "killed"])
@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_groups_wait_with_their_messages_on_disk_after_a_restart(node: Node, kind: str, clean: bool) -> None:
    node.declare(kind, group_header="k")
    for key in range(1200):
        node.publish(1, headers={"k": f"key {key}"})
    node.fail(1200)
    for key in range(0, 1200, 100):
        node.publish(1, headers={"k": f"key {key}"})
    node.publish(1, headers={"k": "another"})
    node.queue.offer()
    node.restart(clean)
    assert node.used < 100_000, "keys are read, but no message stays in memory"
    channel = node.consumer(0)
    assert len(channel.deliveries()) == 1, "only what has another key may go"
    node.wait(HOUR + 1000)
    for _ in range(10):
        node.wait(100)
    found = channel.deliveries()
    assert len(found) == 1200 + 12, "each consumer may have all of its keys"


def test_listing_what_waits_reads_a_few_at_a_time(node: Node) -> None:
    count = 3000
    node.declare()
    node.publish(count)
    node.fail(count)
    node.queue.offer()
    before = node.used
    found = node.queue.browse_waiting(1001, 100)
    assert [(at, int(message.body[:6]), returns) for at, message, returns, _ in found] == [
        (at, at - 1, RETURN + 1) for at in range(1001, 1101)
    ]
    assert {until for *_, until in found} == {int(node.queue.waits_until(1001))} != {0}
    assert node.used == before
    assert node.queue.browse_waiting(count, 100)[0][0] == count
    assert node.queue.browse_waiting(count + 1, 100) == []


def test_a_waiting_message_whose_record_is_damaged_lets_its_key_go_on(node: Node) -> None:
    node.declare(group_header="k")
    node.publish(2, headers={"k": "a"})
    channel = node.consumer(1)
    (first,) = channel.deliveries()
    channel.nack(first.tag)
    channel.client.hang_up()
    node.now.work()
    node.restart()
    channel = node.consumer(1)
    assert channel.deliveries() == [], "its key waits"
    for file in node.now.disk.files.values():
        at = file.octets.find(b"000000" + BODY)
        if at >= 0:
            file.octets[at] ^= 1
    node.wait(HOUR + 1000)
    (second,) = channel.deliveries()
    assert second.body.startswith(b"000001")
    assert (node.queue.delayed_count(), node.queue.ready_count()) == (0, 0)


def test_what_the_disk_does_not_give_now_goes_on_waiting(node: Node) -> None:
    node.declare()
    node.now.ask(lambda: node.now.channel.send(commands.Queue.Declare(queue="other", durable=True)))
    node.publish(3)
    node.fail(3)
    node.queue.offer()
    node.restart()

    def fails(operation: str, name: str) -> None:
        if operation in ("open", "read"):
            raise OSError(errno.EIO, "the disk fails")

    node.now.disk.before = fails
    for asked in (node.queue.retry_now, node.queue.withdraw_waiting):
        with pytest.raises(PageUnreadable):
            asked(1)
    with pytest.raises(PageUnreadable):
        node.queue.browse_waiting(1, 10)
    found = waiting(1, Message(b"", b"", b"", True), True)
    vhost = node.now.node.vhost
    counts = redrive(node.now.node.broker, vhost, node.queue, [found], Target("", "other"), again=False)
    assert (counts[MOVED], counts[GONE]) == (0, 1)
    node.now.disk.before = None
    node.rest()
    assert node.queue.delayed_count() == 3
    assert node.queue.retry_now(1)
    assert node.queue.ready_count() == 1


@pytest.mark.parametrize("how", ["purged", "deleted"])
def test_what_goes_while_it_is_read_back_is_gone(node: Node, how: str) -> None:
    node.declare()
    node.publish(100)
    node.fail(100)
    node.queue.offer()
    node.restart()
    node.now.node.advance(HOUR - 1000)
    channel = node.now.channel
    if how == "purged":
        assert channel.purge("q") == 100, "they are asked for, and not here yet"
    else:
        node.now.ask(lambda: channel.send(commands.Queue.Delete(queue="q")))
    node.wait(10_000)
    if how == "purged":
        assert (node.queue.ready_count(), node.queue.delayed_count()) == (0, 0)
        node.publish(1)
        assert node.queue.ready_count() == 1
        assert channel.purge("q") == 1
        node.rest()
    assert (node.used, node.now.store.segments.live_octets) == (0, 0)
