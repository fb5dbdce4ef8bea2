"""What each method asks of a user's permissions: with just those it succeeds, without any one it is 403."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass

import aiormq
import pytest
import pytest_asyncio
from aiormq.abc import AbstractChannel, AbstractConnection

from interop_tests.asyncio_clients.deliveries import Deliveries, assert_usable
from interop_tests.broker_under_test import BrokerUnderTest
from interop_tests.deadlines import eventually, within
from interop_tests.names import Names
from interop_tests.users import Users

pytestmark = pytest.mark.asyncio

AccessRefused = aiormq.exceptions.ChannelAccessRefused
NotFound = aiormq.exceptions.ChannelNotFoundEntity
PreconditionFailed = aiormq.exceptions.ChannelPreconditionFailed

PERMISSIONS = ("configure", "write", "read")
NONE = "^$"


@pytest.fixture
def users(broker: BrokerUnderTest) -> Iterator[Users]:
    made = Users(broker)
    yield made
    made.remove_all()


@pytest.fixture
def user(users: Users, names: Names) -> str:
    """The name of a user with no permissions yet."""
    name = names.unique("user")
    users.put(name)
    return name


Login = Callable[[], Awaitable[AbstractConnection]]


@pytest_asyncio.fixture
async def log_in(users: Users, user: str) -> AsyncIterator[Login]:
    """A function that connects as the user."""
    opened: list[AbstractConnection] = []

    async def connect() -> AbstractConnection:
        opened.append(await within(aiormq.connect(users.url(user))))
        return opened[-1]

    yield connect
    for connection in opened:
        if not connection.is_closed:
            await within(connection.close())


@dataclass
class Place:
    """The names an operation works on; all but ``fresh`` ones are declared, by guest."""

    names: Names
    queue: str = ""
    other_queue: str = ""
    exchange: str = ""
    topic: str = ""
    destination: str = ""
    alternate: str = ""
    fresh_queue: str = ""
    fresh_exchange: str = ""

    @classmethod
    async def prepare(cls, channel: AbstractChannel, names: Names) -> Place:
        """Declare what operations work on, with a message in the queue."""
        place = cls(names)
        place.queue, place.other_queue = names.queue(), names.queue("dead")
        place.exchange, place.topic = names.exchange(), names.exchange("topic")
        place.destination, place.alternate = names.exchange("destination"), names.exchange("alternate")
        place.fresh_queue, place.fresh_exchange = names.queue("fresh"), names.exchange("fresh")
        await within(channel.queue_declare(place.queue))
        dead = {"x-dead-letter-exchange": place.alternate}
        await within(channel.queue_declare(place.other_queue, arguments=dead))  # type: ignore[arg-type]
        alternate = {"alternate-exchange": place.alternate}
        await within(channel.exchange_declare(place.exchange, arguments=alternate))  # type: ignore[arg-type]
        for exchange in (place.destination, place.alternate):
            await within(channel.exchange_declare(exchange))
        await within(channel.exchange_declare(place.topic, exchange_type="topic"))
        await within(channel.queue_bind(place.queue, place.exchange, "bound"))
        await within(channel.queue_bind(place.queue, place.topic, "bound"))
        await within(channel.exchange_bind(place.destination, place.exchange, "bound"))
        await within(channel.basic_publish(b"one", routing_key=place.queue))
        return place


Do = Callable[[AbstractChannel, Place], Awaitable[object]]


@dataclass(frozen=True)
class Operation:
    """A method, and the names it asks permissions on.

    Each name is that of an attribute of the place, or of an exchange that is always there.
    """

    name: str
    do: Do
    configure: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    read: tuple[str, ...] = ()

    def needs(self) -> list[tuple[str, str]]:
        """List permissions and names."""
        asked = {"configure": self.configure, "write": self.write, "read": self.read}
        return [(permission, name) for permission in PERMISSIONS for name in asked[permission]]


async def consume(channel: AbstractChannel, queue: str, **options: bool) -> None:
    consumer = await Deliveries.of(channel, queue, **options)
    await within(channel.basic_cancel(consumer.consumer_tag))


async def reply_consume(channel: AbstractChannel, place: Place) -> None:
    await Deliveries.of(channel, "amq.rabbitmq.reply-to", no_ack=True)


async def transaction(channel: AbstractChannel, place: Place) -> None:
    await within(channel.tx_select())
    await within(channel.tx_rollback())
    await within(channel.tx_commit())


def dead_letters_to(exchange: str) -> dict[str, object]:
    return {"x-dead-letter-exchange": exchange}


OPERATIONS = [
    Operation(
        "exchange.declare", lambda c, p: c.exchange_declare(p.fresh_exchange), configure=("fresh_exchange",)
    ),
    Operation(
        "exchange.declare again",
        lambda c, p: c.exchange_declare(p.exchange, arguments={"alternate-exchange": p.alternate}),
        configure=("exchange",),
    ),
    Operation(
        "exchange.declare with an alternate exchange",
        lambda c, p: c.exchange_declare(p.fresh_exchange, arguments={"alternate-exchange": p.alternate}),
        configure=("fresh_exchange",),
        read=("fresh_exchange",),
        write=("alternate",),
    ),
    Operation("exchange.delete", lambda c, p: c.exchange_delete(p.exchange), configure=("exchange",)),
    Operation(
        "exchange.delete of a missing one",
        lambda c, p: c.exchange_delete(p.fresh_exchange),
        configure=("fresh_exchange",),
    ),
    Operation(
        "exchange.bind",
        lambda c, p: c.exchange_bind(p.destination, p.alternate, "k"),
        write=("destination",),
        read=("alternate",),
    ),
    Operation(
        "exchange.bind again",
        lambda c, p: c.exchange_bind(p.destination, p.exchange, "bound"),
        write=("destination",),
        read=("exchange",),
    ),
    Operation(
        "exchange.bind to an exchange of its own as the source",
        lambda c, p: c.exchange_bind(p.destination, "amq.fanout", "k"),
        write=("destination",),
        read=("amq.fanout",),
    ),
    Operation(
        "exchange.unbind",
        lambda c, p: c.exchange_unbind(p.destination, p.exchange, "bound"),
        write=("destination",),
        read=("exchange",),
    ),
    Operation("queue.declare", lambda c, p: c.queue_declare(p.fresh_queue), configure=("fresh_queue",)),
    Operation("queue.declare again", lambda c, p: c.queue_declare(p.queue), configure=("queue",)),
    Operation(
        "queue.declare exclusive",
        lambda c, p: c.queue_declare(p.fresh_queue, exclusive=True),
        configure=("fresh_queue",),
    ),
    Operation(
        "queue.declare with a dead letter exchange",
        lambda c, p: c.queue_declare(p.fresh_queue, arguments=dead_letters_to(p.alternate)),  # type: ignore[arg-type]
        configure=("fresh_queue",),
        read=("fresh_queue",),
        write=("alternate",),
    ),
    Operation(
        "queue.declare with a dead letter exchange that is missing",
        lambda c, p: c.queue_declare(p.fresh_queue, arguments=dead_letters_to(p.fresh_exchange)),  # type: ignore[arg-type]
        configure=("fresh_queue",),
        read=("fresh_queue",),
        write=("fresh_exchange",),
    ),
    Operation(
        "queue.declare with the default exchange for dead letters",
        lambda c, p: c.queue_declare(p.fresh_queue, arguments=dead_letters_to("")),  # type: ignore[arg-type]
        configure=("fresh_queue",),
        read=("fresh_queue",),
        write=("amq.default",),
    ),
    Operation(
        "queue.declare with a dead letter exchange, again",
        lambda c, p: c.queue_declare(p.other_queue, arguments=dead_letters_to(p.alternate)),  # type: ignore[arg-type]
        configure=("other_queue",),
    ),
    Operation(
        "queue.bind",
        lambda c, p: c.queue_bind(p.queue, p.alternate, "k"),
        write=("queue",),
        read=("alternate",),
    ),
    Operation(
        "queue.bind again",
        lambda c, p: c.queue_bind(p.queue, p.exchange, "bound"),
        write=("queue",),
        read=("exchange",),
    ),
    Operation(
        "queue.bind to a topic exchange",
        lambda c, p: c.queue_bind(p.queue, p.topic, "k.#"),
        write=("queue",),
        read=("topic",),
    ),
    Operation(
        "queue.unbind",
        lambda c, p: c.queue_unbind(p.queue, p.exchange, "bound"),
        write=("queue",),
        read=("exchange",),
    ),
    Operation("queue.purge", lambda c, p: c.queue_purge(p.queue), read=("queue",)),
    Operation("queue.delete", lambda c, p: c.queue_delete(p.queue), configure=("queue",)),
    Operation(
        "queue.delete of a missing one",
        lambda c, p: c.queue_delete(p.fresh_queue),
        configure=("fresh_queue",),
    ),
    Operation("basic.get", lambda c, p: c.basic_get(p.queue, no_ack=True), read=("queue",)),
    Operation("basic.consume", lambda c, p: consume(c, p.queue), read=("queue",)),
    Operation("basic.consume without acks", lambda c, p: consume(c, p.queue, no_ack=True), read=("queue",)),
    Operation("basic.consume of direct replies", reply_consume),
    Operation(
        "basic.publish",
        lambda c, p: c.basic_publish(b"", exchange=p.exchange, routing_key="bound"),
        write=("exchange",),
    ),
    Operation(
        "basic.publish that reaches nobody",
        lambda c, p: c.basic_publish(b"", exchange=p.destination, routing_key="k"),
        write=("destination",),
    ),
    Operation(
        "basic.publish that goes on to an alternate exchange",
        lambda c, p: c.basic_publish(b"", exchange=p.exchange, routing_key="unbound"),
        write=("exchange",),
    ),
    Operation(
        "basic.publish to a topic exchange",
        lambda c, p: c.basic_publish(b"", exchange=p.topic, routing_key="bound"),
        write=("topic",),
    ),
    Operation(
        "basic.publish to the default exchange",
        lambda c, p: c.basic_publish(b"", routing_key=p.queue),
        write=("amq.default",),
    ),
    Operation(
        "basic.publish of a reply",
        lambda c, p: c.basic_publish(b"", routing_key="amq.rabbitmq.reply-to.nobody"),
        write=("amq.default",),
    ),
    Operation("basic.qos", lambda c, p: c.basic_qos(prefetch_count=5)),
    Operation("basic.cancel", lambda c, p: c.basic_cancel("nosuch")),
    Operation("basic.recover", lambda c, p: c.basic_recover(requeue=True)),
    Operation("confirm.select", lambda c, p: c.confirm_delivery()),
    Operation("tx", transaction),
]

CONFIRMS_OFF = ("tx", "confirm.select")

EVERY_NEED = [(operation, *need) for operation in OPERATIONS for need in operation.needs()]


def resolved(place: Place, name: str) -> str:
    """Give the name an attribute of the place stands for; others stand for themselves."""
    return str(getattr(place, name, name))


def just(place: Place, names: tuple[str, ...]) -> str:
    """Give an expression for these names and no others."""
    return "|".join(f"^{re.escape(resolved(place, name))}$" for name in names) or NONE


def all_but(name: str) -> str:
    """Give an expression for every name but one."""
    return f"^(?!{re.escape(name)}$)"


async def open_channel(connection: AbstractConnection, operation: Operation) -> AbstractChannel:
    return await within(connection.channel(publisher_confirms=operation.name not in CONFIRMS_OFF))


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
async def test_with_just_the_permissions_it_needs_a_method_succeeds(
    channel: AbstractChannel, log_in: Login, users: Users, user: str, names: Names, operation: Operation
) -> None:
    place = await Place.prepare(channel, names)
    granted = {
        "configure": operation.configure,
        "write": operation.write,
        "read": operation.read,
    }
    users.permit(user, **{permission: just(place, needed) for permission, needed in granted.items()})
    mine = await open_channel(await log_in(), operation)
    await within(operation.do(mine, place))  # type: ignore[arg-type]
    assert not mine.is_closed


@pytest.mark.parametrize(
    ("operation", "permission", "name"),
    EVERY_NEED,
    ids=[f"{operation.name}: {permission} {name}" for operation, permission, name in EVERY_NEED],
)
async def test_without_one_of_the_permissions_it_needs_a_method_is_403(
    channel: AbstractChannel,
    log_in: Login,
    users: Users,
    user: str,
    names: Names,
    operation: Operation,
    permission: str,
    name: str,
) -> None:
    place = await Place.prepare(channel, names)
    refused = resolved(place, name)
    users.permit(user, **{**dict.fromkeys(PERMISSIONS, ".*"), permission: all_but(refused)})
    connection = await log_in()
    mine = await open_channel(connection, operation)
    words = (
        rf"ACCESS_REFUSED - access to (queue|exchange) '{re.escape(refused)}' in vhost '/' refused for user"
    )
    with pytest.raises(AccessRefused, match=f"{words} '{user}'"):
        await within(operation.do(mine, place))  # type: ignore[arg-type]
    users.permit(user, ".*", ".*", ".*")
    await assert_usable(connection)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
async def test_without_any_permission_a_method_names_what_is_checked_first(
    channel: AbstractChannel, log_in: Login, users: Users, user: str, names: Names, operation: Operation
) -> None:
    place = await Place.prepare(channel, names)
    users.permit(user, NONE, NONE, NONE)
    mine = await open_channel(await log_in(), operation)
    if not operation.needs():
        await within(operation.do(mine, place))  # type: ignore[arg-type]
        return
    order = (*operation.configure, *operation.write, *operation.read)
    if operation.configure and operation.read:
        order = (*operation.configure, *operation.read, *operation.write)
    first = resolved(place, order[0])
    with pytest.raises(AccessRefused, match=f"'{re.escape(first)}'"):
        await within(operation.do(mine, place))  # type: ignore[arg-type]


# passive declarations


@pytest.mark.parametrize("permission", PERMISSIONS)
async def test_a_passive_declare_needs_any_of_the_three(
    channel: AbstractChannel, log_in: Login, users: Users, user: str, names: Names, permission: str
) -> None:
    place = await Place.prepare(channel, names)
    users.permit(user, **{permission: just(place, ("queue", "exchange"))})
    mine = await within((await log_in()).channel())
    await within(mine.queue_declare(place.queue, passive=True))
    await within(mine.exchange_declare(place.exchange, passive=True))


async def test_a_passive_declare_without_any_is_403(
    channel: AbstractChannel, log_in: Login, users: Users, user: str, names: Names
) -> None:
    place = await Place.prepare(channel, names)
    users.permit(user, *[all_but(place.queue)] * 3)
    connection = await log_in()
    with pytest.raises(AccessRefused, match=f"access to queue '{place.queue}' in vhost '/' refused"):
        await within((await within(connection.channel())).queue_declare(place.queue, passive=True))
    users.permit(user, *[all_but(place.exchange)] * 3)
    with pytest.raises(AccessRefused, match=f"access to exchange '{place.exchange}' in vhost '/' refused"):
        await within((await within(connection.channel())).exchange_declare(place.exchange, passive=True))


async def test_a_passive_declare_of_what_is_missing_is_404_with_any_permission(
    log_in: Login, users: Users, user: str, names: Names
) -> None:
    users.permit(user, "", ".*", "")
    connection = await log_in()
    with pytest.raises(NotFound):
        await within((await within(connection.channel())).queue_declare(names.queue(), passive=True))
    with pytest.raises(NotFound):
        await within((await within(connection.channel())).exchange_declare(names.exchange(), passive=True))


# names the broker makes up


async def test_a_server_named_queue_needs_configure_on_its_name(
    log_in: Login, users: Users, user: str
) -> None:
    users.permit(user, r"^amq\.gen-", "", "")
    connection = await log_in()
    answer = await within((await within(connection.channel())).queue_declare("", exclusive=True))
    assert str(answer.queue).startswith("amq.gen-")
    users.permit(user, r"^own\.", "", "")
    with pytest.raises(AccessRefused, match=r"access to queue 'amq\.gen-"):
        await within((await within(connection.channel())).queue_declare("", exclusive=True))


# refusals that come before permissions, and after


async def test_what_nobody_may_is_refused_in_its_own_words(log_in: Login, users: Users, user: str) -> None:
    users.permit(user, ".*", ".*", ".*")
    connection = await log_in()
    with pytest.raises(AccessRefused, match="default exchange"):
        await within((await within(connection.channel())).queue_bind("q", "", "k"))
    with pytest.raises(AccessRefused, match="default exchange"):
        await within((await within(connection.channel())).exchange_declare(""))


async def test_permission_comes_before_existence(
    log_in: Login, users: Users, user: str, names: Names
) -> None:
    users.permit(user, NONE, NONE, NONE)
    connection = await log_in()
    queue, exchange = names.queue(), names.exchange()
    attempts: list[Do] = [
        lambda c, p: c.basic_get(queue),
        lambda c, p: c.queue_purge(queue),
        lambda c, p: c.queue_bind(queue, exchange, ""),
        lambda c, p: c.basic_publish(b"", exchange=exchange),
        lambda c, p: consume(c, queue),
    ]
    for attempt in attempts:
        with pytest.raises(AccessRefused):
            await within(attempt(await within(connection.channel()), Place(names)))  # type: ignore[arg-type]


# topic permissions


async def test_topic_permissions_restrict_keys_of_publishing_and_binding(
    channel: AbstractChannel, log_in: Login, users: Users, user: str, names: Names
) -> None:
    place = await Place.prepare(channel, names)
    users.permit(user, ".*", ".*", ".*")
    users.permit_topics(user, place.topic, write=r"^{username}\.", read=r"^free\.")
    connection = await log_in()
    mine = await within(connection.channel())
    await within(mine.basic_publish(b"", exchange=place.topic, routing_key=f"{user}.x"))
    await within(mine.queue_bind(place.queue, place.topic, "free.#"))
    await within(mine.exchange_bind(place.destination, place.topic, "free.#"))
    await within(mine.queue_unbind(place.queue, place.topic, "free.#"))

    def refused(key: str) -> str:
        return (
            f"ACCESS_REFUSED - access to topic '{re.escape(key)}' in exchange '{place.topic}' in vhost '/' "
            f"refused for user '{user}'"
        )

    attempts: list[tuple[str, Do]] = [
        ("free.x", lambda c, p: c.basic_publish(b"", exchange=p.topic, routing_key="free.x")),
        (f"{user}.#", lambda c, p: c.queue_bind(p.queue, p.topic, f"{user}.#")),
        (f"{user}.#", lambda c, p: c.exchange_bind(p.destination, p.topic, f"{user}.#")),
        ("bound", lambda c, p: c.queue_unbind(p.queue, p.topic, "bound")),
        ("bound", lambda c, p: c.exchange_unbind(p.destination, p.topic, "bound")),
    ]
    for key, attempt in attempts:
        with pytest.raises(AccessRefused, match=refused(key)):
            await within(attempt(await within(connection.channel()), place))  # type: ignore[arg-type]


@pytest.mark.parametrize("header", ["CC", "BCC"])
async def test_topic_permissions_hold_for_further_keys_too(
    channel: AbstractChannel, log_in: Login, users: Users, user: str, names: Names, header: str
) -> None:
    place = await Place.prepare(channel, names)
    users.permit(user, ".*", ".*", ".*")
    users.permit_topics(user, place.topic, write=r"^free\.")
    connection = await log_in()
    properties = aiormq.spec.Basic.Properties(headers={header: ["free.b", "secret"]})
    mine = await within(connection.channel())
    with pytest.raises(AccessRefused, match="access to topic 'secret'"):
        await within(
            mine.basic_publish(b"", exchange=place.topic, routing_key="free.a", properties=properties)
        )


@pytest.mark.parametrize(("pattern", "allowed"), [("", True), ("^$", True), ("^x", False)])
async def test_an_empty_routing_key_matches_an_empty_expression(
    channel: AbstractChannel,
    log_in: Login,
    users: Users,
    user: str,
    names: Names,
    pattern: str,
    allowed: bool,
) -> None:
    place = await Place.prepare(channel, names)
    users.permit(user, ".*", ".*", ".*")
    users.permit_topics(user, place.topic, write=pattern)
    mine = await within((await log_in()).channel())
    publish = mine.basic_publish(b"", exchange=place.topic, routing_key="")
    if allowed:
        await within(publish)
    else:
        with pytest.raises(AccessRefused, match="access to topic ''"):
            await within(publish)


async def test_topic_permissions_of_other_exchange_types_mean_nothing(
    channel: AbstractChannel, log_in: Login, users: Users, user: str, names: Names
) -> None:
    place = await Place.prepare(channel, names)
    users.permit(user, ".*", ".*", ".*")
    users.permit_topics(user, place.exchange, write=NONE, read=NONE)
    mine = await within((await log_in()).channel())
    await within(mine.basic_publish(b"", exchange=place.exchange, routing_key="bound"))
    await within(mine.queue_bind(place.queue, place.exchange, "k"))


async def test_a_message_routed_on_is_not_checked_again(
    channel: AbstractChannel, log_in: Login, users: Users, user: str, names: Names
) -> None:
    place = await Place.prepare(channel, names)
    await within(channel.exchange_bind(place.topic, place.destination, "bound"))
    users.permit(user, "", just(place, ("destination",)), "")
    users.permit_topics(user, place.topic, write=NONE)
    mine = await within((await log_in()).channel())
    await within(mine.basic_publish(b"routed on", exchange=place.destination, routing_key="bound"))
    answer = await within(channel.queue_declare(place.queue, passive=True))
    assert answer.message_count == 2


# user-id


async def test_user_id_must_be_the_user_unless_it_may_impersonate(
    users: Users, user: str, names: Names, broker: BrokerUnderTest
) -> None:
    users.permit(user, ".*", ".*", ".*")

    async def publish_as(user_id: str) -> None:
        connection = await within(aiormq.connect(users.url(user)))
        try:
            channel = await within(connection.channel())
            properties = aiormq.spec.Basic.Properties(user_id=user_id)
            await within(channel.basic_publish(b"", routing_key=names.queue(), properties=properties))
        finally:
            if not connection.is_closed:
                await within(connection.close())

    await publish_as(user)
    with pytest.raises(
        PreconditionFailed,
        match=f"user_id property set to '{broker.user}' but authenticated user was '{user}'",
    ):
        await publish_as(broker.user)
    users.put(user, "impersonator")
    await publish_as(broker.user)


# connections


async def test_a_deleted_user_is_disconnected(log_in: Login, users: Users, user: str) -> None:
    users.permit(user, ".*", ".*", ".*")
    connections = [await log_in() for _ in range(2)]
    users.delete(user)

    async def closed() -> bool:
        return all(connection.is_closed for connection in connections)

    await eventually(closed, "both connections of the user are closed")
    for connection in connections:
        with pytest.raises(
            aiormq.exceptions.ConnectionClosed, match=f"CONNECTION_FORCED - user '{user}' is deleted"
        ):
            await connection.closing


async def test_too_many_channels_of_a_user_end_the_connection(log_in: Login, users: Users, user: str) -> None:
    users.permit(user, ".*", ".*", ".*")
    users.limit(user, "max-channels", 2)
    first, second = await log_in(), await log_in()
    await within(first.channel())
    await within(second.channel())
    words = (
        f"NOT_ALLOWED - number of channels opened for user '{user}' has reached the maximum allowed user "
        r"limit of \(2\)"
    )
    with pytest.raises(aiormq.exceptions.ConnectionNotAllowed, match=words):
        await within(first.channel())

    async def room() -> bool:
        return len(second.channels) == 1

    await eventually(room, "the other connection has its channel")
    users.limit(user, "max-channels", -1)
    for _ in range(3):
        await within(second.channel())
