"""Health checks as rabbitmq-diagnostics has them: containers call these every few seconds.

``ping`` and ``check_running`` need no login: what they ask is whether AMQP is answered.
"""

from __future__ import annotations

import os
import socket
import time

from harebell.cli.api import ApiError
from harebell.cli.ctl.call import Call, Command, Refusal
from harebell.cli.exits import TEMPORARY, UNAVAILABLE, Failure
from harebell.cli.healthcheck import NotHealthy, check, default_port

PROBE_SECONDS = 10.0


def _answers(call: Call) -> str:
    """Return an empty text if the broker takes clients, else why not."""
    try:
        check(_host(call), default_port(), call.timeout or PROBE_SECONDS)
        return ""
    except NotHealthy as error:
        reason = f"{_host(call)} port {default_port()}: {error}"
    # A broker may listen for TLS only, or on another port.
    try:
        call.api.get("health", "checks", "is-in-service")
        return ""
    except ApiError as error:
        return error.reason if error.status == 503 else reason
    except Failure:
        return reason


def _host(call: Call) -> str:
    return call.api.host if os.environ.get("HAREBELL_URL") else "127.0.0.1"


def ping(call: Call) -> int | None:
    """Check that the broker answers."""
    timeout = int((call.timeout or 60) * 1000)
    call.banner(f"Will ping the node. This only checks that it answers AMQP. Timeout: {timeout} ms.")
    if reason := _answers(call):
        raise Refusal(f"the node does not answer: {reason}", UNAVAILABLE)
    call.say("Ping succeeded")
    return None


def check_running(call: Call) -> int | None:
    """Check that the broker has started and takes clients."""
    call.banner("Checking if the broker is running ...")
    if reason := _answers(call):
        raise Refusal(f"the broker is not running: {reason}", UNAVAILABLE)
    call.say("The broker is fully booted and running")
    return None


def is_booting(call: Call) -> int | None:
    """Tell whether the broker still starts."""
    call.say("The broker is fully booted (check with is_running), stopped or has not started booting yet")
    return None


def await_startup(call: Call) -> int | None:
    """Wait until the broker takes clients."""
    until = time.monotonic() + (call.timeout or 300.0)
    call.timeout = 1.0
    while reason := _answers(call):
        if time.monotonic() > until:
            raise Refusal(f"the broker has not started: {reason}", TEMPORARY)
        time.sleep(0.1)
    return None


def _checked(call: Call, *path: str) -> dict[str, object]:
    """Make a check of the API.

    Raises:
        Failure: it cannot be made.
    """
    try:
        found = call.api.get("health", "checks", *path)
        return dict(found)
    except ApiError as error:
        if error.status != 503:
            raise
        return {"status": "failed", **(error.answer if isinstance(error.answer, dict) else {})}


def _alarms(call: Call, path: str, well: str) -> None:
    call.banner("Asking the node to report any resource alarms ...")
    found = _checked(call, path)
    if found["status"] != "ok":
        raise Refusal(f"Node reported alarms: {found.get('reason')}", UNAVAILABLE)
    call.say(well)


def check_local_alarms(call: Call) -> int | None:
    """Check that no alarm is in effect on this node."""
    _alarms(call, "local-alarms", "Node reported no local alarms")
    return None


def check_alarms(call: Call) -> int | None:
    """Check that no alarm is in effect."""
    _alarms(call, "alarms", "Node reported no alarms, local or clusterwide")
    return None


def check_port_connectivity(call: Call) -> int | None:
    """Connect to every port the broker listens on."""
    call.banner("Testing TCP connections to all active listeners ...")
    try:
        ports = sorted({int(one["port"]) for one in call.api.get("overview")["listeners"]})
    except Failure:
        # Who cannot log in, or has no HTTP API, can still learn about AMQP.
        ports = [default_port()]
    for port in ports:
        try:
            socket.create_connection((_host(call), port), call.timeout or PROBE_SECONDS).close()
        except OSError as error:
            raise Refusal(
                f"Connection to port {port} failed: {error.strerror or error}", UNAVAILABLE
            ) from None
    call.say(f"Successfully connected to ports {', '.join(map(str, ports))}.")
    return None


