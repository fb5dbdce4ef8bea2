"""The tables that say what RabbitMQ does are kept complete and true."""

from __future__ import annotations

import json

import pytest

from interop_tests.broker_under_test import BrokerUnderTest
from interop_tests.differences import DIFFERENCES
from interop_tests.outcome_record import ORACLE_RESULTS, relative_id

OWN_IDS = ("test_oracle_record.py::", "java/test_java_tls.py::", "node/test_node_tls.py::")
"""Tests that are not made on the oracle: of the record itself, and those with certificates of their own."""


def test_every_test_passed_on_the_oracle_or_is_a_known_difference(
    broker: BrokerUnderTest, request: pytest.FixtureRequest
) -> None:
    if broker.is_rabbitmq:
        pytest.skip("this run is the oracle's")
    outcomes: dict[str, str] = json.loads(ORACLE_RESULTS.read_text())["outcomes"]
    ids = {relative_id(item.nodeid) for item in request.session.items}
    unproven = {
        name: outcomes.get(name, "never run")
        for name in ids
        if outcomes.get(name) not in ("passed", "differs") and not name.startswith(OWN_IDS)
    }
    assert not unproven, f"run `tools/oracle check` to record these on RabbitMQ: {unproven}"


def test_every_known_difference_names_a_test(broker: BrokerUnderTest) -> None:
    if broker.is_rabbitmq:
        pytest.skip("this run is the oracle's")
    outcomes: dict[str, str] = json.loads(ORACLE_RESULTS.read_text())["outcomes"]
    unknown = sorted(name for name in DIFFERENCES if outcomes.get(name) != "differs")
    assert not unknown, f"no longer tests, or no longer different on RabbitMQ: {unknown}"
