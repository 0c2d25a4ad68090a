# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Packages of a host, through its own package manager. Runs on Python 3.9 and later.

The back ends speak to ``apt-get``/``dpkg`` and ``dnf``/``rpm`` directly, not through their
Python bindings: a query takes some 30 ms, and a bare host need not have the bindings.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile

from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import tail

INSTALLED, LEFTOVER = "installed", "config-files"
#: What dpkg calls a package that an interrupted run left half way.
_HALF_WAY = ("half-installed", "unpacked", "half-configured", "triggers-awaited")

POLICY = "/usr/sbin/policy-rc.d"
_HOLD = "CLOUDLET_DEPLOY_HOLD_SERVICES"
_POLICY_SCRIPT = """#!/bin/sh
# Written by cloudlet-deploy while it installs packages: what they bring starts when it is
# configured, not before. It holds back nobody else's packages, and goes away afterwards.
[ "$%s" = 1 ] && exit 101
[ -x %s ] && exec %s "$@"
exit 0
"""


class PackageError(Exception):
    """The package manager refused; the message holds its last words and the next step."""


def restore_policy(policy=POLICY):
    """Put back what ``services_held`` replaced, also when a killed run could not."""
    saved = policy + ".cloudlet-saved"
    if os.path.lexists(saved):
        os.rename(saved, policy)
        return
    with contextlib.suppress(OSError, UnicodeDecodeError):
        with open(policy, encoding="utf-8") as stream:
            ours = _HOLD in stream.read()
        if ours:
            os.unlink(policy)


@contextlib.contextmanager
def services_held(policy=POLICY):
    """No package starts its services inside; yields the environment to install with.

    Debian starts a daemon as soon as it is unpacked, with the package's own configuration.
    The policy script denies that to processes with this environment only, so one that a
    kill leaves behind does no harm.
    """
    restore_policy(policy)
    saved = policy + ".cloudlet-saved"
    if os.path.lexists(policy):
        os.rename(policy, saved)
    try:
        with open(policy, "w", encoding="utf-8") as stream:
            stream.write(_POLICY_SCRIPT % (_HOLD, saved, saved))
            os.fchmod(stream.fileno(), 0o755)
        yield {_HOLD: "1"}
    finally:
        restore_policy(policy)


def unit_names(paths):
    """The services and sockets among the files of a package (templates cannot be enabled)."""
    found = (
        re.match(r"(?:/usr)?/lib/systemd/system/([^/]*[^@/]\.(?:service|socket))$", path)
        for path in paths
    )
    return sorted({match.group(1) for match in found if match})


class Apt:
    """Debian and Ubuntu."""

    _OPTIONS = (
        "-o", "DPkg::Lock::Timeout=120",
        "-o", "Dpkg::Use-Pty=0",
    )  # fmt: skip
    _INSTALL = (
        *_OPTIONS,
        # What it would take away belongs to somebody else.
        "--no-remove",
        "--no-install-recommends",
        "-o", "Dpkg::Options::=--force-confdef",
        "-o", "Dpkg::Options::=--force-confold",
    )  # fmt: skip
    # Ours goes even if another package merely recommends it, as it was before.
    _AUTOREMOVE = (
        "-o", "APT::AutoRemove::RecommendsImportant=false",
        "-o", "APT::AutoRemove::SuggestsImportant=false",
    )  # fmt: skip
    _ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1"}

    def __init__(self, run, extended_states="/var/lib/apt/extended_states"):
        self._run_command = run
        self._extended_states = extended_states

    def _run(self, *argv, environment=None):
        return self._run_command(
            list(argv), environment=dict(self._ENVIRONMENT, **(environment or {}))
        )

    def _checked(self, *argv, next_step, environment=None):
        result = self._run(*argv, environment=environment)
        if result.rc:
            raise PackageError("%s failed: %s. %s" % (argv[0], tail(result), next_step))
        return result.out

    def states(self, names=None):
        """{name: state}; a foreign architecture's packages are called ``name:arch``."""
        out = self._run(
            "dpkg-query", "-W", "-f", "${Package}\t${Architecture}\t${db:Status-Status}\n"
        ).out
        rows = [line.split("\t") for line in out.splitlines() if line.count("\t") == 2]
        native = next((arch for name, arch, _ in rows if name == "dpkg"), None)
        states = {}
        for name, arch, state in rows:
            states[name if arch in (native, "all") else "%s:%s" % (name, arch)] = state
        return states

    def prepare(self, names, environment):
        """Make the package manager ready; returns every package that would arrive."""
        if any(state in _HALF_WAY for state in self.states().values()):
            # A transaction was interrupted; apt refuses to work before it is finished.
            self._checked(
                "dpkg", "--configure", "-a", "--force-confdef", "--force-confold",
                next_step="Finish the interrupted installation by hand, then run again.",
                environment=environment,
            )  # fmt: skip
        unknown = self._unknown(names)
        if unknown:
            self.update()
            unknown = self._unknown(names)
        if unknown:
            raise PackageError(
                "The package sources of this host have no %s. Add the repository that has it "
                "to /etc/apt/sources.list.d, or correct the name." % ", ".join(unknown)
            )
        out = self._checked(
            "apt-get", "-s", *self._INSTALL, "install", *names,
            next_step="See 'apt-get -s install %s' on the host." % " ".join(names),
        )  # fmt: skip
        known = self.states()
        arriving = re.findall(r"^Inst (\S+)", out, re.MULTILINE)
        return sorted(name for name in set(arriving) if known.get(name) != INSTALLED)

    def _unknown(self, names):
        out = self._run("apt-cache", "policy", *names).out
        candidates = dict(re.findall(r"^(\S+):\n(?:  .*\n)*?  Candidate: (\S+)$", out, re.M))
        return [name for name in names if candidates.get(name, "(none)") == "(none)"]

    def update(self):
        """Read the package lists again."""
        self._checked(
            "apt-get", *self._OPTIONS, "-q", "update",
            next_step="Make the host reach its package sources (proxy, DNS, mirror).",
        )  # fmt: skip

    def install(self, names, environment):
        """Install; lists that are too old are read again once."""
        argv = ["apt-get", "-y", "-q", *self._INSTALL, "install", *names]
        result = self._run(*argv, environment=environment)
        if result.rc and re.search(r"404 +Not Found|Unable to fetch|Failed to fetch", result.err):
            self.update()
            result = self._run(*argv, environment=environment)
        if result.rc:
            raise PackageError(
                "Installing %s failed: %s. Nothing was started; correct the cause and run again."
                % (", ".join(names), tail(result))
            )

    def keep(self, names):
        """Somebody wants these for themselves, not only as a dependency."""
        self._run("apt-mark", "manual", *names)

    def files(self, name):
        """Paths that the package brought."""
        return self._run("dpkg-query", "-L", name).out.splitlines()

    def removable(self, ours):
        """Those of ``ours`` that nothing else on the host needs, sorted.

        apt itself is asked, with a copy of its memory of who wanted what, in which ours
        were wanted by nobody.
        """
        if not ours:
            return []
        with tempfile.TemporaryDirectory(prefix="cloudlet-") as scratch:
            copy = os.path.join(scratch, "extended_states")
            with contextlib.suppress(FileNotFoundError):
                shutil.copy(self._extended_states, copy)
            where = ("-o", "Dir::State::extended_states=" + copy)
            step = "See 'apt-get -s autoremove' on the host."
            self._checked("apt-mark", *where, "auto", *ours, next_step=step)
            spared = set()
            while True:
                out = self._checked(
                    "apt-get", "-s", *where, *self._AUTOREMOVE, "autoremove", next_step=step
                )
                going = sorted(_removals(out) & set(ours))
                if not going:
                    return []
                out = self._checked("apt-get", "-s", *where, "purge", *going, next_step=step)
                others = _removals(out) - set(going)
                if not others:
                    return going
                if others <= spared:
                    raise PackageError(
                        "Removing %s would take %s along, which did not come with it. %s"
                        % (", ".join(going), ", ".join(sorted(others)), step)
                    )
                # Not ours, wanted by nobody, and yet it would break: it stays, with its needs.
                self._checked("apt-mark", *where, "manual", *sorted(others), next_step=step)
                spared |= others

    def remove(self, names, keep_configuration=()):
        """Remove packages with their configuration files, except where those were there before."""
        step = "Correct the cause and run again."
        kept = [name for name in names if name in keep_configuration]
        purged = [name for name in names if name not in keep_configuration]
        # First those that keep theirs: what a purge takes along, it purges too.
        for verb, group in (("remove", kept), ("purge", purged)):
            if group:
                self._checked("apt-get", "-y", "-q", *self._OPTIONS, verb, *group, next_step=step)


