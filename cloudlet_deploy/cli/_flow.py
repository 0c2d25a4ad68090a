"""What ``plan`` and ``apply`` share: the way from options to one recorded run."""

from __future__ import annotations

import contextlib
import difflib
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cloudlet_deploy import site
from cloudlet_deploy.cli import render, view
from cloudlet_deploy.cli._site import vault_of
from cloudlet_deploy.cli.options import AnsibleOptions
from cloudlet_deploy.errors import InterruptedRunError, InvalidSiteError, UsageError
from cloudlet_deploy.run import signals
from cloudlet_deploy.run.launch import launch
from cloudlet_deploy.run.lease import Lease, LeaseEvent
from cloudlet_deploy.run.outcome import Collector, RunOutcome
from cloudlet_deploy.run.plan import RunPlan
from cloudlet_deploy.run.record import Journal
from cloudlet_deploy.run.secrets import MASK, Redactor, Secrets
from cloudlet_deploy.site import components as site_components
from cloudlet_deploy.site import validation

if TYPE_CHECKING:
    from cloudlet_deploy.run.events import Event
    from cloudlet_deploy.site import Site, Vault

#: Seconds that giving the hosts back may take: as a rule, and when the user waits to get away.
_GIVING_BACK, _GIVING_BACK_HASTILY = 30.0, 10.0


