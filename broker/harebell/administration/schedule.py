"""One schedule: what its parameter says, checked, and the times its cron expression names."""

from __future__ import annotations

import base64
import binascii
import zoneinfo
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from cronsim import CronSim, CronSimError

from harebell.content.properties import build_header
from harebell.content.table import Table
from harebell.engine.policy_checks import invalid
from harebell.errors import MalformedContent

MAX_TEXT: Final = 255
MAX_PAYLOAD: Final = 256 * 1024
"""Octets of texts, and of the payload."""

PERSISTENT: Final = 2

PROPERTIES: Final = {
    "content_type": str,
    "content_encoding": str,
    "headers": dict,
    "delivery_mode": int,
    "priority": int,
    "correlation_id": str,
    "reply_to": str,
    "expiration": str,
    "message_id": str,
    "type": str,
    "app_id": str,
}
"""Properties a message may have, and the types of their values."""

ENCODINGS: Final = ("string", "base64")


class ScheduleValue(NamedTuple):
    """The value of the parameter."""

    cron: str
    timezone: str = "UTC"
    exchange: str = ""
    routing_key: str = ""
    payload: str = ""
    payload_encoding: str = "string"
    properties: Table = {}  # noqa: RUF012 - a named tuple's default, and never changed
    catch_up: bool = False
    enabled: bool = True


def _value_of(value: object) -> ScheduleValue:
    if not isinstance(value, dict):
        raise invalid("the value of a schedule is an object")
    if "cron" not in value:
        raise invalid("cron: it is missing")
    defaults = ScheduleValue("")._asdict()
    for key, given in value.items():
        if key not in defaults:
            raise invalid(f"{key}: there is no such field")
        if type(given) is not type(defaults[key]):
            raise invalid(f"{key}: it must be of type {type(defaults[key]).__name__}")
        limit = MAX_PAYLOAD if key == "payload" else MAX_TEXT
        if isinstance(given, str) and len(given.encode()) > limit:
            raise invalid(f"{key}: it is longer than {limit} octets")
    found = ScheduleValue(**value)
    if found.payload_encoding not in ENCODINGS:
        raise invalid("payload_encoding: it is string or base64")
    for key, given in found.properties.items():
        if type(given) is not PROPERTIES.get(key):
            raise invalid(f"properties: {key} is unknown, or its value of the wrong type")
    if found.properties.get("delivery_mode", PERSISTENT) not in (1, PERSISTENT):
        raise invalid("properties: delivery_mode is 1 or 2")
    expiration = found.properties.get("expiration", "0")
    if not (isinstance(expiration, str) and expiration.isascii() and expiration.isdecimal()):
        raise invalid("properties: expiration is a number of milliseconds")
    return found


class Schedule:
    """A schedule, read and checked.

    Args:
        value: of its parameter.

    Attributes:
        next: unix milliseconds of the time it is fired for next; None if there is none.
        failed: times at which it could not be published.
        unrouted: messages that went to no queue.
        error: why it could not be published the last time.

    Raises:
        BrokerError: PRECONDITION_FAILED if something is wrong with it.
    """

    def __init__(self, value: object) -> None:
        self.value = _value_of(value)
        try:
            self.zone = zoneinfo.ZoneInfo(self.value.timezone)
            CronSim(self.value.cron, datetime.now(UTC))
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            raise invalid("timezone: there is no such time zone") from None
        except CronSimError as error:
            raise invalid(f"cron: {error}") from None
        self.body = self._body()
        try:
            self.header = _header(self.value.properties, len(self.body))
        except MalformedContent as error:
            raise invalid(f"properties: {error}") from None
        self.next: int | None = None
        self.failed = 0
        self.unrouted = 0
        self.error = ""

    def _body(self) -> bytes:
        if self.value.payload_encoding == "string":
            return self.value.payload.encode()
        try:
            return base64.b64decode(self.value.payload, validate=True)
        except (binascii.Error, ValueError):
            raise invalid("payload: this is not base64") from None

    def after(self, moment: int) -> int | None:
        """Give the next time behind a moment, both in unix milliseconds; None if there is none."""
        try:
            found = next(CronSim(self.value.cron, datetime.fromtimestamp(moment / 1000, self.zone)))
        except (StopIteration, OverflowError, ValueError):
            return None
        return int(found.timestamp() * 1000)


def _header(properties: Table, body_size: int) -> bytes:
    given: Any = {"delivery_mode": PERSISTENT, **properties}
    return build_header(body_size, **given)
