"""Scratch on disk: one file without a name, in slots of 8192 octets.

A slot: crc u32, length u32, the block.  The crc is seeded by the slot's number.  The file is made when the
first block is kept, and has no name from then on, so that a crash leaves nothing; slots of dropped blocks are
used again, and when none is left the file has no length.  It is written and read where it is asked for: a
write goes to the kernel's memory, and so does a read unless that was needed for something else.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from librt.strings import BytesWriter, read_i32_be, write_i32_be
from librt.vecs import append, vec
from mypy_extensions import i32, i64

from harebell.scratch import BLOCK_OCTETS, NO_ROOM, Scratch, ScratchUnreadable
from harebell.storage.files import Files, ScratchFile

SCRATCH_NAME: Final = "index.scratch"
"""The file's name, for a moment."""

HEAD_OCTETS: Final = 8
SLOT_OCTETS: Final = BLOCK_OCTETS + HEAD_OCTETS

PATIENCE: Final = 1000
"""So many blocks are refused before a disk that took none is asked again."""

_UNSIGNED: Final = 0xFFFFFFFF

_crc32: Final[Callable[[bytes, int], int]] = zlib.crc32


class DiskScratch(Scratch):
    """Scratch of a node with a data directory.

    Args:
        files: where the file goes.
    """

    def __init__(self, files: Files) -> None:
        super().__init__()
        self._files = files
        self._file: ScratchFile | None = None
        self._slots: i64 = 0
        self._free: vec[i64] = vec[i64]()
        self._free_count: i64 = 0
        self._refuse: i64 = 0
        self._closed: bool = False
        self._error: OSError | None = None
        self._refused: Callable[[OSError], None] | None = None
        self._failed: Callable[[Exception], None] | None = None
        self._broken: ScratchUnreadable | None = None

    def begin(self, refused: Callable[[OSError], None], failed: Callable[[Exception], None]) -> None:
        """Say whom to tell; what happened before is told at once.

        Args:
            refused: told once that blocks have to stay in memory.
            failed: told once that a block cannot be read.
        """
        self._refused = refused
        self._failed = failed
        if self._error is not None:
            refused(self._error)
        if self._broken is not None:
            failed(self._broken)

    def close(self) -> None:
        """Give the file up; nothing is kept any more."""
        self._closed = True
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None

    def put(self, block: bytes) -> i64:
        """Keep a block."""
        if self._refuse > 0 or self._closed:
            self._refuse -= 1
            return NO_ROOM
        assert len(block) <= BLOCK_OCTETS, "a block is too long"
        slot: i64 = self._free[self._free_count - 1] if self._free_count > 0 else self._slots
        crc: i64 = _crc32(block, slot)
        writer = BytesWriter()
        write_i32_be(writer, i32(crc - 0x100000000 if crc > 0x7FFFFFFF else crc))
        write_i32_be(writer, i32(len(block)))
        writer.write(block)
        try:
            if self._file is None:
                self._file = self._files.scratch(SCRATCH_NAME)
            self._file.write(slot * SLOT_OCTETS, writer.getvalue())
        except OSError as error:
            self._refuse = PATIENCE
            if self._error is None:
                self._error = error
                if self._refused is not None:
                    self._refused(error)
            return NO_ROOM
        if self._free_count > 0:
            self._free_count -= 1
        else:
            self._slots += 1
        self.blocks += 1
        return slot

    def get(self, handle: i64) -> bytes:
        """Give a block."""
        reason = "it is damaged"
        # What was read may be damaged where what is on the disk is not.
        for _ in range(2):
            try:
                data = self._read(handle * SLOT_OCTETS)
            except OSError as error:
                reason = str(error)
                continue
            if len(data) >= HEAD_OCTETS:
                end: i64 = HEAD_OCTETS + i64(read_i32_be(data, 4))
                if HEAD_OCTETS <= end <= len(data):
                    block = data[HEAD_OCTETS:end]
                    if _crc32(block, handle) == i64(read_i32_be(data, 0)) & _UNSIGNED:
                        return block
        broken = ScratchUnreadable("the index of messages that wait for a time cannot be read: " + reason)
        if self._broken is None:
            self._broken = broken
            if self._failed is not None:
                self._failed(broken)
        raise broken

    def _read(self, offset: i64) -> bytes:
        return b"" if self._file is None else self._file.read(offset, SLOT_OCTETS)

    def drop(self, handle: i64) -> None:
        """Forget a block."""
        self.blocks -= 1
        if self.blocks == 0:
            self._slots = 0
            self._free = vec[i64]()
            self._free_count = 0
            if self._file is not None:
                with suppress(OSError):
                    self._file.truncate()
        elif self._free_count < len(self._free):
            self._free[self._free_count] = handle
            self._free_count += 1
        else:
            self._free = append(self._free, handle)
            self._free_count += 1
