"""Parameters, global parameters, and what the engine keeps that shows as parameters."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harebell.administration.administration import Administration
from harebell.administration.parameters import (
    clear_global_parameter,
    clear_parameter,
    get_global_parameter,
    get_parameter,
    list_global_parameters,
    list_parameters,
    set_global_parameter,
    set_parameter,
)
from harebell.administration.vhosts import delete_vhost, put_vhost
from harebell.engine.policy_control import set_policy, set_vhost_limit
from harebell.errors import NOT_FOUND, PRECONDITION_FAILED, BrokerError
from tests.support.administration import administration_of
from tests.support.journal import DelayedJournal
from tests.support.node import Node

POLICY = {"pattern": "^a", "definition": {"max-length": 5}, "priority": 0, "apply-to": "queues"}


@pytest.fixture
def admin() -> Administration:
    return administration_of(Node(DelayedJournal()))


def test_values_of_shovels_and_upstreams_are_kept_as_they_are(admin: Administration) -> None:
    value = {"src-uri": "amqp://", "n": [1, 2.5, None, True]}
    assert set_parameter(admin, "/", "shovel", "s", value) > 0
    assert set_parameter(admin, "/", "shovel", "s", value) == 0
    shown = {"value": value, "vhost": "/", "component": "shovel", "name": "s"}
    assert get_parameter(admin, "/", "shovel", "s") == shown
    assert list_parameters(admin) == [shown]
    assert list_parameters(admin, "shovel", "/") == [shown]
    assert list_parameters(admin, "federation-upstream") == []


def test_a_component_there_is_not_is_refused_in_rabbitmqs_words(admin: Administration) -> None:
    with pytest.raises(BrokerError) as refused:
        set_parameter(admin, "/", "nosuch", "p", 1)
    assert refused.value.text == "Validation failed\n\ncomponent nosuch not found\n"


def test_policies_are_shown_but_not_set_as_parameters(admin: Administration) -> None:
    set_policy(admin.broker, "/", "p", "^a", {"max-length": 5}, apply_to="queues")
    assert list_parameters(admin) == []
    assert [row["value"] for row in list_parameters(admin, "policy")] == [POLICY]
    with pytest.raises(BrokerError, match="policies may not be set using this method"):
        set_parameter(admin, "/", "policy", "p", POLICY)


def test_an_operator_policy_can_be_set_as_a_parameter(admin: Administration) -> None:
    set_parameter(admin, "/", "operator_policy", "o", POLICY)
    assert admin.broker.vhosts["/"].policies.operator.get("o") is not None
    assert get_parameter(admin, "/", "operator_policy", "o")["value"] == POLICY
    with pytest.raises(BrokerError, match="not recognised policy settings"):
        set_parameter(admin, "/", "operator_policy", "o", {**POLICY, "definition": {"foo": 1}})
    clear_parameter(admin, "/", "operator_policy", "o")
    assert list_parameters(admin) == []


def test_limits_of_a_virtual_host_are_its_parameter(admin: Administration) -> None:
    set_vhost_limit(admin.broker, "/", "max-queues", 5)
    assert get_parameter(admin, "/", "vhost-limits", "limits")["value"] == {"max-queues": 5}
    set_parameter(admin, "/", "vhost-limits", "limits", {"max-connections": 7})
    assert admin.broker.vhosts["/"].limits == {"max-connections": 7}
    clear_parameter(admin, "/", "vhost-limits", "limits")
    assert admin.broker.vhosts["/"].limits == {}
    with pytest.raises(BrokerError, match="Unrecognised terms"):
        set_parameter(admin, "/", "vhost-limits", "limits", {"max-x": 7})
    with pytest.raises(BrokerError) as refused:
        set_parameter(admin, "/", "vhost-limits", "other", {"max-queues": 7})
    assert refused.value.row is PRECONDITION_FAILED


def test_parameters_go_with_their_virtual_host(admin: Administration) -> None:
    put_vhost(admin, "v")
    set_parameter(admin, "v", "shovel", "s", 1)
    delete_vhost(admin, "v")
    assert list_parameters(admin) == []


@pytest.mark.parametrize("name", ["", "n" * 256, "\ud800"])
def test_a_name_that_cannot_be_kept_is_refused(admin: Administration, name: str) -> None:
    operations: list[Callable[[], object]] = [
        lambda: set_parameter(admin, "/", "shovel", name, 1),
        lambda: set_global_parameter(admin, name, 1),
    ]
    for operation in operations:
        with pytest.raises(BrokerError) as refused:
            operation()
        assert refused.value.row is PRECONDITION_FAILED


@pytest.mark.parametrize("value", ["x" * 1_100_000, {"k": "\ud800"}])
def test_a_value_that_cannot_be_kept_is_refused(admin: Administration, value: object) -> None:
    with pytest.raises(BrokerError) as refused:
        set_global_parameter(admin, "g", value)
    assert refused.value.row is PRECONDITION_FAILED


def test_global_parameters_are_apart_from_those_of_components(admin: Administration) -> None:
    set_parameter(admin, "/", "shovel", "same", 1)
    set_global_parameter(admin, "same", None)
    assert set_global_parameter(admin, "same", None) == 0
    assert get_global_parameter(admin, "same") == {"value": None, "name": "same"}
    assert list_global_parameters(admin) == [{"name": "same", "value": None}]
    assert [row["component"] for row in list_parameters(admin)] == ["shovel"]
    clear_global_parameter(admin, "same")
    assert list_global_parameters(admin) == []


def test_what_is_not_there_is_not_found(admin: Administration) -> None:
    operations: list[Callable[[], object]] = [
        lambda: get_parameter(admin, "/", "shovel", "s"),
        lambda: get_parameter(admin, "nosuch", "shovel", "s"),
        lambda: clear_parameter(admin, "/", "shovel", "s"),
        lambda: clear_parameter(admin, "/", "policy", "s"),
        lambda: list_parameters(admin, vhost="nosuch"),
        lambda: set_parameter(admin, "nosuch", "shovel", "s", 1),
        lambda: get_global_parameter(admin, "g"),
        lambda: clear_global_parameter(admin, "g"),
    ]
    for operation in operations:
        with pytest.raises(BrokerError) as refused:
            operation()
        assert refused.value.row is NOT_FOUND
