"""Status, listeners, alarms, names, logs and stopping, as rabbitmqctl and rabbitmq-diagnostics show them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

from harebell.cli.api import ApiError
from harebell.cli.ctl.call import Call, Command, Refusal
from harebell.cli.exits import DATA, TEMPORARY, UNAVAILABLE, USAGE, address

Facts = dict[str, Any]

PURPOSES = {
    "amqp": "AMQP 0-9-1",
    "amqp/ssl": "AMQP 0-9-1 over TLS",
    "http": "HTTP API",
    "https": "HTTP API over TLS (HTTPS)",
    "http/prometheus": "Prometheus exporter API over HTTP",
    "https/prometheus": "Prometheus exporter API over TLS (HTTPS)",
}
UNITS = {"bytes": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "kib": 1024, "mib": 1024**2, "gib": 1024**3}


def _facts(call: Call) -> tuple[Facts, Facts]:
    overview = call.api.get("overview")
    return overview, call.api.get("nodes", overview["node"])


def _maintenance(node: Facts) -> str:
    return "under maintenance" if node.get("being_drained") else "not under maintenance"


def _alarms(node: Facts) -> list[str]:
    found = ["memory"] * bool(node.get("mem_alarm")) + ["disk"] * bool(node.get("disk_free_alarm"))
    return [f"{kind} alarm on node {node['name']}" for kind in found]


def _listeners(overview: Facts) -> list[Facts]:
    return [
        {
            "node": one["node"],
            "interface": address(one["ip_address"], one["port"]).rpartition(":")[0],
            "port": one["port"],
            "protocol": one["protocol"],
            "purpose": PURPOSES.get(one["protocol"], one["protocol"]),
        }
        for one in overview.get("listeners", [])
    ]


def _listener_lines(overview: Facts) -> Iterator[str]:
    for one in _listeners(overview):
        where = f"Interface: {one['interface']}, port: {one['port']}"
        yield f"{where}, protocol: {one['protocol']}, purpose: {one['purpose']}"


def status(call: Call) -> int | None:
    """Displays status of a node."""
    overview, node = _facts(call)
    call.banner(f"Status of node {node['name']} ...")
    document = {
        "os": "Linux",
        "pid": int(node["os_pid"]),
        "uptime": node["uptime"] // 1000,
        "is_under_maintenance": bool(node.get("being_drained")),
        "rabbitmq_version": overview["rabbitmq_version"],
        "product_name": overview["product_name"],
        "product_version": overview["product_version"],
        "run_queue": node.get("run_queue", 0),
        "processes": {"used": node.get("proc_used", 0), "limit": node.get("proc_total", 0)},
        "active_plugins": node.get("enabled_plugins", []),
        "data_directory": node.get("db_dir", ""),
        "config_files": node.get("config_files", []),
        "log_files": node.get("log_files", []),
        "alarms": _alarms(node),
        "memory": {"total": {"rss": node.get("mem_used", 0)}},
        "vm_memory_high_watermark_limit": node.get("mem_limit", 0),
        "file_descriptors": {
            "total_used": node.get("fd_used", 0),
            "total_limit": node.get("fd_total", 0),
            "sockets_used": node.get("sockets_used", 0),
            "sockets_limit": node.get("sockets_total", 0),
        },
        "disk_free": node.get("disk_free", 0),
        "disk_free_limit": node.get("disk_free_limit", 0),
        "totals": {
            "connection_count": overview["object_totals"].get("connections", 0),
            "queue_count": overview["object_totals"].get("queues", 0),
            "virtual_host_count": len(call.api.get("vhosts", query={"columns": "name"})),
        },
        "listeners": _listeners(overview),
    }
    call.document(document, _status_lines(document, overview))
    return None


def _status_lines(found: Facts, overview: Facts) -> Iterator[str]:
    used = found["file_descriptors"]
    yield "Runtime\n"
    yield f"OS PID: {found['pid']}"
    yield f"Uptime (seconds): {found['uptime']}"
    yield f"Is under maintenance?: {str(found['is_under_maintenance']).lower()}"
    yield f"{found['product_name']} version: {found['product_version']}"
    yield f"Node name: {overview['node']}"
    yield "\nPlugins\n"
    yield from (f" * {one}" for one in found["active_plugins"]) if found["active_plugins"] else ["(none)"]
    yield f"\nData directory\n\nNode data directory: {found['data_directory']}"
    yield "\nConfig files\n"
    yield from (f" * {one}" for one in found["config_files"]) if found["config_files"] else ["(none)"]
    yield "\nLog file(s)\n"
    yield from (f" * {one}" for one in found["log_files"]) if found["log_files"] else ["(none)"]
    yield "\nAlarms\n"
    yield from found["alarms"] or ["(none)"]
    yield "\nMemory\n"
    yield f"Total memory used: {found['memory']['total']['rss'] / 1e9:.4f} gb"
    yield f"Memory high watermark: {found['vm_memory_high_watermark_limit'] / 1e9:.4f} gb"
    yield "\nFile Descriptors\n"
    yield f"Total: {used['total_used']}, limit: {used['total_limit']}"
    yield f"Sockets: {used['sockets_used']}, limit: {used['sockets_limit']}"
    yield "\nFree Disk Space\n"
    yield f"Low free disk space watermark: {found['disk_free_limit'] / 1e9:.4f} gb"
    yield f"Free disk space: {found['disk_free'] / 1e9:.4f} gb"
    yield "\nTotals\n"
    yield f"Connection count: {found['totals']['connection_count']}"
    yield f"Queue count: {found['totals']['queue_count']}"
    yield f"Virtual host count: {found['totals']['virtual_host_count']}"
    yield "\nListeners\n"
    yield from _listener_lines(overview)


def cluster_status(call: Call) -> int | None:
    """Displays the nodes of the cluster: there is one."""
    overview, node = _facts(call)
    name = node["name"]
    call.banner(f"Cluster status of node {name} ...")
    document = {
        "cluster_name": overview["cluster_name"],
        "disk_nodes": [name],
        "ram_nodes": [],
        "running_nodes": [name],
        "partitions": {},
        "alarms": _alarms(node),
        "maintenance_status": {name: _maintenance(node)},
        "versions": {name: {"rabbitmq_version": overview["rabbitmq_version"]}},
        "listeners": {name: _listeners(overview)},
    }
    lines = [
        f"Basics\n\nCluster name: {overview['cluster_name']}",
        f"\nDisk Nodes\n\n{name}",
        f"\nRunning Nodes\n\n{name}",
        f"\nVersions\n\n{name}: {overview['product_name']} {overview['product_version']}",
        f"\nMaintenance status\n\nNode: {name}, status: {_maintenance(node)}",
        "\nAlarms\n\n" + ("\n".join(_alarms(node)) or "(none)"),
        "\nNetwork Partitions\n\n(none)",
        "\nListeners\n",
        *_listener_lines(overview),
    ]
    call.document(document, lines)
    return None


def listeners(call: Call) -> int | None:
    """Lists the addresses listened on."""
    overview = call.api.get("overview")
    call.banner(f"Asking node {overview['node']} to report its protocol listeners ...")
    found = {"node": overview["node"], "listeners": _listeners(overview), "result": "ok"}
    call.document(found, _listener_lines(overview))
    return None


def alarms(call: Call) -> int | None:
    """Lists the alarms in effect."""
    _, node = _facts(call)
    name = node["name"]
    call.banner(f"Asking node {name} to report any known resource alarms ...")
    found = _alarms(node)
    lines = found or [f"Node {name} reported no alarms, local or clusterwide"]
    call.document({"result": "ok", "node": name, "local": found, "global": found}, lines)
    return None


def server_version(call: Call) -> int | None:
    """Displays the version of the broker."""
    overview = call.api.get("overview")
    call.banner(f"Asking node {overview['node']} for its version...")
    call.document({"result": "ok", "value": overview["rabbitmq_version"]}, [overview["rabbitmq_version"]])
    return None


def memory_breakdown(call: Call) -> int | None:
    """Shows what memory is used for."""
    unit = call.options.get("unit", "gb").lower()
    if unit not in UNITS:
        raise Refusal(f"unit '{unit}' is not supported. Choose from {', '.join(UNITS)}", USAGE)
    node = call.node
    call.banner(f"Reporting memory breakdown on node {node}...")
    found = call.api.get("nodes", node, "memory")["memory"]
    parts = {
        key: value for key, value in found.items() if isinstance(value, int) and key not in ("strategy",)
    }
    total = sum(parts.values()) or 1
    lines = [
        f"{key}: {value / UNITS[unit]:.4f} {unit} ({100 * value / total:.2f}%)"
        for key, value in sorted(parts.items(), key=lambda item: -item[1])
    ]
    call.document(found, lines)
    return None


def environment(call: Call) -> int | None:
    """Displays the settings in force, as this machine's files and variables have them."""
    from harebell.settings import SettingsError, load
    from harebell.settings.documents import in_force

    call.banner("Application environment ...")
    try:
        print(in_force(load(), origins=False), end="")
    except SettingsError as error:
        raise Refusal(str(error), DATA) from None
    return None


