"""Two connections, their channels and three queues against lists and dicts.

After every step the deliveries of a queue must be the head of the model's list, to consumers that may have
them, and whoever could take more must not have been left waiting.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from pamqp import commands

from tests.support.client import Client, ClientChannel, basic_consume
from tests.support.node import Node

PLAIN, BRIEF, SINGLE = QUEUES = ("plain", "auto-delete", "single active")
CHANNELS = ((0, 1), (0, 2), (1, 1), (1, 2))

queues = st.sampled_from(QUEUES)
channels = st.sampled_from(CHANNELS)
flags = st.booleans()


@dataclass(order=True)
class Stored:
    """A message in the model: its place in the queue, its body, and whether it came back once."""

    position: int
    body: bytes
    returned: bool = False


@dataclass
class ModelConsumer:
    """A consumer in the model."""

    queue: str
    no_ack: bool
    limit: int


@dataclass
class ModelChannel:
    """A channel in the model.

    Attributes:
        held: unanswered deliveries: tag -> queue (None once deleted), message, and consumer tag or None.
    """

    next_tag: int = 1
    prefetch: int = 0
    shared: int = 0
    flowing: bool = True
    consumers: dict[str, ModelConsumer] = field(default_factory=dict)
    held: dict[int, tuple[str | None, Stored, str | None]] = field(default_factory=dict)

    def has_room(self, tag: str) -> bool:
        """Tell whether a consumer may take another message."""
        consumer = self.consumers[tag]
        if not self.flowing:
            return False
        if consumer.no_ack:
            return True
        mine = sum(holder == tag for _, _, holder in self.held.values())
        all_consumers = sum(holder is not None for _, _, holder in self.held.values())
        return (not consumer.limit or mine < consumer.limit) and (
            not self.shared or all_consumers < self.shared
        )


class ChannelsAndQueues(RuleBasedStateMachine):
    """What clients may do, and what must come of it."""

    def __init__(self) -> None:
        super().__init__()
        self.node = Node()
        self.clients: list[Client] = []
        self.channels: dict[tuple[int, int], ClientChannel] = {}
        self.model: dict[tuple[int, int], ModelChannel] = {}
        self.ready: dict[str, list[Stored]] = {}
        self.arrivals: dict[str, list[tuple[tuple[int, int], str]]] = {}
        self.published = 0
        self.tags = 0

    # set-up

    @initialize(
        limits=st.lists(st.integers(0, 3), min_size=4, max_size=4),
        consumed=st.lists(queues | st.none(), min_size=4, max_size=4),
    )
    def connect_both(self, limits: list[int], consumed: list[str | None]) -> None:
        """Open two connections with two channels each, declare the queues, and start some consumers."""
        for index in (0, 1):
            self.clients.append(self.node.connect())
            for number in (1, 2):
                self._open((index, number))
        for queue in QUEUES:
            self._declare(queue)
        for where, count, consumes in zip(CHANNELS, limits, consumed, strict=True):
            self._limit(where, count, shared=False)
            if consumes is not None:
                self._consume(where, consumes, no_ack=False)

    def _open(self, where: tuple[int, int]) -> None:
        index, number = where
        channel = self.clients[index].channel(number)
        channel.confirm_select()
        self.channels[where], self.model[where] = channel, ModelChannel()

    def _declare(self, queue: str) -> None:
        self.channels[0, 1].declare_queue(
            queue,
            auto_delete=queue == BRIEF,
            arguments={"x-single-active-consumer": True} if queue == SINGLE else None,
        )
        if queue not in self.ready:
            self.ready[queue], self.arrivals[queue] = [], []

    # publishing

    @rule(where=channels, queue=queues)
    def publish_one(self, where: tuple[int, int], queue: str) -> None:
        """Publish one message."""
        self._publish(where, queue, 1)

    @rule(where=channels, queue=queues, count=st.integers(2, 5))
    def publish_some(self, where: tuple[int, int], queue: str, count: int) -> None:
        """Publish a few messages in one piece."""
        self._publish(where, queue, count)

    def _publish(self, where: tuple[int, int], queue: str, count: int) -> None:
        channel = self.channels[where]
        bodies = [b"%d" % (self.published + n) for n in range(count)]
        if queue in self.ready:
            self.ready[queue] += [Stored(self.published + n, body) for n, body in enumerate(bodies)]
        self.published += count
        channel.client.feed(b"".join(channel.message(body, key=queue) for body in bodies))
        assert channel.outcomes() == ["ack"] * count

    # consuming

    @rule(where=channels, queue=queues, no_ack=flags)
    def consume(self, where: tuple[int, int], queue: str, no_ack: bool) -> None:
        """Start a consumer."""
        if queue in self.ready:
            self._consume(where, queue, no_ack)

    def _consume(self, where: tuple[int, int], queue: str, no_ack: bool) -> None:
        self.tags += 1
        tag = f"t{self.tags}"
        model = self.model[where]
        model.consumers[tag] = ModelConsumer(queue, no_ack, model.prefetch)
        self.arrivals[queue].append((where, tag))
        self.channels[where].send(basic_consume(queue, tag, no_ack))
        assert self.channels[where].expect(commands.Basic.ConsumeOk).consumer_tag == tag

    @rule(where=channels, data=st.data())
    def cancel(self, where: tuple[int, int], data: st.DataObject) -> None:
        """Cancel a consumer; its unanswered deliveries stay."""
        model = self.model[where]
        if model.consumers:
            tag = data.draw(st.sampled_from(sorted(model.consumers)))
            self._forget_consumer(where, tag)
            self.channels[where].cancel(tag)

    def _forget_consumer(self, where: tuple[int, int], tag: str) -> None:
        consumer = self.model[where].consumers.pop(tag)
        self.arrivals[consumer.queue].remove((where, tag))
        if consumer.queue == BRIEF and not self.arrivals[BRIEF]:
            self._forget_queue(BRIEF)

    @rule(where=channels, queue=queues, no_ack=flags)
    def get(self, where: tuple[int, int], queue: str, no_ack: bool) -> None:
        """Get one message."""
        if queue not in self.ready:
            return
        model, ready = self.model[where], self.ready[queue]
        message = self.channels[where].get(queue, no_ack=no_ack)
        if not ready:
            assert message is None
            return
        expected = ready.pop(0)
        assert message is not None
        assert (message.body, message.redelivered) == (expected.body, expected.returned)
        assert (message.tag, message.remaining) == (model.next_tag, len(ready))
        if not no_ack:
            model.held[model.next_tag] = (queue, expected, None)
        model.next_tag += 1

    # answers

    @rule(data=st.data(), answer=st.sampled_from(["ack", "nack", "requeue"]))
    def answer_one(self, data: st.DataObject, answer: str) -> None:
        """Acknowledge, discard or return one delivery."""
        self._answer(data, answer, multiple=False)

    @rule(data=st.data(), answer=st.sampled_from(["ack", "nack", "requeue"]))
    def answer_many(self, data: st.DataObject, answer: str) -> None:
        """Acknowledge, discard or return all deliveries up to one."""
        self._answer(data, answer, multiple=True)

    def _answer(self, data: st.DataObject, answer: str, multiple: bool) -> None:
        holding = [where for where in CHANNELS if self.model[where].held]
        if not holding:
            return
        where = data.draw(st.sampled_from(holding))
        model, channel = self.model[where], self.channels[where]
        tag = data.draw(st.sampled_from(sorted(model.held)))
        covered = [each for each in sorted(model.held) if each == tag or (multiple and each < tag)]
        taken = [model.held.pop(each) for each in covered]
        if answer == "requeue":
            self._put_back(taken)
        if answer == "ack":
            channel.ack(tag, multiple=multiple)
        else:
            channel.nack(tag, multiple=multiple, requeue=answer == "requeue")

    @rule(where=channels)
    def recover(self, where: tuple[int, int]) -> None:
        """Return everything unanswered."""
        model = self.model[where]
        self._put_back(list(model.held.values()))
        model.held.clear()
        self.channels[where].call(commands.Basic.Recover(True), commands.Basic.RecoverOk)

    def _put_back(self, taken: list[tuple[str | None, Stored, str | None]]) -> None:
        for queue, message, _ in taken:
            if queue is not None:
                message.returned = True
                self.ready[queue].append(message)
                self.ready[queue].sort()

    def _answer_what_is_not_there(self, where: tuple[int, int], tag: int) -> None:
        if tag in self.model[where].held:
            return
        self._give_back(where)
        channel = self.channels[where]
        channel.ack(tag)
        self._check_deliveries()
        channel.expect_close(406, commands.Basic.Ack)
        self._open(where)

    # credit

    @rule(where=channels, count=st.integers(0, 3), shared=flags)
    def limit(self, where: tuple[int, int], count: int, shared: bool) -> None:
        """Set a limit for later consumers, or one the channel's consumers share."""
        self._limit(where, count, shared)

    def _limit(self, where: tuple[int, int], count: int, shared: bool) -> None:
        model = self.model[where]
        if shared:
            model.shared = count
        else:
            model.prefetch, model.shared = count, 0
        self.channels[where].qos(count, shared=shared)

    @rule(where=channels, active=st.sampled_from([True, True, False]))
    def flow(self, where: tuple[int, int], active: bool) -> None:
        """Pause or resume a channel's deliveries."""
        self.model[where].flowing = active
        self.channels[where].call(commands.Channel.Flow(active), commands.Channel.FlowOk)

    # ends

    @rule(
        where=channels,
        how=st.sampled_from(["close", "error", "connection close", "hang up"]),
        tag=st.integers(0, 9),
    )
    def end(self, where: tuple[int, int], how: str, tag: int) -> None:
        """End a channel or its connection, one way or the other; it is opened again."""
        if how == "close":
            self._close_channel(where)
        elif how == "error":
            self._answer_what_is_not_there(where, tag)
        else:
            self._reconnect(where[0], politely=how == "connection close")

    def _close_channel(self, where: tuple[int, int]) -> None:
        self._give_back(where)
        self.channels[where].close()
        self._check_deliveries()
        self._open(where)

    def _reconnect(self, index: int, politely: bool) -> None:
        for where in CHANNELS:
            if where[0] == index:
                self._give_back(where)
        if politely:
            self.clients[index].close()
        self.clients[index].hang_up()
        self.clients[index] = self.node.connect()
        self._check_deliveries()
        for where in CHANNELS:
            if where[0] == index:
                self._open(where)

    def _give_back(self, where: tuple[int, int]) -> None:
        model = self.model[where]
        model.flowing = False
        for tag in list(model.consumers):
            self._forget_consumer(where, tag)
        self._put_back(list(model.held.values()))
        model.held.clear()

    # queues

    @rule(queue=queues, delete=flags)
    def empty(self, queue: str, delete: bool) -> None:
        """Purge or delete a queue."""
        if queue not in self.ready:
            self._declare(queue)
        elif delete:
            self._delete(queue)
        else:
            assert self.channels[0, 1].purge(queue) == len(self.ready[queue])
            self.ready[queue].clear()

    def _delete(self, queue: str) -> None:
        """Consumers are told, unanswered deliveries have nowhere to return to."""
        waiting, told = len(self.ready[queue]), self.arrivals[queue]
        self._forget_queue(queue)
        assert self.channels[0, 1].delete_queue(queue) == waiting
        for where, tag in told:
            assert self.channels[where].expect(commands.Basic.Cancel).consumer_tag == tag
            del self.model[where].consumers[tag]

    def _forget_queue(self, queue: str) -> None:
        del self.ready[queue], self.arrivals[queue]
        for model in self.model.values():
            for tag, (source, message, holder) in model.held.items():
                if source == queue:
                    model.held[tag] = (None, message, holder)

    # what must hold

    def _check_deliveries(self) -> None:
        """Every delivery takes the head of its queue, and is allowed."""
        came: dict[str, list[int]] = {}
        for where, channel in self.channels.items():
            model = self.model[where]
            for delivery in channel.deliveries():
                assert delivery.tag == model.next_tag
                model.next_tag += 1
                tag = str(delivery.consumer_tag)
                consumer = model.consumers[tag]
                assert model.has_room(tag), f"{tag} got more than it may have"
                if consumer.queue == SINGLE:
                    assert self.arrivals[SINGLE][0] == (where, tag), f"{tag} is not the active consumer"
                ready = self.ready[consumer.queue]
                (message,) = [each for each in ready if each.body == delivery.body]
                assert delivery.redelivered == message.returned
                came.setdefault(consumer.queue, []).append(ready.index(message))
                if not consumer.no_ack:
                    model.held[delivery.tag] = (consumer.queue, message, tag)
        for queue, places in came.items():
            assert sorted(places) == list(range(len(places))), (
                f"{queue}: not its first messages were delivered"
            )
            del self.ready[queue][: len(places)]

    @invariant()
    def model_and_broker_agree(self) -> None:
        """Nothing comes that should not, nobody who could be served waits, and gauges are right."""
        self._check_deliveries()
        for client in self.clients:
            client.expect_silence()
        assert set(self.node.vhost.queues) == set(self.ready)
        for name, ready in self.ready.items():
            servable = self.arrivals[name][:1] if name == SINGLE else self.arrivals[name]
            for where, tag in servable:
                assert not ready or not self.model[where].has_room(tag), f"{tag} could take from {name}"
            queue = self.node.queue(name)
            held = sum(
                source == name for model in self.model.values() for source, _, _ in model.held.values()
            )
            assert (queue.ready_count(), queue.unacked_count) == (len(ready), held)
            assert queue.consumer_count() == len(self.arrivals[name])

    def teardown(self) -> None:
        """Nothing is lost or doubled: what is left is what the model says, in its order."""
        for index, client in enumerate(self.clients):
            for where in CHANNELS:
                if where[0] == index:
                    self._give_back(where)
            client.hang_up()
            self._check_deliveries()
        if self.clients:
            last = self.node.connect().channel()
            for queue, ready in self.ready.items():
                assert last.drain(queue) == [message.body for message in ready]


ChannelsAndQueues.TestCase.settings = settings(max_examples=120, stateful_step_count=50, deadline=None)
TestChannelsAndQueues = ChannelsAndQueues.TestCase
