"""What the lab's images are made of, and so when one must be built anew.

``base``    Debian with systemd, made by mmdebstrap, and the packages that the roles will
            install lying ready in apt's cache
``host``    base with the prepared homes of :mod:`cloudlet_deploy.lab.software`
``client``  base with the grid's client programs and two people's accounts
``data``    base with a camera's Samba share and a cluster's project space
``vm``      base with QEMU and, booted already, a Debian 13 with SELinux in force
``campus``  base with a directory, an OIDC provider and a microscope (:mod:`.campus`)
``cluster`` base with Slurm and munge, for the hosts of a cluster (:mod:`.cluster`)
``cloudlet12``, ``cloudlet13``
            a Debian 12 (base) and 13 with what the cloudlet's roles install lying ready
``ondemand``  no host but a pod: Debian 12 with the stand-in of Open OnDemand (:mod:`.portal`)
``portal12``, ``portal13``
            cloudlet12 and cloudlet13 with the archives of ``ondemand`` and of CryoSPARC
``cryosparc13``  cloudlet13 with the archives of CryoSPARC's stand-in (:mod:`.cryosparc`)
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloudlet_deploy.lab import campus, cluster, cryosparc, portal, software, vm_machine
from cloudlet_deploy.lab.ca import USERS
from cloudlet_deploy.lab.ssh import ADMIN

SUITE = "bookworm"
#: Of the account ``camera`` of the lab's camera; no secret.
CAMERA_PASSWORD = "lab-camera"
#: Of the account ``project``: beyond 65536, as a directory service gives them.
PROJECT_UID, PROJECT_GID = 123456, 123400

HOST_PACKAGES = (
    "ca-certificates",
    "dbus",
    "iproute2",
    "libfuse3-3",
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
    "firewalld",
    "globus-gridftp-server-progs",
    "logrotate",
    "nftables",
    "openjdk-17-jre-headless",
    "python3-apt",
    "strace",
)
#: Likewise, for hosts of a cloudlet.
_CLOUDLET_READY_PACKAGES = (
    "aardvark-dns",
    "catatonit",
    "cifs-utils",
    "crun",
    "dbus-user-session",
    "firewalld",
    "netavark",
    "passt",
    "podman",
    "policycoreutils",
    "python3-apt",
    "python3-semanage",
    "samba",
    "slirp4netns",
    "sshfs",
    "uidmap",
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
APT_OPTIONS = ('Acquire::Languages "none"', 'APT::Install-Recommends "false"')
DPKG_OPTIONS = (
    "force-unsafe-io",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/locale/*",
)
_LAB_HOST = f"""\
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
#: Run in the new root by sh -e, after all packages are installed.
BASE_SCRIPT = f"""
export DEBIAN_FRONTEND=noninteractive
rm -f /var/cache/apt/archives/*.deb
# The JRE's alternatives want a directory for manual pages.
mkdir -p /usr/share/man/man1
apt-get install --yes --download-only {" ".join(_READY_PACKAGES)}
{_LAB_HOST}"""
_PROFILE = (
    "export X509_USER_CERT=$HOME/.globus/usercert.pem X509_USER_KEY=$HOME/.globus/userkey.pem"
)
CLIENT_SCRIPT = f"""
export DEBIAN_FRONTEND=noninteractive
apt-get install --yes {" ".join(_CLIENT_PACKAGES)}
rm -f /var/cache/apt/archives/*.deb
for name in {" ".join(USERS)}; do
  useradd --create-home --shell /bin/bash --password '*' "$name"
  install -d -m 0700 -o "$name" -g "$name" "/home/$name/.globus"
  printf '%s\\n' {shlex.quote(_PROFILE)} >>"/home/$name/.profile"
done
"""
#: What plays the instrument's side and the cluster's.
DATA_SCRIPT = f"""
export DEBIAN_FRONTEND=noninteractive
apt-get install --yes samba smbclient
rm -f /var/cache/apt/archives/*.deb
groupadd --gid {PROJECT_GID} science
useradd --uid {PROJECT_UID} --gid science --create-home --shell /bin/bash --password '*' project
install -d -m 0700 -o project -g science /home/project/.ssh
useradd --no-create-home --shell /usr/sbin/nologin camera
printf '{CAMERA_PASSWORD}\\n{CAMERA_PASSWORD}\\n' | smbpasswd -s -a camera
install -d -m 0755 /srv/camera
cat >/etc/samba/smb.conf <<'END'
[global]
server min protocol = SMB3_11
map to guest = never
load printers = no
[movies]
path = /srv/camera
valid users = camera
read only = yes
END
systemctl disable nmbd
"""
_PEOPLE = f"""\
# People as a directory service would name them, one of them in a group of the instrument.
groupadd --gid {PROJECT_GID} science
groupadd --gid 150001 instrument
useradd --uid {PROJECT_UID} --gid science --groups instrument --create-home --password '*' alice
useradd --uid {PROJECT_UID + 1} --gid science --create-home --password '*' bob
# useradd gives them ranges that their own ids, which a directory chose, may lie in.
: >/etc/subuid
: >/etc/subgid
"""
VM_SUITE = "trixie"
#: Installed beforehand: installing them takes minutes in an emulated machine. That the roles
#: install them, and take them away again, is shown in containers.
VM_PACKAGES = (
    *(package for package in HOST_PACKAGES if package != "libfuse3-3"),
    "apache2",
    "auditd",
    "buildah",
    "busybox-static",
    "catatonit",
    "cifs-utils",
    "crun",
    "dbus-user-session",
    "linux-image-cloud-amd64",
    "netavark",
    "aardvark-dns",
    "nftables",
    "passt",
    "podman",
    "policycoreutils-python-utils",
    "python3-ldap",
    "selinux-basics",
    "selinux-policy-default",
    "semodule-utils",
    "slirp4netns",
    "sshfs",
    "uidmap",
)
#: Run in the machine's root by sh -e. The builder's key and network are taken away when it
#: becomes a host.
VM_SCRIPT = f"""
rm -f /etc/ssh/ssh_host_*
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
printf '%s\\n' 'HostKey /etc/ssh/ssh_host_ed25519_key' 'PasswordAuthentication no' \
  >/etc/ssh/sshd_config.d/lab.conf
useradd --create-home --shell /bin/bash --password '*' {ADMIN}
install -d -m 0700 -o {ADMIN} -g {ADMIN} /home/{ADMIN}/.ssh
echo '{ADMIN} ALL=(ALL:ALL) NOPASSWD: ALL' >/etc/sudoers.d/{ADMIN}
chmod 0440 /etc/sudoers.d/{ADMIN}
{_PEOPLE}install -d -m 0700 /root/.ssh
echo 'BUILDERS_KEY' >/root/.ssh/authorized_keys
printf '%s\\n' '[Match]' 'Name=eth1' '[Link]' 'RequiredForOnline=no' '[Network]' \
  'Address=10.0.2.15/24' >BUILD_NETWORK
systemctl enable systemd-networkd
systemctl disable apache2
# It fails on this machine, which has nothing for it to do.
systemctl mask systemd-network-generator.service apt-daily.timer apt-daily-upgrade.timer
sed -i 's/^SELINUX=.*/SELINUX=enforcing/' /etc/selinux/config
# Debian's policy keeps logind from what the session of a root shell (`lab run`) hands it, and
# logind then loses its bus. The role podman_host has the rule too, but comes later.
echo '(allow systemd_logind_t unconfined_t (fd (use)))' >/root/lab_logind.cil
semodule --noreload --install=/root/lab_logind.cil
rm /root/lab_logind.cil
echo '/dev/vda / ext4 defaults 0 1' >/etc/fstab
: >/etc/machine-id
"""
#: For the container around it.
VM_HOST_SCRIPT = """
export DEBIAN_FRONTEND=noninteractive
apt-get install --yes openssh-client qemu-system-x86 qemu-utils
rm -f /var/cache/apt/archives/*.deb
qemu-img convert -O qcow2 /vm/disk.raw /vm/base.qcow2
rm /vm/disk.raw
exec python3 /vm/machine.py build
"""
#: Installed is only what a scenario makes the image of its pods of.
CLOUDLET_SCRIPT = f"""
export DEBIAN_FRONTEND=noninteractive
apt-get install --yes busybox-static
rm -f /var/cache/apt/archives/*.deb
apt-get install --yes --download-only {" ".join(_CLOUDLET_READY_PACKAGES)}
{_PEOPLE}"""
NEWER_SUITE = "trixie"
NEWER_PACKAGES = tuple(package for package in HOST_PACKAGES if package != "libfuse3-3")
NEWER_SCRIPT = f"{_LAB_HOST}{CLOUDLET_SCRIPT}"


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
            "packages": HOST_PACKAGES,
            "apt": APT_OPTIONS,
            "dpkg": DPKG_OPTIONS,
            "script": BASE_SCRIPT,
            "sources": machine_sources() if sources is None else sources,
        },
    )


