"""Password hashes: Argon2id for new passwords, and RabbitMQ's, so that exported users load on either side.

RabbitMQ's travel as base64 of::

    | salt, 4 octets | digest of salt and password |

and those of Argon2id as text that names their cost (RFC 9106; the form of its reference implementation)::

    $argon2id$v=19$m=<KiB of memory>,t=<passes>,p=<lanes>$<salt>$<digest>     base64 without padding

with the algorithm beside it, by the name definitions use.
"""

from __future__ import annotations

import binascii
import hashlib
import re
import secrets
from base64 import b64decode, b64encode
from dataclasses import dataclass
from hmac import compare_digest
from typing import Final, NamedTuple

from harebell.errors import PRECONDITION_FAILED, BrokerError

SALT_SIZE: Final = 4

SHA256: Final = "rabbit_password_hashing_sha256"
SHA512: Final = "rabbit_password_hashing_sha512"
MD5: Final = "rabbit_password_hashing_md5"
ARGON2ID: Final = "argon2id"

_DIGESTS: Final = {SHA256: "sha256", SHA512: "sha512", MD5: "md5"}
_OTHER_NAMES: Final = {"sha256": SHA256, "sha512": SHA512, "md5": MD5}
"""What others call them: LavinMQ, and the settings."""


class Cost(NamedTuple):
    """What one hash with Argon2id takes: KiB of memory, passes over it, lanes."""

    memory: int = 19_456
    passes: int = 2
    lanes: int = 1


DEFAULT_COST: Final = Cost()
"""The least that OWASP's "Password Storage Cheat Sheet" asks for: 19 MiB, 35 ms on a core of 2020."""

_NO_COST: Final = Cost(0, 0, 0)
_HIGHEST: Final = Cost(256 * 1024, 16, 16)
"""A hash that is imported may not take more: 256 MiB would do for anyone, and a login must end."""

_ARGON2_SALT: Final = 16
_ARGON2_DIGEST: Final = 32
_ARGON2_TEXT: Final = re.compile(
    r"\$argon2id\$v=19\$m=(\d{1,9}),t=(\d{1,3}),p=(\d{1,3})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})"
)


@dataclass(frozen=True, slots=True, repr=False)
class PasswordHash:
    """A salted digest of a password; its representation shows neither.

    Attributes:
        algorithm: its name in definitions: one of RabbitMQ's, or ``argon2id``.
        salt: the octets before the password.
        digest: the digest of both.
        cost: of Argon2id; zeros for the others.
    """

    algorithm: str
    salt: bytes
    digest: bytes
    cost: Cost = _NO_COST

    @property
    def slow(self) -> bool:
        """True if a verification takes long, and must not be made on the event loop."""
        return self.algorithm == ARGON2ID

    def verify(self, password: bytes) -> bool:
        """Compare a password with the hash, in a time that does not depend on where they differ."""
        if self.slow:
            return compare_digest(_argon2(password, self.salt, self.cost, len(self.digest)), self.digest)
        return compare_digest(_digest(self.algorithm, self.salt, password), self.digest)

    def encode(self) -> str:
        """Give the text that definitions and the HTTP API carry."""
        if self.slow:
            memory, passes, lanes = self.cost
            cost = f"m={memory},t={passes},p={lanes}"
            return f"$argon2id$v=19${cost}${_unpadded(self.salt)}${_unpadded(self.digest)}"
        return b64encode(self.salt + self.digest).decode("ascii")


def hash_password(password: bytes, method: str = "sha256", salt: bytes | None = None) -> PasswordHash:
    """Hash a new password; with Argon2id this takes tens of milliseconds, so not on the event loop.

    Args:
        password: as octets.
        method: ``argon2id`` or ``sha256``, as ``auth.password_hashing`` says.
        salt: 4 octets, or 16 for Argon2id; random if absent.
    """
    if method == ARGON2ID:
        salt = secrets.token_bytes(_ARGON2_SALT) if salt is None else salt
        digest = _argon2(password, salt, DEFAULT_COST, _ARGON2_DIGEST)
        return PasswordHash(ARGON2ID, salt, digest, DEFAULT_COST)
    salt = secrets.token_bytes(SALT_SIZE) if salt is None else salt
    return PasswordHash(SHA256, salt, _digest(SHA256, salt, password))


