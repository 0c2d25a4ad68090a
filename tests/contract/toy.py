"""A toy collection, a site with two hosts that are this machine, and the command line over both."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cloudlet_deploy import content

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

#: What of the real collection the command line uses.
_LEASE = (
    "playbooks/lease.yml",
    *(f"plugins/{kind}/lease.py" for kind in ("action", "modules")),
    "plugins/filter/data_mounts_refusals.py",
    "plugins/module_utils",
    "plugins/plugin_utils",
)

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
            "check_mode": "{{ beta_nap_changing and ansible_check_mode }}",
            "when": "beta_nap > 0",
        },
        {
            "name": "Try",
            "block": [{"name": "Miss", "ansible.builtin.fail": {"msg": "missed"}}],
            "rescue": [{"name": "Mend", "ansible.builtin.debug": {"msg": "mended"}}],
            "when": "inventory_hostname in beta_rescue",
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
        "beta_nap_changing": {"type": "bool", "default": True},
        "beta_rescue": {"type": "list", "elements": "str", "default": []},
        "beta_breaking": {"type": "list", "elements": "str", "default": []},
        "beta_breaking_plan": {"type": "list", "elements": "str", "default": []},
    },
}


@dataclass
class Toy:
    """A collection, a site with hosts one and two, and the command line over both."""

    base: Path

    @property
    def root(self) -> Path:
        return self.base / "collection"

    @property
    def inventory(self) -> Path:
        return self.base / "site.yml"

    @property
    def target(self) -> Path:
        return self.base / "target"

    @property
    def leases(self) -> Path:
        return self.base / "leases"

    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        # Short: a path that leaves no room for Ansible's socket would not be used.
        scratch = self.base / "s"
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
        # The toy's roles do not say what they need of a host.
        unchecked = ("--no-preflight",) if command == "apply" else ()
        return [*driver, *command.split(), *site, *unchecked, *options]

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

    def add_hosts(self, *names: str) -> None:
        """More hosts; one of the name far refuses ssh."""
        document = yaml.safe_load(self.inventory.read_text())
        far = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
        hosts = {name: far if name == "far" else {} for name in names}
        document["door"]["hosts"].update(hosts)
        self.inventory.write_text(yaml.safe_dump(document))

    def record(self) -> dict[str, Any]:
        (path,) = sorted((self.base / "state" / "cloudlet-deploy" / "runs").glob("*/record.json"))
        document: dict[str, Any] = json.loads(path.read_text())
        return document

    def files(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in self.target.iterdir()}

    def leftovers(self) -> list[str]:
        """What is left of the run. A module that is killed leaves its code on its host."""
        found = (path for path in (self.base / "s").rglob("*"))
        return [str(path) for path in found if not re.search(r"/ansible_\S+_payload_", str(path))]


def make_toy(base: Path) -> Toy:
    toy = Toy(base)
    root = toy.root
    (root / "plugins" / "modules").mkdir(parents=True)
    (root / "plugins" / "modules" / "thing.py").write_text(_MODULE)
    for part in _LEASE:
        (root / part).parent.mkdir(parents=True, exist_ok=True)
        (root / part).symlink_to(content.root() / part)
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
    roles = [{"role": f"cloudlet.deploy.{name}", "tags": [name]} for name in _ROLES]
    play = {"name": "Deploy", "hosts": "door", "gather_facts": False, "roles": roles}
    (root / "playbooks" / "storage_element.yml").write_text(yaml.safe_dump([play], sort_keys=False))
    (root / "playbooks" / "cloudlet.yml").write_text("[]\n")
    toy.target.mkdir()
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "alpha_directory": str(toy.target),
        # Both hosts are this machine, and the test may not be root.
        "ansible_become": False,
        "cloudlet_state_dir": f"{toy.leases}/{{{{ inventory_hostname }}}}",
    }
    site = {"all": {"vars": variables}, "door": {"hosts": {"one": {}, "two": {}}}}
    toy.inventory.write_text(yaml.safe_dump(site))
    return toy
