from hypothesis import given
from hypothesis import strategies as st

from harebell.perf.histogram import Histogram, bucket_of, bucket_top

NANOSECONDS = st.integers(min_value=0, max_value=10**13)


@given(NANOSECONDS)
def test_a_bucket_holds_its_value_within_one_percent(value: int) -> None:
    top = bucket_top(bucket_of(value))
    assert value <= top <= value * 1.008 + 1


@given(NANOSECONDS, NANOSECONDS)
def test_buckets_sort_as_their_values_do(one: int, other: int) -> None:
    if one <= other:
        assert bucket_of(one) <= bucket_of(other)


@given(st.lists(NANOSECONDS, min_size=1), st.integers(min_value=1, max_value=100_000))
def test_percentiles_are_those_of_the_sorted_values_within_one_percent(values: list[int], rank: int) -> None:
    histogram = Histogram()
    for value in values:
        histogram.record(value, 1)
    exact = sorted(values)[-(-len(values) * rank // 100_000) - 1]
    assert exact <= histogram.percentile(rank) <= exact * 1.008 + 1


@given(
    st.lists(st.tuples(NANOSECONDS, st.integers(1, 50))), st.lists(st.tuples(NANOSECONDS, st.integers(1, 50)))
)
def test_merging_equals_recording_everything_in_one(
    first: list[tuple[int, int]], second: list[tuple[int, int]]
) -> None:
    parts = Histogram(), Histogram()
    whole = Histogram()
    for part, records in zip(parts, (first, second), strict=True):
        for value, count in records:
            part.record(value, count)
            whole.record(value, count)
    parts[0].merge(parts[1])
    for name in ("buckets", "count", "total", "minimum", "maximum"):
        assert getattr(parts[0], name) == getattr(whole, name), name


def test_minimum_mean_and_maximum_are_exact() -> None:
    histogram = Histogram()
    histogram.record(1_000_003, 3)
    histogram.record(7_000_001, 1)
    assert (histogram.minimum, histogram.maximum) == (1_000_003, 7_000_001)
    assert histogram.mean() == (3 * 1_000_003 + 7_000_001) / 4


def test_an_empty_histogram_answers_zero() -> None:
    histogram = Histogram()
    histogram.record(5, 0)
    assert (histogram.count, histogram.percentile(50_000), histogram.mean()) == (0, 0, 0.0)


def test_clear_forgets_everything() -> None:
    histogram = Histogram()
    histogram.record(5, 2)
    histogram.clear()
    histogram.record(9, 1)
    assert (histogram.minimum, histogram.maximum, histogram.count) == (9, 9, 1)
