"""config_set through ansible-playbook itself, as a role would use it."""

from __future__ import annotations

import base64
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
CANARY = "c4n4ry-hunter2"
OLD_PYTHON = shutil.which("python3.9", path=str(Path.home() / ".pyenv/versions/3.9.18/bin"))
OLD_PYTHON = OLD_PYTHON or shutil.which("python3.9", path="/usr/bin:/usr/local/bin")

TEMPLATE = """\
# {{ ansible_managed | comment }}
{% set parts = ['a', 'b'] %}
{% for part in parts %}
    {% if part != 'c' %}
part {{ part }} of {{ who }}\\n "é"
    {% endif %}
{% endfor %}
{% include 'included.j2' %}
{{ template_destpath is defined }}
"""


class Site:
    """A playbook directory with one role, and managed files beside it."""

    def __init__(self, base: Path, run_tasks: Run) -> None:
        self.base, self.run_tasks = base, run_tasks
        self.etc = base / "etc"
        self.roles = base / "roles"
        self.role = self.roles / "demo"
        for path in (self.etc, self.role / "templates", self.role / "files", self.role / "tasks"):
            path.mkdir(parents=True)

    def args(self, *files: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {"name": "demo", "state_dir": str(self.base / "state"), "files": list(files), **more}

    def run(self, args: dict[str, Any], **more: Any) -> Any:
        return self.run_tasks([{"cloudlet.deploy.config_set": args}], **more)

    def run_all(self, *calls: dict[str, Any], **more: Any) -> Any:
        """Several calls in one play, with task keywords such as check_mode beside ``args``."""
        tasks = []
        for call in calls:
            keywords = {key: value for key, value in call.items() if key != "args"}
            task = {"cloudlet.deploy.config_set": call["args"], "ignore_errors": True}
            tasks.append({**task, **keywords})
        return self.run_tasks(tasks, **more)

    def run_role(self, args: dict[str, Any], *others: dict[str, Any], **more: Any) -> Any:
        import yaml

        tasks = [{"cloudlet.deploy.config_set": args}, *others]
        (self.role / "tasks" / "main.yml").write_text(yaml.safe_dump(tasks))
        include = {"ansible.builtin.import_role": {"name": "demo"}}
        return self.run_tasks([include], roles_path=self.roles, **more)


@pytest.fixture
def site(tmp_path: Path, run_tasks: Run) -> Site:
    return Site(tmp_path / "site", run_tasks)


def tree(base: Path) -> dict[str, Any]:
    return {
        str(p): (oct(p.lstat().st_mode), p.lstat().st_mtime_ns, p.is_file() and p.read_bytes())
        for p in sorted(base.rglob("*"))
    }


PYTHONS = [
    sys.executable,
    pytest.param(
        OLD_PYTHON,
        marks=pytest.mark.skipif(not OLD_PYTHON, reason="Python 3.9 is not on this machine"),
    ),
]


@pytest.mark.parametrize("python", PYTHONS, ids=["controller", "python3.9"])
def test_plan_apply_again_and_away(site: Site, python: str) -> None:
    (site.etc / "package").write_text("found\n")
    before = tree(site.etc)
    made, package, key = site.etc / "made", site.etc / "package", site.etc / "made" / "key"
    args = site.args(
        {"path": str(package), "content": "ours\n", "mode": "0640", "restart": ["a.service"]},
        {"path": str(key), "content": CANARY, "secret": True},
        directories=[{"path": str(made), "mode": "0750"}],
        validate=[{"argv": ["/bin/grep", "-q", "ours", f"{{{package}}}"]}],
    )
    [planned] = site.run(args, check=True, diff=True, python=python)
    assert tree(site.etc) == before and not (site.base / "state").exists()
    [applied] = site.run(args, diff=True, python=python)
    assert planned["ansible_facts"].pop("cloudlet_foreseen_directories") == [str(made)]
    assert planned == applied and applied["changed"]
    assert [(c["kind"], c["action"]) for c in applied["changes"]] == [
        ("directory", "create"),
        ("file", "change"),
        ("file", "create"),
    ]
    assert set(applied) - {"_ansible_no_log"} == {
        "changed",
        "changes",
        "generation",
        "units_pending",
        "drift",
        "kept_aside",
        "not_validated",
        "diff",
        "ansible_facts",
    }
    assert package.read_text() == "ours\n" and stat.S_IMODE(package.stat().st_mode) == 0o640
    assert key.read_text() == CANARY and stat.S_IMODE(key.stat().st_mode) == 0o600
    now = tree(site.base)
    away = {"args": {**args, "state": "absent"}, "check_mode": True}
    calls = ({"args": args}, {"args": args, "check_mode": True}, away)
    *same, unplanned = site.run_all(*calls, diff=True, python=python)
    for again in same:
        assert not again["changed"] and again["changes"] == [] and again["diff"] == []
    assert tree(site.base) == now
    [gone] = site.run(away["args"], diff=True, python=python)
    assert unplanned == gone and gone["changed"] and gone["generation"] == 0
    assert tree(site.etc) == before


def test_a_directory_of_two_sets_is_planned_once(site: Site) -> None:
    shared = [{"path": str(site.etc / "shared")}]
    calls = [{**site.args(), "name": name, "directories": shared} for name in ("one", "two")]
    planned = site.run_all(*({"args": args, "check_mode": True} for args in calls))
    done = site.run_all(*({"args": args} for args in calls))
    assert [result["changes"] for result in planned] == [result["changes"] for result in done]
    assert [len(result["changes"]) for result in done] == [1, 0]


def test_diff_shows_what_changes(site: Site) -> None:
    (site.etc / "a").write_text("found\n")
    args = site.args({"path": str(site.etc / "a"), "content": "ours\n", "mode": "0600"})
    away = {**args, "state": "absent"}
    calls = [{"args": a, "diff": True} for a in (args, away)]
    results = site.run_all(*calls, {"args": args})
    content, attributes = results[0]["diff"]
    assert (content["before"], content["after"]) == ("found\n", "ours\n")
    assert "mode: 0644" in attributes["before"] and "mode: 0600" in attributes["after"]
    assert "-found" in results.output and "+ours" in results.output
    back = results[1]
    assert (back["diff"][0]["before"], back["diff"][0]["after"]) == ("ours\n", "found\n")
    assert results[2]["changed"] and "diff" not in results[2]


def test_template_is_what_ansible_s_own_writes(site: Site) -> None:
    (site.role / "templates" / "main.j2").write_text(TEMPLATE)
    (site.role / "templates" / "included.j2").write_text("included for {{ who }}\n\n")
    ours, theirs = site.etc / "ours", site.etc / "theirs"
    results = site.run_role(
        site.args({"path": str(ours), "template": "main.j2"}),
        {"ansible.builtin.template": {"src": "main.j2", "dest": str(theirs)}},
        extra_vars={"who": "{{ whom }}", "whom": "Wörld", "ansible_managed": "Managed"},
    )
    assert not results[-1].get("failed"), results.output
    assert ours.read_bytes() == theirs.read_bytes()
    assert "part b of Wörld" in ours.read_text() and "included for Wörld" in ours.read_text()


def test_template_text_in_values_is_not_rendered(site: Site) -> None:
    (site.role / "templates" / "a.j2").write_text("{{ said.stdout }}")
    echo = {"ansible.builtin.command": {"argv": ["echo", "{% raw %}{{ 6 * 7 }}{% endraw %}"]}}
    task = site.args(
        {"path": str(site.etc / "a"), "template": str(site.role / "templates" / "a.j2")}
    )
    site.run_tasks([{**echo, "register": "said"}, {"cloudlet.deploy.config_set": task}])
    assert (site.etc / "a").read_text() == "{{ 6 * 7 }}"


def test_src_is_searched_decrypted_and_binary(site: Site, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("vault-password\n")
    plain, vaulted = site.role / "files" / "plain", site.role / "files" / "vaulted"
    plain.write_bytes(bytes(range(256)))
    vaulted.write_text(CANARY)
    vault = str(Path(sys.executable).parent / "ansible-vault")
    argv = [vault, "encrypt", "--vault-password-file", str(password), str(vaulted)]
    subprocess.run(argv, check=True, capture_output=True)
    assert CANARY not in vaulted.read_text()
    [result] = site.run_role(
        site.args(
            {"path": str(site.etc / "plain"), "src": "plain"},
            {"path": str(site.etc / "vaulted"), "src": "vaulted", "secret": True},
        ),
        diff=True,
        options=("--vault-password-file", str(password)),
    )
    assert (site.etc / "plain").read_bytes() == bytes(range(256))
    assert (site.etc / "vaulted").read_text() == CANARY
    assert result["diff"][0]["after"].startswith("(binary or large) sha256 ")


def test_omitted_values_and_entries(site: Site) -> None:
    mode, entry = "{{ mode | default(omit) }}", "{{ entry | default(omit) }}"
    file = {"path": str(site.etc / "a"), "content": "x", "mode": mode, "owner": mode}
    [result] = site.run(site.args(file, entry, directories=[entry], validate=entry))
    assert [c["name"] for c in result["changes"]] == [str(site.etc / "a")]
    assert stat.S_IMODE((site.etc / "a").stat().st_mode) == 0o644


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"content": "x", "mode": 0o640}, "'mode' must be a quoted octal number"),
    ({"template": "missing.j2"}, "cannot be made from missing.j2"),
    ({"src": "missing.pem"}, "cannot be made from missing.pem"),
    ({"template": "{{ broken }}"}, "is undefined"),
    ({"content": "x", "templte": "y"}, "did you mean 'template'?"),
    ({"content": "{{ 'x' * 1048577 }}"}, "has 1048577 bytes"),
]


