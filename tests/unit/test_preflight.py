"""What a preflight says of hosts as they might be; the checks of the real ones are lab tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible_collections.cloudlet.deploy.plugins.module_utils import (
    host_facts,
    package_sources,
    preflight,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import Result

from cloudlet_deploy import content
from cloudlet_deploy.site.components import EVERYTHING, PLAYBOOKS, of_groups

DOOR = "door.example.org"
NEEDS: dict[str, dict[str, Any]] = {
    "bestman": {
        "memory": [
            {"what": "the heap", "mb": 1024},
            {"what": "direct memory", "mb": 1024, "at_most": True},
        ],
        "space": [{"path": "/var/log/bestman2", "what": "event logs", "mb": 500}],
        "directories": [{"path": "/opt/bestman2", "what": "bestman_home"}],
        "names": [{"name": DOOR, "what": "bestman_hostname"}],
        "ports": [{"port": 8443, "last": None, "unit": "bestman2.service", "what": "bestman_port"}],
        "units": ["bestman2.service"],
    },
    "gridftp": {
        "ports": [{"port": 50000, "last": 51000, "unit": "ftp.service", "what": "the_range"}],
    },
}


class Accounts:
    """Of the host: nobody but ``root`` and one account that has the uid 5001."""

    def account(self, name: str) -> Any:
        return self._entry() if name == "squatter" else None

    def account_of(self, uid: int) -> Any:
        return self._entry() if uid == 5001 else None

    def group(self, name: str) -> Any:
        return SimpleNamespace(gr_name=name, gr_gid=700, gr_mem=[]) if name == "taken" else None

    def group_of(self, gid: int) -> Any:
        return None

    def accounts(self) -> list[Any]:
        return [self._entry()]

    def exists(self, path: str) -> bool:
        return False

    @staticmethod
    def _entry() -> Any:
        return SimpleNamespace(pw_name="squatter", pw_uid=5001, pw_gid=5001)


class Host:
    """A host on which all is well; tests change one thing."""

    memory: tuple[int, int] = (4096, 4000)
    free = 50_000
    no_inodes = read_only = False
    held = 0
    listening: dict[int, host_facts.Listener] = {}  # noqa: RUF012
    addresses: tuple[str, ...] = ("192.0.2.7",)
    own: tuple[str, ...] = ("192.0.2.7",)
    name = DOOR
    has_directory = True
    accounts = Accounts()

    def memory_mb(self) -> tuple[int, int]:
        return self.memory

    def file_system(self, path: str) -> Any:
        return SimpleNamespace(
            device=1,
            mount="/",
            free_mb=self.free,
            no_inodes=self.no_inodes,
            read_only=self.read_only,
        )

    def held_mb(self, path: str) -> int:
        return self.held

    def is_directory(self, path: str) -> bool:
        return self.has_directory

    def is_mount(self, path: str) -> bool:
        return False

    def listeners(self) -> dict[int, host_facts.Listener]:
        return self.listening

    def addresses_of(self, name: str) -> list[str]:
        return list(self.addresses)

    def is_own(self, address: str) -> bool:
        return address in self.own

    def fqdn(self) -> str:
        return self.name

    def selinux_mode(self) -> str:
        return "none"


def look(needs: dict[str, Any] = NEEDS, **change: Any) -> list[dict[str, Any]]:
    host = Host()
    for key, value in change.items():
        assert hasattr(host, key)
        setattr(host, key, value)
    found: list[dict[str, Any]] = preflight.look(needs, host)
    json.dumps(found)
    return found


def listener(port: int, unit: str) -> dict[int, host_facts.Listener]:
    return {port: host_facts.Listener(port, 77, "java", unit)}


def test_a_good_host_has_only_good_findings() -> None:
    found = look()
    assert {finding["status"] for finding in found} == {"ok"}
    assert [finding["check"] for finding in found] == [
        *("memory", "space", "directories", "names", "ports", "selinux"),
    ]


@pytest.mark.parametrize(("declared", "warned"), [(0, 0), (4096, 0), (4500, 0), (4600, 1)])
def test_declared_memory_is_compared_with_the_real_one(declared: int, warned: int) -> None:
    found = preflight.look({}, Host(), declared)
    told = [f for f in found if f["check"] == "memory" and "host_check_memory_mb" in f["detail"]]
    assert [f["status"] for f in told] == ["warning"] * warned


OURS = listener(8443, "bestman2.service")
IN_POD = {"pod_p": {"ports": [{"port": 8443, "unit": "~svc/p.service", "what": "pod_ports"}]}}


@pytest.mark.parametrize(
    ("change", "check", "level", "words"),
    [
        ({"memory": (1200, 1100)}, "memory", "failed", "1200 MiB, at least 1280 MiB are wanted"),
        ({"memory": (2000, 1900)}, "memory", "warning", "under full load up to 2304 MiB"),
        ({"memory": (4096, 900)}, "memory", "warning", "other processes leave 900"),
        ({"memory": (4096, 900), "listening": OURS}, "memory", "ok", "4096 MiB"),
        ({"free": 500}, "space", "failed", "/ has 500 MiB free, 590 MiB are wanted"),
        # What the logs take already is not wanted once more.
        ({"free": 500, "held": 400}, "space", "ok", "500 MiB free"),
        ({"no_inodes": True}, "space", "failed", "no free inode"),
        ({"read_only": True}, "space", "failed", "read-only"),
        ({"has_directory": False}, "directories", "failed", "/opt/bestman2 (bestman_home)"),
        ({"listening": OURS}, "ports", "ok", "8443 taken by bestman2.service itself"),
        ({"listening": listener(8443, "tomcat.service")}, "ports", "failed",
         "port 8443 (bestman_port) is taken by java (pid 77) of tomcat.service"),
        ({"listening": {8443: host_facts.Listener(8443)}}, "ports", "failed", "unknown process"),
        ({"listening": listener(50500, "")}, "ports", "warning", "50500: java (pid 77)"),
        ({"listening": listener(49999, "")}, "ports", "ok", "8443, 50000 to 51000 free"),
        ({"addresses": ()}, "names", "failed", "has no address"),
        ({"addresses": ("127.0.1.1",)}, "names", "failed", "is 127.0.1.1 here, which no other"),
        ({"addresses": ("203.0.113.1",)}, "names", "warning", "no address of this host"),
        ({"addresses": ("127.0.1.1", "192.0.2.7")}, "names", "ok", "is 192.0.2.7"),
        ({"name": "door"}, "names", "warning", "is no full name"),
        ({"name": "other.example.org"}, "names", "warning", "calls itself other.example.org"),
    ],
)  # fmt: skip
def test_each_fault_is_named_with_its_remedy(
    change: dict[str, Any], check: str, level: str, words: str
) -> None:
    found = [finding for finding in look(**change) if finding["check"] == check]
    (one,) = [finding for finding in found if finding["status"] == level]
    assert words in one["detail"]
    assert bool(one["next_step"]) == (level != "ok")


def test_accounts_that_clash_are_all_named() -> None:
    needs = {
        "grid_trust": {
            "groups": [{"name": "taken", "gid": 800}, {"name": "grid", "gid": 5002}],
            "accounts": [
                {"name": "grid", "uid": 5001, "group": "grid"},
                {"name": "squatter", "uid": 6000},
                {"name": "of_taken", "uid": 6001, "group": "taken"},
                {"name": "both", "uid": 5001, "group": "taken"},
                {"name": "fine", "uid": 6002, "group": "grid"},
            ],
        }
    }
    found = [finding for finding in look(needs) if finding["check"] == "accounts"]
    failed = [finding["detail"] for finding in found if finding["status"] == "failed"]
    assert failed == [
        "Group taken has the gid 700 on this host, 800 is wanted",
        "Account grid wants the uid 5001, which account squatter has",
        "Account squatter has the uid 5001 on this host, 6000 is wanted",
        "Account both wants the uid 5001, which account squatter has",
    ]
    assert all(finding["next_step"] for finding in found if finding["status"] == "failed")
    assert found[-1]["detail"] == "1 account fits"


# --- what roles say that they need --------------------------------------------------------


@pytest.mark.parametrize("role", sorted({r for roles in of_groups().values() for r in roles}))
def test_each_role_says_what_it_needs(role: str) -> None:
    if role == "host_check":  # it is the look at the host itself
        return
    folder = content.roles()[role] / "tasks"
    task, *pods = yaml.safe_load((folder / "needs.yml").read_text())
    assert task["cloudlet.deploy.host_needs"]["component"] == role
    includes = [one["ansible.builtin.include_role"]["name"] for one in pods]
    assert set(includes) <= {"cloudlet.deploy.pod"}
    (include,) = yaml.safe_load((folder / "main.yml").read_text())
    chosen = include["ansible.builtin.include_tasks"]
    if f"__{role}_tasks" in chosen:  # a role that may have nothing to do
        chosen = yaml.safe_load((folder.parent / "vars" / "main.yml").read_text())[
            f"__{role}_tasks"
        ]
        assert "cloudlet_tasks | default('present')" in chosen
    else:
        assert f"cloudlet_tasks | default({role}_state)" in chosen


@pytest.mark.parametrize("name", ["preflight", "status", "tuning"])
def test_the_playbooks_that_look_reach_every_role(name: str) -> None:
    """They import those that deploy, and then look at the hosts of the same groups."""
    first, *_, last = yaml.safe_load(content.playbook(name).read_text())
    assert first["ansible.builtin.import_playbook"] == f"{EVERYTHING}.yml"
    everything = yaml.safe_load(content.playbook(EVERYTHING).read_text())
    imported = [play["ansible.builtin.import_playbook"] for play in everything]
    assert imported == [f"{name}.yml" for name in PLAYBOOKS]
    assert set(last["hosts"].split(":")) == set(of_groups())
    assert last["tags"] == ["always"]


@pytest.mark.parametrize(
    ("unit", "status", "told"),
    [
        ("~svc/p.service", "ok", "8443 taken by ~svc/p.service itself"),
        ("~svc/", "ok", "8443 taken by ~svc/p.service itself"),
        ("~svc/q.service", "failed", "java (pid 77) of ~svc/q.service"),
        ("~other/", "failed", "java (pid 77) of ~other"),
        ("p.service", "failed", "java (pid 77) of p.service"),
        ("", "failed", "java (pid 77)"),
    ],
)
def test_an_accounts_port_is_its_pods(unit: str, status: str, told: str) -> None:
    (found,) = (
        one for one in look(IN_POD, listening=listener(8443, unit)) if one["check"] == "ports"
    )
    assert (found["status"], found["detail"].endswith(told)) == (status, True), found["detail"]


# --- package sources ----------------------------------------------------------------------


class Sources:
    """A host's packages: ``a`` is there, ``b`` could be, ``c`` nobody knows."""

    advice = "add it."

    def __init__(self, answers: bool) -> None:
        self.answers = answers

    def installed(self, names: list[str]) -> set[str]:
        return set(names) & {"a"}

    def available(self, names: list[str]) -> set[str]:
        return set(names) & {"a", "b"}

    def reach(self) -> tuple[list[str], bool]:
        return ["mirror:80"], self.answers


