"""Class tx (AMQP 0-9-1 section 1.9): all or nothing, across queues."""

from __future__ import annotations

from typing import Any

from pamqp import commands

from harebell.amqp.channel import Channel
from harebell.amqp.connection import Connection
from harebell.amqp.method_codec import encode
from harebell.amqp.transactions import Transaction
from harebell.engine.routing import enqueue_with_copies, known_already
from harebell.errors import PRECONDITION_FAILED, BrokerError
from harebell.ports import Journal


def select(connection: Connection, channel: Channel, frame: Any) -> None:
    """``tx.select``; selecting twice is fine.

    Raises:
        BrokerError: PRECONDITION_FAILED on a channel in confirm mode.
    """
    if channel.confirms.active:
        raise BrokerError(PRECONDITION_FAILED, "cannot switch from confirm to tx mode")
    if channel.transaction is None:
        channel.transaction = Transaction()
    channel.reply(encode(commands.Tx.SelectOk), 0)


def commit(connection: Connection, channel: Channel, frame: Any) -> None:
    """``tx.commit``: publishes and answers take effect; commit-ok waits until they are durable.

    Raises:
        BrokerError: PRECONDITION_FAILED without ``tx.select``, or if a queue refused a message (the rest took
            effect, as on RabbitMQ).
    """
    transaction = _transaction(channel)
    channel.transaction = Transaction()
    journal = connection.journal
    journal.begin_transaction()
    try:
        refused = _apply(channel, transaction, journal)
    finally:
        # Whatever happens, the journal must not take later records for part of this one.
        lsn = int(journal.end_transaction())
    if refused:
        raise BrokerError(PRECONDITION_FAILED, "partial tx completion")
    channel.reply(encode(commands.Tx.CommitOk), max(lsn, transaction.lsn))


def _apply(channel: Channel, transaction: Transaction, journal: Journal) -> bool:
    """Carry out a transaction; True if a queue refused one of its messages."""
    refused = False
    for publish in transaction.publishes:
        queues = [queue for queue in publish.queues if not queue.deleted]
        message, tally = publish.message, publish.route.tally
        channel.published += 1
        channel.sizes.add(len(message.body))
        ids = None if publish.route.exchange is None else publish.route.exchange.ids
        if ids is not None and ids.knows(message.header):
            transaction.lsn = max(transaction.lsn, known_already(ids, tally))
            continue
        tally.received += 1
        if not publish.queues and not publish.copies:
            channel.unrouted(publish.route, message)
        tally.routed += len(queues)
        message.arrived = channel.clock.wall
        copies = tuple(copy for copy in publish.copies if not copy.queue.deleted)
        for copy in copies:
            if copy.milliseconds > 0:
                copy.message.arrived = channel.clock.wall + copy.milliseconds
        lsn = int(enqueue_with_copies(message, queues, copies, publish.durable, journal, ids))
        transaction.lsn = max(transaction.lsn, lsn)
        if lsn < 0:
            refused = True
    channel.settle(transaction.acks)
    channel.put_back(transaction.rejects, False, True)
    for entry, failed in transaction.requeues:
        channel.put_back([entry], True, failed)
    return refused


def rollback(connection: Connection, channel: Channel, frame: Any) -> None:
    """``tx.rollback``: publishes are dropped; answers are forgotten, so the messages await one again.

    Raises:
        BrokerError: PRECONDITION_FAILED without ``tx.select``.
    """
    transaction = _transaction(channel)
    channel.transaction = Transaction()
    channel.window.restore(transaction.answered())
    channel.reply(encode(commands.Tx.RollbackOk), 0)


def _transaction(channel: Channel) -> Transaction:
    if channel.transaction is None:
        raise BrokerError(PRECONDITION_FAILED, "channel is not transactional")
    return channel.transaction
