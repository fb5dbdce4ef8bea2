"""Policies and limits at work: new and existing objects follow, in steps that stall nobody."""

from __future__ import annotations

import pytest

from harebell.content.table import Table
from harebell.engine.commands import Command, DeclareExchange, DeclareQueue, DeleteExchange, DeleteQueue
from harebell.engine.metadata import apply, snapshot
from harebell.engine.policy_control import (
    MAX_POLICIES,
    clear_policy,
    clear_vhost_limit,
    exchange_policy,
    explain_exchange,
    explain_queue,
    get_policy,
    list_policies,
    list_vhost_limits,
    queue_policies,
    set_default_queue_type,
    set_policy,
    set_vhost_limit,
    set_vhost_limits,
)
from harebell.engine.policy_work import finish, pending, step
from harebell.engine.topology import Caller, declare_queue
from harebell.errors import NOT_ALLOWED, NOT_FOUND, PRECONDITION_FAILED, BrokerError
from harebell.ports import User
from tests.support.client import ClientChannel
from tests.support.journal import DelayedJournal
from tests.support.node import Node

GUEST = User("guest", frozenset())


def declare(node: Node, *names: str, kind: str = "classic", arguments: Table | None = None) -> None:
    for name in names:
        queue_id = node.broker.next_queue_id()
        apply(node.broker, DeclareQueue("/", name, queue_id, kind, True, 0, False, arguments or {}))


def lengths(node: Node) -> dict[str, int]:
    return {name: int(queue.options.max_length) for name, queue in node.vhost.queues.items()}


def steps(node: Node, budget: int) -> int:
    count = 1
    while step(node.broker, budget):
        count += 1
    return count


# queues


def test_a_new_queue_has_its_options_at_once(node: Node) -> None:
    set_policy(node.broker, "/", "p", "^a", {"max-length": 5})
    declare(node, "a", "b")
    assert lengths(node) == {"a": 5, "b": -1}
    assert (node.queue("a").policy, node.queue("b").policy) == ("p", None)


def test_existing_queues_follow_a_policy_set_replaced_and_cleared(node: Node) -> None:
    declare(node, "a", "b")
    set_policy(node.broker, "/", "p", "^a", {"max-length": 5})
    finish(node.broker)
    assert lengths(node) == {"a": 5, "b": -1}
    set_policy(node.broker, "/", "p", "^b", {"max-length": 6})
    finish(node.broker)
    assert lengths(node) == {"a": -1, "b": 6}
    set_policy(node.broker, "/", "cap", "", {"max-length": 3}, operator=True)
    finish(node.broker)
    assert lengths(node) == {"a": 3, "b": 3}
    assert (node.queue("b").policy, node.queue("b").operator_policy) == ("p", "cap")
    clear_policy(node.broker, "/", "p")
    clear_policy(node.broker, "/", "cap", operator=True)
    finish(node.broker)
    assert lengths(node) == {"a": -1, "b": -1}
    assert node.queue("b").policy is None and node.queue("b").operator_policy is None


def test_only_queues_whose_options_change_are_given_new_ones(node: Node) -> None:
    declare(node, "a", arguments={"x-max-length": 5})
    before = node.queue("a").options
    set_policy(node.broker, "/", "p", "^a", {"max-length": 7})
    finish(node.broker)
    assert node.queue("a").options is before
    assert node.queue("a").policy == "p"


def test_a_change_is_spread_over_steps(node: Node) -> None:
    declare(node, *(f"q{number}" for number in range(1000)))
    assert not pending(node.broker)
    set_policy(node.broker, "/", "p", "", {"max-length": 5})
    assert pending(node.broker)
    assert step(node.broker, 1000)
    changed = [name for name, length in lengths(node).items() if length == 5]
    assert len(changed) < 100, "a step does no more than its budget allows"
    assert steps(node, 1000) > 10
    assert set(lengths(node).values()) == {5}
    assert not step(node.broker)


def test_a_step_ends_when_time_is_up(node: Node) -> None:
    declare(node, *(f"q{number}" for number in range(100)))
    set_policy(node.broker, "/", "p", "", {"max-length": 5})
    assert step(node.broker, 1_000_000, lambda: True)
    assert 0 < list(lengths(node).values()).count(5) + len(node.vhost.exchanges) < 100


def test_ten_thousand_queues_follow_in_many_steps(node: Node) -> None:
    declare(node, *(f"orders.{number}.in" for number in range(10_000)))
    for number in range(20):
        set_policy(node.broker, "/", f"p{number}", f"^nothing{number}\\.(a|b)\\..*", {"max-length": 9})
    set_policy(node.broker, "/", "z", "^orders\\..*", {"max-length": 5, "message-ttl": 60_000})
    count = 1
    while step(node.broker):
        count += 1
    assert set(lengths(node).values()) == {5}
    assert count > 50, "a step does more than a turn of the loop has time for"


