"""A store under a broker: reclaim, copy-forward, snapshots, restarts."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
from pamqp import commands

from harebell.engine.topology import Caller, declare_queue
from harebell.paging import FLAGGED, RETURN
from harebell.storage.data_dir import DataDirError
from harebell.storage.files import DiskFiles
from harebell.storage.snapshot import COPY, NAME
from harebell.storage.store import Store
from tests.storage.fake_disk import FakeDisk
from tests.storage.logs import Running

PERSISTENT = commands.Basic.Properties(delivery_mode=2)
SEGMENT_BYTES = 2000


class Lives:
    """One data directory that is opened again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.disk = FakeDisk()
        self.now: Running | None = None

    def start(self) -> Running:
        """Start, after a stop or a kill."""
        self.now = Running(self.folder, self.disk, SEGMENT_BYTES)
        return self.now

    def again(self, clean: bool = False) -> Running:
        """Stop, or be killed with everything written kept, and start."""
        assert self.now is not None
        self.now.stop(clean)
        return self.start()


@pytest.fixture
def lives(tmp_path: Path) -> Iterator[Lives]:
    found = Lives(tmp_path)
    yield found
    if found.now is not None:
        found.now.stop(clean=False)


def declare(running: Running, *names: str) -> None:
    """Declare durable queues."""
    for name in names:
        running.channel.send(commands.Queue.Declare(queue=name, durable=True))
        running.work()
        running.channel.expect(commands.Queue.DeclareOk)


def publish(running: Running, queue: str, *bodies: bytes) -> None:
    """Publish persistent messages."""
    for body in bodies:
        running.channel.publish(body, key=queue, properties=PERSISTENT)
    running.work()
    outcomes = running.channel.outcomes()
    assert outcomes == ["ack"] * len(bodies)


def churn(running: Running, queue: str, messages: int, size: int = 100) -> None:
    """Publish and consume, so that the log grows by what nobody needs."""
    for n in range(messages):
        publish(running, queue, b"%d" % n + bytes(size))
        assert running.channel.get(queue, no_ack=True) is not None
        if n % 5 == 0:
            running.maintain(3)
    running.work()


def test_what_is_settled_is_deleted_and_stays_away(lives: Lives) -> None:
    running = lives.start()
    declare(running, "q")
    churn(running, "q", 200)
    running.maintain()
    assert lives.disk.size() < 3 * SEGMENT_BYTES
    running = lives.again()
    assert running.bodies("q") == [], "settled messages are back"
    assert running.damage == []


@pytest.mark.parametrize("unacked", [False, True], ids=["ready", "unacked"])
def test_one_old_message_does_not_pin_the_log(lives: Lives, unacked: bool) -> None:
    running = lives.start()
    declare(running, "old", "q")
    publish(running, "old", b"precious" * 20)
    if unacked:
        assert running.channel.get("old") is not None
    churn(running, "q", 400)
    running.maintain()
    assert lives.disk.size() < 8 * SEGMENT_BYTES
    running = lives.again()
    assert running.bodies("old") == [b"precious" * 20]
    assert running.bodies("q") == []


def test_disk_use_stays_near_what_is_alive_when_large_dead_messages_lie_among_small_living_ones(
    lives: Lives,
) -> None:
    running = lives.start()
    declare(running, "small", "large")
    for n in range(40):
        publish(running, "small", b"%d" % n)
        churn(running, "large", 1, 1500)
    running.maintain(200)
    assert lives.disk.size() < 2 * 40 * 70 + 6 * SEGMENT_BYTES
    assert lives.again().bodies("small") == [b"%d" % n for n in range(40)]


def test_metadata_churn_does_not_grow_the_log_behind_an_old_message(lives: Lives) -> None:
    running = lives.start()
    declare(running, "old")
    publish(running, "old", b"precious")
    for _ in range(100):
        declare(running, "short-lived")
        running.channel.send(commands.Queue.Delete(queue="short-lived"))
        running.work()
        running.channel.expect(commands.Queue.DeleteOk)
        running.maintain(3)
    assert lives.disk.size() < 8 * SEGMENT_BYTES
    running = lives.again()
    assert running.bodies("old") == [b"precious"]
    assert list(running.node.vhost.queues) == ["old"]


def test_copying_forward_comes_to_an_end(lives: Lives) -> None:
    running = lives.start()
    declare(running, "keep", "q")
    for n in range(30):
        publish(running, "keep", b"%d" % n * 50)
        churn(running, "q", 4)
    running.maintain(100)
    appended = int(running.store.journal.appended)
    running.maintain(100)
    assert int(running.store.journal.appended) == appended, "the same messages are copied again and again"


