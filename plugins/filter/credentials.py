# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Certificates and private keys, looked at on the controller before they go anywhere.

No message holds any part of a key: only the names of the files.
"""

from __future__ import annotations

import datetime

from ansible.errors import AnsibleFilterError

try:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
except ImportError:
    x509 = None

#: How the grid writes the attributes of a name, where this differs from RFC 4514's names.
ATTRIBUTES = {
    "1.2.840.113549.1.9.1": "emailAddress",
    "2.5.4.5": "serialNumber",
    "0.9.2342.19200300.100.1.1": "UID",
}


def _need_cryptography():
    if x509 is None:
        raise AnsibleFilterError(
            "The Python package cryptography is missing beside Ansible: install it."
        )


def _certificate(text):
    return x509.load_pem_x509_certificate(str(text).encode())


def _key(text):
    return serialization.load_pem_private_key(str(text).encode(), password=None)


def traditional_key(text):
    """The PEM private key in the form (PKCS#1 for RSA) that old Java grid software reads."""
    _need_cryptography()
    try:
        key = _key(text)
        return key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        ).decode()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise AnsibleFilterError(
            "The private key is not an unencrypted PEM key of a kind with a traditional form."
        ) from None


def certificate_dn(text):
    """The subject of the first PEM certificate as the grid writes it: ``/O=Grid/CN=Alice``."""
    _need_cryptography()
    try:
        subject = _certificate(text).subject
    except ValueError:
        raise AnsibleFilterError("The text holds no PEM certificate.") from None
    return "".join(
        "/%s=%s"
        % (ATTRIBUTES.get(entry.oid.dotted_string) or entry.rfc4514_attribute_name, entry.value)
        for entry in subject
    )


def credential_faults(certificate, key, certificate_file, key_file, host, *, now=None):
    """Why the pair cannot serve ``host``, one sentence each; empty if it can.

    ``certificate`` and ``key`` are the contents of the files, None or empty where a file
    could not be read. ``now`` is for tests.
    """
    _need_cryptography()
    faults = []
    loaded = private = None
    if not certificate:
        faults.append("%s, the certificate of %s, cannot be read." % (certificate_file, host))
    else:
        try:
            loaded = _certificate(certificate)
        except ValueError:
            faults.append("%s of %s is not a PEM certificate." % (certificate_file, host))
    if not key:
        faults.append("%s, the private key of %s, cannot be read." % (key_file, host))
    else:
        try:
            private = _key(key)
        except TypeError:
            faults.append(
                "%s of %s is protected by a passphrase, which no service can type. "
                "Remove it (openssl rsa -in ... -out ...) and use ansible-vault instead."
                % (key_file, host)
            )
        except (ValueError, UnsupportedAlgorithm):
            faults.append("%s of %s is not a PEM private key." % (key_file, host))
    if private is not None and not isinstance(private, rsa.RSAPrivateKey):
        faults.append("%s of %s is not an RSA key, the only kind BeStMan reads." % (key_file, host))
    elif loaded is not None and private is not None and loaded.public_key() != private.public_key():
        faults.append(
            "%s and %s, certificate and key of %s, do not belong together. "
            "Name the key that the certificate was requested with."
            % (certificate_file, key_file, host)
        )
    if loaded is not None:
        faults.extend(_validity_faults(loaded, certificate_file, host, now))
    return faults


def _validity_faults(certificate, path, host, now):
    now = now or datetime.datetime.now(datetime.timezone.utc)
    if now > certificate.not_valid_after_utc:
        return ["%s of %s expired on %s. Renew it." % (path, host, certificate.not_valid_after_utc)]
    if now < certificate.not_valid_before_utc:
        return [
            "%s of %s is valid only from %s on. Look at the clock of this machine."
            % (path, host, certificate.not_valid_before_utc)
        ]
    return []


class FilterModule:
    def filters(self):
        return {
            "certificate_dn": certificate_dn,
            "credential_faults": credential_faults,
            "traditional_key": traditional_key,
        }
