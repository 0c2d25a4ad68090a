"""Reads an inventory with Ansible's own classes. Importing this imports Ansible: do it late.

Ansible keeps caches and its screen in module globals, so one process reads one inventory at
a time.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.inventory.helpers import sort_groups
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import is_encrypted_file
from ansible.plugins.vars import host_group_vars
from ansible.template import Templar
from ansible.utils.display import Display
from ansible.utils.vars import combine_vars
from ansible.vars.manager import VariableManager

from cloudlet_deploy import content
from cloudlet_deploy.errors import InvalidSiteError, UsageError
from cloudlet_deploy.site.ansible_options import extra_vars_of, secrets_of
from cloudlet_deploy.site.ansible_tags import (
    decrypt_text,
    failed_at,
    from_encrypted_file,
    origin_of,
    reason,
)
from cloudlet_deploy.site.model import Notice, Origin, Source, Unknown, Vault
from cloudlet_deploy.site.syntax import unreadable

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

#: How Ansible says which parser failed.
_PARSER = re.compile(r"with '(?:ansible\.builtin\.)?(\w+)' plugin")


@dataclass(frozen=True)
class Written:
    """One place that sets a variable."""

    value: Any
    origin: Origin
    source: Source


@dataclass(frozen=True)
class RawHost:
    """A host as Ansible tells it: ``values`` and ``magic`` still carry Ansible's tags."""

    name: str
    groups: tuple[str, ...]
    values: Mapping[str, Any]
    magic: Mapping[str, Any]
    origin: Origin
    origins: Mapping[str, Origin]
    sources: Mapping[str, Source]
    #: What lost against ``values``, strongest first.
    weaker: Mapping[str, tuple[Written, ...]]
    locked_files: tuple[str, ...]
    encrypted_files: frozenset[str]


@dataclass(frozen=True)
class RawInventory:
    """All that Ansible knows of an inventory, and what opens and templates its values."""

    hosts: tuple[RawHost, ...]
    groups: Mapping[str, tuple[str, ...]]
    group_origins: Mapping[str, Origin]
    targets: tuple[str, ...]
    notices: tuple[Notice, ...]
    loader: DataLoader


def templar(loader: DataLoader, variables: Mapping[str, Any]) -> Templar:
    """Ansible's template engine over ``variables``."""
    return Templar(loader, dict(variables))


def opener(loader: DataLoader) -> Callable[[bytes], str | Unknown]:
    """What opens a file that is encrypted with ansible-vault, as far as passwords were given."""
    return functools.partial(decrypt_text, loader)


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
        loader.set_vault_secrets(secrets_of(loader, vault))
        inventory = InventoryManager(loader, sources=list(sources))
        screen.raise_failures(sources)
        variables = VariableManager(loader, inventory)
        extra = extra_vars_of(loader, extra_vars)
        targets = _targets(inventory, limit)
        hosts = tuple(
            _host(host, inventory, variables, loader, extra)
            for host in inventory.get_hosts("all", ignore_limits=True)
        )
        groups = {
            str(name): tuple(str(host.name) for host in group.get_hosts())
            for name, group in inventory.groups.items()
        }
        places = {str(name): origin_of(name) for name in inventory.groups}
        group_origins = {name: place for name, place in places.items() if place is not None}
    notices = tuple(dict.fromkeys(screen.notices))
    return RawInventory(hosts, groups, group_origins, targets, notices, loader)


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
        #: Files that are encrypted as a whole and were opened: all in them is secret.
        self.encrypted: set[str] = set()

    def load_from_file(self, file_name: str, *args: Any, **kwargs: Any) -> Any:
        path = Path(self.path_dwim(file_name))
        if not self._vault.secrets and _holds_variables(path) and _is_locked(path):
            return {f"{_LOCKED}{path}": str(path)}
        data = super().load_from_file(file_name, *args, **kwargs)
        if from_encrypted_file(data):
            self.encrypted.add(str(path))
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
        self._failures: list[tuple[str, BaseException]] = []

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

    def _failure(self, msg: object, exception: BaseException, **_kwargs: Any) -> None:
        if parser := _PARSER.search(str(msg)):
            self._failures.append((parser[1], exception))

    def raise_failures(self, sources: Sequence[str]) -> None:
        """Ansible would leave a file that does not parse out; a site must be whole."""
        by_file: dict[str, dict[str, BaseException]] = {}
        for parser, failure in self._failures:
            by_file.setdefault(failed_at(failure).path, {})[parser] = failure
        for path, found in by_file.items():
            failure = _telling(Path(path), found)
            origin = failed_at(failure)
            if path in sources or Path(path).suffix in _INVENTORY_SUFFIXES:
                raise unreadable(
                    f"this is no Ansible inventory: {reason(failure)}",
                    "Correct the file. If it is none, move it out of the inventory.",
                    origin,
                ) from failure
            self.notices.append(Notice("not read: it is no Ansible inventory", Origin(path)))


