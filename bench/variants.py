"""Variants of one load that take turns on one broker, and what each costs beside the first of them."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TypeVar

from bench.arguments import brokers, parser_for
from bench.brokers import Broker
from bench.report import machine, markdown, number, write_json


@dataclass
class Variant:
    """One of those that are compared.

    Attributes:
        name: for the table.
        rates, costs: messages a second, and µs of the broker's processor time for each, of all turns.
    """

    name: str
    rates: list[float] = field(default_factory=list, kw_only=True)
    costs: list[float] = field(default_factory=list, kw_only=True)


AnyVariant = TypeVar("AnyVariant", bound=Variant)


def processor_seconds(pid: int) -> float:
    """Give the processor time a process used so far, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def parser_of_turns(description: str | None, json: str) -> argparse.ArgumentParser:
    """Make a parser of what every such comparison asks for."""
    parser = parser_for(description, json)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each variant (5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a turn that are measured (3)")
    parser.add_argument("--warmup", type=float, default=0.5, help="seconds before that (0.5)")
    parser.add_argument("--size", type=int, default=100, help="octets of a body (100)")
    parser.add_argument("--unconfirmed", type=int, default=4096, help="most unconfirmed messages (4096)")
    parser.add_argument("--transient", action="store_true", help="transient messages, not persistent ones")
    return parser


def table(found: Sequence[Variant], rate_head: str) -> str:
    """Return the figures as Markdown; ratios are medians of those of neighbouring turns."""
    reference = found[0]
    lines = []
    for variant in found:
        rate = median(mine / its for mine, its in zip(variant.rates, reference.rates, strict=True))
        cost = median(mine / its for mine, its in zip(variant.costs, reference.costs, strict=True))
        lines.append(
            [
                variant.name,
                number(median(variant.rates)),
                f"{rate - 1:+.0%}",
                f"{median(variant.costs):.1f}",
                f"{cost - 1:+.0%}",
            ]
        )
    heads = ["", rate_head, "of that without", "broker's CPU, µs a message", "of that without"]
    return "\n".join(markdown(heads, "lrrrr", lines))


def take_turns(
    given: argparse.Namespace,
    data: Path,
    found: Sequence[AnyVariant],
    turn: Callable[[Broker, AnyVariant, argparse.Namespace], None],
    rate_head: str,
    shape: str,
) -> int:
    """Measure, print the table, write the JSON, and return the exit code.

    Args:
        found: the first one is the reference.
        turn: measures one variant once.
        rate_head: head of the column of rates.
        shape: what else to say of the messages.

    Raises:
        BenchError: something went wrong.
    """
    broker = brokers(given, data, rabbitmq=False)[0]
    try:
        broker.start()
        for each in range(given.rounds):
            for variant in found:
                print(f"round {each + 1} of {given.rounds}: {variant.name}", file=sys.stderr, flush=True)
                turn(broker, variant, given)
    finally:
        broker.stop()
    kind = "transient" if given.transient else "persistent"
    print(f"\n{table(found, rate_head)}\n\n{machine()}; {kind} messages of {given.size} octets, {shape}")
    samples = {one.name: {"rates": one.rates, "costs": one.costs} for one in found}
    write_json(given.json, {"machine": machine(), "samples": samples, "arguments": vars(given)})
    return 0