def test_a_change_during_the_work_reaches_everything(node: Node) -> None:
    declare(node, *(f"q{number}" for number in range(100)))
    set_policy(node.broker, "/", "p", "", {"max-length": 5})
    step(node.broker, 500)
    set_policy(node.broker, "/", "p", "", {"max-length": 6})
    step(node.broker, 500)
    clear_policy(node.broker, "/", "p")
    set_policy(node.broker, "/", "p", "", {"max-length": 7})
    steps(node, 500)
    assert set(lengths(node).values()) == {7}


def test_what_goes_or_comes_during_the_work_is_no_trouble(node: Node) -> None:
    declare(node, *(f"q{number}" for number in range(100)))
    apply(node.broker, DeclareExchange("/", "x", "fanout", True, False, False, {}))
    set_policy(
        node.broker, "/", "p", "", {"max-length": 5, "alternate-exchange": "amq.fanout", "expires": 99}
    )
    step(node.broker, 100)
    for number in range(0, 100, 2):
        apply(node.broker, DeleteQueue("/", f"q{number}"))
    apply(node.broker, DeleteExchange("/", "x"))
    declare(node, "q0", "new")
    finish(node.broker)
    assert set(lengths(node).values()) == {5}
    assert set(node.vhost.expiring) == set(node.vhost.queues.values())


def test_each_virtual_host_has_its_own_policies(node: Node) -> None:
    node.broker.ensure_vhost("v")
    declare(node, "q")
    set_policy(node.broker, "v", "p", "", {"max-length": 5})
    finish(node.broker)
    assert lengths(node) == {"q": -1}
    assert [policy["vhost"] for policy in list_policies(node.broker)] == ["v"]
    assert list_policies(node.broker, "/") == []


# expiry


def test_a_queue_expires_by_policy_and_gets_the_whole_time(node: Node) -> None:
    declare(node, "q")
    node.advance(10_000)
    set_policy(node.broker, "/", "p", "", {"expires": 1000})
    finish(node.broker)
    node.advance(999)
    assert "q" in node.vhost.queues
    node.advance(1)
    assert "q" not in node.vhost.queues


def test_a_queue_no_longer_expires_when_its_policy_is_cleared(node: Node) -> None:
    declare(node, "q", "argued", arguments=None)
    declare(node, "own", arguments={"x-expires": 5000})
    set_policy(node.broker, "/", "p", "", {"expires": 1000})
    finish(node.broker)
    node.advance(500)
    clear_policy(node.broker, "/", "p")
    finish(node.broker)
    node.advance(4999)
    assert set(node.vhost.queues) == {"q", "argued", "own"}
    node.advance(1)
    assert set(node.vhost.queues) == {"q", "argued"}
    assert not node.vhost.expiring


# exchanges


def test_an_alternate_exchange_by_policy_works_at_once_on_known_routes(
    node: Node, channel: ClientChannel
) -> None:
    channel.declare_exchange("x", "direct")
    channel.declare_exchange("spare", "fanout")
    channel.declare_queue("q")
    channel.bind("q", "spare")
    channel.publish(b"lost", exchange="x", key="nowhere")
    set_policy(node.broker, "/", "p", "^x$", {"alternate-exchange": "spare"}, apply_to="exchanges")
    finish(node.broker)
    channel.publish(b"found", exchange="x", key="nowhere")
    clear_policy(node.broker, "/", "p")
    finish(node.broker)
    channel.publish(b"lost again", exchange="x", key="nowhere")
    assert channel.drain("q") == [b"found"]


def test_predeclared_exchanges_follow_policies_and_the_default_one_does_not(
    node: Node, channel: ClientChannel
) -> None:
    channel.declare_queue("q")
    channel.bind("q", "amq.fanout")
    set_policy(node.broker, "/", "p", "", {"alternate-exchange": "amq.fanout"})
    finish(node.broker)
    channel.publish(b"direct", exchange="amq.direct", key="nowhere")
    channel.publish(b"default", key="nowhere")
    assert channel.drain("q") == [b"direct"]


def test_an_exchange_s_own_alternate_stays(node: Node) -> None:
    apply(
        node.broker, DeclareExchange("/", "x", "direct", True, False, False, {"alternate-exchange": "mine"})
    )
    set_policy(node.broker, "/", "p", "", {"alternate-exchange": "theirs"})
    finish(node.broker)
    exchange = node.vhost.exchanges["x"]
    assert exchange.alternate == "mine"
    assert exchange_policy(node.vhost, exchange) == "p"
    assert explain_exchange(node.vhost, exchange) == [("alternate-exchange", "mine", "argument", "")]
    assert explain_exchange(node.vhost, node.vhost.exchanges["amq.direct"]) == [
        ("alternate-exchange", "theirs", "policy", "p")
    ]


