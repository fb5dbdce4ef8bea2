"""harebell with TLS, started for the checks of clients that use it, and the certificates they need.

The files are in one folder: `ca.pem` is the authority of everything but the `stranger`; `guest`, `nobody` and
`stranger` are client certificates with their keys, as `.pem` and as `.p12` (with the password `secret`). The
stranger's names guest too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from interop_tests.broker_under_test import harebell_ports

if TYPE_CHECKING:
    from tests.support.certificates import Identity

PASSWORD = b"secret"


@dataclass(frozen=True)
class TlsBroker:
    """Where it listens for TLS, and where the certificates are."""

    port: int
    folder: Path

    @property
    def arguments(self) -> list[str]:
        """What check programs get to know."""
        return [str(self.port), str(self.folder)]


@contextmanager
def tls_broker(folder: Path) -> Iterator[TlsBroker]:
    """Run harebell with certificates made on the spot; skip where they cannot be made."""
    pytest.importorskip("trustme", reason="trustme is missing; it makes the certificates")
    from tests.support.certificates import Authority

    authority = Authority(folder, "ca")
    server = authority.server()
    for name, issuer in (
        ("guest", authority),
        ("nobody", authority),
        ("stranger", Authority(folder, "other-ca")),
    ):
        # Java takes no certificate without any alternative name.
        identity = issuer.issue(f"{name}@localhost", common_name="guest" if name == "stranger" else name)
        issuer.write(identity, name)
        (folder / f"{name}.p12").write_bytes(_bundle(identity, name))
    options = ["--tls-port", "0", "--tls-cert", str(server), "--tls-ca", str(authority.ca)]
    settings = {
        "HAREBELL_TLS__VERIFY": "optional",
        "HAREBELL_AUTH__MECHANISMS": "PLAIN,EXTERNAL",
        "HAREBELL_AUTH__SSL_CERT_LOGIN_FROM": "common_name",
    }
    with harebell_ports(folder, *options, settings=settings) as ports:
        yield TlsBroker(ports["amqps"], folder)


def _bundle(identity: Identity, name: str) -> bytes:
    """Put a certificate and its key into one file for Java."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        load_pem_private_key,
        pkcs12,
    )

    key = load_pem_private_key(identity.private_key_pem.bytes(), None)
    certificate, *chain = (x509.load_pem_x509_certificate(each.bytes()) for each in identity.cert_chain_pems)
    return pkcs12.serialize_key_and_certificates(
        name.encode(),
        key,  # type: ignore[arg-type]
        certificate,
        chain,
        BestAvailableEncryption(PASSWORD),
    )
