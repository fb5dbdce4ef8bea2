"""Class tx: refusals (what a transaction holds back is in ``test_transactions.py``)."""

from __future__ import annotations

import pytest
from pamqp import base, commands

from tests.support.client import ClientChannel


def test_select_is_answered_and_may_be_repeated(channel: ClientChannel) -> None:
    queue = channel.queue()
    channel.call(commands.Tx.Select(), commands.Tx.SelectOk)
    channel.publish(b"x", key=queue)
    channel.call(commands.Tx.Select(), commands.Tx.SelectOk)
    channel.call(commands.Tx.Commit(), commands.Tx.CommitOk)
    assert channel.ready(queue) == 1


@pytest.mark.parametrize(
    "question", [commands.Tx.Commit(), commands.Tx.Rollback()], ids=lambda frame: frame.name
)
def test_ending_what_was_not_begun_is_406(channel: ClientChannel, question: base.Frame) -> None:
    channel.send(question)
    channel.expect_close(406, type(question), "PRECONDITION_FAILED - channel is not transactional")


def test_a_confirming_channel_cannot_become_transactional(channel: ClientChannel) -> None:
    channel.confirm_select()
    channel.send(commands.Tx.Select())
    channel.expect_close(406, commands.Tx.Select, "cannot switch from confirm to tx mode")
