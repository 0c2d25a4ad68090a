"""A Globus container's configuration on this machine, and what roles refuse of it, offline."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudlet_deploy import site
from cloudlet_deploy.site.validation import validate
from tests.unit.grid_site import DOOR, TRANSFER, make_pki

GOOD = "<deployment><globalConfiguration/></deployment>"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("containers")
    material = make_pki(directory / "pki")
    home = directory / "site"
    (home / "group_vars").mkdir(parents=True)
    (home / "hosts.yml").write_text(
        f"bestman: {{hosts: {{{DOOR}: }}}}\ngridftp: {{hosts: {{{TRANSFER}: }}}}\n"
    )
    every = f"{material.settings}host_check_memory_mb: 8192\nstorage_path: /srv/storage\n"
    (home / "group_vars/all.yml").write_text(every)
    return home


def _faults(home: Path, *settings: str, files: bool = True) -> list[tuple[str, str, int | None]]:
    text = "\n".join(("bestman_flavour: globus", *settings, ""))
    (home / "group_vars/bestman.yml").write_text(text)
    return [(f.variable, f.message, f.line) for f in validate(site.load(home), files=files)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "does not exist"),
        ("", "is empty"),
        ("<deployment>", "is not well-formed XML: no element found: line 1, column 12"),
        ("<deployment/>", "has no element globalConfiguration below deployment"),
        (GOOD, ""),
    ],
)
def test_a_configuration_is_looked_at(
    home: Path, tmp_path: Path, text: str | None, message: str
) -> None:
    path = tmp_path / "server-config.wsdd"
    if text is not None:
        path.write_text(text)
    found = _faults(home, f"bestman_globus_config: {path}")
    assert found == [("bestman_globus_config", f"{path} {message}", 2)][: bool(message)]
    assert _faults(home, f"bestman_globus_config: {path}", files=False) == []


def test_a_site_without_one_is_told_what_to_copy(home: Path) -> None:
    ((variable, message, _),) = _faults(home)
    assert (variable, message) == ("bestman_globus_config", "is empty")
    ((variable, message, line),) = _faults(home, "bestman_globus_config: files/x.wsdd")
    assert (variable, message, line) == ("bestman_globus_config", "must be an absolute path", 2)


def test_the_placeholder_is_no_file(home: Path) -> None:
    ((_, message, _),) = _faults(home, "bestman_globus_config: /CHANGE-ME/server-config.wsdd")
    assert message == "still holds the placeholder that `init` wrote"
