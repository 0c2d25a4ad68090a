"""What the last apply of a site left undone: read from its record, decided without a host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloudlet_deploy.errors import ExitCode, UsageError
from cloudlet_deploy.run.events import Status
from cloudlet_deploy.run.record import FINISHED, KILLED, Record, list_records

#: Options of which a resumed run takes those of the run before, under the names of the record.
_TAKEN_OVER = {"limit": "--limit", "components": "--component"}


@dataclass(frozen=True)
class Rest:
    """What is left to do of the run ``record``: hosts, each with the reason why it is left."""

    record: Record
    hosts: Mapping[str, str]

    @property
    def limit(self) -> str | None:
        """``--limit`` of that run."""
        return self.record.options.get("limit")

    @property
    def components(self) -> tuple[str, ...]:
        """``--component`` of that run."""
        return tuple(self.record.options.get("components", ()))


def rest(sources: Sequence[str], given: Mapping[str, Any]) -> Rest:
    """What the last apply of the inventory ``sources`` (absolute paths) left undone.

    ``given`` are this run's options in the form of a record. Raises UsageError if there is no
    such run, or if the options contradict its.
    """
    record = last_apply(list_records(), sources)
    if record is None:
        raise UsageError(
            f"No apply of {', '.join(sources)} is on record here, so there is nothing to resume.",
            next_step="Run it without --resume: it does what is left to do, too.",
        )
    refuse_contradiction(record, given)
    return Rest(record, undone(record))


def last_apply(records: Sequence[Record], sources: Sequence[str]) -> Record | None:
    """The newest of ``records`` (newest first) that is an apply of ``sources``."""
    matching = (r for r in records if r.command == "apply" and r.sources == tuple(sources))
    return next(matching, None)


def undone(record: Record) -> dict[str, str]:
    """The hosts that did not come to their end, each with why; in the order of the record."""
    failed = {failure.host: failure for failure in record.failures}
    found = {}
    for host in record.hosts:
        if host in record.done:
            continue
        failure = failed.get(host)
        if failure and failure.status is Status.UNREACHABLE:
            found[host] = "could not be reached"
        elif failure:
            where = ": ".join(filter(None, (failure.component, failure.task)))
            found[host] = f"failed ({where})"
        else:
            found[host] = _why_cut_off(record)
    return found


def _why_cut_off(record: Record) -> str:
    """Why a host that did not fail is not done."""
    if record.state == FINISHED and record.phase == "plan":
        locked = record.exit_code == ExitCode.LOCKED
        return f"never begun: {'another run was at work' if locked else 'the run was given up'}"
    ended = "killed" if record.state == KILLED else "interrupted"
    if record.state == FINISHED:
        ended = "broken off"
    if record.phase == "plan":
        return f"never begun: the run was {ended} before it changed anything"
    return f"the run was {ended} before it ended there"


def refuse_contradiction(record: Record, given: Mapping[str, Any]) -> None:
    """Raise UsageError where options ``given`` now do not fit those of ``record``.

    Limit and components come from the record, so they need not be given again. Values of
    extra vars are not on record, so the same ones must be.
    """
    for key, option in _TAKEN_OVER.items():
        if key in given and _shape(given[key]) != _shape(record.options.get(key)):
            then = _words(record.options.get(key))
            raise UsageError(
                f"{option} {_words(given[key])} does not fit run {record.run_id}, which had "
                f"{f'{option} {then}' if then else f'no {option}'}.",
                next_step=f"Leave {option} away: --resume takes that run's. "
                "For other hosts or components run it without --resume.",
            )
    now, then = (given.get("extra_vars", []), record.options.get("extra_vars", []))
    if list(now) != list(then):
        wanted = " ".join(f"-e '{text}'" for text in then) or "none"
        raise UsageError(
            f"The extra variables do not fit run {record.run_id}, which had {wanted}; "
            "their values are not on record.",
            next_step="Give the same -e as then, or run it without --resume.",
        )


def _shape(value: object) -> object:
    return sorted(value) if isinstance(value, list | tuple) else value


def _words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value or "")
