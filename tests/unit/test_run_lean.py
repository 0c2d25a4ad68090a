"""What ``lean.py`` runs is run as Python itself would, and its workers load nothing again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from cloudlet_deploy.run import lean

#: Tells what it sees of itself, and what a worker that it forks does.
_SCRIPT = """
import gc, json, os, sys
import beside
import secrets  # not that of the package
reading, writing = os.pipe()
before = gc.get_freeze_count()
loaded = "ansible.plugins.connection.ssh" in sys.modules
if os.fork() == 0:
    seen = [gc.get_freeze_count(), "ansible.plugins.connection.ssh" in sys.modules]
    os.write(writing, json.dumps(seen).encode())
    os._exit(0)
os.wait()
frozen, there = json.loads(os.read(reading, 100))
print(json.dumps({
    "argv": sys.argv, "name": __name__, "beside": beside.WORD, "secrets": secrets.__file__,
    "loaded": [loaded, there], "frozen": [before, gc.get_freeze_count(), frozen],
}))
sys.exit(7)
"""


def _run(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(lean.__file__), str(script), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_script_runs_as_under_python_itself(tmp_path: Path) -> None:
    script = tmp_path / "program"
    script.write_text(_SCRIPT)
    (tmp_path / "beside.py").write_text("WORD = 'found'\n")
    done = _run(script, "-i", "two words")
    assert done.returncode == 7, done.stderr
    told = json.loads(done.stdout)
    assert told["argv"] == [str(script), "-i", "two words"]
    assert (told["name"], told["beside"]) == ("__main__", "found")
    assert str(Path(lean.__file__).parent) not in told["secrets"]
    # Nothing is loaded before there is a worker, nor kept in the program that goes on.
    assert told["loaded"] == [False, True]
    assert told["frozen"][:2] == [0, 0] and told["frozen"][2] > 10_000


def test_what_cannot_be_loaded_is_left_to_the_workers(tmp_path: Path) -> None:
    script = tmp_path / "program"
    script.write_text("import os\nif os.fork() == 0: os._exit(0)\nos.wait()\nprint('ended')\n")
    broken = tmp_path / "ansible"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise RuntimeError('broken')\n")
    done = _run(script)
    assert (done.stdout, done.stderr, done.returncode) == ("ended\n", "", 0)


#: Prints the class of each plugin that is loaded before the workers.
_PLUGINS = """
import sys
from cloudlet_deploy.run import lean
from ansible.plugins import loader
loader.init_plugin_loader()
for name, plugin in lean._PLUGINS:
    if not plugin.startswith("cloudlet."):
        print(getattr(loader, name).get(plugin, class_only=True).__module__)
"""


def test_every_plugin_that_is_loaded_before_is_there() -> None:
    """A name that ansible-core dropped would cost nothing and bring nothing, in silence."""
    done = subprocess.run(
        [sys.executable, "-c", _PLUGINS], capture_output=True, text=True, check=True
    )
    assert len(done.stdout.split()) == len(lean._PLUGINS) - 1


def test_a_plugin_of_the_users_is_taken_for_ansibles(tmp_path: Path) -> None:
    (tmp_path / "connections").mkdir()
    (tmp_path / "connections" / "ssh.py").write_text(
        "from ansible.plugins.connection import ConnectionBase\n"
        "DOCUMENTATION = 'name: ssh'\n"
        "class Connection(ConnectionBase):\n"
        "    transport = 'ssh'\n"
    )
    script = tmp_path / "program"
    script.write_text(
        "import os, sys\n"
        "from ansible.plugins.loader import connection_loader\n"
        "if os.fork() == 0:\n"
        "    module = sys.modules['ansible.plugins.connection.ssh']\n"
        "    print(module.__file__, flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
    )
    done = subprocess.run(
        [sys.executable, str(lean.__file__), str(script)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "ANSIBLE_CONNECTION_PLUGINS": str(tmp_path / "connections")},
    )
    assert done.stdout.strip() == str(tmp_path / "connections" / "ssh.py"), done.stderr
