"""``plan``, ``apply`` and ``runs`` with real Ansible, a toy collection and localhost."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudlet_deploy.run.tether import offspring

#: Does what the installed command does, with the toy's roles in place of ours.
_DRIVER = """
import sys
from pathlib import Path
from cloudlet_deploy import content
content.root = lambda: Path(sys.argv[1])
from cloudlet_deploy.cli import main
sys.exit(main(sys.argv[2:]))
"""

_MODULE = '''
from ansible.module_utils.basic import AnsibleModule
import os

def main():
    """Writes a file in the way of our modules: tells changes, exact in check mode."""
    module = AnsibleModule(
        {"path": {"type": "path"}, "text": {"type": "str"}}, supports_check_mode=True
    )
    path, text = module.params["path"], module.params["text"]
    before = open(path).read() if os.path.exists(path) else ""
    if before == text:
        module.exit_json(changed=False, changes=[])
    if not module.check_mode:
        with open(path, "w") as stream:
            stream.write(text)
    change = {"kind": "file", "name": path, "action": "change" if before else "create"}
    diff = {"before": before, "after": text, "before_header": path, "after_header": path}
    module.exit_json(changed=True, changes=[change], diff=[diff])

main()
'''

_ROLES: dict[str, list[dict[str, Any]]] = {
    "alpha": [
        {
            "name": "Write the file",
            "cloudlet.deploy.thing": {
                "path": "{{ alpha_directory }}/{{ inventory_hostname }}.conf",
                "text": "word={{ alpha_word }}\n",
            },
        },
        {
            "name": "Hide",
            "ansible.builtin.fail": {"msg": "hidden-{{ alpha_word }}"},
            "no_log": True,
            "when": "inventory_hostname in alpha_hiding",
        },
    ],
    "beta": [
        {
            "name": "Nap",
            "ansible.builtin.command": "sleep {{ beta_nap }}",
            "changed_when": False,
            "when": "beta_nap > 0",
        },
        {
            "name": "Try",
            "block": [{"name": "Miss", "ansible.builtin.fail": {"msg": "missed"}}],
            "rescue": [{"name": "Mend", "ansible.builtin.debug": {"msg": "mended"}}],
            "when": "beta_rescue",
        },
        {
            "name": "Break",
            "ansible.builtin.fail": {"msg": "no luck, {{ alpha_word }}"},
            "when": "inventory_hostname in (beta_breaking_plan if ansible_check_mode"
            " else beta_breaking)",
        },
    ],
}

_OPTIONS: dict[str, dict[str, Any]] = {
    "alpha": {
        "alpha_directory": {"type": "path", "required": True},
        "alpha_word": {"type": "str", "default": "hello"},
        "alpha_hiding": {"type": "list", "elements": "str", "default": []},
    },
    "beta": {
        "beta_nap": {"type": "int", "default": 0},
        "beta_rescue": {"type": "bool", "default": False},
        "beta_breaking": {"type": "list", "elements": "str", "default": []},
        "beta_breaking_plan": {"type": "list", "elements": "str", "default": []},
    },
}


@dataclass
class Toy:
    """A collection, a site with hosts one and two, and the command line over both."""

    base: Path
    root: Path
    inventory: Path
    target: Path

    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        scratch = self.base / "scratch"
        scratch.mkdir(exist_ok=True)
        return kept | {
            "ANSIBLE_HOME": str(self.base / "home"),
            "XDG_STATE_HOME": str(self.base / "state"),
            "TMPDIR": str(scratch),
            "COLUMNS": "80",
        }

    def argv(self, command: str, *options: str) -> list[str]:
        site = () if command.startswith("runs") else ("-i", str(self.inventory))
        driver = [sys.executable, "-c", _DRIVER, str(self.root)]
        return [*driver, *command.split(), *site, *options]

    def start(self, command: str, *options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.argv(command, *options),
            env=self.environment(),
            cwd=self.base,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, command: str, *options: str) -> subprocess.CompletedProcess[str]:
        with self.start(command, *options) as process:
            out, err = process.communicate(timeout=120)
        assert "Traceback" not in err, err
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def json(self, command: str, *options: str) -> dict[str, Any]:
        done = self.run(command, *options, "--output", "json")
        document: dict[str, Any] = json.loads(done.stdout)
        assert document["exit_code"] == done.returncode
        return document

    def set(self, **variables: object) -> None:
        document = yaml.safe_load(self.inventory.read_text())
        document["all"]["vars"].update(variables)
        self.inventory.write_text(yaml.safe_dump(document))

    def add_unreachable_host(self) -> None:
        document = yaml.safe_load(self.inventory.read_text())
        far = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
        document["door"]["hosts"]["far"] = far
        self.inventory.write_text(yaml.safe_dump(document))

    def record(self) -> dict[str, Any]:
        (path,) = sorted((self.base / "state" / "cloudlet-deploy" / "runs").glob("*/record.json"))
        document: dict[str, Any] = json.loads(path.read_text())
        return document

    def files(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in self.target.iterdir()}

    def leftovers(self) -> list[str]:
        return [str(path) for path in (self.base / "scratch").rglob("*")]


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    root = tmp_path / "collection"
    (root / "plugins" / "modules").mkdir(parents=True)
    (root / "plugins" / "modules" / "thing.py").write_text(_MODULE)
    (root / "galaxy.yml").write_text("{namespace: cloudlet, name: deploy, version: 0.1.0}\n")
    for name, tasks in _ROLES.items():
        role = root / "roles" / name
        for part in ("tasks", "meta", "defaults"):
            (role / part).mkdir(parents=True)
        (role / "tasks" / "main.yml").write_text(yaml.safe_dump(tasks, sort_keys=False))
        options = {
            key: {**option, "description": f"The {key}."} for key, option in _OPTIONS[name].items()
        }
        spec = {"main": {"short_description": name, "options": options}}
        (role / "meta" / "argument_specs.yml").write_text(yaml.safe_dump({"argument_specs": spec}))
        defaults = {k: o["default"] for k, o in options.items() if "default" in o}
        (role / "defaults" / "main.yml").write_text(yaml.safe_dump(defaults))
    (root / "playbooks").mkdir()
    roles = [{"role": f"cloudlet.deploy.{name}", "tags": [name]} for name in _ROLES]
    play = {"name": "Deploy", "hosts": "door", "gather_facts": False, "roles": roles}
    (root / "playbooks" / "storage_element.yml").write_text(yaml.safe_dump([play], sort_keys=False))
    target = tmp_path / "target"
    target.mkdir()
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "alpha_directory": str(target),
    }
    inventory = tmp_path / "site.yml"
    site = {"all": {"vars": variables}, "door": {"hosts": {"one": {}, "two": {}}}}
    inventory.write_text(yaml.safe_dump(site))
    return Toy(tmp_path, root, inventory, target)


def test_plan_shows_every_change_and_makes_none(toy: Toy) -> None:
    done = toy.run("plan")
    assert done.returncode == 2, done.stderr
    assert not toy.files()
    for name in ("one", "two"):
        assert f"{name}.conf" in done.stdout
    assert "+word=hello" in done.stdout
    assert "2 changes on 2 hosts" in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    # A long path is folded, not cut: joined again it is whole.
    assert f"{toy.target}/one.conf" in "".join(done.stdout.split())


def test_apply_makes_what_the_plan_listed_and_then_nothing(toy: Toy) -> None:
    planned = toy.json("plan")["plan"]["hosts"]
    done = toy.json("apply", "--yes")
    assert done["exit_code"] == 0
    listed = [c["changes"] for h in planned for c in h["components"]]
    made = [c["changes"] for h in done["result"]["hosts"] for c in h["components"]]
    assert sorted(map(str, listed)) == sorted(map(str, made))
    assert toy.files() == {"one.conf": "word=hello\n", "two.conf": "word=hello\n"}
    again = toy.run("apply")
    assert (again.returncode, again.stdout) == (0, "Nothing to do.\n"), again.stderr
    assert not toy.leftovers()


def test_apply_without_terminal_and_yes_changes_nothing(toy: Toy) -> None:
    done = toy.run("apply")
    assert done.returncode == 64
    assert "no terminal" in done.stderr
    assert "--yes" in done.stderr
    assert not toy.files()
    record = toy.record()
    assert (record["exit_code"], record["phase"], record["state"]) == (64, "plan", "finished")


def test_component_and_limit_narrow_the_run(toy: Toy) -> None:
    toy.set(beta_breaking=["one", "two"])
    done = toy.json("apply", "--yes", "--component", "alpha", "--limit", "two")
    assert done["exit_code"] == 0
    assert set(toy.files()) == {"two.conf"}
    assert {c["component"] for h in done["result"]["hosts"] for c in h["components"]} == {"alpha"}


def test_unknown_component_is_wrong_usage(toy: Toy) -> None:
    done = toy.run("apply", "--yes", "--component", "alpah")
    assert done.returncode == 64
    assert "Did you mean alpha?" in done.stderr


def test_invalid_site_touches_no_host(toy: Toy) -> None:
    toy.set(alpha_wrod="x", beta_nap="soon")
    done = toy.run("apply", "--yes")
    assert done.returncode == 4
    assert "alpha_wrod" in done.stderr
    assert "beta_nap" in done.stderr
    assert not toy.files()


def test_unreachable_host_is_named_and_does_not_stop_the_others(toy: Toy) -> None:
    toy.add_unreachable_host()
    done = toy.run("apply", "--yes")
    assert done.returncode == 3, done.stderr
    assert "far: it refuses ssh:" in done.stderr
    assert "Connection refused" in " ".join(done.stderr.split())
    assert set(toy.files()) == {"one.conf", "two.conf"}
    record = toy.record()
    assert [f["host"] for f in record["failures"]] == ["far"]
    assert {c["host"] for c in record["components"]} == {"far", "one", "two"}
    again = toy.run("plan")
    assert again.returncode == 3
    assert "Nothing to do on the other 2 hosts." in again.stdout


def test_failed_task_names_host_task_and_reason(toy: Toy) -> None:
    toy.set(beta_breaking=["one"])
    done = toy.json("apply", "--yes")
    assert done["exit_code"] == 1
    status = {host["host"]: host["status"] for host in done["result"]["hosts"]}
    assert status == {"one": "failed", "two": "changed"}
    (failure,) = (f for host in done["result"]["hosts"] for f in host["failures"])
    assert failure["message"].startswith("one (beta): task 'Break' failed: no luck")


def test_host_that_fails_in_the_plan_is_not_changed(toy: Toy) -> None:
    toy.set(beta_breaking_plan=["one"])
    done = toy.run("apply", "--yes")
    assert done.returncode == 1, done.stderr
    assert set(toy.files()) == {"two.conf"}
    assert "left as they are" in done.stderr


def test_rescued_failure_is_no_failure(toy: Toy) -> None:
    toy.set(beta_rescue=True)
    done = toy.json("apply", "--yes")
    assert done["exit_code"] == 0
    assert not any(host["failures"] for host in done["result"]["hosts"])


def test_secrets_are_neither_shown_nor_kept(toy: Toy) -> None:
    password = toy.base / "vault-password"
    password.write_text("opensesame")
    encrypted = subprocess.run(
        [
            *(sys.executable, "-m", "ansible", "vault", "encrypt_string"),
            *("--vault-password-file", str(password), "--name", "alpha_word", "swordfish"),
        ],
        check=True,
        capture_output=True,
        text=True,
        env=toy.environment(),
    ).stdout
    indented = "".join(f"    {line}\n" for line in encrypted.splitlines())
    toy.inventory.write_text(toy.inventory.read_text().replace("  vars:\n", f"  vars:\n{indented}"))
    done = toy.run(
        *("apply", "--yes", "--vault-password-file", str(password)),
        *("-e", '{"beta_breaking": ["one"], "alpha_hiding": ["two"]}'),
    )
    assert done.returncode == 1, done.stderr
    assert toy.files()["one.conf"] == "word=swordfish\n"
    assert "no luck, ********" in done.stderr
    assert "no_log" in done.stderr
    kept = "".join(p.read_text() for p in (toy.base / "state").rglob("*") if p.is_file())
    for text in (done.stdout, done.stderr, kept):
        assert "swordfish" not in text
        assert "opensesame" not in text
    assert not toy.leftovers()
    modes = {p.stat().st_mode & 0o077 for p in (toy.base / "state" / "cloudlet-deploy").rglob("*")}
    assert modes == {0}


def test_broken_playbook_gives_ansibles_words(toy: Toy) -> None:
    tasks = toy.root / "roles" / "alpha" / "tasks" / "main.yml"
    tasks.write_text("- name: Odd\n  nosuch.a.b: {}\n")
    done = toy.run("apply", "--yes")
    assert done.returncode == 1
    assert "ansible-playbook could not start" in done.stderr
    assert "nosuch.a.b" in done.stderr
    record = toy.record()
    assert record["state"] == "finished"
    assert "nosuch.a.b" in record["error"]


def test_runs_tell_what_happened(toy: Toy) -> None:
    toy.run("apply", "--yes")
    toy.set(beta_breaking=["one"], alpha_word="other")
    toy.run("apply", "--yes")
    runs = toy.json("runs list")["runs"]
    assert [run["exit_code"] for run in runs] == [1, 0]
    shown = toy.run("runs show", runs[0]["run_id"])
    assert shown.returncode == 0, shown.stderr
    assert "no luck" in shown.stdout
    assert "one.conf" in "".join(shown.stdout.split())


def _descendants_of(process: subprocess.Popen[str]) -> list[int]:
    return offspring(process.pid)


def _commands(pids: list[int]) -> list[str]:
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            raw = Path(f"/proc/{pid}/cmdline").read_bytes()
            if raw:
                found.append(raw.replace(b"\0", b" ").decode())
    return found


@pytest.fixture
def napping(toy: Toy) -> Iterator[Callable[[], tuple[subprocess.Popen[str], list[int]]]]:
    """Starts an apply and returns once its task sleeps on both hosts, with all its processes."""
    started: list[subprocess.Popen[str]] = []

    def start() -> tuple[subprocess.Popen[str], list[int]]:
        toy.set(beta_nap=77)
        process = toy.start("apply", "--yes")
        started.append(process)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            pids = _descendants_of(process)
            if sum(command.startswith("sleep 77") for command in _commands(pids)) == 2:
                return process, pids
            time.sleep(0.05)
        process.kill()
        raise AssertionError(f"the task never ran: {process.communicate()}")

    yield start
    for process in started:
        process.kill()
        process.communicate()


def _gone_within(pids: list[int], seconds: float) -> list[str]:
    deadline = time.monotonic() + seconds
    while (left := _commands(pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def test_killed_cli_leaves_no_ansible_and_no_secret(
    toy: Toy, napping: Callable[[], tuple[subprocess.Popen[str], list[int]]]
) -> None:
    process, pids = napping()
    assert any("ansible-playbook" in command for command in _commands(pids))
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=5)
    assert _gone_within(pids, 3.0) == []
    deadline = time.monotonic() + 2
    while toy.leftovers() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert toy.leftovers() == []
    assert toy.json("runs list")["runs"][0]["state"] == "killed"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_cli_stops_ansible_and_says_so(
    toy: Toy,
    napping: Callable[[], tuple[subprocess.Popen[str], list[int]]],
    number: signal.Signals,
) -> None:
    process, pids = napping()
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "Interrupted" in err
    assert _gone_within(pids, 3.0) == []
    assert toy.leftovers() == []
    run = toy.json("runs list")["runs"][0]
    assert (run["state"], run["exit_code"], run["phase"]) == ("interrupted", 130, "change")
