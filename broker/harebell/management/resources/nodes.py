"""The node: ``/nodes``; a cluster has just one."""

from __future__ import annotations

from typing import Any, Final

from harebell.administration.host import Resources
from harebell.management.ages import ages_of
from harebell.management.answers import Answer, ok
from harebell.management.calls import Call
from harebell.management.errors import not_found
from harebell.management.listing import answer_list, answer_object
from harebell.management.routing import Right, Route

PLUGINS: Final = (
    "rabbitmq_consistent_hash_exchange",
    "rabbitmq_management",
    "rabbitmq_prometheus",
    "rabbitmq_random_exchange",
    "rabbitmq_recent_history_exchange",
    "rabbitmq_sharding",
)
"""RabbitMQ's plugins whose work is done here."""

ABSENT: Final = (
    "connection_readers",
    "connection_writers",
    "connection_channels",
    "connection_other",
    "queue_slave_procs",
    "quorum_queue_procs",
    "quorum_queue_dlx_procs",
    "stream_queue_procs",
    "stream_queue_replica_reader_procs",
    "stream_queue_coordinator_procs",
    "plugins",
    "metrics",
    "mgmt_db",
    "mnesia",
    "quorum_ets",
    "other_ets",
    "msg_index",
    "code",
    "atom",
    "other_system",
    "allocated_unused",
    "reserved_unallocated",
)
"""Parts of an Erlang node's memory that there are none of here; clients want to see them."""


async def list_all(call: Call) -> Answer:
    """List the nodes."""
    return await answer_list(call, [call], _shown, paged=False)


async def show(call: Call) -> Answer:
    """Show a node."""
    check_node(call)
    return answer_object(call, _shown(call))


def _shown(call: Call) -> dict[str, Any]:
    admin = call.admin
    return {
        **call.statistics.node(admin.host, ages_of(call.query)),
        "being_drained": admin.host.being_drained,
        "auth_mechanisms": [
            {"name": name, "description": f"SASL {name} authentication mechanism", "enabled": True}
            for name in admin.settings.auth.mechanisms
        ],
        "contexts": contexts(call),
        "log_files": ["<stdout>"],
        "config_files": [],
        "enabled_plugins": list(PLUGINS),
    }


def contexts(call: Call) -> list[dict[str, Any]]:
    """Describe what is served over HTTP."""
    prefix = call.admin.settings.management.path_prefix
    found: list[dict[str, Any]] = []
    for listener in call.admin.host.listeners():
        if not listener.protocol.startswith("http"):
            continue
        prometheus = listener.protocol.endswith("/prometheus")
        context: dict[str, Any] = {
            "description": "RabbitMQ Prometheus" if prometheus else "RabbitMQ Management",
            "path": "/" if prometheus else prefix or "/",
            "cowboy_opts": "[]",
            "ip": listener.host,
            "port": str(listener.port),
        }
        if prometheus:
            context["protocol"] = f"'{listener.protocol}'"
        if listener.protocol.startswith("https"):
            context["ssl"] = True
        found.append(context)
    return found


def check_node(call: Call) -> None:
    """Check that the node of the path is this one.

    Raises:
        HttpError: 404.
    """
    if call.path["node"] != call.admin.host.name:
        raise not_found()


async def memory(call: Call) -> Answer:
    """Show what the node's memory is used for, in octets."""
    check_node(call)
    resources = call.admin.host.resources()
    used = resources.memory_used
    return ok(
        {"memory": {**_parts(call, resources), "strategy": "rss", "total": dict.fromkeys(TOTALS, used)}}
    )


TOTALS: Final = ("erlang", "rss", "allocated")


async def memory_relative(call: Call) -> Answer:
    """Show what the node's memory is used for, in parts of a hundred."""
    check_node(call)
    resources = call.admin.host.resources()
    used = max(1, resources.memory_used)
    parts = {name: -(-100 * octets // used) for name, octets in _parts(call, resources).items()}
    return ok({"memory": {"total": 100, **parts}})


def _parts(call: Call, resources: Resources) -> dict[str, int]:
    """Split the memory into messages, which are queues' and in binaries, and everything else."""
    held = min(call.admin.broker.held_bytes(), resources.memory_used)
    return {
        **dict.fromkeys(ABSENT, 0),
        "queue_procs": 0,
        "binary": held,
        "other_proc": resources.memory_used - held,
    }


ROUTES: Final = (
    Route("GET", "/nodes", list_all, Right.MONITORING),
    Route("GET", "/nodes/{node}", show, Right.MONITORING),
    Route("GET", "/nodes/{node}/memory", memory, Right.MONITORING),
    Route("GET", "/nodes/{node}/memory/relative", memory_relative, Right.MONITORING),
)
