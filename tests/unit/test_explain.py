"""``explain``: a value, every place that gives it, and what the role says of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret

from cloudlet_deploy import site
from cloudlet_deploy.cli import main
from cloudlet_deploy.errors import UsageError
from cloudlet_deploy.site.explanation import State, explain
from cloudlet_deploy.site.model import Source

HOSTS = """\
all:
  vars:
    bestman_heap_mb: 100
  children:
    bestman:
      vars:
        bestman_heap_mb: 200
      hosts:
        door.example.org:
          bestman_heap_mb: 300
    gridftp:
      hosts:
        dtn.example.org:
"""
DOOR = "door.example.org"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "site"
    for name, text in {
        "hosts.yml": HOSTS,
        "group_vars/all.yml": "bestman_heap_mb: 400\nstorage_path: /srv\n",
        "group_vars/bestman.yml": "\nbestman_heap_mb: 500\n",
        f"host_vars/{DOOR}.yml": "\n\nbestman_heap_mb: '{{ 2 * 300 }}'\n",
    }.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    return home


def test_every_place_that_lost_is_named_strongest_first(home: Path) -> None:
    found = explain(site.load(home, extra_vars=["bestman_heap_mb=700"]), DOOR, "bestman_heap_mb")
    places = [(p.source, Path(p.file).name, p.line) for p in (found.place, *found.lost) if p]
    assert places == [
        (Source.EXTRA, "--extra-vars", None),
        (Source.HOST_VARS, f"{DOOR}.yml", 3),
        (Source.HOST, "hosts.yml", 10),
        (Source.GROUP_VARS, "bestman.yml", 2),
        (Source.GROUP_VARS, "all.yml", 1),
        (Source.GROUP, "hosts.yml", 7),
        (Source.GROUP, "hosts.yml", 3),
        (Source.DEFAULT, "main.yml", found.lost[-1].line),
    ]
    assert [p.written for p in found.lost][:-1] == ["{{ 2 * 300 }}", 300, 500, 400, 200, 100]
    assert found.value == "700"


def test_the_order_is_ansibles(home: Path) -> None:
    """Removing the strongest place again and again gives what was named next."""
    changes = [
        (f"host_vars/{DOOR}.yml", "x: 1\n"),
        ("hosts.yml", HOSTS.replace("bestman_heap_mb: 300", "x: 1")),
        ("group_vars/bestman.yml", "x: 1\n"),
        ("group_vars/all.yml", "x: 1\n"),
    ]
    for name, text in changes:
        expected = explain(site.load(home), DOOR, "bestman_heap_mb").lost[0]
        (home / name).write_text(text)
        now = explain(site.load(home), DOOR, "bestman_heap_mb").place
        assert now is not None
        assert (now.source, now.file, now.written) == (
            expected.source,
            expected.file,
            expected.written,
        )


def test_a_default_and_a_variable_of_another_role(home: Path) -> None:
    found = explain(site.load(home), DOOR, "bestman_certificate")
    assert (found.state, found.deployed) == (State.DEFERRED, True)
    assert found.place is not None and found.place.source is Source.DEFAULT
    other = explain(site.load(home), DOOR, "gridftp_port")
    assert (other.state, other.deployed, other.place) == (State.UNSET, False, None)


def _json(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    assert main(["explain", *argv, "--output", "json"]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_secrets_are_masked_wherever_they_stand(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lib = VaultLib([("default", VaultSecret(b"pw"))])
    text = str(lib.encrypt("bestman_port: 8447\n"), "ascii")
    (home / f"host_vars/{DOOR}.yml").write_text(text)
    (home / "group_vars/all.yml").write_text("bestman_port: 8448\nansible_password: geheim\n")
    (tmp_path / "pw").write_text("pw")
    opened = ("-i", str(home), "--vault-password-file", str(tmp_path / "pw"))
    said = _json(capsys, *opened, DOOR, "bestman_port")
    assert (said["state"], said["value"], said["secret"]) == ("known", "********", True)
    assert "8447" not in json.dumps(said) and "8448" not in json.dumps(said)
    assert "geheim" not in json.dumps(_json(capsys, "-i", str(home), DOOR, "ansible_password"))
    assert main(["explain", *opened, DOOR, "bestman_port"]) == 0
    assert "844" not in capsys.readouterr().out.replace("default 8443", "").replace(": 8443", "")


def test_what_is_not_known_is_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lib = VaultLib([("default", VaultSecret(b"pw"))])
    lines = str(lib.encrypt("8447"), "ascii").splitlines()
    (home / f"host_vars/{DOOR}.yml").write_text(
        "bestman_port: !vault |\n"
        + "".join(f"  {line}\n" for line in lines)
        + "bestman_heap_mb: \"{{ ansible_facts['memtotal_mb'] // 2 }}\"\n"
    )
    opaque = _json(capsys, "-i", str(home), DOOR, "bestman_port")
    assert (opaque["state"], opaque["value"]) == ("opaque", None)
    deferred = _json(capsys, "-i", str(home), DOOR, "bestman_heap_mb")
    assert (deferred["state"], deferred["value"]) == ("deferred", None)
    assert deferred["detail"] == "ansible_facts is known in a run only"
    assert deferred["origin"]["line"] == len(lines) + 2


def test_on_the_screen(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "-i", "site", DOOR, "bestman_heap_mb"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"bestman_heap_mb on {DOOR}\n  value     600\n")
    assert f"  from      site/host_vars/{DOOR}.yml:3:18 (host_vars)\n" in out
    assert "  written   {{ 2 * 300 }}\n" in out
    role = r"roles/bestman/defaults/main\.yml:\d+:\d+ \(role default\): 1024"
    assert re.search(role, " ".join(out.split()))
    assert "  spec      int, default 1024; role bestman\n" in out
    assert "Range: 64 to 1048576." in out
    assert max(map(len, out.splitlines())) <= 80


def test_a_fault_of_the_value_is_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / f"host_vars/{DOOR}.yml").write_text("bestman_heap_mb: 2g\n")
    assert main(["explain", "-i", str(home), DOOR, "bestman_heap_mb"]) == 0
    assert "Write MB without a unit: 2048." in capsys.readouterr().out


def test_unknown_names_get_near_ones(home: Path) -> None:
    loaded = site.load(home)
    with pytest.raises(UsageError) as caught:
        explain(loaded, "dor.example.org", "storage_path")
    assert caught.value.next_step.startswith(f"Did you mean {DOOR}")
    with pytest.raises(UsageError) as caught:
        explain(loaded, DOOR, "bestman_hep_mb")
    assert caught.value.next_step.startswith("Did you mean bestman_heap_mb")
    with pytest.raises(UsageError) as caught:
        explain(loaded, "qqqq", "storage_path")
    assert caught.value.next_step == f"The hosts are: {DOOR}, dtn.example.org"
    assert main(["explain", "-i", str(home), DOOR, "zzz"]) == 64
