"""`cloudlet-deploy smoke` against real GridFTP and the stand-in door, from here and load hosts."""

from __future__ import annotations

import csv
import gzip
import io
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from cloudlet_deploy import site
from cloudlet_deploy.run.record import runs_dir
from cloudlet_deploy.smoke import document, gsi, settings
from cloudlet_deploy.smoke.srm import SrmSession
from cloudlet_deploy.smoke.types import Campaign, Kind
from tests.lab.conftest import CLI, CLIENT, DOOR, TRANSFER, TestLab, set_values

pytestmark = pytest.mark.lab

AREA = "/srv/storage/lab"
#: The least that still has every part: two loads, a larger directory, GridFTP.
SHORT = ("--clients", "4,12", "--entries", "100", "--seconds", "3", "--warm-up", "1")
ONE = ("--clients", "4", "--entries", "0", "--seconds", "3", "--warm-up", "1", "--service", "srm")


@pytest.fixture(scope="module", autouse=True)
def applied(lab: TestLab) -> None:
    """A storage element whose Java machine has compiled what it needs."""
    lab.apply()
    smoke(lab, *ONE[:4], "--seconds", "1", "--warm-up", "2")


def smoke(lab: TestLab, *args: str, code: int = 0) -> dict[str, Any]:
    """Run it and return its JSON document; fails the test unless it exits with ``code``."""
    done = lab.cli("smoke", "--output", "json", *args)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def words(done: subprocess.CompletedProcess[str]) -> str:
    """What it said on standard error, on one line."""
    return " ".join(done.stderr.split())


def campaign_of(found: dict[str, Any]) -> Campaign:
    return document.load(Path(found["report"]["campaign"]))


def operations(found: dict[str, Any]) -> list[dict[str, str]]:
    """The raw operations of all workers."""
    rows: list[dict[str, str]] = []
    for path in (runs_dir() / found["run"]).glob("operations-*.csv.gz"):
        rows += csv.DictReader(io.StringIO(gzip.decompress(path.read_bytes()).decode()))
    return rows


def in_storage(lab: TestLab) -> list[str]:
    """Test directories that are in the storage."""
    return lab.run(TRANSFER, f"ls -A {AREA}").stdout.split()


def test_a_test_without_errors_and_its_report(lab: TestLab) -> None:
    found = smoke(lab, *SHORT)
    assert found["held"] and not found["incomplete"]
    told = [(p["service"], p["clients"], p["entries"]) for p in found["points"]]
    assert told == [("srm", 4, 10), ("srm", 12, 10), ("srm", 4, 100), ("gridftp", 4, 10)]
    for point in found["points"]:
        assert point["rate"] > 0 and not point["failures"] and point["achieved"] == point["clients"]
    campaign = campaign_of(found)
    assert {fact.host for fact in campaign.hosts} == {DOOR, TRANSFER}
    assert any(s.variable == "bestman_container_threads" for s in campaign.settings)
    rows = operations(found)
    assert len(rows) == sum(point.ended for point in campaign.points)
    assert all(point.begun == point.ended for point in campaign.points)
    assert {row["outcome"] for row in rows} == {"ok"}
    page = Path(found["report"]["report"]).read_text()
    assert "stand-in" in page and "<svg" in page
    assert in_storage(lab) == []


