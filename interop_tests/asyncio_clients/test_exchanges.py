"""Exchanges: declaring, binding, deleting, and what each type routes where."""

from __future__ import annotations

import aiormq
import pytest
from aiormq.abc import AbstractChannel, AbstractConnection
from pamqp.commands import Basic

from interop_tests.asyncio_clients.deliveries import (
    assert_usable,
    declare_queue,
    drain,
    get_body,
    ready_count,
)
from interop_tests.broker_under_test import BrokerUnderTest
from interop_tests.deadlines import eventually, within
from interop_tests.names import Names

pytestmark = pytest.mark.asyncio

AccessRefused = aiormq.exceptions.ChannelAccessRefused
NotFound = aiormq.exceptions.ChannelNotFoundEntity
PreconditionFailed = aiormq.exceptions.ChannelPreconditionFailed


async def is_routed(
    channel: AbstractChannel,
    exchange: str,
    routing_key: str = "",
    headers: dict[str, object] | None = None,
) -> bool:
    """Publish as mandatory and return whether any queue took the message."""
    try:
        await within(
            channel.basic_publish(
                b"x",
                exchange=exchange,
                routing_key=routing_key,
                mandatory=True,
                properties=Basic.Properties(headers=headers),  # type: ignore[arg-type]
            )
        )
    except aiormq.exceptions.PublishError:
        return False
    return True


async def bound_queue(
    channel: AbstractChannel, exchange: str, *keys: str, arguments: dict[str, object] | None = None
) -> str:
    """Declare an exclusive queue bound to an exchange and return its name."""
    queue = await declare_queue(channel)
    for key in keys or ("",):
        await within(channel.queue_bind(queue, exchange, key, arguments=arguments))  # type: ignore[arg-type]
    return queue


@pytest.mark.parametrize(
    ("exchange", "kind"),
    [
        ("amq.direct", "direct"),
        ("amq.fanout", "fanout"),
        ("amq.topic", "topic"),
        ("amq.headers", "headers"),
        ("amq.match", "headers"),
    ],
)
async def test_a_pre_declared_exchange_exists_and_may_be_redeclared_as_it_is(
    channel: AbstractChannel, exchange: str, kind: str
) -> None:
    await within(channel.exchange_declare(exchange, passive=True))
    await within(channel.exchange_declare(exchange, exchange_type=kind, durable=True))


@pytest.mark.parametrize("kind", ["direct", "fanout", "topic", "headers"])
@pytest.mark.parametrize("durable", [True, False])
async def test_an_exchange_is_declared_and_equally_redeclared(
    channel: AbstractChannel, names: Names, kind: str, durable: bool
) -> None:
    exchange = names.exchange(kind)
    for _ in range(2):
        await within(channel.exchange_declare(exchange, exchange_type=kind, durable=durable))
    await within(channel.exchange_declare(exchange, passive=True))


async def test_a_passive_declare_of_a_missing_exchange_is_404(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    with pytest.raises(NotFound, match="NOT_FOUND - no exchange '.*' in vhost '/'"):
        await within(channel.exchange_declare(names.exchange(), passive=True))
    await assert_usable(connection)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"exchange_type": "fanout"}, "inequivalent arg 'type' .*received 'fanout' but current is 'direct'"),
        ({"durable": True}, "inequivalent arg 'durable' .*received 'true' but current is 'false'"),
        ({"auto_delete": True}, "inequivalent arg 'auto_delete' .*received 'true' but current is 'false'"),
        ({"internal": True}, "inequivalent arg 'internal' .*received 'true' but current is 'false'"),
        ({"arguments": {"alternate-exchange": "amq.fanout"}}, "inequivalent arg 'alternate-exchange'"),
    ],
)
async def test_a_redeclare_that_differs_is_406(
    connection: AbstractConnection,
    channel: AbstractChannel,
    names: Names,
    change: dict[str, object],
    words: str,
) -> None:
    exchange = names.exchange()
    await within(channel.exchange_declare(exchange, exchange_type="direct"))
    with pytest.raises(PreconditionFailed, match=f"PRECONDITION_FAILED - {words}"):
        await within(channel.exchange_declare(exchange, **change))  # type: ignore[call-overload]
    await assert_usable(connection)


