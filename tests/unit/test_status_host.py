"""What ``host_status`` sees of managed files, units and certificates on a host."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.cloudlet.deploy.plugins.module_utils import release, status
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import Result

from cloudlet_deploy import __version__, content
from cloudlet_deploy.lab.ca import Pki
from tests.unit.config_host import Host, Units, file


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def run(argv: list[str], **_: Any) -> Result:
    """A host without systemd and with one package."""
    if argv[0] == "dpkg-query":
        return Result(1, "openjdk 17.0.2 installed\nsudo 1.9 config-files\n", "no others")
    return (
        Result(0, "java 17\nmore\n", "") if argv[0] in ("dpkg", "/bin/java") else Result(1, "", "")
    )


def look(host: Host, needs: dict[str, Any] | None = None) -> dict[str, Any]:
    found = status.look(needs or {}, run, str(host.state))
    json.dumps(found)
    assert isinstance(found, dict)
    return found


def drift(host: Host) -> dict[str, tuple[str, str]]:
    return {
        Path(entry["path"]).name: (entry["kind"], entry["detail"]) for entry in look(host)["drift"]
    }


def test_a_bare_host_has_nothing(host: Host) -> None:
    found = look(host)
    assert not found["applied"]
    assert found["sets"] == found["drift"] == found["problems"] == []
    assert found["lease"] is None
    assert not host.state.exists()


def test_each_kind_of_drift_is_named_once(host: Host) -> None:
    names = ("same", "edited", "gone", "opened", "linked")
    host.apply(
        *(file(host.etc / name, "secret words\n") for name in names),
        file(host.etc / "key", "secret words\n", mode="0400", secret=True),
        directories=[{"path": str(host.etc / "conf"), "mode": "0755"}],
    )
    assert drift(host) == {}
    (host.etc / "edited").write_text("other words\n")
    os.utime(host.etc / "edited", (1_000_000_000, 1_000_000_000))
    (host.etc / "gone").unlink()
    (host.etc / "opened").chmod(0o666)
    (host.etc / "linked").unlink()
    (host.etc / "linked").symlink_to("/etc/passwd")
    (host.etc / "conf").rmdir()
    (host.etc / "key").chmod(0o600)
    (host.etc / "key").write_text("worse words\n")
    found = drift(host)
    assert found.pop("key")[0] == "changed"
    assert found == {
        "conf": ("missing", ""),
        "edited": ("changed", "content, last written 2001-09-09T01:46:40Z"),
        "gone": ("missing", ""),
        "linked": ("replaced", "is a symbolic link now"),
        "opened": ("attributes", "mode 0666, not 0644"),
    }
    report = look(host)
    assert "words" not in json.dumps(report)
    assert [e["path"] for e in report["drift"] if e["secret"]] == [str(host.etc / "key")]


def test_a_set_tells_who_wrote_it(host: Host) -> None:
    host.apply(file(host.etc / "one"), run="20261123T120000Z-abcdef")
    galaxy = yaml.safe_load((content.root() / "galaxy.yml").read_text())
    assert release.RELEASE == __version__ == galaxy["version"]
    (told,) = look(host)["sets"]
    assert told == {
        "set": "demo",
        "generation": 1,
        "run": "20261123T120000Z-abcdef",
        "release": __version__,
        "files": 1,
        "unfinished": False,
    }
    # Another release that finds nothing to do leaves the manifest alone.
    path = host.set_dir / "manifest.json"
    path.write_text(path.read_text().replace(__version__, "0.0.9"))
    before = path.read_bytes()
    assert not host.apply(file(host.etc / "one"), run="another")["changed"]
    assert path.read_bytes() == before
    assert look(host)["sets"][0]["release"] == "0.0.9"


def test_looking_writes_nothing(host: Host) -> None:
    host.apply(file(host.etc / "one"))
    (host.etc / "one").write_text("by hand\n")
    before = host.snapshot(times=True, below=host.base)
    look(host)
    assert host.snapshot(times=True, below=host.base) == before


def test_what_must_restart_is_told(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    units = Units(tmp_path, monkeypatch)
    units.set("door.service", "one")
    host.apply(file(host.etc / "rc", restart=["door.service"]))
    assert look(host)["pending"]["restart"] == {"door.service": ["demo"]}
    units.set("door.service", "two")
    assert look(host)["pending"]["restart"] == {}


def test_what_is_left_to_remember_a_restart_is_nothing_of_ours(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Units(tmp_path, monkeypatch).set("door.service", "one")
    host.apply(file(host.etc / "rc", restart=["door.service"]))
    host.absent()
    report = look(host)
    assert (report["applied"], report["sets"]) == (False, [])
    assert list(report["pending"]["restart"]) == ["door.service"]


def test_a_damaged_manifest_is_named_and_the_rest_is_looked_at(host: Host) -> None:
    host.apply(file(host.etc / "one"))
    other = host.state / "sets" / "other"
    other.mkdir()
    (other / "manifest.json").write_text("{")
    (host.etc / "one").unlink()
    report = look(host)
    assert [entry["kind"] for entry in report["drift"]] == ["missing"]
    assert len(report["problems"]) == 1
    assert str(other / "manifest.json") in report["problems"][0]


def test_certificates_of_a_directory_once_each(host: Host, tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    pki.ensure(("door.lab.test",))
    (pki.certificates / "0123abcd.0").write_text("nothing\n")
    certificate = str(pki.host("door.lab.test") / "hostcert.pem")
    needs = {
        "grid_trust": {
            "certificates": [{"path": certificate}, {"path": "/nowhere.pem"}],
            "authorities": [str(pki.certificates)],
        }
    }
    found = {entry["path"]: entry for entry in look(host, needs)["certificates"]}
    assert found[certificate]["name"] == "/O=Grid/OU=lab/CN=door.lab.test"
    assert found["/nowhere.pem"]["error"] == "missing"
    assert found[str(pki.certificates / "0123abcd.0")]["error"].startswith("cannot be read")
    # Both names of the CA's files are the same CA.
    kinds = sorted(entry["kind"] for entry in found.values() if "error" not in entry)
    assert kinds == ["ca", "certificate", "crl"]


def test_packages_and_programs(host: Host) -> None:
    needs = {
        "java": {
            "packages": ["openjdk", "sudo"],
            "programs": [
                {"name": "java", "argv": ["/bin/java", "--version"]},
                {"name": "none", "argv": ["/bin/none"]},
            ],
        }
    }
    found = look(host, needs)
    assert found["packages"] == {"openjdk": "17.0.2", "sudo": ""}
    assert found["programs"] == {"java": "java 17", "none": ""}


def test_probes_that_fail_are_told(host: Host) -> None:
    told = {"what": "it is gone", "next_step": "Apply."}
    needs = {
        "java": {"probes": [{"argv": ["/bin/java", "--version"], **told}]},
        "firewall": {"probes": [{"argv": ["/bin/none"], **told}]},
    }
    assert look(host, needs)["probes"] == [{"component": "firewall", **told}]


def test_questions_that_wait_do_so_side_by_side(host: Host) -> None:
    asked = threading.Barrier(6, timeout=10)

    def waiting(argv: list[str], **_: Any) -> Result:
        if argv[0] == "ask":
            asked.wait()
        return Result(int(argv[-1] == "bad"), argv[-1], "")

    def probe(argv: list[str]) -> dict[str, Any]:
        return {"what": argv[-1], "next_step": "Look.", "argv": argv}

    programs = [{"name": name, "argv": ["ask", name]} for name in ("java", "bad")]
    needs = {
        "first": {"probes": [probe(["ask", "good"]), probe(["ask", "bad"])], "programs": programs},
        "second": {"probes": [probe(["ask", "bad"]), probe(["ask", "good"])]},
    }
    found = status.look(needs, waiting, str(host.state))
    assert [told["component"] for told in found["probes"]] == ["first", "second"]
    assert found["programs"] == {"java": "java", "bad": ""}
