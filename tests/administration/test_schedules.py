"""Schedules: times in their zones, at most once each, whatever happens in between."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest

from harebell.administration.schedule import Schedule
from harebell.administration.schedules import Schedules
from harebell.engine.commands import ClearParameter, SetParameter
from harebell.engine.metadata import snapshot
from harebell.errors import BrokerError
from tests.support.client import ClientChannel
from tests.support.journal import DelayedJournal
from tests.support.node import Node

MINUTE = 60_000


def ms(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


START = ms("2026-03-28T12:00:30")


@pytest.fixture
def node() -> Node:
    journal = DelayedJournal()
    journal.durable = 1 << 40
    node = Node(journal)
    node.clock.wall = START
    return node


@pytest.fixture
def channel(node: Node) -> ClientChannel:
    channel = node.connect().channel()
    channel.declare_queue("q", durable=True)
    return channel


def put(node: Node, name: str = "s", **value: Any) -> None:
    wanted = {"cron": "* * * * *", "routing_key": "q", "payload": "tick", **value}
    node.broker.commit(SetParameter("/", "schedule", name, orjson.dumps(wanted).decode()), durable=True)


def wait(node: Node, schedules: Schedules, milliseconds: int) -> int:
    node.advance(milliseconds)
    count = schedules.fire(node.broker)
    node.turn()
    return count


def test_a_message_comes_at_each_time_and_never_before(node: Node, channel: ClientChannel) -> None:
    put(node, properties={"content_type": "text/plain", "headers": {"a": 1}})
    schedules = Schedules()
    schedules.follow(node.broker)
    assert schedules.next() == START + 30_000
    assert wait(node, schedules, 29_999) == 0
    assert wait(node, schedules, 1) == 1
    assert wait(node, schedules, 0) == 0
    delivery = channel.get("q", no_ack=True)
    assert delivery is not None and delivery.body == b"tick"
    properties = delivery.properties
    assert (properties.content_type, properties.delivery_mode) == ("text/plain", 2)
    assert properties.headers == {"a": 1}
    assert wait(node, schedules, MINUTE) == 1
    assert channel.drain("q") == [b"tick"]


def test_a_time_is_fired_once_across_restarts_and_clock_steps(node: Node, channel: ClientChannel) -> None:
    put(node)
    first = Schedules()
    first.follow(node.broker)
    assert wait(node, first, 30_000) == 1
    node.clock.wall -= 10_000
    node.broker.schedules_changed = True
    again = Schedules()
    again.follow(node.broker)
    assert wait(node, again, 10_000) == 0, "the same minute was fired twice"
    assert wait(node, again, MINUTE) == 1


@pytest.mark.parametrize(("catch_up", "fired"), [(False, 0), (True, 1)])
def test_what_was_missed_is_passed_over_or_fired_once(
    node: Node, channel: ClientChannel, catch_up: bool, fired: int
) -> None:
    put(node, catch_up=catch_up)
    schedules = Schedules()
    schedules.follow(node.broker)
    assert wait(node, schedules, 30_000) == 1
    node.advance(10 * MINUTE + 5_000)
    node.broker.schedules_changed = True
    again = Schedules()
    again.follow(node.broker)
    assert wait(node, again, 0) == fired
    assert wait(node, again, 0) == 0
    assert wait(node, again, 55_000) == 1


def test_the_mark_and_the_message_are_one_step(node: Node, channel: ClientChannel) -> None:
    put(node)
    schedules = Schedules()
    schedules.follow(node.broker)
    journal = node.journal
    assert isinstance(journal, DelayedJournal)
    journal.records.clear()
    wait(node, schedules, 30_000)
    assert {"command", "message"} <= set(journal.kinds())
    other = Node(DelayedJournal())
    for command in snapshot(node.broker):
        other.broker.replay(command)
    assert other.broker.fired == node.broker.fired == {("/", "s"): START + 30_000}


def test_schedules_follow_their_parameters(node: Node, channel: ClientChannel) -> None:
    put(node)
    schedules = Schedules()
    schedules.follow(node.broker)
    put(node, enabled=False)
    assert wait(node, schedules, MINUTE) == 0 and schedules.next() is None
    put(node, cron="0 0 1 1 *")
    schedules.follow(node.broker)
    assert schedules.next() == ms("2027-01-01T00:00:00")
    node.broker.commit(ClearParameter("/", "schedule", "s"), durable=True)
    schedules.follow(node.broker)
    assert schedules.next() is None and not schedules.of(node.broker, "/")


def test_what_cannot_be_published_is_told(node: Node, channel: ClientChannel) -> None:
    warnings: list[str] = []
    schedules = Schedules()
    schedules.warn = warnings.append
    put(node, exchange="absent")
    put(node, "nowhere", routing_key="nowhere")
    schedules.follow(node.broker)
    wait(node, schedules, 30_000)
    wait(node, schedules, MINUTE)
    found = schedules.of(node.broker, "/")
    assert (found["s"].failed, found["nowhere"].unrouted) == (2, 2)
    assert len(warnings) == 1 and "no exchange 'absent'" in warnings[0]


def test_zones_and_their_changes_of_clock_count() -> None:
    daily = Schedule({"cron": "30 8 * * *", "timezone": "Europe/Berlin"})
    first = daily.after(ms("2026-03-28T12:00:00"))
    assert first == ms("2026-03-29T08:30:00", "Europe/Berlin"), "the clock was put forward that night"
    assert datetime.fromtimestamp(first / 1000, UTC).hour == 6


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({}, "cron"),
        ({"cron": "every day"}, "cron"),
        ({"cron": "* * * * *", "timezone": "Mars/Olympus"}, "timezone"),
        ({"cron": "* * * * *", "timezone": "../etc/passwd"}, "timezone"),
        ({"cron": "* * * * *", "payload": "é", "payload_encoding": "base64"}, "payload"),
        ({"cron": "* * * * *", "colour": "red"}, "colour"),
        ({"cron": "* * * * *", "properties": {"priority": 300}}, "out of range"),
        ({"cron": "* * * * *", "properties": {"priority": "high"}}, "priority"),
        ({"cron": "* * * * *", "properties": {"delivery_mode": 3}}, "delivery_mode"),
        ({"cron": "* * * * *", "properties": {"expiration": "soon"}}, "expiration"),
        ({"cron": 5}, "cron"),
        ({"cron": "* * * * *", "exchange": "x" * 256}, "exchange"),
        ([], "object"),
    ],
)
def test_what_is_wrong_is_told(value: object, text: str) -> None:
    with pytest.raises(BrokerError) as refused:
        Schedule(value)
    assert text in refused.value.text
