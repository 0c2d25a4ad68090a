"""What cannot work ends with a clear error and the right exit code, and hosts stay as they were.

The tests share two hosts and follow each other: bare hosts that are refused, hosts with the
trust configured whose disks are full, one that is gone, and runs that nobody lets finish.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cloudlet_deploy import lab as labs
from cloudlet_deploy.lab.podman import connected
from tests.lab import snapshot
from tests.lab.conftest import CLI, DOOR, SERVERS, TRANSFER, TestLab, set_values

pytestmark = pytest.mark.lab

Looks = dict[str, snapshot.Snapshot]

MAPFILE = "/etc/grid-security/grid-mapfile"
TRUST = ("--component", "grid_trust")
#: What the CLI says where the message itself tells what is to be corrected.
AGAIN = "Correct this, then run the command again: it takes up where it stopped."


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line a message: how it folds is the unit tests' matter."""
    monkeypatch.setenv("COLUMNS", "2000")


def as_root(lab: TestLab, host: str, command: str, *, stdin: str = "") -> str:
    """Run a shell command on a host without ssh and sudo, which the tests break."""
    container = labs.status(lab.name).host(host).container
    with connected() as podman:
        done = podman.run("exec", "-i", container, "sh", "-c", command, stdin=stdin.encode())
    return done.stdout


def mount(lab: TestLab, host: str, *arguments: str) -> None:
    """Mount in a host's namespace, which has no right to do so itself."""
    container = labs.status(lab.name).host(host).container
    with connected() as podman:
        pid = podman.run("inspect", "--format", "{{.State.Pid}}", container).stdout.strip()
    subprocess.run(["nsenter", f"--target={pid}", "--mount", "mount", *arguments], check=True)


def look(lab: TestLab, *hosts: str) -> Looks:
    """A snapshot of each host."""

    def one(host: str) -> snapshot.Snapshot:
        return snapshot.take(lambda program: as_root(lab, host, "python3 -", stdin=program))

    with ThreadPoolExecutor() as pool:
        return dict(zip(hosts, pool.map(one, hosts), strict=True))


def altered(before: Looks, after: Looks) -> dict[str, frozenset[str]]:
    """The files that differ, by host; fails if anything else does."""
    found = {host: snapshot.difference(before[host], after[host]) for host in after}
    for host, made in found.items():
        assert not made.accounts | made.groups | made.packages | made.units, host
    return {host: made.files for host, made in found.items() if made.files}


@pytest.fixture(scope="module")
def bare(lab: TestLab) -> Looks:
    """The hosts before anything was tried."""
    return look(lab, *SERVERS)


@pytest.fixture(scope="module")
def seen() -> Looks:
    """What a test saw of a host last, for the next one."""
    return {}


def faults(done: subprocess.CompletedProcess[str]) -> dict[str, tuple[str, str]]:
    """Message and next step by host; each host has one of each."""
    assert "Traceback" not in done.stdout + done.stderr
    found = re.findall(r"^error: (([\w.]+).*)\nnext:  (.*)$", done.stderr, re.MULTILINE)
    assert done.stderr.count("error: ") == len(found) == len({host for _, host, _ in found})
    return {host: (message, step) for message, host, step in found}


def trust(lab: TestLab, *hosts: str, **values: Any) -> None:
    """Set variables of hosts."""
    for host in hosts:
        set_values(lab.site / "host_vars" / f"{host}.yml", **values)


def new_gridmap(lab: TestLab, person: str) -> None:
    """Have a pending change of one file, the gridmap, on both hosts."""
    trust(lab, *SERVERS, grid_trust_gridmap=[{"dn": f"/O=Grid/CN={person}", "account": "grid"}])


# --- bare hosts ---------------------------------------------------------------------------


def test_no_sudo_and_unsupported_system(lab: TestLab, bare: Looks) -> None:
    as_root(lab, DOOR, "mv /etc/sudoers.d/admin /root/kept")
    as_root(
        lab,
        TRANSFER,
        "sed 's/(bookworm)/(bullseye)/; s/12/11/' /usr/lib/os-release >/etc/new"
        " && mv /etc/new /etc/os-release",
    )
    for command in (("plan",), ("apply", "--yes")):
        done = lab.cli(*command)
        assert done.returncode == 1
        assert faults(done) == {
            DOOR: (
                f"{DOOR} (host_check): user admin could not run a command as root: "
                "Missing sudo password.",
                "Give the user passwordless sudo, or its password with --ask-become-pass (-K).",
            ),
            TRANSFER: (
                f"{TRANSFER} (host_check): the host runs Debian GNU/Linux 11 (bullseye), "
                "which is not supported.",
                "Use a host with Debian 12 and 13, Ubuntu 24.04, Rocky Linux and "
                "AlmaLinux 9 and 10.",
            ),
        }
    assert altered(bare, look(lab, *SERVERS)) == {
        DOOR: {"/etc/sudoers.d/admin", "/root/kept"},
        TRANSFER: {"/etc/os-release"},
    }
    as_root(lab, DOOR, "mv /root/kept /etc/sudoers.d/admin")
    as_root(lab, TRANSFER, "ln -sfn ../usr/lib/os-release /etc/os-release")


def test_key_of_another_certificate(lab: TestLab, bare: Looks) -> None:
    """Seen before any host is: validate, plan and apply refuse it alike."""
    pki = lab.site / ".lab" / "pki" / "hosts"
    trust(lab, TRANSFER, grid_trust_host_key=str(pki / DOOR / "hostkey.pem"))
    for command in (("validate",), ("plan",), ("apply", "--yes", *TRUST)):
        done = lab.cli(*command)
        assert done.returncode == 4
        told = " ".join((done.stdout + done.stderr).split())
        place = lab.site / "host_vars" / f"{TRANSFER}.yml"
        assert f"{place}:1: grid_trust_host_key: {pki / TRANSFER / 'hostcert.pem'} and" in told
        assert f"{pki / DOOR / 'hostkey.pem'}, certificate and key of {TRANSFER}, do not" in told
    (lab.site / "host_vars" / f"{TRANSFER}.yml").unlink()
    assert altered(bare, look(lab, *SERVERS)) == {}