def test_copies_made_before_a_crash_are_not_made_again(lives: Lives) -> None:
    running = lives.start()
    declare(running, "keep", "q")
    publish(running, "keep", *[b"%d" % n * 20 for n in range(5)])
    for n in range(80):
        publish(running, "q", b"%d" % n * 50)
        running.channel.get("q", no_ack=True)
    running.maintain(
        3
    )  # a snapshot is written; copied, but the segment they were copied from is not deleted yet
    assert "0000000000000000.wal" in lives.disk.names()
    running = lives.again()
    copied = int(running.store.journal.appended)
    broker = running.node.broker
    pairs = {(running.node.queue("keep").id, n) for n in range(1, 6)}
    assert all(place.location > 2 * SEGMENT_BYTES for place in broker.locate(pairs).values())
    running.maintain()
    assert "0000000000000000.wal" not in lives.disk.names()
    assert int(running.store.journal.appended) < copied + 200, "they were copied twice"
    assert running.bodies("keep") == [b"%d" % n * 20 for n in range(5)]


def test_what_is_alive_is_ready_or_unanswered_and_says_whether_it_was_delivered(lives: Lives) -> None:
    running = lives.start()
    declare(running, "q")
    publish(running, "q", *[b"%d" % n for n in range(1, 6)])
    channel = running.channel
    tags = [delivery.tag for delivery in (channel.get("q") for _ in range(4)) if delivery is not None]
    channel.ack(tags[0])
    channel.nack(tags[1])
    queue_id = running.node.queue("q").id
    found = running.node.broker.locate({(queue_id, n) for n in range(0, 8)} | {(queue_id + 1, 1)})
    state = {
        at: (bytes(place.message.body), place.returns)
        for (_, at), place in sorted(found.items())
        if place.message
    }
    assert state == {2: (b"2", RETURN | FLAGGED), 3: (b"3", 0), 4: (b"4", 0), 5: (b"5", 0)}


def test_a_message_of_many_queues_is_copied_for_those_that_still_hold_it(lives: Lives) -> None:
    running = lives.start()
    declare(running, "a", "b", "c", "q")
    for name in "abc":
        running.channel.send(commands.Queue.Bind(queue=name, exchange="amq.fanout"))
        running.work()
        running.channel.expect(commands.Queue.BindOk)
    running.channel.publish(b"shared" * 10, exchange="amq.fanout", properties=PERSISTENT)
    running.work()
    assert running.channel.get("b", no_ack=True) is not None
    running.channel.outcomes()
    churn(running, "q", 200)
    running.maintain()
    running = lives.again()
    assert [running.bodies(name) for name in "abc"] == [[b"shared" * 10], [], [b"shared" * 10]]


def test_flags_outlive_copying_forward(lives: Lives) -> None:
    running = lives.start()
    declare(running, "old", "q")
    publish(running, "old", b"seen", b"unseen")
    delivery = running.channel.get("old")
    assert delivery is not None
    running.channel.nack(delivery.tag)
    churn(running, "q", 300)
    running.maintain()
    running = lives.again(clean=True)
    assert running.clean
    assert running.flags("old") == [True, False]


def test_flags_of_a_crash_outlive_an_orderly_stop(lives: Lives) -> None:
    running = lives.start()
    declare(running, "q")
    publish(running, "q", b"one")
    assert running.channel.get("q") is not None
    running = lives.again(clean=False)
    assert running.flags("q") == [True]
    running = lives.again(clean=True)
    assert running.clean
    assert running.flags("q") == [True], "it was delivered before the crash"


def test_an_orderly_stop_leaves_unseen_messages_unflagged(lives: Lives) -> None:
    running = lives.start()
    declare(running, "q")
    publish(running, "q", b"one", b"two")
    assert running.channel.get("q") is not None
    running = lives.again(clean=True)
    assert running.flags("q") == [True, False]


def test_a_delivery_leaves_its_flag_even_if_nothing_was_written_after_a_restart(lives: Lives) -> None:
    running = lives.start()
    declare(running, "q")
    publish(running, "q", b"one")
    running = lives.again(clean=True)
    assert running.channel.get("q") is not None
    running = lives.again(clean=False)
    assert running.flags("q") == [True], "it was delivered, and the log still ends with an orderly stop"


