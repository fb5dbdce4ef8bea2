"""Getting in: permissions of the virtual host, limits, deleted users and virtual hosts, new secrets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import amqp
import pika
import pika.exceptions
import pytest
from pika.adapters.blocking_connection import BlockingConnection

from interop_tests.broker_under_test import BrokerUnderTest
from interop_tests.deadlines import eventually_now
from interop_tests.names import Names
from interop_tests.users import PASSWORD, Users


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


Connect = Callable[..., BlockingConnection]
Refusal = Callable[..., tuple[int, str]]


@pytest.fixture
def connect(users: Users, user: str) -> Iterator[Connect]:
    """A function that connects as the user, to the virtual host under test or another."""
    opened: list[BlockingConnection] = []

    def open_connection(vhost: str | None = None) -> BlockingConnection:
        opened.append(BlockingConnection(pika.URLParameters(users.url(user, vhost))))
        return opened[-1]

    yield open_connection
    for connection in opened:
        if connection.is_open:
            connection.close()


@pytest.fixture
def refusal(users: Users, user: str) -> Refusal:
    """A function that connects in vain, and gives code and text of the refusal, which pika only logs."""

    def connect_in_vain(vhost: str = "/") -> tuple[int, str]:
        connection = amqp.Connection(users.address, userid=user, password=PASSWORD, virtual_host=vhost)
        with pytest.raises(amqp.exceptions.AMQPError) as refused:
            connection.connect()
        return refused.value.reply_code, refused.value.reply_text

    return connect_in_vain


def test_a_user_without_permissions_is_refused_the_virtual_host_with_530(
    connect: Connect, refusal: Refusal, users: Users, user: str
) -> None:
    code, text = refusal()
    assert code == 530
    assert text.startswith(f"NOT_ALLOWED - access to vhost '/' refused for user '{user}'")
    users.permit(user)
    connect()
    users.permit_nothing(user)
    assert refusal()[0] == 530


def test_a_user_has_as_many_connections_as_the_limit_says(
    connect: Connect, refusal: Refusal, users: Users, user: str
) -> None:
    users.permit(user)
    users.limit(user, "max-connections", 2)
    first = connect()
    connect()
    words = f"NOT_ALLOWED - connection refused for user '{user}': user connection limit (2) is reached"
    assert refusal() == (530, words)
    first.close()
    eventually_now(lambda: _opens(connect), "a connection that closed makes room for another")
    users.limit(user, "max-connections", -1)
    for _ in range(3):
        connect()
    users.limit(user, "max-connections", 0)
    assert "limit (0) is reached" in refusal()[1]


def _opens(connect: Connect) -> bool:
    try:
        connect()
    except pika.exceptions.AMQPConnectionError:
        return False
    return True


def test_limits_are_looked_at_before_permissions_and_after_the_virtual_host(
    connect: Connect, refusal: Refusal, users: Users, user: str
) -> None:
    users.limit(user, "max-connections", 0)
    assert "user connection limit (0) is reached" in refusal()[1]
    assert "vhost nosuch not found" in refusal("nosuch")[1]


def test_a_deleted_virtual_host_ends_its_connections_and_no_others(
    connect: Connect, refusal: Refusal, users: Users, user: str, names: Names
) -> None:
    vhost = names.unique("vhost")
    users.put_vhost(vhost)
    users.permit(user)
    users.permit(user, ".*", ".*", ".*", vhost=vhost)
    elsewhere, inside = connect(), connect(vhost)
    users.delete_vhost(vhost)
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as closed:
        inside.process_data_events(time_limit=10)
    # RabbitMQ says either, as it happens.
    words = rf"CONNECTION_FORCED - vhost '{re.escape(vhost)}' is (deleted|down)"
    assert closed.value.reply_code == 320
    assert re.fullmatch(words, closed.value.reply_text), closed.value.reply_text
    elsewhere.process_data_events(time_limit=0)
    assert elsewhere.is_open
    assert "not found" in refusal(vhost)[1]


def test_a_new_password_is_for_new_connections(
    connect: Connect, refusal: Refusal, users: Users, user: str
) -> None:
    users.permit(user)
    connection = connect()
    users.put(user, password="another")
    assert refusal()[0] == 403
    assert connection.channel().is_open
    users.put(user)
    connect()


def test_a_new_secret_is_taken(connect: Connect, users: Users, user: str) -> None:
    users.permit(user)
    connection = connect()
    connection.update_secret("another", "the old one expires")
    assert connection.channel().is_open


def test_a_new_secret_has_permissions_looked_at_and_consumers_cancelled_that_lost_theirs(
    connect: Connect, users: Users, user: str, names: Names
) -> None:
    users.permit(user, ".*", ".*", ".*")
    kept, lost = names.queue("kept"), names.queue("lost")
    connection = connect()
    channel = connection.channel()
    cancelled: list[str] = []
    channel.add_on_cancel_callback(lambda frame: cancelled.append(frame.method.consumer_tag))
    for queue in (kept, lost):
        channel.queue_declare(queue)
        channel.basic_consume(queue, lambda *arguments: None, consumer_tag=queue)
    users.permit(user, "", "", re.escape(kept))
    connection.update_secret("another", "the old one expires")

    def told() -> bool:
        connection.process_data_events(time_limit=0.05)
        return bool(cancelled)

    eventually_now(told, "the consumer is cancelled", seconds=3)
    assert cancelled == [lost]
    assert channel.is_open


def test_a_new_secret_of_a_user_who_lost_the_virtual_host_ends_the_connection(
    connect: Connect, users: Users, user: str
) -> None:
    users.permit(user)
    connection = connect()
    users.permit_nothing(user)
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as closed:
        connection.update_secret("another", "the old one expires")
    assert closed.value.reply_code == 530
