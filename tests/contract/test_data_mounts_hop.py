"""The role ``data_hop``: what its server is told, and which settings it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.one_core]

Run = Callable[..., Any]
MOUNT = {
    "name": "k3",
    "share": "//camera.example.org/movies",
    "where": "/srv/cameras/k3",
    "username": "reader",
    "password": "x",
    "gid": 59445,
    "context": "system_u:object_r:samba_share_t:s0",
}
SETTINGS: dict[str, Any] = {
    "data_mounts_cifs": [MOUNT],
    "data_hop_exports": [{"name": "k3", "path": "/srv/cameras/k3"}],
    "data_hop_clients": ["192.0.2.0/24", "2001:db8::7"],
    "data_hop_password": "password",
}


def _role(tasks: str = "", sets: tuple[str, ...] = (), **settings: Any) -> list[dict[str, Any]]:
    facts = {"os_family": "Debian", "cloudlet_sets": list(sets), "cacheable": True}
    given = {**settings, **({"cloudlet_tasks": tasks} if tasks else {})}
    role = {"name": "cloudlet.deploy.data_hop"}
    return [
        {"ansible.builtin.set_fact": facts},
        {"ansible.builtin.include_role": role, "vars": given},
    ]


@pytest.mark.one_core
@pytest.mark.parametrize("tasks", ["", "needs"])
def test_where_nothing_is_exported_nothing_is_done(run_tasks: Run, tasks: str) -> None:
    results = run_tasks(_role(tasks), check=True)
    assert results.returncode == 0, results.output
    assert not any("changes" in one for one in results)


@pytest.mark.one_core
def test_what_was_exported_before_is_undone(run_tasks: Run) -> None:
    results = run_tasks(_role(sets=("data_hop",)), check=True)
    assert results.returncode == 0, results.output
    assert [one["changes"] for one in results if "changes" in one] == [[], [], [], []]


def test_the_server_exports_nothing_but_the_mounts_and_lets_nobody_write(run_tasks: Run) -> None:
    results = run_tasks(_role(**SETTINGS), check=True, diff=True)
    assert results.returncode == 0, results.output
    (files,) = [one for one in results if "generation" in one]
    texts = {
        one["after_header"].split()[0]: one["after"]
        for one in files["diff"]
        if "attributes" not in one["after_header"]
    }
    config = texts["/etc/samba/cloudlet.conf"]
    lines = [line for line in config.splitlines() if line and not line.startswith("#")]
    begin = lines.index("[k3]")
    assert [line for line in lines if line.startswith("[")] == ["[global]", "[k3]"]
    told, share = (dict(line.split(" = ", 1) for line in part)
                   for part in (lines[1:begin], lines[begin + 1 :]))  # fmt: skip
    assert share == {
        "path": "/srv/cameras/k3", "read only": "yes", "guest ok": "no", "valid users": "cameras",
        "follow symlinks": "no", "wide links": "no",
    }  # fmt: skip
    assert told["server min protocol"] == "SMB3_11" and told["server signing"] == "mandatory"
    assert told["map to guest"] == "Never" and told["load printers"] == "no"
    assert told["hosts allow"] == "127.0.0.1 ::1 192.0.2.0/24 2001:db8::7"
    assert told["hosts deny"] == "ALL" and told["server smb encrypt"] == "if_required"
    assert "interfaces" not in told
    unit = texts["/etc/systemd/system/smbd.service.d/cloudlet.conf"]
    assert "\nExecStart=\nExecStart=/usr/sbin/smbd " in unit
    assert "--configfile=/etc/samba/cloudlet.conf\n" in unit
    # Neither the password nor what opens the share as it does.
    secret = texts["/etc/samba/cloudlet.smbpasswd"]
    assert "8846F7EAEE8FB117AD06BDD830B7586C" not in results.output + str(list(results)) + secret


def test_it_may_listen_at_one_address_and_demand_encryption(run_tasks: Run) -> None:
    more: dict[str, Any] = {"data_hop_interfaces": ["192.0.2.1"], "data_hop_encrypt": True}
    results = run_tasks(_role(**SETTINGS, **more), check=True, diff=True)
    assert results.returncode == 0, results.output
    (files,) = [one for one in results if "generation" in one]
    (config,) = [one["after"] for one in files["diff"] if "[global]" in one["after"]]
    assert "\ninterfaces = lo 192.0.2.1\nbind interfaces only = yes\n" in config
    assert "\nserver smb encrypt = required\n" in config


@pytest.mark.one_core
def test_settings_that_cannot_work_are_all_told(run_tasks: Run) -> None:
    exports = [
        {"name": "homes", "path": "/srv/cameras/k3"},
        {"name": "K3", "path": "/srv/elsewhere"},
        {"name": "k3", "path": "/srv/a"},
        {"name": "b", "path": "/srv/b"},
    ]
    mounts = [
        MOUNT,
        {**MOUNT, "name": "a", "where": "/srv/a", "gid": 7},
        {**MOUNT, "name": "b", "where": "/srv/b", "context": ""},
    ]
    settings: dict[str, Any] = {"data_hop_exports": exports, "data_mounts_cifs": mounts}
    results = run_tasks(_role(**settings), check=True)
    assert results.returncode != 0
    for said in (
        "data_hop_password is empty",
        "data_hop_clients is empty",
        "data_hop_exports has a name twice",
        "the name homes: write letters",
        "in K3 the path /srv/elsewhere: mount the camera's share there first",
        "in k3 what cameras may not read: give a in data_mounts_cifs the uid or gid 59445",
        "in b what SELinux keeps from the server: give b in data_mounts_cifs the context",
    ):
        assert said in results[-1]["msg"], said
    assert not any("changes" in one for one in results)
