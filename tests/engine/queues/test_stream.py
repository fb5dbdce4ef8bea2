"""What a stream is to its clients: a log that each of them reads at its own place."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pamqp import commands

from harebell.engine.policy_control import set_policy
from harebell.engine.policy_work import finish
from harebell.engine.queues.cursor import Reading
from harebell.engine.queues.stream import RETENTION_MS, StreamQueue
from tests.engine.queues.conftest import START
from tests.support.client import ClientChannel, exchange_declare, queue_declare
from tests.support.journal import DelayedJournal
from tests.support.node import Node


def declare(channel: ClientChannel, name: str = "s", **arguments: Any) -> None:
    table = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
    channel.declare_queue(name, durable=True, arguments={"x-queue-type": "stream", **table})


def put(channel: ClientChannel, *bodies: bytes, key: str = "s", **properties: Any) -> list[str]:
    for body in bodies:
        channel.publish(body, key=key, properties=commands.Basic.Properties(**properties))
    return channel.outcomes()


def numbered(count: int, first: int = 0) -> list[bytes]:
    return [b"%d" % number for number in range(first, first + count)]


def reader(node: Node, prefetch: int = 100, tag: str = "r", **arguments: Any) -> ClientChannel:
    channel = node.connect().channel()
    channel.qos(prefetch)
    table = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
    channel.consume("s", tag=tag, arguments=table)
    return channel


def at(seconds: int) -> datetime:
    """A time after the start."""
    return datetime.fromtimestamp(START // 1000 + seconds, UTC)


def stream(node: Node, name: str = "s") -> StreamQueue:
    queue = node.queue(name)
    assert isinstance(queue, StreamQueue)
    return queue


def test_every_reader_gets_every_message_from_where_it_asks(node: Node, channel: ClientChannel) -> None:
    declare(channel)
    put(channel, *numbered(5))
    assert reader(node, stream_offset="first").bodies() == numbered(5)
    assert reader(node, stream_offset="first").bodies() == numbered(5)
    assert reader(node, stream_offset=3).bodies() == numbered(2, 3)
    assert reader(node, stream_offset=-2).bodies() == numbered(2, 3)
    assert reader(node, stream_offset=-200).bodies() == numbered(5)
    following = [reader(node), reader(node, stream_offset="next")]
    put(channel, b"5", b"6")
    for each in following:
        assert each.bodies() == [b"5", b"6"]


def test_time_tells_where_to_begin(node: Node, channel: ClientChannel) -> None:
    declare(channel)
    for number in range(5):
        put(channel, b"%d" % number)
        node.advance(60_000)
    assert reader(node, stream_offset=at(120)).bodies() == numbered(3, 2)
    assert reader(node, stream_offset="2m").bodies() == numbered(2, 3)
    assert reader(node, stream_offset=at(9999)).bodies() == []
    assert reader(node, stream_offset=at(-1_000_000_000)).bodies() == numbered(5)
    assert reader(node, stream_offset="last").bodies() == [b"4"]


def test_messages_tell_their_offset_and_keep_what_they_have(node: Node, channel: ClientChannel) -> None:
    declare(channel)
    put(channel, b"a", headers={"x": 1}, message_id="m")
    put(channel, b"b")
    given = reader(node, stream_offset="first").deliveries()
    assert [each.properties.headers for each in given] == [
        {"x": 1, "x-stream-offset": 0},
        {"x-stream-offset": 1},
    ]
    assert given[0].properties.message_id == "m"


def test_prefetch_and_acks_are_credit_and_take_nothing_away(node: Node, channel: ClientChannel) -> None:
    declare(channel)
    put(channel, *numbered(10))
    client = reader(node, 3, stream_offset="first")
    assert client.bodies() == numbered(3)
    client.ack(2, multiple=True)
    assert client.bodies() == numbered(2, 3)
    assert stream(node).ready_count() == 10
    assert reader(node, stream_offset="first").bodies() == numbered(10)


def test_nothing_is_delivered_or_confirmed_before_it_is_durable() -> None:
    node = Node(DelayedJournal())
    channel = node.connect().channel()
    channel.confirm_select()
    channel.send(queue_declare("s", durable=True, arguments={"x-queue-type": "stream"}))
    node.sync()
    channel.expect(commands.Queue.DeclareOk)
    client = reader(node, stream_offset="first")
    assert put(channel, b"a", delivery_mode=1) == []
    assert client.bodies() == []
    node.sync()
    assert channel.outcomes() == ["ack"]
    assert client.bodies() == [b"a"]


@pytest.mark.parametrize(
    ("prefetch", "no_ack", "arguments", "code"),
    [(0, True, {}, 406), (1, True, {}, 540), (1, False, {"x-stream-offset": "soon"}, 406)],
)
def test_consumers_that_cannot_be_served_are_refused(
    node: Node, channel: ClientChannel, prefetch: int, no_ack: bool, arguments: dict[str, Any], code: int
) -> None:
    declare(channel)
    channel.qos(prefetch)
    channel.send(commands.Basic.Consume(queue="s", no_ack=no_ack, arguments=arguments))
    where = channel.client if code == 540 else channel
    where.expect_close(code, commands.Basic.Consume)


def test_a_stream_gives_and_takes_back_nothing(node: Node, channel: ClientChannel) -> None:
    declare(channel)
    put(channel, b"a")
    for ask in (commands.Basic.Get(queue="s"), commands.Queue.Purge(queue="s")):
        other = node.connect().channel()
        other.send(ask)
        other.client.expect_close(540, type(ask))
    for answer in (commands.Basic.Nack(1), commands.Basic.Reject(1)):
        other = reader(node, stream_offset="first")
        assert other.bodies() == [b"a"]
        other.send(answer)
        other.client.expect_close(540, type(answer))


def test_a_named_consumer_goes_on_where_it_acknowledged(node: Node, channel: ClientChannel) -> None:
    declare(channel)
    put(channel, *numbered(10))
    client = reader(node, 5, stream_offset="first", stream_consumer="billing")
    assert client.bodies() == numbered(5)
    client.ack(1)
    client.ack(3)
    client.client.close()
    assert stream(node).offsets == {"billing": 1}, "the second was not acknowledged"
    client = reader(node, 4, stream_consumer="billing")
    assert client.bodies() == numbered(4, 1)
    client.ack(0, multiple=True)
    assert client.bodies() == numbered(4, 5)
    node.advance(1000)
    assert stream(node).offsets == {"billing": 5}, "kept while it is there, too"
    assert reader(node, stream_offset=0, stream_consumer="billing").bodies() == numbered(10), "asked for"


def test_a_filter_is_exact(node: Node, channel: ClientChannel) -> None:
    declare(channel)
    for body, value in ((b"a", "x"), (b"b", "y"), (b"c", None), (b"d", "x"), (b"e", "z")):
        put(channel, body, headers={} if value is None else {"x-stream-filter-value": value})
    assert reader(node, 1, stream_offset="first", stream_filter="z").bodies() == [b"e"]
    wanted = reader(node, stream_offset="first", stream_filter=["x", "z"])
    assert wanted.bodies() == [b"a", b"d", b"e"]
    open_too = reader(node, stream_offset="first", stream_filter="y", stream_match_unfiltered=True)
    assert open_too.bodies() == [b"b", b"c"]


def test_a_message_can_ask_for_its_offset(node: Node, channel: ClientChannel) -> None:
    declare(channel)
    assert put(channel, b"a", headers={"x-expected-offset": 0}) == ["ack"]
    assert put(channel, b"b", headers={"x-expected-offset": 0}) == ["nack"]
    assert put(channel, b"c", headers={"x-expected-offset": 1}) == ["ack"]
    assert reader(node, stream_offset="first").bodies() == [b"a", b"c"]


def test_retention_by_size_and_age_takes_whole_old_segments(node: Node, channel: ClientChannel) -> None:
    declare(channel, max_length_bytes=200_000, stream_max_segment_size_bytes=65_536)
    for _ in range(50):
        put(channel, b"x" * 10_000)
    assert 10 <= stream(node).ready_count() <= 20
    set_policy(node.broker, "/", "old", "s", {"max-age": "1h"})
    finish(node.broker)
    kept = stream(node).ready_count()
    node.advance(3_600_000 + RETENTION_MS)
    assert stream(node).ready_count() < kept
    assert reader(node, stream_offset="first").bodies() != [], "the segment being written stays"


def test_a_group_has_one_active_member_at_a_time(node: Node, channel: ClientChannel) -> None:
    declare(channel)
    put(channel, *numbered(6))
    ask: dict[str, Any] = {"stream_consumer": "g", "single_active_consumer": True}
    first = reader(node, 2, stream_offset="first", **ask)
    second = reader(node, 2, **ask)
    assert first.bodies() == numbered(2)
    assert second.bodies() == []
    first.ack(1)
    first.client.close()
    assert second.bodies() == numbered(2, 1), "what was not acknowledged comes again"
    assert second.deliveries() == []


def test_partitions_spread_over_the_members_and_are_handed_over_in_peace(
    node: Node, channel: ClientChannel
) -> None:
    channel.declare_exchange("orders", "x-super-stream", durable=True, arguments={"x-partitions": 2})
    members = []
    ask: dict[str, Any] = {
        "x-stream-consumer": "g",
        "x-single-active-consumer": True,
        "x-stream-offset": "first",
    }
    for number in range(2):
        member = node.connect().channel()
        member.qos(10)
        for partition in range(2):
            member.consume(f"orders-{partition}", tag=f"{partition}", arguments=ask)
        members.append(member)
        if number == 0:
            for key in range(40):
                channel.publish(b"%d" % key, exchange="orders", key=f"k{key}")
            before = member.deliveries()
            assert len(before) == 20, "ten from each partition"
    assert members[1].deliveries() == [], "the first member has not answered yet"
    members[0].ack(0, multiple=True)
    taken = {each.consumer_tag for each in members[1].deliveries()}
    assert taken == {"1"}, "the second partition went to the second member"
    assert {each.consumer_tag for each in members[0].deliveries()} == {"0"}


def test_what_is_unanswered_is_counted_and_a_deleted_stream_lets_go_of_it(
    node: Node, channel: ClientChannel
) -> None:
    declare(channel)
    put(channel, *numbered(4))
    client = reader(node, 3, stream_offset="first", stream_consumer="n")
    queue = stream(node)
    assert (queue.unacked_count, queue.unacked_bytes > 0) == (3, True)
    assert channel.delete_queue("s") == 4
    assert client.bodies() == numbered(3)
    client.ack(0, multiple=True)
    assert (queue.unacked_count, queue.unacked_bytes) == (0, 0)
    declare(channel)
    assert stream(node).offsets == {}, "another stream of the same name"
    assert put(channel, b"again") == ["ack"]
    assert reader(node, stream_offset=0).deliveries()[0].properties.headers == {"x-stream-offset": 0}


def test_readers_are_listed_with_their_lag(node: Node, channel: ClientChannel) -> None:
    declare(channel)
    put(channel, *numbered(10))
    reader(node, 4, tag="plain", stream_offset="first")
    client = reader(node, 4, stream_offset=5, stream_consumer="billing")
    client.ack(1)
    assert stream(node).readings() == [Reading("billing", 6, 4, 1), Reading("plain", 4, 6, 1)]
    client.client.close()
    assert Reading("billing", 6, 4, 0) in stream(node).readings()


def test_a_filter_value_of_any_type_hurts_nobody(node: Node, channel: ClientChannel) -> None:
    declare(channel)
    declare(channel, "t")
    filtering = reader(node, stream_offset="first", stream_filter="x")
    for value in (["x"], {"x": 1}, 5, None, "x"):
        put(channel, b"odd", headers={"x-stream-filter-value": value})
    assert len(filtering.bodies()) == 1
    assert put(channel, b"other", key="t") == ["ack"]


def test_a_refused_nack_returns_what_is_not_a_stream_s(node: Node, channel: ClientChannel) -> None:
    declare(channel)
    channel.declare_queue("q")
    put(channel, b"event")
    put(channel, b"work", key="q")
    client = reader(node, stream_offset="first")
    client.consume("q", tag="work")
    assert sorted(client.bodies()) == [b"event", b"work"]
    client.nack(0, multiple=True)
    client.client.expect_close(540, commands.Basic.Nack)
    assert node.queue("q").ready_count() == 1
    assert stream(node).unacked_count == 0


def test_recover_is_refused_while_a_stream_s_deliveries_are_unanswered(
    node: Node, channel: ClientChannel
) -> None:
    declare(channel)
    put(channel, b"event")
    client = reader(node, stream_offset="first")
    assert client.bodies() == [b"event"]
    client.send(commands.Basic.Recover(requeue=True))
    client.client.expect_close(540, commands.Basic.Recover)


def test_acknowledgements_after_cancel_count_and_old_ones_do_not(node: Node, channel: ClientChannel) -> None:
    declare(channel)
    put(channel, *numbered(10))
    hung = reader(node, 5, tag="a", stream_offset="first", stream_consumer="n")
    successor = reader(node, 8, tag="b", stream_consumer="n")
    assert successor.bodies() == numbered(8)
    successor.cancel("b")
    successor.ack(0, multiple=True)
    assert stream(node).offsets["n"] == 8, "acknowledged after it was cancelled"
    hung.ack(1)
    hung.client.close()
    assert stream(node).offsets["n"] == 8, "the other one knows less"


@pytest.mark.parametrize(
    "arguments",
    [
        {"x-stream-consumer": ""},
        {"x-stream-consumer": 5},
        {"x-stream-consumer": "n" * 256},
        {"x-single-active-consumer": "yes"},
    ],
)
def test_a_name_is_a_short_text(channel: ClientChannel, arguments: dict[str, Any]) -> None:
    declare(channel)
    channel.qos(1)
    channel.send(commands.Basic.Consume(queue="s", arguments=arguments))
    channel.expect_close(406, commands.Basic.Consume)


def test_times_beyond_all_reason_are_as_good_as_the_longest(node: Node, channel: ClientChannel) -> None:
    declare(channel, max_age="999999999999Y")
    put(channel, b"kept")
    assert reader(node, stream_offset="999999999999Y").bodies() == [b"kept"]


def test_a_member_that_takes_over_passes_over_nothing(node: Node, channel: ClientChannel) -> None:
    declare(channel)
    put(channel, *numbered(4))
    ask: dict[str, Any] = {"stream_consumer": "g", "single_active_consumer": True}
    first = reader(node, 2, stream_offset="first", **ask)
    second = reader(node, 9, stream_offset=at(3600), **ask)
    assert first.bodies() == numbered(2)
    first.client.close()
    assert second.bodies() == numbered(4)


def test_partitions_are_declared_all_or_none(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("p-2")
    other = node.connect().channel()
    wrong: tuple[tuple[str, dict[str, Any]], ...] = (
        ("p", {"x-partitions": 4}),
        ("o", {"x-partitions": 2, "x-max-age": "soon"}),
    )
    for name, arguments in wrong:
        other.send(exchange_declare(name, "x-super-stream", True, arguments=arguments))
        other.expect_close(406, commands.Exchange.Declare)
        other.open()
    assert set(node.vhost.queues) == {"p-2"}
    channel.declare_exchange("e", "x-super-stream", durable=True, arguments={"x-partitions": 2})
    channel.delete_queue("e-1")
    channel.declare_exchange("e", "x-super-stream", durable=True, arguments={"x-partitions": 2})
    assert {"e-0", "e-1"} < set(node.vhost.queues), "declared again it is whole again"
