"""What there is beside the core: feature flags, extensions, and lists of plugins, empty without them."""

from __future__ import annotations

from typing import Final

from harebell.management.answers import Answer, no_content, ok
from harebell.management.calls import Call
from harebell.management.errors import bad_request
from harebell.management.listing import answer_list
from harebell.management.routing import Right, Route

FLAGS: Final = {
    "classic_mirrored_queue_version": "Support setting version for classic mirrored queues",
    "classic_queue_type_delivery_support": "Bug fix for classic queue deliveries using mixed versions",
    "direct_exchange_routing_v2": "v2 direct exchange routing implementation",
    "drop_unroutable_metric": "Count unroutable publishes to be dropped in stats",
    "empty_basic_get_metric": "Count AMQP `basic.get` on empty queues in stats",
    "feature_flags_v2": "Feature flags subsystem V2",
    "implicit_default_bindings": "Default bindings are now implicit, instead of being stored in the database",
    "listener_records_in_ets": "Store listener records in ETS instead of Mnesia",
    "maintenance_mode_status": "Maintenance mode status",
    "message_containers": "Message containers",
    "quorum_queue": "Support queues of type `quorum`",
    "restart_streams": "Support for restarting streams with optional preferred next leader argument",
    "stream_queue": "Support queues of type `stream`",
    "stream_single_active_consumer": "Single active consumer for streams",
    "stream_sac_coordinator_unblock_group": "Bug fix to unblock a group of consumers",
    "tracking_records_in_ets": "Store tracking records in ETS instead of Mnesia",
    "user_limits": "Configure connection and channel limits for a user",
    "virtual_host_metadata": "Virtual host metadata (description, tags, etc)",
}
"""Feature flags of RabbitMQ 3.13 whose behaviour is here: clients look whether they are enabled."""


async def flags(call: Call) -> Answer:
    """List the feature flags; all are enabled for good."""
    rows = [
        {
            "name": name,
            "desc": description,
            "doc_url": "",
            "state": "enabled",
            "stability": "stable",
            "provided_by": "rabbit",
        }
        for name, description in FLAGS.items()
    ]
    return await answer_list(call, rows, dict, paged=False)


async def enable(call: Call) -> Answer:
    """Enable a feature flag, which it is."""
    if call.path["name"] not in FLAGS:
        raise bad_request("unsupported")
    return no_content()


async def extensions(call: Call) -> Answer:
    """List what extends RabbitMQ's web pages."""
    return ok([{"javascript": "dispatcher.js"}])


async def nothing(call: Call) -> Answer:
    """List nothing: there is none of that here."""
    return ok([])


async def nothing_in_vhost(call: Call) -> Answer:
    """List nothing: there is none of that in the virtual host."""
    call.vhost()
    return ok([])


_EMPTY: Final = (
    "/deprecated-features",
    "/deprecated-features/used",
    "/federation-links",
    "/shovels",
    "/stream/connections",
    "/stream/publishers",
    "/stream/consumers",
    "/trace-files",
    "/traces",
)
_EMPTY_IN_VHOST: Final = (
    "/federation-links/{vhost}",
    "/shovels/{vhost}",
    "/stream/connections/{vhost}",
    "/stream/publishers/{vhost}",
    "/stream/consumers/{vhost}",
)

ROUTES: Final = (
    Route("GET", "/feature-flags", flags, Right.ADMINISTRATOR),
    Route("PUT", "/feature-flags/{name}/enable", enable, Right.ADMINISTRATOR),
    Route("GET", "/extensions", extensions),
    *(Route("GET", path, nothing, Right.MONITORING) for path in _EMPTY),
    *(Route("GET", path, nothing_in_vhost) for path in _EMPTY_IN_VHOST),
)
