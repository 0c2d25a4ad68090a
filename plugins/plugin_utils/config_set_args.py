# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Checks the arguments of ``config_set`` on the controller, before anything is rendered."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

MAX_FILE = 1 << 20
MAX_SET = 4 << 20
SOURCES = ("template", "content", "src")
_DIRECTORY_FLAGS = ("data", "mount_point")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_MODE = re.compile(r"0?[0-7]{3,4}")
# With the account before it, if it is one of an account's own systemd.
_UNIT = re.compile(
    r"(~[A-Za-z0-9_][A-Za-z0-9_.-]*/)?"
    r"[A-Za-z0-9:_.\\-]+(@[A-Za-z0-9:_.\\@-]+)?"
    r"\.(service|socket|timer|mount|automount|path|target|slice|swap)"
)
_KNOWN = {
    "": ("name", "state", "directories", "files", "validate", "state_dir"),
    "directories": ("path", "owner", "group", "mode", *_DIRECTORY_FLAGS),
    "files": ("path", *SOURCES, "owner", "group", "mode", "restart", "reload", "secret"),
    "validate": ("argv", "paths"),
}


class ArgumentError(ValueError):
    """An argument is wrong; the message names the set, the file and the value."""


def checked(args: Mapping[str, Any]) -> dict[str, Any]:
    """``args`` of the task with all defaults filled in and every value of its proper type.

    Files still have their source (``template``, ``content`` or ``src``). Raises ArgumentError.
    """
    name = args.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ArgumentError(
            f"config_set: 'name' must be letters, digits, '.', '_' and '-', got {_shown(name)}"
        )
    where = f"config_set {name}"
    _known_keys(where, args, _KNOWN[""])
    state = args.get("state", "present")
    if state not in ("present", "absent"):
        raise ArgumentError(f"{where}: 'state' must be present or absent, got {_shown(state)}")
    request: dict[str, Any] = {
        "name": str(name),
        "state": str(state),
        "directories": [_directory(where, entry) for entry in _list(where, args, "directories")],
        "files": [_file(where, entry) for entry in _list(where, args, "files")],
    }
    if state == "present":
        _no_path_twice(where, [*request["directories"], *request["files"]])
    listed = {entry["path"] for entry in request["files"]}
    validators = _list(where, args, "validate")
    request["validate"] = [_validator(where, entry, listed) for entry in validators]
    return request


def check_size(name: str, files: Iterable[tuple[str, int]]) -> None:
    """Raise ArgumentError if a file, or all (path, size in bytes) together, are too large."""
    total = 0
    for path, size in files:
        total += size
        if size > MAX_FILE:
            raise ArgumentError(
                f"config_set {name}: {path} has {size} bytes, {MAX_FILE} is the most for a "
                "configuration file. Bring it with ansible.builtin.copy."
            )
        if total > MAX_SET:
            raise ArgumentError(
                f"config_set {name}: with {path} the set has {total} bytes, {MAX_SET} is the "
                "most for a set. Make two sets of it, or bring large files with "
                "ansible.builtin.copy."
            )


def _file(where: str, entry: Any) -> dict[str, Any]:
    checked_entry = _entry(where, "files", entry)
    where = f"{where}: {checked_entry['path']}"
    given = [source for source in SOURCES if entry.get(source) is not None]
    if len(given) != 1:
        raise ArgumentError(
            f"{where}: give exactly one of template, content and src, "
            f"got {' and '.join(given) or 'none'}"
        )
    source = entry[given[0]]
    if not isinstance(source, str):
        hint = " (use '| to_nice_json' or '| string')" if given[0] == "content" else ""
        raise ArgumentError(f"{where}: '{given[0]}' must be text, got {_type(source)}{hint}")
    checked_entry[given[0]] = source
    checked_entry["secret"] = _boolean(where, "secret", entry.get("secret", False))
    for kind in ("restart", "reload"):
        checked_entry[kind] = _strings(where, kind, entry.get(kind))
        for unit in checked_entry[kind]:
            if not _UNIT.fullmatch(unit):
                raise ArgumentError(
                    f"{where}: '{kind}' must list units by their full name, such as "
                    f"bestman2.service, got {_shown(unit)}"
                )
    return checked_entry


def _directory(where: str, entry: Any) -> dict[str, Any]:
    checked_entry = _entry(where, "directories", entry)
    where = f"{where}: {checked_entry['path']}"
    flags = {flag: _boolean(where, flag, entry.get(flag, False)) for flag in _DIRECTORY_FLAGS}
    return {**checked_entry, **flags}


