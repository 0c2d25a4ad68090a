"""The values that ``tune`` writes into a site: one file of its own for each host.

Ansible reads ``host_vars/HOST/zz_tuned.yml`` like any other file of variables, so a second admin,
plain ``ansible-playbook`` and a later apply all see the same. A dynamic inventory has no such
directory: for that all values go into one inventory file (``--write-to``).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from cloudlet_deploy.errors import InvalidSiteError, UsageError
from cloudlet_deploy.site.model import Host, Value

NAME = "zz_tuned.yml"
#: What an inventory may call a host's file of variables, for which Ansible then reads no directory.
_PLAIN = ("", ".yml", ".yaml", ".json")

_FIRST = "# Written by 'cloudlet-deploy tune'; 'cloudlet-deploy tune --revert' takes it away."
_HEAD = re.compile(
    re.escape(_FIRST)
    + r"\n# For (?P<clients>\d+) clients, by model (?P<model>\d+), on (?P<date>[\d-]+)\."
    r"\n# A value that is set elsewhere wins\. An edit here is refused: set it elsewhere\."
    r"\n# Checksum of the rest: (?P<digest>[0-9a-f]{64})\n---\n"
)


@dataclass(frozen=True)
class Stamp:
    """What a tuned file was made for. ``date`` is as of ISO 8601."""

    clients: int
    model: int
    date: str


@dataclass(frozen=True)
class Edit:
    """Files of a site as they are to be; None removes one. ``links`` are made beside them."""

    files: Mapping[Path, str | None]
    links: Mapping[Path, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.files)

    def carry_out(self) -> Edit:
        """Make it so, each file at once. Returns the edit that undoes it.

        Raises UsageError, with everything as it was, if a file cannot be written.
        """
        undo = Edit({path: _text(path) for path in self.files})
        try:
            self._do()
        except OSError as error:
            with contextlib.suppress(OSError):
                undo._do()
            raise UsageError(
                f"{error.filename or 'The inventory'} cannot be written: {error.strerror}; "
                "nothing was changed.",
                next_step="Where the inventory is not yours to write, '--write-to FILE' keeps the "
                "values in a file that is given as a further -i.",
            ) from error
        return undo

    def _do(self) -> None:
        for path, target in self.links.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.is_symlink():
                path.symlink_to(target)
        for path, text in self.files.items():
            _write(path, text) if text is not None else _remove(path)


def is_tuned(path: str | Path) -> bool:
    """Whether the file is one that ``tune`` wrote, edited since or not."""
    text = _text(Path(path))
    return text is not None and (Path(path).name == NAME or text.startswith(_FIRST))


def stamp(path: Path) -> Stamp | None:
    """What the file was written for, or None where there is none.

    Raises InvalidSiteError for one that another hand changed or cut short.
    """
    text = _text(path)
    if text is None:
        return None
    head = _HEAD.match(text)
    made = Stamp(int(head["clients"]), int(head["model"]), head["date"]) if head else None
    # Rendered anew, so that no character of the file escapes the comparison.
    if head is None or made is None or _with_head(text[head.end() :], made) != text:
        raise InvalidSiteError(
            f"{path} is not as 'cloudlet-deploy tune' wrote it: it was edited or cut short.",
            next_step="Move values of your own to another file of the host, where they win over "
            "what tune computes; then remove this file and run tune again.",
        )
    return made


def strongest_other(host: Host, variable: str) -> Value | None:
    """The value that the inventory gives a variable by another hand than ``tune``'s."""
    found = host.values.get(variable)
    every = [*([found] if found else []), *host.weaker.get(variable, ())]
    return next((value for value in every if not is_tuned(value.origin.path)), None)


def files_of(sources: Sequence[Path], hosts: Iterable[str], write_to: Path | None) -> list[Path]:
    """The tuned files that there are for ``hosts``."""
    if write_to is not None:
        return [write_to] if write_to.exists() else []
    return [path for host in hosts for path in _all_places(sources, host) if path.exists()]


