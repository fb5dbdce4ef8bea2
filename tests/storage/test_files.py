"""The real file layer: reading here and there."""

from __future__ import annotations

from pathlib import Path

import pytest

from harebell.storage.files import DiskFiles


def test_a_reader_gives_what_there_is_and_sees_the_file_grow(tmp_path: Path) -> None:
    files = DiskFiles(tmp_path)
    file = files.create("log")
    file.write(b"0123456789")
    reader = files.reader("log")
    assert (reader.read(2, 3), reader.read(8, 100), reader.read(50, 1), reader.size()) == (
        b"234",
        b"89",
        b"",
        10,
    )
    file.write(b"ab")
    assert (reader.read(8, 100), reader.size()) == (b"89ab", 12)
    files.remove("log")
    assert reader.read(0, 4) == b"0123", "an open file can be read when its name is gone"
    reader.close()
    file.close()


def test_a_file_that_is_not_there_is_not_made_by_reading_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        DiskFiles(tmp_path).reader("log")
    assert list(tmp_path.iterdir()) == []
