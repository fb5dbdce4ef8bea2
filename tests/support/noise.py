"""Random conversations: plausible frames with odd arguments, and ways to damage them.

Everything is drawn from one ``random.Random``, so a seed says all.
"""

from __future__ import annotations

from decimal import Decimal
from random import Random

from pamqp import commands

from harebell.amqp.method_codec import METHODS, SPECS, encode
from harebell.content.properties import build_header
from harebell.content.table import Table, Timestamp
from tests.support.client import ClientChannel
from tests.support.wire import raw_frame, short

EXCHANGES = {
    "direct": "direct",
    "other": "direct",
    "brief": "direct",
    "fanout": "fanout",
    "alternate": "fanout",
    "topic": "topic",
    "headers": "headers",
    "hash": "x-consistent-hash",
    "modulus": "x-modulus-hash",
    "random": "x-random",
    "history": "x-recent-history",
}
QUEUES = ("q", "q1", "q2")
ODD = "\udcff\udcfe"
"""A name that is no UTF-8 on the wire."""

NAMES: dict[str, tuple[str, ...]] = {
    "consumer_tag": ("t1", "t2", ""),
    "exchange": (*EXCHANGES, "amq.topic", "", "nosuch", ODD),
    "source": (*EXCHANGES, "amq.fanout", "nosuch"),
    "destination": (*EXCHANGES, "amq.fanout", "nosuch"),
    "exchange_type": (*EXCHANGES.values(), "nosuch"),
    "queue": (*QUEUES, "q3", "", "amq.rabbitmq.reply-to", ODD),
    "routing_key": (*QUEUES, "", "1", "5", "a.b", "#", "*.b", "a.#", "x" * 255, ODD),
}
ARGUMENTS = (
    *("x-queue-type", "x-expires", "x-message-ttl", "x-dead-letter-exchange", "x-dead-letter-routing-key"),
    *("x-max-length", "x-overflow", "x-max-priority", "x-single-active-consumer", "x-priority", "x-match"),
    *("alternate-exchange", "x-recent-history-length", "hash-header", "hash-property", "x-queue-mode"),
    *("x-recent-history-no-store", "CC", "BCC", "a", "", ODD),
)
WORDS = (
    "q",
    "all",
    "any",
    "any-with-x",
    "quorum",
    "classic",
    "stream",
    "drop-head",
    "amq.fanout",
    "é" * 100,
    ODD,
)
SELDOM = {"passive", "nowait", "exclusive", "auto_delete", "internal", "if_unused", "active"}

_WEIGHTS: dict[type, int] = {
    commands.Basic.Consume: 6,
    commands.Basic.Get: 4,
    commands.Basic.Ack: 4,
    commands.Basic.Nack: 4,
    commands.Basic.Reject: 2,
    commands.Queue.Declare: 6,
    commands.Queue.Bind: 6,
    commands.Exchange.Declare: 4,
    commands.Basic.Deliver: 0,
    commands.Basic.GetEmpty: 0,
    commands.Basic.Return: 0,
    commands.Basic.Publish: 0,
    commands.Channel.Close: 0,
    commands.Channel.Open: 0,
}
QUESTIONS = [
    index
    for index, method in METHODS.items()
    for _ in range(_WEIGHTS.get(method, 1))
    if index >> 16 != 10 and not method.__name__.endswith("Ok")
]


def value(random: Random, depth: int = 0) -> object:
    """Draw a field value of any type."""
    kind = random.randrange(14)
    if kind == 0:
        return None
    if kind == 1:
        return random.random() < 0.5
    if kind == 2:
        return random.choice([0, 1, -1, 255, 256, 1 << 31, (1 << 63) - 1, -(1 << 63), 10**12])
    if kind == 3:
        return random.choice([0.0, 1.5, float("nan"), float("inf")])
    if kind == 4:
        return random.randbytes(random.randrange(6))
    if kind == 5:
        return Timestamp(random.choice([0, 1, (1 << 63) - 1, (1 << 64) - 1]))
    if kind == 6:
        return Decimal(random.randrange(100)).scaleb(-random.randrange(5))
    if kind == 7 and depth < 3:
        return [value(random, depth + 1) for _ in range(random.randrange(3))]
    if kind == 8 and depth < 3:
        return table(random, depth + 1)
    return random.choice(WORDS) if kind % 2 else random.randrange(-10, 300)


