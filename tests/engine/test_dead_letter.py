"""Dead letters: the headers they get, the keys they are routed with, the cycle rule; read back by pamqp."""

from __future__ import annotations

import contextlib
import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import header as pamqp_header

from harebell.content.message import Message, address
from harebell.content.properties import (
    EXPIRATION,
    build_header,
    parse_properties,
    with_header,
    with_property,
)
from harebell.content.table import Table, encode_value
from harebell.engine.dead_letter import (
    DELIVERY_LIMIT,
    EXPIRED,
    MAX_COUNT,
    MAX_ENTRIES,
    MAX_HEADER,
    MAX_KEYS,
    MAXLEN,
    REJECTED,
    DeadLetter,
    dead_letter,
    with_delivery_count,
    would_cycle,
)

NOW = 1_700_000_000
REASONS = (REJECTED, EXPIRED, MAXLEN, DELIVERY_LIMIT)
NAME = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
SCALAR = st.one_of(
    NAME, st.booleans(), st.none(), st.integers(-(1 << 63), (1 << 63) - 1), st.binary(max_size=9)
)
ANYTHING = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAME, inner, max_size=4),
    max_leaves=10,
)
QUEUE = st.sampled_from(["a", "b", "c", "d"])
FORGED_ENTRY = st.fixed_dictionaries(
    {},
    optional={
        "queue": QUEUE | ANYTHING,
        "reason": st.sampled_from(REASONS) | ANYTHING,
        "count": st.integers(-2, 300) | ANYTHING,
        "time": ANYTHING,
        "extra": ANYTHING,
    },
)
FORGED_DEATHS = ANYTHING | st.lists(FORGED_ENTRY | ANYTHING, max_size=6)
FORGED_HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "x-death": FORGED_DEATHS,
        "x-first-death-queue": ANYTHING,
        "x-last-death-reason": ANYTHING,
        "CC": ANYTHING | st.lists(NAME, max_size=4),
        "BCC": ANYTHING | st.lists(NAME, max_size=4),
        "other": ANYTHING,
        "y": ANYTHING,
    },
)
OURS = {
    "x-death",
    "CC",
    "BCC",
    *(f"x-{which}-death-{what}" for which in ("first", "last") for what in ("queue", "reason", "exchange")),
}


def published(
    exchange: str = "source", key: str = "key", headers: Table | None = None, **properties: Any
) -> Message:
    return Message(
        address(exchange, key), build_header(4, headers=headers, **properties), b"body", persistent=True
    )


def die(
    message: Message,
    queue: str = "q",
    reason: str = REJECTED,
    *,
    seconds: int = NOW,
    exchange: str = "dlx",
    key: str | None = None,
    keep_history: bool = True,
) -> DeadLetter:
    return dead_letter(message, queue, reason, seconds, exchange, key, keep_history)


def through(message: Message, *steps: tuple[str, str]) -> DeadLetter:
    """Let a message die in one queue after the other, a second apart."""
    letter = None
    for number, (queue, reason) in enumerate(steps):
        letter = die(message, queue, reason, seconds=NOW + number)
        message = letter.message
    assert letter is not None
    return letter


def read(header: bytes) -> dict[str, Any]:
    """Decode a header by pamqp: the properties that are present."""
    decoded = pamqp_header.ContentHeader()
    decoded.unmarshal(header)
    return {name: value for name, value in dict(decoded.properties).items() if value is not None}


def headers_of(letter: DeadLetter) -> dict[str, Any]:
    headers = read(letter.message.header)["headers"]
    assert isinstance(headers, dict)
    return headers


def deaths(letter: DeadLetter) -> list[tuple[object, object, object]]:
    return [
        (entry.get("queue"), entry.get("reason"), entry.get("count"))
        for entry in headers_of(letter)["x-death"]
    ]


def at(seconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC)


# What a death is told as


@pytest.mark.parametrize("reason", REASONS)
def test_a_death_is_told_in_full(reason: str) -> None:
    letter = die(published(), "q", reason)
    assert headers_of(letter) == {
        "x-death": [
            {
                "count": 1,
                "reason": reason,
                "queue": "q",
                "time": at(NOW),
                "exchange": "source",
                "routing-keys": ["key"],
            }
        ],
        "x-first-death-queue": "q",
        "x-first-death-reason": reason,
        "x-first-death-exchange": "source",
        "x-last-death-queue": "q",
        "x-last-death-reason": reason,
        "x-last-death-exchange": "source",
    }


