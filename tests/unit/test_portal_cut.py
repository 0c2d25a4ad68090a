"""``portal_cut``: what people have open ends, and only theirs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import portal_cut

#: An id that nobody has here.
UID = 3_999_771
_UIDS = {"alice": 123456, "bob": 123457, "system": 999, "nobody2": 65534}

Steps = list[tuple[str, ...]]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Steps:
    """What was done: commands, and uids whose processes were killed. Alice has a PUN."""
    done: Steps = []
    monkeypatch.setattr(portal_cut, "PUNS", str(tmp_path))
    pwd = SimpleNamespace(getpwnam=lambda name: SimpleNamespace(pw_uid=_UIDS[name]))
    monkeypatch.setattr(portal_cut, "pwd", pwd)
    monkeypatch.setattr(portal_cut, "run", lambda argv: done.append(tuple(argv)))
    monkeypatch.setattr(portal_cut, "kill_all", lambda uid: done.append(("kill", str(uid))))
    monkeypatch.setattr(portal_cut, "has_pun", lambda account: account in ("alice", "system"))
    return done


APACHE = ("systemctl", "restart", "apache2.service")
STOP = (portal_cut.NGINX_STAGE, "nginx", "-u", "alice", "-s", "stop")


def test_apache_first_then_the_pun_then_the_rest(steps: Steps) -> None:
    assert portal_cut.main(["--account", "alice", "--account", "bob", "--gates"]) == 0
    assert steps == [APACHE, STOP, ("kill", "123456"), ("kill", "123457")]


def test_a_gate_alone_restarts_apache(steps: Steps) -> None:
    assert portal_cut.main(["--gates", "--service", "httpd.service"]) == 0
    assert steps == [("systemctl", "restart", "httpd.service")]


def test_an_account_that_is_gone_is_no_fault(steps: Steps) -> None:
    assert portal_cut.main(["--account", "dora"]) == 0
    assert steps == [APACHE]


@pytest.mark.parametrize("account", ["system", "nobody2"])
def test_a_system_account_is_left_alone(
    steps: Steps, capsys: pytest.CaptureFixture[str], account: str
) -> None:
    assert portal_cut.main(["--account", account, "--account", "bob"]) == 1
    assert steps == [APACHE, ("kill", "123457")]
    assert f"{account} is a system account" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv", [[], ["--account", "--gates"], ["--account", "a b"], ["--account", "alice\n"], ["-u"]]
)
def test_a_wrong_call_does_nothing(steps: Steps, argv: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        portal_cut.main(argv)
    assert steps == []


def test_one_fault_does_not_keep_the_others_connected(
    steps: Steps, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(argv: list[str]) -> None:
        steps.append(tuple(argv))
        raise portal_cut.Fault(f"{argv[0]}: broken")

    monkeypatch.setattr(portal_cut, "run", failing)
    assert portal_cut.main(["--account", "alice", "--account", "bob"]) == 1
    assert steps == [APACHE, STOP, ("kill", "123457")]
    assert capsys.readouterr().err.count("portal-cut: ") == 2


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["/bin/sh", "-c", "echo why; exit 3"], "why"),
        (["/nowhere/nginx_stage"], "No such file"),
        (["/bin/sleep", "9"], "timed out"),
    ],
)
def test_a_command_that_fails_says_why(
    monkeypatch: pytest.MonkeyPatch, argv: list[str], told: str
) -> None:
    monkeypatch.setattr(portal_cut, "_SECONDS", 0.2)
    with pytest.raises(portal_cut.Fault, match=told):
        portal_cut.run(argv)


def test_a_pun_is_one_that_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(portal_cut, "PUNS", str(tmp_path))
    directory = tmp_path / "alice"
    assert not portal_cut.has_pun("alice")
    directory.mkdir()
    (directory / "passenger.sock").touch()
    assert not portal_cut.has_pun("alice")
    pid = directory / "passenger.pid"
    for text in ("", "x", "4194999\n", f"{os.getpid()}\n"):
        pid.write_text(text)
        assert not portal_cut.has_pun("alice"), "it died hard, and its number is another's"
    nginx = tmp_path / "nginx"
    nginx.symlink_to("/bin/sleep")
    with subprocess.Popen([nginx, "30"]) as process:
        pid.write_text(f"{process.pid}\n")
        found = portal_cut.has_pun("alice")
        process.kill()
    assert found


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be two accounts")
def test_all_processes_of_a_uid_end_and_no_others() -> None:
    def started(user: int) -> subprocess.Popen[bytes]:
        script = "sleep 60 & sleep 60 & echo started; wait"
        return subprocess.Popen(
            ["/bin/sh", "-c", script], user=user, stdout=subprocess.PIPE, start_new_session=True
        )

    mine, others = started(UID), [started(UID + 1), started(0)]
    try:
        for one in (mine, *others):
            assert one.stdout is not None and one.stdout.readline() == b"started\n"
        assert len(_processes(UID)) == 3
        portal_cut.kill_all(UID)
        assert mine.wait(5) == -signal.SIGKILL
        assert not _processes(UID)
        assert [one.poll() for one in others] == [None, None]
        portal_cut.kill_all(UID)  # nobody is there any more
    finally:
        for one in (mine, *others):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(one.pid, signal.SIGKILL)
            one.communicate()


def _processes(uid: int) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/status"):
        try:
            text = path.read_text()
        except OSError:
            continue
        if f"\nUid:\t{uid}\t" in text and "\nState:\tZ" not in text:
            found.append(text)
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another account")
def test_who_keeps_the_right_to_kill_others_kills_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A -1 with that right would be everybody."""
    monkeypatch.setattr(os, "setresuid", lambda *_ids: None)
    monkeypatch.setattr(os, "getresuid", lambda: (UID, UID, UID))
    monkeypatch.setattr(os, "kill", lambda *_told: os._exit(0))
    with pytest.raises(portal_cut.Fault, match="could not be killed"):
        portal_cut.kill_all(UID)
