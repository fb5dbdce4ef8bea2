"""What a stream knows of its messages' ids after a restart: all that its newest messages say."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pamqp import commands

from harebell.engine.commands import SetPolicy
from tests.storage.fake_disk import PowerCut
from tests.storage.stream_node import Disks, StreamNode, declare
from tests.support.client import ClientChannel

SEEDS = int(os.environ.get("POWER_CUTS", "400")) // 10
WINDOW = 20
ENDS = ("in order", "killed", "without power")


class Lives:
    """One data directory that is opened again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.disks = Disks()
        self.now = StreamNode(folder, self.disks)

    def again(self, end: str) -> None:
        """End the node, and start it again."""
        self.now.stop(clean=end == "in order")
        if end == "without power":
            self.disks = self.disks.power_cut(random.Random(1))
        self.now = StreamNode(self.folder, self.disks)

    def publish(self, ids: list[str], slow: bool = False) -> None:
        """Publish messages, which are their ids, and see them confirmed.

        Args:
            slow: the thread that writes streams does nothing meanwhile.
        """
        channel = self.now.client.channel(2)
        channel.confirm_select()
        for each in ids:
            properties = commands.Basic.Properties(message_id=each, headers={"id": each}, delivery_mode=2)
            channel.publish(each.encode() + b"." * 90, key="s", properties=properties)
            self.now.store.journal.flush()
            self.now.commit()
            self.now.node.turn()
            if not slow:
                self.now.store.streams.work()
        outcomes = channel.outcomes()
        channel.close()
        assert outcomes == ["ack"] * len(ids)

    def ids(self) -> list[str]:
        """List what the stream holds."""
        return [body.rstrip(b".").decode() for _, body in self.now.events("s")]


@pytest.fixture
def lives(tmp_path: Path) -> Iterator[Lives]:
    """A data directory."""
    found = Lives(tmp_path)
    yield found
    found.now.stop(clean=False)


def numbered(first: int, last: int) -> list[str]:
    return [str(number) for number in range(first, last)]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("slow", [False, True], ids=["in the files", "in the journal only"])
@pytest.mark.parametrize("header", [None, "id"])
def test_the_window_is_intact_after_a_restart(lives: Lives, end: str, slow: bool, header: str | None) -> None:
    by_header = {} if header is None else {"deduplication_header": header}
    lives.now.ask(declare("s", "stream", deduplication_window=WINDOW, **by_header))
    lives.publish(numbered(0, 50))
    lives.publish(numbered(50, 60), slow)
    for _ in range(2):
        lives.again(end)
        lives.publish(numbered(40, 60))
        assert lives.ids() == numbered(0, 60), "all of the window is known"
        assert lives.now.stream("s").duplicates == WINDOW
    lives.publish(["39"])
    assert lives.ids() == [*numbered(0, 60), "39"], "no more than the window is known"
    lives.publish(["41", "40"])
    assert lives.ids() == [*numbered(0, 60), "39", "40"], "the window goes on where it was"


def test_a_window_larger_than_the_stream_knows_all_of_it(lives: Lives) -> None:
    lives.now.ask(declare("s", deduplication_window=10_000_000, max_length_bytes=3000))
    lives.publish(numbered(0, 60))
    assert lives.now.stream("s").log.first > 0
    lives.again("killed")
    before = lives.ids()
    lives.publish(before)
    assert lives.ids() == before
    lives.publish(["0"])
    assert lives.ids()[-1] == "0", "what retention took is not known after a restart"


def test_a_stream_by_policy_knows_its_messages_after_a_restart(lives: Lives) -> None:
    lives.now.ask(declare("s"))
    lives.publish(["a", "a"])
    policy = SetPolicy("/", "p", "^s$", "all", {"deduplication-window": 5}, 0, False)
    lives.now.node.broker.commit(policy, durable=True)
    lives.now.work()
    lives.again("killed")
    lives.publish(["a", "b", "b"])
    assert lives.ids() == ["a", "a", "b"]


