"""The arithmetic of ``bench.streams``, and the stand-ins it measures with."""

import argparse
from pathlib import Path

import pytest

from bench import streams
from bench.arguments import brokers
from bench.brokers import Harebell
from bench.errors import BenchError
from bench.report import Samples
from bench.stream_growth import Weight, growth_table, swollen
from bench.stream_source import events
from bench.streams import PUBLISHING, READERS, RETAINING, Measurement, missed, relations, shares
from harebell.perf.histogram import Histogram
from harebell.perf.inbound import Inbound

SAMPLES: Samples = {
    PUBLISHING.name: {"harebell": [100.0, 200.0, 900.0]},
    RETAINING.name: {"harebell": [150.0]},
    READERS[1].name: {"harebell": [1_000_000.0]},
    READERS[5].name: {"harebell": [2_000_000.0]},
}


def weight(gigabytes: int, peak: float) -> Weight:
    return Weight(gigabytes, gigabytes * 5_000_000, gigabytes * 10.0, peak - 1, peak)


@pytest.fixture
def measurement(tmp_path: Path) -> Measurement:
    given = argparse.Namespace(
        cpus="any", perf_python="python", size=100, harebell_python=None, oracle=Path("tools/oracle")
    )
    return Measurement(given, brokers(given, tmp_path, rabbitmq=False), tmp_path)


def test_what_a_row_is_judged_by_is_measured_with_it() -> None:
    assert streams.wanted_parts("retention, memory") == {"publish", "retention", "memory"}
    assert streams.wanted_parts("replay5") == {"replay", "replay5"}
    assert streams.wanted_parts("") == set(streams.ONLY)
    with pytest.raises(BenchError, match="replay5"):
        streams.wanted_parts("replay6")


def test_shares_are_of_medians() -> None:
    assert shares(SAMPLES, "harebell") == {RETAINING.name: 0.75, READERS[5].name: 2.0}
    assert shares({PUBLISHING.name: {"harebell": [1.0]}}, "harebell") == {}


def test_relations_stand_in_a_table() -> None:
    assert relations(SAMPLES, ["harebell"], {5: 2_500_000.0})[2:] == [
        "| publishing kept while retention runs | 75% |",
        "| five readers, times one | 2.0x |",
        "| replay, five readers, of the ceiling 2,500,000 | 80% |",
    ]
    assert relations({}, ["harebell"], {5: 2_500_000.0}) == []


def test_missed_promises_are_named(measurement: Measurement) -> None:
    measurement.samples = SAMPLES
    assert missed(measurement, "harebell") == [
        "below the floor: retention leaves 75% of the publishing rate",
        "below the floor: five readers are 2.0x one, promised 3x",
    ]


def test_five_readers_at_the_ceiling_miss_nothing(measurement: Measurement) -> None:
    measurement.samples = {name: SAMPLES[name] for name in (READERS[1].name, READERS[5].name)}
    measurement.ceilings = {5: 2_100_000.0}
    assert missed(measurement, "harebell") == []
    measurement.ceilings = {5: 3_000_000.0}
    assert len(missed(measurement, "harebell")) == 1


def test_memory_that_grows_after_the_first_gigabyte_is_named() -> None:
    assert swollen([weight(0, 50), weight(1, 100), weight(2, 120), weight(3, 90)]) == []
    (line,) = swollen([weight(0, 50), weight(1, 100), weight(2, 150), weight(3, 90)])
    assert line == "above the ceiling: 150 MiB at 2 GB, 100 MiB at 1 GB"
    assert swollen([weight(0, 50), weight(1, 100)]) == []


def test_the_growth_table_has_the_rate_of_each_gigabyte() -> None:
    assert growth_table([weight(0, 50), weight(1, 100)])[2:] == [
        "| 0 | 0 |  | 49 | 50 |",
        "| 1 | 5,000,000 | 500,000 | 99 | 100 |",
    ]


def test_a_stream_that_cannot_fit_on_the_disk_is_refused(measurement: Measurement) -> None:
    measurement.given.gigabytes = 10_000_000
    (broker,) = measurement.contestants
    assert isinstance(broker, Harebell)
    with pytest.raises(BenchError, match="--gigabytes"):
        measurement.grow(broker)


@pytest.mark.parametrize("size", [16, 100, 1_024])
def test_the_source_sends_deliveries_that_the_load_generator_counts(size: int) -> None:
    block = events("a-queue", size)
    inbound = Inbound(131_072, 0, 100, Histogram(), None)
    inbound.feed(block, 1)
    inbound.feed(block, 2)
    assert inbound.received == 2 * block.count(b"x-stream-offset")
    assert inbound.received_octets == inbound.received * size
    assert inbound.replies == []
