"""Credentials of the load clients, and the short proxies that are made of them."""

from __future__ import annotations

import ssl
import subprocess
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from cloudlet_deploy.lab.ca import Pki
from cloudlet_deploy.smoke.answer import OperationError
from cloudlet_deploy.smoke.gsi import Credential, CredentialError, GsiChannel, GsiContext
from cloudlet_deploy.smoke.proxy import short_proxy
from cloudlet_deploy.smoke.types import Failure
from tests.unit.smoke_servers import context, credential, issued, made_pki, server_tls

_PEM = serialization.Encoding.PEM


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return made_pki(tmp_path_factory.mktemp("pki"))


def refused(given: Credential) -> CredentialError:
    with pytest.raises(CredentialError) as caught:
        given.context()
    return caught.value


def shaken(ours: GsiContext, theirs: ssl.SSLContext, host: str = "localhost") -> ssl.SSLObject:
    """Both sides of a handshake in memory; the server's side of it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = theirs.wrap_bio(incoming, outgoing, server_side=True)
    client = GsiChannel(ours, host)
    received = b""
    while not client.handshake(received):
        incoming.write(client.pending())
        with suppress(ssl.SSLWantReadError):
            server.do_handshake()
        received = outgoing.read()
    return server


def test_both_sides_authenticate(pki: Pki) -> None:
    server = shaken(context(pki), server_tls(pki))
    assert server.version() == "TLSv1.2"
    peer = server.getpeercert()
    assert peer is not None and "Alice Lab" in str(peer["subject"])


def test_every_session_is_a_new_one(pki: Pki) -> None:
    ours, theirs = context(pki), server_tls(pki)
    for _ in range(3):
        server = shaken(ours, theirs)
        assert not server.session_reused
    assert theirs.session_stats()["hits"] == 0


def test_name_of_the_host_is_checked_in_any_case(pki: Pki) -> None:
    shaken(context(pki), server_tls(pki), "LOCALhost")
    for _ in range(2):  # the second time from memory
        with pytest.raises(OperationError) as caught:
            shaken(context(pki), server_tls(pki, "elsewhere.lab.test"))
        assert caught.value.failure is Failure.UNTRUSTED
        assert caught.value.detail == (
            "its certificate is for elsewhere.lab.test, not for localhost"
        )


def test_door_of_another_ca_is_refused(pki: Pki, tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        shaken(context(pki, ca_dir=tmp_path), server_tls(pki))


def test_expired_credential_is_told_before_any_connection(pki: Pki, tmp_path: Path) -> None:
    old = issued(pki, tmp_path / "old.pem", -timedelta(days=2), -timedelta(hours=1))
    error = refused(old)
    assert error.failure is Failure.EXPIRED and "expired on 20" in error.message
    soon = refused(issued(pki, tmp_path / "soon.pem", timedelta(hours=1), timedelta(hours=2)))
    assert soon.failure is Failure.TLS and "valid only from" in soon.message


def test_context_knows_when_the_first_of_its_chain_ends(pki: Pki, tmp_path: Path) -> None:
    proxy = tmp_path / "proxy"
    proxy.write_bytes(short_proxy(credential(pki), 1))
    ends = Credential(proxy, proxy, pki.certificates).context().expires
    assert 3500 < ends - datetime.now(UTC).timestamp() <= 3600
    with pytest.raises(OperationError) as caught:
        GsiContext(context(pki).tls, 1.0).check()
    assert caught.value.failure is Failure.EXPIRED


def test_unusable_files_are_named(pki: Pki, tmp_path: Path) -> None:
    good = credential(pki)
    missing = tmp_path / "missing.pem"
    assert str(missing) in refused(Credential(missing, good.key, good.ca_dir)).message
    assert str(missing) in refused(Credential(good.certificate, missing, good.ca_dir)).message
    assert str(missing) in refused(Credential(good.certificate, good.key, missing)).message
    other = credential(pki, "mallory").key
    assert "belong together" in refused(Credential(good.certificate, other, good.ca_dir)).message
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    assert str(junk) in refused(Credential(junk, good.key, good.ca_dir)).message
    assert str(junk) in refused(Credential(good.certificate, junk, good.ca_dir)).message
    locked = tmp_path / "locked.pem"
    locked.write_bytes(
        good.private_key().private_bytes(
            _PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    error = refused(Credential(good.certificate, locked, good.ca_dir))
    assert "passphrase" in error.message and "grid-proxy-init" in error.next_step


class TestProxy:
    def test_is_verified_by_openssl(self, pki: Pki, tmp_path: Path) -> None:
        proxy = tmp_path / "proxy"
        proxy.write_bytes(short_proxy(credential(pki), 12))
        done = subprocess.run(
            ["openssl", "verify", "-allow_proxy_certs", "-CApath", str(pki.certificates),
             "-untrusted", str(proxy), str(proxy)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        text = subprocess.run(
            ["openssl", "x509", "-in", str(proxy), "-noout", "-text"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        assert "Proxy Certificate Information: critical" in text
        assert "Path Length Constraint: infinite" in text and "Inherit all" in text

    def test_has_a_key_of_its_own_and_not_the_users(self, pki: Pki, tmp_path: Path) -> None:
        text = short_proxy(credential(pki), 1)
        users = credential(pki).private_key()
        assert serialization.load_pem_private_key(text, None).public_key() != users.public_key()
        assert text.count(b"PRIVATE KEY-----") == 2  # begin and end of one
        assert b"BEGIN RSA PRIVATE KEY" in text  # which old Java stacks read

    def test_authenticates_and_so_does_a_proxy_of_it(self, pki: Pki, tmp_path: Path) -> None:
        first, second = tmp_path / "first", tmp_path / "second"
        first.write_bytes(short_proxy(credential(pki), 2))
        second.write_bytes(short_proxy(Credential(first, first, pki.certificates), 1))
        for proxy in (first, second):
            server = shaken(Credential(proxy, proxy, pki.certificates).context(), server_tls(pki))
            peer = server.getpeercert()
            assert peer is not None
            names = [value for part in peer["subject"] for _, value in part]
            assert names[:3] == ["Grid", "lab", "Alice Lab"]
            assert all(name.isdigit() for name in names[3:])

    def test_does_not_outlive_its_credential(self, pki: Pki, tmp_path: Path) -> None:
        brief = issued(pki, tmp_path / "brief.pem", -timedelta(hours=1), timedelta(hours=1))
        proxy = x509.load_pem_x509_certificate(short_proxy(brief, 12))
        assert proxy.not_valid_after_utc == brief.chain()[0].not_valid_after_utc

    def test_of_an_expired_credential_is_refused(self, pki: Pki, tmp_path: Path) -> None:
        old = issued(pki, tmp_path / "old.pem", -timedelta(days=2), -timedelta(hours=1))
        with pytest.raises(CredentialError) as caught:
            short_proxy(old, 1)
        assert caught.value.failure is Failure.EXPIRED

    @pytest.mark.parametrize(
        ("info", "words"),
        [
            ("300f020100300a06082b06010505071501", "limits proxies"),
            (None, "before RFC 3820"),
        ],
    )
    def test_of_a_proxy_that_allows_none_is_refused(
        self, pki: Pki, tmp_path: Path, info: str | None, words: str
    ) -> None:
        given = credential(pki)
        issuer, signer = given.chain()[0], given.private_key()
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        last = x509.NameAttribute(NameOID.COMMON_NAME, "1" if info else "proxy")
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([*issuer.subject, last]))
            .issuer_name(issuer.subject)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(issuer.not_valid_before_utc)
            .not_valid_after(issuer.not_valid_after_utc)
        )
        if info:
            oid = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.14")
            extension = x509.UnrecognizedExtension(oid, bytes.fromhex(info))
            builder = builder.add_extension(extension, critical=True)
        private = key.private_bytes(
            _PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        proxy = tmp_path / "proxy"
        proxy.write_bytes(builder.sign(signer, hashes.SHA256()).public_bytes(_PEM) + private)
        with pytest.raises(CredentialError) as caught:
            short_proxy(Credential(proxy, proxy, pki.certificates), 1)
        assert words in caught.value.message
