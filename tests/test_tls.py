"""TLS contexts: made of the settings' files, exchanged when those change, and picky about what is wrong."""

from __future__ import annotations

import os
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from harebell.settings import Tls
from harebell.tls import Certificates, TlsError, server_context
from tests.support.certificates import Authority, encrypt_key


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def shake_hands(
    server: ssl.SSLContext, client: ssl.SSLContext, host: str = "127.0.0.1"
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Complete a handshake in memory and return the server's end and the client's."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(down, up, server_hostname=host),
        server.wrap_bio(up, down, server_side=True),
    ]
    waiting = list(ends)
    while waiting:
        end = waiting.pop(0)
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            waiting.append(end)
    return ends[1], ends[0]


def common_name(end: ssl.SSLObject) -> str:
    subject: Any = (end.getpeercert() or {})["subject"]
    return str(dict(pair for rdn in subject for pair in rdn)["commonName"])


def test_a_certificate_with_its_key_in_one_file_is_enough(authority: Authority) -> None:
    context = server_context(Tls(certificate=authority.server()))
    server, client = shake_hands(context, authority.client_context())
    assert client.version() == "TLSv1.3"
    assert server.cipher() is not None


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_versions_before_1_2_are_refused_whatever_openssl_would_allow(authority: Authority) -> None:
    context = server_context(Tls(certificate=authority.server()))
    client = authority.client_context()
    client.set_ciphers("ALL:@SECLEVEL=0")
    client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        shake_hands(context, client)


def test_the_oldest_version_is_a_setting(authority: Authority) -> None:
    context = server_context(Tls(certificate=authority.server(), min_version="1.3"))
    client = authority.client_context()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        shake_hands(context, client)


def test_ciphers_are_a_setting(authority: Authority) -> None:
    tls = Tls(certificate=authority.server(), ciphers="ECDHE+AES128+AESGCM")
    client = authority.client_context()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    server, _ = shake_hands(server_context(tls), client)
    found = server.cipher()
    assert found is not None and "AES128-GCM" in found[0]


def test_renegotiation_is_off(authority: Authority) -> None:
    context = server_context(Tls(certificate=authority.server()))
    assert context.options & ssl.OP_NO_RENEGOTIATION


def test_an_encrypted_key_is_opened_with_the_password(authority: Authority, tmp_path: Path) -> None:
    path = encrypt_key(authority.issue("127.0.0.1"), tmp_path / "locked.pem", "open sesame")
    tls = Tls(certificate=path, key_password=SecretStr("open sesame"))
    shake_hands(server_context(tls), authority.client_context())


def test_an_encrypted_key_without_a_password_is_an_error_and_no_prompt(
    authority: Authority, tmp_path: Path
) -> None:
    path = encrypt_key(authority.issue("127.0.0.1"), tmp_path / "locked.pem", "open sesame")
    with pytest.raises(TlsError, match="key_password"):
        server_context(Tls(certificate=path))


def test_what_is_wrong_with_the_files_is_said(authority: Authority, tmp_path: Path) -> None:
    good = authority.server()
    junk = tmp_path / "junk.pem"
    junk.write_text("this is no certificate")
    other = authority.write(authority.issue("127.0.0.1"), "other")
    alone = tmp_path / "alone.pem"
    alone.write_bytes(authority.issue("127.0.0.1").cert_chain_pems[0].bytes())
    cases = [
        (Tls(certificate=tmp_path / "missing.pem"), "missing.pem"),
        (Tls(certificate=junk), "junk.pem"),
        (Tls(certificate=alone), "alone.pem"),
        (Tls(certificate=good, key=other), "mismatch"),
        (Tls(certificate=good, verify="required"), "tls.ca"),
        (Tls(certificate=good, verify="required", ca=junk), "tls.ca"),
        (Tls(certificate=good, verify="required", ca=authority.ca, crl=authority.ca), "tls.crl"),
        (Tls(certificate=good, verify="required", ca=authority.ca, crl=tmp_path / "no.crl"), "no.crl"),
        (Tls(certificate=good, ciphers="NOTHING-OF-THE-KIND"), "tls.ciphers"),
        (Tls(), "tls.certificate"),
    ]
    for tls, words in cases:
        with pytest.raises(TlsError, match=words):
            server_context(tls)


