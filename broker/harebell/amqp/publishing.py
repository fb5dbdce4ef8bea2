"""Publishing what needs a closer look: properties that mean something to the broker, dynamic routes.

The checks come in RabbitMQ's order: route errors (permission, existence, internal), reply-to,
expiration, CC and BCC, topic permission, user-id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import i16, i64

from harebell.amqp.checking import asks_for_check, check
from harebell.amqp.delivery import write_return
from harebell.amqp.intake import slow_down
from harebell.amqp.outbox import Outbox
from harebell.amqp.transactions import Publish
from harebell.content.message import Message
from harebell.content.properties import (
    EXPIRATION,
    REPLY_TO,
    Properties,
    parse_properties,
    with_reply_to,
    without_headers,
)
from harebell.content.scanning import PLUS, expiration_of
from harebell.engine.dead_letter import has_history, without_history
from harebell.engine.delay import Wait, WaitingCopy, wait_of
from harebell.engine.exchanges.recent_history import RecentHistoryExchange
from harebell.engine.message_uids import asks_for_uid, with_uid
from harebell.engine.queues.queue import Queue
from harebell.engine.routing import (
    Route,
    any_durable,
    any_journaling_all,
    enqueue_with_copies,
    known_already,
    with_histories,
)
from harebell.errors import (
    NO_CONSUMERS,
    NO_ROUTE,
    PRECONDITION_FAILED,
    SYNTAX_ERROR,
    BrokerError,
    MalformedContent,
)

if TYPE_CHECKING:
    from harebell.amqp.channel import Channel

PSEUDO_QUEUES: Final = (b"amq.rabbitmq.reply-to", b"amq.direct.reply-to")
MAX_EXPIRATION_MS: Final = 315_360_000_000
MOST_DIGITS: Final = 20
NO_ROUTE_TEXT: Final = b"\x08NO_ROUTE"
NO_CONSUMERS_TEXT: Final = b"\x0cNO_CONSUMERS"


def return_unrouted(out: Outbox, wire: i16, message: Message) -> None:
    """Send ``basic.return`` 312 NO_ROUTE."""
    write_return(out, wire, NO_ROUTE.code, NO_ROUTE_TEXT, message)


def publish_with_care(channel: Channel, route: Route, header: bytes, body: bytes) -> i64:
    """Check, route and enqueue one message; the general path.

    Returns:
        The lsn its confirm waits for; negative if a queue refused it.

    Raises:
        BrokerError: as the module says.
    """
    if route.error is not None:
        raise route.error
    try:
        properties = parse_properties(header)
    except MalformedContent as error:
        raise BrokerError(SYNTAX_ERROR, "malformed content header: " + str(error)) from error
    mode: i64 = properties.delivery_mode
    if mode != 1 and mode != 2 and properties.flags & 0x1000 != 0:
        raise BrokerError(PRECONDITION_FAILED, "invalid delivery mode " + str(mode))
    header = _rewrite_reply_to(channel, properties, header)
    if properties.expiration_at >= 0 and not _is_usual_expiration(properties):
        check_expiration(properties.raw_text(EXPIRATION))
    queues = route.queues
    ids = None if route.exchange is None else route.exchange.ids
    if ids is not None and channel.transaction is None and ids.knows(header):
        return known_already(ids, route.tally)
    wait = _delay(channel, route, properties)
    if wait is None and properties.headers_start < 0 and properties.user_id_at < 0 and not route.dynamic:
        message = _made(channel, route, properties, header, body, queues)
        if asks_for_check(route, queues):
            return _check_and_hand_in(channel, route, properties, message, queues, [], ())
        return _hand_in(channel, route, message, queues, ())
    remembering: list[RecentHistoryExchange] = []
    keys = [route.routing_key]
    if properties.headers_start >= 0:
        header = _sender_selected(properties, header, keys)
        if not channel.connection.continues_death_history and has_history(properties.payload):
            header = without_history(header)
    waits: list[Wait] | None = None
    if wait is not None:
        # The exchange hands on nothing before its time has come.
        queues = []
        waits = [wait]
        _check_keys(channel, route, keys)
    elif route.dynamic or len(keys) > 1:
        vhost = channel.connection.vhost
        user = channel.connection.user
        assert vhost is not None and user is not None
        now: i64 = channel.clock.wall
        queues, remembering, waits = vhost.route_content(user, route, properties, keys, now)
    if properties.user_id_at >= 0:
        _check_user_id(channel, properties)
    message = _made(channel, route, properties, header, body, queues)
    copies = _copies(channel, message, keys, waits) if waits else ()
    if asks_for_check(route, queues):
        return _check_and_hand_in(channel, route, properties, message, queues, remembering, copies)
    for exchange in remembering:
        exchange.remember(message, properties)
    return _hand_in(channel, route, message, queues, copies)


def _delay(channel: Channel, route: Route, properties: Properties) -> Wait | None:
    """Tell whether the exchange published to delays a message; those behind it are asked on the way."""
    exchange = route.exchange
    options = None if exchange is None else exchange.options
    if exchange is None or options is None or not options.delayed:
        return None
    return wait_of(properties, exchange, options, channel.clock.wall)


def _check_keys(channel: Channel, route: Route, keys: list[str]) -> None:
    vhost = channel.connection.vhost
    user = channel.connection.user
    assert vhost is not None and user is not None and route.exchange is not None
    vhost.check_keys(user, route.exchange, keys)


def _copies(
    channel: Channel, message: Message, keys: list[str], waits: list[Wait]
) -> tuple[WaitingCopy, ...]:
    """Make what waits at exchanges that delay a message; so it counts as routed."""
    vhost = channel.connection.vhost
    assert vhost is not None and vhost.delays is not None
    return vhost.delays.copies(message, keys, waits)


def _check_and_hand_in(
    channel: Channel,
    route: Route,
    properties: Properties,
    message: Message,
    queues: list[Queue],
    remembering: list[RecentHistoryExchange],
    copies: tuple[WaitingCopy, ...],
) -> i64:
    """Put a message where it fits the schemas; exchanges remember what fits somewhere."""
    verdict = check(channel, route, properties, message, queues, bool(copies))
    if verdict.ended:
        return verdict.lsn
    for exchange in remembering:
        exchange.remember(message, properties)
    return verdict.confirmed(_hand_in(channel, route, message, verdict.queues, copies))


def _made(
    channel: Channel, route: Route, properties: Properties, header: bytes, body: bytes, queues: list[Queue]
) -> Message:
    """Make the message, and have its queues ready for a deadline if it has one."""
    if properties.expiration_at >= 0:
        for queue in queues:
            queue.expect_deadlines()
    if asks_for_uid(route, queues):
        header = with_uid(properties, header, channel.connection.broker.uids, channel.clock.wall)
    persistent = properties.delivery_mode == 2 or any_journaling_all(queues)
    message = Message(route.address, header, body, persistent)
    message.arrived = channel.clock.wall
    return message


def _hand_in(
    channel: Channel, route: Route, message: Message, queues: list[Queue], copies: tuple[WaitingCopy, ...]
) -> i64:
    """Put a message into its queues, and its copies where they wait; at the commit, in a transaction."""
    slow_down(channel, queues)
    durable = any_durable(queues)
    transaction = channel.transaction
    if transaction is not None:
        transaction.octets += message.size() * max(1, len(copies) + min(1, len(queues)))
        if transaction.octets > channel.connection.max_transaction_size:
            raise BrokerError(
                PRECONDITION_FAILED,
                "transaction is larger than the limit of "
                + str(channel.connection.max_transaction_size)
                + " bytes",
            )
        transaction.publishes.append(Publish(message, queues, copies, durable, route))
        return 0
    route.tally.received += 1
    if route.immediate:
        taking = with_histories([queue for queue in queues if queue.can_deliver_now()])
        if not taking and (queues or copies or not route.mandatory):
            channel.returned += 1
            route.tally.returned += 1
            write_return(channel.out, channel.wire, NO_CONSUMERS.code, NO_CONSUMERS_TEXT, message)
            return 0
        queues = taking
        copies = ()
    if not queues and not copies:
        channel.unrouted(route, message)
    # Copies are counted when they are routed.
    route.tally.routed += len(queues)
    ids = None if route.exchange is None else route.exchange.ids
    return enqueue_with_copies(message, queues, copies, durable, channel.connection.journal, ids)


def _rewrite_reply_to(channel: Channel, properties: Properties, header: bytes) -> bytes:
    if properties.reply_to_at < 0 or properties.raw_text(REPLY_TO) not in PSEUDO_QUEUES:
        return header
    reply_queue = channel.reply_queue
    if reply_queue is None:
        raise BrokerError(PRECONDITION_FAILED, "fast reply consumer does not exist")
    return with_reply_to(header, reply_queue.name.encode())


def _is_usual_expiration(properties: Properties) -> bool:
    """Tell whether the expiration is certainly valid, without making anything of it; most are."""
    payload = properties.payload
    at = properties.expiration_at
    return (
        0 < payload[at] <= MOST_DIGITS
        and payload[at + 1] != PLUS
        and 0 <= expiration_of(payload) <= MAX_EXPIRATION_MS
    )


def check_expiration(expiration: bytes | None) -> None:
    """Check the ``expiration`` property: a whole number of milliseconds in decimal digits.

    Raises:
        BrokerError: PRECONDITION_FAILED.
    """
    if expiration is None:
        return
    digits = expiration[1:] if expiration[:1] == b"+" else expiration
    if not digits or len(digits) > MOST_DIGITS or not digits.isdigit() or int(digits) > MAX_EXPIRATION_MS:
        text = expiration.decode("utf-8", "replace")
        raise BrokerError(PRECONDITION_FAILED, "invalid expiration '" + text + "'")


def _sender_selected(properties: Properties, header: bytes, keys: list[str]) -> bytes:
    """Add the keys of the CC and BCC headers and take BCC out of the header.

    Entries that are no strings are passed over (observed on RabbitMQ).
    """
    # Not `in`, which tries whether the octets are a number first, and fails with an exception inside.
    raw = properties.payload
    if raw.find(b"CC") < 0 or (raw.find(b"\x02CC") < 0 and raw.find(b"\x03BCC") < 0):
        return header
    headers = properties.headers()
    for name in ("CC", "BCC"):
        if name not in headers:
            continue
        value = headers[name]
        if not isinstance(value, list):
            raise BrokerError(PRECONDITION_FAILED, "invalid header '" + name + "': not an array of strings")
        keys.extend([key for key in value if isinstance(key, str)])
    keys[:] = dict.fromkeys(keys)
    if "BCC" in headers:
        return without_headers(header, [b"BCC"])
    return header


def _check_user_id(channel: Channel, properties: Properties) -> None:
    user = channel.connection.user
    name = properties.text("user_id")
    assert user is not None and name is not None
    if name != user.name and "impersonator" not in user.tags:
        raise BrokerError(
            PRECONDITION_FAILED,
            "user_id property set to '" + name + "' but authenticated user was '" + user.name + "'",
        )
