"""A client without a socket: says things in words of the domain, and reads the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pamqp import base, commands
from pamqp.common import FieldTable

from harebell.amqp.connection import Connection
from harebell.amqp.outbox import Outbox
from tests.support.wire import (
    HEARTBEAT,
    PROTOCOL_HEADER,
    Answer,
    FrameReader,
    content,
    method,
    raw_publish,
)

if TYPE_CHECKING:
    from tests.support.node import Node

FrameType = TypeVar("FrameType", bound=base.Frame)

WHOLE, OCTETS, TRAILING = FEEDINGS = ("whole", "octets", "trailing")
"""How bytes reach the broker: as sent, one by one, or with the start of a next frame behind them."""

UNASKED = (
    commands.Basic.Ack,
    commands.Basic.Cancel,
    commands.Basic.Deliver,
    commands.Basic.Nack,
    commands.Basic.Return,
)
"""What the broker sends on a channel of its own accord."""

CAPABILITIES: FieldTable = {
    "authentication_failure_close": True,
    "basic.nack": True,
    "connection.blocked": True,
    "consumer_cancel_notify": True,
    "exchange_exchange_bindings": True,
    "publisher_confirms": True,
}


class Client:
    """One client connection.

    Attributes:
        connection: the broker's side of it.
        out: the broker's outbox.
        feeding: how bytes are handed over.
        inbox: what was received and not asked for yet.
    """

    def __init__(self, node: Node, connection: Connection, out: Outbox, feeding: str) -> None:
        assert feeding in FEEDINGS, f"feeding is one of {FEEDINGS}"
        self.node = node
        self.connection = connection
        self.out = out
        self.feeding = feeding
        self.inbox: list[Answer] = []
        self.reader = FrameReader()
        self.octets_received = 0
        self._owed = b""

    # sending

    def feed(self, data: bytes) -> None:
        """Hand octets to the broker, then let it have its turn."""
        if self.feeding == OCTETS:
            for at in range(len(data)):
                self.connection.receive_data(data[at : at + 1])
        elif self.feeding == TRAILING:
            self.connection.receive_data(self._owed + data + HEARTBEAT[:3])
            self._owed = HEARTBEAT[3:]
        else:
            self.connection.receive_data(data)
        self.node.turn()

    def send(self, channel: int, *methods: base.Frame) -> None:
        """Send method frames in one piece."""
        self.feed(method(channel, *methods))

    def hang_up(self) -> None:
        """Drop the socket."""
        self.connection.receive_eof()
        self.node.turn()

    # receiving

    def collect(self, chunks: list[bytes]) -> None:
        """Take what the broker wrote."""
        data = b"".join(chunks)
        self.octets_received += len(data)
        self.inbox.extend(self.reader.read(data))

    def received(self) -> list[Answer]:
        """Give everything that came and was not asked for yet."""
        answers, self.inbox = self.inbox, []
        return answers

    def expect(self, kind: type[FrameType], channel: int = 0) -> FrameType:
        """Take the next answer on a channel, which must be of a kind."""
        answer = self.expect_answer(channel)
        assert isinstance(answer.frame, kind), f"expected {kind.name}, got {answer}"
        return answer.frame

    def expect_answer(self, channel: int) -> Answer:
        """Take the next answer on a channel."""
        for at, answer in enumerate(self.inbox):
            if answer.channel == channel:
                return self.inbox.pop(at)
        others = "; ".join(str(answer) for answer in self.inbox) or "nothing"
        raise AssertionError(f"expected an answer on channel {channel}, got {others}")

    def expect_silence(self) -> None:
        """Check that nothing came and nothing is half sent."""
        assert not self.inbox, "expected nothing, got " + "; ".join(str(answer) for answer in self.inbox)
        assert not self.reader.in_the_middle(), "expected nothing, got a part of a frame or content"

    def expect_close(self, code: int, failing: int | type[base.Frame] = 0, text: str = "") -> str:
        """Expect ``connection.close``, answer it, and give its text.

        Args:
            code: the reply code.
            failing: the method at fault, as a class or as ``class << 16 | method``.
            text: part of the reply text.
        """
        frame = self.expect(commands.Connection.Close)
        check_close(frame, code, failing, text)
        self.feed(method(0, commands.Connection.CloseOk()))
        assert self.closed, "the broker keeps the socket after close-ok"
        return str(frame.reply_text)

    @property
    def closed(self) -> bool:
        """True once the broker wants the socket closed."""
        return self.connection.wants_close

    # the connection's life

    def start(self) -> commands.Connection.Start:
        """Send the protocol header and take ``connection.start``."""
        self.feed(PROTOCOL_HEADER)
        return self.expect(commands.Connection.Start)

    def start_ok(
        self,
        username: str = "guest",
        password: str = "guest",
        *,
        product: str = "tests",
        capabilities: FieldTable | None = None,
    ) -> None:
        """Log in with PLAIN."""
        properties: FieldTable = {
            "product": product,
            "capabilities": CAPABILITIES if capabilities is None else capabilities,
        }
        self.send(
            0,
            commands.Connection.StartOk(
                client_properties=properties,
                mechanism="PLAIN",
                response=f"\x00{username}\x00{password}",
                locale="en_US",
            ),
        )

    def tune_ok(self, channel_max: int = 2047, frame_max: int = 131072, heartbeat: int = 0) -> None:
        """Answer ``connection.tune``."""
        self.send(
            0,
            commands.Connection.TuneOk(channel_max=channel_max, frame_max=frame_max, heartbeat=heartbeat),
        )

    def open(
        self,
        vhost: str = "/",
        *,
        username: str = "guest",
        password: str = "guest",
        product: str = "tests",
        capabilities: FieldTable | None = None,
        channel_max: int = 2047,
        frame_max: int = 131072,
    ) -> None:
        """Go through the whole handshake."""
        self.start()
        self.start_ok(username, password, product=product, capabilities=capabilities)
        self.expect(commands.Connection.Tune)
        self.tune_ok(channel_max, frame_max)
        self.send(0, commands.Connection.Open(virtual_host=vhost))
        self.expect(commands.Connection.OpenOk)

    def close(self) -> None:
        """Close the connection properly."""
        self.send(0, commands.Connection.Close(reply_code=200, reply_text="bye", class_id=0, method_id=0))
        self.expect(commands.Connection.CloseOk)

    def channel(self, number: int = 1) -> ClientChannel:
        """Open a channel."""
        channel = ClientChannel(self, number)
        channel.open()
        return channel


class ClientChannel:
    """One channel of a client."""

    def __init__(self, client: Client, number: int) -> None:
        self.client = client
        self.number = number
        self._confirmed = 0

    # anything

    def send(self, *methods: base.Frame) -> None:
        """Send method frames in one piece."""
        self.client.send(self.number, *methods)

    def call(self, question: base.Frame, answer: type[FrameType]) -> FrameType:
        """Send a method and take its answer, leaving what came without being asked for."""
        self.send(question)
        found = self._reply()
        assert isinstance(found.frame, answer), f"expected {answer.name}, got {found}"
        return found.frame

    def _reply(self) -> Answer:
        unasked = self.take(*UNASKED)
        found = self.expect_answer()
        self.client.inbox[:0] = unasked
        return found

    def expect(self, kind: type[FrameType]) -> FrameType:
        """Take the next answer on this channel, which must be of a kind."""
        return self.client.expect(kind, self.number)

    def expect_answer(self) -> Answer:
        """Take the next answer on this channel."""
        return self.client.expect_answer(self.number)

    def expect_silence(self) -> None:
        """Check that nothing more came to this client."""
        self.client.expect_silence()

    def expect_close(self, code: int, failing: int | type[base.Frame] = 0, text: str = "") -> str:
        """Expect ``channel.close``, answer it, and give its text."""
        frame = self.expect(commands.Channel.Close)
        check_close(frame, code, failing, text)
        self.send(commands.Channel.CloseOk())
        return str(frame.reply_text)

    # class channel

    def open(self) -> None:
        """Open it."""
        self._confirmed = 0
        self.call(commands.Channel.Open(), commands.Channel.OpenOk)

    def close(self) -> None:
        """Close it properly."""
        self.call(
            commands.Channel.Close(reply_code=200, reply_text="bye", class_id=0, method_id=0),
            commands.Channel.CloseOk,
        )

    # classes exchange and queue

    def declare_exchange(
        self,
        name: str,
        kind: str = "direct",
        *,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: FieldTable | None = None,
    ) -> None:
        """Declare an exchange."""
        self.call(
            exchange_declare(name, kind, durable, auto_delete, internal, arguments),
            commands.Exchange.DeclareOk,
        )

    def declare_queue(
        self,
        name: str = "",
        *,
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = False,
        arguments: FieldTable | None = None,
    ) -> commands.Queue.DeclareOk:
        """Declare a queue."""
        question = queue_declare(name, passive, durable, exclusive, auto_delete, arguments)
        return self.call(question, commands.Queue.DeclareOk)

    def queue(self, arguments: FieldTable | None = None) -> str:
        """Declare a server-named queue and give its name."""
        return str(self.declare_queue(arguments=arguments).queue)

    def ready(self, queue: str) -> int:
        """Ask how many messages are ready in a queue."""
        return int(self.declare_queue(queue, passive=True).message_count or 0)

    def bind(self, queue: str, exchange: str, key: str = "", arguments: FieldTable | None = None) -> None:
        """Bind a queue."""
        question = commands.Queue.Bind(queue=queue, exchange=exchange, routing_key=key)
        question.arguments = dict(arguments or {})
        self.call(question, commands.Queue.BindOk)

    def unbind(self, queue: str, exchange: str, key: str = "", arguments: FieldTable | None = None) -> None:
        """Unbind a queue."""
        question = commands.Queue.Unbind(queue=queue, exchange=exchange, routing_key=key)
        question.arguments = dict(arguments or {})
        self.call(question, commands.Queue.UnbindOk)

    def bind_exchange(self, destination: str, source: str, key: str = "") -> None:
        """Bind an exchange to an exchange."""
        self.call(
            commands.Exchange.Bind(destination=destination, source=source, routing_key=key),
            commands.Exchange.BindOk,
        )

    def purge(self, queue: str) -> int:
        """Purge a queue."""
        return int(self.call(commands.Queue.Purge(queue=queue), commands.Queue.PurgeOk).message_count or 0)

    def delete_queue(self, queue: str) -> int:
        """Delete a queue."""
        return int(self.call(commands.Queue.Delete(queue=queue), commands.Queue.DeleteOk).message_count or 0)

    def delete_exchange(self, exchange: str) -> None:
        """Delete an exchange."""
        self.call(commands.Exchange.Delete(exchange=exchange), commands.Exchange.DeleteOk)

    # publishing

    def publish(
        self,
        body: bytes = b"",
        *,
        exchange: str = "",
        key: str = "",
        mandatory: bool = False,
        immediate: bool = False,
        properties: commands.Basic.Properties | None = None,
        splits: list[int] | None = None,
    ) -> None:
        """Publish a message."""
        self.client.feed(
            self.message(
                body,
                exchange=exchange,
                key=key,
                mandatory=mandatory,
                immediate=immediate,
                properties=properties,
                splits=splits,
            )
        )

    def message(
        self,
        body: bytes = b"",
        *,
        exchange: str = "",
        key: str = "",
        mandatory: bool = False,
        immediate: bool = False,
        properties: commands.Basic.Properties | None = None,
        splits: list[int] | None = None,
    ) -> bytes:
        """Build the frames of a publish without sending them."""
        bits = int(mandatory) | int(immediate) << 1
        return raw_publish(self.number, exchange, key, bits) + content(
            self.number, body, properties, splits=splits
        )

    def confirm_select(self) -> None:
        """Turn on publisher confirms."""
        self.call(commands.Confirm.Select(), commands.Confirm.SelectOk)

    def confirms(self) -> list[tuple[str, int, bool]]:
        """Give the confirms that came: ``ack`` or ``nack``, delivery tag, multiple."""
        found = []
        for answer in self.take(commands.Basic.Ack, commands.Basic.Nack):
            frame = answer.frame
            assert isinstance(frame, commands.Basic.Ack | commands.Basic.Nack)
            kind = "ack" if isinstance(frame, commands.Basic.Ack) else "nack"
            found.append((kind, int(frame.delivery_tag or 0), bool(frame.multiple)))
        return found

    def outcomes(self) -> list[str]:
        """Give ``ack`` or ``nack`` for each message confirmed since the last time, in order of publishing."""
        found = []
        for kind, tag, multiple in self.confirms():
            count = tag - self._confirmed
            assert count > 0, f"{kind} {tag} after {self._confirmed} was confirmed"
            assert count == 1 or multiple, f"{kind} {tag} passes over {count - 1} messages"
            found += [kind] * count
            self._confirmed = tag
        return found

    def take(self, *kinds: type[base.Frame]) -> list[Answer]:
        """Take the answers of some kinds on this channel, leaving the others."""
        inbox = self.client.inbox
        taken = [each for each in inbox if each.channel == self.number and isinstance(each.frame, kinds)]
        kept = set(map(id, taken))
        self.client.inbox = [each for each in inbox if id(each) not in kept]
        return taken

    # consuming

    def qos(self, count: int, *, shared: bool = False) -> None:
        """Limit unacknowledged deliveries, per consumer or shared by the channel."""
        self.call(commands.Basic.Qos(prefetch_count=count, global_=shared), commands.Basic.QosOk)

    def consume(
        self,
        queue: str,
        tag: str = "",
        *,
        no_ack: bool = False,
        exclusive: bool = False,
        arguments: FieldTable | None = None,
    ) -> str:
        """Start a consumer and give its tag."""
        question = basic_consume(queue, tag, no_ack, exclusive, arguments)
        return str(self.call(question, commands.Basic.ConsumeOk).consumer_tag)

    def cancel(self, tag: str) -> None:
        """Cancel a consumer."""
        self.call(commands.Basic.Cancel(consumer_tag=tag), commands.Basic.CancelOk)

    def deliveries(self) -> list[Delivery]:
        """Give the deliveries that came on this channel."""
        return [Delivery(answer) for answer in self.take(commands.Basic.Deliver)]

    def bodies(self) -> list[bytes]:
        """Give the bodies of the deliveries that came on this channel."""
        return [delivery.body for delivery in self.deliveries()]

    def get(self, queue: str, *, no_ack: bool = False) -> Delivery | None:
        """Get one message, or None from an empty queue."""
        self.send(commands.Basic.Get(queue=queue, no_ack=no_ack))
        answer = self._reply()
        if isinstance(answer.frame, commands.Basic.GetEmpty):
            return None
        assert isinstance(answer.frame, commands.Basic.GetOk), f"expected Basic.GetOk, got {answer}"
        return Delivery(answer)

    def drain(self, queue: str) -> list[bytes]:
        """Get every ready message without acknowledgements."""
        found = []
        while (message := self.get(queue, no_ack=True)) is not None:
            found.append(message.body)
        return found

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        """Acknowledge."""
        self.send(commands.Basic.Ack(delivery_tag=tag, multiple=multiple))

    def nack(self, tag: int, *, multiple: bool = False, requeue: bool = True) -> None:
        """Refuse."""
        self.send(commands.Basic.Nack(delivery_tag=tag, multiple=multiple, requeue=requeue))

    def reject(self, tag: int, *, requeue: bool = True) -> None:
        """Refuse, the standard's way."""
        self.send(commands.Basic.Reject(delivery_tag=tag, requeue=requeue))