def test_clients_must_show_a_certificate_if_that_is_required(authority: Authority) -> None:
    tls = Tls(certificate=authority.server(), ca=authority.ca, verify="required")
    client = authority.client_context()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        shake_hands(server_context(tls), client)
    server, _ = shake_hands(server_context(tls), authority.client_context(authority.issue(common_name="me")))
    assert common_name(server) == "me"


def test_an_optional_certificate_is_checked_if_it_is_shown(authority: Authority, tmp_path: Path) -> None:
    tls = Tls(certificate=authority.server(), ca=authority.ca, verify="optional")
    server, _ = shake_hands(server_context(tls), authority.client_context())
    assert not server.getpeercert()
    stranger = Authority(tmp_path, "stranger").issue(common_name="me")
    with pytest.raises(ssl.SSLError):
        shake_hands(server_context(tls), authority.client_context(stranger))


def test_expired_and_revoked_client_certificates_are_refused(authority: Authority) -> None:
    valid, revoked = authority.issue(common_name="valid"), authority.issue(common_name="revoked")
    tls = Tls(
        certificate=authority.server(), ca=authority.ca, verify="required", crl=authority.revoke([revoked])
    )
    server, _ = shake_hands(server_context(tls), authority.client_context(valid))
    assert common_name(server) == "valid"
    for identity, words in ((revoked, "revoked"), (authority.issue(common_name="old", days=-1), "expired")):
        with pytest.raises(ssl.SSLError, match=words):
            shake_hands(server_context(tls), authority.client_context(identity))


def test_who_verifies_may_be_told_apart_from_the_settings(authority: Authority) -> None:
    tls = Tls(certificate=authority.server(), ca=authority.ca, verify="required")
    shake_hands(server_context(tls, verify="none"), authority.client_context())


def test_new_handshakes_get_the_new_certificate(authority: Authority) -> None:
    certificates = Certificates(Tls(certificate=authority.server()))
    assert not certificates.changed()
    authority.write(authority.issue("127.0.0.1", common_name="second"), "server")
    assert certificates.changed()
    _, client = shake_hands(certificates.front, authority.client_context())
    assert common_name(client) == "127.0.0.1", "files are read when reload says so, not before"
    certificates.reload()
    assert not certificates.changed()
    for context in (certificates.context, certificates.front):
        _, client = shake_hands(context, authority.client_context())
        assert common_name(client) == "second"


def test_a_bad_new_file_leaves_the_old_certificate_in_use(authority: Authority) -> None:
    path = authority.server()
    certificates = Certificates(Tls(certificate=path))
    path.write_text("half a file")
    with pytest.raises(TlsError):
        certificates.reload()
    assert not certificates.changed(), "what failed is tried again when it changes again"
    for context in (certificates.context, certificates.front):
        _, client = shake_hands(context, authority.client_context())
        assert common_name(client) == "127.0.0.1"


def test_files_behind_a_link_that_is_moved_are_seen(authority: Authority, tmp_path: Path) -> None:
    first, second = authority.server("first"), authority.server("second")
    link = tmp_path / "current.pem"
    link.symlink_to(first)
    certificates = Certificates(Tls(certificate=link))
    (tmp_path / "new").symlink_to(second)
    os.replace(tmp_path / "new", link)
    assert certificates.changed()


def test_a_certificate_that_is_gone_for_a_while_is_seen_and_reported(authority: Authority) -> None:
    path = authority.server()
    certificates = Certificates(Tls(certificate=path))
    path.unlink()
    assert certificates.changed()
    with pytest.raises(TlsError, match="No such file"):
        certificates.reload()
    assert not certificates.changed()
    authority.server()
    assert certificates.changed()


