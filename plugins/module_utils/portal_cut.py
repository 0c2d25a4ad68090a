# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Ends what people have open in the portal who may no longer: run as root in the pod.

``portal-cut --account A ... [--gates]`` restarts Apache, as open websockets live in it and a
request under way could start the per-user server (PUN) again; others keep their sessions, which
are in their cookies. Then it stops the PUN of each account, and kills what else runs as it.

``portal-people`` calls it, while the pod still has the accounts in its name service. The role
``ondemand_portal`` installs this file in the pod, so it imports nothing of ours. Python 3.9 and
later.
"""

import argparse
import os
import pwd
import re
import signal
import subprocess
import sys

PUNS = "/run/ondemand-nginx"
NGINX_STAGE = "/opt/ood/nginx_stage/sbin/nginx_stage"
_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_LEAST_UID, _NOBODY = 1000, 65534
_SECONDS = 30


class Fault(Exception):
    """Something is still open."""


def run(argv):
    """Run a command. Raises Fault with what it said."""
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=_SECONDS, check=False)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise Fault("%s: %s" % (" ".join(argv), exc)) from exc
    if done.returncode:
        raise Fault("%s: %s" % (" ".join(argv), done.stdout.decode("utf-8", "replace").strip()))


def has_pun(account):
    """Whether the PUN of ``account`` runs, by its PID file: one left by a hard death is none."""
    try:
        with open(os.path.join(PUNS, account, "passenger.pid"), encoding="ascii") as stream:
            pid = int(stream.read())
        with open("/proc/%d/comm" % pid, encoding="ascii", errors="replace") as stream:
            return stream.read().startswith("nginx")
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return False


def kill_all(uid):
    """Kill each process of ``uid`` in the pod, those that are just being forked, too."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setresuid(uid, uid, uid)
            # Only with no right left to kill others does -1 mean the processes of this uid.
            with open("/proc/self/status", encoding="ascii") as stream:
                if os.getresuid() == (uid, uid, uid) and re.search("CapEff:\t0+\n", stream.read()):
                    os.kill(-1, signal.SIGKILL)
                    code = 0
        finally:
            os._exit(code)
    if os.waitpid(pid, 0)[1]:
        raise Fault("the processes of the uid %d could not be killed" % uid)


def cut(account):
    """Stop the PUN and kill all other processes of ``account``. Raises Fault.

    An account that the pod does not have is no fault, if it has no PUN.
    """
    try:
        uid = pwd.getpwnam(account).pw_uid
    except KeyError:
        uid = None
    if uid is not None and (uid < _LEAST_UID or uid == _NOBODY):
        raise Fault("%s is a system account" % account)
    if has_pun(account):
        run([NGINX_STAGE, "nginx", "-u", account, "-s", "stop"])
    if uid is not None:
        kill_all(uid)


def _name(text):
    if not _NAME.fullmatch(text):
        raise argparse.ArgumentTypeError("no name of an account: %s" % ascii(text))
    return text


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="portal-cut", description="End what people have open in the portal who may no longer."
    )
    parser.add_argument("--account", action="append", default=[], type=_name, metavar="NAME")
    parser.add_argument("--gates", action="store_true", help="somebody lost an instrument")
    parser.add_argument("--service", default="apache2.service", help="Apache's unit")
    asked = parser.parse_args(argv)
    if not (asked.account or asked.gates):
        parser.error("nobody is named")
    # One that fails must not keep the others connected.
    steps = [(run, ["systemctl", "restart", asked.service])]
    steps += [(cut, account) for account in asked.account]
    faults = []
    for step, what in steps:
        try:
            step(what)
        except (Fault, OSError) as exc:
            faults.append(str(exc))
    for fault in faults:
        print("portal-cut: %s" % fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
