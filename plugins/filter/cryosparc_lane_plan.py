# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""What the lanes of ``cryosparc_lane_clusters`` become on a host, and those that cannot work.

A lane of the inventory is a mapping as the role's argument spec has it. No key passes through here.
"""

from __future__ import annotations

import json

from ansible.errors import AnsibleFilterError
from ansible_collections.cloudlet.deploy.plugins.module_utils.cryosparc_lane_template import (
    problems,
)
from ansible_collections.cloudlet.deploy.plugins.plugin_utils.cryosparc_lane_faults import (
    LOGIN,
    faults_of,
    of_cryosparc,
)

_HEADER = "# Written by cloudlet-deploy from the cryosparc_lane_* variables; edits are replaced."


def lane_plan(lanes, directory):
    """Each lane as ``{name, directory, remote, info, script, ssh_config, qinfo,
    project_directory, timeout}``; ``directory`` is the one above theirs.

    ``qinfo`` is the shell command that asks the cluster, ``ssh_config`` the text of the file for a
    cluster behind a login, empty for one that is asked from here.
    """
    return [_lane(one, "%s/%s" % (directory, one["name"])) for one in lanes]


def _lane(one, directory):
    login = LOGIN.fullmatch(str(one.get("login") or ""))
    config = "%s/ssh_config" % directory
    send, transfer = "{{ command }}", "cp {{ src_path }} {{ dest_path }}"
    if login:
        send = "ssh -F %s %s {{ command }}" % (config, login["host"])
        to = "[%s]" % login["host"] if ":" in login["host"] else login["host"]
        transfer = "scp -F %s {{ src_path }} %s:{{ dest_path }}" % (config, to)
    info = {
        "name": str(one["name"]),
        "worker_bin_path": str(one["worker_bin_path"]),
        "cache_path": str(one.get("cache_path") or ""),
        "send_cmd_tpl": send,
        "qsub_cmd_tpl": "sbatch {{ script_path_abs }}",
        "qstat_cmd_tpl": "squeue -j {{ cluster_job_id }}",
        "qdel_cmd_tpl": "scancel {{ cluster_job_id }}",
        "qinfo_cmd_tpl": "sinfo",
        "transfer_cmd_tpl": transfer,
    }
    return {
        "name": info["name"],
        "directory": directory,
        "remote": bool(login),
        "info": json.dumps(info, indent=4) + "\n",
        "script": _script(one),
        "ssh_config": _ssh_config(login, one, directory) if login else "",
        "qinfo": send.replace("{{ command }}", info["qinfo_cmd_tpl"]),
        "project_directory": str(one["project_directory"]),
        "timeout": int(one.get("timeout") or 300),
    }


def _script(one):
    cpus, memory = (float(one.get(key) or 1) for key in ("cpu_factor", "memory_factor"))
    # CryoSPARC asks for whole processors, and so must what comes of a factor.
    count = "{{ num_cpu }}" if cpus == 1 else "{{ (num_cpu * %s + 0.999) | int }}" % _number(cpus)
    gres = one.get("gres")
    gres = "gpu" if gres is None else gres
    options = [
        "--job-name=cryosparc_{{ project_uid }}_{{ job_uid }}",
        "--nodes=1",
        "--ntasks=1",
        "--cpus-per-task=%s" % count,
        "--mem={{ (ram_gb * %s) | int }}M" % _number(1000 * memory),
        *(["--gres=%s:{{ num_gpu }}" % gres] if gres else []),
        "--output={{ job_dir_abs }}/slurm.out",
        *("--%s=%s" % (key, one[key]) for key in ("partition", "account", "qos") if one.get(key)),
        *(of_cryosparc(str(option).strip()) for option in one.get("options") or []),
    ]
    lines = [
        "#!/usr/bin/env bash",
        _HEADER,
        "# CryoSPARC fills what is in double braces, for each job.",
        *("#SBATCH %s" % option for option in options),
        *(of_cryosparc(str(line)) for line in one.get("setup") or []),
        "{{ run_cmd }}",
    ]
    return "\n".join(lines) + "\n"


def _number(value):
    """As the places of templates have it: no exponent, and no more digits than it takes."""
    return ("%.6f" % value).rstrip("0").rstrip(".")


def _ssh_config(login, one, directory):
    return "\n".join(
        [
            _HEADER,
            "Host %s" % login["host"],
            "  User %s" % login["user"],
            "  Port %d" % int(one.get("port") or 22),
            "  IdentityFile %s/key" % directory,
            "  IdentitiesOnly yes",
            "  UserKnownHostsFile %s/known_hosts" % directory,
            "  GlobalKnownHostsFile /dev/null",
            "  StrictHostKeyChecking yes",
            "  UpdateHostKeys no",
            "  BatchMode yes",
            "  LogLevel ERROR",
            "  ConnectTimeout 15",
            "  ServerAliveInterval 15",
            "  ServerAliveCountMax 3",
            "",
        ]
    )


def lane_faults(lanes):
    """What is wrong with the lanes, as sentences that begin with the variable's name."""
    for one in lanes or []:
        if not hasattr(one, "get"):
            raise AnsibleFilterError("%s is no lane: write a mapping with name and so on." % one)
    return [
        "cryosparc_lane_clusters has in %s %s: %s." % (one.get("name", "?"), problem, remedy)
        for one, problem, remedy in faults_of(list(lanes or []), problems)
    ]


class FilterModule:
    def filters(self):
        return {"cryosparc_lane_plan": lane_plan, "cryosparc_lane_faults": lane_faults}
