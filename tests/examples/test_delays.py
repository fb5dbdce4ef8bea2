"""The example of delayed messages does what its page says."""

from __future__ import annotations

from examples.delays import main
from harebell import Broker


async def test_reminders_come_in_the_order_of_their_times_and_none_early() -> None:
    async with Broker() as broker:
        came = await main(broker.url)
    assert [text for text, _ in came] == ["welcome", "the sale begins", "your cart is waiting"]
    for (text, after), least in zip(came, (0.0, 0.3, 0.6), strict=True):
        assert after >= least - 0.002, f"{text!r} came early: {came}"