def report(call: Call) -> int | None:
    """Prints what support would ask for: status and all lists; no secrets."""
    call.banner("Reporting server status ...")
    names = ["status", "cluster_status", "list_users", "list_vhosts", "list_connections", "list_channels"]
    for name in names:
        _part(call, name)
    for row in call.api.get("vhosts", query={"columns": "name"}):
        call.vhost = row["name"]
        for name in ("list_queues", "list_exchanges", "list_bindings", "list_permissions", "list_policies"):
            _part(call, name)
    return None


def _part(call: Call, name: str) -> None:
    from harebell.cli.ctl.main import find

    command = find(name, call.tool)
    assert command is not None
    command.handler(call)
    print()


def set_cluster_name(call: Call) -> int | None:
    """Sets the name of the cluster."""
    call.banner(f"Setting cluster name to {call.arguments[0]} ...")
    call.api.put("cluster-name", body={"name": call.arguments[0]})
    return None


def set_log_level(call: Call) -> int | None:
    """Sets the least severe level that is logged, until the broker starts anew."""
    level = call.arguments[0]
    call.banner(f'Setting log level to "{level}" ...')
    try:
        call.api.put("x", "log-level", body={"level": level})
    except ApiError as error:
        if error.status != 400:
            raise
        text = f"level {level} is not supported. Try one of debug, info, warning, error, critical"
        raise Refusal(text, UNAVAILABLE) from None
    return None


