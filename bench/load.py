"""Running the load generator."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from bench.brokers import Broker
from bench.errors import BenchError

BUSY_SHARE = 0.9
PROGRESS_SECONDS = "2"
ENDLESS_SECONDS = "3600"
INTERRUPTED = 130


@dataclass(frozen=True)
class Load:
    """Runs ``harebell perf`` of one interpreter, pinned to ``cpu`` if that is not None."""

    python: str
    cpu: int | None = None

    def command(self, broker: Broker, arguments: tuple[str, ...]) -> list[str]:
        """Return the command that puts a load on ``broker`` and prints JSON."""
        pin = [] if self.cpu is None else ["taskset", "-c", str(self.cpu)]
        return [*pin, self.python, "-m", "harebell.perf", "--url", broker.url, "--json", *arguments]

    def run(self, broker: Broker, arguments: tuple[str, ...], progress: bool = False) -> object:
        """Run once and return the figures, with the progress on standard error. Raises BenchError."""
        interval = PROGRESS_SECONDS if progress else "0"
        done = subprocess.run(
            self.command(broker, ("--interval", interval, *arguments)),
            stdout=subprocess.PIPE,
            stderr=None if progress else subprocess.PIPE,
            text=True,
        )
        if done.returncode != 0:
            reason = (done.stderr or "see above").strip()
            raise BenchError(f"{' '.join(arguments)} on {broker.label}: {reason}")
        figures: object = json.loads(done.stdout)
        busy = pick(figures, ("generator", "cpu"))
        if busy >= BUSY_SHARE:
            print(
                f"  the load generator used {busy:.0%} of a core: it may be the limit here",
                flush=True,
            )
        return figures

    @contextlib.contextmanager
    def beside(
        self, broker: Broker, arguments: tuple[str, ...], figures: dict[str, object]
    ) -> Iterator[None]:
        """Run while the body of the ``with`` does, and put what was measured into ``figures``.

        Raises BenchError.
        """
        process = subprocess.Popen(
            self.command(broker, ("--interval", "0", "--duration", ENDLESS_SECONDS, *arguments)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate()
        if process.returncode != INTERRUPTED:
            raise BenchError(f"{' '.join(arguments)} on {broker.label}: {errors.strip()}")
        figures.update(json.loads(output))


def pick(figures: object, path: tuple[str, ...]) -> float:
    """Follow ``path`` into the figures; what is missing counts as 0."""
    for name in path:
        figures = figures.get(name) if isinstance(figures, dict) else None
    return float(figures) if isinstance(figures, int | float) else 0.0
