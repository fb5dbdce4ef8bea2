"""The classic queue against a plain list: order, positions, flags, sizes, and what the journal is told."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from harebell.content.message import Message, address
from harebell.content.properties import build_header
from harebell.engine.consumers import Unacked
from harebell.engine.dispatch import Dispatcher
from harebell.engine.expiry import Expiry
from harebell.engine.queues.classic import ClassicQueue
from harebell.engine.queues.queue import DeadLetterSink, Queue
from harebell.paging import FLAGGED, RETURN
from harebell.ports import Clock
from tests.support.journal import DelayedJournal


def classic(journal: DelayedJournal | None = None, *, durable: bool = True) -> ClassicQueue:
    clock = Clock()
    return ClassicQueue(
        7,
        "q",
        "classic",
        durable,
        0,
        False,
        {},
        Dispatcher(),
        journal or DelayedJournal(),
        clock,
        NoDeadLetters(),
        Expiry(clock),
        -1,
        False,
    )


class NoDeadLetters(DeadLetterSink):
    """Nothing is dead-lettered here."""

    def dead(self, queue: Queue, message: Message, position: int, reason: str) -> None:
        queue.settle_dead(message, position)

    def hold(self) -> None:
        pass

    def release(self) -> None:
        pass


def message(body: bytes = b"x", *, persistent: bool = True) -> Message:
    return Message(address("", "q"), build_header(len(body)), body, persistent)


def take(queue: ClassicQueue, *, no_ack: bool = False) -> Unacked:
    entry = queue.get(no_ack, 1, 0)
    assert entry is not None, "the queue should not be empty"
    return entry


def test_messages_leave_in_the_order_they_came_with_growing_positions() -> None:
    queue = classic()
    for body in (b"a", b"b", b"c"):
        assert queue.push(message(body))
    entries = [take(queue), take(queue), take(queue)]
    assert [entry.message.body for entry in entries] == [b"a", b"b", b"c"]
    assert [entry.position for entry in entries] == [1, 2, 3]
    assert queue.get(False, 1, 0) is None


def test_a_requeued_message_keeps_its_position_and_goes_first() -> None:
    queue = classic()
    for body in (b"a", b"b", b"c"):
        queue.push(message(body))
    first, second = take(queue), take(queue)
    queue.requeue(second, True)
    queue.requeue(first, True)
    queue.push(message(b"d"))
    again = [take(queue) for _ in range(4)]
    assert [(e.message.body, int(e.position), bool(e.returns)) for e in again] == [
        (b"a", 1, True),
        (b"b", 2, True),
        (b"c", 3, False),
        (b"d", 4, False),
    ]


def test_positions_go_on_after_a_purge_and_an_empty_queue() -> None:
    queue = classic()
    queue.push(message())
    assert queue.purge() == 1
    queue.push(message())
    entry = take(queue)
    assert entry.position == 2
    queue.push(message())
    assert take(queue).position == 3
    queue.requeue(entry, True)
    assert take(queue).position == 2


def test_gauges_count_headers_and_bodies() -> None:
    queue = classic()
    size = int(message(b"12345").size())
    queue.push(message(b"12345"))
    queue.push(message(b"12345"))
    assert (queue.ready_count(), queue.ready_octets()) == (2, 2 * size)
    entry = take(queue)
    assert (queue.ready_octets(), queue.unacked_count, queue.unacked_bytes) == (size, 1, size)
    queue.settle(entry)
    take(queue, no_ack=True)
    assert (queue.ready_octets(), queue.unacked_count, queue.unacked_bytes) == (0, 0, 0)
    assert (queue.published, queue.got, queue.got_no_ack, queue.acked) == (2, 1, 1, 1)


def test_the_journal_is_told_what_leaves_and_what_comes_back() -> None:
    journal = DelayedJournal()
    queue = classic(journal)
    for _ in range(5):
        queue.push(message())
    queue.settle(take(queue))
    queue.reject(take(queue))
    queue.requeue(take(queue), True)
    take(queue, no_ack=True)
    queue.purge()
    assert journal.records == [
        ("settle", 7, 1),
        ("settle", 7, 2),
        ("requeue", 7, 3),
        ("settle", 7, 3),
        ("settle", 7, 4),
        ("settle", 7, 5),
    ]


def test_where_failures_alone_count_what_is_handed_back_is_flagged_and_no_more() -> None:
    journal = DelayedJournal()
    queue = classic(journal)
    queue.counts_every_return = False
    queue.push(message())
    returns: list[int] = []
    for failed in (False, False, True, False, True):
        queue.requeue(take(queue), failed)
        entry = take(queue)
        returns.append(int(entry.returns))
        queue.requeue(entry, False)
    assert returns == [FLAGGED, FLAGGED, FLAGGED + RETURN, FLAGGED + RETURN, FLAGGED + 2 * RETURN]
    assert journal.records == [("flag", 7, 1), ("requeue", 7, 1), ("requeue", 7, 1)], (
        "a message that is flagged and not counted is as it was: nothing to tell"
    )


def test_a_purge_settles_returned_and_ready_messages_alike() -> None:
    journal = DelayedJournal()
    queue = classic(journal)
    for persistent in (True, False, True, True):
        queue.push(message(persistent=persistent))
    queue.requeue(take(queue), True)
    journal.records.clear()
    assert queue.purge() == 4
    assert sorted(journal.records) == [("settle", 7, 1), ("settle", 7, 3), ("settle", 7, 4)]


def test_transient_messages_and_queues_write_nothing() -> None:
    for queue_is_durable, persistent in ((True, False), (False, True)):
        journal = DelayedJournal()
        queue = classic(journal, durable=queue_is_durable)
        for _ in range(4):
            queue.push(message(persistent=persistent))
        queue.settle(take(queue))
        queue.requeue(take(queue), True)
        take(queue, no_ack=True)
        queue.purge()
        assert journal.records == []


def test_a_deleted_queue_forgets_and_takes_late_answers_in_silence() -> None:
    journal = DelayedJournal()
    queue = classic(journal)
    for _ in range(4):
        queue.push(message())
    entries = [take(queue), take(queue), take(queue)]
    queue.drop_all()
    assert (queue.ready_count(), queue.ready_octets()) == (0, 0)
    queue.settle(entries[0])
    queue.reject(entries[1])
    queue.requeue(entries[2], True)
    assert (queue.ready_count(), queue.unacked_count, queue.unacked_bytes) == (0, 0, 0)
    assert journal.records == []
    assert sorted(journal.forgotten) == [(7, 1), (7, 2), (7, 3), (7, 4)]


@settings(max_examples=80)
@given(st.data())
def test_any_sequence_agrees_with_a_list(data: st.DataObject) -> None:
    journal = DelayedJournal()
    queue = classic(journal)
    ready: list[tuple[int, bytes, bool]] = []
    held: dict[int, tuple[Unacked, bytes]] = {}
    last = 0
    actions = ["push", "push", "get", "get", "get no-ack", "settle", "reject", "requeue", "purge"]
    for _ in range(data.draw(st.integers(1, 40))):
        action = data.draw(st.sampled_from(actions))
        if action == "push":
            last += 1
            body = b"%d" % last
            queue.push(message(body))
            ready.append((last, body, False))
        elif action.startswith("get"):
            entry = queue.get(action != "get", 1, 0)
            assert (entry is None) == (not ready)
            if entry is not None:
                position, body, redelivered = ready.pop(0)
                assert (entry.position, entry.message.body, bool(entry.returns)) == (
                    position,
                    body,
                    redelivered,
                )
                if action == "get":
                    held[position] = (entry, body)
        elif action == "purge":
            assert queue.purge() == len(ready)
            ready.clear()
        elif held:
            position = data.draw(st.sampled_from(sorted(held)))
            entry, body = held.pop(position)
            if action == "requeue":
                queue.requeue(entry, True)
            else:
                {"settle": queue.settle, "reject": queue.reject}[action](entry)
            if action == "requeue":
                ready.append((position, body, True))
                ready.sort()
        assert queue.ready_count() == len(ready)
        assert queue.unacked_count == len(held)
        header = len(build_header(0))
        assert queue.ready_octets() == sum(header + len(body) for _, body, _ in ready)
        assert queue.unacked_bytes == sum(header + len(body) for _, body in held.values())
    settled = {record[2] for record in journal.records if record[0] == "settle"}
    assert settled == set(range(1, last + 1)) - {position for position, _, _ in ready} - set(held)
