"""The metadata snapshot: everything declared, as of one lsn, so that old segments can be deleted.

::

    +--------+---------+----------+-----+-------+-----+-------+------------------------
    | "HBSN" | version | reserved | lsn | start | crc | count | length u32, command ...
    +--------+---------+----------+-----+-------+-----+-------+------------------------
      4        u16       u16        u64   u64     u32   u32

``crc`` covers all the rest.  Commands before ``lsn`` are in the snapshot, later ones in the log; ``lsn`` was
durable before the snapshot was written.  The log begins at ``start``: segments before it are being deleted
and count no more.  There are two copies, written one after the other, since nothing else holds what is in
them.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final, NamedTuple

from harebell.storage.files import Files

NAME: Final = "metadata.snapshot"
COPY: Final = "metadata.snapshot.copy"
MAGIC: Final = b"HBSN"
VERSION: Final = 1
HEAD: Final = struct.Struct(">4sHHQQI")
FRONT: Final = struct.Struct(">4sHHQQ")
COUNT: Final = struct.Struct(">I")


class BadSnapshot(Exception):
    """The snapshot is damaged or of a newer format."""


class NewerSnapshot(BadSnapshot):
    """The snapshot is of a newer format."""


class Snapshot(NamedTuple):
    """What a snapshot says."""

    lsn: int
    start: int
    commands: list[bytes]


NOTHING: Final = Snapshot(0, 0, [])


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """Encode a snapshot of encoded commands."""
    commands = snapshot.commands
    body = COUNT.pack(len(commands)) + b"".join(COUNT.pack(len(command)) + command for command in commands)
    front = FRONT.pack(MAGIC, VERSION, 0, snapshot.lsn, snapshot.start)
    return front + COUNT.pack(zlib.crc32(body, zlib.crc32(front))) + body


def decode_snapshot(data: bytes) -> Snapshot:
    """Decode a snapshot.

    Raises:
        BadSnapshot: it is damaged.
        NewerSnapshot: it is of a newer format.
    """
    if len(data) < HEAD.size + COUNT.size or data[:4] != MAGIC:
        raise BadSnapshot("this is no metadata snapshot")
    _, version, _, lsn, start, crc = HEAD.unpack_from(data)
    body = data[HEAD.size :]
    if zlib.crc32(body, zlib.crc32(data[: FRONT.size])) != crc:
        raise BadSnapshot("damaged")
    if version > VERSION:
        raise NewerSnapshot(f"written by a newer harebell (format {version})")
    commands: list[bytes] = []
    offset = COUNT.size
    for _ in range(COUNT.unpack_from(body)[0]):
        (length,) = COUNT.unpack_from(body, offset)
        offset += COUNT.size
        commands.append(body[offset : offset + length])
        offset += length
    return Snapshot(lsn, start, commands)


def read_snapshot(files: Files) -> tuple[Snapshot, list[str]]:
    """Give the snapshot of a folder, from its copy if need be, and sentences about what was damaged.

    Raises:
        BadSnapshot: there is one and no copy can be used.
    """
    complaints: list[str] = []
    present = [name for name in (NAME, COPY) if name in files.names()]
    found: list[Snapshot] = []
    for name in present:
        try:
            found.append(decode_snapshot(files.read(name)))
        except NewerSnapshot as error:
            raise NewerSnapshot(f"{name}: {error}") from None
        except BadSnapshot as error:
            complaints.append(f"{name}: {error}")
    if present and not found:
        raise BadSnapshot(
            "; ".join(complaints) + ": restore one of them from a backup; nothing else says what was declared"
        )
    return (found[0] if found else NOTHING), complaints


def write_snapshot(files: Files, snapshot: Snapshot) -> None:
    """Write both copies; each is durable before the next step.

    Raises:
        OSError: the disk is full or failed; what was there is still there.
    """
    data = encode_snapshot(snapshot)
    files.replace(NAME, data)
    files.replace(COPY, data)
