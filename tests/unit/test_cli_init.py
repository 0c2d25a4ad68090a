"""``cloudlet-deploy init``: what it writes validates, and it overwrites nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret

from cloudlet_deploy import content, site
from cloudlet_deploy.cli import main
from cloudlet_deploy.errors import UsageError
from cloudlet_deploy.site import components, scaffold, schema
from cloudlet_deploy.site.validation import unchecked, validate
from cloudlet_deploy.smoke.cloudlet import wanted as smoke_wanted
from cloudlet_deploy.smoke.settings import of_site
from tests.unit.site_draft import PASSWORD, RIGHT


def _placeholders(directory: Path) -> set[str]:
    """What validate finds in a new site: files only the admin can provide, and no error."""
    faults = validate(site.load(directory))
    assert {(fault.severity.value, fault.message) for fault in faults} == {
        ("warning", "still holds the placeholder that `init` wrote")
    }
    return {fault.variable for fault in faults}


FILES = {"grid_trust_ca_files", "grid_trust_host_certificate", "grid_trust_host_key"}


#: What only the admin of a cloudlet has, beside people and secrets.
PORTAL = {
    "ondemand_portal_servername",
    "ondemand_portal_image",
    "ondemand_portal_oidc_client_id",
    "ondemand_portal_identity_providers[0]",
    "ondemand_portal_ldap_uri",
    "ondemand_portal_ldap_base",
    "ondemand_portal_ldap_bind_dn",
}
SECRETS = {
    "ondemand_portal_oidc_client_secret": "vault_oidc_client_secret",
    "ondemand_portal_ldap_bind_password": "vault_ldap_bind_password",
}
#: The same of CryoSPARC.
CRYOSPARC = {
    "ondemand_portal_sites[0].servername",
    *(
        f"cryosparc_{part}_{what}"
        for part in ("master", "worker")
        for what in ("archive", "checksum")
    ),
}
OF_CRYOSPARC = {
    "cryosparc_license": "vault_cryosparc_license",
    "cryosparc_users[0].password": "vault_cryosparc_password",
}
ONE_HOST = ("--kind", "cloudlet", "--portal", "c.lab", "--cryosparc", "c.lab")


def _settings(variables: set[str]) -> set[str]:
    """The settings that ``variables`` are, or are parts of."""
    return {variable.partition("[")[0] for variable in variables}


def _init(directory: Path, *options: str) -> None:
    assert main(["init", str(directory), *options]) == 0


def test_a_new_site_validates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _init(tmp_path / "new")
    assert _placeholders(tmp_path / "new") == FILES
    out = capsys.readouterr().out
    assert f"cloudlet-deploy validate -i {tmp_path / 'new'}" in out
    assert f"cloudlet-deploy apply -i {tmp_path / 'new'}" in out


def test_every_placeholder_is_named_with_its_line(tmp_path: Path) -> None:
    output = _json_of(tmp_path / "new")
    settings = {item["setting"] for item in output["fill_in"]}
    assert {"door.example.org", "dtn1.example.org", "storage_path"} <= settings
    for item in output["fill_in"]:
        lines = (tmp_path / "new" / item["file"]).read_text().splitlines()
        assert lines[item["line"] - 1].strip().startswith(f"{item['setting']}:")
        assert item["meaning"]


def _json_of(directory: Path, *options: str) -> dict[str, list[dict[str, str | int]]]:
    command = [sys.executable, "-c", "from cloudlet_deploy.cli import main; main()"]
    done = subprocess.run(
        [*command, "init", str(directory), "--output", "json", *options],
        check=True,
        capture_output=True,
        text=True,
    )
    answer: dict[str, list[dict[str, str | int]]] = json.loads(done.stdout)
    return answer


def test_given_hosts_and_files_are_no_placeholders(tmp_path: Path) -> None:
    options = ["--door", "se.lab", "--transfer", "a.lab", "--transfer", "b.lab"]
    output = _json_of(tmp_path / "new", *options, "--ca-files", str(tmp_path))
    loaded = site.load(tmp_path / "new")
    assert loaded.groups["bestman"] == ("se.lab",)
    assert loaded.groups["gridftp"] == ("a.lab", "b.lab")
    assert loaded.hosts["a.lab"].values["grid_trust_ca_files"].value == str(tmp_path)
    left = {item["setting"] for item in output["fill_in"]}
    assert not left & {"door.example.org", "dtn1.example.org", "grid_trust_ca_files"}


def test_one_host_may_be_both(tmp_path: Path) -> None:
    _init(tmp_path / "new", "--door", "se.lab", "--transfer", "se.lab")
    loaded = site.load(tmp_path / "new")
    assert list(loaded.hosts) == ["se.lab"]
    assert _placeholders(tmp_path / "new") == FILES


def test_a_site_over_hdfs_validates(tmp_path: Path) -> None:
    options = ["--namenode", "nn.lab", "--datanode", "a.lab", "--datanode", "b.lab"]
    _init(tmp_path / "new", "--door", "se.lab", "--transfer", "a.lab", *options)
    loaded = site.load(tmp_path / "new")
    assert loaded.groups["hdfs_namenode"] == ("nn.lab",)
    assert loaded.groups["hdfs_datanode"] == ("a.lab", "b.lab")
    assert loaded.hosts["se.lab"].values["storage_backend"].value == "hdfs"
    assert _placeholders(tmp_path / "new") == FILES


def test_one_data_node_is_enough_to_mean_hdfs(tmp_path: Path) -> None:
    output = _json_of(tmp_path / "new", "--datanode", "a.lab")
    assert "nn.example.org" in {item["setting"] for item in output["fill_in"]}


def test_every_variable_stands_there_with_its_meaning(tmp_path: Path) -> None:
    _init(tmp_path / "new", "--namenode", "nn.lab", "--datanode", "a.lab")
    text = "\n".join(path.read_text() for path in (tmp_path / "new/group_vars").iterdir())
    flat = " ".join(re.sub("^# ", "", text, flags=re.MULTILINE).split())
    playbook = yaml.safe_load(content.playbook("storage_element").read_text())
    deployed = {r["role"].rpartition(".")[2] for play in playbook for r in play["roles"]}
    for role in deployed:
        for name, option in schema.role_specs()[role].options.items():
            if name.endswith("_state") or name == "grid_trust_restart_units":
                continue
            assert f"{name}:" in text, name
            assert schema.plain(option.description[0]) in flat, name


def test_settings_that_are_commented_out_show_their_default(tmp_path: Path) -> None:
    _init(tmp_path / "new")
    path = tmp_path / "new/group_vars/bestman.yml"
    options = schema.role_specs()["bestman"].options
    names = "|".join(options)
    block = rf"^# (?=(?:{names}):)|^#(?=   ? ? ?- )"
    path.write_text(re.sub(block, "", path.read_text(), flags=re.MULTILINE))
    shown = yaml.safe_load(path.read_text())
    assert shown == {name: options[name].default for name in shown}
    assert len(shown) > len(options) - 2
    assert _placeholders(tmp_path / "new") == FILES


def test_a_new_cloudlet_validates(tmp_path: Path) -> None:
    _init(tmp_path / "new", "--kind", "cloudlet")
    assert _placeholders(tmp_path / "new") == PORTAL
    loaded = site.load(tmp_path / "new")
    assert loaded.groups["cloudlet"] == loaded.groups["portal"] == ("cloudlet.example.org",)
    output = _json_of(tmp_path / "other", "--kind", "cloudlet")
    settings = {item["setting"] for item in output["fill_in"]}
    others = {"cloudlet.example.org", "podman_host_approved_users"}
    assert {*_settings(PORTAL), *SECRETS, *others} <= settings


def test_the_hosts_of_a_cloudlet_are_given(tmp_path: Path) -> None:
    output = _json_of(tmp_path / "new", "--kind", "cloudlet", "--portal", "p.lab")
    groups = site.load(tmp_path / "new").groups
    assert groups["cloudlet"] == groups["portal"] == ("p.lab",)
    assert "cryosparc" not in groups
    assert not (tmp_path / "new/group_vars/cryosparc.yml").exists()
    assert "cloudlet.example.org" not in {item["setting"] for item in output["fill_in"]}


@pytest.mark.parametrize(
    ("options", "portal", "cryosparc"),
    [
        (["--portal", "c.lab", "--cryosparc", "c.lab"], "c.lab", "c.lab"),
        (["--portal", "p.lab", "--cryosparc", "c.lab"], "p.lab", "c.lab"),
        (["--cryosparc", "c.lab"], "cloudlet.example.org", "c.lab"),
        (["--cryosparc", "cloudlet.example.org"], "cloudlet.example.org", "cloudlet.example.org"),
    ],
)
def test_a_cloudlet_with_cryosparc_validates(
    tmp_path: Path, options: list[str], portal: str, cryosparc: str
) -> None:
    _init(tmp_path / "new", "--kind", "cloudlet", *options)
    assert _placeholders(tmp_path / "new") == {*PORTAL, *CRYOSPARC}
    groups = site.load(tmp_path / "new").groups
    assert groups["portal"] == (portal,)
    assert groups["cryosparc"] == (cryosparc,)
    assert groups["cloudlet"] == tuple(dict.fromkeys((portal, cryosparc)))
    text = (tmp_path / "new/group_vars/portal.yml").read_text()
    (page,) = yaml.safe_load(text)["ondemand_portal_sites"]
    assert page.get("address", portal) == cryosparc
    assert (f"host_vars/{cryosparc}.yml" in " ".join(text.replace("#", "").split())) == (
        portal != cryosparc
    )


@pytest.mark.parametrize("portal", ["c.lab", "p.lab"])
def test_what_only_the_admin_of_a_cryosparc_has_is_named(tmp_path: Path, portal: str) -> None:
    output = _json_of(tmp_path / "new", *ONE_HOST, "--portal", portal)
    settings = {item["setting"] for item in output["fill_in"]}
    others = {"cryosparc_version", "cryosparc_uid", "cryosparc_users"}
    assert {*_settings(CRYOSPARC), *others} <= settings


def _variables(directory: Path) -> list[Path]:
    return [path for path in (directory / "group_vars").rglob("*") if path.is_file()]


def test_every_variable_of_a_cloudlet_stands_there_with_its_meaning(tmp_path: Path) -> None:
    _init(tmp_path / "new", *ONE_HOST)
    text = "\n".join(path.read_text() for path in _variables(tmp_path / "new"))
    flat = " ".join(re.sub("^# ", "", text, flags=re.MULTILINE).split())
    roles = components.of_host(site.load(tmp_path / "new").hosts["c.lab"])
    assert {"ondemand_portal", "cryosparc", "cryosparc_lane", "data_watch"} <= set(roles)
    options = {
        name: one for role in roles for name, one in schema.role_specs()[role].options.items()
    }
    smoke = schema.role_specs()["smoke"].options
    options |= {name: smoke[name] for name in ("smoke_hops", "smoke_mounts", "smoke_hop_port")}
    for name, option in options.items():
        if not name.endswith("_state"):
            assert len(re.findall(f"^(?:# )?{name}:", text, re.MULTILINE)) == 1, name
            assert schema.plain(option.description[0]) in flat, name
            assert not option.options or f"Keys: {', '.join(option.options)}." in flat, name


def test_the_examples_of_a_cloudlet_can_be_used_as_they_are(tmp_path: Path) -> None:
    _init(tmp_path / "new", *ONE_HOST)
    examples = (
        "cryosparc_gpus",
        "cryosparc_lane_clusters",
        "data_mounts_cifs",
        "data_mounts_sshfs",
        "data_watch_directories",
        "ondemand_portal_instruments",
        "smoke_hops",
        "smoke_mounts",
    )
    for path in _variables(tmp_path / "new"):
        lines = path.read_text().splitlines()
        for number in (n for n, line in enumerate(lines) if line[2:-1] in examples):
            for at in range(number, lines.index("", number)):
                lines[at] = lines[at].removeprefix("# ")
        path.write_text("\n".join(lines))
    hosts = tmp_path / "new/hosts.yml"
    kept, ends = hosts.read_text().split("  # hosts:\n")
    hosts.write_text(f"{kept}  hosts:\n{ends.replace('  # ', '  ')}")
    loaded = site.load(tmp_path / "new")
    assert all(loaded.hosts["c.lab"].values[name].value for name in examples)
    keys = {
        f"{name}[0].{key}"
        for name in ("data_mounts_sshfs", "cryosparc_lane_clusters")
        for key in ("key_file", "known_hosts[0]")
    }
    assert _placeholders(tmp_path / "new") == {*PORTAL, *CRYOSPARC, *keys}
    ways = smoke_wanted(loaded, of_site(loaded)).hops
    assert {(way.source, way.target) for way in ways} == {
        ("camera.example.org", "c.lab"),
        ("c.lab", "login.cluster.example.org"),
    }


def test_secrets_of_a_cloudlet_are_in_a_vault_that_the_admin_makes(tmp_path: Path) -> None:
    _init(tmp_path / "new", *ONE_HOST)
    secrets = SECRETS | OF_CRYOSPARC
    told = {one.variable: one.detail for one in unchecked(site.load(tmp_path / "new"))}
    for variable, name in secrets.items():
        assert told[variable] == f"{name} is not in the inventory"
        assert f"    {name}: ..." in (tmp_path / "new/README.md").read_text()
    vault = tmp_path / "new/group_vars/all/vault.yml"
    text = "".join(f"{name}: geheim\n" for name in secrets.values())
    secret = ("default", VaultSecret(PASSWORD.encode()))
    vault.write_bytes(VaultLib([secret]).encrypt(text, secret[1]))
    assert _placeholders(tmp_path / "new") == {*PORTAL, *CRYOSPARC}
    opened = site.load(tmp_path / "new", vault=RIGHT)
    assert not {one.variable for one in unchecked(opened)} & secrets.keys()
    values = opened.hosts["c.lab"].values
    assert all(values[name].value == "geheim" and values[name].secret for name in SECRETS)
    assert values["cryosparc_license"].value == "geheim"
    assert "'password': 'geheim'" in str(values["cryosparc_users"].value)


@pytest.mark.parametrize("name", ["file", "full"])
def test_nothing_is_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/hosts.yml").write_text("mine")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert main(["init", str(tmp_path / name)]) == 64
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert "not an empty directory" in " ".join(capsys.readouterr().err.split())


def test_an_empty_directory_is_taken(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    _init(tmp_path / "empty")
    assert (tmp_path / "empty/hosts.yml").is_file()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--kind", "cloudlet", "--door", "a.b"], "A site of the kind cloudlet has no door"),
        (["--kind", "cloudlet", "--transfer", "a.b"], "Leave those options out"),
        (["--kind", "cloudlet", "--datanode", "a.b"], "Leave those options out"),
        (["--kind", "cloudlet", "--ca-files", "/ca"], "Leave those options out"),
        (["--portal", "a.b"], "A site of the kind storage-element has no portal"),
        (["--cryosparc", "a.b"], "or add --kind cloudlet"),
        (["--kind", "cloudlet", "--cryosparc", "a b"], "'a b' is no host name"),
        (["--door", "no host"], "'no host' is no host name"),
        (["--door", "a: {b"], "is no host name"),
        (["--transfer", "-x."], "is no host name"),
    ],
)
def test_wrong_usage_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert main(["init", str(tmp_path / "new"), *options]) == 64
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "new").exists()


def test_another_kind_is_told_which_there_are() -> None:
    with pytest.raises(UsageError, match="'web'") as caught:
        scaffold.render("web")
    assert caught.value.next_step == "Available: --kind storage-element, cloudlet."


def test_a_directory_that_cannot_be_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["init", str(tmp_path / "file/new")]) == 64
    assert "cannot be written" in " ".join(capsys.readouterr().err.split())
