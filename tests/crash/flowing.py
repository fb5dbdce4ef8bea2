"""Pauses, rates, bounds and leases in the crash test.

What is paused stays paused over kills, and nothing comes out of it; a rate and a bound of unanswered
deliveries hold in every life of the broker; and nothing that was held back by any of them is lost.
"""

from __future__ import annotations

import base64
import http.client
import random
import threading
import time
from typing import Any, Final

from pamqp import commands

from harebell.content.table import Table
from tests.crash.clients import Client
from tests.crash.workers import (
    ACKED,
    CAME_BACK,
    NACKED,
    Delivery,
    Trickle,
    Worker,
    declare,
    frames_of,
    join_all,
    leave,
)
from tests.server.wire import Wire, decode, raw_frame

PUBLISHER: Final = 52
A_ROUND: Final = 180
PAUSED, RATED, LEASED = NAMES = ("flow.paused", "flow.rated", "flow.leased")
RATE: Final = 60
BURST: Final = RATE // 5 + 1
BOUND: Final = 4
LEASE_MS: Final = 400
CLOCKS: Final = 0.05
"""Seconds by which the broker's clock, read once in a turn, may be behind."""

QUEUES: Final[dict[str, dict[str, Any]]] = {
    PAUSED: {"x-queue-type": "quorum"},
    RATED: {"x-delivery-rate": RATE, "x-max-unacked": BOUND},
    LEASED: {},
}
ANSWERS: Final = {ACKED: 9, NACKED: 1}
TAKES_ALL: Final = {ACKED: 1}
CLOSE_OK: Final = 0x00140029
CHANNEL_CLOSE: Final = b"\x00\x14\x00\x28"
DRAIN_SECONDS: Final = 40.0


class FlowBroken(AssertionError):
    """Something came although it was held back, or is lost."""


def queue_of(number: int) -> str:
    """Give the queue a message is published to."""
    return NAMES[(0, 1, 1, 0, 1, 2)[number % 6]]


def frames(number: int) -> bytes:
    """Give the frames of a publish."""
    headers: Table = {"n": number}
    if queue_of(number) == LEASED:
        headers["x-ack-timeout"] = LEASE_MS
    return frames_of(PUBLISHER, number, "", queue_of(number), headers)


