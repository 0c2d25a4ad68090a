# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""A trial of a CryoSPARC lane: a job that goes the lane's own way and looks from a node.

It tells whether CryoSPARC's jobs could work there: whether they reach the master's database, API
and cache by its name, are the account that they should be, and find worker and projects.
Runs on Python 3.9 and later.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from typing import NamedTuple

from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import tail
from ansible_collections.cloudlet.deploy.plugins.module_utils.cryosparc_lane_template import fill

#: What jobs talk to, by its distance from the base port.
PORTS = {1: "database", 2: "API", 4: "cache (Redis)"}
#: Seconds that one of the lane's commands may take.
PATIENCE = 60
#: Seconds after its end within which what a job wrote is to be seen here.
_GRACE = 15
#: Exit codes from here on are the shell's: no time left, not to be run, not there, killed. What the
#: worker makes of its arguments differs between versions, and is not looked at.
_NO_START = 124
_MARK = ".cloudlet-probe-"
#: Run on the node: WHERE TOKEN ACCOUNT NAME WORKER CACHE PORT... Its answer is there whole, or not.
PROGRAM = r"""#!/bin/bash
# Written by cloudlet-deploy, and removed by it: what a job of CryoSPARC would find on this node.
where=$1 token=$2 account=$3 name=$4 worker=$5 cache=$6
shift 6
tell() { local IFS=$'\t'; printf '%s\n' "$*"; }
{
  tell token "$token"
  tell node "$(uname -n)"
  # For a number without a name it prints the number.
  user=$(id -un 2>/dev/null) || user=
  tell user "$(id -u)" "$user" "$(id -u "$account" 2>/dev/null)"
  read -r address _ < <(getent ahosts "$name")
  tell address "$address"
  for port; do
    said=$(timeout 5 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$name" "$port" 2>&1)
    tell port "$port" "$?" "${said##*: }"
  done
  if [ -f "$worker" ] && [ -x "$worker" ]; then
    said=$(timeout 60 "$worker" env 2>&1 >/dev/null)
    tell worker "$?" "${said##*$'\n'}"
  else
    tell worker 127 "it is not there, or may not be run"
  fi
  [ -z "$cache" ] || { [ -d "$cache" ] && [ -w "$cache" ]; }
  tell cache "$?"
} >"$where/answer.part"
mv "$where/answer.part" "$where/answer"
"""
_PREPARE = """set -e
rm -rf -- "$1"
umask 022
mkdir -- "$1"
printf %s "$2" >"$1/probe.sh"
printf %s "$3" >"$1/script.sh"
"""


class Lane(NamedTuple):
    """A lane as it is tried: what is in its files, and where its projects are."""

    name: str
    info: dict
    script: str
    project_directory: str
    timeout: int


class Master(NamedTuple):
    """What jobs must find: the master by its name, and the account that they run under."""

    node: str
    hostname: str
    port: int
    account: str
    uid: int


class Fault(NamedTuple):
    """What is wrong, and what to do."""

    problem: str
    next_step: str


class Failed(Exception):
    """The trial found no way to its end; ``fault`` says why."""

    def __init__(self, fault):
        Exception.__init__(self, fault.problem)
        self.fault = fault


def lane_of(name, info, script, project_directory, timeout):
    """The ``Lane`` whose ``cluster_info.json`` has the text ``info``."""
    return Lane(name, json.loads(info), script, project_directory, timeout)


def command_of(lane, template, **values):
    """The shell command of the lane's ``template``, by the way on which its cluster is reached."""
    command = fill(lane.info[template], values)
    return fill(lane.info["send_cmd_tpl"], {"command": command})


def job_script(lane, where, run_cmd):
    """The lane's script for a small job of ours in the directory ``where``."""
    values = {
        "run_cmd": run_cmd,
        "num_cpu": 1,
        "num_gpu": 0,
        "ram_gb": 1,
        "job_dir_abs": where,
        "project_dir_abs": lane.project_directory,
        "job_log_path_abs": where + "/job.log",
        "worker_bin_path": lane.info["worker_bin_path"],
        "run_args": "",
        "project_uid": "probe",
        "job_uid": lane.name,
        "job_creator": "cloudlet-deploy",
        "cryosparc_username": "cloudlet-deploy",
    }
    return fill(lane.script, values)


