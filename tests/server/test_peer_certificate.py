"""TLS connections are described in RabbitMQ's words, and certificates name users as its settings say."""

from __future__ import annotations

from typing import Any

import pytest

from harebell.server.peer_certificate import distinguished_name, login_name, suite

CERTIFICATE: dict[str, Any] = {
    "subject": (
        (("countryName", "DE"),),
        (("organizationName", "Example, Inc."),),
        (("commonName", "worker"),),
    ),
    "issuer": ((("commonName", "authority"),),),
    "subjectAltName": (
        ("DNS", "a.example.org"),
        ("email", "worker@example.org"),
        ("DNS", "b.example.org"),
        ("IP Address", "192.0.2.1"),
        ("URI", "spiffe://example.org/worker"),
    ),
}


@pytest.mark.parametrize(
    ("source", "san_type", "index", "expected"),
    [
        ("distinguished_name", "dns", 0, "CN=worker,O=Example\\, Inc.,C=DE"),
        ("common_name", "dns", 0, "worker"),
        ("subject_alternative_name", "dns", 0, "a.example.org"),
        ("subject_alternative_name", "dns", 1, "b.example.org"),
        ("subject_alternative_name", "dns", 2, None),
        ("subject_alternative_name", "email", 0, "worker@example.org"),
        ("subject_alternative_name", "ip", 0, "192.0.2.1"),
        ("subject_alternative_name", "uri", 0, "spiffe://example.org/worker"),
        ("subject_alternative_name", "uri", 1, None),
    ],
)
def test_the_user_name_is_what_the_settings_say(
    source: str, san_type: str, index: int, expected: str | None
) -> None:
    assert login_name(CERTIFICATE, source, san_type, index) == expected


def test_no_certificate_and_no_such_name_name_nobody() -> None:
    assert login_name({}, "distinguished_name", "dns", 0) is None
    bare: dict[str, Any] = {"subject": (), "issuer": ()}
    for source in ("distinguished_name", "common_name", "subject_alternative_name"):
        assert login_name(bare, source, "dns", 0) is None


def test_several_common_names_are_joined() -> None:
    subject = ((("commonName", "one"),), (("commonName", "two"),))
    assert login_name({"subject": subject}, "common_name", "dns", 0) == "one,two"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("a,O=b", "CN=a\\,O=b"),
        ('say "x"+y', 'CN=say \\"x\\"\\+y'),
        ("#1", "CN=\\#1"),
        (" a ", "CN=\\ a\\ "),
        (" ", "CN=\\ "),
        ("a\\b<c>;", "CN=a\\\\b\\<c\\>\\;"),
        ("admin\x00.example.org", "CN=admin\\00.example.org"),
        ("größe", "CN=größe"),
    ],
)
def test_no_value_can_be_mistaken_for_more_names(value: str, written: str) -> None:
    assert distinguished_name(((("commonName", value),),)) == written


def test_parts_of_several_attributes_and_unknown_ones_are_written_too() -> None:
    parts = ((("domainComponent", "org"),), (("commonName", "a"), ("userId", "b")), (("1.2.3", "c"),))
    assert distinguished_name(parts) == "1.2.3=c,CN=a+UID=b,DC=org"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("TLS_AES_256_GCM_SHA384", ("any", "aes_256_gcm", "aead")),
        ("TLS_CHACHA20_POLY1305_SHA256", ("any", "chacha20_poly1305", "aead")),
        ("ECDHE-RSA-AES256-GCM-SHA384", ("ecdhe_rsa", "aes_256_gcm", "aead")),
        ("ECDHE-ECDSA-CHACHA20-POLY1305", ("ecdhe_ecdsa", "chacha20_poly1305", "aead")),
        ("ECDHE-RSA-AES128-SHA256", ("ecdhe_rsa", "aes_128_cbc", "sha256")),
        ("DHE-RSA-AES256-SHA", ("dhe_rsa", "aes_256_cbc", "sha")),
        ("AES128-GCM-SHA256", ("rsa", "aes_128_gcm", "aead")),
    ],
)
def test_cipher_suites_are_split_as_rabbitmq_does(name: str, expected: tuple[str, str, str]) -> None:
    assert suite(name) == expected
