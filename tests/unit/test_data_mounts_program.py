"""The program that looks after mounts on the host, over commands that stand for the host's."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from cloudlet_deploy import content

TEMPLATE = content.roles()["data_mounts"] / "templates" / "cloudlet-data-mounts.sh.j2"
CIFS = "k3\tcifs\tsrv-k3.mount\t/srv/k3\tcam\t445\treader\t//cam/my movies\n"
SSHFS = "em\tsshfs\tcloudlet-sshfs-srv-em.service\t/srv/em\tlogin\t22\tem\tem@login:/gpfs\n"
RO_CIFS = "50 1 0:40 / /srv/k3 ro,nosuid shared:9 master:2 - cifs //cam/my\\040movies ro,soft\n"
FUSE = "51 1 0:41 / /srv/em rw,nosuid shared:9 - fuse.sshfs em@login:/gpfs rw\n"
ROOT = "1 0 8:1 / / rw - ext4 /dev/vda rw\n"

#: What stands for commands: each writes down how it was called, and does what a file says.
FAKES = {
    "systemctl": """
echo "systemctl $*" >>"$FAKE/calls"
case $1 in
  is-enabled) ! grep -qx "$3" "$FAKE/disabled" 2>/dev/null ;;
  show) cat "$FAKE/state" ;;
