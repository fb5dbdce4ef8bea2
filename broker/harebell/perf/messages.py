"""The publishes of one publisher as ready-made bytes, many messages to a write.

One message on the wire, all of it constant for a run but the time stamp (and, where a run has random ones,
priority and expiration, which repeat after some thousands of messages):

    basic.publish | content header | body frame: run key (4) · time of publish in ns (8) · filler | …

The stamp is the moment a block is handed to the socket, so all messages of a block share it, and
a block is the stamp joined between constant pieces: no work per message at all. In an ordered run the
number of the message within its block (4) stands before the filler.
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from pamqp import encode
from pamqp.common import FieldTable

from harebell.perf.inbound import (
    FRAME_BODY,
    FRAME_END,
    FRAME_HEADER,
    FRAME_METHOD,
    ORDERED_OCTETS,
    STAMP_OCTETS,
)

BLOCK_OCTETS = 65_536
"""Size of a full block: large enough that a write is cheap per message, small enough to keep turns short."""

_BASIC = 60
_PUBLISH = 40
_HAS_HEADERS = 0x2000
_HAS_DELIVERY_MODE = 0x1000
_HAS_PRIORITY = 0x0800
_HAS_EXPIRATION = 0x0100
_FILLER = b"harebell "


@dataclass(frozen=True)
class Address:
    """Where a message is published."""

    exchange: str
    routing_key: str


@dataclass(frozen=True)
class MessageShape:
    """What every message of a run has in common.

    ``size`` is the body in octets; ``stamped`` bodies begin with ``run_key`` and the time of the
    publish, for which they need ``STAMP_OCTETS``; ``ordered`` ones have their number within the block too,
    and need ``ORDERED_OCTETS``. Messages have ``priorities`` and ``expirations`` (ms) in turn, none if empty.
    """

    size: int
    persistent: bool = False
    mandatory: bool = False
    headers: FieldTable | None = None
    stamped: bool = False
    run_key: int = 0
    ordered: bool = False
    priorities: tuple[int, ...] = ()
    expirations: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.ordered and self.size < ORDERED_OCTETS:
            raise ValueError(f"an ordered body needs {ORDERED_OCTETS} octets")
        if self.stamped and self.size < STAMP_OCTETS:
            raise ValueError(f"a stamped body needs {STAMP_OCTETS} octets")


def frame(frame_type: int, payload: bytes) -> bytes:
    """Return one frame on channel 1."""
    return struct.pack(">BHI", frame_type, 1, len(payload)) + payload + bytes((FRAME_END,))


def publish_frames(
    address: Address, shape: MessageShape, stamp: int, frame_max: int, number: int = 0, turn: int = 0
) -> bytes:
    """Return the frames of one publish, its body cut into frames of at most ``frame_max`` octets.

    ``stamp`` and ``number`` go into the body where ``shape`` has a place for them; ``turn`` chooses among its
    priorities and expirations.
    """
    method = (
        struct.pack(">HHH", _BASIC, _PUBLISH, 0)
        + encode.short_string(address.exchange)
        + encode.short_string(address.routing_key)
        + bytes((1 if shape.mandatory else 0,))
    )
    flags = 0
    properties = b""
    if shape.headers:
        flags |= _HAS_HEADERS
        properties += encode.field_table(shape.headers)
    if shape.persistent:
        flags |= _HAS_DELIVERY_MODE
        properties += b"\x02"
    if shape.priorities:
        flags |= _HAS_PRIORITY
        properties += bytes((shape.priorities[turn % len(shape.priorities)],))
    if shape.expirations:
        flags |= _HAS_EXPIRATION
        properties += encode.short_string(str(shape.expirations[turn % len(shape.expirations)]))
    header = struct.pack(">HHQH", _BASIC, 0, shape.size, flags) + properties
    body = b""
    if shape.ordered:
        body = struct.pack(">iqi", shape.run_key, stamp, number)
    elif shape.stamped:
        body = struct.pack(">iq", shape.run_key, stamp)
    left = shape.size - len(body)
    body += (_FILLER * (left // len(_FILLER) + 1))[:left]
    most = frame_max - 8
    bodies = (frame(FRAME_BODY, body[at : at + most]) for at in range(0, len(body), most))
    return frame(FRAME_METHOD, method) + frame(FRAME_HEADER, header) + b"".join(bodies)


def _around_stamp(
    address: Address, shape: MessageShape, frame_max: int, number: int = 0, turn: int = 0
) -> tuple[bytes, bytes]:
    """Return what comes before and after the eight octets of the stamp."""
    zero = publish_frames(address, shape, 0, frame_max, number, turn)
    ones = publish_frames(address, shape, -1, frame_max, number, turn)
    at = next(index for index, (a, b) in enumerate(zip(zero, ones, strict=True)) if a != b)
    return zero[:at], zero[at + 8 :]


class PublishBlocks:
    """Hands out blocks of publishes that go to ``addresses`` in turn.

    ``frame_max`` is what was negotiated, in octets. ``per_block`` is how many messages make a full block.
    """

    def __init__(self, addresses: Sequence[Address], shape: MessageShape, frame_max: int) -> None:
        turns = math.lcm(len(addresses), len(shape.priorities) or 1, len(shape.expirations) or 1)
        kinds = [(addresses[turn % len(addresses)], turn) for turn in range(turns)]
        plain = [publish_frames(address, shape, 0, frame_max, turn=turn) for address, turn in kinds]
        average = sum(len(message) for message in plain) // turns
        self.per_block = max(1, BLOCK_OCTETS // average)
        self._turns = turns
        self._next = 0
        self._stamped = shape.stamped
        tiles = (self.per_block + turns - 1) // turns + 1
        if shape.stamped:
            around = [_around_stamp(address, shape, frame_max, turn=turn) for address, turn in kinds]
            self._starts = [before for before, _ in around]
            self._ends = [after for _, after in around]
            joints = [around[turn][1] + around[(turn + 1) % turns][0] for turn in range(turns)]
            self._pieces = joints * tiles
        else:
            self._pieces = plain * tiles
        self._full_block = b"" if shape.stamped else b"".join(self._pieces[: self.per_block])

    def take(self, count: int, stamp: int) -> bytes:
        """Return the next ``count`` publishes, 1 to ``per_block``; stamped ones carry ``stamp`` (ns)."""
        first = self._next
        self._next = (first + count) % self._turns
        if self._stamped:
            last = (first + count - 1) % self._turns
            joints = self._pieces[first : first + count - 1]
            return struct.pack(">q", stamp).join((self._starts[first], *joints, self._ends[last]))
        if first == 0 and count == self.per_block:
            return self._full_block
        return b"".join(self._pieces[first : first + count])


class OrderedBlocks(PublishBlocks):
    """Hands out blocks of numbered publishes to one address; the numbers of every block begin at 0.

    ``shape`` must be ordered. The stamps given to ``take`` must rise: then so does (stamp, number).
    """

    def __init__(self, address: Address, shape: MessageShape, frame_max: int) -> None:
        super().__init__([address], shape, frame_max)
        around = [_around_stamp(address, shape, frame_max, number) for number in range(self.per_block)]
        self._start = around[0][0]
        self._after = [after for _, after in around]
        self._between = [after + self._start for after in self._after]

    def take(self, count: int, stamp: int) -> bytes:
        joints = self._between[: count - 1]
        return struct.pack(">q", stamp).join((self._start, *joints, self._after[count - 1]))
