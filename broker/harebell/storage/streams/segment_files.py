"""The files of a segment: its chunks, and an index that spares reading them when the node starts.

``<queue id>-<first offset, 20 digits>.stream`` has the chunks (see ``content/chunks.py``), one behind the
other and nothing else.  ``<the same>.index``, written when the segment is complete or the node stops::

    +--------+---------+----------+----------+-------+------+------+--------+------+-----------+-------+
    | "HBSI" | version | reserved | queue id | first | next | last | latest | size | compacted | keyed |
    +--------+---------+----------+----------+-------+------+------+--------+------+-----------+-------+
      4        u8        3          i64        i64     i64    i64    i64      i64    i64         u32
    +-------+---------+-----+
    | count | entries | crc |
    +-------+---------+-----+
      u32               u32

with ``count`` entries, one for each block::

    | first offset i64 | latest timestamp i64 | position i64 |

``crc`` is the CRC-32 of all before it.  An index counts only if ``size`` is that of the ``.stream`` file:
chunks that were appended since make it worthless.  ``next`` of a segment that never was compacted (``keyed``
is 0) is where the following one begins: if that begins later, a file between them is gone.
"""

from __future__ import annotations

import re
import struct
import zlib
from array import array
from typing import Final, NamedTuple

from harebell.content.chunks import CHUNK_HEAD_SIZE, ChunkHead, scan_head, valid_chunk
from harebell.storage.files import Reader
from harebell.storage.streams.blocks import behind_damage
from harebell.storage.streams.segments import Segment

STREAM: Final = "stream"
INDEX: Final = "index"

WINDOW_OCTETS: Final = 1024 * 1024
"""One read covers so much while a segment is scanned, unless a single chunk is larger."""

DAMAGE_OCTETS: Final = 64 * 1024 * 1024
"""So far behind damage a valid chunk is looked for at once."""

_NAME: Final = re.compile(r"([0-9]{1,19})-(0[0-9]{19})\.(stream|index)")
_HIGHEST: Final = (1 << 63) - 1
_HEAD: Final = struct.Struct(">4sB3sqqqqqqqII")
_ENTRY: Final = struct.Struct(">qqq")
_CRC: Final = struct.Struct(">I")
_MARK: Final = b"HBSI"
_VERSION: Final = 1


def file_name(queue_id: int, first: int, kind: str = STREAM) -> str:
    """Give the name of a segment's file: its chunks (``STREAM``) or its ``INDEX``."""
    return f"{queue_id}-{first:020d}.{kind}"


def parse_name(name: str) -> tuple[int, int, str] | None:
    """Give queue id, first offset and kind by a file's name; None if it is none of these files."""
    match = _NAME.fullmatch(name)
    if match is None or int(match[1]) > _HIGHEST or int(match[2]) > _HIGHEST:
        return None
    return int(match[1]), int(match[2]), match[3]


def encode_index(segment: Segment) -> bytes:
    """Encode the index of a segment as it is now."""
    parts = [
        _HEAD.pack(
            _MARK,
            _VERSION,
            b"",
            segment.queue_id,
            segment.first,
            segment.next,
            segment.last,
            segment.latest,
            segment.size,
            segment.compacted,
            segment.keyed,
            len(segment.firsts),
        )
    ]
    for entry in zip(segment.firsts, segment.latests, segment.positions, strict=True):
        parts.append(_ENTRY.pack(*entry))
    data = b"".join(parts)
    return data + _CRC.pack(zlib.crc32(data))


def decode_index(data: bytes, queue_id: int, first: int, size: int) -> Segment | None:
    """Give a segment by its index.

    Args:
        data: the index.
        queue_id, first: by the file's name.
        size: octets of the segment's file.

    Returns:
        The segment; None if the index is damaged, or not that of this file.
    """
    if len(data) < _HEAD.size + _CRC.size:
        return None
    if zlib.crc32(data[: -_CRC.size]) != _CRC.unpack_from(data, len(data) - _CRC.size)[0]:
        return None
    mark, version, _, its_id, its_first, *rest = _HEAD.unpack_from(data)
    following, last, latest, its_size, compacted, keyed, count = rest
    if (mark, version, its_id, its_first, its_size) != (_MARK, _VERSION, queue_id, first, size):
        return None
    if len(data) != _HEAD.size + count * _ENTRY.size + _CRC.size or count == 0:
        return None
    segment = Segment(queue_id, first, latest)
    segment.next, segment.last, segment.size = following, last, size
    segment.compacted, segment.keyed = compacted, keyed
    entries = list(_ENTRY.iter_unpack(data[_HEAD.size : -_CRC.size]))
    segment.firsts = array("q", [entry[0] for entry in entries])
    segment.latests = array("q", [entry[1] for entry in entries])
    segment.positions = array("q", [entry[2] for entry in entries])
    return segment


class Scanned(NamedTuple):
    """What a segment's file has.

    Attributes:
        segment: its valid chunks.
        damaged: where octets begin and end that are no valid chunk.
    """

    segment: Segment
    damaged: list[tuple[int, int]]


class SegmentScan:
    """Reads a segment's file chunk by chunk.

    Args:
        reader: the file.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._size = reader.size()
        self._start = 0
        self._data = b""

    def scan(self, segment: Segment, highest: int | None, stored: int = 0) -> Scanned:
        """Note all valid chunks in a segment, behind those it has.

        Args:
            segment: noted in.
            highest: the offset all its messages are before, for a segment that was complete: then damage is
                passed over.  None: it ends with the first octet that is not valid.
            stored: what is before this offset was on stable storage: damage to it is passed over in any case.

        Raises:
            OSError: the disk cannot read it.
        """
        damaged: list[tuple[int, int]] = []
        at = segment.size
        while at < self._size:
            head = self._chunk(at)
            if head is not None and _fits(head, segment.next, highest):
                segment.add(int(head.size), int(head.first), int(head.next), int(head.timestamp))
                at += int(head.size)
                continue
            bound = stored if highest is None else highest
            end = self._behind(at, segment.next, bound) if segment.next < bound else self._size
            damaged.append((at, end))
            if highest is None and end == self._size:
                break
            segment.size = at = end
        return Scanned(segment, damaged)

    def _chunk(self, at: int) -> ChunkHead | None:
        self._have(at, CHUNK_HEAD_SIZE)
        head = scan_head(self._data, at - self._start)
        if head is None or at + head.size > self._size:
            return None
        self._have(at, int(head.size))
        return valid_chunk(self._data, at - self._start)

    def _have(self, at: int, octets: int) -> None:
        if at < self._start or at + octets > self._start + len(self._data):
            self._data = self._reader.read(at, max(octets, WINDOW_OCTETS))
            self._start = at

    def _behind(self, at: int, lowest: int, highest: int) -> int:
        octets = min(self._size - at, DAMAGE_OCTETS)
        self._have(at, octets)
        if len(self._data) < octets:
            return self._size
        return self._start + behind_damage(self._data, at - self._start, lowest, highest)


def _fits(head: ChunkHead, lowest: int, highest: int | None) -> bool:
    return head.first >= lowest and (highest is None or head.next <= highest)
