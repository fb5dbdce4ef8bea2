"""Windows of ids that come and go in the crash test: what a queue remembered goes with it, and only then."""

from __future__ import annotations

from typing import Final

from pamqp import commands

from tests.crash.clients import ACK, Client
from tests.crash.workers import declare, frames_of
from tests.server.wire import Wire

PUBLISHER: Final = 53
QUEUE: Final = "windows"
ARGUMENTS: Final = {"x-deduplication-window": 100, "x-deduplication-header": "order"}
TIMES: Final = 3


class WindowsBroken(AssertionError):
    """A queue remembers too much, or too little."""


class Renewer(Client):
    """Publishes one id again and again, and makes its queue anew in between.

    Attributes:
        least, most: messages that must, and may, be in the queue.
        renewed: how often the queue was made.
    """

    def __init__(self, port: int, least: int, most: int) -> None:
        super().__init__(port)
        self.least, self.most = least, most
        self.renewed = 0
        self.wire.call(commands.Confirm.Select(), 1, commands.Confirm.SelectOk)

    def work(self) -> None:
        while True:
            for _ in range(TIMES):
                self.most = 1
                # Each time another body, to be told from the one before: all have the same id.
                self.wire.send(frames_of(PUBLISHER, self.renewed + 1, "", QUEUE, {"order": "the same"}))
                found = self.read_frame().payload
                assert found[:4] == ACK.to_bytes(4, "big"), f"expected a confirm, got {found[:40]!r}"
                self.least = 1
            self.least = 0
            answer = self.wire.call(commands.Queue.Delete(queue=QUEUE), 1, commands.Queue.DeleteOk)
            assert answer.message_count == 1, f"{answer.message_count} messages of one id, {TIMES} times"
            declare(self.wire, QUEUE, dict(ARGUMENTS))
            self.most = 0
            self.renewed += 1


class WindowsLedger:
    """What must be in the queue.

    Attributes:
        renewed: how often it was made anew.
    """

    def __init__(self) -> None:
        self.renewed = 0
        self._least = self._most = 0
        self._client: Renewer | None = None

    def declare(self, wire: Wire) -> None:
        """Declare the queue."""
        declare(wire, QUEUE, dict(ARGUMENTS))

    def start(self, port: int) -> None:
        """Let the client work."""
        self._client = Renewer(port, self._least, self._most)
        self._client.start()

    def finish(self) -> None:
        """The broker was killed: write down what it promised.

        Raises:
            WindowsBroken: a promise was not kept.
        """
        client = self._client
        assert client is not None
        client.join(20)
        if client.broken:
            raise WindowsBroken(f"{client.broken}")
        self._least, self._most = client.least, client.most
        self.renewed += client.renewed

    def check(self, port: int) -> None:
        """Count what is in the queue, and try what it remembers.

        Raises:
            WindowsBroken: a promise was not kept.
        """
        with Wire(port, timeout=30.0).open(channels=1) as wire:
            declare(wire, QUEUE, dict(ARGUMENTS))  # the kill may have been between the two
            found = self._count(wire)
            if not self._least <= found <= self._most:
                raise WindowsBroken(
                    f"{found} messages are there, which must be {self._least} to {self._most}"
                )
            wire.call(commands.Confirm.Select(), 1, commands.Confirm.SelectOk)
            wire.send(frames_of(PUBLISHER, 0, "", QUEUE, {"order": "the same"}))
            wire.expect(commands.Basic.Ack)
            after = self._count(wire)
            if after != 1:
                raise WindowsBroken(f"{found} messages are there, and {after} once its id came again")
            self._least = self._most = 1
            wire.close_politely()

    def _count(self, wire: Wire) -> int:
        question = commands.Queue.Declare(queue=QUEUE, passive=True)
        return int(wire.call(question, 1, commands.Queue.DeclareOk).message_count or 0)
