"""The inventories that come with the program are sites that ``validate`` passes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cloudlet_deploy import content, site
from cloudlet_deploy.cli import main
from cloudlet_deploy.lab.ca import Pki
from cloudlet_deploy.lab.ssh import Keys
from cloudlet_deploy.site.validation import validate

EXAMPLES = content.root() / "inventories"
NAMES = sorted(path.name for path in EXAMPLES.iterdir() if (path / "hosts.yml").is_file())
PLACEHOLDER = "still holds the placeholder that `init` wrote"


def _copy(name: str, directory: Path) -> Path:
    """The example, with certificates and keys that ``lab up`` would make beside a lab's own."""
    home = directory / name
    shutil.copytree(EXAMPLES / name, home, ignore=shutil.ignore_patterns(".lab"))
    if "lab" in name:
        hosts = tuple(site.load(home).hosts)
        Pki(home / ".lab" / "pki").ensure(hosts)
        Keys(home / ".lab" / "ssh").ensure(hosts)
    return home


def test_there_are_examples() -> None:
    assert {"lab", "ucsd"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_validates(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = _copy(name, tmp_path)
    assert main(["validate", "-i", str(home)]) == 0, capsys.readouterr().out
    assert "valid: " in capsys.readouterr().out


def test_the_lab_needs_nothing_filled_in(tmp_path: Path) -> None:
    assert validate(site.load(_copy("lab", tmp_path))) == []


def test_ucsd_wants_what_only_its_admin_has_and_tells_of_its_memory(tmp_path: Path) -> None:
    faults = validate(site.load(_copy("ucsd", tmp_path)))
    assert {(f.severity.value, f.variable) for f in faults if f.message == PLACEHOLDER} == {
        ("warning", "grid_trust_ca_files"),
        ("warning", "grid_trust_host_certificate"),
        ("warning", "grid_trust_host_key"),
    }
    (other,) = [f for f in faults if f.message != PLACEHOLDER]
    assert (other.severity.value, other.variable) == ("warning", "bestman_heap_mb")
    assert "heap and direct memory may grow to 10812 MB" in other.message


def test_ucsd_is_the_papers_site() -> None:
    groups = site.load(EXAMPLES / "ucsd").groups
    assert len(groups["hdfs_datanode"]) == 12
    assert len(groups["hdfs_namenode"]) == len(groups["bestman"]) == 1
