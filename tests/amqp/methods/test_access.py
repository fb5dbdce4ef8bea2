"""Class access: gone from AMQP 0-9-1, still sent by old clients."""

from __future__ import annotations

from tests.support.client import Client
from tests.support.wire import AccessRequestOk, raw_method

REQUEST = 0x001E000A


def test_access_request_gets_ticket_1(client: Client) -> None:
    client.channel()
    client.feed(raw_method(1, REQUEST, b"\x05/data\x1f"))
    assert client.expect(AccessRequestOk, 1).ticket == 1
    client.expect_silence()


def test_access_request_on_a_channel_that_is_not_open_is_504(client: Client) -> None:
    client.feed(raw_method(1, REQUEST, b"\x05/data\x1f"))
    client.expect_close(504, REQUEST)