class Delivery:
    """A message received, by ``basic.deliver`` or ``basic.get-ok``."""

    def __init__(self, answer: Answer) -> None:
        frame = answer.frame
        assert isinstance(frame, commands.Basic.Deliver | commands.Basic.GetOk)
        self.answer = answer
        self.body = answer.body
        self.tag = int(frame.delivery_tag or 0)
        self.redelivered = bool(frame.redelivered)
        self.exchange = frame.exchange
        self.routing_key = frame.routing_key
        self.consumer_tag = frame.consumer_tag if isinstance(frame, commands.Basic.Deliver) else None
        self.remaining = frame.message_count if isinstance(frame, commands.Basic.GetOk) else None

    @property
    def properties(self) -> commands.Basic.Properties:
        """The properties, as pamqp reads them."""
        return self.answer.properties

    def __repr__(self) -> str:
        return f"Delivery({self.body!r}, tag={self.tag}, redelivered={self.redelivered})"


def check_close(
    frame: commands.Channel.Close | commands.Connection.Close,
    code: int,
    failing: int | type[base.Frame],
    text: str,
) -> None:
    """Check the fields of a close method."""
    index = failing if isinstance(failing, int) else failing.index
    where = ((frame.class_id or 0) << 16) | (frame.method_id or 0)
    told = f"{frame.name}({frame.reply_code}, {frame.reply_text!r}, {where:#010x})"
    assert frame.reply_code == code, f"expected code {code}, got {told}"
    assert where == index, f"expected the method at fault to be {index:#010x}, got {told}"
    assert text in str(frame.reply_text), f"expected {text!r} in the text, got {told}"


