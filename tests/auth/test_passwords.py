"""Password hashes: RabbitMQ's form, both ways."""

from __future__ import annotations

import hashlib
from base64 import b64encode

import pytest

from harebell.auth.passwords import MD5, SHA256, SHA512, decode_hash, hash_password
from harebell.errors import PRECONDITION_FAILED, BrokerError


def test_the_hash_in_rabbitmqs_documentation_verifies() -> None:
    # https://www.rabbitmq.com/docs/passwords: password "test12", salt 908DC60A.
    known = decode_hash("kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR")
    assert known.salt == bytes.fromhex("908DC60A")
    assert known.verify(b"test12")
    assert not known.verify(b"test13")


@pytest.mark.parametrize(("algorithm", "digest"), [(SHA256, "sha256"), (SHA512, "sha512"), (MD5, "md5")])
def test_every_algorithm_of_rabbitmq_verifies(algorithm: str, digest: str) -> None:
    salt = b"\x00\x01\xfe\xff"
    raw = salt + hashlib.new(digest, salt + b"secret", usedforsecurity=False).digest()
    known = decode_hash(b64encode(raw).decode(), algorithm)
    assert known.verify(b"secret")
    assert not known.verify(b"Secret")
    assert not known.verify(b"")
    assert known.encode() == b64encode(raw).decode()


def test_new_passwords_get_a_fresh_salt() -> None:
    one, other = hash_password(b"secret"), hash_password(b"secret")
    assert one != other
    assert one.algorithm == SHA256
    assert one.verify(b"secret")
    assert decode_hash(one.encode()) == one


@pytest.mark.parametrize("password", [b"", b"\x00", b"\xff" * 100, "pässwörd".encode()])
def test_any_octets_are_a_password(password: bytes) -> None:
    assert hash_password(password).verify(password)
    assert not hash_password(password).verify(password + b"x")


@pytest.mark.parametrize(
    ("encoded", "algorithm"),
    [
        ("", SHA256),
        ("not base64!", SHA256),
        ("é", SHA256),
        (b64encode(b"short").decode(), SHA256),
        (hash_password(b"x").encode(), SHA512),
        (hash_password(b"x").encode(), "plain"),
    ],
    ids=["empty", "not base64", "not ASCII", "too short", "of another algorithm", "of no algorithm"],
)
def test_a_hash_that_cannot_be_one_is_refused(encoded: str, algorithm: str) -> None:
    with pytest.raises(BrokerError) as refused:
        decode_hash(encoded, algorithm)
    assert refused.value.row is PRECONDITION_FAILED
    assert not encoded or encoded not in refused.value.text


def test_a_hash_does_not_show_itself() -> None:
    known = hash_password(b"secret")
    assert known.encode() not in repr(known)
    assert known.digest.hex() not in repr(known)
    assert repr(known.digest) not in repr(known)
