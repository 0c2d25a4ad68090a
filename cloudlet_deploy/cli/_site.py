"""Loads the site that the shared options name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cloudlet_deploy.cli.options import AnsibleOptions

if TYPE_CHECKING:
    from cloudlet_deploy.site import Site, Vault


def load_site(options: AnsibleOptions) -> Site:
    """The site, with its vaulted values opened as far as passwords were given."""
    from cloudlet_deploy import site  # --help needs none of it

    return site.load(
        options.inventory,
        limit=options.limit,
        extra_vars=options.extra_vars,
        vault=vault_of(options),
    )


def vault_of(options: AnsibleOptions) -> Vault:
    """How to open vaulted values; asks for the passwords that the options want asked for."""
    from cloudlet_deploy.site import Vault

    asked = [
        (label or "default", f"Vault password ({label or 'default'})")
        for label, at, source in (given.rpartition("@") for given in options.vault_ids)
        if source == "prompt"
    ]
    if options.ask_vault_pass:
        asked.append(("default", "Vault password"))
    passwords = tuple(
        (label, click.prompt(question, hide_input=True, err=True)) for label, question in asked
    )
    files = tuple(str(path) for path in options.vault_password_files)
    return Vault(ids=options.vault_ids, password_files=files, passwords=passwords)
