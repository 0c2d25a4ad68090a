"""The images of the lab's hosts, built by recipe and cached in Podman's storage.

``base``    Debian with systemd, made by mmdebstrap, and the packages that the roles will
            install lying ready in apt's cache
``host``    base with the prepared home of the BeStMan stand-in
``client``  base with the grid's client programs and two people's accounts

An image's tag is the digest of everything that its recipe says, so a changed recipe is a new
image and an unchanged one is never built twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import re
import shlex
import shutil
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloudlet_deploy.errors import RunFailedError
from cloudlet_deploy.lab.ca import USERS
from cloudlet_deploy.lab.model import LABEL_IMAGE, Progress
from cloudlet_deploy.lab.podman import Podman, last_words, locked
from cloudlet_deploy.lab.ssh import ADMIN

SUITE = "bookworm"
STANDIN_HOME = "/opt/bestman2"
_STANDIN = "cloudlet_deploy.lab.standin"
_NEEDED_BYTES = 3 * 2**30

_HOST_PACKAGES = (
    "ca-certificates",
    "dbus",
    "iproute2",
    "libpam-systemd",
    "openssh-server",
    "openssl",
    "procps",
    "python3",
    "sudo",
    "systemd",
    "systemd-sysv",
)
#: Downloaded, not installed: installing them is the roles' work.
_READY_PACKAGES = (
    "acl",
    "globus-gridftp-server-progs",
    "logrotate",
    "openjdk-17-jre-headless",
    "python3-apt",
    "strace",
)
_CLIENT_PACKAGES = (
    "curl",
    "gfal2-plugin-file",
    "gfal2-plugin-gridftp",
    "gfal2-plugin-srm",
    "gfal2-util-scripts",
    "globus-gass-copy-progs",
    "globus-proxy-utils",
)
_APT_OPTIONS = ('Acquire::Languages "none"', 'APT::Install-Recommends "false"')
_DPKG_OPTIONS = (
    "force-unsafe-io",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/locale/*",
)
#: Run in the new root by sh -e, after all packages are installed.
_BASE_SCRIPT = f"""
export DEBIAN_FRONTEND=noninteractive
rm -f /var/cache/apt/archives/*.deb
# The JRE's alternatives want a directory for manual pages.
mkdir -p /usr/share/man/man1
apt-get install --yes --download-only {" ".join(_READY_PACKAGES)}
# Each host gets keys of its own, which the lab knows beforehand.
rm -f /etc/ssh/ssh_host_*
printf '%s\\n' 'HostKey /etc/ssh/ssh_host_ed25519_key' 'PasswordAuthentication no' \
  'PermitRootLogin no' >/etc/ssh/sshd_config.d/lab.conf
useradd --create-home --shell /bin/bash --password '*' {ADMIN}
install -d -m 0700 -o {ADMIN} -g {ADMIN} /home/{ADMIN}/.ssh
echo '{ADMIN} ALL=(ALL:ALL) NOPASSWD: ALL' >/etc/sudoers.d/{ADMIN}
chmod 0440 /etc/sudoers.d/{ADMIN}
# Nothing but the roles may hold apt's lock.
systemctl mask apt-daily.timer apt-daily-upgrade.timer console-getty.service
: >/etc/machine-id
"""
_PROFILE = (
    "export X509_USER_CERT=$HOME/.globus/usercert.pem X509_USER_KEY=$HOME/.globus/userkey.pem"
)
_CLIENT_SCRIPT = f"""
export DEBIAN_FRONTEND=noninteractive
apt-get install --yes {" ".join(_CLIENT_PACKAGES)}
rm -f /var/cache/apt/archives/*.deb
for name in {" ".join(USERS)}; do
  useradd --create-home --shell /bin/bash --password '*' "$name"
  install -d -m 0700 -o "$name" -g "$name" "/home/$name/.globus"
  printf '%s\\n' {shlex.quote(_PROFILE)} >>"/home/$name/.profile"
done
"""


@dataclass(frozen=True)
class Recipe:
    """What an image is made of; ``inputs`` decide its tag."""

    kind: str
    inputs: dict[str, Any] = field(hash=False)

    @property
    def reference(self) -> str:
        """The image's name in Podman's storage."""
        text = json.dumps({"kind": self.kind, **self.inputs}, sort_keys=True)
        return (
            f"localhost/cloudlet-lab-{self.kind}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        )


def base_recipe(sources: str | None = None) -> Recipe:
    """The recipe of ``base``; ``sources`` is what apt is told (default: the machine's)."""
    return Recipe(
        "base",
        {
            "suite": SUITE,
            "packages": _HOST_PACKAGES,
            "apt": _APT_OPTIONS,
            "dpkg": _DPKG_OPTIONS,
            "script": _BASE_SCRIPT,
            "sources": machine_sources() if sources is None else sources,
        },
    )


def recipes() -> dict[str, Recipe]:
    """All recipes by kind, in the order in which they are built."""
    base = base_recipe()
    return {
        "base": base,
        "host": Recipe("host", {"base": base.reference, "standin": _standin_digest()}),
        "client": Recipe("client", {"base": base.reference, "script": _CLIENT_SCRIPT}),
    }


def ensure(podman: Podman, kinds: set[str], progress: Progress) -> dict[str, str]:
    """Build the images of ``kinds`` that are missing; returns each kind's reference."""
    wanted = recipes()
    order = [kind for kind in wanted if kind in kinds]
    if not all(_exists(podman, wanted[kind]) for kind in order):
        with locked("images"):
            for kind in ("base", *order):
                if not _exists(podman, wanted[kind]):
                    _build(podman, wanted, kind, progress)
            _prune(podman, wanted)
    return {kind: wanted[kind].reference for kind in order}


def machine_sources(directory: Path = Path("/etc/apt")) -> str:
    """The Debian entries of the machine's own apt sources for the lab's suite, or "".

    Other vendors' entries, and all of them on a machine that is not Debian, are left out.
    """
    files = [directory / "sources.list", *sorted((directory / "sources.list.d").glob("*"))]
    found: list[str] = []
    for path in files:
        if path.suffix == ".sources" and path.is_file():
            text = re.sub(r"(?m)^#.*\n", "", path.read_text())
            found += [f"{e.strip()}\n" for e in re.split(r"\n\s*\n", text) if _is_debian(e)]
        elif path.suffix == ".list" and path.is_file():
            found += [
                _as_stanza(line)
                for line in path.read_text().splitlines()
                if re.match(r"deb\s", line) and _is_debian(_as_stanza(line))
            ]
    return "\n".join(found)


def _as_stanza(line: str) -> str:
    matched = re.match(r"deb\s+(?:\[([^]]*)\]\s*)?(\S+)\s+(\S+)\s*(.*)", line)
    if matched is None:
        return ""
    options, uri, suite, components = matched.groups()
    signed = re.search(r"signed-by=(\S+)", options or "")
    keys = f"Signed-By: {signed[1]}\n" if signed else ""
    return f"Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: {components}\n{keys}"


def _is_debian(stanza: str) -> bool:
    fields = dict(re.findall(r"(?m)^([\w-]+):[ \t]*(.*)$", stanza))
    ours = {SUITE, f"{SUITE}-updates", f"{SUITE}-security"}
    suites = set(fields.get("Suites", "").split())
    enabled = fields.get("Enabled", "yes").strip().lower() != "no"
    return (
        enabled
        and "deb" in fields.get("Types", "").split()
        and bool(suites)
        and suites <= ours | {f"{SUITE}-backports"}
        and "main" in fields.get("Components", "").split()
    )


def _exists(podman: Podman, recipe: Recipe) -> bool:
    return podman.run("image", "exists", recipe.reference, check=False).returncode == 0


def _build(podman: Podman, wanted: dict[str, Recipe], kind: str, progress: Progress) -> None:
    _check_space(podman)
    began = time.monotonic()
    progress(f"building the image {kind}")
    builders = {"base": _build_base, "host": _build_host, "client": _build_client}
    builders[kind](podman, wanted, progress)
    progress(f"built the image {kind} in {time.monotonic() - began:.0f} s")


def _check_space(podman: Podman) -> None:
    where = podman.run("info", "--format", "{{.Store.GraphRoot}}").stdout.strip()
    for path in (where, tempfile.gettempdir()):
        free = shutil.disk_usage(path).free
        if free < _NEEDED_BYTES:
            raise RunFailedError(
                f"{path} has {free / 2**30:.1f} GiB left; the lab's images need "
                f"{_NEEDED_BYTES / 2**30:.0f} GiB while they are built.",
                next_step="Free some space: podman image prune shows what nobody uses.",
            )


def _build_base(podman: Podman, wanted: dict[str, Recipe], progress: Progress) -> None:
    recipe = wanted["base"]
    with tempfile.TemporaryDirectory(prefix="cloudlet-lab.") as scratch:
        hook = Path(scratch, "customize")
        hook.write_text(f'#!/bin/sh\nexec chroot "$1" sh -ec {shlex.quote(_BASE_SCRIPT)}\n')
        hook.chmod(0o755)
        command = [
            "mmdebstrap",
            "--variant=minbase",
            "--mode=root",
            "--format=tar",
            f"--include={','.join(_HOST_PACKAGES)}",
            *(f"--aptopt={option}" for option in _APT_OPTIONS),
            *(f"--dpkgopt={option}" for option in _DPKG_OPTIONS),
            # Package lists and downloads stay: the roles install from them.
            "--skip=cleanup/apt",
            f"--customize-hook={hook}",
            SUITE,
            "-",
        ]
        if recipe.inputs["sources"]:
            sources = Path(scratch, "debian.sources")
            sources.write_text(recipe.inputs["sources"])
            command.append(str(sources))
        log = Path(scratch, "log")
        with log.open("wb") as errors, _ticking(progress, "mmdebstrap"):
            made = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
            )
            imported = podman.run(
                "import",
                *_changes(recipe),
                "-",
                f"{recipe.reference}-unfinished",
                stdin=made.stdout,
                check=False,
            )
            if made.stdout:
                made.stdout.close()
            failed = made.wait() != 0
        if failed:
            podman.run("rmi", f"{recipe.reference}-unfinished", check=False)
            raise RunFailedError(
                f"mmdebstrap failed: {last_words(log.read_text(errors='replace'))}",
                next_step="See that apt-get update works on this machine, then try again.",
            )
    if imported.returncode != 0:
        raise RunFailedError(f"podman import failed: {last_words(imported.stderr)}")
    # Only a whole image gets the name that the cache is asked for.
    podman.run("tag", f"{recipe.reference}-unfinished", recipe.reference)
    podman.run("untag", f"{recipe.reference}-unfinished", f"{recipe.reference}-unfinished")


def _build_host(podman: Podman, wanted: dict[str, Recipe], progress: Progress) -> None:
    recipe = wanted["host"]
    with _container(podman, wanted["base"]) as container:
        if recipe.inputs["standin"]:
            with tempfile.TemporaryDirectory(prefix="cloudlet-lab.") as scratch:
                home = Path(scratch, "home")
                with _ticking(progress, "compiling the BeStMan stand-in"):
                    importlib.import_module(_STANDIN).build(home)
                packed = Path(scratch, "home.tar")
                with tarfile.open(packed, "w") as tar:
                    tar.add(home, arcname=STANDIN_HOME.lstrip("/"), filter=_as_root)
                with packed.open("rb") as stream:
                    podman.run("cp", "-", f"{container}:/", stdin=stream)
        _commit(podman, container, recipe)


def _as_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
    return entry


def _build_client(podman: Podman, wanted: dict[str, Recipe], progress: Progress) -> None:
    with _container(podman, wanted["base"], "sh", "-ec", _CLIENT_SCRIPT) as container:
        with _ticking(progress, "installing the grid clients"):
            done = podman.run("start", "--attach", container, check=False)
        if done.returncode != 0:
            raise RunFailedError(
                f"The grid clients cannot be installed: {last_words(done.stderr)}",
                next_step="See that apt-get update works on this machine, then try again.",
            )
        _commit(podman, container, wanted["client"])


@contextlib.contextmanager
def _container(podman: Podman, recipe: Recipe, *command: str) -> Iterator[str]:
    created = podman.run("create", "--network=podman", recipe.reference, *command)
    container = created.stdout.strip()
    try:
        yield container
    finally:
        podman.run("rm", "--force", "--time=0", container, check=False)


def _commit(podman: Podman, container: str, recipe: Recipe) -> None:
    podman.run("commit", "--quiet", *_changes(recipe), container, recipe.reference)


def _changes(recipe: Recipe) -> tuple[str, ...]:
    return (
        '--change=CMD ["/sbin/init"]',
        "--change=STOPSIGNAL SIGRTMIN+3",
        f"--change=LABEL {LABEL_IMAGE}={recipe.kind}",
    )


def _prune(podman: Podman, wanted: dict[str, Recipe]) -> None:
    """Remove images of older recipes; those that a host still uses stay (Podman refuses)."""
    current = {recipe.reference for recipe in wanted.values()}
    # Newest first: an image goes before the one that it was made from.
    for image in podman.json("images", "--format=json", f"--filter=label={LABEL_IMAGE}"):
        # An image that lost its name while another was made from it has only its id.
        for reference in image.get("Names") or [image["Id"]]:
            if reference not in current:
                podman.run("rmi", reference, check=False)


def _standin_digest() -> str:
    """A digest of the stand-in's sources; "" where this installation has none."""
    try:
        standin = importlib.import_module(_STANDIN)
    except ModuleNotFoundError:
        return ""
    if not hasattr(standin, "build"):
        return ""
    digest = hashlib.sha256()
    for path in standin.inputs():
        digest.update(f"{path.name}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


@contextlib.contextmanager
def _ticking(progress: Progress, what: str, every: float = 10.0) -> Iterator[None]:
    """Tell the elapsed time of a long step, so that nobody takes it for a hang."""
    began, done = time.monotonic(), threading.Event()

    def tick() -> None:
        while not done.wait(every):
            progress(f"  {what}: {time.monotonic() - began:.0f} s so far")

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
