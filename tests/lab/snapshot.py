"""What a host is: every file, account, package and unit, so that two moments can be compared.

The part between the markers runs on the host with its own Python; it prints one JSON
document. Left out is what changes by itself: logs, caches, the journal, package databases
(packages are compared by name), what lies in /run and /tmp, and cloudlet-deploy's own state.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

#: What changes by itself, and what other hosts see and change too (the shared storage).
LEFT_OUT = (
    *("/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp", "/var/log", "/var/cache", "/boot"),
    *("/var/lib/apt", "/var/lib/dpkg", "/var/lib/systemd", "/var/lib/cloudlet-deploy"),
    *("/var/lib/sudo", "/var/lib/ucf", "/var/lib/dbus", "/var/lib/pam", "/etc/.pwd.lock"),
    *("/home/admin/.ansible", "/root/.ansible", "/srv/storage", "/etc/ld.so.cache"),
)

#: On a host: what it read at the last look, so that it reads again only what was written since.
_DIGESTS = "/dev/shm/snapshot-digests"

_ON_HOST = r"""
import grp, hashlib, json, os, pwd, stat, subprocess
try:
    with open(DIGESTS) as stream:
        known = json.load(stream)
except FileNotFoundError:
    known = {}
digests = {}
def digest(path, st):
    # Whoever writes a file or puts another in its place gives it another time of change, which
    # nobody can set.
    same = [st.st_dev, st.st_ino, st.st_size, st.st_mtime_ns, st.st_ctime_ns]
    found = known.get(path)
    if found is None or found[1:] != same:
        with open(path, "rb") as stream:
            found = [hashlib.sha256(stream.read()).hexdigest(), *same]
    digests[path] = found
    return found[0]
def entry(path):
    st = os.lstat(path)
    kind, content = "other", ""
    if stat.S_ISREG(st.st_mode):
        kind, content = "file", digest(path, st)
    elif stat.S_ISDIR(st.st_mode):
        kind = "directory"
    elif stat.S_ISLNK(st.st_mode):
        kind, content = "link", os.readlink(path)
    return [kind, content, "%04o" % stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid,
            st.st_mtime_ns if kind == "file" else 0]
files = {}
for base, directories, names in os.walk("/"):
    directories[:] = [d for d in directories if os.path.join(base, d) not in LEFT_OUT]
    for name in directories + names:
        path = os.path.join(base, name)
        if path not in LEFT_OUT and "__pycache__" not in path:
            try:
                files[path] = entry(path)
            except FileNotFoundError:
                pass
with open(DIGESTS, "w") as stream:
    json.dump(digests, stream)
accounts = {p.pw_name: [p.pw_uid, p.pw_gid, p.pw_dir, p.pw_shell] for p in pwd.getpwall()}
groups = {g.gr_name: [g.gr_gid, sorted(g.gr_mem)] for g in grp.getgrall()}
out = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Package}\n"],
                     capture_output=True, text=True).stdout
packages = sorted(line.split()[1] for line in out.splitlines() if line.startswith("ii"))
owned = {}
for package in packages:
    for name in (package, package + ":amd64"):
        listing = "/var/lib/dpkg/info/%s.list" % name
        if os.path.exists(listing):
            for path in open(listing).read().splitlines():
                # dpkg names files as packaged, before /lib became a link to /usr/lib.
                owned.setdefault(os.path.join(os.path.realpath(os.path.dirname(path)),
                                              os.path.basename(path)), package)
# What timers and logins start by themselves.
BY_ITSELF = ("systemd-", "apt-", "dpkg-", "e2scrub", "fstrim", "logrotate.service", "modprobe@",
             "user@", "user-runtime-dir@", "session-")
units = {}
out = subprocess.run(["systemctl", "show", "*.service", "*.mount", "*.timer", "--all",
                      "-p", "Id,ActiveState,UnitFileState,InvocationID"],
                     capture_output=True, text=True).stdout
