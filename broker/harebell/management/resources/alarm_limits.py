"""Limits of the alarms of the running node (not in RabbitMQ: ``/x/memory-limit``, ``/x/disk-limit``).

RabbitMQ's tools change the same with ``set_vm_memory_high_watermark`` and ``set_disk_free_limit``.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BeforeValidator, Field

from harebell.administration.maintenance import Maintenance
from harebell.engine.alarms import DISK, DISK_FULL, MEMORY
from harebell.management.answers import Answer, no_content, ok
from harebell.management.bodies import Body
from harebell.management.calls import Call
from harebell.management.errors import bad_request
from harebell.management.resources.maintenance import of_node
from harebell.management.routing import Right, Route
from harebell.settings.values import parse_size


def _octets_of(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("not a size")
    return parse_size(value)


Octets = Annotated[int, BeforeValidator(_octets_of), Field(ge=0, le=2**62)]
"""Octets, or a text with a unit such as ``2GB``."""


class MemoryLimit(Body):
    """At which use of memory publishers are blocked: one of the two."""

    fraction: Annotated[float, Field(ge=0, le=1)] | None = None
    absolute: Octets | None = None


class DiskLimit(Body):
    """Below which free disk space publishers are blocked: one of the two."""

    mem_relative: Annotated[float, Field(ge=0, le=1000)] | None = None
    absolute: Octets | None = None


async def show_memory(call: Call) -> Answer:
    """Tell how much memory is used, and at how much publishers are blocked; in octets."""
    now = call.admin.host.resources()
    alarm = call.admin.broker.alarms.is_set(MEMORY)
    return ok({"used": now.memory_used, "limit": now.memory_limit, "alarm": alarm})


async def change_memory(call: Call) -> Answer:
    """Change it until the node starts anew; 0 blocks publishers at once."""
    asked = call.model(MemoryLimit)
    node = of_node(call)
    octets = _octets(node, asked.fraction, asked.absolute, "fraction")
    node.set_memory_limit(octets)
    call.detail["limit"] = octets
    return no_content()


async def show_disk(call: Call) -> Answer:
    """Tell how much of the disk is free, and below how much publishers are blocked; in octets."""
    now = call.admin.host.resources()
    alarms = call.admin.broker.alarms
    alarm = alarms.is_set(DISK) or alarms.is_set(DISK_FULL)
    return ok({"free": now.disk_free, "limit": now.disk_free_limit, "alarm": alarm})


async def change_disk(call: Call) -> Answer:
    """Change it until the node starts anew; 0 never blocks publishers."""
    asked = call.model(DiskLimit)
    node = of_node(call)
    octets = _octets(node, asked.mem_relative, asked.absolute, "mem_relative")
    node.set_disk_free_limit(octets)
    call.detail["limit"] = octets
    return no_content()


def _octets(node: Maintenance, share: float | None, absolute: int | None, name: str) -> int:
    """Give the limit that is meant.

    Raises:
        HttpError: 400; both or neither are given, or the memory there is is not known.
    """
    if absolute is not None and share is None:
        return absolute
    if share is None or absolute is not None:
        raise bad_request(f"either {name} or absolute must be given")
    total = node.memory
    if total <= 0:
        raise bad_request(f"{name} cannot be used, since the system does not say how much memory there is")
    return int(total * share)


_MEMORY: Final = "/x/memory-limit"
_DISK: Final = "/x/disk-limit"

ROUTES: Final = (
    Route("GET", _MEMORY, show_memory, Right.MONITORING),
    Route(
        "PUT", _MEMORY, change_memory, Right.ADMINISTRATOR, body=MemoryLimit, action="memory_limit.changed"
    ),
    Route("GET", _DISK, show_disk, Right.MONITORING),
    Route("PUT", _DISK, change_disk, Right.ADMINISTRATOR, body=DiskLimit, action="disk_limit.changed"),
)