def _entry(where: str, kind: str, entry: Any) -> dict[str, Any]:
    """What files and directories have in common."""
    if not isinstance(entry, Mapping):
        raise ArgumentError(f"{where}: each of '{kind}' must be a mapping, got {_type(entry)}")
    path = entry.get("path")
    if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
        raise ArgumentError(f"{where}: 'path' in '{kind}' must be absolute, got {_shown(path)}")
    path = os.path.normpath(str(path)).replace("//", "/")
    where = f"{where}: {path}"
    _known_keys(where, entry, _KNOWN[kind])
    result: dict[str, Any] = {"path": path}
    for key in ("owner", "group"):
        value = entry.get(key)
        if isinstance(value, bool) or not isinstance(value, (str, int, type(None))) or value == "":
            raise ArgumentError(f"{where}: '{key}' must be a name or number, got {_shown(value)}")
        result[key] = None if value is None else str(value)
    result["mode"] = _mode(where, entry.get("mode"))
    return result


def _mode(where: str, mode: Any) -> str | None:
    if mode is None:
        return None
    if not isinstance(mode, str):
        raise ArgumentError(
            f"{where}: 'mode' must be a quoted octal number such as \"0640\", "
            f"got the {_type(mode)} {_shown(mode)}"
        )
    if not _MODE.fullmatch(mode):
        raise ArgumentError(
            f"{where}: 'mode' must be a quoted octal number such as \"0640\", got {_shown(mode)}"
        )
    return str(mode)


def _validator(where: str, entry: Any, listed: set[str]) -> dict[str, Any]:
    if not isinstance(entry, Mapping):
        raise ArgumentError(f"{where}: each of 'validate' must be a mapping, got {_type(entry)}")
    _known_keys(f"{where}: validate", entry, _KNOWN["validate"])
    argv = _strings(where, "validate.argv", entry.get("argv"))
    if not argv:
        raise ArgumentError(f"{where}: 'validate' needs 'argv', the command as a list")
    named = {path for argument in argv for path in re.findall(r"\{(/[^{}]*)\}", argument)}
    paths = _strings(where, "validate.paths", entry.get("paths")) or sorted(named)
    for path in [*paths, *named]:
        if path not in listed:
            hint = _did_you_mean(path, listed)
            raise ArgumentError(
                f"{where}: the validator {argv[0]} names {path}, which is not a file of the set"
                f"{hint}"
            )
    if not paths:
        raise ArgumentError(
            f"{where}: the validator {argv[0]} looks at no file: write the path of one in "
            "braces, such as {/etc/sudoers.d/x}, or list 'paths'"
        )
    return {"argv": argv, "paths": paths, "uses": sorted(named)}


def _no_path_twice(where: str, entries: list[dict[str, Any]]) -> None:
    seen: set[str] = set()
    for entry in entries:
        if entry["path"] in seen:
            raise ArgumentError(f"{where}: {entry['path']} is listed twice")
        seen.add(entry["path"])


def _known_keys(where: str, given: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in given:
        if key not in known:
            raise ArgumentError(f"{where}: unknown key '{key}'{_did_you_mean(str(key), known)}")


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, sorted(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _list(where: str, args: Mapping[str, Any], key: str) -> list[Any]:
    value = args.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise ArgumentError(f"{where}: '{key}' must be a list, got {_type(value)}")
    return value


def _strings(where: str, key: str, value: Any) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ArgumentError(f"{where}: '{key}' must be a list of strings, got {_shown(value)}")
    return [str(item) for item in value]


def _boolean(where: str, key: str, value: Any) -> bool:
    known = {True: True, False: False, "true": True, "yes": True, "false": False, "no": False}
    wanted = value.lower() if isinstance(value, str) else value
    if not isinstance(wanted, (bool, str)) or wanted not in known:
        raise ArgumentError(f"{where}: '{key}' must be true or false, got {_shown(value)}")
    return known[wanted]


def _shown(value: Any) -> str:
    text = repr(str(value) if isinstance(value, str) else value)
    return text if len(text) < 100 else text[:97] + "..."


def _type(value: Any) -> str:
    names = {"int": "number", "float": "number", "dict": "mapping", "bool": "truth value"}
    for kind in type(value).__mro__:
        if kind.__name__ in ("dict", "list", "bool", "int", "float", "str"):
            return names.get(kind.__name__, kind.__name__)
    return "nothing" if value is None else type(value).__name__