def recipes() -> dict[str, Recipe]:
    """All recipes by kind, in the order in which they are built."""
    base = base_recipe()
    found = {
        "base": base,
        "host": Recipe("host", {"base": base.reference, "software": software.digests()}),
        "client": Recipe("client", {"base": base.reference, "script": CLIENT_SCRIPT}),
        "data": Recipe("data", {"base": base.reference, "script": DATA_SCRIPT}),
        "campus": Recipe("campus", {"base": base.reference, **campus.inputs()}),
        "cluster": Recipe("cluster", {"base": base.reference, **cluster.inputs()}),
        "vm": Recipe(
            "vm",
            {
                "base": base.reference,
                "suite": VM_SUITE,
                "packages": VM_PACKAGES,
                "scripts": [VM_SCRIPT, VM_HOST_SCRIPT],
                "program": Path(vm_machine.__file__).read_text(),
            },
        ),
        "cloudlet12": Recipe("cloudlet12", {"base": base.reference, "script": CLOUDLET_SCRIPT}),
        "cloudlet13": Recipe(
            "cloudlet13",
            {
                "base": base.reference,
                "suite": NEWER_SUITE,
                "packages": NEWER_PACKAGES,
                "script": NEWER_SCRIPT,
            },
        ),
        # Made of the same sources and by the same options as base.
        "ondemand": Recipe("ondemand", {"base": base.reference, **portal.inputs()}),
    }
    pod = {"pod": found["ondemand"].reference, "archive": portal.ARCHIVE}
    archives = {"archives": cryosparc.inputs()}
    for kind, host in {"portal12": "cloudlet12", "portal13": "cloudlet13"}.items():
        found[kind] = Recipe(kind, {"cloudlet": found[host].reference, **pod, **archives})
    found["cryosparc13"] = Recipe(
        "cryosparc13", {"cloudlet": found["cloudlet13"].reference, **archives}
    )
    return found


def sources_of(suite: str, sources: str) -> str:
    """The machine's apt ``sources`` as they are for another ``suite`` of Debian."""
    return re.sub(r"(?m)^(Suites:.*)$", lambda line: line[1].replace(SUITE, suite), sources)


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
