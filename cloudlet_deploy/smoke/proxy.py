"""Short-lived RFC 3820 proxies: what load hosts get in place of the user's long-lived key."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from cloudlet_deploy.smoke.gsi import Credential, CredentialError

_KEY_BITS = 2048
#: A proxy begins in the past: a host's clock may be behind ours.
_BACKDATED = timedelta(minutes=5)
_PROXY_INFO = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.14")
#: ProxyCertInfo without a limit to further proxies: "inherit all", that is impersonation.
_INHERIT_ALL = bytes.fromhex("300c300a06082b06010505071501")
_PEM = serialization.Encoding.PEM


def short_proxy(credential: Credential, hours: float) -> bytes:
    """A proxy for the credential as one PEM: its certificate, its own new key, the chain.

    It ends after ``hours`` or with the credential, whichever is sooner. Of a proxy it makes a
    proxy with the same rights and limits. Raises CredentialError.
    """
    # The check that it can be used, is whole and has not expired.
    context = credential.context()
    chain, signer = credential.chain(), credential.private_key()
    issuer = chain[0]
    key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
    now = datetime.now(UTC)
    serial = secrets.randbelow(2**31 - 1) + 1
    name = x509.NameAttribute(NameOID.COMMON_NAME, str(serial))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([*issuer.subject.rdns, x509.RelativeDistinguishedName([name])]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(max(now - _BACKDATED, issuer.not_valid_before_utc))
        .not_valid_after(
            min(now + timedelta(hours=hours), datetime.fromtimestamp(context.expires, UTC))
        )
        .add_extension(_usage(), critical=True)
        .add_extension(
            x509.UnrecognizedExtension(_PROXY_INFO, _policy(issuer, credential)), critical=True
        )
        .sign(signer, hashes.SHA256())
    )
    private = key.private_bytes(
        _PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return (
        certificate.public_bytes(_PEM) + private + b"".join(one.public_bytes(_PEM) for one in chain)
    )


def _policy(issuer: x509.Certificate, credential: Credential) -> bytes:
    """ProxyCertInfo: that of the issuer if it is a proxy itself, limits included."""
    try:
        found = issuer.extensions.get_extension_for_oid(_PROXY_INFO).value
    except x509.ExtensionNotFound:
        last = issuer.subject.rdns[-1].get_attributes_for_oid(NameOID.COMMON_NAME)
        if last and last[0].value in ("proxy", "limited proxy"):
            raise CredentialError(
                f"{credential.certificate} is a proxy of the kind before RFC 3820.",
                next_step="Make one with grid-proxy-init -rfc.",
            ) from None
        return _INHERIT_ALL
    if not isinstance(found, x509.UnrecognizedExtension) or _bounds_depth(found.value):
        raise CredentialError(
            f"{credential.certificate} is a proxy that limits proxies made of it.",
            next_step="Make a proxy without a path length, or name the certificate itself.",
        )
    return found.value


def _bounds_depth(info: bytes) -> bool:
    """Whether ProxyCertInfo begins with a path length, an INTEGER, and not with its policy."""
    return info[2:3] == b"\x02"


def _usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=True,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