def check_port_listener(call: Call) -> int | None:
    """Check that the broker listens on a port."""
    port = call.arguments[0]
    call.banner(f"Asking the node if there's an active listener on port {port} ...")
    found = _checked(call, "port-listener", port)
    if found["status"] != "ok":
        ports = found.get("ports")
        others = ", ".join(map(str, ports)) if isinstance(ports, list) else ""
        raise Refusal(
            f"No listener for port {port} is active. Found listeners that use: {others}", UNAVAILABLE
        )
    call.say(f"A listener for port {port} is running.")
    return None


def check_protocol_listener(call: Call) -> int | None:
    """Check that the broker listens for a protocol."""
    protocol = call.arguments[0]
    call.banner(f"Asking the node if there's an active listener for protocol {protocol} ...")
    found = _checked(call, "protocol-listener", protocol)
    if found["status"] != "ok":
        protocols = found.get("protocols")
        others = ", ".join(map(str, protocols)) if isinstance(protocols, list) else ""
        raise Refusal(
            f"No listener for protocol {protocol} is active. Found listeners for: {others}", UNAVAILABLE
        )
    call.say(f"A listener for protocol {protocol} is running.")
    return None


def check_virtual_hosts(call: Call) -> int | None:
    """Check that all virtual hosts run."""
    call.banner("Checking if all vhosts are running ...")
    found = _checked(call, "virtual-hosts")
    if found["status"] != "ok":
        raise Refusal(f"Some virtual hosts are down: {found.get('virtual-hosts')}", UNAVAILABLE)
    call.say("Node reported all vhosts as running")
    return None


def check_certificate_expiration(call: Call) -> int | None:
    """Check that no certificate ends within some time."""
    unit, within = call.options.get("unit", "weeks"), call.options.get("within", "4")
    call.banner("Checking certificate expiration ...")
    found = _checked(call, "certificate-expiration", within, unit)
    if found["status"] != "ok":
        raise Refusal(f"Found expired or expiring certificates: {found.get('reason')}", UNAVAILABLE)
    call.say(f"No certificates are expiring within {within} {unit}.")
    return None


def check_single_node(call: Call) -> int | None:
    """Check what only matters in a cluster: with one node, always well."""
    call.say("The node seems to be the only one in a single node cluster, the check does not apply")
    return None


COMMANDS = {
    "ping": Command(ping),
    "is_running": Command(check_running),
    "check_running": Command(check_running),
    "is_booting": Command(is_booting),
    "await_startup": Command(await_startup),
    "await_online_nodes": Command(await_startup, "<count>"),
    "wait": Command(await_startup, "[<pidfile>]", options=("pid",)),
    "check_local_alarms": Command(check_local_alarms),
    "check_alarms": Command(check_alarms),
    "check_port_connectivity": Command(check_port_connectivity, options=("address",)),
    "check_port_listener": Command(check_port_listener, "<port>"),
    "check_protocol_listener": Command(check_protocol_listener, "<protocol>"),
    "check_virtual_hosts": Command(check_virtual_hosts),
    "check_certificate_expiration": Command(check_certificate_expiration, options=("unit", "within")),
    "check_if_node_is_quorum_critical": Command(check_single_node),
    "check_if_node_is_mirror_sync_critical": Command(check_single_node),
    "check_if_cluster_has_classic_queue_mirroring_policy": Command(check_single_node),
    "check_if_any_deprecated_features_are_used": Command(check_single_node),
    "await_online_quorum_plus_one": Command(check_single_node),
    "await_online_synchronized_mirror": Command(check_single_node),
    "node_health_check": Command(check_running),
}
