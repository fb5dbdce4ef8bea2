"""What the measurements have in common on their command lines."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from bench.brokers import Broker, Harebell, RabbitMQ
from bench.errors import BenchError
from bench.load import Load

PROJECT = Path(__file__).resolve().parent.parent
BUILD = PROJECT / "build"


def parser_for(description: str | None, json_name: str) -> argparse.ArgumentParser:
    """Return a parser with the common options; figures go to ``json_name`` in ``build/``."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--harebell-python",
        action="append",
        metavar="[LABEL=]PATH",
        help="an interpreter that has harebell; repeat it to compare builds (default: this interpreter)",
    )
    parser.add_argument("--perf-python", default=sys.executable, help="the interpreter of the load generator")
    parser.add_argument(
        "--oracle", type=Path, default=PROJECT / "tools" / "oracle", help="what starts RabbitMQ"
    )
    parser.add_argument(
        "--cpus",
        default="any",
        help="cores of the brokers and of the load generator, as 0,1; 'any' pins nothing (any)",
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=BUILD,
        help="harebell's data goes to a new folder in here (build)",
    )
    parser.add_argument("--json", type=Path, default=BUILD / json_name, help="where the figures go")
    parser.add_argument("--check", action="store_true", help="exit 1 if the first harebell misses a floor")
    return parser


def cpus(given: argparse.Namespace) -> tuple[int | None, int | None]:
    """Return the cores of the brokers and of the load generator. Raises BenchError."""
    if given.cpus == "any":
        return None, None
    if shutil.which("taskset") is None:
        raise BenchError("--cpus needs taskset (Debian: util-linux)")
    try:
        broker, perf = map(int, given.cpus.split(","))
    except ValueError as error:
        raise BenchError("--cpus must be 'any' or two numbers, as 0,1") from error
    return broker, perf


def load_of(given: argparse.Namespace) -> Load:
    """Return the load generator."""
    return Load(given.perf_python, cpus(given)[1])


def brokers(
    given: argparse.Namespace, data: Path | None, rabbitmq: bool = True, harebell: bool = True
) -> list[Broker]:
    """Return the contestants, the reference first.

    Every harebell gets a folder of its own in ``data``, or keeps all in memory. Raises BenchError.
    """
    cpu = cpus(given)[0]
    found: list[Broker] = [RabbitMQ("RabbitMQ", cpu, given.oracle)] if rabbitmq else []
    for text in (given.harebell_python or [f"harebell={sys.executable}"]) if harebell else []:
        label, separator, path = text.partition("=")
        label = label if separator else "harebell"
        folder = None if data is None else data / label
        found.append(Harebell(label, cpu, path if separator else text, folder))
    if not found or len({broker.label for broker in found}) < len(found):
        raise BenchError("nothing to compare, or two contestants with one label")
    return found
