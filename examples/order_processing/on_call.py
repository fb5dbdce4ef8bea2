"""On call: hears of dead letters, and sends them back once their cause is gone."""

from __future__ import annotations

from aio_pika import Message
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from examples.order_processing.service import Tell
from examples.order_processing.topology import DEAD, DEAD_LETTERS

NAME = "on call"
FIRST_DEATH = "x-first-death-"


class OnCall:
    """Watches for dead letters without taking them away, and redrives them when told.

    Attributes:
        alarms: message ids of those it heard of.
        redriven: message ids of those it sent back.
    """

    def __init__(self, channel: AbstractChannel, tell: Tell) -> None:
        self.alarms: list[str] = []
        self.redriven: list[str] = []
        self._channel = channel
        self._tell = tell

    async def watch(self) -> None:
        """Hear of dead letters from now on."""
        # A queue of its own, gone with its connection: the letters stay where they are kept.
        alarms = await self._channel.declare_queue(exclusive=True)
        await alarms.bind(DEAD)
        await alarms.consume(self._alarm, no_ack=True)

    async def _alarm(self, letter: AbstractIncomingMessage) -> None:
        self.alarms.append(letter.message_id or "")
        queue, reason = (str(letter.headers[FIRST_DEATH + what]) for what in ("queue", "reason"))
        self._tell(NAME, f"alarm: {letter.message_id} is a dead letter of {queue} ({reason})")

    async def redrive(self, most: int) -> None:
        """Send dead letters back to the queues they died in.

        They go to the queue and not to the exchange: whoever else got the event does not get it twice.

        Args:
            most: how many; one that dies again at once does not keep this busy for ever.
        """
        letters = await self._channel.get_queue(DEAD_LETTERS)
        for _ in range(most):
            letter = await letters.get(fail=False)
            if letter is None:
                return
            queue = str(letter.headers[FIRST_DEATH + "queue"])
            # Confirmed first, acknowledged then: a crash between the two makes a duplicate and loses nothing.
            await self._channel.default_exchange.publish(_renewed(letter), queue)
            await letter.ack()
            self.redriven.append(letter.message_id or "")
            self._tell(NAME, f"sent {letter.message_id} back to {queue}")


def _renewed(letter: AbstractIncomingMessage) -> Message:
    """Copy a message without the history of its death; its id stays."""
    history = (
        "x-death",
        "x-delivery-count",
        FIRST_DEATH + "queue",
        FIRST_DEATH + "reason",
        FIRST_DEATH + "exchange",
    )
    return Message(
        letter.body,
        headers={name: value for name, value in letter.headers.items() if name not in history},
        content_type=letter.content_type,
        delivery_mode=letter.delivery_mode,
        message_id=letter.message_id,
        type=letter.type,
    )
