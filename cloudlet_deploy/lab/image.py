"""The images of the lab's hosts, built by recipe and cached in Podman's storage.

An image's tag is the digest of everything that its recipe says (:mod:`.recipes`), so a changed
recipe is a new image and an unchanged one is never built twice.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cloudlet_deploy.errors import RunFailedError
from cloudlet_deploy.lab import campus, cluster, cryosparc, portal, software, vm
from cloudlet_deploy.lab.files import Put, archive, packing
from cloudlet_deploy.lab.model import LABEL_IMAGE, Progress
from cloudlet_deploy.lab.podman import Podman, last_words, locked
from cloudlet_deploy.lab.recipes import (
    APT_OPTIONS,
    BASE_SCRIPT,
    CLIENT_SCRIPT,
    CLOUDLET_SCRIPT,
    DATA_SCRIPT,
    DPKG_OPTIONS,
    HOST_PACKAGES,
    NEWER_PACKAGES,
    NEWER_SCRIPT,
    NEWER_SUITE,
    SUITE,
    VM_HOST_SCRIPT,
    VM_SUITE,
    Recipe,
    recipes,
    sources_of,
)

_INIT = ("/sbin/init",)
_NEEDED_BYTES = 6 * 2**30
#: Images that another one is made of, beside base.
_MADE_OF = {
    "portal12": ("cloudlet12", "ondemand"),
    "portal13": ("cloudlet13", "ondemand"),
    "cryosparc13": ("cloudlet13",),
}


@dataclass(frozen=True)
class Debian:
    """What mmdebstrap makes a root of; after its packages come the files, then the script."""

    suite: str
    packages: tuple[str, ...]
    script: str
    sources: str
    files: tuple[Put, ...] = ()


def ensure(podman: Podman, kinds: set[str], progress: Progress) -> dict[str, str]:
    """Build the images of ``kinds`` that are missing; returns each kind's reference."""
    wanted = recipes()
    needed = {one for kind in kinds for one in (kind, *_MADE_OF.get(kind, ()))}
    order = [kind for kind in wanted if kind in needed]
    if not all(_exists(podman, wanted[kind]) for kind in order):
        with locked("images"):
            for kind in ("base", *order):
                if not _exists(podman, wanted[kind]):
                    _build(podman, wanted, kind, progress)
            _prune(podman, wanted)
    return {kind: wanted[kind].reference for kind in order if kind in kinds}


def _exists(podman: Podman, recipe: Recipe) -> bool:
    return podman.run("image", "exists", recipe.reference, check=False).returncode == 0


def _build(podman: Podman, wanted: dict[str, Recipe], kind: str, progress: Progress) -> None:
    _check_space(podman)
    began = time.monotonic()
    progress(f"building the image {kind}")
    builders = {
        "base": _build_base,
        "host": _build_host,
        "client": _build_client,
        "data": _build_data,
        "campus": _build_campus,
        "cluster": _build_cluster,
        "vm": _build_vm,
        "cloudlet12": _build_cloudlet12,
        "cloudlet13": _build_cloudlet13,
        "ondemand": _build_ondemand,
        "portal12": _build_portal12,
        "portal13": _build_portal13,
        "cryosparc13": _build_cryosparc13,
    }
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
    debian = Debian(SUITE, HOST_PACKAGES, BASE_SCRIPT, recipe.inputs["sources"])
    _build_debian(podman, recipe, debian, progress)


def _build_cloudlet13(podman: Podman, wanted: dict[str, Recipe], progress: Progress) -> None:
    sources = sources_of(NEWER_SUITE, wanted["base"].inputs["sources"])
    debian = Debian(NEWER_SUITE, NEWER_PACKAGES, NEWER_SCRIPT, sources)
    _build_debian(podman, wanted["cloudlet13"], debian, progress)


def _build_ondemand(podman: Podman, wanted: dict[str, Recipe], progress: Progress) -> None:
    sources = wanted["base"].inputs["sources"]
    debian = Debian(SUITE, portal.PACKAGES, portal.SCRIPT, sources, portal.files())
    _build_debian(podman, wanted["ondemand"], debian, progress)


def _build_portal12(podman: Podman, wanted: dict[str, Recipe], progress: Progress) -> None:
    _build_portal(podman, wanted, "portal12", progress)


def _build_portal13(podman: Podman, wanted: dict[str, Recipe], progress: Progress) -> None:
    _build_portal(podman, wanted, "portal13", progress)


def _build_portal(podman: Podman, wanted: dict[str, Recipe], kind: str, progress: Progress) -> None:
    with (
        _container(podman, wanted[_MADE_OF[kind][0]]) as container,
        tempfile.TemporaryDirectory(prefix="cloudlet-lab.") as scratch,
    ):
        packed = Path(scratch, "pod.tar")
        podman.run("tag", wanted["ondemand"].reference, portal.NAME)
        with _ticking(progress, "packing the portal's pod"):
            podman.run("save", f"--output={packed}", portal.NAME)
        podman.run("untag", portal.NAME, portal.NAME)
        podman.run("cp", str(packed), f"{container}:{portal.ARCHIVE}")
        podman.run("cp", "-", f"{container}:/", stdin=archive(cryosparc.files()))
        _commit(podman, container, wanted[kind])


def _build_cryosparc13(podman: Podman, wanted: dict[str, Recipe], progress: Progress) -> None:
    with _container(podman, wanted["cloudlet13"]) as container:
        podman.run("cp", "-", f"{container}:/", stdin=archive(cryosparc.files()))
        _commit(podman, container, wanted["cryosparc13"])


