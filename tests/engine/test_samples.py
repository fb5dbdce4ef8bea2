"""The recent past of counters."""

from __future__ import annotations

from harebell.engine.samples import Samples, row_of


def test_a_number_is_what_it_was_at_the_latest_look_that_found_a_change() -> None:
    samples = Samples(13)
    samples.note(1, 1000, row_of([5, 1]))
    samples.note(4, 4000, row_of([9, 1]))
    assert [samples.at(number, 0) for number in range(6)] == [-1, 5, 5, 5, 9, 9]
    assert samples.at(4, 1) == 1


def test_what_did_not_change_is_not_noted_again() -> None:
    samples = Samples(13)
    assert samples.note(1, 1000, row_of([5]))
    assert not samples.note(2, 2000, row_of([5]))
    assert (samples.changed, samples.changed_at) == (1, 1000)
    assert samples.grown(2, 0) == 0


def test_growth_is_between_the_latest_two_looks() -> None:
    samples = Samples(13)
    samples.note(1, 1000, row_of([5]))
    samples.note(2, 2000, row_of([25]))
    assert samples.grown(2, 0) == 20
    samples.note(5, 5000, row_of([24]))
    assert samples.grown(5, 0) == -1


def test_the_first_look_says_nothing_of_growth() -> None:
    samples = Samples(13)
    samples.note(7, 1000, row_of([500]))
    assert samples.grown(7, 0) == 0


def test_the_past_is_bounded_and_its_beginning_is_known() -> None:
    samples = Samples(3)
    for number in range(1, 50):
        samples.note(number, number, row_of([number]))
    assert len(samples._rows) <= 4
    assert [samples.at(number, 0) for number in (46, 47, 48, 49)] == [46, 47, 48, 49]


def test_a_long_rest_leaves_only_what_it_began_with() -> None:
    samples = Samples(3)
    for number in (1, 2, 3, 100):
        samples.note(number, number, row_of([number]))
    assert [samples.at(number, 0) for number in (97, 99, 100)] == [3, 3, 100]


def test_negative_numbers_survive() -> None:
    samples = Samples(3)
    samples.note(1, 1, row_of([-2]))
    assert samples.at(1, 0) == -2


def test_before_what_is_kept_a_number_was_what_it_was_then() -> None:
    samples = Samples(3)
    for number in range(1, 20):
        samples.note(number, number, row_of([100 + number]))
    assert samples.at(1, 0) == samples.at(16, 0) == 116
