"""Which components a host has. The playbooks say so: each play names groups and roles."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from cloudlet_deploy import content
from cloudlet_deploy.site.model import Host

#: What a new site can be, and the playbook that deploys it.
KINDS: Mapping[str, str] = {"storage-element": "storage_element", "cloudlet": "cloudlet"}
#: The playbooks that deploy, and the one that imports them all.
PLAYBOOKS = ("storage_element", "cloudlet")
EVERYTHING = "site"

_INCLUDES = tuple(
    f"{prefix}{verb}_role" for prefix in ("", "ansible.builtin.") for verb in ("import", "include")
)


def of_groups() -> Mapping[str, tuple[str, ...]]:
    """Roles by group, in the order in which they run."""
    return _of_groups(tuple(content.playbook(name) for name in PLAYBOOKS))


def playbook_of(groups: Collection[str]) -> Path | None:
    """The playbook that deploys hosts in ``groups``; None if no play names any of them."""
    found = [
        name for name in PLAYBOOKS if _of_groups((content.playbook(name),)).keys() & set(groups)
    ]
    if not found:
        return None
    return content.playbook(found[0] if len(found) == 1 else EVERYTHING)


def of_host(host: Host) -> tuple[str, ...]:
    """The roles that ``host`` gets from its groups, each once."""
    return of_groups_of(host.groups)


def of_groups_of(groups: Collection[str]) -> tuple[str, ...]:
    """The roles that a host in ``groups`` gets, each once, in the order in which they run."""
    mapping = of_groups()
    roles = (role for group in mapping if group in groups for role in mapping[group])
    return tuple(dict.fromkeys(roles))


@cache
def _of_groups(playbooks: tuple[Path, ...]) -> Mapping[str, tuple[str, ...]]:
    roles: dict[str, dict[str, None]] = {}
    for path in playbooks:
        for play in yaml.safe_load(path.read_text(encoding="utf-8")):
            for group in _groups(str(play.get("hosts", ""))):
                roles.setdefault(group, {}).update(dict.fromkeys(_roles(play)))
    return {group: tuple(found) for group, found in roles.items() if found}


def _groups(pattern: str) -> list[str]:
    """The groups of a play's ``hosts``; our playbooks use unions of groups only."""
    return [part for part in re.split(r"[:,\s]+", pattern) if part and part[0] not in "!&~"]


def _roles(play: Mapping[str, Any]) -> Iterator[str]:
    for entry in play.get("roles") or ():
        yield _short(entry if isinstance(entry, str) else entry.get("role", entry.get("name", "")))
    for section in ("pre_tasks", "tasks", "post_tasks"):
        yield from _included(play.get(section) or ())


def _included(tasks: Any) -> Iterator[str]:
    for task in tasks:
        for key in _INCLUDES:
            if key in task:
                yield _short(str(task[key]["name"]))
        for nested in ("block", "rescue", "always"):
            yield from _included(task.get(nested) or ())


def _short(role: str) -> str:
    return role.removeprefix(f"{content.NAMESPACE}.{content.COLLECTION}.")
