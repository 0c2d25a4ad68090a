"""Certificates and keys are judged before they go anywhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.cloudlet.deploy.plugins.filter.credentials import (
    certificate_dn,
    credential_faults,
    traditional_key,
)
from ansible_collections.cloudlet.deploy.plugins.plugin_utils.credential_checks import (
    credential_problems,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
NOW = datetime(2026, 6, 1, tzinfo=UTC)
PKCS8 = serialization.PrivateFormat.PKCS8
PLAIN = serialization.NoEncryption()


def pem(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey = KEY,
    encryption: serialization.KeySerializationEncryption = PLAIN,
) -> str:
    return key.private_bytes(serialization.Encoding.PEM, PKCS8, encryption).decode()


def certificate(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey = KEY) -> str:
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.DOMAIN_COMPONENT, "org"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Grid"),
            x509.NameAttribute(NameOID.COMMON_NAME, "host/door.example.org"),
            x509.NameAttribute(NameOID.EMAIL_ADDRESS, "a@example.org"),
            x509.NameAttribute(NameOID.USER_ID, "u1"),
        ]
    )
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
        .decode()
    )


def faults(cert: str | None, key: str | None, now: datetime = NOW) -> list[str]:
    found: list[str] = credential_faults(cert, key, "c.pem", "k.pem", "door", now=now)
    return found


def test_a_modern_key_becomes_a_traditional_one_and_stays_the_same_key() -> None:
    assert pem().startswith("-----BEGIN PRIVATE KEY-----")
    rewritten = traditional_key(pem())
    assert rewritten.startswith("-----BEGIN RSA PRIVATE KEY-----")
    assert traditional_key(rewritten) == rewritten
    loaded = serialization.load_pem_private_key(rewritten.encode(), password=None)
    assert loaded.public_key() == KEY.public_key()


@pytest.mark.parametrize(
    "text", ["", "nonsense", pem(encryption=serialization.BestAvailableEncryption(b"x"))]
)
def test_what_is_no_plain_key_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(AnsibleFilterError, match="not an unencrypted PEM key") as raised:
        traditional_key(text)
    assert not text or text.splitlines()[-1] not in str(raised.value)


def test_a_name_is_written_as_the_grid_writes_it() -> None:
    assert certificate_dn(certificate()) == (
        "/DC=org/O=Grid/CN=host/door.example.org/emailAddress=a@example.org/UID=u1"
    )
    with pytest.raises(AnsibleFilterError, match="no PEM certificate"):
        certificate_dn("nonsense")


def test_a_pair_that_belongs_together_has_no_fault() -> None:
    assert faults(certificate(), pem()) == []
    assert faults(certificate(), traditional_key(pem())) == []


def test_a_key_of_another_certificate_names_both_files_and_the_host() -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (fault,) = faults(certificate(), pem(other))
    assert "c.pem and k.pem" in fault and "door" in fault and "belong together" in fault


def test_expired_and_not_yet_valid() -> None:
    (expired,) = faults(certificate(), pem(), NOW + timedelta(days=2))
    assert expired.startswith("c.pem of door expired on 2026-06-02")
    (early,) = faults(certificate(), pem(), NOW - timedelta(days=2))
    assert "valid only from 2026-05-31" in early


def test_what_expires_soon_is_no_reason_to_refuse() -> None:
    (soon,) = credential_problems(certificate(), pem(), "c.pem", "k.pem", "door", now=NOW)
    assert (soon.severity, soon.about) == ("warning", "certificate")
    assert soon.problem.endswith("in 1 day")


def test_a_passphrase_another_kind_of_key_and_missing_files() -> None:
    locked = pem(encryption=serialization.BestAvailableEncryption(b"x"))
    assert "passphrase" in faults(certificate(), locked)[0]
    curve = ec.generate_private_key(ec.SECP256R1())
    assert faults(certificate(curve), pem(curve)) == [
        "k.pem of door is not an RSA key, the only kind BeStMan reads. "
        "Request a certificate for an RSA key."
    ]
    assert [fault.partition(" ")[0] for fault in faults(None, "")] == ["c.pem,", "k.pem,"]
    assert len(faults("x", "y")) == 2
