"""The ways of ``tune``: advise and apply, verify, explain, revert."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudlet_deploy import tuning
from cloudlet_deploy.cli import _flow, _tune_view, _undoing, render, view
from cloudlet_deploy.cli._looking import look
from cloudlet_deploy.errors import (
    CheckFailedError,
    CloudletError,
    ExitCode,
    UsageError,
    strongest,
)
from cloudlet_deploy.run import advice, readings
from cloudlet_deploy.run.outcome import RunOutcome
from cloudlet_deploy.site import components as site_components
from cloudlet_deploy.site import tuned
from cloudlet_deploy.tuning import verdict

if TYPE_CHECKING:
    from cloudlet_deploy.cli._flow import Prepared
    from cloudlet_deploy.cli.options import AnsibleOptions
    from cloudlet_deploy.run.record import Journal
    from cloudlet_deploy.tuning import Advice, HostReading

#: Components with settings that ``tune`` computes, in the order in which they run.
COMPONENTS = ("kernel", "hdfs", "hdfs_fuse", "gridftp", "bestman")

Verdicts = dict[str, tuple[verdict.Verdict, ...]]
#: Values by host and variable.
Wanted = dict[str, dict[str, tuning.Scalar]]


@dataclass(frozen=True)
class Wish:
    """What the user wants the site to bear."""

    clients: int
    entries: int
    headroom: float

    @property
    def load(self) -> tuning.Load:
        """The same as the model takes it."""
        return tuning.Load(self.clients, self.entries, self.headroom)


@dataclass(frozen=True)
class Advised:
    """The advice for one host, and the settings in which the host differs from it."""

    advice: Advice
    differing: frozenset[str]
    values: dict[str, tuning.Scalar]


def begin(
    options: AnsibleOptions, how: _undoing.How, *, write_to: Path | None, yes: bool
) -> Tuning:
    """Load and validate the site, with the values that an earlier tune wrote.

    Raises InvalidSiteError, also for a tuned file that another hand changed.
    """
    given = options.inventory
    if write_to is not None and write_to.exists() and not _covers(given, write_to):
        options = replace(options, inventory=(*given, write_to))
    prepared = _flow.prepare(options, (), files=False)
    for path in tuned.files_of(given, prepared.site.targets, write_to):
        tuned.stamp(path)
    return Tuning(prepared, how, given, write_to, yes)


def _covers(sources: Iterable[Path], path: Path) -> bool:
    """Whether Ansible reads ``path`` as one of the sources or as a part of one."""
    return any(
        path.resolve() == s.resolve() or path.resolve().parent == s.resolve() for s in sources
    )


@dataclass(frozen=True)
class Tuning:
    """One call of ``tune`` on a site that was loaded."""

    prepared: Prepared
    how: _undoing.How
    sources: tuple[Path, ...]
    write_to: Path | None
    yes: bool

    # -- the four ways

    def tune(self, wish: Wish) -> ExitCode:
        """Advise; unless only that is wanted, apply it and verify."""
        shape = advice.shape_of(self.prepared.site)
        seen = self._readings()
        advised = [self._advised(reading, wish, shape) for reading in seen]
        if self.how.table:
            for one in advised:
                self._show(one)
        edit = self._edit({one.advice.host: one.values for one in advised}, wish)
        differing = frozenset(v for one in advised for v in one.differing)
        data: dict[str, Any] = {
            "site": self.prepared.site.path,
            "clients": wish.clients,
            "hosts": _tune_view.advice_data(
                [one.advice for one in advised],
                {one.advice.host: one.differing for one in advised},
            ),
        }
        short = any(one.advice.carried < one.advice.asked for one in advised)
        if self.how.check:
            return self._checked(advised, bool(edit), short, data)
        concerned = {s.component for one in advised for s in one.advice.settings
                     if s.variable in differing}  # fmt: skip
        beyond = {one.advice.host: _beyond(one.advice) for one in advised}
        return self._enact(edit, concerned, data, (seen, beyond), short=short)

    def verify(self) -> ExitCode:
        """Judge what the site says by what runs, and change nothing."""
        found = self._verdicts(self.prepared, self._readings())
        code = _code(found)
        data = {"site": self.prepared.site.path, "verified": _tune_view.verdict_data(found)}
        if self.how.table:
            self._show_verdicts(found)
        else:
            render.document("tune", code, data)
        return code

    def explain(self, wish: Wish, name: str) -> ExitCode:
        """Say how the value of one setting comes about, on each host that has it."""
        shape = advice.shape_of(self.prepared.site)
        advised = [self._advised(reading, wish, shape) for reading in self._readings()]
        found = {
            one.advice.host: setting
            for one in advised
            for setting in one.advice.settings
            if setting.variable == name
        }
        if not found:
            known = sorted({s.variable for one in advised for s in one.advice.settings})
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"Did you mean {close[0]}? " if close else ""
            raise UsageError(
                f"No host has a setting {name} that tune computes.",
                next_step=f"{hint}They are: {', '.join(known)}.",
            )
        if self.how.table:
            for host, setting in found.items():
                _tune_view.explanation(host, setting)
        else:
            only = [replace(one.advice, settings=(found[one.advice.host],)) for one in advised
                    if one.advice.host in found]  # fmt: skip
            data = {"site": self.prepared.site.path, "hosts": _tune_view.advice_data(only, {})}
            render.document("tune", ExitCode.DONE, data)
        return ExitCode.DONE

    def revert(self) -> ExitCode:
        """Take the tuned values out of the site and apply it again."""
        paths = tuned.files_of(self.sources, self.prepared.site.targets, self.write_to)
        data: dict[str, Any] = {"site": self.prepared.site.path, "clients": None, "hosts": []}
        if not paths:
            if self.how.table:
                render.lines("Nothing to revert: tune has written nothing for these hosts.")
            else:
                render.document("tune", ExitCode.DONE, {**data, **_nothing()})
            return ExitCode.DONE
        return self._enact(tuned.removal(paths), set(COMPONENTS), data, None, short=False)

    # -- what they share

    def _readings(self) -> tuple[HostReading, ...]:
        """What all targeted hosts are and have. Raises for one that does not tell it."""
        looked = look(self.prepared, readings.PLAYBOOK)
        hosts = self.prepared.hosts
        lost = [looked.failures[host] for host in hosts if host in looked.failures]
        if lost:
            outcome = _undoing.lost(lost)
            view.failures(outcome, self.prepared.user_of)
            names = ", ".join(failure.host for failure in lost)
            error = CloudletError(
                f"{names} did not tell what runs there; nothing was changed on any host.",
                next_step=f"Leave it out with --limit '!{lost[0].host}', or mend it first.",
            )
            error.exit_code = outcome.exit_code
            raise error
        for host, report in looked.reports.items():
            for problem in readings.problems(host, report):
                render.note(f"warning: {host}: {problem}")
        found = advice.readings_of(self.prepared.site, looked, hosts)
        for reading in found:
            seen = [s for v, s in reading.settings.items() if not v.startswith("kernel_")]
            if seen and all(one.configured is None for one in seen):
                raise CheckFailedError(
                    f"{reading.host} has nothing of this site yet, so there is nothing to tune.",
                    next_step="'cloudlet-deploy apply' sets it up.",
                )
        return found

    def _advised(self, reading: HostReading, wish: Wish, shape: tuning.Shape) -> Advised:
        site = self.prepared.site
        told = advice.advice_for(site, reading, wish.load, shape)
        present = advice.wanted_of(site, reading)
        values = advice.values_for(site, told)
        differing = frozenset(
            s.variable
            for s in told.settings
            if s.settable
            and not (s.pin is None and s.variable not in values)
            and not verdict.left_alone(s.variable, s.wanted)
            and not (
                str(present.get(s.variable)) == str(s.wanted)
                and str(reading.settings[s.variable].configured) == str(s.wanted)
            )
        )
        return Advised(told, differing, values)

    def _show(self, one: Advised) -> None:
        everything = self.how.detail.digests
        _tune_view.advice(one.advice, one.differing, everything=everything)

    def _edit(self, values: dict[str, dict[str, tuning.Scalar]], wish: Wish) -> tuned.Edit:
        made = tuned.Stamp(wish.clients, tuning.MODEL_VERSION, f"{datetime.now(UTC):%F}")
        if self.write_to is not None:
            return tuned.edit_for_file(self.write_to, values, made)
        return tuned.edit_for_hosts(self.sources, values, made)

    def _checked(
        self, advised: list[Advised], pending: bool, short: bool, data: dict[str, Any]
    ) -> ExitCode:
        """The end of ``--check``."""
        count = sum(len(one.differing) for one in advised)
        barred = any(_beyond(one.advice) for one in advised)
        code = ExitCode.CHECK_FAILED if short or barred else ExitCode.DONE
        if count or pending:
            code = ExitCode.PENDING
        if not self.how.table:
            render.document("tune", code, {**data, **_nothing()})
        elif count or pending:
            render.lines(f"{_settings(count)} would change. Nothing was changed.")
        else:
            render.lines("Nothing to do.")
        return code

    def _enact(
        self,
        edit: tuned.Edit,
        components: set[str],
        data: dict[str, Any],
        known: tuple[tuple[HostReading, ...], Wanted] | None,
        *,
        short: bool,
    ) -> ExitCode:
        """Write the site's values, apply them, and ask the hosts what came of it.

        ``known`` are their readings of before, and what they should have too and cannot be given;
        without it they are not asked.
        """
        hosts = (self.prepared.site.hosts[name] for name in self.prepared.hosts)
        theirs = {component for host in hosts for component in site_components.of_host(host)}
        concerned = tuple(name for name in COMPONENTS if name in components & theirs)
        done: _undoing.Done | None = None
        with self.prepared.journal("tune") as journal:
            fresh = self.prepared
            if concerned:
                fresh, done = self._apply(edit, concerned, journal)
            else:  # the site is only to say what the hosts have already
                edit.carry_out()
            outcome = done.whole if done else RunOutcome(complete=True)
            found: Verdicts = {}
            if known and (done is None or done.code is ExitCode.DONE):
                found = self._verdicts(fresh, self._seen(fresh) if done else known[0], known[1])
            code = strongest(
                [done.code if done else ExitCode.DONE, _code(found)]
                + ([ExitCode.CHECK_FAILED] if short else [])
            )
            journal.finish(code, outcome)
            run_id = journal.record.run_id
        if self.how.table:
            if done:
                _undoing.show(done, fresh, run_id, self.how)
            self._show_verdicts(found)
            self._tell_file(edit, done)
        else:
            told = done.data(fresh) if done else {"plan": None, "result": None}
            verified = _tune_view.verdict_data(found)
            render.document("tune", code, {**data, "run": run_id, **told, "verified": verified})
        return code

    def _apply(
        self, edit: tuned.Edit, components: tuple[str, ...], journal: Journal
    ) -> tuple[Prepared, _undoing.Done]:
        """Apply ``components`` of the site with its new values; they stay if it was begun."""
        with _kept_if(edit) as keep:
            fresh = _flow.reloaded(self.prepared, self._inventory())

            def consent(what: str) -> None:
                _undoing.ask(what, yes=self.yes)
                keep()

            plan = replace(fresh.plan, components=components)
            done = _undoing.carry_out(
                *(fresh, plan, journal, self.how, consent),
                before=RunOutcome(complete=True),
                together=True,
            )
            if done.code is ExitCode.DONE:
                keep()
        return fresh, done

    def _inventory(self) -> tuple[Path, ...]:
        """The sources with the file that holds the tuned values, if there is one now."""
        path = self.write_to
        if path is None or not path.exists() or _covers(self.sources, path):
            return self.sources
        return (*self.sources, path)

    def _seen(self, fresh: Prepared) -> tuple[HostReading, ...]:
        return advice.readings_of(fresh.site, look(fresh, readings.PLAYBOOK), fresh.hosts)

    def _verdicts(
        self, prepared: Prepared, seen: Iterable[HostReading], beyond: Wanted | None = None
    ) -> Verdicts:
        more = beyond or {}
        return {
            reading.host: verdict.judge(
                {**advice.wanted_of(prepared.site, reading), **more.get(reading.host, {})}, reading
            )
            for reading in seen
        }

    def _show_verdicts(self, found: Verdicts) -> None:
        for host, verdicts in found.items():
            _tune_view.verdicts(host, verdicts, everything=self.how.detail.digests)

    def _tell_file(self, edit: tuned.Edit, done: _undoing.Done | None) -> None:
        if not edit or done is None or done.made is None:
            return
        for path, text in edit.files.items():
            render.lines(f"{path}: {'written' if text else 'removed'}")
        if self.write_to is not None and self._inventory() != self.sources:
            render.lines(f"From now on give every command '-i {self.write_to}' too.")


@contextlib.contextmanager
def _kept_if(edit: tuned.Edit) -> Iterator[Callable[[], None]]:
    """Carry out ``edit``, and undo it at the end unless the function that it gives was called."""
    kept: list[bool] = []
    undo = edit.carry_out()
    try:
        yield lambda: kept.append(True)
    finally:
        if not kept:
            undo.carry_out()


def _beyond(told: Advice) -> dict[str, tuning.Scalar]:
    """What the host lacks and cannot be given, unless the site has decided to leave it alone."""
    return {
        s.variable: s.recommended
        for s in told.settings
        if not s.settable and s.pin is None and str(s.now) != str(s.recommended)
    }


def _nothing() -> dict[str, Any]:
    return {"run": None, "plan": None, "result": None, "verified": []}


def _code(found: Verdicts) -> ExitCode:
    states = {one.state for verdicts in found.values() for one in verdicts}
    return ExitCode.CHECK_FAILED if states - {verdict.State.EFFECTIVE} else ExitCode.DONE


def _settings(count: int) -> str:
    return "1 setting" if count == 1 else f"{count} settings"
