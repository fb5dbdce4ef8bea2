"""From accept to open-ok on real sockets: what is refused, how, and after how long."""

from __future__ import annotations

import logging
import socket
import time

import pytest
from pamqp import commands

from harebell.settings import Settings
from harebell.settings.tree import Limits, Server
from harebell.testing import BrokerThread
from tests.server.process import eventually
from tests.server.wire import PROTOCOL_HEADER, Wire

OLD_HEADER = b"AMQP\x01\x01\x00\x09"


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        (b"AMQP\x00\x00\x09\x02", "client asked for AMQP version 0.0.9.2"),
        (b"AMQP\x00\x01\x00\x00", "client asked for AMQP version 0.1.0.0"),
        (b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n", "client speaks HTTP on the AMQP port"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "client started TLS on the plain AMQP port"),
        (b"\r\n\r\n\x1b[31m\n", r"client sent a bad protocol header b'\r\n\r\n\x1b[31'"),
    ],
)
def test_another_protocol_is_answered_with_ours_and_a_closed_socket(
    sent: bytes, sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "harebell")
    with BrokerThread() as broker, Wire(broker.port) as client:
        client.send(sent)
        assert client.read_octets(8) == PROTOCOL_HEADER
        client.wait_until_closed()
        eventually(lambda: sentence in caplog.text, f"the log says {sentence!r}")


def test_the_header_of_0_9_is_taken_as_rabbitmq_does() -> None:
    with BrokerThread() as broker, Wire(broker.port) as client:
        client.send(OLD_HEADER)
        assert client.expect(commands.Connection.Start).version_minor == 9


def test_a_header_may_come_octet_by_octet() -> None:
    with BrokerThread() as broker, Wire(broker.port) as client:
        for octet in PROTOCOL_HEADER:
            client.send(bytes([octet]))
        client.expect(commands.Connection.Start)


def test_a_client_that_goes_no_further_is_dropped_in_time(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "harebell")
    with BrokerThread(settings=Settings(server=Server(handshake_timeout=0.7))) as broker:
        clients = [Wire(broker.port) for _ in range(5)]
        started = time.monotonic()
        clients[1].send(PROTOCOL_HEADER[:4])
        clients[2].start()
        clients[3].log_in()
        clients[4].tune()
        for client in clients:
            client.wait_until_closed()
        waited = time.monotonic() - started
        assert 0.5 < waited < 3, "a handshake has 0.7 s, and is looked at every half second"
        eventually(lambda: caplog.text.count("handshake timeout") == 5, "each of the five is logged")


def test_a_client_that_sends_slowly_has_no_more_time_than_others() -> None:
    with BrokerThread(settings=Settings(server=Server(handshake_timeout=0.5))) as broker:
        with Wire(broker.port) as client:
            client.start()
            started = time.monotonic()
            with pytest.raises(OSError):
                while time.monotonic() - started < 5:
                    client.send(b"\x01")
                    time.sleep(0.02)
        assert time.monotonic() - started < 3


def test_an_open_connection_outlives_the_handshake_timeout() -> None:
    impatient = Settings(server=Server(handshake_timeout=0.3))
    with BrokerThread(settings=impatient) as broker, Wire(broker.port).open(channels=1) as client:
        client.socket.settimeout(1.2)
        with pytest.raises(TimeoutError):
            client.read_frame()
        client.socket.settimeout(5)
        client.round_trip()


def test_refused_logins(caplog: pytest.LogCaptureFixture) -> None:
    """With the capability a client is told 403; without it the socket goes after a while, in silence."""
    caplog.set_level(logging.INFO, "harebell")
    with BrokerThread() as broker, Wire(broker.port) as told, Wire(broker.port) as not_told:
        not_told.log_in(password="wrong", capabilities={})
        started = time.monotonic()
        told.log_in("nobody", "wrong")
        close = told.expect(commands.Connection.Close)
        assert close.reply_code == 403
        assert close.reply_text == (
            "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. "
            "For details see the broker logfile."
        )
        told.method(commands.Connection.CloseOk())
        told.wait_until_closed()
        assert not_told.read_until_closed() == [], "an old client is told nothing"
        assert 2 < time.monotonic() - started < 6, "guessing passwords is slowed down"
        eventually(lambda: caplog.text.count("PLAIN login refused") == 2, "both refusals are logged")
        assert "wrong" not in caplog.text, "a password is in the log"


def test_guest_logs_in_from_this_machine_only() -> None:
    address = _address_of_this_machine()
    with BrokerThread(host="0.0.0.0") as broker:
        with Wire(broker.port, host="127.0.0.2", source="127.0.0.3") as near:
            near.log_in()
            near.expect(commands.Connection.Tune)
        with Wire(broker.port, host=address, source=address) as far:
            far.log_in()
            close = far.expect(commands.Connection.Close)
            assert close.reply_code == 403
            assert "Login was refused" in close.reply_text


def _address_of_this_machine() -> str:
    """Return an address that is not loopback; a connection to it comes from it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
            address: str = probe.getsockname()[0]
        except OSError:
            address = "127.0.0.1"
    if address.startswith("127."):
        pytest.skip("this machine has no address but loopback")
    return address


def test_connections_over_the_limit_are_refused_until_one_closes() -> None:
    with BrokerThread(settings=Settings(limits=Limits(max_connections=2))) as broker:
        first, second = Wire(broker.port).open(), Wire(broker.port).open(channels=1)
        with Wire(broker.port) as third:
            third.tune()
            close = third.call(commands.Connection.Open("/"), 0, commands.Connection.Close)
            assert (close.reply_code, close.reply_text) == (
                530,
                "NOT_ALLOWED - connection refused: node connection limit (2) is reached",
            )
        first.close_politely()
        with Wire(broker.port).open(channels=1) as fourth:
            fourth.round_trip()
        second.round_trip()
        second.close()


def test_a_new_secret_is_taken_while_the_connection_is_in_use() -> None:
    with BrokerThread() as broker, Wire(broker.port).open(channels=1) as client:
        update = commands.Connection.UpdateSecret("new secret", "token expired")
        client.call(update, 0, commands.Connection.UpdateSecretOk)
        client.round_trip()


def test_a_missing_virtual_host_is_refused() -> None:
    with BrokerThread() as broker, Wire(broker.port) as client:
        client.tune()
        close = client.call(commands.Connection.Open("nowhere"), 0, commands.Connection.Close)
        assert (close.reply_code, close.reply_text) == (530, "NOT_ALLOWED - vhost nowhere not found")
