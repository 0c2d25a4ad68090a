"""``package_set`` against a stand-in for dpkg and apt."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import packages
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import Result
from ansible_collections.cloudlet.deploy.plugins.module_utils.host_state import Ledger
from ansible_collections.cloudlet.deploy.plugins.modules import package_set
from mini_apt import MiniApt


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MiniApt]:
    policy = str(tmp_path / "policy-rc.d")
    monkeypatch.setattr(packages.services_held.__wrapped__, "__defaults__", (policy,))
    monkeypatch.setattr(packages.restore_policy, "__defaults__", (policy,))
    yield MiniApt(tmp_path)


def component(host: MiniApt, name: str = "se", check: bool = False) -> package_set.PackageSet:
    manager = packages.Apt(host, extended_states=str(host.extended))
    return package_set.PackageSet(manager, name, str(host.state_dir), host, check)


def killed(work: Callable[[], object]) -> int:
    """Exit code of a child that does ``work`` and is expected to die in it."""
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def entries(host: MiniApt) -> dict[str, Any]:
    return Ledger(str(host.state_dir)).entries


def test_nothing_missing_asks_dpkg_only_and_writes_nothing(host: MiniApt) -> None:
    result = component(host).present(["libssl"])
    assert result == {"changed": False, "changes": []}
    assert [argv[0] for argv in host.calls] == ["dpkg-query"]
    assert not host.state_dir.exists()


def test_check_mode_predicts_what_the_run_reports(host: MiniApt) -> None:
    planned = component(host, check=True).present(["gridftp", "libssl", "gridftp"])
    assert not host.state_dir.exists() and "gridftp" not in host.states
    done = component(host).present(["gridftp", "libssl", "gridftp"])
    assert (
        planned["changes"]
        == done["changes"]
        == [{"kind": "package", "name": "gridftp", "action": "install", "detail": ""}]
    )
    assert done["installed"] == ["gridftp", "libglobus"]
    assert component(host).present(["gridftp", "libssl"])["changes"] == []


def test_ledger_knows_all_that_arrives_before_it_does(host: MiniApt) -> None:
    component(host).present(["gridftp"])
    assert host.ledger_at_install is not None
    assert sorted(host.ledger_at_install) == ["package:gridftp", "package:libglobus"]
    assert sorted(entries(host)) == ["package:gridftp", "package:libglobus"]


def test_nothing_is_taken_away_and_nothing_recommended(host: MiniApt) -> None:
    component(host).present(["gridftp"])
    installs = [argv for argv in host.calls if "install" in argv]
    assert len(installs) == 2
    assert all({"--no-install-recommends", "--no-remove"} <= set(argv) for argv in installs)


def test_services_are_held_back_and_then_disabled(host: MiniApt) -> None:
    component(host).present(["gridftp"])
    assert host.environments[0]["CLOUDLET_DEPLOY_HOLD_SERVICES"] == "1"
    # Those of the package that was asked for; its dependencies are as their packages say.
    assert ["systemctl", "disable", "--quiet", "gridftp.service"] in host.calls
    assert not [c for c in host.calls if c[0] == "systemctl" and "libglobus.service" in c]


def test_run_killed_before_units_are_disabled_is_made_up_for(host: MiniApt) -> None:
    host.kill_disable = True
    assert killed(lambda: component(host).present(["gridftp"])) == 9
    host.kill_disable = False
    host.states.update({"gridftp": "installed", "libglobus": "installed"})
    component(host, check=True).present(["gridftp"])
    assert not host.ran("systemctl")
    assert component(host).present(["gridftp"])["changes"] == []
    assert host.calls.count(["systemctl", "disable", "--quiet", "gridftp.service"]) == 1
    component(host).present(["gridftp"])
    assert host.calls.count(["systemctl", "disable", "--quiet", "gridftp.service"]) == 1


def test_units_are_left_alone_on_request(host: MiniApt) -> None:
    component(host).present(["gridftp"], hold_units=False)
    assert not host.ran("systemctl")


def test_absent_gives_the_host_back(host: MiniApt) -> None:
    before = dict(host.states)
    component(host).present(["gridftp"])
    planned = component(host, check=True).absent()
    assert host.states["gridftp"] == "installed"
    done = component(host).absent()
    assert planned["changes"] == done["changes"]
    assert [c["name"] for c in done["changes"]] == ["gridftp", "libglobus"]
    left = {n: s for n, s in host.states.items() if s != "not-installed"}
    assert left == before and entries(host) == {}
    assert component(host).absent()["changes"] == []


def test_packages_that_were_there_stay(host: MiniApt) -> None:
    component(host).present(["libssl"])
    assert component(host).absent()["changes"] == []
    assert host.states["libssl"] == "installed"


def test_what_somebody_else_needs_stays(host: MiniApt) -> None:
    component(host).present(["gridftp"])
    host.states["admin-tool"] = "installed"
    result = component(host).absent()
    assert [c["name"] for c in result["changes"]] == ["gridftp"]
    assert result["kept"] == ["libglobus"] and entries(host) == {}
    assert host.states["admin-tool"] == host.states["libglobus"] == "installed"


def test_orphan_of_the_admin_that_needs_ours_stays(host: MiniApt) -> None:
    component(host).present(["gridftp"])
    host.states["admin-tool"] = "installed"
    host.mark_automatic("admin-tool")
    component(host).absent()
    assert host.states["admin-tool"] == host.states["libglobus"] == "installed"


def test_shared_dependency_goes_with_the_last_component(host: MiniApt) -> None:
    component(host, "one").present(["gridftp"])
    component(host, "two").present(["client"])
    first = component(host, "one").absent()
    assert [c["name"] for c in first["changes"]] == ["gridftp"]
    assert host.states["libglobus"] == "installed"
    second = component(host, "two").absent()
    assert [c["name"] for c in second["changes"]] == ["client", "libglobus"]
    assert entries(host) == {}


def test_package_of_two_components_goes_with_the_last(host: MiniApt) -> None:
    component(host, "one").present(["client"])
    assert component(host, "two").present(["libglobus"])["changed"] is False
    assert host.ran("apt-mark", "manual", "libglobus")
    first = component(host, "one").absent()
    assert [c["name"] for c in first["changes"]] == ["client"]
    assert [c["name"] for c in component(host, "two").absent()["changes"]] == ["libglobus"]


def test_configuration_that_was_there_stays(host: MiniApt) -> None:
    host.states["client"] = "config-files"
    component(host).present(["client"])
    component(host).absent()
    assert host.states["client"] == "config-files"
    assert host.states["libglobus"] == "not-installed"


def test_configuration_that_a_killed_removal_left_goes(host: MiniApt) -> None:
    component(host).present(["client"])
    host.states["client"] = "config-files"
    component(host).absent()
    assert host.states["client"] == "not-installed"


def test_killed_installation_is_finished_with_services_held(host: MiniApt) -> None:
    host.kill_install = True
    assert killed(lambda: component(host).present(["gridftp"])) == 9
    host.kill_install = False
    host.states.update({"gridftp": "unpacked", "libglobus": "half-configured"})
    host.environments.clear()
    result = component(host).present(["gridftp"])
    assert result["changed"] and host.states["gridftp"] == "installed"
    assert all(e["CLOUDLET_DEPLOY_HOLD_SERVICES"] == "1" for e in host.environments)
    assert host.environments
    component(host).absent()
    assert host.states["libglobus"] == "not-installed"


def test_unknown_package_is_looked_for_in_fresh_lists(host: MiniApt) -> None:
    host.lists_are_read = False
    assert component(host).present(["client"])["installed"] == ["client", "libglobus"]
    assert host.ran("apt-get", "update")


def test_known_package_needs_no_update(host: MiniApt) -> None:
    component(host).present(["client"])
    assert not host.ran("apt-get", "update")


def test_package_that_no_source_has_is_named(host: MiniApt) -> None:
    with pytest.raises(packages.PackageError, match=r"no gridfpt\..*sources\.list\.d"):
        component(host).present(["gridfpt"])
    assert entries(host) == {}


def test_failure_says_why_and_claims_nothing(host: MiniApt) -> None:
    noise = "Reading package lists...\n" * 40
    host.fail_install = Result(100, noise, "E: You don't have enough free space.\n")
    with pytest.raises(packages.PackageError) as caught:
        component(host).present(["client"])
    assert "E: You don't have enough free space." in str(caught.value)
    assert "Reading" not in str(caught.value)
    assert entries(host) == {}
    assert not list(host.state_dir.glob("holding*"))


def test_lists_that_are_too_old_are_read_again(host: MiniApt) -> None:
    host.fail_install = Result(100, "", "E: Failed to fetch http://x 404  Not Found\n")
    assert component(host).present(["client"])["changed"]
    assert host.ran("apt-get", "update")


def test_policy_script_holds_back_only_our_own(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("#!/bin/sh\n# the admin's\nexit 7\n")
    policy.chmod(0o755)
    before = policy.stat()
    with packages.services_held(str(policy)) as environment:
        ours = subprocess.run(
            [policy, "x", "start"], check=False, env={**os.environ, **environment}
        )
        others = subprocess.run([policy, "x", "start"], check=False)
        assert (ours.returncode, others.returncode) == (101, 7)
    after = policy.stat()
    assert (after.st_ino, after.st_mode, after.st_mtime_ns) == (
        before.st_ino, before.st_mode, before.st_mtime_ns
    )  # fmt: skip
    assert [p.name for p in tmp_path.iterdir()] == ["policy-rc.d"]


@pytest.mark.parametrize("found", [None, "#!/bin/sh\nexit 7\n"])
def test_policy_of_a_killed_run_is_cleaned_up(tmp_path: Path, found: str | None) -> None:
    policy = tmp_path / "policy-rc.d"
    if found:
        policy.write_text(found)

    def die() -> None:
        with packages.services_held(str(policy)):
            os._exit(9)

    assert killed(die) == 9
    assert "cloudlet-deploy" in policy.read_text()
    packages.restore_policy(str(policy))
    assert (policy.read_text() if policy.exists() else None) == found


def test_units_among_the_files_of_a_package() -> None:
    paths = [
        "/lib/systemd/system/a.service", "/usr/lib/systemd/system/b.socket",
        "/lib/systemd/system/c@.service", "/lib/systemd/system/d.timer",
        "/lib/systemd/system/e.service.d/x.service", "/etc/init.d/f",
    ]  # fmt: skip
    assert packages.unit_names(paths) == ["a.service", "b.socket"]


class MiniRpm:
    """rpm and dnf of a host: name -> what it requires."""

    def __init__(self, **requires: list[str]) -> None:
        self.requires = requires
        self.calls: list[list[str]] = []

    def __call__(self, argv: list[str], environment: dict[str, str] | None = None) -> Result:
        self.calls.append(argv)
        if argv[:3] == ["rpm", "-e", "--test"]:
            going = set(argv[3:])
            broken = [n for n, r in self.requires.items() if n not in going and set(r) & going]
            return Result(len(broken), "", "error: Failed dependencies")
        if "repoquery" in argv:
            wanted = argv[-1]
            return Result(0, "\n".join(n for n, r in self.requires.items() if wanted in r), "")
        if argv[:2] == ["rpm", "-q"]:
            names = argv[2 : argv.index("--qf")]
            lines = [n if n in self.requires else f"package {n} is not installed" for n in names]
            return Result(0, "\n".join(lines) + "\n", "")
        return Result(0, "", "")


def test_dnf_tells_missing_from_installed() -> None:
    manager = packages.Dnf(MiniRpm(java=[]))
    assert manager.states(["java", "gridftp"]) == {"java": "installed"}


def test_dnf_keeps_what_others_need() -> None:
    rpm = MiniRpm(gridftp=["libglobus"], libglobus=["libbase"], libbase=[], admin=["libglobus"])
    manager = packages.Dnf(rpm)
    assert manager.removable(["gridftp", "libbase", "libglobus"]) == ["gridftp"]
    del rpm.requires["admin"]
    assert manager.removable(["gridftp", "libbase", "libglobus"]) == [
        "gridftp", "libbase", "libglobus"
    ]  # fmt: skip


def test_host_without_a_known_package_manager_is_told() -> None:
    with pytest.raises(packages.PackageError, match="neither apt nor dnf"):
        packages.backend(None, exists=lambda path: False)
    assert isinstance(packages.backend(None, lambda p: "rpm" in p or "dnf" in p), packages.Dnf)
    assert re.search("apt", type(packages.backend(None, lambda p: True)).__name__, re.IGNORECASE)
