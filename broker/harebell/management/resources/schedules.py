"""Schedules: when the node publishes what by itself (not in RabbitMQ: ``/x/schedules``)."""

from __future__ import annotations

from typing import Final

from harebell.administration.schedule import Schedule
from harebell.engine.vhost import Vhost
from harebell.management.answers import Answer, ok
from harebell.management.calls import Call
from harebell.management.routing import Right, Route


async def list_schedules(call: Call) -> Answer:
    """List the schedules of a virtual host with their next and their last time; they are parameters."""
    vhost = call.vhost()
    found = call.admin.schedules.of(call.admin.broker, vhost.name)
    return ok([_shown(call, vhost, name, schedule) for name, schedule in found.items()])


def _shown(call: Call, vhost: Vhost, name: str, schedule: Schedule) -> dict[str, object]:
    value = schedule.value
    return {
        "name": name,
        "vhost": vhost.name,
        "cron": value.cron,
        "timezone": value.timezone,
        "enabled": value.enabled,
        "exchange": value.exchange,
        "routing_key": value.routing_key,
        "next": schedule.next,
        "last": call.admin.broker.fired.get((vhost.name, name)),
        "failed": schedule.failed,
        "unrouted": schedule.unrouted,
        "error": schedule.error,
    }


ROUTES: Final = (Route("GET", "/x/schedules/{vhost}", list_schedules, right=Right.POLICYMAKER),)
