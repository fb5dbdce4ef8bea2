"""Windows of ids come and go with what their owners are asked for: ``x-deduplication-window`` and its like.

A queue or exchange that shall recognise what is published twice gets an ``IdWindow``; arguments and policies
say so, and a policy may come at any time.  Streams remember ids by themselves (``queues/stream.py``).
Windows have commands of their own in the journal, and are in no listing, limit or export.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from harebell.engine.commands import DeclareWindow, DeleteWindow
from harebell.engine.exchanges.exchange import Exchange
from harebell.engine.exchanges.super_stream import SuperStreamExchange
from harebell.engine.options import ExchangeOptions, QueueOptions
from harebell.engine.queues.deduplication import Deduplication, window_of
from harebell.engine.queues.id_window import IdWindow
from harebell.engine.queues.queue import Queue
from harebell.engine.vhost import Vhost
from harebell.streaming import NoStreams

if TYPE_CHECKING:
    from harebell.engine.broker import Broker

SALT_OCTETS: Final = 16

SEGMENT_OCTETS: Final = 1024 * 1024
"""Size of the files of a window's log; those of a small window are smaller."""

LEAST_SEGMENT_OCTETS: Final = 64 * 1024


def settle(broker: Broker, vhost: Vhost, owner: Queue | Exchange) -> int:
    """Give a queue or exchange the window that its options ask for; give the lsn behind the change.

    A window for ids in another header than before begins empty.
    """
    options: QueueOptions | ExchangeOptions | None = owner.options
    if isinstance(owner, SuperStreamExchange) or (isinstance(owner, Queue) and owner.type_name == "stream"):
        # A super stream hands such arguments to its streams.
        return 0
    window = 0
    if options is not None:
        window = int(window_of(options.deduplication_window, options.deduplication_interval))
    ids = owner.ids
    if options is None or window <= 0:
        return 0 if ids is None else _delete(broker, vhost, ids)
    header = options.deduplication_header or ""
    lsn = 0
    if ids is not None and ids.known.header != header:
        lsn = _delete(broker, vhost, ids)
        ids = None
    if ids is None:
        lsn = max(lsn, _declare(broker, vhost, owner, header))
        ids = owner.ids
    if ids is not None:
        ids.adjust(window, options.deduplication_interval)
    return lsn


def settle_all(broker: Broker) -> None:
    """Do so for all there are, and delete windows without an owner: when the commands were replayed."""
    for vhost in broker.vhosts.values():
        owners: list[Queue | Exchange] = [*vhost.queues.values(), *vhost.exchanges.values()]
        for owner in owners:
            settle(broker, vhost, owner)
        for ids in list(vhost.windows.values()):
            if _owner(vhost, ids.of_exchange, ids.owner_name) is None:
                _delete(broker, vhost, ids)


def _declare(broker: Broker, vhost: Vhost, owner: Queue | Exchange, header: str) -> int:
    of_exchange = isinstance(owner, Exchange)
    exclusive = isinstance(owner, Queue) and owner.owner != 0
    lasting = owner.durable and not exclusive
    if broker.streams.in_memory or isinstance(broker.streams, NoStreams):
        lasting = False
    salt = secrets.token_hex(SALT_OCTETS)
    number = broker.next_queue_id()
    command = DeclareWindow(vhost.name, owner.name, of_exchange, number, lasting, header, salt)
    return broker.commit(command, lasting)


def _delete(broker: Broker, vhost: Vhost, ids: IdWindow) -> int:
    command = DeleteWindow(vhost.name, ids.owner_name, ids.of_exchange)
    return broker.commit(command, bool(ids.durable))


def _owner(vhost: Vhost, of_exchange: bool, name: str) -> Queue | Exchange | None:
    return vhost.exchanges.get(name) if of_exchange else vhost.queues.get(name)


def declare_window(broker: Broker, vhost: Vhost, command: DeclareWindow) -> None:
    """Make a window; one with that number stays (recovery repeats what a snapshot holds)."""
    key = (command.of_exchange, command.owner)
    existing = vhost.windows.get(key)
    if existing is not None:
        if existing.id == command.queue_id:
            return
        delete_window(vhost, existing)
    salt = bytes.fromhex(command.salt)
    window = IdWindow(
        command.queue_id,
        command.owner,
        command.of_exchange,
        Deduplication(_asked(vhost, command), command.header, salt),
        salt,
        broker.streams.open(command.queue_id, _segment_octets(_asked(vhost, command)))
        if command.lasting
        else None,
        broker.dispatcher,
        broker.journal,
        broker.clock,
        broker.dispatcher.residency.pager,
    )
    vhost.windows[key] = window
    owner = _owner(vhost, command.of_exchange, command.owner)
    if owner is not None:
        owner.use_window(window)


def _asked(vhost: Vhost, command: DeclareWindow) -> int:
    """Give how many ids the owner of a window to be made wants; policies are not at work in a replay."""
    owner = _owner(vhost, command.of_exchange, command.owner)
    options = None if owner is None else owner.options
    if options is None:
        return 1
    return max(1, int(window_of(options.deduplication_window, options.deduplication_interval)))


def _segment_octets(window: int) -> int:
    """Give the size of log files: a small window is not to keep much more than it needs."""
    return max(LEAST_SEGMENT_OCTETS, min(SEGMENT_OCTETS, 8 * window))


def delete_window(vhost: Vhost, ids: IdWindow) -> None:
    """Let go of a window: its owner is gone, or goes without."""
    del vhost.windows[(ids.of_exchange, ids.owner_name)]
    owner = _owner(vhost, ids.of_exchange, ids.owner_name)
    if owner is not None and owner.ids is ids:
        owner.use_window(None)
    ids.drop_all()