def test_the_fields_have_the_types_and_the_order_of_rabbitmq() -> None:
    raw = parse_properties(die(published(expiration="5")).message.header).raw_headers()
    entry = (
        b"\x05countl\0\0\0\0\0\0\0\1"
        b"\x06reasonS\0\0\0\x08rejected"
        b"\x05queueS\0\0\0\1q"
        b"\x04timeT" + NOW.to_bytes(8, "big") + b"\x08exchangeS\0\0\0\6source"
        b"\x0crouting-keysA\0\0\0\x08S\0\0\0\3key"
        b"\x13original-expirationS\0\0\0\x015"
    )
    table = b"F" + len(entry).to_bytes(4, "big") + entry
    assert b"\x07x-deathA" + len(table).to_bytes(4, "big") + table in raw


def test_the_dead_letter_is_addressed_to_the_dead_letter_exchange() -> None:
    message = published("source", "key")
    kept = die(message).message
    assert (kept.exchange(), kept.routing_key(), kept.body, kept.persistent) == ("dlx", "key", b"body", True)
    assert die(message, key="other").message.routing_key() == "other"
    transient = Message(message.address, message.header, b"body", persistent=False)
    assert not die(transient).message.persistent


def test_every_other_property_and_header_stays() -> None:
    message = published(
        content_type="text/plain",
        content_encoding="gzip",
        headers={"one": 1, "x-custom": [1, {"two": None}], "zz": "last"},
        delivery_mode=2,
        priority=7,
        correlation_id="c",
        reply_to="r",
        message_id="m",
        timestamp=5,
        type="t",
        user_id="guest",
        app_id="a",
        cluster_id="",
    )
    before, after = read(message.header), read(die(message).message.header)
    assert {name: value for name, value in after.items() if name != "headers"} == {
        name: value for name, value in before.items() if name != "headers"
    }
    assert {key: value for key, value in after["headers"].items() if key not in OURS} == before["headers"]


def test_other_headers_stay_byte_for_byte_and_in_order() -> None:
    first, second = b"\x01zs\xff\xfe", b"\x01a" + encode_value({"deep": [1]})
    table = first + b"\x07x-deathV" + second
    header = with_property(build_header(4), 1 << 13, len(table).to_bytes(4, "big") + table)
    letter = die(Message(address("", "k"), header, b"body", False))
    assert parse_properties(letter.message.header).raw_headers().startswith(first + second)


def test_the_expiration_goes_and_is_told() -> None:
    letter = die(published(expiration="60000"), reason=EXPIRED)
    assert "expiration" not in read(letter.message.header)
    assert headers_of(letter)["x-death"][0]["original-expiration"] == "60000"
    again = die(letter.message, "r", REJECTED)
    assert "original-expiration" not in headers_of(again)["x-death"][0]
    assert headers_of(again)["x-death"][1]["original-expiration"] == "60000"


def test_names_that_are_not_utf_8_pass_through() -> None:
    odd = b"\xff\xfe".decode("utf-8", "surrogateescape")
    letter = die(published(odd, odd), odd, key=None)
    assert letter.keys == [odd]
    assert letter.message.routing_key() == odd
    assert letter.would_cycle(odd) is False
    assert die(published(odd, odd), odd, EXPIRED).would_cycle(odd)
    assert b"\x05queueS\0\0\0\2\xff\xfe" in letter.message.header


# Keys


def test_without_a_dead_letter_routing_key_all_keys_are_kept() -> None:
    letter = die(published(key="key", headers={"CC": ["cc1", "cc2", "key"]}))
    assert letter.keys == ["key", "cc1", "cc2"]
    assert headers_of(letter)["CC"] == ["cc1", "cc2", "key"]
    assert headers_of(letter)["x-death"][0]["routing-keys"] == ["key", "cc1", "cc2", "key"]


