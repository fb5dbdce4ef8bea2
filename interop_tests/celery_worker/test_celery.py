"""Celery: tasks, results, retries, ETA, workflows, events, remote control, failures of worker and network."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import pytest
from celery import Celery, chain, chord, group
from celery.exceptions import TaskRevokedError
from celery.result import AsyncResult

from interop_tests.broker_under_test import BrokerUnderTest
from interop_tests.celery_worker.application import make_app
from interop_tests.celery_worker.worker_process import CONCURRENCY, WorkerProcess, running_worker
from interop_tests.deadlines import eventually_now
from interop_tests.names import Names
from interop_tests.tcp_proxy import tcp_proxy_in_a_thread

RESULT_SECONDS = 20


def get(result: AsyncResult) -> object:
    """Return a task's result within a deadline."""
    return result.get(timeout=RESULT_SECONDS)


# Tasks and results over AMQP


@pytest.mark.usefixtures("rpc_worker")
def test_a_task_returns_its_result(rpc_app: Celery) -> None:
    assert get(rpc_app.signature("interop.add", (2, 3)).delay()) == 5


@pytest.mark.usefixtures("rpc_worker")
def test_a_hundred_tasks_return_their_results(rpc_app: Celery) -> None:
    results = [rpc_app.send_task("interop.add", (number, 1)) for number in range(100)]
    assert [get(result) for result in results] == list(range(1, 101))


@pytest.mark.usefixtures("rpc_worker")
def test_a_failing_task_raises_its_error_at_the_caller(rpc_app: Celery) -> None:
    with pytest.raises(ValueError, match="as intended"):
        get(rpc_app.send_task("interop.fail", ("as intended",)))


@pytest.mark.usefixtures("rpc_worker")
def test_a_task_is_retried_until_it_succeeds(rpc_app: Celery) -> None:
    assert get(rpc_app.send_task("interop.succeed_at_attempt", (4,))) == 3


@pytest.mark.usefixtures("rpc_worker")
def test_a_chain_passes_results_on(rpc_app: Celery) -> None:
    workflow = chain(*(rpc_app.signature("interop.add", args) for args in ((1, 2), (10,), (100,))))
    assert get(workflow.apply_async()) == 113


@pytest.mark.usefixtures("rpc_worker")
def test_a_group_returns_all_results(rpc_app: Celery) -> None:
    workflow = group(rpc_app.signature("interop.add", (number, number)) for number in range(10))
    assert workflow.apply_async().get(timeout=RESULT_SECONDS) == [2 * number for number in range(10)]


@pytest.mark.usefixtures("rpc_worker")
def test_tasks_with_an_eta_run_when_it_has_come(rpc_app: Celery) -> None:
    countdown = 1.5
    sent = time.time()
    results = [rpc_app.send_task("interop.finish_time", countdown=countdown) for _ in range(4 * CONCURRENCY)]
    for result in results:
        finished = get(result)
        assert isinstance(finished, float)
        assert finished >= sent + countdown - 0.05, "a task ran before its ETA"


@pytest.mark.usefixtures("rpc_worker")
def test_more_tasks_with_an_eta_than_the_prefetch_do_not_block_the_others(rpc_app: Celery) -> None:
    # The worker holds each task with an ETA and raises its prefetch by one for it, with a global qos. If that
    # did not reach the running consumer, the worker would be full of waiting tasks and take no others.
    for _ in range(6 * CONCURRENCY):
        rpc_app.send_task("interop.finish_time", countdown=600)
    results = [rpc_app.send_task("interop.add", (number, 1)) for number in range(4)]
    assert [get(result) for result in results] == [1, 2, 3, 4]


@pytest.mark.usefixtures("rpc_worker")
def test_a_revoked_task_is_not_run(rpc_app: Celery) -> None:
    result = rpc_app.send_task("interop.finish_time", countdown=1)
    rpc_app.control.revoke(result.id)
    with pytest.raises(TaskRevokedError):
        get(result)


# Workflows with results in a database


@pytest.mark.usefixtures("database_worker")
def test_a_chord_gathers_the_results_of_its_group(database_app: Celery) -> None:
    header = [database_app.signature("interop.add", (number, 1)) for number in range(10)]
    workflow = chord(header, database_app.signature("interop.add_all"))
    assert get(workflow.apply_async()) == 55


@pytest.mark.usefixtures("database_worker")
def test_a_chord_can_follow_and_precede_other_tasks(database_app: Celery) -> None:
    add = "interop.add"
    header = [database_app.signature(add, (number,)) for number in range(3)]
    workflow = chain(
        database_app.signature(add, (1, 1)),
        chord(header, database_app.signature("interop.add_all")),
        database_app.signature(add, (100,)),
    )
    assert get(workflow.apply_async()) == 2 + 3 + 4 + 100


# Events


