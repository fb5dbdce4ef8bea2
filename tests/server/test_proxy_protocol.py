"""Behind a load balancer clients are who it says they are; nobody else may say so."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from pamqp import commands

from tests.server.process import BrokerProcess, command, environment, eventually, running_broker
from tests.server.wire import PROTOCOL_HEADER, Wire
from tests.support.certificates import Authority
from tests.support.proxy import LOCAL, SIGNATURE, version_1, version_2

TRUSTED, STRANGER = "127.0.0.1", "127.0.0.2"
CLIENT = ("192.0.2.7", 56324, "198.51.100.1", 5672)
LOCAL_CLIENT = ("127.0.0.9", 56324, "198.51.100.1", 5672)
HANDSHAKE_SECONDS = 1.5

Header = Callable[[str, int, str, int], bytes]


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BrokerProcess]:
    folder = tmp_path_factory.mktemp("proxy")
    authority = Authority(folder)
    settings = {
        "SERVER__LOOP": request.param,
        "SERVER__PROXY_PROTOCOL": "on",
        "SERVER__PROXY_TRUSTED": f"{TRUSTED}/32",
        "SERVER__HANDSHAKE_TIMEOUT": str(HANDSHAKE_SECONDS),
    }
    options = ["--tls-port", "0", "--tls-cert", str(authority.server())]
    with running_broker(folder, *options, settings=settings) as found:
        yield found
        found.assert_unharmed()


def connect(port: int, header: bytes, source: str = TRUSTED) -> Wire:
    wire = Wire(port, source=source)
    wire.send(header)
    return wire


def closed_without_an_answer(wire: Wire) -> bool:
    with wire:
        return wire.read_everything() == b""


@pytest.mark.parametrize("header", [version_1, version_2])
def test_the_client_is_known_by_its_own_address(broker: BrokerProcess, header: Header) -> None:
    with connect(broker.port, header(*LOCAL_CLIENT)) as wire:
        wire.open(channels=1)
        wire.declare("proxied", exclusive=True)
        wire.close_politely()
    name = "127.0.0.9:56324 -> 198.51.100.1:5672"
    assert f"accepting AMQP connection {name}" in broker.log
    eventually(lambda: f"closing AMQP connection {name}" in broker.log, "the end is logged by the same name")


@pytest.mark.parametrize("header", [version_1, version_2])
def test_guest_cannot_log_in_from_elsewhere_through_a_load_balancer_on_this_machine(
    broker: BrokerProcess, header: Header
) -> None:
    with connect(broker.port, header(*CLIENT)) as wire:
        wire.log_in()
        assert wire.expect(commands.Connection.Close).reply_code == 403


def test_a_stranger_cannot_pass_itself_off_as_local(broker: BrokerProcess) -> None:
    for header in (version_1(*LOCAL_CLIENT), version_2(*LOCAL_CLIENT)):
        with connect(broker.port, header, STRANGER) as wire:
            with suppress(OSError):
                wire.send(PROTOCOL_HEADER)
            # Taken for the octets of a client, which they are: answered with the protocol there is.
            assert wire.read_everything() in (PROTOCOL_HEADER, b"")
    assert "accepting AMQP connection 127.0.0.2" in broker.log


def test_who_is_not_a_load_balancer_connects_as_ever(broker: BrokerProcess) -> None:
    with connect(broker.port, b"", STRANGER) as wire:
        wire.open(channels=1)
        wire.declare("direct", exclusive=True)
        wire.close_politely()


@pytest.mark.parametrize("header", [LOCAL, b"PROXY UNKNOWN\r\n"])
def test_health_checks_of_the_load_balancer_are_its_own_connections(
    broker: BrokerProcess, header: bytes
) -> None:
    with connect(broker.port, header) as wire:
        wire.open()
        wire.close_politely()


def test_a_load_balancer_that_only_knocks_leaves_no_complaint(broker: BrokerProcess) -> None:
    before = len(broker.log)
    Wire(broker.port).close()
    with connect(broker.port, LOCAL) as wire:
        wire.open()
        wire.close_politely()
    assert "warning" not in broker.log[before:]


@pytest.mark.parametrize(
    "junk",
    [
        PROTOCOL_HEADER + bytes(8),
        b"GET / HTTP/1.1\r\n\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 99999\r\n",
        b"PROXY " + b"x" * 500,
        SIGNATURE + b"\x21\x11\xff\xff" + bytes(1000),
    ],
)
def test_a_load_balancer_without_a_header_is_closed(broker: BrokerProcess, junk: bytes) -> None:
    assert closed_without_an_answer(connect(broker.port, junk))
    eventually(lambda: "PROXY header" in broker.log, "the reason is logged")


def test_the_health_check_can_begin_with_a_header_and_speak_tls(broker: BrokerProcess) -> None:
    before = len(broker.log)
    for port, options in ((broker.port, []), (broker.ports["amqps"], ["--tls"])):
        line = command("healthcheck", "--port", str(port), "--quiet", *options)
        found = subprocess.run(
            [*line, "--proxy-protocol"], env=environment(), capture_output=True, check=False
        )
        assert (found.returncode, found.stderr) == (0, b"")
        by_variable = environment({"SERVER__PROXY_PROTOCOL": "on"})
        assert subprocess.run(line, env=by_variable, capture_output=True, check=False).returncode == 0
    assert "[warning]" not in broker.log[before:]


def test_a_header_in_pieces_is_put_together(broker: BrokerProcess) -> None:
    with connect(broker.port, b"") as wire:
        wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in version_1(*LOCAL_CLIENT):
            wire.send(bytes([octet]))
        wire.open()
        wire.close_politely()


def test_octets_of_the_client_right_behind_the_header_are_its_own(broker: BrokerProcess) -> None:
    with Wire(broker.port) as wire:
        wire.send(version_2(*LOCAL_CLIENT), PROTOCOL_HEADER)
        wire.expect(commands.Connection.Start)


def test_a_header_that_never_ends_is_cut_off(broker: BrokerProcess) -> None:
    began = time.monotonic()
    with connect(broker.port, b"PROXY TCP4 ") as wire:
        assert wire.read_everything() == b""
    assert HANDSHAKE_SECONDS - 0.5 < time.monotonic() - began < HANDSHAKE_SECONDS + 5


@pytest.mark.parametrize("header", [version_1, version_2])
def test_tls_comes_behind_the_header(broker: BrokerProcess, header: Header) -> None:
    context = ssl.create_default_context(cafile=broker.log_file.parent / "authority.pem")
    plain = socket.create_connection(("127.0.0.1", broker.ports["amqps"]), 10)
    plain.sendall(header("127.0.0.8", 4711, "198.51.100.1", 5671))
    with Wire(context.wrap_socket(plain, server_hostname="127.0.0.1")) as wire:
        wire.open(channels=1)
        wire.declare("proxied-tls", exclusive=True)
    assert "accepting AMQP connection 127.0.0.8:4711 -> 198.51.100.1:5671" in broker.log


def test_handshakes_are_counted_by_the_clients_own_address(tmp_path: Path) -> None:
    settings = {
        "SERVER__PROXY_PROTOCOL": "on",
        "SERVER__PROXY_TRUSTED": TRUSTED,
        "LIMITS__MAX_HANDSHAKES_PER_ADDRESS": "2",
    }
    with running_broker(tmp_path, settings=settings) as broker:
        idle = []
        for number in range(5):
            wire = connect(broker.port, version_1(f"127.0.1.{number}", 1, "127.0.0.1", 5672))
            idle.append(wire)
            wire.start()
        second = connect(broker.port, version_1("127.0.1.1", 2, "127.0.0.1", 5672))
        second.start()
        assert closed_without_an_answer(connect(broker.port, version_1("127.0.1.1", 3, "127.0.0.1", 5672)))
        for wire in (*idle, second):
            wire.close()


def test_stopping_drops_whoever_is_still_in_its_header(tmp_path: Path) -> None:
    settings = {"SERVER__PROXY_PROTOCOL": "on", "SERVER__PROXY_TRUSTED": "127.0.0.0/8, ::1"}
    with running_broker(tmp_path, settings=settings) as broker:
        with connect(broker.port, b"PROXY ") as wire, connect(broker.port, LOCAL) as other:
            other.start()
            broker.signal(signal.SIGTERM)
            assert wire.read_everything() == b""
            assert broker.wait() == 0
        assert "Traceback" not in broker.log
