"""Segments: which holds an lsn, and what it still holds."""

from __future__ import annotations

import pytest

from harebell.storage.segments import Segments


@pytest.mark.parametrize(
    ("lsn", "place"), [(99, -1), (100, 0), (149, 0), (150, 1), (299, 1), (300, 2), (9999, 2)]
)
def test_the_segment_of_an_lsn_is_found_by_the_bases(lsn: int, place: int) -> None:
    assert Segments([100, 150, 300]).index_of(lsn) == place


def test_places_shift_and_numbers_stay_when_the_oldest_segments_go() -> None:
    segments = Segments([0, 150, 300])
    number = segments.first + segments.index_of(200)
    segments.forget(1)
    assert segments.first + segments.index_of(200) == number
    assert segments.index_of(149) == -1


def test_a_claim_that_is_given_up_makes_a_segment_reclaimable() -> None:
    segments = Segments([0, 150])
    segments.add(0, 70)
    segments.settle(0, 30)
    assert (segments.reclaimable(1000), segments.live_octets) == ([], 40)
    segments.settle(0, 40)
    assert (segments.reclaimable(1000), segments.live_octets) == ([0], 0)
