"""Requests made up from the API's own description, right ones and wrong ones: none is answered with a 500."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from harebell.management.openapi import document
from harebell.management.resources import MODULES
from tests.server.process import BrokerProcess, running_broker

pytestmark = [pytest.mark.once, pytest.mark.timeout(120)]

EXAMPLES = 6
"""Requests of each kind to every route; all routes together take about half a minute."""

THERE = ("/", "v", "q", "x", "s", "u", "~", "amq.topic", "amq.default")
NAMES = (*THERE, "nosuch", "0", "\x00", "\ud7ff%2F", "n" * 256)
"""What names in paths are, where they are not made up."""

LOGINS = tuple(
    {"Authorization": f"Basic {b64encode(f'{name}:{name}'.encode()).decode()}"} for name in ("guest", "u")
)
"""Of one who may do everything, and of one who sees a part of it."""


def described() -> dict[str, Any]:
    """Describe the API without its logins: every request has a right one."""
    found = document(route for module in MODULES for route in module.ROUTES)
    del found["security"]
    return found


def operations() -> list[Any]:
    """Give every method of every path, as far as its description is right."""
    found: list[Any] = list(schemathesis.openapi.from_dict(described()).get_all_operations())
    return [each.ok() for each in found]


OPERATIONS = operations()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """A broker with something in it."""
    chosen = {"MANAGEMENT__ENABLED": "on", "MANAGEMENT__PORT": "0", "AUTH__PASSWORD_HASHING": "sha256"}
    with running_broker(tmp_path_factory.mktemp("fuzz"), settings=chosen) as broker:
        fill(broker)
        yield broker
        broker.assert_unharmed()


def fill(broker: BrokerProcess) -> None:
    """Make what some of the names in paths mean."""
    post = next(operation for operation in OPERATIONS if operation.label == "POST /api/definitions")
    queue = {"vhost": "/", "durable": True, "auto_delete": False}
    body = {
        "vhosts": [{"name": "v"}],
        "users": [{"name": "u", "password": "u", "tags": "management"}],
        "permissions": [{"user": "u", "vhost": "/", "configure": "^q", "write": ".*", "read": "^q"}],
        "queues": [
            {"name": "q", "arguments": {}, **queue},
            {"name": "s", "arguments": {"x-queue-type": "stream"}, **queue},
        ],
        "exchanges": [{"name": "x", "vhost": "/", "type": "topic", "durable": True}],
        "bindings": [{"source": "x", "vhost": "/", "destination": "q", "destination_type": "queue"}],
    }
    reply = post.Case(body=body, media_type="application/json").call(base_url=base(broker), headers=LOGINS[0])
    assert reply.status_code == 204, f"the objects to play with cannot be made: {reply.text}"


def base(broker: BrokerProcess) -> str:
    """Give the address of the API, below which paths begin."""
    return f"http://127.0.0.1:{broker.ports['http']}"


def kinds() -> Iterator[Any]:
    """Give every operation with right requests and, where query or body can be wrong, with wrong ones."""
    for operation in OPERATIONS:
        yield pytest.param(operation, GenerationMode.POSITIVE, id=f"{operation.label} right")
        if operation.query or operation.body:
            yield pytest.param(operation, GenerationMode.NEGATIVE, id=f"{operation.label} wrong")


@pytest.mark.parametrize(("operation", "mode"), list(kinds()))
def test_no_request_is_a_defect(broker: BrokerProcess, operation: Any, mode: GenerationMode) -> None:
    @settings(max_examples=EXAMPLES, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode), data=st.data())
    def ask(case: schemathesis.Case[Any], data: st.DataObject) -> None:
        for name in case.path_parameters or {}:
            chosen = data.draw(st.none() | st.sampled_from(NAMES))
            if chosen is not None:
                case.path_parameters[name] = chosen
        if spared(case):
            return
        login = data.draw(st.sampled_from(LOGINS))
        reply = case.call(base_url=base(broker), headers=login)
        # Health checks say that something is not as it should be, and some things are not there at all.
        meant = reply.status_code in (501, 503) and '"reason"' in reply.text
        told = f"{reply.status_code} {reply.text[:500]}\n{case.as_curl_command()}"
        assert reply.status_code < 500 or meant, told

    ask()


def spared(case: schemathesis.Case[Any]) -> bool:
    """Tell whether a request would take away what all others need: the login."""
    return case.method in ("PUT", "DELETE") and "guest" in (case.path_parameters or {}).values()
