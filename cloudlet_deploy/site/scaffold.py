"""Writes a new site from ``templates/init``.

The templates say which settings stand in which file; what a setting means, and its default,
comes from the roles' argument specs.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import yaml

from cloudlet_deploy import content
from cloudlet_deploy.errors import UsageError
from cloudlet_deploy.site import components, schema
from cloudlet_deploy.site.schema import Option

_HOST = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$")  # fmt: skip  # noqa: E501
_WIDTH = 80


@dataclass(frozen=True)
class FillIn:
    """A placeholder that only the admin can replace. ``file`` is relative to the site."""

    file: str
    line: int
    setting: str
    meaning: str


@dataclass(frozen=True)
class Scaffold:
    """A new site: its files by name relative to the site, and what is left to fill in."""

    files: Mapping[str, str] = field(repr=False)
    fill_in: tuple[FillIn, ...]


def render(
    kind: str,
    *,
    door: str | None = None,
    transfer: tuple[str, ...] = (),
    ca_files: str | None = None,
    namenode: str | None = None,
    datanodes: tuple[str, ...] = (),
    portal: str | None = None,
    cryosparc: str | None = None,
) -> Scaffold:
    """The files of a new site of ``kind`` (a key of ``components.KINDS``).

    Hosts that are None or empty, and ``ca_files``, become placeholders. ``portal`` and
    ``cryosparc`` belong to a cloudlet, all others to a storage element. With a name node, or data
    nodes, its storage is HDFS; without ``cryosparc`` a cloudlet has none of its settings.

    Raises:
        UsageError: the kind is not available or has none of what is given, or a host name is
            none.
    """
    if kind not in components.KINDS:
        raise UsageError(
            f"Sites of the kind {kind!r} are not available in this release.",
            next_step=f"Available: --kind {', '.join(components.KINDS)}.",
        )
    of_storage = (door, *transfer, namenode, *datanodes)
    of_cloudlet = (portal, cryosparc)
    if kind != "storage-element" and any((*of_storage, ca_files)):
        raise UsageError(
            f"A site of the kind {kind} has no door, transfer server, HDFS or CA files.",
            next_step="Leave those options out; its hosts are given by --portal and --cryosparc.",
        )
    if kind != "cloudlet" and any(of_cloudlet):
        raise UsageError(
            f"A site of the kind {kind} has no portal and no CryoSPARC.",
            next_step="Leave those options out, or add --kind cloudlet.",
        )
    for host in (*of_storage, *of_cloudlet):
        if host is not None and not _HOST.match(host):
            raise UsageError(
                f"{host!r} is no host name.",
                next_step="Give the full name that the host's certificate carries.",
            )
    directory = content.root() / "templates" / "init" / components.KINDS[kind]
    given = {
        "door": door,
        "transfer": transfer,
        "ca_files": ca_files,
        "hdfs": bool(namenode or datanodes),
        "namenode": namenode,
        "datanodes": datanodes,
        "portal": portal,
        "cryosparc": cryosparc,
    }
    files: dict[str, str] = {}
    fill_in: list[FillIn] = []
    for template in sorted(directory.rglob("*.j2")):
        name = str(template.relative_to(directory).with_suffix(""))
        writer = _Writer()
        # A file that is empty belongs to what the site has not.
        if text := _render(template, {**given, **writer.functions()}):
            files[name] = text
            fill_in += writer.fill_in(name, text)
    return Scaffold(files, tuple(fill_in))


def write(scaffold: Scaffold, directory: Path) -> None:
    """Write the site into ``directory``, which is made, or is there and empty.

    Raises:
        UsageError: the directory holds something, or cannot be written.
    """
    try:
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise UsageError(
                f"{directory} is there already and not an empty directory.",
                next_step="Name a new directory; nothing was changed.",
            )
        for name, text in scaffold.files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{error.filename or directory}: the site cannot be written: {error.strerror}.",
            next_step="Name a directory that you may write to.",
        ) from error


def _render(template: Path, variables: Mapping[str, Any]) -> str:
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    text = environment.from_string(template.read_text(encoding="utf-8")).render(variables)
    return re.sub(r"\n{3,}", "\n\n", text)


class _Writer:
    """What a template of one file can call."""

    def __init__(self) -> None:
        self._options = {
            name: option
            for spec in schema.role_specs().values()
            for name, option in spec.options.items()
        }
        self._written: set[str] = set()
        self._fill_in: dict[str, str] = {}

    def functions(self) -> dict[str, Any]:
        return {
            "setting": self._setting,
            "example": self._example,
            "defaults": self._defaults,
            "rest": self._rest,
            "placeholder": self._placeholder,
        }

    def fill_in(self, file: str, text: str) -> Iterator[FillIn]:
        """The placeholders of ``file``, each with the line it stands in."""
        lines = text.splitlines()
        for setting, meaning in self._fill_in.items():
            line = next(n for n, line in enumerate(lines, 1) if _sets(line, setting))
            yield FillIn(file, line, setting, meaning)

    def _setting(self, name: str, value: object, *, note: str = "", fill_in: bool = False) -> str:
        """A setting with its meaning above it, and a note; ``fill_in`` marks a placeholder."""
        option = self._options[name]
        self._written.add(name)
        if fill_in:
            self._fill_in[name] = schema.plain(option.description[0])
        return f"{_comment(option, note)}{_assignment(name, value)}"

    def _example(self, name: str, value: object, *, note: str) -> str:
        """A setting that may stay at its default, commented out with a value that tells more."""
        self._written.add(name)
        return _comment(self._options[name], note) + _commented_out(name, value)

    def _defaults(self, *names: str) -> str:
        """Settings that may stay as they are, commented out."""
        self._written.update(names)
        return "\n".join(
            _comment(self._options[name]) + _commented_out(name, self._options[name].default)
            for name in names
        )

    def _rest(self, role: str, *left_out: str) -> str:
        """All other settings of ``role`` with their defaults, commented out."""
        options = schema.role_specs()[role].options
        done = {*self._written, *left_out, f"{role}_state"}
        parts = (
            self._setting(name, _sample(option), fill_in=True)
            if option.required
            else self._defaults(name)
            for name, option in options.items()
            if name not in done
        )
        return "\n".join(parts)

    def _placeholder(self, setting: str, meaning: str) -> str:
        """Names something that is no variable, such as a host, as left to fill in."""
        self._fill_in[setting] = meaning
        return setting


class _Indented(yaml.SafeDumper):
    """Indents lists below their key, as Ansible's own examples do."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _sets(line: str, setting: str) -> bool:
    return line.strip().startswith(f"{setting}:")


def _comment(option: Option, note: str = "") -> str:
    told = [schema.plain(paragraph) for paragraph in option.description]
    if option.options:
        told.append(f"Keys: {', '.join(option.options)}.")
    told.append(note)
    if option.choices:
        told.append(f"One of: {', '.join(str(one) or 'empty' for one in option.choices)}.")
    text = "\n".join(
        textwrap.fill(
            paragraph,
            _WIDTH,
            initial_indent="# ",
            subsequent_indent="# ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for paragraph in told
        if paragraph
    )
    return f"{text}\n"


def _assignment(name: str, value: object) -> str:
    # Not folded: each line can then be commented out or in by itself.
    return yaml.dump(
        {name: value},
        Dumper=_Indented,
        default_flow_style=False,
        sort_keys=False,
        width=sys.maxsize,
    )


def _commented_out(name: str, value: object) -> str:
    return textwrap.indent(_assignment(name, value), "# ")


def _sample(option: Option) -> object:
    """A value of the right type for a setting that the templates do not know."""
    if option.choices:
        return option.choices[0]
    samples = {"int": option.minimum or 1, "bool": False, "list": [], "dict": {}}
    return samples.get(option.type, "CHANGE-ME")
