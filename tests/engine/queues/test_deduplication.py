"""Messages whose id a stream took lately are confirmed and not stored."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import commands
from pamqp.common import FieldTable

from harebell.content.properties import build_header
from harebell.content.table import Table
from harebell.engine.policy_control import set_policy
from harebell.engine.policy_work import finish
from harebell.engine.queues import deduplication
from harebell.engine.queues.deduplication import Deduplication
from harebell.engine.queues.stream import StreamQueue
from tests.support.client import ClientChannel, queue_declare
from tests.support.journal import DelayedJournal
from tests.support.node import Node


def stream(node: Node, name: str = "s") -> StreamQueue:
    queue = node.queue(name)
    assert isinstance(queue, StreamQueue)
    return queue


def declare(channel: ClientChannel, name: str = "s", kind: str = "stream", **arguments: Any) -> None:
    table = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
    channel.declare_queue(name, durable=True, arguments={"x-queue-type": kind, **table})


def put(
    channel: ClientChannel, *ids: str | None, exchange: str = "", expected: int = -1, **headers: Any
) -> None:
    """Publish messages with ids, which are their bodies, too."""
    if expected >= 0:
        headers["x-expected-offset"] = expected
    for each in ids:
        properties = commands.Basic.Properties(message_id=each, headers=headers or None, delivery_mode=2)
        body = b"-" if each is None else each.encode()
        channel.publish(body, exchange=exchange, key="s", properties=properties)


def read(node: Node, name: str = "s") -> list[bytes]:
    reader = node.connect().channel()
    reader.qos(1000)
    reader.consume(name, arguments={"x-stream-offset": "first"})
    return reader.bodies()


@pytest.fixture
def node() -> Node:
    return Node()


def test_a_message_published_again_is_confirmed_counted_and_not_stored(
    node: Node, channel: ClientChannel
) -> None:
    declare(channel, deduplication_window=10)
    put(channel, "a", "b", "a", "a", "c")
    assert channel.outcomes() == ["ack"] * 5
    assert read(node) == [b"a", b"b", b"c"]
    assert (stream(node).duplicates, stream(node).published, stream(node).next_position) == (2, 3, 3)


def test_only_the_last_messages_are_remembered(node: Node, channel: ClientChannel) -> None:
    declare(channel, deduplication_window=2)
    put(channel, "a", "b", "a", "c", "a", "a")
    assert read(node) == [b"a", b"b", b"c", b"a"], "the third a came when a was among the last two"


def test_messages_without_an_id_are_always_taken_and_count_in_the_window(
    node: Node, channel: ClientChannel
) -> None:
    declare(channel, deduplication_window=2)
    put(channel, None, None, "", "", "a", None, "a", None, "a")
    assert read(node) == [b"-", b"-", b"", b"", b"a", b"-", b"-", b"a"]


def test_without_the_argument_nothing_is_left_out(node: Node, channel: ClientChannel) -> None:
    declare(channel)
    put(channel, "a", "a")
    assert read(node) == [b"a", b"a"]


def test_the_id_may_be_in_a_header(node: Node, channel: ClientChannel) -> None:
    declare(channel, deduplication_window=10, deduplication_header="id")
    put(channel, "a", "a")
    put(channel, "b", id="x")
    put(channel, "c", id="x")
    put(channel, "d", id=7, other=1)
    put(channel, "e", other=2, id=7)
    put(channel, "f", "g", id="")
    put(channel, "h", "i", id=None)
    put(channel, "j", "k", id={"deep": [1]})
    assert read(node) == [b"a", b"a", b"b", b"d", b"f", b"g", b"h", b"i", b"j"]


@pytest.fixture
def slow() -> Node:
    """A broker whose journal is durable when the test says so."""
    return Node(DelayedJournal())


def slow_channel(node: Node, number: int = 1) -> ClientChannel:
    """A channel of a client of its own, and the stream unless it is there."""
    channel = node.connect().channel(number)
    if "s" not in node.vhost.queues:
        arguments: FieldTable = {"x-queue-type": "stream", "x-deduplication-window": 10}
        channel.send(queue_declare("s", durable=True, arguments=arguments))
        node.sync()
        channel.expect(commands.Queue.DeclareOk)
    return channel


def test_the_confirm_of_a_duplicate_waits_for_the_original(slow: Node) -> None:
    first, second = slow_channel(slow), slow_channel(slow)
    for channel in (first, second):
        channel.confirm_select()
    put(first, "a")
    put(second, "a")
    put(second, "b", "a")
    assert first.outcomes() == second.outcomes() == []
    slow.sync()
    assert (first.outcomes(), second.outcomes()) == (["ack"], ["ack"] * 3)
    assert read(slow) == [b"a", b"b"]


def test_the_confirm_of_a_duplicate_waits_for_nothing_that_came_later(slow: Node) -> None:
    channel = slow_channel(slow)
    channel.confirm_select()
    put(channel, "a")
    slow.sync()
    assert channel.outcomes() == ["ack"]
    slow.journal.settle(77, 1, stream(slow).log.block(0).messages[0])  # type: ignore[union-attr]
    put(channel, "a")
    assert channel.outcomes() == ["ack"], "nobody makes settles durable soon"


def test_a_transaction_with_nothing_but_duplicates_waits_for_the_originals(slow: Node) -> None:
    first, second = slow_channel(slow), slow_channel(slow)
    second.call(commands.Tx.Select(), commands.Tx.SelectOk)
    put(first, "a")
    put(second, "a")
    second.send(commands.Tx.Commit())
    second.expect_silence()
    slow.sync()
    second.expect(commands.Tx.CommitOk)
    assert read(slow) == [b"a"]


def test_of_two_equal_ids_in_a_transaction_the_second_is_a_duplicate(node: Node) -> None:
    channel = node.connect().channel()
    declare(channel, deduplication_window=10)
    channel.call(commands.Tx.Select(), commands.Tx.SelectOk)
    put(channel, "a", "b", "a")
    channel.call(commands.Tx.Rollback(), commands.Tx.RollbackOk)
    put(channel, "a", "c", "a")
    channel.call(commands.Tx.Commit(), commands.Tx.CommitOk)
    put(channel, "c", "b")
    channel.call(commands.Tx.Commit(), commands.Tx.CommitOk)
    assert read(node) == [b"a", b"c", b"b"], "what was rolled back is not remembered"


def test_only_queues_that_know_a_message_leave_it_out(node: Node, channel: ClientChannel) -> None:
    declare(channel, "s", deduplication_window=10)
    declare(channel, "t", deduplication_window=1)
    declare(channel, "q", "classic")
    channel.declare_exchange("e", "fanout")
    for name in "stq":
        channel.bind(name, "e")
    put(channel, "a", "b", "a", exchange="e")
    assert channel.outcomes() == ["ack"] * 3
    assert read(node, "s") == [b"a", b"b"]
    assert read(node, "t") == channel.drain("q") == [b"a", b"b", b"a"]


def test_a_refused_message_is_not_remembered(node: Node, channel: ClientChannel) -> None:
    declare(channel, deduplication_window=10)
    put(channel, "a", expected=1)
    put(channel, "b")
    put(channel, "a", expected=1)
    assert channel.outcomes() == ["nack", "ack", "ack"]
    assert read(node) == [b"b", b"a"]


def test_a_known_message_is_confirmed_although_its_expected_offset_is_taken(
    node: Node, channel: ClientChannel
) -> None:
    declare(channel, deduplication_window=10)
    declare(channel, "full", "classic", max_length=0, overflow="reject-publish")
    channel.declare_exchange("e", "fanout")
    put(channel, "a", "a", expected=0)
    assert channel.outcomes() == ["ack", "ack"]
    for name in ("full", "s"):
        channel.bind(name, "e")
    put(channel, "a", exchange="e")
    put(channel, "b", exchange="e")
    put(channel, "b")
    assert channel.outcomes() == ["nack", "nack", "ack"], "the other queue refuses"
    assert read(node) == [b"a", b"b"]
    assert stream(node).duplicates == 3


def test_a_dead_letter_is_never_a_duplicate_and_is_remembered(node: Node, channel: ClientChannel) -> None:
    declare(channel, deduplication_window=2)
    declare(channel, "q", "classic", dead_letter_exchange="", dead_letter_routing_key="s")
    properties = commands.Basic.Properties(message_id="a")
    channel.publish(b"dead", key="q", properties=properties)
    put(channel, "a")
    found = channel.get("q")
    assert found is not None
    channel.reject(found.tag, requeue=False)
    put(channel, "b", "a")
    assert read(node) == [b"a", b"dead", b"b"], "the dead letter keeps its id in the window"


def test_a_transient_message_is_remembered_too(node: Node, channel: ClientChannel) -> None:
    declare(channel, deduplication_window=2)
    for _ in range(2):
        channel.publish(b"a", key="s", properties=commands.Basic.Properties(message_id="a", delivery_mode=1))
    assert channel.outcomes() == ["ack", "ack"]
    assert read(node) == [b"a"]


def test_a_policy_sets_the_window_which_then_begins_empty(node: Node, channel: ClientChannel) -> None:
    def policy(**definition: object) -> None:
        keys: Table = {key.replace("_", "-"): value for key, value in definition.items()}
        set_policy(node.broker, "/", "p", "^s$", keys)
        finish(node.broker)

    declare(channel)
    put(channel, "a")
    policy(deduplication_window=2)
    put(channel, "a", "a", "b", "c")
    policy(deduplication_window=4)
    put(channel, "b", "c", "a", "d", "e")
    policy(deduplication_window=1)
    put(channel, "e", "d", "d")
    policy(deduplication_window=9, deduplication_header="id")
    put(channel, "d")
    policy(max_age="1D")
    put(channel, "d")
    assert read(node) == [b"a", b"a", b"b", b"c", b"a", b"d", b"e", b"d", b"d", b"d"]


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("stream", {"deduplication_window": 0}),
        ("stream", {"deduplication_window": 10_000_001}),
        ("stream", {"deduplication_window": "10"}),
        ("stream", {"deduplication_header": 10}),
        ("stream", {"deduplication_header": "h" * 256}),
        ("stream", {"deduplication_interval": 0}),
        ("stream", {"deduplication_interval": "0"}),
        ("stream", {"deduplication_interval": "10x"}),
        ("stream", {"deduplication_interval": 1.5}),
        ("classic", {"deduplication_window": 0}),
        ("quorum", {"deduplication_interval": "-1"}),
        ("classic", {"message_uid": 1}),
    ],
)
def test_arguments_that_cannot_be_are_refused(
    channel: ClientChannel, kind: str, arguments: dict[str, Any]
) -> None:
    table = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
    channel.send(queue_declare("s", durable=True, arguments={"x-queue-type": kind, **table}))
    channel.expect_close(406, commands.Queue.Declare)


def with_id(name: str | None) -> bytes:
    return build_header(
        1, content_type="text", headers={"a": 1}, correlation_id="c", message_id=name, app_id="x"
    )


@settings(max_examples=200, deadline=None)
@given(data=st.data(), table_ids=st.sampled_from((1, 3, 2048)))
def test_it_knows_what_a_list_of_the_last_ids_knows(data: st.DataObject, table_ids: int) -> None:
    before = deduplication.TABLE_IDS
    vars(deduplication)["TABLE_IDS"] = table_ids
    try:
        window = data.draw(st.integers(1, 40))
        known = Deduplication(window, "")
        model: list[str | None] = []
        ids = st.one_of(st.none(), st.integers(0, 60).map(str))
        for each in data.draw(st.lists(ids, max_size=150)):
            expected = each is not None and each in model[-window:]
            assert known.knows(with_id(each), 0) is expected, f"{each} among {model[-window:]}"
            if not expected or data.draw(st.integers(0, 9)) == 0:
                known.remember(with_id(each), 0)
                model.append(each)
            if data.draw(st.integers(0, 30)) == 0:
                model = model[-window:]
                window = data.draw(st.integers(1, 40))
                known = known.resized(window)
        for name in map(str, range(61)):
            assert known.knows(with_id(name), 0) is (name in model[-window:])
    finally:
        vars(deduplication)["TABLE_IDS"] = before


def test_many_ids_come_and_go_in_little_memory() -> None:
    window = 20_000
    known = Deduplication(window, "")
    for number in range(3 * window):
        known.remember(with_id(str(number)), 0)
    first = 2 * window
    assert [each for each in range(first, 3 * window) if not known.knows(with_id(str(each)), 0)] == []
    assert [each for each in range(first) if known.knows(with_id(str(each)), 0)] == []
    octets = sum(4 * len(table) for table in known._tables) + 16 * window
    assert octets <= 32 * window, "there is a bucket of 32 octets for two to four ids, beside 16 in the ring"


@pytest.mark.parametrize("seed", range(6))
def test_hashes_that_crowd_the_same_places_are_told_apart(seed: int) -> None:
    """The model of above on hashes that nobody gets by chance: buckets overflow, and searches wrap around."""
    chance = random.Random(seed)
    window = (1, 9, 40, 300, 1000, 3000)[seed]
    known = Deduplication(window, "", bytes(16))
    known.forget_after(400, 0)
    taken: dict[int, tuple[int, int]] = {}
    crowds = [chance.getrandbits(62) for _ in range(3)]
    for now in range(4000):
        # All of a crowd have a bucket in common while tables are small, and the same part in entries.
        crowd = chance.choice(crowds)
        low = crowd & 0xFF | chance.randrange(2 * window) << 8
        expected = low in taken and taken[low][0] >= known.taken - window
        expected = expected and taken[low][1] + 400 > now
        assert known._known(crowd, low, now) is expected, f"message {now}, {low:#x}"
        if not expected or chance.random() < 0.2:
            taken[low] = (int(known.taken), now)
            known.add(crowd, low, now)


def test_an_id_that_is_taken_again_and_again_needs_one_place() -> None:
    known = Deduplication(100_000, "", bytes(16))
    known.forget_after(1, 0)
    for now in range(50_000):
        assert not known.knows(with_id("tick"), 2 * now)
        known.remember(with_id("tick"), 2 * now)
        assert known.knows(with_id("tick"), 2 * now)
    assert max(map(len, known._tables)) <= 2 * deduplication.BUCKET


def test_a_header_that_makes_no_sense_has_no_id() -> None:
    known = Deduplication(5, "")
    for header in (b"", b"\0" * 12 + b"\0\x80", with_id("abc")[:-7]):
        known.remember(header, 0)
        assert not known.knows(header, 0)
