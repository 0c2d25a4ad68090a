"""Example sites as text, to be altered and written to a directory of their own."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random

from ansible.parsing.vault import VaultLib, VaultSecret

from cloudlet_deploy import content
from cloudlet_deploy.site import Vault, scaffold, schema
from cloudlet_deploy.site.schema import Option
from tests.unit.grid_site import DOOR, TRANSFER, Material, copied

GROUPS = {"bestman": DOOR, "gridftp": TRANSFER}
PASSWORD = "right"
RIGHT = Vault(passwords=(("default", PASSWORD),))
#: Where a variable of a host can stand, weakest first.
PLACES = ("all", "group", "inline", "host_vars")


@dataclass
class Draft:
    """A site in memory: its files by name, and the material that it names."""

    files: dict[str, str]
    material: Material
    home: Path
    random: Random
    #: Modes that are not 0644.
    modes: dict[str, int] = field(default_factory=dict)
    vault: Vault | None = None

    def write(self) -> Path:
        for name, text in self.files.items():
            path = self.home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
            path.chmod(self.modes.get(name, 0o644))
        return self.home

    def drop(self, variable: str) -> None:
        """Remove a variable wherever it is set."""
        block = re.compile(rf"^( *){variable}:.*\n(?:\1 +.*\n|\1- .*\n|[ \t]*\n)*", re.MULTILINE)
        self.files = {name: block.sub("", text) for name, text in self.files.items()}

    def set(self, variable: str, value: str, place: str = "", host: str = "") -> tuple[str, int]:
        """Set a variable of the host that has its role; ``value`` is YAML.

        Returns file and line. Without ``place`` it is any of ``PLACES``.
        """
        place = place or self.random.choice(PLACES)
        role = next((r for r in schema.role_specs() if variable.startswith(f"{r}_")), "")
        host = host or GROUPS.get(role, DOOR)
        self.drop(variable)
        return self.add(variable, value, place, host)

    def add(self, variable: str, value: str, place: str, host: str = DOOR) -> tuple[str, int]:
        """The same beside what sets it already."""
        if place == "inline":
            return self._inline(variable, value, host)
        group = next(group for group, name in GROUPS.items() if name == host)
        names = {"all": "group_vars/all.yml", "group": f"group_vars/{group}.yml"}
        name = names.get(place, f"host_vars/{host}.yml")
        before = self.files.get(name, "---\n")
        self.files[name] = f"{before.rstrip()}\n{variable}: {value}\n"
        return name, before.rstrip().count("\n") + 2

    def _inline(self, variable: str, value: str, host: str) -> tuple[str, int]:
        lines = self.files["hosts.yml"].splitlines()
        at = next(n for n, line in enumerate(lines) if line.strip() == f"{host}:")
        margin = " " * (len(lines[at]) - len(lines[at].lstrip()) + 2)
        value = value.replace("\n", f"\n{margin}")
        lines.insert(at + 1, f"{margin}{variable}: {value}")
        self.files["hosts.yml"] = "\n".join(lines) + "\n"
        return "hosts.yml", at + 2

    def line_of(self, name: str, text: str) -> int:
        lines = self.files[name].splitlines()
        return next(n for n, line in enumerate(lines, 1) if text in line)

    def spoilt(self) -> Material:
        """A copy of the material, for this site alone."""
        old = self.material.directory
        self.material = copied(self.material, self.home.parent / f"{self.home.name}.pki")
        new = str(self.material.directory)
        self.files = {n: text.replace(str(old), new) for n, text in self.files.items()}
        return self.material

    def hosts(self, **groups: str | None) -> None:
        """Replace the inventory; a group without a host is empty."""
        lines = ["all:", "  children:"]
        for group, host in groups.items():
            lines += [f"    {group}:", "      hosts:", *([f"        {host}:"] if host else [])]
        self.files["hosts.yml"] = "\n".join(lines) + "\n"


def encrypted(text: str, password: str = PASSWORD) -> str:
    """A vaulted text."""
    lib = VaultLib([("default", VaultSecret(password.encode()))])
    return str(lib.encrypt(text), "ascii")


def inline_vault(text: str, password: str = PASSWORD) -> str:
    """A vaulted value, as YAML."""
    return "!vault |\n" + "\n".join(f"  {line}" for line in encrypted(text, password).splitlines())


@cache
def lab_site(material: Material) -> dict[str, str]:
    """The lab's inventory with material that exists."""
    source = content.root() / "inventories" / "lab"
    names = ("hosts.yml", *(f"group_vars/{g}.yml" for g in ("all", *GROUPS, "lab_clients")))
    files = {name: (source / name).read_text() for name in names}
    every = files["group_vars/all.yml"]
    files["group_vars/all.yml"] = every.replace(
        "{{ inventory_dir }}/.lab/pki", str(material.directory)
    )
    return files


@cache
def new_site(material: Material) -> dict[str, str]:
    """What `init` writes, its placeholders filled in."""
    made = scaffold.render("storage-element", door=DOOR, transfer=(TRANSFER,), ca_files=None)
    files = {
        n: text.replace("/CHANGE-ME", str(material.directory)) for n, text in made.files.items()
    }
    del files["README.md"]
    return files


BASES = {"lab": lab_site, "init": new_site}


def options(
    *types: str, form: str | None = None, where: str = "", with_default: bool = False
) -> list[Option]:
    """The options of the two hosts' own roles that have one of ``types`` and the form.

    ``where`` is an attribute that must be set, such as ``minimum``.
    """
    found = []
    for role in GROUPS:
        for option in schema.role_specs()[role].options.values():
            wanted = option.type in types and (form is None or option.form == form)
            given = option.default is not None or not with_default
            if wanted and given and (not where or getattr(option, where) not in (None, ())):
                found.append(option)
    return found


def removed(path: Path) -> None:
    """Remove a directory that may be read-only."""
    for directory in (path, *(p for p in path.rglob("*") if p.is_dir())):
        directory.chmod(0o755)
    shutil.rmtree(path)