class Trial:
    """One trial of a lane. ``shell(text, *arguments, timeout)`` runs bash as the account."""

    def __init__(self, lane, master, shell, is_own, clock=time):
        self.lane, self.master = lane, master
        self._shell, self._is_own, self._clock = shell, is_own, clock
        self.where = "%s/%s%s" % (lane.project_directory.rstrip("/"), _MARK, lane.name)
        self.token = secrets.token_hex(8)

    def faults(self):
        """What keeps the lane from being used; none if all is well."""
        job = None
        try:
            self._log_in()
            self._prepare()
            job = self._submit()
            answer = self._wait(job)
            job = None
            return judged(answer, self.lane, self.master, self._is_own)
        except Failed as failed:
            return [failed.fault]
        finally:
            if job:
                self._send("qdel_cmd_tpl", cluster_job_id=job)
            self._shell('rm -rf -- "$1"', self.where)

    def _send(self, template, **values):
        return self._shell(command_of(self.lane, template, **values), timeout=PATIENCE)

    def _log_in(self):
        """Jobs run under the number that the account has where they are submitted."""
        if self.lane.info["send_cmd_tpl"] == "{{ command }}":
            return
        done = self._at_login("id -u")
        if done.rc:
            raise Failed(
                Fault(
                    "its login lets nobody in: %s" % tail(done),
                    "Look at login, key and known_hosts of the lane; as %s on %s: %s"
                    % (self.master.account, self.master.node, self._by_hand()),
                )
            )
        # What the login says to everybody comes before it.
        uid = (done.out.split() or [""])[-1]
        if uid != str(self.master.uid):
            node = self._at_login("uname -n").out.strip()
            raise Failed(_another_uid(node, "the lane's account", uid, self.master))

    def _at_login(self, command):
        sent = fill(self.lane.info["send_cmd_tpl"], {"command": command})
        return self._shell(sent, timeout=PATIENCE)

    def _prepare(self):
        lane, master = self.lane, self.master
        ports = ["%d" % (master.port + distance) for distance in PORTS]
        paths = [lane.info["worker_bin_path"], lane.info["cache_path"] or "''"]
        words = ["bash", self.where + "/probe.sh", self.where, self.token, master.account]
        words += [master.hostname, *paths, *ports]
        script = job_script(lane, self.where, " ".join(words))
        parsed = self._shell('bash -n -c "$1"', script)
        if parsed.rc:
            raise Failed(
                Fault(
                    "its script is no program of bash: %s" % tail(parsed),
                    "Correct options and setup of the lane in cryosparc_lane_clusters.",
                )
            )
        done = self._shell(_PREPARE, self.where, PROGRAM, script)
        if done.rc:
            raise Failed(
                Fault(
                    "%s cannot write to %s on %s: %s"
                    % (master.account, lane.project_directory, master.node, tail(done)),
                    "Mount the projects there, and give them to %s." % master.account,
                )
            )

    def _submit(self):
        done = self._send("qsub_cmd_tpl", script_path_abs=self.where + "/script.sh")
        number = re.search(r"\bjob (\d+)", done.out)
        if done.rc == 0 and number:
            return number.group(1)
        raise Failed(
            Fault(
                "the cluster takes no job: %s" % tail(done),
                "See that %s is the same directory there, and look at the lane's settings; "
                "as %s on %s: %s"
                % (
                    self.lane.project_directory,
                    self.master.account,
                    self.master.node,
                    self._by_hand(),
                ),
            )
        )

    def _by_hand(self):
        return command_of(self.lane, "qinfo_cmd_tpl")

    def _answer(self):
        done = self._shell('cat -- "$1"', self.where + "/answer")
        answer = parsed_answer(done.out) if done.rc == 0 else {}
        return answer if answer.get("token") == [[self.token]] else None

    def _wait(self, job):
        """The answer of the job. Raises Failed where it has ended, or waits too long, without."""
        end, pause, waiting = self._clock.monotonic() + self.lane.timeout, 0.3, ""
        while True:
            answer = self._answer()
            if answer:
                return answer
            now = self._clock.monotonic()
            state = self._send("qstat_cmd_tpl", cluster_job_id=job)
            if has_ended(state, job):
                return self._last_words(job)
            if now >= end:
                waiting = tail(state, lines=1)
                break
            self._clock.sleep(pause)
            pause = min(pause * 1.5, 5)
        raise Failed(
            Fault(
                "job %s has not come to its end within %d s, and was taken back: %s"
                % (job, self.lane.timeout, waiting),
                "See why it waits, or raise the lane's timeout if the cluster is busy.",
            )
        )

    def _last_words(self, job):
        """The answer of a job that has ended: other hosts' files may be seen late."""
        end = self._clock.monotonic() + _GRACE
        while True:
            # A listing has a network file system look again.
            self._shell('ls -- "$1" >/dev/null', self.where)
            answer = self._answer()
            if answer:
                return answer
            if self._clock.monotonic() >= end:
                break
            self._clock.sleep(0.5)
        said = self._shell('cat -- "$1"/*.out "$1"/*.log', self.where)
        words = " Its output: %s." % tail(said, lines=2) if said.out.strip() else ""
        raise Failed(
            Fault(
                "job %s has ended and left no answer in %s.%s" % (job, self.where, words),
                "Have %s on every node as the same directory, where %s (uid %d) may write."
                % (self.lane.project_directory, self.master.account, self.master.uid),
            )
        )


