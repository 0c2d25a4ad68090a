"""What roles say of their settings fits what they write, and reaches the module that reads."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.cloudlet.deploy.plugins.module_utils import tuning

from cloudlet_deploy import content
from cloudlet_deploy.lab.ca import Pki
from cloudlet_deploy.site import schema
from tests.contract.conftest import Results
from tests.contract.oldest_python import PYTHON

WSDD = """\
<?xml version="1.0" encoding="UTF-8"?>
<d:deployment xmlns:d="http://xml.apache.org/axis/wsdd/">
  <d:globalConfiguration>
    <d:parameter value="8"
                 name="containerThreads"/>
    <!-- of another kind --><d:parameter name="containerThreadsMaximum" value="1"/>
    <d:parameter name='containerThreadsHighWaterMark' value='3'/>
  </d:globalConfiguration>
</d:deployment>
"""
#: Values that no default is and no other setting has, by variable.
VALUES: dict[str, Any] = {
    "bestman_heap_mb": 5261,
    "bestman_stack_kb": 264,
    "bestman_container_threads": 2521,
    "bestman_container_threads_min": 253,
    "bestman_container_threads_idle_max": 506,
    "bestman_acceptors": 7,
    "bestman_accept_queue": 4001,
    "bestman_fs_concurrency": 63,
    "bestman_event_log": False,
    "bestman_nofile": 65541,
    "bestman_tasks_max": 6067,
    "gridftp_connections_max": 617,
    "gridftp_port_range": "50003,51007",
    "gridftp_nofile": 65542,
    "gridftp_tasks_max": 681,
    "hdfs_namenode_handlers": 73,
    "hdfs_datanode_handlers": 21,
    "hdfs_datanode_transfer_threads": 4111,
    "hdfs_rpc_backlog": 8191,
    "hdfs_fuse_heap_mb": 1031,
    "kernel_somaxconn": 8192,
    "kernel_max_syn_backlog": 8193,
    "kernel_abort_on_overflow": "on",
    "kernel_netdev_max_backlog": 2501,
    "kernel_rmem_max": 16777217,
    "kernel_wmem_max": 16777218,
    "kernel_tcp_rmem": 16777219,
    "kernel_tcp_wmem": 16777220,
    "kernel_default_qdisc": "fq",
    "kernel_conntrack_max": 262145,
    "kernel_nr_open": 1048577,
    "kernel_pid_max": 65537,
    "kernel_max_map_count": 65531,
}
GLOBUS_ONLY = {"bestman_container_threads_min", "bestman_container_threads_idle_max"}
JETTY_ONLY = {"bestman_acceptors", "bestman_accept_queue"}
#: What the module sysctl_set would say of the host.
SYSCTLS = {
    "net.core.somaxconn": "8192",
    "net.ipv4.tcp_max_syn_backlog": "8193",
    "net.ipv4.tcp_abort_on_overflow": "1",
    "net.core.netdev_max_backlog": "2501",
    "net.core.rmem_max": "16777217",
    "net.core.wmem_max": "16777218",
    "net.ipv4.tcp_rmem": "4096 131072 16777219",
    "net.ipv4.tcp_wmem": "4096 16384 16777220",
    "net.core.default_qdisc": "fq",
    "net.netfilter.nf_conntrack_max": "262145",
    "fs.nr_open": "1048577",
    "kernel.pid_max": "65537",
    "vm.max_map_count": "65531",
}
Written = tuple[list[dict[str, Any]], dict[str, str]]


@pytest.fixture
def written(run_tasks: Callable[..., Results], tmp_path: Path) -> Callable[..., Written]:
    """``written(roles, **settings)``: what they say of their settings, and their files' texts."""
    pki = Pki(tmp_path / "pki")
    pki.ensure(("localhost",))
    roles = content.roles()

    def evaluated(names: tuple[str, ...], **settings: Any) -> Written:
        facts = {
            "os_family": "Debian",
            "distribution": "Debian",
            "distribution_major_version": "12",
            "architecture": "x86_64",
        }
        variables: dict[str, Any] = {}
        for role in (*names, "grid_trust", "storage", "java"):
            for kind in ("defaults", "vars"):
                path = roles[role] / kind / "main.yml"
                variables |= yaml.safe_load(path.read_text()) if path.exists() else {}
        variables |= {
            "storage_path": "/srv/storage",
            "grid_trust_host_certificate": str(pki.host("localhost") / "hostcert.pem"),
            "grid_trust_host_key": str(pki.host("localhost") / "hostkey.pem"),
            "bestman_transfer_servers": ["gsiftp://data1.example.org"],
            "hdfs_namenode_host": "nn.example.org",
            "__hdfs_look": {"version": "3.4.3"},
            "__kernel_set": {"wanted": SYSCTLS},
            **settings,
        }
        tasks: list[dict[str, Any]] = [{"ansible.builtin.set_fact": {**facts, "cacheable": True}}]
        tasks += [{"include_tasks": str(roles[role] / "tasks" / "needs.yml")} for role in names]
        rendered = [
            (role, files, f"{roles[role]}/templates/") for role, files in FILES if role in names
        ]
        for _, files, directory in rendered:
            template = f"lookup('template', '{directory}' ~ item.template, template_vars=here)"
            text = f"item.content if 'content' in item else {template}"
            here = {"here": {"template_destpath": "{{ item.path }}"}}
            show = {"path": "{{ item.path }}", "text": f"{{{{ {text} }}}}"}
            loop = f"{{{{ {files} }}}}"
            tasks.append({"ansible.builtin.debug": {"msg": show}, "loop": loop, "vars": here})
        found = run_tasks(tasks, extra_vars=variables)
        assert found.returncode == 0, found.output
        texts = {}
        tuned: list[dict[str, Any]] = []
        for result in found:
            for one in result.get("results", ()):
                texts[one["msg"]["path"]] = str(one["msg"]["text"])
            needs = result.get("ansible_facts", {}).get("cloudlet_needs")
            if needs:
                tuned = [entry for needed in needs.values() for entry in needed.get("tuned", ())]
        return tuned, texts

    return evaluated


