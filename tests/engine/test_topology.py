"""Declaring, binding, deleting: which reply waits for which record.

The refusals are in ``tests/amqp/methods``.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harebell.engine import topology
from harebell.engine.topology import Caller
from harebell.errors import ACCESS_REFUSED, NOT_FOUND, RESOURCE_LOCKED, BrokerError
from harebell.ports import User
from tests.support.journal import DelayedJournal
from tests.support.node import Node


@pytest.fixture
def journal() -> DelayedJournal:
    return DelayedJournal()


@pytest.fixture
def caller(journal: DelayedJournal) -> Caller:
    broker = Node(journal).broker
    return Caller(broker, broker.vhosts["/"], User("guest", frozenset()), 1)


def declare(caller: Caller, name: str, durable: bool = True, exclusive: bool = False) -> int:
    return topology.declare_queue(caller, name, durable, exclusive, False, {})[1]


def test_a_durable_change_returns_the_lsn_of_its_record(caller: Caller, journal: DelayedJournal) -> None:
    steps: list[Callable[[], int]] = [
        lambda: declare(caller, "q"),
        lambda: topology.declare_exchange(caller, "x", "fanout", True, False, False, {}),
        lambda: topology.bind(caller, "x", "q", True, "", {}),
        lambda: topology.unbind(caller, "x", "q", True, "", {}),
        lambda: topology.delete_exchange(caller, "x", False),
        lambda: topology.delete_queue(caller, "q", False, False)[1],
    ]
    for step in steps:
        before = journal.written
        assert step() == before + 1 == journal.written


def test_a_transient_change_returns_0_and_writes_nothing(caller: Caller, journal: DelayedJournal) -> None:
    before = journal.written
    results = [
        declare(caller, "q", durable=False),
        declare(caller, "mine", durable=True, exclusive=True),
        topology.declare_exchange(caller, "x", "fanout", False, False, False, {}),
        topology.bind(caller, "x", "q", True, "", {}),
        topology.bind(caller, "amq.fanout", "q", True, "", {}),
        topology.bind(caller, "amq.fanout", "mine", True, "", {}),
        topology.bind(caller, "amq.fanout", "x", False, "", {}),
        topology.unbind(caller, "x", "q", True, "", {}),
        topology.delete_exchange(caller, "x", False),
        topology.delete_queue(caller, "q", False, False)[1],
    ]
    assert results == [0] * 10
    assert journal.written == before


def test_what_is_there_already_returns_0_and_writes_nothing(caller: Caller, journal: DelayedJournal) -> None:
    declare(caller, "q")
    topology.declare_exchange(caller, "x", "fanout", True, False, False, {})
    before = journal.written
    assert declare(caller, "q") == 0
    assert topology.declare_exchange(caller, "x", "fanout", True, False, False, {}) == 0
    assert topology.delete_exchange(caller, "nosuch", False) == 0
    assert topology.delete_queue(caller, "nosuch", False, False) == (0, 0)
    assert topology.unbind(caller, "x", "nosuch", True, "", {}) == 0
    assert journal.written == before


def test_a_refused_change_writes_nothing(caller: Caller, journal: DelayedJournal) -> None:
    before = journal.written
    with pytest.raises(BrokerError):
        topology.declare_queue(caller, "q", True, False, False, {"x-max-length": -1})
    with pytest.raises(BrokerError):
        topology.bind(caller, "amq.direct", "nosuch", True, "", {})
    assert journal.written == before
    assert not caller.vhost.queues


def test_an_exclusive_queue_belongs_to_its_session(caller: Caller) -> None:
    declare(caller, "mine", exclusive=True)
    queue = caller.vhost.queues["mine"]
    assert not queue.durable and queue.owner == 1
    assert caller.own(queue) is queue
    with pytest.raises(BrokerError) as refused:
        caller._replace(session_id=2).own(queue)
    assert refused.value.row is RESOURCE_LOCKED


def test_an_unknown_user_may_do_nothing(caller: Caller) -> None:
    stranger = caller._replace(user=User("stranger", frozenset()))
    for permission in ("configure", "write", "read"):
        with pytest.raises(BrokerError) as refused:
            stranger.require(permission, "queue", "q")
        assert refused.value.row is ACCESS_REFUSED
        assert refused.value.text == "access to queue 'q' in vhost '/' refused for user 'stranger'"


def test_permission_is_asked_before_existence_so_that_nothing_leaks(caller: Caller) -> None:
    stranger = caller._replace(user=User("stranger", frozenset()))
    declare(caller, "there")
    for name in ("there", "not there"):
        for ask in (topology.find_queue, topology.readable_queue, topology.purge_queue):
            with pytest.raises(BrokerError) as refused:
                ask(stranger, name)
            assert refused.value.row is ACCESS_REFUSED
    with pytest.raises(BrokerError) as refused:
        topology.exchange_exists(stranger, "amq.direct")
    assert refused.value.row is ACCESS_REFUSED


def test_looking_up_what_is_missing_is_not_found(caller: Caller) -> None:
    for ask in (topology.find_queue, topology.readable_queue, topology.purge_queue, topology.exchange_exists):
        with pytest.raises(BrokerError) as refused:
            ask(caller, "nosuch")
        assert refused.value.row is NOT_FOUND
