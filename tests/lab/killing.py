"""Stopping a host's modules at a chosen system call, killing them, and seeing what is there.

A module is stopped by Python itself: a hook of the lab (an audit hook, PEP 578, which the
host's Python loads from a ``.pth`` file) waits before the call that a test has named. So every
moment is hit exactly, and nothing of the code under test knows of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloudlet_deploy import content
from cloudlet_deploy import lab as labs
from cloudlet_deploy.lab.site import LabSite
from cloudlet_deploy.run.tether import offspring
from tests.lab.conftest import CLI, DOOR, TestLab

RUN = "/run/killpoint"
STATE = "/var/lib/cloudlet-deploy"
UNIT = "bestman2.service"
PLAYBOOK = str(Path(CLI).parent / "ansible-playbook")

#: Waits, once per arming, when the calls of one process have matched all patterns in order.
_HOOK = rf"""
import json, os, re, sys, time
try:
    with open("{RUN}/armed") as stream:
        left = [re.compile(pattern) for pattern in json.load(stream)]
except OSError:
    left = []
busy = False
def text(value):
    if isinstance(value, (list, tuple)):
        return " ".join(map(text, value))
    return os.fsdecode(value) if isinstance(value, (bytes, os.PathLike)) else str(value)
def hook(event, args):
    global busy
    if busy or not left or event not in (
        "open", "os.rename", "os.remove", "os.mkdir", "subprocess.Popen"
    ):
        return
    busy = True
    try:
        said = text(args[1]) if event == "subprocess.Popen" else text(args)
        if left[0].search(event + " " + said):
            del left[0]
            if not left and os.path.exists("{RUN}/armed"):
                os.rename("{RUN}/armed", "{RUN}/hold")
                with open("{RUN}/reached", "w") as stream:
                    stream.write("%d %s" % (os.getpid(), said))
                while os.path.exists("{RUN}/hold"):
                    time.sleep(0.02)
    finally:
        busy = False
if left:
    sys.addaudithook(hook)
"""

#: The same for the start of the service, between the end of the old process and the new one.
_HOLD_START = rf"""[Service]
ExecStartPre=+/bin/sh -c 'test ! -e {RUN}/hold-start || touch {RUN}/reached; \
  while test -e {RUN}/hold-start; do sleep 0.05; done'
"""

_STATE_OF = r"""
import hashlib, os, stat
def state_of(path):
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    with os.fdopen(fd, "rb") as stream:
        status = os.fstat(fd)
        digest = hashlib.sha256(stream.read()).hexdigest()
    return [digest, oct(stat.S_IMODE(status.st_mode)), status.st_uid, status.st_gid]
"""

#: Everything that a test judges, in one look. Podman writes the files that are left out.
_LOOK = (
    _STATE_OF
    + rf"""
import glob, json, subprocess
def document(path):
    try:
        with open(path) as stream:
            return json.load(stream)
    except FileNotFoundError:
        return {{}}
own = "{STATE}/sets/bestman"
manifest = document(own + "/manifest.json")
everything, staged = {{}}, []
for top in ("/etc", "{STATE}"):
    for base, directories, names in os.walk(top):
        for name in names:
            path = os.path.join(base, name)
            if name.startswith(".cloudlet-"):
                staged.append(path)
            elif top == "/etc" and os.path.isfile(path) and not os.path.islink(path):
                everything[path] = state_of(path)
for path in ("/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/etc/mtab"):
    everything.pop(path, None)
kept = "%s/generations/%s/" % (own, manifest.get("generation"))
shown = subprocess.run(
    ["systemctl", "show", "{UNIT}", "--timestamp=us+utc",
     "-p", "ActiveState,InvocationID,MainPID,ExecMainStartTimestamp"],
    stdout=subprocess.PIPE, text=True, check=True).stdout
unit = dict(line.split("=", 1) for line in shown.splitlines())
try:
    with open("/proc/%s/cmdline" % unit["MainPID"]) as stream:
        unit["command"] = stream.read().split("\0")
except OSError:
    unit["command"] = []
