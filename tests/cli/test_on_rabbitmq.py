"""The same commands on a real RabbitMQ with its management plugin: the API is the same, so they work there.

Runs where HAREBELL_ORACLE_HTTP names one (``.ci/run`` starts it); its objects are left alone.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator

import pytest

from harebell import Broker
from harebell.cli.api import Api
from tests.cli.conftest import Cli
from tests.server.process import eventually

URL = os.environ.get("HAREBELL_ORACLE_HTTP", "")
VHOST = "harebell-cli"

NOUNS = (
    "queues exchanges bindings connections channels consumers streams vhosts users permissions "
    "topic-permissions policies operator-policies limits parameters"
)

pytestmark = pytest.mark.skipif(not URL, reason="HAREBELL_ORACLE_HTTP names no RabbitMQ")


@pytest.fixture
def rabbitmq(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    """The command, told where RabbitMQ is, and a virtual host there."""
    monkeypatch.setenv("HAREBELL_URL", URL)
    api = Api(URL)
    # A RabbitMQ that has just started says little of itself until it has measured it.
    eventually(lambda: all("os_pid" in node for node in api.get("nodes")), "RabbitMQ describes its node", 30)
    api.put("vhosts", VHOST, body={})
    api.put("permissions", VHOST, "guest", body={"configure": ".*", "write": ".*", "read": ".*"})
    yield Cli(capsys, monkeypatch)
    api.delete("vhosts", VHOST)
    api.close()


def test_lists_and_pages_can_be_read(rabbitmq: Cli) -> None:
    for noun in NOUNS.split():
        for form in ("table", "json", "csv"):
            rabbitmq.ok(noun, "list", "-o", form)
    rabbitmq.ok("status")
    rabbitmq.ok("top", "--once")
    rabbitmq.ok("health", "all")
    rabbitmq.ok("definitions", "diff", stdin=rabbitmq.ok("definitions", "export").out)


def test_objects_are_made_used_and_deleted(rabbitmq: Cli) -> None:
    here = ("-p", VHOST)
    rabbitmq.ok("queues", "declare", "q", *here, "-a", "x-max-length=10")
    rabbitmq.ok("exchanges", "declare", "x", *here, "--type", "topic")
    rabbitmq.ok("bindings", "declare", "x", "q", "a.#", *here)
    rabbitmq.ok("publish", "x", "a.b", "hello", *here, "-H", "k=1")
    got = json.loads(rabbitmq.ok("queues", "peek", "q", *here, "-o", "json").out)
    assert (got[0]["payload"], got[0]["properties"]["headers"]) == ("hello", {"k": 1})
    rabbitmq.ok("queues", "purge", "q", *here)
    rabbitmq.ok("policies", "set", "p", "^q", '{"max-length": 5}', *here)
    rabbitmq.ok("policies", "clear", "p", *here)
    rabbitmq.ok("limits", "set", "max-queues", "5", *here)
    rabbitmq.ok("limits", "clear", "max-queues", *here)
    rabbitmq.ok("bindings", "delete", "x", "q", "a.#", *here)
    rabbitmq.ok("queues", "delete", "q", *here)
    assert rabbitmq("queues", "show", "q", *here).code == 65
    assert rabbitmq("queues", "dead-letters", "q", *here).code in (65, 70), "RabbitMQ has none of these"


def test_users_are_made_and_deleted(rabbitmq: Cli) -> None:
    rabbitmq.ok("users", "add", "harebell-cli", "pw", "--tags", "monitoring")
    rabbitmq.ok("users", "set-tags", "harebell-cli")
    rabbitmq.ok("users", "authenticate", "harebell-cli", "pw")
    assert rabbitmq("users", "authenticate", "harebell-cli", "no").code == 77
    rabbitmq.ok("permissions", "set", "harebell-cli", "-p", VHOST)
    rabbitmq.ok("users", "delete", "harebell-cli")
    assert rabbitmq("users", "delete", "harebell-cli").code == 67


def test_scripts_find_the_lists_of_rabbitmqctl(rabbitmq: Cli) -> None:
    for name in (
        "list_queues",
        "list_exchanges",
        "list_bindings",
        "list_users",
        "list_vhosts",
        "list_permissions",
    ):
        assert rabbitmq("ctl", "-q", name, "-p", VHOST).code == 0
    assert rabbitmq("ctl", "-q", "list_permissions", "-p", VHOST).lines == [
        "user\tconfigure\twrite\tread",
        "guest\t.*\t.*\t.*",
    ]
    for name in (
        "status",
        "cluster_status",
        "listeners",
        "alarms",
        "check_local_alarms",
        "check_virtual_hosts",
    ):
        assert rabbitmq("ctl", "-q", name).code == 0, name


OWN_ARGUMENTS: dict[str, dict[str, object]] = {
    "retries": {"x-delayed-retry-type": "all", "x-delayed-retry-min": 100, "x-delayed-retry-jitter": 5},
    "idempotent": {"x-deduplication-window": 1000, "x-message-uid": True},
    "groups": {"x-group-header": "customer", "x-fair-header": "tenant"},
    "slow": {"x-delivery-rate": 10, "x-publish-rate": 100, "x-max-unacked": 5},
    "checked": {"x-schema": "order"},
}


async def test_what_only_harebell_has_does_not_keep_rabbitmq_from_loading_an_export(rabbitmq: Cli) -> None:
    async with Broker(management_port=0) as broker:
        own = Api(broker.management_url)
        await asyncio.to_thread(_furnish, own)
        document = await asyncio.to_thread(own.get, "definitions", "/")
        own.close()
    assert document["harebell_policies"], "there is something that RabbitMQ would refuse"
    assert document["harebell_parameters"]
    there = Api(URL)
    there.post("definitions", VHOST, body=document)
    names = {queue["name"]: queue["arguments"] for queue in there.get("queues", VHOST)}
    exchanges = {exchange["name"] for exchange in there.get("exchanges", VHOST)}
    policies = {policy["name"]: policy["definition"] for policy in there.get("policies", VHOST)}
    there.close()
    assert names == OWN_ARGUMENTS
    assert "later" in exchanges
    assert policies == {"limits": {"max-length": 10}}


def _furnish(api: Api) -> None:
    """Declare one of everything that RabbitMQ has not."""
    schema = {"type": "json-schema", "schema": {"type": "object"}}
    api.post("x", "schemas", "/", "order", "versions", body=schema)
    for name, arguments in OWN_ARGUMENTS.items():
        api.put("queues", "/", name, body={"durable": True, "arguments": arguments})
    api.put("exchanges", "/", "later", body={"type": "direct", "arguments": {"x-delayed": True}})
    both = {"pattern": "^q", "definition": {"max-length": 10, "group-header": "customer"}}
    api.put("policies", "/", "limits", body=both)
    api.put("policies", "/", "later", body={"pattern": "^x", "definition": {"delayed": True}})
