"""The cluster's image and the key of munge: what decides one, and who gets the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudlet_deploy.lab import cluster, recipes
from cloudlet_deploy.lab.definition import HostSpec
from cloudlet_deploy.lab.hosts import files_of
from cloudlet_deploy.lab.site import LabSite

LOGIN = "login.lab.test"


def test_another_cluster_changes_its_image_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {kind: recipe.reference for kind, recipe in recipes.recipes().items()}
    monkeypatch.setattr(cluster, "SCRIPT", "true")
    after = {kind: recipe.reference for kind, recipe in recipes.recipes().items()}
    assert {kind for kind in before if before[kind] != after[kind]} == {"cluster"}


def test_each_lab_draws_a_key_once_and_its_clusters_hosts_get_it(tmp_path: Path) -> None:
    keys = []
    for name in ("one", "other"):
        site = LabSite(tmp_path / name)
        site.claim(name)
        site.keys.ensure((LOGIN,))
        site.write_passwords()
        key = site.munge_key.read_bytes()
        site.write_passwords()
        assert site.munge_key.read_bytes() == key and len(key) == 128
        assert site.munge_key.stat().st_mode & 0o777 == 0o600
        assert key in files_of(HostSpec(LOGIN, "cluster", ()), site)
        assert key not in files_of(HostSpec(LOGIN, "data", ()), site)
        keys.append(key)
    assert keys[0] != keys[1]