def test_a_dead_letter_routing_key_replaces_all_keys() -> None:
    letter = die(published(key="key", headers={"CC": ["cc"], "BCC": ["bcc"], "n": 1}), key="parking")
    assert letter.keys == ["parking"]
    headers = headers_of(letter)
    assert "CC" not in headers
    assert "BCC" not in headers
    assert headers["n"] == 1
    assert headers["x-death"][0]["routing-keys"] == ["key", "cc"], "the history tells the keys of before"


def test_the_empty_dead_letter_routing_key_is_one() -> None:
    assert die(published(headers={"CC": ["cc"]}), key="").keys == [""]


def test_bcc_routes_but_is_never_told() -> None:
    letter = die(published(key="key", headers={"CC": ["cc"], "BCC": ["bcc"]}))
    assert letter.keys == ["key", "cc", "bcc"]
    assert "BCC" not in headers_of(letter)
    assert headers_of(letter)["x-death"][0]["routing-keys"] == ["key", "cc"]


def test_entries_of_cc_that_are_no_strings_are_passed_over() -> None:
    assert die(published(headers={"CC": [1, "cc", None, b"raw", ["nested"]]})).keys == ["key", "cc"]
    assert die(published(headers={"CC": "cc", "BCC": {"a": 1}})).keys == ["key"]


# Several deaths


def test_the_latest_death_comes_first() -> None:
    letter = through(published(), ("a", REJECTED), ("b", EXPIRED), ("c", MAXLEN), ("d", DELIVERY_LIMIT))
    assert deaths(letter) == [
        ("d", DELIVERY_LIMIT, 1),
        ("c", MAXLEN, 1),
        ("b", EXPIRED, 1),
        ("a", REJECTED, 1),
    ]


def test_a_repeat_raises_the_count_and_moves_to_the_front() -> None:
    letter = through(
        published(expiration="9"), ("a", REJECTED), ("b", EXPIRED), ("c", EXPIRED), ("a", REJECTED)
    )
    assert deaths(letter) == [("a", REJECTED, 2), ("c", EXPIRED, 1), ("b", EXPIRED, 1)]
    repeated = headers_of(letter)["x-death"][0]
    assert repeated["time"] == at(NOW), "the time is that of the first"
    assert (repeated["exchange"], repeated["original-expiration"]) == ("source", "9")


def test_another_reason_in_the_same_queue_is_an_entry_of_its_own() -> None:
    letter = through(published(), ("a", REJECTED), ("a", EXPIRED), ("a", REJECTED))
    assert deaths(letter) == [("a", REJECTED, 2), ("a", EXPIRED, 1)]


def test_first_death_is_set_once_and_last_death_always() -> None:
    headers = headers_of(through(published(), ("a", REJECTED), ("b", EXPIRED)))
    names = ("queue", "reason", "exchange")
    assert [headers[f"x-first-death-{name}"] for name in names] == ["a", REJECTED, "source"]
    assert [headers[f"x-last-death-{name}"] for name in names] == ["b", EXPIRED, "dlx"]


# A history that a client wrote


def test_a_republished_history_keeps_counting() -> None:
    consumed = headers_of(through(published(), ("work", REJECTED), ("work", REJECTED)))
    letter = die(published(headers={"x-death": [{**consumed["x-death"][0]}]}), "work")
    assert deaths(letter) == [("work", REJECTED, 3)]


def test_a_history_that_is_not_to_be_kept_is_replaced() -> None:
    consumed = headers_of(through(published(), ("work", REJECTED), ("other", EXPIRED)))
    letter = die(published(headers=dict(consumed)), "work", keep_history=False)
    assert deaths(letter) == [("work", REJECTED, 1)]
    assert headers_of(letter)["x-first-death-queue"] == "work"


@pytest.mark.parametrize("forged", ["text", 5, None, True, {"queue": "q"}, [], ["text", 5, [[1]]]], ids=str)
def test_a_history_of_another_type_counts_as_absent(forged: object) -> None:
    letter = die(published(headers={"x-death": forged, "x-first-death-queue": "forged"}))
    assert deaths(letter) == [("q", REJECTED, 1)]
    assert headers_of(letter)["x-first-death-queue"] == "q"


