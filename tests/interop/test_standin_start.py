"""The BeStMan stand-in's start, limits, log and use of sudo."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudlet_deploy.lab.ca import Pki

from .door import ALICE, Door, missing_programs, paths

_MISSING = missing_programs("java", "javac", "ss")
pytestmark = pytest.mark.skipif(bool(_MISSING), reason=f"not installed: {_MISSING}")


@pytest.fixture(scope="module")
def door(home: Path, pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with Door(home, pki, tmp_path_factory.mktemp("door")).running() as door:
        yield door


class TestLoad:
    def test_one_thread_a_connection(self, home: Path, pki: Pki, tmp_path: Path) -> None:
        # Four threads: one accepts, so three idle clients lock the fourth out.
        with Door(home, pki, tmp_path, threads=4).running() as door:
            idle = [door.connect() for _ in range(3)]
            with pytest.raises(TimeoutError):
                door.connect(timeout=2)
            idle.pop().close()
            assert door.call("srmPing").http == 200
            for client in idle:
                client.close()

    @pytest.mark.parametrize(("option", "backlog"), [("", "50"), ("700", "700")])
    def test_backlog(self, home: Path, pki: Pki, tmp_path: Path, option: str, backlog: str) -> None:
        options = {"ConnectorAcceptQueueSize": option}
        with Door(home, pki, tmp_path, options=options).running() as door:
            listed = subprocess.run(
                ["ss", "-Hltn", f"sport = :{door.port}"], capture_output=True, text=True, check=True
            )
            assert listed.stdout.split()[2] == backlog

    def test_hangs_for_good_above_the_threshold(self, home: Path, pki: Pki, tmp_path: Path) -> None:
        with Door(home, pki, tmp_path, options={"standin.hangAbove": "3"}).running() as door:
            clients = [door.connect() for _ in range(3)]
            assert clients[0].call("srmPing").http == 200
            with pytest.raises(TimeoutError):
                door.connect(timeout=2)
            for client in clients:
                client.close()
            with pytest.raises(TimeoutError):
                door.connect(timeout=2)
            assert "until the process is restarted" in door.event_log.read_text()

    def test_a_silent_client_is_dropped_after_ten_seconds(self, door: Door) -> None:
        started = time.monotonic()
        with socket.create_connection(("127.0.0.1", door.port), 30) as silent:
            assert silent.recv(1) == b""
        assert 9 < time.monotonic() - started < 25

    @pytest.mark.soak
    def test_an_idle_client_is_dropped_after_200_seconds(self, door: Door) -> None:
        with door.connect(timeout=220) as client:
            client.call("srmPing")
            started = time.monotonic()
            with pytest.raises((ssl.SSLError, ConnectionError, IndexError)):
                client.read()
        assert 195 < time.monotonic() - started < 215


class TestStart:
    def test_says_first_that_it_is_a_stand_in(self, door: Door) -> None:
        assert door.event_log.read_text().startswith("stand-in, not BeStMan")
        assert (door.root / "stderr").read_text().startswith("stand-in, not BeStMan")

    @pytest.mark.parametrize(
        ("setting", "told"),
        [
            (("CertFileName", "/nonexistent.pem"), "cannot read /nonexistent.pem"),
            (("FactoryID", "srm/v1"), "must be srm/v2/server"),
            (("GridMapFileName", ""), "GridMapFileName is missing"),
            (("fsConcurrency", "eight"), "fsConcurrency=eight: must be a whole number"),
            (("eventLogLevel", "LOUD"), "eventLogLevel=LOUD"),
            (("EventLogLocation", "/nonexistent"), "cannot write /nonexistent/event.srm.log"),
            (("supportedProtocolList", "gftp1"), "must look like gsiftp://HOST[:PORT]"),
        ],
    )
    def test_a_bad_setting_is_fatal_in_one_line(
        self, home: Path, pki: Pki, tmp_path: Path, setting: tuple[str, str], told: str
    ) -> None:
        self._fails(Door(home, pki, tmp_path, rc=dict([setting])), told)

    def test_a_pkcs8_key_is_refused(self, home: Path, pki: Pki, tmp_path: Path) -> None:
        key = str(pki.host("localhost") / "hostkey.pem")
        self._fails(Door(home, pki, tmp_path, rc={"KeyFileName": key}), f"{key}: a PKCS#8 key")

    def test_a_key_of_another_certificate_is_refused(
        self, home: Path, pki: Pki, tmp_path: Path
    ) -> None:
        other = str(pki.user("alice") / "usercert.pem")
        self._fails(Door(home, pki, tmp_path, rc={"CertFileName": other}), "is not the key of")

    def test_a_port_in_use_is_fatal(self, door: Door, tmp_path: Path) -> None:
        rc = {"securePort": str(door.port)}
        self._fails(Door(door.home, door.pki, tmp_path, rc=rc), f"securePort={door.port}")

    def test_full_mode_is_refused(self, home: Path, pki: Pki, tmp_path: Path) -> None:
        shutil.copytree(home / "conf", tmp_path / "conf")
        wsdd = tmp_path / "conf/WEB-INF/server-config.wsdd"
        wsdd.write_text(wsdd.read_text().replace("TSRMServiceGateway", "TSRMService"))
        options = {"JettyResource": str(tmp_path / "conf")}
        self._fails(Door(home, pki, tmp_path, options=options), "gateway mode only")

    def test_no_rc_file_is_fatal(self, home: Path, pki: Pki, tmp_path: Path) -> None:
        argv = Door(home, pki, tmp_path).argv()
        done = subprocess.run(
            [*argv[:-1], "/nonexistent.rc"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert "fatal: /nonexistent.rc: cannot read the rc file" in done.stderr

    @staticmethod
    def _fails(door: Door, told: str) -> None:
        done = door.fail_to_start()
        assert done.returncode == 1
        (line,) = [line for line in done.stderr.splitlines() if "fatal" in line]
        assert told in line

    def test_the_log_honors_level_and_size(self, home: Path, pki: Pki, tmp_path: Path) -> None:
        rc = {"eventLogLevel": "INFO", "SRMEventLogByteMax": "2000", "SRMMaxNumEventLog": "3"}
        with Door(home, pki, tmp_path, rc=rc).running() as door, door.connect() as client:
            for _ in range(100):
                client.call("srmPing")
            logs = sorted(path.name for path in door.event_log.parent.iterdir())
            assert logs == ["event.srm.log", "event.srm.log.1", "event.srm.log.2"]
            written = [path.read_text() for path in door.event_log.parent.iterdir()]
        assert all(text.startswith("stand-in, not BeStMan") for text in written)
        assert all(len(text) < 2500 for text in written)
        assert not any("level=DEBUG" in text for text in written)

    def test_no_event_log_writes_none(self, home: Path, pki: Pki, tmp_path: Path) -> None:
        with Door(home, pki, tmp_path, rc={"noEventLog": "true"}).running() as door:
            door.call("srmPing")
            assert not door.event_log.exists()

    @pytest.mark.skipif(
        os.geteuid() != 0 or bool(missing_programs("sudo")), reason="needs root and sudo"
    )
    def test_works_as_the_mapped_account_by_sudo(
        self, home: Path, pki: Pki, tmp_path: Path
    ) -> None:
        # pytest's directories are closed to others; the account must pass through them.
        for parent in [tmp_path, *tmp_path.parents[:3]]:
            parent.chmod(parent.stat().st_mode | stat.S_IXOTH)
        rc = {"accessFileSysViaSudo": "true"}
        with Door(home, pki, tmp_path, rc=rc).running() as door:
            door.gridmap.write_text(f'"{ALICE}" nobody\n')
            door.data.chmod(0o777)
            inner = f"<SURL>{door.surl(door.data / 'made')}</SURL>"
            assert door.call("srmMkdir", inner).status == "SRM_SUCCESS"
            assert (door.data / "made").owner() == "nobody"
            assert door.call("srmMkdir", inner).status == "SRM_DUPLICATION_ERROR"
            (door.data / "made").chmod(0o750)
            os.chown(door.data / "made", 0, 0)
            assert paths(door.ls(door.data).details, door.data) == {".", "made"}
            (refused,) = door.ls(door.data / "made").details
            assert refused["status"]["statusCode"] == "SRM_AUTHORIZATION_FAILURE"  # type: ignore[index]
