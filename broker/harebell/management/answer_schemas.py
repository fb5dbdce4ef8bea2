"""What answers of the HTTP API hold at least, for its description: fields that clients rely on.

Answers hold more than this; what is listed is there whatever the state of the object.  The lists follow what
strict clients, such as RabbitMQ's own command line tool of 2025, refuse to do without.
"""

from __future__ import annotations

from typing import Any, Final

Schema = dict[str, Any]

TEXT: Final[Schema] = {"type": "string"}
WHOLE: Final[Schema] = {"type": "integer"}
NUMBER: Final[Schema] = {"type": "number"}
FLAG: Final[Schema] = {"type": "boolean"}
TABLE: Final[Schema] = {"type": "object", "additionalProperties": True}
TEXTS: Final[Schema] = {"type": "array", "items": TEXT}
ANYTHING: Final[Schema] = {}
MAYBE_TEXT: Final[Schema] = {"type": ["string", "null"]}
RATE: Final[Schema] = {"type": "object", "properties": {"rate": NUMBER}, "required": ["rate"]}


def holding(**fields: Schema) -> Schema:
    """Describe an object by the fields it has at least; an underscore at their end is left out."""
    named = {name.rstrip("_"): schema for name, schema in fields.items()}
    return {"type": "object", "properties": named, "required": list(named)}


def listing(items: Schema) -> Schema:
    """Describe a list."""
    return {"type": "array", "items": items}


_CHURN: Final = (
    "connection_created", "connection_closed", "channel_created", "channel_closed",
    "queue_declared", "queue_created", "queue_deleted",
)  # fmt: skip

ANSWERS: Final[dict[str, Schema]] = {
    "Binding": holding(
        source=TEXT,
        vhost=TEXT,
        destination=TEXT,
        destination_type={"type": "string", "enum": ["queue", "exchange"]},
        routing_key=TEXT,
        arguments=TABLE,
        properties_key=TEXT,
    ),
    "Channel": holding(
        name=TEXT,
        number=WHOLE,
        connection_details=TABLE,
        vhost=TEXT,
        user=TEXT,
        state=TEXT,
        consumer_count=WHOLE,
        confirm=FLAG,
        transactional=FLAG,
        prefetch_count=WHOLE,
        messages_unacknowledged=WHOLE,
        messages_unconfirmed=WHOLE,
    ),
    "Connection": holding(
        name=TEXT,
        node=TEXT,
        protocol=TEXT,
        user=TEXT,
        vhost=TEXT,
        connected_at=WHOLE,
        client_properties=TABLE,
        state=TEXT,
        channels=WHOLE,
    ),
    "Consumer": holding(
        consumer_tag=TEXT,
        active=FLAG,
        ack_required=FLAG,
        prefetch_count=WHOLE,
        exclusive=FLAG,
        arguments=TABLE,
        queue=holding(name=TEXT, vhost=TEXT),
        channel_details=TABLE,
    ),
    "Definitions": holding(
        rabbit_version=TEXT,
        parameters=listing(TABLE),
        policies=listing(TABLE),
        queues=listing(TABLE),
        exchanges=listing(TABLE),
        bindings=listing(TABLE),
    ),
    "Exchange": holding(
        name=TEXT,
        vhost=TEXT,
        type=TEXT,
        durable=FLAG,
        auto_delete=FLAG,
        internal=FLAG,
        arguments=TABLE,
    ),
    "FeatureFlag": holding(name=TEXT, state=TEXT, desc=TEXT, doc_url=TEXT, stability=TEXT, provided_by=TEXT),
    "GlobalParameter": holding(name=TEXT, value=ANYTHING),
    "Health": holding(status=TEXT),
    "Node": holding(
        name=TEXT,
        uptime=WHOLE,
        run_queue=WHOLE,
        processors=WHOLE,
        os_pid=TEXT,
        fd_total=WHOLE,
        proc_total=WHOLE,
        mem_limit=WHOLE,
        mem_alarm=FLAG,
        disk_free_limit=WHOLE,
        disk_free_alarm=FLAG,
        rates_mode=TEXT,
        enabled_plugins=TEXTS,
        being_drained=FLAG,
    ),
    "Overview": holding(
        cluster_name=TEXT,
        node=TEXT,
        erlang_version=TEXT,
        erlang_full_version=TEXT,
        rabbitmq_version=TEXT,
        product_name=TEXT,
        product_version=TEXT,
        statistics_db_event_queue=WHOLE,
        churn_rates=holding(**dict.fromkeys(_CHURN, WHOLE)),
        queue_totals=TABLE,
        object_totals=holding(
            **dict.fromkeys(("connections", "channels", "queues", "exchanges", "consumers"), WHOLE)
        ),
        message_stats=TABLE,
        listeners=listing(holding(node=TEXT, protocol=TEXT, ip_address=TEXT, port=WHOLE)),
    ),
    "Parameter": holding(vhost=TEXT, component=TEXT, name=TEXT, value=ANYTHING),
    "Permission": holding(user=TEXT, vhost=TEXT, configure=TEXT, write=TEXT, read=TEXT),
    "Policy": {
        "type": "object",
        "properties": {
            "vhost": TEXT,
            "name": TEXT,
            "pattern": TEXT,
            "apply-to": TEXT,
            "definition": TABLE,
            "priority": WHOLE,
        },
        "required": ["vhost", "name", "pattern", "apply-to", "definition", "priority"],
    },
    "Queue": holding(
        name=TEXT,
        vhost=TEXT,
        type=TEXT,
        durable=FLAG,
        auto_delete=FLAG,
        exclusive=FLAG,
        arguments=TABLE,
    ),
    "TopicPermission": holding(user=TEXT, vhost=TEXT, exchange=TEXT, write=TEXT, read=TEXT),
    "User": holding(name=TEXT, password_hash=TEXT, hashing_algorithm=TEXT, tags=TEXTS, limits=TABLE),
    "UserLimits": holding(user=TEXT, value=TABLE),
    "Vhost": holding(name=TEXT, description=TEXT, tags=TEXTS, metadata=TABLE, tracing=FLAG),
    "VhostLimits": holding(vhost=TEXT, value=TABLE),
    "Whoami": holding(name=TEXT, tags=TEXTS),
}
"""Schemas by the name they have in the description."""

