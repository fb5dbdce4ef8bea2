"""Health checks: 200 ``{"status": "ok"}``, or 503 with what is wrong."""

from __future__ import annotations

import time
from typing import Any, Final

from harebell.amqp import clientless
from harebell.content.properties import build_header
from harebell.engine import topology
from harebell.management.answers import Answer, encode, ok
from harebell.management.calls import Call
from harebell.management.errors import bad_request
from harebell.management.resources.nodes import check_node
from harebell.management.routing import Right, Route

ALIVENESS: Final = "aliveness-test"
"""The queue a message goes through; it stays, as on RabbitMQ."""

DAY: Final = 86_400
UNITS: Final = {
    "day": DAY,
    "days": DAY,
    "week": 7 * DAY,
    "weeks": 7 * DAY,
    "month": 30 * DAY,
    "months": 30 * DAY,
    "year": 365 * DAY,
    "years": 365 * DAY,
}

PROTOCOLS: Final = {
    "amqp": "amqp",
    "amqp091": "amqp",
    "amqp0.9.1": "amqp",
    "amqp0-9-1": "amqp",
    "amqps": "amqp/ssl",
    "amqp/ssl": "amqp/ssl",
    "amqp091s": "amqp/ssl",
    "prometheus": "http/prometheus",
}
"""Other names of protocols, as ``rabbitmq-diagnostics`` takes them."""


def _failed(reason: str, **more: Any) -> Answer:
    return Answer(503, (encode({"status": "failed", "reason": reason, **more}),))


def _ok(**more: Any) -> Answer:
    return ok({"status": "ok", **more})


async def alarms(call: Call) -> Answer:
    """Check that publishers need not wait for memory or disk."""
    raised = call.admin.broker.alarms
    if not raised.active:
        return _ok()
    node = call.admin.host.name
    shown = [{"node": node, "resource": name} for name in ("memory", "disk") if name in raised.reason]
    return _failed("There are alarms in effect in the cluster", alarms=shown)


async def port_listener(call: Call) -> Answer:
    """Check that something listens on a port."""
    text = call.path["port"]
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise bad_request("Invalid port")
    port = int(text)
    ports = sorted({listener.port for listener in call.admin.host.listeners()})
    if port in ports:
        return _ok(port=port)
    return _failed("No active listener", missing=port, ports=ports)


async def protocol_listener(call: Call) -> Answer:
    """Check that a protocol is listened for."""
    asked = call.path["protocol"].lower()
    protocol = PROTOCOLS.get(asked, asked)
    found = list(dict.fromkeys(listener.protocol for listener in call.admin.host.listeners()))
    if protocol in found:
        return _ok(protocol=protocol)
    return _failed("No active listener", missing=protocol, protocols=found)


async def certificates(call: Call) -> Answer:
    """Check that no certificate of a listener ends within some time."""
    within, unit = call.path["within"], call.path["unit"]
    if unit not in UNITS:
        raise bad_request("Time unit not recognised. Supported units: days, weeks, months, years.")
    if not (within.isascii() and within.isdigit() and len(within) < 7):
        raise bad_request("Invalid expiration value.")
    limit = time.time() + int(within) * UNITS[unit]
    node = call.admin.host.name
    expiring = [
        {
            "node": node,
            "protocol": listener.protocol,
            "interface": listener.host,
            "port": listener.port,
            "certfile_expires_on": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ends)),
        }
        for listener, ends in call.admin.host.certificate_expiries()
        if ends < limit
    ]
    return _failed("Certificates expiring", expired=expiring) if expiring else _ok()


async def fine(call: Call) -> Answer:
    """Check something that cannot go wrong on a single node."""
    return _ok()


async def single_node(call: Call) -> Answer:
    """Check whether other nodes need this one: there are none."""
    return _ok(reason="single node cluster")


async def in_service(call: Call) -> Answer:
    """Check that clients are accepted; nobody need log in."""
    return _ok() if call.admin.host.in_service() else _failed("this node is not in service")


async def below_connection_limit(call: Call) -> Answer:
    """Check that one more connection would be accepted; nobody need log in."""
    limit = call.admin.settings.limits.max_connections
    current = len(call.admin.broker.sessions)
    shown = limit or "infinity"
    if limit and current >= limit:
        return _failed("node connection limit is reached", limit=shown, connections=current)
    return _ok(limit=shown, connections=current)


async def deprecated(call: Call) -> Answer:
    """Check the node as old clients ask for it."""
    if "node" in call.path:
        check_node(call)
    raised = call.admin.broker.alarms
    return ok({"status": "failed", "reason": raised.reason}) if raised.active else _ok()


async def aliveness(call: Call) -> Answer:
    """Send a message through a queue of the virtual host."""
    vhost = call.vhost()
    caller = call.caller(vhost)
    _, declared = topology.declare_queue(caller, ALIVENESS, False, False, False, {})
    body = b"test_message"
    published = clientless.publish(caller, "", ALIVENESS, build_header(len(body)), body)
    queue = topology.readable_queue(caller, ALIVENESS)
    call.admin.host.turn()
    queue.get(True, 0, call.admin.broker.clock.now)
    await call.committed(declared)
    return _ok() if published.routed else _failed("a message was not routed")


_CHECK: Final = "/health/checks"

ROUTES: Final = (
    Route("GET", f"{_CHECK}/alarms", alarms),
    Route("GET", f"{_CHECK}/local-alarms", alarms),
    Route("GET", f"{_CHECK}/port-listener/{{port}}", port_listener),
    Route("GET", f"{_CHECK}/protocol-listener/{{protocol}}", protocol_listener),
    Route("GET", f"{_CHECK}/certificate-expiration/{{within}}/{{unit}}", certificates),
    Route("GET", f"{_CHECK}/virtual-hosts", fine),
    Route("GET", f"{_CHECK}/metadata-store/initialized", fine),
    Route("GET", f"{_CHECK}/metadata-store/initialized/with-data", fine),
    Route("GET", f"{_CHECK}/quorum-queues-without-elected-leaders/all-vhosts", fine),
    Route("GET", f"{_CHECK}/quorum-queues-without-elected-leaders/all-vhosts/pattern/{{pattern}}", fine),
    Route("GET", f"{_CHECK}/quorum-queues-without-elected-leaders/vhost/{{vhost}}", fine),
    Route("GET", f"{_CHECK}/quorum-queues-without-elected-leaders/vhost/{{vhost}}/pattern/{{pattern}}", fine),
    Route("GET", f"{_CHECK}/node-is-quorum-critical", single_node),
    Route("GET", f"{_CHECK}/node-is-mirror-sync-critical", single_node),
    Route("GET", f"{_CHECK}/is-in-service", in_service, Right.NOBODY),
    Route("GET", f"{_CHECK}/ready-to-serve-clients", in_service, Right.NOBODY),
    Route("GET", f"{_CHECK}/reached-target-cluster-size", in_service, Right.NOBODY),
    Route("GET", f"{_CHECK}/below-node-connection-limit", below_connection_limit, Right.NOBODY),
    Route("GET", "/healthchecks/node", deprecated),
    Route("GET", "/healthchecks/node/{node}", deprecated),
    Route("GET", "/aliveness-test/{vhost}", aliveness),
)
