"""A pod with the stand-in of Open OnDemand, and the site that a role would mount into it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import os
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cloudlet_deploy.lab import image
from cloudlet_deploy.lab.podman import Podman, connected

PORTAL = "portal.lab.test"
#: What a rootless pod gets (facts of the deployment; nothing else is needed).
CAPABILITIES = "CHOWN,DAC_OVERRIDE,FOWNER,SETUID,SETGID,NET_BIND_SERVICE,SETPCAP,KILL"
ALICE, BOB, ROOT, NOBODY = "alice@home.test", "bob@home.test", "root", "nobody@home.test"
HOSTILE = {
    "a b+c": "a+b%2bc",
    "--help": "--help",
    "it's $(id)": "it%27s+%24%28id%29",
    "Ä": "%c3%84",
}
UID, GID, INSTRUMENT = 123456, 123400, 150001
STAGE = "/opt/ood/nginx_stage/sbin/nginx_stage"
# The map writes down what it was given, the other one how often it was asked.
MAP = """#!/bin/sh
echo "$1" >>/tmp/claims
case $1 in
  alice%40home.test) printf 'alice\\nroot\\n' ;;
  bob%40home.test) echo bob; exit 1 ;;
  root) echo root ;;
esac
"""
STARTER = f"""#!/bin/sh
echo "$*" >>/tmp/tries
exec sudo {STAGE} "$@"
"""
# Tells the request, or speaks as a websocket server does to one that knows the frames.
BACKEND = """
import socketserver, sys
class Backend(socketserver.StreamRequestHandler):
    def handle(self):
        lines = [self.rfile.readline().decode().strip()]
        while lines[-1]:
            lines.append(self.rfile.readline().decode().strip())
        if any(line.lower() == "upgrade: websocket" for line in lines):
            self.wfile.write(b"HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\n"
                             b"Connection: Upgrade\\r\\n\\r\\nRFB 003.008\\n")
            self.wfile.write(self.rfile.read(5)[::-1])
        else:
            body = "\\n".join(lines).encode()
            head = b"HTTP/1.0 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body)
            self.wfile.write(head + body)
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("127.0.0.1", int(sys.argv[1])), Backend).serve_forever()
"""


@dataclass(frozen=True)
class Answer:
    status: int
    body: str
    headers: dict[str, str]


@dataclass(frozen=True)
class Pod:
    podman: Podman
    name: str
    directory: Path
    address: str = field(default="", compare=False)

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.podman.run("exec", self.name, *command, check=check)

    def sh(self, script: str) -> str:
        return self.run("sh", "-ec", script).stdout

    def failing(self, script: str) -> str:
        """What a script says, which has to fail."""
        done = self.run("sh", "-ec", script, check=False)
        assert done.returncode != 0, (script, done.stdout)
        return done.stdout + done.stderr

    def put(self, path: str, text: str, mode: str = "644") -> None:
        """Write a file of the pod, as its root."""
        command = f"cat >{path}; chmod {mode} {path}"
        self.podman.run("exec", "-i", self.name, "sh", "-ec", command, stdin=text.encode())

    def wait_for_boot(self) -> None:
        """Return when all units were started; some may have failed."""
        end = time.monotonic() + 60
        # Before systemd answers at all, its own --wait gives up.
        while time.monotonic() < end:
            state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
            if state in ("running", "degraded"):
                return
            time.sleep(0.1)
        raise AssertionError(f"the pod does not boot: {state}")

    def configure(self, **keys: Any) -> None:
        """Restart Apache with ``keys`` over the portal's usual settings."""
        self.put("/etc/ood/config/ood_portal.yml", yaml.safe_dump({**settings(), **keys}), "600")
        # systemd lets nobody start a unit as often as these tests do.
        self.sh("systemctl reset-failed apache2; systemctl restart apache2")

    def ask(
        self,
        path: str,
        user: str | None = ALICE,
        method: str = "GET",
        body: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> Answer:
        """One request, sent as written: nothing of ``path`` is normalized."""
        connection = (
            http.client.HTTPSConnection(self.address, timeout=20, context=tls)
            if tls
            else http.client.HTTPConnection(self.address, timeout=20)
        )
        connection.putrequest(method, path, skip_host=True)
        for name, value in headers(user).items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body.encode() if body is not None else None)
        got = connection.getresponse()
        found = Answer(got.status, got.read().decode(), dict(got.getheaders()))
        connection.close()
        return found


def headers(user: str | None) -> dict[str, str]:
    # mod_auth_openidc asks the provider for browsers only.
    found = {"Host": PORTAL, "Accept": "text/html"}
    if user is None:
        return found
    word = base64.b64encode(f"{user}:lab".encode()).decode()
    return {**found, "Authorization": f"Basic {word}"}


def settings() -> dict[str, Any]:
    return {
        "servername": PORTAL,
        "user_map_cmd": "/etc/ood/site/map",
        "pun_stage_cmd": "/etc/ood/site/start",
        "host_regex": r"127\.0\.0\.1|localhost",
        "node_uri": "/node",
        "rnode_uri": "/rnode",
        "auth": [
            "AuthType Basic",
            "AuthName lab",
            "AuthUserFile /etc/ood/site/passwords",
            "Require valid-user",
        ],
    }


def site(directory: Path) -> None:
    """What a role mounts: the map, the members and the people."""
    files = {
        "site/map": MAP,
        "site/start": STARTER,
        "site/groups": f"instrument: {ALICE}\n",
        "people/passwd": f"alice:*:{UID}:{GID}::/home/alice:/bin/bash\n"
        f"bob:*:{UID + 1}:{GID}::/home/bob:/bin/bash\n",
        "people/group": f"science:*:{GID}:\ninstrument:*:{INSTRUMENT}:alice\n",
    }
    word = base64.b64encode(hashlib.sha1(b"lab").digest()).decode()
    people = (ALICE, BOB, ROOT, NOBODY, *HOSTILE)
    files["site/passwords"] = "".join(f"{name}:{{SHA}}{word}\n" for name in people)
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    home = directory / "home" / "alice"
    home.mkdir(parents=True)
    os.chown(home, UID, GID)
    home.chmod(0o700)
    (directory / "portal.yml").write_text(yaml.safe_dump(settings()))


@contextlib.contextmanager
def running(directory: Path) -> Iterator[Pod]:
    """The pod, with its files below ``directory``; builds the image unless it is there."""
    site(directory)
    name = f"ondemand-standin-{os.getpid()}"
    with connected() as podman:
        reference = image.ensure(podman, {"ondemand"}, print)["ondemand"]
        podman.run(
            "run", "--detach", "--rm", f"--name={name}", f"--hostname={PORTAL}",
            "--systemd=always", "--cap-drop=all", f"--cap-add={CAPABILITIES}",
            f"--volume={directory}/site:/etc/ood/site:ro",
            f"--volume={directory}/people:/var/lib/extrausers:ro",
            f"--volume={directory}/home:/home",
            reference,
        )  # fmt: skip
        try:
            found = podman.run("inspect", "--format={{.NetworkSettings.IPAddress}}", name)
            pod = Pod(podman, name, directory, found.stdout.strip())
            pod.wait_for_boot()
            pod.configure()
            pod.put("/tmp/backend.py", BACKEND)
            for port in ("6080", "6081"):
                podman.run("exec", "--detach", name, "python3", "/tmp/backend.py", port)
                listens = f": </dev/tcp/127.0.0.1/{port}"
                pod.run("timeout", "20", "bash", "-c", f"until {listens}; do sleep 0.1; done")
            yield pod
        finally:
            podman.run("rm", "--force", "--time=0", name, check=False)
