"""Exchanges, queues and bindings in definitions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from harebell.administration.administration import Administration
from harebell.administration.definitions.entries import (
    ADD,
    KEEP,
    SKIP,
    Entry,
    Known,
    changed,
    in_vhost,
    predeclared,
    sendable,
    unrestricted,
)
from harebell.content.table import Table
from harebell.engine.arguments import QUEUE_TYPE, SUPPORTED_TYPES, check_queue_arguments, queue_type
from harebell.engine.commands import Bind
from harebell.engine.exchanges.exchange import binding_key
from harebell.engine.exchanges.registry import EXCHANGE_TYPES, create, exchange_class
from harebell.engine.metadata import destination_of
from harebell.engine.queues.queue import Queue
from harebell.engine.topology import ALWAYS_DURABLE, RESERVED, declare_exchange, declare_queue
from harebell.errors import PRECONDITION_FAILED, BrokerError

DEFAULT_EXCHANGE: Final = ("", "amq.default")
"""Names of the default exchange, which is everywhere and cannot be declared."""


@dataclass(frozen=True, slots=True)
class ExchangeEntry(Entry):
    """An exchange; one that is there stays as it is."""

    kind: ClassVar = "exchange"
    vhost: str
    name: str
    type_name: str
    durable: bool
    auto_delete: bool
    internal: bool
    arguments: Table

    @property
    def label(self) -> str:
        return in_vhost("exchange", self.name, self.vhost)

    def unknown(self, known: Known) -> list[str]:
        there = known.admin.broker.vhosts.get(self.vhost)
        if self.type_name in EXCHANGE_TYPES or self._given() or (there and self.name in there.exchanges):
            return []
        return [f"exchange type '{self.type_name}'"]

    def check(self, known: Known) -> None:
        known.need_vhost(self.vhost)
        sendable(self.arguments)
        there = known.admin.broker.vhosts.get(self.vhost)
        if self._given() or (there is not None and self.name in there.exchanges):
            return
        exchange_class(self.type_name).check_arguments(self.arguments)
        known.exchanges[(self.vhost, self.name)] = create(
            self.type_name, self.name, self.durable, self.auto_delete, self.internal, self.arguments
        )

    def _given(self) -> bool:
        """Tell whether it is there without being declared, or cannot be declared."""
        return self.name in DEFAULT_EXCHANGE or self.name.startswith(RESERVED)

    def difference(self, known: Known) -> tuple[str, str] | None:
        vhost = known.admin.broker.vhosts.get(self.vhost)
        now = None if vhost is None else vhost.exchanges.get(self.name)
        if now is None and self._given():
            known_name = self.name in DEFAULT_EXCHANGE or predeclared(self.name) is not None
            return None if known_name else (SKIP, f"names that begin with {RESERVED} are the broker's own")
        if now is None:
            return ADD, ""
        detail = changed(
            ("type", now.type_name, self.type_name),
            ("durable", now.durable, self.durable),
            ("auto_delete", now.auto_delete, self.auto_delete),
            ("internal", now.internal, self.internal),
            ("arguments", now.arguments, self.arguments),
        )
        return (KEEP, detail) if detail else None

    def apply(self, admin: Administration) -> int:
        caller = unrestricted(admin, self.vhost)
        return declare_exchange(
            caller,
            self.name,
            self.type_name,
            self.durable,
            self.auto_delete,
            self.internal,
            self.arguments,
        )


@dataclass(frozen=True, slots=True)
class QueueEntry(Entry):
    """A queue; one that is there stays as it is.

    Attributes:
        type_name: as the definitions say it beside the arguments, which go before it; empty if they do not.
    """

    kind: ClassVar = "queue"
    vhost: str
    name: str
    type_name: str
    durable: bool
    auto_delete: bool
    arguments: Table

    @property
    def label(self) -> str:
        return in_vhost("queue", self.name, self.vhost)

    def _typed(self, default: str) -> Table:
        """Give the arguments with the queue's type, where it is not what it would be without."""
        if not self.type_name or QUEUE_TYPE in self.arguments or self.type_name == default:
            return self.arguments
        return {**self.arguments, QUEUE_TYPE: self.type_name}

    def _default_type(self, admin: Administration, default_types: dict[str, str]) -> str:
        if not self.durable or self.auto_delete:
            return "classic"
        vhost = admin.broker.vhosts.get(self.vhost)
        now = "" if vhost is None else vhost.default_queue_type
        return default_types.get(self.vhost, now) or admin.broker.limits.default_queue_type

    def unknown(self, known: Known) -> list[str]:
        if known.has_queue(self.vhost, self.name):
            return []
        asked = self._typed(self._default_type(known.admin, known.default_types)).get(QUEUE_TYPE)
        return [f"queue type '{asked}'"] if isinstance(asked, str) and asked not in SUPPORTED_TYPES else []

    def check(self, known: Known) -> None:
        known.need_vhost(self.vhost)
        if not self.name:
            raise BrokerError(PRECONDITION_FAILED, "a queue has a name")
        sendable(self.arguments)
        if known.has_queue(self.vhost, self.name):
            return
        default = self._default_type(known.admin, known.default_types)
        arguments = self._typed(default)
        type_name = queue_type(arguments, default, self.name, self.vhost)
        check_queue_arguments(arguments, type_name, self.name, self.vhost)
        if type_name in ALWAYS_DURABLE and (self.auto_delete or not self.durable):
            flag = "auto-delete" if self.auto_delete else "non-durable"
            raise BrokerError(
                PRECONDITION_FAILED,
                f"invalid property '{flag}' for queue '{self.name}' in vhost '{self.vhost}'",
            )
        known.queues.add((self.vhost, self.name))
        known.added[self.vhost] = known.added.get(self.vhost, 0) + 1

    def difference(self, known: Known) -> tuple[str, str] | None:
        vhost = known.admin.broker.vhosts.get(self.vhost)
        now = None if vhost is None else vhost.queues.get(self.name)
        if now is None:
            return ADD, ""
        arguments = {key: value for key, value in self.arguments.items() if key != QUEUE_TYPE}
        detail = changed(
            ("type", now.type_name, self.arguments.get(QUEUE_TYPE, self.type_name or now.type_name)),
            ("durable", now.durable, self.durable),
            ("auto_delete", now.auto_delete, self.auto_delete),
            ("arguments", {key: now.arguments[key] for key in now.arguments if key != QUEUE_TYPE}, arguments),
        )
        return (KEEP, detail) if detail else None

    def apply(self, admin: Administration) -> int:
        caller = unrestricted(admin, self.vhost)
        arguments = self._typed(self._default_type(admin, {}))
        return declare_queue(caller, self.name, self.durable, False, self.auto_delete, arguments)[1]


