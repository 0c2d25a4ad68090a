"""Ids of people in a rootless pod, inside and outside, with an old Podman and with a new one."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
import testinfra
from testinfra.host import Host

SITE = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "site"
CONVERGE = Path(__file__).parents[1] / "converge.yml"
OLD, NEW = "bookworm.lab.test", "trixie.lab.test"
ACCOUNT, SHARED = "oodsvc", "/srv/shared"
#: The first id that the role delegates to containers; below it nobody of theirs is.
SUBORDINATE = 2000000
_GET = "exec 3<>/dev/tcp/127.0.0.1/8443; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; timeout 2 cat <&3"


@pytest.fixture(scope="module", params=[OLD, NEW])
def cloudlet(request: pytest.FixtureRequest) -> Host:
    return _host(request.param)


def _host(name: str) -> Host:
    return testinfra.get_host(f"ansible://{name}?ansible_inventory={SITE}", sudo=True)


def as_account(host: Host, command: str) -> str:
    """The command as the account of the pods would run it."""
    uid = host.user(ACCOUNT).uid
    environment = f"HOME=/var/lib/{ACCOUNT} XDG_RUNTIME_DIR=/run/user/{uid}"
    return f"runuser -u {ACCOUNT} -- env -C / {environment} {command}"


def in_pod(host: Host, command: str, user: str) -> tuple[int, str]:
    """Exit code and words of a shell command in the pod."""
    asked = as_account(host, f"podman exec --user {user} probe sh -c {command!r}")
    # 255, which Podman also exits with, is for testinfra that ssh failed.
    done = host.run(f"{asked} || exit $(($? % 250))")
    return done.rc, done.stdout + done.stderr


def pid_of(host: Host) -> int:
    """The pod's first process; 0 while there is none."""
    done = host.run(as_account(host, "podman inspect -f '{{.State.Pid}}' probe"))
    return int(done.stdout.strip() or 0) if done.rc == 0 else 0


def comes_back(host: Host, before: int) -> None:
    """Another first process than ``before`` answers within the time of a start."""
    pid = as_account(host, "podman inspect -f '{{.State.Pid}}' probe")
    back = f"""
        for _ in $(seq 480); do
            if [ "$({_GET} | tail -n 1)" = "a pod" ]; then
                case "$({pid})" in 0 | "" | {before}) ;; *) exit 0 ;; esac
            fi
            sleep 0.5
        done
        exit 1
    """
    if host.run("bash -c %s", back).rc:
        pytest.fail(host.check_output("journalctl --no-pager -n 30"))


def rules_of(host: Host, pid: int) -> str | None:
    """The rules of the network of a pod by its first process; None when that has ended."""
    asked = f"nsenter --target={pid} --user --net nft list ruleset"
    done = host.run(as_account(host, asked))
    return str(done.stdout) if done.succeeded else None


def test_each_podman_gets_the_unit_that_it_understands() -> None:
    found = {}
    for name in (OLD, NEW):
        host = _host(name)
        version = host.check_output("podman --version").split()[-1].split(".")
        found[name] = (
            tuple(map(int, version[:2])) >= (4, 8),
            host.file("/etc/containers/systemd/users/probe.container").exists,
            host.file("/etc/systemd/user/probe.service").exists,
        )
    assert found == {OLD: (False, False, True), NEW: (True, True, False)}


@pytest.mark.parametrize("ids", ["123456:123400", "123457:123400", "123456:150001"])
def test_ids_beyond_65536_are_the_same_inside_and_outside(cloudlet: Host, ids: str) -> None:
    assert in_pod(cloudlet, "id -u; id -g", ids) == (0, ids.replace(":", "\n") + "\n")
    written = f"{SHARED}/written-{ids.replace(':', '-')}"
    assert in_pod(cloudlet, f"touch {written}", ids) == (0, "")
    file = cloudlet.file(written)
    assert f"{file.uid}:{file.gid}" == ids


def test_a_file_of_the_host_is_its_owners_inside(cloudlet: Host) -> None:
    show = f"stat -c %u:%g {SHARED}/brought; cat {SHARED}/brought"
    assert in_pod(cloudlet, show, "123456:123400") == (0, "123456:150001\nwhat alice brought")
    assert in_pod(cloudlet, f"cat {SHARED}/brought", "123457:150001")[0] == 0
    code, said = in_pod(cloudlet, f"cat {SHARED}/brought", "123457:123400")
    assert code != 0 and "Permission denied" in said


def test_the_pods_root_is_nobody_on_the_host(cloudlet: Host) -> None:
    owner = cloudlet.file(f"/proc/{pid_of(cloudlet)}").uid
    assert owner >= SUBORDINATE
    assert in_pod(cloudlet, f"touch {SHARED}/of-root", "0") == (0, "")
    assert cloudlet.file(f"{SHARED}/of-root").uid == owner
    assert owner != cloudlet.user(ACCOUNT).uid


