"""Options, the broker under test, unique names, and the known differences."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from interop_tests.broker_under_test import BrokerUnderTest, harebell_process
from interop_tests.differences import DIFFERENCES
from interop_tests.names import Names
from interop_tests.outcome_record import OutcomeRecord, relative_id
from interop_tests.tls_broker import TlsBroker, tls_broker

RECORD = pytest.StashKey[OutcomeRecord]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that choose the broker and record the outcomes."""
    group = parser.getgroup("interop")
    group.addoption("--broker-url", help="AMQP URL of a running broker; without it harebell is started")
    group.addoption("--management-url", help="URL of its HTTP API; by default at the AMQP port plus 10000")
    group.addoption("--record-results", type=Path, metavar="FILE", help="write test id -> outcome as JSON")


def pytest_configure(config: pytest.Config) -> None:
    """Begin the record of outcomes."""
    config.stash[RECORD] = OutcomeRecord(config.getoption("--record-results"))
    config.pluginmanager.register(config.stash[RECORD])


@pytest.fixture(scope="session")
def broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BrokerUnderTest]:
    """The broker under test."""
    record = request.config.stash[RECORD]
    url = request.config.getoption("--broker-url")
    if url:
        record.broker = BrokerUnderTest.at(url, request.config.getoption("--management-url"))
        yield record.broker
        return
    with harebell_process(tmp_path_factory.mktemp("harebell")) as (started_url, management_url):
        record.broker = BrokerUnderTest.at(started_url, management_url)
        yield record.broker


@pytest.fixture(scope="session")
def secured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsBroker]:
    """A broker with TLS."""
    if request.config.getoption("--broker-url"):
        pytest.skip("TLS needs a broker with the certificates of these tests: harebell, started by them")
    with tls_broker(tmp_path_factory.mktemp("tls")) as found:
        yield found


@pytest.fixture
def names(broker: BrokerUnderTest) -> Iterator[Names]:
    """Unique names for this test; what was declared under them is deleted at its end."""
    unique_names = Names()
    yield unique_names
    unique_names.delete_all(broker)


@pytest.fixture(autouse=True)
def known_difference(request: pytest.FixtureRequest) -> None:
    """Expect a test of the table of differences to fail against RabbitMQ."""
    difference = DIFFERENCES.get(relative_id(request.node.nodeid))
    if difference is None or not request.getfixturevalue("broker").is_rabbitmq:
        return
    reason = f"RabbitMQ 3.10: {difference.rabbitmq}. harebell differs: {difference.reason}"
    request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
