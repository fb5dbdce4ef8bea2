"""Acknowledgement timeouts of single deliveries: said by their message, renewed, or put off by liveness."""

from __future__ import annotations

from pamqp import commands
from pamqp.common import FieldTable

from harebell.amqp.unacked import UnackedWindow
from harebell.engine.consumers import Unacked
from tests.support.client import ClientChannel
from tests.support.node import Node

MINUTE = 60_000


def publish(channel: ClientChannel, headers: FieldTable | None = None) -> None:
    channel.publish(b"x", key="q", properties=commands.Basic.Properties(headers=headers))


def window(node: Node) -> UnackedWindow:
    """The deliveries of the first client's channel."""
    return node.clients[0].connection.channels[1].window


def late(node: Node, usual: int = MINUTE, silent: int = 1 << 62, beat: int = 0) -> Unacked | None:
    some = window(node)
    some.read_headers()
    return some.overdue(node.clock.now, usual, silent, beat)


def test_a_header_shortens_the_timeout_of_its_delivery(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q")
    channel.consume("q")
    publish(channel)
    publish(channel, {"x-ack-timeout": 500})
    node.advance(500)
    assert late(node) is None
    node.advance(1)
    found = late(node)
    assert found is not None and found.tag == 2
    assert window(node).lease_of(found).allowed(MINUTE) == 500


def test_a_header_lengthens_it_and_zero_is_for_ever(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q", arguments={"x-consumer-timeout": 100})
    channel.consume("q")
    publish(channel, {"x-ack-timeout": 10_000})
    publish(channel, {"x-ack-timeout": 0})
    node.advance(10_000)
    assert late(node) is None
    node.advance(1)
    found = late(node)
    assert found is not None and found.tag == 1
    channel.ack(1)
    node.advance(100 * MINUTE)
    assert late(node) is None


def test_what_is_no_time_is_passed_over(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q")
    channel.consume("q")
    for value in ("soon", -1, True, None):
        publish(channel, {"x-ack-timeout": value})
    node.advance(MINUTE)
    assert late(node) is None and window(node).leases is None
    node.advance(1)
    found = late(node)
    assert found is not None and found.tag == 1


def test_headers_are_read_once_and_answered_deliveries_are_forgotten(
    node: Node, channel: ClientChannel
) -> None:
    channel.declare_queue("q")
    channel.consume("q")
    publish(channel, {"x-ack-timeout": 500})
    assert window(node).read_headers()
    assert not window(node).read_headers()
    channel.ack(1)
    node.advance(501)
    assert late(node) is None and window(node).leases is None


def test_a_node_without_a_timeout_goes_by_headers(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q")
    assert channel.get("q") is None
    publish(channel, {"x-ack-timeout": 500})
    assert channel.get("q") is not None
    node.advance(501)
    assert late(node, usual=0) is not None


def test_renewing_restarts_the_time(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q")
    channel.consume("q")
    publish(channel)
    publish(channel)
    node.advance(MINUTE - 1)
    entry = window(node).held(1)
    assert entry is not None
    assert window(node).renew(entry, node.clock.now).renewals == 1
    node.advance(2)
    found = late(node)
    assert found is not None and found.tag == 2, "others go by their own time"
    channel.ack(2)
    assert late(node) is None
    node.advance(MINUTE - 2)
    assert late(node) is None
    node.advance(1)
    assert late(node) is entry
    channel.ack(1)
    assert window(node).held(1) is None and window(node).held(9) is None


def test_liveness_of_the_connection_puts_it_off(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q", arguments={"x-consumer-timeout": 100})
    channel.consume("q", arguments={"x-ack-timeout-mode": "liveness"})
    publish(channel)
    publish(channel, {"x-ack-timeout": 50})
    node.advance(MINUTE)
    assert late(node, silent=2_000, beat=1_000) is None
    assert late(node, silent=2_001, beat=1_000) is not None
    assert late(node, silent=50) is None, "without heartbeats anything within the timeout is life"
    found = late(node, silent=51)
    assert found is not None and found.tag == 2
    assert late(node, silent=101) is not None


def test_a_mode_that_is_none_is_refused(channel: ClientChannel) -> None:
    channel.declare_queue("q")
    for mode in ("alive", 1):
        channel.send(commands.Basic.Consume(queue="q", arguments={"x-ack-timeout-mode": mode}))
        channel.expect_close(406, commands.Basic.Consume, "invalid arg 'x-ack-timeout-mode'")
        channel.open()
    channel.consume("q", arguments={"x-ack-timeout-mode": "elapsed"})
