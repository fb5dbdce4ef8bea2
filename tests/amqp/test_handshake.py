"""From the protocol header to an open connection, and every way it can fail (AMQP 0-9-1 section 2.2.4)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pamqp import base, commands
from pamqp.common import FieldTable

from harebell.amqp.connection import AWAIT_OPEN, AWAIT_START_OK, CLOSING, OPEN, Connection
from harebell.amqp.handshake import HandshakeOptions, what_is_it
from harebell.auth.backends import UserDirectory
from harebell.engine.commands import CreateVhost
from harebell.ports import Login, User
from tests.support.client import CAPABILITIES, FEEDINGS, Client
from tests.support.node import SERVER_PROPERTIES, Node
from tests.support.wire import PROTOCOL_HEADER, method, raw_frame, raw_method


@pytest.fixture(params=FEEDINGS)
def stranger(request: pytest.FixtureRequest, node: Node) -> Client:
    """A client that has said nothing yet."""
    return node.client(request.param)


def logged_in(stranger: Client) -> Client:
    stranger.start()
    stranger.start_ok()
    stranger.expect(commands.Connection.Tune)
    return stranger


def start_ok(mechanism: str, response: str, client_properties: FieldTable | None = None) -> base.Frame:
    return commands.Connection.StartOk(
        client_properties={"capabilities": CAPABILITIES} if client_properties is None else client_properties,
        mechanism=mechanism,
        response=response,
        locale="en_US",
    )


def test_the_whole_handshake_opens_the_connection(stranger: Client, node: Node) -> None:
    start = stranger.start()
    assert (start.version_major, start.version_minor) == (0, 9)
    assert start.server_properties == SERVER_PROPERTIES
    assert start.mechanisms == "PLAIN AMQPLAIN"
    assert start.locales == "en_US"
    stranger.start_ok()
    tune = stranger.expect(commands.Connection.Tune)
    assert (tune.channel_max, tune.frame_max, tune.heartbeat) == (2047, 131072, 60)
    stranger.tune_ok(100, 8192, 7)
    stranger.expect_silence()
    stranger.send(0, commands.Connection.Open(virtual_host="/"))
    stranger.expect(commands.Connection.OpenOk)
    connection = stranger.connection
    assert connection.phase == OPEN
    assert (connection.channel_max, connection.heartbeat) == (100, 7000)
    assert list(node.broker.sessions) == [connection]


def test_everything_up_to_the_first_publish_can_be_sent_at_once(node: Node) -> None:
    stranger = node.client()
    stranger.feed(
        PROTOCOL_HEADER
        + method(0, start_ok("PLAIN", "\0guest\0guest"))
        + method(0, commands.Connection.TuneOk(2047, 131072, 0), commands.Connection.Open("/"))
        + method(1, commands.Channel.Open(), commands.Queue.Declare(queue="q"), commands.Basic.Get(queue="q"))
    )
    assert [answer.frame.name for answer in stranger.received()] == [
        "Connection.Start",
        "Connection.Tune",
        "Connection.OpenOk",
        "Channel.OpenOk",
        "Queue.DeclareOk",
        "Basic.GetEmpty",
    ]


def test_the_header_of_0_9_is_accepted_as_rabbitmq_does(stranger: Client) -> None:
    stranger.feed(b"AMQP\x01\x01\x00\x09")
    stranger.expect(commands.Connection.Start)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b"AMQP\x00\x01\x00\x00", "AMQP version 0.1.0.0"),
        (b"AMQP\x03\x01\x00\x00", "AMQP version 3.1.0.0"),
        (b"AMQP\x00\x00\x09\x02", "AMQP version 0.0.9.2"),
        (b"GET / HT", "HTTP"),
        (b"OPTIONS ", "HTTP"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", "TLS"),
        (b"\x00" * 8, "bad protocol header"),
    ],
)
def test_another_protocol_is_answered_with_ours_and_a_closed_socket(
    stranger: Client, node: Node, header: bytes, words: str
) -> None:
    stranger.feed(header)
    assert stranger.closed
    assert stranger.reader.protocol_headers == 1
    stranger.expect_silence()
    assert words in node.log[-1][1], f"expected the log to say {words!r}"
    stranger.feed(b"Host: example.com\r\n\r\n")
    stranger.expect_silence()


def test_a_strange_header_is_named_without_its_raw_octets() -> None:
    assert "\n" not in what_is_it(b"\n\r\x1b[31m!!")


def test_seven_octets_of_a_header_are_no_reason_to_answer(node: Node) -> None:
    stranger = node.client()
    stranger.feed(PROTOCOL_HEADER[:7])
    stranger.expect_silence()
    assert not stranger.closed
    stranger.feed(PROTOCOL_HEADER[7:])
    stranger.expect(commands.Connection.Start)


# start-ok


@pytest.mark.parametrize("mechanism", ["", "plain", "EXTERNAL", "ANONYMOUS", "RABBIT-CR-DEMO"])
def test_a_mechanism_that_is_not_offered_is_503(stranger: Client, mechanism: str) -> None:
    stranger.start()
    stranger.send(0, start_ok(mechanism, "\0guest\0guest"))
    stranger.expect_close(503, commands.Connection.StartOk, "unknown authentication mechanism")


@pytest.mark.parametrize("response", ["", "guest", "\0guest", "\0a\0b\0c"])
def test_a_malformed_response_is_502(stranger: Client, response: str) -> None:
    stranger.start()
    stranger.send(0, start_ok("PLAIN", response))
    stranger.expect_close(502, commands.Connection.StartOk, "PLAIN")


def test_amqplain_logs_in(stranger: Client) -> None:
    stranger.start()
    login = "\x05LOGINS\x00\x00\x00\x05guest\x08PASSWORDS\x00\x00\x00\x05guest"
    stranger.send(0, start_ok("AMQPLAIN", login))
    stranger.expect(commands.Connection.Tune)


@pytest.mark.parametrize("login", ["", "\x05LOGINS", "\x05LOGINS\x00\x00\x00\x05guest", "\xff\xff"])
def test_amqplain_without_login_and_password_is_502(stranger: Client, login: str) -> None:
    stranger.start()
    stranger.send(0, start_ok("AMQPLAIN", login))
    stranger.expect_close(502, commands.Connection.StartOk)


@pytest.mark.parametrize(("username", "password"), [("guest", "wrong"), ("nobody", "guest"), ("guest", "")])
def test_a_wrong_login_is_403_for_a_client_that_understands_it(
    stranger: Client, node: Node, username: str, password: str
) -> None:
    stranger.start()
    stranger.start_ok(username, password)
    text = stranger.expect_close(
        403, 0, "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN"
    )
    assert username not in text
    assert all(password not in sentence for _, sentence in node.log if password == "wrong")


def test_a_wrong_login_of_any_other_client_is_silent_until_the_socket_is_closed(
    stranger: Client, node: Node
) -> None:
    node.clock.now = 5_000
    stranger.start()
    stranger.start_ok("guest", "wrong", capabilities={})
    stranger.expect_silence()
    assert stranger.connection.phase == CLOSING
    assert stranger.connection.closing_since == 5_000
    stranger.tune_ok()
    stranger.send(0, commands.Connection.Open(virtual_host="/"))
    stranger.expect_silence()


def test_guest_from_another_machine_is_a_wrong_login(node: Node) -> None:
    stranger = node.client(host="192.0.2.7")
    stranger.start()
    stranger.start_ok()
    stranger.expect_close(403)


def test_client_properties_are_kept_up_to_a_limit(node: Node) -> None:
    stranger = node.client()
    stranger.start()
    many: FieldTable = {f"x{n}": n for n in range(200)}
    stranger.send(
        0, start_ok("PLAIN", "\0guest\0guest", {"product": "p", "capabilities": CAPABILITIES, **many})
    )
    stranger.expect(commands.Connection.Tune)
    assert stranger.connection.client_properties["product"] == "p"
    assert stranger.connection.capabilities == CAPABILITIES
    assert len(stranger.connection.client_properties) == 64


@pytest.mark.parametrize("capabilities", [1, "yes", None, [True]])
def test_capabilities_of_another_type_count_as_none(node: Node, capabilities: object) -> None:
    stranger = node.client()
    stranger.start()
    properties: FieldTable = {}
    properties["capabilities"] = capabilities  # type: ignore[assignment]
    stranger.send(0, start_ok("PLAIN", "\0guest\0guest", properties))
    stranger.expect(commands.Connection.Tune)
    assert stranger.connection.capabilities == {}


# tune-ok


@pytest.mark.parametrize("channel_max", [0, 2048, 65535])
def test_more_channels_than_offered_is_530(stranger: Client, channel_max: int) -> None:
    logged_in(stranger).tune_ok(channel_max=channel_max)
    stranger.expect_close(
        530, commands.Connection.TuneOk, f"negotiated channel_max = {channel_max} is higher"
    )


@pytest.mark.parametrize("frame_max", [0, 131073, 1 << 31])
def test_larger_frames_than_offered_is_530(stranger: Client, frame_max: int) -> None:
    logged_in(stranger).tune_ok(frame_max=frame_max)
    stranger.expect_close(530, commands.Connection.TuneOk, f"negotiated frame_max = {frame_max} is higher")


@pytest.mark.parametrize("frame_max", [1, 4095])
def test_frames_below_the_minimum_are_530(stranger: Client, frame_max: int) -> None:
    logged_in(stranger).tune_ok(frame_max=frame_max)
    stranger.expect_close(530, commands.Connection.TuneOk, f"negotiated frame_max = {frame_max} is lower")


def test_the_smallest_values_are_fine(stranger: Client) -> None:
    logged_in(stranger).tune_ok(channel_max=1, frame_max=4096, heartbeat=0)
    assert stranger.connection.phase == AWAIT_OPEN
    assert stranger.connection.heartbeat == 0


@pytest.mark.parametrize("value", [0, 65535])
def test_a_broker_without_limits_takes_any(value: int) -> None:
    node = Node(options=HandshakeOptions(channel_max=0, frame_max=0))
    stranger = logged_in(node.client())
    stranger.tune_ok(channel_max=value, frame_max=value)
    stranger.send(0, commands.Connection.Open(virtual_host="/"))
    stranger.expect(commands.Connection.OpenOk)
    channel = stranger.channel(65535)
    queue = channel.queue()
    channel.publish(b"x" * 300_000, key=queue) if value == 0 else None
    assert channel.ready(queue) == (value == 0)


# open


def test_a_missing_virtual_host_is_530(stranger: Client) -> None:
    logged_in(stranger).tune_ok()
    stranger.send(0, commands.Connection.Open(virtual_host="nosuch"))
    stranger.expect_close(530, commands.Connection.Open, "NOT_ALLOWED - vhost nosuch not found")


def test_a_virtual_host_without_permissions_is_530(stranger: Client, node: Node) -> None:
    node.broker.commit(CreateVhost("other"), durable=True)
    logged_in(stranger).tune_ok()
    stranger.send(0, commands.Connection.Open(virtual_host="other"))
    stranger.expect_close(530, commands.Connection.Open, "access to vhost 'other' refused for user 'guest'")


def test_a_second_virtual_host_is_a_world_of_its_own(node: Node) -> None:
    node.broker.commit(CreateVhost("other"), durable=True)
    node.users.set_permissions("guest", "other", ".*", ".*", ".*")
    here = node.connect().channel()
    stranger = node.client()
    stranger.open("other")
    there = stranger.channel()
    here.declare_queue("q")
    there.declare_queue("q")
    here.publish(b"here", key="q")
    assert there.ready("q") == 0
    assert here.ready("q") == 1


def test_one_connection_too_many_is_530() -> None:
    node = Node(options=HandshakeOptions(max_connections=2))
    first = node.connect()
    node.connect()
    third = logged_in(node.client())
    third.tune_ok()
    third.send(0, commands.Connection.Open(virtual_host="/"))
    third.expect_close(530, commands.Connection.Open, "node connection limit (2) is reached")
    first.hang_up()
    node.connect()


# order


@pytest.mark.parametrize(
    "premature",
    [
        commands.Connection.TuneOk(1, 4096, 0),
        commands.Connection.Open("/"),
        commands.Connection.SecureOk("x"),
        commands.Connection.UpdateSecret("x", "y"),
    ],
    ids=lambda frame: frame.name,
)
def test_a_connection_method_out_of_turn_is_504(stranger: Client, premature: base.Frame) -> None:
    stranger.start()
    stranger.send(0, premature)
    stranger.expect_close(504, type(premature))


@pytest.mark.parametrize(
    "again",
    [
        start_ok("PLAIN", "\0guest\0guest"),
        commands.Connection.TuneOk(1, 4096, 0),
        commands.Connection.Open("/"),
    ],
    ids=lambda frame: frame.name,
)
def test_a_handshake_method_on_an_open_connection_is_504(client: Client, again: base.Frame) -> None:
    client.send(0, again)
    client.expect_close(504, type(again))


@pytest.mark.parametrize("number", [0, 1])
def test_a_channel_method_before_open_is_504(stranger: Client, number: int) -> None:
    logged_in(stranger)
    stranger.send(number, commands.Channel.Open())
    stranger.expect_close(504, commands.Channel.Open)


@pytest.mark.parametrize("kind", [2, 3])
def test_content_before_open_is_505(stranger: Client, kind: int) -> None:
    stranger.start()
    stranger.feed(raw_frame(kind, 1, b"\x00\x3c" + b"\x00" * 12))
    stranger.expect_close(505)


def test_a_frame_above_8_kib_before_tuning_is_501(stranger: Client) -> None:
    stranger.start()
    stranger.feed(raw_frame(1, 0, b"\x00" * 8193))
    stranger.expect_close(501, 0, "frame size")


def test_a_large_token_fits_before_tuning(stranger: Client) -> None:
    stranger.start()
    stranger.start_ok("guest", "x" * 7000)
    stranger.expect_close(403)


def test_a_client_may_close_before_it_is_open(stranger: Client) -> None:
    stranger.start()
    stranger.close()


def test_undecodable_arguments_are_501_with_the_method_at_fault(stranger: Client) -> None:
    stranger.start()
    stranger.feed(raw_method(0, commands.Connection.StartOk.index, b"\x00\x00\x01"))
    stranger.expect_close(501, commands.Connection.StartOk)


def test_deeply_nested_tables_before_login_are_501(stranger: Client) -> None:
    data = b""
    while len(data) < 8000:
        data = b"\x00F" + len(data).to_bytes(4, "big") + data
    stranger.start()
    arguments = len(data).to_bytes(4, "big") + data + b"\x05PLAIN" + b"\x00" * 4 + b"\x00"
    stranger.feed(raw_method(0, commands.Connection.StartOk.index, arguments))
    stranger.expect_close(501, commands.Connection.StartOk)


def test_a_stranger_that_hangs_up_leaves_nothing(stranger: Client, node: Node) -> None:
    stranger.start()
    stranger.hang_up()
    assert len(node.broker.sessions) == 0
    assert stranger.connection.phase > AWAIT_START_OK


# a login that takes its time


class SlowDirectory(UserDirectory):
    """Answers logins when the test says, as password hashing on another thread does."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[tuple[Login, Callable[[User | None], None]]] = []
        self.renewals: list[tuple[bytes, Callable[[User | None], None]]] = []

    def authenticate(self, login: Login, done: Callable[[User | None], None]) -> None:
        self.waiting.append((login, done))

    def renew(self, user: User, secret: bytes, done: Callable[[User | None], None]) -> None:
        self.renewals.append((secret, done))

    def may_open(self, user: User, vhost: str) -> bool:
        return True

    def allowed(self, user: User, vhost: str, permission: str, name: str) -> bool:
        return True

    def topic_allowed(self, user: User, vhost: str, exchange: str, permission: str, routing_key: str) -> bool:
        return True