def test_wrong_checksum(lab: TestLab, bare: Looks, tmp_path: Path) -> None:
    archive, wanted = tmp_path / "door.tar.gz", f"sha256:{'7' * 64}"
    archive.write_bytes(b"not what was published")
    trust(
        lab,
        DOOR,
        bestman_install="archive",
        bestman_home="/opt/from-archive",
        bestman_archive=str(archive),
        bestman_archive_checksum=wanted,
    )
    done = lab.cli("apply", "--yes", "--component", "bestman")
    (lab.site / "host_vars" / f"{DOOR}.yml").unlink()
    assert done.returncode == 1
    message, step = faults(done)[DOOR]
    assert str(archive) in message
    assert re.search(rf"has the checksum sha256:[0-9a-f]{{64}}, not {wanted}", message)
    assert "not unpacked" in message
    assert step == AGAIN
    assert altered(bare, look(lab, *SERVERS)) == {}


def test_without_terminal_and_yes_nothing_is_done(lab: TestLab, bare: Looks) -> None:
    done = lab.cli("apply", *TRUST)
    assert done.returncode == 64
    assert "no terminal to ask on; nothing was changed" in done.stderr
    assert "--yes" in done.stderr
    assert altered(bare, look(lab, *SERVERS)) == {}


# --- hosts with the trust configured ------------------------------------------------------


def test_full_disk(lab: TestLab, seen: Looks) -> None:
    lab.apply(*TRUST)
    new_gridmap(lab, "Full Disk")
    full = {TRANSFER: "/etc/grid-security", DOOR: "/var/lib/cloudlet-deploy"}
    for host, path in full.items():
        as_root(lab, host, f"cp -a {path} /root/kept")
        mount(lab, host, "-t", "tmpfs", "-o", "size=256k,mode=755", "tmpfs", path)
        as_root(lab, host, f"cp -a /root/kept/. {path}; cat /dev/zero >{path}/filler || true")
    before = look(lab, *SERVERS)
    # As if they became full after the preflight, which would refuse them.
    done = lab.cli("apply", "--yes", "--no-preflight", *TRUST)
    seen.update(look(lab, *SERVERS))
    assert altered(before, seen) == {}
    assert done.returncode == 1
    found = faults(done)
    assert set(found) == set(SERVERS)
    # Without room for the lease the role is not even begun.
    begun = {TRANSFER: " (grid_trust)", DOOR: ""}
    for host, path in full.items():
        message, step = found[host]
        assert message.startswith(f"{host}{begun[host]}: The file system {path} is full (0 KiB and")
        assert message.endswith("cannot be written. Nothing was changed.")
        assert step == "Free space on that file system, then run this again."
    for host, path in full.items():
        as_root(lab, host, f"rm {path}/filler")


def test_unreachable_host_while_the_other_one_finishes(lab: TestLab, seen: Looks) -> None:
    # The change that found no room is still to be made.
    labs.kill(lab.name, DOOR)
    done = lab.cli("apply", "--yes", *TRUST)
    labs.start(lab.name, DOOR)
    assert done.returncode == 3, done.stderr
    assert "1 changed; " in done.stdout
    ((host, (message, step)),) = faults(done).items()
    assert host == DOOR
    assert message.startswith(f"{DOOR}: it does not answer: ")
    assert step.startswith("Check that the host is up")
    made = altered(seen, look(lab, TRANSFER))
    assert made == {TRANSFER: {MAPFILE, "/etc/grid-security/filler"}}


def interrupted(lab: TestLab, moment: str) -> subprocess.CompletedProcess[str]:
    """An apply that gets Ctrl-C as soon as its progress says ``moment``."""
    argv = [CLI, "apply", "-i", str(lab.site), "--yes", *TRUST]
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout and process.stderr
        said = ""
        while moment not in said:
            line = process.stderr.readline()
            assert line, f"it ended before {moment!r}: {said}"
            said += line
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    return subprocess.CompletedProcess(argv, process.returncode, out, said + err)


def test_interrupted_while_planning(lab: TestLab, seen: Looks) -> None:
    new_gridmap(lab, "Control C")
    before = look(lab, *SERVERS)
    done = interrupted(lab, f"{TRANSFER}: grid_trust: looking")
    seen.update(look(lab, *SERVERS))
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    assert "error: Interrupted; Ansible was stopped.\nnext:  Nothing was changed." in done.stderr
    assert altered(before, seen) == {}


def test_interrupted_while_changing(lab: TestLab, seen: Looks) -> None:
    done = interrupted(lab, f"{TRANSFER}: grid_trust: working")
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    assert "--resume' does the rest." in " ".join(done.stderr.split())
    shown = subprocess.run(
        [CLI, "runs", "show", "last", "--output", "json"], capture_output=True, check=True
    )
    run = json.loads(shown.stdout)["run"]
    assert (run["state"], run["phase"], run["exit_code"]) == ("interrupted", "change", 130)
    # Whatever was done until then: the next apply does the rest and nothing else.
    lab.apply(*TRUST)
    assert altered(seen, look(lab, *SERVERS)) == {host: {MAPFILE} for host in SERVERS}
    assert all("Control C" in as_root(lab, host, f"cat {MAPFILE}") for host in SERVERS)
