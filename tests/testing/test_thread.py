"""The broker in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from pamqp import commands

from harebell.errors import BrokerError
from harebell.testing import BrokerThread
from tests.server.wire import Wire, publish


def test_blocking_code_publishes_and_looks_into_queues() -> None:
    with BrokerThread() as broker, Wire(broker.port).open(channels=1) as client:
        client.declare("jobs")
        client.send(publish("jobs", b"one") * 3)
        broker.wait_for("jobs", ready=3)
        assert broker.publish("", "jobs", "four", headers={"n": 4})
        assert [message.body for message in broker.peek("jobs", 10)] == [b"one", b"one", b"one", b"four"]
        assert repr(broker.queue("jobs")) == "<queue 'jobs': ready=4 unacked=0 consumers=0>"
        with pytest.raises(TimeoutError, match="did not come to ready=9"):
            broker.wait_for("jobs", ready=9, timeout=0.05)


def test_coroutines_run_in_the_brokers_loop() -> None:
    async def where() -> str:
        await asyncio.sleep(0)
        return threading.current_thread().name

    with BrokerThread() as broker:
        assert broker.call(where()) == "harebell"


def test_what_a_coroutine_raises_comes_back() -> None:
    with BrokerThread() as broker, pytest.raises(BrokerError, match="no exchange 'nowhere'"):
        broker.publish("nowhere", "", b"")


def test_stopping_is_idempotent_from_several_threads() -> None:
    broker = BrokerThread()
    broker.stop()
    broker.start()
    with pytest.raises(RuntimeError, match="already started"):
        broker.start()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: broker.stop(), range(8)))
    broker.stop()
    with pytest.raises(RuntimeError, match="not started"):
        broker.publish("", "jobs", b"")
    assert not any(thread.name == "harebell" for thread in threading.enumerate())


def test_it_starts_again_after_a_stop() -> None:
    broker = BrokerThread()
    for _ in range(3):
        with broker, Wire(broker.port).open():
            pass


def test_a_taken_port_is_raised_where_it_was_started() -> None:
    with BrokerThread() as broker:
        second = BrokerThread(port=broker.port)
        with pytest.raises(OSError):
            second.start()
        second.stop()


def test_virtual_hosts_come_and_go() -> None:
    with BrokerThread() as broker:
        broker.create_vhost("mine")
        with Wire(broker.port).open("mine", channels=1) as client:
            client.declare("jobs")
            assert broker.queue("jobs", "mine").ready == 0
            broker.delete_vhost("mine")
            assert client.expect(commands.Connection.Close).reply_code == 320
            client.method(commands.Connection.CloseOk())
            client.wait_until_closed()