@dataclass(frozen=True, slots=True)
class BindingEntry(Entry):
    """A binding; one without its source or destination is passed over, as RabbitMQ does."""

    kind: ClassVar = "binding"
    vhost: str
    source: str
    destination: str
    to_queue: bool
    routing_key: str
    arguments: Table

    @property
    def label(self) -> str:
        kind = "queue" if self.to_queue else "exchange"
        return (
            f"binding from exchange '{self.source}' to {kind} '{self.destination}' "
            f"with key '{self.routing_key}' in virtual host '{self.vhost}'"
        )

    def check(self, known: Known) -> None:
        known.need_vhost(self.vhost)
        sendable(self.arguments)
        source = known.exchange(self.vhost, self.source)
        if source is not None:
            source.check_binding(self.routing_key, self.arguments)

    def difference(self, known: Known) -> tuple[str, str] | None:
        if self.source in DEFAULT_EXCHANGE:
            return None
        if known.exchange(self.vhost, self.source) is None:
            return SKIP, f"there is no exchange '{self.source}'"
        if self.to_queue:
            there = known.has_queue(self.vhost, self.destination)
        else:
            there = known.exchange(self.vhost, self.destination) is not None
        if not there:
            return SKIP, f"there is no {'queue' if self.to_queue else 'exchange'} '{self.destination}'"
        return None if self._bound(known.admin) else (ADD, "")

    def _bound(self, admin: Administration) -> bool:
        vhost = admin.broker.vhosts.get(self.vhost)
        source = None if vhost is None else vhost.exchanges.get(self.source)
        if vhost is None or source is None:
            return False
        ends = vhost.queues if self.to_queue else vhost.exchanges
        end = ends.get(self.destination)
        return end is not None and binding_key(end, self.routing_key, self.arguments) in source.bindings

    def apply(self, admin: Administration) -> int:
        vhost = unrestricted(admin, self.vhost).vhost
        source = vhost.exchange(self.source)
        end = destination_of(vhost, self.destination, self.to_queue)
        source.check_binding(self.routing_key, self.arguments)
        lasting = (
            end.durable and not end.owner if isinstance(end, Queue) else vhost.exchanges[end.name].durable
        )
        command = Bind(
            self.vhost, self.source, self.destination, self.to_queue, self.routing_key, self.arguments
        )
        return admin.broker.commit(command, source.durable and lasting)
