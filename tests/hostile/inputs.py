"""What a hostile or broken client may send: everything comes from one seeded source of chance.

An input is a list of pieces, each sent in one go. Half of the inputs begin with a polite client's frames up
to some stage, so that what follows meets every state a connection and a channel can be in.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final, NamedTuple

from pamqp import base, commands

PROTOCOL_HEADER: Final = b"AMQP\x00\x00\x09\x01"
METHODS: Final[tuple[type[base.Frame], ...]] = tuple(commands.INDEX_MAPPING.values())
WIDTHS: Final = {"octet": 1, "short": 2, "long": 4, "longlong": 8, "timestamp": 8}
QUEUE: Final = "jobs"
"""The queue of the polite frames."""

TYPES: Final = (
    *(b"direct", b"fanout", b"topic", b"headers", b"x-consistent-hash", b"x-modulus-hash", b"x-random"),
    *(b"x-recent-history", b"x-nonsense"),
)
NAMES: Final = (
    b"",
    b"a",
    b"q",
    b"jobs",
    b"one",
    b"two",
    b"amq.direct",
    b"amq.topic",
    b"amq.headers",
    b"amq.fanout",
)
ODD_NAMES: Final = (b"amq.rabbitmq.reply-to", b"amq.", b"\xff\xfe", b"x" * 255, b"a\x00b", b"*.#.#", b"q\r\n")


class Input(NamedTuple):
    """One input.

    Attributes:
        stage: how far the polite part goes.
        kind: what was done then.
        pieces: what is sent, each in one go.
    """

    stage: str
    kind: str
    pieces: list[bytes]


class Source:
    """Makes inputs.

    Args:
        seed: the same seed gives the same inputs.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def input(self) -> Input:
        """Make one input."""
        chance = self.random
        stage = chance.choice(list(STAGES))
        kind = chance.choice(list(KINDS))
        polite = b"".join(step(self) for step in STAGES[stage])
        hostile = b"".join(KINDS[kind](self) for _ in range(chance.choice((1, 1, 2, 5))))
        return Input(stage, kind, self._split(polite + hostile))

    def _split(self, data: bytes) -> list[bytes]:
        how = self.random.random()
        if how < 0.8 or len(data) < 2:
            return [data]
        if how < 0.85 and len(data) < 600:
            return [data[at : at + 1] for at in range(len(data))]
        cuts = sorted(self.random.randrange(1, len(data)) for _ in range(self.random.randrange(1, 4)))
        return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]

    # Values

    def octets(self, most: int) -> bytes:
        """Some random octets."""
        return self.random.randbytes(self.random.randrange(most + 1))

    def name(self) -> bytes:
        """A name, usually one that exists."""
        chance = self.random.random()
        if chance < 0.8:
            return self.random.choice(NAMES)
        return self.random.choice(ODD_NAMES) if chance < 0.95 else self.octets(255)

    def number(self, width: int) -> int:
        """A number of so many octets, often at an edge."""
        top = 1 << (8 * width)
        edges = (0, 1, 2, 3, top - 1, top // 2, top // 2 - 1, 10)
        return self.random.choice(edges) if self.random.random() < 0.8 else self.random.randrange(top)

    def table(self, depth: int = 0) -> bytes:
        """A field table or array content, mostly right."""
        entries = []
        for _ in range(self.random.choice((0, 1, 2, 3))):
            key = self.random.choice(
                (b"x-match", b"x-expires", b"x-max-length", b"CC", b"BCC", b"x-queue-type", b"k")
            )
            entries.append(bytes([len(key)]) + key + self.value(depth))
        return b"".join(entries)

    def value(self, depth: int = 0) -> bytes:
        """A field value with its type octet, mostly right."""
        kind = self.random.choice(b"tbBsuIilLfdDSAFTVx" if depth < 4 else b"tbIlSV")
        letter = bytes([kind])
        sizes = {b"t": 1, b"b": 1, b"B": 1, b"s": 2, b"u": 2, b"I": 4, b"i": 4, b"l": 8, b"L": 8}
        sizes |= {b"f": 4, b"d": 8, b"D": 5, b"T": 8, b"V": 0}
        if self.random.random() < 0.03:
            return self.octets(12)
        if letter in sizes:
            return (
                letter + self.number(sizes[letter]).to_bytes(sizes[letter], "big")
                if sizes[letter]
                else letter
            )
        content = self.octets(20)
        if letter == b"F":
            content = self.table(depth + 1)
        elif letter == b"A":
            content = b"".join(self.value(depth + 1) for _ in range(self.random.randrange(3)))
        elif letter == b"S":
            content = self.random.choice((b"all", b"any", b"quorum", b"classic", content))
        return letter + self.length(len(content), 4) + content

    def length(self, right: int, width: int) -> bytes:
        """A length, mostly the right one."""
        if self.random.random() < 0.01:
            right = self.random.choice(
                (0, right + 1, max(0, right - 1), (1 << (8 * width)) - 1, 1 << (8 * width - 1))
            )
        return min(right, (1 << (8 * width)) - 1).to_bytes(width, "big")

    def bomb(self) -> bytes:
        """A table nested as deeply as a frame holds."""
        deep = self.random.choice((10, 63, 64, 65, 200, 580))
        content = b""
        letter = self.random.choice((b"F", b"A"))
        for _ in range(deep):
            head = letter + len(content).to_bytes(4, "big")
            content = (b"\x01k" + head if letter == b"F" else head) + content
        return content if letter == b"F" else b"\x01k" + content

    # Frames

    def frame(self, kind: int, channel: int, payload: bytes) -> bytes:
        """A frame, rarely with a wrong size or end."""
        end = b"\xce" if self.random.random() < 0.98 else self.random.randbytes(1)
        return bytes([kind]) + channel.to_bytes(2, "big") + self.length(len(payload), 4) + payload + end

    def method(self, method: type[base.Frame], channel: int = 1, **fixed: bytes) -> bytes:
        """A method frame with arguments by chance, apart from those given in their wire form."""
        payload = method.index.to_bytes(4, "big") + self.arguments(method, fixed)
        return self.frame(1, channel, payload)

    def arguments(self, method: type[base.Frame], fixed: dict[str, bytes]) -> bytes:
        """The arguments of a method."""
        parts: list[bytes] = []
        bits = 0
        for name in method.__slots__:
            kind = method.amqp_type(name)
            if kind == "bit":
                bits += 1
                continue
            if bits:
                parts.append(
                    self.random.choice((b"\x00", b"\x01", b"\x02", b"\x04", self.random.randbytes(1)))
                )
                bits = 0
            if name in fixed:
                parts.append(fixed[name])
            elif name == "ticket":
                parts.append(b"\x00\x00")
            elif kind in WIDTHS:
                parts.append(self.number(WIDTHS[kind]).to_bytes(WIDTHS[kind], "big"))
            elif kind == "shortstr":
                text = self.random.choice(TYPES) if name == "exchange_type" else self.name()
                parts.append(self.length(len(text), 1) + text)
            else:
                content = self.octets(30)
                if kind == "table":
                    content = self.bomb() if self.random.random() < 0.05 else self.table()
                parts.append(self.length(len(content), 4) + content)
        if bits:
            parts.append(self.random.choice((b"\x00", b"\x01", self.random.randbytes(1))))
        return b"".join(parts)

    def content_header(self, size: int) -> bytes:
        """The payload of a content header, mostly right."""
        chance = self.random
        flags = chance.choice(
            (0, 0x1000, 0x3000, 0x8000, 0xFFFC, 0xFFFF, 0x0001, 0x0002, chance.randrange(65536))
        )
        properties = b""
        for bit in range(15, 1, -1):
            if not flags >> bit & 1:
                continue
            text = chance.choice((self.name(), b"60000", b"guest", b"-1", b"amq.rabbitmq.reply-to"))
            table = self.table()
            choices = {13: self.length(len(table), 4) + table, 12: b"\x02", 11: b"\x05", 6: bytes(8)}
            properties += choices.get(bit, self.length(len(text), 1) + text)
        if flags & 1:
            properties = b"\x80\x01" * chance.choice((1, 2, 100, 4000)) + properties
        head = b"\x00\x3c\x00\x00" if chance.random() < 0.95 else self.octets(4)
        return head + size.to_bytes(8, "big") + flags.to_bytes(2, "big") + properties


def raw(payload: bytes, channel: int = 0, kind: int = 1) -> bytes:
    """A right frame."""
    return bytes([kind]) + channel.to_bytes(2, "big") + len(payload).to_bytes(4, "big") + payload + b"\xce"


# Stages: what a polite client has sent before.


def header(_: Source) -> bytes:
    """The protocol header."""
    return PROTOCOL_HEADER


def start_ok(_: Source) -> bytes:
    """A good login."""
    capabilities = b"\x01kt\x01"
    table = b"\x0ccapabilitiesF" + len(capabilities).to_bytes(4, "big") + capabilities
    response = b"\x00guest\x00guest"
    payload = b"\x00\x0a\x00\x0b" + len(table).to_bytes(4, "big") + table + b"\x05PLAIN"
    return raw(payload + len(response).to_bytes(4, "big") + response + b"\x05en_US")


def tune_ok(source: Source) -> bytes:
    """An acceptable answer to tune."""
    frame_max = source.random.choice((4096, 131072, 8192))
    return raw(b"\x00\x0a\x00\x1f\x07\xff" + frame_max.to_bytes(4, "big") + b"\x00\x00")


def open_connection(_: Source) -> bytes:
    """connection.open of the default virtual host."""
    return raw(b"\x00\x0a\x00\x28\x01/\x00\x00")


def open_channel(_: Source) -> bytes:
    """channel.open of channel 1."""
    return raw(b"\x00\x14\x00\x0a\x00", 1)


def declare(_: Source) -> bytes:
    """A queue that the hostile part knows."""
    return raw(b"\x00\x32\x00\x0a\x00\x00\x04jobs\x00\x00\x00\x00\x00", 1)


def select_confirms(_: Source) -> bytes:
    """confirm.select."""
    return raw(b"\x00\x55\x00\x0a\x00", 1)


def select_transactions(_: Source) -> bytes:
    """tx.select."""
    return raw(b"\x00\x5a\x00\x0a", 1)


def begin_publish(_: Source) -> bytes:
    """basic.publish to the queue; its content is to follow."""
    return raw(b"\x00\x3c\x00\x28\x00\x00\x00\x04jobs\x00", 1)


def begin_content(_: Source) -> bytes:
    """A content header that announces ten octets."""
    return raw(b"\x00\x3c\x00\x00" + (10).to_bytes(8, "big") + b"\x00\x00", 1, 2)


def body(_: Source) -> bytes:
    """Those ten octets."""
    return raw(b"0123456789", 1, 3)


def consume(_: Source) -> bytes:
    """A consumer of the queue."""
    return raw(b"\x00\x3c\x00\x14\x00\x00\x04jobs\x03tag\x00\x00\x00\x00\x00", 1)


def provoke_channel_close(_: Source) -> bytes:
    """A mistake for which the broker closes the channel."""
    return raw(b"\x00\x3c\x00\x50" + (99).to_bytes(8, "big") + b"\x00", 1)


def provoke_connection_close(_: Source) -> bytes:
    """A mistake for which the broker closes the connection."""
    return raw(b"\x00\x00\x00\x00", 1)


LOGGED_IN: Final = (header, start_ok)
OPEN: Final = (*LOGGED_IN, tune_ok, open_connection)
CHANNEL: Final = (*OPEN, open_channel, declare)
MESSAGE: Final = (begin_publish, begin_content, body)

STAGES: Final[dict[str, tuple[Callable[[Source], bytes], ...]]] = {
    "connected": (),
    "header": (header,),
    "login": LOGGED_IN,
    "tuned": (*LOGGED_IN, tune_ok),
    "open": OPEN,
    "channel": CHANNEL,
    "channel again": CHANNEL,
    "confirms": (*CHANNEL, select_confirms, *MESSAGE),
    "transaction": (*CHANNEL, select_transactions, *MESSAGE),
    "publishing": (*CHANNEL, begin_publish),
    "content": (*CHANNEL, begin_publish, begin_content),
    "consuming": (*CHANNEL, *MESSAGE, *MESSAGE, consume),
    "channel closing": (*CHANNEL, provoke_channel_close),
    "connection closing": (*CHANNEL, provoke_connection_close),
}


# Kinds: what comes then.


def noise(source: Source) -> bytes:
    """Octets by chance."""
    return source.octets(200)


def any_frame(source: Source) -> bytes:
    """A frame of any kind on any channel."""
    kind = source.random.choice((0, 1, 2, 3, 4, 8, 65, 255))
    channel = source.random.choice((0, 1, 1, 2, 2047, 65535))
    return source.frame(kind, channel, source.octets(40))


def any_method(source: Source) -> bytes:
    """A method with arguments by chance."""
    return source.method(source.random.choice(METHODS), source.random.choice((0, 1, 1, 1, 2)))


def channel_methods(source: Source) -> bytes:
    """Some methods a client may well send, in any order."""
    likely = [
        found
        for found in METHODS
        if found.index >> 16 in (20, 40, 50, 60, 85, 90)
        and not found.name.endswith(("Ok", "Deliver", "Return"))
    ]
    return b"".join(source.method(source.random.choice(likely)) for _ in range(6))


def unknown_method(source: Source) -> bytes:
    """A class or method that does not exist."""
    return raw(
        source.number(2).to_bytes(2, "big") + source.number(2).to_bytes(2, "big") + source.octets(20), 1
    )


def content(source: Source) -> bytes:
    """A message whose parts may not fit each other."""
    size = source.random.choice(
        (0, 5, 5, 5, 100, 1 << 24, (1 << 24) + 1, 1 << 31, (1 << 63) - 1, (1 << 64) - 1)
    )
    parts = [
        begin_publish(source),
        source.frame(2, 1, source.content_header(size)),
        source.frame(3, 1, b"01234"),
    ]
    if source.random.random() < 0.3:
        source.random.shuffle(parts)
    if source.random.random() < 0.2:
        del parts[source.random.randrange(3)]
    return b"".join(parts)


def publish_anywhere(source: Source) -> bytes:
    """A whole message with properties by chance, to any exchange."""
    method = source.method(commands.Basic.Publish)
    size = source.random.randrange(10)
    parts = [method, raw(source.content_header(size), 1, 2)]
    if size:
        parts.append(raw(bytes(size), 1, 3))
    return b"".join(parts)


def bad_login(source: Source) -> bytes:
    """start-ok with anything in it."""
    mechanism = source.random.choice((b"PLAIN", b"AMQPLAIN", b"EXTERNAL", b"CRAM-MD5", b"plain", b""))
    table = source.random.choice(
        (source.table(), source.bomb(), b"\x05LOGINS\x00\x00\x00\x05guest\x08PASSWORDt\x01")
    )
    response = source.random.choice((b"\x00guest\x00guest", b"\x00\x00", b"guest", table, source.octets(100)))
    payload = b"\x00\x0a\x00\x0b" + source.length(len(table), 4) + table + bytes([len(mechanism)]) + mechanism
    return raw(payload + source.length(len(response), 4) + response + b"\x05en_US")


def bad_tune(source: Source) -> bytes:
    """tune-ok with numbers at the edges."""
    numbers = (
        source.number(2).to_bytes(2, "big")
        + source.number(4).to_bytes(4, "big")
        + source.number(2).to_bytes(2, "big")
    )
    return raw(b"\x00\x0a\x00\x1f" + numbers)


def acknowledgements(source: Source) -> bytes:
    """ack, nack, reject and recover with tags that may not exist."""
    methods = (commands.Basic.Ack, commands.Basic.Nack, commands.Basic.Reject, commands.Basic.Recover)
    return b"".join(source.method(source.random.choice(methods)) for _ in range(4))


def mutation(source: Source) -> bytes:
    """A good conversation with some octets changed, dropped or doubled."""
    whole = bytearray(b"".join(step(source) for step in (*CHANNEL, *MESSAGE, consume)))
    for _ in range(source.random.choice((1, 1, 2, 5))):
        at = source.random.randrange(len(whole))
        how = source.random.randrange(3)
        if how == 0:
            whole[at] = source.random.randrange(256)
        elif how == 1:
            del whole[at : at + source.random.randrange(1, 9)]
        else:
            whole[at:at] = whole[at : at + source.random.randrange(1, 9)]
    return bytes(whole)


def huge_frame(source: Source) -> bytes:
    """A frame that announces far more than it may."""
    size = source.random.choice((4097, 8185, 131073, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1))
    return (
        bytes([source.random.choice((1, 2, 3))]) + b"\x00\x01" + size.to_bytes(4, "big") + source.octets(100)
    )


def nested_table(source: Source) -> bytes:
    """A declaration with a table nested very deeply."""
    bomb = source.bomb()
    return raw(b"\x00\x32\x00\x0a\x00\x00\x01b\x00" + len(bomb).to_bytes(4, "big") + bomb, 1)


KINDS: Final[dict[str, Callable[[Source], bytes]]] = {
    function.__name__: function
    for function in (
        noise,
        any_frame,
        any_method,
        channel_methods,
        unknown_method,
        content,
        publish_anywhere,
        bad_login,
        bad_tune,
        acknowledgements,
        mutation,
        huge_frame,
        nested_table,
    )
}
