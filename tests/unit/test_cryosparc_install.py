"""Where versions lie, how their settings are kept, and how secrets get to the vendor's programs."""

from __future__ import annotations

import hashlib
import os
import pwd
import subprocess
import tarfile
import threading
import urllib.error
import uuid
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.cloudlet.deploy.plugins.action import cryosparc_install as action
from ansible_collections.cloudlet.deploy.plugins.module_utils import cryosparc_layout as layout
from ansible_collections.cloudlet.deploy.plugins.module_utils import cryosparc_version
from ansible_collections.cloudlet.deploy.plugins.module_utils.cryosparc_program import Programs
from ansible_collections.cloudlet.deploy.plugins.module_utils.host_state import Ledger
from ansible_collections.cloudlet.deploy.plugins.module_utils.idmaps import Refused
from ansible_collections.cloudlet.deploy.plugins.plugin_utils import archives
from hypothesis import given
from hypothesis import strategies as st

LICENSE = "c0ffee00-1ab0-4e57-8a11-2bad5eed0001"
OTHER = "0ddba115-1ab0-4e57-8a11-2bad5eed0002"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becoming an account needs root")
NAMES = st.from_regex(r"\ACRYOSPARC_[A-Z_]{1,12}\Z")
VALUES = st.from_regex(r"\A[A-Za-z0-9./_-]{0,12}\Z")


@given(st.dictionaries(NAMES, VALUES), st.dictionaries(NAMES, VALUES), st.booleans())
def test_other_values_in_a_config_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory,
    found: dict[str, str],
    wanted: dict[str, str],
    quoted: bool,
) -> None:
    mark = '"' if quoted else ""
    lines = ["# The site's own words.", *(f"export {k}={mark}{v}{mark}" for k, v in found.items())]
    path = tmp_path_factory.mktemp("config") / "config.sh"
    path.write_text(layout.edited("\n".join([*lines, "ulimit -n 4096"]) + "\n", wanted))
    assert layout.settings(str(path)) == {**found, **wanted}
    kept = [line for line in lines if line.partition("=")[0].split()[-1] not in wanted]
    assert [line for line in path.read_text().splitlines() if line in kept] == kept
    assert "ulimit -n 4096" in path.read_text().splitlines()
    said = subprocess.run(
        ["bash", "-c", '. "$0"; env', path], capture_output=True, text=True, check=True, env={}
    ).stdout.splitlines()
    assert {f"{k}={v}" for k, v in {**found, **wanted}.items()} <= set(said)


def test_links_lead_to_one_version(tmp_path: Path) -> None:
    own = layout.Layout(str(tmp_path))
    assert own.current() == ""
    for version, parts in {"v1": ("master", "worker"), "v2": ("master",)}.items():
        for part in parts:
            Path(own.part(version, part)).mkdir(parents=True)
    own.use("v1")
    assert own.current() == "v1"
    assert Path(own.link("worker")).resolve() == Path(own.part("v1", "worker"))
    own.use("v2")
    assert own.current() == "v2"
    assert not Path(own.link("worker")).is_symlink()


@needs_root
def test_a_secret_is_a_word_that_no_process_list_shows(tmp_path: Path) -> None:
    """And the script sees itself called as it always is."""
    secret = str(uuid.uuid4())
    script = tmp_path / "install.sh"
    script.write_text('echo "$0|$*|$#"; umask; cat; sleep 0.5\n')
    seen: set[str] = set()
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    text = process.read_bytes()
                except OSError:
                    continue
                if secret.encode() in text or str(script).encode() in text:
                    seen.add(text.replace(b"\0", b" ").decode())

    looking = threading.Thread(target=look)
    looking.start()
    try:
        done = Programs(pwd.getpwuid(0).pw_name).run(
            str(script), "--yes", "two words", secrets=("--license", secret)
        )
    finally:
        ended.set()
        looking.join()
    assert done.out.splitlines() == [f"{script}|--yes two words --license ***|4", "0077"]
    assert any(str(script) in words for words in seen), "the program was not seen at all"
    assert not [words for words in seen if secret in words]


@needs_root
def test_what_a_program_says_of_a_secret_is_not_told(tmp_path: Path) -> None:
    script = tmp_path / "fails"
    script.write_text('echo "no license $2" >&2; exit 3\n')
    programs = Programs(pwd.getpwuid(0).pw_name)
    with pytest.raises(Refused, match=r"The installer failed: no license \*\*\*") as refused:
        programs.checked("The installer", str(script), secrets=("--license", LICENSE))
    assert LICENSE not in str(refused.value)


