"""Changes of metadata as values: the one form in which topology changes.

A live declaration, recovery, a definitions import and, later, replication all produce commands and apply
them through ``metadata.apply``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final

from harebell.content.table import Table, decode_table, encode_table


@dataclass(frozen=True, slots=True)
class CreateVhost:
    """A virtual host comes into being, with its pre-declared exchanges."""

    name: str


@dataclass(frozen=True, slots=True)
class DeleteVhost:
    """A virtual host goes, with everything in it."""

    name: str


@dataclass(frozen=True, slots=True)
class DeclareExchange:
    """An exchange comes into being."""

    vhost: str
    name: str
    type_name: str
    durable: bool
    auto_delete: bool
    internal: bool
    arguments: Table


@dataclass(frozen=True, slots=True)
class DeleteExchange:
    """An exchange goes, with every binding from and to it."""

    vhost: str
    name: str


@dataclass(frozen=True, slots=True)
class DeclareQueue:
    """A queue comes into being; ``owner`` is the id of the connection an exclusive one belongs to.

    ``queue_id`` names it in the journal and is never used again on the node.
    """

    vhost: str
    name: str
    queue_id: int
    type_name: str
    durable: bool
    owner: int
    auto_delete: bool
    arguments: Table


@dataclass(frozen=True, slots=True)
class DeleteQueue:
    """A queue goes, with its messages and bindings."""

    vhost: str
    name: str


@dataclass(frozen=True, slots=True)
class Bind:
    """A binding comes into being."""

    vhost: str
    source: str
    destination: str
    to_queue: bool
    routing_key: str
    arguments: Table


@dataclass(frozen=True, slots=True)
class Unbind:
    """A binding goes."""

    vhost: str
    source: str
    destination: str
    to_queue: bool
    routing_key: str
    arguments: Table


@dataclass(frozen=True, slots=True)
class SetPolicy:
    """A policy, or an operator policy, comes into being or takes the place of the one of that name."""

    vhost: str
    name: str
    pattern: str
    apply_to: str
    definition: Table
    priority: int
    operator: bool


@dataclass(frozen=True, slots=True)
class ClearPolicy:
    """A policy, or an operator policy, goes."""

    vhost: str
    name: str
    operator: bool


@dataclass(frozen=True, slots=True)
class SetVhostLimits:
    """The limits of a virtual host are these from now on: ``max-queues``, ``max-connections`` or both."""

    vhost: str
    limits: Table


@dataclass(frozen=True, slots=True)
class SetVhostDefaultQueueType:
    """Queues of a virtual host declared without a type get this one; empty for the node's default."""

    vhost: str
    type_name: str


@dataclass(frozen=True, slots=True)
class SetVhostMetadata:
    """What a virtual host is described by: ``description``, ``tags``, ``tracing``, ..."""

    vhost: str
    metadata: Table


@dataclass(frozen=True, slots=True)
class SetParameter:
    """A parameter of a component is set; with an empty virtual host and component it is a global one.

    ``value`` is JSON: the engine keeps it and looks at nothing in it.
    """

    vhost: str
    component: str
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class ClearParameter:
    """A parameter goes."""

    vhost: str
    component: str
    name: str


@dataclass(frozen=True, slots=True)
class ChangeAccess:
    """The directory of users changes; ``kind`` and ``change`` are its own (see ``AccessControl.apply``)."""

    kind: str
    change: Table


@dataclass(frozen=True, slots=True)
class DeclareWindow:
    """A queue or exchange remembers ids from now on.

    ``queue_id`` names the window in the journal as if it were a queue's, ``header`` is where ids are (empty:
    the message-id), ``salt`` 16 octets in hexadecimal digits; one that is not ``lasting`` is in memory only.
    """

    vhost: str
    owner: str
    of_exchange: bool
    queue_id: int
    lasting: bool
    header: str
    salt: str


