"""What cannot be checked offline, told rather than guessed."""

from __future__ import annotations

from collections.abc import Iterator

from cloudlet_deploy.site.checks import memory, portal, ssh_keys
from cloudlet_deploy.site.faults import Subject, Unchecked, Unsure, at, shown
from cloudlet_deploy.site.model import Host, Origin, Place, Unknown, Value, Why

_NO_PASSWORD = "it is encrypted, and no vault password was given"


def all_of(subject: Subject) -> Iterator[Unchecked]:
    """Everything that was not checked, host by host."""
    for host in subject.targets:
        yield from _locked(host)
        for option in subject.wanted(host):
            value = host.values.get(option.name)
            if value is not None:
                yield from _unknown_parts(host, value, value.value, ())
        yield from _vaulted_files(subject, host)
        yield from _heaps(subject, host)
        yield from _redirects(subject, host)


def _locked(host: Host) -> Iterator[Unchecked]:
    for path in host.locked_files:
        detail = "the whole file is encrypted, and no vault password was given"
        yield _one(Unsure.OPAQUE, detail, host, "", Origin(path))


def _unknown_parts(host: Host, value: Value, found: object, place: Place) -> Iterator[Unchecked]:
    if isinstance(found, dict):
        for key, item in found.items():
            step = key if isinstance(key, str | int) else str(key)
            yield from _unknown_parts(host, value, item, (*place, step))
    elif isinstance(found, list):
        for index, item in enumerate(found):
            yield from _unknown_parts(host, value, item, (*place, index))
    elif isinstance(found, Unknown) and found.why in (Why.DEFERRED, Why.VAULTED):
        opaque = found.why is Why.VAULTED
        yield _one(
            Unsure.OPAQUE if opaque else Unsure.DEFERRED,
            _NO_PASSWORD if opaque else found.detail,
            host,
            shown(value.name, place),
            value.origin_of(place),
        )


def _vaulted_files(subject: Subject, host: Host) -> Iterator[Unchecked]:
    forms = ("certificate on the controller", "private key on the controller")
    files = [(value, (), found) for _, value, found in subject.of_form(host, *forms)]
    for value, place, found in (*files, *ssh_keys.named(subject, host)):
        if not isinstance(found, str) or not found.startswith("/"):
            continue
        material = subject.site.controller.look(found)
        if material.unknown is not None and material.unknown.why is Why.VAULTED:
            detail = f"{found} is encrypted, and no vault password was given"
            where, variable = at(host, value, place), shown(value.name, place)
            yield _one(Unsure.OPAQUE, detail, host, variable, where)


def _heaps(subject: Subject, host: Host) -> Iterator[Unchecked]:
    if memory.memory_of(subject, host) is None:
        for value, _ in memory.heaps_of(subject, host):
            detail = "whether it fits into the host's memory: preflight asks the host"
            yield _one(Unsure.DEFERRED, detail, host, value.name, at(host, value))


def _redirects(subject: Subject, host: Host) -> Iterator[Unchecked]:
    for value, place, uri in portal.redirect_uris(subject, host):
        detail = f"whether the provider knows the redirect URI {uri}: register it there"
        yield _one(Unsure.DEFERRED, detail, host, value.name, at(host, value, place))


def _one(why: Unsure, detail: str, host: Host, variable: str, origin: Origin) -> Unchecked:
    return Unchecked(why, detail, (host.name,), variable, origin.path, origin.line)
