"""Reads an inventory with Ansible's own classes; the only module that knows their insides.

Ansible's interface for where a value was written (origin tags), for vaulted strings and for
its warnings is internal to ansible-core. What this project uses of it, for 2.19 to 2.21, is
wrapped here and nowhere else. Importing this module imports Ansible: do it late.

Ansible keeps caches and its screen in module globals, so one process reads one inventory at
a time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible import constants as ansible_settings
from ansible._internal._datatag._tags import Origin as OriginTag
from ansible._internal._datatag._tags import SourceWasEncrypted
from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.splitter import parse_kv
from ansible.parsing.vault import (
    EncryptedString,
    VaultHelper,
    VaultLib,
    VaultSecret,
    get_file_vault_secret,
    is_encrypted_file,
)
from ansible.plugins.vars import host_group_vars
from ansible.template import Templar, trust_as_template
from ansible.utils.display import Display
from ansible.utils.vars import combine_vars
from ansible.vars.manager import VariableManager

from cloudlet_deploy import content
from cloudlet_deploy.errors import InvalidSiteError, UsageError
from cloudlet_deploy.site.model import Notice, Origin, Vault

#: Key under which an encrypted file stands among the variables while it cannot be opened.
_LOCKED = "__cloudlet_locked_"
#: What Ansible adds to the variables of every host; nobody wrote these.
MAGIC = frozenset(
    {
        "ansible_check_mode",
        "ansible_config_file",
        "ansible_diff_mode",
        "ansible_facts",
        "ansible_forks",
        "ansible_inventory_sources",
        "ansible_limit",
        "ansible_local",
        "ansible_playbook_python",
        "ansible_run_tags",
        "ansible_skip_tags",
        "ansible_verbosity",
        "ansible_version",
        "group_names",
        "groups",
        "hostvars",
        "inventory_dir",
        "inventory_file",
        "inventory_hostname",
        "inventory_hostname_short",
        "omit",
        "playbook_dir",
        "vars",
    }
)
#: Files of these kinds in an inventory directory were meant as inventory.
_INVENTORY_SUFFIXES = frozenset({"", ".yml", ".yaml", ".json", ".ini", ".toml"})


@dataclass(frozen=True)
class RawHost:
    """A host as Ansible tells it: ``values`` and ``magic`` still carry Ansible's tags."""

    name: str
    groups: tuple[str, ...]
    values: Mapping[str, Any]
    magic: Mapping[str, Any]
    origin: Origin
    origins: Mapping[str, Origin]
    locked_files: tuple[str, ...]


@dataclass(frozen=True)
class RawInventory:
    """All that Ansible knows of an inventory, and what opens and templates its values."""

    hosts: tuple[RawHost, ...]
    groups: Mapping[str, tuple[str, ...]]
    targets: tuple[str, ...]
    notices: tuple[Notice, ...]
    loader: DataLoader


def origin_of(value: object) -> Origin | None:
    """Where ``value`` was written, if Ansible knows it. Booleans and nulls carry no tags."""
    tag = OriginTag.get_tag(value)
    if tag is None:
        return None
    return Origin(str(tag.path or tag.description), tag.line_num, tag.col_num)


def is_encrypted(value: object) -> bool:
    """Whether ``value`` is one vaulted string."""
    return isinstance(value, EncryptedString)


def from_vault(value: object) -> bool:
    """Whether ``value`` came out of a file that is encrypted as a whole."""
    return bool(SourceWasEncrypted.is_tagged_on(value))


def decrypt(loader: DataLoader, value: object) -> str | None:
    """The text of a vaulted string; None without any password.

    Raises:
        InvalidSiteError: no password that was given opens it.
    """
    vault: VaultLib = loader._vault
    if not vault.secrets:
        return None
    try:
        return str(vault.decrypt(VaultHelper.get_ciphertext(value, with_tags=True)), "utf-8")
    except (AnsibleError, UnicodeDecodeError) as error:
        raise InvalidSiteError("no vault password that was given opens it") from error


def templar(loader: DataLoader, variables: Mapping[str, Any]) -> Templar:
    """Ansible's template engine over ``variables``."""
    return Templar(loader, dict(variables))


