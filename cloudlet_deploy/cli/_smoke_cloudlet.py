"""How ``smoke`` measures a cloudlet: its hops, its mounts, the verdict and the report."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from cloudlet_deploy import content
from cloudlet_deploy.cli import _asking, _flow, render, view
from cloudlet_deploy.errors import (
    ExitCode,
    InterruptedRunError,
    InvalidSiteError,
    strongest,
)
from cloudlet_deploy.run.events import TaskEnded
from cloudlet_deploy.run.launch import launch
from cloudlet_deploy.run.outcome import RunOutcome
from cloudlet_deploy.run.reasons import explain
from cloudlet_deploy.site import components
from cloudlet_deploy.smoke import cloudlet, cloudlet_report, settings
from cloudlet_deploy.smoke.words import NONE, duration, megabits, megabytes

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from cloudlet_deploy.cli._flow import Held, Prepared
    from cloudlet_deploy.run.events import Event
    from cloudlet_deploy.run.record import Journal
    from cloudlet_deploy.smoke.verdict import Finding

#: Seconds around each rate: connecting, starting, searching for files.
_AROUND = 3


def is_for(prepared: Prepared) -> bool:
    """Whether the site has hops or hosts with mounts among those that are to be worked on."""
    site = prepared.site
    groups = {group for name in site.targets for group in site.hosts[name].groups}
    return bool(groups & set(cloudlet.MOUNTING) or settings.of_site(site)["hops"])


def smoke(prepared: Prepared, *, directory: Path | None, yes: bool, output: str) -> ExitCode:
    """Measure, judge, report, and return the verdict's exit code.

    ``directory`` is where the report goes; None for beside the run's record.
    """
    found = settings.of_site(prepared.site)
    wanted = cloudlet.wanted(prepared.site, found)
    if not wanted.hosts:
        raise InvalidSiteError(
            f"{prepared.site.path}: there is no hop and no host with mounts to be measured.",
            next_step="Name hops in smoke_hops, put hosts into the group cloudlet, or correct "
            "--limit.",
        )
    if found["production"] and not yes:
        _ask(prepared, wanted)
    with prepared.journal("smoke") as journal:
        began = time.time()
        with _flow.leased(prepared, wanted.hosts, journal) as held:
            reports, outcome = _measure(prepared, wanted, held, journal)
        outcome = outcome.including(held.lost)
        lost = dict(_lost(prepared, outcome))
        seen = cloudlet.Measurement(
            run_id=journal.record.run_id,
            site=prepared.site.path,
            began=began,
            took=round(time.time() - began, 1),
            wanted=wanted,
            hops=cloudlet.hops_seen(wanted, reports, lost),
            mounts=cloudlet.mounts_seen(reports),
            lost=lost,
            remarks=_remarks(prepared),
        )
        paths = cloudlet_report.write(directory or journal.directory, seen)
        findings = cloudlet.judge(seen)
        # A host that is away is told by its own code, as everywhere.
        codes = [failure.exit_code for failure in outcome.failures]
        code = strongest([cloudlet.exit_code(findings), *codes])
        if output == "json":
            render.document("smoke", code, as_data(seen, findings, paths))
        else:
            show(seen, findings, paths)
        journal.finish(code)
    return code


def _ask(prepared: Prepared, wanted: cloudlet.Wanted) -> None:
    """Ask before users feel it."""
    _asking.ask(
        f"{prepared.site.path} is marked as production",
        f"Fill {len(wanted.hops)} hops and the mounts of {len(wanted.mounts)} hosts for "
        f"{wanted.seconds} s each?",
        done="measured",
        next_step="--yes measures it without asking.",
    )


def _measure(
    prepared: Prepared, wanted: cloudlet.Wanted, held: Held, journal: Journal
) -> tuple[list[tuple[str, Mapping[str, Any]]], RunOutcome]:
    """What the hosts that are held reported, in the order of the measurements."""
    reports: list[tuple[str, Mapping[str, Any]]] = []
    if not held.hosts:
        return reports, RunOutcome()
    plan = replace(
        prepared.plan.only(held.hosts),
        playbook=content.playbook("transfers"),
        check=False,
        diff=False,
        variables={"cloudlet_transfers": _variables(prepared, wanted, held.hosts)},
    ).of_run(journal.record.run_id)

    def observe(event: Event) -> None:
        if isinstance(event, TaskEnded) and event.report is not None:
            reports.append((event.host, event.report))
            if words := _told(event.host, event.report):
                render.note(words)
        journal.event(event)
        progress.show(event)

    with view.progress(changing=False) as progress:
        outcome = launch(plan, prepared.secrets, observe, prepared.redact)
    journal.keep(outcome)
    if outcome.interrupted:
        raise InterruptedRunError(
            "Interrupted; Ansible was stopped.",
            next_step="iperf3 ends by itself; the next smoke removes it, and test files.",
        )
    view.failures(outcome, prepared.user_of)
    return reports, outcome


def _variables(
    prepared: Prepared, wanted: cloudlet.Wanted, hosts: tuple[str, ...]
) -> dict[str, Any]:
    ends = [host for host in wanted.ends if host in hosts]
    of_site = prepared.site.hosts
    return {
        "hops": [asdict(hop) for hop in wanted.hops if {hop.source, hop.target} <= set(hosts)],
        "ends": ends,
        "guests": [host for host in ends if not components.of_host(of_site[host])],
        "mounts": [host for host in wanted.mounts if host in hosts],
        "port": wanted.port,
        "seconds": wanted.seconds,
        "mib": wanted.mib,
    }


def _lost(prepared: Prepared, outcome: RunOutcome) -> Iterator[tuple[str, str]]:
    for failure in outcome.failures:
        reason = explain(failure, prepared.user_of(failure.host))
        words = reason.message.partition(": ")[2] or reason.message
        yield failure.host, f"{words.rstrip('.')}. {reason.next_step}".strip()


def _told(host: str, report: Mapping[str, Any]) -> str:
    """One measurement in a line, while others go on; "" for what is none."""
    if "mbit" in report:
        return f"hop {report['hop']}: {megabits(report['mbit'])}"
    if report.get("hop") and report.get("problem"):
        return f"hop {report['hop']}: {host}: {report['problem']}"
    if "mount" in report:
        told = [report["problem"]] if report["problem"] else []
        told += [
            f"{title} {megabytes(cloudlet.Rate(**report[key]).mb)}"
            for key, title in (("read", "read"), ("write", "written"))
            if report[key]
        ]
        return f"mount {report['mount']} on {host}: {', '.join(told)}"
    return ""


def _remarks(prepared: Prepared) -> tuple[str, ...]:
    if any("lab_image" in host.values for host in prepared.site.hosts.values()):
        return (
            "This is a lab: its network and its disks are those of the machine that it runs on. "
            "The figures say nothing about other machines.",
        )
    return ()


# --- how it looks -------------------------------------------------------------------------


def show(
    seen: cloudlet.Measurement,
    findings: tuple[Finding, ...],
    paths: cloudlet_report.Paths,
) -> None:
    """The rates, the verdict, and where the report is."""
    render.trimmed(_table(seen))
    render.lines("")
    for finding in findings:
        mark, style = ("holds", "green") if finding.held else ("does not hold", "bold red")
        told = f"{finding.name}: wanted {finding.wanted}, got {finding.got}: {mark}."
        render.lines(f"{told} {finding.words}".rstrip(), style)
    if not findings:
        render.lines("Nothing is demanded.")
    render.lines(f"Report: {paths.report}")


def _table(seen: cloudlet.Measurement) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("what", "from", "to"):
        table.add_column(title)
    for title in ("rate", "took"):
        table.add_column(title, justify="right", no_wrap=True)
    for hop in seen.hops:
        rate = NONE if hop.mbit is None else megabits(hop.mbit)
        took = NONE if hop.mbit is None else duration(seen.wanted.seconds)
        words = (f"hop {hop.hop.name}", hop.hop.source, hop.hop.target, rate, took)
        table.add_row(*map(render.text, words))
    for mount in seen.mounts:
        for title, rate_ in (("read", mount.read), ("write", mount.write)):
            if rate_ is not None or (mount.problem and title == "read"):
                ends = (f"mount {mount.name}", mount.host)
                told = (megabytes(rate_.mb), duration(rate_.seconds)) if rate_ else (NONE, NONE)
                words = (f"{title} {mount.kind}", *(ends if title == "read" else ends[::-1]), *told)
                table.add_row(*map(render.text, words))
    return table


def as_data(
    seen: cloudlet.Measurement,
    findings: tuple[Finding, ...],
    paths: cloudlet_report.Paths,
) -> dict[str, Any]:
    """The result in the form of docs/reference/json.md."""
    return {
        "site": seen.site,
        "run": seen.run_id,
        "held": all(one.held for one in findings),
        "findings": [vars(one) for one in findings],
        "hops": [
            {
                "name": one.hop.name,
                "from": one.hop.source,
                "to": one.hop.target,
                "mbit": one.mbit,
                "retransmits": one.retransmits,
                "problem": one.problem,
            }
            for one in seen.hops
        ],
        "mounts": [
            {
                "name": one.name,
                "host": one.host,
                "where": one.where,
                "kind": one.kind,
                "read_mb": one.read and round(one.read.mb, 3),
                "write_mb": one.write and round(one.write.mb, 3),
                "problem": one.problem,
                "left": one.left,
            }
            for one in seen.mounts
        ],
        "lost": dict(seen.lost),
        "report": {name: str(path) for name, path in vars(paths).items()},
    }
