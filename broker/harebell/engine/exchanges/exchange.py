"""The base of every exchange type: identity, bindings, and the hooks a type fills in.

A new exchange type is one file with a subclass and one row in ``registry.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from harebell.content.properties import Properties
from harebell.content.table import Table, encode_table
from harebell.engine.counters import Tally
from harebell.engine.destination import Destination
from harebell.engine.options import ExchangeOptions

if TYPE_CHECKING:
    from harebell.engine.queues.id_window import IdWindow


class Binding:
    """One binding from an exchange to a queue or to another exchange.

    Args:
        source: the exchange bound from.
        destination: the queue or exchange bound to.
        routing_key: the binding key, as the client gave it.
        arguments: the binding arguments, decoded.
    """

    def __init__(
        self, source: Exchange, destination: Destination, routing_key: str, arguments: Table
    ) -> None:
        self.source = source
        self.destination = destination
        self.routing_key = routing_key
        self.arguments = arguments


BindingKey = tuple[Destination, str, bytes]


def binding_key(destination: Destination, routing_key: str, arguments: Table) -> BindingKey:
    """Identify a binding within its source: same destination, key and arguments are the same binding."""
    return (destination, routing_key, encode_table(dict(sorted(arguments.items()))) if arguments else b"")


class Exchange(Destination):
    """An exchange: keeps its bindings and says where a message goes.

    Class attributes a type sets:
        type_name: the name clients declare.
        dynamic: True if the outcome depends on more than the routing key (headers, chance, history);
            such routes are never cached.
        ignores_key: True if every routing key has the same outcome.
        delays_always: True if it delays messages whose headers ask for it, without an option.

    Attributes:
        durable, auto_delete, internal: as declared.
        arguments: declaration arguments, decoded.
        alternate: name of the alternate exchange, or None.
        options: what it goes by beside its type; None if nothing is set.
        option_values: key and value of each of these options.
        bindings: by identity, in the order of their creation.
        tally: counts what is published to it.
        routes_by: name of the type by whose rules it routes.
        ids: those of the messages it took lately, if it leaves out what is published again.
    """

    type_name = ""
    dynamic = False
    ignores_key = False
    delays_always = False

    def __init__(self, name: str, durable: bool, auto_delete: bool, internal: bool, arguments: Table) -> None:
        super().__init__(name, False)
        self.durable = durable
        self.auto_delete = auto_delete
        self.internal = internal
        self.arguments = arguments
        self.alternate: str | None = None
        self.options: ExchangeOptions | None = None
        self.option_values: list[tuple[str, object]] = []
        self.bindings: dict[BindingKey, Binding] = {}
        self.tally = Tally()
        self.routes_by: str = self.type_name
        self.ids: IdWindow | None = None

    def use_window(self, ids: IdWindow | None) -> None:
        """Leave out what is published again, as a window knows it; None: take everything."""
        self.ids = ids

    def own_arguments(self) -> Table:
        """Give the arguments that are the exchange's own, rather than those of queues declared with it."""
        return self.arguments

    @classmethod
    def check_arguments(cls, arguments: Table) -> None:
        """Check declaration arguments before anything is created.

        Raises:
            BrokerError: PRECONDITION_FAILED if an argument of this type is malformed.
        """

    def check_binding(self, routing_key: str, arguments: Table) -> None:
        """Check a binding before it is added.

        Raises:
            BrokerError: PRECONDITION_FAILED if the key or the arguments do not fit this type.
        """

    def same_arguments(self, arguments: Table) -> bool:
        """Tell whether a redeclaration's type-specific arguments equal the current ones."""
        return True

    def bind(self, binding: Binding) -> bool:
        """Add a binding; False if an equal one was there already."""
        key = binding_key(binding.destination, binding.routing_key, binding.arguments)
        if key in self.bindings:
            return False
        self.bindings[key] = binding
        binding.destination.incoming[binding] = None
        self.binding_added(binding)
        return True

    def unbind(self, destination: Destination, routing_key: str, arguments: Table) -> Binding | None:
        """Remove a binding and return it; None if there was none such."""
        binding = self.bindings.pop(binding_key(destination, routing_key, arguments), None)
        if binding is not None:
            destination.incoming.pop(binding, None)
            self.binding_removed(binding)
        return binding

    def binding_added(self, binding: Binding) -> None:
        """Hook: keep the type's index up to date."""

    def binding_removed(self, binding: Binding) -> None:
        """Hook: keep the type's index up to date."""

    def route(self, routing_key: str, properties: Properties | None) -> Iterable[Destination]:
        """Give the destinations of one message; the same destination may come up more than once.

        Args:
            routing_key: the key to match.
            properties: the message's parsed properties; None unless the type is ``dynamic``.
        """
        raise NotImplementedError
