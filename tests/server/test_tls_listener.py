"""AMQP over TLS with real clients: who gets in, with which certificate, and what happens to the others."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import aio_pika
import pytest
from pamqp import commands

from harebell import logs
from tests.server.process import BrokerProcess, eventually, running_broker
from tests.server.wire import PROTOCOL_HEADER, Wire, publish
from tests.support.certificates import Authority, Identity, subject_of

HANDSHAKE_SECONDS = 1.5


class Secured(NamedTuple):
    """A broker with TLS, and the authority of its certificates."""

    broker: BrokerProcess
    authority: Authority

    @property
    def port(self) -> int:
        return self.broker.ports["amqps"]

    def connect(self, identity: Identity | None = None, **options: Any) -> Wire:
        """Connect with TLS and send nothing yet."""
        context = self.authority.client_context(identity, **options)
        plain = socket.create_connection(("127.0.0.1", self.port), 10)
        return Wire(context.wrap_socket(plain, server_hostname="127.0.0.1"))


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def secured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder)
    options = ["--tls-port", "0", "--tls-cert", str(authority.server()), "--tls-ca", str(authority.ca)]
    revoked = authority.issue(common_name="revoked")
    authority.write(revoked, "client-revoked")
    settings = {
        "SERVER__LOOP": request.param,
        "SERVER__HANDSHAKE_TIMEOUT": str(HANDSHAKE_SECONDS),
        "TLS__VERIFY": "optional",
        "TLS__CRL": str(authority.revoke([revoked])),
        "AUTH__MECHANISMS": "EXTERNAL,PLAIN",
        "AUTH__SSL_CERT_LOGIN_FROM": "common_name",
    }
    with running_broker(folder, *options, settings=settings) as broker:
        yield Secured(broker, authority)
        broker.assert_unharmed()


def refusal(connect: Any) -> ssl.SSLError | OSError:
    """Return how a client is refused: TLS 1.3 tells it only when it reads."""
    with pytest.raises((OSError, EOFError)) as found, connect() as wire:
        wire.start()
    assert isinstance(found.value, OSError), "the reason is told by an alert of TLS"
    return found.value


def test_pika_publishes_and_consumes(secured: Secured) -> None:
    pika: Any = pytest.importorskip("pika")
    context = secured.authority.client_context()
    parameters = pika.ConnectionParameters(
        "127.0.0.1", secured.port, ssl_options=pika.SSLOptions(context, "127.0.0.1")
    )
    connection = pika.BlockingConnection(parameters)
    channel = connection.channel()
    channel.confirm_delivery()
    channel.queue_declare("over-tls", exclusive=True)
    body = bytes(range(256)) * 2000
    channel.basic_publish("", "over-tls", body)
    _, _, received = channel.basic_get("over-tls", auto_ack=True)
    assert received == body
    connection.close()


async def test_aio_pika_publishes_and_consumes_large_and_small_messages(secured: Secured) -> None:
    url = f"amqps://guest:guest@127.0.0.1:{secured.port}/"
    connection = await aio_pika.connect(url, ssl_context=secured.authority.client_context())
    async with connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        bodies = [bytes([number % 256]) * (number * 97 % 5000) for number in range(500)] + [b"x" * 3_000_000]
        for body in bodies:
            await channel.default_exchange.publish(aio_pika.Message(body), queue.name)
        received = []
        async with queue.iterator(no_ack=True) as messages:
            async for message in messages:
                received.append(message.body)
                if len(received) == len(bodies):
                    break
        assert received == bodies


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_of_tls_are_spoken(secured: Secured, version: ssl.TLSVersion) -> None:
    context = secured.authority.client_context()
    context.minimum_version = context.maximum_version = version
    plain = socket.create_connection(("127.0.0.1", secured.port), 10)
    with Wire(context.wrap_socket(plain, server_hostname="127.0.0.1")) as wire:
        wire.open(channels=1)
        wire.declare("both", exclusive=True)
        wire.close_politely()


def test_a_client_that_does_not_know_the_authority_goes_away(secured: Secured, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger")
    with pytest.raises(ssl.SSLCertVerificationError):
        Secured(secured.broker, stranger).connect()


def test_a_certificate_that_names_a_user_is_enough_to_log_in(secured: Secured) -> None:
    with secured.connect(secured.authority.issue(common_name="guest")) as wire:
        assert wire.start().mechanisms == "EXTERNAL PLAIN"
        wire.method(commands.Connection.StartOk({}, "EXTERNAL", "", "en_US"))
        wire.expect(commands.Connection.Tune)


def test_a_certificate_that_names_no_user_is_refused(secured: Secured) -> None:
    with secured.connect(secured.authority.issue(common_name="nobody-of-that-name")) as wire:
        wire.start()
        capabilities = {"capabilities": {"authentication_failure_close": True}}
        wire.method(commands.Connection.StartOk(capabilities, "EXTERNAL", "guest", "en_US"))  # type: ignore[arg-type]
        assert wire.expect(commands.Connection.Close).reply_code == 403


def test_external_is_not_offered_and_not_taken_without_a_certificate(secured: Secured) -> None:
    with secured.connect() as wire:
        assert wire.start().mechanisms == "PLAIN"
        wire.method(commands.Connection.StartOk({}, "EXTERNAL", "guest", "en_US"))
        assert wire.expect(commands.Connection.Close).reply_code == 503
    with Wire(secured.broker.port) as plain:
        assert plain.start().mechanisms == "PLAIN"


def test_wrong_expired_and_revoked_certificates_are_refused(secured: Secured, tmp_path: Path) -> None:
    authority = secured.authority
    revoked = authority.client_context()
    revoked.load_cert_chain(authority.folder / "client-revoked.pem")
    stranger = authority.client_context(Authority(tmp_path, "stranger").issue(common_name="guest"))
    expired = authority.client_context(authority.issue(common_name="guest", days=-1))
    for context, words in ((revoked, "revoked"), (stranger, "unknown"), (expired, "expired")):

        def connect(context: ssl.SSLContext = context) -> Wire:
            plain = socket.create_connection(("127.0.0.1", secured.port), 10)
            return Wire(context.wrap_socket(plain, server_hostname="127.0.0.1"))

        assert words in str(refusal(connect)).lower()

    def said(line: str) -> bool:
        return line in secured.broker.log

    for reason in ("certificate revoked", "certificate has expired"):
        line = f"the certificate of the client is not accepted: {reason}"
        eventually(partial(said, line), f"the log says {line!r}")


@pytest.mark.parametrize(
    "junk",
    [PROTOCOL_HEADER, b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(70000), bytes(1 << 20), b""],
)
def test_junk_in_place_of_a_handshake_is_closed(secured: Secured, junk: bytes) -> None:
    with socket.create_connection(("127.0.0.1", secured.port), 10) as client:
        with suppress(OSError):
            client.sendall(junk)
            client.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            while client.recv(65536):
                pass


def test_junk_inside_the_session_is_closed(secured: Secured) -> None:
    with secured.connect() as wire:
        wire.open()
        with socket.socket(fileno=socket.dup(wire.socket.fileno())) as raw:
            raw.settimeout(10)
            raw.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
            with suppress(ConnectionError):
                while raw.recv(65536):
                    pass


def test_a_server_name_that_is_no_text_is_refused_in_one_line_of_the_log(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    names = tmp_path / "names"
    names.mkdir()
    authority.issue("a.example").private_key_and_cert_chain_pem.write_to_path(names / "a.example.pem")
    options = ["--tls-port", "0", "--tls-cert", str(authority.server())]
    with running_broker(tmp_path, *options, settings={"TLS__SNI": str(names)}) as broker:
        secured = Secured(broker, authority)
        hello = ssl.MemoryBIO()
        client = authority.client_context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="a.example")
        with suppress(ssl.SSLWantReadError):
            client.do_handshake()
        with socket.create_connection(("127.0.0.1", secured.port), 10) as wire:
            wire.sendall(hello.read().replace(b"a.example", b"\xff\xfe\n\x1b[31m\xff"[:9]))
            with suppress(ConnectionError):
                while wire.recv(4096):
                    pass
        eventually(lambda: "TLS handshake of 127.0.0.1" in broker.log, "the refusal is logged")
        assert "\x1b" not in broker.log
        broker.assert_unharmed()


def test_renegotiation_is_refused(secured: Secured) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command")
    import subprocess

    line = [openssl, "s_client", "-connect", f"127.0.0.1:{secured.port}", "-tls1_2", "-legacy_renegotiation"]
    with subprocess.Popen(line, stdin=-1, stdout=-1, stderr=subprocess.STDOUT) as client:
        assert client.stdin is not None and client.stdout is not None
        seen = b""
        while b"Verify return code" not in seen:
            piece = client.stdout.read1(4096)  # type: ignore[attr-defined]
            assert piece, seen
            seen += piece
        client.stdin.write(b"R\n")
        client.stdin.flush()
        while piece := client.stdout.read1(4096):  # type: ignore[attr-defined]
            seen += piece
        assert b"no renegotiation" in seen.lower(), seen.decode(errors="replace")


def test_a_handshake_that_drips_is_cut_off(secured: Secured) -> None:
    hello = ssl.MemoryBIO()
    client = secured.authority.client_context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="127.0.0.1")
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    octets = hello.read()
    for sent in (b"", octets[:1], octets[:100]):
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", secured.port), 10) as slow:
            slow.sendall(sent)
            with suppress(ConnectionError):
                assert slow.recv(1) == b""
        assert HANDSHAKE_SECONDS - 0.5 < time.monotonic() - began < HANDSHAKE_SECONDS + 5
    assert "handshake timeout, closing 127.0.0.1" in secured.broker.log


def test_the_time_for_tls_and_login_is_one_budget(secured: Secured) -> None:
    began = time.monotonic()
    with secured.connect() as wire:
        wire.start()
        with suppress(OSError, EOFError):
            wire.read_octets(1)
    assert time.monotonic() - began < HANDSHAKE_SECONDS + 5


def test_slow_handshakes_keep_nobody_waiting(secured: Secured) -> None:
    slow = [socket.create_connection(("127.0.0.1", secured.port), 10) for _ in range(200)]
    began = time.monotonic()
    with secured.connect() as wire:
        wire.open(channels=1)
        wire.round_trip()
    assert time.monotonic() - began < 1.0
    for each in slow:
        each.close()


def test_a_client_that_goes_without_a_word_is_noticed(secured: Secured) -> None:
    wire = secured.connect()
    wire.open(channels=1)
    wire.declare("gone", exclusive=True)
    wire.close()
    with secured.connect() as other:
        other.open(channels=1)

        def gone() -> bool:
            other.method(commands.Queue.Declare(queue="gone", exclusive=True), 1)
            return isinstance(other.read_method(), commands.Queue.DeclareOk)

        assert gone() or "gone" in secured.broker.log


def test_a_consumer_that_does_not_read_keeps_its_broker_small(secured: Secured) -> None:
    before = secured.broker.resident_bytes()
    with secured.connect() as consumer, secured.connect() as publisher:
        consumer.open(channels=1)
        publisher.open(channels=1)
        consumer.declare("unread", auto_delete=True)
        consumer.method(commands.Basic.Consume(queue="unread", no_ack=True), 1)
        consumer.expect(commands.Basic.ConsumeOk)
        body = b"x" * 100_000
        for _ in range(200):
            publisher.send(publish("unread", body))
        publisher.round_trip()
        assert secured.broker.resident_bytes() - before < 100_000_000
        for _ in range(200):
            assert consumer.read_message(commands.Basic.Deliver)[1] == body


def test_shutdown_tells_clients_and_waits_for_none_that_hangs(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    options = ["--tls-port", "0", "--tls-cert", str(authority.server())]
    with running_broker(tmp_path, *options) as broker:
        secured = Secured(broker, authority)
        client, silent = secured.connect(), secured.connect()
        client.open()
        silent.open()
        handshaking = socket.create_connection(("127.0.0.1", secured.port), 10)
        broker.signal(signal.SIGTERM)
        assert client.expect(commands.Connection.Close).reply_code == 320
        client.method(commands.Connection.CloseOk())
        assert broker.wait() == 0
        for each in (client, silent, handshaking):
            each.close()
        assert "Traceback" not in broker.log


def test_without_a_certificate_there_is_no_tls_port(tmp_path: Path) -> None:
    with running_broker(tmp_path) as broker:
        assert "amqps" not in broker.ports


def test_certificates_that_cannot_be_used_keep_the_node_from_starting(tmp_path: Path) -> None:
    words = r"tls\.certificate: .*missing\.pem: No such file"
    missing = str(tmp_path / "missing.pem")
    with pytest.raises(AssertionError, match=words), running_broker(tmp_path, "--tls-cert", missing):
        pass


def test_new_certificates_are_taken_on_sighup_and_by_themselves(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    path = authority.server()
    options = ["--tls-port", "0", "--tls-cert", str(path)]
    with running_broker(tmp_path, *options) as broker:
        secured = Secured(broker, authority)

        def shown() -> str:
            with secured.connect() as wire:
                assert isinstance(wire.socket, ssl.SSLSocket)
                subject: Any = (wire.socket.getpeercert() or {})["subject"]
                return str(dict(pair for part in subject for pair in part)["commonName"])

        first = secured.connect()
        first.open(channels=1)
        assert shown() == "127.0.0.1"
        authority.write(authority.issue("127.0.0.1", common_name="second"), "server")
        broker.signal(signal.SIGHUP)
        eventually(lambda: shown() == "second", "the new certificate is shown after SIGHUP")

        path.write_text("this is no certificate")
        broker.signal(signal.SIGHUP)
        eventually(lambda: "cannot be used, the old ones stay" in broker.log, "the error is logged")
        assert shown() == "second"

        authority.write(authority.issue("127.0.0.1", common_name="third"), "server")
        eventually(lambda: shown() == "third", "the file is looked at now and then", 20)
        first.declare("still-there", exclusive=True)
        first.close_politely()


def test_a_client_whose_certificate_was_revoked_cannot_come_back(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    identity = authority.issue(common_name="guest")
    options = ["--tls-port", "0", "--tls-cert", str(authority.server()), "--tls-ca", str(authority.ca)]
    settings = {"TLS__VERIFY": "required", "TLS__CRL": str(authority.revoke([]))}
    with running_broker(tmp_path, *options, settings=settings) as broker:
        secured = Secured(broker, authority)
        with secured.connect(identity) as wire:
            wire.open()
        authority.revoke([identity])
        broker.signal(signal.SIGHUP)
        eventually(lambda: "new certificates for amqp/ssl are in use" in broker.log, "the reload is done")
        assert "revoked" in str(refusal(lambda: secured.connect(identity))).lower()


def test_one_address_cannot_hold_more_handshakes_than_allowed(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    options = ["--tls-port", "0", "--tls-cert", str(authority.server())]
    with running_broker(tmp_path, *options, settings={"LIMITS__MAX_HANDSHAKES_PER_ADDRESS": "5"}) as broker:
        secured = Secured(broker, authority)
        # On either port: they count together.
        idle = [socket.create_connection(("127.0.0.1", secured.port), 10) for _ in range(3)]
        idle += [socket.create_connection(("127.0.0.1", broker.port), 10) for _ in range(2)]

        def refused(port: int) -> bool:
            with socket.create_connection(("127.0.0.1", port), 10) as one_more:
                one_more.settimeout(0.2)
                try:
                    return one_more.recv(1) == b""
                except TimeoutError:
                    return False

        eventually(lambda: refused(secured.port), "a sixth handshake with TLS is refused")
        eventually(lambda: refused(broker.port), "a sixth handshake without TLS is refused")
        assert "limits.max_handshakes_per_address" in broker.log
        idle.pop().close()

        def opens() -> bool:
            with suppress(OSError, EOFError), secured.connect() as wire:
                wire.open()
                return True
            return False

        eventually(opens, "a place that is free can be taken")
        # Who has logged in takes no place any more.
        opened: list[Wire] = []
        for _ in range(8):
            wire = Wire(broker.port)
            opened.append(wire.open())
        for each in [*(wire.socket for wire in opened), *idle]:
            each.close()


async def test_an_embedded_broker_has_tls_too(tmp_path: Path) -> None:
    from harebell import Broker
    from harebell.settings import Settings, Tls

    authority = Authority(tmp_path)
    settings = Settings(tls=Tls(certificate=authority.server()))
    async with Broker(settings=settings) as broker:
        node = broker._node
        assert node is not None
        (_, port), *_ = node.tls_addresses
        url = f"amqps://guest:guest@127.0.0.1:{port}/"
        async with await aio_pika.connect(url, ssl_context=authority.client_context()) as connection:
            channel = await connection.channel()
            await channel.declare_queue("embedded")
        await asyncio.sleep(0)


@pytest.mark.parametrize("source", ["distinguished_name", "subject_alternative_name"])
def test_users_are_named_by_other_parts_of_the_certificate_too(tmp_path: Path, source: str) -> None:
    authority = Authority(tmp_path)
    identity = authority.issue("me@example.org", common_name="a,O=b", organization="Example, Inc.")
    user = subject_of(identity) if source == "distinguished_name" else "me@example.org"
    options = ["--tls-port", "0", "--tls-cert", str(authority.server()), "--tls-ca", str(authority.ca)]
    settings = {
        "TLS__VERIFY": "required",
        "AUTH__MECHANISMS": "EXTERNAL",
        "AUTH__SSL_CERT_LOGIN_FROM": source,
        "AUTH__SSL_CERT_LOGIN_SAN_TYPE": "email",
        "AUTH__DEFAULT_USER": user,
    }
    with running_broker(tmp_path, *options, settings=settings) as broker:
        with Secured(broker, authority).connect(identity) as wire:
            wire.start()
            wire.method(commands.Connection.StartOk({}, "EXTERNAL", "", "en_US"))
            wire.expect(commands.Connection.Tune)
            wire.method(commands.Connection.TuneOk(2047, 131072, 0))
            wire.call(commands.Connection.Open("/"), 0, commands.Connection.OpenOk)
        assert f"user '{logs.escape(user)}' authenticated" in broker.log


def test_plain_connections_can_be_left_out(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    settings = {"SERVER__PLAIN": "off", "TLS__CERTIFICATE": str(authority.server())}
    with running_broker(tmp_path, settings=settings) as broker:
        assert set(broker.ports) == {"amqps"}
        with Secured(broker, authority).connect() as wire:
            wire.open().close_politely()


def test_who_has_logged_in_without_waiting_for_answers_takes_no_place_either(tmp_path: Path) -> None:
    with running_broker(tmp_path, settings={"LIMITS__MAX_HANDSHAKES": "2"}) as broker:
        clients: list[Wire] = []
        for _ in range(6):
            wire = Wire(broker.port)
            clients.append(wire)
            wire.log_in_blindly()
            for method in (commands.Connection.Start, commands.Connection.Tune, commands.Connection.OpenOk):
                wire.expect(method)

            def free(wire: Wire = wire) -> bool:
                with suppress(OSError, EOFError), Wire(broker.port) as probe, Wire(broker.port) as other:
                    probe.start()
                    other.start()
                    return True
                return False

            eventually(free, "both places are free")
        for wire in clients:
            wire.close()