def test_faults_name_set_and_file(site: Site) -> None:
    (site.role / "templates" / "broken.j2").write_text("{{ no_such_variable }}")
    broken = str(site.role / "templates" / "broken.j2")
    path = str(site.etc / "a")
    calls = [{"args": site.args({"path": path, **file})} for file, _ in FAULTS]
    files = [{"path": f"{site.etc}/{n}", "content": "{{ 'x' * 1000000 }}"} for n in range(5)]
    calls.append({"args": site.args(*files)})
    *results, too_large = site.run_all(*calls, extra_vars={"broken": broken})
    assert len(results) == len(FAULTS)
    for (_, said), result in zip(FAULTS, results, strict=True):
        assert result["failed"]
        assert said in result["msg"] and f"config_set demo: {path}" in result["msg"]
    assert f"with {site.etc}/4 the set has 5000000 bytes" in too_large["msg"]
    assert list(site.etc.iterdir()) == []


def test_largest_set_arrives(site: Site) -> None:
    data = base64.b85encode(os.urandom(1 << 20))[: 1 << 20]
    (site.role / "files" / "big").write_bytes(data)
    files = [{"path": f"{site.etc}/{n}", "src": "big"} for n in range(4)]
    [result] = site.run_role(site.args(*files), diff=True)
    assert result["changed"]
    assert [p.read_bytes() == data for p in sorted(site.etc.iterdir())] == [True] * 4


