"""The text and scope of closes: the only place that turns an error into a close method."""

from __future__ import annotations

import pytest
from pamqp import commands

from harebell import errors
from harebell.amqp.closing import close_channel, close_connection, fail, reply_text
from harebell.amqp.connection import CLOSED
from harebell.errors import ROWS, BrokerError, ErrorRow
from tests.support.node import Node

HARD = [row for row in ROWS if row.hard]
SOFT = [row for row in ROWS if not row.hard]
GET = commands.Basic.Get.index


def identify(row: ErrorRow) -> str:
    return row.name


@pytest.mark.parametrize("row", HARD, ids=identify)
def test_a_hard_error_closes_the_connection(node: Node, row: ErrorRow) -> None:
    client = node.connect()
    client.channel()
    fail(client.connection, 1, GET, BrokerError(row, "why"))
    node.turn()
    client.expect_close(row.code, GET, f"{row.name} - why")


@pytest.mark.parametrize("row", SOFT, ids=identify)
def test_a_soft_error_closes_the_channel(node: Node, row: ErrorRow) -> None:
    client = node.connect()
    channel = client.channel()
    fail(client.connection, 1, GET, BrokerError(row, "why"))
    node.turn()
    channel.expect_close(row.code, GET, f"{row.name} - why")
    channel.open()


@pytest.mark.parametrize("row", SOFT, ids=identify)
@pytest.mark.parametrize("number", [0, 7])
def test_a_soft_error_where_no_channel_is_open_closes_the_connection(
    node: Node, row: ErrorRow, number: int
) -> None:
    client = node.connect()
    fail(client.connection, number, GET, BrokerError(row, "why"))
    node.turn()
    client.expect_close(row.code, GET)


def test_codes_and_scopes_are_those_of_the_specification() -> None:
    codes = {row.code: row.hard for row in ROWS}
    assert sorted(code for code, hard in codes.items() if hard) == [
        320, 501, 502, 503, 504, 505, 506, 530, 540, 541,
    ]  # fmt: skip
    assert sorted(code for code, hard in codes.items() if not hard) == [
        200,
        311,
        312,
        313,
        403,
        404,
        405,
        406,
    ]
    assert len(ROWS) == len([value for value in vars(errors).values() if isinstance(value, ErrorRow)])


@pytest.mark.parametrize(
    "text", ["", "short", "x" * 300, "é" * 200, "日" * 100, "\udcff" * 300, "a" + "😀" * 80]
)
def test_a_reply_text_fits_a_short_string_and_breaks_no_character(text: str) -> None:
    cut = reply_text(BrokerError(errors.NOT_FOUND, text))
    raw = cut.encode()
    assert len(raw) <= 255
    assert cut.startswith("NOT_FOUND - "[: len(cut)])
    assert raw.decode() == cut
    if len(str(BrokerError(errors.NOT_FOUND, text)).encode("utf-8", "replace")) > 255:
        assert len(raw) > 250


@pytest.mark.parametrize("method", [0, GET, 0x7FFFFFFF, -1, -(1 << 31), 0xFFFFFFFF])
def test_any_method_ids_can_be_named(node: Node, method: int) -> None:
    client = node.connect()
    channel = client.channel()
    close_channel(
        client.connection, client.connection.channels[1], method, BrokerError(errors.NOT_FOUND, "x")
    )
    node.turn()
    channel.expect_close(404, method & 0xFFFFFFFF)
    close_connection(client.connection, method, BrokerError(errors.SYNTAX_ERROR, "x"))
    node.turn()
    client.expect_close(502, method & 0xFFFFFFFF)


def test_a_second_error_of_a_closing_connection_drops_the_socket(node: Node) -> None:
    client = node.connect()
    error = BrokerError(errors.SYNTAX_ERROR, "x")
    fail(client.connection, 0, GET, error)
    assert not client.closed
    fail(client.connection, 0, GET, error)
    assert client.closed


def test_the_reason_and_time_of_a_close_are_kept_for_the_server(node: Node) -> None:
    client = node.connect()
    node.clock.now = 12_345
    close_connection(client.connection, 0, BrokerError(errors.CONNECTION_FORCED, "bye"))
    assert client.connection.close_reason == "CONNECTION_FORCED - bye"
    assert client.connection.closing_since == 12_345


def test_losing_the_socket_while_closing_is_fine(node: Node) -> None:
    client = node.connect()
    client.channel().declare_queue("q", exclusive=True)
    close_connection(client.connection, 0, BrokerError(errors.CONNECTION_FORCED, "bye"))
    assert "q" not in node.vhost.queues
    client.hang_up()
    assert client.connection.phase == CLOSED
