"""Consumers that look at a queue and take nothing (``x-browse``).

A browser gets copies of the ready messages, by position whatever the order of delivery, and then those that
come to wait behind them.  What it is given stays where it is: counts, order and the redelivered flag stay
those of the queue.  Its acknowledgements only return credit.  A message that is handed to a consumer at once
never waits, so no browser sees it.  A browser keeps no queue alive and nobody from anything.

To its channel a view is the queue of such a consumer, so whatever is answered ends here.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from harebell.content.message import Message
from harebell.content.properties import with_header
from harebell.content.table import Table, encode_value
from harebell.engine.arguments import BROWSE, BROWSE_FROM, FILTER, POSITION
from harebell.engine.consumers import Consumer, Unacked
from harebell.engine.deadlines import NEVER
from harebell.engine.dispatch import Dispatcher
from harebell.engine.expiry import Expiry
from harebell.engine.filters import BadFilter, Filter, make_filter
from harebell.engine.queues.queue import Queue
from harebell.engine.queues.stock import Entry
from harebell.errors import ACCESS_REFUSED, PRECONDITION_FAILED, BrokerError, MalformedContent
from harebell.paging import PageUnreadable
from harebell.ports import Clock

AT_ONCE: Final = 128
"""Messages looked at for one browser before the next one has its turn, and looked up for it ahead."""

AGAIN: Final = 100
"""Milliseconds until messages are asked for again that could not be read from disk."""

POSITION_KEY: Final = POSITION.encode()


class Browser:
    """One consumer and how far it has looked.

    Attributes:
        position: of the next message it may see.
        filter: what it wants; None for everything.
        listed: True while it may have something to see.
        ahead: messages looked up for it, the last one first.
        more: True if there may be others behind them.
    """

    def __init__(self, consumer: Consumer, position: i64, wanted: Filter | None) -> None:
        self.consumer = consumer
        self.position: i64 = position
        self.filter = wanted
        self.listed: bool = False
        self.ahead: list[Entry] = []
        self.more: bool = True

    def wants(self, message: Message) -> bool:
        """Tell whether its filter fits, if it has one."""
        return self.filter is None or self.filter.wants(message)


class BrowseView(Queue):
    """What browsers of a queue see of it.

    Args:
        queue: the queue.
        vhost: name of its virtual host.
        dispatcher: gives the view its turns.
        expiry: wakes it when the disk did not give what it asked for.
        clock: the engine's time.
    """

    def __init__(
        self, queue: Queue, vhost: str, dispatcher: Dispatcher, expiry: Expiry, clock: Clock
    ) -> None:
        super().__init__(0, queue.name, queue.type_name, queue.durable, 0, False, {})
        self._queue = queue
        self._vhost = vhost
        self._dispatcher = dispatcher
        self._expiry = expiry
        self._clock = clock
        self._browsers: dict[Consumer, Browser] = {}
        self._due: list[Browser] = []

    def check_consumer(self, no_ack: bool, limit: i64, arguments: Table) -> None:
        """Refuse arguments that make no sense.

        Raises:
            BrokerError: PRECONDITION_FAILED.
        """
        position = arguments.get(BROWSE_FROM, 1)
        if type(position) is not int or position < 0:
            raise self._refused(
                f"invalid arg '{BROWSE_FROM}' for queue '{self.name}' in vhost '{self._vhost}': no position"
            )
        asked = arguments.get(FILTER)
        if asked is None:
            return
        try:
            make_filter(asked)
        except BadFilter as problem:
            raise self._refused(f"invalid arg '{FILTER}' for queue '{self.name}': {problem}") from None

    def _refused(self, why: str) -> BrokerError:
        if not self._browsers:
            self._queue.view_left()
        return BrokerError(PRECONDITION_FAILED, why)

    def ready_count(self) -> i64:
        """Messages that wait in the queue."""
        return self._queue.ready_count()

    def ready_octets(self) -> i64:
        """Their header and body octets."""
        return self._queue.ready_octets()

    def consumer_count(self) -> i64:
        """Browsers."""
        return len(self._browsers)

    def consumers(self) -> list[Consumer]:
        """The browsers, in order of arrival."""
        return list(self._browsers)

    def add_consumer(self, consumer: Consumer) -> None:
        """Begin where the consumer asks, else at the oldest message."""
        position = consumer.arguments.get(BROWSE_FROM)
        asked = consumer.arguments.get(FILTER)
        begins: i64 = position if isinstance(position, int) else 1
        browser = Browser(consumer, begins, None if asked is None else make_filter(asked))
        consumer.parked = False
        self._browsers[consumer] = browser
        self._list(browser)

    def remove_consumer(self, consumer: Consumer) -> None:
        """Forget a browser; the queue forgets the view with the last one."""
        self._browsers.pop(consumer, None)
        if not self._browsers and self._queue.view is self:
            self._queue.view_left()

    def unpark(self, consumer: Consumer) -> None:
        """A browser got credit back."""
        consumer.parked = False
        browser = self._browsers.get(consumer)
        if browser is not None:
            self._list(browser)

    def grown(self, position: i64) -> None:
        """A message waits in the queue that did not before; who is past its position does not see it."""
        for browser in self._browsers.values():
            if position < browser.position:
                continue
            browser.more = True
            if browser.ahead and position < browser.ahead[0][0]:
                # It lies among those that were looked up.
                browser.ahead = []
            if not browser.listed and not browser.consumer.parked:
                self._list(browser)

    def _list(self, browser: Browser) -> None:
        if not browser.listed:
            browser.listed = True
            self._due.append(browser)
        if not self.scheduled:
            self._dispatcher.schedule(self)

    def dispatch(self, budget: i64) -> bool:
        """Show each browser some of what it has not seen; True if there is more to show at once."""
        due = self._due
        self._due = []
        for browser in due:
            browser.listed = False
            if browser.consumer in self._browsers and self._show(browser):
                browser.listed = True
                self._due.append(browser)
        return len(self._due) > 0

    def _show(self, browser: Browser) -> bool:
        """Give a browser copies of messages; True if it may see more at once."""
        consumer = browser.consumer
        if not consumer.eligible():
            consumer.parked = True
            return False
        known: bool = not browser.ahead
        if known:
            try:
                found = self._queue.browse_from(browser.position, AT_ONCE)
            except PageUnreadable:
                self._expiry.wake(self, self._clock.wall + AGAIN)
                return False
            browser.more = len(found) > 0
            found.reverse()
            browser.ahead = found
        self.counts_returns = self._queue.counts_returns
        ahead = browser.ahead
        while ahead:
            if not consumer.eligible():
                consumer.parked = True
                return False
            position, message, returns = ahead.pop()
            browser.position = position + 1
            if not known:
                # What was looked up in an earlier turn may have left, or left and come back.
                places = self._queue.locate([position])
                if not places or places[0][1].until != 0:
                    continue
                returns = places[0][1].returns
            if browser.wants(message) and not self._queue.is_over(message, position):
                consumer.deliver(_placed(message, position), position, returns)
        return browser.more

    def expire_messages(self) -> i64:
        """Ask again for what could not be read."""
        for browser in self._browsers.values():
            if not browser.consumer.parked:
                self._list(browser)
        return NEVER

    def settle(self, entry: Unacked) -> None:
        """What was looked at is where it was."""

    def reject(self, entry: Unacked) -> None:
        """What was looked at is where it was."""

    def requeue(self, entry: Unacked, failed: bool) -> None:
        """What was looked at is where it was."""

    def drop_all(self) -> None:
        """Nothing is left to show."""
        self._due = []


def is_browser(arguments: Table) -> bool:
    """Tell whether a consumer asks to look only."""
    return arguments.get(BROWSE) is True


def refuse_exclusive(name: str, vhost: str) -> BrokerError:
    """Make the error of a browser that wants to be alone: it keeps nobody from anything."""
    return BrokerError(ACCESS_REFUSED, f"queue '{name}' in vhost '{vhost}' cannot be browsed exclusively")


def _placed(message: Message, position: i64) -> Message:
    """Give a copy of a message that tells where it lies."""
    try:
        header = with_header(message.header, POSITION_KEY, encode_value(int(position)))
    except MalformedContent:
        header = message.header
    return Message(message.address, header, message.body, message.persistent)