def answer_login(stranger: Client, directory: SlowDirectory, user: User | None) -> None:
    _, done = directory.waiting.pop()
    done(user)
    stranger.connection.resume()
    stranger.node.turn()


@pytest.fixture
def slow(node: Node) -> SlowDirectory:
    directory = SlowDirectory()
    node.broker.access = directory
    return directory


@pytest.mark.parametrize("feeding", FEEDINGS)
def test_what_is_sent_during_a_slow_login_is_handled_after_it(
    node: Node, slow: SlowDirectory, feeding: str
) -> None:
    stranger = node.client(feeding)
    stranger.start()
    stranger.start_ok()
    login, _ = slow.waiting[0]
    assert (login.username, login.password, login.peer) == ("guest", b"guest", "127.0.0.1")
    stranger.tune_ok()
    stranger.send(0, commands.Connection.Open(virtual_host="/"))
    stranger.send(1, commands.Channel.Open())
    stranger.expect_silence()
    answer_login(stranger, slow, User("guest", frozenset()))
    stranger.expect(commands.Connection.Tune)
    stranger.expect(commands.Connection.OpenOk)
    stranger.expect(commands.Channel.OpenOk, 1)


def test_confirms_of_messages_published_during_a_slow_login_come_at_once(
    node: Node, slow: SlowDirectory
) -> None:
    stranger = node.client()
    stranger.start()
    stranger.start_ok()
    publish = commands.Basic.Publish(routing_key="nosuch")
    stranger.feed(
        method(0, commands.Connection.TuneOk(2047, 131072, 0), commands.Connection.Open("/"))
        + method(1, commands.Channel.Open(), commands.Confirm.Select(), publish)
        + raw_frame(2, 1, b"\x00\x3c" + b"\x00" * 12)
    )
    answer_login(stranger, slow, User("guest", frozenset()))
    assert stranger.received()[-1].frame.name == "Basic.Ack"