def test_topology_outlives_the_segments_that_declared_it(lives: Lives) -> None:
    running = lives.start()
    channel = running.channel
    exchange = commands.Exchange.Declare(exchange="e", exchange_type="topic", durable=True)
    exchange.arguments = {"alternate-exchange": "amq.fanout"}
    running.ask(lambda: channel.send(exchange))
    queue = commands.Queue.Declare(queue="q", durable=True)
    queue.arguments = {"x-expires": 100_000, "x-note": "kept"}
    running.ask(lambda: channel.send(queue))
    running.ask(lambda: channel.send(commands.Queue.Bind(queue="q", exchange="e", routing_key="a.#")))
    declare(running, "other")
    churn(running, "other", 200)
    running.maintain()
    assert "0000000000000000.wal" not in lives.disk.names(), "the segment with the commands should be gone"
    vhost = lives.again().node.vhost
    assert vhost.exchanges["e"].arguments == {"alternate-exchange": "amq.fanout"}
    assert vhost.queues["q"].arguments == {"x-expires": 100_000, "x-note": "kept"}
    assert [binding.routing_key for binding in vhost.exchanges["e"].bindings.values()] == ["a.#"]


def test_a_damaged_snapshot_is_replaced_by_its_copy(lives: Lives) -> None:
    running = lives.start()
    declare(running, "q")
    churn(running, "q", 200)
    running.maintain()
    running.stop(clean=True)
    lives.now = None
    content = lives.disk.files[NAME].octets
    content[len(content) // 2] ^= 1
    running = lives.start()
    assert list(running.node.vhost.queues) == ["q"]
    assert running.damage == [f"{NAME}: damaged"]
    running.stop()
    lives.now = None
    del lives.disk.files[COPY].octets[20:]
    with pytest.raises(DataDirError, match=f"{NAME}: damaged; {COPY}: this is no metadata snapshot"):
        lives.start()


def test_the_number_of_a_deleted_queue_is_never_given_again(lives: Lives) -> None:
    running = lives.start()
    declare(running, "old", "gone")
    publish(running, "old", b"x" * SEGMENT_BYTES)
    publish(running, "gone", b"a ghost")
    running.ask(lambda: running.channel.send(commands.Queue.Delete(queue="gone")))
    assert running.channel.get("old", no_ack=True) is not None
    publish(running, "old", b"kept")
    running.maintain()
    running = lives.again()
    declare(running, "new")
    running = lives.again()
    assert running.bodies("new") == [], "a new queue got the messages of a deleted one"


def test_positions_given_again_after_reclaim_do_no_harm(lives: Lives) -> None:
    running = lives.start()
    declare(running, "q", "other")
    publish(running, "q", *[b"%d" % n * 30 for n in range(40)])
    while running.channel.get("q", no_ack=True) is not None:
        pass
    publish(running, "other", b"later")
    running.maintain()
    running = lives.again()
    publish(running, "q", b"new")
    running = lives.again()
    assert (running.bodies("q"), running.bodies("other")) == ([b"new"], [b"later"])


def test_a_queue_deleted_with_unanswered_deliveries_lets_go_of_its_segment(lives: Lives) -> None:
    running = lives.start()
    declare(running, "gone", "q")
    publish(running, "gone", b"one", b"two")
    delivery = running.channel.get("gone")
    assert delivery is not None
    running.ask(lambda: running.channel.send(commands.Queue.Delete(queue="gone")))
    churn(running, "q", 100)
    running.channel.ack(delivery.tag)
    running.maintain()
    assert int(running.store.segments.live_octets) == 0
    assert lives.disk.size() < 3 * SEGMENT_BYTES


def test_a_purged_queue_lets_go_of_its_segments(lives: Lives) -> None:
    running = lives.start()
    declare(running, "q")
    publish(running, "q", *[b"x" * 100] * 100)
    running.channel.purge("q")
    running.maintain()
    assert lives.disk.size() < 3 * SEGMENT_BYTES
    assert lives.again().bodies("q") == []


def test_counts_are_right_after_recovery(lives: Lives) -> None:
    running = lives.start()
    declare(running, "a", "b", "gone")
    for name in ("a", "b", "gone"):
        publish(running, name, *[b"x" * 50] * 20)
    running.ask(lambda: running.channel.send(commands.Queue.Delete(queue="gone")))
    for _ in range(7):
        assert running.channel.get("a", no_ack=True) is not None
    running.work()
    before = int(running.store.segments.live_octets)
    running = lives.again()
    assert int(running.store.segments.live_octets) == before
    running.channel.purge("a")
    running.channel.purge("b")
    assert int(running.store.segments.live_octets) == 0


def test_a_transaction_on_disk_only_in_part_deletes_nothing(lives: Lives) -> None:
    running = lives.start()
    declare(running, "q", "r")
    publish(running, "q", b"x" * SEGMENT_BYTES)
    publish(running, "r", b"y" * SEGMENT_BYTES)
    channel = running.node.clients[0].channel(2)
    channel.call(commands.Tx.Select(), commands.Tx.SelectOk)
    delivery = channel.get("q")
    assert delivery is not None
    channel.publish(b"moved", key="r", properties=PERSISTENT)
    channel.ack(delivery.tag)
    channel.send(commands.Tx.Commit())
    broker = running.node.broker
    running.store.maintain(broker, list)
    running = lives.again()  # commit-ok was never sent: neither half may show
    assert running.bodies("q") == [b"x" * SEGMENT_BYTES]
    assert running.bodies("r") == [b"y" * SEGMENT_BYTES]


def test_a_queue_that_expires_counts_from_the_restart(lives: Lives) -> None:
    running = lives.start()
    queue = commands.Queue.Declare(queue="q", durable=True)
    queue.arguments = {"x-expires": 60_000}
    running.ask(lambda: running.channel.send(queue))
    broker = lives.again().node.broker
    assert broker.vhosts["/"].queues["q"].last_used == broker.clock.now > 0
    broker.expire_queues()
    assert "q" in broker.vhosts["/"].queues, "deleted at once, with all it held"


@pytest.mark.parametrize("depth", [1, 60, 61, 62, 63, 64, 65])
def test_arguments_that_could_be_declared_can_be_recovered(lives: Lives, depth: int) -> None:
    running = lives.start()
    nested: dict[str, object] = {}
    for _ in range(depth - 1):
        nested = {"x": nested}
    queue = commands.Queue.Declare(queue="q", durable=True)
    queue.arguments = {"x-nested": nested}  # type: ignore[dict-item]
    client = running.node.connect()
    channel = client.channel()
    channel.send(queue)
    running.work()
    declared = not client.closed and "q" in running.node.vhost.queues
    assert ("q" in lives.again().node.vhost.queues) == declared


def test_odd_names_can_be_recovered(lives: Lives) -> None:
    running = lives.start()
    name = b"\xff\xfe odd \x00".decode("utf-8", "surrogateescape")
    broker = running.node.broker
    user = running.node.clients[0].connection.user
    assert user is not None
    caller = Caller(broker, running.node.vhost, user, 1)
    declare_queue(caller, name, True, False, False, {"x-note": name})
    running.work()
    assert lives.again().node.vhost.queues[name].arguments == {"x-note": name}


def test_an_error_inside_a_commit_does_not_swallow_what_follows(lives: Lives) -> None:
    running = lives.start()
    declare(running, "q")
    channel = running.node.connect().channel()
    channel.call(commands.Tx.Select(), commands.Tx.SelectOk)
    channel.publish(b"one", key="q", properties=PERSISTENT)
    queue = running.node.queue("q")
    transaction = running.node.clients[-1].connection.channels[1].transaction
    assert transaction is not None
    transaction.acks.append(None)  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="541"):
        channel.send(commands.Tx.Commit())
    publish(running, "q", b"two")
    assert queue.ready_count() == 2
    assert lives.again().bodies("q") == [b"one", b"two"]