concerned = [p for p, entry in manifest.get("files", {{}}).items() if entry["restart"]]
print(json.dumps({{
    "journal": document(own + "/journal.json").get("phase"),
    "journals": glob.glob("{STATE}/sets/*/journal.json"),
    "generation": manifest.get("generation", 0),
    "kept": sorted(os.listdir(kept)) if os.path.isdir(kept) else [],
    "managed": sorted(manifest.get("files", {{}})),
    "staged": sorted(staged),
    "aside": sorted(glob.glob("{STATE}/drift/*/*")),
    "files": everything,
    "unit": unit,
    "in_place": max([os.stat(p).st_ctime for p in concerned if os.path.exists(p)], default=0),
}}))
"""
)

#: Reads the managed files over and over; writes down each state of each that it has not seen.
_OBSERVER = (
    _STATE_OF
    + r"""
import json, sys, time
seen = set()
with open("/root/sightings", "a", buffering=1) as told:
    while True:
        for path in sys.argv[1:]:
            sight = json.dumps([path, state_of(path)])
            if sight not in seen:
                seen.add(sight)
                told.write(sight + "\n")
        time.sleep(0.004)
"""
)

#: argv[1]: "session" kills all that other sessions run, "sshd" their sshd processes alone.
_KILL_SESSIONS = r"""
import os, signal, subprocess, sys
def stat_of(pid):
    with open("/proc/%d/stat" % pid) as stream:
        name, rest = stream.read().split("(", 1)[1].rsplit(")", 1)
    return name, int(rest.split()[1])
table = {}
for entry in os.listdir("/proc"):
    if entry.isdigit():
        try:
            table[int(entry)] = stat_of(int(entry))
        except OSError:
            pass
main = int(subprocess.run(["systemctl", "show", "ssh.service", "-p", "MainPID", "--value"],
                          stdout=subprocess.PIPE, text=True, check=True).stdout)
mine, pid = set(), os.getpid()
while pid > 1:
    mine.add(pid)
    pid = table[pid][1]
def session_of(pid):
    while pid in table and table[pid][1] != main:
        pid = table[pid][1]
    return pid if pid in table else None
doomed = [pid for pid in table
          if session_of(pid) and session_of(pid) not in mine
          and (sys.argv[1] == "session" or table[pid][0] == "sshd")]
for pid in doomed:
    os.kill(pid, signal.SIGKILL)
