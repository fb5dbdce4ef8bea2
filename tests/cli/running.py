"""The command as users run it: a process of its own, in an empty folder, with a clean environment."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SECONDS = 20.0


def clean_environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment without anything that configures a broker; data goes below home."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HAREBELL_", "RABBITMQ_", "XDG_")) and name not in ("HOME", "STATE_DIRECTORY")
    }
    # Run by root, a broker without it would use the data of the machine.
    return {**kept, "HOME": str(home), "STATE_DIRECTORY": str(home / "state"), **(extra or {})}


def harebell(
    *arguments: str, folder: Path, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "harebell", *arguments],
        cwd=folder,
        env=clean_environment(folder, environ),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@dataclass
class Serving:
    """A running broker."""

    process: subprocess.Popen[bytes]
    port: int
    output: Path
    errors: Path

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(SECONDS)

    def lines(self) -> list[str]:
        """Return what it wrote to the standard output so far."""
        return self.output.read_text().splitlines()


@contextmanager
def serving(folder: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> Iterator[Serving]:
    """Run ``harebell serve`` on a free port until the block ends."""
    ports, output, errors = folder / "ports.json", folder / "output", folder / "errors"
    command = [
        sys.executable,
        "-m",
        "harebell",
        "serve",
        "--port",
        "0",
        "--ports-file",
        str(ports),
        *arguments,
    ]
    with output.open("wb") as out, errors.open("wb") as err:
        process = subprocess.Popen(
            command, cwd=folder, env=clean_environment(folder, environ), stdout=out, stderr=err
        )
    try:
        wait_until_written(ports, process, errors)
        yield Serving(process, json.loads(ports.read_text())["amqp"], output, errors)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def wait_until_written(file: Path, process: subprocess.Popen[bytes], errors: Path) -> None:
    """Wait for a file that a process writes in one step; fail with its errors when it does not."""
    deadline = time.monotonic() + SECONDS
    while not file.exists():
        assert process.poll() is None, f"ended with {process.returncode}: {errors.read_text()}"
        assert time.monotonic() < deadline, f"did not write {file.name}: {errors.read_text()}"
        time.sleep(0.01)
