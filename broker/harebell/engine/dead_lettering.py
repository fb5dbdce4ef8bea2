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
from harebell.engine.delays import delay_of
from harebell.engine.queues.queue import DeadLetterSink, Queue
from harebell.engine.routing import Routing, enqueue_again, traverse, with_histories
from harebell.errors import MalformedContent
from harebell.ports import Clock, Journal

if TYPE_CHECKING:
    from harebell.engine.vhost import Vhost


REMEMBERED: Final = 1024
"""Queues whose latest dead letter is remembered."""


class _Death:
    """A message a queue gave up, not moved yet."""

    def __init__(self, queue: Queue, message: Message, position: i64, reason: str) -> None:
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
            self.second == second
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
        self._deaths.append(_Death(queue, message, position, reason))
        if not self._moving and self._holds == 0:
            self._move_all()

    def divert(self, message: Message, exchange: str, routing_key: str | None) -> i64:
        """Dead-letter a message that was put into no queue (see ``DeadLetterSink.divert``).

        Its history names no queue: an empty name.
        """
        now: i64 = self._clock.wall
        letter = dead_letter(message, "", INVALID, now // 1000, exchange, routing_key)
        letter.message.arrived = now
        targets = with_histories(list(self._route(exchange, letter).queues))
        if not targets:
            self.dropped += 1
            return 0
        self.moved += 1
        self._moving = True
        self._journal.begin_transaction()
        lsn: i64 = 0
        try:
            self._enqueue(letter.message, targets)
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
        if name is not None and not self._delayed(death, name):
            now: i64 = self._clock.wall
            latest = self._latest.get(queue.id)
            if latest is not None and latest.fits(death, now // 1000, self._vhost.generation):
                like = latest.letter
                message = Message(like.address, like.header, death.message.body, like.persistent)
                targets = latest.targets
            else:
                letter = self._letter(death, name, now // 1000)
                message = letter.message
                targets = self._targets(death, name, now // 1000, letter)
            message.arrived = now
            if targets:
                self.moved += 1
                self._enqueue(message, targets)
            else:
                self.dropped += 1
        if death.position > 0:
            queue.settle_dead(death.message, death.position)

    def _delayed(self, death: _Death, name: str) -> bool:
        """Have a letter wait if the dead-letter exchange delays it; False if it does not."""
        exchange = self._vhost.exchanges.get(name)
        delays = self._vhost.delays
        options = None if exchange is None else exchange.options
        if options is None or not options.delayed or delays is None:
            return False
        now: i64 = self._clock.wall
        letter = self._letter(death, name, now // 1000).message
        try:
            delay = delay_of(parse_properties(letter.header), letter.header, options, now)
        except MalformedContent:
            return False
        if delay is None:
            return False
        message = Message(letter.address, delay.header, letter.body, letter.persistent)
        message.arrived = delay.until
        self.moved += 1
        self._enqueue(message, [delays.queue_of(name)])
        return True

    def _letter(self, death: _Death, name: str, second: i64) -> DeadLetter:
        queue = death.queue
        key = queue.options.dead_letter_routing_key
        return dead_letter(death.message, queue.name, death.reason, second, name, key)

    def _targets(self, death: _Death, name: str, second: i64, letter: DeadLetter) -> list[Queue]:
        """Find the queues that take a letter, and remember it if its like would go to the same ones."""
        routing = self._route(name, letter)
        targets = with_histories([target for target in routing.queues if not letter.would_cycle(target.name)])
        if not routing.dynamic:
            if len(self._latest) >= REMEMBERED:
                self._latest.clear()
            self._latest[death.queue.id] = _Move(death, second, self._vhost.generation, letter, targets)
        return targets

    def _enqueue(self, message: Message, targets: list[Queue]) -> None:
        """Put a letter into its queues; none refuses it, for it would be lost.

        A length limit with ``reject-publish`` is for publishers; a dead letter may exceed it, as a message
        that comes back may.
        """
        enqueue_again(message, targets, self._journal)

    def _route(self, name: str, letter: DeadLetter) -> Routing:
        vhost = self._vhost
        routing = Routing()
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