def exchange_declare(
    name: str,
    kind: str = "direct",
    durable: bool = False,
    auto_delete: bool = False,
    internal: bool = False,
    arguments: FieldTable | None = None,
    *,
    passive: bool = False,
) -> commands.Exchange.Declare:
    """Build ``exchange.declare``."""
    question = commands.Exchange.Declare(
        exchange=name,
        exchange_type=kind,
        passive=passive,
        durable=durable,
        auto_delete=auto_delete,
        internal=internal,
    )
    question.arguments = dict(arguments or {})
    return question


def queue_declare(
    name: str = "",
    passive: bool = False,
    durable: bool = False,
    exclusive: bool = False,
    auto_delete: bool = False,
    arguments: FieldTable | None = None,
) -> commands.Queue.Declare:
    """Build ``queue.declare``."""
    question = commands.Queue.Declare(
        queue=name, passive=passive, durable=durable, exclusive=exclusive, auto_delete=auto_delete
    )
    question.arguments = dict(arguments or {})
    return question


def basic_consume(
    queue: str,
    tag: str = "",
    no_ack: bool = False,
    exclusive: bool = False,
    arguments: FieldTable | None = None,
    *,
    nowait: bool = False,
) -> commands.Basic.Consume:
    """Build ``basic.consume``."""
    question = commands.Basic.Consume(
        queue=queue, consumer_tag=tag, no_ack=no_ack, exclusive=exclusive, nowait=nowait
    )
    question.arguments = dict(arguments or {})
    return question
