"""Celery's native delayed delivery: an ETA kept by 28 quorum queues that dead-letter from one to the next.

Celery (since 5.5) uses it by itself as soon as one of its queues is a quorum queue. A delay of N seconds is
written in binary as the first 28 words of the routing key. Each level from 27 to 0 holds a message for
2^level seconds by `x-message-ttl` if its bit is set, and else passes it on by an exchange binding.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import amqp
import pytest
from celery import Celery, Task
from celery.result import AsyncResult

from interop_tests.broker_under_test import BrokerUnderTest
from interop_tests.celery_worker.application import BROKER_URL, QUEUE, RESULT_BACKEND, make_app
from interop_tests.celery_worker.worker_process import CONCURRENCY, PROJECT, WorkerProcess
from interop_tests.deadlines import eventually_now
from interop_tests.names import Names

DELAYED = "INTEROP_DELAYED"
LEVELS = [f"celery_delayed_{level}" for level in range(28)]
DELIVERY_EXCHANGE = "celery_delayed_delivery"
RESULT_SECONDS = 30


def retry_a_second_later(self: Task, attempt: int) -> float:
    """Retry until this is the given attempt, counted from 1, and return when it ran."""
    if self.request.retries + 1 < attempt:
        raise self.retry(countdown=1, max_retries=attempt)
    return time.time()


def make_delayed_app(broker_url: str, result_backend: str, queue: str) -> Celery:
    """Return an application whose tasks go through a quorum queue and a topic exchange, as delays need it."""
    app = make_app(broker_url, result_backend, queue)
    app.conf.update(task_default_queue_type="quorum", task_default_exchange_type="topic")
    app.task(retry_a_second_later, name="interop.retry_a_second_later", bind=True)
    return app


if DELAYED in os.environ:
    app = make_delayed_app(os.environ[BROKER_URL], os.environ[RESULT_BACKEND], os.environ[QUEUE])


class DelayedWorkerProcess(WorkerProcess):
    """A worker for the application of this module."""

    def __init__(self, app: Celery, folder: Path) -> None:
        self.app = app
        self.hostname = f"worker-{secrets.token_hex(4)}@interop"
        self._log = folder / f"{self.hostname}.log"
        environment = {
            **os.environ,
            DELAYED: "1",
            BROKER_URL: app.conf.broker_url,
            RESULT_BACKEND: app.conf.result_backend,
            QUEUE: app.conf.task_default_queue,
        }
        command = [sys.executable, "-m", "celery", "-A", __name__, "worker", "--hostname", self.hostname]
        command += ["--concurrency", str(CONCURRENCY), "--loglevel", "INFO"]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=PROJECT, env=environment, stdout=log, stderr=log, start_new_session=True
            )


def levels_exist(broker: BrokerUnderTest) -> bool:
    """Return whether some Celery application declared the levels on this broker already."""
    with connected(broker) as connection:
        try:
            connection.channel().queue_declare(LEVELS[0], passive=True)
        except amqp.NotFound:
            return False
    return True


def connected(broker: BrokerUnderTest) -> amqp.Connection:
    """Open a connection of py-amqp."""
    return amqp.Connection(
        host=f"{broker.host}:{broker.port}",
        userid=broker.user,
        password=broker.password,
        virtual_host=broker.virtual_host,
    )


@pytest.fixture(scope="module")
def delayed_app(broker: BrokerUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Celery]:
    """The application; what it declares is deleted, the levels too unless somebody else had them before."""
    names = Names()
    queue = names.queue("delayed")
    names.also_exchange(queue)
    if not levels_exist(broker):
        for level in LEVELS:
            names.also_queue(level)
            names.also_exchange(level)
        names.also_exchange(DELIVERY_EXCHANGE)
    database = tmp_path_factory.mktemp("results") / "results.sqlite"
    delayed_app = make_delayed_app(broker.url, f"db+sqlite:///{database}", queue)
    yield delayed_app
    delayed_app.close()
    names.delete_all(broker)


@pytest.fixture(scope="module")
def delayed_worker(
    delayed_app: Celery, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DelayedWorkerProcess]:
    """A worker that has declared and bound everything."""
    worker = DelayedWorkerProcess(delayed_app, tmp_path_factory.mktemp("worker"))
    try:
        worker.wait_until_ready()
        yield worker
    finally:
        worker.stop()


def finish_time(result: AsyncResult) -> float:
    """Return when a task ran."""
    finished = result.get(timeout=RESULT_SECONDS)
    assert isinstance(finished, float)
    return finished


def ready(broker: BrokerUnderTest, queue: str) -> int:
    """Return how many messages are ready in a queue."""
    with connected(broker) as connection:
        return int(connection.channel().queue_declare(queue, passive=True).message_count)


@pytest.mark.usefixtures("delayed_worker")
def test_a_task_without_delay_runs_at_once(delayed_app: Celery) -> None:
    assert delayed_app.send_task("interop.add", (2, 3)).get(timeout=RESULT_SECONDS) == 5


@pytest.mark.usefixtures("delayed_worker")
@pytest.mark.parametrize("countdown", [1, 2, 5])
def test_a_task_runs_when_its_countdown_is_over(delayed_app: Celery, countdown: int) -> None:
    sent = time.time()
    waited = finish_time(delayed_app.send_task("interop.finish_time", countdown=countdown)) - sent
    assert countdown - 0.05 <= waited, "the task ran before its time"
    assert waited <= countdown + 5, "the task ran much too late"


@pytest.mark.usefixtures("delayed_worker")
def test_many_delayed_tasks_all_run_after_their_times(delayed_app: Celery) -> None:
    sent = time.time()
    results = [
        (countdown, delayed_app.send_task("interop.finish_time", countdown=countdown))
        for countdown in [3, 1, 2] * 10
    ]
    for countdown, result in results:
        assert finish_time(result) >= sent + countdown - 0.05, "a task ran before its time"


def test_a_far_away_task_waits_in_the_broker_and_not_in_the_worker(
    broker: BrokerUnderTest, delayed_app: Celery, delayed_worker: DelayedWorkerProcess
) -> None:
    # Long enough to be looked at, short enough that nothing stays behind if the levels are somebody else's.
    waiting = ready(broker, LEVELS[6])
    for _ in range(4 * CONCURRENCY):
        delayed_app.send_task("interop.finish_time", countdown=2**6 + 5)
    eventually_now(
        lambda: ready(broker, LEVELS[6]) == waiting + 4 * CONCURRENCY, "the tasks wait at their level"
    )
    inspect = delayed_app.control.inspect([delayed_worker.hostname], timeout=5, limit=1)
    assert inspect.scheduled() == {delayed_worker.hostname: []}, "the worker holds none of them"
    assert delayed_app.send_task("interop.add", (1, 1)).get(timeout=RESULT_SECONDS) == 2


@pytest.mark.usefixtures("delayed_worker")
def test_a_retried_task_waits_its_countdown_each_time(delayed_app: Celery) -> None:
    sent = time.time()
    assert finish_time(delayed_app.send_task("interop.retry_a_second_later", (3,))) >= sent + 2 - 0.05


def test_the_worker_sends_no_global_prefetch_and_logs_no_failure(
    delayed_worker: DelayedWorkerProcess,
) -> None:
    assert "Failed to" not in delayed_worker.log
    assert "does not support global qos" not in delayed_worker.log
    assert "Global QoS is disabled" in delayed_worker.log, delayed_worker.log


def test_delayed_tasks_of_a_killed_worker_are_run_by_the_next(
    delayed_app: Celery, delayed_worker: DelayedWorkerProcess, tmp_path: Path
) -> None:
    results = [delayed_app.send_task("interop.finish_time", countdown=4) for _ in range(5)]
    os.killpg(delayed_worker.process.pid, signal.SIGKILL)
    delayed_worker.process.wait(10)
    worker = DelayedWorkerProcess(delayed_app, tmp_path)
    try:
        worker.wait_until_ready()
        for result in results:
            finish_time(result)
    finally:
        worker.stop()
