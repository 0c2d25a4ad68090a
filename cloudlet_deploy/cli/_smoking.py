"""How ``smoke`` goes: what to measure, the load, the verdict and the report."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudlet_deploy.cli import _asking, _smoke_view, render
from cloudlet_deploy.cli._load_hosts import LoadHosts, Loading, find
from cloudlet_deploy.cli._looking import look
from cloudlet_deploy.errors import (
    ExitCode,
    InterruptedRunError,
    RunFailedError,
    UsageError,
)
from cloudlet_deploy.run import advice, readings, signals
from cloudlet_deploy.run.record import read_record, runs_dir
from cloudlet_deploy.smoke import (
    analysis,
    comparison,
    directories,
    document,
    gsi,
    profile,
    report,
    settings,
    verdict,
)
from cloudlet_deploy.smoke.engine import Engine
from cloudlet_deploy.smoke.gathering import Gathering
from cloudlet_deploy.smoke.job import Job
from cloudlet_deploy.smoke.types import Campaign, Endpoint, HostFacts, SettingInForce

if TYPE_CHECKING:
    from cloudlet_deploy.cli._flow import Prepared
    from cloudlet_deploy.run.record import Journal
    from cloudlet_deploy.smoke.profile import Profile

#: Name of the file beside a record that --baseline compares with.
CAMPAIGN = "campaign.json"
#: Seconds that --clean gives each storage.
_CLEANING = 600.0


@dataclass(frozen=True)
class Wish:
    """What the user said on the command line; None leaves it to the site."""

    full: bool
    clients: str | None
    entries: str | None
    overload: int | None
    seconds: int | None
    warm_up: int | None
    think: float | None
    timeout: int | None
    keep_alive: bool
    service: str
    processes: int | None
    proxy: Path | None
    certificate: Path | None
    key: Path | None
    ca_dir: Path | None
    baseline: str | None
    report: Path | None
    yes: bool
    output: str


@dataclass(frozen=True)
class _Test:
    """One test of a site that was loaded, before anything of it was touched."""

    prepared: Prepared
    wish: Wish
    settings: Mapping[str, Any]
    profile: Profile
    credential: gsi.Credential
    path: str
    verbose: bool


def is_for(prepared: Prepared) -> bool:
    """Whether a door or a transfer server is among the hosts that are to be worked on."""
    site = prepared.site
    groups = {group for name in site.targets for group in site.hosts[name].groups}
    return bool(groups & {"bestman", "gridftp"})


def smoke(prepared: Prepared, wish: Wish, *, verbose: bool) -> ExitCode:
    """Load the site, judge it, report, and return the verdict's exit code."""
    test = _test(prepared, wish, verbose=verbose)
    baseline = document.load(_baseline(wish.baseline)) if wish.baseline else None
    _ask(test)
    with test.prepared.journal("smoke") as journal:
        campaign, refusal, left = _measure(test, journal)
        if refusal is not None:
            raise refusal
        return _conclude(test, journal, campaign, baseline, left)


def clean(prepared: Prepared, wish: Wish) -> ExitCode:
    """Remove what killed runs left in the storage."""
    test = _test(prepared, wish)
    left = directories.remembered(test.path)
    still: list[str] = []
    if left:
        doors, servers = _endpoints(test, local=True)
        job = Job(
            doors=doors, transfer_servers=servers, points=(), base="",
            directories={}, leftovers=(), timeout=test.profile.timeout, patience=0, output="",
            **_credential(test),
        )  # fmt: skip
        still, problem = directories.remove(job, test.credential.context(), left, _CLEANING)
        directories.forget(base for base in left if base not in still)
        if still:
            raise RunFailedError(
                f"{', '.join(still)} could not be removed: {problem}.",
                next_step="Look at the directory as the user who tests.",
            )
    if wish.output == "json":
        data = {"site": test.prepared.site.path, "removed": list(left)}
        render.document("smoke", ExitCode.DONE, data)
    elif left:
        render.lines(f"Removed {', '.join(left)}.")
    else:
        render.lines("Nothing to remove: no test left directories in the storage.")
    return ExitCode.DONE