# control


def test_policies_are_listed_as_the_http_api_lists_them(node: Node) -> None:
    set_policy(node.broker, "/", "a", "^a", {"max-length": 5}, priority=-1)
    set_policy(node.broker, "/", "b", "^b", {"expires": 6}, priority=2, apply_to="queues")
    set_policy(node.broker, "/", "o", "^o", {"expires": 7}, operator=True)
    shown = {
        "vhost": "/",
        "name": "b",
        "pattern": "^b",
        "apply-to": "queues",
        "definition": {"expires": 6},
        "priority": 2,
    }
    assert get_policy(node.broker, "/", "b") == shown
    assert [policy["name"] for policy in list_policies(node.broker, "/")] == ["b", "a"]
    assert list_policies(node.broker)[0] == shown
    assert [policy["name"] for policy in list_policies(node.broker, operator=True)] == ["o"]


def test_a_queue_says_what_it_goes_by(node: Node) -> None:
    declare(node, "q", arguments={"x-max-length": 5})
    set_policy(node.broker, "/", "p", "", {"max-length": 7, "message-ttl": 100})
    set_policy(node.broker, "/", "o", "", {"max-length": 6, "expires": 1000}, operator=True)
    queue = node.queue("q")
    assert queue_policies(node.vhost, queue) == {
        "policy": "p",
        "operator_policy": "o",
        "effective_policy_definition": {"expires": 1000, "max-length": 6, "message-ttl": 100},
    }
    assert sorted(explain_queue(node.vhost, queue)) == [
        ("expires", 1000, "operator policy", "o"),
        ("max-length", 5, "argument", ""),
        ("message-ttl", 100, "policy", "p"),
    ]


def test_a_definition_may_be_changed_by_its_owner_without_effect_here(node: Node) -> None:
    definition: Table = {"max-length": 5}
    set_policy(node.broker, "/", "p", "", definition)
    definition["nonsense"] = 1
    listed = get_policy(node.broker, "/", "p")["definition"]
    assert listed == {"max-length": 5}


def test_what_is_missing_is_not_found(node: Node) -> None:
    broker = node.broker
    for call in (
        lambda: set_policy(broker, "nosuch", "p", "", {"max-length": 5}),
        lambda: clear_policy(broker, "/", "p"),
        lambda: clear_policy(broker, "nosuch", "p"),
        lambda: get_policy(broker, "/", "p"),
        lambda: list_policies(broker, "nosuch"),
        lambda: set_vhost_limits(broker, "nosuch", {}),
        lambda: set_vhost_limit(broker, "nosuch", "max-queues", 1),
        lambda: clear_vhost_limit(broker, "nosuch", "max-queues"),
        lambda: list_vhost_limits(broker, "nosuch"),
        lambda: set_default_queue_type(broker, "nosuch", "quorum"),
    ):
        with pytest.raises(BrokerError) as refused:
            call()
        assert refused.value.row is NOT_FOUND
    set_policy(broker, "/", "p", "", {"max-length": 5}, operator=True)
    with pytest.raises(BrokerError):
        clear_policy(broker, "/", "p")


def test_a_refused_policy_changes_and_journals_nothing() -> None:
    journal = DelayedJournal()
    node = Node(journal)
    with pytest.raises(BrokerError) as refused:
        set_policy(node.broker, "/", "p", "(", {"max-length": 5})
    assert refused.value.row is PRECONDITION_FAILED
    assert not journal.records and not pending(node.broker)


def test_the_number_of_policies_is_bounded(node: Node) -> None:
    for number in range(MAX_POLICIES):
        set_policy(node.broker, "/", f"p{number}", "", {"max-length": 5})
    with pytest.raises(BrokerError, match="limit of"):
        set_policy(node.broker, "/", "one more", "", {"max-length": 5})
    set_policy(node.broker, "/", "p0", "", {"max-length": 6})