async def test_unknown_arguments_do_not_count_in_a_redeclare(channel: AbstractChannel, names: Names) -> None:
    exchange = names.exchange()
    await within(channel.exchange_declare(exchange, arguments={"x-team": "billing"}))
    await within(channel.exchange_declare(exchange, arguments={"x-team": "shipping"}))


@pytest.mark.parametrize("name", ["amq.mine", ""])
async def test_reserved_names_cannot_be_declared(
    connection: AbstractConnection, channel: AbstractChannel, name: str
) -> None:
    with pytest.raises(AccessRefused, match="ACCESS_REFUSED"):
        await within(channel.exchange_declare(name))
    await assert_usable(connection)


@pytest.mark.parametrize("name", ["amq.direct", ""])
async def test_reserved_exchanges_cannot_be_deleted(channel: AbstractChannel, name: str) -> None:
    with pytest.raises(AccessRefused, match="ACCESS_REFUSED"):
        await within(channel.exchange_delete(name))


async def test_an_unknown_exchange_type_is_a_channel_error_406(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    with pytest.raises(PreconditionFailed, match="unknown exchange type 'no-such-type'"):
        await within(channel.exchange_declare(names.exchange(), exchange_type="no-such-type"))
    await assert_usable(connection)


async def test_deleting_a_missing_exchange_is_fine(channel: AbstractChannel, names: Names) -> None:
    await within(channel.exchange_delete(names.exchange()))


async def test_deleting_an_exchange_removes_its_bindings(channel: AbstractChannel, names: Names) -> None:
    exchange = names.exchange()
    await within(channel.exchange_declare(exchange))
    queue = await bound_queue(channel, exchange, "key")
    await within(channel.exchange_delete(exchange))
    await within(channel.exchange_declare(exchange))
    assert not await is_routed(channel, exchange, "key")
    assert await ready_count(channel, queue) == 0


async def test_delete_if_unused_refuses_while_bound(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    exchange = names.exchange()
    await within(channel.exchange_declare(exchange))
    queue = await bound_queue(channel, exchange, "key")
    with pytest.raises(PreconditionFailed, match="in use"):
        await within(channel.exchange_delete(exchange, if_unused=True))
    channel = await within(connection.channel())
    await within(channel.queue_unbind(queue, exchange, "key"))
    await within(channel.exchange_delete(exchange, if_unused=True))


# Direct, fanout, default


async def test_the_default_exchange_routes_to_the_queue_named_by_the_key(channel: AbstractChannel) -> None:
    queue = await declare_queue(channel)
    assert await is_routed(channel, "", queue)
    assert not await is_routed(channel, "", queue + ".other")
    assert await get_body(channel, queue) == b"x"


@pytest.mark.parametrize("operation", ["bind", "unbind"])
async def test_the_default_exchange_cannot_be_bound(channel: AbstractChannel, operation: str) -> None:
    queue = await declare_queue(channel)
    act = channel.queue_bind if operation == "bind" else channel.queue_unbind
    with pytest.raises(AccessRefused, match="operation not permitted on the default exchange"):
        await within(act(queue, "", "key"))


async def test_a_direct_exchange_routes_by_the_exact_key(channel: AbstractChannel, names: Names) -> None:
    exchange = names.exchange()
    await within(channel.exchange_declare(exchange, exchange_type="direct"))
    red = await bound_queue(channel, exchange, "red")
    both = await bound_queue(channel, exchange, "red", "blue")
    for key in ("red", "blue", "green", "re", "redd", "RED"):
        await within(channel.basic_publish(key.encode(), exchange=exchange, routing_key=key))
    assert await drain(channel, red) == [b"red"]
    assert await drain(channel, both) == [b"red", b"blue"]


async def test_a_fanout_exchange_routes_to_every_bound_queue(channel: AbstractChannel, names: Names) -> None:
    exchange = names.exchange()
    await within(channel.exchange_declare(exchange, exchange_type="fanout"))
    queues = [await bound_queue(channel, exchange, key) for key in ("", "ignored", "also-ignored")]
    await within(channel.basic_publish(b"news", exchange=exchange, routing_key="whatever"))
    assert [await drain(channel, queue) for queue in queues] == [[b"news"]] * 3


async def test_a_queue_gets_one_copy_however_many_bindings_match(
    channel: AbstractChannel, names: Names
) -> None:
    exchange = names.exchange()
    await within(channel.exchange_declare(exchange, exchange_type="topic"))
    queue = await bound_queue(channel, exchange, "#", "a.#", "a.b", "*.b", "a.*")
    await within(channel.basic_publish(b"once", exchange=exchange, routing_key="a.b"))
    assert await drain(channel, queue) == [b"once"]


async def test_binding_twice_is_one_binding(channel: AbstractChannel, names: Names) -> None:
    exchange = names.exchange()
    await within(channel.exchange_declare(exchange))
    queue = await bound_queue(channel, exchange, "key", "key")
    await within(channel.queue_unbind(queue, exchange, "key"))
    assert not await is_routed(channel, exchange, "key")


async def test_unbinding_what_was_never_bound_is_fine(channel: AbstractChannel, names: Names) -> None:
    queue = await declare_queue(channel)
    await within(channel.queue_unbind(queue, "amq.direct", "never"))
    await within(channel.queue_unbind(names.queue(), "amq.direct", "never"))
    await within(channel.queue_unbind(queue, names.exchange(), "never"))


async def test_unbinding_tells_bindings_apart_by_their_arguments(
    channel: AbstractChannel, names: Names
) -> None:
    exchange = names.exchange()
    await within(channel.exchange_declare(exchange, exchange_type="direct"))
    queue = await declare_queue(channel)
    await within(channel.queue_bind(queue, exchange, "key", arguments={"side": "left"}))
    await within(channel.queue_bind(queue, exchange, "key", arguments={"side": "right"}))
    await within(channel.queue_unbind(queue, exchange, "key", arguments={"side": "left"}))
    assert await is_routed(channel, exchange, "key")
    await within(channel.queue_unbind(queue, exchange, "key", arguments={"side": "right"}))
    assert not await is_routed(channel, exchange, "key")


async def test_binding_a_missing_queue_or_exchange_is_404(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    with pytest.raises(NotFound, match="no queue"):
        await within(channel.queue_bind(names.queue(), "amq.direct", "key"))
    channel = await within(connection.channel())
    queue = await declare_queue(channel)
    with pytest.raises(NotFound, match="no exchange"):
        await within(channel.queue_bind(queue, names.exchange(), "key"))
    await assert_usable(connection)


# Topic


@pytest.mark.parametrize(
    ("pattern", "key", "matches"),
    [
        ("stock.nyse.ibm", "stock.nyse.ibm", True),
        ("stock.nyse.ibm", "stock.nyse", False),
        ("stock.*.ibm", "stock.nyse.ibm", True),
        ("stock.*.ibm", "stock..ibm", True),
        ("stock.*.ibm", "stock.ibm", False),
        ("stock.*.ibm", "stock.us.nyse.ibm", False),
        ("stock.#", "stock", True),
        ("stock.#", "stock.nyse.ibm", True),
        ("stock.#", "stockholm", False),
        ("stock.#.ibm", "stock.ibm", True),
        ("stock.#.ibm", "stock.us.nyse.ibm", True),
        ("stock.#.ibm", "stock.us.nyse.sun", False),
        ("#.ibm", "ibm", True),
        ("#.ibm", "stock.nyse.ibm", True),
        ("#", "", True),
        ("#", "any.thing.at.all", True),
        ("*", "", False),
        ("*", "word", True),
        ("*", "two.words", False),
        ("*.*", "two.words", True),
        ("*.#", "", False),
        ("*.#", "word", True),
        ("#.*", "two.words", True),
        ("#.a.#", "x.a.y", True),
        ("#.a.#", "a", True),
        ("#.a.#", "x.y", False),
        ("", "", True),
        ("", "word", False),
        ("a.b", "A.B", False),
        ("a*", "ab", False),
        ("größe.*", "größe.xl", True),
    ],
)
async def test_a_topic_pattern_matches_word_by_word(
    channel: AbstractChannel, names: Names, pattern: str, key: str, matches: bool
) -> None:
    exchange = names.exchange()
    await within(channel.exchange_declare(exchange, exchange_type="topic"))
    await bound_queue(channel, exchange, pattern)
    assert await is_routed(channel, exchange, key) is matches


async def test_unbinding_a_topic_pattern_leaves_the_others(channel: AbstractChannel, names: Names) -> None:
    exchange = names.exchange()
    await within(channel.exchange_declare(exchange, exchange_type="topic"))
    queue = await bound_queue(channel, exchange, "a.*", "a.#")
    await within(channel.queue_unbind(queue, exchange, "a.#"))
    assert await is_routed(channel, exchange, "a.b")
    assert not await is_routed(channel, exchange, "a.b.c")


# Headers

ALL = {"x-match": "all", "format": "pdf", "pages": 3}
ANY = {"x-match": "any", "format": "pdf", "pages": 3}
ALL_X = {"x-match": "all-with-x", "format": "pdf", "x-tenant": "acme"}
ANY_X = {"x-match": "any-with-x", "format": "pdf", "x-tenant": "acme"}


@pytest.mark.parametrize(
    ("binding", "headers", "matches"),
    [
        pytest.param(ALL, {"format": "pdf", "pages": 3, "more": 1}, True, id="all: every header"),
        pytest.param(ALL, {"format": "pdf"}, False, id="all: one missing"),
        pytest.param(ALL, {"format": "pdf", "pages": 4}, False, id="all: one different"),
        pytest.param({"format": "pdf"}, {"format": "pdf"}, True, id="all is the default"),
        pytest.param({"format": "pdf"}, {}, False, id="all is the default: missing"),
        pytest.param({"x-match": "all"}, {}, True, id="all: empty matches"),
        pytest.param({"x-match": "any"}, {"format": "pdf"}, False, id="any: empty never matches"),
        pytest.param(ANY, {"pages": 3}, True, id="any: one of them"),
        pytest.param(ANY, {"pages": 4, "format": "ps"}, False, id="any: both different"),
        pytest.param({**ALL, "x-tenant": "acme"}, {"format": "pdf", "pages": 3}, True, id="all ignores x-"),
        pytest.param(
            {"x-match": "any", "x-tenant": "acme"}, {"x-tenant": "acme"}, False, id="any ignores x-"
        ),
        pytest.param(ALL_X, {"format": "pdf", "x-tenant": "acme"}, True, id="all-with-x: both"),
        pytest.param(ALL_X, {"format": "pdf"}, False, id="all-with-x: x- missing"),
        pytest.param(ANY_X, {"x-tenant": "acme"}, True, id="any-with-x: only x-"),
        pytest.param(ANY_X, {"x-tenant": "other"}, False, id="any-with-x: x- different"),
        pytest.param({"format": None}, {"format": "anything"}, True, id="void means presence"),
        pytest.param({"format": None}, {}, False, id="void: absent"),
        pytest.param({"pages": 1}, {"pages": 1.0}, True, id="int equals float by value"),
        pytest.param({"pages": 1}, {"pages": 2**40}, False, id="another int"),
        pytest.param({"pages": 2**40}, {"pages": 2**40}, True, id="long equals long"),
        pytest.param({"pages": 1}, {"pages": "1"}, False, id="int is not a string"),
        pytest.param({"pages": 1}, {"pages": True}, False, id="int is not a boolean"),
        pytest.param({"urgent": True}, {"urgent": True}, True, id="boolean"),
    ],
)
async def test_a_headers_exchange_matches(
    channel: AbstractChannel,
    names: Names,
    binding: dict[str, object],
    headers: dict[str, object],
    matches: bool,
) -> None:
    exchange = names.exchange()
    await within(channel.exchange_declare(exchange, exchange_type="headers"))
    await bound_queue(channel, exchange, arguments=binding)
    assert await is_routed(channel, exchange, "ignored", headers) is matches


async def test_a_headers_binding_with_a_bad_x_match_is_406(
    connection: AbstractConnection, channel: AbstractChannel
) -> None:
    queue = await declare_queue(channel)
    with pytest.raises(PreconditionFailed, match="x-match"):
        await within(channel.queue_bind(queue, "amq.headers", arguments={"x-match": "some"}))
    await assert_usable(connection)


# Exchange to exchange


async def test_a_message_travels_through_bound_exchanges(channel: AbstractChannel, names: Names) -> None:
    source, middle = names.exchange("source"), names.exchange("middle")
    await within(channel.exchange_declare(source, exchange_type="topic"))
    await within(channel.exchange_declare(middle, exchange_type="fanout"))
    await within(channel.exchange_bind(middle, source, "orders.#"))
    queue = await bound_queue(channel, middle)
    assert await is_routed(channel, source, "orders.new")
    assert not await is_routed(channel, source, "invoices.new")
    message = await within(channel.basic_get(queue, no_ack=True))
    assert (message.exchange, message.routing_key) == (source, "orders.new")

    await within(channel.exchange_unbind(middle, source, "orders.#"))
    assert not await is_routed(channel, source, "orders.new")


async def test_a_cycle_of_exchanges_routes_one_copy(channel: AbstractChannel, names: Names) -> None:
    ring = [names.exchange(str(number)) for number in range(3)]
    for exchange in ring:
        await within(channel.exchange_declare(exchange, exchange_type="fanout"))
    for number, exchange in enumerate(ring):
        await within(channel.exchange_bind(ring[(number + 1) % 3], exchange))
    queues = [await bound_queue(channel, exchange) for exchange in ring]
    await within(channel.basic_publish(b"round", exchange=ring[0]))
    assert [await drain(channel, queue) for queue in queues] == [[b"round"]] * 3


@pytest.mark.parametrize("side", ["source", "destination"])
async def test_the_default_exchange_cannot_be_bound_to_an_exchange(
    channel: AbstractChannel, side: str
) -> None:
    source, destination = ("", "amq.fanout") if side == "source" else ("amq.fanout", "")
    with pytest.raises(AccessRefused):
        await within(channel.exchange_bind(destination, source, "key"))


@pytest.mark.parametrize("side", ["source", "destination"])
async def test_binding_a_missing_exchange_to_an_exchange_is_404(
    channel: AbstractChannel, names: Names, side: str
) -> None:
    missing = names.exchange("missing")
    source, destination = (missing, "amq.fanout") if side == "source" else ("amq.fanout", missing)
    with pytest.raises(NotFound, match="no exchange"):
        await within(channel.exchange_bind(destination, source, "key"))


async def test_unbinding_exchanges_that_were_never_bound_is_fine(channel: AbstractChannel) -> None:
    await within(channel.exchange_unbind("amq.fanout", "amq.topic", "never"))


# Alternate exchange, internal, auto-delete


async def test_the_alternate_exchange_takes_what_nothing_else_took(
    channel: AbstractChannel, names: Names
) -> None:
    alternate, exchange = names.exchange("alternate"), names.exchange("main")
    await within(channel.exchange_declare(alternate, exchange_type="fanout"))
    await within(channel.exchange_declare(exchange, arguments={"alternate-exchange": alternate}))
    routed, unrouted = await bound_queue(channel, exchange, "known"), await bound_queue(channel, alternate)
    assert await is_routed(channel, exchange, "known")
    assert await is_routed(channel, exchange, "unknown"), "what the alternate exchange took is no return"
    assert await ready_count(channel, routed) == 1
    message = await within(channel.basic_get(unrouted, no_ack=True))
    assert (message.exchange, message.routing_key) == (exchange, "unknown")
    assert await ready_count(channel, unrouted) == 0


async def test_a_missing_alternate_exchange_is_ignored(channel: AbstractChannel, names: Names) -> None:
    exchange = names.exchange()
    await within(
        channel.exchange_declare(exchange, arguments={"alternate-exchange": names.exchange("later")})
    )
    assert not await is_routed(channel, exchange, "unknown")


async def test_alternate_exchanges_that_form_a_cycle_end(channel: AbstractChannel, names: Names) -> None:
    one, two = names.exchange("one"), names.exchange("two")
    await within(channel.exchange_declare(one, arguments={"alternate-exchange": two}))
    await within(channel.exchange_declare(two, arguments={"alternate-exchange": one}))
    assert not await is_routed(channel, one, "unknown")


async def test_an_internal_exchange_is_bound_but_not_published_to(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    outer, inner = names.exchange("outer"), names.exchange("inner")
    await within(channel.exchange_declare(outer, exchange_type="fanout"))
    await within(channel.exchange_declare(inner, exchange_type="fanout", internal=True))
    await within(channel.exchange_bind(inner, outer))
    queue = await bound_queue(channel, inner)
    assert await is_routed(channel, outer)
    assert await ready_count(channel, queue) == 1
    with pytest.raises(AccessRefused, match="cannot publish to internal exchange"):
        await within(channel.basic_publish(b"x", exchange=inner))
    await assert_usable(connection)


async def exchange_is_gone(connection: AbstractConnection, exchange: str) -> bool:
    """Return whether an exchange is missing, asked on a channel of its own."""
    probe = await within(connection.channel())
    try:
        await within(probe.exchange_declare(exchange, passive=True))
    except NotFound:
        return True
    await within(probe.close())
    return False


async def test_an_auto_delete_exchange_goes_with_its_last_binding(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    exchange = names.exchange()
    await within(channel.exchange_declare(exchange, auto_delete=True))
    assert not await exchange_is_gone(connection, exchange), "it never had a binding"
    queue = await bound_queue(channel, exchange, "one", "two")
    await within(channel.queue_unbind(queue, exchange, "one"))
    assert not await exchange_is_gone(connection, exchange), "it still has a binding"
    await within(channel.queue_unbind(queue, exchange, "two"))
    assert await exchange_is_gone(connection, exchange)


async def test_an_auto_delete_exchange_goes_with_the_queue_it_was_bound_to(
    connection: AbstractConnection, channel: AbstractChannel, names: Names
) -> None:
    exchange = names.exchange()
    await within(channel.exchange_declare(exchange, auto_delete=True))
    queue = await bound_queue(channel, exchange, "key")
    await within(channel.queue_delete(queue))

    async def gone() -> bool:
        return await exchange_is_gone(connection, exchange)

    await eventually(gone, "the exchange is deleted")


# Types that RabbitMQ has as plugins


async def declare_plugin_exchange(
    broker: BrokerUnderTest, channel: AbstractChannel, name: str, kind: str, **options: object
) -> None:
    """Declare an exchange of a type that is a plugin in RabbitMQ; skip where it is not enabled."""
    try:
        await within(channel.exchange_declare(name, exchange_type=kind, **options))  # type: ignore[call-overload]
    except aiormq.exceptions.ConnectionCommandInvalid:
        if broker.is_rabbitmq:
            pytest.skip(f"this RabbitMQ has no plugin for {kind} enabled")
        raise


async def test_a_consistent_hash_exchange_sends_a_key_always_to_the_same_queue(
    broker: BrokerUnderTest, channel: AbstractChannel, names: Names
) -> None:
    exchange = names.exchange()
    await declare_plugin_exchange(broker, channel, exchange, "x-consistent-hash")
    queues = [await bound_queue(channel, exchange, "10") for _ in range(3)]
    for key in [f"customer-{number}" for number in range(60)] * 2:
        await within(channel.basic_publish(key.encode(), exchange=exchange, routing_key=key))
    shares = [await drain(channel, queue) for queue in queues]
    assert sum(map(len, shares)) == 120
    assert all(shares), f"one queue got nothing: {list(map(len, shares))}"
    for share in shares:
        assert all(share.count(key) == 2 for key in share), "a key went to two queues"


async def test_a_consistent_hash_exchange_can_hash_a_header(
    broker: BrokerUnderTest, channel: AbstractChannel, names: Names
) -> None:
    exchange = names.exchange()
    await declare_plugin_exchange(
        broker, channel, exchange, "x-consistent-hash", arguments={"hash-header": "customer"}
    )
    queues = [await bound_queue(channel, exchange, "10") for _ in range(2)]
    for number in range(20):
        properties = Basic.Properties(headers={"customer": "the same"})
        await within(
            channel.basic_publish(b"x", exchange=exchange, routing_key=str(number), properties=properties)
        )
    assert sorted([await ready_count(channel, queue) for queue in queues]) == [0, 20]


async def test_a_consistent_hash_binding_key_must_be_a_weight(
    broker: BrokerUnderTest, channel: AbstractChannel, names: Names
) -> None:
    exchange = names.exchange()
    await declare_plugin_exchange(broker, channel, exchange, "x-consistent-hash")
    queue = await declare_queue(channel)
    with pytest.raises(PreconditionFailed):
        await within(channel.queue_bind(queue, exchange, "heavy"))


async def test_a_random_exchange_sends_each_message_to_one_queue(
    broker: BrokerUnderTest, channel: AbstractChannel, names: Names
) -> None:
    exchange = names.exchange()
    await declare_plugin_exchange(broker, channel, exchange, "x-random")
    queues = [await bound_queue(channel, exchange) for _ in range(2)]
    for _ in range(60):
        assert await is_routed(channel, exchange, "any")
    counts = [await ready_count(channel, queue) for queue in queues]
    assert sum(counts) == 60
    assert all(counts), f"60 tosses all fell on one side: {counts}"


async def test_a_modulus_hash_exchange_sends_a_key_always_to_the_same_queue(
    broker: BrokerUnderTest, channel: AbstractChannel, names: Names
) -> None:
    exchange = names.exchange()
    await declare_plugin_exchange(broker, channel, exchange, "x-modulus-hash")
    queues = [await bound_queue(channel, exchange) for _ in range(3)]
    for key in [f"customer-{number}" for number in range(40)] * 2:
        await within(channel.basic_publish(key.encode(), exchange=exchange, routing_key=key))
    shares = [await drain(channel, queue) for queue in queues]
    assert sum(map(len, shares)) == 80
    for share in shares:
        assert all(share.count(key) == 2 for key in share), "a key went to two queues"


async def test_a_recent_history_exchange_gives_a_new_queue_the_last_messages(
    broker: BrokerUnderTest, channel: AbstractChannel, names: Names
) -> None:
    exchange = names.exchange()
    arguments = {"x-recent-history-length": 2}
    await declare_plugin_exchange(broker, channel, exchange, "x-recent-history", arguments=arguments)
    early = await bound_queue(channel, exchange)
    for body in (b"one", b"two", b"three"):
        await within(channel.basic_publish(body, exchange=exchange))
    secret = Basic.Properties(headers={"x-recent-history-no-store": True})
    await within(channel.basic_publish(b"secret", exchange=exchange, properties=secret))
    late = await bound_queue(channel, exchange)

    async def both_arrived() -> bool:
        return await ready_count(channel, late) == 2

    await eventually(both_arrived, "two messages of history")
    assert sorted(await drain(channel, late)) == [b"three", b"two"]
    assert await drain(channel, early) == [b"one", b"two", b"three", b"secret"]