@dataclass(frozen=True)
class Prepared:
    """A valid site and the run that is to be made of it."""

    site: Site
    plan: RunPlan
    secrets: Secrets
    redact: Redactor
    #: The options for the record, without values that may be secret.
    options: Mapping[str, Any]
    vault: Vault

    def user_of(self, host: str) -> str | None:
        """The user that Ansible logs in as, where the site or an option names one."""
        values = self.site.hosts[host].values if host in self.site.hosts else {}
        named = values.get("ansible_user") or values.get("ansible_ssh_user")
        return named.value if named and isinstance(named.value, str) else self.plan.user

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts that the run is for: those that are to be worked on and have components."""
        wanted = self.plan.hosts or self.site.targets
        return tuple(host for host in wanted if site_components.of_host(self.site.hosts[host]))

    def only(self, hosts: tuple[str, ...]) -> Prepared:
        """The same, on these hosts."""
        return replace(self, plan=self.plan.only(hosts))

    @contextlib.contextmanager
    def journal(self, command: str) -> Iterator[Journal]:
        """A record for a run of ``command``, which a signal of any kind ends in order.

        Raises InterruptedRunError after one.
        """
        sources = [absolute(path) for path in self.plan.inventory]
        kept = Journal(
            *(command, self.site.path, self.options, self.redact), sources=sources, hosts=self.hosts
        )
        with signals.raised(), kept as journal:
            try:
                yield journal
            except (KeyboardInterrupt, click.Abort) as error:
                raise _interrupted("Interrupted.", journal) from error


def prepare(
    options: AnsibleOptions, components: tuple[str, ...], *, files: bool = True
) -> Prepared:
    """Load and validate the site and ask for the passwords that the options want.

    ``files`` is False where certificates and keys on this machine do not matter.
    Raises InvalidSiteError with all faults, UsageError for options that fit nothing.
    """
    vault = vault_of(options)
    loaded = site.load(
        options.inventory, limit=options.limit, extra_vars=options.extra_vars, vault=vault
    )
    faults = validation.validate(loaded, files=files)
    _refuse([f for f in faults if f.severity is validation.Severity.ERROR], loaded)
    for fault in faults:
        click.echo(f"warning: {_line(fault)}", err=True)
    playbook = _playbook(loaded)
    _check_components(loaded, components)
    return prepared(options, loaded, vault, playbook, components)


def prepared(
    options: AnsibleOptions,
    loaded: Site,
    vault: Vault,
    playbook: Path,
    components: tuple[str, ...] = (),
) -> Prepared:
    """A run of ``playbook`` on a site that was loaded, valid or not."""
    secrets = Secrets(become=_become_password(options), vault=vault.passwords)
    plan = RunPlan(
        playbook=playbook,
        inventory=options.inventory,
        limit=options.limit,
        components=components,
        extra_vars=options.extra_vars,
        user=options.user,
        private_key=options.private_key,
        forks=options.forks,
        verbosity=options.verbosity,
        become_password_file=options.become_password_file,
        vault_password_files=options.vault_password_files,
        vault_ids=tuple(v for v in options.vault_ids if v.rpartition("@")[2] != "prompt"),
    )
    redact = Redactor([*secrets.values(), *_vaulted(loaded)])
    return Prepared(loaded, plan, secrets, redact, recordable(options, components), vault)


def reloaded(prepared: Prepared, inventory: tuple[Path, ...]) -> Prepared:
    """The same run on a site whose files were changed since.

    Raises InvalidSiteError with all faults.
    """
    plan = replace(prepared.plan, inventory=inventory)
    loaded = site.load(
        inventory, limit=plan.limit, extra_vars=plan.extra_vars, vault=prepared.vault
    )
    faults = validation.validate(loaded, files=False)
    _refuse([f for f in faults if f.severity is validation.Severity.ERROR], loaded)
    return replace(prepared, site=loaded, plan=plan)


def run(prepared: Prepared, plan: RunPlan, journal: Journal) -> RunOutcome:
    """Run ``plan`` under the eyes of the user and the record; for real only inside ``leased``.

    Raises InterruptedRunError after a signal.
    """
    collector = Collector()
    if not plan.check:
        plan = plan.of_run(journal.record.run_id)

    def observe(event: Event) -> None:
        collector.add(event)
        journal.event(event)
        progress.show(event)
        journal.progress(collector.outcome)

    with view.progress(changing=not plan.check) as progress:
        try:
            outcome = launch(plan, prepared.secrets, observe, prepared.redact)
        except BaseException:
            journal.keep(collector.outcome())
            raise
    journal.keep(outcome)
    if outcome.interrupted:
        raise _interrupted("Interrupted; Ansible was stopped.", journal)
    return outcome


@dataclass(frozen=True)
class Held:
    """The hosts that a run holds. ``lost`` has those that failed or were away when asked."""

    hosts: tuple[str, ...]
    lost: RunOutcome


@contextlib.contextmanager
def leased(
    prepared: Prepared, hosts: tuple[str, ...], journal: Journal, *, break_lock: bool = False
) -> Iterator[Held]:
    """Hold ``hosts`` for the block, in which they may be changed.

    ``break_lock`` takes them from whoever has them. Raises LockedError, naming the holder, if
    another run has one of them; then none is held. Whatever ends the block, the lease is
    given back; where that fails, the user is told.
    """
    lease = Lease(prepared.plan, prepared.secrets, prepared.redact, journal.record)
    # Until the answers are there any of them may be held.
    held, patience = hosts, _GIVING_BACK
    try:
        taken = lease.take(hosts, break_lock=break_lock)
        _tell(taken.events, journal)
        for failure in taken.lost.failures:
            journal.failure(failure)
        if taken.interrupted:
            raise _interrupted("Interrupted; Ansible was stopped.", journal)
        held = taken.hosts
        if taken.refusal:
            raise taken.refusal
        if held:
            journal.phase("change")
        yield Held(held, taken.lost)
    except (KeyboardInterrupt, click.Abort, InterruptedRunError):
        patience = _GIVING_BACK_HASTILY
        raise
    finally:
        with signals.noted() as caught:
            _tell(lease.give_back(held, seconds=patience) if held else (), journal)
    if caught or lease.interrupted:
        raise _interrupted("Interrupted while the hosts were given back.", journal)


def _tell(events: Iterable[LeaseEvent], journal: Journal) -> None:
    """Keep what happened to the lease, and say what is not as usual."""
    for event in events:
        journal.lease(event.host, event.action, event.detail)
        told = f"{event.host}: {event}."
        if event.action in ("take-over", "break"):
            render.note(told)
        elif event.action == "keep":
            more = "The next run from this machine takes it over; others need --break-lock."
            render.note(f"warning: {told} {more}")


def _interrupted(message: str, journal: Journal) -> InterruptedRunError:
    """The error after a signal: what it means for the hosts, and what to do."""
    record = journal.record
    if record.phase == "plan":
        return InterruptedRunError(message, next_step="Nothing was changed.")
    words = ["cloudlet-deploy", record.command]
    words += [f"-i {shlex.quote(path)}" for path in record.options.get("inventory", ())]
    words += ["--resume"] if record.command == "apply" else []
    return InterruptedRunError(
        f"{message} Changes may have been made; no file is half-written.",
        next_step=f"'{' '.join(words)}' does the rest.",
    )


def absolute(source: Path) -> str:
    """An inventory as the record knows it, wherever it is named from."""
    return str(source.expanduser().resolve()) if source.exists() else str(source)


def _refuse(errors: list[validation.Fault], loaded: Site) -> None:
    if errors:
        faults = "error" if len(errors) == 1 else "errors"
        listed = "\n".join(f"  {_line(fault)}" for fault in errors)
        raise InvalidSiteError(
            f"{len(errors)} {faults} in {loaded.path}; no host was touched.\n{listed}",
            next_step="'cloudlet-deploy validate' tells what to do about each.",
        )


def _line(fault: validation.Fault) -> str:
    parts = (fault.where, ", ".join(fault.hosts) if not fault.variable else "", fault.variable)
    return ": ".join((*(part for part in parts if part), fault.message))


def _playbook(loaded: Site) -> Path:
    """The playbook for what the site's hosts are."""
    groups = {group for host in loaded.targets for group in loaded.hosts[host].groups}
    found = site_components.playbook_of(groups)
    if found is not None:
        return found
    known = site_components.of_groups()
    raise InvalidSiteError(
        f"{loaded.path}: no host that is to be worked on belongs to {', '.join(known)}.",
        next_step="Put hosts into these groups, or correct --limit.",
    )


