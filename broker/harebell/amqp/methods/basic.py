"""Class basic, apart from publish, ack, reject and nack (AMQP 0-9-1 section 1.8)."""

from __future__ import annotations

from typing import Any, Final

from mypy_extensions import i64
from pamqp import commands

from harebell.amqp.channel import Channel
from harebell.amqp.closing import delete_if_abandoned
from harebell.amqp.connection import Connection
from harebell.amqp.delivery import ChannelConsumer, write_get_ok
from harebell.amqp.method_codec import encode
from harebell.amqp.methods.caller import caller_of
from harebell.amqp.methods.queue import named, not_reply_to
from harebell.amqp.outbox import Outbox, OutboxSet
from harebell.engine import topology
from harebell.engine.arguments import SINGLE_ACTIVE_CONSUMER, STREAM_OFFSET, check_consumer_arguments
from harebell.engine.queues.browsing import BrowseView, is_browser, refuse_exclusive
from harebell.engine.queues.queue import Queue
from harebell.engine.reply_to import PREFIX, PSEUDO_QUEUE, ReplyQueue
from harebell.errors import (
    ACCESS_REFUSED,
    NOT_ALLOWED,
    NOT_IMPLEMENTED,
    PRECONDITION_FAILED,
    RESOURCE_LOCKED,
    BrokerError,
)

REPLY_TO_NAMES: Final = (PSEUDO_QUEUE, "amq.direct.reply-to")


def qos(connection: Connection, channel: Channel, frame: Any) -> None:
    """``basic.qos``: ``global=false`` limits each consumer started later, ``global=true`` the channel.

    Clients that change the limit of running consumers with ``global=false`` get what they mean (see
    ``dynamic_qos``).  As observed on RabbitMQ, ``global=false`` also lifts an earlier shared limit.

    Raises:
        BrokerError: NOT_IMPLEMENTED for a limit in bytes.
    """
    if frame.prefetch_size:
        raise BrokerError(NOT_IMPLEMENTED, f"prefetch_size!=0 ({frame.prefetch_size})")
    if frame.global_:
        channel.credit.limit = frame.prefetch_count
    else:
        channel.prefetch = frame.prefetch_count
        channel.credit.limit = 0
        if connection.dynamic_qos:
            for consumer in channel.consumers.values():
                consumer.limit = frame.prefetch_count
    channel.unpark_all()
    channel.reply(encode(commands.Basic.QosOk), 0)


def consume(connection: Connection, channel: Channel, frame: Any) -> None:
    """``basic.consume``.

    Raises:
        BrokerError: NOT_ALLOWED for a tag in use, ACCESS_REFUSED where exclusive use conflicts,
            PRECONDITION_FAILED for bad arguments, and what looking up the queue raises.
    """
    name = named(connection, channel, frame.queue)
    tag = frame.consumer_tag or "amq.ctag-" + connection.broker.new_token()
    if tag in channel.consumers:
        raise BrokerError(NOT_ALLOWED, f"attempt to reuse consumer tag '{tag}'")
    if name in REPLY_TO_NAMES:
        queue: Queue = _reply_queue(connection, channel, frame.no_ack)
        priority = 0
    else:
        caller = caller_of(connection)
        queue = topology.readable_queue(caller, name)
        if STREAM_OFFSET in frame.arguments and queue.history is not None:
            queue = queue.history
        priority = check_consumer_arguments(frame.arguments, queue.type_name, name, caller.vhost.name)
        if is_browser(frame.arguments):
            if frame.exclusive:
                raise refuse_exclusive(name, caller.vhost.name)
            queue = queue.have_view(caller.vhost.name)
        else:
            _exclusivity(connection, queue, frame.exclusive)
        queue.check_consumer(frame.no_ack, channel.prefetch, frame.arguments)
    consumer = ChannelConsumer(
        channel,
        tag,
        queue,
        frame.no_ack,
        frame.exclusive,
        channel.prefetch,
        max(-(2**31), min(2**31 - 1, priority)),
        frame.arguments,
    )
    channel.consumers[tag] = consumer
    if consumer.timeout >= 0:
        connection.broker.own_timeouts = True
    channel.window.expect(queue, consumer)
    if not frame.nowait:
        channel.reply(encode(commands.Basic.ConsumeOk, consumer_tag=tag), 0)
    queue.add_consumer(consumer)


