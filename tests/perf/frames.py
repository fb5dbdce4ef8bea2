"""Frames as a server sends them, made by pamqp."""

from pamqp import base, body, commands, frame, header

RUN_KEY = 0x1234ABCD - (1 << 32 if 0x1234ABCD >= 1 << 31 else 0)


def content(method: base.Frame, payload: bytes, split: int = 131_064, channel: int = 1) -> bytes:
    """Return a method with content, the body in frames of at most ``split`` octets."""
    parts = [payload[at : at + split] for at in range(0, len(payload), split)]
    head = header.ContentHeader(body_size=len(payload), properties=commands.Basic.Properties())
    frames: list[frame.FrameTypes] = [method, head, *(body.ContentBody(part) for part in parts)]
    return b"".join(frame.marshal(one, channel) for one in frames)


def delivery(tag: int, payload: bytes, split: int = 131_064) -> bytes:
    """Return a basic.deliver with its content."""
    method = commands.Basic.Deliver("ctag-1", tag, False, "exchange", "routing.key")
    return content(method, payload, split)


def decode_all(data: bytes) -> list[frame.FrameTypes]:
    """Return every frame in ``data``."""
    frames = []
    while data:
        used, channel, one = frame.unmarshal(data)
        assert channel == 1
        frames.append(one)
        data = data[used:]
    return frames