def test_a_slow_login_that_is_refused_closes(node: Node, slow: SlowDirectory) -> None:
    stranger = node.client()
    stranger.start()
    stranger.start_ok()
    answer_login(stranger, slow, None)
    stranger.expect_close(403)


def test_a_login_answered_after_the_socket_went_changes_nothing(node: Node, slow: SlowDirectory) -> None:
    stranger = node.client()
    stranger.start()
    stranger.start_ok()
    stranger.hang_up()
    answer_login(stranger, slow, User("guest", frozenset()))
    stranger.expect_silence()


def test_a_flood_during_a_slow_login_drops_the_socket(node: Node, slow: SlowDirectory) -> None:
    stranger = node.client()
    stranger.start()
    stranger.start_ok()
    for _ in range(70):
        stranger.feed(b"\x00" * 1024)
        assert kept_octets(stranger.connection) <= 70 * 1024
    assert stranger.closed


def kept_octets(connection: Connection) -> int:
    return sum(len(piece) for piece in connection._tail)


# update-secret


def test_a_new_secret_is_taken_as_rabbitmq_takes_it(client: Client) -> None:
    client.send(0, commands.Connection.UpdateSecret(new_secret="s3cret", reason="expired"))
    client.expect(commands.Connection.UpdateSecretOk)