for block in out.strip().split("\n\n"):
    v = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
    if v.get("Id") and not v["Id"].startswith(BY_ITSELF):
        units[v["Id"]] = [v.get("ActiveState"), v.get("UnitFileState"), v.get("InvocationID")]
print(json.dumps({"files": files, "accounts": accounts, "groups": groups,
                  "packages": packages, "owned": owned, "units": units}))
"""


@dataclass(frozen=True)
class Snapshot:
    """One host at one moment."""

    files: dict[str, list[Any]]
    accounts: dict[str, list[Any]]
    groups: dict[str, list[Any]]
    packages: frozenset[str]
    owned: dict[str, str]
    units: dict[str, list[Any]]


def take(run_as_root: Callable[[str], str]) -> Snapshot:
    """Snapshot of the host on which ``run_as_root`` runs a Python program and gives its output."""
    given = f"LEFT_OUT = {LEFT_OUT!r}\nDIGESTS = {_DIGESTS!r}\n"
    document = json.loads(run_as_root(given + _ON_HOST))
    document["packages"] = frozenset(document["packages"])
    return Snapshot(**document)


def changed_keys(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """Names that came, went or differ."""
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


#: What tools write when accounts, units or packages change: judged by those, not as files.
CONSEQUENCES = (
    "/etc/passwd",
    "/etc/group",
    "/etc/shadow",
    "/etc/gshadow",
    "/etc/subuid",
    "/etc/subgid",
    "/etc/passwd-",
    "/etc/group-",
    "/etc/shadow-",
    "/etc/gshadow-",
    "/etc/subuid-",
    "/etc/subgid-",
)


#: What enabling a unit makes: links, for those with an init script by Debian's update-rc.d.
_LINKS_OF_UNITS = re.compile(r"/etc/(systemd/system/[^/]+[.]wants(/|$)|rc.[.]d/)")
#: What the scripts of Debian's packages make beside the files that the packages list.
_BY_PACKAGE_SCRIPTS = re.compile(
    r"/etc/alternatives/|/etc/fonts/conf[.]d/|/etc/ssl/certs/|/usr/share/binfmts/|"
    r"/usr/share/man/man1/|/usr/(bin|lib/jvm)/|/var/lib/binfmts|/etc/[.]java(/|$)|/usr/local/share/fonts"
)


@dataclass(frozen=True)
class Difference:
    """What changed on a host, in the words of a plan."""

    files: frozenset[str]
    accounts: frozenset[str]
    groups: frozenset[str]
    packages: frozenset[str]
    units: frozenset[str]
    #: Files that came or went with the packages: no plan needs to name them.
    with_packages: frozenset[str]

    def __bool__(self) -> bool:
        return any((self.files, self.accounts, self.groups, self.packages, self.units))


def difference(before: Snapshot, after: Snapshot, *, times: bool = True) -> Difference:
    """What differs; with ``times``, a file written again with the same content differs too.

    Files that a package brought are the package's; those that enabling a unit makes are the
    unit's.
    """
    files = changed_keys(before.files, after.files)
    if not times:
        files = {p for p in files if before.files.get(p, [])[:5] != after.files.get(p, [])[:5]}
    packages = before.packages ^ after.packages
    from_packages = {
        path
        for snapshot in (before, after)
        for path, package in snapshot.owned.items()
        if package in packages
    }
    parts = {
        name: frozenset(changed_keys(getattr(before, name), getattr(after, name)))
        for name in ("accounts", "groups")
    }
    return Difference(
        files=frozenset(
            path
            for path in files
            if path not in CONSEQUENCES
            and path not in from_packages
            and not (packages and _BY_PACKAGE_SCRIPTS.match(path))
            and not _LINKS_OF_UNITS.match(path)
        ),
        packages=frozenset(packages),
        with_packages=frozenset(from_packages),
        units=frozenset(changed_keys(before.units, after.units)),
        **parts,
    )
