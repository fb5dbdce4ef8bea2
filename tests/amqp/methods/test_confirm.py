"""Class confirm: ``confirm.select`` (what is confirmed, and when, is in ``test_confirms.py``)."""

from __future__ import annotations

from pamqp import commands

from tests.support.client import Client, ClientChannel

SELECT = commands.Confirm.Select


def test_select_turns_confirms_on(channel: ClientChannel) -> None:
    channel.publish(b"before")
    channel.expect_silence()
    channel.confirm_select()
    channel.publish(b"after")
    assert channel.confirms() == [("ack", 1, False)]


def test_selecting_twice_changes_nothing(channel: ClientChannel) -> None:
    channel.confirm_select()
    channel.publish()
    channel.confirm_select()
    channel.publish()
    assert channel.outcomes() == ["ack", "ack"]


def test_nowait_selects_in_silence(channel: ClientChannel) -> None:
    channel.send(SELECT(nowait=True))
    channel.expect_silence()
    channel.publish()
    assert channel.outcomes() == ["ack"]


def test_a_transactional_channel_cannot_confirm(channel: ClientChannel) -> None:
    channel.call(commands.Tx.Select(), commands.Tx.SelectOk)
    channel.send(SELECT())
    channel.expect_close(406, SELECT, "cannot switch from tx to confirm mode")


def test_select_and_publish_can_be_pipelined(client: Client) -> None:
    channel = client.channel()
    client.feed(
        b"\x01\x00\x01\x00\x00\x00\x05\x00\x55\x00\x0a\x00\xce"
        + channel.message(b"a")
        + channel.message(b"b")
    )
    channel.expect(commands.Confirm.SelectOk)
    assert channel.outcomes() == ["ack", "ack"]


def test_each_channel_counts_for_itself(client: Client) -> None:
    first, second = client.channel(1), client.channel(2)
    first.confirm_select()
    second.confirm_select()
    client.feed(first.message() + second.message() + first.message())
    assert (first.outcomes(), second.outcomes()) == (["ack"] * 2, ["ack"])