def test_a_refused_secret_is_530(node: Node) -> None:
    client = node.connect()
    directory = SlowDirectory()
    node.broker.access = directory
    client.send(0, commands.Connection.UpdateSecret(new_secret="s3cret", reason="expired"))
    secret, done = directory.renewals[0]
    assert secret == b"s3cret"
    done(None)
    node.turn()
    client.expect_close(530, commands.Connection.UpdateSecret, "New secret was refused")
    assert all("s3cret" not in sentence for _, sentence in node.log)


def test_a_secret_renewed_after_the_end_changes_nothing(node: Node) -> None:
    client = node.connect()
    directory = SlowDirectory()
    node.broker.access = directory
    client.send(0, commands.Connection.UpdateSecret(new_secret="s3cret", reason="expired"))
    client.close()
    directory.renewals[0][1](None)
    node.turn()
    client.expect_silence()


def reader(node: Node) -> Client:
    """Connect as a user who may read and nothing else."""
    node.users.put_user("u", node.users.users["guest"].password)
    node.users.set_permissions("u", "/", "", "", ".*")
    client = node.client()
    client.open(username="u")
    return client


def renew(client: Client) -> None:
    client.send(0, commands.Connection.UpdateSecret(new_secret="s3cret", reason="expired"))


def test_a_renewed_user_goes_by_the_permissions_of_that_moment(node: Node) -> None:
    own = node.connect().channel()
    for queue in ("kept", "lost", "gone"):
        own.declare_queue(queue, auto_delete=queue == "gone")
    client = reader(node)
    channel = client.channel()
    for queue in ("kept", "lost", "gone"):
        channel.consume(queue, queue)
    own.publish(b"held", key="lost")
    (held,) = channel.deliveries()
    node.users.set_permissions("u", "/", "", "", "^kept$")
    renew(client)
    assert [channel.expect(commands.Basic.Cancel).consumer_tag for _ in range(2)] == ["lost", "gone"]
    client.expect(commands.Connection.UpdateSecretOk)
    assert [queue.consumer_count() for queue in (node.queue("kept"), node.queue("lost"))] == [1, 0]
    assert "gone" not in node.vhost.queues, "an auto-delete queue goes with its last consumer"
    channel.ack(held.tag)
    assert node.queue("lost").unacked_count == 0, "what was delivered stays answerable"