def has_ended(state, job):
    """Whether the cluster speaks of ``job`` no more. Where it cannot be asked, it has not."""
    if job in state.out.split():
        return False
    return state.rc == 0 or "nvalid job" in state.err


def parsed_answer(text):
    """The answer's lines: each word's list of what follows it, {word: [[part, ...], ...]}."""
    found = {}
    for line in text.splitlines():
        word, *rest = line.split("\t")
        found.setdefault(word, []).append(rest)
    return found


def judged(answer, lane, master, is_own):
    """What the answer of a node says against the lane; ``is_own`` knows this host's addresses."""
    (node,), (address,) = answer["node"][0], answer["address"][0]
    found = list(_route(answer, node, address, master, is_own))
    uid, user, of_account = answer["user"][0]
    if int(uid) != master.uid:
        found.append(_another_uid(node, user or "the job", uid, master))
    elif not user:
        # Slurm runs jobs by number; the name may be missing, or be another number's.
        found.append(_another_uid(node, master.account, of_account or "no uid", master))
    worker, path = answer["worker"][0], lane.info["worker_bin_path"]
    if int(worker[0]) >= _NO_START:
        found.append(
            Fault(
                "on %s %s does not run: %s" % (node, path, worker[1] or "exit code " + worker[0]),
                "Install CryoSPARC's worker for the cluster, or correct worker_bin_path.",
            )
        )
    if int(answer["cache"][0][0]):
        found.append(
            Fault(
                "on %s %s cannot write to the cache %s"
                % (node, master.account, lane.info["cache_path"]),
                "Make the directory on every node, or correct cache_path.",
            )
        )
    return found


def _another_uid(node, who, uid, master):
    return Fault(
        "on %s %s has the uid %s, and %s has %d here"
        % (node, who, uid, master.account, master.uid),
        "Give %s the uid %d (cryosparc_uid) on every host of the cluster."
        % (master.account, master.uid),
    )


def _route(answer, node, address, master, is_own):
    if not address:
        yield Fault(
            "%s does not know %s" % (node, master.hostname),
            "Have the cluster's names (DNS, /etc/hosts) lead %s to this host." % master.hostname,
        )
        return
    where = "%s (%s)" % (master.hostname, address)
    astray = not is_own(address)
    for port, code, said in answer["port"]:
        if code == "0":
            continue
        what = PORTS[int(port) - master.port]
        why = "no answer within 5 s" if code == "124" else said or "refused"
        yield Fault(
            "%s cannot reach %s on port %s (%s): %s" % (node, where, port, what, why),
            "That is no address of %s: correct the cluster's names." % master.node
            if astray
            else "Open ports %d to %d of %s to the cluster's nodes, on every firewall between."
            % (master.port, master.port + 9, address),
        )