@pytest.mark.one_core
def test_failed_validation_tells_what_the_validator_said(site: Site) -> None:
    path = site.etc / "a"
    path.write_text("found")
    argv = ["/bin/sh", "-c", 'echo "$1: line 1 is bad"; exit 3', "-", f"{{{path}}}"]
    args = site.args({"path": str(path), "content": "x"}, validate=[{"argv": argv}])
    for result in site.run_all({"args": args, "check_mode": True}, {"args": args}):
        assert f"{path}: line 1 is bad" in result["msg"] and "exit code 3" in result["msg"]
    assert path.read_text() == "found" and len(list(site.etc.iterdir())) == 1


@pytest.fixture
def syslog(tmp_path: Path) -> dict[str, Any]:
    """An environment in which modules log to a file (``path``) instead of the machine's syslog."""
    where = tmp_path / "syslog"
    where.mkdir()
    said = where / "said"
    said.touch()
    (where / "sitecustomize.py").write_text(
        "import syslog\n"
        f"syslog.syslog = lambda *said: open({str(said)!r}, 'a').write(str(said) + '\\n')\n"
    )
    return {"path": said, "environment": {"PYTHONPATH": str(where)}}


def leaked(*texts: str) -> list[str]:
    """Forms of the canary that are in ``texts``."""
    forms = [CANARY, base64.b64encode(CANARY.encode()).decode().rstrip("=")[:-1], CANARY[::-1]]
    return [form for form in forms for text in texts if form in text]