def test_images_are_kept_in_layers(cloudlet: Host) -> None:
    """Podman 4.3 would copy an image for each container else."""
    driver = as_account(cloudlet, "podman info -f '{{.Store.GraphDriverName}}'")
    assert cloudlet.check_output(driver) == "overlay"


def test_ids_that_nobody_approved_are_not_there(cloudlet: Host) -> None:
    assert in_pod(cloudlet, "id", "123458")[0] != 0
    assert in_pod(cloudlet, "id", "65536")[0] != 0


@pytest.mark.parametrize("file", ["/etc/subuid", "/etc/subgid"])
def test_what_others_have_delegated_stays(cloudlet: Host, file: str) -> None:
    lines = cloudlet.file(file).content_string.splitlines()
    assert lines[:2] == ["# an admin's words", "bob:700000:65536"]
    assert f"{ACCOUNT}:{SUBORDINATE}:65536" in lines[2:]


def test_a_pod_that_is_killed_comes_back(cloudlet: Host) -> None:
    before = pid_of(cloudlet)
    cloudlet.run_expect([0], as_account(cloudlet, "podman kill probe"))
    comes_back(cloudlet, before)
    assert in_pod(cloudlet, "id -u", "123456") == (0, "123456\n")
    assert _states(cloudlet) == ["active", "active"]


def test_secrets_are_files_in_the_pod_and_in_no_log(cloudlet: Host) -> None:
    assert in_pod(cloudlet, "cat /run/secrets/probe-told", "0") == (0, "open\nsesame")
    assert in_pod(cloudlet, "cat /run/secrets/probe-told", "123456")[0] != 0
    code, drawn = in_pod(cloudlet, "cat /run/secrets/probe-drawn", "0")
    assert code == 0 and len(bytes.fromhex(drawn)) == 32
    for kept in ("journalctl --no-pager", "cat /var/lib/cloudlet-deploy/ledger.json"):
        words = cloudlet.check_output(kept)
        assert "probe" in words and "sesame" not in words and drawn not in words


def _other(host: Host) -> str:
    """Address of the host that its pod may not reach the sshd of."""
    (other,) = {OLD, NEW} - {host.backend.get_pytest_id().rpartition("/")[2]}
    return str(host.check_output("getent ahostsv4 %s", other)).split()[0]


def _the_rules_hold(host: Host) -> None:
    ask = f"echo | nc -w 5 {_other(host)} 22"
    for allowed in ("0", "33"):
        assert in_pod(host, ask, allowed)[1].startswith("SSH-2.0"), allowed
    for refused in ("123456", "1"):
        code, said = in_pod(host, ask, refused)
        assert code != 0 and "Connection refused" in said, refused
    # What no rule is about is open to all.
    assert in_pod(host, "echo | nc -w 5 127.0.0.1 8080", "123456")[0] == 0


def test_users_in_the_pod_are_kept_from_what_its_programs_reach(cloudlet: Host) -> None:
    _the_rules_hold(cloudlet)


def test_the_rules_are_there_when_somebody_restarts_the_pod_past_its_unit(cloudlet: Host) -> None:
    """What the hand has started; the unit starts the pod once more, sooner or later."""
    script = (
        "podman restart --time=1 probe >/dev/null || exit 1; "
        'pid=$(podman inspect -f "{{.State.Pid}}" probe); echo "$pid"; '
        "nsenter --target=$pid --user --net nft list ruleset"
    )
    # Podman 4.3 may find the pod gone, as one that ends is removed: that start is the unit's. On an
    # idle machine it does so nearly each time.
    for _ in range(5):
        before = pid_of(cloudlet)
        done = cloudlet.run(as_account(cloudlet, f"sh -c '{script}'"))
        if done.rc == 0:
            break
        comes_back(cloudlet, before)
    if done.rc == 0:
        pid, _, rules = done.stdout.partition("\n")
        assert int(pid) not in (0, before) and "chain out" in rules
    else:
        assert "already been removed" in done.stderr
        assert " 4.3" in cloudlet.check_output("podman --version")
        assert "chain out" in (rules_of(cloudlet, pid_of(cloudlet)) or "")
    cloudlet.run_expect([0], as_account(cloudlet, "systemctl --user restart probe.service"))
    comes_back(cloudlet, before)
    _the_rules_hold(cloudlet)


def _away(path: str) -> tuple[str, str]:
    return f"mv {path} {path}.away", f"mv {path}.away {path}"


_RULES = "/etc/cloudlet-deploy/pods/probe.nft"
_BY_HAND = "podman restart --time=1 probe"
#: On what the rules depend: how it is broken and mended, how the pod is then started anew, and what
#: is said. Where the account's settings are gone, a hand would start the pod without them.
BROKEN = {
    "rules": (
        f"sed -i '1i no rules' {_RULES}",
        f"sed -i 1d {_RULES}",
        _BY_HAND,
        "the pod does not start",
    ),
    "program": (
        *_away("/usr/local/libexec/cloudlet-deploy/pod-probe-network"),
        _BY_HAND,
        "error executing hook",
    ),
    "settings": (
        *_away(f"/var/lib/{ACCOUNT}/.config/containers/containers.conf"),
        "podman kill probe",
        "network would have no rules",
    ),
}


