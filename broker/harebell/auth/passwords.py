"""Password hashes in RabbitMQ's form, so that exported users load on either side.

A hash travels as base64 of::

    | salt, 4 octets | digest of salt and password |

and the algorithm beside it, by the name RabbitMQ's definitions use.
"""

from __future__ import annotations

import binascii
import hashlib
import secrets
from base64 import b64decode, b64encode
from dataclasses import dataclass
from hmac import compare_digest
from typing import Final

from harebell.errors import PRECONDITION_FAILED, BrokerError

SALT_SIZE: Final = 4

SHA256: Final = "rabbit_password_hashing_sha256"
SHA512: Final = "rabbit_password_hashing_sha512"
MD5: Final = "rabbit_password_hashing_md5"

_DIGESTS: Final = {SHA256: "sha256", SHA512: "sha512", MD5: "md5"}


@dataclass(frozen=True, slots=True, repr=False)
class PasswordHash:
    """A salted digest of a password; its representation shows neither.

    Attributes:
        algorithm: RabbitMQ's name of the digest.
        salt: the octets before the password.
        digest: the digest of both.
    """

    algorithm: str
    salt: bytes
    digest: bytes

    def verify(self, password: bytes) -> bool:
        """Compare a password with the hash, in a time that does not depend on where they differ."""
        return compare_digest(_digest(self.algorithm, self.salt, password), self.digest)

    def encode(self) -> str:
        """Give the base64 form that definitions and the HTTP API carry."""
        return b64encode(self.salt + self.digest).decode("ascii")


def hash_password(password: bytes, salt: bytes | None = None) -> PasswordHash:
    """Hash a new password with salted SHA-256, RabbitMQ's default.

    Args:
        password: as octets.
        salt: four octets; random if absent.
    """
    salt = secrets.token_bytes(SALT_SIZE) if salt is None else salt
    return PasswordHash(SHA256, salt, _digest(SHA256, salt, password))


def decode_hash(encoded: str, algorithm: str = SHA256) -> PasswordHash:
    """Read a hash from its base64 form.

    Raises:
        BrokerError: PRECONDITION_FAILED if the algorithm is unknown or the hash has not its length.
    """
    if algorithm not in _DIGESTS:
        raise BrokerError(PRECONDITION_FAILED, f"unknown password hashing algorithm '{algorithm}'")
    try:
        raw = b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise BrokerError(PRECONDITION_FAILED, "a password hash is not in base64") from None
    if len(raw) != SALT_SIZE + hashlib.new(_DIGESTS[algorithm], usedforsecurity=False).digest_size:
        raise BrokerError(PRECONDITION_FAILED, "a password hash has the wrong length for its algorithm")
    return PasswordHash(algorithm, raw[:SALT_SIZE], raw[SALT_SIZE:])


def _digest(algorithm: str, salt: bytes, password: bytes) -> bytes:
    return hashlib.new(_DIGESTS[algorithm], salt + password, usedforsecurity=False).digest()
