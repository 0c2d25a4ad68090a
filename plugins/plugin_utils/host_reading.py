# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""What a host said of itself in one shell command, as facts and as reasons to refuse it."""

from __future__ import annotations

#: Distributions by the ``ID`` of os-release: name as Ansible has it, family, majors.
SUPPORTED = {
    "debian": ("Debian", "Debian", ("12", "13")),
    "ubuntu": ("Ubuntu", "Debian", ("24",)),
    "rocky": ("Rocky", "RedHat", ("9", "10")),
    "almalinux": ("AlmaLinux", "RedHat", ("9", "10")),
}
SUPPORTED_TEXT = "Debian 12 and 13, Ubuntu 24.04, Rocky Linux and AlmaLinux 9 and 10"
#: What is run on the host, by ``sh``. ``%s`` are the Pythons to try, in order.
SCRIPT = """cat /etc/os-release
echo "uid=$(id -u)"
echo "machine=$(uname -m)"
echo "init=$(cat /proc/1/comm)"
echo "sets=$(ls /var/lib/cloudlet-deploy/sets 2>/dev/null | tr '\\n' ' ')"
grep -q '"sysctl:' /var/lib/cloudlet-deploy/ledger.json 2>/dev/null && echo "sysctls=yes"
for python in %s; do
  version=$("$python" -c "import sys; print('%%d.%%d' %% sys.version_info[:2])" 2>/dev/null) ||
    continue
  echo "python=$(command -v "$python")"
  echo "python_version=$version"
  break
done
true"""
#: Oldest Python that Ansible's modules and ours run on.
OLDEST_PYTHON = (3, 9)


def _lines(stdout):
    pairs = (line.strip().partition("=") for line in str(stdout).splitlines())
    return {key: value.strip("'\"") for key, separator, value in pairs if separator}


def host_reading(stdout):
    """Facts under the names that ``ansible.builtin.setup`` gives them.

    ``stdout`` holds ``key=value`` lines: ``ID``, ``VERSION_ID``, ``PRETTY_NAME`` of
    os-release, and ``uid``, ``python``, ``python_version``, ``init``, ``machine``, ``sets``
    (the config sets that the host has, which ``setup`` knows nothing of), ``sysctls`` (yes if
    it has kernel settings of ours).
    """
    said = _lines(stdout)
    identity = said.get("ID", "")
    name, family, _majors = SUPPORTED.get(identity, (identity, said.get("ID_LIKE", ""), ()))
    version = said.get("VERSION_ID", "")
    return {
        "distribution": name,
        "distribution_version": version,
        "distribution_major_version": version.split(".", 1)[0],
        "distribution_pretty_name": said.get("PRETTY_NAME", identity),
        "os_family": family,
        "pkg_mgr": "apt" if family == "Debian" else "dnf",
        "architecture": said.get("machine", ""),
        "python_version": said.get("python_version", ""),
        # Under this name it saves Ansible its own search, one more trip to each host.
        "discovered_interpreter_python": said.get("python", ""),
        "service_mgr": said.get("init", ""),
        "user_uid": int(said.get("uid", "-1")),
        "cloudlet_sets": said.get("sets", "").split(),
        "cloudlet_sysctls": said.get("sysctls") == "yes",
    }


def host_faults(reading):
    """Why a host cannot be deployed to, and what to do: pairs of sentences, none if it can."""
    pretty = reading["distribution_pretty_name"] or "an unknown system"
    major = reading["distribution_major_version"]
    majors = {name: majors for name, _family, majors in SUPPORTED.values()}
    faults = []
    if major == "8" and reading["distribution"] in ("Rocky", "AlmaLinux", "rhel", "centos"):
        why = "the host runs %s, whose platform Python 3.6 is too old for today's Ansible." % pretty
        faults.append((why, "Use a host with %s." % SUPPORTED_TEXT))
    elif major not in majors.get(reading["distribution"], ()):
        why = "the host runs %s, which is not supported." % pretty
        faults.append((why, "Use a host with %s." % SUPPORTED_TEXT))
    if reading["user_uid"] != 0:
        why = "tasks run with uid %d, not as root." % reading["user_uid"]
        faults.append((why, "Set become: true, or connect as root."))
    return faults + _python_faults(reading) + _init_faults(reading)


def _python_faults(reading):
    if not reading["python_version"]:
        return [("the host has no Python 3.", "Install its python3 package.")]
    if tuple(map(int, reading["python_version"].split("."))) < OLDEST_PYTHON:
        return [
            (
                "%s is Python %s; %d.%d is the oldest that works."
                % (
                    reading["discovered_interpreter_python"],
                    reading["python_version"],
                    *OLDEST_PYTHON,
                ),
                "Set ansible_python_interpreter to a newer one.",
            )
        ]
    return []


def _init_faults(reading):
    if reading["service_mgr"] == "systemd":
        return []
    why = "process 1 is %s, not systemd." % (reading["service_mgr"] or "unknown")
    return [(why, "Use a host on which systemd runs the services.")]