def test_everything_set_survives_a_restart() -> None:
    journal = DelayedJournal()
    node = Node(journal)
    declare_command = DeclareQueue("/", "q", 1, "classic", True, 0, False, {})
    node.broker.commit(declare_command, durable=True)
    set_policy(node.broker, "/", "p", "^q", {"max-length": 5, "expires": 10_000})
    set_policy(node.broker, "/", "gone", "^q", {"max-length": 1}, priority=9)
    clear_policy(node.broker, "/", "gone")
    set_policy(node.broker, "/", "o", "^q", {"max-length": 4}, operator=True)
    set_vhost_limits(node.broker, "/", {"max-queues": 1})
    set_default_queue_type(node.broker, "/", "quorum")
    finish(node.broker)
    recovered = Node()
    recovered.users.put_user("guest", node.users.users["guest"].password, ("administrator",))
    for kind, *fields in journal.records:
        assert kind == "command"
        (command,) = fields
        assert isinstance(command, Command)
        recovered.broker.replay(command)
    finish(recovered.broker)
    assert snapshot(recovered.broker) == snapshot(node.broker)
    assert lengths(recovered) == {"q": 4}
    assert list(recovered.vhost.expiring) == [recovered.queue("q")]
    assert recovered.vhost.max_queues == 1
    assert recovered.vhost.default_queue_type == "quorum"


def test_a_policy_gives_queues_that_exist_an_acknowledgement_timeout(node: Node) -> None:
    queue = declare_queue(caller(node), "q", True, False, False, {})[0]
    assert not node.broker.own_timeouts
    set_policy(node.broker, "/", "p", "^q", {"consumer-timeout": 1500})
    finish(node.broker)
    assert queue.options.consumer_timeout == 1500
    assert node.broker.own_timeouts, "deliveries are looked at more often from now on"


# limits and the default queue type of a virtual host


def caller(node: Node) -> Caller:
    return Caller(node.broker, node.vhost, GUEST, 1)


def test_a_full_virtual_host_takes_no_more_queues_and_keeps_those_it_has(node: Node) -> None:
    declare_queue(caller(node), "a", True, False, False, {})
    set_vhost_limits(node.broker, "/", {"max-queues": 1})
    with pytest.raises(BrokerError) as refused:
        declare_queue(caller(node), "b", False, True, False, {})
    assert refused.value.row is PRECONDITION_FAILED
    assert refused.value.text == "cannot declare queue 'b': queue limit in vhost '/' (1) is reached"
    declare_queue(caller(node), "a", True, False, False, {})
    set_vhost_limit(node.broker, "/", "max-queues", -1)
    declare_queue(caller(node), "b", False, True, False, {})


def test_a_virtual_host_says_how_many_connections_it_takes(node: Node) -> None:
    vhost = node.vhost
    vhost.check_connection_limit(GUEST, 1_000_000)
    set_vhost_limits(node.broker, "/", {"max-connections": 1})
    vhost.check_connection_limit(GUEST, 0)
    with pytest.raises(BrokerError) as refused:
        vhost.check_connection_limit(GUEST, 1)
    assert refused.value.row is NOT_ALLOWED
    assert (
        refused.value.text == "access to vhost '/' refused for user 'guest': connection limit (1) is reached"
    )


def test_limits_are_set_replaced_and_lifted_one_by_one(node: Node) -> None:
    broker = node.broker
    assert list_vhost_limits(broker) == []
    set_vhost_limit(broker, "/", "max-queues", 5)
    set_vhost_limit(broker, "/", "max-connections", 0)
    assert list_vhost_limits(broker, "/") == [
        {"vhost": "/", "value": {"max-queues": 5, "max-connections": 0}}
    ]
    assert (node.vhost.max_queues, node.vhost.max_connections) == (5, 0)
    clear_vhost_limit(broker, "/", "max-connections")
    clear_vhost_limit(broker, "/", "max-connections")
    assert (node.vhost.max_queues, node.vhost.max_connections) == (5, -1)
    set_vhost_limits(broker, "/", {"max-connections": 7})
    assert (node.vhost.max_queues, node.vhost.max_connections) == (-1, 7)
    with pytest.raises(BrokerError):
        set_vhost_limit(broker, "/", "nosuch", 1)
    set_vhost_limits(broker, "/", {})
    assert list_vhost_limits(broker) == []


def test_a_virtual_host_has_a_default_queue_type_of_its_own(node: Node) -> None:
    set_default_queue_type(node.broker, "/", "quorum")
    queue = declare_queue(caller(node), "a", True, False, False, {})[0]
    assert (queue.type_name, queue.arguments) == ("quorum", {"x-queue-type": "quorum"})
    assert declare_queue(caller(node), "b", False, False, False, {})[0].type_name == "classic"
    classic: Table = {"x-queue-type": "classic"}
    assert declare_queue(caller(node), "c", True, False, False, classic)[0].type_name == "classic"
    assert declare_queue(caller(node), "a", True, False, False, {})[0].type_name == "quorum"
    with pytest.raises(BrokerError):
        declare_queue(caller(node), "a", True, False, False, classic)
    declare_queue(caller(node), "c", True, False, False, {})
    set_default_queue_type(node.broker, "/", "")
    assert declare_queue(caller(node), "d", True, False, False, {})[0].type_name == "classic"
