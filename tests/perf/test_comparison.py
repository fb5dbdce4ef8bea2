"""The arithmetic of bench/: a comparison with a wrong ratio is worse than none."""

import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import backlog, expiry, options, restart
from bench.backlog import Figures, Pace
from bench.brokers import Harebell, RabbitMQ, answers
from bench.client import Client
from bench.disk import data_folder, folder_octets, sync_seconds
from bench.errors import BenchError
from bench.load import pick
from bench.processes import forget_peak, listener_pid, peak_octets, resident_octets
from bench.report import Row, factor, missed_floors, number, ratio, table

needs_proc = pytest.mark.skipif(
    not os.path.exists("/proc/net/tcp"), reason="processes are weighed through /proc"
)
FASTER = Row("speed", (), floor=2)
SOONER = Row("latency", (), unit="µs", lower_is_better=True, floor=2)


def contestants() -> tuple[RabbitMQ, Harebell]:
    return RabbitMQ("RabbitMQ", None, Path("tools/oracle")), Harebell("harebell", None, "python")


def test_a_ratio_says_how_many_times_better() -> None:
    assert ratio(FASTER, 100.0, 250.0) == 2.5
    assert ratio(SOONER, 100.0, 25.0) == 4.0
    assert ratio(FASTER, 0.0, 5.0) is None


def test_the_table_holds_medians_and_ratios() -> None:
    samples = {
        "speed": {"RabbitMQ": [90.0, 100.0, 900.0], "harebell": [1.0, 1_500.0, 2_000.0]},
        "latency": {"RabbitMQ": [8.0], "harebell": [2.0]},
    }
    assert table([FASTER, SOONER], list(contestants()), samples).splitlines()[2:] == [
        "| speed | msg/s | 100 | 1,500 | 15.0x |",
        "| latency | µs | 8 | 2 | 4.0x |",
    ]


def test_two_builds_are_told_apart_by_hundredths() -> None:
    assert (factor(0.972), factor(1.996), factor(12.34)) == ("0.97x", "2.00x", "12.3x")


def test_a_missed_floor_is_named() -> None:
    samples = {
        "speed": {"RabbitMQ": [100.0], "harebell": [150.0]},
        "latency": {"RabbitMQ": [100.0], "harebell": [10.0]},
    }
    (line,) = missed_floors([FASTER, SOONER], list(contestants()), samples)
    assert line == "below the floor: speed is 1.5x, promised 2x"


def test_a_missing_figure_counts_as_nothing() -> None:
    figures = {"latency_us": {"publish_to_receive": None}, "received_per_s": 5}
    assert pick(figures, ("latency_us", "publish_to_receive", "p50")) == 0.0
    assert pick(figures, ("received_per_s",)) == 5.0


@pytest.mark.parametrize(("value", "text"), [(1_234_567.8, "1,234,568"), (42.42, "42.4"), (0.12345, "0.123")])
def test_figures_keep_three_digits(value: float, text: str) -> None:
    assert number(value) == text


@needs_proc
def test_a_broker_is_weighed_by_the_port_it_listens_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert listener_pid(port) == os.getpid()
        assert resident_octets(port) > 1_000_000
    with pytest.raises(BenchError, match=str(port)):
        listener_pid(port)


def test_a_broker_answers_and_a_closed_port_does_not(broker_port: int) -> None:
    assert answers(broker_port)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert not answers(port)


@needs_proc
def test_the_peak_of_a_broker_is_what_it_had_since_it_was_forgotten() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        taken = bytearray(b"x") * 64_000_000
        before = peak_octets(port)
        del taken
        forget_peak(port)
        assert before >= 64_000_000
        assert 1_000_000 < peak_octets(port) <= before


def test_the_folder_for_data_is_weighed_and_deleted(tmp_path: Path) -> None:
    with data_folder(tmp_path / "new") as folder:
        (folder / "below").mkdir()
        (folder / "below" / "file").write_bytes(b"x" * 100_000)
        assert 100_000 <= folder_octets(folder) < 1_000_000
        assert sync_seconds(folder, appended=True) > 0
        assert sync_seconds(folder, appended=False) > 0
    assert list((tmp_path / "new").iterdir()) == []


def test_the_client_sees_what_waits_and_takes_the_first(broker_port: int) -> None:
    with Client(broker_port) as client:
        client.declare("bench-client", durable=False)
        client.wait_for_count("bench-client", 0)
        client.delete("bench-client")
        with pytest.raises(BenchError, match="404"):
            client.message_count("bench-client")


def test_a_backlog_that_costs_more_than_promised_is_named() -> None:
    slow = Figures(
        "transient", 10, short_publish=100, publish=60, short_drain=100, drain=40, peak_drain=2_000
    )
    slow.paced["nothing else"] = Pace(5_000, 50, 100)
    assert backlog.missed([slow]) == [
        "below the floor: transient drain keeps 40% of the short-queue rate",
        "above the ceiling: transient takes 2,000 MiB",
    ]


def measured(
    program: Callable[[], int], arguments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """Run a measurement on harebell alone and return the figures it wrote."""
    figures = folder / "figures.json"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(os.path.abspath(path) for path in sys.path if path))
    monkeypatch.setattr(sys, "argv", ["bench", *arguments, "--data-dir", str(folder), "--json", str(figures)])
    assert program() == 0, "the measurement failed: its standard error says why"
    samples: dict[str, Any] = json.loads(figures.read_text())["samples"]
    return samples


@needs_proc
def test_a_backlog_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--messages", "3000", "--beside", "0", "--seconds", "0.2"]
    rows = measured(backlog.main, arguments, tmp_path, monkeypatch)["harebell"]
    assert [row["kind"] for row in rows] == ["transient", "persistent"]
    for row in rows:
        assert (
            min(row[name] for name in ("publish", "drain", "short_publish", "short_drain", "peak_drain")) > 0
        )
    assert "| persistent | 3,000 | drain |" in capsys.readouterr().out


@needs_proc
def test_restarts_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["--messages", "500", "--runs", "1", "--no-rabbitmq"]
    samples = measured(restart.main, arguments, tmp_path, monkeypatch)
    for how in (restart.KILLED, restart.STOPPED):
        (answer,) = samples[restart.answer_row(how).name]["harebell"]
        (delivery,) = samples[restart.delivery_row(how).name]["harebell"]
        (peak,) = samples[restart.memory_row(how).name]["harebell"]
        assert 0 < answer < delivery
        assert peak > 1


@needs_proc
def test_queues_with_options_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["--no-rabbitmq", "--runs", "1", "--seconds", "0.3", "--warmup", "0.1"]
    names = ["priority", "expiration", "limit", "limit-dead", "reject", "quorum"]
    samples = measured(options.main, [*arguments, "--only", ",".join(names)], tmp_path, monkeypatch)
    for name in names:
        assert samples[options.ROWS[name].name]["harebell"][0] > 0, name


@needs_proc
def test_messages_with_random_limits_are_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["--messages", "2000", "--expiration", "100-8000", "--watch", "2.5"]
    figures = measured(expiry.main, arguments, tmp_path, monkeypatch)["harebell"]
    assert figures["publish"] > 0
    assert figures["drain"] > 0
    assert figures["early"] == 0
    assert 0 < figures["late_p50"] <= figures["late_p99"] <= figures["late_most"]
