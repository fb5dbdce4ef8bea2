"""Publishing one message over HTTP: ``/exchanges/{vhost}/{name}/publish``."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

from harebell.amqp import clientless
from harebell.content.properties import SHORT_STRINGS, build_header
from harebell.content.table import Table
from harebell.errors import BrokerError, MalformedContent
from harebell.management.answers import Answer, ok
from harebell.management.bodies import MAX_NAME, Body, missing, octets
from harebell.management.calls import Call
from harebell.management.errors import HttpError, bad_request, not_authorised
from harebell.management.resources.places import exchange_name
from harebell.management.routing import Route

REQUIRED: Final = ("routing_key", "properties", "payload", "payload_encoding")
NUMBERS: Final = {"delivery_mode": 255, "priority": 255, "timestamp": 2**64 - 1}
"""Properties that are numbers, and their largest values."""


class Message(Body):
    """A message to be published."""

    routing_key: str
    properties: dict[str, object]
    payload: str
    payload_encoding: str = "string"


async def publish(call: Call) -> Answer:
    """Publish a message, and tell whether it reached a queue."""
    vhost = call.admin.broker.vhosts.get(call.path["vhost"])
    if vhost is None:
        raise not_authorised("Access refused.")
    vhost = call.vhost()
    asked = call.json_object()
    missing(asked, REQUIRED)
    key = _text(asked["routing_key"], "routing_key")
    body = _payload(asked["payload"], asked["payload_encoding"])
    header = _header(asked["properties"], len(body))
    alarms = call.admin.broker.alarms
    if alarms.active:
        raise HttpError(503, "service_unavailable", f"publishers are blocked: {alarms.reason}")
    try:
        published = clientless.publish(call.caller(vhost), exchange_name(call), key, header, body)
    except BrokerError as error:
        raise bad_request(f"{error.row.code} {error}") from None
    await call.committed(published.lsn)
    if published.refused:
        raise bad_request("rejected")
    return ok({"routed": published.routed})


def _text(value: object, what: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise bad_request(["not_string", what])
    if octets(value) > MAX_NAME:
        raise bad_request(f"{what} is longer than {MAX_NAME} octets")
    return value


def _payload(payload: object, encoding: object) -> bytes:
    if not isinstance(payload, str):
        raise bad_request("payload_not_string")
    if encoding == "string":
        return payload.encode("utf-8", "surrogateescape")
    if encoding != "base64":
        raise bad_request(["unsupported_encoding", encoding])
    try:
        return base64.b64decode("".join(payload.split()), validate=True)
    except (binascii.Error, ValueError):
        raise bad_request(["not_base64", payload[:100]]) from None


def _header(properties: object, body_size: int) -> bytes:
    """Make a content header of properties by name; unknown ones are passed over, as on RabbitMQ."""
    if properties == []:
        properties = {}
    if not isinstance(properties, dict):
        raise bad_request("properties_not_object")
    found: dict[str, Any] = {}
    for name, value in properties.items():
        if name in SHORT_STRINGS:
            found[name] = _text(value, name)
        elif name in NUMBERS:
            found[name] = _number(value, name)
        elif name == "headers":
            found[name] = _headers(value)
    try:
        return build_header(body_size, **found)
    except MalformedContent as error:
        raise bad_request(str(error)) from None


def _number(value: object, name: str) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise bad_request(["not_int", name])
    if not 0 <= value <= NUMBERS[name]:
        raise bad_request(f"{name} is not a number from 0 to {NUMBERS[name]}")
    return value


def _headers(value: object) -> Table:
    if value == []:
        return {}
    if not isinstance(value, dict):
        raise bad_request("headers_not_object")
    return value


ROUTES: Final = (Route("POST", "/exchanges/{vhost}/{name}/publish", publish, body=Message, large=True),)