PAGED: Final = {
    "/channels": "Channel",
    "/connections": "Connection",
    "/exchanges": "Exchange",
    "/exchanges/{vhost}": "Exchange",
    "/queues": "Queue",
    "/queues/detailed": "Queue",
    "/queues/{vhost}": "Queue",
    "/users": "User",
    "/vhosts": "Vhost",
    "/vhosts/{vhost}/channels": "Channel",
    "/vhosts/{vhost}/connections": "Connection",
}
"""Lists that come in pages if one asks for a page: path, and what is in them."""

LISTS: Final = {
    "/bindings": "Binding",
    "/bindings/{vhost}": "Binding",
    "/bindings/{vhost}/e/{source}/e/{destination}": "Binding",
    "/bindings/{vhost}/e/{source}/q/{queue}": "Binding",
    "/connections/{connection}/channels": "Channel",
    "/consumers": "Consumer",
    "/consumers/{vhost}": "Consumer",
    "/exchanges/{vhost}/{name}/bindings/destination": "Binding",
    "/exchanges/{vhost}/{name}/bindings/source": "Binding",
    "/feature-flags": "FeatureFlag",
    "/global-parameters": "GlobalParameter",
    "/nodes": "Node",
    "/operator-policies": "Policy",
    "/operator-policies/{vhost}": "Policy",
    "/parameters": "Parameter",
    "/parameters/{component}": "Parameter",
    "/parameters/{component}/{vhost}": "Parameter",
    "/permissions": "Permission",
    "/policies": "Policy",
    "/policies/{vhost}": "Policy",
    "/queues/{vhost}/{name}/bindings": "Binding",
    "/topic-permissions": "TopicPermission",
    "/topic-permissions/{vhost}/{user}": "TopicPermission",
    "/topic-permissions/{vhost}/{user}/{exchange}": "TopicPermission",
    "/user-limits": "UserLimits",
    "/user-limits/{user}": "UserLimits",
    "/users/without-permissions": "User",
    "/users/{user}/permissions": "Permission",
    "/users/{user}/topic-permissions": "TopicPermission",
    "/vhost-limits": "VhostLimits",
    "/vhost-limits/{vhost}": "VhostLimits",
    "/vhosts/{vhost}/permissions": "Permission",
    "/vhosts/{vhost}/topic-permissions": "TopicPermission",
}
"""Lists without pages."""

OBJECTS: Final = {
    "/bindings/{vhost}/e/{source}/e/{destination}/{properties}": "Binding",
    "/bindings/{vhost}/e/{source}/q/{queue}/{properties}": "Binding",
    "/channels/{channel}": "Channel",
    "/connections/{connection}": "Connection",
    "/definitions": "Definitions",
    "/definitions/{vhost}": "Definitions",
    "/exchanges/{vhost}/{name}": "Exchange",
    "/global-parameters/{name}": "GlobalParameter",
    "/nodes/{node}": "Node",
    "/operator-policies/{vhost}/{name}": "Policy",
    "/overview": "Overview",
    "/parameters/{component}/{vhost}/{name}": "Parameter",
    "/permissions/{vhost}/{user}": "Permission",
    "/policies/{vhost}/{name}": "Policy",
    "/queues/{vhost}/{name}": "Queue",
    "/users/{user}": "User",
    "/vhosts/{vhost}": "Vhost",
    "/whoami": "Whoami",
}
"""Single objects."""

HEALTH: Final = ("/health/checks/", "/healthchecks/", "/aliveness-test/")
"""What paths of health checks begin with."""
