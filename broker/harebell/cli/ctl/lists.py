"""The ``list_...`` commands of rabbitmqctl."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from harebell.cli.api import ApiError
from harebell.cli.ctl.call import Call, Command, Handler, Refusal
from harebell.cli.ctl.terms import json_text
from harebell.cli.exits import NO_USER, USAGE

Row = dict[str, Any]

QUEUE = (
    "arguments auto_delete consumer_capacity consumer_utilisation consumers disk_reads disk_writes "
    "durable effective_policy_definition exclusive exclusive_consumer_pid exclusive_consumer_tag "
    "head_message_timestamp leader leader_identity_pid members memory message_bytes "
    "message_bytes_persistent message_bytes_ram message_bytes_ready message_bytes_unacknowledged "
    "messages messages_persistent messages_ram messages_ready messages_ready_ram "
    "messages_unacknowledged messages_unacknowledged_ram mirror_pids name online open_files "
    "operator_policy owner_pid pid policy recoverable_mirrors slave_pids state storage_version "
    "synchronised_mirror_pids synchronised_slave_pids type vhost"
)
EXCHANGE = "arguments auto_delete durable internal name policy type user_who_performed_action vhost"
BINDING = "arguments destination_kind destination_name routing_key source_kind source_name vhost"
CONNECTION = (
    "auth_mechanism channel_max channels client_properties connected_at frame_max host name node "
    "peer_cert_issuer peer_cert_subject peer_cert_validity peer_host peer_port pid port protocol "
    "recv_cnt recv_oct send_cnt send_oct send_pend ssl ssl_cipher ssl_hash ssl_key_exchange "
    "ssl_protocol state timeout user user_provided_name user_who_performed_action vhost"
)
CHANNEL = (
    "acks_uncommitted confirm connection consumer_count global_prefetch_count messages_unacknowledged "
    "messages_uncommitted messages_unconfirmed name node number pid prefetch_count state transactional "
    "user vhost"
)
CONSUMER = "ack_required active activity_status arguments channel_pid consumer_tag prefetch_count queue_name"
VHOST = "cluster_state default_queue_type description metadata name protected_from_deletion tags tracing"


class Listing(NamedTuple):
    """One kind of list.

    Attributes:
        banner: what is said before; ``{vhost}`` and ``{user}`` are put in.
        path: of the API.
        columns: those that are shown when none are named.
        known: all that may be named; empty if none may.
        shape: makes a row of an object of the API.
    """

    banner: str
    path: Callable[[Call], tuple[str, ...]]
    columns: str
    known: str = ""
    shape: Callable[[Row], Row] = dict


def pid_of(kind: str, row: Mapping[str, Any]) -> str:
    """Return what stands for an Erlang process: without spaces, and the same at every call.

    ``close_connection`` takes it.
    """
    return f"<{row.get('node', 'rabbit')}.{zlib.crc32((kind + str(row.get('name'))).encode())}.0>"


def _queue(row: Row) -> Row:
    owner = row.get("owner_pid_details") or {}
    return {
        **row,
        "policy": row.get("policy") or "",
        "operator_policy": row.get("operator_policy") or "",
        "pid": pid_of("queue", row),
        "owner_pid": pid_of("connection", {**row, **owner}) if owner else "",
    }


def _binding(row: Row) -> Row:
    return {
        "source_name": row["source"],
        "source_kind": "exchange",
        "destination_name": row["destination"],
        "destination_kind": row["destination_type"],
        "routing_key": row["routing_key"],
        "arguments": row["arguments"],
        "vhost": row["vhost"],
    }


def _connection(row: Row) -> Row:
    return {**row, "pid": pid_of("connection", row)}


def _channel(row: Row) -> Row:
    of = row.get("connection_details") or {}
    return {**row, "pid": pid_of("channel", row), "connection": pid_of("connection", {**row, **of})}


def _consumer(row: Row) -> Row:
    channel = row.get("channel_details") or {}
    return {**row, "queue_name": row["queue"]["name"], "channel_pid": pid_of("channel", channel)}


def _user(row: Row) -> Row:
    tags = row["tags"]
    return {"user": row["name"], "tags": tags.split(",") if isinstance(tags, str) and tags else tags}


def _policy(row: Row) -> Row:
    return {**row, "definition": json_text(row["definition"])}


def _valued(row: Row) -> Row:
    return {**row, "value": json_text(row["value"])}


LISTS = {
    "list_queues": Listing(
        "Listing queues for vhost {vhost} ...",
        lambda call: ("queues", call.vhost),
        "name messages",
        QUEUE,
        _queue,
    ),
    "list_exchanges": Listing(
        "Listing exchanges for vhost {vhost} ...",
        lambda call: ("exchanges", call.vhost),
        "name type",
        EXCHANGE,
    ),
    "list_bindings": Listing(
        "Listing bindings for vhost {vhost}...",
        lambda call: ("bindings", call.vhost),
        "source_name source_kind destination_name destination_kind routing_key arguments",
        BINDING,
        _binding,
    ),
    "list_connections": Listing(
        "Listing connections ...",
        lambda _: ("connections",),
        "user peer_host peer_port state",
        CONNECTION,
        _connection,
    ),
    "list_channels": Listing(
        "Listing channels ...",
        lambda _: ("channels",),
        "pid user consumer_count messages_unacknowledged",
        CHANNEL,
        _channel,
    ),
    "list_consumers": Listing(
        "Listing consumers in vhost {vhost} ...",
        lambda call: ("consumers", call.vhost),
        "queue_name channel_pid consumer_tag ack_required prefetch_count active arguments",
        CONSUMER,
        _consumer,
    ),
    "list_vhosts": Listing("Listing vhosts ...", lambda _: ("vhosts",), "name", VHOST),
    "list_users": Listing("Listing users ...", lambda _: ("users",), "user tags", "", _user),
    "list_permissions": Listing(
        'Listing permissions for vhost "{vhost}" ...',
        lambda call: ("vhosts", call.vhost, "permissions"),
        "user configure write read",
    ),
    "list_user_permissions": Listing(
        'Listing permissions for user "{user}" ...',
        lambda call: ("users", call.arguments[0], "permissions"),
        "vhost configure write read",
    ),
    "list_topic_permissions": Listing(
        'Listing topic permissions for vhost "{vhost}" ...',
        lambda call: ("vhosts", call.vhost, "topic-permissions"),
        "user exchange write read",
    ),
    "list_user_topic_permissions": Listing(
        'Listing topic permissions for user "{user}" ...',
        lambda call: ("users", call.arguments[0], "topic-permissions"),
        "vhost exchange write read",
    ),
    "list_policies": Listing(
        'Listing policies for vhost "{vhost}" ...',
        lambda call: ("policies", call.vhost),
        "vhost name pattern apply-to definition priority",
        "",
        _policy,
    ),
    "list_operator_policies": Listing(
        'Listing operator policy overrides for vhost "{vhost}" ...',
        lambda call: ("operator-policies", call.vhost),
        "vhost name pattern apply-to definition priority",
        "",
        _policy,
    ),
    "list_global_parameters": Listing(
        "Listing global runtime parameters ...", lambda _: ("global-parameters",), "name value", "", _valued
    ),
    "list_feature_flags": Listing(
        "Listing feature flags ...", lambda _: ("feature-flags",), "name state", "name state stability desc"
    ),
}

FLAGS = ("online", "offline", "local", "verbose")


def _lister(name: str, listing: Listing) -> Handler:
    def handler(call: Call) -> int | None:
        columns = call.arguments if listing.known else []
        columns = [one for word in columns for one in word.split(",") if one]
        if wrong := [one for one in columns if one not in listing.known.split()]:
            raise Refusal(f"Info key(s) {','.join(wrong)} are not supported", USAGE)
        user = call.arguments[0] if call.arguments else ""
        if name == "list_queues":
            call.banner(f"Timeout: {call.timeout or 60.0} seconds ...")
        call.banner(listing.banner.format(vhost=call.vhost, user=user))
        call.rows([listing.shape(row) for row in _rows(call, listing)], columns or listing.columns.split())
        return None

    handler.__doc__ = f"{listing.banner.partition(' for ')[0].partition(' in ')[0].rstrip(' .')}."
    return handler


def _rows(call: Call, listing: Listing) -> list[Row]:
    path = listing.path(call)
    try:
        found = call.api.get(*path)
    except ApiError as error:
        if error.status != 404:
            raise
        if path[0] == "users":
            raise Refusal(f'User "{path[1]}" does not exist', NO_USER) from None
        return []  # as rabbitmqctl: a virtual host that is not there lists nothing
    return list(found)


def list_parameters(call: Call) -> int | None:
    """Listing runtime parameters."""
    call.banner(f'Listing runtime parameters for vhost "{call.vhost}" ...')
    rows = [_valued(row) for row in call.api.get("parameters") if row.get("vhost") == call.vhost]
    call.rows(rows, ("component", "name", "value"))
    return None


def _limits(call: Call, path: tuple[str, ...], key: str, named: bool) -> None:
    """Print limits: those of one as JSON, of all as a table."""
    rows = call.api.get(*path)
    if named:
        limits = rows[0]["value"] if rows else {}
        call.document(limits, [json_text(limits)])
    else:
        call.rows([{key: row[key], "limits": json_text(row["value"])} for row in rows], (key, "limits"))


def list_vhost_limits(call: Call) -> int | None:
    """Listing limits of virtual hosts."""
    everywhere = call.options.get("global") == "true"
    call.banner(
        "Listing limits for all vhosts ..." if everywhere else f'Listing limits for vhost "{call.vhost}" ...'
    )
    _limits(call, ("vhost-limits",) if everywhere else ("vhost-limits", call.vhost), "vhost", not everywhere)
    return None


def list_user_limits(call: Call) -> int | None:
    """Listing limits of users."""
    user = call.options.get("user", "")
    call.banner(f'Listing limits for user "{user}" ...' if user else "Listing limits for all users ...")
    _limits(call, ("user-limits", user) if user else ("user-limits",), "user", bool(user))
    return None


def list_unresponsive_queues(call: Call) -> int | None:
    """Listing queues that do not answer."""
    call.banner(f"Listing unresponsive queues for vhost {call.vhost} ...")
    call.rows([], ("name",))
    return None


def _usage(name: str, listing: Listing) -> str:
    if name.startswith("list_user_"):
        return "<username>"
    return "[<column>, ...]" if listing.known else ""


COMMANDS = {
    name: Command(_lister(name, listing), _usage(name, listing), FLAGS) for name, listing in LISTS.items()
} | {
    "list_parameters": Command(list_parameters),
    "list_vhost_limits": Command(list_vhost_limits, switches=("global",)),
    "list_user_limits": Command(list_user_limits, switches=("global",), options=("user",)),
    "list_unresponsive_queues": Command(
        list_unresponsive_queues, "[<column>, ...]", options=("queue-timeout",)
    ),
}
