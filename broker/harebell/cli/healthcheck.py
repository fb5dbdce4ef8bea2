"""``harebell healthcheck``: does a broker answer AMQP on this port? Only the standard library: it runs often.

It opens a connection, sends the protocol header, waits for connection.start and closes again in the way the
protocol has for it, so that the broker logs no broken handshake.
"""

import argparse
import os
import socket
import struct
import sys
from collections.abc import Sequence
from typing import NoReturn

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
_PROXY_HEADER = b"PROXY UNKNOWN\r\n"  # of a load balancer that connects on its own account
_START = b"\x00\x0a\x00\x0a"  # the class and method of connection.start
_REASON = b"health check"
_CLOSE = b"\x00\x0a\x00\x32\x00\xc8" + bytes([len(_REASON)]) + _REASON + b"\x00\x00\x00\x00"
_CLOSE_FRAME = struct.pack(">BHI", 1, 0, len(_CLOSE)) + _CLOSE + b"\xce"
_CLOSE_OK_FRAME = struct.pack(">BHI", 1, 0, 4) + b"\x00\x0a\x00\x33\xce"
_FRAME_HEADER_SIZE = 7
_MAX_ANSWER = 65536  # bytes read of what follows, from a peer that may be anything
_OK = 0
_UNAVAILABLE = 69


class NotHealthy(Exception):
    """The broker did not answer as one; ``str()`` says what happened instead."""


def check(host: str, port: int, timeout: float, *, proxied: bool = False, tls: bool = False) -> None:
    """Ask one broker.

    Args:
        host: name or address.
        port: TCP port.
        timeout: seconds for connecting, and again for the answer.
        proxied: whether the broker expects a PROXY header from here.
        tls: whether TLS is spoken on the port; whose certificate it is makes no difference.

    Raises:
        NotHealthy: nothing listens there, or what listens does not speak AMQP 0-9-1.
    """
    try:
        with _connect(host, port, timeout, proxied, tls) as connection:
            connection.sendall(PROTOCOL_HEADER)
            answer = _receive(connection, _FRAME_HEADER_SIZE + len(_START))
            if answer[:3] != b"\x01\x00\x00" or answer[_FRAME_HEADER_SIZE:] != _START:
                raise NotHealthy(f"answers, but not with connection.start: {answer!r}")
            connection.sendall(_CLOSE_FRAME)
            _read_until_closed(connection)
    except TimeoutError:
        raise NotHealthy(f"no answer within {timeout:g} s") from None
    except OSError as error:
        raise NotHealthy(error.strerror or str(error)) from None


def _connect(host: str, port: int, timeout: float, proxied: bool, tls: bool) -> socket.socket:
    connection = socket.create_connection((host, port), timeout=timeout)
    try:
        if proxied:
            connection.sendall(_PROXY_HEADER)
        if not tls:
            return connection
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # Nothing secret is sent, and certificates rarely name 127.0.0.1.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context.wrap_socket(connection)
    except OSError:
        connection.close()
        raise


def _read_until_closed(connection: socket.socket) -> None:
    """Read the rest of connection.start and close-ok: closing earlier would reset the connection."""
    count, tail = 0, b""
    while count < _MAX_ANSWER and not tail.endswith(_CLOSE_OK_FRAME):
        part = connection.recv(4096)
        if not part:
            return
        count += len(part)
        tail = (tail + part)[-len(_CLOSE_OK_FRAME) :]


def _receive(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise NotHealthy("the connection was closed before connection.start")
        data += part
    return data


def default_port() -> int:
    for variable in ("HAREBELL_SERVER__PORT", "RABBITMQ_NODE_PORT"):
        if os.environ.get(variable, "").isdigit():
            return int(os.environ[variable])
    return 5672


def main(arguments: Sequence[str]) -> int:
    """Run the command.

    Args:
        arguments: what follows ``harebell healthcheck``.

    Returns:
        0 when the broker answers, 69 when not, 64 for wrong arguments.
    """
    parser = _Parser(
        prog="harebell healthcheck",
        description="Ask a broker whether it takes AMQP connections: exit code 0 if it does, 69 if not.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="name or address (default: %(default)s)")
    parser.add_argument(
        "-p",
        "--port",
        type=int,
        default=default_port(),
        help="port (default: $HAREBELL_SERVER__PORT, $RABBITMQ_NODE_PORT, else 5672)",
    )
    parser.add_argument(
        "--timeout", type=float, default=5.0, help="seconds to wait for an answer (default: %(default)s)"
    )
    parser.add_argument("--tls", action="store_true", help="speak TLS; any certificate will do")
    parser.add_argument(
        "--proxy-protocol",
        action="store_true",
        default=os.environ.get("HAREBELL_SERVER__PROXY_PROTOCOL", "").lower() in ("1", "on", "true", "yes"),
        help="begin with a PROXY header (default: $HAREBELL_SERVER__PROXY_PROTOCOL)",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing when all is well")
    options = parser.parse_args(arguments)
    try:
        check(options.host, options.port, options.timeout, proxied=options.proxy_protocol, tls=options.tls)
    except NotHealthy as error:
        print(f"harebell: error: {options.host} port {options.port}: {error}", file=sys.stderr)
        return _UNAVAILABLE
    if not options.quiet:
        print(f"{options.host} port {options.port} takes AMQP connections")
    return _OK


class _Parser(argparse.ArgumentParser):
    """argparse with the exit code and the one line of the other commands."""

    def error(self, message: str) -> NoReturn:
        print(f"harebell: error: {message} (try 'harebell healthcheck --help')", file=sys.stderr)
        sys.exit(64)