def read(
    sources: Sequence[str],
    *,
    limit: str | None,
    extra_vars: Sequence[str | Mapping[str, Any]],
    vault: Vault,
) -> RawInventory:
    """Parse all ``sources`` as one inventory.

    Raises:
        InvalidSiteError: a source does not parse or names no host.
        UsageError: a vault password or ``limit`` cannot be used.
    """
    _forget()
    screen = _Screen()
    with screen.watching(), _translated(sources[0]):
        loader = _Loader()
        loader.set_basedir(str(content.root() / "playbooks"))
        loader.set_vault_secrets(_secrets(loader, vault))
        inventory = InventoryManager(loader, sources=list(sources))
        screen.raise_failures(sources)
        variables = VariableManager(loader, inventory)
        extra = _extra_vars(loader, extra_vars)
        targets = _targets(inventory, limit)
        hosts = tuple(
            _host(host, inventory, variables, loader, extra)
            for host in inventory.get_hosts("all", ignore_limits=True)
        )
        groups = {
            str(name): tuple(str(host.name) for host in group.get_hosts())
            for name, group in inventory.groups.items()
        }
    return RawInventory(hosts, groups, targets, tuple(screen.notices), loader)


def _forget() -> None:
    """Drop what earlier reads left in Ansible's globals: files may have changed since."""
    host_group_vars.FOUND.clear()
    host_group_vars.NAK.clear()
    host_group_vars.CANONICAL_PATHS.clear()


class _Loader(DataLoader):  # type: ignore[misc]  # Ansible is untyped
    """Lets locked files of variables pass, and remembers which files a host is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.trace: list[tuple[str, Mapping[str, Any]]] = []

    def load_from_file(self, file_name: str, *args: Any, **kwargs: Any) -> Any:
        path = Path(self.path_dwim(file_name))
        if not self._vault.secrets and _holds_variables(path) and _is_locked(path):
            return {f"{_LOCKED}{path}": str(path)}
        data = super().load_from_file(file_name, *args, **kwargs)
        if isinstance(data, Mapping):
            self.trace.append((str(path), data))
        return data


def _holds_variables(path: Path) -> bool:
    return not {"group_vars", "host_vars"}.isdisjoint(path.parts)


def _is_locked(path: Path) -> bool:
    with path.open("rb") as stream:
        return bool(is_encrypted_file(stream))


class _Screen:
    """Takes what Ansible would print while it reads."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []
        self._failures: list[BaseException] = []

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        display = Display()
        replaced = {
            "warning": self._warning,
            "deprecated": lambda *_args, **_kwargs: None,
            "error_as_warning": self._failure,
        }
        vars(display).update(replaced)
        try:
            yield
        finally:
            for name in replaced:
                vars(display).pop(name, None)

    def _warning(self, msg: object, *_args: Any, obj: object = None, **_kwargs: Any) -> None:
        text = str(msg)
        # These two only repeat a failure that is told with its file and line.
        if not text.startswith(("Unable to parse", "No inventory was parsed")):
            self.notices.append(Notice(text, origin_of(obj) or Origin("")))

    def _failure(self, _msg: object, exception: BaseException, **_kwargs: Any) -> None:
        self._failures.append(exception)

    def raise_failures(self, sources: Sequence[str]) -> None:
        """Ansible would leave a file that does not parse out; a site must be whole."""
        by_file: dict[str, list[tuple[Origin, BaseException]]] = {}
        for failure in self._failures:
            origin = _failed_at(failure)
            by_file.setdefault(origin.path, []).append((origin, failure))
        for path, found in by_file.items():
            # Each parser that tried has failed; the one that got furthest knows the line.
            origin, failure = max(found, key=lambda item: item[0].line or 0)
            if path in sources or Path(path).suffix in _INVENTORY_SUFFIXES:
                raise InvalidSiteError(
                    f"{origin}: this is no Ansible inventory: {_reason(failure)}",
                    next_step="Correct the file. If it is none, move it out of the inventory.",
                ) from failure
            self.notices.append(Notice("not read: it is no Ansible inventory", Origin(path)))


def _failed_at(error: BaseException) -> Origin:
    """The most exact place that ``error`` or one of its causes names."""
    best = Origin("")
    cause: BaseException | None = error
    while cause is not None:
        origin = origin_of(getattr(cause, "obj", None))
        if isinstance(getattr(cause, "obj", None), OriginTag):
            tag = cause.obj  # type: ignore[attr-defined]
            origin = Origin(str(tag.path or tag.description), tag.line_num, tag.col_num)
        if origin is not None and (not best.path or (origin.line and not best.line)):
            best = origin
        cause = cause.__cause__ or cause.__context__
    if best.path.startswith("<inventory plugin") and "source '" in best.path:
        best = Origin(best.path.split("source '", 1)[1].rsplit("'", 1)[0], best.line, best.column)
    return best


def _reason(error: BaseException) -> str:
    text = str(getattr(error, "message", "") or error) or type(error).__name__
    return " ".join(text.split())


