"""The Celery application under test: its tasks, made for any broker and result backend.

A worker process finds `app` here, set up by the environment variables that the tests give it.
"""

from __future__ import annotations

import os
import time

from celery import Celery, Task

BROKER_URL = "INTEROP_BROKER_URL"
RESULT_BACKEND = "INTEROP_RESULT_BACKEND"
QUEUE = "INTEROP_QUEUE"


class NotYet(Exception):
    """What a task raises that wants to be retried."""


def add(x: int, y: int) -> int:
    """Return the sum."""
    return x + y


def add_all(numbers: list[int]) -> int:
    """Return the sum of a chord's results."""
    return sum(numbers)


def fail(message: str) -> None:
    """Fail with a message."""
    raise ValueError(message)


def succeed_at_attempt(self: Task, attempt: int) -> int:
    """Retry until this is the given attempt, counted from 1, and return how often it was retried."""
    if self.request.retries + 1 < attempt:
        raise self.retry(exc=NotYet(), countdown=0.05, max_retries=attempt)
    return int(self.request.retries)


def finish_time() -> float:
    """Return when the task ran, in seconds since the epoch."""
    return time.time()


def hold(path: str) -> bool:
    """Note in a file that the task runs, wait for another file, and return whether this was a second run."""
    with open(path, "a", encoding="ascii") as running:
        running.write("running\n")
    while not os.path.exists(path + ".release"):
        time.sleep(0.02)
    with open(path, encoding="ascii") as running:
        return len(running.readlines()) > 1


def make_app(broker_url: str, result_backend: str, queue: str) -> Celery:
    """Return an application whose tasks go through one queue of a broker."""
    app = Celery("interop", broker=broker_url, backend=result_backend, set_as_current=False)
    app.conf.update(
        task_default_queue=queue,
        task_default_exchange=queue,
        task_default_routing_key=queue,
        worker_prefetch_multiplier=1,
        worker_send_task_events=True,
        task_send_sent_event=True,
        result_chord_retry_interval=0.1,
        result_expires=60,
        broker_connection_retry_on_startup=True,
        broker_transport_options={"confirm_publish": True},
        event_queue_expires=30,
    )
    for function in (add, add_all, fail, finish_time):
        app.task(function, name=f"interop.{function.__name__}")
    app.task(succeed_at_attempt, name="interop.succeed_at_attempt", bind=True)
    app.task(hold, name="interop.hold", acks_late=True)
    return app


if QUEUE in os.environ:
    app = make_app(os.environ[BROKER_URL], os.environ[RESULT_BACKEND], os.environ[QUEUE])
