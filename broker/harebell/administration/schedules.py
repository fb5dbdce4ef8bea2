"""Schedules: messages the node publishes by itself at times that a cron expression names.

A schedule is a parameter of the component ``schedule``.  That it was fired for a time is journalled with its
message as one step, so that a time is fired at most once, whatever crashes.  Times that passed while the node
was down are passed over, or fired once for all of them if ``catch_up`` says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from harebell.amqp.clientless import publish
from harebell.engine.commands import NoteFired
from harebell.engine.metadata import SCHEDULE
from harebell.engine.topology import Caller
from harebell.errors import BrokerError
from harebell.ports import User

if TYPE_CHECKING:
    from harebell.administration.schedule import Schedule
    from harebell.engine.broker import Broker

NOBODY: Final = User("schedule", frozenset(), unlimited=True)
"""In whose name messages are published: who may set the parameter was checked then."""

Key = tuple[str, str]
"""A virtual host and the name of a schedule."""


class Schedules:
    """The schedules of a node.

    Attributes:
        warn: told what goes wrong.
    """

    def __init__(self) -> None:
        self._read: dict[Key, tuple[str, Schedule | None]] = {}
        self.warn: Callable[[str], object] = lambda text: None

    def of(self, broker: Broker, vhost: str) -> dict[str, Schedule]:
        """Give the schedules of a virtual host by name."""
        self.follow(broker)
        return {
            key[1]: schedule
            for key, (_, schedule) in sorted(self._read.items())
            if key[0] == vhost and schedule is not None
        }

    def follow(self, broker: Broker) -> None:
        """Take over what parameters say now."""
        if not broker.schedules_changed:
            return
        broker.schedules_changed = False
        now = int(broker.clock.wall)
        found = {
            (vhost, name): text
            for (vhost, component, name), text in broker.parameters.items()
            if component == SCHEDULE
        }
        for key in [key for key in self._read if key not in found]:
            del self._read[key]
        for key, text in found.items():
            known = self._read.get(key)
            if known is None or known[0] != text:
                self._read[key] = (text, self._made(broker, key, text, now))

    def _made(self, broker: Broker, key: Key, text: str, now: int) -> Schedule | None:
        # Not needed by a node without schedules, whose start should not wait for it.
        import orjson

        from harebell.administration.schedule import Schedule

        try:
            schedule = Schedule(orjson.loads(text))
        except BrokerError as error:
            self.warn(f"schedule '{key[1]}' of virtual host '{key[0]}' is not followed: {error.text}")
            return None
        fired = broker.fired.get(key, 0)
        if not schedule.value.enabled:
            return schedule
        # A time is not fired again, even if the clock went back.
        start = max(now, fired)
        if fired and schedule.value.catch_up and fired < now:
            start = fired
        schedule.next = schedule.after(start)
        return schedule

    def next(self) -> int | None:
        """Give when ``fire`` has something to do, unix milliseconds; None if never."""
        times = [each.next for _, each in self._read.values() if each is not None and each.next is not None]
        return min(times, default=None)

    def fire(self, broker: Broker) -> int:
        """Publish what is due, each schedule once however many of its times passed; give how many."""
        self.follow(broker)
        now = int(broker.clock.wall)
        count = 0
        for key, (_, schedule) in list(self._read.items()):
            if schedule is not None and schedule.next is not None and schedule.next <= now:
                self._fire(broker, key, schedule, now)
                count += 1
        return count

    def _fire(self, broker: Broker, key: Key, schedule: Schedule, now: int) -> None:
        vhost = broker.vhosts.get(key[0])
        if vhost is None:
            schedule.next = None
            return
        value = schedule.value
        schedule.next = schedule.after(now)
        broker.journal.begin_transaction()
        try:
            broker.commit(NoteFired(key[0], key[1], now), durable=True)
            caller = Caller(broker, vhost, NOBODY, 0)
            published = publish(caller, value.exchange, value.routing_key, schedule.header, schedule.body)
            schedule.unrouted += not published.routed
            schedule.error = ""
        except BrokerError as error:
            schedule.failed += 1
            if schedule.error != error.text:
                self.warn(f"schedule '{key[1]}' of virtual host '{key[0]}': {error.text}")
            schedule.error = error.text
        finally:
            broker.journal.end_transaction()
