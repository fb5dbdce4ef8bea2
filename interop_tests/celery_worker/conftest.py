"""Applications and workers: one pair with results over AMQP, one with results in a database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import Celery

from interop_tests.broker_under_test import BrokerUnderTest
from interop_tests.celery_worker.application import make_app
from interop_tests.celery_worker.worker_process import WorkerProcess, running_worker
from interop_tests.names import Names


@pytest.fixture(scope="module")
def queue(broker: BrokerUnderTest) -> Iterator[str]:
    """The queue of this module's tasks, deleted at the end with its exchange."""
    names = Names()
    name = names.queue("celery")
    names.also_exchange(name)
    yield name
    names.delete_all(broker)


@pytest.fixture(scope="module")
def rpc_app(broker: BrokerUnderTest, queue: str) -> Iterator[Celery]:
    """An application whose results come back as messages."""
    app = make_app(broker.url, "rpc://", queue)
    yield app
    result_queue = Names()
    result_queue.also_queue(app.thread_oid)
    app.close()
    result_queue.delete_all(broker)


@pytest.fixture(scope="module")
def rpc_worker(rpc_app: Celery, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    """A worker for it."""
    with running_worker(rpc_app, tmp_path_factory.mktemp("worker")) as worker:
        yield worker


@pytest.fixture(scope="module")
def database_app(
    broker: BrokerUnderTest, queue: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Celery]:
    """An application whose results go to a database, which chords need."""
    database = tmp_path_factory.mktemp("results") / "results.sqlite"
    app = make_app(broker.url, f"db+sqlite:///{database}", queue + ".database")
    yield app
    app.close()
    names = Names()
    names.also_queue(queue + ".database")
    names.also_exchange(queue + ".database")
    names.delete_all(broker)


@pytest.fixture(scope="module")
def database_worker(
    database_app: Celery, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WorkerProcess]:
    """A worker for it."""
    with running_worker(database_app, tmp_path_factory.mktemp("worker")) as worker:
        yield worker
