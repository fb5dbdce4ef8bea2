"""The example of retries waits as its page says."""

from __future__ import annotations

from examples.retries import main
from harebell import Broker


async def test_each_retry_comes_twice_as_late_and_the_fourth_failure_is_the_last() -> None:
    async with Broker() as broker:
        waits = await main(broker.url)
    assert len(waits) == 3
    for wait, least in zip(waits, (0.1, 0.2, 0.4), strict=True):
        assert wait >= least, f"a retry came early: {waits}"
