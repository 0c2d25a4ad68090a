"""One host of a lab: its container, and the files that it is born with."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cloudlet_deploy.errors import RunFailedError
from cloudlet_deploy.lab import campus, cluster, vm, zip_cache
from cloudlet_deploy.lab.ca import USERS
from cloudlet_deploy.lab.definition import CLOUDLETS, VM, HostSpec
from cloudlet_deploy.lab.files import Put, archive
from cloudlet_deploy.lab.model import (
    LABEL_ADDRESS,
    LABEL_HOST,
    LABEL_LAB,
    container_name,
    network_name,
    volume_name,
)
from cloudlet_deploy.lab.podman import Podman, container_settings, last_words
from cloudlet_deploy.lab.recipes import PROJECT_UID
from cloudlet_deploy.lab.site import LabSite
from cloudlet_deploy.lab.ssh import ADMIN, public_half

#: Numeric ids of the accounts that the images make, in the order in which they make them.
_FIRST_ID = 1000
_IDS = {name: _FIRST_ID + place for place, name in enumerate((ADMIN, *USERS))}

#: Podman makes all of /proc/sys read-only. Below net a host sees the settings of its own network
#: namespace; those of the whole machine are not there, or the kernel refuses their change.
#: All else in /proc/sys would change the machine itself and stays read-only.
_OWN_SETTINGS = """mount --bind /proc/sys/net /proc/sys/net
mount -o remount,bind,rw /proc/sys/net"""

#: Anybody may open these, as udev has it on a host; on this machine they may be root's alone, and
#: a container's node is made with the mode that the machine's has.
_OPEN_DEVICES = """for device in /dev/fuse /dev/net/tun; do
  [ ! -c $device ] || chmod 0666 $device