def rotate_logs(call: Call) -> int | None:
    """Does nothing: logs go to the standard output."""
    return None


def shutdown(call: Call) -> int | None:
    """Stops the broker in good order, and waits for that."""
    call.banner("Shutting down the node ...")
    stop_node(call)
    return None


def stop_node(call: Call, timeout: float = 60.0) -> None:
    """Ask a broker to stop and wait until its API is gone.

    Raises:
        Failure: it still runs when the time is over.
    """
    from harebell.cli.node import begin_shutdown, wait_until_gone

    begin_shutdown(call.api)
    if not wait_until_gone(call.api, call.timeout or timeout):
        raise Refusal("the node still stops", TEMPORARY)


def stop(call: Call) -> int | None:
    """Stops the broker in good order."""
    call.banner("Stopping and halting the node ...")
    if call.arguments and not os.path.exists(call.arguments[0]):
        raise Refusal(f"there is no pid file {call.arguments[0]}", DATA)
    stop_node(call)
    return None


def log_location(call: Call) -> int | None:
    """Shows where logs are."""
    _, node = _facts(call)
    call.banner(f"Log file location(s) on node {node['name']} ...")
    for one in node.get("log_files") or ["<stdout>"]:
        print(one)
    return None


def enable_feature_flag(call: Call) -> int | None:
    """Enables a feature flag: they all are."""
    call.banner(f'Enabling feature flag "{call.arguments[0]}" ...')
    return None


