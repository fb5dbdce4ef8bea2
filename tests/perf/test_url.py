import ssl

import pytest

from harebell.perf.errors import OptionError
from harebell.perf.url import BrokerURL, parse_url


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("amqp://", BrokerURL()),
        ("amqp://127.0.0.1", BrokerURL()),
        ("amqp://127.0.0.1/", BrokerURL()),
        ("amqp://127.0.0.1/%2F", BrokerURL()),
        ("amqp://127.0.0.1/a%2Fb", BrokerURL(vhost="a/b")),
        ("amqp://u:p%40ss@example.org:1234/v", BrokerURL("example.org", 1234, "u", "p@ss", "v")),
        ("amqp://u:@[::1]", BrokerURL("::1", user="u", password="")),
        ("amqps://example.org", BrokerURL("example.org", 5671, tls=True)),
        ("amqps://h?verify=verify_none", BrokerURL("h", 5671, tls=True, verify=False)),
        ("amqps://h?cacertfile=/ca.pem", BrokerURL("h", 5671, tls=True, ca_file="/ca.pem")),
    ],
)
def test_urls_are_read_as_rabbitmq_writes_them(text: str, expected: BrokerURL) -> None:
    assert parse_url(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "http://h",
        "h:5672",
        "amqp://h:port",
        "amqp://h:99999",
        "amqp://h/a/b",
        "amqp://h?verify=no",
        "amqp://h?x=1",
    ],
)
def test_urls_that_cannot_be_right_are_refused(text: str) -> None:
    with pytest.raises(OptionError):
        parse_url(text)


def test_the_password_is_shown_nowhere() -> None:
    url = parse_url("amqp://user:secret@h")
    assert "secret" not in f"{url} {url!r}"
    assert "user" in str(url)


def test_amqps_verifies_the_server_unless_told_otherwise() -> None:
    assert parse_url("amqp://h").tls_context() is None
    strict = parse_url("amqps://h").tls_context()
    loose = parse_url("amqps://h?verify=verify_none").tls_context()
    assert strict is not None
    assert (strict.verify_mode, strict.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert loose is not None
    assert loose.verify_mode == ssl.CERT_NONE


def test_a_ca_file_that_is_not_there_is_named() -> None:
    with pytest.raises(OptionError, match=r"/no/such/ca\.pem"):
        parse_url("amqps://h?cacertfile=/no/such/ca.pem").tls_context()
