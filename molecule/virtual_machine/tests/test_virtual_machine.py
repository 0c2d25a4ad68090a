"""What the cloudlet's host shows under SELinux: to pods, to the web server, to other users.

All of it after a reboot: nobody has started anything by hand.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import testinfra
import yaml
from testinfra.host import Host

SITE = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "site"
CAMERA, PROJECTS = "/srv/cloudlet/camera", "/srv/cloudlet/projects"
ACCOUNT = "oodsvc"
_GET = "busybox wget -q -O - http://127.0.0.1:8080/"


def host_of(name: str, control: Path | None = None) -> Host:
    """A host over ssh: Ansible would take seconds on the machine for each command.

    So does each new connection: with ``control`` one is kept there for all of them.
    """
    found = yaml.safe_load((SITE / "lab_connection.yml").read_text())["all"]["hosts"][name]
    return testinfra.get_host(
        f"ssh://{found['ansible_user']}@{found['ansible_host']}",
        sudo=True,
        ssh_identity_file=found["ansible_ssh_private_key_file"],
        ssh_extra_args=found["ansible_ssh_common_args"],
        controlpath=control,
    )


@pytest.fixture(scope="module")
def cloudlet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    control = tmp_path_factory.mktemp("ssh") / "control"
    yield host_of("cloudlet.lab.test", control)
    subprocess.run(["ssh", "-o", f"ControlPath={control}", "-O", "exit", "cloudlet"], check=True)


def as_account(host: Host, command: str) -> str:
    """The shell command as the pods' account would run it.

    At the level of the pods, as what they say goes into a pipe of who calls; and by ``env``,
    because Podman is no program to enter a domain by.
    """
    uid = host.user(ACCOUNT).uid
    return (
        f"cd / && runuser -u {ACCOUNT} -- runcon -l s0 env XDG_RUNTIME_DIR=/run/user/{uid} "
        f"HOME=/var/lib/{ACCOUNT} {command}"
    )


def in_pod(host: Host, command: str, user: str = "123456:123400") -> tuple[int, str]:
    """Exit code and words of a shell command in the pod."""
    done = host.run(as_account(host, f"podman exec --user {user} probe sh -c {command!r}"))
    return done.rc, done.stdout + done.stderr


@contextmanager
def other_way(host: Host, boolean: str) -> Iterator[None]:
    """The boolean turned while the block runs, then as it was."""
    was = _boolean(host, boolean)
    host.run_expect([0], f"setsebool {boolean} {'off' if was == 'on' else 'on'}")
    try:
        yield
    finally:
        host.run_expect([0], f"setsebool {boolean} {was}")


@contextmanager
def no_denial(host: Host) -> Iterator[None]:
    """Nothing that the block does is denied, whether it shows or not."""
    log = "/var/log/audit/audit.log"
    before = int(host.check_output(f"wc -l < {log}"))
    yield
    found = host.check_output(f"tail -n +{before + 1} {log}").splitlines()
    assert [line for line in found if "type=AVC" in line and "denied" in line] == []


def test_all_came_up_after_the_reboot(cloudlet: Host) -> None:
    assert cloudlet.check_output("systemctl is-system-running") == "running"
    assert cloudlet.check_output(as_account(cloudlet, "systemctl --user is-system-running")) == (
        "running"
    )
    ages = cloudlet.check_output(
        as_account(cloudlet, "podman ps --format '{{.Names}} {{.Status}}'")
    ).splitlines()
    assert [line.split()[:2] for line in ages] == [["probe", "Up"]]


def test_selinux_enforces(cloudlet: Host) -> None:
    assert cloudlet.check_output("getenforce") == "Enforcing"
    assert ":container_t:" in in_pod(cloudlet, "cat /proc/self/attr/current", "0")[1]


def test_a_pod_reads_the_cameras_share(cloudlet: Host) -> None:
    with no_denial(cloudlet):
        assert in_pod(cloudlet, f"cat {CAMERA}/movie-1.mrc") == (0, "a movie")


def test_a_pod_writes_in_the_project_space_as_the_user(cloudlet: Host) -> None:
    with no_denial(cloudlet):
        assert in_pod(cloudlet, f"echo result >{PROJECTS}/result && cat {PROJECTS}/result") == (
            0,
            "result\n",
        )
    written = host_of("cluster.lab.test").file("/home/project/result")
    assert (written.uid, written.gid, written.content_string) == (123456, 123400, "result\n")


def test_a_pod_is_denied_what_has_no_label_for_it(cloudlet: Host) -> None:
    file = "/srv/cloudlet/unlabeled/file"
    assert cloudlet.file(file).mode == 0o644
    code, said = in_pod(cloudlet, f"cat {file}")
    assert code != 0 and "Permission denied" in said


def test_ids_beyond_65536_are_the_same_inside_and_outside(cloudlet: Host) -> None:
    assert in_pod(cloudlet, "id -u; id -g")[1].split() == ["123456", "123400"]
    assert in_pod(cloudlet, f"stat -c %u:%g {CAMERA}/movie-1.mrc")[1] == "123456:123400\n"
    pid = cloudlet.check_output(as_account(cloudlet, "podman inspect -f '{{.State.Pid}}' probe"))
    status = cloudlet.file(f"/proc/{pid}/status").content_string
    owner = next(line.split()[1] for line in status.splitlines() if line.startswith("Uid:"))
    assert int(owner) >= 2000000  # its root is nobody here
    assert int(owner) != cloudlet.user(ACCOUNT).uid


def test_the_web_server_relays_to_the_pod(cloudlet: Host) -> None:
    assert _boolean(cloudlet, "httpd_can_network_relay") == "on"
    assert _boolean(cloudlet, "httpd_can_network_connect") == "off"
    with no_denial(cloudlet):
        assert cloudlet.check_output(_GET) == "a pod"
    with other_way(cloudlet, "httpd_can_network_relay"):
        assert "503 Service Unavailable" in cloudlet.run(_GET).stderr


def test_a_port_beyond_the_relays_would_need_connect(cloudlet: Host) -> None:
    serve = "busybox httpd -f -p 127.0.0.1:9444 -h /srv/cloudlet/unlabeled"
    cloudlet.run_expect([0], f"systemd-run --collect --unit far {serve}")
    try:
        assert "503 Service Unavailable" in cloudlet.run(f"{_GET}far/file").stderr
        with other_way(cloudlet, "httpd_can_network_connect"):
            assert cloudlet.check_output(f"{_GET}far/file") == "not for pods"
    finally:
        cloudlet.run_expect([0], "systemctl stop far")


def _boolean(host: Host, name: str) -> str:
    return host.check_output(f"getsebool {name}").split()[-1]


def test_nobody_writes_into_the_cameras_share(cloudlet: Host) -> None:
    for user in ("root", "alice"):
        done = cloudlet.run(f"runuser -u {user} -- touch {CAMERA}/mine")
        assert done.rc != 0 and "Read-only file system" in done.stderr


def test_credentials_are_roots(cloudlet: Host) -> None:
    found = cloudlet.check_output(
        "LC_ALL=C grep -rlF lab-camera /etc /run /var/lib 2>/dev/null; true"
    ).split()
    assert found, "the password must be somewhere"
    for path in found:
        file = cloudlet.file(path)
        assert (file.user, file.mode) == ("root", 0o600), path
    assert cloudlet.run("runuser -u alice -- cat " + found[0]).rc != 0
    assert "lab-camera" not in cloudlet.check_output("ps axww -o args; cat /proc/mounts")


@pytest.mark.parametrize("where", [CAMERA, PROJECTS])
def test_mounts_are_labeled_for_pods(cloudlet: Host, where: str) -> None:
    assert cloudlet.mount_point(where).exists
    assert ":container_file_t:" in cloudlet.check_output(f"stat -c %C {where}")
