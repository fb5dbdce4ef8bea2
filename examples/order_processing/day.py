"""The day, from the first order to the replay at night."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress

from aio_pika import connect_robust
from aio_pika.abc import AbstractChannel

from examples.order_processing import topology
from examples.order_processing.analytics import Analytics
from examples.order_processing.delivery import Delivery, PowerCut, UnluckyDelivery
from examples.order_processing.notification import Notification
from examples.order_processing.on_call import OnCall
from examples.order_processing.orders import KINDS, Order, event, event_id
from examples.order_processing.payment import Payment
from examples.order_processing.report import Outcome
from examples.order_processing.restaurant import Restaurant
from examples.order_processing.service import Ledger, Service
from examples.order_processing.timeline import Timeline

MORNING = (Order(1, "Ada", "Pizza", 1150), Order(2, "Ben", "Ramen", 1390), Order(3, "Chloe", "Tacos", 990))
NOON = (
    Order(4, "Dev", "Falafel", 850),
    Order(5, "Eve", "Crème brûlée", 720),
    Order(6, "Finn", "Burger", 1280),
    Order(7, "Gina", "Lasagne", 1340),
    Order(8, "Hal", "Pad thai", 1090),
)
SENT_TWICE = MORNING[1]
POISON = NOON[1]
POWER_CUT_AT = NOON[2]


class Day:
    """One day of the shop.

    Args:
        url: of the broker.
        channel: of the shop; a publish on it waits for its confirm, and one that reaches no queue fails.
        timeline: where everything is told.
        group: what the services run in; one that fails ends the day.
    """

    def __init__(
        self, url: str, channel: AbstractChannel, timeline: Timeline, group: asyncio.TaskGroup
    ) -> None:
        self.outcome = Outcome((*MORNING, *NOON), repeats=1, ledgers={})
        self._url = url
        self._channel = channel
        self._timeline = timeline
        self._group = group
        self._running: dict[Service, asyncio.Task[None]] = {}
        tell, ledger = timeline.tell, self._ledger
        self._payment = Payment(url, ledger("payment"), tell)
        self._restaurant = Restaurant(url, ledger("restaurant"), tell)
        self._delivery = UnluckyDelivery(url, ledger("delivery"), tell, event_id("cooked", POWER_CUT_AT))
        self._notification = Notification(url, ledger("notification"), tell)
        self._on_call = OnCall(channel, tell)

    async def live(self) -> None:
        """Live it, and fill in the outcome."""
        await self.morning()
        await self.noon()
        await self.afternoon()
        await self.evening()
        await self.night()
        for service in list(self._running):
            await self._stop(service)
        for name in (*topology.WORK, topology.DEAD_LETTERS):
            queue = await self._channel.declare_queue(name, passive=True)
            self.outcome.left[name] = queue.declaration_result.message_count or 0

    async def morning(self) -> None:
        """All is well, but one order is sent twice."""
        self._timeline.heading("Morning: everybody is at work")
        await self._on_call.watch()
        for service in (self._payment, self._restaurant, self._delivery, self._notification):
            await self._start(service)
        await self._place(MORNING)
        self._timeline.tell("shop", f"saw no confirm for order {SENT_TWICE.number}, and sends it again")
        await self._place([SENT_TWICE])
        placed = len(MORNING)
        await self._until_settled(payment=placed + 1, delivery=placed, notification=len(KINDS) * placed + 1)

    async def noon(self) -> None:
        """Notification is down, an order is poisoned, delivery loses power; the others do not care."""
        self._timeline.heading("Noon: notification is down, and not everything goes well")
        await self._stop(self._notification)
        await self._place(NOON)
        unlucky = self._running.pop(self._delivery)
        await self._timeline.until(unlucky.done, "delivery has lost power")
        await self._start(Delivery(self._url, self._ledger("delivery"), self._timeline.tell))
        placed = len(self.outcome.orders)
        await self._until_settled(payment=placed + 1, restaurant=placed - 1, delivery=placed - 1)
        await self._timeline.until(
            lambda: event_id("paid", POISON) in self._on_call.alarms, "there is a dead letter"
        )

    async def afternoon(self) -> None:
        """Notification is back, and reads what it missed."""
        seen = len(self._notification.offsets)
        self._timeline.heading(f"Afternoon: notification is back, and resumes at event {seen}")
        self.outcome.notified += self._notification.offsets
        self._notification = Notification(self._url, self._ledger("notification"), self._timeline.tell)
        await self._start(self._notification)
        # All but two: the poisoned order is neither cooked nor delivered.
        await self._until_settled(notification=self.outcome.events - 2)

    async def evening(self) -> None:
        """The restaurant's bug is fixed, and the dead letter sent back."""
        self._timeline.heading(
            "Evening: the restaurant prints its tickets in UTF-8 now, and dead letters are redriven"
        )
        await self._stop(self._restaurant)
        self._restaurant = Restaurant(
            self._url, self._ledger("restaurant"), self._timeline.tell, encoding="utf-8"
        )
        await self._start(self._restaurant)
        await self._on_call.redrive(len(self._on_call.alarms))
        placed = len(self.outcome.orders)
        await self._until_settled(restaurant=placed, delivery=placed, notification=self.outcome.events)

    async def night(self) -> None:
        """Analytics begins only now, and reads the day from its first event."""
        self._timeline.heading("Night: analytics replays the day")
        analytics = Analytics(self._url, self._ledger("analytics"), self._timeline.tell)
        await self._start(analytics)
        await self._until_settled(analytics=self.outcome.events)
        outcome = self.outcome
        outcome.charged_cents = sum(self._payment.charges.values())
        outcome.revenue_cents = analytics.revenue_cents
        outcome.notified += self._notification.offsets
        outcome.replayed = analytics.offsets
        outcome.alarms, outcome.redriven = self._on_call.alarms, self._on_call.redriven

    async def _place(self, orders: Iterable[Order]) -> None:
        exchange = await self._channel.get_exchange(topology.EVENTS)
        for order in orders:
            self._timeline.tell("shop", f"{order.customer} orders {order.dish}, order {order.number}")
            await exchange.publish(event("placed", order), "order.placed")

    async def _start(self, service: Service) -> None:
        self._running[service] = self._group.create_task(_until_power_cut(service))
        await self._timeline.until(lambda: service.subscribed, f"{service.name} is here")

    async def _stop(self, service: Service) -> None:
        task = self._running.pop(service)
        task.cancel()
        await asyncio.wait([task])

    async def _until_settled(self, **wanted: int) -> None:
        ledgers = self.outcome.ledgers
        await self._timeline.until(
            lambda: all(ledgers[name].settled == count for name, count in wanted.items()),
            f"so many deliveries are acknowledged: {wanted}",
        )

    def _ledger(self, name: str) -> Ledger:
        return self.outcome.ledgers.setdefault(name, Ledger())


async def _until_power_cut(service: Service) -> None:
    try:
        with suppress(PowerCut):
            await service.run()
    finally:
        service.tell("is gone")


async def live(url: str, timeline: Timeline) -> Outcome:
    """Live a day on a broker, and give what came of it.

    What an earlier run left there is deleted first; what this one leaves can be looked at afterwards.

    Raises:
        AMQPException, ConnectionError: the broker cannot be reached, or refuses something.
        ExceptionGroup: a service failed, or the day did not come to what it was to come to.
    """
    connection = await connect_robust(url, client_properties={"connection_name": "shop"})
    async with connection:
        channel = await connection.channel(on_return_raises=True)
        await topology.forget(channel)
        await topology.declare(channel)
        async with asyncio.TaskGroup() as group:
            day = Day(url, channel, timeline, group)
            await day.live()
    return day.outcome