def _test(prepared: Prepared, wish: Wish, *, verbose: bool = False) -> _Test:
    found = settings.of_site(prepared.site)
    servers = "gridftp" in prepared.site.groups
    wanted = _profile(found, wish, gridftp=servers)
    certificate, key = settings.credential(found, wish.proxy, wish.certificate, wish.key)
    credential = gsi.Credential(certificate, key, wish.ca_dir or settings.ca_dir(found))
    credential.context()  # what is wrong with it is told before anything is touched
    path = settings.path(prepared.site, found)
    return _Test(prepared, wish, found, wanted, credential, path, verbose)


def _profile(found: Mapping[str, Any], wish: Wish, *, gridftp: bool) -> Profile:
    """The site's profile with what the command line says."""
    if wish.clients is not None:
        most = profile.MOST_CLIENTS
        found = {**found, "clients": profile.numbers(wish.clients, "--clients", most)}
    if wish.entries is not None:
        none = wish.entries.strip() == "0"
        most = profile.MOST_ENTRIES
        sizes = () if none else profile.numbers(wish.entries, "--entries", most)
        found = {**found, "entries": sizes}
    for name, value in {
        "seconds": wish.seconds,
        "warm_up_seconds": wish.warm_up,
        "think_seconds": wish.think,
        "timeout_seconds": wish.timeout,
        "overload_clients": wish.overload,
        "keep_alive": wish.keep_alive or None,
    }.items():
        if value is not None:
            found = {**found, name: value}
    made = settings.quick(found, gridftp=gridftp)
    if wish.full:
        full = profile.FULL
        made = replace(
            full,
            window=wish.seconds or full.window,
            warm_up=full.warm_up if wish.warm_up is None else wish.warm_up,
            overload=full.overload if wish.overload is None else wish.overload,
            think=made.think,
            keep_alive=made.keep_alive,
            timeout=made.timeout,
        )
    if wish.service == "gridftp":
        return replace(made, srm=(), overload=0)
    return replace(made, gridftp=()) if wish.service == "srm" or not gridftp else made


def _ask(test: _Test) -> None:
    """Ask before users feel it."""
    if not test.settings["production"] or test.wish.yes:
        return
    _asking.ask(
        f"{test.prepared.site.path} is marked as production",
        f"Load it with up to {test.profile.most_clients} clients for about "
        f"{test.profile.seconds() / 60:.0f} min?",
        done="loaded",
        next_step="--yes loads it without asking.",
    )


def _endpoints(test: _Test, *, local: bool) -> tuple[tuple[Endpoint, ...], tuple[Endpoint, ...]]:
    """Doors and transfer servers as the load processes reach them."""
    site = test.prepared.site
    return (
        settings.endpoints(site, "bestman", local=local),
        settings.endpoints(site, "gridftp", local=local),
    )


def _credential(test: _Test) -> dict[str, str]:
    made = test.credential
    return {"certificate": str(made.certificate), "key": str(made.key), "ca_dir": str(made.ca_dir)}


def _measure(test: _Test, journal: Journal) -> tuple[Campaign, Any, tuple[str, ...]]:
    """Run the load. Returns the campaign, why it could not be, and directories that are left."""
    run_id = journal.record.run_id
    hosts = find(test.prepared, test.wish.processes or test.settings["processes"])
    doors, servers = _endpoints(test, local=hosts is None)
    if (test.profile.srm and not doors) or (test.profile.gridftp and not servers):
        raise UsageError(
            "No door, or no transfer server, is among the hosts that --limit leaves.",
            next_step="Choose with --service what to load.",
        )
    if not servers:
        raise UsageError("The test directories are made by a transfer server, and there is none.")
    in_force, facts = _seen(test)
    base = directories.base_of(test.path, run_id)
    points = test.profile.points(base)
    leftovers = directories.remembered(test.path)
    directories.remember(base)
    with tempfile.TemporaryDirectory(prefix="cloudlet-smoke-") as output:
        job = Job(
            doors=doors,
            transfer_servers=servers,
            points=points,
            base=base,
            directories={f"{base}/{size}": size for size in test.profile.sizes},
            leftovers=leftovers,
            timeout=test.profile.timeout,
            patience=test.profile.patience,
            output=str(output),
            **_credential(test),
        )
        gathering = Gathering(
            Campaign(
                run_id=run_id,
                site=test.prepared.site.path,
                began=time.time(),
                took=0,
                profile=test.profile.name,
                doors=doors,
                transfer_servers=servers,
                points=(),
                recovery=None,
                thresholds=settings.thresholds(test.settings),
                settings=in_force,
                hosts=facts,
                remarks=_remarks(test),
            )
        )
        _run(test, job, hosts, gathering)
        for path in Path(output).glob("*.csv.gz"):
            path.rename(journal.directory / path.name)
    if gathering.tidied:
        directories.forget(b for b in (*leftovers, base) if b not in gathering.left)
    return gathering.campaign, gathering.refusal, gathering.left


