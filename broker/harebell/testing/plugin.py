"""The pytest plugin: a real broker for tests, started once a run, with a fresh virtual host for each test.

::

    def test_worker(amqp_url):
        connection = pika.BlockingConnection(pika.URLParameters(amqp_url))

Fixtures: ``amqp_broker`` (once a run), ``amqp_vhost`` and ``amqp_url`` (per test). With
``--amqp-url=amqp://...`` the same tests run against a broker that is already there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import pytest

if TYPE_CHECKING:
    from harebell.testing.thread import BrokerThread


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--amqp-url``."""
    group = parser.getgroup("harebell", "tests with an AMQP broker")
    group.addoption(
        "--amqp-url",
        metavar="URL",
        help="run the tests against this broker instead of starting one; its virtual host is shared by all",
    )


def _given_url(request: pytest.FixtureRequest) -> str:
    url: str | None = request.config.getoption("--amqp-url")
    return url or ""


@pytest.fixture(scope="session")
def amqp_broker(request: pytest.FixtureRequest) -> Iterator[BrokerThread]:
    """A broker in memory on a free port, in a thread of its own, for the whole run.

    Tests that use it are skipped with ``--amqp-url``: another broker cannot be looked into.
    """
    from harebell.testing.thread import BrokerThread

    if _given_url(request):
        pytest.skip("amqp_broker is the built-in broker, and --amqp-url names another")
    with BrokerThread() as broker:
        yield broker


@pytest.fixture
def amqp_vhost(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of an empty virtual host, deleted after the test; with ``--amqp-url`` that of the URL."""
    url = _given_url(request)
    if url:
        yield unquote(urlsplit(url).path[1:]) or "/"
        return
    broker: BrokerThread = request.getfixturevalue("amqp_broker")
    name = f"test-{uuid4().hex[:12]}"
    broker.create_vhost(name)
    yield name
    broker.delete_vhost(name)


@pytest.fixture
def amqp_url(request: pytest.FixtureRequest, amqp_vhost: str) -> str:
    """The URL of the test's virtual host, with user and password."""
    url = _given_url(request)
    if url:
        return url
    broker: BrokerThread = request.getfixturevalue("amqp_broker")
    return broker.get_connection_url(amqp_vhost)