@contextlib.contextmanager
def _translated(source: str) -> Iterator[None]:
    """Whatever goes wrong inside Ansible is told as a fault of the inventory."""
    try:
        yield
    except (InvalidSiteError, UsageError):
        raise
    except Exception as error:  # Ansible's parsers raise all kinds on malformed input
        origin = _failed_at(error)
        raise InvalidSiteError(
            f"{origin if origin.path else source}: {_reason(error)}",
            next_step="Correct it; `ansible-inventory --list -i SITE` shows what Ansible reads.",
        ) from error


def _secrets(loader: DataLoader, vault: Vault) -> list[tuple[str, VaultSecret]]:
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
                f"The vault password from {source} cannot be read: {_reason(error)}",
                next_step="Name a file that holds the password, or a program that prints it.",
            ) from error
        secrets.append((label or default, secret))
    return secrets


def _extra_vars(
    loader: DataLoader, extra_vars: Sequence[str | Mapping[str, Any]]
) -> Mapping[str, Any]:
    """What ``--extra-vars`` says, in the three forms that Ansible knows, or as a mapping."""
    origin = OriginTag(description="--extra-vars")
    merged: dict[str, Any] = {}
    for given in extra_vars:
        if isinstance(given, Mapping):
            merged |= given
            continue
        if not given.strip():
            continue
        tagged = trust_as_template(origin.tag(given))
        if given.startswith("@"):
            path = Path(given[1:]).expanduser().absolute()
            data = loader.load_from_file(str(path), trusted_as_template=True)
        elif given[0] in "[{":
            data = loader.load(tagged)
        else:
            data = parse_kv(tagged)
        if not isinstance(data, Mapping):
            raise UsageError(
                f"--extra-vars {given.split('=', 1)[0]!r} is no set of variables.",
                next_step="Write NAME=VALUE, a YAML or JSON mapping, or @FILE.",
            )
        merged |= data
    return merged


def _targets(inventory: InventoryManager, limit: str | None) -> tuple[str, ...]:
    if not inventory.hosts:
        raise InvalidSiteError(
            f"{', '.join(inventory._sources)}: the inventory names no host.",
            next_step="Add hosts to its groups; `cloudlet-deploy init` writes an example.",
        )
    if limit is None:
        return tuple(str(host.name) for host in inventory.get_hosts("all"))
    try:
        inventory.subset(limit)
        chosen = tuple(str(host.name) for host in inventory.get_hosts("all"))
    except Exception as error:
        raise UsageError(f"--limit {limit!r} cannot be used: {_reason(error)}") from error
    if not chosen:
        known = ", ".join(sorted(map(str, inventory.hosts))[:10])
        raise UsageError(
            f"--limit {limit!r} leaves no host.", next_step=f"The inventory has: {known}."
        )
    return chosen


def _host(
    host: Any,
    inventory: InventoryManager,
    variables: VariableManager,
    loader: _Loader,
    extra: Mapping[str, Any],
) -> RawHost:
    loader.trace.clear()
    whole = variables.get_vars(host=host, include_hostvars=False)
    merged = combine_vars(whole, extra)
    magic = {name: value for name, value in merged.items() if name in MAGIC}
    locked = tuple(str(merged[name]) for name in merged if str(name).startswith(_LOCKED))
    values = {
        name: value
        for name, value in merged.items()
        if name not in MAGIC and not str(name).startswith(_LOCKED)
    }
    inline = origin_of(host.name) or Origin(str(host.vars.get("inventory_file", "")))
    origins = {
        str(name): _origin_of_variable(name, value, host, loader.trace, extra) or inline
        for name, value in values.items()
    }
    groups = tuple(str(group.name) for group in host.get_groups())
    return RawHost(
        str(host.name), groups, {str(k): v for k, v in values.items()}, magic, inline, origins,
        locked,
    )  # fmt: skip


def _origin_of_variable(
    name: str,
    value: object,
    host: Any,
    trace: Sequence[tuple[str, Mapping[str, Any]]],
    extra: Mapping[str, Any],
) -> Origin | None:
    """Where a variable was set.

    A value tells it itself, except booleans and nulls, which carry no tag; and a merged
    dictionary keeps the first of two equal keys. So for those the mappings that made the
    host are searched, the strongest first.
    """
    if (origin := origin_of(value)) is not None:
        return origin
    if name in extra:
        return Origin("--extra-vars")
    of_host = [data for path, data in trace if "host_vars" in Path(path).parts]
    of_groups = [data for path, data in trace if "host_vars" not in Path(path).parts]
    inline = [group.vars for group in host.get_groups()]
    for mapping in (*reversed(of_host), host.vars, *reversed(of_groups), *reversed(inline)):
        for key in mapping:
            if key == name and (origin := origin_of(key)) is not None:
                return origin
    return None
