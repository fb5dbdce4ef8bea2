"""How names, labels and numbers are written."""

import math

import pytest
from prometheus_client.parser import text_string_to_metric_families

from harebell.metrics.exposition import bound, head, histogram, labels, number, sample


@pytest.mark.parametrize(
    "name", ["plain", 'a "quoted" name', "back\\slash", "two\nlines", "ends in \\", "käse"]
)
def test_label_values_are_read_as_they_were_meant(name: str) -> None:
    text = head("m", "gauge", "A \\ help\nof two lines") + sample("m", labels(("queue",), (name,)), 1)
    (family,) = text_string_to_metric_families(text)
    assert family.samples[0].labels == {"queue": name}
    assert family.documentation == "A \\ help\nof two lines"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (2**63, "9223372036854775808"),
        (True, "1"),
        (0.25, "0.25"),
        (1e-7, "1e-07"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
    ],
)
def test_numbers_are_written_as_prometheus_reads_them(value: float, text: str) -> None:
    assert number(value) == text


def test_bounds_are_spelled_as_dashboards_ask_for_them() -> None:
    bounds = [100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 50_000_000, 100_000_000, math.inf]
    spelled = ["100.0", "1000.0", "10000.0", "100000.0", "1e+06", "1e+07", "5e+07", "1e+08", "+Inf"]
    assert [bound(value) for value in bounds] == spelled


@pytest.mark.parametrize("value", [0.001, 1_048_576, 4_194_304, 16_777_216])
def test_no_bound_is_rounded(value: float) -> None:
    assert float(bound(value)) == value


def test_buckets_add_up() -> None:
    text = head("m", "histogram", "Help") + histogram("m", 'a="b"', (1, 2), [3, 0, 4], 11.5)
    (family,) = text_string_to_metric_families(text)
    values = [(each.name, each.labels.get("le"), each.value) for each in family.samples]
    assert values == [
        ("m_bucket", "1.0", 3),
        ("m_bucket", "2.0", 3),
        ("m_bucket", "+Inf", 7),
        ("m_count", None, 7),
        ("m_sum", None, 11.5),
    ]
