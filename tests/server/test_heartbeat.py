"""Heartbeats: silence is noticed, and idle connections are kept alive, in both directions."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from harebell.testing import BrokerThread
from tests.server.process import eventually
from tests.server.wire import HEARTBEAT, HEARTBEAT_FRAME, Wire


def test_heartbeats(caplog: pytest.LogCaptureFixture) -> None:
    """One run of a few seconds for all: a silent client, one that only beats, one that works, one without."""
    caplog.set_level(logging.INFO, "harebell")
    with BrokerThread() as broker:
        silent = Wire(broker.port).open(heartbeat=2)
        beating = Wire(broker.port).open(heartbeat=1)
        working = Wire(broker.port).open(heartbeat=1, channels=1)
        without = Wire(broker.port).open(heartbeat=0)
        stop = threading.Event()
        active = threading.Thread(target=_keep_alive, args=(stop, beating, working))
        active.start()
        started = time.monotonic()
        frames = silent.read_until_closed()
        lived = time.monotonic() - started
        stop.set()
        active.join()
        assert 2 <= lived <= 8, f"a client silent for two heartbeats of 2 s was dropped after {lived:.1f} s"
        assert {found.kind for found in frames} == {HEARTBEAT_FRAME}, "an idle broker sends heartbeats only"
        assert len(frames) >= int(lived) - 1, (
            f"a heartbeat a second was due, {len(frames)} came in {lived:.1f} s"
        )
        eventually(lambda: "missed heartbeats from client, timeout: 2s" in caplog.text, "the log says why")

        working.round_trip()
        beating.close_politely()
        assert caplog.text.count("missed heartbeats") == 1
        without.socket.settimeout(0.01)
        with pytest.raises(TimeoutError):
            without.read_frame()
        without.close()
        working.close()


def _keep_alive(stop: threading.Event, beating: Wire, working: Wire) -> None:
    while not stop.wait(0.3):
        beating.send(HEARTBEAT)
        working.round_trip()
