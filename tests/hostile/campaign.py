"""A run of hostile inputs against a broker, while a connection that was there before goes on working."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from pamqp import commands

from tests.hostile.inputs import QUEUE, Input, Source
from tests.server.process import BrokerProcess
from tests.server.wire import METHOD, RawFrame, Wire, decode, describe, publish

MIB: Final = 1024 * 1024
ANSWER_SECONDS: Final = 10.0
WARM_UP: Final = 200
"""Inputs after which growth of memory is measured: the first ones fill caches."""

FRESH_QUEUE: Final = 50
"""Inputs after which the queue they work with is new: one declared otherwise would refuse all that follow."""

CLOSE_CODES: Final = frozenset((200, 320, 403, 404, 405, 406, 501, 502, 503, 504, 505, 530, 540))
"""What a close may say; 541 is a defect of ours."""

CLOSES: Final = (b"\x00\x0a\x00\x32", b"\x00\x14\x00\x28")
"""What the payloads of connection.close and channel.close begin with."""


class StandingConnection(threading.Thread):
    """A client that publishes, gets and checks, and must notice nothing of what others do.

    Attributes:
        slowest: seconds of the slowest answer.
        rounds: how often it has done its work.
        failure: what went wrong, if anything.
    """

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.slowest = 0.0
        self.rounds = 0
        self.failure: BaseException | None = None
        self._client = Wire(port).open(channels=1)
        self._client.declare("standing", exclusive=True)
        self._over = threading.Event()

    def run(self) -> None:
        """Work until told to stop."""
        try:
            while not self._over.is_set():
                self._round()
        except BaseException as error:
            self.failure = error

    def _round(self) -> None:
        self.rounds += 1
        body = b"message %d" % self.rounds
        started = time.perf_counter()
        self._client.send(publish("standing", body))
        self._client.method(commands.Basic.Get(queue="standing", no_ack=True), 1)
        found = self._client.read_message(commands.Basic.GetOk)[1]
        self.slowest = max(self.slowest, time.perf_counter() - started)
        assert found == body, f"sent {body!r}, got {found!r}"
        self._over.wait(0.005)

    def stop(self) -> None:
        """Stop, and raise what went wrong."""
        self._over.set()
        self.join(ANSWER_SECONDS + 1)
        self._client.close()
        if self.failure is not None:
            raise self.failure


@dataclass
class Outcome:
    """What a campaign saw.

    Attributes:
        inputs: how many were sent.
        closes: how the broker closed connections and channels, by code; 0 are connections that ended
            without a word.
        grown: bytes of resident memory gained.
        slowest: seconds of the standing connection's slowest answer.
    """

    inputs: int = 0
    closes: Counter[int] = field(default_factory=Counter)
    grown: int = 0
    slowest: float = 0.0

    def __str__(self) -> str:
        closes = ", ".join(f"{code or 'dropped'}: {count}" for code, count in sorted(self.closes.items()))
        grown = f"memory grew by {self.grown / MIB:.1f} MiB"
        return (
            f"{self.inputs} inputs; {closes}; {grown}; slowest answer to others {self.slowest * 1000:.0f} ms"
        )


def run_campaign(broker: BrokerProcess, seed: int, inputs: int, first: int = 0) -> Outcome:
    """Send inputs and check after each that the broker ends the conversation rightly.

    Args:
        broker: the broker.
        seed: of the inputs.
        inputs: how many.
        first: the number of the first; those before are made and not sent.

    Raises AssertionError naming the seed, the number and the octets of the input at fault.
    """
    source, outcome = Source(seed), Outcome()
    standing = StandingConnection(broker.port)
    standing.start()
    for _ in range(first):
        source.input()
    before = 0
    for number in range(first, first + inputs):
        if number == first + WARM_UP:
            before = broker.resident_bytes()
        if number % FRESH_QUEUE == 0:
            _delete_queue(broker.port)
        _send(broker.port, source.input(), f"seed {seed}, input {number}", outcome)
        assert standing.failure is None, (
            f"seed {seed}, input {number}: the standing connection: {standing.failure!r}"
        )
    standing.stop()
    outcome.grown = broker.resident_bytes() - before if before else 0
    outcome.slowest = standing.slowest
    broker.assert_unharmed()
    return outcome


def _delete_queue(port: int) -> None:
    with Wire(port).open(channels=1) as client:
        client.call(commands.Queue.Delete(queue=QUEUE), 1, commands.Queue.DeleteOk)


def _send(port: int, given: Input, where: str, outcome: Outcome) -> None:
    outcome.inputs += 1
    what = f"{where} ({given.kind} when {given.stage}): {b''.join(given.pieces)!r}"
    with Wire(port, timeout=ANSWER_SECONDS) as client:
        try:
            for piece in given.pieces:
                client.send(piece)
            client.end()
            answer = client.read_everything()
        except ConnectionError:
            answer = b""
        except TimeoutError:
            raise AssertionError(f"the broker did not end the connection; {what}") from None
    _count(_frames(answer, what), what, outcome)


def _frames(answer: bytes, what: str) -> list[RawFrame]:
    """Take the broker's answer apart; the last frame may be cut short by the end of the connection."""
    frames = []
    at = 8 if answer.startswith(b"AMQP") else 0
    while len(answer) - at >= 8:
        end = at + 7 + int.from_bytes(answer[at + 3 : at + 7], "big")
        if end >= len(answer):
            break
        assert answer[end] == 0xCE and answer[at] in (1, 2, 3, 8), (
            f"a malformed answer: {answer[at:end]!r}; {what}"
        )
        frames.append(
            RawFrame(answer[at], int.from_bytes(answer[at + 1 : at + 3], "big"), answer[at + 7 : end])
        )
        at = end + 1
    return frames


def _count(frames: list[RawFrame], what: str, outcome: Outcome) -> None:
    dropped = True
    for found in frames:
        if found.kind == METHOD and found.payload[:4] in CLOSES:
            close = decode(found)
            assert close.reply_code in CLOSE_CODES, f"{describe(close)}; {what}"
            outcome.closes[close.reply_code] += 1
            dropped = dropped and found.channel != 0
    outcome.closes[0] += dropped
