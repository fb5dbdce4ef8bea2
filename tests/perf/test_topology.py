import pytest

from harebell.perf.messages import Address
from harebell.perf.options import Options
from harebell.perf.topology import Topology, share


def plan(**options: object) -> Topology:
    return Topology.plan(Options(**options), "run")  # type: ignore[arg-type]


def test_one_queue_is_published_to_through_the_default_exchange() -> None:
    topology = plan()
    assert (topology.exchange, topology.queues, topology.addresses) == ("", ["run"], [Address("", "run")])
    assert topology.copies == 1


def test_several_queues_take_the_name_with_a_number_and_get_messages_in_turn() -> None:
    topology = plan(queues=2, queue="jobs")
    assert topology.queues == ["jobs-1", "jobs-2"]
    assert topology.addresses == [Address("", "jobs-1"), Address("", "jobs-2")]


@pytest.mark.parametrize("kind", ["direct", "topic"])
def test_direct_and_topic_exchanges_spread_over_the_queues(kind: str) -> None:
    topology = plan(queues=2, exchange_type=kind, exchange="x")
    assert topology.addresses == [Address("x", "run-1"), Address("x", "run-2")]
    assert (topology.exchange_type, topology.copies) == (kind, 1)


@pytest.mark.parametrize(
    "options",
    [{"exchange_type": "fanout"}, {"exchange_type": "headers"}, {"exchange": "x", "routing_key": "k"}],
)
def test_fanout_headers_and_a_shared_key_reach_every_queue(options: dict[str, str]) -> None:
    topology = plan(queues=3, **options)
    assert len(topology.addresses) == 1
    assert topology.copies == 3
    assert bool(topology.headers) == (options.get("exchange_type") == "headers")


def test_an_exchange_without_a_type_is_direct() -> None:
    assert plan(exchange="x").exchange_type == "direct"


@pytest.mark.parametrize(("items", "workers"), [(1, 1), (5, 2), (2, 5), (3, 3), (7, 3)])
def test_shares_leave_no_item_and_no_worker_out(items: int, workers: int) -> None:
    shares = [share(list(range(items)), workers, worker) for worker in range(workers)]
    assert all(shares)
    assert {item for one in shares for item in one} == set(range(items))
    if items >= workers:
        assert sum(map(len, shares)) == items