def _reply_queue(connection: Connection, channel: Channel, no_ack: bool) -> ReplyQueue:
    vhost = connection.vhost
    assert vhost is not None
    if not no_ack:
        raise BrokerError(PRECONDITION_FAILED, "reply consumer cannot acknowledge")
    if channel.reply_queue is not None:
        raise BrokerError(PRECONDITION_FAILED, "reply consumer already set")
    queue = ReplyQueue(PREFIX + connection.broker.new_token())
    vhost.reply_queues[queue.name] = queue
    channel.reply_queue = queue
    return queue


def _exclusivity(connection: Connection, queue: Queue, exclusive: bool) -> None:
    """Check exclusive use; quorum queues and streams do not enforce it (observed on RabbitMQ)."""
    if queue.type_name in topology.ALWAYS_DURABLE:
        return
    vhost = connection.vhost
    assert vhost is not None
    others = queue.consumers()
    # An exclusive consumer is alone, so the first tells for all; a queue may have thousands.
    taken = bool(others) and (exclusive or others[0].exclusive)
    if taken or (exclusive and queue.arguments.get(SINGLE_ACTIVE_CONSUMER) is True):
        raise BrokerError(ACCESS_REFUSED, f"queue '{queue.name}' in vhost '{vhost.name}' in exclusive use")


def cancel(connection: Connection, channel: Channel, frame: Any) -> None:
    """``basic.cancel``; cancelling what is not there is fine."""
    consumer = channel.remove_consumer(frame.consumer_tag)
    if consumer is not None:
        if isinstance(consumer.queue, ReplyQueue):
            if connection.vhost is not None:
                connection.vhost.reply_queues.pop(consumer.queue.name, None)
            channel.reply_queue = None
        elif not isinstance(consumer.queue, BrowseView):
            delete_if_abandoned(connection, consumer.queue.name)
    if not frame.nowait:
        channel.reply(encode(commands.Basic.CancelOk, consumer_tag=frame.consumer_tag), 0)


def cancel_ok(connection: Connection, channel: Channel, frame: Any) -> None:
    """A client's answer to the broker's ``basic.cancel``: nothing to do."""


def get(connection: Connection, channel: Channel, frame: Any) -> None:
    """``basic.get``: one message at once, outside prefetch limits."""
    name = named(connection, channel, frame.queue)
    not_reply_to(connection, name)
    queue = topology.readable_queue(caller_of(connection), name)
    if queue.type_name == "quorum" and queue.arguments.get(SINGLE_ACTIVE_CONSUMER) is True:
        vhost = connection.vhost
        assert vhost is not None
        raise BrokerError(
            RESOURCE_LOCKED,
            f"cannot obtain access to locked queue '{queue.name}' in vhost '{vhost.name}'. "
            "basic.get operations are not supported by quorum queues with single active consumer",
        )
    entry = queue.get(frame.no_ack, channel.next_tag, channel.clock.now)
    if entry is None:
        channel.got_empty += 1
        queue.got_empty += 1
        channel.reply(encode(commands.Basic.GetEmpty), 0)
        return
    channel.next_tag += 1
    if entry.returns:
        channel.redelivered += 1
    if frame.no_ack:
        channel.got_no_ack += 1
    else:
        channel.got += 1
        channel.window.append(entry)
        if queue.options.consumer_timeout >= 0:
            channel.window.expect(queue, None)
    remaining: i64 = min(queue.ready_count(), 0x7FFFFFFF)
    if not channel.held:
        write_get_ok(channel.out, channel.wire, entry, remaining)
        return
    answer = Outbox(OutboxSet())
    answer.body_max = channel.out.body_max
    write_get_ok(answer, channel.wire, entry, remaining)
    channel.hold(answer, 0)


def recover(connection: Connection, channel: Channel, frame: Any) -> None:
    """``basic.recover``: every unanswered delivery returns to its queue.

    Raises:
        BrokerError: NOT_IMPLEMENTED for ``requeue=false``, as RabbitMQ, and while a stream's deliveries are
            unanswered.
    """
    recover_async(connection, channel, frame)
    channel.reply(encode(commands.Basic.RecoverOk), 0)


def recover_async(connection: Connection, channel: Channel, frame: Any) -> None:
    """``basic.recover-async``: as recover, without an answer.

    Raises:
        BrokerError: NOT_IMPLEMENTED for ``requeue=false``, as RabbitMQ.
    """
    if not frame.requeue:
        raise BrokerError(NOT_IMPLEMENTED, "requeue=false")
    for entry in channel.window.entries():
        entry.queue.refuse_return()
    channel.put_back(channel.window.take_up_to(0), True, False)
