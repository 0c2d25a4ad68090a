"""Which generations of config sets the hosts have, and which ones a rollback brings back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloudlet_deploy.errors import RunFailedError, UsageError

_LIST = "'cloudlet-deploy rollback --list' shows what there is."


@dataclass(frozen=True)
class Generation:
    """One state of a config set. ``time`` is in seconds since 1970, by the host's clock.

    ``run`` made it (None: Ansible without this command line). ``same_as``: the one whose
    content it brought back; ``undoes``: the run that this undid. ``before``: where undoing it
    leads to; 0 is what was there before the set. ``changed``: paths that differ from that
    (None: it is not kept any more).
    """

    number: int
    time: float
    run: str | None
    same_as: int | None
    undoes: str | None
    before: int
    changed: tuple[str, ...] | None


@dataclass(frozen=True)
class History:
    """The generations that one set on one host has, the oldest first.

    ``current`` is the number of the present one, ``position`` of the one whose content that
    is. ``unfinished``: it is of a rollback that did not come to its end; ``journal``: its
    files are in place in part only.
    """

    host: str
    name: str
    current: int
    position: int
    generations: tuple[Generation, ...]
    unfinished: bool = False
    journal: bool = False

    def of(self, number: int) -> Generation | None:
        """The generation ``number``, if it is kept."""
        return next((one for one in self.generations if one.number == number), None)

    @property
    def in_place(self) -> Generation:
        """The generation that first had the content which is there now."""
        return self.of(self.position) or self.generations[-1]

    @property
    def undoes(self) -> str | None:
        """The run that the present generation undid, if a rollback made it."""
        present = self.of(self.current)
        return present.undoes if present else None

    def __str__(self) -> str:
        return f"{self.name} on {self.host}"


@dataclass(frozen=True)
class Step:
    """One set of one host that gets an earlier generation."""

    host: str
    name: str
    present: int
    wanted: int


@dataclass(frozen=True)
class Choice:
    """What a rollback is to do. ``undoes``: the run that it undoes, None for ``--to``.

    ``stays``: sets that this run made and that have nothing to go back to. ``hosts``: where
    there is something to do, services that must still restart included.
    """

    steps: tuple[Step, ...] = ()
    undoes: str | None = None
    stays: tuple[History, ...] = ()
    hosts: tuple[str, ...] = ()
    continues: bool = False

    def targets(self) -> Mapping[str, Mapping[str, Mapping[str, int]]]:
        """The variable ``rollback_generations`` of the role."""
        found: dict[str, dict[str, dict[str, int]]] = {}
        for step in self.steps:
            one = {"to": step.wanted, "from": step.present}
            found.setdefault(step.host, {})[step.name] = one
        return found


def histories(
    reports: Mapping[str, Mapping[str, Any]], components: Sequence[str] = ()
) -> tuple[History, ...]:
    """What the hosts reported, by host; of these ``components`` only, if any are named.

    Raises UsageError for one that no host has.
    """
    found = [_history(host, told) for host, one in reports.items() for told in one["sets"]]
    known = sorted({one.name for one in found})
    for name in components:
        if found and name not in known:
            raise UsageError(
                f"None of the hosts has a config set of the component {name}.",
                next_step=f"There are: {', '.join(known)}.",
            )
    return tuple(one for one in found if not components or one.name in components)


def _history(host: str, told: Mapping[str, Any]) -> History:
    return History(
        host=host,
        name=told["set"],
        current=told["generation"],
        position=told["position"],
        unfinished=told["unfinished"],
        journal=told["journal"],
        generations=tuple(
            Generation(
                number=one["generation"],
                changed=None if one["changed"] is None else tuple(one["changed"]),
                **{key: one[key] for key in ("time", "run", "same_as", "undoes", "before")},
            )
            for one in told["generations"]
        ),
    )


def undo_last(found: Sequence[History]) -> Choice:
    """Undo the last run that made generations; what a killed rollback left first.

    A set that was rolled back counts as the generation whose content it has, so the next
    rollback undoes the run before. Raises UsageError where the last change was made by no
    run, RunFailedError where the generation to go back to is not kept any more.
    """
    unfinished = [one for one in found if one.unfinished]
    if not unfinished and all(one.in_place.before == 0 for one in found):
        return Choice(stays=tuple(found))
    if unfinished:
        # None where it was a rollback with --to, which undid no run.
        run = max((one.undoes for one in unfinished if one.undoes), default=None)
    else:
        run = _last_run(found)
    made = [one for one in found if run and one.in_place.run == run]
    stays = tuple(one for one in made if one.in_place.before == 0)
    steps = [
        Step(one.host, one.name, one.current, _before(one)) for one in made if one not in stays
    ]
    steps += [
        Step(one.host, one.name, one.current, one.position) for one in unfinished if one.journal
    ]
    hosts = dict.fromkeys([*(s.host for s in steps), *(one.host for one in unfinished)])
    return Choice(tuple(steps), run, stays, tuple(hosts), continues=bool(unfinished))


def _last_run(found: Iterable[History]) -> str | None:
    """The run whose generations are the last. Run ids begin with their time."""
    by_time = sorted(found, key=lambda one: one.in_place.time)
    if not by_time:
        return None
    last = by_time[-1]
    if last.in_place.run is None:
        raise UsageError(
            f"The last change, generation {last.in_place.number} of {last}, was made by no run of "
            "cloudlet-deploy but by Ansible itself: what belongs to it is not known.",
            next_step=f"Choose with --to GENERATION --component {last.name}. {_LIST}",
        )
    return max(one.in_place.run for one in by_time if one.in_place.run)


def _before(one: History) -> int:
    wanted = one.in_place.before
    if one.of(wanted) is None:
        raise RunFailedError(
            f"{one} cannot go back to generation {wanted}, which is not kept any more; there are "
            f"{_numbers(one)}. Nothing was changed.",
            next_step="Put what you want into the site and apply, or leave it out with --limit or "
            "--component.",
        )
    return wanted


def go_to(found: Sequence[History], number: int) -> Choice:
    """Bring back generation ``number`` on every host of ``found`` (sets of one component).

    Raises RunFailedError, naming what there is, if one of them does not have it.
    """
    missing = [one for one in found if one.of(number) is None]
    if missing:
        there = "; ".join(f"{one} has {_numbers(one)}" for one in missing)
        raise RunFailedError(
            f"There is no generation {number}: {there}. Nothing was changed.",
            next_step=f"Numbers differ between hosts: choose hosts with --limit. {_LIST}",
        )
    steps = tuple(Step(one.host, one.name, one.current, number) for one in found)
    return Choice(steps, hosts=tuple(dict.fromkeys(step.host for step in steps)))


def _numbers(one: History) -> str:
    return ", ".join(str(generation.number) for generation in one.generations)
