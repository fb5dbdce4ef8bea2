"""A virtual host: what it is born with, and the routes it remembers."""

from __future__ import annotations

import pytest

from harebell.content.message import address
from harebell.engine.routing import ROUTE_CACHE_LIMIT
from harebell.engine.vhost import PREDECLARED
from harebell.errors import ACCESS_REFUSED, NOT_FOUND, BrokerError
from harebell.ports import User
from tests.support.client import ClientChannel
from tests.support.node import Node

GUEST = User("guest", frozenset())


def publish_arguments(exchange: str, key: str, flags: int = 0) -> bytes:
    return address(exchange, key) + bytes([flags])


def test_it_is_born_with_the_predeclared_exchanges(node: Node) -> None:
    vhost = node.vhost
    assert [(x.name, x.type_name, x.internal) for x in vhost.exchanges.values()] == list(PREDECLARED)
    assert all(x.durable and not x.auto_delete for x in vhost.exchanges.values())
    assert not vhost.queues


@pytest.mark.parametrize("name", ["nosuch", "", "\udcff"])
def test_what_is_missing_is_not_found(node: Node, name: str) -> None:
    for look_up in (node.vhost.exchange, node.vhost.queue):
        with pytest.raises(BrokerError) as refused:
            look_up(name)
        assert refused.value.row is NOT_FOUND
        assert name in refused.value.text


def test_a_route_holds_address_flags_and_queues(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("q", durable=True)
    route = node.vhost.resolve(GUEST, publish_arguments("", "q", 0b11))
    assert (route.exchange_name, route.routing_key, route.address) == ("", "q", b"\x00\x01q")
    assert (route.mandatory, route.immediate, route.durable, route.dynamic) == (True, True, True, False)
    assert route.queues == [node.queue("q")]
    assert node.vhost.route_cache(GUEST)[publish_arguments("", "q", 0b11)] is route


def test_a_refused_route_is_not_remembered(node: Node) -> None:
    route = node.vhost.resolve(GUEST, publish_arguments("nosuch", "k"))
    assert route.error is not None and route.error.row is NOT_FOUND
    node.users.set_permissions("guest", "/", ".*", "", ".*")
    route = node.vhost.resolve(GUEST, publish_arguments("amq.direct", "k"))
    assert route.error is not None and route.error.row is ACCESS_REFUSED
    assert not node.vhost.route_cache(GUEST)


def test_a_dynamic_route_is_remembered_without_queues(node: Node, channel: ClientChannel) -> None:
    queue = channel.queue()
    channel.bind(queue, "amq.headers")
    route = node.vhost.resolve(GUEST, publish_arguments("amq.headers", "k"))
    assert route.dynamic and route.queues == []


def test_the_way_to_a_reply_is_never_remembered(node: Node, channel: ClientChannel) -> None:
    channel.consume("amq.rabbitmq.reply-to", no_ack=True)
    (name,) = node.vhost.reply_queues
    route = node.vhost.resolve(GUEST, publish_arguments("", name))
    assert [queue.name for queue in route.queues] == [name]
    assert publish_arguments("", name) not in node.vhost.route_cache(GUEST)


def test_users_do_not_share_routes(node: Node) -> None:
    other = User("other", frozenset())
    node.vhost.resolve(GUEST, publish_arguments("amq.fanout", ""))
    assert publish_arguments("amq.fanout", "") in node.vhost.route_cache(GUEST)
    assert not node.vhost.route_cache(other)


def test_the_memory_of_routes_is_bounded(node: Node) -> None:
    cache = node.vhost.route_cache(GUEST)
    for n in range(ROUTE_CACHE_LIMIT + 100):
        node.vhost.resolve(GUEST, publish_arguments("amq.direct", str(n)))
        assert len(cache) <= ROUTE_CACHE_LIMIT
    assert len(cache) > 0


@pytest.mark.parametrize(
    "change",
    [
        "declare queue",
        "delete queue",
        "bind",
        "unbind",
        "declare exchange",
        "delete exchange",
        "exclusive queue goes",
    ],
)
def test_every_change_of_topology_forgets_all_routes(node: Node, channel: ClientChannel, change: str) -> None:
    client = node.connect()
    mine = client.channel()
    mine.declare_queue("exclusive", exclusive=True)
    channel.declare_queue("q")
    channel.declare_exchange("x")
    channel.bind("q", "x", "k")
    node.vhost.resolve(GUEST, publish_arguments("amq.fanout", ""))
    match change:
        case "declare queue":
            channel.declare_queue("new")
        case "delete queue":
            channel.delete_queue("q")
        case "bind":
            channel.bind("q", "amq.fanout")
        case "unbind":
            channel.unbind("q", "x", "k")
        case "declare exchange":
            channel.declare_exchange("new")
        case "delete exchange":
            channel.delete_exchange("x")
        case _:
            client.hang_up()
    assert not node.vhost.route_cache(GUEST)


def test_an_odd_name_is_routed_octet_for_octet(node: Node) -> None:
    route = node.vhost.resolve(GUEST, b"\x00\x02\xff\xfe\x00")
    assert route.routing_key.encode("utf-8", "surrogateescape") == b"\xff\xfe"
    assert route.address == b"\x00\x02\xff\xfe"
