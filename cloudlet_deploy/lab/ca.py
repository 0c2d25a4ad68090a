"""The lab's throw-away certificate authority, in the form that grid software reads.

A CA directory holds, under both of OpenSSL's subject hashes (old grid software looks for the
MD5 one), the certificate ``HASH.0``, its ``HASH.signing_policy`` and the list of revoked
certificates ``HASH.r0``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cloudlet_deploy.lab.files import write_file

#: People of the lab and their common names. Mallory is in no gridmap.
USERS = {"alice": "Alice Lab", "mallory": "Mallory Lab"}

_KEY_BITS = 2048
_CA_LIFE = timedelta(days=3650)
_LIFE = timedelta(days=365)
#: What ends sooner than this is made anew.
_RENEW_BEFORE = timedelta(days=30)
#: Certificates begin in the past: a host's clock may be behind ours.
_BACKDATED = timedelta(hours=1)


def distinguished_name(common_name: str) -> x509.Name:
    """``/O=Grid/OU=lab/CN=...``."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Grid"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "lab"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def subject_hash(name: x509.Name) -> str:
    """What ``openssl x509 -subject_hash`` prints: SHA-1 of the canonical name."""
    canonical = b"".join(
        # Canonical: UTF-8, lower case, single spaces, and no outer SEQUENCE around the RDNs.
        _content(x509.Name([x509.RelativeDistinguishedName(map(_canonical, rdn))]).public_bytes())
        for rdn in name.rdns
    )
    return _short(hashlib.sha1(canonical, usedforsecurity=False).digest())


def subject_hash_old(name: x509.Name) -> str:
    """What ``openssl x509 -subject_hash_old`` prints: MD5 of the encoded name."""
    return _short(hashlib.md5(name.public_bytes(), usedforsecurity=False).digest())


def _canonical(attribute: x509.NameAttribute[str | bytes]) -> x509.NameAttribute[str | bytes]:
    value = attribute.value
    if isinstance(value, bytes):
        return attribute
    return x509.NameAttribute(attribute.oid, " ".join(value.lower().split()))


def _content(encoded: bytes) -> bytes:
    length = encoded[1]
    return encoded[2 + (length & 0x7F if length & 0x80 else 0) :]


def _short(digest: bytes) -> str:
    return f"{int.from_bytes(digest[:4], 'little'):08x}"


@dataclass(frozen=True)
class Pki:
    """Certificates below one directory: ``certificates/``, ``hosts/NAME/``, ``users/NAME/``."""

    directory: Path

    @property
    def certificates(self) -> Path:
        """The CA directory (``X509_CERT_DIR``)."""
        return self.directory / "certificates"

    def host(self, name: str) -> Path:
        """The directory of a host's ``hostcert.pem`` and ``hostkey.pem``."""
        return self.directory / "hosts" / name

    def user(self, name: str) -> Path:
        """The directory of a user's ``usercert.pem`` and ``userkey.pem``."""
        return self.directory / "users" / name

    def ensure(
        self, hosts: tuple[str, ...], further: Mapping[str, tuple[str, ...]] | None = None
    ) -> None:
        """Make what is missing or about to expire; what is good stays as it is.

        ``further`` are names that a host's certificate has beside its own.
        Host keys are PKCS#8 as OpenSSL writes them today, which old Java stacks cannot read:
        rewriting them is the roles' work.
        """
        authority = self._authority()
        self._publish(authority)
        for name in hosts:
            self._issue(
                authority, name, self.host(name), "host", (name, *(further or {}).get(name, ()))
            )
        for name, common_name in USERS.items():
            self._issue(authority, common_name, self.user(name), "user", ())

    def _authority(self) -> _Authority:
        certificate_file = self.directory / "ca" / "cert.pem"
        key_file = self.directory / "ca" / "key.pem"
        if not _is_good(certificate_file, key_file):
            _make_authority(certificate_file, key_file)
        key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise TypeError(f"{key_file} holds no RSA key")
        return _Authority(x509.load_pem_x509_certificate(certificate_file.read_bytes()), key)

    def _publish(self, authority: _Authority) -> None:
        subject = authority.certificate.subject
        names = {subject_hash(subject), subject_hash_old(subject)}
        certificate = authority.certificate.public_bytes(serialization.Encoding.PEM)
        policy = _signing_policy(subject).encode()
        lists = [self.certificates / f"{name}.r0" for name in sorted(names)]
        revoked = b"" if all(map(_is_current, lists)) else _revocation_list(authority)
        for name in names:
            write_file(self.certificates / f"{name}.0", certificate, mode=0o644)
            write_file(self.certificates / f"{name}.signing_policy", policy, mode=0o644)
            if revoked:
                write_file(self.certificates / f"{name}.r0", revoked, mode=0o644)

    def _issue(
        self, authority: _Authority, common_name: str, where: Path, kind: str, dns: tuple[str, ...]
    ) -> None:
        certificate_file, key_file = where / f"{kind}cert.pem", where / f"{kind}key.pem"
        if _is_good(certificate_file, key_file, authority.certificate):
            return
        key = _new_key()
        certificate = authority.issue(common_name, key, dns)
        write_file(key_file, _encoded(key), mode=0o600)
        write_file(
            certificate_file, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644
        )


