"""Certificates for the sites of unit tests: one CA, and pairs that are as bad as a test wants."""

from __future__ import annotations

import shutil
import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from cloudlet_deploy.lab.ca import Pki, distinguished_name

DOOR, TRANSFER = "door.lab.test", "data1.lab.test"


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    """One key for all: making one takes a while."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def certificate(
    *,
    starts: float = -1,
    ends: float = 100,
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | None = None,
) -> str:
    """A PEM certificate that is valid from ``starts`` to ``ends``, in days from now."""
    signing = key or rsa_key()
    name, now = distinguished_name(DOOR), datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(signing.public_key())
        .serial_number(1)
        .not_valid_before(now + timedelta(days=starts))
        .not_valid_after(now + timedelta(days=ends))
        .sign(signing, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
        .decode()
    )


def private_key(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | None = None, passphrase: bytes = b""
) -> str:
    """A PEM private key, encrypted if there is a passphrase."""
    locked = serialization.BestAvailableEncryption(passphrase) if passphrase else None
    return (
        (key or rsa_key())
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            locked or serialization.NoEncryption(),
        )
        .decode()
    )


@dataclass(frozen=True)
class Material:
    """A CA directory and the pairs of hosts, as `lab up` makes them."""

    directory: Path

    @property
    def settings(self) -> str:
        """The settings that name it, as YAML."""
        pair = f"{self.directory}/hosts/{{{{ inventory_hostname }}}}"
        return (
            f"grid_trust_ca_files: {self.directory}/certificates\n"
            f'grid_trust_host_certificate: "{pair}/hostcert.pem"\n'
            f'grid_trust_host_key: "{pair}/hostkey.pem"\n'
        )

    def path(self, host: str, name: str) -> Path:
        return self.directory / "hosts" / host / name

    def write(self, host: str, name: str, text: str, mode: int = 0o600) -> Path:
        path = self.path(host, name)
        path.write_text(text)
        path.chmod(mode)
        return path


def make_pki(directory: Path, *hosts: str) -> Material:
    """Good material for ``hosts``."""
    Pki(directory).ensure(hosts or (DOOR, TRANSFER))
    return Material(directory)


def copied(material: Material, directory: Path) -> Material:
    """A copy to spoil."""
    shutil.copytree(material.directory, directory)
    return Material(directory)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
