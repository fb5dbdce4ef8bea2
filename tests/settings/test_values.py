"""Sizes, times and lists as people write them."""

import pytest

from harebell.settings.values import (
    parse_memory,
    parse_milliseconds,
    parse_names,
    parse_seconds,
    parse_size,
    parse_switch,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512", 512),
        ("1_000", 1000),
        ("64k", 65536),
        ("16MiB", 16 * 2**20),
        ("16 mib", 16 * 2**20),
        ("2GB", 2 * 10**9),
        ("1.5GiB", 3 * 2**29),
        ("1T", 2**40),
    ],
)
def test_sizes_have_the_units_of_rabbitmq_conf(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "12 parsecs", "1e6", "0x10"])
def test_a_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10", 10.0), ("10s", 10.0), ("500ms", 0.5), ("5min", 300.0), ("1h", 3600.0), ("2d", 172800.0)],
)
def test_a_bare_number_is_seconds_and_units_are_converted(text: str, seconds: float) -> None:
    assert parse_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "milliseconds"), [("1800000", 1_800_000), ("30min", 1_800_000), ("1s", 1000)]
)
def test_a_bare_number_is_milliseconds_where_rabbitmq_counts_in_them(text: str, milliseconds: int) -> None:
    assert parse_milliseconds(text) == milliseconds


@pytest.mark.parametrize(
    ("value", "mark"),
    [(0.6, 0.6), ("0.6", 0.6), (1, 1.0), ("2GiB", 2**31), (2**30, 2**30), ("1048576", 1048576)],
)
def test_memory_is_a_share_up_to_one_and_bytes_above(value: object, mark: float) -> None:
    parsed = parse_memory(value)
    assert parsed == mark
    assert isinstance(parsed, float) == (mark <= 1)


@pytest.mark.parametrize("value", [True, -1, "much", None])
def test_memory_that_is_neither_share_nor_size_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        parse_memory(value)


@pytest.mark.parametrize("text", ["a,b", " a , b ,", '["a", "b"]'])
def test_a_list_in_one_text_is_separated_by_commas_or_json(text: str) -> None:
    assert parse_names(text) == ["a", "b"]


def test_a_malformed_json_list_is_refused() -> None:
    with pytest.raises(ValueError, match="not a list"):
        parse_names('["a", ')


@pytest.mark.parametrize(("value", "choice"), [(True, "on"), ("No", "off"), ("auto", "auto"), ("ON", "on")])
def test_a_switch_takes_truth_values_too(value: object, choice: str) -> None:
    assert parse_switch(value) == choice