def test_our_client_and_gfal_ls_agree_on_a_thousand_names(lab: TestLab) -> None:
    # gfal2 keeps one byte of each character of an answer, and its command line then wants UTF-8 of
    # these bytes: of names beyond ASCII it prints only such as the fourth, as "\u00fcn\u00efc".
    odd = [
        "with space",
        "a&b",
        "<tag>",
        "\u00c3\u00bcn\u00c3\u00afc",
        "quote'\"",
        "per%20cent",
        "plus+",
        "#hash",
    ]
    names = [*odd, *(f"{odd[n % 8]} {n}" for n in range(1000 - len(odd)))]
    beyond = "\u2603 \u00fcn\u00efc"
    lab.run(TRANSFER, f"install -d -o grid -g grid {AREA}/names", stdin="")
    make = "import os,sys,json\nfor n in json.load(sys.stdin): open(sys.argv[1]+'/'+n,'w').close()"
    lab.run(TRANSFER, f'python3 -c "{make}" {AREA}/names', stdin=json.dumps([*names, beyond]))
    try:
        pki = lab.site / ".lab" / "pki"
        user = pki / "users" / "alice"
        credential = gsi.Credential(
            user / "usercert.pem", user / "userkey.pem", pki / "certificates"
        )
        door = settings.endpoints(site.load((lab.site,)), "bestman", local=True)[0]
        session = SrmSession(door, credential.context(), time.monotonic() + 60)
        session.connect()
        session.authenticate()
        seen = {entry.path.rpartition("/")[2] for entry in session.entries(f"{AREA}/names")}
        session.close()
        assert seen == {*names, beyond}
        lab.run(TRANSFER, f"rm '{AREA}/names/{beyond}'")
        surl = f"srm://{DOOR}:8443/srm/v2/server?SFN={AREA}/names"
        theirs = lab.as_alice(f"gfal-ls {surl}").stdout.splitlines()
        assert theirs == sorted(name.encode("latin-1").decode() for name in names)
    finally:
        lab.run(TRANSFER, f"rm -r {AREA}/names")


def test_recovered_and_hung(lab: TestLab) -> None:
    over = (*ONE, "--overload", "150")
    found = smoke(lab, *over)
    recovery = campaign_of(found).recovery
    assert recovery is not None and recovery.seconds is not None and recovery.seconds < 30
    assert "recovered" in found["recovery"]
    # The stand-in then does as the older flavour did: it serves nobody any more.
    set_values(
        lab.site / "group_vars" / "bestman.yml", bestman_java_options=["-Dstandin.hangAbove=60"]
    )
    set_values(lab.site / "group_vars" / "all.yml", smoke_patience_seconds=12)
    lab.apply("--component", "bestman")
    try:
        found = smoke(lab, *over, code=5)
        assert "hung" in found["recovery"] and not found["held"]
        assert campaign_of(found).recovery.seconds is None  # type: ignore[union-attr]
        normal = [point for point in found["points"] if not point["overload"]]
        assert all(not point["failures"] for point in normal)
    finally:
        set_values(lab.site / "group_vars" / "bestman.yml", bestman_java_options=[])
        lab.apply("--component", "bestman")
        lab.run(DOOR, "systemctl restart bestman2")


def test_bad_credentials_and_a_door_that_is_down(lab: TestLab, tmp_path: Path) -> None:
    users = lab.site / ".lab" / "pki" / "users"
    mallory = (
        "--cert",
        str(users / "mallory/usercert.pem"),
        "--key",
        str(users / "mallory/userkey.pem"),
    )
    stranger = lab.cli("smoke", *ONE, *mallory)
    assert stranger.returncode == 1 and "Gridmap lookup failure" in words(stranger)
    nobody = lab.cli("smoke", *ONE, "--ca-dir", str(tmp_path))
    assert nobody.returncode == 1 and "not trusted" in words(nobody)
    missing = lab.cli("smoke", *ONE, "--proxy", str(tmp_path / "none.pem"))
    assert missing.returncode == 4 and "none.pem" in words(missing)
    lab.run(DOOR, "systemctl stop bestman2")
    try:
        found = smoke(lab, *ONE, code=5)
    finally:
        lab.run(DOOR, "systemctl start bestman2")
    assert [set(point["failures"]) for point in found["points"]] == [{"refused"}]
    assert in_storage(lab) == []


