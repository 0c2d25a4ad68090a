"""Lanes of CryoSPARC that cannot work. The role refuses the same, by the same code."""

from __future__ import annotations

from collections.abc import Iterator

from cloudlet_deploy.site import plugins
from cloudlet_deploy.site.checks import entries
from cloudlet_deploy.site.faults import Fault, Subject

_LANES = "cryosparc_lane_clusters"
#: A key that is there, and a line of known_hosts for any host.
_GIVEN = {"key": "given", "key_file": "given", "known_hosts": ["|"]}


def lanes(subject: Subject) -> Iterator[Fault]:
    """Names, paths and options that CryoSPARC, ssh or Slurm would not take."""
    problems = plugins.load("module_utils/cryosparc_lane_template").problems
    faults_of = plugins.load("plugin_utils/cryosparc_lane_faults").faults_of
    for host in subject.targets:
        known = entries.known(subject, host, _LANES, _GIVEN)
        for lane, problem, remedy in faults_of(list(known.values()), problems):
            (index,) = (index for index, one in known.items() if one is lane)
            yield entries.refused(host, _LANES, index, problem, remedy)
