"""TLS: contexts made from the settings, exchanged for new ones when the files change.

Connections made with an earlier certificate last.  A new context shares no session tickets with the one
before it, so that nobody whose certificate was revoked goes on with an old session.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal
from weakref import WeakSet

if TYPE_CHECKING:
    from harebell.settings import Tls

Verify = Literal["none", "optional", "required"]

_MODES: Final = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}
_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

_NO_CHECK_TIME: Final = ssl.VerifyFlags(0x200000)
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME: to look at a certificate that may have ended."""

CONFIG_ERROR: Final = 78
"""Exit code of a node whose certificates cannot be used: EX_CONFIG of sysexits.h."""

SUFFIX: Final = ".pem"
"""Of the files in ``tls.sni``."""


ALERTS_TO: ContextVar[socket.socket | None] = ContextVar("harebell_alerts_to", default=None)
"""The socket of the handshake about to begin: a peer that is refused is told there why."""


class TlsError(Exception):
    """Certificates cannot be used; ``str()`` says which file and why.

    Attributes:
        exit_code: what a node ends with that cannot start because of it.
    """

    exit_code = CONFIG_ERROR


class _Session(ssl.SSLObject):
    """One end of TLS that tells its peer why it refuses it.

    Event loops close the socket of a failed handshake and drop what was left to send: the alert, by which a
    client could tell an expired certificate from a dead broker.
    """

    alerts: tuple[ssl.MemoryBIO, socket.socket] | None = None
    others: WeakSet[_Session] | None = None
    refused = False

    def do_handshake(self) -> None:
        if self.refused:
            raise ssl.SSLError("too many handshakes at once")
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError:
            self._ended()
            if self.alerts is not None:
                outgoing, peer = self.alerts
                with suppress(OSError):
                    peer.send(outgoing.read())
            raise
        self.alerts = None
        self._ended()

    def _ended(self) -> None:
        if self.others is not None:
            self.others.discard(self)
            self.others = None


class _Context(ssl.SSLContext):
    sslobject_class = _Session

    handshakes: WeakSet[_Session] | None = None
    """Those under way, if there is a bound; one whose connection is lost goes with its last reference."""

    most_handshakes = 0

    def wrap_bio(
        self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *args: Any, **options: Any
    ) -> _Session:
        session = super().wrap_bio(incoming, outgoing, *args, **options)
        assert isinstance(session, _Session)
        under_way = self.handshakes
        if under_way is not None:
            session.refused = len(under_way) >= self.most_handshakes
            if not session.refused:
                under_way.add(session)
                session.others = under_way
        peer = ALERTS_TO.get()
        session.alerts = None if peer is None else (outgoing, peer)
        return session


def server_context(tls: Tls, verify: Verify | None = None) -> _Context:
    """Make a context for servers: TLS 1.2 or newer, neither compression nor renegotiation.

    Args:
        tls: the settings; a certificate must be named.
        verify: whether clients must show a certificate, in place of what the settings say.

    Raises:
        TlsError: a file cannot be read or used, or settings contradict each other.
    """
    certificate = tls.certificate
    if certificate is None:
        raise TlsError("tls.certificate names no file")
    return _context(tls, certificate, tls.key, tls.verify if verify is None else verify)


def _context(tls: Tls, certificate: Path, key: Path | None, verify: Verify) -> _Context:
    context = _Context(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.min_version]
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    if tls.ciphers:
        try:
            context.set_ciphers(tls.ciphers)
        except ssl.SSLError as error:
            raise TlsError(f"tls.ciphers: {tls.ciphers!r} names no cipher: {_reason(error)}") from None
    _load_certificate(context, tls, certificate, key)
    context.verify_mode = _MODES[verify]
    if verify == "none":
        return context
    if tls.ca is None:
        raise TlsError(
            f"tls.verify = {verify!r} needs tls.ca, the authorities whose certificates are accepted"
        )
    _load_authorities(context, tls.ca, "tls.ca")
    if tls.crl is not None:
        _load_authorities(context, tls.crl, "tls.crl")
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
    return context


def _load_certificate(context: ssl.SSLContext, tls: Tls, certificate: Path, key: Path | None) -> None:
    where = f"{certificate}" if key is None else f"{certificate} with {key}"
    asked = False

    def password() -> str:
        # Without this OpenSSL would ask on the terminal, and wait.
        nonlocal asked
        asked = True
        return tls.key_password.get_secret_value()

    for path in (certificate, key):
        if path is not None:
            _readable(path, "tls.certificate" if path is certificate else "tls.key")
    try:
        context.load_cert_chain(certificate, key, password)
    except ssl.SSLError as error:
        hint = " (is tls.key_password right?)" if asked else ""
        raise TlsError(f"{where}: no certificate with its key: {_reason(error)}{hint}") from None
    except ValueError as error:
        raise TlsError(f"{where}: no certificate with its key: {error}") from None


def _load_authorities(context: ssl.SSLContext, path: Path, setting: str) -> None:
    _readable(path, setting)
    before = context.cert_store_stats()
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise TlsError(f"{setting}: {path}: nothing in PEM form can be read: {_reason(error)}") from None
    kind = "crl" if setting == "tls.crl" else "x509"
    if context.cert_store_stats()[kind] == before[kind]:
        raise TlsError(
            f"{setting}: {path}: there is no {'revocation list' if kind == 'crl' else 'certificate'}"
        )


