"""PROXY headers: both versions in any split, and nothing that is not exactly one of them."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harebell.server.proxy_header import (
    BODY_MAX,
    SIGNATURE,
    TEXT_MAX,
    Ends,
    ProxyHeader,
    ProxyHeaderError,
)
from tests.support.proxy import LOCAL, version_1, version_2

FOLLOWING = b"AMQP\x00\x00\x09\x01"


def read(data: bytes, step: int = 1 << 16) -> tuple[ProxyHeader, bytes]:
    """Feed what is wanted, at most so much at once, and return the header and what is left."""
    header, offset = ProxyHeader(), 0
    while header.wanted and offset < len(data):
        piece = data[offset : offset + min(step, header.wanted)]
        header.feed(piece)
        offset += len(piece)
    return header, data[offset:]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1 << 16])
@pytest.mark.parametrize("make", [version_1, version_2])
@pytest.mark.parametrize(
    "ends",
    [Ends("192.0.2.1", 56324, "198.51.100.1", 5672), Ends("2001:db8::1", 1, "2001:db8::2", 65535)],
)
def test_both_versions_tell_both_ends_and_take_nothing_of_what_follows(
    make: Callable[..., bytes], ends: Ends, step: int
) -> None:
    header, rest = read(make(*ends) + FOLLOWING, step)
    assert header.wanted == 0
    assert header.ends == ends
    assert rest == FOLLOWING


@pytest.mark.parametrize("step", [1, 5, 1 << 16])
@pytest.mark.parametrize(
    "data",
    [
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN ffff:f...f:ffff 65535 65535\r\n",
        LOCAL,
        SIGNATURE + b"\x20\x11\x00\x0c" + bytes(12),
        SIGNATURE + b"\x21\x00\x00\x00",
        SIGNATURE + b"\x21\x31" + struct.pack(">H", 216) + bytes(216),
    ],
)
def test_a_load_balancer_that_speaks_for_nobody_is_itself(data: bytes, step: int) -> None:
    header, rest = read(data + FOLLOWING, step)
    assert (header.wanted, header.ends, rest) == (0, None, FOLLOWING)


def test_what_version_2_adds_behind_the_addresses_is_passed_over() -> None:
    tlvs = b"\x02\x00\x0bexample.org" + b"\x04\x00\x20" + bytes(32)
    header, rest = read(version_2("192.0.2.1", 1, "192.0.2.2", 2, tlvs) + FOLLOWING)
    assert header.ends == Ends("192.0.2.1", 1, "192.0.2.2", 2)
    assert rest == FOLLOWING


@pytest.mark.parametrize(
    "data",
    [
        FOLLOWING + bytes(8),
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32),
        b"proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 \xb2 2\r\n",
        b"PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 localhost 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
        b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP6 fe80::1%lo 2001:db8::2 1 2\r\n",
        b"PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n" + bytes(100),
        b"PROXY UNKNOWN " + b"x" * 200,
        SIGNATURE + b"\x11\x11\x00\x0c" + bytes(12),
        SIGNATURE + b"\x22\x11\x00\x0c" + bytes(12),
        SIGNATURE + b"\x21\x12\x00\x0c" + bytes(12),
        SIGNATURE + b"\x21\x22\x00\x24" + bytes(36),
        SIGNATURE + b"\x21\x41\x00\x0c" + bytes(12),
        SIGNATURE + b"\x21\x11\x00\x0b" + bytes(11),
        SIGNATURE + b"\x21\x21\x00\x23" + bytes(35),
        SIGNATURE + b"\x21\x11" + struct.pack(">H", BODY_MAX + 1),
        SIGNATURE + b"\x20\x00\xff\xff",
    ],
)
@pytest.mark.parametrize("step", [1, 1 << 16])
def test_anything_else_is_refused(data: bytes, step: int) -> None:
    with pytest.raises(ProxyHeaderError):
        read(data, step)


def test_a_line_of_107_octets_is_the_longest() -> None:
    longest = b"PROXY UNKNOWN " + b"x" * (TEXT_MAX - 16) + b"\r\n"
    assert len(longest) == TEXT_MAX
    assert read(longest)[0].wanted == 0
    with pytest.raises(ProxyHeaderError, match="107"):
        read(b"PROXY UNKNOWN " + b"x" * (TEXT_MAX - 15) + b"\r\n")


@given(st.one_of(st.binary(max_size=400), st.binary(max_size=300).map(lambda tail: SIGNATURE + tail)))
def test_no_octets_do_anything_but_complete_a_header_or_be_refused(data: bytes) -> None:
    try:
        header, rest = read(data)
    except ProxyHeaderError:
        return
    assert header.wanted >= 0
    assert header.wanted == 0 or not rest


@given(st.ip_addresses(v=4), st.ip_addresses(v=6), st.integers(0, 65535), st.integers(0, 65535))
def test_every_address_comes_through(four: object, six: object, port: int, other: int) -> None:
    for address in (str(four), str(six)):
        for make in (version_1, version_2):
            header, _ = read(make(address, port, address, other))
            assert header.ends is not None
            ends = header.ends
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            assert socket.inet_pton(family, ends.source) == socket.inet_pton(family, address)
            assert (ends.source_port, ends.destination_port) == (port, other)
