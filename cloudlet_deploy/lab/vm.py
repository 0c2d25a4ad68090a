"""The image of a lab host that is a virtual machine: Debian 13 under SELinux, booted once.

The machine's file system is made here, with the labels of its own policy; it is booted by
:mod:`.vm_machine` in the container that becomes the image, so that the QEMU which kept its state
is the one that restores it.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloudlet_deploy.errors import RunFailedError
from cloudlet_deploy.lab import vm_machine
from cloudlet_deploy.lab.files import write_file
from cloudlet_deploy.lab.podman import last_words
from cloudlet_deploy.lab.recipes import (
    APT_OPTIONS,
    DPKG_OPTIONS,
    VM_PACKAGES,
    VM_SCRIPT,
    VM_SUITE,
)

_DISK = "6G"
#: Where the machine's Python finds the script in the image.
PROGRAM = "/vm/machine.py"
_NEEDED = ("mmdebstrap", "mke2fs", "chroot")
_CONTEXTS = "/etc/selinux/default/contexts/files/file_contexts"


def program() -> Path:
    """The script that is process 1 of the host's container."""
    return Path(vm_machine.__file__)


def accelerators() -> tuple[str, ...]:
    """Podman options that give a container what the machine has to run machines with."""
    return ("--device=/dev/kvm",) if Path("/dev/kvm").exists() else ()


def container_options() -> tuple[str, ...]:
    """Podman options of a host: the machine takes over its container's network."""
    return ("--systemd=false", "--cap-add=NET_ADMIN", "--device=/dev/net/tun", *accelerators())


def make_home(home: Path, sources: str) -> None:
    """Fill ``home`` with what the image needs in ``/vm``: kernel, disk, the builder's key.

    The disk is a raw one, mostly holes. Raises RunFailedError.
    """
    missing = [command for command in _NEEDED if shutil.which(command) is None]
    if missing:
        raise RunFailedError(
            f"A virtual machine cannot be made without {', '.join(missing)}.",
            next_step="apt-get install mmdebstrap e2fsprogs",
        )
    home.mkdir(parents=True)
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    write_file(home / "key", private, mode=0o600)
    shutil.copyfile(program(), home / Path(PROGRAM).name)
    with tempfile.TemporaryDirectory(prefix="cloudlet-lab.") as scratch:
        root = Path(scratch, "root")
        _debian(root, Path(scratch), sources, public.decode())
        for wanted, found in (("vmlinuz", "vmlinuz-*"), ("initrd", "initrd.img-*")):
            (file,) = (root / "boot").glob(found)
            shutil.copyfile(file, home / wanted)
        _run("labels", "chroot", str(root), "setfiles", "-m", "-F", _CONTEXTS, "/")
        _run("disk", "mke2fs", "-q", "-t", "ext4", "-d", str(root), str(home / "disk.raw"), _DISK)


def _debian(root: Path, scratch: Path, sources: str, key: str) -> None:
    hook = scratch / "customize"
    script = VM_SCRIPT.replace("BUILDERS_KEY", key).replace(
        "BUILD_NETWORK", vm_machine.BUILD_NETWORK
    )
    hook.write_text(f'#!/bin/sh\nexec chroot "$1" sh -ec {shlex.quote(script)}\n')
    hook.chmod(0o755)
    command = [
        "mmdebstrap",
        "--variant=minbase",
        "--mode=root",
        f"--include={','.join(VM_PACKAGES)}",
        *(f"--aptopt={option}" for option in APT_OPTIONS),
        *(f"--dpkgopt={option}" for option in DPKG_OPTIONS),
        f"--customize-hook={hook}",
        VM_SUITE,
        str(root),
    ]
    if sources:
        (scratch / "debian.sources").write_text(sources)
        command.append(str(scratch / "debian.sources"))
    _run("Debian", *command)


def _run(what: str, *command: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        said = last_words(done.stderr.decode(errors="replace"))
        raise RunFailedError(
            f"The virtual machine's {what} cannot be made: {command[0]}: {said}",
            next_step="See that apt-get update works on this machine, then try again.",
        )
