"""Publisher confirms: in order, coalesced, nothing before it is durable."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands

from harebell.amqp.confirms import Confirms
from harebell.amqp.outbox import Outbox, OutboxSet
from harebell.histograms import Durations
from harebell.ports import Clock
from tests.support.client import Client, ClientChannel
from tests.support.journal import DelayedJournal
from tests.support.node import Node
from tests.support.wire import FrameReader, method

PERSISTENT = commands.Basic.Properties(delivery_mode=2)


def answers(out: Outbox) -> list[tuple[str, int, bool]]:
    found = []
    for answer in FrameReader().read(b"".join(out.take())):
        frame = answer.frame
        assert isinstance(frame, commands.Basic.Ack | commands.Basic.Nack)
        found.append((frame.name, int(frame.delivery_tag or 0), bool(frame.multiple)))
    return found


# one channel's book-keeping


def test_a_batch_is_one_ack_with_multiple() -> None:
    confirms, out = Confirms(Clock(), Durations()), Outbox(OutboxSet())
    for _ in range(5):
        confirms.count(0)
    assert not confirms.emit(out, 1, 0)
    assert answers(out) == [("Basic.Ack", 5, True)]
    confirms.count(0)
    assert not confirms.emit(out, 1, 0)
    assert answers(out) == [("Basic.Ack", 6, False)]
    assert confirms.owed() == 0


def test_a_refused_message_splits_the_batch() -> None:
    confirms, out = Confirms(Clock(), Durations()), Outbox(OutboxSet())
    for lsn in (0, 0, -1, 0, -1, -1, 0):
        confirms.count(lsn)
    confirms.emit(out, 1, 0)
    assert answers(out) == [
        ("Basic.Ack", 2, True),
        ("Basic.Nack", 3, False),
        ("Basic.Ack", 4, False),
        ("Basic.Nack", 5, False),
        ("Basic.Nack", 6, False),
        ("Basic.Ack", 7, False),
    ]


def test_nothing_is_confirmed_before_it_is_durable() -> None:
    confirms, out = Confirms(Clock(), Durations()), Outbox(OutboxSet())
    confirms.count(10)
    assert confirms.emit(out, 1, 9)
    assert answers(out) == []
    confirms.count(20)
    assert confirms.emit(out, 1, 9)
    assert confirms.emit(out, 1, 10)
    assert answers(out) == [("Basic.Ack", 1, False)]
    assert confirms.owed() == 1
    assert not confirms.emit(out, 1, 20)
    assert answers(out) == [("Basic.Ack", 2, False)]


@given(st.data())
def test_every_message_is_answered_once_in_order_and_never_early(data: st.DataObject) -> None:
    confirms, out = Confirms(Clock(), Durations()), Outbox(OutboxSet())
    lsns: list[int] = []
    told: list[str] = []
    last = durable = 0
    for _ in range(data.draw(st.integers(1, 25))):
        if data.draw(st.booleans()):
            kind = data.draw(st.sampled_from(["durable", "transient", "refused"]))
            if kind == "durable":
                last += data.draw(st.integers(1, 3))
            lsn = {"durable": last, "transient": 0, "refused": -1}[kind]
            lsns.append(lsn)
            confirms.count(lsn)
        else:
            durable = data.draw(st.integers(durable, last))
            confirms.emit(out, 1, durable)
        for name, tag, multiple in answers(out):
            assert tag > len(told) and (multiple or tag == len(told) + 1)
            told += [name] * (tag - len(told))
        assert all(lsn <= durable for lsn in lsns[: len(told)])
    assert not confirms.emit(out, 1, last)
    for name, tag, _ in answers(out):
        told += [name] * (tag - len(told))
    assert told == ["Basic.Nack" if lsn < 0 else "Basic.Ack" for lsn in lsns]
    assert confirms.owed() == 0


# on a channel


def test_a_chunk_of_messages_is_confirmed_by_one_ack(node: Node) -> None:
    channel = node.connect().channel()
    queue = channel.queue()
    channel.confirm_select()
    channel.client.feed(channel.message(b"x", key=queue) * 50)
    assert channel.confirms() == [("ack", 50, True)]


def test_messages_to_any_number_of_queues_are_confirmed_once_each(channel: ClientChannel) -> None:
    for _ in range(3):
        channel.bind(channel.queue(), "amq.fanout")
    channel.confirm_select()
    for exchange, key in (("amq.fanout", ""), ("amq.direct", "nosuch"), ("", "nosuch")):
        channel.publish(exchange=exchange, key=key)
    assert channel.outcomes() == ["ack"] * 3


def test_the_confirm_does_not_wait_for_a_consumer(channel: ClientChannel) -> None:
    queue = channel.queue()
    channel.confirm_select()
    channel.qos(1)
    channel.consume(queue)
    channel.client.feed(channel.message(b"a", key=queue) + channel.message(b"b", key=queue))
    assert channel.outcomes() == ["ack", "ack"]


# with a journal that takes its time


@pytest.fixture
def journal() -> DelayedJournal:
    return DelayedJournal()


@pytest.fixture
def durable_node(journal: DelayedJournal) -> Node:
    return Node(journal)


@pytest.fixture
def publisher(durable_node: Node) -> ClientChannel:
    """A confirming channel of a broker whose journal is up to date, with a durable and a transient queue."""
    channel = durable_node.connect().channel()
    channel.send(commands.Queue.Declare(queue="durable", durable=True))
    durable_node.sync()
    channel.expect(commands.Queue.DeclareOk)
    channel.declare_queue("transient")
    channel.confirm_select()
    return channel


def test_a_persistent_message_in_a_durable_queue_waits_for_the_journal(
    durable_node: Node, publisher: ClientChannel, journal: DelayedJournal
) -> None:
    publisher.publish(b"a", key="durable", properties=PERSISTENT)
    publisher.expect_silence()
    assert journal.records[-1][:2] == ("message", b"a")
    durable_node.sync()
    assert publisher.outcomes() == ["ack"]


@pytest.mark.parametrize(("key", "mode"), [("durable", 1), ("transient", 2), ("transient", 1), ("nosuch", 2)])
def test_anything_else_does_not(
    publisher: ClientChannel, journal: DelayedJournal, key: str, mode: int
) -> None:
    before = journal.written
    publisher.publish(b"a", key=key, properties=commands.Basic.Properties(delivery_mode=mode))
    assert publisher.outcomes() == ["ack"]
    assert journal.written == before


def test_a_transient_message_is_confirmed_after_the_persistent_one_before_it(
    durable_node: Node, publisher: ClientChannel
) -> None:
    publisher.publish(key="durable", properties=PERSISTENT)
    publisher.publish(key="transient")
    publisher.expect_silence()
    durable_node.sync()
    assert publisher.outcomes() == ["ack", "ack"]


def test_confirms_follow_the_journal_step_by_step(
    durable_node: Node, publisher: ClientChannel, journal: DelayedJournal
) -> None:
    lsns = []
    for _ in range(4):
        publisher.publish(key="durable", properties=PERSISTENT)
        lsns.append(journal.written)
    durable_node.sync(lsns[0])
    assert publisher.outcomes() == ["ack"]
    durable_node.sync(lsns[2])
    assert publisher.outcomes() == ["ack"] * 2
    durable_node.sync()
    assert publisher.outcomes() == ["ack"]
    assert not durable_node.awaiting.channels


def test_one_record_holds_a_message_for_all_its_durable_queues(
    durable_node: Node, publisher: ClientChannel, journal: DelayedJournal
) -> None:
    publisher.send(commands.Queue.Declare(queue="second", durable=True))
    for queue in ("durable", "second", "transient"):
        publisher.send(commands.Queue.Bind(queue=queue, exchange="amq.fanout"))
    durable_node.sync()
    publisher.client.received()
    publisher.publish(b"a", exchange="amq.fanout", properties=PERSISTENT)
    first, second = durable_node.queue("durable"), durable_node.queue("second")
    assert journal.records[-1] == ("message", b"a", (first.id, 1), (second.id, 1))


def test_a_delivery_does_not_wait_for_the_journal_and_its_ack_settles(
    durable_node: Node, publisher: ClientChannel, journal: DelayedJournal
) -> None:
    publisher.consume("durable")
    publisher.publish(b"a", key="durable", properties=PERSISTENT)
    (delivery,) = publisher.deliveries()
    publisher.ack(delivery.tag)
    assert journal.records[-1] == ("settle", durable_node.queue("durable").id, 1)
    publisher.publish(b"b", key="durable", properties=PERSISTENT)
    (delivery,) = publisher.deliveries()
    publisher.cancel(publisher.client.connection.channels[1].consumers.copy().popitem()[0])
    publisher.nack(delivery.tag)
    assert journal.records[-1] == ("requeue", durable_node.queue("durable").id, 2)


def test_a_lost_connection_awaits_nothing(durable_node: Node, publisher: ClientChannel) -> None:
    publisher.publish(key="durable", properties=PERSISTENT)
    publisher.client.hang_up()
    assert not durable_node.awaiting.channels
    durable_node.sync()
    publisher.expect_silence()


def test_a_closed_channel_gets_no_late_confirms(durable_node: Node, publisher: ClientChannel) -> None:
    publisher.publish(key="durable", properties=PERSISTENT)
    publisher.close()
    durable_node.sync()
    publisher.expect_silence()
    publisher.open()
    publisher.publish(key="nosuch")
    publisher.expect_silence()


# -ok of durable changes waits too


def test_a_durable_declare_waits_for_the_journal_and_a_transient_one_does_not(durable_node: Node) -> None:
    channel = durable_node.connect().channel()
    channel.declare_queue("transient")
    channel.send(commands.Queue.Declare(queue="q", durable=True))
    channel.expect_silence()
    durable_node.sync()
    assert channel.expect(commands.Queue.DeclareOk).queue == "q"


def test_replies_keep_their_order_behind_one_that_waits(durable_node: Node) -> None:
    channel = durable_node.connect().channel()
    channel.send(
        commands.Exchange.Declare(exchange="x", durable=True),
        commands.Queue.Declare(queue="transient"),
        commands.Basic.Qos(prefetch_count=1),
        commands.Queue.Declare(queue="q", durable=True),
        commands.Queue.Bind(queue="q", exchange="x"),
        commands.Basic.Get(queue="transient"),
    )
    channel.expect_silence()
    durable_node.sync(1)
    durable_node.sync()
    assert [answer.frame.name for answer in channel.client.received()] == [
        "Exchange.DeclareOk",
        "Queue.DeclareOk",
        "Basic.QosOk",
        "Queue.DeclareOk",
        "Queue.BindOk",
        "Basic.GetEmpty",
    ]


def test_other_channels_do_not_wait(durable_node: Node) -> None:
    client = durable_node.connect()
    waiting, running = client.channel(1), client.channel(2)
    waiting.send(commands.Queue.Declare(queue="q", durable=True))
    running.declare_queue("other")


def test_close_ok_comes_after_what_the_channel_waits_for(durable_node: Node) -> None:
    channel = durable_node.connect().channel()
    channel.send(
        commands.Queue.Declare(queue="q", durable=True),
        commands.Channel.Close(reply_code=200, reply_text="", class_id=0, method_id=0),
    )
    durable_node.sync()
    assert [answer.frame.name for answer in channel.client.received()] == [
        "Queue.DeclareOk",
        "Channel.CloseOk",
    ]
    assert not durable_node.awaiting.channels
    channel.open()


def test_an_error_does_not_wait_for_the_journal(durable_node: Node) -> None:
    channel = durable_node.connect().channel()
    channel.send(commands.Queue.Declare(queue="q", durable=True), commands.Basic.Get(queue="nosuch"))
    channel.expect_close(404, commands.Basic.Get)
    durable_node.sync()
    channel.expect_silence()


def test_connection_close_ok_is_the_last_word(durable_node: Node) -> None:
    client: Client = durable_node.connect()
    channel = client.channel()
    channel.send(commands.Queue.Declare(queue="q", durable=True))
    client.close()
    durable_node.sync()
    client.expect_silence()


def test_a_get_waits_behind_a_reply_that_waits(durable_node: Node) -> None:
    channel = durable_node.connect().channel()
    channel.declare_queue("q")
    channel.publish(b"x", key="q")
    channel.send(commands.Queue.Declare(queue="d", durable=True), commands.Basic.Get(queue="q"))
    durable_node.sync()
    assert [answer.frame.name for answer in channel.client.received()] == ["Queue.DeclareOk", "Basic.GetOk"]


def test_deliveries_do_not_overtake_a_consume_ok_that_waits(durable_node: Node) -> None:
    channel = durable_node.connect().channel()
    channel.declare_queue("q")
    channel.publish(b"x", key="q")
    channel.send(commands.Queue.Declare(queue="d", durable=True), commands.Basic.Consume(queue="q"))
    durable_node.sync()
    assert [answer.frame.name for answer in channel.client.received()] == [
        "Queue.DeclareOk",
        "Basic.ConsumeOk",
        "Basic.Deliver",
    ]


def test_confirms_do_not_overtake_a_select_ok_that_waits(durable_node: Node) -> None:
    channel = durable_node.connect().channel()
    select = method(1, commands.Queue.Declare(queue="d", durable=True), commands.Confirm.Select())
    channel.client.feed(select + channel.message(b"x"))
    durable_node.sync()
    assert [answer.frame.name for answer in channel.client.received()] == [
        "Queue.DeclareOk",
        "Confirm.SelectOk",
        "Basic.Ack",
    ]


def test_waiting_for_confirms_is_counted_batch_by_batch() -> None:
    clock, waits = Clock(), Durations()
    confirms, out = Confirms(clock, waits), Outbox(OutboxSet())
    for lsn, now in ((10, 1000), (20, 1030)):
        clock.now = now
        for _ in range(3):
            confirms.count(lsn)
        assert confirms.emit(out, 1, 9)
    clock.now = 1100
    confirms.emit(out, 1, 10)
    assert (sum(waits.counts()), waits.total) == (3, 300)
    clock.now = 1130
    confirms.emit(out, 1, 20)
    assert (sum(waits.counts()), waits.total) == (6, 600)
    confirms.count(20)
    confirms.emit(out, 1, 20)
    assert waits.counts()[0] == 1


def test_confirmed_messages_are_counted_without_refused_ones() -> None:
    confirms, out = Confirms(Clock(), Durations()), Outbox(OutboxSet())
    for lsn in (0, -1, 0):
        confirms.count(lsn)
    confirms.emit(out, 1, 0)
    assert (confirms.published, confirms.confirmed) == (3, 2)