def table(random: Random, depth: int = 0) -> Table:
    """Draw a field table, mostly a small one."""
    return {random.choice(ARGUMENTS): value(random, depth) for _ in range(random.choice([0, 0, 1, 1, 2, 4]))}


def arguments(random: Random, index: int) -> dict[str, object]:
    """Draw the arguments of a method, more often right than wrong."""
    drawn: dict[str, object] = {}
    for name, kind in SPECS[index]:
        if kind == "bit":
            drawn[name] = random.random() < (0.15 if name in SELDOM else 0.5)
        elif kind == "shortstr":
            drawn[name] = random.choice(NAMES.get(name, WORDS))
        elif kind == "longlong":
            drawn[name] = random.choice([0, 1, 1, 2, 2, 3, 4, 5, 6, (1 << 64) - 1])
        elif kind == "table":
            drawn[name] = table(random) if random.random() < 0.3 else {}
        elif kind == "short":
            drawn[name] = random.choice([0, 1, 2, 5, 65535])
        else:
            drawn[name] = 0
    if random.random() < 0.8 and drawn.get("exchange") in EXCHANGES and "exchange_type" in drawn:
        drawn["exchange_type"] = EXCHANGES[str(drawn["exchange"])]
    return drawn


def publish(random: Random, channel: int) -> bytes:
    """Draw a publish with its content."""
    names = [
        random.choice(NAMES[each]).encode("utf-8", "surrogateescape") for each in ("exchange", "routing_key")
    ]
    body = random.randbytes(random.choice([0, 1, 10, 5000]))
    properties: dict[str, object] = {}
    if random.random() < 0.4:
        properties["headers"] = table(random)
    if random.random() < 0.5:
        properties["delivery_mode"] = random.choice([1, 1, 1, 2, 2, 2, 3])
    for name, odd in (
        ("expiration", ("1", "x")),
        ("reply_to", ("amq.rabbitmq.reply-to", "z")),
        ("user_id", ("guest",)),
    ):
        if random.random() < 0.05:
            properties[name] = random.choice(odd)
    header = build_header(len(body), **properties)  # type: ignore[arg-type]
    flags = bytes([random.choice([0, 0, 0, 1, 2, 3])])
    frames = raw_frame(1, channel, b"\x00\x3c\x00\x28\x00\x00" + short(names[0]) + short(names[1]) + flags)
    frames += raw_frame(2, channel, header)
    cut = random.randrange(len(body) + 1)
    for piece in (body[:cut], body[cut:]):
        if piece:
            frames += raw_frame(3, channel, piece)
    return frames


def question(random: Random) -> bytes:
    """Draw something a client might say on channels 1 to 3."""
    channel = random.choice([1, 1, 2, 3])
    if random.random() < 0.4:
        return publish(random, channel)
    index = random.choice(QUESTIONS)
    return raw_frame(1, channel, encode(METHODS[index], **arguments(random, index)))


def damage(random: Random, data: bytes) -> bytes:
    """Change, cut, insert or remove a few octets."""
    damaged = bytearray(data)
    for _ in range(random.choice([1, 1, 2, 5])):
        at = random.randrange(len(damaged) + 1)
        kind = random.randrange(4)
        if kind == 0 and at < len(damaged):
            damaged[at] ^= random.randrange(1, 256)
        elif kind == 1:
            del damaged[at:]
        elif kind == 2:
            damaged[at:at] = random.randbytes(random.randrange(9))
        else:
            del damaged[at : at + random.randrange(9)]
    return bytes(damaged)


def furnish(random: Random, channel: ClientChannel, *, durable: bool = False) -> None:
    """Declare what most questions are about."""
    for name, kind in EXCHANGES.items():
        alternate = {"alternate-exchange": "alternate"} if name in ("headers", "topic") else {}
        channel.declare_exchange(
            name, kind, durable=durable, auto_delete=name == "brief", arguments={**alternate}
        )
    for queue in QUEUES:
        channel.declare_queue(queue, durable=durable)
    for name, kind in EXCHANGES.items():
        for queue in QUEUES[:2]:
            key = "1" if "hash" in kind else random.choice(QUEUES)
            channel.bind(queue, name, key, {"x-match": "any", "a": 1} if kind == "headers" else None)
        if random.random() < 0.5:
            channel.bind_exchange(random.choice(list(EXCHANGES)), name, "1")