def _build_debian(podman: Podman, recipe: Recipe, debian: Debian, progress: Progress) -> None:
    with tempfile.TemporaryDirectory(prefix="cloudlet-lab.") as scratch:
        hook = Path(scratch, "customize")
        hook.write_text(f'#!/bin/sh\nexec chroot "$1" sh -ec {shlex.quote(debian.script)}\n')
        hook.chmod(0o755)
        put = Path(scratch, "files.tar")
        put.write_bytes(archive(debian.files))
        command = [
            "mmdebstrap",
            "--variant=minbase",
            "--mode=root",
            "--format=tar",
            f"--include={','.join(debian.packages)}",
            *(f"--aptopt={option}" for option in APT_OPTIONS),
            *(f"--dpkgopt={option}" for option in DPKG_OPTIONS),
            # Package lists and downloads stay: the roles install from them.
            "--skip=cleanup/apt",
            f"--customize-hook=tar-in {put} /",
            f"--customize-hook={hook}",
            debian.suite,
            "-",
        ]
        if debian.sources:
            sources = Path(scratch, "debian.sources")
            sources.write_text(debian.sources)
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
        for part in software.parts():
            with tempfile.TemporaryDirectory(prefix="cloudlet-lab.") as scratch:
                home = Path(scratch, "home")
                with _ticking(progress, part.what):
                    part.build(home)
                packed = Path(scratch, "home.tar")
                with packed.open("wb") as made, packing(made) as tar:
                    tar.add(home, arcname=part.home.lstrip("/"), filter=_as_root)
                with packed.open("rb") as stream:
                    podman.run("cp", "-", f"{container}:/", stdin=stream)
        _commit(podman, container, recipe)


def _as_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
    return entry


def _build_client(podman: Podman, wanted: dict[str, Recipe], progress: Progress) -> None:
    with _container(podman, wanted["base"], "sh", "-ec", CLIENT_SCRIPT) as container:
        _install(podman, container, "installing the grid clients", progress)
        _commit(podman, container, wanted["client"])


def _build_data(podman: Podman, wanted: dict[str, Recipe], progress: Progress) -> None:
    with _container(podman, wanted["base"], "sh", "-ec", DATA_SCRIPT) as container:
        _install(podman, container, "installing Samba", progress)
        _commit(podman, container, wanted["data"])


def _build_campus(podman: Podman, wanted: dict[str, Recipe], progress: Progress) -> None:
    with _container(podman, wanted["base"], "sh", "-ec", campus.SCRIPT) as container:
        with tempfile.TemporaryDirectory(prefix="cloudlet-lab.") as scratch:
            home = Path(scratch, Path(campus.HOME).name)
            with _ticking(progress, "fetching the OIDC provider"):
                campus.make_home(home)
            podman.run("cp", str(home), f"{container}:{Path(campus.HOME).parent}")
        _install(podman, container, "installing the campus", progress)
        _commit(podman, container, wanted["campus"])


def _build_cluster(podman: Podman, wanted: dict[str, Recipe], progress: Progress) -> None:
    with _container(podman, wanted["base"], "sh", "-ec", cluster.SCRIPT) as container:
        podman.run("cp", "-", f"{container}:{cluster.SOFTWARE}", stdin=cluster.worker())
        _install(podman, container, "installing Slurm", progress)
        _commit(podman, container, wanted["cluster"])


def _build_cloudlet12(podman: Podman, wanted: dict[str, Recipe], progress: Progress) -> None:
    with _container(podman, wanted["base"], "sh", "-ec", CLOUDLET_SCRIPT) as container:
        _install(podman, container, "fetching what a cloudlet needs", progress)
        _commit(podman, container, wanted["cloudlet12"])


def _build_vm(podman: Podman, wanted: dict[str, Recipe], progress: Progress) -> None:
    recipe = wanted["vm"]
    sources = sources_of(VM_SUITE, wanted["base"].inputs["sources"])
    command = ("sh", "-ec", VM_HOST_SCRIPT)
    with _container(podman, wanted["base"], *command, options=vm.accelerators()) as container:
        with tempfile.TemporaryDirectory(prefix="cloudlet-lab.") as scratch:
            home = Path(scratch, "vm")
            with _ticking(progress, f"Debian {VM_SUITE}"):
                vm.make_home(home, sources)
            podman.run("cp", str(home), f"{container}:/")
        _install(podman, container, "booting the virtual machine once", progress)
        _commit(podman, container, recipe, ("python3", vm.PROGRAM, "run"))


def _install(podman: Podman, container: str, what: str, progress: Progress) -> None:
    with _ticking(progress, what):
        done = podman.run("start", "--attach", container, check=False)
    if done.returncode != 0:
        raise RunFailedError(
            f"{what} failed: {last_words(done.stderr or done.stdout)}",
            next_step="See that apt-get update works on this machine, then try again.",
        )


@contextlib.contextmanager
def _container(
    podman: Podman, recipe: Recipe, *command: str, options: tuple[str, ...] = ()
) -> Iterator[str]:
    created = podman.run("create", "--network=podman", *options, recipe.reference, *command)
    container = created.stdout.strip()
    try:
        yield container
    finally:
        podman.run("rm", "--force", "--time=0", container, check=False)


def _commit(
    podman: Podman, container: str, recipe: Recipe, command: tuple[str, ...] = _INIT
) -> None:
    podman.run("commit", "--quiet", *_changes(recipe, command), container, recipe.reference)


def _changes(recipe: Recipe, command: tuple[str, ...] = _INIT) -> tuple[str, ...]:
    return (
        f"--change=CMD {json.dumps(command)}",
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