def edit_for_hosts(
    sources: Sequence[Path], values: Mapping[str, Mapping[str, object]], made: Stamp
) -> Edit:
    """The edit that gives each host its values, in files of its own below ``host_vars``.

    A host whose values are to be none loses its file; a file that holds the same values already
    stays as it is. Raises InvalidSiteError for one that was edited.
    """
    files: dict[Path, str | None] = {}
    links: dict[Path, str] = {}
    for host, wanted in values.items():
        path = next((p for p in _all_places(sources, host) if p.exists()), None)
        path = path or _all_places(sources, host)[0]
        if _is_same(path, wanted, made):
            continue
        files[path] = _rendered(dict(wanted), made) if wanted else None
        if wanted:
            links.update(_links(path, host))
    return Edit({path: text for path, text in files.items() if text or path.exists()}, links)


def edit_for_file(path: Path, values: Mapping[str, Mapping[str, object]], made: Stamp) -> Edit:
    """The edit that gives all hosts their values in one inventory file."""
    hosts = {host: dict(wanted) for host, wanted in values.items() if wanted}
    whole = {"all": {"hosts": hosts}} if hosts else {}
    if path.exists() and not is_tuned(path):
        raise UsageError(
            f"{path} was not written by 'cloudlet-deploy tune': it is left alone.",
            next_step="Name a file of its own with --write-to.",
        )
    if _is_same(path, whole, made) or (not whole and not path.exists()):
        return Edit({})
    return Edit({path: _rendered(whole, made) if whole else None})


def removal(paths: Iterable[Path]) -> Edit:
    """The edit that takes tuned files away. Raises InvalidSiteError for one that was edited."""
    found = list(paths)
    for path in found:
        stamp(path)
    return Edit(dict.fromkeys(found))


def _all_places(sources: Sequence[Path], host: str) -> list[Path]:
    """Where a host's tuned file may be: beside each source that has variables beside it."""
    bases = [path if path.is_dir() else path.parent for path in sources if path.exists()]
    if not bases:
        raise UsageError(
            "The inventory is no file or directory, so there is no place beside it for values.",
            next_step="'--write-to FILE' keeps them in a file that is given as a further -i.",
        )
    return [base / "host_vars" / host / NAME for base in bases]


def _links(path: Path, host: str) -> dict[Path, str]:
    """What keeps a host's plain file of variables in force.

    Ansible reads ``host_vars/HOST.yml`` or the directory ``host_vars/HOST``, not both: a link in
    the directory leads to the file, which stays where it is.
    """
    directory = path.parent
    for suffix in _PLAIN:
        plain = directory.parent / f"{host}{suffix}"
        if suffix == "" and plain.is_file():
            raise InvalidSiteError(
                f"{plain} is a file, and tune needs a directory of that name.",
                next_step=f"Rename it to {plain}.yml.",
            )
        if plain.is_file():
            name = f"{host}{suffix}"
            return {directory / name: f"../{name}"}
    return {}


def _is_same(path: Path, wanted: Mapping[str, object], made: Stamp) -> bool:
    """Whether the file holds these values for this load already, whatever its date."""
    old = stamp(path)
    if old is None or (old.clients, old.model) != (made.clients, made.model):
        return False
    return bool(yaml.safe_load(path.read_text(encoding="utf-8")) == dict(wanted))


def _rendered(values: Mapping[str, object], made: Stamp) -> str:
    return _with_head(yaml.safe_dump(dict(values), default_flow_style=False, sort_keys=True), made)


def _with_head(body: str, made: Stamp) -> str:
    head = (
        f"{_FIRST}\n"
        f"# For {made.clients} clients, by model {made.model}, on {made.date}.\n"
        "# A value that is set elsewhere wins. An edit here is refused: set it elsewhere.\n"
    )
    digest = hashlib.sha256((head + body).encode()).hexdigest()
    return f"{head}# Checksum of the rest: {digest}\n---\n{body}"


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except OSError as error:
        raise InvalidSiteError(f"{path} cannot be read: {error.strerror}") from error


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, temporary = tempfile.mkstemp(prefix=".zz_tuned-", dir=path.parent)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as stream:
            stream.write(text)
            os.fchmod(stream.fileno(), 0o644)
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise


def _remove(path: Path) -> None:
    """Take the file away, and with it the link and the directory that were made for it."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        path.unlink()
    if path.parent.parent.name != "host_vars" or path.name != NAME:
        return
    rest = list(path.parent.iterdir()) if path.parent.is_dir() else []
    if all(one.is_symlink() and str(one.readlink()) == f"../{one.name}" for one in rest):
        for one in rest:
            one.unlink()
        with contextlib.suppress(OSError):  # only what is empty
            path.parent.rmdir()
            path.parent.parent.rmdir()
