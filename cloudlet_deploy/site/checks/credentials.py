"""Certificates, keys and CA files on this machine that the site names."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

from cloudlet_deploy.site import plugins
from cloudlet_deploy.site.checks.values import PLACEHOLDER
from cloudlet_deploy.site.controller import Material
from cloudlet_deploy.site.faults import Fault, Severity, Subject, at, fault
from cloudlet_deploy.site.model import Host, Value, Why
from cloudlet_deploy.site.schema import Option

_CERTIFICATE = "certificate on the controller"
_KEY = "private key on the controller"
_DIRECTORY = "CA directory on the controller"
#: Roles whose services take keys of any kind; BeStMan and Globus want RSA.
_ANY_KEY = frozenset({"portal_front"})


def certificates_and_keys(subject: Subject) -> Iterator[Fault]:
    """What keeps a certificate and its key from serving their host, or will soon."""
    for host in subject.targets:
        keys = {option.name: value for option, value in _files(subject, host, _KEY)}
        told = set()
        for option, value in _files(subject, host, _CERTIFICATE):
            key = keys.get(option.name.replace("_certificate", "_key"))
            # A service that takes the host's own pair adds nothing to say.
            pair = (value.value, key.value if key else None)
            if pair not in told:
                told.add(pair)
                yield from _of_pair(subject, host, value, key, option.role not in _ANY_KEY)


def _of_pair(
    subject: Subject, host: Host, value: Value, key: Value | None, only_rsa: bool
) -> Iterator[Fault]:
    look = subject.site.controller.look
    certificate = look(str(value.value))
    private = look(str(key.value)) if key else None
    problems = _checks().credential_problems(
        certificate.text,
        private.text if private else None,
        certificate.path,
        private.path if private else "",
        host.name,
        only_rsa=only_rsa,
    )
    for one in problems:
        about_key = one.about in ("key", "pair")
        if about_key and (key is None or private is None):
            continue
        material, place = (private, key) if about_key and private and key else (certificate, value)
        if material.text is None and material.unknown is not None:
            if material.unknown.why is Why.WRONG_PASSWORD:
                step = "Give the right one with --vault-password-file or --vault-id."
                problem = f"{material.path}: {material.unknown.detail}"
                yield _fault(host, place, problem, step)
            continue
        problem = _sharper(one.problem, material)
        yield _fault(host, place, problem, one.next_step, Severity(one.severity))


def _sharper(problem: str, material: Material) -> str:
    """``problem`` with the reason why the file cannot be read, which contents do not tell."""
    return problem.replace("cannot be read", material.problem) if material.problem else problem


def key_modes(subject: Subject) -> Iterator[Fault]:
    """Private keys in plain text that others may read."""
    for host in subject.targets:
        for _, value in _files(subject, host, _KEY):
            if found := open_key(subject.site.controller.look(str(value.value))):
                yield _fault(host, value, *found)


def open_key(material: Material) -> tuple[str, str, Severity] | None:
    """What to say of a private key in plain text that others may read, if it is one."""
    if material.text is None or material.vaulted or not material.readable_by:
        return None
    return (
        f"{material.path}, a private key, may be read by {material.readable_by}"
        f" (mode {material.mode:04o})",
        f"chmod 600 {material.path}; if it was so for long, have the key replaced.",
        Severity.ERROR if material.readable_by == "everybody" else Severity.WARNING,
    )


def ca_directories(subject: Subject) -> Iterator[Fault]:
    """CA directories with which nothing would be trusted, now or soon."""
    found: dict[str, list[tuple[str, str, Severity]]] = {}
    for host in subject.targets:
        for _, value in _files(subject, host, _DIRECTORY):
            directory = str(value.value)
            if directory not in found:
                problems = _checks().ca_problems(directory)
                found[directory] = [
                    (p.problem, p.next_step, Severity(p.severity)) for p in problems
                ]
            for problem, next_step, severity in found[directory]:
                yield _fault(host, value, problem, next_step, severity)


def _files(subject: Subject, host: Host, form: str) -> Iterator[tuple[Option, Value]]:
    """The files of one form that are named by an absolute path; others are faults already."""
    for option, value, found in subject.of_form(host, form):
        if isinstance(found, str) and found.startswith("/") and PLACEHOLDER not in found:
            yield option, value


def _fault(
    host: Host, value: Value, message: str, next_step: str, severity: Severity = Severity.ERROR
) -> Fault:
    return fault(
        message, next_step, at(host, value), host=host, variable=value.name, severity=severity
    )


def _checks() -> ModuleType:
    """The checks that the roles' filters have too."""
    return plugins.load("plugin_utils/credential_checks")
