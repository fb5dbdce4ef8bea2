"""Password hashes: RabbitMQ's form, both ways."""

from __future__ import annotations

import hashlib
from base64 import b64encode

import pytest

from harebell.auth.passwords import ARGON2ID, MD5, SHA256, SHA512, decode_hash, hash_password, nobodys_hash
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


SALT = "c29tZXNhbHQxMjM0NTY3OA"
DIGEST = "A" * 43


def argon2id(cost: str = "m=19456,t=2,p=1", salt: str = SALT, digest: str = DIGEST) -> str:
    return f"$argon2id$v=19${cost}${salt}${digest}"


def test_the_test_vector_of_argon2s_reference_implementation_verifies() -> None:
    # phc-winner-argon2, test.c: version 0x13, Argon2id, t=2, m=2^8 KiB, p=1, "password", "somesalt".
    known = decode_hash(
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", ARGON2ID
    )
    assert known.verify(b"password")
    assert not known.verify(b"Password")
    assert (known.slow, known.cost) == (True, (256, 2, 1))


def test_a_new_password_can_be_hashed_with_argon2id() -> None:
    one, other = hash_password(b"secret", "argon2id"), hash_password(b"secret", "argon2id")
    assert one != other
    assert one.slow
    assert one.algorithm == "argon2id"
    assert decode_hash(one.encode(), one.algorithm) == one
    assert one.verify(b"secret")
    assert not one.verify(b"secreT")


def test_a_hash_with_argon2id_is_told_by_its_text() -> None:
    assert decode_hash(argon2id()).slow


def test_nobodys_hash_costs_what_the_others_do_and_fits_no_password() -> None:
    assert nobodys_hash("argon2id").cost == hash_password(b"", "argon2id").cost
    assert nobodys_hash().algorithm == hash_password(b"").algorithm
    assert not nobodys_hash().verify(b"")


@pytest.mark.parametrize("algorithm", ["SHA256", "sha256"])
def test_algorithms_are_known_by_the_names_others_give_them(algorithm: str) -> None:
    known = hash_password(b"secret")
    assert decode_hash(known.encode(), algorithm) == known


@pytest.mark.parametrize(
    "encoded",
    [
        "",
        "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR",
        argon2id("m=19456,t=2"),
        argon2id("m=262145,t=2,p=1"),
        argon2id("m=19456,t=17,p=1"),
        argon2id("m=19456,t=2,p=17"),
        argon2id("m=19456,t=0,p=1"),
        argon2id("m=19456,t=1,p=0"),
        argon2id("m=7,t=1,p=1"),
        argon2id("m=999999999999,t=2,p=1"),
        argon2id(salt="c2FsdA"),
        argon2id(digest="A" * 21),
        argon2id(digest="A" * 45),
        argon2id().replace("v=19", "v=16"),
        argon2id().replace("argon2id", "argon2i"),
        argon2id() + "\n",
    ],
)
def test_a_text_that_is_no_hash_with_argon2id_or_a_dear_one_is_refused(encoded: str) -> None:
    with pytest.raises(BrokerError) as refused:
        decode_hash(encoded, "argon2id")
    assert refused.value.row is PRECONDITION_FAILED
    assert not encoded or encoded not in refused.value.text


def test_a_hash_does_not_show_itself() -> None:
    known = hash_password(b"secret")
    assert known.encode() not in repr(known)
    assert known.digest.hex() not in repr(known)
    assert repr(known.digest) not in repr(known)
