"""What the HTTP API shows, field by field beside what RabbitMQ 3.10.8 showed of the same objects and traffic.

``tools/record_management`` made the files in ``recorded/``.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Final

import pytest

from harebell import Broker
from harebell.settings import Settings
from tests.management.recording import record
from tests.management.shapes import differences, unexplained

RECORDED: Final = Path(__file__).parent / "recorded"
NAMES: Final = sorted(path.stem for path in RECORDED.glob("*.json"))

EXPLAINED: Final = {
    # What there is none of here.
    "*.garbage_collection is missing": "of an Erlang process",
    "*.reductions is missing": "of an Erlang process",
    "*.reductions_details is missing": "of an Erlang process",
    "*.backing_queue_status is missing": "how an Erlang queue keeps its parts",
    "node*.applications[[]] has no *": "Erlang's libraries",
    "node*.auth_mechanisms[[]] has no RABBIT-CR-DEMO": "a demonstration, disabled on RabbitMQ",
    "node*.config_files is empty": "of this broker, which needs none",
    "node*.contexts[[]] has no 'http/prometheus'": "the broker of this test has no metrics",
    "overview.contexts[[]] has no 'http/prometheus'": "the broker of this test has no metrics",
    "overview.listeners[[]] has no http/prometheus": "the broker of this test has no metrics",
    "overview.listeners[[]] has no clustering": "there is one node",
    "overview.contexts[[]].ssl_opts is missing": "options of RabbitMQ's HTTP server",
    "overview.listeners[[]].socket_opts is list, not object": "RabbitMQ itself has both",
    "global-parameters is empty": "RabbitMQ keeps an id of its own there",
    # What later versions of RabbitMQ show.
    "node*.being_drained is new": "RabbitMQ 4, and rabbitmqadmin 2 wants it",
    "overview.cluster_tags is new": "RabbitMQ 4",
    "overview.node_tags is new": "RabbitMQ 4",
    "overview.default_queue_type is new": "RabbitMQ 4",
    "overview.is_op_policy_updating_enabled is new": "RabbitMQ 4",
    "queue*.delivery_limit is new": "RabbitMQ 4",
    "queue*.messages_delayed is new": "RabbitMQ 4",
    "queue*.leader is new": "RabbitMQ 4 shows the leader of streams, too",
    "definitions.* is new": "RabbitMQ 4: what describes a virtual host and where it comes from",
    "definitions.global_parameters is empty": "RabbitMQ keeps an id of its own there",
    # What only this broker shows.
    "queue.*.errors is new": "rejects, requeues and dead letters by reason",
    "queue.stream.stream_readers is new": "how far readers are behind",
    "queue*.first_offset is new": "of a stream",
    "queue*.committed_offset is new": "of a stream, as rabbitmqctl shows it",
    "queue*.stored_bytes is new": "of a stream",
    "queue*.idle_since is new": "RabbitMQ says it of classic queues only",
    "queues*.owner_pid_details is new": "RabbitMQ says it of single queues only",
    # What means something else.
    "*.head_message_timestamp is null, not integer": "RabbitMQ counts messages that are delivered already",
    "connection.ssl_* is null, not text": "RabbitMQ says null in lists, and empty text of single connections",
    "connection.peer_cert_* is null, not text": "the same",
}
"""Differences that are meant, as patterns, and why."""


@pytest.fixture(scope="module")
def shown() -> dict[str, Any]:
    """Do the same with a broker of ours."""
    return asyncio.run(_recorded())


async def _recorded() -> dict[str, Any]:
    settings = Settings.model_validate({"management": {"sample_interval": 200}})
    async with Broker(port=0, management_port=0, settings=settings) as broker:
        return await record(broker.url, broker.management_url)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_shown_as_on_rabbitmq(name: str, shown: dict[str, Any]) -> None:
    expected = json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))
    found = unexplained(differences(expected, shown[name], name), EXPLAINED, set())
    assert not found, "mend these or say in EXPLAINED why they are meant:\n" + "\n".join(found)


def test_every_explanation_is_needed(shown: dict[str, Any]) -> None:
    used: set[str] = set()
    for name in NAMES:
        expected = json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))
        unexplained(differences(expected, shown[name], name), EXPLAINED, used)
    assert not EXPLAINED.keys() - used, "these differences are gone: take them out of EXPLAINED"
