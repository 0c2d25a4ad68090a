"""What is measured of a cloudlet, the verdict on it, and how it is told."""

from __future__ import annotations

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudlet_deploy import content, site
from cloudlet_deploy.cli import _smoke_cloudlet, main
from cloudlet_deploy.errors import ExitCode, InvalidSiteError
from cloudlet_deploy.smoke import cloudlet, cloudlet_report, settings
from cloudlet_deploy.smoke.cloudlet import Demand, Hop, HopSeen, MountSeen, Rate
from tests.unit.test_smoke_report import EVIL, Page
from tests.unit.test_status import width

__all__ = ["width"]  # a fixture

CAMERA, HOST, LOGIN = "camera.example.org", "em.example.org", "login.example.org"
HOP = Hop("camera", CAMERA, HOST, least=1000)
WANTED = cloudlet.Wanted(
    hops=(HOP, Hop("cluster", HOST, LOGIN, most=1000)),
    mounts=(HOST,),
    demands=(Demand("projects", least_read=50, least_write=40),),
    share_least_read=125,
    port=5201,
    seconds=10,
    mib=1024,
)
SHARE = MountSeen(HOST, "k3", "cifs", "/srv/k3", read=Rate(1 << 30, 6.0))
SPACE = MountSeen(
    HOST, "projects", "sshfs", "/srv/em", read=Rate(1 << 30, 12.0), write=Rate(1 << 30, 14.0)
)
SEEN = cloudlet.Measurement(
    run_id="20261128T010000Z-abcdef",
    site="my-site",
    began=1_795_000_000.0,
    took=61.5,
    wanted=WANTED,
    hops=(HopSeen(HOP, 1450.2, 3), HopSeen(WANTED.hops[1], 940.1, 0)),
    mounts=(SHARE, SPACE),
)


def got(seen: cloudlet.Measurement) -> dict[str, tuple[str, bool]]:
    return {one.name: (one.got, one.held) for one in cloudlet.judge(seen)}


def test_what_the_site_demands_is_held_against_what_was_measured() -> None:
    assert got(SEEN) == {
        "hop camera": ("1,450 Mb/s", True),
        "hop cluster": ("940 Mb/s", True),
        f"reading k3 on {HOST}": ("179 MB/s", True),
        f"reading projects on {HOST}": ("89.5 MB/s", True),
        f"writing projects on {HOST}": ("76.7 MB/s", True),
    }
    assert cloudlet.exit_code(cloudlet.judge(SEEN)) is ExitCode.DONE


@pytest.mark.parametrize(
    ("seen", "name", "told"),
    [
        (replace(SEEN, hops=(HopSeen(HOP, 999.9),)), "hop camera", "1,000 Mb/s"),
        (replace(SEEN, hops=(HopSeen(WANTED.hops[1], 1000.1),)), "hop cluster", "1,000 Mb/s"),
        (replace(SEEN, mounts=(replace(SHARE, read=Rate(124_000_000, 1)), SPACE)),
         f"reading k3 on {HOST}", "124 MB/s"),
        (replace(SEEN, mounts=(replace(SPACE, read=Rate(49_000_000, 1)),)),
         f"reading projects on {HOST}", "49.0 MB/s"),
        (replace(SEEN, mounts=(replace(SPACE, write=Rate(39_000_000, 1)),)),
         f"writing projects on {HOST}", "39.0 MB/s"),
        (replace(SEEN, mounts=(replace(SPACE, write=None),)),
         f"writing projects on {HOST}", "none"),
        (replace(SEEN, mounts=(SHARE,)), "projects", "none"),
        (replace(SEEN, mounts=(replace(SPACE, read=None, problem="no answer within 40 s"),)),
         f"mount projects on {HOST}", "none"),
        (replace(SEEN, hops=(), mounts=()), "whole", "none"),
        (replace(SEEN, lost={HOST: "it does not answer"}), f"mounts on {HOST}", "none"),
    ],
)  # fmt: skip
def test_each_demand_can_fail(seen: cloudlet.Measurement, name: str, told: str) -> None:
    assert got(seen)[name] == (told, False)
    assert cloudlet.exit_code(cloudlet.judge(seen)) is ExitCode.CHECK_FAILED