def _readable(path: Path, setting: str) -> None:
    try:
        # Opening a named pipe would wait for ever for somebody who writes.
        if not path.is_dir() and path.exists() and not path.is_file():
            raise TlsError(f"{setting}: {path}: is no regular file")
        with path.open("rb"):
            pass
    except OSError as error:
        raise TlsError(f"{setting}: {path}: {error.strerror or error}") from None


def _reason(error: ssl.SSLError) -> str:
    # Those that Python itself raises have arguments only.
    return (getattr(error, "reason", None) or str(error.args[-1])).lower().replace("_", " ")


class Certificates:
    """The contexts of one listener: the present one for new connections.

    Args:
        tls: the settings; a certificate must be named.
        verify: whether clients must show a certificate, in place of what the settings say.
        most_handshakes: under way at once with ``front``, whose servers count connections only after them;
            who comes then is cut off.  0 is no bound.

    Attributes:
        context: for the next connection; another object after each ``reload``.
        front: stays the same: for servers that take one context for good.  It hands each handshake over to
            the present certificates.
        expires_at: when the certificate ends, unix seconds.
        subject: whose the certificate is, as ``getpeercert`` gives it.

    Raises:
        TlsError: the files cannot be used.
    """

    def __init__(self, tls: Tls, verify: Verify | None = None, most_handshakes: int = 0) -> None:
        self._tls = tls
        self._verify: Verify | None = verify
        self._seen = self._signature()
        self._load()
        self.front = server_context(tls, verify)
        self.front.sni_callback = self._choose
        if most_handshakes:
            self.front.most_handshakes = most_handshakes
            self.front.handshakes = WeakSet()

    def changed(self) -> bool:
        """Tell whether the files are others than at the last attempt to load them; reads none."""
        return self._signature() != self._seen

    def reload(self) -> None:
        """Take the files as they are now for connections to come; those that last keep theirs.

        Raises:
            TlsError: they cannot be used; the old ones stay in use.
        """
        self._seen = self._signature()
        self._load()

    def _load(self) -> None:
        context = server_context(self._tls, self._verify)
        others = dict(self._others())
        described = _own_certificate(context, self._tls)
        # A context keeps what it was made with, also for handshakes under way while files change.
        context.sni_callback = _chooser(context, others)
        self.context = context
        self._by_name = others
        self.expires_at = int(ssl.cert_time_to_seconds(described["notAfter"]))
        self.subject = described["subject"]

    def _others(self) -> Iterator[tuple[str, ssl.SSLContext]]:
        verify: Verify = self._tls.verify if self._verify is None else self._verify
        for path in self._named():
            yield path.name.removesuffix(SUFFIX).lower(), _context(self._tls, path, None, verify)

    def _named(self) -> list[Path]:
        """List the files of ``tls.sni``."""
        folder = self._tls.sni
        if folder is None:
            return []
        try:
            return sorted(path for path in folder.iterdir() if path.name.endswith(SUFFIX))
        except OSError as error:
            raise TlsError(f"tls.sni: {folder}: {error.strerror or error}") from None

    def _choose(self, handshake: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        handshake.context = _chosen(self.context, self._by_name, name)

    def _signature(self) -> tuple[object, ...]:
        """Give what differs when a file was replaced, also behind a symbolic link."""
        tls = self._tls
        try:
            named = self._named()
        except TlsError:
            named = []
        found: list[object] = []
        for path in (tls.certificate, tls.key, tls.ca, tls.crl, *named):
            if path is None:
                continue
            try:
                status = os.stat(path)
            except OSError as error:
                found.append((str(path), error.errno))
            else:
                found.append((str(path), status.st_ino, status.st_size, status.st_mtime_ns))
        return tuple(found)


def _chooser(context: ssl.SSLContext, others: dict[str, ssl.SSLContext]) -> Any:
    if not others:
        return None

    def choose(handshake: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        handshake.context = _chosen(context, others, name)

    return choose


def _chosen(usual: ssl.SSLContext, others: dict[str, ssl.SSLContext], name: str | None) -> ssl.SSLContext:
    """Find the context for a name a client asks for: of that name, of a wildcard, or the usual one."""
    if not others or not name:
        return usual
    name = name.lower()
    return others.get(name) or others.get("*." + name.partition(".")[2]) or usual


def _own_certificate(context: ssl.SSLContext, tls: Tls) -> dict[str, Any]:
    """Read the certificate by a handshake in memory: the library describes those of peers only."""
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    assert tls.certificate is not None
    _load_certificate(bare, tls, tls.certificate, tls.key)
    reader = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    reader.check_hostname = False
    reader.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    reader.load_verify_locations(tls.certificate)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = bare.wrap_bio(to_server, to_client, server_side=True)
    client = reader.wrap_bio(to_client, to_server)
    ends = [client, server]
    try:
        while ends:
            end = ends.pop(0)
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                ends.append(end)
    except ssl.SSLError as error:
        raise TlsError(f"{tls.certificate}: the certificate cannot be used: {_reason(error)}") from None
    return client.getpeercert() or {}
