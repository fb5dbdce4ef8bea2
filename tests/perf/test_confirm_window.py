import pytest
from hypothesis import given
from hypothesis import strategies as st

from harebell.perf.confirm_window import ConfirmWindow
from harebell.perf.errors import FrameError
from harebell.perf.histogram import Histogram


def test_a_window_has_room_for_its_size_and_no_more() -> None:
    window = ConfirmWindow(3, Histogram())
    window.publish(2, 10)
    assert window.room() == 1
    window.publish(1, 10)
    assert window.room() == 0


def test_a_confirm_out_of_order_makes_room_only_when_the_oldest_is_settled() -> None:
    window = ConfirmWindow(3, Histogram())
    window.publish(3, 10)
    window.settle(2, False, True, 20)
    assert (window.room(), window.confirmed) == (0, 1)
    window.settle(1, False, True, 30)
    assert (window.room(), window.confirmed) == (2, 2)


def test_latency_runs_from_the_publish_of_each_message() -> None:
    latency = Histogram()
    window = ConfirmWindow(10, latency)
    window.publish(2, 100)
    window.publish(3, 200)
    window.settle(5, True, True, 250)
    assert (latency.count, latency.minimum, latency.maximum, latency.total) == (5, 50, 150, 2 * 150 + 3 * 50)


def test_a_nack_counts_apart_and_leaves_no_latency() -> None:
    latency = Histogram()
    window = ConfirmWindow(4, latency)
    window.publish(4, 100)
    window.settle(2, True, False, 150)
    assert (window.nacked, window.confirmed, latency.count, window.room()) == (2, 0, 0, 2)


def test_tag_zero_with_multiple_settles_everything() -> None:
    window = ConfirmWindow(4, Histogram())
    window.publish(4, 100)
    window.settle(0, True, True, 150)
    assert (window.confirmed, window.room()) == (4, 4)


@pytest.mark.parametrize("tag", [3, 1 << 62, -1])
@pytest.mark.parametrize("multiple", [False, True])
def test_a_confirm_for_what_was_never_published_is_refused(tag: int, multiple: bool) -> None:
    window = ConfirmWindow(4, Histogram())
    window.publish(2, 100)
    with pytest.raises(FrameError):
        window.settle(tag, multiple, True, 150)


@given(st.integers(1, 8), st.data())
def test_the_window_agrees_with_a_set_of_outstanding_numbers(size: int, data: st.DataObject) -> None:
    latency = Histogram()
    window = ConfirmWindow(size, latency)
    outstanding: dict[int, int] = {}
    published = confirmed = nacked = total = 0
    for now in range(data.draw(st.integers(0, 40))):
        room = size - (published + 1 - min(outstanding, default=published + 1))
        assert window.room() == room
        if room and data.draw(st.booleans()):
            count = data.draw(st.integers(1, room))
            window.publish(count, now)
            outstanding.update(dict.fromkeys(range(published + 1, published + count + 1), now))
            published += count
        elif published:
            tag, multiple = data.draw(st.integers(0, published)), data.draw(st.booleans())
            accepted = data.draw(st.booleans())
            window.settle(tag, multiple, accepted, now)
            last = published if tag == 0 and multiple else tag
            settled = [n for n in outstanding if n == last or (multiple and n < last)]
            for number in settled:
                waited = now - outstanding.pop(number)
                total += waited if accepted else 0
            confirmed += len(settled) if accepted else 0
            nacked += 0 if accepted else len(settled)
        assert (window.confirmed, window.nacked) == (confirmed, nacked)
    assert (latency.count, latency.total) == (confirmed, total)
