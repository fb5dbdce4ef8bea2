"""The topic exchange against a regular expression, and the time it may take."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harebell.engine.destination import Destination
from harebell.engine.exchanges.exchange import Binding
from harebell.engine.exchanges.topic import TopicExchange, split_pattern


def topic(*patterns: str) -> TopicExchange:
    exchange = TopicExchange("x", True, False, False, {})
    for pattern in patterns:
        exchange.bind(Binding(exchange, Destination(pattern, True), pattern, {}))
    return exchange


def matched(exchange: TopicExchange, key: str) -> list[str]:
    return sorted({destination.name for destination in exchange.route(key, None)})


def oracle(pattern: str, key: str) -> bool:
    """Match with one regular expression over the key's words, each ended by a dot."""
    expression = ""
    for word in pattern.split(".") if pattern else []:
        if word == "#":
            expression += r"(?:[^.]*\.)*"
        elif word == "*":
            expression += r"[^.]*\."
        else:
            expression += re.escape(word) + r"\."
    subject = "".join(word + "." for word in key.split(".")) if key else ""
    return re.fullmatch(expression, subject) is not None


WORDS = st.sampled_from(["a", "b", "", "*", "#", "ab"])
PATTERNS = st.lists(WORDS, max_size=5).map(".".join)
KEYS = st.lists(WORDS, max_size=6).map(".".join)


@settings(max_examples=500)
@given(st.lists(PATTERNS, max_size=8, unique=True), st.lists(KEYS, min_size=1, max_size=4))
def test_patterns_match_as_a_regular_expression_does(patterns: list[str], keys: list[str]) -> None:
    exchange = topic(*patterns)
    for key in keys:
        assert matched(exchange, key) == sorted(pattern for pattern in patterns if oracle(pattern, key))


@pytest.mark.parametrize(
    ("pattern", "key", "matches"),
    [
        ("", "", True),
        ("#", "", True),
        ("*", "", False),
        ("", "a", False),
        ("*", "a", True),
        ("*", ".", False),
        ("*.*", ".", True),
        ("a.#", "a", True),
        ("a.#", "a.b.c", True),
        ("#.c", "c", True),
        ("a.*.c", "a.b.c", True),
        ("a.*.c", "a.c", False),
        ("a.#.c", "a.c", True),
        ("#.#", "", True),
        ("#.#.a", "b.a", True),
        ("*.#", "", False),
        ("#.*", "a", True),
        ("a", "A", False),
        ("*", "*", True),
        ("a.*", "a.#", True),
    ],
)
def test_the_rules_word_by_word(pattern: str, key: str, matches: bool) -> None:
    assert bool(matched(topic(pattern), key)) is matches
    assert oracle(pattern, key) is matches


@given(st.lists(PATTERNS, min_size=1, max_size=8, unique=True), st.data())
def test_removed_patterns_leave_the_others_as_they_were(patterns: list[str], draw: st.DataObject) -> None:
    exchange = topic(*patterns)
    gone = draw.draw(st.lists(st.sampled_from(patterns), unique=True))
    for pattern in gone:
        for binding in list(exchange.bindings.values()):
            if binding.routing_key == pattern:
                exchange.unbind(binding.destination, pattern, {})
    left = [pattern for pattern in patterns if pattern not in gone]
    key = draw.draw(KEYS)
    assert matched(exchange, key) == sorted(pattern for pattern in left if oracle(pattern, key))


def test_an_emptied_exchange_holds_no_nodes() -> None:
    exchange = topic("a.b.c", "a.*.#.d", "#", "", "*.*")
    for binding in list(exchange.bindings.values()):
        exchange.unbind(binding.destination, binding.routing_key, {})
    assert exchange._root.is_leaf()
    assert not exchange._root.bindings


def test_patterns_that_mean_the_same_do_not_undo_each_other() -> None:
    exchange = TopicExchange("x", True, False, False, {})
    queue = Destination("q", True)
    exchange.bind(Binding(exchange, queue, "a.#", {}))
    exchange.bind(Binding(exchange, queue, "a.#.#", {}))
    exchange.unbind(queue, "a.#", {})
    assert list(exchange.route("a.b", None)) == [queue]


@pytest.mark.parametrize(
    "pattern", [".".join(["#"] * 128), ".".join(["#", "a"] * 60), ".".join(["#", "*"] * 60), "#.a.#.b.#"]
)
def test_many_wildcards_take_bounded_time(pattern: str) -> None:
    key = ".".join(["a"] * 127 + ["c"])
    exchange = topic(pattern)
    # Matching that tried every split of the key would not end in this test's lifetime.
    matched(exchange, key)


def test_a_looping_pattern_yields_its_destination_once_per_binding() -> None:
    exchange = topic("#.a.#")
    assert len(list(exchange.route(".".join(["a"] * 100), None))) == 1


def test_runs_of_hashes_become_one() -> None:
    assert split_pattern("#.#.a.#.#.*.#") == ["#", "a", "#", "*", "#"]
