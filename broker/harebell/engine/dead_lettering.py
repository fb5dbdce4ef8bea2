"""Moving dead letters: what a queue gives up is settled there and enqueued elsewhere in one step.

The step is one record of the journal (a GROUP), so that a crash leaves the message in the one place or in
the other, never in both or neither: at least once, whatever the queue type.  A dead letter that pushes
another one out of a full queue belongs to the same step; such chains are worked off in a list.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from harebell.content.message import Message
from harebell.content.properties import Properties, parse_properties
from harebell.engine.dead_letter import INVALID, DeadLetter, dead_letter
from harebell.engine.delay import WaitingCopy
from harebell.engine.queues.queue import DeadLetterSink, Queue
from harebell.engine.routing import Routing, enqueue_again, traverse, with_histories
from harebell.errors import MalformedContent
from harebell.ports import Clock, Journal

if TYPE_CHECKING:
    from harebell.engine.vhost import Vhost


REMEMBERED: Final = 1024
"""Queues whose latest dead letter is remembered."""


class _Death:
    """A message a queue gave up, not moved yet.

    Attributes:
        at_once: True if no exchange is to delay it.
    """

    def __init__(self, queue: Queue, message: Message, position: i64, reason: str, at_once: bool) -> None:
        self.at_once: bool = at_once
        self.queue = queue
        self.message = message
        self.position: i64 = position
        self.reason = reason


class _Move:
    """What became of the latest message of a queue: the next one is often its like.

    Attributes:
        address, header: of the message.
        reason, second, options, generation: what else it depends on.
        letter: made from it.
        targets: the queues that take it.
    """

    def __init__(
        self, death: _Death, second: i64, generation: i64, letter: DeadLetter, targets: list[Queue]
    ) -> None:
        self.address = death.message.address
        self.header = death.message.header
        self.reason = death.reason
        self.second: i64 = second
        self.options = death.queue.options
        self.generation: i64 = generation
        self.letter = letter.message
        self.targets = targets

    def fits(self, death: _Death, second: i64, generation: i64) -> bool:
        """Tell whether the same becomes of another message of the queue, but for its body."""
        message = death.message
        return (
            not death.at_once
            and self.second == second
            and self.generation == generation
            and self.options is death.queue.options
            and self.reason == death.reason
            and self.address == message.address
            and self.header == message.header
        )


class DeadLettering(DeadLetterSink):
    """The dead letters of one virtual host.

    Args:
        vhost: where dead-letter exchanges are looked up, at the moment of each death.
        journal: told of each move.
        clock: says when it was.

    Attributes:
        moved: dead letters that some queue took.
        dropped: those that no queue took: no exchange, no binding, or a cycle.
    """

    def __init__(self, vhost: Vhost, journal: Journal, clock: Clock) -> None:
        self.moved: i64 = 0
        self.dropped: i64 = 0
        self._vhost = vhost
        self._journal = journal
        self._clock = clock
        self._deaths: deque[_Death] = deque()
        self._latest: dict[int, _Move] = {}
        self._moving: bool = False
        self._holds: i64 = 0

    def dead(self, queue: Queue, message: Message, position: i64, reason: str) -> None:
        """Settle a message that a queue gave up, and move it to the dead-letter exchange if there is one.

        Args:
            position: where it was; 0 if the queue never took it.
            reason: as in ``dead_letter.py``.
        """
        if queue.options.dead_letter_exchange is None:
            if position > 0:
                queue.settle_dead(message, position)
            return
        self._deaths.append(_Death(queue, message, position, reason, False))
        if not self._moving and self._holds == 0:
            self._move_all()

    def dead_at_once(self, queue: Queue, message: Message, reason: str) -> None:
        """Dead-letter a message that a queue did not take after a delay; no exchange delays it again."""
        self._deaths.append(_Death(queue, message, 0, reason, True))
        if not self._moving and self._holds == 0:
            self._move_all()

    def divert(self, message: Message, exchange: str, routing_key: str | None) -> i64:
        """Dead-letter a message that was put into no queue (see ``DeadLetterSink.divert``).

        Its history names no queue: an empty name.
        """
        now: i64 = self._clock.wall
        letter = dead_letter(message, "", INVALID, now // 1000, exchange, routing_key)
        letter.message.arrived = now
        routing = self._route(exchange, letter, now)
        targets = with_histories(list(routing.queues))
        if not targets and not routing.waits:
            self.dropped += 1
            return 0
        self.moved += 1
        self._moving = True
        self._journal.begin_transaction()
        lsn: i64 = 0
        try:
            self._enqueue(letter.message, targets, self._copies(letter, routing))
            while self._deaths:
                self._move(self._deaths.popleft())
        finally:
            self._moving = False
            lsn = self._journal.end_transaction()
        return lsn

    def hold(self) -> None:
        """Move nothing until ``release``: queues are about to take messages at positions promised."""
        self._holds += 1

    def release(self) -> None:
        """Move what was given up since ``hold``."""
        self._holds -= 1
        if self._holds == 0 and self._deaths and not self._moving:
            self._move_all()

    def _move_all(self) -> None:
        self._moving = True
        self._journal.begin_transaction()
        try:
            while self._deaths:
                self._move(self._deaths.popleft())
        finally:
            self._moving = False
            self._journal.end_transaction()

    def _move(self, death: _Death) -> None:
        queue = death.queue
        name = queue.options.dead_letter_exchange
        if name is not None:
            now: i64 = self._clock.wall
            copies: tuple[WaitingCopy, ...] = ()
            latest = self._latest.get(queue.id)
            if latest is not None and latest.fits(death, now // 1000, self._vhost.generation):
                like = latest.letter
                message = Message(like.address, like.header, death.message.body, like.persistent)
                targets = latest.targets
            else:
                letter = self._letter(death, name, now // 1000)
                message = letter.message
                routing = self._route(name, letter, -1 if death.at_once else now)
                targets = self._targets(death, now // 1000, letter, routing)
                copies = self._copies(letter, routing)
            message.arrived = now
            if targets or copies:
                self.moved += 1
                self._enqueue(message, targets, copies)
            else:
                self.dropped += 1
        if death.position > 0:
            queue.settle_dead(death.message, death.position)

    def _letter(self, death: _Death, name: str, second: i64) -> DeadLetter:
        queue = death.queue
        key = queue.options.dead_letter_routing_key
        return dead_letter(death.message, queue.name, death.reason, second, name, key)

    def _targets(self, death: _Death, second: i64, letter: DeadLetter, routing: Routing) -> list[Queue]:
        """Find the queues that take a letter, and remember it if its like would go to the same ones."""
        targets = with_histories([target for target in routing.queues if not letter.would_cycle(target.name)])
        if not routing.dynamic and not death.at_once:
            if len(self._latest) >= REMEMBERED:
                self._latest.clear()
            self._latest[death.queue.id] = _Move(death, second, self._vhost.generation, letter, targets)
        return targets

    def _copies(self, letter: DeadLetter, routing: Routing) -> tuple[WaitingCopy, ...]:
        """Make what waits at exchanges that delay a letter."""
        delays = self._vhost.delays
        if not routing.waits or delays is None:
            return ()
        return delays.copies(letter.message, letter.keys, routing.waits)

    def _enqueue(self, message: Message, targets: list[Queue], copies: tuple[WaitingCopy, ...]) -> None:
        """Put a letter into its queues; none refuses it, for it would be lost.

        A length limit with ``reject-publish`` is for publishers; a dead letter may exceed it, as a message
        that comes back may.
        """
        for copy in copies:
            enqueue_again(copy.message, [copy.queue], self._journal)
        if targets:
            enqueue_again(message, targets, self._journal)

    def _route(self, name: str, letter: DeadLetter, now: i64) -> Routing:
        """Find where a letter goes.

        Args:
            now: unix milliseconds; negative if no exchange is to delay it.
        """
        vhost = self._vhost
        routing = Routing(now)
        if name == "":
            for key in letter.keys:
                queue = vhost.queues.get(key)
                if queue is not None:
                    routing.queues[queue] = None
            return routing
        exchange = vhost.exchanges.get(name)
        if exchange is None:
            return routing
        try:
            properties = parse_properties(letter.message.header)
        except MalformedContent:
            properties = Properties(letter.message.header)
        traverse(exchange, letter.keys, properties, vhost.exchanges.get, routing)
        for remembering in routing.remembering:
            remembering.remember(letter.message, properties)
        return routing