def test_a_full_disk_while_the_snapshot_is_written_only_puts_it_off(lives: Lives) -> None:
    running = lives.start()
    declare(running, "q")
    publish(running, "q", b"x" * SEGMENT_BYTES, b"y" * SEGMENT_BYTES)
    running.channel.drain("q")
    running.work()
    lives.disk.space = 3
    running.maintain(3)
    assert running.failures == []
    assert "0000000000000000.wal" in lives.disk.names()
    lives.disk.space = None
    running.maintain()
    assert "0000000000000000.wal" not in lives.disk.names()


def test_a_full_disk_confirms_nothing_until_there_is_space(lives: Lives) -> None:
    running = lives.start()
    declare(running, "q")
    lives.disk.space = 0

    def refused() -> None:
        assert running.channel.outcomes() == [], "confirmed on a full disk"
        if lives.disk.refusals == 4:
            lives.disk.space = None

    lives.disk.on_full = refused
    running.committer._retry_seconds = 0.0
    publish(running, "q", b"one")
    assert running.fullness == [True, False]
    assert lives.again().bodies("q") == [b"one"]


def test_a_failed_sync_is_reported_and_nothing_is_confirmed(lives: Lives) -> None:
    running = lives.start()
    declare(running, "q")

    def before(kind: str, name: str) -> None:
        if kind == "sync":
            raise OSError(errno.EIO, "made to fail")

    lives.disk.before = before
    running.channel.publish(b"one", key="q", properties=PERSISTENT)
    running.work()
    lives.disk.before = None
    running.channel.publish(b"two", key="q", properties=PERSISTENT)
    running.work()
    assert running.channel.outcomes() == []
    assert [getattr(error, "errno", 0) for error in running.failures] == [errno.EIO]