def test_new_authorities_and_revocations_count_from_the_next_handshake(authority: Authority) -> None:
    first, second = authority.issue(common_name="first"), authority.issue(common_name="second")
    crl = authority.revoke([])
    certificates = Certificates(
        Tls(certificate=authority.server(), ca=authority.ca, verify="required", crl=crl)
    )
    for context in (certificates.context, certificates.front):
        shake_hands(context, authority.client_context(first))
    authority.revoke([first])
    certificates.reload()
    for context in (certificates.context, certificates.front):
        with pytest.raises(ssl.SSLError, match="revoked"):
            shake_hands(context, authority.client_context(first))
        shake_hands(context, authority.client_context(second))


def test_an_old_session_is_no_way_round_a_revocation(authority: Authority) -> None:
    identity = authority.issue(common_name="first")
    certificates = Certificates(
        Tls(
            certificate=authority.server(),
            ca=authority.ca,
            verify="required",
            crl=authority.revoke([]),
        )
    )
    client = authority.client_context(identity)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    _, first = shake_hands(certificates.context, client)
    authority.revoke([identity])
    certificates.reload()
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    again = client.wrap_bio(down, up, server_hostname="127.0.0.1", session=first.session)
    server = certificates.context.wrap_bio(up, down, server_side=True)
    with pytest.raises(ssl.SSLError, match="revoked"):
        for _ in range(4):
            for end in (again, server):
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    continue
    assert not again.session_reused


def test_the_end_of_the_certificate_is_known_also_when_it_has_passed(authority: Authority) -> None:
    soon = Certificates(Tls(certificate=authority.server(days=3)))
    assert abs(soon.expires_at - (time.time() + 3 * 86400)) < 120
    past = Certificates(Tls(certificate=authority.server(days=-2)))
    assert abs(past.expires_at - (time.time() - 2 * 86400)) < 120
    assert (("commonName", "127.0.0.1"),) in past.subject


def test_further_certificates_are_chosen_by_the_name_asked_for(authority: Authority, tmp_path: Path) -> None:
    folder = tmp_path / "names"
    folder.mkdir()
    for name, host in (("mq.example.org", "mq.example.org"), ("*.example.net", "*.example.net")):
        identity = authority.issue(host, common_name=host)
        identity.private_key_and_cert_chain_pem.write_to_path(folder / f"{name}.pem")
    certificates = Certificates(Tls(certificate=authority.server(), sni=folder))
    asked = {
        "mq.example.org": "mq.example.org",
        "MQ.EXAMPLE.ORG": "mq.example.org",
        "a.example.net": "*.example.net",
        "a.b.example.net": "127.0.0.1",
        "127.0.0.1": "127.0.0.1",
    }
    for context in (certificates.context, certificates.front):
        for host, expected in asked.items():
            client = authority.client_context()
            client.check_hostname = False
            _, end = shake_hands(context, client, host)
            assert common_name(end) == expected, f"asked for {host}"
    added = authority.issue("new.example.org", common_name="new")
    added.private_key_and_cert_chain_pem.write_to_path(folder / "new.example.org.pem")
    assert certificates.changed()
    certificates.reload()
    _, end = shake_hands(certificates.front, authority.client_context(), "new.example.org")
    assert common_name(end) == "new"


def test_a_pipe_in_the_place_of_a_certificate_is_refused_and_not_waited_for(
    authority: Authority, tmp_path: Path
) -> None:
    certificates = Certificates(Tls(certificate=authority.server()))
    before = certificates.context
    (tmp_path / "server.pem").unlink()
    os.mkfifo(tmp_path / "server.pem")
    with pytest.raises(TlsError, match="is no regular file"):
        certificates.reload()
    assert certificates.context is before
