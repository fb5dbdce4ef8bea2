"""Frames as octets, built and read by pamqp: the oracle the broker's own codec is held against."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from pamqp import base, body, commands, exceptions, frame, header

PROTOCOL_HEADER = header.ProtocolHeader(0, 9, 1).marshal()
HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"
FRAME_OVERHEAD = 8

WITH_CONTENT = (commands.Basic.Deliver.index, commands.Basic.GetOk.index, commands.Basic.Return.index)


def raw_frame(kind: int, channel: int, payload: bytes, end: int = 0xCE) -> bytes:
    """Build a frame of any kind, right or wrong."""
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + bytes([end])


def raw_method(channel: int, index: int, arguments: bytes = b"") -> bytes:
    """Build a method frame from the class and method ids (``class << 16 | method``) and raw arguments."""
    return raw_frame(1, channel, struct.pack(">I", index) + arguments)


def short(text: str | bytes) -> bytes:
    """Build a short string."""
    raw = text if isinstance(text, bytes) else text.encode()
    return bytes([len(raw)]) + raw


def method(channel: int, *methods: base.Frame) -> bytes:
    """Build method frames."""
    return b"".join(frame.marshal(each, channel) for each in methods)


def raw_publish(channel: int, exchange: str, key: str, bits: int = 0) -> bytes:
    """Build ``basic.publish`` for names pamqp refuses."""
    return raw_method(
        channel, commands.Basic.Publish.index, b"\x00\x00" + short(exchange) + short(key) + bytes([bits])
    )


def content(
    channel: int,
    payload: bytes,
    properties: commands.Basic.Properties | None = None,
    *,
    frame_max: int = 131072,
    splits: list[int] | None = None,
) -> bytes:
    """Build a content header and body frames.

    Args:
        frame_max: most octets in one frame.
        splits: sizes of the body frames, in order; what is left goes into frames as large as may be.
    """
    head = header.ContentHeader(0, len(payload), properties or commands.Basic.Properties())
    pieces = [frame.marshal(head, channel)]
    start = 0
    for size in splits or []:
        pieces.append(raw_frame(3, channel, payload[start : start + size]))
        start += size
    room = frame_max - FRAME_OVERHEAD
    for at in range(start, len(payload), room):
        pieces.append(frame.marshal(body.ContentBody(payload[at : at + room]), channel))
    return b"".join(pieces)


class AccessRequestOk(base.Frame):
    """``access.request-ok``, which pamqp does not know."""

    __slots__: ClassVar[list[str]] = ["ticket"]
    index: ClassVar[int] = 0x001E000B
    name: ClassVar[str] = "Access.RequestOk"

    _ticket = "short"

    def __init__(self, ticket: int = 0) -> None:
        self.ticket = ticket


class OddName(base.Frame):
    """A method that names something in octets that are no UTF-8, which pamqp cannot read.

    Attributes:
        payload: the method's payload, ids included.
    """

    name: ClassVar[str] = "OddName"

    def __init__(self, payload: bytes) -> None:
        self.payload = payload


@dataclass(eq=False)
class Answer:
    """One method from the broker, with its content if it carries any.

    Attributes:
        channel: number of the channel it came on.
        frame: pamqp's object.
        header: payload of the content header.
        body: the whole body.
        frame_sizes: octets of each frame it came in, frame overhead included.
    """

    channel: int
    frame: base.Frame
    header: bytes = b""
    body: bytes = b""
    frame_sizes: list[int] = field(default_factory=list)

    @property
    def properties(self) -> commands.Basic.Properties:
        """The properties, as pamqp reads them."""
        head = header.ContentHeader()
        head.unmarshal(self.header)
        return head.properties

    @property
    def body_size(self) -> int:
        """The body size the content header announces."""
        return int.from_bytes(self.header[4:12], "big")

    def __str__(self) -> str:
        arguments = ", ".join(f"{name}={getattr(self.frame, name)!r}" for name in self.frame.__slots__)
        carried = f" + {len(self.body)} octets" if self.header else ""
        return f"[{self.channel}] {self.frame.name}({arguments}){carried}"


class FrameReader:
    """Reads what the broker sends, checking the form of every frame and the order of content."""

    def __init__(self) -> None:
        self.protocol_headers = 0
        self.heartbeats = 0
        self._rest = b""
        self._open: dict[int, tuple[Answer, int]] = {}

    def read(self, data: bytes) -> Iterator[Answer]:
        """Give the methods whose content is complete."""
        self._rest += data
        while self._rest.startswith(b"AMQP"):
            assert self._rest[:8] == PROTOCOL_HEADER, f"a strange protocol header: {self._rest[:8]!r}"
            self.protocol_headers += 1
            self._rest = self._rest[8:]
        while len(self._rest) >= 7:
            kind, channel, size = struct.unpack(">BHI", self._rest[:7])
            if len(self._rest) < size + FRAME_OVERHEAD:
                return
            whole, self._rest = self._rest[: size + FRAME_OVERHEAD], self._rest[size + FRAME_OVERHEAD :]
            assert whole[-1] == 0xCE, f"a frame from the broker does not end in 0xCE: {whole[:60]!r}"
            answer = self._frame(kind, channel, whole)
            if answer is not None:
                yield answer

    def in_the_middle(self) -> bool:
        """Tell whether a frame or a content is incomplete."""
        return bool(self._rest or self._open)

    def _frame(self, kind: int, channel: int, whole: bytes) -> Answer | None:
        payload = whole[7:-1]
        if kind == 8:
            assert channel == 0 and not payload, "a malformed heartbeat from the broker"
            self.heartbeats += 1
            return None
        if kind == 1:
            assert channel not in self._open, f"a method on channel {channel} inside a content"
            answer = Answer(channel, _method(whole), frame_sizes=[len(whole)])
            if int.from_bytes(payload[:4], "big") not in WITH_CONTENT:
                return answer
            self._open[channel] = (answer, -1)
            return None
        assert kind in (2, 3), f"a frame of unknown type {kind} from the broker"
        assert channel in self._open, f"content on channel {channel} without a method"
        answer, left = self._open.pop(channel)
        answer.frame_sizes.append(len(whole))
        if kind == 2:
            assert left == -1, f"a second content header on channel {channel}"
            assert payload[:4] == b"\x00\x3c\x00\x00", f"a malformed content header: {payload!r}"
            answer.header = payload
            left = answer.body_size
        else:
            assert 0 < len(payload) <= left, f"a body frame of {len(payload)} octets where {left} are left"
            answer.body += payload
            left -= len(payload)
        if left == 0:
            return answer
        self._open[channel] = (answer, left)
        return None


def _method(whole: bytes) -> base.Frame:
    if whole[7:11] == AccessRequestOk.index.to_bytes(4, "big"):
        answer = AccessRequestOk()
        answer.unmarshal(whole[11:-1])
        return answer
    try:
        used, _, decoded = frame.unmarshal(whole)
    except exceptions.UnmarshalingException as error:
        if isinstance(error.__cause__, UnicodeDecodeError):
            return OddName(whole[7:-1])
        raise
    assert isinstance(decoded, base.Frame) and used == len(whole)
    return decoded
