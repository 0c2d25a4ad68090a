"""How a value is written: paths, units and the forms that specs declare."""

from __future__ import annotations

import math
import re
from types import ModuleType

from cloudlet_deploy.site import plugins
from cloudlet_deploy.site.schema import FORMS, Option

_HOST = r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*"
_FORMS = {
    "account name": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\$?"),
    "archive on the controller": re.compile(r"(/|[a-z][a-z0-9+]*://).+"),
    "CA directory on the controller": re.compile(r"/.*"),
    "certificate on the controller": re.compile(r"/.+"),
    "container configuration on the controller": re.compile(r"/.+"),
    "GridFTP server": re.compile(rf"gsiftp://({_HOST}|\[[0-9A-Fa-f:.]+\])(:\d{{1,5}})?/?"),
    "host name": re.compile(_HOST),
    "number or infinity": re.compile(r"infinity|\d+"),
    "octal mode": re.compile(r"0?[0-7]{3,4}"),
    "private key on the controller": re.compile(r"/.+"),
    "relative path": re.compile(r"(?!/)(?!\.?/*$)(?!(.*/)?\.\.(/|$)).+"),
    "SHA-256 checksum": re.compile(r"sha256:[0-9A-Fa-f]{64}"),
}
_PATH = "must be an absolute path"
#: What is wrong, where it is not just "must be" and what the form wants.
_PROBLEMS = {
    "CA directory on the controller": _PATH,
    "certificate on the controller": _PATH,
    "container configuration on the controller": _PATH,
    "private key on the controller": _PATH,
    "archive on the controller": "must be an absolute path or a URL",
}


def malformed(option: Option, found: object) -> str | None:
    """What is wrong with how ``found`` is written, whose type is right; None if nothing is.

    ``found`` is as the user wrote it, before Ansible converts it: that would make
    ``/root/data`` of ``~/data``, on this machine and not on the host.
    """
    if option.type == "path" and isinstance(found, str):
        return None if found.startswith("/") else _PATH
    text = str(found)
    if option.type in ("list", "dict") or (not text and not option.required):
        return None
    if option.form == "octal mode" and not isinstance(found, str):
        return "must be quoted: YAML takes it for another number"
    return _problem(option.form, text)


def _problem(form: str, text: str) -> str | None:
    problem: str | None = None
    if form == "certificate name":
        problem = names().dn_problem(text)
    elif form == "network":
        problem = plugins.load("plugin_utils/firewall_rules").network_problem(text)
    elif form in _FORMS and not _FORMS[form].fullmatch(text):
        problem = _PROBLEMS.get(form, f"must be {FORMS[form]}")
    return problem


def names() -> ModuleType:
    """The rules of the gridmap, which the role's filter has too."""
    return plugins.load("plugin_utils/grid_names")


_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt])i?b?", re.IGNORECASE)
_BYTES = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_TIME = re.compile(r"(\d+)\s*(s|sec|min|m|h|d)", re.IGNORECASE)
_SECONDS = {"s": 1, "sec": 1, "min": 60, "m": 60, "h": 3600, "d": 86400}
#: What a variable counts in, by the end of its name: in words, and bytes.
_UNITS = {"_mb": ("MB", 1 << 20), "_kb": ("KB", 1 << 10), "_bytes": ("bytes", 1), "_size": ("bytes", 1)}  # fmt: skip  # noqa: E501


def units_hint(option: Option, found: object) -> str | None:
    """What to write instead of a number with a unit, such as ``2g``; None if it is none."""
    if option.type != "int" or not isinstance(found, str):
        return None
    text = found.strip()
    for suffix, (unit, size) in _UNITS.items():
        if option.name.endswith(suffix) and (match := _SIZE.fullmatch(text)):
            number = math.ceil(float(match[1]) * _BYTES[match[2].lower()] / size)
            return f"Write {unit} without a unit: {number}."
    if option.name.endswith(("_seconds", "_timeout")) and (match := _TIME.fullmatch(text)):
        return f"Write seconds without a unit: {int(match[1]) * _SECONDS[match[2].lower()]}."
    return None
