"""AMQPStorm's client of the HTTP API, in everything it can do."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import amqp
import pytest
from amqpstorm.management import ApiError, ManagementApi
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from interop_tests.broker_under_test import BrokerUnderTest
from interop_tests.deadlines import eventually_now
from interop_tests.names import Names


@pytest.fixture
def management(broker: BrokerUnderTest) -> Iterator[ManagementApi]:
    """The client under test."""
    with ManagementApi(broker.management_url, broker.user, broker.password) as management:
        # A server may end a kept connection just when the next request is on its way (RFC 9112 section 9.5);
        # what is only asked may be asked again. RabbitMQ does it after five quiet seconds, among others.
        management.http_client.session.mount("http://", HTTPAdapter(max_retries=Retry(2, status=0)))
        yield management


def connect(broker: BrokerUnderTest) -> amqp.Connection:
    connection = amqp.Connection(
        host=f"{broker.host}:{broker.port}",
        userid=broker.user,
        password=broker.password,
        virtual_host=broker.virtual_host,
    )
    connection.connect()
    return connection


def test_the_node_and_who_one_is(management: ManagementApi, broker: BrokerUnderTest) -> None:
    overview = management.overview()
    assert overview["cluster_name"] == management.cluster_name()["name"]
    assert broker.port in [one["port"] for one in overview["listeners"] if one["protocol"] == "amqp"]
    (node,) = management.nodes()
    assert management.node(node["name"])["running"] is True
    assert management.whoami()["name"] == broker.user
    assert management.healthchecks.get() == {"status": "ok"}
    assert management.healthchecks.get(node["name"]) == {"status": "ok"}
    assert management.aliveness_test(broker.virtual_host) == {"status": "ok"}


def test_a_wrong_password_is_an_error(broker: BrokerUnderTest) -> None:
    management = ManagementApi(broker.management_url, broker.user, "wrong")
    with management, pytest.raises(ApiError, match="401"):
        management.overview()


def test_queues(management: ManagementApi, names: Names) -> None:
    queue = names.queue()
    management.queue.declare(queue, durable=True, arguments={"x-max-length": 10})
    management.queue.declare(queue, durable=True, arguments={"x-max-length": 10})
    shown = management.queue.get(queue)
    assert (shown["durable"], shown["arguments"]) == (True, {"x-max-length": 10})
    assert management.queue.declare(queue, passive=True)["name"] == queue
    assert queue in [one["name"] for one in management.queue.list()]
    assert [one["name"] for one in management.queue.list(name=f"^{queue}$", use_regex=True)] == [queue]
    assert queue in [one["name"] for one in management.queue.list(show_all=True, page_size=1)]
    with pytest.raises(ApiError, match="400"):
        management.queue.declare(queue, durable=False)
    management.queue.delete(queue)
    with pytest.raises(ApiError, match="NOT-FOUND"):
        management.queue.get(queue)


def test_exchanges_and_bindings(management: ManagementApi, names: Names) -> None:
    source, destination, queue = names.exchange("source"), names.exchange("destination"), names.queue()
    for exchange in (source, destination):
        management.exchange.declare(exchange, exchange_type="topic", durable=True)
    management.queue.declare(queue)
    assert management.exchange.get(source)["type"] == "topic"
    assert source in [one["name"] for one in management.exchange.list()]
    management.exchange.bind(source=source, destination=destination, routing_key="a.#")
    management.queue.bind(queue=queue, exchange=source, routing_key="a.*")
    assert {one["routing_key"] for one in management.exchange.bindings(source)} == {"a.#", "a.*"}
    assert {one["routing_key"] for one in management.queue.bindings(queue)} == {"a.*", queue}
    management.queue.unbind(queue=queue, exchange=source, routing_key="a.*")
    assert [one["routing_key"] for one in management.queue.bindings(queue)] == [queue]
    management.exchange.delete(source)
    with pytest.raises(ApiError, match="NOT-FOUND"):
        management.exchange.get(source)


def test_messages(management: ManagementApi, names: Names) -> None:
    queue = names.queue()
    management.queue.declare(queue)
    properties = {"headers": {"tenant": "a", "n": 1}, "delivery_mode": 2, "correlation_id": "c"}
    for number in range(3):
        routed = management.basic.publish(f"message {number}", queue, properties=properties)
        assert routed == {"routed": True}
    assert management.basic.publish("x", "nowhere at all") == {"routed": False}
    (kept,) = management.basic.get(queue, requeue=True, to_dict=True)
    assert (kept["payload"], kept["message_count"], kept["redelivered"]) == ("message 0", 2, False)
    messages = management.basic.get(queue, count=2)
    assert [message.body for message in messages] == ["message 0", "message 1"]
    assert messages[0].properties["headers"] == {"tenant": "a", "n": 1}
    management.queue.purge(queue)
    assert management.basic.get(queue) == []


def test_connections_and_channels(management: ManagementApi, broker: BrokerUnderTest) -> None:
    connection = connect(broker)
    connection.channel()
    host, port = connection.sock.getsockname()[:2]
    name = f"{host}:{port} -> {broker.host}:{broker.port}"

    def listed() -> bool:
        # RabbitMQ lists a connection at once, and fills its fields seconds later.
        found = [one.get("user") for one in management.connection.list() if one.get("name") == name]
        return found == [broker.user]

    eventually_now(listed, "the connection is listed", seconds=20)
    assert management.connection.get(name)["user"] == broker.user
    eventually_now(
        lambda: f"{name} (1)" in [one.get("name") for one in management.channel.list()],
        "the channel is listed",
        seconds=20,
    )
    assert management.channel.get(f"{name} (1)")["number"] == 1
    management.connection.close(name, "end of the test")
    with pytest.raises(amqp.ConnectionForced, match="end of the test"):
        connection.drain_events(timeout=5)
    with pytest.raises(ApiError, match="NOT-FOUND"):
        management.connection.get("no such connection")


def test_users_and_virtual_hosts(management: ManagementApi, broker: BrokerUnderTest) -> None:
    user, vhost = f"interop-{secrets.token_hex(4)}", f"interop/{secrets.token_hex(4)}"
    management.virtual_host.create(vhost)
    try:
        assert management.virtual_host.get(vhost)["name"] == vhost
        assert vhost in [one["name"] for one in management.virtual_host.list()]
        management.user.create(user, "secret", "management")
        assert management.user.get(user)["name"] == user
        assert user in [one["name"] for one in management.user.list()]
        management.user.set_permission(user, vhost, configure_regex="^a", write_regex="^b", read_regex="^c")
        granted = {"user": user, "vhost": vhost, "configure": "^a", "write": "^b", "read": "^c"}
        assert management.user.get_permission(user, vhost) == granted
        assert granted in management.user.get_permissions(user)
        assert granted in management.virtual_host.get_permissions(vhost)
        with ManagementApi(broker.management_url, user, "secret") as own:
            assert own.whoami() == {"name": user, "tags": ["management"]}
            assert [one["name"] for one in own.virtual_host.list()] == [vhost]
            with pytest.raises(ApiError, match="401"):
                own.user.list()
            with pytest.raises(ApiError):
                own.queue.declare("other", virtual_host=vhost)
            own.queue.declare("allowed", virtual_host=vhost)
        management.user.delete_permission(user, vhost)
        with pytest.raises(ApiError, match="NOT-FOUND"):
            management.user.get_permission(user, vhost)
    finally:
        management.user.delete([user])
        management.virtual_host.delete(vhost)
    with pytest.raises(ApiError, match="NOT-FOUND"):
        management.virtual_host.get(vhost)
