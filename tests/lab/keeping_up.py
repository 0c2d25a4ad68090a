"""A camera that writes, mounts, a live session with its lane, and whether processing keeps up.

All of it is in the lab of ``inventories/lab-movies``, whose hosts have one clock. Movies are
small here (``SIZE``): the rate is that of files, not of bytes. The camera gives a movie its name
when it is whole.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cloudlet_deploy.lab import cluster
from tests.lab.conftest import TestLab

DEFINITION = "lab-movies"
MASTER, CAMERA = "cryosparc.lab.test", "camera.lab.test"
LOGIN, NODE = "login.lab.test", "node1.lab.test"
#: The pilot's images an hour, and how many times that the camera writes.
PILOT, TIMES = 320, 20
_RATE = PILOT * TIMES / 3600
#: Bytes of a movie.
SIZE = 1 << 20
#: Seconds of lag that ``data_watch`` allows where nobody says otherwise.
LIMIT = 180
#: Seconds between the begins of two looks; a look that takes longer delays the next.
EVERY = 10
#: Seconds of lag from which on processing is as before the cut.
AT_EASE = 10
_PARTS = ("data_mounts", "data_watch", "cryosparc", "cryosparc_lane")
_RAW, _PROJECT = "/srv/cloudlet/camera", f"{cluster.PROJECTS}/P1"
_OUTPUT = f"{_PROJECT}/S1"
_SESSION = "/opt/cryosparc/cryosparc_master/bin/cryosparcm standin-session"
#: BEFORE COUNT PAUSE SIZE: so many movies, after those that were there before.
_WRITER = """
import os, sys, time
before, count, size = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[4])
pause = float(sys.argv[3])
began = time.monotonic()
for number in range(1, count + 1):
    time.sleep(max(0, began + number * pause - time.monotonic()))
    name = "movie_%05d.tiff" % (before + number)
    with open("/srv/camera/." + name, "wb") as stream:
        stream.write(os.urandom(size))
    os.rename("/srv/camera/." + name, "/srv/camera/" + name)
"""
#: Each file with its time, and with the digest of its movie: its own, or what its first line says.
_FILES = """
import hashlib, json, os, sys
found = {}
with os.scandir(sys.argv[1]) as entries:
    for entry in entries:
        if entry.is_file():
            with open(entry.path, "rb") as stream:
                data = stream.read()
            digest = hashlib.sha256(data).hexdigest()
            if entry.name.endswith(".mrc"):
                digest = data.partition(b"\\n")[0].split()[-1].decode()
            found[entry.name] = [digest, entry.stat().st_mtime]
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Look:
    """What ``status`` told ``at`` seconds after the camera began, and how long that ``took``.

    ``lag`` is None, and ``problem`` says why, where a directory did not answer.
    """

    at: float
    took: float
    lag: float | None
    movies: int
    processed: int
    waiting: int
    problem: str


@dataclass(frozen=True)
class Cut:
    """The cluster reaches nobody for ``seconds``, from ``at`` seconds after the camera began."""

    at: float
    seconds: float

    @property
    def end(self) -> float:
        return self.at + self.seconds


#: The long form: ten minutes, then a cut, and two more minutes to see it recover.
SOAK, SOAK_CUT = 840.0, Cut(600, 120)


@dataclass(frozen=True)
class File:
    """The digest of a movie, in it or in its output, and the file's time."""

    digest: str
    time: float


@dataclass(frozen=True)
class Account:
    """Movies and files of output by their names, outputs that jobs told of, and jobs."""

    movies: Mapping[str, File]
    outputs: Mapping[str, File]
    told: int
    jobs: int

    def faults(self) -> list[str]:
        """What was lost, is there twice or is not of its movie; empty if all is well."""
        wanted = {_output_of(name): movie.digest for name, movie in self.movies.items()}
        both = wanted.keys() & self.outputs.keys()
        faults = {
            "without output": wanted.keys() - both,
            "of no movie": self.outputs.keys() - both,
            "of another content": {
                name for name in both if wanted[name] != self.outputs[name].digest
            },
        }
        said = [f"{what}: {' '.join(sorted(names))}" for what, names in faults.items() if names]
        if self.told != len(wanted):
            said.append(f"jobs made {self.told} outputs for {len(wanted)} movies")
        return said

    def delays(self) -> list[float]:
        """Seconds from each movie to its output, in the order in which the camera wrote them."""
        return [
            self.outputs[_output_of(name)].time - movie.time
            for name, movie in sorted(self.movies.items())
            if _output_of(name) in self.outputs
        ]


def _output_of(movie: str) -> str:
    return f"{movie.removesuffix('.tiff')}_patch_aligned.mrc"


def as_account(lab: TestLab, command: str) -> str:
    """What a shell command of CryoSPARC's account says on the master."""
    return lab.run(MASTER, f"su {cluster.ACCOUNT} -c 'cd / && exec sh -e'", stdin=command).stdout


def prepare(lab: TestLab) -> None:
    """Mounts, watch, CryoSPARC and its lane, by the product; and a project."""
    lab.apply(*(word for part in _PARTS for word in ("--component", part)))
    as_account(lab, f"mkdir -p {_OUTPUT}")


