"""What a start makes of the journal: the broker as it was, and a word about everything that is lost."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from harebell import logs
from harebell.engine import policy_work
from harebell.engine.broker import Broker
from harebell.engine.commands import DeclareDelays, DeclareQueue, DeclareWindow, decode
from harebell.engine.deduplicating import settle_all
from harebell.engine.queues.stream import StreamQueue
from harebell.engine.vhost import DEFAULT_VHOST
from harebell.server.clock import set_clock
from harebell.storage.damage import Lost, remember
from harebell.storage.recovery import Recovered
from harebell.storage.store import Store

RECOVERED_PREFIX: Final = "harebell.recovered."
"""Name, up to its number, of a queue whose declaration was damaged."""


def restore(broker: Broker, store: Store) -> None:
    """Bring back what the journal holds, and say what was damaged."""
    log = logs.get_logger("node")
    recovered = store.recovered
    for damage in recovered.damage:
        (log.warning if damage.harmless else log.error)(f"journal: {damage}")
    if broker.clock.wall == 0:
        # Queues with x-expires count from now: without the time they would seem unused since ages.
        set_clock(broker.clock)
    declared: set[int] = set()
    for encoded in store.commands:
        command = decode(encoded)
        if isinstance(command, DeclareQueue | DeclareWindow | DeclareDelays):
            declared.add(command.queue_id)
        broker.replay(command)
    for text in broker.not_replayed:
        log.error(f"journal: a command could not be applied and is passed over: {text[:1000]}")
    windows = {int(ids.id) for vhost in broker.vhosts.values() for ids in vhost.windows.values()}
    policy_work.finish(broker)
    broker.numbers_used([*recovered.highest, *store.streams.unopened()])
    settle_all(broker)
    recovered.missing.extend(lost_windows(broker, store, windows))
    queues = {int(queue.id) for queue in broker.keepers()}
    deleted = declared - queues
    # Of a window whose declaration is lost there is nothing that anybody published.
    deleted |= {number for number in store.streams.unopened() if store.streams.of_window(number)}
    queues |= adopt_orphans(broker, store, deleted, recovered.forget(queues, deleted))
    count = broker.restore(store, recovered.highest)
    recovered.missing.extend(lost_ends(broker, store))
    for text in recovered.missing:
        log.error(f"journal: {text}")
    if queues or count:
        state = "" if recovered.clean else " after an unclean stop"
        found = sum(1 for _ in broker.queues())
        log.info(f"recovered {found} queues and {count} messages{state}")
    store.recovered = Recovered()


def lost_windows(broker: Broker, store: Store, declared: set[int]) -> list[str]:
    """Say, and remember, what begins to remember ids anew since the declaration of its window is lost.

    Args:
        declared: numbers of the windows that the journal knows.
    """
    if not store.recovered.lossy:
        return []
    texts = [
        f"the ids that {'exchange' if ids.of_exchange else 'queue'} '{ids.owner_name}' in vhost "
        f"'{vhost.name}' remembered are lost: it takes each of them once more"
        for vhost in broker.vhosts.values()
        for ids in vhost.windows.values()
        if int(ids.id) not in declared
    ]
    with suppress(OSError):
        remember(store.files, [Lost("", 0, 0, text) for text in texts])
    return texts


def lost_ends(broker: Broker, store: Store) -> list[str]:
    """Say, and remember, of which streams the end that had been stable, or files before it, are gone."""
    texts = [
        f"stream '{queue.name}' lost the end of its files: up to {queue.missing} messages before offset "
        f"{queue.next_position}"
        for queue in broker.queues()
        if isinstance(queue, StreamQueue) and queue.missing
    ]
    texts += [
        f"stream '{queue.name}' lost what lay between two of its files: offsets {first} to {following - 1}"
        for queue in broker.queues()
        if isinstance(queue, StreamQueue)
        for first, following in queue.log.gaps
    ]
    with suppress(OSError):
        remember(store.files, [Lost("", 0, 0, text) for text in texts])
    return texts


def adopt_orphans(broker: Broker, store: Store, deleted: set[int], sentences: list[str]) -> set[int]:
    """Declare queues anew whose declaration is lost to damage, but not their messages; give their ids.

    Args:
        deleted: ids of queues that the journal says are deleted: files of theirs are left over.
        sentences: what to remember of the loss.
    """
    recovered = store.recovered
    with suppress(OSError):
        remember(store.files, [Lost("", 0, 0, text) for text in sentences])
    leftover = store.streams.unopened()
    for queue_id in leftover:
        recovered.highest.setdefault(queue_id, 0)
    streams = leftover - deleted if recovered.lossy else set()
    orphans = set(recovered.orphans) | streams
    if orphans:
        broker.ensure_vhost(DEFAULT_VHOST)
    for queue_id in sorted(orphans):
        name = f"{RECOVERED_PREFIX}{queue_id}"
        while name in broker.vhosts[DEFAULT_VHOST].queues:
            name += "+"
        backlog = recovered.orphans.get(queue_id)
        of_stream = queue_id in streams or (backlog is not None and bool(backlog.kept))
        kind = "stream" if of_stream else "classic"
        broker.commit(DeclareQueue(DEFAULT_VHOST, name, queue_id, kind, True, 0, False, {}), True)
        if backlog is not None:
            recovered.queues[queue_id] = backlog
        recovered.missing.append(
            f"queue number {queue_id} is there again as '{name}' in vhost '{DEFAULT_VHOST}'"
        )
    store.streams.forget_others(orphans)
    return orphans