@dataclass(frozen=True)
class _Authority:
    certificate: x509.Certificate
    key: rsa.RSAPrivateKey

    def issue(
        self, common_name: str, key: rsa.RSAPrivateKey, dns: tuple[str, ...]
    ) -> x509.Certificate:
        builder = (
            _builder(distinguished_name(common_name), self.certificate.subject, key, _LIFE)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage("digital_signature", "key_encipherment"), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
        )
        purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if dns:
            # Doors and transfer servers are clients of each other too.
            purposes.append(ExtendedKeyUsageOID.SERVER_AUTH)
            builder = builder.add_extension(
                x509.SubjectAlternativeName([x509.DNSName(name) for name in dns]), critical=False
            )
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        return builder.sign(self.key, hashes.SHA256())


def _make_authority(certificate_file: Path, key_file: Path) -> None:
    key = _new_key()
    name = distinguished_name("Throw-away CA")
    certificate = (
        _builder(name, name, key, _CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .sign(key, hashes.SHA256())
    )
    write_file(key_file, _encoded(key), mode=0o600)
    write_file(certificate_file, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: rsa.RSAPrivateKey, life: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*wanted: str) -> x509.KeyUsage:
    every = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: name in wanted for name in every})


def _revocation_list(authority: _Authority) -> bytes:
    now = datetime.now(UTC)
    revoked = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(now - _BACKDATED)
        .next_update(now + _LIFE)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
        .add_extension(x509.CRLNumber(int(now.timestamp())), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return revoked.public_bytes(serialization.Encoding.PEM)


def _signing_policy(subject: x509.Name) -> str:
    path = "".join(f"/{item.rfc4514_attribute_name}={item.value!s}" for item in subject)
    return (
        f"access_id_CA X509 '{path}'\n"
        "pos_rights globus CA:sign\n"
        "cond_subjects globus '\"/O=Grid/OU=lab/*\"'\n"
    )


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)


def _encoded(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _is_good(
    certificate_file: Path, key_file: Path, issuer: x509.Certificate | None = None
) -> bool:
    if not (certificate_file.is_file() and key_file.is_file() and os.access(key_file, os.R_OK)):
        return False
    certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
    if certificate.not_valid_after_utc - datetime.now(UTC) < _RENEW_BEFORE:
        return False
    if issuer is None:
        return True
    try:
        certificate.verify_directly_issued_by(issuer)
    except Exception:  # whatever is wrong with it, it is not this CA's
        return False
    return True


def _is_current(list_file: Path) -> bool:
    if not list_file.is_file():
        return False
    until = x509.load_pem_x509_crl(list_file.read_bytes()).next_update_utc
    return until is not None and until - datetime.now(UTC) > _RENEW_BEFORE
