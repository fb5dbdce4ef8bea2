"""The recent-history exchange: what it remembers, and what it does not."""

from __future__ import annotations

import pytest

from harebell.content.message import Message
from harebell.content.properties import Properties, build_header, parse_properties
from harebell.content.table import Table
from harebell.engine.exchanges.recent_history import RecentHistoryExchange
from harebell.errors import PRECONDITION_FAILED, BrokerError


def message(body: bytes = b"") -> Message:
    return Message(b"\x01x\x00", build_header(len(body)), body, False)


def properties(headers: Table | None = None) -> Properties:
    return parse_properties(build_header(0, headers=headers))


def bodies_after(count: int, arguments: Table) -> list[int]:
    exchange = RecentHistoryExchange("x", True, False, False, arguments)
    for n in range(count):
        exchange.remember(message(str(n).encode()), properties())
    return [int(remembered.body) for remembered in exchange.history()]


def test_the_last_twenty_messages_are_remembered_oldest_first() -> None:
    assert bodies_after(25, {}) == list(range(5, 25))


def test_the_argument_sets_how_many() -> None:
    assert bodies_after(5, {"x-recent-history-length": 2}) == [3, 4]


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        (None, True),
        ({"x-recent-history-no-store": True}, False),
        ({"x-recent-history-no-store": False}, True),
        ({"x-recent-history-no-store": "true"}, True),
    ],
)
def test_a_header_keeps_a_message_out(headers: Table | None, kept: bool) -> None:
    exchange = RecentHistoryExchange("x", True, False, False, {})
    sent = message()
    exchange.remember(sent, properties(headers))
    assert exchange.history() == ([sent] if kept else [])


@pytest.mark.parametrize("length", [0, -1, "20", 1.5, True, None])
def test_a_bad_length_is_refused(length: object) -> None:
    with pytest.raises(BrokerError) as refused:
        RecentHistoryExchange.check_arguments({"x-recent-history-length": length})
    assert refused.value.row is PRECONDITION_FAILED