@pytest.mark.parametrize(
    ("forged", "count"),
    [
        ([{}], 2),
        ([{"count": 41}], 42),
        ([{"count": 1 << 40}], (1 << 40) + 1),
        ([{"count": MAX_COUNT}], MAX_COUNT),
        ([{"count": -3}], 2),
        ([{"count": "7"}], 2),
        ([{"count": 1.5}], 2),
        ([{"count": None}], 2),
        ([{}, {}, {}], 4),
        ([{"count": 5}, {"count": 9}], 6),
    ],
    ids=str,
)
def test_a_count_goes_on_from_what_is_there(forged: list[Table], count: int) -> None:
    entries = [{"queue": "q", "reason": REJECTED, **entry} for entry in forged]
    assert deaths(die(published(headers={"x-death": entries}))) == [("q", REJECTED, count)]


@pytest.mark.parametrize(
    ("raw", "count"),
    [
        (b"b\x05", 6),
        (b"b\xff", 2),
        (b"B\xff", 256),
        (b"s\x01\x00", 257),
        (b"s\xff\xff", 2),
        (b"u\xff\xff", 65536),
        (b"I\x00\x00\x00\x07", 8),
        (b"i\xff\xff\xff\xff", 1 << 32),
        (b"l\x00\x00\x00\x00\x00\x00\x00\x07", 8),
        (b"L\x00\x00\x00\x00\x00\x00\x00\x07", 8),
        (b"T\x00\x00\x00\x00\x00\x00\x00\x07", 2),
    ],
)
def test_a_count_is_read_in_any_width(raw: bytes, count: int) -> None:
    entry = b"\x05queueS\0\0\0\1q\x06reasonS\0\0\0\x08rejected\x05count" + raw
    array = b"A" + (len(entry) + 5).to_bytes(4, "big") + b"F" + len(entry).to_bytes(4, "big") + entry
    header = with_header(build_header(4), b"x-death", array)
    assert deaths(die(Message(address("", "k"), header, b"body", False))) == [("q", REJECTED, count)]


def test_entries_of_others_stay_byte_for_byte() -> None:
    foreign = {"queue": "other", "reason": REJECTED, "count": "many", "mine": [1, {"deep": None}]}
    letter = die(published(headers={"x-death": [foreign]}))
    assert headers_of(letter)["x-death"][1] == foreign


@given(FORGED_HEADERS, QUEUE, st.sampled_from(REASONS), st.none() | NAME, st.booleans())
def test_whatever_the_headers_are_the_dead_letter_is_well_formed(
    forged: Table, queue: str, reason: str, key: str | None, keep_history: bool
) -> None:
    message = published(headers=forged)
    letter = die(message, queue, reason, key=key, keep_history=keep_history)
    headers = headers_of(letter)
    newest = headers["x-death"][0]
    assert (newest["queue"], newest["reason"]) == (queue, reason)
    assert newest["count"] >= 1
    before = read(message.header).get("headers", {})
    assert {k: v for k, v in headers.items() if k not in OURS} == {
        k: v for k, v in before.items() if k not in OURS
    }
    assert ("CC" in headers) == ("CC" in before and key is None)
    pairs = [(entry.get("queue"), entry.get("reason")) for entry in headers["x-death"]]
    assert pairs.count((queue, reason)) == 1
    assert letter.path == {name for name in letter.path if would_cycle(letter.message, name)}
    assert letter.would_cycle(queue) == (reason != REJECTED)


@given(st.binary(max_size=60), st.sampled_from(REASONS), st.none() | NAME)
def test_a_malformed_header_travels_on_unchanged(garbage: bytes, reason: str, key: str | None) -> None:
    header = build_header(4, headers={})[:12] + garbage
    letter = die(Message(address("source", "key"), header, b"body", False), "q", reason, key=key)
    with contextlib.suppress(Exception):
        parse_properties(header)
        return
    assert letter.message.header == header
    assert letter.keys == ["key" if key is None else key]
    assert letter.would_cycle("q") == (reason != REJECTED)
    assert not would_cycle(letter.message, "q")
    assert with_delivery_count(header[:12], 1) == header[:12]


