"""Which ids queues and exchanges know after a restart: those of all the messages that were taken."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pamqp import commands

from harebell.engine.commands import SetPolicy
from harebell.engine.policy_work import finish
from harebell.engine.queues import id_window
from harebell.engine.queues.id_window import IdWindow
from tests.storage.fake_disk import PowerCut
from tests.storage.stream_node import Disks, StreamNode, declare
from tests.storage.test_restored_deduplication import cut_after, numbered, publish_until_cut
from tests.support.client import ClientChannel

SEEDS = int(os.environ.get("POWER_CUTS", "400")) // 20
WINDOW = 20
ENDS = ("in order", "killed", "without power")
PLACES = ("classic", "quorum", "exchange")


@pytest.fixture(autouse=True)
def small_packs() -> Iterator[None]:
    """Have a few ids go to the log at once, not hundreds."""
    before = id_window.PACK_OCTETS
    vars(id_window)["PACK_OCTETS"] = 4 * id_window.ENTRY_SIZE
    yield
    vars(id_window)["PACK_OCTETS"] = before


class Lives:
    """One data directory that is opened again and again; ``q`` gets what is published to ``e``."""

    def __init__(self, folder: Path, place: str = "classic", **window: object) -> None:
        self.folder = folder
        self.place = place
        self.ticks = False
        self.disks = Disks()
        self.now = StreamNode(folder, self.disks)
        table = {f"x-{key.replace('_', '-')}": value for key, value in window.items()}
        exchange = commands.Exchange.Declare(exchange="e", exchange_type="fanout", durable=True)
        if place == "exchange":
            exchange.arguments = table  # type: ignore[assignment]
        queue = declare("q", "classic") if place == "exchange" else declare("q", place, **window)
        self.now.ask(exchange, queue, commands.Queue.Bind(queue="q", exchange="e"))

    @property
    def ids(self) -> IdWindow:
        """The window."""
        vhost = self.now.node.vhost
        found = vhost.exchanges["e"].ids if self.place == "exchange" else vhost.queues["q"].ids
        assert found is not None, "the window is gone"
        return found

    def again(self, end: str) -> None:
        """End the node, and start it again."""
        self.now.stop(clean=end == "in order")
        if end == "without power":
            self.disks = self.disks.power_cut(random.Random(1))
        self.now = StreamNode(self.folder, self.disks)

    def publish(self, ids: list[str], slow: bool = False, mode: int = 2) -> None:
        """Publish messages, which are their ids, and see them confirmed.

        Args:
            slow: the thread that writes logs does nothing meanwhile.
        """
        channel = self.now.client.channel(2)
        channel.confirm_select()
        for each in ids:
            publish(channel, each, mode)
            if self.ticks:
                self.now.node.clock.wall += 1
            self.now.store.journal.flush()
            self.now.commit()
            self.now.node.turn()
            if not slow:
                self.now.store.streams.work()
        outcomes = channel.outcomes()
        channel.close()
        assert outcomes == ["ack"] * len(ids)

    def held(self) -> list[str]:
        """List what the queue holds."""
        return [body.decode() for body in self.now.bodies("q")]

    def consume(self) -> list[str]:
        """Take all there is."""
        bodies = self.now.channel.drain("q")
        self.now.work()
        return [body.decode() for body in bodies]


def publish(channel: ClientChannel, name: str, mode: int = 2) -> None:
    properties = commands.Basic.Properties(message_id=name, headers={"id": name}, delivery_mode=mode)
    channel.publish(name.encode(), exchange="e", key="q", properties=properties)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("slow", [False, True], ids=["in its log", "in the journal only"])
@pytest.mark.parametrize("place", PLACES)
def test_the_window_is_intact_after_a_restart(tmp_path: Path, end: str, slow: bool, place: str) -> None:
    lives = Lives(tmp_path, place, deduplication_window=WINDOW)
    lives.publish(numbered(0, 50))
    lives.publish(numbered(50, 60), slow)
    assert lives.consume() == numbered(0, 60)
    for _ in range(3):
        lives.again(end)
        # Without power acknowledgements may be lost.
        before = lives.held()
        lives.publish(numbered(40, 60))
        assert lives.held() == before, "all of the window is known, consumed or not"
    lives.publish(["39"])
    assert lives.held() == [*before, "39"], "no more than the window is known"
    lives.publish(["41", "40"])
    assert lives.held() == [*before, "39", "40"], "the window goes on where it was"
    lives.now.stop(clean=False)


@pytest.mark.parametrize("place", PLACES)
def test_the_window_is_known_when_the_journal_has_forgotten_the_messages(tmp_path: Path, place: str) -> None:
    lives = Lives(tmp_path, place, deduplication_window=200)
    for start in range(0, 150, 10):
        lives.publish(numbered(start, start + 10))
        lives.consume()
        lives.now.forget()
    segments = [name for name in lives.disks.journal.names() if name.endswith(".wal")]
    assert lives.now.store.segments.first >= 4, f"the journal keeps all of {segments}"
    for end in ENDS:
        lives.again(end)
        lives.publish(numbered(0, 150))
        assert lives.held() == []
    lives.now.stop(clean=False)


def test_files_with_nothing_but_forgotten_ids_go(tmp_path: Path) -> None:
    lives = Lives(tmp_path, deduplication_window=WINDOW)
    lives.ticks = True
    for start in range(0, 1000, 50):
        lives.publish(numbered(start, start + 50))
        lives.consume()
    log = lives.ids.log
    assert log is not None
    assert 0 < 1000 - log.first < 400, "a few times the window is kept at most"
    lives.again("killed")
    lives.publish(numbered(980, 1000))
    assert lives.held() == []
    lives.now.stop(clean=False)


def test_the_interval_goes_on_over_a_restart(tmp_path: Path) -> None:
    lives = Lives(tmp_path, deduplication_interval="10s")
    clock = lives.now.node.clock
    clock.wall = 1_700_000_000_000
    lives.publish(["a"])
    clock.wall += 5_000
    lives.publish(["b", "c", "d", "e"])
    wall = clock.wall + 5_000
    for end in ENDS:
        lives.again(end)
        lives.now.node.clock.wall = wall
        lives.publish(["b", "e"])
    assert lives.held() == ["a", "b", "c", "d", "e"]
    lives.publish(["a"])
    lives.now.node.clock.wall += 1
    assert lives.held() == ["a", "b", "c", "d", "e", "a"]
    lives.now.node.clock.wall += 5_000
    lives.publish(["b"])
    assert lives.held()[6:] == ["b"]
    lives.now.stop(clean=False)


def test_an_id_in_a_header_is_known_after_a_restart(tmp_path: Path) -> None:
    lives = Lives(tmp_path, "exchange", deduplication_window=WINDOW, deduplication_header="id")
    lives.publish(["a", "b"], slow=True)
    lives.again("killed")
    lives.publish(["a", "b"])
    assert lives.held() == ["a", "b"]
    lives.now.stop(clean=False)


def test_ids_of_transient_messages_go_with_the_messages(tmp_path: Path) -> None:
    lives = Lives(tmp_path, deduplication_window=WINDOW)
    lives.publish(numbered(0, 10), mode=1)
    lives.publish(numbered(10, 12))
    lives.publish(numbered(0, 12), mode=1)
    assert lives.held() == numbered(0, 12)
    lives.again("killed")
    assert lives.held() == numbered(10, 12)
    lives.publish(numbered(0, 12))
    assert lives.held() == [*numbered(10, 12), *numbered(0, 10)], "a lost message must be taken again"
    lives.now.stop(clean=False)


def test_a_window_by_policy_comes_and_goes_and_leaves_no_files(tmp_path: Path) -> None:
    lives = Lives(tmp_path)

    def policy(**definition: object) -> None:
        keys = {key.replace("_", "-"): value for key, value in definition.items()}
        broker = lives.now.node.broker
        broker.commit(SetPolicy("/", "p", "^q$", "queues", keys, 0, False), durable=True)
        finish(broker)
        lives.now.work()

    lives.publish(["a", "a"])
    policy(deduplication_window=5)
    lives.publish(["b", "b", "c", "d", "e", "f"])
    lives.again("killed")
    lives.publish(["b", "f", "a"])
    assert lives.held() == ["a", "a", "b", "c", "d", "e", "f", "a"]
    assert lives.disks.streams.names() != []
    policy(max_length=100)
    lives.publish(["f"])
    assert lives.disks.streams.names() == [], "the files of a window go with it"
    lives.again("killed")
    lives.publish(["f"])
    policy(deduplication_window=5)
    lives.publish(["f", "f"])
    assert lives.held()[8:] == ["f", "f", "f"]
    lives.now.stop(clean=False)


@pytest.mark.parametrize("end", ENDS)
def test_a_policy_that_no_object_followed_yet_is_followed_at_the_start(tmp_path: Path, end: str) -> None:
    lives = Lives(tmp_path)
    command = SetPolicy("/", "p", ".*", "all", {"deduplication-window": 5}, 0, False)
    lives.now.node.broker.commit(command, durable=True)
    lives.now.store.journal.flush()
    lives.now.commit()
    lives.again(end)
    lives.publish(["a", "a"])
    lives.again(end)
    lives.publish(["a"])
    assert lives.held() == ["a"]
    lives.now.stop(clean=False)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("place", PLACES)
def test_what_is_deleted_and_declared_again_knows_nothing(tmp_path: Path, end: str, place: str) -> None:
    lives = Lives(tmp_path, place, deduplication_window=WINDOW)
    lives.publish(["a"])
    lives.now.ask(commands.Queue.Delete(queue="q"))
    channel = lives.now.client.channel(3)
    channel.send(commands.Exchange.Delete(exchange="e"))
    lives.now.work()
    channel.take(commands.Exchange.DeleteOk)
    assert lives.disks.streams.names() == []
    lives.again(end)
    assert lives.now.missing == []
    exchange = commands.Exchange.Declare(exchange="e", exchange_type="fanout", durable=True)
    if place == "exchange":
        exchange.arguments = {"x-deduplication-window": WINDOW}
    queue = declare("q") if place == "exchange" else declare("q", place, deduplication_window=WINDOW)
    if place == "exchange":
        queue = declare("q", "classic")
    lives.now.ask(exchange, queue, commands.Queue.Bind(queue="q", exchange="e"))
    lives.publish(["a", "a"])
    assert lives.held() == ["a"]
    lives.again(end)
    lives.publish(["a"])
    assert lives.held() == ["a"]
    lives.now.stop(clean=False)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_who_publishes_until_confirmed_publishes_once_whatever_happens(
    tmp_path: Path, seed: int, place: str
) -> None:
    chance = random.Random(seed)
    ids = numbered(0, 60)
    confirmed: set[str] = set()
    seen: list[str] = []
    lives = Lives(tmp_path, place, deduplication_window=1000)

    def consume(channel: ClientChannel) -> None:
        found = channel.get("q") if chance.random() < 0.2 else None
        if found is not None:
            each = found.body.decode()
            # An acknowledgement may be lost with the power; what was published again is never taken.
            assert found.redelivered or each not in seen, f"{each} was stored twice"
            seen.append(each)
            channel.ack(found.tag)

    while len(confirmed) < len(ids):
        try:
            lives.disks.before(cut_after(chance.choice((10, 40, 100, 300))))
            left = [each for each in ids if each not in confirmed]
            publish_until_cut(lives.now, left, confirmed, chance, publish, consume)
        except PowerCut:
            lives.disks.before(None)
            lives.now.stop(clean=False)
            if chance.random() < 0.5:
                lives.disks = lives.disks.power_cut(chance)
            lives.now = StreamNode(tmp_path, lives.disks)
    lives.disks.before(None)
    lives.now.work()
    left = lives.held()
    lives.now.stop(clean=False)
    assert len(left) == len(set(left)), f"twice in the queue: {sorted(left)}"
    assert set(left) | set(seen) == set(ids), "none is lost"


steps = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.lists(st.integers(0, 30), min_size=1, max_size=8)),
        st.tuples(st.just("consume"), st.integers(1, 5)),
        st.tuples(st.just("again"), st.sampled_from(ENDS)),
        st.tuples(st.just("maintain"), st.booleans()),
        st.tuples(st.just("transaction"), st.lists(st.integers(0, 30), min_size=1, max_size=5)),
    ),
    max_size=40,
)


@settings(
    max_examples=int(os.environ.get("WINDOW_EXAMPLES", "60")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(place=st.sampled_from(PLACES), window=st.integers(1, 25), course=steps)
def test_it_behaves_as_a_list_of_the_last_ids(
    tmp_path_factory: pytest.TempPathFactory, place: str, window: int, course: list[tuple[str, object]]
) -> None:
    lives = Lives(tmp_path_factory.mktemp("lives"), place, deduplication_window=window)
    known: list[str] = []
    queue: list[str] = []
    for what, how in course:
        if what == "publish" or what == "transaction":
            assert isinstance(how, list)
            ids = [str(each) for each in how]
            if what == "publish":
                lives.publish(ids, slow=len(ids) % 2 == 0)
            else:
                channel = lives.now.client.channel(4)
                channel.call(commands.Tx.Select(), commands.Tx.SelectOk)
                for each in ids:
                    publish(channel, each)
                channel.send(commands.Tx.Commit())
                lives.now.work()
                channel.expect(commands.Tx.CommitOk)
                channel.close()
            for each in ids:
                if each not in known[-window:]:
                    known.append(each)
                    queue.append(each)
        elif what == "consume":
            assert isinstance(how, int)
            for _ in range(how):
                found = lives.now.channel.get("q")
                assert (None if found is None else found.body.decode()) == (queue[0] if queue else None)
                if found is not None:
                    lives.now.channel.ack(found.tag)
                    queue.pop(0)
            # Acknowledgements alone are never waited for.
            lives.publish([""])
            queue.append("")
        elif what == "again":
            lives.again(str(how))
        elif how:
            lives.now.forget()
        else:
            lives.now.maintain(2)
        assert lives.held() == queue, f"after {what}"
    lives.now.stop(clean=False)