@contextmanager
def begun(lab: TestLab, *args: str) -> Iterator[subprocess.Popen[str]]:
    """A test whose first point has begun."""
    with subprocess.Popen(
        [CLI, "smoke", "-i", str(lab.site), *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("point 1"):
                break
        time.sleep(2)
        yield process


def test_ctrl_c_ends_it_within_two_seconds_with_what_was_measured(lab: TestLab) -> None:
    args = ("--clients", "8", "--seconds", "60", "--warm-up", "0", "--output", "json")
    with begun(lab, *args) as process:
        stopped = time.time()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    found = json.loads(out)
    assert found["incomplete"] == "interrupted" and found["points"][0]["rate"] > 0
    ends = [float(row["end"]) for row in operations(found)]
    assert ends and max(ends) < stopped + 2
    assert "interrupted" in Path(found["report"]["report"]).read_text()


def test_what_a_killed_run_left_goes_with_the_next(lab: TestLab) -> None:
    with begun(lab, *ONE[:4], "--seconds", "60") as process:
        # All of it at once, as when the power fails: of a kill of the first alone the rest hears,
        # and tidies up.
        whole = psutil.Process(process.pid)
        for one in (whole, *whole.children(recursive=True)):
            one.kill()
        process.communicate()
    assert any(name.startswith(".cloudlet-smoke-") for name in in_storage(lab))
    done = lab.cli("smoke", "--clean")
    assert done.returncode == 0 and "Removed" in done.stdout, done.stderr
    assert in_storage(lab) == []
    assert "Nothing to remove" in lab.cli("smoke", "--clean").stdout


SINK = Path(__file__).parents[1] / "benchmark" / "tls_sink.py"


@pytest.fixture
def sink(lab: TestLab) -> Iterator[None]:
    """A sink that counts in the place of the door, and the load from two hosts of the lab."""
    lab.run(DOOR, "systemctl stop bestman2; cat > /root/sink.py", stdin=SINK.read_text())
    lab.run(
        DOOR,
        "systemd-run --unit sink --collect python3 /root/sink.py --listen 0.0.0.0:8443 "
        "--certificate /etc/grid-security/hostcert.pem --key /etc/grid-security/hostkey.pem "
        "--ca-dir /etc/grid-security/certificates --control 9999 --entries 10",
    )
    groups = {"load_generators": {"hosts": {CLIENT: None, TRANSFER: None}}}
    load = lab.site / "load.yml"
    load.write_text(json.dumps(groups))
    try:
        yield
    finally:
        load.unlink()
        lab.run(DOOR, "systemctl stop sink; rm /root/sink.py; systemctl start bestman2")


def served(lab: TestLab) -> dict[str, int]:
    """What the sink has counted."""
    ask = (
        "import socket; print(socket.create_connection(('127.0.0.1', 9999)).makefile().readline())"
    )
    found: dict[str, int] = json.loads(lab.run(DOOR, f'python3 -c "{ask}"').stdout)
    return found


def test_the_sum_of_two_load_hosts_is_what_the_sink_counted(lab: TestLab, sink: None) -> None:
    before = served(lab)
    found = smoke(lab, "--clients", "8,16", *ONE[2:], "--processes", "1")
    campaign = campaign_of(found)
    assert served(lab)["ls"] - before["ls"] == sum(point.ended for point in campaign.points) > 0
    assert len(operations(found)) == sum(point.ended for point in campaign.points)
    hosts = {load.host for point in campaign.points for load in point.generators}
    assert hosts == {CLIENT, TRANSFER}
    assert all(point.point.kind is Kind.LS for point in campaign.points)
    for host in (CLIENT, TRANSFER):
        assert lab.run(host, "ls -d /tmp/cloudlet-smoke-* 2>/dev/null", check=False).stdout == ""


def test_a_worker_that_is_killed_is_reported(lab: TestLab, sink: None) -> None:
    args = ("--clients", "8", "--entries", "0", "--seconds", "30", "--service", "srm")
    with begun(lab, *args, "--processes", "1", "--output", "json") as process:
        lab.run(TRANSFER, "pkill -9 -f '[l]ocust .*--worker'")
        out, err = process.communicate(timeout=200)
    assert process.returncode == 5, err
    found = json.loads(out)
    assert not found["held"] and TRANSFER in found["incomplete"]
    assert f"the load process {TRANSFER}" in err
    assert campaign_of(found).points[0].incomplete
