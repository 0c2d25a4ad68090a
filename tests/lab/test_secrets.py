"""Canary secrets: given the way a careful admin gives them, and then looked for everywhere.

A become password in a vaulted variable, a host key in a vaulted file, the password of the
vault, an extra variable from a file, and the environment of the command line.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.lab.conftest import CLI, SERVERS, TRANSFER, TestLab

BECOME = "be/come+canary&8=41f6"
VAULT = "va/ult+canary&8=c03d"
EXTRA = "ex/tra+canary&8=77aa"
ENVIRONMENT = "en/vironment+canary&8=92e1"
ADMIN = "gridadmin"
BIN = Path(sys.executable).parent
#: Where a program of the host may leave something; the rest comes with its image.
HOST_PLACES = "/etc /var /tmp /home /root /run /srv /opt"


def _forms(secret: str) -> set[bytes]:
    """The secret as it is, in base64 wherever it begins in a text, and URL-encoded."""
    forms = {secret, urllib.parse.quote(secret), urllib.parse.quote(secret, safe="")}
    found = {form.encode() for form in forms}
    for before in range(3):
        # What depends on the neighbors is cut off.
        encoded = base64.b64encode(b"\0" * before + secret.encode())
        found.add(encoded[(0, 2, 3)[before] : len(encoded) - len(encoded) % 4 - 4])
    return found


@dataclass
class Watch:
    """What the machine and the hosts showed while the command ran."""

    temporary: Path
    needles: set[bytes]
    looks: int = 0
    on_command_lines: set[str] = field(default_factory=set)
    open_to_others: set[str] = field(default_factory=set)

    def look(self) -> None:
        """One look at every process (those of the lab's hosts too) and every temporary file."""
        self.looks += 1
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            text = _read(process)
            if any(needle in text for needle in self.needles):
                self.on_command_lines.add(text.replace(b"\0", b" ").decode(errors="replace"))
        # Unlike rglob, it goes on when a directory has gone.
        for parent, _, names in os.walk(self.temporary):
            for path in (Path(parent) / name for name in names):
                if any(needle in _read(path) for needle in self.needles) and _mode(path) & 0o077:
                    self.open_to_others.add(f"{path} {_mode(path):o}")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended, or was removed
        return b""


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode & 0o777
    except OSError:
        return 0


@contextmanager
def _watching(watch: Watch) -> Iterator[None]:
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            watch.look()
            time.sleep(0.1)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@dataclass(frozen=True)
class Told:
    """What the commands said, and where they ran."""

    needles: dict[str, set[bytes]]
    screen: bytes
    state: Path
    watch: Watch

    def names_in(self, text: bytes) -> set[str]:
        """Which of the secrets are in ``text``."""
        return {name for name, forms in self.needles.items() if any(form in text for form in forms)}


def _encrypt(text: str, password: Path) -> str:
    return subprocess.run(
        [BIN / "ansible-vault", "encrypt", "--vault-password-file", password, "-"],
        input=text,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def _give_secrets(lab: TestLab, password: Path) -> dict[str, str]:
    """Put the secrets into the site and onto the hosts. Returns them by what they are."""
    for host in SERVERS:
        lab.run(
            host,
            f"useradd -m {ADMIN} && cp -a /home/admin/.ssh /home/{ADMIN}/ "
            f"&& chown -R {ADMIN}: /home/{ADMIN}/.ssh && chpasswd "
            f"&& echo '{ADMIN} ALL=(ALL) ALL' >/etc/sudoers.d/{ADMIN}",
            stdin=f"{ADMIN}:{BECOME}\n",
        )
        key = lab.site / f".lab/pki/hosts/{host}/hostkey.pem"
        text = key.read_text()
        mode = key.stat().st_mode
        key.write_text(_encrypt(text, password))
        key.chmod(mode)
        variables = lab.site / "host_vars" / host / "secret.yml"
        variables.parent.mkdir(parents=True, exist_ok=True)
        vaulted = _encrypt(BECOME, password).replace("\n", "\n  ").rstrip()
        variables.write_text(f"---\nansible_become_password: !vault |\n  {vaulted}\n")
    # Of the last host's key a line, as it is in the site and as it is written for old Java.
    rewritten = subprocess.run(
        ["openssl", "rsa", "-traditional"], input=text, capture_output=True, text=True, check=True
    ).stdout
    return {
        "become": BECOME,
        "vault": VAULT,
        "extra": EXTRA,
        "environment": ENVIRONMENT,
        "key": text.splitlines()[9],
        "rewritten key": rewritten.splitlines()[9],
    }


@pytest.fixture(scope="module")
def told(lab: TestLab, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """A plan with diffs and an apply at -vvv on bare hosts, and the account of the run."""
    work = tmp_path_factory.mktemp("secrets")
    password = work / "vault-password"
    password.write_text(VAULT + "\n")
    password.chmod(0o600)
    extra = work / "extra.yml"
    extra.write_text(f"---\nsite_note: {EXTRA}\n")
    extra.chmod(0o600)
    secrets = _give_secrets(lab, password)
    needles = {name: _forms(secret) for name, secret in secrets.items()}
    temporary = Path("/tmp") / f"canary-{os.getpid()}"
    temporary.mkdir(mode=0o700)
    environment = {
        **os.environ,
        "TMPDIR": str(temporary),
        "XDG_STATE_HOME": str(work / "state"),
        "SITE_NOTE": ENVIRONMENT,
    }
    options: list[str | Path] = ["-i", lab.site, "-e", f"ansible_user={ADMIN}", "-e", f"@{extra}"]
    options += ["--vault-password-file", password, "-vvv"]
    watch = Watch(temporary, set().union(*needles.values()))
    screen = b""
    with _watching(watch):
        for command in (["plan", "--diff"], ["apply", "--yes", "--diff"], ["runs", "show", "last"]):
            given = options if command[0] != "runs" else []
            done = subprocess.run(
                [CLI, *command, *given],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=300,
                check=False,
            )
            screen += done.stdout + done.stderr
            assert done.returncode == (2 if command[0] == "plan" else 0), screen.decode()
    assert watch.looks > 50
    return Told(needles, screen, work / "state", watch)


def test_the_canaries_would_be_found(told: Told) -> None:
    for name, forms in told.needles.items():
        for form in forms:
            assert name in told.names_in(b"x" + form + b"y")
    assert told.names_in(base64.b64encode(f"ab{BECOME}cd".encode())) == {"become"}


def test_no_secret_is_on_the_screen_or_in_a_record(told: Told) -> None:
    assert told.names_in(told.screen) == set()
    records = [path for path in told.state.rglob("*") if path.is_file()]
    assert any(path.name == "record.json" for path in records)
    assert {str(p): n for p in records if (n := told.names_in(p.read_bytes()))} == {}


def test_no_secret_is_on_a_command_line_or_in_an_open_file(told: Told) -> None:
    assert told.watch.on_command_lines == set()
    assert told.watch.open_to_others == set()
    assert list(told.watch.temporary.iterdir()) == []


@pytest.mark.parametrize("host", SERVERS)
def test_no_secret_stays_on_a_host_but_the_key_in_its_place(
    lab: TestLab, told: Told, host: str
) -> None:
    journal = lab.run(host, "journalctl --no-pager -a -o export").stdout.encode()
    assert b"config_set" in journal
    assert told.names_in(journal) == set()
    needles = "\n".join(sorted(form.decode() for form in told.watch.needles)) + "\n"
    found = lab.run(
        host,
        f"cat >/dev/shm/needles && grep -rlaF -f /dev/shm/needles {HOST_PLACES} 2>/dev/null; "
        "rm /dev/shm/needles",
        stdin=needles,
    )
    expected = {"/etc/grid-security/hostkey.pem"} if host == TRANSFER else set()
    assert set(found.stdout.split()) == expected
