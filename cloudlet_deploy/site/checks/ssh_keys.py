"""Private keys for ssh on this machine, which mounts and lanes name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cloudlet_deploy.site import plugins
from cloudlet_deploy.site.checks.credentials import open_key
from cloudlet_deploy.site.checks.values import PLACEHOLDER
from cloudlet_deploy.site.controller import Material
from cloudlet_deploy.site.faults import Fault, Severity, Subject, at, fault, shown
from cloudlet_deploy.site.model import Host, Place, Value, Why

_LISTS, _KEY = ("data_mounts_sshfs", "cryosparc_lane_clusters"), "key_file"


def keys(subject: Subject) -> Iterator[Fault]:
    """Keys that cannot be read, that no service can use, or that others may read."""
    for host in subject.targets:
        for value, place, path in named(subject, host):
            for problem, step, severity in _problems(subject.site.controller.look(path)):
                where, variable = at(host, value, place), shown(value.name, place)
                yield fault(problem, step, where, host=host, variable=variable, severity=severity)


def named(subject: Subject, host: Host) -> Iterator[tuple[Value, Place, str]]:
    """Each key as an absolute path, with the value and the part of it that names it."""
    for option in subject.wanted(host):
        value = host.effective(option.name) if option.name in _LISTS else None
        if value is None or not isinstance(value.value, list):
            continue
        for index, entry in enumerate(value.value):
            path = entry.get(_KEY) if isinstance(entry, Mapping) else None
            if isinstance(path, str) and path.startswith("/") and PLACEHOLDER not in path:
                yield value, (index, _KEY), path


def _problems(material: Material) -> Iterator[tuple[str, str, Severity]]:
    if material.unknown is not None:
        if material.unknown.why is Why.WRONG_PASSWORD:
            step = "Give the right one with --vault-password-file or --vault-id."
            yield f"{material.path}: {material.unknown.detail}", step, Severity.ERROR
    elif material.text is None:
        step = "Put the key there, or correct the path."
        yield f"{material.path} {material.problem}", step, Severity.ERROR
    else:
        key_problems = plugins.load("filter/data_mounts_refusals").key_problems
        for problem, remedy in key_problems(material.text):
            step = f"{remedy[:1].upper()}{remedy[1:]}."
            yield f"{material.path} is {problem}", step, Severity.ERROR
        if found := open_key(material):
            yield found