def test_replies_need_no_permission_after_a_renewal_either(node: Node) -> None:
    client = reader(node)
    channel = client.channel()
    channel.consume("amq.rabbitmq.reply-to", "replies", no_ack=True)
    node.users.set_permissions("u", "/", "", "", "")
    renew(client)
    client.expect(commands.Connection.UpdateSecretOk)
    client.expect_silence()


def test_what_a_queue_retains_is_read_on_with_permission_on_that_queue(node: Node) -> None:
    own = node.connect().channel()
    own.declare_queue("q", durable=True, arguments={"x-retain": "1h"})
    client = reader(node)
    channel = client.channel()
    channel.qos(10)
    channel.consume("q", "history", arguments={"x-stream-offset": "first"})
    node.users.set_permissions("u", "/", "", "", "^q$")
    renew(client)
    client.expect(commands.Connection.UpdateSecretOk)
    client.expect_silence()
    node.users.set_permissions("u", "/", "", "", "^other$")
    renew(client)
    assert channel.expect(commands.Basic.Cancel).consumer_tag == "history"


def test_a_renewed_user_without_the_virtual_host_is_530(node: Node) -> None:
    client = reader(node)
    node.users.clear_permissions("u", "/")
    renew(client)
    client.expect_close(530, commands.Connection.UpdateSecret, "access to vhost '/' refused for user 'u'")


