"""Queues that can be held back: paused, slowed down, or bound in what may be unanswered (``brakes.py``)."""

from __future__ import annotations

from mypy_extensions import i64

from harebell.engine.options import QueueOptions
from harebell.engine.queues.brakes import Brake, Bucket
from harebell.engine.queues.laned import LanedQueue


class BrakedQueue(LanedQueue):
    """Base of queues with a brake, if something asks for one."""

    def serve(self, budget: i64) -> bool:
        """Deliver up to ``budget`` messages, whatever holds the queue back; True if more could go at once."""
        raise NotImplementedError

    def apply_options(self, options: QueueOptions) -> None:
        """Go by other options from now on."""
        super().apply_options(options)
        brake = self.brake
        if brake is None and (options.delivery_rate >= 0 or options.max_unacked >= 0):
            brake = self.brake = Brake()
        if brake is not None:
            brake.limit(options.delivery_rate, options.max_unacked, self._clock.now)
            self._released(brake)
        intake = self.intake
        if options.publish_rate < 0:
            self.intake = None
        elif intake is None or intake.rate != options.publish_rate:
            self.intake = Bucket(options.publish_rate, self._clock.now)

    def pause(self, until: i64, reason: str) -> None:
        """Deliver nothing for a while.

        Args:
            until: unix milliseconds; ``NEVER`` until it is resumed, 0 to resume it.
            reason: for who wonders why.
        """
        brake = self.brake
        if brake is None:
            if until == 0:
                return
            brake = self.brake = Brake()
        brake.paused_until = until
        brake.reason = reason if until != 0 else ""
        self._released(brake)

    def _released(self, brake: Brake) -> None:
        """What holds the queue back changed."""
        if brake.idle():
            self.brake = None
        if self._store.count > 0:
            self._dispatcher.schedule(self)
        if brake.paused_until != 0:
            # Without messages, too: whoever looks shall see when it ends.
            self._expiry.wake(self, brake.paused_until)

    def expire_messages(self) -> i64:
        """Give up messages whose time is over, go on if the brake allows it, and say when to look again."""
        found: i64 = super().expire_messages()
        brake = self.brake
        if brake is None:
            return found
        wall: i64 = self._clock.wall
        if brake.paused_until != 0 and not brake.paused(wall):
            self.pause(0, "")
        elif self._store.count > 0:
            self._dispatcher.schedule(self)
        return min(found, brake.paused_until) if brake.paused(wall) else found

    def held_back(self) -> bool:
        """Tell whether nothing may be delivered now."""
        brake = self.brake
        return brake is not None and brake.allows(self._clock.now, self._clock.wall, self.unacked_count) <= 0

    def dispatch_braked(self, brake: Brake, budget: i64) -> bool:
        """Deliver up to ``budget`` messages that the brake allows; True if more may go at once."""
        allowed: i64 = brake.allows(self._clock.now, self._clock.wall, self.unacked_count)
        if allowed > 0:
            before: i64 = self.delivered + self.delivered_no_ack
            more = self.serve(min(budget, allowed))
            brake.spent(self.delivered + self.delivered_no_ack - before)
            if not more or not self.held_back():
                return more
        if self._store.count > 0:
            self._expiry.wake(self, brake.opens_at(self._clock.now, self._clock.wall))
        return False

    def freed(self, brake: Brake) -> None:
        """A delivery was answered: another message may go."""
        if brake.max_unacked >= 0 and self._store.count > 0:
            self._dispatcher.schedule(self)
