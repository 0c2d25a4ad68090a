"""Where roles, playbooks and templates are, in a checkout and in an installed wheel."""

from __future__ import annotations

import contextlib
from functools import cache
from pathlib import Path

from cloudlet_deploy.errors import RunFailedError

#: Names of the Ansible collection that the repository root is.
NAMESPACE, COLLECTION = "cloudlet", "deploy"


@cache
def root() -> Path:
    """Directory that holds ``roles/``, ``playbooks/``, ``plugins/`` and ``templates/``.

    A checkout is its own collection; a wheel installs it under ``ansible_collections``.
    """
    package = Path(__file__).resolve().parent
    installed = package.parent / "ansible_collections" / NAMESPACE / COLLECTION
    for candidate in (package.parent, installed):
        if (candidate / "galaxy.yml").is_file() and (candidate / "roles").is_dir():
            return candidate
    raise RunFailedError(
        f"The roles that belong to {package} are missing.",
        next_step="Install cloudlet-deploy again: its wheel brings them.",
    )


def roles() -> dict[str, Path]:
    """Every role by name."""
    return {path.name: path for path in sorted((root() / "roles").iterdir()) if path.is_dir()}


def playbook(name: str) -> Path:
    """The playbook called ``name``, without its suffix."""
    path = root() / "playbooks" / f"{name}.yml"
    if not path.is_file():
        raise RunFailedError(f"There is no playbook {path}.")
    return path


def link_collection(parent: Path) -> Path:
    """Make ``parent/ansible_collections/cloudlet/deploy`` point at ``root()``.

    Returns ``parent``, which is what ``ANSIBLE_COLLECTIONS_PATH`` wants.
    """
    link = parent / "ansible_collections" / NAMESPACE / COLLECTION
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        # Two processes may come here together: the one that is late finds it done.
        with contextlib.suppress(FileExistsError):
            link.symlink_to(root(), target_is_directory=True)
    return parent