def _run(test: _Test, job: Job, hosts: LoadHosts | None, gathering: Gathering) -> None:
    """Have the load run, from load hosts or from here, and gather what it tells."""
    here = test.wish.processes or test.settings["processes"] or os.cpu_count() or 1
    engine = Engine(job, expected=hosts.total) if hosts else Engine(job, processes=here)
    seconds = test.profile.seconds() + test.profile.patience
    with contextlib.ExitStack() as stack:
        caught = stack.enter_context(signals.noted())
        loading = None
        if hosts:
            loading = Loading(hosts, job, test.credential, engine.port, seconds)
            stack.enter_context(loading)
        stack.enter_context(engine)
        progress = stack.enter_context(_smoke_view.progress(job))
        stopping = False
        try:
            for told in engine.events():
                if caught and not stopping:
                    stopping = True
                    engine.stop()
                if told is not None:
                    gathering.take(told)
                    progress.show(told)
                elif loading is not None and not gathering.points:
                    loading.check()
        except RunFailedError as error:
            if not gathering.points:
                raise
            gathering.incomplete = "interrupted" if caught else error.message


def _seen(test: _Test) -> tuple[tuple[SettingInForce, ...], tuple[HostFacts, ...]]:
    """What the hosts are, and which of their tuned settings are in force."""
    looked = look(test.prepared, readings.PLAYBOOK)
    for host, failure in looked.failures.items():
        render.note(f"warning: {host} did not tell what it is: {failure.message.splitlines()[0]}")
    found = advice.readings_of(test.prepared.site, looked, tuple(looked.reports))
    in_force = tuple(
        SettingInForce(one.host, variable.partition("_")[0], variable, str(live))
        for one in found
        for variable, seen in sorted(one.settings.items())
        if (live := seen.effective if seen.effective is not None else seen.configured) is not None
    )
    facts = tuple(
        HostFacts(
            one.host,
            tuple(sorted(one.components)),
            one.cores,
            one.memory_mb,
            one.kernel,
            f"in a container of {one.container}" if one.container else "",
        )
        for one in found
    )
    return in_force, facts


def _remarks(test: _Test) -> tuple[str, ...]:
    found = []
    if any("lab_image" in host.values for host in test.prepared.site.hosts.values()):
        found.append(
            "This is a lab: its door is a stand-in for BeStMan, and the load came from the machine "
            "that the lab runs on. The figures say nothing about other machines."
        )
    return tuple(found)


def _baseline(named: str) -> Path:
    """The file of an earlier run, by the run's id or its own name."""
    path = Path(named)
    if path.is_file():
        return path
    found = runs_dir() / read_record(named).run_id / CAMPAIGN
    if not found.is_file():
        raise UsageError(
            f"Run {named} measured nothing that can be compared with.",
            next_step="'cloudlet-deploy runs list' shows the runs of smoke.",
        )
    return found


def _conclude(
    test: _Test,
    journal: Journal,
    campaign: Campaign,
    baseline: Campaign | None,
    left: tuple[str, ...],
) -> ExitCode:
    """Report and judge. An interrupted test is reported as far as it came."""
    interrupted = campaign.incomplete == "interrupted"
    paths = report.write(test.wish.report or journal.directory, campaign, baseline)
    if test.wish.report:
        (journal.directory / CAMPAIGN).write_text(document.dumps(campaign), encoding="utf-8")
    found = analysis.analyse(campaign)
    judged = verdict.judge(found)
    against = comparison.compare(found, analysis.analyse(baseline)) if baseline else None
    code = ExitCode.INTERRUPTED if interrupted else judged.exit_code
    if test.wish.output == "json":
        data = _smoke_view.as_data(found, judged, against, paths, left)
        render.document("smoke", code, data)
    else:
        _smoke_view.show(found, judged, against, paths, everything=test.verbose)
        if left:
            _smoke_view.leftovers(left, campaign.problems)
    if interrupted and test.wish.output != "json":
        raise InterruptedRunError(
            "Interrupted; the load was stopped.",
            next_step=f"What was measured until then is in {paths.report}.",
        )
    journal.finish(code)
    return code
