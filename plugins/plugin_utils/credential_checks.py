# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Certificates, private keys and CA directories, looked at on the controller.

No message holds any part of a key: only the names of the files. Imports nothing of the
collection: ``cloudlet-deploy validate`` loads this file by its path.
"""

from __future__ import annotations

import datetime
import os
import re
from collections import namedtuple

try:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
except ImportError:
    x509 = None

#: A certificate that ends sooner is worth a warning: some CAs take weeks for a new one.
DAYS_TO_RENEW = 30

#: ``about`` is what the problem lies in: "certificate", "key", "pair" or "ca"; ``severity`` is
#: "error" or "warning".
Problem = namedtuple("Problem", "about problem next_step severity")

CA_FILE = re.compile(r"^[0-9a-f]{8}\.(\d+|r\d+|signing_policy|namespaces|info|crl_url)$")
_CA_CERTIFICATE = re.compile(r"^[0-9a-f]{8}\.\d+$")
_CRL = re.compile(r"^[0-9a-f]{8}\.r\d+$")


def load_certificate(text):
    """The first certificate of a PEM text; ValueError if there is none."""
    return x509.load_pem_x509_certificate(str(text).encode())


def load_key(text, *, thoroughly=True):
    """The private key of a PEM text; TypeError if it needs a passphrase, ValueError if none.

    ``thoroughly`` looks whether its numbers fit together too, which takes 50 ms for RSA.
    """
    return serialization.load_pem_private_key(
        str(text).encode(), password=None, unsafe_skip_rsa_key_validation=not thoroughly
    )


def _now():
    return datetime.datetime.now(datetime.timezone.utc)


def credential_problems(
    certificate, key, certificate_file, key_file, host, *, only_rsa=True, now=None
):
    """What keeps the pair from serving ``host``, or will soon.

    ``certificate`` and ``key`` are the contents of the files, None or empty where a file
    could not be read. ``only_rsa`` is False where services take other keys too. ``now`` is for
    tests.
    """
    loaded, found = _certificate_problems(certificate, certificate_file, host, now or _now())
    private, more = _key_problems(key, key_file, host)
    found += more
    if only_rsa and private is not None and not isinstance(private, rsa.RSAPrivateKey):
        found.append(
            Problem(
                "key",
                "%s of %s is not an RSA key, the only kind BeStMan reads" % (key_file, host),
                "Request a certificate for an RSA key.",
                "error",
            )
        )
    elif loaded is not None and private is not None and loaded.public_key() != private.public_key():
        found.append(
            Problem(
                "pair",
                "%s and %s, certificate and key of %s, do not belong together"
                % (certificate_file, key_file, host),
                "Name the key that the certificate was requested with.",
                "error",
            )
        )
    return found


def _certificate_problems(text, path, host, now):
    if not text:
        return None, [
            Problem(
                "certificate",
                "%s, the certificate of %s, cannot be read" % (path, host),
                "Put the certificate there, or correct the path.",
                "error",
            )
        ]
    try:
        loaded = load_certificate(text)
    except ValueError:
        return None, [
            Problem(
                "certificate",
                "%s of %s is not a PEM certificate" % (path, host),
                "Name a file that begins with -----BEGIN CERTIFICATE-----.",
                "error",
            )
        ]
    return loaded, _validity_problems("certificate", loaded, "%s of %s" % (path, host), now)


def _validity_problems(about, certificate, what, now):
    ends, begins = certificate.not_valid_after_utc, certificate.not_valid_before_utc
    if now > ends:
        return [Problem(about, "%s expired on %s" % (what, ends), "Renew it.", "error")]
    if now < begins:
        return [
            Problem(
                about,
                "%s is valid only from %s on" % (what, begins),
                "Look at the clock of this machine.",
                "error",
            )
        ]
    days = (ends - now).days
    if days < DAYS_TO_RENEW:
        left = "%d day%s" % (days, "" if days == 1 else "s")
        return [
            Problem(about, "%s expires on %s, in %s" % (what, ends, left), "Renew it.", "warning")
        ]
    return []


def _key_problems(text, path, host):
    if not text:
        problem = "%s, the private key of %s, cannot be read" % (path, host)
        return None, [Problem("key", problem, "Put the key there, or correct the path.", "error")]
    try:
        return load_key(text, thoroughly=False), []
    except TypeError:
        problem = "%s of %s is protected by a passphrase, which no service can type" % (path, host)
        step = "Remove it (openssl rsa -in ... -out ...) and use ansible-vault instead."
    except (ValueError, UnsupportedAlgorithm):
        problem = "%s of %s is not a PEM private key" % (path, host)
        step = "Name a file that begins with -----BEGIN PRIVATE KEY----- or the like."
    return None, [Problem("key", problem, step, "error")]


def ca_names(directory):
    """The names of the CA files in ``directory``; OSError if it cannot be read."""
    return sorted(name for name in os.listdir(directory) if CA_FILE.match(name))


def ca_problems(directory, *, now=None, contents=True):
    """What keeps services from trusting with the CA files of ``directory``, or will soon.

    ``contents`` is False to look at the names alone.
    """
    try:
        names = ca_names(directory)
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or exc
        problem = "%s cannot be read: %s" % (directory, reason)
        step = "Name a directory with CA files, or leave it empty."
        return [Problem("ca", problem, step, "error")]
    certificates = [name for name in names if _CA_CERTIFICATE.match(name)]
    if not certificates:
        problem = "%s holds no CA certificate named HASH.0" % directory
        step = "Make the names with openssl rehash, in the old and the new form."
        return [Problem("ca", problem, step, "error")]
    found = []
    for name in certificates:
        policy = name.partition(".")[0] + ".signing_policy"
        if policy not in names:
            problem = "%s has no %s beside it in %s" % (name, policy, directory)
            step = "Add it: without it Globus trusts nothing that the CA signed."
            found.append(Problem("ca", problem, step, "error"))
    if contents:
        for name in names:
            found.extend(_ca_file_problems(os.path.join(directory, name), name, now or _now()))
    return found


def _ca_file_problems(path, name, now):
    is_certificate, is_list = _CA_CERTIFICATE.match(name), _CRL.match(name)
    if not is_certificate and not is_list:
        return []
    try:
        with open(path, "rb") as stream:
            data = stream.read()
        if is_certificate:
            loaded = load_certificate(data.decode("utf-8", "replace"))
            problems = _validity_problems("ca", loaded, "the CA certificate %s" % path, now)
            # Distributions of CAs keep old ones for a while: no host need depend on this one.
            return [problem._replace(severity="warning") for problem in problems]
        ends = _read_list(data).next_update_utc
    except OSError as exc:
        return [Problem("ca", "%s cannot be read: %s" % (path, exc.strerror), "", "error")]
    except ValueError:
        kind = "certificate" if is_certificate else "list of revoked certificates"
        return [Problem("ca", "%s holds no %s" % (path, kind), "Replace it.", "error")]
    if ends is not None and now > ends:
        problem = "%s, a list of revoked certificates, expired on %s" % (path, ends)
        step = "Fetch it again (fetch-crl): with it, no certificate of that CA is accepted."
        return [Problem("ca", problem, step, "warning")]
    return []


def _read_list(data):
    if b"-----BEGIN" in data:
        return x509.load_pem_x509_crl(data)
    return x509.load_der_x509_crl(data)
