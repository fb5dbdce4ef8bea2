"""What the disk under a data directory costs."""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.brokers import Broker, RabbitMQ
from bench.errors import BenchError
from bench.load import Load
from harebell.perf.errors import PerfError

BLOCK = b"\x5a" * 4096
SYNCS = 200
WITNESSES = 200
FLUSHES_FIELD = 15


@contextlib.contextmanager
def data_folder(parent: Path) -> Iterator[Path]:
    """Make a folder for data below ``parent``, and delete it with all that is in it afterwards."""
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-data-", dir=parent, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def measured(given: argparse.Namespace, measure: Callable[[argparse.Namespace, Path], int]) -> int:
    """Measure with a folder for data, and return the exit code; what ends it early is told in a line."""
    try:
        with data_folder(given.data_dir) as data:
            return measure(given, data)
    except (BenchError, PerfError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


def check_same_disk(folder: Path, contestants: list[Broker]) -> None:
    """Raise BenchError if a RabbitMQ among the contestants writes to another disk than ``folder``."""
    for broker in contestants:
        if isinstance(broker, RabbitMQ) and broker.data.stat().st_dev != folder.stat().st_dev:
            raise BenchError(f"{folder} and {broker.data} are on two disks: choose another --data-dir")


def sync_seconds(folder: Path, appended: bool) -> float:
    """Return the median time of one fdatasync after 4 KiB, ``appended`` or written over existing ones."""
    took = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        if not appended:
            file.write(BLOCK * SYNCS)
            os.fsync(file.fileno())
            file.seek(0)
        for _ in range(SYNCS):
            file.write(BLOCK)
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - began)
    return statistics.median(took)


def sync_line(appended: float, overwritten: float) -> str:
    """Say what a sync costs (both in seconds)."""
    return (
        f"fdatasync of 4 KiB on this disk, median of {SYNCS}: {appended * 1e3:.3f} ms appended, "
        f"{overwritten * 1e3:.3f} ms overwritten"
    )


def flushes(folder: Path) -> int | None:
    """Return how often the disk under ``folder`` was told to flush its cache, None where that is not counted.

    Linux counts it for every disk as a whole (Documentation/block/stat.rst).
    """
    device = folder.stat().st_dev
    counters = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat")
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(counters.read_text().split()[FLUSHES_FIELD])
    return None


def sync_evidence(folder: Path, broker: Broker, load: Load) -> str:
    """Have a few messages confirmed one by one and say how often the disk was flushed meanwhile.

    Raises BenchError for a broker that confirms more often than it flushes.
    """
    before = flushes(folder)
    load.run(broker, ("--scenario", "persistent-single", "--count", str(WITNESSES)))
    after = flushes(folder)
    if before is None or after is None:
        return f"{broker.label}: this system does not count flushes, so it is not known whether it syncs"
    if after - before < WITNESSES:
        raise BenchError(f"{broker.label} confirmed {WITNESSES} messages and flushed {after - before} times")
    return f"{broker.label}: {after - before} flushes of the disk for {WITNESSES} confirms one by one"


def folder_octets(folder: Path) -> int:
    """Return how much of the disk the files in ``folder`` take."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.stat().st_blocks * 512
    return total
