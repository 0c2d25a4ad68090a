"""Files of a site that are no YAML: all of them, where Ansible stops at the first."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from cloudlet_deploy.errors import InvalidSiteError
from cloudlet_deploy.site.faults import Fault, fault
from cloudlet_deploy.site.model import Origin

_YAML = (".yml", ".yaml", ".json")
_VARIABLES = ("group_vars", "host_vars")
#: What Ansible passes by in a directory.
_PASSED_BY = (".", "~")


class UnreadableSiteError(InvalidSiteError):
    """Files of the site do not parse; ``faults`` has one for each."""

    def __init__(self, message: str, *, next_step: str, faults: Sequence[Fault]) -> None:
        super().__init__(message, next_step=next_step)
        self.faults = tuple(faults)


def unreadable(message: str, next_step: str, origin: Origin) -> UnreadableSiteError:
    """The error for a file that Ansible cannot read at ``origin``."""
    return UnreadableSiteError(
        f"{origin}: {message}", next_step=next_step, faults=[fault(message, next_step, origin)]
    )


def with_others(error: UnreadableSiteError, sources: Sequence[str]) -> UnreadableSiteError:
    """``error``, and what is wrong with the other files of ``sources``."""
    told = {one.file for one in error.faults}
    others = [one for source in sources for one in _faults(source) if one.file not in told]
    if not others:
        return error
    message = "\n".join([error.message, *(f"{one.where}: {one.message}" for one in others)])
    faults = sorted([*error.faults, *others], key=lambda one: (one.file, one.line or 0))
    return UnreadableSiteError(message, next_step=error.next_step, faults=faults)


def _faults(source: str) -> Iterator[Fault]:
    for path in _files(Path(source)):
        try:
            with path.open("rb") as stream:
                for _ in yaml.compose_all(stream, Loader=yaml.SafeLoader):
                    pass
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = None if mark is None else mark.line + 1
            problem = error.problem or "it does not parse"
            message = f"YAML parsing failed: {problem}."
            yield fault(message, "Correct the file.", Origin(str(path), line))
        except (OSError, yaml.YAMLError, UnicodeError):
            continue  # Ansible tells of it when the others are right


def _files(source: Path) -> Iterator[Path]:
    """The YAML files that Ansible would read."""
    if source.is_file():
        if source.suffix in _YAML:
            yield source
        tops = [source.parent / name for name in _VARIABLES]
    else:
        yield from (p for p in sorted(source.glob("*")) if p.suffix in _YAML and p.is_file())
        tops = [source / name for name in _VARIABLES]
    for top in tops:
        for directory, _, names in os.walk(top):
            for name in sorted(names):
                known = Path(name).suffix in (*_YAML, "")
                if known and not name.startswith(_PASSED_BY) and not name.endswith(_PASSED_BY):
                    yield Path(directory) / name
