"""Lanes of CryoSPARC that cannot work. The role refuses the same, by the same code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cloudlet_deploy.site import plugins
from cloudlet_deploy.site.faults import Fault, Subject, at, fault, shown
from cloudlet_deploy.site.model import Unknown

_LANES = "cryosparc_lane_clusters"
#: Stands for what a run only can tell: a key that is there, and a line of known_hosts for any host.
_GIVEN = {"key": "given", "key_file": "given", "known_hosts": ["|"]}


def lanes(subject: Subject) -> Iterator[Fault]:
    """Names, paths and options that CryoSPARC, ssh or Slurm would not take."""
    problems = plugins.load("module_utils/cryosparc_lane_template").problems
    faults_of = plugins.load("plugin_utils/cryosparc_lane_faults").faults_of
    for host in subject.targets:
        value = host.effective(_LANES)
        if value is None or not isinstance(value.value, list):
            continue
        known = {
            index: lane
            for index, entry in enumerate(value.value)
            if isinstance(entry, Mapping) and (lane := _known(entry)) is not None
        }
        for lane, problem, remedy in faults_of(list(known.values()), problems):
            (index,) = (index for index, one in known.items() if one is lane)
            yield fault(
                f"has {problem}",
                f"{remedy[:1].upper()}{remedy[1:]}.",
                at(host, value, (index,)),
                host=host,
                variable=shown(_LANES, (index,)),
            )


def _known(entry: Mapping[str, Any]) -> dict[str, Any] | None:
    """The lane as far as the inventory tells; None if that is too little, or of a wrong type."""
    found = dict(entry)
    for key, value in entry.items():
        unknown = [isinstance(item, Unknown) for item in _items(value)]
        if key in _GIVEN and any(unknown):
            found[key] = _GIVEN[key]
        elif isinstance(value, list):
            found[key] = [item for item in value if isinstance(item, str)]
        elif any(unknown):
            return None
    numbers = (found.get(key, 1) for key in ("port", "cpu_factor", "memory_factor"))
    return found if all(isinstance(number, int | float) for number in numbers) else None


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]
