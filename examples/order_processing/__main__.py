"""Live a day of the shop, on a broker of its own or on the one at ``--url``."""

from __future__ import annotations

import argparse
import asyncio
import io
import sys
from collections.abc import Iterator, Sequence

from aio_pika import AMQPException

from examples.order_processing.day import live
from examples.order_processing.report import Outcome, discrepancies, table
from examples.order_processing.timeline import Timeline
from harebell import Broker


async def run(url: str | None, timeline: Timeline) -> Outcome:
    """Live the day at a URL; in a broker of its own, in memory, if there is none."""
    if url is not None:
        return await live(url, timeline)
    async with Broker() as broker:
        return await live(broker.url, timeline)


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the day, and return 0 if everything adds up, else 1."""
    parser = argparse.ArgumentParser(prog="python -m examples.order_processing", description=__doc__)
    parser.add_argument("--url", help="AMQP URL of a harebell that runs already; its data is kept there")
    options = parser.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    timeline = Timeline(sys.stdout)
    outcome = None
    try:
        outcome = asyncio.run(run(options.url, timeline))
    except* (AMQPException, OSError) as group:
        for error in _leaves(group):
            timeline.line(f"\nThe day ended too soon: {type(error).__name__}: {error}")
    if outcome is None:
        return 1
    timeline.line(f"\n{table(outcome)}\n")
    found = discrepancies(outcome)
    for line in found:
        timeline.line(f"does not add up: {line}")
    if not found:
        timeline.line("Everything adds up.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