#: Where each role lists its files. GridFTP's and the door's paths stand in tasks.
FILES = (
    ("bestman", "__bestman_files | selectattr('src', 'undefined')"),
    ("hdfs", "__hdfs_files"),
    ("hdfs_fuse", "__hdfs_fuse_files"),
    ("kernel", "__kernel_files"),
    (
        "gridftp",
        "[{'path': __gridftp_config, 'template': 'gridftp.conf.j2'},"
        " {'path': __gridftp_drop_in, 'template': 'unit.conf.j2'}]",
    ),
)


def check(entries: list[dict[str, Any]], texts: dict[str, str], directory: Path) -> set[str]:
    """Each pattern finds the configured value in what is written; returns the variables."""
    for entry in entries:
        assert entry["file"] in texts, (entry, sorted(texts))
        path = directory / "file"
        path.write_text(texts[entry["file"]])
        said = tuning._written({**entry, "file": str(path)})
        assert said is not None, (entry, path.read_text())
        assert re.compile(entry["pattern"]).groups == 1
        assert tuning._value(said, entry) == VALUES[entry["variable"]], entry
    return {entry["variable"] for entry in entries}


def of(*prefixes: str) -> set[str]:
    return {name for name in VALUES if name.startswith(prefixes)}


def test_what_is_written_is_found_on_a_door_and_a_data_node(
    written: Callable[..., Written], tmp_path: Path
) -> None:
    entries, texts = written(
        ("bestman", "gridftp", "hdfs", "hdfs_fuse", "kernel"),
        **VALUES,
        __hdfs_is_namenode=True,
        __hdfs_is_datanode=True,
        hdfs_core={"a.b": "x"},
    )
    assert check(entries, texts, tmp_path) == set(VALUES) - GLOBUS_ONLY
    ours = {entry["variable"]: entry for entry in entries}
    assert ours["bestman_heap_mb"]["unit"] == "bestman2.service"
    assert ours["bestman_heap_mb"]["read"]["divide"] == 1 << 20
    assert ours["bestman_accept_queue"]["read"]["port"] == 8443
    assert ours["kernel_somaxconn"]["unit"] == ""