def test_events_tell_the_life_of_a_task(rpc_app: Celery, rpc_worker: WorkerProcess) -> None:
    seen: list[tuple[str, str]] = []

    def keep(event: dict[str, object]) -> None:
        seen.append((str(event["type"]), str(event.get("uuid") or event.get("hostname"))))

    with rpc_app.connection_for_read() as given:
        receiver = rpc_app.events.Receiver(given, handlers={"*": keep})
        with receiver.consumer_context() as (connection, _, _):
            result = rpc_app.send_task("interop.add", (1, 1))
            wanted = {
                (kind, result.id) for kind in ("task-sent", "task-received", "task-started", "task-succeeded")
            } | {("worker-heartbeat", rpc_worker.hostname)}

            def all_seen() -> bool:
                with suppress(TimeoutError):
                    connection.drain_events(timeout=0.2)
                return wanted <= set(seen)

            eventually_now(all_seen, f"{wanted} among {seen}")
    assert get(result) == 2


# Remote control


def test_workers_answer_a_ping(rpc_app: Celery, rpc_worker: WorkerProcess) -> None:
    answers = rpc_app.control.ping(destination=[rpc_worker.hostname], timeout=5, limit=1)
    assert answers == [{rpc_worker.hostname: {"ok": "pong"}}]


def test_a_broadcast_without_destination_reaches_the_worker(
    rpc_app: Celery, rpc_worker: WorkerProcess
) -> None:
    answers = rpc_app.control.inspect(timeout=2).ping() or {}
    assert answers.get(rpc_worker.hostname) == {"ok": "pong"}


def test_inspection_shows_tasks_queues_and_statistics(
    rpc_app: Celery, rpc_worker: WorkerProcess, queue: str, tmp_path: Path
) -> None:
    inspect = rpc_app.control.inspect([rpc_worker.hostname], timeout=5, limit=1)
    assert "interop.add" in inspect.registered()[rpc_worker.hostname]
    assert [active["name"] for active in inspect.active_queues()[rpc_worker.hostname]] == [queue]
    statistics = inspect.stats()[rpc_worker.hostname]
    assert statistics["pool"]["max-concurrency"] == CONCURRENCY
    assert statistics["prefetch_count"] >= CONCURRENCY

    marker = tmp_path / "running"
    result = rpc_app.send_task("interop.hold", (str(marker),))
    eventually_now(lambda: runs(marker) == 1, "the task runs")
    (active,) = inspect.active()[rpc_worker.hostname]
    assert (active["id"], active["name"]) == (result.id, "interop.hold")
    marker.with_suffix(".release").touch()
    assert get(result) is False


def test_a_rate_limit_is_set_and_lifted(rpc_app: Celery, rpc_worker: WorkerProcess) -> None:
    for limit in ("10/m", "0"):
        (answer,) = rpc_app.control.rate_limit(
            "interop.add_all", limit, destination=[rpc_worker.hostname], reply=True, timeout=5, limit=1
        )
        assert "ok" in answer[rpc_worker.hostname]


def test_a_worker_takes_and_leaves_further_queues(
    rpc_app: Celery, rpc_worker: WorkerProcess, names: Names
) -> None:
    further = names.queue("further")
    names.also_exchange(further)
    where = [rpc_worker.hostname]
    rpc_app.control.add_consumer(further, destination=where, reply=True, timeout=5)
    assert get(rpc_app.send_task("interop.add", (1, 2), queue=further)) == 3
    rpc_app.control.cancel_consumer(further, destination=where, reply=True, timeout=5)
    inspect = rpc_app.control.inspect(where, timeout=5, limit=1)

    def left() -> bool:
        return further not in [active["name"] for active in inspect.active_queues()[rpc_worker.hostname]]

    eventually_now(left, "the worker no longer consumes from the further queue")


# When things go wrong


def runs(marker: Path) -> int:
    """Return how often the task that writes to this file has begun."""
    return len(marker.read_text().splitlines()) if marker.exists() else 0


def test_a_task_of_a_killed_worker_is_run_by_the_next_and_shutdown_ends_that_one(
    broker: BrokerUnderTest, names: Names, tmp_path: Path
) -> None:
    queue = names.queue("killed")
    names.also_exchange(queue)
    app = make_app(broker.url, f"db+sqlite:///{tmp_path / 'results.sqlite'}", queue)
    marker = tmp_path / "running"
    with running_worker(app, tmp_path) as killed:
        result = app.send_task("interop.hold", (str(marker),))
        eventually_now(lambda: runs(marker) == 1, "the task runs")
        killed.kill()
    with running_worker(app, tmp_path) as worker:
        eventually_now(lambda: runs(marker) == 2, "the next worker runs the task again")
        marker.with_suffix(".release").touch()
        assert get(result) is True
        app.control.shutdown(destination=[worker.hostname])
        assert worker.process.wait(30) == 0, worker.log
    app.close()


def test_a_worker_comes_back_after_a_network_failure(
    broker: BrokerUnderTest, names: Names, tmp_path: Path
) -> None:
    queue = names.queue("reconnect")
    names.also_exchange(queue)
    app = make_app(broker.url, f"db+sqlite:///{tmp_path / 'results.sqlite'}", queue)
    with (
        tcp_proxy_in_a_thread(broker.host, broker.port) as proxy,
        running_worker(app, tmp_path, broker.url_at(proxy.port)),
    ):
        assert get(app.send_task("interop.add", (1, 1))) == 2
        connections = proxy.accepted
        proxy.cut()
        eventually_now(lambda: proxy.accepted > connections, "the worker connects again")
        assert get(app.send_task("interop.add", (2, 2))) == 4
    app.close()
