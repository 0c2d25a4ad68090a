"""The load hosts: looked at, given the engine over ssh, and left as they were."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cloudlet_deploy import content
from cloudlet_deploy.cli import render, view
from cloudlet_deploy.cli._looking import look
from cloudlet_deploy.errors import CheckFailedError, RunFailedError
from cloudlet_deploy.run.launch import launch
from cloudlet_deploy.run.outcome import Failure, RunOutcome
from cloudlet_deploy.run.reasons import explain
from cloudlet_deploy.smoke import bundle, proxy
from cloudlet_deploy.smoke.job import Job
from cloudlet_deploy.smoke.settings import GENERATORS

if TYPE_CHECKING:
    from cloudlet_deploy.cli._flow import Prepared
    from cloudlet_deploy.smoke.gsi import Credential

#: Seconds beyond the load's own for bringing the engine and for tidying up.
_AROUND = 900
#: Hours that a proxy is made for beyond that: clocks differ.
_SPARE_HOURS = 1.0


@dataclass(frozen=True)
class LoadHosts:
    """Hosts that the load comes from. ``processes`` are the load processes of each."""

    prepared: Prepared
    processes: Mapping[str, int]

    @property
    def total(self) -> int:
        """All load processes together."""
        return sum(self.processes.values())


def find(prepared: Prepared, processes: int) -> LoadHosts | None:
    """The site's load hosts, each with so many ``processes`` or (0) as it has processors.

    None if the site has none. Raises UnreachableError or CheckFailedError for one that cannot do
    it, before anything was brought to any.
    """
    hosts = prepared.site.groups.get(GENERATORS, ())
    if not hosts:
        return None
    looked = look(prepared, "load_hosts", hosts)
    for host in hosts:
        if host in looked.failures:
            raise _lost(prepared, looked.failures[host])
        found = looked.reports[host]
        has = (found.get("version"), found["machine"])
        if has != (bundle.VERSION, bundle.MACHINE):
            version = f"Python {has[0]}" if has[0] else f"no Python ({found['problem']})"
            raise CheckFailedError(
                f"{host} has {version} on {has[1]}; the load engine, which is brought from here, "
                f"needs Python {bundle.VERSION} on {bundle.MACHINE}.",
                next_step="Name a Python of that version in smoke_python, or take the host out of "
                f"the group {GENERATORS}.",
            )
    made = {host: processes or int(looked.reports[host]["processors"]) for host in hosts}
    return LoadHosts(prepared, made)


def _lost(prepared: Prepared, failure: Failure) -> CheckFailedError:
    reason = explain(failure, prepared.user_of(failure.host))
    error = CheckFailedError(reason.message, next_step=reason.next_step)
    error.exit_code = failure.exit_code
    return error


class Loading:
    """The engine's workers on the load hosts, from their start to the last trace; a context."""

    def __init__(
        self, hosts: LoadHosts, job: Job, credential: Credential, port: int, seconds: float
    ) -> None:
        self._hosts = hosts
        self._prepared = hosts.prepared
        self._scratch = tempfile.TemporaryDirectory(prefix="cloudlet-smoke-")
        self._results = Path(job.output)
        directory = Path(self._scratch.name)
        there = replace(
            job, certificate="proxy.pem", key="proxy.pem", ca_dir="certificates", output="output"
        )
        there.write(directory / "job.json")
        bundle.write(directory / "engine.tar.gz")
        hours = (seconds + _AROUND) / 3600 + _SPARE_HOURS
        bundle.write_job(
            directory / "job.tar",
            {
                "job.json": directory / "job.json",
                # Never the user's own key.
                "proxy.pem": proxy.short_proxy(credential, hours),
                "certificates": Path(credential.ca_dir).resolve(),
            },
        )
        self._variables: dict[str, Any] = {
            "cloudlet_load": {
                "port": port,
                "engine": str(directory / "engine.tar.gz"),
                "job": str(directory / "job.tar"),
                "results": str(self._results),
                "processes": dict(hosts.processes),
                "seconds": round(seconds + _AROUND),
            }
        }
        self._thread = threading.Thread(target=self._run, name="load hosts", daemon=True)
        self._outcome: RunOutcome | None = None
        self._problem: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._thread.is_alive():
            render.note("Taking the load engine away from the load hosts.")
        # The workers end with their master; what is left is Ansible's to take away.
        self._thread.join()
        for path in self._results.glob("*.tar"):
            bundle.unpack(path, self._results)
            path.unlink()
        self._scratch.cleanup()

    def _run(self) -> None:
        prepared = self._prepared
        plan = replace(
            prepared.plan.only(tuple(self._hosts.processes)),
            playbook=content.playbook("load"),
            variables=self._variables,
            forks=max(len(self._hosts.processes), prepared.plan.forks or 0),
        )
        try:
            self._outcome = launch(plan, prepared.secrets, redact=prepared.redact)
        except BaseException as problem:  # told by the thread that waits
            self._problem = problem

    def check(self) -> None:
        """Raise what went wrong on the load hosts, if they came to their end too early."""
        if self._thread.is_alive():
            return
        if self._problem is not None:
            raise self._problem
        if self._outcome is not None and self._outcome.failures:
            view.failures(self._outcome, self._prepared.user_of)
            raise RunFailedError(
                "The load hosts could not run the load engine.",
                next_step="What each said is above. Without the group load_generators the load "
                "comes from this machine.",
            )