done"""

#: What rootless containers in a host need of the lab: mounts in users' namespaces, their networks
#: and file systems, and storage that is no overlay, as the kernel stacks no second one on it. It
#: lies where the role podman_host has it by default, and goes with its container.
STORAGE = "/var/lib/oodsvc"
_ROOTLESS = (
    "--cap-add=SYS_ADMIN",
    "--cap-add=NET_ADMIN",
    "--device=/dev/fuse",
    "--device=/dev/net/tun",
    f"--volume={STORAGE}",
)


def _options(image: str) -> tuple[str, ...]:
    """The Podman options of a host of the kind ``image``."""
    if image == VM:
        return vm.container_options()
    return ("--systemd=always", *(_ROOTLESS if image in CLOUDLETS else ()))


def _check_devices(spec: HostSpec, options: tuple[str, ...]) -> None:
    devices = [option.partition("=")[2] for option in options if option.startswith("--device=")]
    missing = [device for device in devices if not Path(device).exists()]
    if missing:
        raise RunFailedError(
            f"{spec.name}: a host of the kind {spec.image} needs {' and '.join(missing)}, which "
            "this machine does not have.",
            next_step="'modprobe tun' and 'modprobe fuse' bring /dev/net/tun and /dev/fuse; a "
            "container may have to be given them.",
        )


#: A user's namespace may mount a /proc only where a whole one is in sight already, and Podman
#: covers parts of the host's own. So there is another one, out of the way, and /proc/sys stays
#: read-only. And mounts that come later are to be seen in pods, as where systemd made / shared.
_FOR_ROOTLESS = """mount --make-rshared /
mkdir -p -m 0700 /run/lab
mkdir -p /run/lab/proc
mount -t proc -o nosuid,nodev,noexec proc /run/lab/proc"""


#: Where Debian's Python looks for what its packages bring.
_PYTHON = "/usr/lib/python3/dist-packages"

#: What makes units of things that no host of a lab has: encrypted disks, terminals, recovery. Each
#: reload of systemd starts every generator, and with its unit files many a task reloads it.
_GENERATORS = ("cryptsetup", "debug", "getty", "gpt-auto", "hibernate-resume", "integritysetup",
               "rc-local", "run", "system-update", "tpm2", "veritysetup")  # fmt: skip


@dataclass(frozen=True)
class Maker:
    """Makes the hosts of one lab."""

    podman: Podman
    lab: str
    site: LabSite

    def ensure_volume(self, volume: str) -> None:
        """Make the volume behind a shared directory unless it is there."""
        name = volume_name(self.lab, volume)
        if self.podman.run("volume", "exists", name, check=False).returncode != 0:
            self.podman.run("volume", "create", f"--label={LABEL_LAB}={self.lab}", name)

    def make(self, spec: HostSpec, address: str, image: str) -> None:
        """Create the container of ``spec``, put its files into it and start it."""
        options = (*_options(spec.image), *(f"--device={device}" for device in spec.devices))
        _check_devices(spec, options)
        container = container_name(self.lab, spec.name)
        network = (
            f"{network_name(self.lab)}:alias={spec.name},ip={address},mac={mac_address(container)}"
        )
        created = self.podman.run(
            "create",
            f"--name={container}",
            f"--hostname={spec.name}",
            *options,
            f"--network={network}",
            f"--label={LABEL_LAB}={self.lab}",
            f"--label={LABEL_HOST}={spec.name}",
            f"--label={LABEL_ADDRESS}={address}",
            *(f"--volume={volume_name(self.lab, v.name)}:{v.path}" for v in spec.volumes),
            *(f"--cap-add={capability}" for capability in spec.capabilities),
            image,
            check=False,
        )
        if created.returncode != 0:
            raise RunFailedError(
                f"{spec.name}: podman cannot create {container}: {created.stderr.strip()}",
                next_step=f"cloudlet-deploy lab down --name {self.lab}, then up again.",
            )
        self.podman.run(
            "cp", "--archive=false", "-", f"{container}:/", stdin=files_of(spec, self.site)
        )
        start(self.podman, container, spec.image)


def start(podman: Podman, container: str, image: str) -> None:
    """Start a host of the kind ``image``, and let it change what is its own of the kernel.

    Raises RunFailedError.
    """
    podman.run("start", container)
    if image == VM:
        return  # the kernel is its own
    pid = podman.run("inspect", "--format={{.State.Pid}}", container).stdout.strip()
    own = [_OWN_SETTINGS, _OPEN_DEVICES, *([_FOR_ROOTLESS] if image in CLOUDLETS else [])]
    script = "\n".join(own)
    enter = ("nsenter", f"--target={pid}", "--mount", "--net", "--pid", "sh", "-ec", script)
    entered = subprocess.run(enter, capture_output=True, text=True, check=False)
    if entered.returncode != 0:
        raise RunFailedError(
            f"{container} cannot be given what is its own: {last_words(entered.stderr)}",
            next_step=f"Did it stop again? Look with: podman logs {container}",
        )


def mac_address(container: str) -> str:
    """A fixed address, so that neighbors find a host again that was killed and started."""
    digest = hashlib.sha256(container.encode()).digest()
    return ":".join(f"{octet:02x}" for octet in (0x02, *digest[:5]))


def files_of(spec: HostSpec, site: LabSite) -> bytes:
    """A tar archive of what the lab puts into a host: keys and, for a client, certificates."""
    private = site.keys.host_key(spec.name)
    home = f"/home/{ADMIN}/.ssh"
    puts = [
        Put("/etc/ssh/ssh_host_ed25519_key", private.read_bytes(), 0o600),
        Put("/etc/ssh/ssh_host_ed25519_key.pub", _line(public_half(private)), 0o644),
        Put(f"{home}/authorized_keys", _line(public_half(site.keys.identity)), 0o600, _IDS[ADMIN]),
        *_less_to_do(),
    ]
    if spec.image == "client":
        puts += _client_files(site)
    if spec.image == "data":
        puts += [_key_of_project(site)]
    if spec.image == "campus":
        puts += _certificate(spec.name, site)
    if spec.image == "cluster":
        puts += _keys_of_cluster(site)
    if spec.image in CLOUDLETS:
        puts += _settings_of_podman()
    return archive(puts)


def _less_to_do() -> list[Put]:
    """What saves a host time that has nothing to do with what it is for."""
    name, masked = "lab_zip_cache", "/etc/systemd/system-generators"
    program = Path(zip_cache.__file__).read_bytes()
    return [
        Put(f"{_PYTHON}/{name}.py", program, 0o644),
        Put(f"{_PYTHON}/{name}.pth", _line(f"import {name}"), 0o644),
        Put(masked, None, 0o755),
        *(Put(f"{masked}/systemd-{name}-generator", b"", 0o644) for name in _GENERATORS),
    ]


def _settings_of_podman() -> list[Put]:
    """What this machine keeps Podman from doing, it keeps the Podman in a host from, too."""
    home, text = "/etc/containers", container_settings()
    directories = [Put(path, None, 0o755) for path in (home, f"{home}/containers.conf.d")]
    return [*directories, Put(f"{home}/containers.conf.d/lab.conf", text.encode(), 0o644)]


def _certificate(host: str, site: LabSite) -> list[Put]:
    """What a campus's host shows; its services fetch the key from here as root."""
    own, home = site.pki.host(host), campus.CERTIFICATES
    files = (("hostcert.pem", 0o644), ("hostkey.pem", 0o400))
    puts = [Put(f"{home}/{name}", (own / name).read_bytes(), mode) for name, mode in files]
    return [Put(home, None, 0o755), *puts]


def _key_of_project(site: LabSite) -> Put:
    """Whoever has the lab's key may use the project space."""
    own = _line(public_half(site.keys.identity))
    return Put("/home/project/.ssh/authorized_keys", own, 0o600, PROJECT_UID)


def _keys_of_cluster(site: LabSite) -> list[Put]:
    """What its hosts know each other by, and that the lab's key opens the jobs' account."""
    own = _line(public_half(site.keys.identity))
    return [
        Put(cluster.MUNGE_KEY, site.munge_key.read_bytes(), 0o400, cluster.MUNGE_UID),
        Put(f"/home/{cluster.ACCOUNT}/.ssh/authorized_keys", own, 0o600, cluster.ACCOUNT_UID),
    ]


def _client_files(site: LabSite) -> list[Put]:
    grid = "/etc/grid-security"
    puts = [Put(grid, None, 0o755), Put(f"{grid}/certificates", None, 0o755)]
    for path in sorted(site.pki.certificates.iterdir()):
        puts.append(Put(f"{grid}/certificates/{path.name}", path.read_bytes(), 0o644))
    for user in USERS:
        own = site.pki.user(user)
        # The Globus libraries refuse a key that its group can read.
        for name, mode in (("usercert.pem", 0o644), ("userkey.pem", 0o400)):
            content = (own / name).read_bytes()
            puts.append(Put(f"/home/{user}/.globus/{name}", content, mode, _IDS[user]))
    return puts


def _line(text: str) -> bytes:
    return f"{text}\n".encode()
