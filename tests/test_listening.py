"""Listening on TCP addresses: on all of them at one port, or on none."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest

from harebell import listening
from harebell.listening import listen


async def test_every_address_gets_the_same_free_port_and_takes_connections() -> None:
    opened = await listen([("127.0.0.1", 0), ("127.0.0.2", 0)], 5, "test")
    try:
        (first, port), (second, same) = opened.addresses
        assert (first, second) == ("127.0.0.1", "127.0.0.2")
        assert port == same != 0
        for host in (first, second):
            socket.create_connection((host, port)).close()
    finally:
        opened.close()


async def test_a_taken_address_is_told_as_asyncio_tells_it_and_frees_the_others() -> None:
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            OSError, match=rf"attempting to bind on address \('127.0.0.2', {port}\)"
        ) as refused:
            await listen([("127.0.0.1", port), ("127.0.0.2", port)], 5, "test")
    assert refused.value.errno == errno.EADDRINUSE
    (await listen([("127.0.0.1", port)], 5, "test")).close()


async def test_closing_twice_is_safe() -> None:
    opened = await listen([("127.0.0.1", 0)], 5, "test")
    opened.close()
    opened.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(opened.addresses[0])


@pytest.mark.parametrize("code", [errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT])
async def test_without_ipv6_the_default_addresses_are_those_of_ipv4(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    caplog.set_level("INFO", "harebell")
    without_ipv6(monkeypatch, code)
    opened = await listen([("127.0.0.1", 0), ("::1", 0)], 5, "test")
    opened.close()
    assert [host for host, _ in opened.addresses] == ["127.0.0.1"]
    assert "there is no IPv6 here" in caplog.text


@pytest.mark.parametrize("hosts", [("::1", "127.0.0.1"), ("::1",), ("127.0.0.1", "2001:db8::1")])
async def test_without_ipv6_an_address_of_it_that_stands_alone_or_first_is_an_error(
    monkeypatch: pytest.MonkeyPatch, hosts: tuple[str, ...]
) -> None:
    without_ipv6(monkeypatch, errno.EADDRNOTAVAIL)
    with pytest.raises(OSError) as refused:
        await listen([(host, 0) for host in hosts], 5, "test")
    assert refused.value.errno == errno.EADDRNOTAVAIL


def without_ipv6(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Be on a machine without IPv6."""
    opened = listening._opened

    def fail(family: int, address: Any, port: int, backlog: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(code, "no IPv6")
        return opened(family, address, port, backlog)

    monkeypatch.setattr(listening, "_opened", fail)