@given(st.lists(st.tuples(QUEUE, st.sampled_from(REASONS)), min_size=1, max_size=12))
def test_a_journey_is_told_as_a_model_tells_it(steps: list[tuple[str, str]]) -> None:
    letter = through(published(), *steps)
    counts: dict[tuple[str, str], int] = {}
    for step in steps:
        counts[step] = counts.pop(step, 0) + 1
    told = [(queue, reason, count) for (queue, reason), count in reversed(counts.items())]
    assert deaths(letter) == told
    for queue in "abcd":
        since: list[str] = []
        for name, reason, _ in told:
            if reason == REJECTED:
                break
            since.append(name)
        assert letter.would_cycle(queue) == (queue in since)
        assert would_cycle(letter.message, queue) == (queue in since)


# Cycles


def test_a_cycle_without_a_rejection_is_recognised() -> None:
    letter = through(published(), ("a", EXPIRED), ("b", MAXLEN))
    assert letter.would_cycle("a")
    assert letter.would_cycle("b")
    assert not letter.would_cycle("c")


def test_a_rejection_since_then_allows_the_way_back() -> None:
    letter = through(published(), ("work", REJECTED), ("wait", EXPIRED))
    assert not letter.would_cycle("work")
    assert letter.would_cycle("wait")
    again = through(published(), ("work", REJECTED), ("wait", EXPIRED), ("work", REJECTED), ("wait", EXPIRED))
    assert not again.would_cycle("work")


def test_a_rejection_before_the_cycle_does_not_allow_it() -> None:
    letter = through(published(), ("work", REJECTED), ("a", EXPIRED), ("b", EXPIRED))
    assert letter.would_cycle("a")


def test_a_rejected_message_may_come_back_to_its_own_queue() -> None:
    assert not die(published(), "q", REJECTED).would_cycle("q")
    assert die(published(), "q", DELIVERY_LIMIT).would_cycle("q")


# Bounds


def test_only_the_newest_entries_are_kept() -> None:
    message = published()
    for number in range(MAX_ENTRIES + 20):
        message = die(message, f"q{number}", EXPIRED, seconds=NOW).message
    told = read(message.header)["headers"]["x-death"]
    assert len(told) == MAX_ENTRIES
    assert (told[0]["queue"], told[-1]["queue"]) == (f"q{MAX_ENTRIES + 19}", "q20")
    assert read(message.header)["headers"]["x-first-death-queue"] == "q0"


def test_a_header_does_not_outgrow_a_frame() -> None:
    message = published(headers={"big": "x" * 115_000})
    for number in range(60):
        message = die(message, f"{number:0>250}", EXPIRED).message
        assert len(message.header) <= MAX_HEADER
    told = read(message.header)["headers"]["x-death"]
    assert 10 < len(told) < 60
    assert told[0]["queue"] == f"{59:0>250}"


def test_the_newest_entry_is_told_even_in_a_full_header() -> None:
    message = published(headers={"big": "x" * (MAX_HEADER - 100)})
    letter = through(message, ("a", EXPIRED), ("b", EXPIRED))
    assert deaths(letter) == [("b", EXPIRED, 1)]


def test_an_entry_leaves_out_keys_beyond_its_share() -> None:
    keys = [f"{number:0>250}" for number in range(400)]
    letter = die(published(headers={"CC": list(keys)}))
    told = headers_of(letter)["x-death"][0]["routing-keys"]
    assert told == ["key", *keys][: len(told)]
    assert MAX_KEYS - 300 < sum(len(key) + 5 for key in told) <= MAX_KEYS
    assert letter.keys == ["key", *keys], "they are routed all the same"


# Delivery counts


def test_a_delivery_count_is_a_64_bit_number() -> None:
    header = with_delivery_count(build_header(4, headers={"a": 1}), 3)
    assert read(header)["headers"] == {"a": 1, "x-delivery-count": 3}
    assert header.endswith(b"\x10x-delivery-countl\0\0\0\0\0\0\0\3")


def test_a_delivery_count_replaces_the_publishers() -> None:
    header = with_delivery_count(build_header(4, headers={"x-delivery-count": "many", "a": 1}), 1)
    assert read(header)["headers"] == {"x-delivery-count": 1, "a": 1}
    assert read(with_delivery_count(build_header(4), 0))["headers"] == {"x-delivery-count": 0}


def test_the_original_header_is_left_alone() -> None:
    message = published(headers={"CC": ["cc"]}, expiration="5")
    before = message.header
    die(message, key="k")
    assert message.header == before
    assert parse_properties(before).raw_text(EXPIRATION) == b"5"