def _removals(simulation):
    return set(re.findall(r"^(?:Remv|Purg) (\S+)", simulation, re.MULTILINE))


class Dnf:
    """Rocky, Alma and their kin."""

    def __init__(self, run):
        self._run = run

    def states(self, names=None):
        """{name: "installed"}; only ``names``, if given, which takes a tenth of the time."""
        argv = ["rpm", "-q", *names] if names else ["rpm", "-qa"]
        out = self._run([*argv, "--qf", "%{NAME}\n"]).out
        return {line: INSTALLED for line in out.splitlines() if line and " " not in line}

    def prepare(self, names, environment):
        """dnf does not tell in a parseable way what it would install: only the names."""
        return sorted(names)

    def install(self, names, environment):
        """Install without weak dependencies. rpm starts no services."""
        result = self._run(
            ["dnf", "-y", "-q", "--setopt=install_weak_deps=False", "install", *names],
            environment=environment,
        )
        if result.rc:
            raise PackageError(
                "Installing %s failed: %s. Enable the repository that has it (EPEL, CRB), or "
                "correct the name, and run again." % (", ".join(names), tail(result))
            )

    def keep(self, names):
        """Somebody wants these for themselves, not only as a dependency."""
        self._run(["dnf", "-q", "mark", "install", *names])

    def files(self, name):
        """Paths that the package brought."""
        return self._run(["rpm", "-ql", name]).out.splitlines()

    def removable(self, ours):
        """Those of ``ours`` that nothing else on the host needs, sorted."""
        going = set(ours)
        while going and self._run(["rpm", "-e", "--test", *sorted(going)]).rc:
            staying = {name for name in going if self._required_by(name) - going}
            if not staying:
                return []
            going -= staying
        return sorted(going)

    def _required_by(self, name):
        query = ["dnf", "-q", "-C", "repoquery", "--installed", "--qf", "%{name}\n"]
        return set(self._run([*query, "--whatrequires", name]).out.split())

    def remove(self, names, keep_configuration=()):
        """Remove exactly these. rpm keeps edited configuration as ``.rpmsave`` by itself."""
        result = self._run(
            ["dnf", "-y", "-q", "--setopt=clean_requirements_on_remove=False", "remove", *names]
        )
        if result.rc:
            raise PackageError("Removing %s failed: %s" % (", ".join(names), tail(result)))


def backend(run, exists=os.path.exists):
    """The back end for this host. Raises PackageError where there is none."""
    if exists("/usr/bin/dpkg-query"):
        return Apt(run)
    if exists("/usr/bin/rpm") and exists("/usr/bin/dnf"):
        return Dnf(run)
    raise PackageError(
        "This host has neither apt nor dnf: Debian, Ubuntu and the Enterprise Linux family are "
        "supported."
    )
