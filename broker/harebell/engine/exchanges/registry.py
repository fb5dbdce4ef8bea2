"""Every exchange type by the name clients declare: one row per type."""

from __future__ import annotations

from typing import Final

from harebell.content.table import Table
from harebell.engine.arguments import DELAYED_TYPE
from harebell.engine.exchanges.consistent_hash import ConsistentHashExchange
from harebell.engine.exchanges.delayed_message import DELAYED_MESSAGE, DelayedMessageExchange
from harebell.engine.exchanges.direct import DirectExchange
from harebell.engine.exchanges.exchange import Exchange
from harebell.engine.exchanges.fanout import FanoutExchange
from harebell.engine.exchanges.headers import HeadersExchange
from harebell.engine.exchanges.modulus_hash import ModulusHashExchange
from harebell.engine.exchanges.random import LocalRandomExchange, RandomExchange
from harebell.engine.exchanges.recent_history import RecentHistoryExchange
from harebell.engine.exchanges.super_stream import SuperStreamExchange
from harebell.engine.exchanges.topic import TopicExchange
from harebell.errors import PRECONDITION_FAILED, BrokerError

EXCHANGE_TYPES: Final[dict[str, type[Exchange]]] = {
    "direct": DirectExchange,
    "fanout": FanoutExchange,
    "headers": HeadersExchange,
    "topic": TopicExchange,
    "x-consistent-hash": ConsistentHashExchange,
    DELAYED_MESSAGE: DelayedMessageExchange,
    "x-local-random": LocalRandomExchange,
    "x-modulus-hash": ModulusHashExchange,
    "x-random": RandomExchange,
    "x-recent-history": RecentHistoryExchange,
    "x-super-stream": SuperStreamExchange,
}
"""The exchange types, by name."""


def exchange_class(type_name: str) -> type[Exchange]:
    """Give the class of an exchange type.

    Raises:
        BrokerError: PRECONDITION_FAILED if there is no such type (406 on the channel, as RabbitMQ 4.x).
    """
    found = EXCHANGE_TYPES.get(type_name)
    if found is None:
        raise BrokerError(PRECONDITION_FAILED, f"unknown exchange type '{type_name}'")
    return found


def routing_class(type_name: str, arguments: Table) -> type[Exchange]:
    """Give the class of the type by whose rules an exchange is to route.

    Args:
        type_name: as declared.
        arguments: as declared.

    Raises:
        BrokerError: PRECONDITION_FAILED if there is no such type, or ``x-delayed-type`` names none.
    """
    if type_name != DELAYED_MESSAGE:
        return exchange_class(type_name)
    inner = arguments.get(DELAYED_TYPE)
    if not isinstance(inner, str) or inner == DELAYED_MESSAGE:
        raise BrokerError(
            PRECONDITION_FAILED, f"Invalid argument, '{DELAYED_TYPE}' must be an existing exchange type"
        )
    return exchange_class(inner)


def create(
    type_name: str, name: str, durable: bool, auto_delete: bool, internal: bool, arguments: Table
) -> Exchange:
    """Make an exchange whose arguments its type has checked.

    Raises:
        BrokerError: PRECONDITION_FAILED if there is no such type.
    """
    if type_name == DELAYED_MESSAGE and DELAYED_TYPE in arguments:
        exchange = routing_class(type_name, arguments)(name, durable, auto_delete, internal, arguments)
        exchange.type_name = DELAYED_MESSAGE
        exchange.delays_always = True
        return exchange
    return exchange_class(type_name)(name, durable, auto_delete, internal, arguments)