def _grep(since: str, words: str) -> str:
    """Counts lines of the journal with the words, but for what sudo logs of this very test."""
    return f"journalctl --no-pager --since=@{since} | grep -v COMMAND= | grep -c {words!r}"


def _tries(host: Host) -> int:
    command = "systemctl --user show -P NRestarts probe.service"
    return int(host.check_output(as_account(host, command)))


@pytest.mark.parametrize("broken", BROKEN)
def test_a_pod_that_does_not_get_its_rules_does_not_start_until_it_does(
    cloudlet: Host, broken: str
) -> None:
    breaks, mends, ends, words = BROKEN[broken]
    before = pid_of(cloudlet)
    cloudlet.run_expect([0], breaks)
    try:
        since = cloudlet.check_output("date +%s")
        cloudlet.run(as_account(cloudlet, ends))
        deadline = time.monotonic() + 30
        # By the hand, and then by the unit twice.
        while int(cloudlet.run(_grep(since, words)).stdout) < 3:
            assert time.monotonic() < deadline, cloudlet.check_output("journalctl --no-pager -n 30")
            assert pid_of(cloudlet) in (0, before)
        if broken == "rules":
            tried = _tries(cloudlet)
            time.sleep(5)
            assert 1 <= _tries(cloudlet) - tried <= 3, "two seconds lie between two tries"
        assert cloudlet.run("bash -c %s", _GET).stdout == ""
    finally:
        cloudlet.run_expect([0], mends)
    comes_back(cloudlet, before)
    assert "chain out" in (rules_of(cloudlet, pid_of(cloudlet)) or "")


#: The programs between host and pod: any port of the pod is dead without one of them.
HELPERS = [(OLD, "slirp4netns"), (OLD, "rootlessport"), (NEW, "pasta")]


@pytest.mark.parametrize(("name", "helper"), HELPERS)
def test_a_pod_whose_network_has_died_comes_back(name: str, helper: str) -> None:
    """Asked every second, it is given up after three questions."""
    host = _host(name)
    # One that has not answered the watch since its start is given all the time of a start.
    time.sleep(5)
    before = pid_of(host)
    since = host.check_output("date +%s")
    (*ids,) = host.check_output(f"pgrep -u {ACCOUNT} {helper}").split()
    host.run_expect([0], f"kill -KILL {' '.join(ids)}")
    assert not host.run("bash -c %s", _GET).stdout.endswith("\na pod\n")
    assert pid_of(host) == before
    comes_back(host, before)
    (told,) = host.check_output(
        f"journalctl --no-pager -o cat --since=@{since} -t pod-probe-watch"
    ).splitlines()
    assert told.startswith("The pod probe has not answered three times in a row (http://127.0.0.1")
    assert told.endswith("); it is restarted")


def _states(host: Host) -> list[str]:
    units = "show -P ActiveState probe.service probe-watch.service"
    return str(host.check_output(as_account(host, f"systemctl --user {units}"))).split()


def test_a_pod_that_an_admin_stops_stays_stopped(cloudlet: Host) -> None:
    cloudlet.run_expect([0], as_account(cloudlet, "systemctl --user stop probe.service"))
    time.sleep(5)
    assert not {"active", "activating"} & set(_states(cloudlet))
    cloudlet.run_expect([0], as_account(cloudlet, "systemctl --user start probe.service"))
    comes_back(cloudlet, 0)
    assert _states(cloudlet) == ["active", "active"]


def test_it_comes_with_the_accounts_systemd(cloudlet: Host) -> None:
    """As at boot: nobody is logged in, and the account lingers."""
    before = pid_of(cloudlet)
    cloudlet.run_expect([0], f"systemctl restart user@{cloudlet.user(ACCOUNT).uid}.service")
    comes_back(cloudlet, before)
    assert in_pod(cloudlet, "id -u", "123456") == (0, "123456\n")


def test_an_account_that_is_approved_no_more_is_not_in_the_pod(cloudlet: Host) -> None:
    """Its unit tries with ids that it may not have any more, until the new map is there."""
    less = json.dumps({"podman_host_approved_users": ["alice"]})
    done = subprocess.run(
        ["ansible-playbook", f"--inventory={SITE}", f"--limit={cloudlet.backend.hostname}",
         f"--extra-vars={less}", CONVERGE],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert in_pod(cloudlet, "id -u", "123457")[0] != 0
    assert in_pod(cloudlet, "id -u", "123456") == (0, "123456\n")
    assert _states(cloudlet) == ["active", "active"]
