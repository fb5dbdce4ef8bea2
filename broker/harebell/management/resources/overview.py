"""The cluster as a whole: ``/overview``, ``/cluster-name``."""

from __future__ import annotations

import platform
from typing import Final

from pydantic import Field

from harebell.administration.cluster import cluster_name, set_cluster_name
from harebell.management.ages import ages_of
from harebell.management.answers import Answer, no_content, ok
from harebell.management.bodies import Body, missing
from harebell.management.calls import Call
from harebell.management.listing import Row, answer_object
from harebell.management.resources.nodes import contexts
from harebell.management.routing import Right, Route
from harebell.statistics.node import exchange_types

MAX_CLUSTER_NAME: Final = 1024

RETENTION: Final = {"global": [600, 3600, 28800, 86400], "basic": [600, 3600], "detailed": [600]}
"""RabbitMQ's; clients read them as the choices there are."""


class Name(Body):
    """A name for the cluster."""

    name: str = Field(max_length=MAX_CLUSTER_NAME)


async def overview(call: Call) -> Answer:
    """Show the totals of everything one may see, and what the node is."""
    vhosts = None if call.has(Right.MONITORING) else call.visible_vhosts()
    totals = call.statistics.overview(ages_of(call.query), vhosts=vhosts, user=call.user.name)
    return answer_object(call, {**_identity(call), **totals})


def _identity(call: Call) -> Row:
    admin = call.admin
    compat = admin.settings.compat
    node = admin.host.name
    python = platform.python_version()
    return {
        "management_version": compat.version,
        "rates_mode": "basic",
        "sample_retention_policies": RETENTION,
        "exchange_types": exchange_types(),
        "product_version": compat.version,
        "product_name": compat.product,
        "rabbitmq_version": compat.version,
        "cluster_name": cluster_name(admin),
        "cluster_tags": [],
        "node_tags": [],
        "erlang_version": python,
        "erlang_full_version": f"Python {python} ({platform.python_implementation()})",
        "release_series_support_status": "supported",
        "disable_stats": False,
        "is_op_policy_updating_enabled": True,
        "enable_queue_totals": False,
        "default_queue_type": admin.settings.queue.default_queue_type,
        "node": node,
        "listeners": [
            {
                "node": node,
                "protocol": listener.protocol,
                "ip_address": listener.host,
                "port": listener.port,
                "socket_opts": [],
            }
            for listener in admin.host.listeners()
        ],
        "contexts": [{"node": node, **context} for context in contexts(call)],
    }


async def show_name(call: Call) -> Answer:
    """Tell the cluster's name."""
    return ok({"name": cluster_name(call.admin)})


async def change_name(call: Call) -> Answer:
    """Give the cluster another name."""
    missing(call.json_object(), ("name",))
    wanted = call.model(Name)
    call.detail["name"] = wanted.name
    await call.committed(set_cluster_name(call.admin, wanted.name))
    return no_content()


ROUTES: Final = (
    Route("GET", "/overview", overview),
    Route("GET", "/cluster-name", show_name),
    Route("PUT", "/cluster-name", change_name, Right.ADMINISTRATOR, Name, "cluster.named"),
)
