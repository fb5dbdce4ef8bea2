"""Authorities and certificates for tests, made on the spot."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Iterable
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import load_pem_private_key

Identity = trustme.LeafCert


class Authority:
    """A certificate authority that writes what it issues as PEM files.

    Args:
        folder: for its files.
        name: of the authority.

    Attributes:
        ca: the file with its certificate.
    """

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self.folder = folder
        self._authority = trustme.CA(organization_name=name)
        self.ca = folder / f"{name}.pem"
        self._authority.cert_pem.write_to_path(self.ca)

    def issue(
        self,
        *identities: str,
        common_name: str | None = None,
        organization: str | None = None,
        days: int = 30,
    ) -> Identity:
        """Issue a certificate for hosts, addresses or e-mail addresses; one of -1 day ended yesterday."""
        now = datetime.datetime.now(datetime.UTC)
        return self._authority.issue_cert(
            *identities,
            common_name=common_name,
            organization_name=organization,
            not_before=now - datetime.timedelta(days=60),
            not_after=now + datetime.timedelta(days=days),
        )

    def server(self, name: str = "server", host: str = "127.0.0.1", days: int = 30) -> Path:
        """Write a server's certificate with its key as one file."""
        return self.write(self.issue(host, "localhost", common_name=host, days=days), name)

    def write(self, identity: Identity, name: str) -> Path:
        """Write a certificate with its key as one file."""
        path = self.folder / f"{name}.pem"
        identity.private_key_and_cert_chain_pem.write_to_path(path)
        return path

    def revoke(self, identities: Iterable[Identity], name: str = "revoked", days: int = 30) -> Path:
        """Write the list of what the authority revoked."""
        now = datetime.datetime.now(datetime.UTC)
        issuer = x509.load_pem_x509_certificate(self._authority.cert_pem.bytes())
        key = load_pem_private_key(self._authority.private_key_pem.bytes(), None)
        revoked = x509.CertificateRevocationListBuilder(
            issuer.subject, now - datetime.timedelta(days=1), now + datetime.timedelta(days=days)
        )
        for identity in identities:
            leaf = x509.load_pem_x509_certificate(identity.cert_chain_pems[0].bytes())
            entry = x509.RevokedCertificateBuilder(leaf.serial_number, now - datetime.timedelta(hours=1))
            revoked = revoked.add_revoked_certificate(entry.build())
        path = self.folder / f"{name}.pem"
        signed = revoked.sign(key, hashes.SHA256())  # type: ignore[arg-type]
        path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        return path

    def client_context(
        self, identity: Identity | None = None, *, oldest: ssl.TLSVersion | None = None
    ) -> ssl.SSLContext:
        """Make the context of a client that trusts this authority, and shows a certificate if it has one."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.ca)
        if oldest is not None:
            context.minimum_version = oldest
        if identity is not None:
            identity.configure_cert(context)
        return context


def encrypt_key(identity: Identity, path: Path, password: str) -> Path:
    """Write a certificate with its key encrypted."""
    key = load_pem_private_key(identity.private_key_pem.bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password.encode()),
    )
    path.write_bytes(encrypted + b"".join(pem.bytes() for pem in identity.cert_chain_pems))
    return path


def subject_of(identity: Identity) -> str:
    """Give whose certificate it is, written as RFC 4514 says."""
    return x509.load_pem_x509_certificate(identity.cert_chain_pems[0].bytes()).subject.rfc4514_string()