@pytest.mark.parametrize(
    ("wanted", "answers", "level", "words"),
    [
        (["a"], False, "ok", "all 1 installed"),
        (["a", "b"], True, "ok", "to be had: b"),
        (["a", "b"], False, "failed", "no package source answers (mirror:80)"),
        (["c"], True, "warning", "have no c"),
    ],
)
def test_packages(wanted: list[str], answers: bool, level: str, words: str) -> None:
    host = SimpleNamespace(packages=lambda: Sources(answers))
    (found,), missing = preflight.packages({"java": {"packages": wanted}}, host)
    assert (found["status"], missing) == (level, set(wanted) - {"a"})
    assert words in found["detail"]


def test_sources_are_those_that_are_enabled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {
        "list": "# deb http://off/\ndeb [arch=amd64] http://one/debian stable main\n",
        "sources": "Types: deb\nURIs: http://two:8080/d http://three/d\n\nEnabled: no\nURIs: http://no/\n",
        "repo": "[a]\nbaseurl=https://four/el9\nenabled=1\n[b]\nenabled = 0\nmirrorlist=https://no/\n",
    }

    def told(*patterns: str) -> Iterator[str]:
        yield from (texts[end] for end in texts if patterns[-1].endswith(f"*.{end}"))

    monkeypatch.setattr(package_sources, "_texts", told)
    tried: list[tuple[str, int]] = []

    def refuse(address: tuple[str, int], timeout: float) -> None:
        tried.append(address)
        raise OSError

    debian = package_sources.Debian(lambda argv: Result(0, "", ""))
    assert debian.reach(refuse) == (["one:80", "two:8080", "three:80"], False)
    assert package_sources.RedHat(None).reach(refuse) == (["four:443"], False)
    assert len(tried) == 4
    # Where a proxy is set, it is the one that must answer.
    proxy = 'Acquire::http::Proxy "http://cache:3128";\n'
    assert package_sources.Debian(lambda argv: Result(0, proxy, "")).addresses() == [
        "http://cache:3128"
    ]