def test_without_a_demand_there_is_none_for_a_project_space() -> None:
    seen = replace(SEEN, wanted=replace(WANTED, demands=()))
    assert [name for name in got(seen) if "projects" in name] == []
    slow = replace(SEEN, wanted=replace(WANTED, demands=(Demand("k3", least_read=1),)))
    assert got(slow)[f"reading k3 on {HOST}"][1]


def test_a_rate_of_little_says_so() -> None:
    seen = replace(SEEN, mounts=(replace(SHARE, read=Rate(5_000_000, 0.001)),))
    words = {one.name: one.words for one in cloudlet.judge(seen)}
    assert "Only 5.0 MB were there for it." in words[f"reading k3 on {HOST}"]
    slow = replace(SEEN, mounts=(replace(SHARE, read=Rate(5_000_000, 10.01)),))
    assert all("Only" not in one.words for one in cloudlet.judge(slow))


# --- what hosts report --------------------------------------------------------------------


def hop_report(state: str, **more: Any) -> dict[str, Any]:
    return {"hop": "camera", "state": state, **more}


@pytest.mark.parametrize(
    ("reports", "lost", "mbit", "words"),
    [
        ([(HOST, hop_report("serving", problem="")),
          (CAMERA, hop_report("asked", mbit=1.5, retransmits=2))], {}, 1.5, ""),
        ([(HOST, hop_report("serving", problem="port 5201 is taken by x")),
          (CAMERA, hop_report("asked", problem="refused"))], {}, None,
         f"{HOST}: port 5201 is taken by x"),
        ([(HOST, hop_report("serving", problem="")),
          (CAMERA, hop_report("asked", problem="timed out"))], {}, None,
         f"{CAMERA}: timed out. Let {CAMERA} through to port 5201 of {HOST}"),
        ([], {CAMERA: "it does not answer"}, None, f"{CAMERA}: it does not answer"),
        ([], {}, None, "nothing was reported"),
    ],
)  # fmt: skip
def test_a_hop_is_what_its_two_ends_report(
    reports: list[tuple[str, dict[str, Any]]], lost: dict[str, str], mbit: float | None, words: str
) -> None:
    seen, _ = cloudlet.hops_seen(WANTED, reports, lost)
    assert seen.mbit == mbit
    assert words in seen.problem
    assert bool(words) == bool(seen.problem)


def test_a_mount_is_what_its_host_reports() -> None:
    report = {
        "mount": "k3", "kind": "cifs", "where": "/srv/k3", "problem": "", "left": "",
        "read": {"bytes": 1 << 30, "seconds": 6.0}, "write": None,
    }  # fmt: skip
    assert cloudlet.mounts_seen([(HOST, report), (HOST, hop_report("ended"))]) == (SHARE,)


# --- what the site says -------------------------------------------------------------------


@pytest.fixture
def inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cloudlet, with a camera and a cluster's login node that are no part of it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    path = tmp_path / "site"
    (path / "group_vars").mkdir(parents=True)
    groups: dict[str, Any] = {
        "cloudlet": {"hosts": {HOST: {}}},
        "others": {"hosts": {CAMERA: {}, LOGIN: {}}},
    }
    (path / "hosts.yml").write_text(yaml.safe_dump(groups))
    return path


def say(inventory: Path, **values: Any) -> None:
    (inventory / "group_vars" / "all.yml").write_text(yaml.safe_dump(values))


def hop(**more: Any) -> dict[str, Any]:
    return {"name": "camera", "from": CAMERA, "to": HOST, **more}


def test_the_sites_words_become_what_is_measured(inventory: Path) -> None:
    say(
        inventory,
        smoke_hops=[hop(least_mbit=1000)],
        smoke_mounts=[{"name": "projects", "least_write": 40}],
        smoke_transfer_seconds=3,
    )
    loaded = site.load((inventory,))
    found = cloudlet.wanted(loaded, settings.of_site(loaded))
    assert found == cloudlet.Wanted(
        (HOP,), (HOST,), (Demand("projects", None, 40),), 125, 5201, 3, 1024
    )
    assert found.hosts == (CAMERA, HOST)
    loaded = site.load((inventory,), limit=HOST)
    assert cloudlet.wanted(loaded, settings.of_site(loaded)).hosts == (HOST,)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"smoke_hops": [hop(to="elsewhere")]}, r"the host elsewhere \(to\), which is not in"),
        ({"smoke_hops": [hop(to=CAMERA)]}, "the same host at both ends"),
        ({"smoke_hops": [hop(), hop()]}, "the name camera twice"),
        ({"smoke_mounts": [{"name": "k3"}, {"name": "k3"}]}, "the name k3 twice"),
    ],
)
def test_what_cannot_be_is_refused(inventory: Path, values: dict[str, Any], words: str) -> None:
    say(inventory, **values)
    loaded = site.load((inventory,))
    with pytest.raises(InvalidSiteError, match=words):
        cloudlet.wanted(loaded, settings.of_site(loaded))


