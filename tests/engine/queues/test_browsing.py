"""Consumers that look and take nothing."""

from __future__ import annotations

from typing import Any

import pytest
from pamqp import commands

from harebell.engine.queues.browsing import AT_ONCE
from harebell.engine.queues.places import BROWSED_OCTETS
from harebell.paging import PageUnreadable
from tests.support.client import ClientChannel, basic_consume
from tests.support.node import Node
from tests.support.pager import ShelfPager

BROWSING: dict[str, Any] = {"x-browse": True}


@pytest.fixture
def node() -> Node:
    """A node."""
    return Node()


@pytest.fixture
def channel(node: Node) -> ClientChannel:
    """A channel."""
    return node.connect().channel()


def seen(channel: ClientChannel) -> list[tuple[bytes, Any, bool]]:
    """Body, position and redelivered flag of what was delivered since the last look."""
    return [
        (delivery.body, (delivery.properties.headers or {}).get("x-position"), delivery.redelivered)
        for delivery in channel.deliveries()
    ]


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_a_browser_sees_what_waits_and_what_comes_and_takes_nothing(
    node: Node, channel: ClientChannel, kind: str
) -> None:
    channel.declare_queue("q", durable=True, arguments={"x-queue-type": kind})
    for body in (b"a", b"b"):
        channel.publish(body, key="q")
    channel.consume("q", no_ack=True, arguments=BROWSING)
    assert seen(channel) == [(b"a", 1, False), (b"b", 2, False)]
    channel.publish(b"c", key="q")
    assert seen(channel) == [(b"c", 3, False)]
    assert channel.ready("q") == 3
    first = channel.get("q")
    assert first is not None
    assert (first.body, first.redelivered) == (b"a", False)


