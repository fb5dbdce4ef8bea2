"""Keys taken from headers: the same key for the same value, whatever it looks like on the wire."""

from __future__ import annotations

import datetime
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harebell.content.header_keys import LONGEST_KEY, NO_KEY, HeaderKey, shown_key
from harebell.content.properties import build_header

KEY = HeaderKey("k")


def header(value: object, content_type: str | None = None, priority: int | None = None) -> bytes:
    headers = {"other": 1, "k": value, "more": "x"}
    encoding = None if content_type is None else "utf-8"
    return build_header(
        0, content_type=content_type, content_encoding=encoding, headers=headers, priority=priority
    )


def test_text_and_octets_are_the_same_key() -> None:
    assert KEY.of(header("abc")) == KEY.of(header(b"abc")) != b""


def test_numbers_are_the_same_in_any_width() -> None:
    assert KEY.of(header(7)) == KEY.of(header(7.0)) == b"n7"
    assert KEY.of(header(7)) != KEY.of(header("7"))


@pytest.mark.parametrize("value", ["", b"", None, True, {"a": 1}, [1], datetime.datetime(2026, 1, 1)])
def test_anything_else_is_no_key(value: object) -> None:
    assert KEY.of(header(value)) == NO_KEY


def test_a_message_without_the_header_has_no_key() -> None:
    assert KEY.of(build_header(0)) == NO_KEY
    assert KEY.of(build_header(0, headers={"kk": "a"})) == NO_KEY
    assert KEY.of(b"") == NO_KEY


def test_what_stands_before_the_headers_is_stepped_over() -> None:
    assert KEY.of(header("a", content_type="text/plain", priority=3)) == KEY.of(header("a"))


def test_long_keys_are_told_apart_by_a_hash() -> None:
    one, other = "x" * LONGEST_KEY + "1", "x" * LONGEST_KEY + "2"
    assert KEY.of(header(one)) != KEY.of(header(other))
    assert len(KEY.of(header(one))) < 32
    assert shown_key(KEY.of(header(one))).startswith("(hash) ")
    assert shown_key(KEY.of(header("abc"))) == "abc"


@given(st.binary(max_size=60), st.integers(0, 255))
def test_no_octets_make_it_fail(data: bytes, flags: int) -> None:
    KEY.of(struct.pack(">HHQBB", 60, 0, 0, flags, 0) + data)
