"""The example of schemas refuses what breaks readers, and keeps what does not fit."""

from __future__ import annotations

import pytest

from examples.schemas import main
from harebell import Broker


async def test_what_does_not_fit_is_kept_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    async with Broker(management_port=0) as broker:
        wrong = await main(broker.url, broker.management_url)
    assert [text.partition(": ")[2] for text in wrong] == [
        '"two" is not of type "integer" at /id',
        '"id" is a required property',
    ]
    out = capsys.readouterr().out.splitlines()
    assert out[:2] == ["version 1", "version 2"]
    assert out[2].startswith("refused: cannot read what version 2 wrote: /: required")