def _check_components(loaded: Site, wanted: tuple[str, ...]) -> None:
    hosts = (loaded.hosts[name] for name in loaded.targets)
    known = list(dict.fromkeys(role for h in hosts for role in site_components.of_host(h)))
    for name in wanted:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {close[0]}? " if close else ""
            raise UsageError(
                f"No host of {loaded.path} has the component {name}.",
                next_step=f"{hint}The components are: {', '.join(known)}.",
            )


def _become_password(options: AnsibleOptions) -> str | None:
    if not options.ask_become_pass:
        return None
    if not sys.stdin.isatty():
        raise UsageError(
            "There is no terminal to ask for the become password on.",
            next_step="Name a file that holds it with --become-password-file.",
        )
    password: str = click.prompt("BECOME password", hide_input=True, err=True)
    return password


def _vaulted(loaded: Site) -> Iterator[object]:
    """The opened values of the site's vaults."""
    for host in loaded.hosts.values():
        for value in host.values.values():
            if value.secret:
                yield value.value


#: ``NAME=VALUE`` in extra vars; the value may be quoted.
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(?:'[^']*'|\"[^\"]*\"|\S*)")


def recordable(options: AnsibleOptions, components: tuple[str, ...]) -> dict[str, Any]:
    """The options as the record keeps them: values of extra vars may be secret."""
    told = {
        "inventory": [str(path) for path in options.inventory],
        "limit": options.limit,
        "components": list(components),
        "user": options.user,
        "private_key": str(options.private_key) if options.private_key else None,
        "forks": options.forks,
        "extra_vars": [
            text
            if text.startswith("@")
            else " ".join(f"{name}={MASK}" for name in _ASSIGNMENT.findall(text)) or MASK
            for text in options.extra_vars
        ],
    }
    return {key: value for key, value in told.items() if value not in (None, [])}
