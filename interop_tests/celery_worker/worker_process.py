"""A Celery worker as its users run it: a process of its own, with child processes for the tasks."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from celery import Celery

from interop_tests.celery_worker.application import BROKER_URL, QUEUE, RESULT_BACKEND
from interop_tests.deadlines import eventually_now

PROJECT = Path(__file__).parents[2]
CONCURRENCY = 2
READY_SECONDS = 40.0
STOP_SECONDS = 30.0


class WorkerProcess:
    """A running worker that takes the tasks of an application's queue."""

    def __init__(self, app: Celery, folder: Path, broker_url: str | None = None) -> None:
        self.app = app
        self.hostname = f"worker-{secrets.token_hex(4)}@interop"
        self._log = folder / f"{self.hostname}.log"
        environment = {
            **os.environ,
            BROKER_URL: broker_url or app.conf.broker_url,
            RESULT_BACKEND: app.conf.result_backend,
            QUEUE: app.conf.task_default_queue,
        }
        command = [sys.executable, "-m", "celery", "-A", "interop_tests.celery_worker.application", "worker"]
        command += ["--hostname", self.hostname, "--concurrency", str(CONCURRENCY), "--loglevel", "INFO"]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=PROJECT, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def log(self) -> str:
        """What the worker wrote so far."""
        return self._log.read_text(errors="replace")

    def wait_until_ready(self) -> None:
        """Wait until the worker consumes.

        Raises AssertionError with the worker's log if it does not.
        """

        def ready() -> bool:
            assert self.process.poll() is None, f"the worker ended:\n{self.log}"
            return f"{self.hostname} ready." in self.log

        eventually_now(ready, f"{self.hostname} is ready, see {self._log}", seconds=READY_SECONDS)

    def stop(self) -> None:
        """Ask the worker to stop and wait until it has."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(
                    f"the worker did not stop within {STOP_SECONDS} s:\n{self.log}"
                ) from None

    def kill(self) -> None:
        """End the worker and its children without any goodbye."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(STOP_SECONDS)


@contextmanager
def running_worker(app: Celery, folder: Path, broker_url: str | None = None) -> Iterator[WorkerProcess]:
    """Run a worker and stop it at the end; its broker may be reached by another URL, such as a proxy's."""
    worker = WorkerProcess(app, folder, broker_url)
    try:
        worker.wait_until_ready()
        yield worker
    finally:
        worker.stop()
