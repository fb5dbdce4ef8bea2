"""The arithmetic of bench/: a comparison with a wrong ratio is worse than none."""

import os
import socket
from pathlib import Path

import pytest

from bench.brokers import BenchError, Harebell, RabbitMQ, answers, listener_pid, resident_octets
from bench.compare import Row, missed_floors, number, pick, ratio, table

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


@pytest.mark.skipif(not os.path.exists("/proc/net/tcp"), reason="processes are weighed through /proc")
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
