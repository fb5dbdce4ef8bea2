"""The embedded broker: what a program sees of it, and what it leaves behind."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from pamqp.common import FieldTable

from harebell import Broker
from harebell.content.table import Table
from harebell.embedded import QueuedMessage
from harebell.errors import NOT_FOUND, PRECONDITION_FAILED, BrokerError
from harebell.settings import Settings
from harebell.settings.tree import Amqp, Auth
from harebell.settings.tree import Queue as QueueSettings
from tests.server.process import environment

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"


async def test_a_client_publishes_and_consumes_through_its_url() -> None:
    async with Broker() as broker, await aio_pika.connect(broker.url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("jobs")
        await channel.default_exchange.publish(aio_pika.Message(b"work"), "jobs")
        message = await queue.get(timeout=5)
        assert message.body == b"work"
        assert (broker.queue("jobs").ready, broker.queue("jobs").unacked) == (0, 1)
        await message.ack()
        await broker.wait_for("jobs", unacked=0)


async def test_every_form_of_its_urls_names_the_virtual_host() -> None:
    async with Broker(settings=Settings(auth=Auth.model_validate({"default_pass": "p@ss/word"}))) as broker:
        assert broker.url == f"amqp://guest:p%40ss%2Fword@127.0.0.1:{broker.port}/%2F"
        broker.create_vhost("a/b")
        async with await aio_pika.connect(broker.get_connection_url("a/b")) as connection:
            await (await connection.channel()).declare_queue("here")
        assert broker.queue("here", "a/b").name == "here"


async def test_two_brokers_in_one_loop_share_nothing() -> None:
    async with Broker() as one, Broker() as other:
        assert one.port != other.port
        async with await aio_pika.connect(one.url) as connection:
            await (await connection.channel()).declare_queue("jobs")
        assert one.queue("jobs").ready == 0
        with pytest.raises(BrokerError) as raised:
            other.queue("jobs")
        assert raised.value.row is NOT_FOUND


async def test_without_a_port_it_is_reached_through_memory_only() -> None:
    async with Broker(port=None) as broker:
        with pytest.raises(RuntimeError, match="no port"):
            broker.port  # noqa: B018
        with pytest.raises(RuntimeError, match="no port"):
            broker.url  # noqa: B018
        reader, writer = await broker.connect_memory()
        writer.write(PROTOCOL_HEADER)
        greeting = await reader.readexactly(7)
        assert greeting[:3] == b"\x01\x00\x00", "the answer to the protocol header is a method on channel 0"
        writer.close()
        await writer.wait_closed()


async def test_the_default_user_may_log_in_through_memory() -> None:
    start_ok = (
        b"\x00\x0a\x00\x0b" + bytes(4) + b"\x05PLAIN" + b"\x00\x00\x00\x0c\x00guest\x00guest" + b"\x05en_US"
    )
    async with Broker(port=None) as broker:
        reader, writer = await broker.connect_memory()
        writer.write(
            PROTOCOL_HEADER + b"\x01\x00\x00" + len(start_ok).to_bytes(4, "big") + start_ok + b"\xce"
        )
        tune = b"\x00\x0a\x00\x1e"
        received = b""
        while tune not in received:
            piece = await asyncio.wait_for(reader.read(1000), 5)
            assert piece, f"the login was refused; the broker sent {received!r} and closed"
            received += piece
        writer.close()


async def test_publish_tells_whether_a_queue_took_the_message() -> None:
    async with Broker() as broker, await aio_pika.connect(broker.url) as connection:
        channel = await connection.channel()
        await (await channel.declare_queue("jobs")).bind("amq.topic", "job.*")
        assert await broker.publish("", "jobs", b"one")
        assert await broker.publish("amq.topic", "job.two", "zwei")
        assert not await broker.publish("amq.topic", "nothing", b"lost")
        assert [found.body for found in broker.peek("jobs", 5)] == [b"one", b"zwei"]


async def test_publish_raises_what_a_client_would_be_told() -> None:
    small = Settings(amqp=Amqp(max_message_size=10))
    async with Broker(settings=small) as broker:
        with pytest.raises(BrokerError) as raised:
            await broker.publish("nowhere", "", b"x")
        assert raised.value.row is NOT_FOUND
        with pytest.raises(BrokerError, match="larger than configured max size 10") as raised:
            await broker.publish("", "", b"x" * 11)
        assert raised.value.row is PRECONDITION_FAILED
        assert not await broker.publish("", "", b"x"), "an error must not spoil the next message"


async def test_peek_shows_the_first_messages_of_a_stream() -> None:
    async with Broker() as broker, await aio_pika.connect(broker.url) as connection:
        channel = await connection.channel()
        await channel.declare_queue("s", durable=True, arguments={"x-queue-type": "stream"})
        for number in range(5):
            await broker.publish("", "s", f"{number}", {"n": number})
        await broker.wait_for("s", ready=5)
        found = broker.peek("s", 3)
        assert [(each.body, each.headers, each.redelivered) for each in found] == [
            (f"{n}".encode(), {"n": n, "x-stream-offset": n}, False) for n in range(3)
        ]
        assert len(broker.peek("s", 10)) == 5
        assert (broker.peek("s", 0), broker.queue("s").ready) == ([], 5)


async def test_peek_shows_messages_and_leaves_them_as_they_are() -> None:
    async with Broker() as broker, await aio_pika.connect(broker.url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("jobs")
        for number in range(3):
            await broker.publish(
                "", "jobs", f"{number}", {"n": number}, content_type="text/plain", delivery_mode=2
            )
        first = await queue.get(timeout=5)
        await first.reject(requeue=True)
        await broker.wait_for("jobs", ready=3, unacked=0)
        expected = [
            QueuedMessage(
                f"{n}".encode(),
                {"content_type": "text/plain", "delivery_mode": 2},
                {"n": n},
                "",
                "jobs",
                n == 0,
            )
            for n in range(2)
        ]
        assert broker.peek("jobs", 2) == expected
        assert broker.peek("jobs", 2) == expected
        assert broker.peek("jobs", 0) == []
        bodies = [(await queue.get(timeout=5, no_ack=True)).body for _ in range(3)]
        assert bodies == [b"0", b"1", b"2"]


async def test_wait_for_returns_as_soon_as_the_queue_is_as_wanted() -> None:
    async with Broker() as broker, await aio_pika.connect(broker.url) as connection:
        channel = await connection.channel()
        waiting = asyncio.create_task(broker.wait_for("jobs", ready=2, consumers=0))
        await channel.declare_queue("jobs")
        await broker.publish("", "jobs", b"1")
        assert not waiting.done()
        await broker.publish("", "jobs", b"2")
        await asyncio.wait_for(waiting, 5)


async def test_wait_for_says_how_the_queue_is_when_time_is_up() -> None:
    async with Broker() as broker, await aio_pika.connect(broker.url) as connection:
        with pytest.raises(TimeoutError, match="no queue 'jobs' in vhost '/'"):
            await broker.wait_for("jobs", timeout=0.05)
        await (await connection.channel()).declare_queue("jobs")
        await broker.publish("", "jobs", b"1")
        with pytest.raises(TimeoutError, match=r"ready=5 in 0\.05 s.*ready=1 unacked=0 consumers=0"):
            await broker.wait_for("jobs", ready=5, timeout=0.05)


async def test_deleting_a_virtual_host_closes_its_connections_only() -> None:
    async with Broker() as broker:
        broker.create_vhost("mine")
        async with (
            await aio_pika.connect(broker.url) as stays,
            await aio_pika.connect(broker.get_connection_url("mine")) as goes,
        ):
            await (await goes.channel()).declare_queue("jobs")
            closed = asyncio.Event()
            goes.close_callbacks.add(lambda *_: closed.set())
            broker.delete_vhost("mine")
            await asyncio.wait_for(closed.wait(), 5)
            await (await stays.channel()).declare_queue("still-here")
        with pytest.raises(BrokerError, match="vhost mine not found"):
            broker.queue("jobs", "mine")


async def test_it_starts_again_empty() -> None:
    broker = Broker()
    await broker.start()
    with pytest.raises(RuntimeError, match="already started"):
        await broker.start()
    broker.create_vhost("mine")
    await broker.stop()
    await broker.stop()
    with pytest.raises(RuntimeError, match="not started"):
        broker.url  # noqa: B018
    async with broker:
        with pytest.raises(BrokerError, match="vhost mine not found"):
            broker.queue("jobs", "mine")


async def test_stopping_does_not_wait_long_for_a_client_that_does_not_answer() -> None:
    async with Broker() as broker:
        reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
        writer.write(PROTOCOL_HEADER)
        await reader.readexactly(7)
        started = time.monotonic()
    assert time.monotonic() - started < 3
    writer.close()


async def test_a_taken_port_is_an_oserror_and_leaves_nothing_behind() -> None:
    async with Broker() as broker:
        second = Broker(port=broker.port)
        with pytest.raises(OSError):
            await second.start()
        assert not second._node


async def test_it_is_ready_in_a_tenth_of_a_second() -> None:
    times = []
    for _ in range(5):
        started = time.perf_counter()
        async with Broker():
            times.append(time.perf_counter() - started)
    assert min(times) < 0.1


def test_it_runs_in_uvloop_as_well() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def use_it() -> None:
        async with Broker() as broker, await aio_pika.connect(broker.url) as connection:
            await (await connection.channel()).declare_queue("jobs")
            assert await broker.publish("", "jobs", b"x")
            await broker.wait_for("jobs", ready=1)
            reader, writer = await broker.connect_memory()
            writer.write(PROTOCOL_HEADER)
            await reader.readexactly(7)
            writer.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(use_it())


async def test_two_hundred_starts_and_stops_leave_nothing_behind() -> None:
    async def cycle() -> None:
        async with Broker() as broker:
            reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
            writer.write(PROTOCOL_HEADER)
            await reader.readexactly(7)
            writer.close()

    def objects() -> Counter[str]:
        gc.collect()
        return Counter(f"{type(found).__module__}.{type(found).__qualname__}" for found in gc.get_objects())

    for _ in range(5):
        await cycle()
    descriptors, tasks, threads = _descriptors(), len(asyncio.all_tasks()), set(threading.enumerate())
    counts = [objects()]
    for _ in range(2):
        for _ in range(100):
            await cycle()
        await asyncio.sleep(0)
        counts.append(objects())
    before, between, after = counts
    # What grows once is a cache of Python's; a leak grows each time.
    grown = {
        name: after[name] - before[name]
        for name in after
        if between[name] - before[name] >= 50 and after[name] - between[name] >= 50
    }
    assert not grown, f"objects that stayed: {grown}"
    assert _descriptors() <= descriptors
    assert len(asyncio.all_tasks()) == tasks
    # The loop's own pool makes threads when it likes, and keeps them.
    left = [
        each.name for each in set(threading.enumerate()) - threads if not each.name.startswith("asyncio_")
    ]
    assert not left, "threads that stayed"


async def test_it_changes_nothing_of_the_program_around_it() -> None:
    def state() -> tuple[object, ...]:
        handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
        root, ours = logging.getLogger(), logging.getLogger("harebell")
        logs = (root.level, root.handlers[:], ours.level, ours.handlers[:], logging.raiseExceptions)
        return gc.get_threshold(), gc.isenabled(), gc.get_freeze_count(), handlers, logs

    before = state()
    async with Broker() as broker, await aio_pika.connect(broker.url) as connection:
        await (await connection.channel()).declare_queue("jobs")
        assert state() == before
    assert state() == before


def test_importing_harebell_imports_hardly_anything() -> None:
    code = "import sys; before = set(sys.modules); import harebell; print(sorted(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True
    )
    loaded = done.stdout
    for heavy in ("asyncio", "pydantic", "pamqp", "structlog", "harebell.engine"):
        assert f"'{heavy}'" not in loaded, f"import harebell loads {heavy}"


def test_an_unknown_name_is_an_attribute_error() -> None:
    import harebell

    with pytest.raises(AttributeError, match="no attribute 'Brokre'"):
        harebell.Brokre  # noqa: B018


def _descriptors() -> int:
    folder = Path("/proc/self/fd")
    return len(os.listdir(folder)) if folder.exists() else 0


async def test_a_policy_applies_to_queues_that_exist_and_is_cleared_again() -> None:
    async with Broker() as broker:
        connection = await aio_pika.connect(broker.url)
        async with connection:
            channel = await connection.channel()
            queue = await channel.declare_queue("orders.new")
            for number in range(5):
                await broker.publish("", queue.name, str(number))
            broker.set_policy("short", "^orders", {"max-length": 2})
            assert [message.body for message in broker.peek(queue.name, 9)] == [b"3", b"4"]
            with pytest.raises(BrokerError, match="not recognised"):
                broker.set_policy("odd", ".*", {"no-such-key": 1})
            broker.clear_policy("short")
            await broker.publish("", queue.name, "5")
            assert len(broker.peek(queue.name, 9)) == 3


async def test_dead_letters_go_on_counting_unless_told_otherwise() -> None:
    for continued, expected in ((True, 8), (False, 1)):
        settings = Settings(queue=QueueSettings(continue_death_history=continued))
        async with Broker(settings=settings) as broker:
            connection = await aio_pika.connect(broker.url)
            async with connection:
                channel = await connection.channel()
                arguments: FieldTable = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
                queue = await channel.declare_queue("work", arguments=arguments)
                await channel.declare_queue("dead")
                before: Table = {"x-death": [{"queue": "work", "reason": "rejected", "count": 7}]}
                await broker.publish("", "work", "again", headers=before)
                await (await queue.get()).reject(requeue=False)
                await broker.wait_for("dead", ready=1)
                deaths: Any = broker.peek("dead")[0].headers["x-death"]
                assert deaths[0]["count"] == expected


async def test_what_is_handed_back_counts_unless_told_otherwise() -> None:
    for every, expected in ((True, [1, 2, 3]), (False, [0, 1, 1])):
        settings = Settings(queue=QueueSettings(count_every_return=every))
        async with Broker(settings=settings) as broker:
            connection = await aio_pika.connect(broker.url)
            async with connection:
                channel = await connection.channel()
                queue = await channel.declare_queue("q", durable=True, arguments={"x-queue-type": "quorum"})
                await broker.publish("", "q", "again")
                found = []
                await (await queue.get()).nack()
                for answer in ("reject", "nack", "nack"):
                    message = await queue.get()
                    assert message.redelivered
                    found.append(message.headers["x-delivery-count"])
                    await (message.nack() if answer == "nack" else message.reject(requeue=True))
                assert found == expected


async def test_a_broker_that_stops_looks_at_no_deadlines_any_more() -> None:
    async with Broker() as broker:
        connection = await aio_pika.connect(broker.url)
        async with connection:
            channel = await connection.channel()
            await channel.declare_queue("short", auto_delete=False, arguments={"x-message-ttl": 60_000})
            await broker.publish("", "short", "soon over")
            turn = broker._server.turn
            assert turn._timer is not None
            turn.stop()
            await broker.publish("", "short", "sooner", expiration="1000")
            assert turn._timer is None


async def test_browse_goes_on_by_position_and_leaves_all_as_it_is() -> None:
    async with Broker() as broker, await aio_pika.connect(broker.url) as connection:
        await (await connection.channel()).declare_queue("jobs")
        for number in range(5):
            await broker.publish("", "jobs", str(number), {"n": number})
        first = broker.browse("jobs", limit=2)
        assert [(found.position, found.body) for found in first] == [(1, b"0"), (2, b"1")]
        rest = broker.browse("jobs", start=first[-1].position + 1, where="n <> 3")
        assert [found.body for found in rest] == [b"2", b"4"]
        assert [found.body for found in broker.browse("jobs", where={"n": 4})] == [b"4"]
        assert broker.queue("jobs").ready == 5
        with pytest.raises(BrokerError, match="where"):
            broker.browse("jobs", where="n =")
