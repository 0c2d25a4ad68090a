"""CryoSPARC on a lab's host, from the bare host to its removal. CryoSPARC is its stand-in.

The tests of this module build on each other: an installation that is watched for its secrets, bad
settings that change nothing, an upgrade that fails in three ways before it works, and a backup that
is restored into an empty host.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cloudlet_deploy import content
from cloudlet_deploy import lab as labs
from cloudlet_deploy.lab import cryosparc
from tests.lab.conftest import CLI, TestLab, made, needs_devices

pytestmark = [pytest.mark.lab, needs_devices]
HOST = "cryosparc.lab.test"
OLD, NEW = cryosparc.VERSIONS[:2]
ONLY = ("--component", "cryosparc", "--limit", HOST)
MANAGER = "/opt/cryosparc/cryosparc_master/bin/cryosparcm"
AS_ACCOUNT = "setpriv --reuid=cryosparc --regid=cryosparc --init-groups env HOME=/var/lib/cryosparc"
USER = "microscopist@lab.test"
UPGRADE = (
    *("-e", f"cryosparc_version={NEW}"),
    *("-e", f"cryosparc_master_archive={cryosparc.HOME}/{NEW}/cryosparc_master.tar.gz"),
    *("-e", f"cryosparc_worker_archive={cryosparc.HOME}/{NEW}/cryosparc_worker.tar.gz"),
)
SECRETS = {"license": cryosparc.LICENSE, "password": cryosparc.USER_PASSWORD}
#: Where a secret that is looked for stands meanwhile.
NEEDLE = "/run/needle"
#: Everything of ours on the host, and who runs: equal before and after means that nothing happened.
STATE = """
find /etc /opt/cryosparc /usr/local /var/lib/cryosparc /var/backups/cryosparc /var/cache/cryosparc \
  -not -path '*/run/*' -not -path '*/__pycache__*' -printf '%p %m %U %T@ %l\\n' | sort
systemctl show --property=InvocationID,MainPID cryosparc.service cryosparc-backup.timer
"""


@dataclass
class Watch:
    """Looks at every process of the machine, those of the lab's hosts too, while something runs."""

    needles: tuple[bytes, ...]
    looks: int = 0
    seen: set[str] = field(default_factory=set)

    def look(self) -> None:
        self.looks += 1
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                text = process.read_bytes()
            except OSError:  # it has ended
                continue
            if any(needle in text for needle in self.needles):
                self.seen.add(text.replace(b"\0", b" ").decode(errors="replace"))

    def while_(self, command: list[str]) -> str:
        """What the command said, all of it; fails the test unless it exits 0."""
        ended = threading.Event()

        def work() -> None:
            while not ended.wait(0.2):
                self.look()

        thread = threading.Thread(target=work)
        thread.start()
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
            )
        finally:
            ended.set()
            thread.join()
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def lab() -> Iterator[TestLab]:
    """The lab without its cluster, which has tests of its own."""
    definition = content.root() / "inventories" / "lab-cryosparc"
    with made("t-cryosparc", "--from", str(definition), "--hosts", HOST) as hosts:
        yield hosts


@pytest.fixture(scope="module", autouse=True)
def installed(lab: TestLab) -> tuple[Watch, str]:
    """The first apply, with all that it says, and what was seen of it."""
    watch = Watch(tuple(secret.encode() for secret in SECRETS.values()))
    command = [CLI, "apply", "-i", str(lab.site), "--yes", "--diff", "-vvv"]
    command += ["--no-preflight", *ONLY]
    return watch, watch.while_(command)


def manage(lab: TestLab, words: str) -> str:
    """What ``cryosparcm`` says."""
    return lab.run(HOST, f"{AS_ACCOUNT} {MANAGER} {words}").stdout


def api(lab: TestLab, method: str, **params: Any) -> Any:
    """The answer of the master's API, asked on its host."""
    body = json.dumps({"method": method, "params": params})
    program = (
        "import sys, urllib.request as u; "
        f'print(u.urlopen("http://{HOST}:61002/rpc", sys.stdin.read().encode()).read().decode())'
    )
    done = lab.run(HOST, f"python3 -c '{program}'", stdin=body)
    return json.loads(done.stdout)["result"]