class Vendor:
    """An archive of the vendor's, and the options to install it."""

    def __init__(self, home: Path, version: str = "v5.0.1", script: str = "") -> None:
        self.home = home
        top = home / "made" / "cryosparc_master"
        top.mkdir(parents=True)
        (top / "version").write_text(version + "\n")
        (top / "install.sh").write_text(
            script or 'echo "export CRYOSPARC_LICENSE_ID=$8" >config.sh\n'
        )
        archive = home / "cryosparc_master.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(top, arcname="cryosparc_master")
        self.archive = archive
        self.options: dict[str, Any] = {
            "directory": str(home / "opt"),
            "version": "v5.0.1",
            "license": LICENSE,
            "account": pwd.getpwuid(0).pw_name,
            "hostname": "c.example.org",
            "port": 61000,
            "database": "/var/lib/cryosparc/database",
            "worker": False,
            "gpu": False,
            "master_checksum": "sha256:" + hashlib.sha256(archive.read_bytes()).hexdigest(),
            "timeout": 60,
            "sources": {"master": str(archive)},
            "state_dir": str(home / "state"),
        }

    def installation(self, **changes: Any) -> cryosparc_version.Installation:
        return cryosparc_version.Installation({**self.options, **changes})


def _words(result: dict[str, Any]) -> list[tuple[str, str]]:
    return [(change["kind"], change["action"]) for change in result["changes"]]


@needs_root
def test_a_version_is_installed_once(tmp_path: Path) -> None:
    vendor = Vendor(tmp_path)
    planned = vendor.installation(sources={}).present(check=True)
    done = vendor.installation().present(check=False)
    assert planned["changes"] == done["changes"]
    assert _words(done) == [("directory", "create"), ("cryosparc", "install")]
    config = tmp_path / "opt/v5.0.1/cryosparc_master/config.sh"
    assert config.stat().st_mode & 0o777 == 0o600
    again = vendor.installation(sources={}).present(check=False)
    # The installer did not write name and port: they are put right, as other values would be.
    assert _words(again) == [("file", "change")]
    assert vendor.installation(sources={}).present(check=False)["changes"] == []


@needs_root
def test_another_license_is_written_and_asks_for_a_restart(tmp_path: Path) -> None:
    vendor = Vendor(tmp_path)
    vendor.installation().present(check=False)
    vendor.installation(sources={}).present(check=False)
    found = vendor.installation(sources={}, license=OTHER).present(check=False)
    assert found["configured"]
    config = tmp_path / "opt/v5.0.1/cryosparc_master/config.sh"
    assert layout.settings(str(config))[layout.LICENSE] == OTHER
    assert config.stat().st_mode & 0o777 == 0o600


@needs_root
@pytest.mark.parametrize(
    ("version", "script", "told"),
    [
        ("v5.0.1", "echo cannot compile; exit 1\n", "cannot compile"),
        ("v5.0.2", "", "holds v5.0.2"),
        ("v5.0.1", "true\n", "config.sh"),
    ],
    ids=["installer", "version", "no config"],
)
def test_an_installation_that_fails_leaves_nothing(
    tmp_path: Path, version: str, script: str, told: str
) -> None:
    vendor = Vendor(tmp_path, version, script)
    with pytest.raises((Refused, OSError), match=told):
        vendor.installation().present(check=False)
    assert not (tmp_path / "opt").exists()
    assert Ledger(str(tmp_path / "state")).entries == {}


@needs_root
def test_an_archive_that_was_cut_short_is_not_unpacked(tmp_path: Path) -> None:
    vendor = Vendor(tmp_path)
    vendor.archive.write_bytes(vendor.archive.read_bytes()[:-40])
    with pytest.raises(Refused, match="has the checksum"):
        vendor.installation().present(check=False)
    assert not (tmp_path / "opt").exists()