def test_many_restarts_leave_few_files(lives: Lives) -> None:
    running = lives.start()
    declare(running, "q")
    publish(running, "q", b"old")
    for n in range(40):
        running = lives.again(clean=n % 2 == 0)
        running.maintain(5)
    assert running.bodies("q") == [b"old"]
    assert len(lives.disk.names()) < 12, lives.disk.names()


def test_a_full_disk_at_the_start_is_said_in_one_line(tmp_path: Path) -> None:
    disk = FakeDisk()
    disk.space = 0
    with pytest.raises(DataDirError, match="No space left"):
        Running(tmp_path, disk)
    disk.space = None
    Running(tmp_path, disk).stop()


def test_a_data_directory_is_locked_until_it_is_given_back(tmp_path: Path) -> None:
    store = Store(tmp_path, False, lambda text: None)
    with pytest.raises(DataDirError, match="in use by another harebell") as caught:
        Store(tmp_path, False, lambda text: None)
    assert caught.value.exit_code == 75
    store.close(clean=True)
    Store(tmp_path, False, lambda text: None).close(clean=True)


def test_a_directory_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "harebell.json").write_text('{"format": 2, "node": "1"}')
    with pytest.raises(DataDirError, match="newer harebell") as caught:
        Store(tmp_path, False, lambda text: None)
    assert caught.value.exit_code == 73


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"format": 1, "node": "-1"}', '{"format": 1, "node": "zz"}']
)
def test_a_damaged_identity_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "harebell.json").write_text(text)
    with pytest.raises(DataDirError, match="is damaged"):
        Store(tmp_path, False, lambda text: None)


def test_a_journal_without_its_identity_is_refused(tmp_path: Path) -> None:
    Store(tmp_path, False, lambda text: None).close(clean=True)
    (tmp_path / "journal" / "0000000000000000.wal").write_bytes(b"")
    (tmp_path / "harebell.json").unlink()
    with pytest.raises(DataDirError, match="is missing although there is a journal"):
        Store(tmp_path, False, lambda text: None)


def test_real_files_are_replaced_in_one_step(tmp_path: Path) -> None:
    files = DiskFiles(tmp_path / "journal")
    files.replace("snapshot", b"one")
    files.replace("snapshot", b"two")
    assert (files.names(), files.read("snapshot")) == (["snapshot"], b"two")
    file = files.create("log")
    assert file.write(b"0123456789") == 10
    file.truncate(4)
    file.write(b"x")
    file.sync()
    file.close()
    assert files.read("log") == b"0123x"
    assert files.free_bytes() > 0
    files.remove("log")
    files.sync_folder()
    assert files.names() == ["snapshot"]


def test_a_queue_whose_declaration_is_damaged_comes_back_under_another_name(lives: Lives) -> None:
    running = lives.start()
    declare(running, "early", "late")
    publish(running, "late", b"one", b"two")
    running.work()
    octets = lives.disk.files["0000000000000000.wal"].octets
    at = octets.index(b"late")
    octets[at : at + 4] = b"LATE"
    running = lives.again()
    queues = list(running.node.vhost.queues)
    assert queues == ["early", "harebell.recovered.2"]
    assert running.bodies("harebell.recovered.2") == [b"one", b"two"]
    assert any("there again as 'harebell.recovered.2'" in text for text in running.missing)
    running = lives.again()
    assert list(running.node.vhost.queues) == queues


def test_a_segment_that_cannot_be_read_now_is_copied_forward_later(lives: Lives) -> None:
    running = lives.start()
    declare(running, "keep", "q")
    publish(running, "keep", b"kept")
    for n in range(80):
        publish(running, "q", b"%d" % n * 50)
        running.channel.get("q", no_ack=True)
    running.work()
    first = "0000000000000000.wal"

    def fail(kind: str, name: str) -> None:
        if kind == "read_all" and name == first:
            raise OSError(errno.EIO, "the disk fails for a while")

    lives.disk.before = fail
    with pytest.raises(OSError, match="for a while"):
        running.maintain()
    lives.disk.before = None
    running.maintain()
    assert first not in lives.disk.names()
    assert running.bodies("keep") == [b"kept"]
