"""Groups in the crash test: competing consumers, and still order and one consumer per key.

Three workers of each queue answer in any order; two of them have filters, one goes away in between, and
messages are for several tenants that share fairly.  Of each key the deliveries of one broker's life follow
one another, for whoever has a key has it alone; so they can be held against what must come next.
"""

from __future__ import annotations

import random
import time
from typing import Any, Final

from pamqp import commands

from harebell.content.table import Table
from tests.crash.workers import (
    ACKED,
    CAME_BACK,
    NACKED,
    REJECTED,
    Delivery,
    Trickle,
    Worker,
    declare,
    declare_marks,
    frames_of,
    join_all,
    leave,
)
from tests.server.wire import Wire

PUBLISHER: Final = 51
A_ROUND: Final = 240
"""Messages published in a round."""

KEYS: Final = 7
TENANTS: Final = 3
KINDS: Final = ("image", "video", "sound")
GROUP: Final[dict[str, Any]] = {"x-group-header": "customer"}
QUEUES: Final[dict[str, dict[str, Any]]] = {
    "groups.fair": {**GROUP, "x-fair-header": "tenant"},
    "groups.quorum": {**GROUP, "x-queue-type": "quorum"},
    "groups.retries": {
        **GROUP,
        "x-fair-header": "tenant",
        "x-delayed-retry-type": "all",
        "x-delayed-retry-min": 2500,
        "x-delayed-retry-backoff": "constant",
    },
}
NAMES: Final = list(QUEUES)
ANSWERS: Final = {ACKED: 16, NACKED: 2, REJECTED: 2}
TAKES_ALL: Final = {ACKED: 1}
CONSUMERS: Final[tuple[tuple[int, dict[str, Any]], ...]] = (
    (1, {}),
    (4, {"x-filter": {"kind": "image"}}),
    (10, {"x-filter": "kind = 'video' OR tenant LIKE 'b%'"}),
)
"""Prefetch and arguments of each."""

DRAIN_SECONDS: Final = 30.0


class GroupsBroken(AssertionError):
    """A key had two consumers, its order is not kept, or a message is lost."""


def queue_of(number: int) -> str:
    """Give the queue a message is published to."""
    return NAMES[number % len(NAMES)]


def key_of(number: int) -> int:
    """Give the key of a message, one more than there are for none."""
    return number // len(NAMES) * 13 % (KEYS + 1)