@pytest.mark.parametrize("secret", [True, False])
def test_contents_leak_nowhere(site: Site, syslog: dict[str, Any], secret: bool) -> None:
    path = site.etc / "key"
    argv = ["/bin/sh", "-c", 'cat "$1"; grep -q never "$1" || exit 1', "-", f"{{{path}}}"]
    entry = {"path": str(path), "content": "{{ key }}\n", "secret": secret}
    base = site.args(entry)
    refused = {"validate": [{"argv": argv}], "files": [{**entry, "content": "{{ key }}2"}]}
    results = site.run_all(
        {"args": base, "check_mode": True},
        {"args": base},
        {"args": {**base, **refused}},
        {"args": {**base, "state": "absent"}},
        extra_vars={"key": CANARY},
        options=("-vvvv",),
        diff=secret,
        environment=syslog["environment"],
    )
    assert [bool(result.get("failed")) for result in results] == [False, False, True, False]
    assert not any("invocation" in result for result in results)
    said = [*results.output.splitlines(), *map(str, results)]
    log = syslog["path"].read_text()
    assert log.count("payload=NOT_LOGGING_PARAMETER") == 4, "each call was logged"
    if secret:
        assert leaked(*said, log) == []
    else:
        # Not a secret, but nobody asked for a diff: only the validator may say it.
        assert leaked(*(text for text in said if "does not accept" not in text), log) == []


SYSTEMCTL = """#!/bin/sh
while [ "$1" != -- ]; do shift; done; shift
for unit in "$@"; do printf 'ActiveState=active\\nInvocationID=one\\n\\n'; done
"""


def test_pending_units_become_a_fact(site: Site, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(SYSTEMCTL)
    program.chmod(0o755)
    environment = {"PATH": f"{program.parent}:{os.environ['PATH']}"}
    sets = [
        {**site.args({"path": f"{site.etc}/{n}", "content": n, **more}), "name": n}
        for n, more in (
            ("a", {"restart": ["door.service"]}),
            ("b", {"reload": ["web.service", "door.service"]}),
            ("c", {}),
        )
    ]
    show = {"ansible.builtin.debug": {"var": "ansible_facts['cloudlet_units_pending']"}}
    tasks = [*({"cloudlet.deploy.config_set": args} for args in sets), show]
    everything = {"restart": ["door.service"], "reload": ["web.service"]}
    planned = site.run_tasks(tasks, check=True, environment=environment)
    done = site.run_tasks(tasks * 2, environment=environment)
    for results in (planned, done[:4], done[4:]):
        assert results[0]["units_pending"] == {"restart": ["door.service"], "reload": []}
        assert results[1]["units_pending"]["reload"] == ["door.service", "web.service"]
        assert results[3]["ansible_facts['cloudlet_units_pending']"] == everything
    assert done[4]["changed"] and done[4]["changes"] == []
