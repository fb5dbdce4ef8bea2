"""Fixtures of the pager's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.storage.fake_disk import FakeDisk, FakeReader
from tests.storage.pager_rig import Rig


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


@pytest.fixture
def disk() -> FakeDisk:
    return FakeDisk()


@pytest.fixture
def spill() -> FakeDisk:
    return FakeDisk()


@pytest.fixture
def rig(disk: FakeDisk, spill: FakeDisk) -> Iterator[Rig]:
    made = Rig(disk, spill)
    yield made
    disk.before = spill.before = None
    made.stop()
    assert not disk.readers and not spill.readers, "files are left open"
