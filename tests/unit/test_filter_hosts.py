"""What a host says of itself, and which hosts are refused."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.plugin_utils.host_reading import (
    SCRIPT,
    host_faults,
    host_reading,
)


def said(**values: str) -> str:
    base = {
        "PRETTY_NAME": '"Debian GNU/Linux 12 (bookworm)"',
        "ID": "debian",
        "VERSION_ID": '"12"',
        "uid": "0",
        "python": "/usr/bin/python3",
        "python_version": "3.11",
        "init": "systemd",
        "machine": "x86_64",
    }
    # A terminal ends lines with CR LF.
    return "\r\n".join(f"{key}={value}" for key, value in (base | values).items())


def faults(**values: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = host_faults(host_reading(said(**values)))
    return found


def test_facts_have_the_names_and_values_of_setup() -> None:
    reading: dict[str, Any] = host_reading(said())
    assert reading["distribution"] == "Debian" and reading["os_family"] == "Debian"
    assert reading["distribution_major_version"] == "12" and reading["pkg_mgr"] == "apt"
    rocky = host_reading(said(ID='"rocky"', VERSION_ID='"9.4"', PRETTY_NAME='"Rocky Linux 9.4"'))
    assert (rocky["distribution"], rocky["os_family"], rocky["pkg_mgr"]) == (
        "Rocky",
        "RedHat",
        "dnf",
    )
    assert rocky["distribution_major_version"] == "9"


@pytest.mark.parametrize(
    ("identity", "version"),
    [
        ("debian", "12"),
        ("debian", "13"),
        ("ubuntu", "24.04"),
        ("rocky", "9.4"),
        ("almalinux", "10.0"),
    ],
)
def test_supported_hosts_have_no_fault(identity: str, version: str) -> None:
    assert faults(ID=identity, VERSION_ID=version) == []


@pytest.mark.parametrize(
    ("values", "words", "step"),
    [
        (
            {"ID": "rocky", "VERSION_ID": "8.10", "PRETTY_NAME": "Rocky 8"},
            "Rocky 8, whose platform Python 3.6",
            "Use a host with Debian 12",
        ),
        (
            {"VERSION_ID": "11", "PRETTY_NAME": "Debian 11"},
            "Debian 11, which is not supported",
            "Use a host with Debian 12",
        ),
        ({"ID": "ubuntu", "VERSION_ID": "25.04"}, "not supported", "Ubuntu 24.04"),
        ({"ID": "gentoo", "VERSION_ID": ""}, "not supported", "Use a host"),
        ({"uid": "1000"}, "uid 1000, not as root", "become: true"),
        ({"python": "", "python_version": ""}, "no Python 3", "Install"),
        ({"python_version": "3.8"}, "Python 3.8; 3.9 is the oldest", "ansible_python_interpreter"),
        ({"init": "runit"}, "is runit, not systemd", "systemd runs"),
    ],
)
def test_each_reason_comes_with_a_next_step(values: dict[str, str], words: str, step: str) -> None:
    ((fault, advice),) = faults(**values)
    assert words in fault
    assert step in advice and step not in fault


def test_python_3_10_is_newer_than_3_9() -> None:
    assert faults(python_version="3.10") == []


def test_an_answer_that_is_none_gives_faults_and_no_error() -> None:
    assert len(host_faults(host_reading(""))) == 4


def test_kernel_settings_of_ours_are_found_in_the_ledger(tmp_path: Path) -> None:
    script = SCRIPT.replace("/var/lib/cloudlet-deploy", str(tmp_path)) % "python3"
    for ledger, there in (
        (None, False),
        ('{"entries": {"unit:a.service": {"before": {}}}}', False),
        ('{"entries": {"sysctl:net.core.somaxconn": {"before": "4096"}}}', True),
    ):
        if ledger:
            (tmp_path / "ledger.json").write_text(ledger)
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
        assert host_reading(done.stdout)["cloudlet_sysctls"] is there


def test_the_script_runs_in_a_plain_shell() -> None:
    done = subprocess.run(
        ["sh", "-c", SCRIPT % "/nowhere/python python3"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    reading = host_reading(done.stdout)
    assert re.fullmatch(r"3\.\d+", reading["python_version"])
    assert reading["discovered_interpreter_python"].endswith("/python3")
    assert reading["distribution"] and reading["architecture"] and reading["service_mgr"]
