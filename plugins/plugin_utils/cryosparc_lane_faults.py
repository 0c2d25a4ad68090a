# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Lanes of ``cryosparc_lane_clusters`` that cannot work, for the role and for ``validate``.

No message holds a key. Imports nothing of the collection: ``site`` loads it by path.
"""

from __future__ import annotations

import re
import shlex

LOGIN = re.compile(
    r"(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]*)@(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*|[0-9A-Fa-f:]*:[0-9A-Fa-f:]*)"
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
#: What shells, ssh and Slurm take as it is.
_PATH = re.compile(r"/[A-Za-z0-9/_.+@=-]*")
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,:+-]*")
#: Of Slurm, and set by us or by what CryoSPARC asks for.
_OURS = (
    "--array", "--chdir", "--cpus-per-task", "--error", "--mem", "--nodes", "--ntasks", "--output",
    "--wait",
)  # fmt: skip
#: A variable of CryoSPARC's in a line of the inventory; bash's own have a dollar.
_PLACE = re.compile(r"(?<!\$)\{([A-Za-z_]\w*)\}")


def faults_of(lanes, problems):
    """What is wrong: each (lane, problem, remedy). ``problems`` is that of the lane's templates."""
    names = [str(one.get("name")) for one in lanes]
    for index, one in enumerate(lanes):
        for problem, remedy in _faults(one, problems):
            yield one, problem, remedy
        if names[index] in names[:index]:
            yield one, "a name that is there before", "name each lane once"


def of_cryosparc(line):
    """``line`` as CryoSPARC fills it: in an inventory double braces are Ansible's."""
    return _PLACE.sub(r"{{ \1 }}", line)


def _faults(one, problems):
    name = str(one.get("name", ""))
    if not _NAME.fullmatch(name):
        yield "a name that cannot be one", "write letters, digits, dashes and underscores"
    elif name in ("default", "name"):
        yield "a name of CryoSPARC's own", "choose another one"
    for key in ("worker_bin_path", "cache_path", "project_directory"):
        path = str(one.get(key) or "")
        needed = key != "cache_path"
        if (path or needed) and (not _PATH.fullmatch(path) or path.rstrip("/") == ""):
            yield (
                "the %s %s" % (key, shlex.quote(path)),
                "write an absolute path, without blanks and what shells take for their own",
            )
    for key in ("partition", "account", "qos", "gres"):
        if one.get(key) and not _WORD.fullmatch(str(one[key])):
            yield "the %s %s" % (key, shlex.quote(str(one[key]))), "write it as sbatch takes it"
    for key in ("cpu_factor", "memory_factor"):
        value = one.get(key)
        if value is not None and not 0 < float(value) <= 100:
            yield "the %s %s" % (key, value), "write a number above 0, up to 100"
    yield from _login_faults(one)
    for key in ("options", "setup"):
        for line in map(str, one.get(key) or []):
            yield from _line_faults(key, line, problems)


def _login_faults(one):
    login = str(one.get("login") or "")
    if not login:
        return
    parts = LOGIN.fullmatch(login)
    if not parts:
        yield "the login %s" % shlex.quote(login), "write USER@HOST, or nothing for a cluster here"
        return
    if bool(one.get("key")) == bool(one.get("key_file")):
        yield "a login and not one key for it", "give either key or key_file"
    host, port = parts["host"], int(one.get("port") or 22)
    wanted = host if port == 22 else "[%s]:%d" % (host, port)
    hosts = [str(line).split(" ")[0].split(",") for line in one.get("known_hosts") or []]
    if not any(wanted in names or names[0].startswith("|") for names in hosts):
        yield (
            "no key of %s in known_hosts" % wanted,
            "add what ssh-keyscan prints and the cluster's admin confirms",
        )


def _line_faults(key, line, problems):
    if "\n" in line:
        yield "a line break in %s" % key, "write one line for each item of the list"
    if key == "options":
        word = line.strip().partition("=")[0].partition(" ")[0]
        if not word.startswith("--"):
            yield "the option %s" % shlex.quote(line), "write it as --NAME=VALUE"
        elif word in _OURS:
            yield "the option %s" % word, "leave it out; it is set for each job"
    for problem in problems(of_cryosparc(line)):
        yield (
            "in %s %s" % (key, problem),
            "write {NAME} for what CryoSPARC fills, and no other braces",
        )