print(len(doomed))
"""


@dataclass(frozen=True)
class Sight:
    """The door at one moment."""

    journal: str | None
    journals: list[str]
    generation: int
    kept: list[str]
    managed: list[str]
    staged: list[str]
    aside: list[str]
    files: dict[str, list[Any]]
    unit: dict[str, Any]
    in_place: float

    def of(self, paths: set[str]) -> dict[str, list[Any] | None]:
        """Digest, mode, owner and group of the files ``paths``; None for one that is absent."""
        return {path: self.files.get(path) for path in sorted(paths)}


@dataclass
class Rig:
    """The door of a lab with everything on it that stops and watches modules."""

    lab: TestLab
    scratch: Path
    runs: int = 0
    observed: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        site = LabSite(self.lab.site)
        self._ssh = site.keys.command(DOOR, labs.status(self.lab.name).host(DOOR).address, "")[:-1]

    def root(
        self, command: str, *, stdin: str | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command as root on the door, over a connection of its own."""
        return subprocess.run(
            [*self._ssh, f"sudo -n sh -c {shlex.quote(command)}"],
            input=stdin or "",
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def said(self, command: str, *, stdin: str | None = None, timeout: float = 60) -> str:
        """What a command on the door printed; it must succeed."""
        done = self.root(command, stdin=stdin, timeout=timeout)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def prepare(self) -> None:
        """Put the hook and the hold of the service's start on the door."""
        where = self.said("python3 -c 'import site; print(site.getsitepackages()[0])'").strip()
        drop_in = f"/etc/systemd/system/{UNIT}.d"
        self.said(f"mkdir -p {where} {drop_in} && cat >{where}/killpoint.py", stdin=_HOOK)
        self.said(f"echo 'import killpoint' >{where}/killpoint.pth")
        self.said(f"cat >{drop_in}/hold.conf && systemctl daemon-reload", stdin=_HOLD_START)
        self.said("cat >/root/observer", stdin=_OBSERVER)

    def look(self) -> Sight:
        """The door now."""
        return Sight(**json.loads(self.said("python3 -", stdin=_LOOK)))

    @contextlib.contextmanager
    def observer(self, paths: set[str]) -> Iterator[None]:
        """Watch ``paths`` for the time of the block; ``observed`` then has what was seen."""
        self.said("rm -f /root/sightings")
        self.observe(paths)
        yield
        self.said("systemctl stop killing-observer")
        self.observed = set(self.said("cat /root/sightings").splitlines())

    def observe(self, paths: set[str]) -> None:
        """Start watching, also again after a power cut."""
        watched = shlex.join(sorted(paths))
        self.said(
            "systemd-run -q --collect --unit=killing-observer "
            f"/usr/bin/python3 /root/observer {watched}"
        )

    def arm(self, steps: tuple[str, ...]) -> None:
        """Have the next module wait before the call that matches the last of ``steps``.

        Without steps it is the service's next start that waits.
        """
        target = "armed" if steps else "hold-start"
        self.said(
            f"rm -rf {RUN} && mkdir {RUN} && cat >{RUN}/new && mv {RUN}/new {RUN}/{target}",
            stdin=json.dumps(steps),
        )

    def release(self) -> None:
        """Let what was stopped go on."""
        self.said(f"rm -rf {RUN}")

    def start(self, *args: str) -> Apply:
        """Begin an apply to the door and return at once."""
        command = [CLI, "apply", "-i", str(self.lab.site), "--yes", *args]
        return self._begin(command, unreachable=3, failed=1)

    def start_command(self, name: str, *args: str) -> Apply:
        """Begin another command and return at once."""
        return self._begin([CLI, name, "-i", str(self.lab.site), *args], unreachable=3, failed=1)

    def start_playbook(self, *args: str) -> Apply:
        """Begin what an apply runs after its plan, by plain ansible-playbook; return at once."""
        playbook = str(content.playbook("storage_element"))
        command = [PLAYBOOK, "-i", str(self.lab.site), playbook, *args]
        return self._begin(command, unreachable=4, failed=2)

    def _begin(self, command: list[str], unreachable: int, failed: int) -> Apply:
        self.runs += 1
        return Apply(command, self.scratch / str(self.runs), unreachable, failed)

    def await_stop(self, apply: Apply) -> None:
        """Wait until the armed moment is reached; fails if the apply ends before."""
        waiting = f"for i in $(seq 40); do test -e {RUN}/reached && exit; sleep 0.05; done; exit 9"
        deadline = time.monotonic() + 180
        while self.root(waiting).returncode != 0:
            assert apply.process.poll() is None, f"never stopped: {apply.output()}"
            assert time.monotonic() < deadline, f"not reached: {apply.output()}"

    def kill_sessions(self, which: str) -> None:
        """SIGKILL to the sessions of the door's sshd other than the one that does it."""
        killed = int(self.said(f"python3 - {which}", stdin=_KILL_SESSIONS))
        assert killed > 0

    def lock_openers(self) -> int:
        """How many processes of the door have its lock open."""
        found = self.said(
            f"for p in /proc/[0-9]*; do ls -l $p/fd 2>/dev/null | grep -q ' {STATE}/lock$' "
            "&& echo $p; done; true"
        )
        return len(found.split())


class Apply:
    """One apply to the door that is going to be killed, and its exit codes for two failures."""

    def __init__(self, command: list[str], scratch: Path, unreachable: int, failed: int) -> None:
        self.unreachable = unreachable
        self.failed = failed
        scratch.mkdir()
        self._scratch = scratch
        self._log = scratch / "log"
        environment = dict(
            os.environ,
            # What a killed run leaves on the controller is not left on the machine.
            TMPDIR=str(scratch),
            ANSIBLE_COLLECTIONS_PATH=str(content.link_collection(scratch / "collections")),
            ANSIBLE_PIPELINING="True",
        )
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def left_behind(self) -> list[str]:
        """Private directories of the run that are still there."""
        return [path.name for path in self._scratch.glob("cloudlet-deploy-*")]

    def kill(self) -> list[int]:
        """SIGKILL to the CLI alone. Returns the processes that it had started."""
        started = offspring(self.process.pid)
        self.process.kill()
        self.process.wait()
        return started

    def kill_all(self) -> list[int]:
        """SIGKILL to the CLI and all that it started, at once; nothing if it has ended."""
        doomed: list[int] = []
        if self.process.poll() is not None:
            return doomed
        while fresh := {self.process.pid, *offspring(self.process.pid)} - set(doomed):
            for pid in fresh:  # stopped first, so that none starts another meanwhile
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            doomed += fresh
        for pid in doomed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        return doomed
