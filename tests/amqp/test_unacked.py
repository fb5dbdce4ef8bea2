"""The window of unanswered deliveries against a plain dict."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from harebell.amqp.unacked import COMPACT_FROM, LOOK_AT_MOST, UnackedWindow, tag_of
from harebell.content.message import Message
from harebell.engine.consumers import Unacked
from harebell.engine.options import QueueOptions
from harebell.engine.reply_to import ReplyQueue

QUEUE = ReplyQueue("any")
MESSAGE = Message(b"\x00\x00", b"", b"", False)


def entry(tag: int) -> Unacked:
    return Unacked(tag, MESSAGE, QUEUE, tag, None, 0)


def window(*tags: int) -> UnackedWindow:
    made = UnackedWindow()
    for tag in tags:
        made.append(entry(tag))
    return made


def tags(entries: list[Unacked]) -> list[int]:
    return [int(each.tag) for each in entries]


def test_an_empty_window_awaits_nothing() -> None:
    empty = UnackedWindow()
    assert len(empty) == 0
    assert empty.take(1) is None
    assert not empty.awaits(0)
    assert empty.take_up_to(0) == []
    assert empty.oldest() is None


def test_an_entry_is_taken_once() -> None:
    some = window(1, 2, 3)
    taken = some.take(2)
    assert taken is not None and taken.settled
    assert some.take(2) is None
    assert tags(some.entries()) == [1, 3]
    assert len(some) == 2


def test_tags_may_have_gaps() -> None:
    some = window(3, 10, 11, 500)
    assert [some.take(tag) is not None for tag in (1, 4, 9, 12, 499, 501)] == [False] * 6
    assert [some.take(tag) is not None for tag in (11, 500, 3, 10)] == [True] * 4
    assert len(some) == 0


def test_up_to_a_tag_takes_what_is_left_in_order() -> None:
    some = window(1, 2, 3, 4, 5)
    some.take(2)
    assert tags(some.take_up_to(4)) == [1, 3, 4]
    assert tags(some.take_up_to(0)) == [5]


def test_the_oldest_is_the_longest_unanswered() -> None:
    some = window(1, 2, 3)
    some.take(2)
    some.take(1)
    oldest = some.oldest()
    assert oldest is not None and oldest.tag == 3


def test_restoring_brings_entries_back_to_their_place() -> None:
    some = window(1, 2, 3, 4)
    taken = [some.take(3), some.take(1)]
    some.append(entry(9))
    some.restore([each for each in taken if each is not None])
    assert tags(some.entries()) == [1, 2, 3, 4, 9]
    assert not any(each.settled for each in some.entries())
    assert some.take(3) is not None


def test_answered_entries_in_the_middle_do_not_pile_up() -> None:
    some = window(*range(1, 20_001))
    for tag in range(2, 20_001):
        assert some.take(tag) is not None
    assert len(some) == 1
    assert len(some._entries) <= 4 * COMPACT_FROM


def test_the_head_does_not_pile_up_either() -> None:
    some = UnackedWindow()
    for tag in range(1, 20_001):
        some.append(entry(tag))
        if tag > 3:
            assert some.take(tag - 3) is not None
    assert len(some._entries) <= 4 * COMPACT_FROM


@settings(max_examples=60)
@given(st.data())
def test_any_sequence_of_answers_agrees_with_a_dict(data: st.DataObject) -> None:
    some, model = UnackedWindow(), dict[int, Unacked]()
    parked: list[Unacked] = []
    tag = 0
    for _ in range(data.draw(st.integers(1, 40))):
        action = data.draw(st.sampled_from(["append", "append", "take", "up to", "restore"]))
        if action == "append":
            for _ in range(data.draw(st.sampled_from([1, 3, 400]))):
                tag += data.draw(st.integers(1, 2)) if tag < 20 else 1
                model[tag] = entry(tag)
                some.append(model[tag])
        elif action == "take":
            wanted = data.draw(st.integers(0, tag + 2))
            for each in range(wanted, wanted + data.draw(st.sampled_from([1, 300]))):
                assert some.awaits(each) == (each in model)
                taken, expected = some.take(each), model.pop(each, None)
                assert taken is expected
                if taken is not None:
                    parked.append(taken)
        elif action == "up to":
            last = data.draw(st.integers(0, tag + 2))
            expected_tags = [each for each in sorted(model) if last == 0 or each <= last]
            assert tags(some.take_up_to(last)) == expected_tags
            for each in expected_tags:
                parked.append(model.pop(each))
        else:
            some.restore(parked)
            model.update({int(each.tag): each for each in parked})
            parked = []
        assert len(some) == len(model)
        assert tags(some.entries()) == sorted(model)
    assert tags(sorted(model.values(), key=tag_of)) == sorted(model)


# timeouts


def queue_with(timeout: int) -> ReplyQueue:
    queue = ReplyQueue("hurried")
    queue.options = QueueOptions()
    queue.options.consumer_timeout = timeout
    return queue


def late(tag: int, delivered_at: int, queue: ReplyQueue = QUEUE) -> Unacked:
    return Unacked(tag, MESSAGE, queue, tag, None, delivered_at)


def held(*entries: Unacked) -> UnackedWindow:
    made = UnackedWindow()
    for each in entries:
        made.append(each)
        made.expect(each.queue, None)
    return made


def test_the_oldest_delivery_is_overdue_once_it_is_older_than_the_node_s_timeout() -> None:
    some = held(late(1, 0), late(2, 50))
    assert some.overdue(100, 100) is None
    found = some.overdue(101, 100)
    assert found is not None and found.tag == 1


def test_without_a_timeout_nothing_is_overdue() -> None:
    assert held(late(1, 0)).overdue(1 << 60, 0) is None
    assert held(late(1, 0, queue_with(0))).overdue(1 << 60, 10) is None


def test_a_shorter_timeout_is_found_behind_deliveries_that_may_take_longer() -> None:
    hurried = queue_with(10)
    some = held(*[late(tag, 0) for tag in range(1, 100)], late(100, 5, hurried), late(101, 6, hurried))
    assert some.overdue(15, 1000) is None
    found = some.overdue(16, 1000)
    assert found is not None and found.tag == 100
    some.take(100)
    assert some.overdue(16, 1000) is None
    found = some.overdue(17, 1000)
    assert found is not None and found.tag == 101


def test_a_queue_s_longer_timeout_goes_before_the_node_s() -> None:
    patient = queue_with(1000)
    some = held(late(1, 0, patient), late(2, 0))
    found = some.overdue(11, 10)
    assert found is not None and found.tag == 2
    some.take(2)
    assert some.overdue(1000, 10) is None
    assert some.overdue(1001, 10) is not None


def test_a_large_window_is_looked_at_in_parts() -> None:
    count = 2 * LOOK_AT_MOST
    some = held(*[late(tag, 0) for tag in range(1, count)], late(count, 0, queue_with(10)))
    assert some.overdue(100, 1000) is None
    found = some.overdue(100, 1000)
    assert found is not None and found.tag == count


def test_parts_go_on_though_deliveries_are_answered_in_between() -> None:
    count = 3 * LOOK_AT_MOST
    some = held(*[late(tag, 0) for tag in range(1, count)], late(count, 0, queue_with(10)))
    assert some.overdue(100, 1000) is None
    some.take_up_to(count - 5)
    found = some.overdue(100, 1000)
    assert found is not None and found.tag == count
