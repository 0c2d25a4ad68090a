"""The firewall knows every port of the other roles, and refuses before it touches a host."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudlet_deploy import content
from cloudlet_deploy.site import components, schema

VARS = yaml.safe_load((content.roles()["firewall"] / "vars" / "main.yml").read_text())
#: Those that a variable says; a number is the same wherever the role is.
PORTS: dict[str, dict[str, Any]] = {
    entry["variable"]: entry
    for entry in VARS["__firewall_ports"]
    if not str(entry["ports"]).isdigit()
}
_TEMPLATE = re.compile(r"\{\{ (?P<name>\w+) \| default\((?P<default>.+)\) \}\}")


def _listening() -> dict[str, schema.Option]:
    return {
        option.name: option
        for spec in schema.role_specs().values()
        for option in spec.options.values()
        if re.search(r"\blistening ports?\b", option.form)
    }


def test_every_port_that_a_role_listens_on_is_known_to_the_firewall() -> None:
    assert sorted(set(_listening()) - set(PORTS)) == []


@pytest.mark.parametrize("variable", sorted(PORTS))
def test_a_port_is_that_of_its_role(variable: str) -> None:
    entry = PORTS[variable]
    template = _TEMPLATE.fullmatch(entry["ports"])
    assert template is not None and template["name"] == variable
    option = _listening()[variable]
    assert yaml.safe_load(template["default"]) == option.default
    assert option.role in components.of_groups()[entry["group"]]
    state = _TEMPLATE.fullmatch(entry["state"])
    assert state is not None and state["name"] == f"{option.role}_state"


def test_each_port_is_for_whom_it_is_meant() -> None:
    """Above all: HDFS is never for clients, and two are for nobody else."""
    meant = {"hdfs": "site", "portal": "visitors", "ondemand": "nobody", "cryosparc": "nobody"}
    for entry in VARS["__firewall_ports"]:
        variable = entry["variable"]
        assert entry["who"] == meant.get(variable.partition("_")[0], "clients"), variable


def test_the_portals_fixed_ports_are_those_of_its_front() -> None:
    template = (content.roles()["portal_front"] / "templates" / "portal.conf.j2").read_text()
    listening = re.findall(r"<VirtualHost \*:(\d+)>", template)
    fixed = [e["ports"] for e in VARS["__firewall_ports"] if e["variable"] == "portal_front"]
    assert fixed == list(dict.fromkeys(listening))


def _role(**settings: Any) -> list[dict[str, Any]]:
    return [
        {
            "ansible.builtin.include_role": {"name": "cloudlet.deploy.firewall"},
            "vars": settings,
        }
    ]


_PORTS = [{"port": 9866}]


#: Settings that cannot work, and what is said of them.
FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"firewall_extra_ports": _PORTS}, "firewall_extra_ports[0] (9866) holds port 9866"),
    (
        {"firewall_extra_ports": [{"port": 9000, "last": 10000}]},
        "firewall_extra_ports[0] (9000,10000) holds port 9866",
    ),
    (
        {"firewall_extra_ports": [{"port": 1, "networks": ["10.0.0.1/8"]}]},
        "10.0.0.1/8 must be 10.0.0.0/8 for the whole network",
    ),
    (
        {"firewall_extra_ports": [{"port": 20, "last": 10}]},
        "20 to 10 begins above its end: write 10 to 20",
    ),
    (
        {"firewall_extra_ports": [{"port": 1}], "firewall_backend": "firewalld"},
        "firewalld does not run on localhost",
    ),
]


@pytest.mark.parametrize("check", [True, False])
def test_what_cannot_work_is_refused_before_anything_is_changed(
    run_tasks: Any, check: bool
) -> None:
    # The connection by which a controller on this host would have come.
    came = {"SSH_CONNECTION": "192.0.2.1 50000 192.0.2.2 9866"}
    # One run for all: what a fault ends is its own block.
    end: dict[str, Any] = {"ansible.builtin.debug": {"msg": "next"}}
    blocks = [{"block": _role(**settings), "rescue": [end]} for settings, _words in FAULTS]
    results = run_tasks(blocks, check=check, environment=came)
    assert results.returncode == 0, results.output
    for _settings, words in FAULTS:
        done = list(results)
        last = next(number for number, one in enumerate(done) if one.get("msg") == "next")
        del results[: last + 1]
        assert done[last - 1]["failed"] and words in done[last - 1]["msg"], results.output
        assert not any(one.get("changed") for one in done[:last])
    assert not list(results)
    assert not Path("/etc/cloudlet-deploy").exists()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"firewall_client_networks": ["192.0.2.0/24"]},  # of no group with such ports
        {"firewall_extra_ports": _PORTS, "firewall_backend": "none"},
    ],
)
def test_where_nothing_is_wanted_nothing_is_asked(run_tasks: Any, settings: dict[str, Any]) -> None:
    results = run_tasks(_role(**settings))
    assert results.returncode == 0, results.output
    assert [one for one in results if "argv" in str(one.get("cmd", ""))] == []
    assert not any(one.get("changed") for one in results)
    assert len(results) <= 3, results