@needs_root
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"version": "v4.7.1"}, r"v4\.7\.1, and v5\.0\.1 has opened the database"),
        ({"database": "/srv/other"}, r"is /srv/other, and the database is in /var/lib/cryosparc"),
        ({"version": "v5.0.2"}, "was not installed by cloudlet-deploy"),
        ({}, ""),
    ],
    ids=["older", "moved", "foreign", "fine"],
)
def test_what_an_installation_does_not_bear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], told: str
) -> None:
    for name in ("check_hostname", "check_path", "check_ports"):
        monkeypatch.setattr(cryosparc_version.cryosparc_host, name, lambda _: None)
    script = 'echo "export CRYOSPARC_DB_PATH=/var/lib/cryosparc/database" >config.sh\n'
    vendor = Vendor(tmp_path, script=script)
    vendor.installation().present(check=False)
    layout.Layout(str(tmp_path / "opt")).use("v5.0.1")
    (tmp_path / "opt/v5.0.2").mkdir()
    if not told:
        vendor.installation(**changes).refuse()
        return
    with pytest.raises(Refused, match=told):
        vendor.installation(**changes).refuse()


@needs_root
def test_an_installation_that_was_cut_off_is_begun_anew(tmp_path: Path) -> None:
    vendor = Vendor(tmp_path)
    half = vendor.installation()
    half._write_down("master", None)
    left = tmp_path / "opt/v5.0.1/cryosparc_master/left"
    left.parent.mkdir(parents=True)
    left.touch()
    assert ("cryosparc", "install") in _words(vendor.installation().present(check=False))
    assert not left.exists()


@needs_root
def test_what_was_installed_goes_and_what_was_there_stays(tmp_path: Path) -> None:
    vendor = Vendor(tmp_path)
    vendor.installation().present(check=False)
    layout.Layout(str(tmp_path / "opt")).use("v5.0.1")
    state = vendor.options["state_dir"]
    planned = cryosparc_version.absent(state, check=True)
    assert cryosparc_version.absent(state, check=False)["changes"] == planned["changes"]
    assert _words(planned) == [("cryosparc", "remove"), ("directory", "remove")]
    assert not (tmp_path / "opt").exists()
    (tmp_path / "opt").mkdir()
    vendor.installation().present(check=False)
    assert _words(cryosparc_version.absent(state, check=False)) == [("cryosparc", "remove")]
    assert (tmp_path / "opt").is_dir()


def _fetching(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: Any) -> Any:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    asked: list[str] = []

    def open_url(url: str, timeout: int) -> Any:
        asked.append(url)
        return answer(url)

    monkeypatch.setattr(archives, "open_url", open_url)
    own = object.__new__(action.ActionModule)
    args = {
        "master_archive": "https://example.org/master-{version}/{license}",
        "master_checksum": "sha256:" + hashlib.sha256(b"an archive").hexdigest(),
        "version": "v5.0.1",
        "license": LICENSE,
    }
    return own, args, asked


def test_a_url_gets_the_license_and_is_fetched_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"an archive")
    own, args, asked = _fetching(monkeypatch, tmp_path, lambda _: source.open("rb"))
    kept = own._source("master", args, False)
    assert own._source("master", args, False) == kept
    assert asked == [f"https://example.org/master-v5.0.1/{LICENSE}"]
    assert Path(kept).read_bytes() == b"an archive"
    assert LICENSE not in kept


def test_a_kept_archive_that_was_damaged_is_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"an archive")
    own, args, asked = _fetching(monkeypatch, tmp_path, lambda _: source.open("rb"))
    kept = Path(own._source("master", args, False))
    kept.write_bytes(b"an arch")
    assert Path(own._source("master", args, False)).read_bytes() == b"an archive"
    assert len(asked) == 2
    assert list(kept.parent.iterdir()) == [kept]


def test_an_archive_on_the_controller_that_is_not_there(tmp_path: Path) -> None:
    own = object.__new__(action.ActionModule)
    path = str(tmp_path / "100%s")
    args = {"master_archive": path, "master_checksum": "sha256:" + 64 * "0", "license": LICENSE}
    with pytest.raises(AnsibleActionFail) as failed:
        own._source("master", args | {"version": "v5.0.1"}, False)
    assert str(failed.value) == (
        f"cryosparc_master_archive: {path} cannot be read: No such file or directory."
    )


@pytest.mark.parametrize("wrong", ["content", "address"])
def test_a_url_that_fails_does_not_tell_the_license(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"an arch")

    def answer(url: str) -> Any:
        if wrong == "content":
            return source.open("rb")
        raise urllib.error.URLError(f"no such page: {url}")

    own, args, _ = _fetching(monkeypatch, tmp_path, answer)
    with pytest.raises(AnsibleActionFail) as failed:
        own._source("master", args, False)
    assert "cryosparc_master_archive" in str(failed.value)
    assert LICENSE not in str(failed.value)
    assert list((tmp_path / "cloudlet-deploy/archives").iterdir()) == []
