"""The variables that roles declare in ``meta/argument_specs.yml``, the only declaration.

An argument spec has no field for the range of a number; so a paragraph of the option's
description that reads ``Range: 1 to 65535.`` or ``Range: 144 or more.`` declares it. What else
a value must be is declared in the same way, by a paragraph such as ``Form: listening port.``;
``FORMS`` has them all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from cloudlet_deploy import content
from cloudlet_deploy.errors import RunFailedError

_RANGE = re.compile(r"^Range: (?P<low>-?\d[\d_]*)(?: to (?P<high>-?\d[\d_]*)| or more)\.?$")

_FORM = re.compile(r"^Form: (?P<form>[^.]+)\.$")
#: What a value can be declared to be, and what has to hold then.
FORMS: Mapping[str, str] = {
    "account name": "a name of letters, digits, dots, dashes and underscores",
    "archive on the controller": "a URL, or the absolute path of a file on this machine",
    "CA directory on the controller": "the absolute path of a directory on this machine",
    "certificate name": "a name in slash form, such as /O=Grid/CN=Alice",
    "certificate on the controller": "the absolute path of a file on this machine",
    "container configuration on the controller": "the absolute path of a file on this machine",
    "first of ten listening ports": "ten ports that nothing else on the host listens on",
    "GridFTP server": "gsiftp://HOST or gsiftp://HOST:PORT",
    "host name": "a full host name, such as door.example.org",
    "Java heap in MB": "a number of MB; all heaps of a host fit into its memory",
    "listening port": "a port that nothing else on the host listens on",
    "listening port range": "FIRST,LAST, such as 50000,51000",
    "memory in MB": "the memory of the host",
    "network": "an address or a network, such as 192.0.2.0/24 or 2001:db8::/32",
    "number or infinity": "a whole number, or infinity",
    "octal mode": 'octal digits in quotes, such as "0755"',
    "private key on the controller": "the absolute path of a file on this machine",
    "relative path": "a path without a leading / and without ..",
    "SHA-256 checksum": "sha256: and 64 hexadecimal digits",
}

_MARKUP = re.compile(r"\b[A-Z]\(([^()]*)\)")


@dataclass(frozen=True)
class Option:
    """One variable of a role, or one key inside a variable that is a mapping.

    ``type`` and ``elements`` are Ansible's names of types. ``default`` is None where there
    is none. ``options`` are the keys of a mapping, or of each mapping in a list.
    """

    name: str
    role: str
    type: str = "str"
    elements: str | None = None
    required: bool = False
    default: object = None
    choices: tuple[object, ...] = ()
    secret: bool = False
    description: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int | None = None
    #: A key of ``FORMS``, or nothing.
    form: str = ""
    options: Mapping[str, Option] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The type in words, such as "list of dict"."""
        return f"{self.type} of {self.elements}" if self.elements else self.type


@dataclass(frozen=True)
class RoleSpec:
    """What one role says of itself (entry point ``main``)."""

    name: str
    short_description: str
    description: tuple[str, ...]
    options: Mapping[str, Option]


#: Each command reads all specs, with libyaml in a tenth of the time. PyYAML may be without it.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def plain(text: str) -> str:
    """A description without Ansible's markup: ``C(x)``, ``F(x)``, ``O(x)``, ``V(x)``."""
    return _MARKUP.sub(r"\1", text)


def role_specs() -> Mapping[str, RoleSpec]:
    """The specs of all roles that have one, by role."""
    return _read_all(content.root() / "roles")


@cache
def _read_all(roles: Path) -> Mapping[str, RoleSpec]:
    found = {}
    for role in sorted(path for path in roles.iterdir() if path.is_dir()):
        path = role / "meta" / "argument_specs.yml"
        if path.is_file():
            found[role.name] = read_spec(role.name, path)
    return found


def read_spec(role: str, path: Path) -> RoleSpec:
    """Read one role's declaration.

    Raises:
        RunFailedError: it is malformed; it comes with this program, so that is our fault.
    """
    try:
        main = yaml.load(path.read_text(encoding="utf-8"), _LOADER)["argument_specs"]["main"]
        return RoleSpec(
            name=role,
            short_description=str(main.get("short_description", "")),
            description=_paragraphs(main.get("description")),
            options=_options(role, main.get("options")),
        )
    except (OSError, yaml.YAMLError, LookupError, TypeError, AttributeError) as error:
        raise RunFailedError(
            f"{path}: no entry point main can be read: {error}",
            next_step="Install cloudlet-deploy again, or report this.",
        ) from error


def _options(role: str, specs: Mapping[str, Any] | None) -> dict[str, Option]:
    return {name: _option(role, name, spec or {}) for name, spec in (specs or {}).items()}


def _option(role: str, name: str, spec: Mapping[str, Any]) -> Option:
    description = _paragraphs(spec.get("description"))
    low, high = _range(description)
    return Option(
        name=name,
        role=role,
        type=spec.get("type", "str"),
        elements=spec.get("elements"),
        required=bool(spec.get("required", False)),
        default=spec.get("default"),
        choices=tuple(spec.get("choices") or ()),
        secret=bool(spec.get("no_log", False)),
        description=description,
        minimum=low,
        maximum=high,
        form=next((match["form"] for match in map(_FORM.match, description) if match), ""),
        options=_options(role, spec.get("options")),
    )


def _paragraphs(text: object) -> tuple[str, ...]:
    items = text if isinstance(text, list) else [text] if text else []
    return tuple(" ".join(str(item).split()) for item in items)


def _range(description: tuple[str, ...]) -> tuple[int | None, int | None]:
    for paragraph in description:
        if match := _RANGE.match(paragraph):
            high = match["high"]
            return int(match["low"]), int(high) if high else None
    return None, None