@dataclass(frozen=True, slots=True)
class DeleteWindow:
    """A queue or exchange remembers ids no more."""

    vhost: str
    owner: str
    of_exchange: bool


@dataclass(frozen=True, slots=True)
class DeclareDelays:
    """An exchange delays messages: they have a hidden queue, that ``queue_id`` names in the journal."""

    vhost: str
    exchange: str
    queue_id: int


@dataclass(frozen=True, slots=True)
class DeleteDelays:
    """The hidden queue of an exchange's delayed messages goes."""

    vhost: str
    exchange: str


@dataclass(frozen=True, slots=True)
class ChangeArguments:
    """A queue or an exchange has these arguments from now on, in place of those it was declared with."""

    vhost: str
    name: str
    of_exchange: bool
    arguments: Table


@dataclass(frozen=True, slots=True)
class PauseQueue:
    """A queue delivers nothing until a time, unix milliseconds; 0 resumes it."""

    vhost: str
    name: str
    until: int
    reason: str


@dataclass(frozen=True, slots=True)
class NoteFired:
    """A schedule was fired, for all of its times up to ``at``, unix milliseconds."""

    vhost: str
    name: str
    at: int


@dataclass(frozen=True, slots=True)
class StoreOffset:
    """A named consumer of a stream acknowledged all before an offset."""

    vhost: str
    queue: str
    consumer: str
    offset: int


Command = (
    CreateVhost
    | DeleteVhost
    | DeclareExchange
    | DeleteExchange
    | DeclareQueue
    | DeleteQueue
    | Bind
    | Unbind
    | SetPolicy
    | ClearPolicy
    | SetVhostLimits
    | SetVhostDefaultQueueType
    | SetVhostMetadata
    | SetParameter
    | ClearParameter
    | ChangeAccess
    | DeclareWindow
    | DeleteWindow
    | DeclareDelays
    | DeleteDelays
    | NoteFired
    | StoreOffset
    | ChangeArguments
    | PauseQueue
)

_KINDS: Final[dict[str, type[Any]]] = {
    kind.__name__: kind
    for kind in (
        CreateVhost,
        DeleteVhost,
        DeclareExchange,
        DeleteExchange,
        DeclareQueue,
        DeleteQueue,
        Bind,
        Unbind,
        SetPolicy,
        ClearPolicy,
        SetVhostLimits,
        SetVhostDefaultQueueType,
        SetVhostMetadata,
        SetParameter,
        ClearParameter,
        ChangeAccess,
        DeclareWindow,
        DeleteWindow,
        DeclareDelays,
        DeleteDelays,
        NoteFired,
        StoreOffset,
        ChangeArguments,
        PauseQueue,
    )
}
_KIND: Final = "command"
_TABLES: Final = ("arguments", "definition", "limits", "metadata", "change")
_SHAPES: Final[dict[type[Any], tuple[str, tuple[tuple[str, bool], ...]]]] = {
    kind: (name, tuple((field.name, field.name in _TABLES) for field in fields(kind)))
    for name, kind in _KINDS.items()
}
"""Of each kind its name and its fields, and which of these are tables: ``asdict`` would copy them all."""


def encode(command: Command) -> bytes:
    """Encode a command as a field table, for the journal.

    A table within is one of its own, as octets: a client's may be nested as deeply as any can be.
    """
    kind, shape = _SHAPES[type(command)]
    values: Table = {_KIND: kind}
    for name, is_table in shape:
        value = getattr(command, name)
        values[name] = encode_table(value) if is_table else value
    return encode_table(values)


def decode(data: bytes) -> Command:
    """Decode what ``encode`` made.

    Raises:
        KeyError: a command this version does not know.
    """
    values = decode_table(data, 4, len(data))
    for name in _TABLES:
        table = values.get(name)
        if isinstance(table, bytes):
            values[name] = decode_table(table, 4, len(table))
    command: Command = _KINDS[str(values.pop(_KIND))](**values)
    return command