@pytest.mark.parametrize(
    ("values", "args", "code", "words"),
    [
        ({"smoke_production": True}, [], 64, "--yes measures it without asking"),
        ({"smoke_hops": [hop(streams=0)]}, [], 4, "streams"),
        ({"smoke_hops": [hop(leest_mbit=1)]}, [], 4, "leest_mbit"),
        ({}, ["--limit", f"others,{HOST}", "--only", "storage"], 64, "grid certificate"),
    ],
)
def test_the_command_refuses_before_it_touches_a_host(
    inventory: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    values: dict[str, Any],
    args: list[str],
    code: int,
    words: str,
) -> None:
    say(inventory, **values)
    assert main(["smoke", "-i", str(inventory), *args]) == code
    told = capsys.readouterr()
    assert words in " ".join((told.out + told.err).split())


def test_json_tells_of_one_part_only(
    inventory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = shutil.copytree(content.root() / "inventories" / "ucsd", tmp_path / "both")
    shutil.copy(inventory / "hosts.yml", both / "more.yml")
    assert main(["smoke", "-i", str(both), "--output", "json"]) == 64
    told = capsys.readouterr()
    assert "--only storage or --only cloudlet" in told.out + told.err


# --- how it is told -----------------------------------------------------------------------

BAD = replace(
    SEEN,
    hops=(replace(SEEN.hops[0], mbit=None, problem=f"{CAMERA}: {EVIL}"), SEEN.hops[1]),
    mounts=(SHARE, replace(SPACE, read=None, write=None, problem="no answer within 40 s",
                           left="/srv/em/.cloudlet-smoke-em")),
    remarks=("This is a lab.",),
)  # fmt: skip


def test_the_table_fits_and_ends_with_the_verdict(
    width: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = cloudlet_report.write(tmp_path, BAD)
    _smoke_cloudlet.show(BAD, cloudlet.judge(BAD), paths)
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert max(len(line) for line in lines if str(tmp_path) not in line) <= width
    said = " ".join(out.split())
    assert "hop cluster: wanted at most 1,000 Mb/s, got 940 Mb/s: holds." in said
    assert f"mount projects on {HOST}: wanted a rate, got none: does not hold." in said
    assert "/srv/em/.cloudlet-smoke-em may be left there." in said
    assert "\x1b" not in out


def test_the_files_hold_all_of_it(tmp_path: Path) -> None:
    paths = cloudlet_report.write(tmp_path / "new", BAD)
    document = json.loads(paths.measurement.read_text())
    assert document["schema"] == 1
    assert document["measurement"]["hops"][1]["mbit"] == 940.1
    assert [one["held"] for one in document["findings"]] == [False, True, True, False]
    rows = list(csv.DictReader(io.StringIO(paths.rates.read_text())))
    assert [(row["what"], row["rate"], row["unit"]) for row in rows] == [
        ("hop", "", "Mb/s"), ("hop", "940.1", "Mb/s"), ("read", "178.957", "MB/s"),
        ("read", "", ""), ("write", "", ""),
    ]  # fmt: skip
    data = json.loads(json.dumps(_smoke_cloudlet.as_data(BAD, cloudlet.judge(BAD), paths)))
    assert data["held"] is False
    assert data["mounts"][0]["read_mb"] == 178.957
    assert data["mounts"][1]["problem"] == "no answer within 40 s"


def test_the_page_shows_what_hosts_say_as_text_and_loads_nothing() -> None:
    page = Page(cloudlet_report.page(BAD))
    assert "does not hold" in page.text
    assert "1,024" in page.text or "1024" in page.text
    assert "179 MB/s" in page.text
    assert {"script", "img"} & {name for name, _ in page.tags} == set()
    assert "alert(1)" in page.text
    for _, attributes in page.tags:
        assert not {"src", "onerror", "onclick"} & attributes.keys()
    calm = Page(cloudlet_report.page(replace(SEEN, wanted=replace(WANTED, demands=()))))
    assert "holds" in calm.text
