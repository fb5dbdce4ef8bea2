import math

import pytest

from harebell.perf.errors import OptionError
from harebell.perf.options import Options, ack_text, parse_ack, parse_argument, parse_range


def test_the_defaults_are_sound_and_last_ten_seconds() -> None:
    Options().check()
    assert Options().seconds == 10
    assert Options(count=5).seconds is None
    assert Options(count=5, duration=2).seconds == 2


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (Options(publishers=0, consumers=0), "--publishers 0 and --consumers 0"),
        (Options(publishers=-1), "--publishers"),
        (Options(consumers=10_001), "--consumers"),
        (Options(queues=0), "--queues"),
        (Options(size=-1), "--size"),
        (Options(size=1 << 40), "--size"),
        (Options(confirm=-1), "--confirm"),
        (Options(confirm=1_000_001), "--confirm"),
        (Options(prefetch=65_536, ack_every=1), "--prefetch"),
        (Options(prefetch=1), "--prefetch has no effect"),
        (Options(prefetch=10, ack_every=11), "--prefetch 0 or at least N"),
        (Options(heartbeat=-1), "--heartbeat"),
        (Options(count=0), "--count"),
        (Options(duration=0), "--duration"),
        (Options(duration=math.inf), "--duration"),
        (Options(duration=math.nan), "--duration"),
        (Options(rate=-1), "--rate"),
        (Options(rate=math.nan), "--rate"),
        (Options(warmup=-1), "--warmup"),
        (Options(warmup=1, count=1), "--warmup"),
        (Options(ordered=True, publishers=2), "--ordered"),
        (Options(ordered=True, queues=2), "--ordered"),
        (Options(ordered=True, size=15), "--ordered"),
        (Options(in_flight=-1), "--in-flight"),
        (Options(in_flight=1, consumers=0), "--in-flight"),
        (Options(priority=(0, 256)), "--priority"),
        (Options(priority=(2, 1)), "--priority"),
        (Options(expiration=(0, 1 << 32)), "--expiration"),
        (Options(priority=(0, 1), ordered=True), "--ordered"),
        (Options(dead_letters="lost"), "--dead-letters"),
        (Options(dead_letters="dropped", consumers=0), "--dead-letters"),
        (Options(consume_args={"x-priority": 1}, consumers=0), "--consume-args"),
        (Options(exchange_type="x-other"), "--type"),
        (Options(exchange="", exchange_type="direct"), "--type"),
        (Options(queue="q" * 241), "--queue"),
        (Options(routing_key="é" * 121), "--routing-key"),
    ],
)
def test_what_makes_no_sense_is_refused_by_the_name_of_the_option(options: Options, names: str) -> None:
    with pytest.raises(OptionError) as refusal:
        options.check()
    assert names in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "ack_every"), [("auto", 0), ("each", 1), ("multiple:2", 2), ("multiple:50", 50)]
)
def test_ack_modes_are_read_and_written(text: str, ack_every: int) -> None:
    assert parse_ack(text) == ack_every
    assert ack_text(ack_every) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "none",
        "multiple",
        "multiple:",
        "multiple:1",
        "multiple:-3",
        "multiple:x",
        "multiple:²",
        "multiple:" + "9" * 30,
    ],
)
def test_unknown_ack_modes_are_refused(text: str) -> None:
    with pytest.raises(OptionError, match="--ack"):
        parse_ack(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x-max-length=100", ("x-max-length", 100)),
        ("x-offset=-5", ("x-offset", -5)),
        ("x-single-active-consumer=true", ("x-single-active-consumer", True)),
        ("x-queue-type=quorum", ("x-queue-type", "quorum")),
        ("x-text=a=b", ("x-text", "a=b")),
        ("x-long=99999999999999999999", ("x-long", "99999999999999999999")),
        ("x-empty=", ("x-empty", "")),
    ],
)
def test_arguments_take_the_type_they_look_like(text: str, expected: tuple[str, object]) -> None:
    assert parse_argument("--queue-args", text) == expected


@pytest.mark.parametrize("text", ["x-max-length", "=5", ""])
def test_arguments_without_key_or_value_are_refused(text: str) -> None:
    with pytest.raises(OptionError, match="--consume-args"):
        parse_argument("--consume-args", text)


@pytest.mark.parametrize(("text", "expected"), [("5", (5, 5)), ("0-10", (0, 10)), ("10-9", (10, 9))])
def test_a_range_is_one_number_or_two(text: str, expected: tuple[int, int]) -> None:
    assert parse_range("--priority", text) == expected


@pytest.mark.parametrize("text", ["", "-", "-1", "1-", "1-2-3", "x", "²", "9" * 30])
def test_what_is_no_range_is_refused_by_the_name_of_the_option(text: str) -> None:
    with pytest.raises(OptionError, match="--priority"):
        parse_range("--priority", text)


def test_bodies_are_stamped_when_there_is_room_and_latency_is_wanted() -> None:
    assert Options(size=12).stamped
    assert not Options(size=11).stamped
    assert not Options(latency=False).stamped
    assert not Options(publishers=0).stamped
