"""Handing messages to clients: ``basic.deliver``, ``basic.get-ok`` and ``basic.return`` with their content.

``basic.deliver``'s payload::

    | 60 | 60 | consumer tag  | delivery tag | redelivered | exchange | routing key |
     short short shortstr       long long      octet         shortstr   shortstr

The first part is encoded once per consumer, the last is the message's address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from librt.strings import BytesWriter, write_i16_be, write_i32_be, write_i64_be
from mypy_extensions import i16, i32, i64, u8

from harebell.amqp.constants import BASIC_DELIVER, BASIC_GET_OK, BASIC_RETURN, FRAME_END
from harebell.amqp.outbox import LARGE_BODY, Outbox
from harebell.content.message import Message
from harebell.content.table import Table
from harebell.engine.consumers import Consumer, Unacked
from harebell.engine.dead_letter import with_delivery_count
from harebell.engine.queues.queue import Queue
from harebell.paging import FLAGGED, RETURN

if TYPE_CHECKING:
    from harebell.amqp.channel import Channel


def shortstr(text: str) -> bytes:
    """Encode a short string.

    Raises:
        ValueError: if it is longer than 255 bytes.
    """
    raw = text.encode("utf-8", "surrogateescape")
    return bytes([len(raw)]) + raw


class ChannelConsumer(Consumer):
    """A consumer on an AMQP channel."""

    def __init__(
        self,
        channel: Channel,
        tag: str,
        queue: Queue,
        no_ack: bool,
        exclusive: bool,
        limit: i64,
        priority: i64,
        arguments: Table,
    ) -> None:
        super().__init__(
            tag, queue, channel.out, channel.credit, no_ack, exclusive, limit, priority, arguments
        )
        self.channel = channel
        self._out: Outbox = channel.out
        w = BytesWriter()
        write_i32_be(w, BASIC_DELIVER)
        w.write(shortstr(tag))
        self._prefix: bytes = w.getvalue()
        self._wire: i16 = channel.wire

    def deliver(self, message: Message, position: i64, returns: i64) -> None:
        """Write one delivery and, unless no-ack, remember it until it is answered."""
        channel = self.channel
        out = self._out
        w = out.writer
        wire: i16 = self._wire
        tag: i64 = channel.next_tag
        channel.next_tag = tag + 1
        address = message.address
        prefix = self._prefix
        size: i64 = len(prefix) + 9 + len(address)
        w.append(1)
        write_i16_be(w, wire)
        write_i32_be(w, i32(size))
        w.write(prefix)
        write_i64_be(w, tag)
        w.append(u8(returns & FLAGGED))
        w.write(address)
        w.append(FRAME_END)
        body = message.body
        header = message.header
        if returns >= RETURN and self.queue.counts_returns:
            header = with_delivery_count(header, returns // RETURN)
        size = len(body)
        if size > out.body_max or size >= LARGE_BODY:
            out.content(wire, header, body)
        else:
            w.append(2)
            write_i16_be(w, wire)
            write_i32_be(w, i32(len(header)))
            w.write(header)
            w.append(FRAME_END)
            if size > 0:
                w.append(3)
                write_i16_be(w, wire)
                write_i32_be(w, i32(size))
                w.write(body)
                w.append(FRAME_END)
        out.written()
        if returns != 0:
            channel.redelivered += 1
        if self.no_ack:
            channel.delivered_no_ack += 1
        else:
            self.unacked += 1
            self.credit.used += 1
            entry = Unacked(tag, message, self.queue, position, self, channel.clock.now)
            entry.returns = returns
            channel.window.append(entry)

    def queue_gone(self) -> None:
        """The queue went: drop the consumer and tell a client that understands ``basic.cancel``."""
        self.channel.consumer_lost(self)


def write_get_ok(out: Outbox, wire: i16, entry: Unacked, remaining: i64) -> None:
    """Answer ``basic.get`` with a message and the number still ready."""
    message = entry.message
    w = BytesWriter()
    write_i32_be(w, BASIC_GET_OK)
    write_i64_be(w, entry.tag)
    w.append(u8(entry.returns & FLAGGED))
    w.write(message.address)
    write_i32_be(w, i32(remaining))
    out.method(wire, w.getvalue())
    header = message.header
    if entry.queue.counts_returns:
        header = with_delivery_count(header, entry.returns // RETURN)
    out.content(wire, header, message.body)
    out.written()


def write_return(out: Outbox, wire: i16, code: i64, text: bytes, message: Message) -> None:
    """Send a message back to its publisher with the reason."""
    w = BytesWriter()
    write_i32_be(w, BASIC_RETURN)
    write_i16_be(w, i16(code))
    w.write(text)
    w.write(message.address)
    out.method(wire, w.getvalue())
    out.content(wire, message.header, message.body)
    out.written()