esac""",
    "journalctl": 'cat "$FAKE/journal" 2>/dev/null',
    # The last word is the mount point. A dead mount does not answer.
    "stat": 'for last; do :; done; grep -qsx "$last" "$FAKE/dead" && exec sleep 60; true',
    "bash": 'test ! -e "$FAKE/away"',
    # The real one, which waits a second only: long enough for what answers on a busy machine.
    "timeout": 'shift 3; exec /usr/bin/timeout -k 0.1 1 "$@"',
}


@dataclass(frozen=True)
class Host:
    """A directory of answers, and the program over it."""

    path: Path
    program: Path

    def tell(self, name: str, text: str) -> None:
        (self.path / name).write_text(text)

    def run(self, *argv: str) -> tuple[int, str]:
        environment = {
            **os.environ,
            "FAKE": str(self.path),
            "PATH": f"{self.path}/bin:/usr/bin:/bin",
        }
        done = subprocess.run(
            ["sh", str(self.program), *argv],
            env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.stderr == "", done
        return done.returncode, done.stdout

    def acted(self) -> list[str]:
        """What was started or restarted since the last look."""
        path = self.path / "calls"
        calls = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [c for c in calls if c.split()[1] in ("start", "restart")]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    text = TEMPLATE.read_text()
    for old, new in (
        ("{{ __data_mounts_directory }}/mounts", str(tmp_path / "mounts")),
        ("/run/cloudlet-data-mounts", str(tmp_path / "run")),
        ("/proc/self/mountinfo", str(tmp_path / "mountinfo")),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    assert "{{" not in text and "{%" not in text and "{#" not in text
    program = tmp_path / "program"
    program.write_text(text)
    (tmp_path / "bin").mkdir()
    for name, body in FAKES.items():
        path = tmp_path / "bin" / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
    found = Host(tmp_path, program)
    found.tell("mounts", CIFS + SSHFS)
    found.tell("mountinfo", ROOT + RO_CIFS + FUSE)
    found.tell("state", "active\n")
    return found


def test_all_is_well(host: Host) -> None:
    assert host.run("check", "0") == (0, "")
    assert host.run("check", "30", "em") == (0, "")
    assert host.run("watch") == (0, "")
    assert host.acted() == []


def test_what_is_not_mounted_is_told_with_its_reason(host: Host) -> None:
    host.tell("mountinfo", ROOT + FUSE)
    host.tell("away", "")
    code, said = host.run("check", "0")
    assert code == 1
    assert said == (
        "k3: //cam/my movies is not mounted at /srv/k3: cam does not answer on port 445. Look at"
        " the server, the network and its firewall; the mount comes by itself when they are back.\n"
    )


@pytest.mark.parametrize(
    ("journal", "said"),
    [
        ("mount error(13): Permission denied", "cam refuses reader. Correct username"),
        ("mount error(2): No such file or directory", "cam has no //cam/my movies."),
        ("mount error(22): Invalid argument", "an option is refused."),
        ("Host key verification failed.\nread: Connection reset by peer", "not the one that known"),
        ("em@login: Permission denied (publickey,password).", "does not accept the key for"),
        ("mount error(113): could not connect", "cam does not answer on port 445."),
        ("mount error: could not resolve address for cam", "cam does not answer on port 445."),
        ("read: Connection reset by peer", "the reason is not known."),
    ],
)
def test_the_reason_is_what_the_last_attempt_said(host: Host, journal: str, said: str) -> None:
    host.tell("mountinfo", ROOT + FUSE)
    host.tell("journal", journal)
    code, found = host.run("check", "0", "k3")
    assert code == 1 and said in found and found.count("\n") == 1


def test_a_mount_whose_unit_is_still_trying_is_not_there(host: Host) -> None:
    # sshfs mounts first, and asks its server then.
    host.tell("state", "activating\n")
    host.tell("mounts", SSHFS)
    host.tell("journal", "Host key verification failed.")
    code, said = host.run("check", "0")
    assert code == 1 and "is not mounted at /srv/em: the host key of login is not" in said


def test_a_share_that_can_be_written_to_is_an_error(host: Host) -> None:
    # Read-only for the server is not read-only for who remounts it here.
    host.tell("mountinfo", ROOT + RO_CIFS.replace(" ro,nosuid ", " rw,nosuid ") + FUSE)
    code, said = host.run("check", "0")
    assert code == 1 and "k3: /srv/k3 can be written to" in said and "\nem" not in said


def test_the_mount_that_lies_on_top_counts(host: Host) -> None:
    host.tell("mountinfo", RO_CIFS + FUSE + "60 50 0:50 / /srv/k3 rw - tmpfs none rw\n")
    code, said = host.run("check", "0")
    assert code == 1 and "has a mount of another kind, tmpfs" in said


def test_a_dead_mount_keeps_nobody_waiting(host: Host) -> None:
    host.tell("dead", "/srv/k3\n/srv/em\n")
    begun = time.monotonic()
    code, said = host.run("check", "0")
    # Both at once, and each with its limit (a tenth of the real one).
    assert time.monotonic() - begun < 10
    assert code == 1 and said.count("does not answer, though") == 2


def test_check_waits_for_what_is_late(host: Host) -> None:
    host.tell("mountinfo", ROOT + FUSE)
    late = threading.Timer(1.5, host.tell, ("mountinfo", ROOT + FUSE + RO_CIFS))
    late.start()
    begun = time.monotonic()
    assert host.run("check", "30") == (0, "")
    assert 1 < time.monotonic() - begun < 20


@pytest.mark.parametrize("state", ["failed", "inactive"])
def test_what_is_away_is_started(host: Host, state: str) -> None:
    host.tell("state", f"{state}\n")
    host.tell("disabled", "cloudlet-sshfs-srv-em.service\n")
    host.run("watch")
    assert host.acted() == ["systemctl start --no-block srv-k3.mount"]


@pytest.mark.parametrize("state", ["activating", "deactivating"])
def test_what_is_on_its_way_is_left_alone(host: Host, state: str) -> None:
    host.tell("state", f"{state}\n")
    host.run("watch")
    assert host.acted() == []


def test_a_dead_mount_is_mounted_again_where_its_server_answers(host: Host) -> None:
    host.tell("dead", "/srv/k3\n")
    for _ in range(2):
        host.run("watch")
        assert host.acted() == []
    host.run("watch")
    assert host.acted() == ["systemctl restart --no-block srv-k3.mount"]
    host.run("watch")
    assert host.acted() == [], "it has its time again"


def test_looks_that_failed_are_forgotten_once_it_answers(host: Host) -> None:
    for dead in ("/srv/k3\n", "/srv/k3\n", "", "/srv/k3\n", "/srv/k3\n"):
        host.tell("dead", dead)
        host.run("watch")
        assert host.acted() == []


def test_a_mount_stays_while_its_server_is_away(host: Host) -> None:
    host.tell("dead", "/srv/k3\n")
    host.tell("away", "")
    for _ in range(5):
        host.run("watch")
    assert host.acted() == []
    code, said = host.run("check", "0", "k3")
    assert code == 1 and "does not answer, as cam does not on port 445" in said


def test_other_words_are_refused(host: Host) -> None:
    done = subprocess.run(["sh", str(host.program), "x"], capture_output=True, check=False)
    assert done.returncode == 64 and done.stderr.startswith(b"usage: ")
