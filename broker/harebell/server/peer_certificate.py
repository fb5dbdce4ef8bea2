"""What a TLS connection is described by: RabbitMQ's fields of it, and the name in the peer's certificate."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from harebell.content.table import Table

SHORT_NAMES: Final = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "emailAddress": "EMAILADDRESS",
    "generationQualifier": "GENERATIONQUALIFIER",
    "givenName": "GIVENNAME",
    "initials": "INITIALS",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "pseudonym": "PSEUDONYM",
    "serialNumber": "SERIALNUMBER",
    "stateOrProvinceName": "ST",
    "streetAddress": "STREET",
    "surname": "SN",
    "title": "TITLE",
    "userId": "UID",
}
"""RFC 4514's names of attributes, and those RabbitMQ adds, by OpenSSL's."""

ALTERNATIVE_NAMES: Final = {"dns": "DNS", "ip": "IP Address", "email": "email", "uri": "URI"}
"""Kinds of subject alternative name as the library calls them, by the setting."""

KEY_EXCHANGES: Final = ("ECDHE-ECDSA", "ECDHE-RSA", "DHE-RSA", "DHE-DSS", "ECDH-ECDSA", "ECDH-RSA")


def describe(session: ssl.SSLObject) -> Table:
    """Give the fields ``ssl*`` and ``peer_cert_*`` of a connection, as RabbitMQ's HTTP API has them."""
    protocol = (session.version() or "").lower()
    cipher = session.cipher()
    key_exchange, encryption, mac = suite("" if cipher is None else cipher[0])
    found: Table = {
        "ssl_protocol": protocol,
        "ssl_key_exchange": key_exchange,
        "ssl_cipher": encryption,
        "ssl_hash": mac,
    }
    certificate: dict[str, Any] | None = session.getpeercert()
    if certificate:
        found["peer_cert_subject"] = distinguished_name(certificate["subject"])
        found["peer_cert_issuer"] = distinguished_name(certificate["issuer"])
        found["peer_cert_validity"] = f"{_time(certificate['notBefore'])} - {_time(certificate['notAfter'])}"
    return found


def login_name(certificate: Mapping[str, Any], source: str, san_type: str, san_index: int) -> str | None:
    """Give the user name a verified certificate stands for; None if it has no such name.

    Args:
        certificate: as ``getpeercert`` gives it.
        source: ``distinguished_name``, ``common_name`` or ``subject_alternative_name``.
        san_type: ``dns``, ``ip``, ``email`` or ``uri``.
        san_index: which of several names of that type.
    """
    if not certificate:
        return None
    if source == "distinguished_name":
        return distinguished_name(certificate["subject"]) or None
    if source == "common_name":
        # RabbitMQ joins several like this, too.
        return ",".join(_values(certificate["subject"], "commonName")) or None
    kind = ALTERNATIVE_NAMES[san_type]
    names = [value for name, value in certificate.get("subjectAltName", ()) if name == kind]
    return names[san_index] if san_index < len(names) else None


def distinguished_name(parts: Iterable[Iterable[tuple[str, str]]]) -> str:
    """Write a name as RFC 4514 does: the most specific part first, ``CN=client,O=example``."""
    written = [
        "+".join(f"{SHORT_NAMES.get(name, name)}={_escaped(value)}" for name, value in part) for part in parts
    ]
    return ",".join(reversed(written))


def suite(name: str) -> tuple[str, str, str]:
    """Split OpenSSL's name of a cipher suite into key exchange, cipher and hash, in Erlang's names."""
    if name.startswith("TLS_"):
        encryption, _, _ = name.removeprefix("TLS_").rpartition("_")
        return "any", encryption.lower(), "aead"
    key_exchange = next((each for each in KEY_EXCHANGES if name.startswith(each + "-")), "")
    rest = name.removeprefix(key_exchange + "-") if key_exchange else name
    key_exchange = (key_exchange or "RSA").lower().replace("-", "_")
    rest = rest.replace("AES128", "AES-128").replace("AES256", "AES-256")
    words = rest.lower().split("-")
    if words[-1] == "poly1305":
        return key_exchange, "_".join(words), "aead"
    parts, mac = words[:-1], words[-1]
    if len(parts) == 2:
        parts.append("cbc")
    return key_exchange, "_".join(parts), mac if parts[-1] == "cbc" else "aead"


def _values(parts: Iterable[Iterable[tuple[str, str]]], wanted: str) -> list[str]:
    return [value for part in parts for name, value in part if name == wanted]


def _escaped(value: str) -> str:
    text = "".join("\\" + each if each in '",+<>;\\' else each for each in value).replace("\x00", "\\00")
    if text[:1] in (" ", "#"):
        text = "\\" + text
    if text.endswith(" ") and len(value) > 1:
        text = text[:-1] + "\\ "
    return text


def _time(text: str) -> str:
    seconds = ssl.cert_time_to_seconds(text)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
