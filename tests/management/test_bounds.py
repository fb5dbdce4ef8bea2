"""What clients that stall, flood or send rubbish cannot do."""

from __future__ import annotations

import asyncio
import gc
import gzip
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack
from time import thread_time

import pytest
from aiohttp import encode_basic_auth

from harebell.auth.backends import default_directory
from harebell.engine import topology
from harebell.engine.topology import Caller
from harebell.management import listing, server, transfer
from harebell.management.errors import HttpError
from harebell.management.login import log_in
from harebell.management.transfer import Room
from harebell.ports import User
from harebell.settings import Settings
from harebell.settings.tree import Management
from tests.support.management import Api, management_api

LOGIN = b"Authorization: Basic Z3Vlc3Q6Z3Vlc3Q=\r\n"


async def connect(http: Api) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = http.base.removeprefix("http://").rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def ended(reader: asyncio.StreamReader) -> bytes:
    """Give what comes up to the end of the connection."""
    async with asyncio.timeout(10):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


def fill(http: Api, count: int) -> None:
    """Declare many queues at once."""
    broker = http.broker._running.broker
    caller = Caller(broker, broker.vhosts["/"], User("guest", frozenset()), 0)
    for number in range(count):
        topology.declare_queue(caller, f"queue-{number:05}", False, False, False, {})


@pytest.mark.parametrize(
    "sent",
    [
        b"rubbish\r\n\r\n",
        b"\x00\xff" * 50 + b"\r\n\r\n",
        b"AMQP\x00\x00\x09\x01",
        b"GET /api/whoami HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET /api/whoami HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(500)) + b"\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"PUT /api/queues/%2F/q HTTP/1.1\r\nHost: x\r\n"
        + LOGIN
        + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_rubbish_is_refused_and_others_are_served(http: Api, sent: bytes) -> None:
    reader, writer = await connect(http)
    writer.write(sent)
    writer.write_eof()
    answered = await ended(reader)
    assert answered.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4", b"")), answered[:200]
    assert b"200 OK" not in answered
    writer.close()
    assert (await http.get("/whoami"))["name"] == "guest"


async def test_a_client_that_sends_nothing_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "KEEPALIVE_SECONDS", 0.2)
    async with management_api() as http:
        for sent in (b"", b"GET /api/whoami HTTP/1.1\r\nHo"):
            reader, writer = await connect(http)
            writer.write(sent)
            assert b"200 OK" not in await ended(reader)
            writer.close()


async def test_a_body_that_does_not_come_ends_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "BODY_SECONDS", 0.2)
    async with management_api() as http:
        reader, writer = await connect(http)
        head = b"PUT /api/queues/%2F/q HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n" + LOGIN + b"\r\n{"
        writer.write(head)
        assert (await ended(reader)).startswith(b"HTTP/1.1 408 ")
        writer.close()


async def test_large_bodies_that_come_slowly_hold_up_nobody(http: Api) -> None:
    slow = []
    for _ in range(5):
        _, writer = await connect(http)
        head = b"POST /api/definitions HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n"
        writer.write(head + b"Content-Type: application/json\r\n" + LOGIN + b"\r\n{" + b" " * 1_500_000)
        await writer.drain()
        slow.append(writer)
    body = b'{"queues":[]' + b" " * 1_500_000 + b"}"
    async with asyncio.timeout(10):
        headers = {"Content-Type": "application/json"}
        assert (await http.ask("POST", "/definitions", body, headers=headers)).status == 204
    for writer in slow:
        writer.close()


async def test_without_room_only_the_body_that_began_first_gets_on() -> None:
    room = Room(100)
    with room.share() as first:
        await first.take(60)
        with room.share() as second:
            await second.take(30)
            waiting = asyncio.create_task(second.take(30))
            await first.take(60)
            await asyncio.sleep(0)
            assert not waiting.done()
            with room.share() as third:
                too_late = asyncio.create_task(third.take(1))
                await asyncio.sleep(0)
                assert not too_late.done()
                too_late.cancel()
            waiting.cancel()
            await asyncio.wait([waiting, too_late])
    with room.share() as next_one:
        await next_one.take(100)


async def test_room_that_is_free_again_goes_to_who_waits() -> None:
    room = Room(100)
    with ExitStack() as stack:
        first = ExitStack()
        await first.enter_context(room.share()).take(90)
        shares = [stack.enter_context(room.share()) for _ in range(2)]
        waiting = [asyncio.create_task(share.take(50)) for share in shares]
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        first.close()
        async with asyncio.timeout(10):
            await asyncio.wait(waiting)
        assert [share.octets for share in shares] == [50, 50]


async def test_a_client_that_asks_first_may_send_its_body(http: Api) -> None:
    reader, writer = await connect(http)
    head = b"PUT /api/queues/%2F/q HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n"
    writer.write(head + LOGIN + b"\r\n")
    async with asyncio.timeout(10):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"{}")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 201 ")
    writer.close()


async def test_a_compressed_body_counts_with_what_is_in_it(http: Api) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    reply = await http.ask("PUT", "/queues/%2F/q", bomb, headers={"Content-Encoding": "gzip"})
    assert reply.status == 413
    small = gzip.compress(b'{"durable":true}')
    reply = await http.ask("PUT", "/queues/%2F/q", small, headers={"Content-Encoding": "gzip"})
    assert reply.status == 201


