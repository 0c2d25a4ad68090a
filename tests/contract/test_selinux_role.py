"""The role ``selinux`` and its module through Ansible; no host with SELinux is needed.

That they do what they say on such a host was seen on a virtual machine.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from oldest_python import PYTHON

from cloudlet_deploy import content
from tests.contract.rendering import Evaluate

pytestmark = pytest.mark.slow

Run = Callable[..., Any]
RELAY, CONNECT = "httpd_can_network_relay", "httpd_can_network_connect"
ROLE = content.roles()["selinux"]
VARIABLES: dict[str, Any] = {
    **yaml.safe_load((ROLE / "defaults" / "main.yml").read_text()),
    **yaml.safe_load((ROLE / "vars" / "main.yml").read_text()),
}


def _role(**settings: Any) -> list[dict[str, Any]]:
    return [{"ansible.builtin.include_role": {"name": "cloudlet.deploy.selinux"}, "vars": settings}]


def test_each_boolean_is_on_only_where_a_route_needs_it(evaluate: Evaluate) -> None:
    http = {"type": "http_port_t", "protocol": "tcp"}
    cases: list[tuple[dict[str, Any], tuple[bool, bool], str]] = [
        ({}, (True, False), ""),
        ({"selinux_relay": False}, (False, False), ""),
        ({"selinux_routes": [{"port": 8443}, {"port": 80}]}, (True, False), ""),
        ({"selinux_routes": [{"port": 8443}, {"port": 8444}]}, (True, True), ""),
        ({"selinux_routes": [{"port": 8444}], "selinux_connect": True}, (True, True), ""),
        # A port that is given the type is one that relaying covers, a range of them too.
        ({"selinux_routes": [{"port": 8444}], "selinux_ports": [{**http, "port": "8444"}]},
         (True, False), ""),
        ({"selinux_routes": [{"port": 8449}], "selinux_ports": [{**http, "port": "8440-8449"}]},
         (True, False), ""),
        ({"selinux_routes": [{"port": 8450}], "selinux_ports": [{**http, "port": "8440-8449"}]},
         (True, True), ""),
        ({"selinux_routes": [{"port": 8444}],
          "selinux_ports": [{"port": "8444", "type": "zope_port_t", "protocol": "tcp"}]},
         (True, True), ""),
        ({"selinux_connect": True}, (True, False), "no route of selinux_routes needs it"),
        ({"selinux_connect": True, "selinux_routes": [{"port": 443}]}, (True, False), "no route"),
        ({"selinux_relay": False, "selinux_routes": [{"port": 443}]}, (False, False),
         "selinux_relay is false"),
        ({"selinux_booleans": {CONNECT: True}}, (True, False), f"selinux_booleans has {CONNECT}"),
        ({"selinux_booleans": {"x": "yes"}}, (True, False), "x is yes: write true or false"),
    ]  # fmt: skip
    found = evaluate(
        {"booleans": "__selinux_wanted_booleans", "faults": "__selinux_faults"},
        [{**VARIABLES, **settings} for settings, _booleans, _fault in cases],
    )
    for (settings, booleans, fault), one in zip(cases, found, strict=True):
        assert (one["booleans"][RELAY], one["booleans"][CONNECT]) == booleans, settings
        assert bool(one["faults"]) is bool(fault) and fault in " ".join(one["faults"]), settings


@pytest.mark.one_core
def test_status_gets_a_probe_for_the_mode_and_each_boolean(
    evaluate: Evaluate, tmp_path: Path
) -> None:
    """The probes themselves, run over a directory that stands for the host."""
    settings = {**VARIABLES, "selinux_booleans": {"virt_use_nfs": True}}
    modes = {"": settings, "permissive": {**settings, "selinux_accept_mode": "permissive"},
             "disabled": {**settings, "selinux_accept_mode": "disabled"}}  # fmt: skip
    found = [one["probes"] for one in evaluate({"probes": "__selinux_probes"}, [*modes.values()])]
    assert [probe["what"] for probe in found[0]] == [
        "SELinux is not enforcing, now or after a reboot",
        f"the boolean {CONNECT} is not off, in force or in the store",
        f"the boolean {RELAY} is not on, in force or in the store",
        "the boolean virt_use_nfs is not on, in force or in the store",
    ]
    kernel = tmp_path / "sys/fs/selinux"
    store = tmp_path / "var/lib/selinux/default/active"
    config = tmp_path / "etc/selinux/config"
    for path in (kernel / "booleans", store, config.parent):
        path.mkdir(parents=True)

    def wrong(probes: list[dict[str, Any]]) -> list[int]:
        argvs = [
            [word.replace("/sys/", f"{tmp_path}/sys/").replace("/var/", f"{tmp_path}/var/")
             .replace("/etc/", f"{tmp_path}/etc/") for word in probe["argv"]]
            for probe in probes
        ]  # fmt: skip
        codes = [subprocess.run(argv, capture_output=True, check=False).returncode
                 for argv in argvs]  # fmt: skip
        return [number for number, code in enumerate(codes) if code]

    def host(now: str, then: str, live: str, kept: str) -> None:
        (kernel / "enforce").write_text(now)
        config.write_text(f"# SELINUX=\nSELINUX={then}\nSELINUXTYPE=default\n")
        for name, value in zip((CONNECT, RELAY, "virt_use_nfs"), live, strict=True):
            (kernel / "booleans" / name).write_text(f"{value} {value}")
        lines = zip((CONNECT, RELAY, "virt_use_nfs"), kept, strict=True)
        (store / "booleans.local").write_text("".join(f"{n}={v}\n" for n, v in lines if v != "-"))

    host("1", "enforcing", "011", "011")
    assert [wrong(probes) for probes in found] == [[], [], []]
    host("0", "enforcing", "011", "011")
    assert [wrong(probes) for probes in found] == [[0], [], []]
    host("1", "disabled", "011", "011")
    assert [wrong(probes) for probes in found] == [[0], [0], []]
    host("1", "enforcing", "110", "011")
    assert wrong(found[0]) == [1, 3]
    host("1", "enforcing", "011", "01-")
    assert wrong(found[0]) == [3]
    host("1", "enforcing", "011", "001")
    assert wrong(found[0]) == [2]


@pytest.mark.one_core
@pytest.mark.parametrize(
    ("facts", "modules"),
    [({}, ["package_set", "selinux_set"]), ({"cloudlet_tasks": "needs"}, ["host_needs"])],
)
def test_the_role_hands_on_what_it_works_out(
    run_tasks: Run, facts: dict[str, Any], modules: list[str]
) -> None:
    told = {"ansible.builtin.set_fact": {"os_family": "Debian", "cacheable": True}}
    results = run_tasks([told, *_role(**facts)], check=True)
    ours = [one for one in results if "changes" in one or one.get("next_step")]
    assert len(ours) == len(modules), results.output
    if Path("/sys/fs/selinux/enforce").exists():
        return
    # The machine of the tests has no SELinux, and nobody said that it need not.
    assert bool(ours[-1].get("failed")) is ("selinux_set" in modules)
    if "selinux_set" in modules:
        assert "SELinux is to be enforcing, and is disabled now" in ours[-1]["msg"]
        accepted = run_tasks([told, *_role(selinux_accept_mode="disabled")], check=True)
        assert accepted.returncode == 0, accepted.output
        ours = [one for one in accepted if "changes" in one]
        assert [one["changes"] for one in ours] == [[]] and ours[0]["mode"] == "disabled"
        assert "nothing is set" in str(ours[0]["warnings"])


def test_a_fault_ends_the_role_before_anything_is_installed(run_tasks: Run) -> None:
    told = {"ansible.builtin.set_fact": {"os_family": "Debian", "cacheable": True}}
    results = run_tasks([told, *_role(selinux_connect=True)], check=True)
    assert results[-1]["failed"] and "no route of selinux_routes" in results[-1]["msg"]
    assert not any("changes" in one for one in results)


# ---- the module through Ansible, on the oldest Python ---------------------------------------


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A directory whose ``root`` is a host that enforces and has one boolean."""
    root = tmp_path / "root"
    kernel, files = root / "sys/fs/selinux", root / "etc/selinux/default/contexts/files"
    for path in (kernel / "booleans", files, root / "var/lib/selinux/default/active"):
        path.mkdir(parents=True)
    (root / "etc/selinux/config").write_text("SELINUX=enforcing\nSELINUXTYPE=default\n")
    for name, text in (("enforce", "1"), ("mls", "1"), ("context", ""), (f"booleans/{RELAY}", "0")):
        (kernel / name).write_text(text)
    (kernel / "commit_pending_bools").touch()
    return tmp_path