def headers_of(number: int) -> Table:
    """Give the headers of a message."""
    key = key_of(number)
    found: Table = {"tenant": "abc"[key % TENANTS], "kind": KINDS[number * 7 // 5 % len(KINDS)]}
    if key < KEYS:
        found["customer"] = key if key % 2 else f"customer-{key}"
    return found


def wants(worker: Worker, number: int) -> bool:
    """Tell whether a worker's filter lets a message through."""
    headers = headers_of(number)
    image = headers["kind"] == "image"
    return (True, image, headers["kind"] == "video" or headers["tenant"] == "b")[int(worker.name[-1])]


def frames(number: int) -> bytes:
    """Give the frames of a publish."""
    return frames_of(PUBLISHER, number, "", queue_of(number), headers_of(number))


class Key:
    """What is known of the messages of one key in one queue.

    Attributes:
        alive: by number, those that must be there until they are acknowledged.
        holder: who has some.
        held: which.
        first: the highest number that came in this life of the broker for the first time.
        acked: numbers acknowledged in this life.
        returned: by number, the delivery that was given back last and did not come again.
        came: numbers that came in this life.
        history: what came in this life, in order.
    """

    def __init__(self) -> None:
        self.alive: set[int] = set()
        self.begin()

    def begin(self) -> None:
        """Another broker runs: nobody has anything."""
        self.holder: Worker | None = None
        self.held: set[int] = set()
        self.first = 0
        self.acked: set[int] = set()
        self.returned: dict[int, Delivery] = {}
        self.came: set[int] = set()
        self.history: list[Delivery] = []


class GroupsLedger:
    """What workers got over all rounds.

    Attributes:
        deliveries: of messages with a key.
        repeats: those that had come back.
        handovers: how often a key went to another worker.
    """

    def __init__(self, seed: int) -> None:
        self.deliveries = self.repeats = self.handovers = 0
        self._chance = random.Random(seed)
        self._keys = {(queue, key): Key() for queue in QUEUES for key in range(KEYS + 1)}
        self._seen: set[int] = set()
        self._gone: set[int] = set()
        self._maybe_gone: set[int] = set()
        self._owed: set[int] = set()
        self._sent = 0
        self._trickle: Trickle | None = None
        self._workers: list[Worker] = []

    def declare(self, wire: Wire) -> None:
        """Declare the queues."""
        for name, arguments in QUEUES.items():
            declare(wire, name, arguments)

    def start(self, port: int) -> None:
        """Let the clients work; once in a while nobody takes what has no filter of its own."""
        self._trickle = Trickle(port, self._sent + 1, frames, A_ROUND)
        without = self._chance.choice((0, 0, 0, 1))
        self._workers = [
            self._worker(port, queue, number, ANSWERS)
            for queue in QUEUES
            for number in range(without, len(CONSUMERS))
        ]
        for client in (self._trickle, *self._workers):
            client.start()

    def _worker(self, port: int, queue: str, number: int, answers: dict[str, int]) -> Worker:
        prefetch, arguments = CONSUMERS[number]
        return Worker(port, f"{queue}-{number}", queue, PUBLISHER, prefetch, self._chance, answers, arguments)

    def disturb(self, port: int) -> None:
        """Have some worker go in the middle of its work, and another come."""
        old = self._chance.choice([worker for worker in self._workers if not worker.leaving])
        old.leaving = True
        try:
            new = self._worker(port, old.queue, int(old.name[-1]), ANSWERS)
        except (OSError, EOFError):
            return
        self._workers.append(new)
        new.start()

    def finish(self) -> None:
        """The broker was killed: write down what it promised.

        Raises:
            GroupsBroken: a promise was not kept.
        """
        trickle = self._trickle
        assert trickle is not None
        join_all((trickle, *self._workers), GroupsBroken)
        self._sent = trickle.sent
        self._judge(trickle)
        self._owed |= set(range(trickle.first, trickle.confirmed + 1)) - self._gone
        for number in range(trickle.first, trickle.confirmed + 1):
            if number not in self._maybe_gone:
                self._keys[queue_of(number), key_of(number)].alive.add(number)
        # What was delivered and not confirmed yet may be gone with the kill, and nothing waits for it then.
        for number in range(trickle.confirmed + 1, trickle.sent + 1):
            self._keys[queue_of(number), key_of(number)].alive.discard(number)
        for key in self._keys.values():
            key.begin()

    def _judge(self, trickle: Trickle | None) -> None:
        """Go through what happened, in order of time."""
        events: list[tuple[int, bool, Delivery]] = []
        for worker in self._workers:
            for each in worker.deliveries:
                events.append((each.begins, True, each))
                if each.ends:
                    events.append((each.ends, False, each))
        events.sort(key=lambda event: event[0])
        published = [] if trickle is None else list(range(trickle.first, trickle.sent + 1))
        for _, came, delivery in events:
            key = self._keys[queue_of(delivery.number), key_of(delivery.number)]
            if came:
                self._came(key, delivery, published)
            else:
                self._answered(key, delivery)
        self._workers = []

    def _came(self, key: Key, now: Delivery, published: list[int]) -> None:
        number, worker = now.number, now.worker
        where = f"{worker.queue}, key {key_of(number)}: {now}"
        if number > self._sent or queue_of(number) != worker.queue:
            raise GroupsBroken(f"{where} was never sent there")
        if number in self._gone or number in key.acked:
            raise GroupsBroken(f"{where} was acknowledged, and came again")
        if number in key.held or (number in key.came and number not in key.returned):
            raise GroupsBroken(f"{where} came twice, and was not given back")
        if number in self._seen and not now.redelivered:
            raise GroupsBroken(f"{where} was delivered before and is not flagged")
        if not wants(worker, number):
            raise GroupsBroken(f"{where} is not what its consumer asked for")
        if key_of(number) < KEYS:
            self._check_order(key, now, published, where)
        self._seen.add(number)
        key.came.add(number)
        key.history.append(now)
        key.returned.pop(number, None)
        key.held.add(number)
        key.alive.add(number)
        self.handovers += key.holder is not None and key.holder is not worker
        key.holder = worker
        self.deliveries += 1
        self.repeats += now.redelivered

    def _check_order(self, key: Key, now: Delivery, published: list[int], where: str) -> None:
        number, worker = now.number, now.worker
        if key.held and key.holder is not worker:
            assert key.holder is not None
            raise GroupsBroken(f"{where} while {key.holder.name} has {sorted(key.held)} of it")
        if number not in key.came:
            if number < key.first:
                raise GroupsBroken(f"{where} came after {key.first}")
            key.first = number
        queue, of = worker.queue, key_of(number)
        new = {each for each in published if each < number and queue_of(each) == queue and key_of(each) == of}
        before = {each for each in key.alive | new if each < number} - key.held - key.acked
        for each in before:
            back = key.returned.get(each)
            # What was on its way when the answer was sent could not know of it.
            if back is not None and back.worker is worker and self._on_its_way(back, now):
                continue
            raise GroupsBroken(
                f"{where} came before {each}, which is not answered; it came back by {back}; "
                f"before that came {key.history[-6:]}"
            )

    def _on_its_way(self, back: Delivery, now: Delivery) -> bool:
        """Tell whether the broker may have sent a delivery before it read that another one came back."""
        since = [
            each for each in now.worker.deliveries if each.begins > back.ends and each.index <= now.index
        ]
        return len(since) <= back.credit

    def _answered(self, key: Key, each: Delivery) -> None:
        key.held.discard(each.number)
        if each.answer == ACKED:
            key.acked.add(each.number)
            key.alive.discard(each.number)
            self._maybe_gone.add(each.number)
            if each.firm:
                self._gone.add(each.number)
        elif each.answer in CAME_BACK:
            key.returned[each.number] = each

    def check(self, port: int, everything: bool) -> None:
        """Take all that is left out of the queues now and then.

        Raises:
            GroupsBroken: a promise was not kept.
        """
        if not everything:
            return
        workers = self._workers = [
            self._worker(port, queue, number, TAKES_ALL) for queue in QUEUES for number in (0, 1)
        ]
        for worker in workers:
            worker.start()
        must = self._owed - self._maybe_gone
        until = time.time() + DRAIN_SECONDS
        while True:
            seen = {delivery.number for worker in workers for delivery in worker.deliveries}
            if must <= seen and all(worker.idle() for worker in workers) and self._empty(port):
                break
            if time.time() > until or not all(worker.is_alive() for worker in workers):
                lost = sorted(must - seen)
                broken = [worker.broken for worker in workers]
                raise GroupsBroken(f"{len(lost)} messages are lost or stuck, such as {lost[:5]}; {broken}")
            time.sleep(0.02)
        leave(workers)
        self._judge(None)
        self._owed.clear()
        for key in self._keys.values():
            key.alive.clear()

    def _empty(self, port: int) -> bool:
        with Wire(port, timeout=30.0).open(channels=1) as wire:
            found = [
                wire.call(commands.Queue.Declare(queue=name, passive=True), 1, commands.Queue.DeclareOk)
                for name in QUEUES
            ]
            declare_marks(wire)
            wire.close_politely()
        return not any(each.message_count for each in found)
