# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Certificates and private keys, looked at on the controller before they go anywhere.

No message holds any part of a key: only the names of the files.
"""

from __future__ import annotations

from ansible.errors import AnsibleFilterError
from ansible_collections.cloudlet.deploy.plugins.plugin_utils.credential_checks import (
    credential_problems,
    load_certificate,
    load_key,
    x509,
)

try:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
except ImportError:
    pass

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


def traditional_key(text):
    """The PEM private key in the form (PKCS#1 for RSA) that old Java grid software reads."""
    _need_cryptography()
    try:
        key = load_key(text)
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
        subject = load_certificate(text).subject
    except ValueError:
        raise AnsibleFilterError("The text holds no PEM certificate.") from None
    return "".join(
        "/%s=%s"
        % (ATTRIBUTES.get(entry.oid.dotted_string) or entry.rfc4514_attribute_name, entry.value)
        for entry in subject
    )


def credential_faults(certificate, key, certificate_file, key_file, host, *, now=None):
    """Why the pair cannot serve ``host`` and what to do, one text each; empty if it can.

    ``certificate`` and ``key`` are the contents of the files, None or empty where a file
    could not be read. ``now`` is for tests.
    """
    _need_cryptography()
    found = credential_problems(certificate, key, certificate_file, key_file, host, now=now)
    return ["%s. %s" % (one.problem, one.next_step) for one in found if one.severity == "error"]


class FilterModule:
    def filters(self):
        return {
            "certificate_dn": certificate_dn,
            "credential_faults": credential_faults,
            "traditional_key": traditional_key,
        }