def start_session(lab: TestLab) -> None:
    """Process what the camera wrote and writes, by jobs of the lane."""
    as_account(lab, f"{_SESSION} start --raw {_RAW} --project {_PROJECT} --lane cluster --copy")


def stop_session(lab: TestLab) -> None:
    as_account(lab, f"{_SESSION} stop")


class Camera:
    """The camera's writer, from when it begins."""

    def __init__(self, lab: TestLab, seconds: float) -> None:
        """Begin to write for ``seconds``, ``TIMES`` as fast as the pilot's did."""
        self.lab, self.seconds = lab, seconds
        self.before = int(lab.run(CAMERA, "ls /srv/camera | wc -l").stdout)
        count = self.written(seconds)
        #: Movies that are there in the end.
        self.total = self.before + count
        lab.run(CAMERA, "cat >/root/writer.py", stdin=_WRITER)
        words = f"python3 /root/writer.py {self.before} {count} {1 / _RATE} {SIZE}"
        self._began = time.monotonic()
        lab.run(CAMERA, f"systemd-run --quiet --collect --unit=camera {words}")
        #: The cut as it was, which a look may have delayed.
        self.cut: Cut | None = None

    @staticmethod
    def written(seconds: float) -> int:
        """How many movies it writes within so many seconds."""
        return math.floor(seconds * _RATE)

    def now(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    def look(self) -> Look:
        """By the product's own status."""
        began = self.now()
        done = self.lab.cli("status", "--output", "json")
        assert done.stdout, done.stderr
        (host,) = json.loads(done.stdout)["hosts"]
        (entry,) = host["watches"]
        now = self.now()
        return Look(
            at=now,
            took=now - began,
            lag=entry.get("lag"),
            movies=entry.get("movies", 0),
            processed=entry.get("processed", 0),
            waiting=entry.get("waiting", 0),
            problem=entry["problem"],
        )

    def looks(self, patience: float, cut: Cut | None = None) -> Iterator[Look]:
        """Look until all is processed; at most ``patience`` seconds longer than it writes."""
        while True:
            began = self.now()
            if cut and began >= cut.at:
                cut_off(self.lab, cut.seconds)
                self.cut, cut = Cut(self.now(), cut.seconds), None
            look = self.look()
            yield look
            if look.processed == self.total or began > self.seconds + patience:
                return
            until = min(began + EVERY, cut.at) if cut else began + EVERY
            time.sleep(max(0.0, until - self.now()))


def cut_off(lab: TestLab, seconds: float) -> None:
    """The cluster's hosts reach nobody, each other included, for ``seconds``.

    The lab's own ssh comes from the network's gateway, and goes on.
    """
    gateway = lab.run(LOGIN, "ip route show default").stdout.split()[2]
    rules = (
        "add table inet cut; "
        "add chain inet cut in { type filter hook input priority 0; policy drop; }; "
        "add chain inet cut out { type filter hook output priority 0; policy drop; }; "
        f"add rule inet cut in ip saddr {{ 127.0.0.0/8, {gateway} }} accept; "
        f"add rule inet cut out ip daddr {{ 127.0.0.0/8, {gateway} }} accept; "
    )
    for host in (LOGIN, NODE):
        lab.run(host, "cat >/root/cut.nft", stdin=rules)
    end = f"nft -f /root/cut.nft; sleep {seconds}; nft delete table inet cut"
    for host in (LOGIN, NODE):
        lab.run(host, f'systemd-run --quiet --collect --unit=cut sh -c "{end}"')


def account(lab: TestLab) -> Account:
    """Each movie with its output, and what the session says."""

    def files(host: str, directory: str) -> dict[str, File]:
        told = json.loads(lab.run(host, f"python3 - {directory}", stdin=_FILES).stdout)
        return {name: File(*one) for name, one in told.items()}

    names, row = (line.split("\t") for line in as_account(lab, f"{_SESSION} list").splitlines())
    session = dict(zip(names, row, strict=True))
    return Account(
        files(CAMERA, "/srv/camera"),
        files(LOGIN, _OUTPUT),
        told=int(session["done"].replace("-", "0")),
        jobs=int(session["jobs"].replace("-", "0")),
    )


def stuck(lab: TestLab, patience: float = 30) -> list[str]:
    """What still waits after ``patience``: for a disk or a mount, for ssh, or in Slurm's queue."""
    deadline = time.monotonic() + patience
    waiting = "ps -eo stat=,args= | grep -E '^D|[s]sh -F /etc/cloudlet-deploy'"
    asked = {MASTER: waiting, NODE: waiting, LOGIN: f"{waiting}; squeue --noheader"}
    while True:
        said = {host: lab.run(host, command, check=False).stdout for host, command in asked.items()}
        found = [f"{host}: {line}" for host, text in said.items() for line in text.splitlines()]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(1)


def lags(looks: list[Look], end: float = math.inf) -> list[float]:
    """What looks told before ``end``."""
    return [look.lag for look in looks if look.lag is not None and look.at < end]


def recovery(looks: list[Look], cut: Cut) -> float | None:
    """Seconds from the cut's end to the first look that found a lag below ``AT_EASE``."""
    ends = (look.at - cut.end for look in looks
            if look.at > cut.end and look.lag is not None and look.lag < AT_EASE)  # fmt: skip
    return next(ends, None)