@pytest.mark.one_core
def test_what_is_written_is_found_on_a_door_in_a_globus_container(
    written: Callable[..., Written], tmp_path: Path
) -> None:
    config = tmp_path / "server-config.wsdd"
    config.write_text(WSDD)
    globus = {"bestman_flavour": "globus", "bestman_globus_config": str(config)}
    more = {"bestman_java_options": ["-Xmxfoo"], "bestman_heap_start_mb": 257}
    entries, texts = written(("bestman",), **VALUES, **globus, **more)
    assert check(entries, texts, tmp_path) == of("bestman_") - JETTY_ONLY


@pytest.mark.one_core
def test_a_host_says_what_it_has_and_no_more(
    written: Callable[..., Written], tmp_path: Path
) -> None:
    command = {"__hdfs_is_datanode": True, "hdfs_fuse_provider": "command"}
    entries, texts = written(("hdfs", "hdfs_fuse"), **VALUES, **command)
    assert check(entries, texts, tmp_path) == of("hdfs_datanode_", "hdfs_rpc")


def test_every_setting_is_a_variable_of_its_role() -> None:
    specs = schema.role_specs()
    for name in VALUES:
        role = max((role for role in specs if name.startswith(f"{role}_")), key=len)
        assert name in specs[role].options, name


# ---- the task and the module ---------------------------------------------------------------


def needs(**entry: Any) -> dict[str, Any]:
    plain = {"variable": "v", "file": "/f", "pattern": "^v=(.*)$", "read": {"kind": "at_start"}}
    return {"cloudlet.deploy.host_needs": {"component": "bestman", "tuned": [{**plain, **entry}]}}


def test_a_setting_that_cannot_be_read_so_is_refused(run_tasks: Callable[..., Results]) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"read": {"kind": "guess"}}, "guess"),
        ({"read": {"kind": "jvm"}}, "flag"),
        ({"read": {"kind": "hadoop", "port": 9870}}, "key"),
        ({"read": {"kind": "sysctl", "key": "net.core.somaxconn"}}, "name"),
        ({"as": "float"}, "float"),
        ({"patern": "x"}, "patern"),
    ]
    found = run_tasks([{**needs(**entry), "ignore_errors": True} for entry, _ in cases])
    for refused, (entry, words) in zip(found, cases, strict=True):
        assert refused["failed"], entry
        assert words in refused["msg"]


def test_the_module_reads_what_the_roles_named(
    run_tasks: Callable[..., Results], tmp_path: Path
) -> None:
    read = {"kind": "sysctl", "name": "kernel.pid_max"}
    look = {
        "cloudlet.deploy.host_tuning": {
            "needs": "{{ ansible_facts['cloudlet_needs'] }}",
            "state_dir": str(tmp_path / "state"),
        }
    }
    *_, found = run_tasks([needs(read=read), look], python=PYTHON, check=True)
    assert not found["changed"]
    assert not (tmp_path / "state").exists()
    (setting,) = found["report"]["settings"].values()
    assert setting["effective"] == int(Path("/proc/sys/kernel/pid_max").read_text())
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "ledger.json").write_text('{"schema": 1')
    *_, refused = run_tasks([needs(read=read), look], python=PYTHON)
    assert refused["failed"]
    assert "ledger.json cannot be read" in refused["msg"]
    assert "Restore the file" in refused["next_step"]
