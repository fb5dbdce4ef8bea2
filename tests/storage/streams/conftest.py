"""Fixtures of the tests of streams' logs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.storage.fake_disk import FakeDisk, FakeReader
from tests.storage.streams.stream_rig import DiskPlace, Place


@pytest.fixture(params=["memory", "disk"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Where logs are kept."""
    if request.param == "memory":
        yield Place()
        return
    made = DiskPlace(FakeDisk()).begin()
    yield made
    assert made.failures == []
    made.close()


@pytest.fixture
def disk() -> FakeDisk:
    return FakeDisk()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Offset and size of every read of a fake disk."""
    found: list[tuple[int, int]] = []
    read = FakeReader.read

    def measured(reader: FakeReader, offset: int, size: int) -> bytes:
        found.append((offset, size))
        return read(reader, offset, size)

    monkeypatch.setattr(FakeReader, "read", measured)
    return found
