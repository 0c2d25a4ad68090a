"""Roles' templates and variables as Ansible evaluates them, without a host."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cloudlet_deploy import content
from cloudlet_deploy.lab.ca import Pki

Settings = Mapping[str, Any]
Render = Callable[..., str]
#: Values by name for each of some settings, from expressions by name.
Evaluate = Callable[[Mapping[str, str], Sequence[Settings]], list[dict[str, Any]]]

_FACTS = {
    "os_family": "Debian",
    "distribution": "Debian",
    "distribution_major_version": "12",
    "architecture": "x86_64",
}
_ROLES = ("grid_trust", "storage", "java", "gridftp", "bestman")


def evaluator(run_tasks: Any, directory: Path) -> Evaluate:
    """See the fixture ``evaluate``."""
    pki = Pki(directory / "pki")
    pki.ensure(("localhost",))
    variables: dict[str, Any] = {}
    for role in _ROLES:
        for kind in ("defaults", "vars"):
            variables |= yaml.safe_load((content.roles()[role] / kind / "main.yml").read_text())
    variables |= {
        "storage_path": "/srv/storage",
        "grid_trust_host_certificate": str(pki.host("localhost") / "hostcert.pem"),
        "grid_trust_host_key": str(pki.host("localhost") / "hostkey.pem"),
        "bestman_transfer_servers": ["gsiftp://data1.example.org"],
    }

    def evaluated(
        expressions: Mapping[str, str], settings: Sequence[Settings]
    ) -> list[dict[str, Any]]:
        wanted = {name: f"{{{{ {text} }}}}" for name, text in expressions.items()}
        tasks = []
        for one in settings:
            facts = {name: one.get(name, value) for name, value in _FACTS.items()}
            own = {name: value for name, value in one.items() if name not in _FACTS}
            tasks += [
                {"ansible.builtin.set_fact": {**facts, "cacheable": True}},
                {"ansible.builtin.set_fact": wanted, "vars": own},
            ]
        results = run_tasks(tasks, extra_vars=variables)
        assert results.returncode == 0, results.output
        return [
            {name: result["ansible_facts"][name] for name in expressions}
            for result in results[1::2]
        ]

    return evaluated
