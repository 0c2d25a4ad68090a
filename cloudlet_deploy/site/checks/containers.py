"""The Globus container's configuration on this machine that the site names."""

from __future__ import annotations

from collections.abc import Iterator

from cloudlet_deploy.site import plugins
from cloudlet_deploy.site.checks.values import PLACEHOLDER
from cloudlet_deploy.site.faults import Fault, Subject, at, fault

_FORM = "container configuration on the controller"


def configurations(subject: Subject) -> Iterator[Fault]:
    """Files that are missing, or that the container's settings cannot be put into."""
    for host in subject.targets:
        for _, value, found in subject.of_form(host, _FORM):
            if not isinstance(found, str) or not found.startswith("/") or PLACEHOLDER in found:
                continue
            material = subject.site.controller.look(found)
            problem = material.problem
            if material.text is not None:
                problem = plugins.load("plugin_utils/globus_wsdd").problem_of(material.text)
            if problem:
                yield fault(
                    f"{found} {problem}",
                    "Copy server-config.wsdd from the door to this machine and name the copy.",
                    at(host, value),
                    host=host,
                    variable=value.name,
                )