def _telling(path: Path, found: Mapping[str, BaseException]) -> BaseException:
    """Of the failures of all parsers that tried ``path``, the one of the right parser."""
    if "auto" in found and "no root 'plugin' key" not in reason(found["auto"]):
        return found["auto"]
    order = ["yaml", "ini"]
    if path.suffix not in (".yml", ".yaml", ".json") and _starts_with_section(path):
        order.reverse()
    return next((found[name] for name in order if name in found), next(iter(found.values())))


def _starts_with_section(path: Path) -> bool:
    with contextlib.suppress(OSError), path.open(encoding="utf-8", errors="replace") as stream:
        lines = (line.strip() for line in stream)
        return next((line for line in lines if line and line[0] not in "#;"), "").startswith("[")
    return False


@contextlib.contextmanager
def _translated(source: str) -> Iterator[None]:
    """Whatever goes wrong inside Ansible is told as a fault of the inventory."""
    try:
        yield
    except (InvalidSiteError, UsageError):
        raise
    except Exception as error:  # Ansible's parsers raise all kinds on malformed input
        origin = failed_at(error)
        raise unreadable(
            reason(error),
            "Correct it; `ansible-inventory --list -i SITE` shows what Ansible reads.",
            origin if origin.path else Origin(source),
        ) from error


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
        raise UsageError(f"--limit {limit!r} cannot be used: {reason(error)}") from error
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
    layers = _layers(host, loader.trace, extra)
    origins, sources, weaker = {}, {}, {}
    for name, value in values.items():
        written = list(_written(name, layers, inline))
        exact = origin_of(value)
        # Of two equal keys a merged mapping keeps the first: the value itself knows better.
        origins[str(name)] = exact or (written[0].origin if written else inline)
        sources[str(name)] = written[0].source if written else Source.HOST
        if len(written) > 1:
            weaker[str(name)] = tuple(written[1:])
    groups = tuple(str(group.name) for group in host.get_groups())
    return RawHost(
        name=str(host.name),
        groups=groups,
        values={str(name): value for name, value in values.items()},
        magic=magic,
        origin=inline,
        origins=origins,
        sources=sources,
        weaker=weaker,
        locked_files=locked,
        encrypted_files=frozenset(loader.encrypted),
    )


_Layer = tuple[Source, Mapping[str, Any]]


def _layers(
    host: Any, trace: Sequence[tuple[str, Mapping[str, Any]]], extra: Mapping[str, Any]
) -> list[_Layer]:
    """Every mapping that the host's variables come from, the strongest first."""
    of_host = [data for path, data in trace if _directory(path) == "host_vars"]
    of_groups = [data for path, data in trace if _directory(path) == "group_vars"]
    return [
        (Source.EXTRA, extra),
        *((Source.HOST_VARS, data) for data in reversed(of_host)),
        (Source.HOST, host.vars),
        *((Source.GROUP_VARS, data) for data in reversed(of_groups)),
        *((Source.GROUP, group.vars) for group in reversed(sort_groups(host.get_groups()))),
    ]


def _directory(path: str) -> str:
    """``host_vars`` or ``group_vars``: the innermost of these that ``path`` lies in."""
    kinds = ("group_vars", "host_vars")
    return next((part for part in reversed(Path(path).parts[:-1]) if part in kinds), "")


def _written(name: str, layers: Sequence[_Layer], inline: Origin) -> Iterator[Written]:
    """Every place that sets ``name``, the strongest first.

    Booleans and nulls carry no tag: then the key says where it stands.
    """
    for source, mapping in layers:
        if name not in mapping:
            continue
        value = mapping[name]
        key = next(key for key in mapping if key == name)
        origin = origin_of(value) or origin_of(key)
        if origin is None:
            origin = Origin("--extra-vars") if source is Source.EXTRA else inline
        yield Written(value, origin, source)
