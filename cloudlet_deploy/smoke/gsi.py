"""Authentication as the grid does it: TLS with a certificate or an RFC 3820 proxy on our side.

A ``GsiContext`` is made once and shared by all clients of a process; a ``GsiChannel`` is one TLS
session that knows of no socket, because GridFTP sends its records inside replies.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from cloudlet_deploy.errors import CloudletError, ExitCode
from cloudlet_deploy.site import plugins
from cloudlet_deploy.smoke.answer import OperationError
from cloudlet_deploy.smoke.types import Failure

#: One TLS record; what a read gives at most.
_RECORD = 16384
_CERTIFICATES_KEPT = 256
_names: dict[bytes, frozenset[str]] = {}


class CredentialError(CloudletError):
    """The certificate, key or CA directory cannot be used; ``failure`` is its error class."""

    exit_code = ExitCode.INVALID

    def __init__(self, message: str, *, next_step: str, failure: Failure = Failure.TLS) -> None:
        super().__init__(message, next_step=next_step)
        self.failure = failure


@dataclass(frozen=True)
class GsiContext:
    """What all clients of a process authenticate with."""

    tls: ssl.SSLContext
    #: Seconds since the epoch at which the first certificate of the chain ends.
    expires: float

    def check(self) -> None:
        """Raises OperationError (EXPIRED) once the credential is over."""
        if time.time() >= self.expires:
            raise OperationError(Failure.EXPIRED, f"our credential expired on {_day(self.expires)}")


@dataclass(frozen=True)
class Credential:
    """A certificate or proxy, and the CA directory that says which servers are trusted.

    ``key`` may be ``certificate``: a proxy file holds both.
    """

    certificate: Path | str
    key: Path | str
    ca_dir: Path | str

    def chain(self) -> list[x509.Certificate]:
        """All certificates of the file, that of the key first. Raises CredentialError."""
        try:
            text = Path(self.certificate).read_bytes()
            return x509.load_pem_x509_certificates(text)
        except (OSError, ValueError) as exc:
            raise CredentialError(
                f"{self.certificate} cannot be used as a certificate or proxy: {_words(exc)}.",
                next_step="Name a readable PEM file, or make a proxy with grid-proxy-init.",
            ) from exc

    def private_key(self) -> Any:
        """The private key (of the cryptography package). Raises CredentialError."""
        try:
            return serialization.load_pem_private_key(Path(self.key).read_bytes(), password=None)
        except TypeError as exc:
            raise CredentialError(
                f"The key {self.key} has a passphrase, which nobody can be asked for here.",
                next_step="Make a proxy with grid-proxy-init, and name that instead.",
            ) from exc
        except (OSError, ValueError) as exc:
            raise CredentialError(
                f"{self.key} cannot be used as a key: {_words(exc)}.",
                next_step="Name a readable PEM file with the key of the certificate.",
            ) from exc

    def context(self) -> GsiContext:
        """The context for ``GsiChannel``s.

        Raises CredentialError if a file cannot be read, key and certificate do not belong
        together, or the credential is not valid now.
        """
        chain = self.chain()
        if self.private_key().public_key() != chain[0].public_key():
            raise CredentialError(
                f"{self.certificate} and {self.key} do not belong together.",
                next_step="Name the key that the certificate was requested with.",
            )
        ends = self._valid_until(chain)
        if not Path(self.ca_dir).is_dir():
            raise CredentialError(
                f"There is no CA directory {self.ca_dir}.",
                next_step="Name the directory that holds the trusted CAs under their hash names.",
            )
        return GsiContext(self._tls(), ends)

    def _valid_until(self, chain: list[x509.Certificate]) -> float:
        now = datetime.now(UTC)
        begins = max(one.not_valid_before_utc for one in chain)
        ends = min(one.not_valid_after_utc for one in chain)
        if now >= ends:
            raise CredentialError(
                f"{self.certificate} expired on {_day(ends.timestamp())}.",
                next_step="Renew it; a proxy is renewed with grid-proxy-init.",
                failure=Failure.EXPIRED,
            )
        if now < begins:
            raise CredentialError(
                f"{self.certificate} is valid only from {_day(begins.timestamp())} on.",
                next_step="Look at the clock of this machine.",
            )
        return ends.timestamp()

    def _tls(self) -> ssl.SSLContext:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # Grid host certificates may carry their name in the subject only: see GsiChannel.
        tls.check_hostname = False
        # As Globus does. In TLS 1.3 a client is done before the server has looked at its
        # certificate, so authentication would be timed as part of the operation; and Globus'
        # own 1.3 has a byte more. Nothing is ever resumed: each session is a new one.
        tls.minimum_version = tls.maximum_version = ssl.TLSVersion.TLSv1_2
        tls.options |= ssl.OP_NO_TICKET
        try:
            tls.load_verify_locations(capath=str(self.ca_dir))
            # An encrypted key fails here instead of asking a terminal.
            tls.load_cert_chain(self.certificate, self.key, password=lambda: b"")
        except (OSError, ValueError) as exc:
            raise CredentialError(
                f"OpenSSL cannot use {self.certificate} with {self.key}: {_words(exc)}.",
                next_step="Check that they belong together and are of today's strength.",
            ) from exc
        return tls


class GsiChannel:
    """One TLS session in memory, as the client. Methods raise ssl.SSLError and OperationError."""

    __slots__ = ("_host", "_incoming", "_outgoing", "_tls", "ended")

    def __init__(self, context: GsiContext, host: str) -> None:
        self._host = host
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.tls.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        #: Whether the peer said that it will send no more.
        self.ended = False

    def handshake(self, received: bytes = b"") -> bool:
        """Go on with what was received; whether it is done. ``pending`` is then to be sent."""
        if received:
            self._incoming.write(received)
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        self._check_name()
        return True

    def _check_name(self) -> None:
        encoded = self._tls.getpeercert(binary_form=True) or b""
        names = _names.get(encoded)
        if names is None:
            probe: Any = plugins.load("module_utils/srm_probe")
            names = frozenset(probe.names_of(self._tls.getpeercert() or {}))
            if len(_names) < _CERTIFICATES_KEPT:
                _names[encoded] = names
        if self._host.lower() not in names:
            whose = ", ".join(sorted(names)) or "nobody"
            raise OperationError(
                Failure.UNTRUSTED, f"its certificate is for {whose}, not for {self._host}"
            )

    def pending(self) -> bytes:
        """The bytes that the peer is to get: of the handshake, or an alert."""
        return self._outgoing.read()

    def wrap(self, data: bytes) -> bytes:
        """The records that carry ``data``."""
        self._tls.write(data)
        return self._outgoing.read()

    def unwrap(self, received: bytes) -> bytes:
        """What the records carry; part of one waits for its rest."""
        self._incoming.write(received)
        read: Callable[[int], bytes] = self._tls.read
        parts = []
        try:
            while part := read(_RECORD):
                parts.append(part)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _day(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _words(exc: Exception) -> str:
    return getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
