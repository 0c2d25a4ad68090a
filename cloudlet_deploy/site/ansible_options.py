"""What Ansible's own options say: vault passwords and extra variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible import constants as ansible_settings
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.splitter import parse_kv
from ansible.parsing.vault import VaultSecret, get_file_vault_secret

from cloudlet_deploy.errors import UsageError
from cloudlet_deploy.site.ansible_tags import from_command_line, reason
from cloudlet_deploy.site.model import Vault


def secrets_of(loader: DataLoader, vault: Vault) -> list[tuple[str, VaultSecret]]:
    """Every vault password by its label, in the order in which Ansible tries them."""
    default = str(ansible_settings.DEFAULT_VAULT_IDENTITY)
    configured = [str(item) for item in ansible_settings.DEFAULT_VAULT_IDENTITY_LIST or ()]
    files = [*vault.password_files]
    if ansible_settings.DEFAULT_VAULT_PASSWORD_FILE:
        files.append(str(ansible_settings.DEFAULT_VAULT_PASSWORD_FILE))
    secrets = [(label, VaultSecret(text.encode())) for label, text in vault.passwords]
    for item in (*configured, *vault.ids, *files):
        label, at, source = item.rpartition("@") if item not in files else ("", "", item)
        if at and source.startswith("prompt"):
            continue
        try:
            secret = get_file_vault_secret(source, vault_id=label or None, loader=loader)
            secret.load()
        except Exception as error:
            raise UsageError(
                f"The vault password from {source} cannot be read: {reason(error)}",
                next_step="Name a file that holds the password, or a program that prints it.",
            ) from error
        secrets.append((label or default, secret))
    return secrets


def extra_vars_of(
    loader: DataLoader, extra_vars: Sequence[str | Mapping[str, Any]]
) -> Mapping[str, Any]:
    """What ``--extra-vars`` says, in the three forms that Ansible knows, or as a mapping."""
    merged: dict[str, Any] = {}
    for number, given in enumerate(extra_vars, 1):
        if isinstance(given, Mapping):
            merged |= given
            continue
        if not given.strip():
            continue
        tagged = from_command_line(given, "--extra-vars")
        if given.startswith("@"):
            path = Path(given[1:]).expanduser().absolute()
            data = loader.load_from_file(str(path), trusted_as_template=True)
        elif given[0] in "[{":
            data = loader.load(tagged)
        else:
            data = parse_kv(tagged)
        if not isinstance(data, Mapping):
            raise UsageError(
                f"--extra-vars, number {number} on the command line, is no set of variables.",
                next_step="Write NAME=VALUE, a YAML or JSON mapping, or @FILE.",
            )
        merged |= data
    return merged