def test_the_module_plans_refuses_and_needs_libsemanage(run_tasks: Run, host: Path) -> None:
    def module(**arguments: Any) -> dict[str, Any]:
        base = {"component": "x", "root": str(host / "root"), "state_dir": str(host / "state")}
        return {"cloudlet.deploy.selinux_set": {**base, **arguments}, "ignore_errors": True}

    want = {
        "booleans": {RELAY: True},
        "contexts": [{"path": "/srv/x(/.*)?", "type": "container_file_t"}],
        "equivalents": [{"path": "/srv/y", "like": "/srv/z"}],
        "ports": [{"port": 8444, "type": "http_port_t"}],
        "modules": [{"name": "cloudlet_x", "cil": "(allow a b (c (d)))"}],
    }
    only = {"equivalents": want["equivalents"]}
    results = run_tasks(
        [
            {**module(**want), "check_mode": True},
            module(**want),
            # Of these, no transaction is needed.
            module(**only),
            module(**only),
            module(state="absent"),
            module(booleans={"httpd_can_network_rely": True}),
            module(relabel=["/home/ann"]),
            {"cloudlet.deploy.selinux_set": {"state": "present"}, "ignore_errors": True},
        ],
        python=PYTHON,
    )
    planned, bare, made, again, gone, unknown, home, incomplete = results
    assert [one["kind"] for one in planned["changes"]] == [
        "policy-module", "boolean", "context", "context", "port",
    ]  # fmt: skip
    assert planned["mode"] == "enforcing"
    assert bare["failed"] and "libsemanage" in bare["msg"] and "Install" in bare["next_step"]
    assert made["changes"] == [
        {"kind": "context", "name": "/srv/y", "action": "set", "detail": "none -> like /srv/z"}
    ]
    assert again["changes"] == [] and again["changed"] is False
    assert [one["action"] for one in gone["changes"]] == ["restore"]
    assert unknown["failed"] and f"did you mean {RELAY}?" in unknown["msg"]
    assert home["failed"] and "/home" in home["msg"] and home["next_step"]
    assert incomplete["failed"] and "component" in incomplete["msg"]
