"""Exporting definitions in the form of RabbitMQ 3.13, which RabbitMQ since 3.8 loads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from harebell.administration.administration import Administration
from harebell.administration.parameters import (
    DEFINITIONS_HASH,
    OPERATOR_POLICY,
    list_global_parameters,
    list_parameters,
)
from harebell.administration.users import list_permissions, list_topic_permissions, list_users
from harebell.administration.vhosts import DESCRIPTION, PROTECTED, TAGS, TRACING, find_vhost
from harebell.content.table import Table
from harebell.engine.arguments import OWN_POLICY_KEYS, QUEUE_TYPE
from harebell.engine.exchanges.exchange import Exchange
from harebell.engine.metadata import SCHEDULE
from harebell.engine.policy_control import list_policies
from harebell.engine.queues.queue import Queue
from harebell.engine.queues.stream import StreamQueue
from harebell.engine.redeclaring import REDECLARE
from harebell.engine.schemas import COMPONENTS
from harebell.engine.topology import RESERVED
from harebell.engine.vhost import Vhost

WHOLE_NODE: Final = "cluster"
ONE_VHOST: Final = "single_virtual_host"
"""What RabbitMQ calls the two forms of definitions."""

CLASSIC: Final = "classic"


@dataclass(frozen=True, slots=True)
class Export:
    """Definitions on their way out; big ones are best written piece by piece.

    Attributes:
        about: what comes before the sections.
        sections: the rows of each section, made as they are asked for, once.
    """

    about: Table
    sections: dict[str, Iterator[Table]]

    def document(self) -> Table:
        """Make all of it."""
        return {**self.about, **{name: list(rows) for name, rows in self.sections.items()}}


def exported(admin: Administration) -> Export:
    """Export everything declared on the node: users, virtual hosts and what is in them.

    Exclusive queues are left out, and so is what every virtual host has anyway.
    """
    vhosts = list(admin.broker.vhosts.values())
    return Export(
        {
            **_versions(admin),
            "rabbitmq_definition_format": WHOLE_NODE,
            "original_cluster_name": admin.host.name,
            "explanation": f"Definitions of cluster '{admin.host.name}'",
        },
        {
            "users": iter(list_users(admin)),
            "vhosts": (_vhost(vhost) for vhost in vhosts),
            "permissions": iter(list_permissions(admin)),
            "topic_permissions": iter(list_topic_permissions(admin)),
            "parameters": _parameters(list_parameters(admin), False),
            "harebell_parameters": _parameters(list_parameters(admin), True),
            "global_parameters": iter(_global_parameters(admin)),
            "policies": _policies(list_policies(admin.broker), False),
            "harebell_policies": _policies(list_policies(admin.broker), True),
            "queues": _queues(admin, vhosts),
            "exchanges": _exchanges(vhosts),
            "bindings": _bindings(vhosts),
        },
    )


def exported_vhost(admin: Administration, name: str) -> Export:
    """Export what is declared in one virtual host; the objects do not say in which.

    Raises:
        BrokerError: NOT_FOUND.
    """
    vhost = find_vhost(admin, name)
    about = _vhost(vhost)
    del about["name"]
    return Export(
        {
            **_versions(admin),
            "rabbitmq_definition_format": ONE_VHOST,
            "original_vhost_name": name,
            "explanation": f"Definitions of virtual host '{name}'",
            **about,
        },
        {
            "parameters": _parameters(list_parameters(admin, vhost=name), False),
            "harebell_parameters": _parameters(list_parameters(admin, vhost=name), True),
            "policies": _policies(list_policies(admin.broker, name), False),
            "harebell_policies": _policies(list_policies(admin.broker, name), True),
            "queues": _placeless(_queues(admin, [vhost])),
            "exchanges": _placeless(_exchanges([vhost])),
            "bindings": _placeless(_bindings([vhost])),
        },
    )


def _versions(admin: Administration) -> Table:
    compat = admin.settings.compat
    return {
        "rabbit_version": compat.version,
        "rabbitmq_version": compat.version,
        "product_name": compat.product,
        "product_version": compat.version,
    }


def _vhost(vhost: Vhost) -> Table:
    metadata: Table = {
        DESCRIPTION: vhost.metadata.get(DESCRIPTION, ""),
        TAGS: vhost.metadata.get(TAGS, []),
    }
    if vhost.default_queue_type:
        metadata["default_queue_type"] = vhost.default_queue_type
    metadata.update({key: True for key in (TRACING, PROTECTED) if vhost.metadata.get(key) is True})
    if REDECLARE in vhost.metadata:
        metadata[REDECLARE] = vhost.metadata[REDECLARE]
    return {"name": vhost.name, **metadata, "metadata": metadata}


def _parameters(rows: list[Table], own: bool) -> Iterator[Table]:
    """Give the parameters of components that RabbitMQ does not have, or the others.

    RabbitMQ imports nothing of a file with parameters it does not know, and passes over sections it does not
    know.
    """
    for row in rows:
        if row["component"] == OPERATOR_POLICY:
            value = row["value"]
            assert isinstance(value, dict)
            definition = _definition(value, own)
            if definition is not None:
                yield {**row, "value": {**value, "definition": definition}}
        elif (row["component"] in (*COMPONENTS, SCHEDULE)) == own:
            yield row


def _policies(rows: list[Table], own: bool) -> Iterator[Table]:
    """Give the policies with keys that RabbitMQ does not have, whole; or all, without such keys."""
    for row in rows:
        definition = _definition(row, own)
        if definition is not None:
            yield {**row, "definition": definition}


def _definition(policy: Table, own: bool) -> Table | None:
    """Give what a policy defines, for RabbitMQ without what that does not know; None if it is left out."""
    definition = policy["definition"]
    assert isinstance(definition, dict)
    shared = {key: value for key, value in definition.items() if key not in OWN_POLICY_KEYS}
    if own:
        return None if len(shared) == len(definition) else definition
    return shared or None


def _global_parameters(admin: Administration) -> list[Table]:
    return [row for row in list_global_parameters(admin) if row["name"] != DEFINITIONS_HASH]


def _queues(admin: Administration, vhosts: Iterable[Vhost]) -> Iterator[Table]:
    for vhost in vhosts:
        default = vhost.default_queue_type or admin.broker.limits.default_queue_type
        for queue in list(vhost.queues.values()):
            if _belongs(queue):
                yield {
                    "name": queue.name,
                    "vhost": vhost.name,
                    "durable": queue.durable,
                    "auto_delete": queue.auto_delete,
                    "arguments": _arguments(queue, default),
                }


def _belongs(queue: Queue) -> bool:
    """Tell whether a queue is exported: neither exclusive, nor declared along with another."""
    return not queue.owner and not (isinstance(queue, StreamQueue) and queue.retains_for is not None)


def _arguments(queue: Queue, default: str) -> Table:
    """Give a queue's arguments, with its type where leaving it out would mean another one."""
    if queue.type_name == default or QUEUE_TYPE in queue.arguments or queue.type_name != CLASSIC:
        return queue.arguments
    return {**queue.arguments, QUEUE_TYPE: CLASSIC}


def _exchanges(vhosts: Iterable[Vhost]) -> Iterator[Table]:
    for vhost in vhosts:
        for exchange in list(vhost.exchanges.values()):
            if not exchange.name.startswith(RESERVED):
                yield {
                    "name": exchange.name,
                    "vhost": vhost.name,
                    "type": exchange.type_name,
                    "durable": exchange.durable,
                    "auto_delete": exchange.auto_delete,
                    "internal": exchange.internal,
                    "arguments": exchange.arguments,
                }


def _bindings(vhosts: Iterable[Vhost]) -> Iterator[Table]:
    for vhost in vhosts:
        for exchange in list(vhost.exchanges.values()):
            for binding in list(exchange.bindings.values()):
                end = binding.destination
                if isinstance(end, Exchange) or (isinstance(end, Queue) and _belongs(end)):
                    yield {
                        "source": exchange.name,
                        "vhost": vhost.name,
                        "destination": end.name,
                        "destination_type": "exchange" if isinstance(end, Exchange) else "queue",
                        "routing_key": binding.routing_key,
                        "arguments": binding.arguments,
                    }


def _placeless(rows: Iterable[Table]) -> Iterator[Table]:
    for row in rows:
        del row["vhost"]
        yield row