def test_a_renewed_user_has_the_tags_of_that_moment(node: Node) -> None:
    client = node.connect()
    node.users.put_user("guest", None, ("impersonator",))
    renew(client)
    client.expect(commands.Connection.UpdateSecretOk)
    assert client.connection.user is not None
    assert client.connection.user.tags == {"impersonator"}


# limits of a user


def test_a_user_has_as_many_connections_as_the_limit_says(node: Node) -> None:
    first = reader(node)
    node.users.set_limits("u", {"max-connections": 1})
    stranger = node.client()
    stranger.start()
    stranger.start_ok("u")
    stranger.expect(commands.Connection.Tune)
    stranger.tune_ok()
    stranger.send(0, commands.Connection.Open(virtual_host="/"))
    words = "NOT_ALLOWED - connection refused for user 'u': user connection limit (1) is reached"
    assert stranger.expect_close(530, commands.Connection.Open) == words
    node.connect()
    first.hang_up()
    node.client().open(username="u")
    assert node.broker.sessions.count("u") == 1


def test_a_user_has_as_many_channels_as_the_limit_says_on_all_connections_together(node: Node) -> None:
    first = reader(node)
    second = node.client()
    second.open(username="u")
    node.users.set_limits("u", {"max-channels": 2})
    closed = first.channel()
    second.channel()
    closed.close()
    first.channel(7)
    second.send(2, commands.Channel.Open())
    text = second.expect_close(
        530, commands.Channel.Open, "NOT_ALLOWED - number of channels opened for user 'u'"
    )
    assert text.endswith(" has reached the maximum allowed user limit of (2)")
    first.channel(8)


@pytest.mark.parametrize("limit", [-1, -5])
def test_a_negative_limit_is_none(node: Node, limit: int) -> None:
    client = reader(node)
    node.users.set_limits("u", {"max-connections": limit, "max-channels": limit})
    client.channel()
    node.client().open(username="u")


def test_a_limit_of_0_forbids(node: Node) -> None:
    client = reader(node)
    node.users.set_limits("u", {"max-channels": 0})
    client.send(1, commands.Channel.Open())
    client.expect_close(530, commands.Channel.Open, "limit of (0)")
