"""Following bindings: sets of queues, cycles between exchanges, and alternate exchanges."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands

from harebell.engine.destination import Destination
from harebell.engine.exchanges.exchange import Binding, Exchange
from harebell.engine.exchanges.registry import create
from harebell.engine.queues.queue import Queue
from harebell.engine.reply_to import ReplyQueue
from harebell.engine.routing import Route, Routing, any_durable, traverse
from tests.support.client import ClientChannel
from tests.support.node import Node


def bind(source: Exchange, destination: Destination, key: str = "k") -> None:
    source.bind(Binding(source, destination, key, {}))


def exchanges(count: int, kind: str = "fanout") -> list[Exchange]:
    return [create(kind, f"x{n}", False, False, False, {}) for n in range(count)]


def routed(source: Exchange, keys: list[str], known: list[Exchange]) -> list[str]:
    routing = Routing()
    traverse(source, keys, None, {each.name: each for each in known}.get, routing)
    return sorted(queue.name for queue in routing.queues)


def no_exchange(name: str) -> Exchange | None:
    return None


def queue(name: str) -> Queue:
    return ReplyQueue(name)


def test_a_cycle_of_exchanges_is_walked_once() -> None:
    a, b, c = exchanges(3)
    for source, destination in ((a, b), (b, c), (c, a), (a, a)):
        bind(source, destination)
    for n, each in enumerate((a, b, c)):
        bind(each, queue(f"q{n}"))
    assert routed(a, ["k"], [a, b, c]) == ["q0", "q1", "q2"]


def test_a_diamond_gives_one_copy() -> None:
    a, b, c, d = exchanges(4)
    for source, destination in ((a, b), (a, c), (b, d), (c, d)):
        bind(source, destination)
    bind(d, queue("q"))
    assert routed(a, ["k"], [a, b, c, d]) == ["q"]


def test_an_alternate_is_asked_only_where_nothing_was_found() -> None:
    a, b = exchanges(2, "direct")
    a.alternate = "x1"
    bind(a, queue("main"), "k")
    bind(b, queue("spare"), "k")
    bind(b, queue("other spare"), "z")
    assert routed(a, ["k"], [a, b]) == ["main"]
    assert routed(a, ["z"], [a, b]) == ["other spare"]
    assert routed(a, ["k", "z"], [a, b]) == ["main"]


def test_alternates_chain_and_end() -> None:
    chain = exchanges(4, "direct")
    for n, each in enumerate(chain):
        each.alternate = f"x{(n + 1) % 4}"
    assert routed(chain[0], ["k"], chain) == []
    bind(chain[3], queue("last"))
    assert routed(chain[0], ["k"], chain) == ["last"]
    assert routed(chain[0], ["k"], chain[:3]) == []


def test_an_exchange_reached_by_a_binding_has_its_alternate_too() -> None:
    a, b, c = exchanges(3, "direct")
    bind(a, b)
    b.alternate = "x2"
    bind(c, queue("q"))
    assert routed(a, ["k"], [a, b, c]) == ["q"]


def test_a_missing_alternate_is_passed_over() -> None:
    (a,) = exchanges(1)
    a.alternate = "gone"
    assert routed(a, ["k"], [a]) == []


def test_anything_dynamic_on_the_way_makes_the_route_dynamic() -> None:
    plain, dynamic = (
        create("fanout", "p", False, False, False, {}),
        create("headers", "h", False, False, False, {}),
    )
    routing = Routing()
    traverse(plain, ["k"], None, no_exchange, routing)
    assert not routing.dynamic
    bind(plain, dynamic)
    routing = Routing()
    traverse(plain, ["k"], None, no_exchange, routing)
    assert routing.dynamic


@given(
    st.integers(1, 6),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=8),
)
def test_a_fanout_graph_reaches_what_is_reachable(
    count: int, edges: list[tuple[int, int]], bindings: list[tuple[int, int]]
) -> None:
    nodes = exchanges(count)
    queues = [queue(f"q{n}") for n in range(4)]
    for source, destination in edges:
        bind(nodes[source % count], nodes[destination % count])
    for source, destination in bindings:
        bind(nodes[source % count], queues[destination])
    reachable, work = {0}, [0]
    while work:
        here = work.pop()
        for source, destination in edges:
            if source % count == here and destination % count not in reachable:
                reachable.add(destination % count)
                work.append(destination % count)
    expected = {f"q{destination}" for source, destination in bindings if source % count in reachable}
    assert routed(nodes[0], ["any"], nodes) == sorted(expected)


def test_a_route_knows_whether_any_queue_is_durable(node: Node, channel: ClientChannel) -> None:
    channel.declare_queue("d", durable=True)
    channel.declare_queue("t")
    durable, transient = node.queue("d"), node.queue("t")
    assert any_durable([transient, durable])
    assert not any_durable([transient])
    assert not any_durable([])
    route = Route(b"\x00\x00", "", "", None, False, False)
    route.set_queues([transient, durable])
    assert route.durable


# through the protocol


def test_headers_decide_behind_a_topic(channel: ClientChannel) -> None:
    channel.declare_exchange("h", "headers")
    channel.bind_exchange("h", "amq.topic", "a.#")
    queue_name = channel.queue()
    channel.bind(queue_name, "h", "", {"colour": "red"})
    for colour in ("red", "blue"):
        properties = commands.Basic.Properties(headers={"colour": colour})
        channel.publish(colour.encode(), exchange="amq.topic", key="a.b", properties=properties)
    assert channel.drain(queue_name) == [b"red"]


def test_a_message_takes_its_original_address_wherever_it_goes(channel: ClientChannel) -> None:
    channel.declare_exchange("first", "direct", arguments={"alternate-exchange": "second"})
    channel.declare_exchange("second", "fanout")
    channel.bind_exchange("amq.fanout", "second")
    queue_name = channel.queue()
    channel.bind(queue_name, "amq.fanout")
    channel.publish(b"x", exchange="first", key="some key")
    message = channel.get(queue_name)
    assert message is not None
    assert (message.exchange, message.routing_key) == ("first", "some key")
