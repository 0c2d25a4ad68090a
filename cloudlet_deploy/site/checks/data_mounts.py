"""Mounts that cannot work, or not safely. The role refuses the same, by the same code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cloudlet_deploy.site import plugins
from cloudlet_deploy.site.checks import entries
from cloudlet_deploy.site.faults import Fault, Subject

#: A password and a key that are there, and a line of known_hosts for any host.
_GIVEN: Mapping[str, Mapping[str, object]] = {
    "data_mounts_cifs": {"username": "given", "password": "given"},
    "data_mounts_sshfs": {
        "key": "-----BEGIN PRIVATE KEY-----",
        "key_file": "given",
        "known_hosts": ["* ssh-ed25519 AAAA"],
    },
}


def mounts(subject: Subject) -> Iterator[Fault]:
    """Places, options and servers' keys of mounts, and mounts that are in each other's way."""
    faults_of = plugins.load("filter/data_mounts_refusals").faults_of
    for host in subject.targets:
        known = {name: entries.known(subject, host, name, given) for name, given in _GIVEN.items()}
        for variable, at, problem, remedy in faults_of(*(list(k.values()) for k in known.values())):
            yield entries.refused(host, variable, list(known[variable])[at], problem, remedy)
