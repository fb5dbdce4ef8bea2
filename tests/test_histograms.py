"""Histograms: every value is in the bucket its bound says, and nothing is lost by merging."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from hypothesis import given
from hypothesis import strategies as st

from harebell.histograms import ABSURD, DURATION_BOUNDS, SIZE_BOUNDS, Durations, Sizes, Spread

DURATIONS = st.one_of(
    st.integers(0, 10_000_000),
    st.sampled_from([round(bound * 1000) + shift for bound in DURATION_BOUNDS for shift in (-1, 0, 1)]),
)
SIZES = st.one_of(
    st.integers(0, 200_000_000),
    st.sampled_from([bound + shift for bound in SIZE_BOUNDS for shift in (-1, 0, 1)]),
)


@given(st.lists(DURATIONS))
def test_a_duration_is_in_the_first_bucket_that_ends_behind_it(elapsed: list[int]) -> None:
    # A reading of n milliseconds stands for n to n + 1.
    durations, expected = Durations(), [0] * (len(DURATION_BOUNDS) + 1)
    for each in elapsed:
        durations.add(each, 1)
        expected[bisect_right([round(bound * 1000) for bound in DURATION_BOUNDS], each)] += 1
    assert durations.counts() == expected
    assert durations.total == sum(elapsed)


@given(st.lists(SIZES))
def test_a_body_is_in_the_bucket_of_rabbitmq(octets: list[int]) -> None:
    sizes, expected = Sizes(), [0] * (len(SIZE_BOUNDS) + 1)
    for each in octets:
        sizes.add(each)
        expected[bisect_left(SIZE_BOUNDS, each)] += 1
    assert sizes.counts() == expected
    assert sizes.total == sum(octets)


@given(st.lists(DURATIONS), st.lists(DURATIONS))
def test_merged_durations_are_those_of_both(first: list[int], second: list[int]) -> None:
    one, other, both = Durations(), Durations(), Durations()
    for target, elapsed in ((one, first), (other, second), (both, first + second)):
        for each in elapsed:
            target.add(each, 1)
    one.merge(other)
    assert one.counts() == both.counts()
    assert one.total == both.total


def test_equal_durations_count_together() -> None:
    durations = Durations()
    durations.add(3, 5)
    assert sum(durations.counts()) == 5
    assert durations.total == 15


def test_a_clock_that_went_back_counts_as_no_time() -> None:
    durations = Durations()
    durations.add(-50, 1)
    assert durations.counts()[0] == 1
    assert durations.total == 0


def test_a_beginning_that_was_not_noted_is_not_counted() -> None:
    durations = Durations()
    durations.add(ABSURD, 1)
    assert sum(durations.counts()) == 0
    assert durations.total == 0


def test_a_spread_has_bounds_of_its_own() -> None:
    spread = Spread((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        spread.add(value)
    assert spread.counts() == [2, 1, 1]
    assert spread.total == 12.0
