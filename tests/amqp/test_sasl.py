"""SASL responses, good and bad."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harebell.amqp.sasl import MECHANISMS, parse_response
from harebell.content.table import encode_table
from harebell.errors import COMMAND_INVALID, SYNTAX_ERROR, BrokerError


@pytest.mark.parametrize(
    ("response", "username", "password"),
    [
        (b"\x00guest\x00guest", "guest", b"guest"),
        ("\x00guest\x00guest", "guest", b"guest"),
        (b"guest\x00guest\x00pw", "guest", b"pw"),
        (b"\x00\x00", "", b""),
        (b"\x00gr\xc3\xbcn\x00\xff", "grün", b"\xff"),
        ("\x00grün\x00ü", "grün", "ü".encode()),
        (b"\x00\xff\x00pw", "\udcff", b"pw"),
    ],
)
def test_plain_names_a_user_and_a_password(response: bytes | str, username: str, password: bytes) -> None:
    login = parse_response("PLAIN", response)
    assert (login.mechanism, login.username, login.password) == ("PLAIN", username, password)


@pytest.mark.parametrize(
    "response", [b"", b"guest", b"\x00guest", b"guest\x00guest", b"\x00a\x00b\x00", b"root\x00guest\x00pw"]
)
def test_a_malformed_plain_response_is_a_syntax_error(response: bytes) -> None:
    with pytest.raises(BrokerError) as refused:
        parse_response("PLAIN", response)
    assert refused.value.row is SYNTAX_ERROR


@pytest.mark.parametrize(
    ("fields", "username", "password"),
    [
        ({"LOGIN": "guest", "PASSWORD": "guest"}, "guest", b"guest"),
        ({"PASSWORD": "pw", "LOGIN": "", "more": [1, None]}, "", b"pw"),
        ({"LOGIN": b"guest", "PASSWORD": b"\xff\x00"}, "guest", b"\xff\x00"),
        ({"LOGIN": "grün", "PASSWORD": "ü"}, "grün", "ü".encode()),
    ],
)
def test_amqplain_is_a_table_without_its_length(
    fields: dict[str, object], username: str, password: bytes
) -> None:
    login = parse_response("AMQPLAIN", encode_table(fields)[4:])
    assert (login.mechanism, login.username, login.password) == ("AMQPLAIN", username, password)


def test_an_amqplain_response_may_come_as_text() -> None:
    raw = encode_table({"LOGIN": "guest", "PASSWORD": "guest"})[4:]
    assert parse_response("AMQPLAIN", raw.decode()).password == b"guest"


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"\x05LOGIN",
        encode_table({"LOGIN": "guest", "PASSWORD": "guest"}),
        encode_table({"LOGIN": "guest"})[4:],
        encode_table({"PASSWORD": "guest"})[4:],
        encode_table({"LOGIN": 1, "PASSWORD": "guest"})[4:],
        encode_table({"LOGIN": "guest", "PASSWORD": None})[4:],
        encode_table({"login": "guest", "password": "guest"})[4:],
    ],
)
def test_a_malformed_amqplain_response_is_a_syntax_error(response: bytes) -> None:
    with pytest.raises(BrokerError) as refused:
        parse_response("AMQPLAIN", response)
    assert refused.value.row is SYNTAX_ERROR


@pytest.mark.parametrize("response", [b"", b"alice", b"\xff\x00"])
def test_external_takes_no_name_from_the_response(response: bytes) -> None:
    login = parse_response("EXTERNAL", response)
    assert (login.username, login.password, login.certificate_name) == ("", b"", None)


@pytest.mark.parametrize(
    "mechanism", ["", "plain", "ANONYMOUS", "RABBIT-CR-DEMO", "SCRAM-SHA-256", "x" * 300]
)
def test_an_unknown_mechanism_is_a_command_invalid(mechanism: str) -> None:
    with pytest.raises(BrokerError) as refused:
        parse_response(mechanism, b"\x00guest\x00guest")
    assert refused.value.row is COMMAND_INVALID


@given(st.sampled_from(sorted(MECHANISMS)), st.binary(max_size=60))
def test_random_octets_are_a_login_or_a_syntax_error(mechanism: str, response: bytes) -> None:
    try:
        login = parse_response(mechanism, response)
    except BrokerError as refused:
        assert refused.row is SYNTAX_ERROR
        assert "guest" not in refused.text
    else:
        assert login.mechanism == mechanism


def test_a_refusal_does_not_repeat_the_password() -> None:
    for mechanism, response in (
        ("PLAIN", b"a\x00b\x00secret\x00"),
        ("AMQPLAIN", b"\x08PASSWORDS\x00\x00secret"),
    ):
        with pytest.raises(BrokerError) as refused:
            parse_response(mechanism, response)
        assert "secret" not in str(refused.value)
