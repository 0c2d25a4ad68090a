"""Loads a site: the one door to what the user wrote."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cloudlet_deploy.errors import CloudletError, InvalidSiteError
from cloudlet_deploy.site import syntax
from cloudlet_deploy.site.controller import Controller
from cloudlet_deploy.site.model import Site, Vault


def load(
    inventory: Path | str | Sequence[Path | str],
    *,
    limit: str | None = None,
    extra_vars: Sequence[str | Mapping[str, Any]] = (),
    vault: Vault | None = None,
) -> Site:
    """Read an inventory (directory, file, ``host,`` list, or several of these) without a host.

    ``limit`` and ``extra_vars`` have Ansible's forms. The inventory need not be writable.

    Raises:
        InvalidSiteError: it is missing, unreadable or empty; UnreadableSiteError with a fault
            for each file that does not parse.
        UsageError: ``limit`` leaves no host, or a vault password cannot be read.
    """
    given = [inventory] if isinstance(inventory, str | Path) else list(inventory)
    sources = [_checked(str(source)) for source in given]
    if not sources:
        raise InvalidSiteError("No inventory was given.", next_step="Name it with -i SITE.")
    shown = ", ".join(str(source) for source in given)
    try:
        # Ansible takes half a second to import, and reads ansible.cfg on the way.
        from cloudlet_deploy.site import ansible_inventory, values

        raw = ansible_inventory.read(
            sources, limit=limit, extra_vars=extra_vars, vault=vault or Vault()
        )
        hosts = {host.name: values.host_of(host, raw.loader) for host in raw.hosts}
    except syntax.UnreadableSiteError as error:
        raise syntax.with_others(error, sources) from error
    except CloudletError:
        raise
    except Exception as error:  # a setting of Ansible's, or a value nested without end
        raise InvalidSiteError(
            f"{shown}: Ansible cannot read it: {type(error).__name__}: {error}",
            next_step="`ansible-inventory --list -i SITE` shows what Ansible says.",
        ) from error
    return Site(
        shown,
        hosts,
        raw.groups,
        raw.targets,
        raw.notices,
        raw.group_origins,
        Controller(ansible_inventory.opener(raw.loader)),
    )


def _checked(source: str) -> str:
    """``source`` as Ansible wants it: absolute, unless it is a list of hosts."""
    path = Path(source).expanduser().absolute()
    try:
        wanted = os.R_OK | os.X_OK if path.is_dir() else os.R_OK
        readable = os.access(path, wanted)
        missing = not path.exists()
    except PermissionError:  # a directory above it may not be searched
        readable = missing = False
    if missing:
        if "," in source:
            return source
        raise InvalidSiteError(
            f"{source}: there is no such inventory.",
            next_step="Name an existing one with -i, or write one with `cloudlet-deploy init`.",
        )
    if not readable:
        raise InvalidSiteError(
            f"{source}: the inventory is not readable for this user.",
            next_step=f"Grant read permission, for example with `chmod -R u+rX {source}`.",
        )
    return str(path)
