"""The store of messages that wait for their retry: that of timed messages, and what can be done with one."""

from __future__ import annotations

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from harebell.content.message import Message
from harebell.engine.queues.retries import Retries
from harebell.paging import FLAGGED, RETURN, Moved
from tests.engine.queues.test_timed import DELAYS, QUEUE, TimedModel


class RetriesModel(TimedModel):
    """Messages are taken before their time, come again, and are copied forward while pages are read."""

    def __init__(self) -> None:
        super().__init__()
        self.retries = Retries(self.owner, self.rig.pager, self.rig.journal, True)
        self.store = self.retries

    def picked(self, chance: random.Random) -> int:
        """Choose one; 0 if there is none."""
        return chance.choice(sorted(self.waiting)) if self.waiting else 0

    def withdrawn(self, position: int) -> Message:
        """Take one out."""
        self.rig.commit()
        entry = self.retries.withdraw(position)
        assert entry is not None, f"{position} is not here"
        _, body = self.waiting.pop(position)
        assert (entry[0], entry[1].body) == (position, body)
        assert self.retries.withdraw(position) is None
        assert self.retries.until(position) == 0
        return entry[1]

    @rule(chance=st.randoms(use_true_random=False))
    def take_early(self, chance: random.Random) -> None:
        if position := self.picked(chance):
            message = self.withdrawn(position)
            if message.persistent:
                self.rig.journal.settle(QUEUE, position, message)

    @rule(chance=st.randoms(use_true_random=False), delay=DELAYS, count=st.integers(1, 20))
    def wait_again(self, chance: random.Random, delay: int, count: int) -> None:
        for _ in range(count):
            if position := self.picked(chance):
                message = self.withdrawn(position)
                due = self.now + delay
                self.retries.hold((position, message, 3 * RETURN + FLAGGED), due, self.now)
                self.waiting[position] = (due, bytes(message.body))

    @rule(chance=st.randoms(use_true_random=False))
    def copy_forward(self, chance: random.Random) -> None:
        position = self.picked(chance)
        if not position or self.retries.rows.location(position) < 0:
            return
        claim = self.retries.rows.claim(position)
        if claim <= 0:
            return
        self.rig.commit()
        (message,) = self.retries.read([position])
        assert message is not None
        segment, share = claim >> 32, claim & 0xFFFFFFFF
        self.rig.journal.copy(message, [(QUEUE, position)], [], [])
        self.rig.commit()
        moved = Moved(position, int(message.location), share, int(message.share))
        assert self.retries.relocate([moved], segment, int(message.segment)) == [position]
        self.rig.segments.settle(segment, share)

    @rule(chance=st.randoms(use_true_random=False), most=st.integers(1, 50))
    def browse(self, chance: random.Random, most: int) -> None:
        self.rig.commit()
        begins = chance.randint(0, self.last + 1)
        found = self.retries.browse_from(begins, most)
        expected = sorted(at for at in self.waiting if at >= begins)[:most]
        assert [at for at, *_ in found] == expected[: len(found)] and bool(found) == bool(expected)
        for at, message, _, until in found:
            assert (until, message.body) == self.waiting[at]
            assert self.retries.until(at) == until
        places = dict(self.retries.locate(expected))
        assert [places[at].until for at in expected] == [self.waiting[at][0] for at in expected]


RetriesModel.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestRetries = RetriesModel.TestCase
