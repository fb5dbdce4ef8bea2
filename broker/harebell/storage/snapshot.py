"""The metadata snapshot: everything declared, as of one lsn, so that old segments can be deleted.

::

    +--------+---------+----------+-----+-----+-------+------------------------
    | "HBSN" | version | reserved | lsn | crc | count | length u32, command ...
    +--------+---------+----------+-----+-----+-------+------------------------
      4        u16       u16        u64   u32   u32

``crc`` covers everything behind it.  Commands before ``lsn`` are in the snapshot, later ones in the log.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

NAME: Final = "metadata.snapshot"
MAGIC: Final = b"HBSN"
VERSION: Final = 1
HEAD: Final = struct.Struct(">4sHHQI")
COUNT: Final = struct.Struct(">I")


class BadSnapshot(Exception):
    """The snapshot is damaged or of a newer format."""


def encode_snapshot(lsn: int, commands: list[bytes]) -> bytes:
    """Encode a snapshot of encoded commands."""
    body = COUNT.pack(len(commands)) + b"".join(COUNT.pack(len(command)) + command for command in commands)
    return HEAD.pack(MAGIC, VERSION, 0, lsn, zlib.crc32(body)) + body


def decode_snapshot(data: bytes) -> tuple[int, list[bytes]]:
    """Give the lsn and the commands of a snapshot.

    Raises:
        BadSnapshot: it is damaged or of a newer format.
    """
    if len(data) < HEAD.size + COUNT.size or data[:4] != MAGIC:
        raise BadSnapshot(f"{NAME}: this is no metadata snapshot")
    _, version, _, lsn, crc = HEAD.unpack_from(data)
    if version > VERSION:
        raise BadSnapshot(f"{NAME}: written by a newer harebell (format {version})")
    body = data[HEAD.size :]
    if zlib.crc32(body) != crc:
        raise BadSnapshot(f"{NAME}: damaged")
    commands: list[bytes] = []
    offset = COUNT.size
    for _ in range(COUNT.unpack_from(body)[0]):
        (length,) = COUNT.unpack_from(body, offset)
        offset += COUNT.size
        commands.append(body[offset : offset + length])
        offset += length
    return lsn, commands