def nobodys_hash(method: str = "sha256") -> PasswordHash:
    """Make a hash that no known password has, at no cost; it takes as long to verify as others do."""
    if method == ARGON2ID:
        salt, digest = secrets.token_bytes(_ARGON2_SALT), secrets.token_bytes(_ARGON2_DIGEST)
        return PasswordHash(ARGON2ID, salt, digest, DEFAULT_COST)
    return PasswordHash(SHA256, secrets.token_bytes(SALT_SIZE), secrets.token_bytes(32))


def decode_hash(encoded: str, algorithm: str = SHA256) -> PasswordHash:
    """Read a hash from its text.

    Args:
        encoded: base64, or Argon2id's text whatever the algorithm says.
        algorithm: RabbitMQ's name, LavinMQ's (``SHA256``) or ``argon2id``.

    Raises:
        BrokerError: PRECONDITION_FAILED if the algorithm is unknown, the hash has not its length, or it would
            take too much to verify.
    """
    if algorithm == ARGON2ID or encoded.startswith("$argon2id$"):
        return _decode_argon2(encoded)
    algorithm = _OTHER_NAMES.get(algorithm.lower(), algorithm)
    if algorithm not in _DIGESTS:
        raise BrokerError(PRECONDITION_FAILED, f"unknown password hashing algorithm '{algorithm}'")
    try:
        raw = b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise BrokerError(PRECONDITION_FAILED, "a password hash is not in base64") from None
    if len(raw) != SALT_SIZE + hashlib.new(_DIGESTS[algorithm], usedforsecurity=False).digest_size:
        raise BrokerError(PRECONDITION_FAILED, "a password hash has the wrong length for its algorithm")
    return PasswordHash(algorithm, raw[:SALT_SIZE], raw[SALT_SIZE:])


def _decode_argon2(encoded: str) -> PasswordHash:
    found = _ARGON2_TEXT.fullmatch(encoded)
    if found is None:
        raise BrokerError(PRECONDITION_FAILED, "a password hash is not in the form of Argon2id")
    cost = Cost(*(int(number) for number in found.groups()[:3]))
    # Eight KiB for each lane is the least there is (RFC 9106 section 3.1).
    if any(given > most for given, most in zip(cost, _HIGHEST, strict=True)) or 0 in cost[1:]:
        raise BrokerError(PRECONDITION_FAILED, "a password hash takes too much to verify")
    if cost.memory < 8 * cost.lanes:
        raise BrokerError(PRECONDITION_FAILED, "a password hash is not in the form of Argon2id")
    try:
        salt, digest = (
            b64decode(part + "=" * (-len(part) % 4), validate=True) for part in found.groups()[3:]
        )
    except (binascii.Error, ValueError):
        raise BrokerError(PRECONDITION_FAILED, "a password hash is not in base64") from None
    return PasswordHash(ARGON2ID, salt, digest, cost)


def _unpadded(octets: bytes) -> str:
    return b64encode(octets).decode("ascii").rstrip("=")


def _digest(algorithm: str, salt: bytes, password: bytes) -> bytes:
    return hashlib.new(_DIGESTS[algorithm], salt + password, usedforsecurity=False).digest()


def _argon2(password: bytes, salt: bytes, cost: Cost, length: int) -> bytes:
    # Most brokers that tests start never need it.
    from argon2.low_level import Type, hash_secret_raw

    memory, passes, lanes = cost
    return hash_secret_raw(password, salt, passes, memory, lanes, length, Type.ID)
