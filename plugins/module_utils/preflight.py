# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Whether a host has what its roles need: each check reads, and yields findings.

A finding is ``{"check", "component", "status", "detail", "next_step"}``; ``status`` is ``ok``,
``warning`` (it may work) or ``failed`` (it cannot). ``needs`` is what ``host_needs`` took down:
``{component: {kind of need: [entry, ...]}}``. Runs on Python 3.9 and later.
"""

from __future__ import annotations

import os
import socket

from ansible_collections.cloudlet.deploy.plugins.module_utils import accounts as account_plans
from ansible_collections.cloudlet.deploy.plugins.module_utils import host_facts, package_sources

OK, WARNING, FAILED = "ok", "warning", "failed"
#: MiB that the system itself wants.
_SYSTEM_MB = 256
#: Firmware and kernel keep some of what was bought for themselves.
_DECLARED_AS = 1.1
#: What cloudlet-deploy itself writes: (path, what for, MiB).
_OWN_SPACE = (
    ("/var/lib/cloudlet-deploy", "the state of cloudlet-deploy", 50),
    ("/etc", "configuration files", 20),
    ("/tmp", "temporary files of Ansible", 20),
)
#: Listeners that are named one by one; the rest is counted.
_NAMED = 3


def finding(check, status, detail, next_step="", component=""):
    """One entry of the report."""
    return {
        "check": check,
        "component": component,
        "status": status,
        "detail": detail,
        "next_step": next_step,
    }


def entries(needs, kind):
    """(component, entry) of every need of ``kind``."""
    return [(name, entry) for name, all_of in needs.items() for entry in all_of.get(kind, ())]


class Host:
    """What the checks ask of the host; tests give another one."""

    def __init__(self, run):
        self._run = run
        self._listeners = None
        self.accounts = account_plans.Host()

    def memory_mb(self):
        """(total, available)."""
        return host_facts.memory_mb()

    def file_system(self, path):
        """A ``host_facts.FileSystem``."""
        return host_facts.FileSystem(path)

    def held_mb(self, path):
        """MiB of the files in the directory ``path``."""
        try:
            with os.scandir(path) as found:
                sizes = [e.stat(follow_symlinks=False).st_size for e in found if e.is_file()]
        except OSError:
            return 0
        return sum(sizes) // host_facts.MIB

    def is_directory(self, path):
        return os.path.isdir(path)

    def is_mount(self, path):
        return os.path.ismount(os.path.realpath(path))

    def listeners(self):
        """{port: Listener}, read once."""
        if self._listeners is None:
            self._listeners = host_facts.listeners()
        return self._listeners

    def addresses_of(self, name):
        return host_facts.addresses_of(name)

    def is_own(self, address):
        return host_facts.is_own(address)

    def fqdn(self):
        return socket.getfqdn()

    def packages(self):
        """What the host has and could have, see ``package_sources``."""
        return package_sources.sources(self._run)

    def selinux_mode(self):
        return host_facts.selinux_mode()


def memory(needs, host, declared=0):
    """The sum of all roles, and what the site declares (0: nothing), against what the host has."""
    wanted = entries(needs, "memory")
    total, available = host.memory_mb()
    if declared > total * _DECLARED_AS:
        yield finding(
            "memory",
            WARNING,
            "the site declares %d MiB (host_check_memory_mb), the host has %d" % (declared, total),
            "Correct host_check_memory_mb: heaps were checked against what is not there.",
        )
    if not wanted:
        return
    always = [(c, e) for c, e in wanted if not e.get("at_most")]
    least = sum(e["mb"] for _, e in always) + _SYSTEM_MB
    most = least + sum(e["mb"] for _, e in wanted if e.get("at_most"))
    told = ", ".join("%d for %s" % (e["mb"], e["what"]) for _, e in wanted if e["mb"])
    has = "%d MiB" % total
    components = ", ".join(dict.fromkeys(c for c, _ in (always or wanted)))
    if least > total:
        yield finding(
            "memory",
            FAILED,
            "%s, at least %d MiB are wanted (%s)" % (has, least, told),
            "Lower these settings, or give the host more memory.",
            components,
        )
    elif most > total:
        yield finding(
            "memory",
            WARNING,
            "%s, under full load up to %d MiB are taken (%s)" % (has, most, told),
            "Lower these settings, or give the host more memory.",
            components,
        )
    elif least > available and not _running(needs, host):
        yield finding(
            "memory",
            WARNING,
            "%s, but other processes leave %d of at least %d MiB" % (has, available, least),
            "Look on the host for what takes it: ps --sort=-rss -eo rss,args | head",
            components,
        )
    else:
        yield finding("memory", OK, "%s; wanted %d, at most %d" % (has, least, most))


def _running(needs, host):
    units = [unit for _, unit in entries(needs, "units")]
    return any(listener.may_be(unit) for listener in host.listeners().values() for unit in units)


def space(needs, host, missing):
    """Each file system once, with all that goes there. ``missing``: packages to come."""
    wanted = [("", path, what, mb) for path, what, mb in _OWN_SPACE]
    for component, entry in entries(needs, "space"):
        packages = needs[component].get("packages", [])
        if entry["path"] == "/usr" and not set(packages) & missing:
            continue
        left = max(entry["mb"] - host.held_mb(entry["path"]), 0)
        wanted.append((component, entry["path"], entry["what"], left))
    systems = {}
    for component, path, what, mb in wanted:
        system = host.file_system(path)
        systems.setdefault(system.device, (system, []))[1].append((component, path, what, mb))
    fine = []
    for system, parts in systems.values():
        told = _space_fault(system, parts)
        if told:
            yield told
        else:
            fine.append("%s has %s free" % (system.mount, _size(system.free_mb)))
    if fine:
        yield finding("space", OK, "; ".join(fine))


def _space_fault(system, parts):
    total = sum(mb for _, _, _, mb in parts)
    components = ", ".join(dict.fromkeys(c for c, _, _, _ in parts if c))
    what = ", ".join("%s: %d for %s" % (p, mb, w) for _, p, w, mb in parts if mb)
    if system.read_only:
        why, advice = "is mounted read-only", "Mount it for writing: %s." % what
    elif system.free_mb < total:
        why = "has %s free, %d MiB are wanted (%s)" % (_size(system.free_mb), total, what)
        advice = "Free space there (du -xh %s | sort -h | tail), or enlarge it." % system.mount
    elif system.no_inodes:
        why = "has no free inode"
        advice = "Remove small files there (du --inodes -x %s | sort -n | tail)." % system.mount
    else:
        return None
    return finding("space", FAILED, "%s %s" % (system.mount, why), advice, components)


def _size(mb):
    return "%d MiB" % mb if mb < 10240 else "%d GiB" % (mb // 1024)


def directories(needs, host):
    """What must be there before."""
    fine = []
    for component, entry in entries(needs, "directories"):
        path, what = entry["path"], entry["what"]
        if not host.is_directory(path):
            yield finding(
                "directories",
                FAILED,
                "%s (%s) is not a directory" % (path, what),
                "Make or mount it first, or correct %s." % what,
                component,
            )
        elif entry.get("mounted") and not host.is_mount(path):
            yield finding(
                "directories",
                FAILED,
                "%s (%s) is not a mount point" % (path, what),
                "Mount the file system, or set storage_must_be_mounted to false.",
                component,
            )
        elif host.file_system(path).free_mb < entry.get("free_mb", 0):
            yield finding(
                "directories",
                WARNING,
                "%s (%s) has only %s free" % (path, what, _size(host.file_system(path).free_mb)),
                "Free or add space before clients write there.",
                component,
            )
        else:
            fine.append(path)
    if fine:
        yield finding("directories", OK, ", ".join(fine))


def names(needs, host):
    """Clients and the server itself must mean this host by its name."""
    wanted = {}
    for component, entry in entries(needs, "names"):
        wanted.setdefault(entry["name"], (component, entry["what"]))
    fqdn, fine = host.fqdn(), []
    for name, (component, what) in wanted.items():
        addresses = host.addresses_of(name)
        others = [a for a in addresses if not host_facts.is_loopback(a)]
        own = [address for address in others if host.is_own(address)]
        status, detail, advice = FAILED, "", ""
        if not addresses:
            detail = "%s (%s) has no address on this host" % (name, what)
            advice = "Put it into the DNS, or into /etc/hosts of all hosts; or correct %s." % what
        elif not others:
            detail = "%s (%s) is %s here, which no other host reaches" % (name, what, addresses[0])
            advice = "Give it its real address in /etc/hosts in place of %s." % addresses[0]
        elif not own:
            status = WARNING
            detail = "%s (%s) is %s, no address of this host" % (name, what, others[0])
            advice = "Behind NAT or a load balancer this is meant; else correct the DNS or %s." % (
                what
            )
        if detail:
            yield finding("names", status, detail, advice, component)
        else:
            fine.append("%s is %s" % (name, own[0]))
    if wanted and "." not in fqdn:
        yield finding(
            "names",
            WARNING,
            "the host calls itself %s, which is no full name" % fqdn,
            "Set its full name: hostnamectl set-hostname NAME.DOMAIN, or in /etc/hosts "
            "'ADDRESS NAME.DOMAIN NAME'.",
        )
    elif wanted and fqdn not in wanted:
        yield finding(
            "names",
            WARNING,
            "the host calls itself %s, the site %s" % (fqdn, ", ".join(wanted)),
            "If the site's name is no alias, set it: hostnamectl set-hostname %s" % min(wanted),
        )
    if fine:
        yield finding("names", OK, "; ".join(fine))


def ports(needs, host):
    """Free, or taken by the unit that is to have it."""
    listening, told = host.listeners(), {}
    for component, entry in entries(needs, "ports"):
        first, last = entry["port"], entry.get("last") or entry["port"]
        # Under another name, such as one of its workers' scopes, it is not ours.
        foreign = {
            port: listener
            for port, listener in listening.items()
            if first <= port <= last and not listener.may_be(entry["unit"])
        }
        if not foreign:
            ours = any(first <= port <= last for port in listening)
            span = str(first) if first == last else "%d to %d" % (first, last)
            state = "taken by %s itself" % entry["unit"] if ours else "free"
            told.setdefault(state, []).append(span)
        elif first == last:
            yield finding(
                "ports",
                FAILED,
                "port %d (%s) is taken by %s" % (first, entry["what"], foreign[first]),
                "Stop that process, or choose another port in %s." % entry["what"],
                component,
            )
        else:
            some = ["%d: %s" % item for item in sorted(foreign.items())[:_NAMED]]
            more = len(foreign) - len(some)
            yield finding(
                "ports",
                WARNING,
                "in the range %d to %d (%s) others listen (%s%s)"
                % (first, last, entry["what"], "; ".join(some), "; %d more" % more if more else ""),
                "Transfers skip these; choose another range in %s if they are many."
                % entry["what"],
                component,
            )
    if told:
        yield finding("ports", OK, "; ".join("%s %s" % (", ".join(told[s]), s) for s in told))


def accounts(needs, host):
    """Numbers and names that clash with those of the host."""
    fine = 0
    for component, needed in needs.items():
        good, clashing = [], set()
        for group in needed.get("groups", []):
            fault = _account_fault([group], [], host)
            if fault:
                clashing.add(group["name"])
                yield finding("accounts", FAILED, *fault, component)
            else:
                good.append(group)
        for account in needed.get("accounts", []):
            groupless = account.get("group") in clashing
            asked = dict(account, group=None, groups=[]) if groupless else account
            fault = _account_fault(good, [asked], host)
            if fault:
                yield finding("accounts", FAILED, *fault, component)
            else:
                fine += not groupless
    if fine:
        told = "account fits" if fine == 1 else "accounts fit"
        yield finding("accounts", OK, "%d %s" % (fine, told))


def _account_fault(groups, people, host):
    """(what, what to do), or None."""
    try:
        account_plans.plan_present(groups, people, host.accounts)
    except account_plans.AccountError as exc:
        what, _, advice = str(exc).partition(". ")
        return what, advice
    return None


def packages(needs, host):
    """(findings, missing packages). What is missing must be to be had."""
    wanted = {}
    for component, name in entries(needs, "packages"):
        wanted.setdefault(name, component)
    if not wanted:
        return [], set()
    found = host.packages()
    missing = set(wanted) - found.installed(list(wanted))
    if not missing:
        return [finding("packages", OK, "all %d installed" % len(wanted))], missing
    names = ", ".join(sorted(missing))
    components = ", ".join(dict.fromkeys(wanted[name] for name in sorted(missing)))
    tried, reached = found.reach()
    if tried and not reached:
        detail = "%s to be installed; no package source answers (%s)" % (names, ", ".join(tried))
        advice = "Make the host reach its sources: proxy, DNS, firewall, mirror."
        return [finding("packages", FAILED, detail, advice, components)], missing
    unknown = sorted(missing - found.available(sorted(missing)))
    if unknown:
        detail = "the host's package lists have no %s" % ", ".join(unknown)
        advice = "Apply reads the lists again; if that does not help: %s" % found.advice
        return [finding("packages", WARNING, detail, advice, components)], missing
    return [finding("packages", OK, "to be had: %s" % names)], missing


def selinux(host):
    """Only told: roles set what they need."""
    yield finding("selinux", OK, host.selinux_mode())


def look(needs, host, declared_mb=0):
    """All findings, check by check. ``declared_mb``: memory that the site says the host has."""
    of_packages, missing = packages(needs, host)
    return [
        *memory(needs, host, declared_mb),
        *space(needs, host, missing),
        *directories(needs, host),
        *names(needs, host),
        *ports(needs, host),
        *accounts(needs, host),
        *of_packages,
        *selinux(host),
    ]