def nothing(call: Call) -> int | None:
    """Does nothing here: it is about clusters, or about Erlang."""
    return None


def not_here(call: Call) -> int | None:
    """Not offered."""
    raise Refusal(f"harebell has no '{call.name}': it is about clusters, or about Erlang", UNAVAILABLE)


def auth_attempts(call: Call) -> int | None:
    """Lists login attempts."""
    rows = call.api.get("auth", "attempts", call.node)
    columns = ("protocol", "auth_attempts", "auth_attempts_succeeded", "auth_attempts_failed")
    call.rows(rows, columns)
    return None


def resolve_hostname(call: Call) -> int | None:
    """Resolves the name of a host."""
    import socket

    try:
        found = sorted({info[4][0] for info in socket.getaddrinfo(call.arguments[0], None)}, key=str)
    except OSError as error:
        raise Refusal(f"cannot resolve {call.arguments[0]}: {error}", UNAVAILABLE) from None
    for one in found:
        print(one)
    return None


def os_env(call: Call) -> int | None:
    """Lists environment variables that configure a broker, secrets hidden."""
    for name, value in sorted(os.environ.items()):
        if name.startswith(("RABBITMQ_", "HAREBELL_")):
            hidden = any(word in name for word in ("PASS", "COOKIE", "SECRET", "URL"))
            print(f"{name}={'***' if hidden else json.dumps(value)[1:-1]}")
    return None


def observer(call: Call) -> int | None:
    """Shows a live view."""
    from harebell.cli.top import watch

    watch(call.api, float(call.options.get("interval", "2")), None)
    return None


_UNSUPPORTED = (
    "join_cluster forget_cluster_node change_cluster_node_type rename_cluster_node update_cluster_nodes "
    "reset force_reset force_boot eval eval_file exec remote_shell decode encode sync_queue "
    "cancel_sync_queue restart_vhost consume_event_stream "
    "grow shrink add_member delete_member add_replica delete_replica transfer_leadership"
)

COMMANDS = {
    "status": Command(status, options=("unit",)),
    "cluster_status": Command(cluster_status),
    "listeners": Command(listeners),
    "alarms": Command(alarms),
    "server_version": Command(server_version),
    "product_info": Command(server_version),
    "memory_breakdown": Command(memory_breakdown, options=("unit",)),
    "environment": Command(environment),
    "report": Command(report),
    "set_cluster_name": Command(set_cluster_name, "<name>"),
    "set_log_level": Command(set_log_level, "<level>"),
    "rotate_logs": Command(rotate_logs),
    "shutdown": Command(shutdown, switches=("wait", "no-wait")),
    "stop": Command(stop, "[<pidfile>]", ("idempotent",)),
    "log_location": Command(log_location, switches=("all",)),
    "enable_feature_flag": Command(enable_feature_flag, "<feature_flag>", ("experimental",)),
    "list_node_auth_attempt_stats": Command(auth_attempts, switches=("by-source",)),
    "resolve_hostname": Command(resolve_hostname, "<hostname>", options=("address-family",)),
    "os_env": Command(os_env),
    "observer": Command(observer, options=("interval",)),
    "force_gc": Command(nothing),
    "rebalance": Command(nothing, "<type>", options=("vhost-pattern", "queue-pattern")),
    "reclaim_quorum_memory": Command(nothing, "<queue>"),
} | {
    name: Command(not_here, "[<argument>, ...]", ("all", "force", "global")) for name in _UNSUPPORTED.split()
}
