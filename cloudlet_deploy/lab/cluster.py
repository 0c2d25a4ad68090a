"""A small cluster: one image that plays its hosts by their names, with Debian's Slurm and munge.

``login.*``  the controller (slurmctld), and where people log in
``node*``    runs the jobs (slurmd): four processors, 8000 MB and two GPUs, all only claimed

On every host is CryoSPARC's worker, as the cluster's admin would have installed it: its stand-in
(:mod:`.cryosparc`), below ``/opt``. The hosts share ``/srv/projects``, which plays the cluster's
file system, and the key of munge, which is the lab's own. Jobs are followed by their processes and
not by control groups, as a container may make none: so no limit of a job is in force
(``docs/lab.md``).
"""

from __future__ import annotations

import gzip
from typing import Any

from cloudlet_deploy.lab import cryosparc

#: The account that CryoSPARC's jobs run under, with one number on every host.
ACCOUNT, ACCOUNT_UID = "cryosparc", 123500
#: Of the account ``munge``: the lab puts its key before the host is there.
MUNGE_UID = 701
MUNGE_KEY = "/etc/munge/munge.key"
PROJECTS = "/srv/projects"
PARTITION = "gpu"
#: Where the worker is unpacked, and of which version it is.
SOFTWARE, WORKER_VERSION = "/opt", cryosparc.VERSIONS[0]
PACKAGES = ("munge", "nftables", "slurm-client", "slurmctld", "slurmd")
_SLURM_CONF = f"""\
ClusterName=lab
SlurmctldHost=login(login.lab.test)
SlurmUser=slurm
StateSaveLocation=/var/lib/slurm/slurmctld
SlurmdSpoolDir=/var/lib/slurm/slurmd
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
# What a node claims counts, and not what the machine has.
SlurmdParameters=config_overrides
# What no node has is refused, and does not wait for ever.
EnforcePartLimits=YES
# A node that was killed takes jobs again when it is back.
ReturnToService=2
# The machine's limits are lower than those that a shell on another host may have.
PropagateResourceLimits=NONE
KillWait=5
NodeName=node1 NodeAddr=node1.lab.test CPUs=4 RealMemory=8000 Gres=gpu:2
PartitionName={PARTITION} Nodes=node1 Default=YES MaxTime=INFINITE State=UP
"""
_FILES = {
    "slurm.conf": _SLURM_CONF,
    # Slurm wants devices to count; nothing opens them.
    "gres.conf": "Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n",
    # In use is none; but slurmd looks for one by itself, and refuses the lab's control groups then.
    "cgroup.conf": "CgroupPlugin=cgroup/v1\n",
}


def _only_on(unit: str, host: str) -> str:
    """Keep a unit from running on the cluster's other hosts."""
    where = f"/etc/systemd/system/{unit}.d"
    return f"mkdir {where}\nprintf '[Unit]\\nConditionHost={host}\\n' >{where}/lab.conf\n"


def _written(name: str, text: str) -> str:
    return f"cat >/etc/slurm/{name} <<'END'\n{text}END\n"


#: Run in a container of ``base`` by sh -e.
SCRIPT = f"""
export DEBIAN_FRONTEND=noninteractive
useradd --system --uid {MUNGE_UID} --home-dir /nonexistent --shell /usr/sbin/nologin munge
apt-get install --yes {" ".join(PACKAGES)}
rm -f /var/cache/apt/archives/*.deb {MUNGE_KEY}
groupadd --gid {ACCOUNT_UID} {ACCOUNT}
useradd --uid {ACCOUNT_UID} --gid {ACCOUNT} --create-home --shell /bin/bash --password '*' {ACCOUNT}
install -d -m 0700 -o {ACCOUNT} -g {ACCOUNT} /home/{ACCOUNT}/.ssh
install -d -o slurm -g slurm /var/lib/slurm/slurmctld
install -d /var/lib/slurm/slurmd
echo 'd {PROJECTS} 0755 {ACCOUNT} {ACCOUNT}' >/etc/tmpfiles.d/lab-projects.conf
{"".join(_written(name, text) for name, text in _FILES.items())}
{_only_on("slurmctld.service", "login.*")}{_only_on("slurmd.service", "node*")}
systemctl enable munge slurmctld slurmd
"""


def inputs() -> dict[str, Any]:
    """What decides the image, for its recipe."""
    return {"script": SCRIPT, "worker": cryosparc.checksum("worker", WORKER_VERSION)}


def worker() -> bytes:
    """The worker as a tar archive to unpack in ``SOFTWARE``."""
    return gzip.decompress(cryosparc.archive("worker", WORKER_VERSION))
