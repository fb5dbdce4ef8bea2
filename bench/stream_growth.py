"""Weighing a harebell while a stream grows."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

from bench.brokers import Harebell
from bench.client import Client
from bench.disk import folder_octets
from bench.errors import BenchError
from bench.processes import forget_peak, peak_octets, resident_octets
from bench.report import markdown, number

GIGABYTE = 1_000_000_000
LOOK_SECONDS = 0.1
STALL_SECONDS = 60.0
MOST_GROWTH = 1.2
"""What memory may become after the first gigabyte, as a share of what it was there."""


@dataclass(frozen=True)
class Weight:
    """One harebell when its data directory had grown by some gigabytes (10^9 octets).

    ``seconds`` since the first look, ``resident`` now, ``peak`` since the look before; MiB.
    """

    gigabytes: int
    events: int
    seconds: float
    resident: float
    peak: float


def watch_growth(broker: Harebell, client: Client, queue: str, gigabytes: int) -> list[Weight]:
    """Weigh ``broker``, which somebody publishes to, at each gigabyte.

    Raises BenchError if it has no data directory, or that stops growing.
    """
    if broker.data is None:
        raise BenchError(f"{broker.label} has no data directory that could grow")
    began = looked = time.perf_counter()
    before = grown = folder_octets(broker.data)
    weights: list[Weight] = []
    for reached in range(gigabytes + 1):
        while grown < before + reached * GIGABYTE:
            time.sleep(LOOK_SECONDS)
            octets, now = folder_octets(broker.data), time.perf_counter()
            if octets > grown:
                grown, looked = octets, now
            elif now - looked > STALL_SECONDS:
                raise BenchError(
                    f"{broker.label} has {client.message_count(queue):,} events in the stream, but its data "
                    f"directory has not grown for {STALL_SECONDS:g} s"
                )
        weight = Weight(
            gigabytes=reached,
            events=client.message_count(queue),
            seconds=time.perf_counter() - began,
            resident=resident_octets(broker.port) / 2**20,
            peak=peak_octets(broker.port) / 2**20,
        )
        forget_peak(broker.port)
        weights.append(weight)
        shown = f"{weight.events:,} events, {number(weight.resident)} MiB resident"
        print(f"{broker.label}: {reached} GB, {shown}", file=sys.stderr, flush=True)
    return weights


def growth_table(weights: list[Weight]) -> list[str]:
    """Return the Markdown lines, one a gigabyte; rates and peaks are of the gigabyte that ends there."""
    lines = []
    earlier = weights[0]
    for weight in weights:
        seconds = weight.seconds - earlier.seconds
        rate = number((weight.events - earlier.events) / seconds) if seconds > 0 else ""
        memory = (number(weight.resident), number(weight.peak))
        lines.append([str(weight.gigabytes), f"{weight.events:,}", rate, *memory])
        earlier = weight
    return markdown(["GB on disk", "events", "events/s", "resident, MiB", "peak, MiB"], "rrrrr", lines)


def swollen(weights: list[Weight]) -> list[str]:
    """Return a line if memory grew with the stream after its first gigabyte."""
    if len(weights) < 3:
        return []
    first, *later = weights[1:]
    most = max(later, key=lambda weight: weight.peak)
    if most.peak <= first.peak * MOST_GROWTH:
        return []
    return [
        f"above the ceiling: {number(most.peak)} MiB at {most.gigabytes} GB, {number(first.peak)} MiB at "
        f"{first.gigabytes} GB"
    ]
