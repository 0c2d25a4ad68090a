"""Paths and endpoints."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.cloudlet.deploy.plugins.filter.paths import below, transfer_endpoints


def test_paths_are_placed_below_their_parent() -> None:
    entries = [{"path": "lab", "owner": "grid"}, {"path": "lab/deep/", "mode": "0700"}]
    assert below(entries, "/srv/storage") == [
        {"path": "/srv/storage/lab", "owner": "grid", "mode": "0755"},
        {"path": "/srv/storage/lab/deep", "mode": "0700"},
    ]
    assert below([{"path": "lab"}], "/srv/storage/")[0]["path"] == "/srv/storage/lab"


def test_owners_become_the_numbers_that_a_shared_file_system_holds() -> None:
    accounts = [{"name": "grid", "uid": 5001}, {"name": "cms", "uid": 5002, "group": "vo"}]
    entries = [
        {"path": "a", "owner": "grid", "group": "grid"},
        {"path": "b", "owner": "cms", "group": "vo"},
        {"path": "c", "owner": "root", "group": "adm"},
    ]
    placed = below(entries, "/s", accounts)
    assert [(d["owner"], d["group"]) for d in placed] == [
        ("5001", "5001"),
        ("5002", "5002"),
        ("root", "adm"),
    ]


@pytest.mark.parametrize("path", ["", ".", "..", "../other", "/etc", "lab/../../storage2"])
def test_a_path_that_leads_out_is_refused(path: str) -> None:
    with pytest.raises(AnsibleFilterError, match="does not lie below /srv/storage"):
        below([{"path": path}], "/srv/storage")


def test_endpoints_name_a_port_only_where_the_inventory_does() -> None:
    hostvars = {"a": {"gridftp_port": 2812}, "b": {}}
    assert transfer_endpoints(["a", "b"], hostvars) == ["gsiftp://a:2812", "gsiftp://b"]
