# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""What of a preflight the controller judges: the host's clock and the certificates it gets."""

from __future__ import annotations

import datetime
import fnmatch
from typing import Any

from ansible_collections.cloudlet.deploy.plugins.module_utils.preflight import finding
from cryptography import x509
from cryptography.x509.oid import NameOID

#: Seconds between host and controller. X.509 and GSI refuse what is not valid yet: proxies are
#: backdated by five minutes at most.
CLOCK_WARNING, CLOCK_FAILURE = 60.0, 300.0
#: Days before its end from which on a certificate is told of.
EXPIRY_WARNING = 30


def system_finding(facts: dict[str, Any]) -> dict[str, Any]:
    """What ``host_check`` read before; it refuses what will not do."""
    system = facts.get("distribution_pretty_name", "a supported system")
    return finding("system", "ok", f"{system}, Python {facts.get('python_version', '3')}, root")


def clock_finding(begun: float, ended: float, told: float) -> dict[str, Any]:
    """The host said ``told`` at some moment between ``begun`` and ``ended`` of the controller.

    Seconds since 1970. Only what lies outside that span is certainly an offset.
    """
    offset = told - ended if told > ended else min(told - begun, 0.0)
    if abs(offset) <= CLOCK_WARNING:
        about = "agrees with this machine" if offset == 0 else f"{_ahead(offset)} this machine"
        return finding("clock", "ok", about)
    return finding(
        "clock",
        "failed" if abs(offset) > CLOCK_FAILURE else "warning",
        f"{_ahead(offset)} this machine: certificates and proxies would not be valid",
        "Set the clocks: timedatectl set-ntp true (chrony or systemd-timesyncd) on the one that "
        "is wrong.",
    )


def _ahead(offset: float) -> str:
    return f"{abs(offset):.0f} s {'ahead of' if offset > 0 else 'behind'}"


def certificate_findings(
    needs: dict[str, Any], now: datetime.datetime | None = None
) -> list[dict[str, Any]]:
    """What is wrong with the certificates that the host is to get; one ``ok`` if nothing."""
    now = now or datetime.datetime.now(datetime.timezone.utc)
    found, fine = [], []
    for component, needed in needs.items():
        for entry in needed.get("certificates", ()):
            status, detail, advice = _judged(entry, now)
            if status == "ok":
                fine.append(detail)
            else:
                found.append(finding("certificates", status, detail, advice, component))
    if fine:
        found.append(finding("certificates", "ok", "; ".join(fine)))
    return found


def _judged(entry: dict[str, Any], now: datetime.datetime) -> tuple[str, str, str]:
    source, host = entry.get("source") or entry["path"], entry.get("host", "")
    try:
        certificate = x509.load_pem_x509_certificate(str(entry.get("text", "")).encode())
    except ValueError:
        advice = "Name a readable PEM file; its key and the CA that signed it must fit."
        return "failed", f"{source} is not a PEM certificate", advice
    names = names_of(certificate)
    if host and not any(matches(name, host) for name in names):
        told = ", ".join(names) or "nobody"
        advice = f"Request one for {host}, or use the name that it has."
        return "failed", f"{source} is for {told}, not for {host}", advice
    end = certificate.not_valid_after_utc
    days = (end - now).total_seconds() / 86400
    if now < certificate.not_valid_before_utc:
        begin = certificate.not_valid_before_utc
        return "failed", f"{source} is valid from {begin:%F %H:%M} UTC on", "Look at the clocks."
    if days <= 0:
        return "failed", f"{source} expired on {end:%F}", "Renew it, then apply."
    if days < EXPIRY_WARNING:
        return "warning", f"{source} expires on {end:%F}, in {days:.0f} days", "Renew it soon."
    return "ok", f"{entry['path']} until {end:%F}", ""


def names_of(certificate: x509.Certificate) -> list[str]:
    """Host names of a certificate: alternative names, and the common name, ``host/NAME`` too."""
    found: list[str] = []
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        found += extension.value.get_values_for_type(x509.DNSName)
    except (x509.ExtensionNotFound, ValueError):
        pass
    for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME):
        found.append(str(attribute.value).rpartition("/")[2])
    return list(dict.fromkeys(name.lower() for name in found))


def matches(name: str, host: str) -> bool:
    """Whether a certificate's ``name`` is that of ``host``; ``*`` stands for one label."""
    host = host.lower()
    if name.startswith("*."):
        return fnmatch.fnmatchcase(host, name) and host.count(".") == name.count(".")
    return name == host
