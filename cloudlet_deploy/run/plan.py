"""What one execution of a playbook is to do: decided before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

#: Seconds without any word from Ansible after which a run is given up.
SILENCE = 3600.0


@dataclass(frozen=True)
class RunPlan:
    """One ``ansible-playbook`` process.

    Passwords are not in here: they are the ``Secrets`` that go beside it.
    """

    playbook: Path
    inventory: tuple[Path, ...]
    #: A host pattern as typed by the user; None is everything.
    limit: str | None = None
    #: These hosts and no other; wins over ``limit``. None is everything.
    hosts: tuple[str, ...] | None = None
    #: Roles to run, by their tags; empty is all.
    components: tuple[str, ...] = ()
    check: bool = False
    diff: bool = False
    extra_vars: tuple[str, ...] = field(default=(), repr=False)
    user: str | None = None
    private_key: Path | None = None
    forks: int | None = None
    verbosity: int = 0
    become_password_file: Path | None = None
    vault_password_files: tuple[Path, ...] = ()
    vault_ids: tuple[str, ...] = ()
    #: Added to the allowlisted environment.
    environment: Mapping[str, str] = field(default_factory=dict)
    silence: float = SILENCE
    #: Seconds that the whole run may take; None is no limit.
    deadline: float | None = None
    #: The run that holds the lease on the hosts: ``config_set`` works for no other.
    run_id: str | None = None
    #: Variables of our own playbooks; they win over the user's.
    variables: Mapping[str, Any] = field(default_factory=dict)

    def predicting(self) -> RunPlan:
        """The same, only looking: check mode with diffs."""
        return replace(self, check=True, diff=True, run_id=None)

    def of_run(self, run_id: str) -> RunPlan:
        """The same, as the part of a run that changes hosts under its lease."""
        return replace(self, run_id=run_id)

    def only(self, hosts: tuple[str, ...]) -> RunPlan:
        """The same, on these hosts."""
        return replace(self, hosts=hosts)
