"""What roles bring besides their specs: defaults, and what they refuse.

A role that needs settings to fit together says so in ``vars/main.yml``, in the list
``__ROLE_setting_faults`` of templates that give a sentence ("NAME is VALUE: what to do") or
nothing. Where these need no facts, they are evaluated offline too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ansible.parsing.dataloader import DataLoader

from cloudlet_deploy import content


def defaults_of(roles: Iterable[str]) -> dict[str, Any]:
    """The defaults of ``roles``, with Ansible's tags."""
    return _merged(roles, "defaults")


def vars_of(roles: Iterable[str]) -> dict[str, Any]:
    """The role variables of ``roles``, with Ansible's tags."""
    return _merged(roles, "vars")


def faults_variable(role: str) -> str:
    """Name of the list in which ``role`` says what settings it refuses."""
    return f"__{role}_setting_faults"


def _merged(roles: Iterable[str], kind: str) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for role in roles:
        merged |= _load(content.root() / "roles" / role / kind / "main.yml")
    return merged


@cache
def _load(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    data = DataLoader().load_from_file(str(path), trusted_as_template=True)
    return data if isinstance(data, Mapping) else {}
