"""SIGTERM: clients are told, have a deadline, and the process ends with 0."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import pytest
from pamqp import commands

from tests.server.process import eventually, running_broker
from tests.server.wire import Wire

FORCED = "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_clients_are_told_and_the_broker_ends_when_they_have_closed(
    tmp_path: Path, number: signal.Signals
) -> None:
    with running_broker(tmp_path) as broker:
        client, half_open = Wire(broker.port).open(channels=1), Wire(broker.port)
        half_open.start()
        started = time.monotonic()
        broker.signal(number)
        close = client.expect(commands.Connection.Close)
        assert (close.reply_code, close.reply_text) == (320, FORCED)
        half_open.wait_until_closed()
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", broker.port), 5)
        client.method(commands.Connection.CloseOk())
        client.wait_until_closed()
        assert broker.wait() == 0
        assert time.monotonic() - started < 5, "nobody was left to wait for"
        assert "Traceback" not in broker.log
        assert broker.log.rstrip().endswith("stopped"), broker.log


def test_a_client_that_does_not_answer_cannot_hold_the_broker_up(tmp_path: Path) -> None:
    with running_broker(tmp_path, settings={"SERVER__SHUTDOWN_TIMEOUT": "1.5"}) as broker:
        client = Wire(broker.port).open()
        started = time.monotonic()
        broker.signal(signal.SIGTERM)
        assert broker.wait() == 0
        assert 1.4 < time.monotonic() - started < 5
        client.close()


def test_what_was_confirmed_to_be_sent_still_arrives(tmp_path: Path) -> None:
    with running_broker(tmp_path) as broker:
        client = Wire(broker.port).open(channels=1)
        client.declare("jobs")
        many = [commands.Queue.Declare(queue="jobs", passive=True)] * 500
        for method in many:
            client.method(method, 1)
        client.expect(commands.Queue.DeclareOk)
        broker.signal(signal.SIGTERM)
        answers = client.read_until_closed_by(commands.Connection.Close)
        assert all(isinstance(found, commands.Queue.DeclareOk) for found in answers)
        client.method(commands.Connection.CloseOk())
        assert broker.wait() == 0
        client.close()


def test_a_second_signal_ends_it_at_once_with_1(tmp_path: Path) -> None:
    with running_broker(tmp_path, settings={"SERVER__SHUTDOWN_TIMEOUT": "8"}) as broker:
        client = Wire(broker.port).open()
        broker.signal(signal.SIGTERM)
        client.expect(commands.Connection.Close)
        started = time.monotonic()
        # Two signals within half a second are taken for one wish.
        eventually(lambda: time.monotonic() - started > 0.6, "time passes", 5)
        broker.signal(signal.SIGTERM)
        assert broker.wait(5) == 1
        client.close()