def test_the_flag_of_what_came_back_is_shown_as_it_is(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q")
    for body in (b"a", b"b"):
        channel.publish(body, key="q")
    first = channel.get("q")
    assert first is not None
    channel.send(commands.Basic.Reject(first.tag, True))
    channel.consume("q", no_ack=True, arguments=BROWSING)
    assert seen(channel) == [(b"a", 1, True), (b"b", 2, False)]


def test_a_browser_that_acknowledges_is_paced_by_its_prefetch_limit(
    node: Node, channel: ClientChannel
) -> None:
    channel.declare_queue("q")
    for number in range(5):
        channel.publish(b"%d" % number, key="q")
    channel.qos(2)
    channel.consume("q", arguments=BROWSING)
    first, second = channel.deliveries()
    assert (first.body, second.body) == (b"0", b"1")
    channel.ack(second.tag, multiple=True)
    third, fourth = channel.deliveries()
    channel.nack(third.tag)
    channel.send(commands.Basic.Reject(fourth.tag, False))
    assert [delivery.body for delivery in channel.deliveries()] == [b"4"]
    assert channel.ready("q") == 5


# where messages lie


class Deep:
    """A node whose pager keeps nothing in memory that it may page."""

    def __init__(self, count: int, octets: int = 10, **arguments: Any) -> None:
        self.pager = ShelfPager()
        self.node = Node(pager=self.pager)
        self.channel = self.node.connect().channel()
        named = {"x-" + key.replace("_", "-"): value for key, value in arguments.items()}
        self.channel.declare_queue("q", durable=True, arguments=named)
        frames = b""
        for number in range(1, count + 1):
            properties = commands.Basic.Properties(headers={"k": number % 7}, priority=number % 3)
            frames += self.channel.message((b"%d" % number).ljust(octets), key="q", properties=properties)
        self.channel.client.feed(frames)
        self.node.queue("q").offer()
        for _ in range(40):
            self.node.broker.dispatcher.residency.relieve()


@pytest.mark.parametrize(
    "arguments",
    [{}, {"max_priority": 5}, {"queue_type": "quorum"}, {"group_header": "k"}, {"fair_header": "k"}],
    ids=["plain", "priorities", "quorum", "groups", "fair"],
)
def test_a_backlog_on_disk_is_seen_by_position_once_and_whole(arguments: dict[str, Any]) -> None:
    deep = Deep(5000, **arguments)
    assert "fair_header" in arguments or int(deep.node.queue("q").paged_count()) > 1000
    deep.channel.consume("q", no_ack=True, arguments={**BROWSING, "x-browse-from": 700})
    got = [(int(body), position) for body, position, _ in seen(deep.channel)]
    assert got == [(number, number) for number in range(700, 5001)]
    assert deep.channel.ready("q") == 5000


def test_large_messages_are_looked_up_a_few_at_a_time() -> None:
    deep = Deep(600, octets=BROWSED_OCTETS // 20, max_priority=5)
    slices = []
    position = 1
    while part := deep.node.queue("q").browse_from(position, 1000):
        slices.append(len(part))
        position = part[-1][0] + 1
    assert sum(slices) == 600
    assert max(slices) <= 80, f"three levels with a mebibyte each at most: {slices}"


def test_what_the_disk_does_not_give_is_shown_later(monkeypatch: pytest.MonkeyPatch) -> None:
    deep = Deep(5000)
    with monkeypatch.context() as patched:
        patched.setattr(deep.pager, "read", _unreadable)
        deep.channel.consume("q", no_ack=True, arguments=BROWSING)
        before = seen(deep.channel)
        assert len(before) < 5000
    deep.node.advance(200)
    assert [int(body) for body, _, _ in before + seen(deep.channel)] == list(range(1, 5001))


def _unreadable(page: object) -> None:
    raise PageUnreadable


def test_priorities_are_shown_by_position(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q", arguments={"x-max-priority": 9})
    for priority in (1, 9, 5):
        properties = commands.Basic.Properties(priority=priority)
        channel.publish(b"%d" % priority, key="q", properties=properties)
    channel.consume("q", no_ack=True, arguments=BROWSING)
    assert channel.bodies() == [b"1", b"9", b"5"]


# what it sees of what changes


def test_what_was_looked_up_and_has_left_is_not_shown(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q")
    for number in range(5):
        channel.publish(b"%d" % number, key="q")
    channel.qos(1)
    channel.consume("q", arguments=BROWSING)
    other = channel.client.channel(2)
    assert other.get("q", no_ack=True) is not None
    second = other.get("q")
    third = other.get("q")
    assert second is not None and third is not None
    other.nack(third.tag)
    (first,) = channel.deliveries()
    channel.ack(first.tag)
    (shown,) = channel.deliveries()
    assert (shown.body, shown.redelivered) == (b"2", True), "1 is held by somebody, 2 came back"


def test_what_comes_back_ahead_of_a_browser_is_seen(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q")
    for number in range(3):
        channel.publish(b"%d" % number, key="q")
    other = channel.client.channel(2)
    held = [other.get("q") for _ in range(3)]
    channel.consume("q", no_ack=True, arguments=BROWSING)
    assert channel.bodies() == []
    for delivery in held:
        assert delivery is not None
        other.nack(delivery.tag)
    assert channel.bodies() == [b"0", b"1", b"2"]


def test_a_message_whose_wait_for_a_retry_ends_is_seen(node: Node, channel: ClientChannel) -> None:
    arguments: dict[str, Any] = {"x-delayed-retry-type": "all", "x-delayed-retry-min": 100}
    channel.declare_queue("q", arguments=arguments)
    channel.publish(b"again", key="q")
    channel.consume("q", no_ack=True, arguments={**BROWSING, "x-browse-from": 1})
    assert channel.bodies() == [b"again"]
    delivery = channel.get("q")
    assert delivery is not None
    channel.nack(delivery.tag)
    late = channel.client.channel(2)
    late.consume("q", no_ack=True, arguments=BROWSING)
    assert late.bodies() == []
    node.advance(200)
    (shown,) = late.deliveries()
    assert (shown.body, shown.redelivered) == (b"again", True)
    assert (shown.properties.headers or {})["x-delivery-count"] == 1
    assert channel.bodies() == [], "who has seen it does not see it again"


def test_what_expired_is_not_shown(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q")
    channel.publish(b"short", key="q", properties=commands.Basic.Properties(expiration="10"))
    channel.publish(b"long", key="q")
    node.clock.wall += 20
    channel.consume("q", no_ack=True, arguments=BROWSING)
    assert channel.bodies() == [b"long"]


def test_a_policy_that_changes_nothing_does_not_blind_a_browser(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q")
    channel.consume("q", no_ack=True, arguments=BROWSING)
    queue = node.queue("q")
    queue.apply_options(queue.options)
    channel.publish(b"seen", key="q")
    assert channel.bodies() == [b"seen"]


def test_a_queue_without_browsers_is_plain_again(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q")
    tag = channel.consume("q", arguments=BROWSING)
    assert not node.queue("q").plain
    channel.cancel(tag)
    assert node.queue("q").plain and node.queue("q").view is None


def test_a_filter_is_a_browsers_own(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q")
    for number in range(2 * AT_ONCE):
        properties = commands.Basic.Properties(headers={"n": number})
        channel.publish(b"%d" % number, key="q", properties=properties)
    channel.consume("q", no_ack=True, arguments={**BROWSING, "x-filter": f"n >= {2 * AT_ONCE - 2}"})
    assert channel.bodies() == [b"254", b"255"]


@pytest.mark.parametrize("bad", [{"x-filter": "n ="}, {"x-filter": 7}, {"x-browse-from": -1}])
def test_arguments_that_make_no_sense_are_refused_and_leave_nothing(
    node: Node, channel: ClientChannel, bad: dict[str, Any]
) -> None:
    channel.declare_queue("q")
    channel.send(basic_consume("q", "", False, False, {**BROWSING, **bad}))
    channel.expect_close(406, commands.Basic.Consume)
    assert node.queue("q").plain and node.queue("q").view is None


def test_a_stream_is_read_by_offset_not_browsed(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("s", durable=True, arguments={"x-queue-type": "stream"})
    channel.send(basic_consume("s", "", False, False, BROWSING))
    channel.expect_close(406, commands.Basic.Consume)


# who else is there


def test_nobody_is_kept_from_anything(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("alone", arguments={"x-single-active-consumer": True})
    channel.consume("alone", no_ack=True, arguments=BROWSING)
    other = channel.client.channel(2)
    other.consume("alone", no_ack=True)
    channel.publish(b"a", key="alone")
    assert other.bodies() == [b"a"]
    channel.declare_queue("q")
    channel.consume("q", no_ack=True, arguments=BROWSING)
    other.consume("q", exclusive=True)
    channel.consume("q", no_ack=True, arguments=BROWSING)
    channel.send(basic_consume("q", "", False, True, BROWSING))
    channel.expect_close(403, commands.Basic.Consume)


def test_an_auto_delete_queue_is_neither_kept_nor_deleted(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q", auto_delete=True)
    tag = channel.consume("q", no_ack=True, arguments=BROWSING)
    channel.cancel(tag)
    assert "q" in node.vhost.queues
    channel.consume("q", "left", no_ack=True, arguments=BROWSING)
    other = channel.client.channel(2)
    other.cancel(other.consume("q"))
    assert "q" not in node.vhost.queues
    (notice,) = channel.take(commands.Basic.Cancel)
    assert isinstance(notice.frame, commands.Basic.Cancel) and notice.frame.consumer_tag == "left"


def test_a_deleted_queue_ends_its_browsers(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q")
    for number in range(3 * AT_ONCE):
        channel.publish(b"%d" % number, key="q")
    channel.qos(1)
    channel.consume("q", "b", arguments=BROWSING)
    (first,) = channel.deliveries()
    assert channel.client.channel(2).delete_queue("q") == 3 * AT_ONCE
    (notice,) = channel.take(commands.Basic.Cancel)
    assert isinstance(notice.frame, commands.Basic.Cancel) and notice.frame.consumer_tag == "b"
    channel.ack(first.tag)
    node.turn()
    assert channel.bodies() == []


@pytest.mark.parametrize("end", ["cancel", "channel", "connection", "recover", "tx", "rollback"])
def test_unanswered_copies_change_nothing_in_the_queue(node: Node, channel: ClientChannel, end: str) -> None:
    channel.declare_queue("q", durable=True, arguments={"x-dead-letter-exchange": "amq.fanout"})
    for number in range(3):
        channel.publish(b"%d" % number, key="q", properties=commands.Basic.Properties(delivery_mode=2))
    client = node.connect()
    looking = client.channel()
    if end in ("tx", "rollback"):
        looking.call(commands.Tx.Select(), commands.Tx.SelectOk)
    tag = looking.consume("q", arguments=BROWSING)
    tags = [delivery.tag for delivery in looking.deliveries()]
    assert len(tags) == 3
    if end == "cancel":
        looking.cancel(tag)
        looking.reject(tags[0], requeue=False)
        looking.nack(tags[1])
        looking.ack(tags[2])
    elif end == "channel":
        looking.close()
    elif end == "connection":
        client.hang_up()
    elif end == "recover":
        looking.call(commands.Basic.Recover(requeue=True), commands.Basic.RecoverOk)
    else:
        looking.ack(tags[0])
        looking.reject(tags[1], requeue=False)
        looking.nack(tags[2])
        question = commands.Tx.Commit() if end == "tx" else commands.Tx.Rollback()
        looking.call(question, commands.Tx.CommitOk if end == "tx" else commands.Tx.RollbackOk)
        looking.close()
    queue = node.queue("q")
    counts = (queue.ready_count(), queue.unacked_count, queue.acked, queue.requeued, queue.rejected)
    assert [int(count) for count in counts] == [3, 0, 0, 0, 0]
    for number in range(3):
        delivery = channel.get("q", no_ack=True)
        assert delivery is not None
        assert (delivery.body, delivery.redelivered) == (b"%d" % number, False)


def test_a_client_that_does_not_read_gets_the_rest_when_it_does(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q")
    for number in range(4):
        channel.publish(b"%d" % number, key="q")
    client = node.connect()
    looking = client.channel()
    client.connection.out.open = False
    looking.consume("q", no_ack=True, arguments=BROWSING)
    assert looking.bodies() == []
    client.connection.out.open = True
    client.connection.writable_again()
    node.turn()
    assert looking.bodies() == [b"0", b"1", b"2", b"3"]


def test_a_browser_is_listed_and_does_not_count_as_a_consumer(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q")
    channel.consume("q", "b", arguments=BROWSING)
    queue = node.queue("q")
    assert (int(queue.consumer_count()), [each.tag for each in queue.browsers()]) == (0, ["b"])
    assert [each["consumer_tag"] for each in channel.client.connection.consumer_infos()] == ["b"]


# what waits for its retry

GROUPED: dict[str, Any] = {
    "x-group-header": "k",
    "x-delayed-retry-type": "all",
    "x-delayed-retry-min": 60_000,
}


@pytest.mark.parametrize("how", ["retried", "taken"])
def test_a_key_goes_on_when_the_wait_of_its_message_is_ended(
    node: Node, channel: ClientChannel, how: str
) -> None:
    channel.declare_queue("q", arguments=GROUPED)
    for body in (b"first", b"second"):
        channel.publish(body, key="q", properties=commands.Basic.Properties(headers={"k": "a"}))
    delivery = channel.get("q")
    assert delivery is not None
    channel.nack(delivery.tag)
    assert channel.get("q") is None, "its key waits with it"
    queue = node.queue("q")
    assert [waiting[0] for waiting in queue.browse_waiting(1, 10)] == [1] and queue.waits_until(1) > 0
    if how == "retried":
        assert queue.retry_now(1) and not queue.retry_now(1)
    else:
        entry = queue.withdraw_waiting(1)
        assert entry is not None and entry[1].body == b"first"
    assert (queue.browse_waiting(1, 10), int(queue.waits_until(1)), int(queue.delayed_count())) == ([], 0, 0)
    following = channel.get("q")
    assert following is not None
    assert following.body == (b"first" if how == "retried" else b"second")
    node.advance(120_000)
    left = 1 if how == "retried" else 0
    assert (channel.ready("q"), int(queue.unacked_count)) == (left, 1), "its old time brings nothing"


def test_the_memory_of_what_was_taken_from_its_wait_is_given_back() -> None:
    pager = ShelfPager()
    node = Node(pager=pager)
    channel = node.connect().channel()
    channel.declare_queue("q", arguments=GROUPED)
    before = int(pager.used)
    channel.publish(b"x" * 100, key="q")
    delivery = channel.get("q")
    assert delivery is not None
    channel.reject(delivery.tag)
    assert int(pager.used) > before
    assert node.queue("q").withdraw_waiting(1) is not None
    assert int(pager.used) == before