async def test_a_client_that_does_not_read_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "WRITE_SECONDS", 0.3)
    async with management_api() as http:
        fill(http, 3000)
        host, _, port = http.base.removeprefix("http://").rpartition(":")
        with socket.socket() as stalled:
            stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stalled.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(stalled, (host, int(port)))
            request = b"GET /api/queues HTTP/1.1\r\nHost: x\r\n" + LOGIN + b"\r\n"
            await loop.sock_sendall(stalled, request * 4)
            services = http.broker._running.services
            assert services is not None
            await services.served()
            management = services._management
            assert management is not None
            listening = management._runners[0].server
            assert listening is not None
            async with asyncio.timeout(10):
                while not listening.connections:
                    await asyncio.sleep(0.01)
                while listening.connections:
                    await asyncio.sleep(0.01)
        assert (await http.get("/whoami"))["name"] == "guest"


async def test_there_are_no_more_connections_than_the_settings_allow() -> None:
    async with management_api(Settings(management=Management(max_connections=3))) as http:
        opened = [await connect(http) for _ in range(3)]
        reader, writer = await connect(http)
        assert await ended(reader) == b""
        writer.close()
        for _, each in opened:
            each.close()
        async with asyncio.timeout(10):
            while True:
                try:
                    assert (await http.get("/whoami"))["name"] == "guest"
                    break
                except (OSError, AssertionError):
                    raise
                except Exception:
                    await asyncio.sleep(0.01)


async def test_wrong_passwords_are_slowed_down(http: Api) -> None:
    last = None
    for _ in range(15):
        headers = {"Authorization": "Basic Z3Vlc3Q6eA=="}
        last = await http.ask("GET", "/whoami", user="", headers=headers)
        assert last.status == 401
    assert last is not None
    assert last.error[:2] == (401, "not_authorized")
    assert "too many" in last.error[2]


@pytest.mark.parametrize("peer", ["10.0.0.1", "2001:db8::1", "::ffff:10.0.0.1", ""])
async def test_guest_logs_in_from_this_machine_only(peer: str) -> None:
    header = encode_basic_auth("guest", "guest")
    assert (await log_in(default_directory(), header, "127.0.0.1")).name == "guest"
    with pytest.raises(HttpError) as refused:
        await log_in(default_directory(), header, peer)
    assert (refused.value.status, refused.value.error, refused.value.reason, refused.value.headers) == (
        401,
        "not_authorised",
        "User can only log in via localhost",
        {},
    )


@pytest.fixture
async def quiet() -> AsyncIterator[Api]:
    """A broker that does nothing of its own accord, in a process that collects no garbage."""
    async with management_api(Settings(management=Management(sample_interval=3_600_000))) as api:
        gc.disable()
        try:
            yield api
        finally:
            gc.enable()


async def test_many_at_once_are_all_answered(http: Api) -> None:
    async def one(number: int) -> None:
        await http.put(f"/queues/%2F/q{number}", {"durable": True})
        body = {"routing_key": f"q{number}", "properties": {}, "payload": "x", "payload_encoding": "string"}
        reply = await http.ask("POST", "/exchanges/%2F/amq.default/publish", body)
        assert reply.json == {"routed": True}
        await http.get("/queues?page=1")
        wanted = {"count": 1, "ackmode": "ack_requeue_false", "encoding": "auto"}
        reply = await http.ask("POST", f"/queues/%2F/q{number}/get", wanted)
        assert len(reply.json) == 1
        assert (await http.ask("DELETE", f"/queues/%2F/q{number}")).status == 204

    await asyncio.gather(*(one(number) for number in range(200)))
    assert await http.get("/queues") == []


async def test_a_list_of_10000_queues_does_not_stall_the_node(quiet: Api) -> None:
    http = quiet
    fill(http, 10_000)
    longest = 0.0

    async def watch() -> None:
        """Note the processor time that the loop spends in one go; the wall clock counts others' programs."""
        nonlocal longest
        last = thread_time()
        while True:
            await asyncio.sleep(0)
            now = thread_time()
            longest = max(longest, now - last)
            last = now

    # Reading the answer would be work of this thread, too.
    host, _, port = http.base.removeprefix("http://").rpartition(":")
    for path in ("/queues", "/queues?page=3&sort=messages", "/queues?columns=name", "/bindings"):
        client = await asyncio.create_subprocess_exec(
            "curl", "-s", "-o", "/dev/null", "-w", "%{http_code} %{size_download}", "-u", "guest:guest",
            f"http://{host}:{port}/api{path}", stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        watcher = asyncio.create_task(watch())
        out, _ = await client.communicate()
        watcher.cancel()
        status, octets = out.split()
        assert status == b"200"
        assert int(octets) > 50_000, path
    assert longest < 0.02, f"the loop was busy for {longest * 1000:.0f} ms at a time: rest more often"


async def test_queues_may_come_and_go_while_they_are_listed(http: Api) -> None:
    fill(http, 3000)

    async def churn() -> None:
        for number in range(100):
            await http.put(f"/queues/%2F/new-{number}")
            await http.ask("DELETE", f"/queues/%2F/queue-{number:05}")

    async def look() -> None:
        for _ in range(10):
            assert len(await http.get("/queues")) >= 2900
            await http.get("/bindings")

    await asyncio.gather(churn(), look())


async def test_an_expression_that_takes_long_for_each_name_is_given_up(
    http: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MATCH_SECONDS", 0.1)
    for number in range(40):
        await http.put(f"/queues/%2F/{'a' * 250}{number}")
    reply = await http.ask("GET", "/queues?page=1&use_regex=true&name=^[a-z]*[a-z]*[a-z]*!")
    assert reply.status == 400
    assert "takes too long" in reply.json["reason"]
    assert (await http.get("/queues?page=1&use_regex=true&name=^a*39"))["filtered_count"] == 1
