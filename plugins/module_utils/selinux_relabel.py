# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Relabeling of directories that are ours, and of nothing else. Runs on Python 3.9 and later."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import tempfile
from typing import NamedTuple

from ansible_collections.cloudlet.deploy.plugins.module_utils import commands, selinux_policy
from ansible_collections.cloudlet.deploy.plugins.module_utils.selinux_policy import Refused

#: Never relabeled, nor given other rules.
FORBIDDEN = {
    "/boot": "the system",
    "/dev": "devices",
    "/etc/ca-certificates": "certificates",
    "/etc/grid-security": "certificates",
    "/etc/letsencrypt": "certificates",
    "/etc/pki": "certificates",
    "/etc/ssl": "certificates",
    "/home": "homes",
    "/proc": "the kernel",
    "/root": "a home",
    "/sys": "the kernel",
    "/usr": "the system",
}
_CERTIFICATES = (".crl", ".crt", ".csr", ".jks", ".key", ".p12", ".pem", ".pfx")
#: Kinds of file systems of which the labels, if any, are another machine's or program's.
_REMOTE = re.compile(
    r"9p|afs|autofs|beegfs.*|ceph|cifs|coda|davfs.*|fuse.*|gfs2?|glusterfs|gpfs|lustre|ncpfs"
    r"|nfs.*|ocfs2|orangefs|smb.*|virtiofs"
)
_NOBODY = 65534
_LINE = re.compile(r"(?:Would relabel|Relabeled) (.*) from (\S+) to (\S+)$")
_PATIENCE = 1800
_ELSEWHERE = "Keep what is to be labeled in a directory of its own, and name that one."


class Label(NamedTuple):
    """One file that has another label than the policy says."""

    path: str
    now: str
    wanted: str


class Mount(NamedTuple):
    """A mount point and the kind of its file system."""

    path: str
    kind: str


def mounts(path="/proc/self/mountinfo"):
    """All mount points of the host."""
    found = []
    with open(path, encoding="utf-8", errors="surrogateescape") as stream:
        for line in stream:
            left, _dash, right = line.partition(" - ")
            point = re.sub(r"\\(\d{3})", lambda m: chr(int(m.group(1), 8)), left.split()[4])
            found.append(Mount(point, right.split()[0]))
    return found


def homes():
    """Homes of users, by the accounts that the host lists. Looks at none of them."""
    return {
        account.pw_dir.rstrip("/"): "the home of %s" % account.pw_name
        for account in pwd.getpwall()
        if (account.pw_uid >= 1000 or account.pw_uid == 0) and account.pw_uid != _NOBODY
    }


def within(path, place):
    """Whether ``path`` is ``place`` or below it."""
    return path == place or path.startswith(place.rstrip("/") + "/")


def refuse(path, root="/", mounted=None, lived_in=None):
    """Raises Refused if the directory ``path`` must not be relabeled."""
    if not path.startswith("/") or os.path.normpath(path) != path:
        raise Refused("relabel %s: it is no plain absolute path" % path, "Write it as /srv/data.")
    mounted = mounts() if mounted is None else mounted
    places = {**(homes() if lived_in is None else lived_in), **FORBIDDEN}
    for place, what in sorted(places.items()):
        if place.strip("/") and within(path, place):
            raise Refused(
                "relabel %s: what is in %s (%s) keeps its labels" % (path, place, what), _ELSEWHERE
            )
        if place.strip("/") and within(place, path):
            raise Refused(
                "relabel %s: it holds %s (%s), which keeps its labels" % (path, place, what),
                _ELSEWHERE,
            )
    # Before anything is asked of the path: a dead mount would not answer.
    on = max((one for one in mounted if within(path, one.path)), key=lambda m: len(m.path))
    inside = [one for one in mounted if one.path != path and within(one.path, path)]
    for one in (on, *inside):
        if _REMOTE.fullmatch(one.kind):
            raise Refused(
                "relabel %s: %s is mounted at %s" % (path, one.kind, one.path), _ELSEWHERE
            )
    real = os.path.realpath(os.path.join(root, path[1:]))
    if real != os.path.join(os.path.realpath(root), path[1:]):
        raise Refused(
            "relabel %s: it is reached by a symbolic link" % path,
            "Name the directory that it leads to.",
        )


def plan(policy, path, contexts, equivalents, reset=False):
    """The files in ``path`` that the policy labels otherwise; reads only. Raises Refused.

    ``contexts`` and ``equivalents`` are local rules that are about to be changed. With ``reset``
    all of a label counts, as in a directory that is given back; else its type alone does, and
    not where an admin chose it (``customizable_types``).
    """
    if not os.path.lexists(policy.path(path[1:])):
        return []
    if not contexts and not equivalents:
        return _run(["restorecon", "-n", "-v", "-R"], policy, path, reset)
    with _rules(policy, contexts, equivalents) as rules:
        return _run(["setfiles", "-n", "-v"], policy, path, reset, rules)


def apply(policy, path, reset=False):
    """Label what is in ``path`` as the policy says; what was changed. Raises Refused."""
    if not os.path.lexists(policy.path(path[1:])):
        return []
    return _run(["restorecon", "-v", "-R"], policy, path, reset)


def refuse_certificates(path, labels):
    """Raises Refused if a certificate or key would be labeled."""
    for one in labels:
        if one.path.endswith(_CERTIFICATES):
            raise Refused(
                "relabel %s: %s looks like a certificate or key" % (path, one.path), _ELSEWHERE
            )


def _run(argv, policy, path, reset, rules=None):
    argv = [*argv, *(["-F"] if reset else [])]
    # File systems below stay as they are; not every restorecon has -x, and no setfiles.
    for mount in mounts():
        if mount.path != path and within(mount.path, path):
            argv += ["-e", mount.path]
    done = commands.run([*argv, *([rules] if rules else []), path], timeout=_PATIENCE)
    if done.rc:
        raise Refused(
            "relabel %s: %s" % (path, commands.tail(done)),
            "Install policycoreutils on the host."
            if done.rc == commands.NOT_FOUND
            else "Correct what it names, then run this again.",
        )
    found = (_LINE.search(line) for line in done.out.splitlines())
    return [Label(*match.groups()) for match in found if match]


@contextlib.contextmanager
def _rules(policy, contexts, equivalents):
    """The path of a copy of the rules for files, as they are about to be."""
    directory = tempfile.mkdtemp(prefix="cloudlet-", dir=policy.path("run"))
    try:
        for name in ("file_contexts", "file_contexts.homedirs", "file_contexts.subs_dist"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(policy.files(name), os.path.join(directory, name))
        texts = {
            "file_contexts.local": policy.contexts_text(contexts),
            "file_contexts.subs": policy.equivalents_text(equivalents),
        }
        for name, text in texts.items():
            with open(os.path.join(directory, name), "w", encoding="utf-8") as stream:
                stream.write(text)
        # setfiles may read the policy's own files and few others.
        selinux_policy.copy_label(policy.files(), directory)
        for name in os.listdir(directory):
            selinux_policy.copy_label(policy.files("file_contexts"), os.path.join(directory, name))
        yield os.path.join(directory, "file_contexts")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