def test_no_secret_is_seen_on_the_way(lab: TestLab, installed: tuple[Watch, str]) -> None:
    watch, said = installed
    assert watch.looks > 10
    assert watch.seen == set()
    shown = subprocess.run(
        [CLI, "runs", "show", "last"], capture_output=True, text=True, check=True
    )
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
    for what, secret in SECRETS.items():
        assert secret not in said + shown.stdout, what
        kept = subprocess.run(
            ["grep", "-rlF", secret, state / "cloudlet-deploy"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.splitlines()
        assert [path for path in kept if "/.lab/passwords/" not in path] == [], what


def test_on_the_host_only_the_account_reads_the_license(lab: TestLab) -> None:
    # Not across mounts: below /run lies a whole /proc.
    places = "/etc /var /tmp /run /home /root /opt/cryosparc /usr/local"
    search = f"find {places} -xdev -type f -not -path '/var/*/apt/*' -not -path {NEEDLE} -print0"
    for what, secret in SECRETS.items():
        lab.run(HOST, f"umask 077; cat >{NEEDLE}", stdin=secret)
        script = f"{search} | xargs -0 grep -lF -f {NEEDLE} | xargs -r stat -c '%a %U %n'"
        found = lab.run(HOST, script, check=False).stdout.splitlines()
        configs = {
            f"600 cryosparc /opt/cryosparc/{OLD}/cryosparc_{part}/config.sh"
            for part in cryosparc.PARTS
        }
        assert set(found) == (configs if what == "license" else set()), what
        journal = lab.run(HOST, f"journalctl --no-pager | grep -cF -f {NEEDLE}", check=False)
        assert journal.stdout.strip() == "0", what
        lab.run(HOST, f"rm {NEEDLE}")


def test_it_runs_and_takes_the_users_password(lab: TestLab) -> None:
    assert lab.run(HOST, "/usr/local/sbin/cryosparc-health").returncode == 0
    assert api(lab, "log_in", email=USER, password=SECRETS["password"])
    assert HOST in manage(lab, "worker list")
    assert "All tests passed." in manage(lab, "test install")


def test_a_live_session_processes_what_comes(lab: TestLab) -> None:
    lab.run(HOST, "install -d -o cryosparc /srv/raw /srv/projects/local "
                  "&& head -c 3000000 /dev/urandom >/srv/raw/first.mrc")  # fmt: skip
    manage(lab, "standin-session start --raw /srv/raw --project /srv/projects/local --lane default")
    output = "/srv/projects/local/S1/first_patch_aligned.mrc"
    lab.run(HOST, f"for i in $(seq 100); do test -e {output} && exit; sleep 0.2; done; exit 1")
    manage(lab, "standin-session stop")


def test_a_second_apply_changes_nothing(lab: TestLab) -> None:
    before = lab.run(HOST, STATE).stdout
    assert "Nothing to do." in lab.apply(*ONLY).stdout
    assert lab.run(HOST, STATE).stdout == before


def test_a_crash_is_made_up_for(lab: TestLab) -> None:
    """Its supervisor's socket, and the processes below it, are left behind, as by the vendor's."""
    pid = lab.run(HOST, "systemctl show --value --property=MainPID cryosparc").stdout.strip()
    lab.run(HOST, f"kill -9 {pid}")
    removed = "journalctl -u cryosparc | grep -q 'Nobody holds'"
    up = f"{removed} && systemctl is-active --quiet cryosparc"
    lab.run(HOST, f"for i in $(seq 150); do {up} && exit; sleep 0.2; done; exit 1")
    assert USER in manage(lab, "user list")


def _cut_archive(lab: TestLab) -> None:
    lab.run(HOST, f"head -c 5000 {cryosparc.HOME}/{NEW}/cryosparc_master.tar.gz >/tmp/cut.tar.gz")


def _network_mount(lab: TestLab) -> None:
    """A FUSE file system of the network, without the network."""
    lab.run(
        HOST,
        "apt-get install --yes --no-download sshfs >/dev/null && mkdir -p /mnt/net "
        "&& printf '#!/bin/sh\\nexec /usr/lib/openssh/sftp-server\\n' >/tmp/no-ssh "
        "&& chmod 755 /tmp/no-ssh "
        "&& sshfs -o ssh_command=/tmp/no-ssh nowhere:/srv /mnt/net",
    )


def _listener(lab: TestLab) -> None:
    lab.run(HOST, "systemd-run --unit=squatter python3 -m http.server 61204 && sleep 1")


def _nothing(lab: TestLab) -> None:
    """The setting alone is wrong."""


@pytest.mark.parametrize(
    ("prepare", "settings", "told"),
    [
        (_network_mount, ["cryosparc_database_directory=/mnt/net/database"], "/mnt/net"),
        (_nothing, ["cryosparc_directory=/opt/" + "d" * 70], "83 at most"),
        (_listener, ["cryosparc_port=61200"], "61204"),
        (_nothing, ["cryosparc_license="], "cryosparc_license"),
        (_cut_archive, [*UPGRADE[1::2], "cryosparc_master_archive=/tmp/cut.tar.gz"], "cut short"),
    ],
    ids=["network", "long", "port", "license", "archive"],
)
def test_what_cannot_work_is_refused_and_nothing_changes(
    lab: TestLab, prepare: Any, settings: list[str], told: str
) -> None:
    prepare(lab)
    before = lab.run(HOST, STATE).stdout
    extra = [word for setting in settings for word in ("-e", setting)]
    done = lab.cli("apply", "--yes", "--no-preflight", *ONLY, *extra)
    assert done.returncode in (1, 4)
    assert told in " ".join(done.stderr.split()), done.stderr
    assert "next:" in done.stderr
    assert lab.run(HOST, STATE).stdout == before
    lab.run(HOST, "systemctl stop squatter; umount /mnt/net", check=False)


@contextmanager
def asked_to_fail(lab: TestLab, name: str) -> Iterator[None]:
    """While the stand-in has the file ``name``, it fails where that says."""
    lab.run(HOST, f"touch /var/lib/cryosparc/{name}")
    try:
        yield
    finally:
        lab.run(HOST, f"rm /var/lib/cryosparc/{name}")


def test_an_installer_that_fails_leaves_the_old_version_running(lab: TestLab) -> None:
    with asked_to_fail(lab, ".standin-fail-install"):
        before = lab.run(HOST, STATE).stdout.splitlines()
        done = lab.cli("apply", "--yes", "--no-preflight", *ONLY, *UPGRADE)
        left = lab.run(HOST, STATE).stdout.splitlines()
    assert done.returncode == 1
    assert "dependencies could not be installed" in " ".join(done.stderr.split())
    # The directory of versions was written to; nothing of the new one is in it.
    assert [line.partition(" ")[0] for line in left] == [line.partition(" ")[0] for line in before]


def test_a_version_that_does_not_start_gives_the_old_one_back(lab: TestLab) -> None:
    with asked_to_fail(lab, f".standin-fail-start-{NEW.lstrip('v')}"):
        done = lab.cli("apply", "--yes", "--no-preflight", *ONLY, *UPGRADE)
    assert done.returncode == 1
    assert f"{OLD} runs again, with its database" in " ".join(done.stderr.split())
    assert OLD in manage(lab, "status")
    assert USER in manage(lab, "user list")
    assert api(lab, "log_in", email=USER, password=SECRETS["password"])
    assert "off" in manage(lab, "maintenancemode status")
    # What the new version had opened stays, for whoever wants to look.
    assert NEW in lab.run(HOST, f"cat /var/lib/cryosparc/database.of-{NEW}-*/version").stdout


@pytest.mark.soak
def test_an_upgrade_that_loses_its_host_is_finished(lab: TestLab) -> None:
    ledger = "/var/lib/cloudlet-deploy/ledger.json"
    with subprocess.Popen(
        [CLI, "apply", "-i", str(lab.site), "--yes", "--no-preflight", *ONLY, *UPGRADE],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as apply:
        while lab.run(HOST, f"grep -q switched {ledger}", check=False).returncode != 0:
            assert apply.poll() is None, "the switch was not seen"
        labs.kill(lab.name, HOST)
    assert apply.returncode != 0
    labs.start(lab.name, HOST)
    changes = [
        (change["kind"], change["action"])
        for host in lab.plan(*ONLY, *UPGRADE)["plan"]["hosts"]
        for component in host["components"]
        for change in component["changes"]
    ]
    assert ("cryosparc", "upgrade") in changes
    lab.apply(*ONLY, *UPGRADE)
    assert NEW in manage(lab, "status")
    assert USER in manage(lab, "user list")
    assert "off" in manage(lab, "maintenancemode status")
    assert lab.run(HOST, f"ls /var/backups/cryosparc/before-{NEW}-*").stdout
    assert "Nothing to do." in lab.apply(*ONLY, *UPGRADE).stdout


def test_a_backup_is_restored_into_an_empty_host(lab: TestLab) -> None:
    """The way that docs/how-to/cryosparc.md tells; of an upgraded one."""
    lab.apply(*ONLY, *UPGRADE)
    assert NEW in manage(lab, "status") and USER in manage(lab, "user list")
    manage(lab, "user create --email second@lab.test --username second --firstname A "
                "--lastname B --password not-a-secret")  # fmt: skip
    lab.run(HOST, "systemctl start cryosparc-backup.service")
    (name,) = lab.run(HOST, "ls /var/backups/cryosparc | grep ^backup-").stdout.split()
    backup = lab.run(HOST, f"base64 /var/backups/cryosparc/{name}").stdout
    labs.reset(lab.name, HOST)
    lab.apply(*ONLY, *UPGRADE)
    assert "second@lab.test" not in manage(lab, "user list")
    target = f"/var/backups/cryosparc/{name}"
    data = base64.b64encode(base64.b64decode(backup)).decode()
    lab.run(HOST, f"base64 -d >{target} && chown cryosparc: {target}", stdin=data)
    manage(lab, f"restore --file {target}")
    lab.run(HOST, "systemctl restart cryosparc")
    assert "second@lab.test" in manage(lab, "user list")
    assert "Nothing to do." in lab.apply(*ONLY, *UPGRADE).stdout


def test_destroy_leaves_the_database_and_its_backups(lab: TestLab) -> None:
    done = lab.cli("destroy", "--confirm", lab.site.name, "--limit", HOST)
    assert done.returncode == 0, done.stdout + done.stderr
    gone = "/opt/cryosparc /usr/local/sbin/cryosparc-health /var/cache/cryosparc"
    assert (
        lab.run(HOST, f"ls -d {gone} /var/lib/cloudlet-deploy 2>/dev/null", check=False).stdout
        == ""
    )
    assert lab.run(HOST, "getent passwd cryosparc", check=False).stdout == ""
    assert lab.run(HOST, "ls /tmp | grep cryosparc", check=False).stdout == ""
    assert lab.run(HOST, "cat /var/lib/cryosparc/database/version").stdout.strip() == NEW
    assert lab.run(HOST, "ls /var/backups/cryosparc").stdout
