"""Queues, policies, parameters, connections, definitions, streams, as rabbitmqctl manages them."""

from __future__ import annotations

import json
from typing import Any

from harebell.cli.api import ApiError
from harebell.cli.ctl.call import Call, Command, Invalid, Refusal
from harebell.cli.ctl.lists import pid_of
from harebell.cli.exits import DATA, UNAVAILABLE, USAGE, Failure


def _read(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise Refusal(f"JSON decoding error of {what}: {error}", DATA) from None


def purge_queue(call: Call) -> int | None:
    """Removes the ready messages of a queue."""
    queue = call.arguments[0]
    call.banner(f"Purging queue '{queue}' in vhost '{call.vhost}' ...")
    try:
        call.api.delete("queues", call.vhost, queue, "contents")
    except ApiError as error:
        raise Refusal("not_found", UNAVAILABLE) if error.status == 404 else error from None
    return None


def delete_queue(call: Call) -> int | None:
    """Deletes a queue."""
    queue = call.arguments[0]
    empty, unused = "if-empty" in call.options, "if-unused" in call.options
    only = " if queue is empty" * empty + (" and" * empty + " if queue is unused") * unused
    call.banner(f"Deleting queue '{queue}' on vhost '{call.vhost}'{only} ...")
    query = {"if-empty": "true"} if empty else {}
    query |= {"if-unused": "true"} if unused else {}
    try:
        ready = call.api.get("queues", call.vhost, queue).get("messages_ready", 0)
        call.api.delete("queues", call.vhost, queue, query=query)
    except ApiError as error:
        raise Refusal("Queue not found", USAGE) if error.status == 404 else error from None
    call.say(f"Queue was successfully deleted with {ready} ready messages")
    return None


def _set_policy(call: Call, kind: str, noun: str) -> None:
    name, pattern, definition = call.arguments
    priority = call.options.get("priority", "0")
    call.banner(
        f'Setting {noun} "{name}" for pattern "{pattern}" to "{definition}" with priority "{priority}" '
        f'for vhost "{call.vhost}" ...'
    )
    if not priority.lstrip("-").isdigit():
        raise Refusal(f"priority {priority!r} is no number", USAGE)
    body = {
        "pattern": pattern,
        "definition": _read(definition, "the definition"),
        "priority": int(priority),
        "apply-to": call.options.get("apply-to", "all"),
    }
    call.api.put(kind, call.vhost, name, body=body)


def set_policy(call: Call) -> int | None:
    """Sets a policy."""
    _set_policy(call, "policies", "policy")
    return None


def set_operator_policy(call: Call) -> int | None:
    """Sets an operator policy."""
    _set_policy(call, "operator-policies", "operator policy override")
    return None


def _clear(call: Call, *path: str) -> None:
    try:
        call.api.delete(*path)
    except ApiError as error:
        raise Refusal("Parameter does not exist", UNAVAILABLE) if error.status == 404 else error from None


def clear_policy(call: Call) -> int | None:
    """Removes a policy."""
    call.banner(f'Clearing policy "{call.arguments[0]}" on vhost "{call.vhost}" ...')
    _clear(call, "policies", call.vhost, call.arguments[0])
    return None


def clear_operator_policy(call: Call) -> int | None:
    """Removes an operator policy."""
    call.banner(f'Clearing operator policy "{call.arguments[0]}" on vhost "{call.vhost}" ...')
    _clear(call, "operator-policies", call.vhost, call.arguments[0])
    return None


def set_parameter(call: Call) -> int | None:
    """Sets a runtime parameter."""
    component, name, text = call.arguments
    call.banner(
        f'Setting runtime parameter "{name}" for component "{component}" to "{text}" '
        f'in vhost "{call.vhost}" ...'
    )
    body = {"component": component, "vhost": call.vhost, "name": name, "value": _read(text, "the value")}
    call.api.put("parameters", component, call.vhost, name, body=body)
    return None


def clear_parameter(call: Call) -> int | None:
    """Removes a runtime parameter."""
    component, name = call.arguments
    call.banner(
        f'Clearing runtime parameter "{name}" for component "{component}" on vhost "{call.vhost}" ...'
    )
    _clear(call, "parameters", component, call.vhost, name)
    return None


def set_global_parameter(call: Call) -> int | None:
    """Sets a global runtime parameter."""
    name, text = call.arguments
    call.banner(f'Setting global runtime parameter "{name}" to "{text}" ...')
    call.api.put("global-parameters", name, body={"name": name, "value": _read(text, "the value")})
    return None


def clear_global_parameter(call: Call) -> int | None:
    """Removes a global runtime parameter."""
    call.banner(f'Clearing global runtime parameter "{call.arguments[0]}" ...')
    _clear(call, "global-parameters", call.arguments[0])
    return None


def close_connection(call: Call) -> int | None:
    """Closes a connection, named as list_connections does in its columns pid or name."""
    wanted, reason = call.arguments
    call.banner(f"Closing connection {wanted}, reason: {reason}...")
    for row in call.api.get("connections", query={"columns": "name,node"}):
        if wanted in (row["name"], pid_of("connection", row)):
            call.api.delete("connections", row["name"], headers={"X-Reason": reason})
            return None
    raise Refusal(f"there is no connection {wanted}", UNAVAILABLE)


def close_all_connections(call: Call) -> int | None:
    """Closes all connections of a virtual host, or with --global all."""
    from harebell.cli.connections import close_connections

    reason = call.arguments[0]
    everywhere = "global" in call.options
    limit = _count(call, "limit")
    many = limit or "all"
    where = f"to node {call.node} (across all vhosts)" if everywhere else f"in vhost {call.vhost}"
    call.banner(f"Closing {many} connections {where}, reason: {reason}...")
    count = close_connections(
        call.api,
        reason,
        None,
        None if everywhere else call.vhost,
        limit=limit or None,
        delay=_count(call, "per-connection-delay") / 1000,
        spread=float(_count(call, "spread")),
    )
    call.say(f"Closed {count} connections")
    return None


def close_all_user_connections(call: Call) -> int | None:
    """Closes all connections of a user."""
    from harebell.cli.connections import close_connections

    user, reason = call.arguments
    call.banner(f"Closing connections of user {user}, reason: {reason}...")
    close_connections(call.api, reason, user, None)
    return None


def _count(call: Call, option: str) -> int:
    text = call.options.get(option, "0")
    if not text.isdecimal() or len(text) > 9:
        raise Invalid(f"Invalid options for this command:\n--{option} : {text}")
    return int(text)


def export_definitions(call: Call) -> int | None:
    """Writes definitions as JSON to a file, or to - for the standard output."""
    from harebell.cli.definitions import write

    file = call.arguments[0]
    if file != "-":
        call.banner(f'Exporting definitions in JSON to a file at "{file}" ...')
    if call.options.get("format", "json").lower() != "json":
        raise Refusal("definitions can be exported as JSON only", USAGE)
    write(file, call.api.get("definitions"))
    return None


def import_definitions(call: Call) -> int | None:
    """Reads definitions as JSON from a file, or from - or nothing for the standard input."""
    from harebell.cli.definitions import changes, load, read

    file = call.arguments[0] if call.arguments else "-"
    call.banner(
        "Importing definitions in JSON from "
        + ("standard input ..." if file == "-" else f'a file at "{file}" ...')
    )
    found = read(file)
    if "skip-if-unchanged" in call.options:
        now = call.api.get("definitions")
        if not any(change.startswith(("+", "~")) for change in changes(now, found)):
            return None
    load(call.api, found, None)
    return None


def peek(call: Call) -> int | None:
    """Prints the message at a position of a queue; the position of the first is 1."""
    queue, position = call.arguments
    if not position.isdigit() or not int(position):
        raise Refusal("position value must be a positive integer", USAGE)
    call.banner(f"Peeking at quorum queue '{queue}' in vhost '{call.vhost}' at position '{position}'...")
    body = {"count": int(position), "ackmode": "reject_requeue_true", "encoding": "auto"}
    try:
        found = call.api.post("queues", call.vhost, queue, "get", body=body)
    except ApiError as error:
        raise Refusal("Target queue was not found", USAGE) if error.status == 404 else error from None
    if len(found) < int(position):
        raise Refusal("Target queue does not have a message at that position", UNAVAILABLE)
    message = found[-1]
    properties = message["properties"] or {}
    rows = [
        ("payload", message["payload"]),
        ("exchange", message["exchange"]),
        ("routing_key", message["routing_key"]),
    ]
    rows += list(properties.items())
    call.rows([{"keys": key, "values": value} for key, value in rows], ("keys", "values"))
    return None


def quorum_status(call: Call) -> int | None:
    """Shows where the copies of a quorum queue are: with one node, there is one."""
    queue = call.arguments[0]
    call.banner(f"Status of quorum queue {queue} ...")
    found = call.api.get("queues", call.vhost, queue)
    if found.get("type") == "classic":
        raise Refusal("Cannot get quorum status of a classic queue", UNAVAILABLE)
    node = found.get("leader") or found.get("node")
    call.rows(
        [{"Node Name": node, "Raft State": "leader", "Membership": "voter"}],
        ("Node Name", "Raft State", "Membership"),
    )
    return None


def add_super_stream(call: Call) -> int | None:
    """Declares a stream in partitions."""
    from harebell.cli.streams import declare_super

    name = call.arguments[0]
    if "binding-keys" in call.options or "routing-keys" in call.options:
        raise Refusal("partitions are chosen by hash of the routing key: use --partitions", USAGE)
    partitions = call.options.get("partitions", "3")
    if not partitions.isdigit() or int(partitions) < 1:
        raise Refusal("The partition number must be greater than 0", USAGE)
    options = {
        "x-max-age": call.options.get("max-age"),
        "x-max-length-bytes": call.options.get("max-length-bytes"),
        "x-stream-max-segment-size-bytes": call.options.get("stream-max-segment-size-bytes"),
    }
    given: dict[str, object] = {}
    for key, text in options.items():
        if text:
            given[key] = int(text) if text.isdigit() else text
    call.banner(f"Adding a super stream {name} ...")
    declare_super(call.api, call.vhost, name, int(partitions), given)
    call.say("Super stream has been created")
    return None


def delete_super_stream(call: Call) -> int | None:
    """Deletes a stream in partitions."""
    from harebell.cli.streams import drop_super

    call.banner(f"Deleting super stream {call.arguments[0]} ...")
    try:
        drop_super(call.api, call.vhost, call.arguments[0])
    except Failure as error:
        if getattr(error, "status", 0) != 404:
            raise
        raise Refusal("super stream not found", USAGE) from None
    call.say("Super stream has been deleted")
    return None


COMMANDS = {
    "purge_queue": Command(purge_queue, "<queue>"),
    "delete_queue": Command(delete_queue, "<queue>", ("if-empty", "if-unused", "force")),
    "set_policy": Command(set_policy, "<name> <pattern> <definition>", options=("priority", "apply-to")),
    "set_operator_policy": Command(
        set_operator_policy, "<name> <pattern> <definition>", options=("priority", "apply-to")
    ),
    "clear_policy": Command(clear_policy, "<name>"),
    "clear_operator_policy": Command(clear_operator_policy, "<name>"),
    "set_parameter": Command(set_parameter, "<component> <name> <value>"),
    "clear_parameter": Command(clear_parameter, "<component> <name>"),
    "set_global_parameter": Command(set_global_parameter, "<name> <value>"),
    "clear_global_parameter": Command(clear_global_parameter, "<name>"),
    "close_connection": Command(close_connection, "<connection> <explanation>"),
    "close_all_connections": Command(
        close_all_connections, "<explanation>", ("global",), ("per-connection-delay", "limit", "spread")
    ),
    "close_all_user_connections": Command(close_all_user_connections, "<username> <explanation>"),
    "export_definitions": Command(export_definitions, "<file>", options=("format",)),
    "import_definitions": Command(import_definitions, "[<file>]", ("skip-if-unchanged",), ("format",)),
    "peek": Command(peek, "<queue> <position>"),
    "quorum_status": Command(quorum_status, "<queue>"),
    "stream_status": Command(quorum_status, "<stream>", ("tracking",)),
    "add_super_stream": Command(
        add_super_stream,
        "<name>",
        options=(
            "partitions", "binding-keys", "routing-keys", "max-length-bytes", "max-age",
            "stream-max-segment-size-bytes", "leader-locator", "initial-cluster-size",
        ),
    ),
    "delete_super_stream": Command(delete_super_stream, "<name>"),
}  # fmt: skip
