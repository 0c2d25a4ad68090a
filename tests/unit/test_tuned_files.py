"""The files that tune writes into a site, as Ansible and our own loader read them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudlet_deploy import site
from cloudlet_deploy.errors import InvalidSiteError, UsageError
from cloudlet_deploy.site import tuned
from cloudlet_deploy.site.tuned import Stamp

MADE = Stamp(clients=2000, model=1, date="2026-11-24")
HOST = "door.example.org"


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    (tmp_path / "hosts.yml").write_text(f"bestman:\n  hosts:\n    {HOST}:\n")
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars" / "all.yml").write_text("grouped: 1\n")
    return tmp_path


def tune(inventory: Path, made: Stamp = MADE, **values: Any) -> tuned.Edit:
    edit = tuned.edit_for_hosts([inventory], {HOST: values}, made)
    edit.carry_out()
    return edit


def seen_by_ansible(inventory: Path) -> Any:
    program = Path(sys.executable).parent / "ansible-inventory"
    done = subprocess.run(
        [program, "-i", str(inventory), "--host", HOST], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def place(inventory: Path) -> Path:
    return inventory / "host_vars" / HOST / "zz_tuned.yml"


def files(directory: Path) -> dict[str, str]:
    return {str(p.relative_to(directory)): p.read_text() for p in directory.rglob("*.yml")}


def test_ansible_reads_the_values(inventory: Path) -> None:
    tune(inventory, bestman_heap_mb=5256, bestman_event_log=False)
    found = seen_by_ansible(inventory)
    assert (found["bestman_heap_mb"], found["bestman_event_log"]) == (5256, False)
    assert tuned.stamp(place(inventory)) == MADE


@pytest.mark.parametrize("suffix", [".yml", ".yaml", ".json"])
def test_the_plain_file_of_the_host_stays_in_force(inventory: Path, suffix: str) -> None:
    plain = inventory / "host_vars" / f"{HOST}{suffix}"
    plain.parent.mkdir()
    plain.write_text('{"own": 7}')
    before = files(inventory)
    tune(inventory, bestman_heap_mb=5256)
    found = seen_by_ansible(inventory)
    assert (found["own"], found["bestman_heap_mb"]) == (7, 5256)
    assert plain.read_text() == '{"own": 7}'
    tuned.removal([place(inventory)]).carry_out()
    assert files(inventory) == before
    assert not (inventory / "host_vars" / HOST).exists()
    assert seen_by_ansible(inventory)["own"] == 7


def test_a_file_without_suffix_is_refused(inventory: Path) -> None:
    (inventory / "host_vars").mkdir()
    (inventory / "host_vars" / HOST).write_text("own: 7\n")
    with pytest.raises(InvalidSiteError, match="is a file"):
        tune(inventory, bestman_heap_mb=5256)
    assert (inventory / "host_vars" / HOST).read_text() == "own: 7\n"


def test_a_second_tune_replaces_and_the_same_one_does_nothing(inventory: Path) -> None:
    tune(inventory, bestman_heap_mb=5256, bestman_nofile=65536)
    assert not tune(inventory, Stamp(2000, 1, "2026-12-01"), bestman_heap_mb=5256,
                    bestman_nofile=65536)  # fmt: skip
    tune(inventory, Stamp(500, 1, "2026-12-01"), bestman_heap_mb=1506)
    found = seen_by_ansible(inventory)
    assert found["bestman_heap_mb"] == 1506 and "bestman_nofile" not in found


def test_no_values_take_the_file_away(inventory: Path) -> None:
    before = files(inventory)
    tune(inventory, bestman_heap_mb=5256)
    tune(inventory)
    assert files(inventory) == before
    assert not (inventory / "host_vars").exists()


def test_undo_brings_back_what_was_there(inventory: Path) -> None:
    tune(inventory, bestman_heap_mb=5256)
    before = files(inventory)
    undo = tuned.edit_for_hosts([inventory], {HOST: {"bestman_heap_mb": 1}}, MADE).carry_out()
    assert files(inventory) != before
    undo.carry_out()
    assert files(inventory) == before


def test_an_edit_of_the_head_is_refused(inventory: Path) -> None:
    tune(inventory, bestman_heap_mb=5256)
    text = place(inventory).read_text()
    place(inventory).write_text(text.replace("on 20", "on 0", 1))
    with pytest.raises(InvalidSiteError, match="was edited or cut short"):
        tuned.stamp(place(inventory))


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_an_edited_or_truncated_file_is_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    base = tmp_path_factory.mktemp("site")
    tune(base, bestman_heap_mb=5256, bestman_accept_queue=4000)
    text = place(base).read_text()
    at = data.draw(st.integers(0, len(text) - 1))
    altered = data.draw(
        st.sampled_from([text[:at], text[:at] + "#" + text[at:], text[:at] + text[at + 1 :]])
    )
    place(base).write_text(altered)
    if altered == text:
        return
    for again in (
        lambda: tuned.stamp(place(base)),
        lambda: tune(base, bestman_heap_mb=1),
        lambda: tuned.removal([place(base)]),
    ):
        with pytest.raises(InvalidSiteError, match="was edited or cut short"):
            again()
    assert place(base).read_text() == altered


def test_what_is_set_elsewhere_is_told_from_what_tune_wrote(inventory: Path) -> None:
    tune(inventory, bestman_heap_mb=5256, bestman_nofile=65536)
    (inventory / "group_vars" / "bestman.yml").write_text("bestman_heap_mb: 700\n")
    host = site.load(inventory).hosts[HOST]
    pin = tuned.strongest_other(host, "bestman_heap_mb")
    assert pin is not None and pin.raw == 700 and pin.origin.path.endswith("bestman.yml")
    assert tuned.strongest_other(host, "bestman_nofile") is None


def test_an_inventory_file_holds_the_values_of_a_dynamic_inventory(
    inventory: Path, tmp_path: Path
) -> None:
    target = tmp_path / "kept.yml"
    tuned.edit_for_file(target, {HOST: {"bestman_heap_mb": 5256}, "other": {}}, MADE).carry_out()
    host = site.load([inventory, target]).hosts[HOST]
    assert host.values["bestman_heap_mb"].value == 5256
    assert tuned.strongest_other(host, "bestman_heap_mb") is None
    assert not tuned.edit_for_file(target, {HOST: {"bestman_heap_mb": 5256}}, MADE)
    tuned.edit_for_file(target, {HOST: {}}, MADE).carry_out()
    assert not target.exists()


def test_another_file_is_not_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "mine.yml"
    target.write_text("all:\n  hosts: {}\n")
    with pytest.raises(UsageError, match="left alone"):
        tuned.edit_for_file(target, {HOST: {"bestman_heap_mb": 1}}, MADE)


def test_a_list_of_hosts_has_no_place_for_values() -> None:
    with pytest.raises(UsageError, match="no place beside it"):
        tuned.edit_for_hosts([Path("a.example.org,")], {HOST: {"bestman_heap_mb": 1}}, MADE)


def test_what_cannot_be_written_leaves_everything_as_it_was(inventory: Path) -> None:
    (inventory / "host_vars").write_text("not a directory")
    before = files(inventory)
    with pytest.raises(UsageError, match="nothing was changed"):
        tune(inventory, bestman_heap_mb=1)
    assert files(inventory) == before


def test_the_body_is_plain_yaml(inventory: Path) -> None:
    tune(inventory, gridftp_port_range="50000,51000", kernel_somaxconn=8192)
    text = place(inventory).read_text()
    assert yaml.safe_load(text) == {"gridftp_port_range": "50000,51000", "kernel_somaxconn": 8192}
    assert "For 2000 clients, by model 1, on 2026-11-24." in text
