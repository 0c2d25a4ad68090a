# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Who may use the portal now: files for the pod, made anew by a timer, so that no request waits.

``portal-people`` finds who is in (``portal_who`` tells how) and writes, each file at once:

- ``people`` for ``portal-map``, which tells its format, ``gate-groups`` for Apache, and
  ``gate-until`` for that of the host, in the site directory, mode 0644;
- ``passwd`` and ``group``, mode 0644, and ``shadow``, 0640, for ``libnss-extrausers``, with the
  host's numbers and only groups that are delegated. The pod's root reads ``shadow`` through its
  group, ``pod_root_gid`` on the host: the host's own root is nobody there.

What fails, fails closed. While LDAP is away all stays as it is until ``people`` is out of date,
``keep_minutes`` after the last answer at most and nine tenths of that at least (it is written
anew when a tenth has gone, not at every run); then everybody is out.

Whoever lost something (a claim, a group, a gate, the account) is cut off by the command ``cut``.
What is still to be cut stands in a file that only root reads, from before the first change until
that command succeeds; each run tries again. Till then ``passwd`` keeps the account, so that the
pod can tell whose processes are to end; nobody is mapped to it.

The role ``ondemand_portal`` installs this file on hosts as a program, with ``portal_who.py`` and
``portal_files.py`` beside it. Python 3.9 and later.
"""

import argparse
import contextlib
import fcntl
import json
import os
import subprocess
import sys
import time
from typing import NamedTuple

try:
    # A program finds its other parts beside itself.
    import portal_files
    from portal_who import Refused, configured, people_now
except ImportError:
    from ansible_collections.cloudlet.deploy.plugins.module_utils import portal_files
    from ansible_collections.cloudlet.deploy.plugins.module_utils.portal_who import (
        Refused,
        configured,
        people_now,
    )

PENDING = ".cut-pending"
_CUT_SECONDS = 120


class File(NamedTuple):
    """A file as it should be; a ``gid`` of -1 is that of whoever writes."""

    path: str
    text: str
    mode: int = 0o644
    gid: int = -1


# ---- writing ----------------------------------------------------------------------------------


def _read(path):
    try:
        with open(path, encoding="utf-8", errors="replace", newline="") as stream:
            return stream.read()
    except FileNotFoundError:
        return ""


def _differs(file):
    try:
        state = os.stat(file.path)
    except FileNotFoundError:
        return True
    if state.st_mode & 0o7777 != file.mode or file.gid not in (-1, state.st_gid):
        return True
    return _read(file.path) != file.text


def write(file):
    """Make it as it should be, at once: whoever reads has the old text or the new one."""
    directory, name = os.path.split(file.path)
    new = os.path.join(directory, ".%s.new" % name.lstrip("."))
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(fd, "w", encoding="utf-8") as stream:
        stream.write(file.text)
        stream.flush()
        os.fchown(fd, -1, file.gid)
        os.fchmod(fd, file.mode)
        os.fsync(fd)
    os.rename(new, file.path)
    _sync(directory)


def _sync(directory):
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _accounts(passwd):
    return {line.split(":")[0] for line in passwd.split("\n") if line}


def _rights(files):
    return portal_files.rights({name: file.text for name, file in files.items()})


class Portal:
    """The files of one portal on this host."""

    def __init__(self, config, directory, instruments):
        self.config, self.directory, self.instruments = config, directory, instruments
        where = dict.fromkeys(("people", "gate-groups", "gate-until"), config.site_directory)
        self.paths = {
            name: os.path.join(where.get(name, config.extrausers_directory), name)
            for name in portal_files.NAMES
        }
        self.pending = os.path.join(config.site_directory, PENDING)
        self.old = {name: _read(path) for name, path in self.paths.items()}
        self.until = portal_files.valid_until(self.old["people"])

    def owed(self):
        """(accounts, gates) that are still to be cut."""
        text = _read(self.pending)
        try:
            document = json.loads(text) if text else {"accounts": [], "gates": False}
            return set(document["accounts"]), bool(document["gates"])
        except (ValueError, KeyError, TypeError):
            # Nobody knows any more who it was.
            return _accounts(self.old["passwd"]), True

    def owe(self, files):
        """What is to be cut once ``files`` are there, as ``owed`` tells it; it is noted before."""
        accounts, gates = self.owed()
        gone, gone_gates = portal_files.lost(portal_files.rights(self.old), _rights(files))
        due = accounts | gone, gates or gone_gates
        if due != (accounts, gates):
            note = json.dumps({"accounts": sorted(due[0]), "gates": due[1]})
            write(File(self.pending, note, 0o600))
        return due

    def wanted(self, people, now, answered=True):
        """({name: File}, [what was left out]) for ``people``."""
        keep = self.config.keep_minutes * 60 if answered else 0
        renewed = not now + keep * 9 // 10 <= self.until <= now + keep
        until = (int(now) + keep if answered else 0) if renewed else self.until
        gates, notes = portal_files.gates_text(people, self.instruments)
        texts = {
            "people": "%s%d\n%s" % (portal_files.HEADER, until, portal_files.people_text(people)),
            "gate-groups": gates,
            "gate-until": portal_files.gate_until_text(until),
            "passwd": portal_files.passwd_text(people, self.config),
            "group": portal_files.group_text(people, self.config),
            "shadow": portal_files.shadow_text(people),
        }
        files = {name: File(self.paths[name], text) for name, text in texts.items()}
        shadow = files["shadow"]
        files["shadow"] = shadow._replace(mode=0o640, gid=self.config.pod_root_gid)
        return files, notes

    def put(self, files, owed):
        """Write what differs; the names of it. ``passwd`` keeps the accounts in ``owed``."""
        passwd = files["passwd"]
        staying = owed - _accounts(passwd.text)
        kept = [line + "\n" for line in self.old["passwd"].split("\n")
                if line.split(":")[0] in staying]  # fmt: skip
        files = {**files, "passwd": passwd._replace(text=passwd.text + "".join(kept))}
        changed = [name for name in portal_files.NAMES if _differs(files[name])]
        for name in changed:
            write(files[name])
        return changed

    def cut(self, accounts, gates):
        """End what these accounts have open, and open ways through gates. Raises Refused."""
        if not (accounts or gates):
            return
        argv = list(self.config.cut)
        for account in sorted(accounts):
            argv += ["--account", account]
        argv += ["--gates"] if gates else []
        try:
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                timeout=_CUT_SECONDS, check=False,
            )  # fmt: skip
            said = done.stdout.decode("utf-8", "replace").strip() if done.returncode else None
        except (OSError, subprocess.TimeoutExpired) as exc:
            said = str(exc)
        if said is not None:
            raise Refused(
                "not all were cut off: '%s': %s" % (" ".join(argv), " ".join(said.split())),
                "Is the pod running? %s stays; the next run tries again." % self.pending,
            )
        os.unlink(self.pending)


# ---- the program ------------------------------------------------------------------------------


def _count(number, one, many):
    return "%d %s" % (number, one if number == 1 else many)


def _time(seconds):
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def refresh(portal, now):
    """One run: the line for the journal, and what was left out. Raises Refused."""
    failure = None
    try:
        people, notes = people_now(portal.config, portal.directory)
    except Refused as exc:
        failure = exc
        if now < portal.until:
            message = "%s; people stays valid until %s" % (exc, _time(portal.until))
            try:
                portal.cut(*portal.owed())
            except Refused as worse:
                message += "; %s" % worse
            raise Refused(message, exc.next_step, exc.code) from exc
        people, notes = [], []
    files, more = portal.wanted(people, now, answered=failure is None)
    accounts, gates = portal.owe(files)
    changed = portal.put(files, accounts)
    portal.cut(accounts, gates)
    portal.put(files, set())
    if failure:
        raise Refused("%s; people is out of date, so nobody is in" % failure, failure.next_step)
    told = "%s, %s: %s" % (
        _count(len(people), "person", "people"),
        _count(len(portal.instruments), "gate", "gates"),
        "wrote " + ", ".join(changed) if changed else "unchanged",
    )
    if accounts or gates:
        told += "; cut " + ", ".join([*sorted(accounts), *(["gates"] if gates else [])])
    return told, notes + more


def look(portal, now):
    """What a run would change, in words, and what was left out. Raises Refused."""
    people, notes = people_now(portal.config, portal.directory)
    files, more = portal.wanted(people, now)
    before = portal_files.rights(portal.old)
    after = _rights(files)
    told = ["- %s %s: %s" % one for one in sorted(before - after)]
    told += ["+ %s %s: %s" % one for one in sorted(after - before)]
    accounts, gates = portal.owed()
    told += ["still to be cut: %s" % one for one in sorted(accounts) + ["gates"] * gates]
    if now < portal.until:
        # To renew the date alone is no change.
        header, body = portal.old["people"].split("\n")[0], files["people"].text.partition("\n")[2]
        files["people"] = files["people"]._replace(text="%s\n%s" % (header, body))
        until = portal_files.gate_until_text(portal.until)
        files["gate-until"] = files["gate-until"]._replace(text=until)
    told += ["would write %s" % file.path for file in files.values() if _differs(file)]
    if now >= portal.until:
        told.append("%s is out of date since %s: is the timer of portal-people active?"
                    % (portal.paths["people"], _time(portal.until)))  # fmt: skip
    return told, notes + more


@contextlib.contextmanager
def _locked(directory, how):
    # The directory itself: it needs no file of its own.
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, how)
        yield
    finally:
        os.close(fd)


def _configuration(path):
    """The configuration, with what ``ids`` (the file of the role ``podman_host``) delegates."""
    try:
        with open(path, encoding="utf-8") as stream:
            document = json.load(stream)
        if isinstance(document, dict) and "ids" in document:
            with open(document.pop("ids"), encoding="utf-8") as stream:
                ids = json.load(stream)
            document.update(delegated_gids=ids["gids"], pod_root_gid=ids["base"]["gid"][0])
        return configured(document)
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise Refused("%s: %s" % (path, exc), "Apply again.", 4) from exc


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="portal-people",
        description="Write who may use the portal, by approved accounts and LDAP, and cut off who"
        " may no longer. Exit codes: 0 done, 1 failed, 2 --check found changes, 4 configuration.",
    )
    parser.add_argument("--config", required=True, metavar="FILE")
    parser.add_argument("--check", action="store_true", help="only tell what would change")
    asked = parser.parse_args(argv)
    try:
        setting = _configuration(asked.config)
        how = fcntl.LOCK_SH if asked.check else fcntl.LOCK_EX
        with _locked(setting[0].site_directory, how):
            portal = Portal(*setting)
            told, notes = (look if asked.check else refresh)(portal, time.time())
    except Refused as exc:
        print("portal-people: %s. %s" % (exc, exc.next_step), file=sys.stderr)
        return exc.code
    except OSError as exc:
        print("portal-people: %s. Mend it; the next run tries again." % exc, file=sys.stderr)
        return 1
    for note in notes:
        print("left out: %s" % note, file=sys.stderr)
    if asked.check:
        print("\n".join(told) or "unchanged")
        return 2 if told else 0
    print(told)
    return 0


if __name__ == "__main__":
    sys.exit(main())
