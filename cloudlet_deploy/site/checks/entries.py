"""Lists of mappings that roles look at by code of the collection, such as mounts and lanes.

That code wants every key to be known, and of its type. Here is what can be put before it offline,
and what it finds becomes faults.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudlet_deploy.site.checks.values import PLACEHOLDER, of_spec
from cloudlet_deploy.site.faults import Fault, Severity, Subject, at, fault, shown
from cloudlet_deploy.site.model import Host, Unknown


def known(
    subject: Subject, host: Host, variable: str, given: Mapping[str, object]
) -> dict[int, dict[str, Any]]:
    """The entries of a variable by their index, as far as the inventory tells.

    ``given`` is what stands for keys that only a run, or a vault, can tell. Entries of which
    more than that is unknown are left out, and so are those that the spec refuses.
    """
    option = next((one for one in subject.wanted(host) if one.name == variable), None)
    value = host.effective(variable)
    if option is None or value is None or not isinstance(value.value, list):
        return {}
    told = [one for one in of_spec(host, option, value) if one.severity is Severity.ERROR]
    found = {}
    for index, entry in enumerate(value.value):
        place = shown(variable, (index,))
        if isinstance(entry, Mapping) and not any(one.variable.startswith(place) for one in told):
            found[index] = _known(entry, given)
    return {index: entry for index, entry in found.items() if entry is not None}


def refused(host: Host, variable: str, index: int, problem: str, remedy: str) -> Fault:
    """An entry that the role refuses, in its words."""
    value = host.effective(variable)
    return fault(
        f"has {problem}",
        f"{remedy[:1].upper()}{remedy[1:]}.",
        host.origin if value is None else at(host, value, (index,)),
        host=host,
        variable=shown(variable, (index,)),
    )


def _known(entry: Mapping[str, Any], given: Mapping[str, object]) -> dict[str, Any] | None:
    found = dict(entry)
    for key, value in entry.items():
        unknown = any(map(_is_open, value if isinstance(value, list) else [value]))
        if key in given and unknown:
            found[key] = given[key]
        elif isinstance(value, list):
            found[key] = [item for item in value if not _is_open(item)]
        elif unknown:
            return None
    return found


def _is_open(value: object) -> bool:
    """Whether ``value`` is for a run, or for the admin, to tell."""
    return isinstance(value, Unknown) or (isinstance(value, str) and PLACEHOLDER in value)