def test_only_the_window_is_read(lives: Lives) -> None:
    lives.now.ask(declare("s", deduplication_window=5))
    lives.publish(numbered(0, 200))
    lives.now.stop(clean=True)
    read: list[str] = []
    lives.disks.streams.before = lambda kind, name: read.append(name) if kind == "read" else None
    lives.now = StreamNode(lives.folder, lives.disks)
    lives.disks.streams.before = None
    segments = {name for name in read if name.endswith(".stream")}
    assert 1 <= len(segments) <= 2, f"five messages are in the last segments, not in {sorted(segments)}"


def test_blocks_that_cannot_be_read_are_passed_over(lives: Lives) -> None:
    lives.now.ask(declare("s", deduplication_window=100))
    lives.publish(numbered(0, 60))
    lives.now.stop(clean=True)

    def failing(kind: str, name: str) -> None:
        if kind == "read" and name.endswith("00000000000000000000.stream"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    lives.disks.streams.before = failing
    lives.now = StreamNode(lives.folder, lives.disks)
    lives.disks.streams.before = None
    lives.publish(["59", "0"])
    assert lives.ids() == [*numbered(0, 60), "0"], "the first block's ids are not known, the others are"


def cut_after(operations: int) -> Callable[[str, str], None]:
    """Have the power fail at an operation."""
    left = operations

    def before(kind: str, name: str) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            raise PowerCut

    return before


def publish_until_cut(
    rig: StreamNode,
    ids: list[str],
    confirmed: set[str],
    chance: random.Random,
    publish: Callable[[ClientChannel, str], None],
    then: Callable[[ClientChannel], None] = lambda channel: None,
) -> None:
    """Publish messages, some of them twice, and take confirms; threads are as slow as they like.

    Args:
        confirmed: takes the ids of those that were confirmed.
        publish: publishes the message of an id.
        then: does what else happens on the channel, after each round.
    """
    channel = rig.client.channel(2)
    channel.confirm_select()
    waiting: list[str] = []
    while ids or waiting:
        for each in ids[: chance.randint(1, 4)] + waiting[-chance.randint(1, 3) :]:
            publish(channel, each)
            waiting.append(each)
            if each in ids:
                ids.remove(each)
        rig.store.journal.flush()
        if chance.random() < 0.6:
            rig.commit()
        if chance.random() < 0.4:
            rig.store.streams.work()
        if chance.random() < 0.4:
            rig.maintain()
        rig.node.turn()
        for outcome in channel.outcomes():
            assert outcome == "ack"
            confirmed.add(waiting.pop(0))
        then(channel)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_who_publishes_until_confirmed_publishes_once_whatever_happens(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    ids = numbered(0, 60)
    confirmed: set[str] = set()
    disks = Disks()
    rig = StreamNode(tmp_path, disks)
    rig.ask(declare("s", deduplication_window=1000))

    def publish(channel: ClientChannel, each: str) -> None:
        body = each.encode() + b"." * chance.randint(0, 200)
        properties = commands.Basic.Properties(message_id=each, delivery_mode=chance.choice((1, 2)))
        channel.publish(body, key="s", properties=properties)

    while len(confirmed) < len(ids):
        try:
            disks.before(cut_after(chance.choice((10, 40, 100, 300))))
            left = [each for each in ids if each not in confirmed]
            publish_until_cut(rig, left, confirmed, chance, publish)
        except PowerCut:
            disks.before(None)
            rig.stop(clean=False)
            if chance.random() < 0.5:
                disks = disks.power_cut(chance)
            rig = StreamNode(tmp_path, disks)
    disks.before(None)
    rig.work()
    found = [body.rstrip(b".").decode() for _, body in rig.events("s")]
    rig.stop(clean=False)
    assert sorted(found, key=int) == ids
