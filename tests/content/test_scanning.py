"""Priority and expiration are read off raw headers: as parsing would, and harmless on anything."""

from hypothesis import given
from hypothesis import strategies as st

from harebell.content.properties import EXPIRATION, build_header, parse_properties
from harebell.content.scanning import expiration_of, priority_of

TEXTS = st.none() | st.text(alphabet="aé0", max_size=20)
HEADERS = st.builds(
    build_header,
    st.integers(0, 1000),
    content_type=TEXTS,
    content_encoding=TEXTS,
    headers=st.none() | st.dictionaries(st.text(alphabet="ab", max_size=5), st.integers(0, 9), max_size=3),
    delivery_mode=st.none() | st.sampled_from([1, 2]),
    priority=st.none() | st.integers(0, 255),
    correlation_id=TEXTS,
    reply_to=TEXTS,
    expiration=st.none()
    | st.integers(0, 315_360_000_000).map(str)
    | st.sampled_from(["", "+", "+7", "x", "1x", "-1", "00000000000000000012", "²", "9" * 40]),
    message_id=TEXTS,
)


def parsed_expiration(header: bytes) -> int:
    text = parse_properties(header).raw_text(EXPIRATION)
    if text is None or not text.lstrip(b"+").isdigit():
        return -1
    return int(text.lstrip(b"+"))


@given(HEADERS)
def test_the_priority_is_what_parsing_says(header: bytes) -> None:
    assert priority_of(header) == parse_properties(header).priority


@given(HEADERS)
def test_the_expiration_is_what_parsing_says_as_far_as_a_client_may_ask(header: bytes) -> None:
    expected = parsed_expiration(header)
    if expected <= 315_360_000_000:
        assert expiration_of(header) == expected
    else:
        assert expiration_of(header) > 315_360_000_000


@given(HEADERS, st.data())
def test_a_damaged_header_does_no_harm(header: bytes, data: st.DataObject) -> None:
    cut = header[: data.draw(st.integers(0, len(header)))]
    at = data.draw(st.integers(0, max(0, len(cut) - 1)))
    damaged = cut[:at] + bytes([data.draw(st.integers(0, 255))]) + cut[at + 1 :]
    assert -1 <= priority_of(damaged) <= 255
    assert expiration_of(damaged) >= -1
