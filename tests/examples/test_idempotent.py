"""The example of idempotent publishing and consuming does each order once."""

from __future__ import annotations

import pytest

from examples.idempotent import main
from harebell import Broker


async def test_each_order_is_done_once(capsys: pytest.CaptureFixture[str]) -> None:
    async with Broker() as broker:
        assert await main(broker.url) == ["order 1", "order 2", "order 3"]
    assert "order 3: was handled before" in capsys.readouterr().out
