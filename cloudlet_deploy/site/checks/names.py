"""Names of variables."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from cloudlet_deploy.site.faults import Fault, Severity, Subject, fault
from cloudlet_deploy.site.removed import REMOVED

#: How alike a name has to be that carries no role's prefix: it may be the site's own.
_MISTYPED = 0.9


def unknown_variables(subject: Subject) -> Iterator[Fault]:
    """Variables that no role reads: misspelled, or of a removed release."""
    known = {name for spec in subject.specs.values() for name in spec.options}
    prefixes = tuple(f"{role}_" for role in subject.specs)
    for host in subject.targets:
        for value in host.values.values():
            name = value.name
            if name in known:
                continue
            if name in REMOVED:
                gone = REMOVED[name]
                yield fault(
                    f"was removed in release {gone.release}",
                    gone.instead,
                    value.origin,
                    host=host,
                    variable=name,
                )
            elif name.startswith(prefixes):
                near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.75)
                yield fault(
                    "no role has a variable of this name",
                    f"Did you mean {near[0]}?" if near else _all_of_role(name, subject),
                    value.origin,
                    host=host,
                    variable=name,
                )
            elif near := difflib.get_close_matches(name, sorted(known), n=1, cutoff=_MISTYPED):
                yield fault(
                    "no role reads this variable",
                    f"Did you mean {near[0]}?",
                    value.origin,
                    host=host,
                    variable=name,
                    severity=Severity.WARNING,
                )


def _all_of_role(name: str, subject: Subject) -> str:
    role = max((r for r in subject.specs if name.startswith(f"{r}_")), key=len)
    names = ", ".join(sorted(subject.specs[role].options)) or "none"
    return f"Remove it or correct its name; the variables of {role} are: {names}."