class Switch(threading.Thread):
    """Pauses and resumes a queue over HTTP until the broker is gone.

    Args:
        port: of the management API.
        state: True if the queue is paused, None if that is not known.
        seed: decides when.

    Attributes:
        state: as it is at the end.
        changes: when a change was asked for, when it was answered, and what it was.
        broken: what went wrong.
    """

    def __init__(self, port: int, state: bool | None, seed: int) -> None:
        super().__init__(daemon=True)
        self.state = state
        self.changes: list[tuple[float, float, bool]] = []
        self.broken: list[str] = []
        self.ended = threading.Event()
        self._api = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        self._chance = random.Random(seed)

    def run(self) -> None:
        """Work."""
        try:
            while not self.ended.wait(self._chance.uniform(0.05, 0.25)):
                self.turn(self._chance.random() < 0.65)
        except (OSError, http.client.HTTPException):
            pass  # the broker is gone
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the connection."""
        self._api.close()

    def turn(self, pause: bool) -> None:
        """Pause the queue or resume it, and wait for the answer."""
        asked = time.time()
        known, self.state = self.state, None
        if known == pause:
            self.state = known  # asking again changes nothing, whether it comes through or not
        else:
            self.changes.append((asked, 0.0, pause))
        what = "pause" if pause else "resume"
        headers = {"Authorization": "Basic " + base64.b64encode(b"guest:guest").decode()}
        self._api.request("PUT", f"/api/x/queues/%2F/{PAUSED}/{what}", b"{}", headers)
        answer = self._api.getresponse()
        answer.read()
        if answer.status != 204:
            self.broken.append(f"{what}: {answer.status}")
        if known != pause:
            self.changes[-1] = (asked, time.time(), pause)
        self.state = pause


class Hog(Client):
    """Takes messages that say how long they may be held, and answers none.

    Attributes:
        timeouts: how often it lost its channel.
    """

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.timeouts = 0

    def work(self) -> None:
        while True:
            self.wire.call(commands.Basic.Qos(prefetch_count=3), 1, commands.Basic.QosOk)
            began = time.time()
            self.wire.call(commands.Basic.Consume(queue=LEASED), 1, commands.Basic.ConsumeOk)
            found = self.read_frame()
            while found.kind != 1 or found.payload[:4] != CHANNEL_CLOSE:
                found = self.read_frame()
            close = decode(found)
            assert close.reply_code == 406 and "timed out" in close.reply_text, f"got {close.reply_text}"
            held = time.time() - began
            assert held > LEASE_MS / 1000 - CLOCKS, f"the channel was closed after {held:.3f} s"
            self.timeouts += 1
            self.wire.send(raw_frame(1, 1, CLOSE_OK.to_bytes(4, "big")))
            self.wire.call(commands.Channel.Open(), 1, commands.Channel.OpenOk)


class FlowLedger:
    """What was held back, and what came, over all rounds.

    Attributes:
        deliveries: that came.
        paused: starts of a broker whose queue was paused.
        timeouts: leases that ran out.
        fastest: deliveries of a life of the broker compared with what the rate allows, the highest share.
    """

    def __init__(self, seed: int) -> None:
        self.deliveries = self.paused = self.timeouts = 0
        self.fastest = 0.0
        self._chance = random.Random(seed)
        self._state: bool | None = False
        self._gone: set[int] = set()
        self._maybe_gone: set[int] = set()
        self._seen: set[int] = set()
        self._last: dict[int, Delivery] = {}
        self._owed: set[int] = set()
        self._sent = 0
        self._began = 0.0
        self._rated: list[float] = []
        self._rated_since = 0.0
        self._trickle: Trickle | None = None
        self._workers: list[Worker] = []
        self._hog: Hog | None = None
        self._switch: Switch | None = None

    def declare(self, wire: Wire) -> None:
        """Declare the queues."""
        for name, arguments in QUEUES.items():
            declare(wire, name, arguments)

    def lives(self) -> None:
        """A broker is about to be started."""
        self._began = time.time()
        self._rated = []
        self._rated_since = 0.0
        self._last = {}
        self.paused += self._state is True

    def start(self, port: int, api: int) -> None:
        """Let the clients work."""
        self._trickle = Trickle(port, self._sent + 1, frames, A_ROUND)
        self._workers = self._consume(port, ANSWERS)
        self._hog = Hog(port)
        self._switch = Switch(api, self._state, self._chance.randrange(1 << 30))
        for client in (self._trickle, *self._workers, self._hog, self._switch):
            client.start()

    def _consume(self, port: int, answers: dict[str, int]) -> list[Worker]:
        workers = []
        for queue in NAMES:
            for number in range(2):
                prefetch = 2 * BOUND if queue == RATED else 3
                worker = Worker(port, f"{queue}-{number}", queue, PUBLISHER, prefetch, self._chance, answers)
                if queue == RATED:
                    worker.keeps = prefetch  # so that only the bound keeps it from having more
                workers.append(worker)
        return workers

    def finish(self) -> None:
        """The broker was killed: write down what it promised.

        Raises:
            FlowBroken: a promise was not kept.
        """
        trickle, hog, switch = self._trickle, self._hog, self._switch
        assert trickle is not None and hog is not None and switch is not None
        switch.ended.set()
        switch.join(20)
        join_all((trickle, *self._workers, hog), FlowBroken)
        if switch.broken:
            raise FlowBroken(f"{switch.broken}")
        self.timeouts += hog.timeouts
        self._sent = trickle.sent
        self._judge(switch)
        self._state = switch.state
        self._owed |= set(range(trickle.first, trickle.confirmed + 1)) - self._gone

    def _judge(self, switch: Switch | None) -> None:
        deliveries = [delivery for worker in self._workers for delivery in worker.deliveries]
        for delivery in sorted(deliveries, key=lambda each: each.begins):
            self._came(delivery)
        self._rated += sorted(each.came for each in deliveries if each.worker.queue == RATED)
        self._rated_since = self._rated_since or min(each.began for each in self._workers)
        if self._rated:
            allowed = RATE * (self._rated[-1] - self._rated_since + CLOCKS) + BURST
            if len(self._rated) > allowed:
                raise FlowBroken(f"{len(self._rated)} deliveries in a time that allows {allowed:.0f}")
            self.fastest = max(self.fastest, len(self._rated) / allowed)
        self._check_bound(deliveries)
        if switch is not None:
            self._check_pauses(switch)
        self._workers = []

    def _came(self, now: Delivery) -> None:
        number = now.number
        where = f"{now.worker.queue}: {now}"
        if number > self._sent or queue_of(number) != now.worker.queue:
            raise FlowBroken(f"{where} was never sent there")
        if number in self._gone:
            raise FlowBroken(f"{where} was acknowledged for good, and came again")
        if number in self._seen and not now.redelivered:
            raise FlowBroken(f"{where} was delivered before and is not flagged")
        last = self._last.get(number)
        if last is not None and (last.answer not in CAME_BACK or last.ends > now.begins):
            raise FlowBroken(f"{where} came twice; before: {last}")
        self._last[number] = now
        self._seen.add(number)
        self.deliveries += 1
        if now.answer == ACKED:
            self._maybe_gone.add(number)
            if now.firm:
                self._gone.add(number)

    def _check_bound(self, deliveries: list[Delivery]) -> None:
        """Who had a delivery had it at the broker, too."""
        events = []
        for each in deliveries:
            if each.worker.queue == RATED:
                events.append((each.begins, 1))
                if each.ends:
                    events.append((each.ends, -1))
        held = 0
        for _, change in sorted(events):
            held += change
            if held > BOUND:
                raise FlowBroken(f"{RATED}: {held} deliveries are unanswered, and {BOUND} may be")

    def _check_pauses(self, switch: Switch) -> None:
        """Look at what came between the answer to a pause and the next question."""
        spans: list[tuple[float, float, bool]] = []
        begin: float | None = self._began if self._state is True else None
        strict = True
        for asked, answered, pause in switch.changes:
            if begin is not None:
                spans.append((begin, asked, strict))
            begin = answered if pause and answered else None
            strict = False
        if begin is not None:
            spans.append((begin, time.time(), strict))
        for worker in self._workers:
            for first, beyond, strict in spans if worker.queue == PAUSED else ():
                came = [each for each in worker.deliveries if first < each.came < beyond]
                # What was sent before the pause may be on its way.
                if len(came) > (0 if strict else worker.prefetch):
                    raise FlowBroken(
                        f"{PAUSED}: {len(came)} messages came to {worker.name} although it was paused"
                        f"{' before the start' if strict else ''}: {came[:3]}"
                    )

    def check(self, port: int, api: int, everything: bool) -> None:
        """Take all that is left out of the queues now and then.

        Raises:
            FlowBroken: a promise was not kept.
        """
        if not everything:
            return
        workers = self._workers = self._consume(port, TAKES_ALL)
        for worker in workers:
            worker.start()
        switch = Switch(api, self._state, 0)
        if self._state is True:
            time.sleep(0.2)  # nothing may come
        switch.turn(False)
        switch.close()
        must = self._owed - self._maybe_gone
        until = time.time() + DRAIN_SECONDS
        while True:
            seen = {delivery.number for worker in workers for delivery in worker.deliveries}
            if must <= seen and all(worker.idle() for worker in workers):
                break
            if time.time() > until or not all(worker.is_alive() for worker in workers):
                lost = sorted(must - seen)
                raise FlowBroken(f"{len(lost)} messages are lost or stuck, such as {lost[:5]}")
            time.sleep(0.02)
        leave(workers)
        self._judge(switch)
        self._state = False
        self._owed.clear()
