"""Definitions with what is not known here: refused as a whole, or imported without it on request."""

from __future__ import annotations

from typing import Any

import pytest

from harebell.administration.administration import Administration
from harebell.administration.definitions import Import, exported
from harebell.administration.definitions.unknown import MOST_NAMED
from harebell.errors import BrokerError
from tests.support.administration import administration_of
from tests.support.node import Node


@pytest.fixture
def admin() -> Administration:
    return administration_of(Node())


def policy(name: str, definition: object, **fields: object) -> dict[str, object]:
    return {"vhost": "/", "name": name, "pattern": "^a", "definition": definition, **fields}


def parameter(component: str, name: str, value: object) -> dict[str, object]:
    return {"vhost": "/", "component": component, "name": name, "value": value}


def migrated() -> dict[str, Any]:
    """Give a file of a broker with plugins."""
    arguments = {"selector_policy": "x"}
    operator = {"pattern": "^a", "definition": {"shard-count": 2}, "priority": 0, "apply-to": "queues"}
    return {
        "vhosts": [{"name": "v", "default_queue_type": "mqtt", "limits": {"max-queues": 9, "max-odd": 1}}],
        "parameters": [
            parameter("operator_policy", "o", operator),
            parameter("vhost-limits", "limits", {"max-odd": 1, "max-queues": 5}),
            parameter("shovel", "s", {"src-uri": "amqp://"}),
        ],
        "policies": [
            policy("mixed", {"shards-per-node": 2, "max-length": 7}),
            policy("sharded", {"shards-per-node": 2, "routing-key": "1"}),
            policy("elsewhere", {"max-length": 7}, **{"apply-to": "mqtt_queues"}),
            policy("usual", {"max-length": 8}),
        ],
        "exchanges": [
            {"name": "late", "vhost": "/", "type": "x-jms-topic", "arguments": arguments},
            {"name": "e", "vhost": "v", "type": "fanout"},
        ],
        "queues": [
            {"name": "q", "vhost": "v", "durable": True},
            {"name": "m", "vhost": "v", "durable": True, "arguments": {"x-queue-type": "mqtt"}},
        ],
        "bindings": [
            {"vhost": "/", "source": "late", "destination": "q", "destination_type": "queue"},
            {"vhost": "v", "source": "e", "destination": "q", "destination_type": "queue"},
        ],
    }


SKIPPED = [
    "virtual host 'v' is imported without it: limit 'max-odd', queue type 'mqtt' not known here",
    "parameter of component 'operator_policy' 'o' in virtual host '/' is left out: "
    "key 'shard-count' not known here",
    "parameter of component 'vhost-limits' 'limits' in virtual host '/' is imported without it: "
    "limit 'max-odd' not known here",
    "policy 'mixed' in virtual host '/' is imported without it: key 'shards-per-node' not known here",
    "policy 'sharded' in virtual host '/' is left out: "
    "key 'shards-per-node', key 'routing-key' not known here",
    "policy 'elsewhere' in virtual host '/' is left out: apply-to 'mqtt_queues' not known here",
    "exchange 'late' in virtual host '/' is left out: exchange type 'x-jms-topic' not known here",
    "queue 'm' in virtual host 'v' is left out: queue type 'mqtt' not known here",
]


def test_all_of_it_is_refused_and_all_that_is_unknown_named(admin: Administration) -> None:
    before = exported(admin).document()
    with pytest.raises(BrokerError) as error:
        Import(admin, migrated()).run()
    assert exported(admin).document() == before, "a refused import must change nothing"
    lines = error.value.text
    for text in (
        "invalid queue type",
        "are not recognised policy settings\n (parameter of component 'operator_policy' 'o'",
        "Unrecognised terms",
        "are not recognised policy settings\n (policy 'mixed' in virtual host '/')",
        "(policy 'sharded' in virtual host '/')",
        "apply-to 'mqtt_queues' unrecognised",
        "unknown exchange type 'x-jms-topic' (exchange 'late' in virtual host '/')",
        "unsupported queue type 'mqtt'",
        "unknown=skip",
        "--skip-unknown",
        "management.skip_unknown_definitions",
    ):
        assert text in lines, f"the refusal should say {text!r}"


def test_on_request_the_rest_is_imported_and_what_was_left_out_is_named(admin: Administration) -> None:
    work = Import(admin, migrated(), skip_unknown=True)
    work.run()
    assert work.skipped == SKIPPED
    assert work.warnings == [
        "binding from exchange 'late' to queue 'q' with key '' in virtual host '/' is passed over: "
        "there is no exchange 'late'",
    ]
    document: Any = exported(admin).document()
    assert {one["name"]: one["definition"] for one in document["policies"]} == {
        "mixed": {"max-length": 7},
        "usual": {"max-length": 8},
    }
    assert [one["name"] for one in document["queues"]] == ["q"]
    assert [one["name"] for one in document["exchanges"]] == ["e"]
    assert len(document["bindings"]) == 1
    assert {one["component"]: one["value"] for one in document["parameters"] if one["vhost"] == "/"} == {
        "vhost-limits": {"max-queues": 5},
        "shovel": {"src-uri": "amqp://"},
    }
    again = Import(admin, migrated(), skip_unknown=True)
    again.run()
    assert {each.action for each in again.differences} == {"skip"}


def test_a_dry_run_shows_what_is_left_out(admin: Administration) -> None:
    work = Import(admin, migrated(), dry_run=True, skip_unknown=True)
    work.run()
    assert work.skipped == SKIPPED
    left_out = [(each.kind, each.detail) for each in work.differences if each.action == "skip"]
    assert ("exchange", "exchange type 'x-jms-topic' not known here") in left_out
    assert ("policy", "key 'shards-per-node', key 'routing-key' not known here") in left_out


def test_what_is_wrong_is_refused_all_the_same(admin: Administration) -> None:
    wrong = policy("p", {"shards-per-node": 2, "max-length": "x"})
    with pytest.raises(BrokerError, match="is not a valid maximum length"):
        Import(admin, {"policies": [wrong]}, skip_unknown=True).run()


def test_an_exchange_of_an_unknown_type_that_is_there_stays_as_it_is(admin: Administration) -> None:
    Import(admin, {"exchanges": [{"name": "e", "vhost": "/", "type": "fanout"}]}).run()
    work = Import(admin, {"exchanges": [{"name": "e", "vhost": "/", "type": "x-lvc"}]})
    work.run()
    assert [each.action for each in work.differences] == ["keep"]


def test_a_refusal_names_so_many_and_counts_the_rest(admin: Administration) -> None:
    rows = [{"name": f"e{n}", "vhost": "/", "type": "x-lvc"} for n in range(MOST_NAMED + 5)]
    with pytest.raises(BrokerError) as error:
        Import(admin, {"exchanges": rows}).run()
    assert error.value.text.count("unknown exchange type") == MOST_NAMED
    assert "\nand 5 more\n" in error.value.text
