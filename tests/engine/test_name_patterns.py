"""Patterns of policies: what people write works, and nothing that is accepted takes long."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harebell.engine.name_patterns import MAX_PATTERN, BadPattern, NamePattern


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("", ["", "anything"], []),
        ("^amq\\.", ["amq.direct"], ["x.amq.", "amq"]),
        ("orders", ["my-orders-1"], ["Orders"]),
        ("^(?!amq\\.).*", ["x", ""], ["amq.x"]),
        ("^((?!celeryev).)*$", ["celery"], ["a.celeryev.b"]),
        ("^(?!(amq\\.)|(local\\.)).*$", ["x"], ["local.x", "amq.y"]),
        (".*foo.*bar.*", ["a.foo.b.bar", "x\nfoo.bar"], ["bar.foo"]),
        ("^(foo|bar)\\..*", ["foo.x", "bar.y"], ["foobar"]),
        ("^prod\\..*\\.(in|out)$", ["prod.a.in"], ["prod.in", "prod.a.inn"]),
        ("^\\w+-\\d{1,4}$", ["a-12"], ["a-12345"]),
        ("^([^.]+\\.){2}x$", ["a.b.x"], ["a.x"]),
        ("(^amq)|(^mqtt)", ["mqtt-1"], ["x"]),
        ("^(?i:ORDERS)$", ["orders"], ["order"]),
        ("^\\[[a-z\\]]+\\]$", ["[a]"], ["a"]),
    ],
)
def test_patterns_match_anywhere_in_the_name(pattern: str, matching: list[str], others: list[str]) -> None:
    compiled = NamePattern(pattern)
    assert [name for name in matching if not compiled.matches(name)] == []
    assert [name for name in others if compiled.matches(name)] == []


@pytest.mark.parametrize(
    "pattern",
    [
        "(",
        "a{3,2}",
        "[",
        "*",
        "\\",
        "(?P<a>x)(?P<a>y)",
        "[[:alpha:]]",
        "(?i)x",
        "x" * (MAX_PATTERN + 1),
        "(?#x)a",
    ],
)
def test_what_is_no_regular_expression_here_is_refused(pattern: str) -> None:
    with pytest.raises(BadPattern):
        NamePattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$",
        "(a*)*b",
        "(a|a)*b",
        "(a|ab)+$",
        "(?:a|b|ab)*c",
        "([a-z]|\\d)+$",
        ".*.*.*.*=x",
        "a?" * 30 + "a" * 30,
        "^(a?){40}$",
        "(.*a){20}",
        "(a{0,8}){8}b",
        "(x+x+)+y",
        "(?=(a+)+)b",
        "^x|.*a.*a.*ab",
        "^" + "(a|a)" * 24 + "b",
    ],
)
def test_what_could_take_for_ever_is_refused(pattern: str) -> None:
    with pytest.raises(BadPattern, match="could take too long"):
        NamePattern(pattern)


ATOMS = [
    "a",
    "b",
    ".",
    "[ab]",
    "\\w",
    "(a|b)",
    "(a|a)",
    "(a|ab)",
    "(a?)",
    "(a+)",
    "(?:",
    "(",
    ")",
    "(?=",
    "^",
    "$",
]
REPEATS = ["*", "+", "?", "{2}", "{0,5}", "{3,}", "*?", "|"]
PIECES = st.sampled_from(ATOMS + REPEATS)


@settings(max_examples=150, deadline=None)
@given(st.lists(PIECES, max_size=9).map("".join))
def test_whatever_is_accepted_is_matched_quickly(pattern: str) -> None:
    try:
        compiled = NamePattern(pattern)
    except BadPattern:
        return
    for name in ("a" * 255, "ab" * 127, "a" * 254 + "c"):
        before = time.process_time()
        compiled.matches(name)
        spent = time.process_time() - before
        assert spent < 1.0, f"{pattern!r} took {spent:.2f} s: its ways are underestimated"
