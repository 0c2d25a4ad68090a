"""Loading a site: values, where they come from, vaults, templates and clear errors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret

from cloudlet_deploy import site
from cloudlet_deploy.errors import InvalidSiteError, UsageError
from cloudlet_deploy.site import Origin, Unknown, Vault, Why

HOSTS = """\
all:
  children:
    bestman:
      hosts:
        door.example.org:
          inline: 1
    gridftp:
      hosts:
        dtn1.example.org:
        dtn2.example.org:
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return _write(tmp_path / "site", "hosts.yml", HOSTS)


def _write(directory: Path, name: str, text: str) -> Path:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return directory


def _encrypt(text: str, password: str) -> str:
    lib = VaultLib([("default", VaultSecret(password.encode()))])
    return str(lib.encrypt(text), "ascii")


def _inline(name: str, text: str, password: str) -> str:
    body = "".join(f"  {line}\n" for line in _encrypt(text, password).splitlines())
    return f"{name}: !vault |\n{body}"


def _value(home: Path, name: str, host: str = "door.example.org", **options: object) -> site.Value:
    return site.load(home, **options).hosts[host].values[name]  # type: ignore[arg-type]


def test_hosts_groups_and_targets(home: Path) -> None:
    loaded = site.load(home, limit="gridftp")
    assert list(loaded.hosts) == ["door.example.org", "dtn1.example.org", "dtn2.example.org"]
    assert loaded.targets == ("dtn1.example.org", "dtn2.example.org")
    assert loaded.groups["bestman"] == ("door.example.org",)
    assert [host.name for host in loaded.in_group("gridftp")] == list(loaded.targets)
    assert loaded.hosts["door.example.org"].origin.line == 5


def test_values_name_their_file_line_and_column(home: Path) -> None:
    _write(home, "group_vars/all.yml", "---\nlisted:\n  - {dn: a}\n  - {dn: b}\n")
    assert _value(home, "inline").origin == Origin(str(home / "hosts.yml"), 6, 19)
    listed = _value(home, "listed")
    assert listed.origin_of((1, "dn")) == Origin(str(home / "group_vars/all.yml"), 4, 10)
    assert listed.origin_of((1, "nothing")).line == 4


@pytest.mark.parametrize("written", ["true", "null"])
def test_untagged_values_are_traced_to_the_strongest_file(home: Path, written: str) -> None:
    _write(home, "group_vars/all.yml", f"flag: {written}\n")
    _write(home, "group_vars/gridftp.yml", f"\n\nflag: {written}\n")
    _write(home, "host_vars/dtn2.example.org.yml", f"\nflag: {written}\n")
    places = {
        host: _value(home, "flag", host).origin
        for host in ("door.example.org", "dtn1.example.org", "dtn2.example.org")
    }
    assert {host: (Path(o.path).name, o.line) for host, o in places.items()} == {
        "door.example.org": ("all.yml", 1),
        "dtn1.example.org": ("gridftp.yml", 3),
        "dtn2.example.org": ("dtn2.example.org.yml", 2),
    }


def test_nothing_of_ansibles_own_is_a_value(home: Path) -> None:
    assert set(site.load(home).hosts["dtn1.example.org"].values) == set()


def test_values_are_plain_python(home: Path) -> None:
    _write(home, "group_vars/all.yml", "a: {b: [1, x, 2.5, true, null]}\n")
    value = _value(home, "a").value
    assert value == {"b": [1, "x", 2.5, True, None]}
    assert type(value) is dict
    assert [type(part) for part in value["b"]] == [int, str, float, bool, type(None)]


def test_a_file_and_an_ini_inventory_work(tmp_path: Path) -> None:
    _write(tmp_path, "hosts", "[gridftp]\ndtn[1:2] gridftp_port=2812\n")
    loaded = site.load(tmp_path / "hosts")
    assert list(loaded.hosts) == ["dtn1", "dtn2"]
    assert loaded.hosts["dtn2"].values["gridftp_port"].value == 2812


def test_several_inventories_are_one(home: Path, tmp_path: Path) -> None:
    _write(tmp_path, "more.yml", "gridftp: {hosts: {dtn3: }}\n")
    assert "dtn3" in site.load([home, tmp_path / "more.yml"]).groups["gridftp"]


def test_a_list_of_hosts_works() -> None:
    assert list(site.load("one,two,").hosts) == ["one", "two"]


def test_a_read_only_inventory_works(home: Path) -> None:
    before = sorted(home.rglob("*"))
    for path in (*before, home):
        path.chmod(0o555 if path.is_dir() else 0o444)
    site.load(home)
    assert sorted(home.rglob("*")) == before


def test_a_changed_file_is_read_again(home: Path) -> None:
    site.load(home)
    _write(home, "group_vars/all.yml", "late: 1\n")
    assert _value(home, "late").value == 1


# --- templates ----------------------------------------------------------------------------


def test_templates_of_the_inventory_alone_are_evaluated(home: Path) -> None:
    _write(
        home,
        "group_vars/all.yml",
        "base: /srv\n"
        "path: '{{ base }}/{{ inventory_hostname }}'\n"
        "servers: \"{{ groups['gridftp'] | map('regex_replace', '^', 'gsiftp://') | list }}\"\n"
        "number: '{{ [1, 2] | sum }}'\n",
    )
    values = site.load(home).hosts["door.example.org"].values
    assert values["path"].value == "/srv/door.example.org"
    assert values["path"].raw == "{{ base }}/{{ inventory_hostname }}"
    assert values["servers"].value == ["gsiftp://dtn1.example.org", "gsiftp://dtn2.example.org"]
    assert values["number"].value == 3


@pytest.mark.parametrize(
    "template",
    [
        "{{ ansible_facts['memtotal_mb'] | default(1) }}",
        "{{ hostvars['dtn1.example.org'].x | default(1) }}",
        "{{ lookup('pipe', 'touch {mark}') }}",
        "{{ query('file', '/etc/hostname') }}",
        "{{ bestman_port | default(1) }}",
        "{{ through_another }}",
        "{{ itself }}",
    ],
)
def test_templates_that_need_a_run_are_deferred(home: Path, tmp_path: Path, template: str) -> None:
    mark = tmp_path / "mark"
    name = "itself" if "itself" in template else "wanted"
    text = template.replace("{mark}", str(mark)).replace('"', "'")
    _write(
        home,
        "group_vars/all.yml",
        f'{name}: "{text}"\nthrough_another: "{{{{ ansible_facts.x }}}}"\n',
    )
    value = _value(home, name).value
    assert isinstance(value, Unknown)
    assert value.why is Why.DEFERRED
    assert not mark.exists()


def test_a_malformed_template_is_broken(home: Path) -> None:
    _write(home, "group_vars/all.yml", "bad: ['{{ 1 + }}', 2]\n")
    bad, good = _value(home, "bad").value  # type: ignore[misc]
    assert isinstance(bad, Unknown)
    assert bad.why is Why.BROKEN
    assert good == 2


# --- extra variables ----------------------------------------------------------------------


@pytest.mark.parametrize("form", ["inline=7", '{"inline": 7}', "@{file}", {"inline": 7}])
def test_extra_variables_win(home: Path, tmp_path: Path, form: object) -> None:
    _write(tmp_path, "extra.yml", "inline: 7\n")
    given = form.replace("{file}", str(tmp_path / "extra.yml")) if isinstance(form, str) else form
    value = _value(home, "inline", extra_vars=[given])
    assert int(str(value.value)) == 7
    assert value.origin.path in ("--extra-vars", str(tmp_path / "extra.yml"))


def test_extra_variables_that_are_none_are_refused(home: Path) -> None:
    with pytest.raises(UsageError, match="--extra-vars"):
        site.load(home, extra_vars=["[1, 2]"])


# --- vaults -------------------------------------------------------------------------------


def test_a_vaulted_value_without_password_is_opaque(home: Path) -> None:
    _write(home, "group_vars/all.yml", _inline("key", "geheim", "pw") + "uses: 'x{{ key }}'\n")
    values = site.load(home).hosts["door.example.org"].values
    for name in ("key", "uses"):
        assert values[name].value == Unknown(Why.VAULTED)
        assert values[name].secret


def test_a_vaulted_value_is_opened_and_secret(home: Path, tmp_path: Path) -> None:
    _write(home, "group_vars/all.yml", _inline("key", "geheim", "pw") + "uses: 'x{{ key }}'\n")
    _write(tmp_path, "password", "pw\n")
    for vault in (
        Vault(password_files=(str(tmp_path / "password"),)),
        Vault(ids=(f"lab@{tmp_path / 'password'}",)),
        Vault(passwords=(("default", "pw"),)),
    ):
        values = site.load(home, vault=vault).hosts["door.example.org"].values
        assert values["uses"].value == "xgeheim"
        assert values["uses"].secret
        assert "geheim" not in repr(values)
        assert not values["inline"].secret


def test_a_wrong_password_is_told_apart(home: Path) -> None:
    _write(home, "group_vars/all.yml", _inline("key", "geheim", "pw"))
    value = _value(home, "key", vault=Vault(passwords=(("default", "other"),))).value
    assert isinstance(value, Unknown)
    assert value.why is Why.WRONG_PASSWORD


def test_a_locked_file_of_variables_is_named(home: Path) -> None:
    locked = home / "group_vars/bestman/vault.yml"
    _write(home, "group_vars/bestman/vault.yml", _encrypt("key: geheim\nflag: true\n", "pw"))
    _write(home, "group_vars/bestman/plain.yml", "other: 1\n")
    loaded = site.load(home)
    assert loaded.hosts["door.example.org"].locked_files == (str(locked),)
    assert loaded.hosts["dtn1.example.org"].locked_files == ()
    assert set(loaded.hosts["door.example.org"].values) == {"inline", "other"}


def test_all_of_an_opened_file_is_secret(home: Path) -> None:
    _write(home, "group_vars/bestman/vault.yml", _encrypt("key: geheim\nflag: true\n", "pw"))
    values = (
        site.load(home, vault=Vault(passwords=(("default", "pw"),)))
        .hosts["door.example.org"]
        .values
    )
    assert values["key"].value == "geheim"
    assert values["key"].secret
    assert values["flag"].secret


def test_a_locked_file_with_a_wrong_password_is_an_error(home: Path) -> None:
    _write(home, "group_vars/all.yml", _encrypt("key: geheim\n", "pw"))
    with pytest.raises(InvalidSiteError, match="no vault secrets were found that could decrypt"):
        site.load(home, vault=Vault(passwords=(("default", "other"),)))


def test_a_missing_password_file_is_wrong_usage(home: Path) -> None:
    with pytest.raises(UsageError, match="/nowhere/password"):
        site.load(home, vault=Vault(password_files=("/nowhere/password",)))


# --- errors -------------------------------------------------------------------------------


def test_a_missing_inventory(tmp_path: Path) -> None:
    with pytest.raises(InvalidSiteError, match="there is no such inventory"):
        site.load(tmp_path / "nothing")


@pytest.mark.parametrize("text", [None, "all:\n  hosts:\n", "# nothing\n"])
def test_an_empty_inventory(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        _write(tmp_path, "hosts.yml", text)
    with pytest.raises(InvalidSiteError) as caught:
        site.load(tmp_path)
    assert str(tmp_path) in caught.value.message
    assert caught.value.next_step


def test_broken_yaml_names_file_and_line(home: Path) -> None:
    _write(home, "hosts.yml", HOSTS + "    gone: [1, 2\n  : }\n")
    with pytest.raises(InvalidSiteError) as caught:
        site.load(home)
    assert f"{home / 'hosts.yml'}:1" in caught.value.message  # lines 11 and 12


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("hosts.yml", "all: [a\n", ":2:1: this is no Ansible inventory: YAML parsing failed"),
        ("hosts.yml", "just text\n", "YAML inventory has invalid structure"),
        ("hosts.yml", "plugin: nope.nope.nope\n", "nope"),
        ("hosts", "# x\n[gridftp\na b=c\n", ":2: this is no"),
        (
            "hosts",
            "[gridftp]\nhost b=c d\n",
            ":2: this is no Ansible inventory: Failed to parse inventory: Expected",
        ),
        ("hosts", "all: {hosts: [a\n", ":2:1: this is no Ansible inventory: YAML parsing failed"),
    ],
)
def test_the_right_parser_says_what_is_wrong(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    _write(tmp_path, name, text)
    with pytest.raises(InvalidSiteError) as caught:
        site.load(tmp_path)
    assert f"{tmp_path / name}" in caught.value.message
    assert said in caught.value.message


def test_a_notice_is_given_once(home: Path) -> None:
    _write(home, "group_vars/all.yml", "port: 1\n")  # a name that Ansible reserves
    (notice,) = site.load(home).notices
    assert notice.origin == Origin(str(home / "group_vars/all.yml"), 1, 1)


def test_broken_variables_name_file_and_line(home: Path) -> None:
    _write(home, "group_vars/gridftp.yml", "a: 1\nb: 2\nc: d: e\n")
    with pytest.raises(InvalidSiteError) as caught:
        site.load(home)
    assert f"{home / 'group_vars/gridftp.yml'}:3" in caught.value.message


def test_variables_that_are_no_mapping(home: Path) -> None:
    _write(home, "group_vars/gridftp.yml", "- just\n- a list\n")
    with pytest.raises(InvalidSiteError, match=r"gridftp\.yml"):
        site.load(home)


def test_one_broken_file_beside_good_ones_is_an_error(home: Path) -> None:
    _write(home, "more.yml", "- 1\n")
    with pytest.raises(InvalidSiteError, match=r"more\.yml"):
        site.load(home)


def test_other_files_beside_the_inventory_are_a_notice(home: Path) -> None:
    _write(home, "ca.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n")
    notices = site.load(home).notices
    assert [notice.origin.path for notice in notices] == [str(home / "ca.pem")]


def test_a_doubled_key_is_a_notice(home: Path) -> None:
    _write(home, "group_vars/all.yml", "number: 1\nnumber: 2\n")
    (notice,) = site.load(home).notices
    assert "number" in notice.message
    assert notice.origin.path == str(home / "group_vars/all.yml")


def test_a_limit_that_leaves_nothing(home: Path) -> None:
    with pytest.raises(UsageError, match="leaves no host") as caught:
        site.load(home, limit="nobody")
    assert "door.example.org" in caught.value.next_step


def test_a_value_without_end(home: Path) -> None:
    _write(home, "group_vars/all.yml", "loop: &loop [*loop]\n")
    with pytest.raises(InvalidSiteError):
        site.load(home)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hand a file to somebody else")
def test_an_unreadable_inventory(home: Path) -> None:
    # Root reads everything, so a child does the reading as nobody, who may not even search
    # the directories above: the answer is the same.
    (home / "hosts.yml").chmod(0o600)
    # The child may not be allowed to import from root's home what the first load imports.
    site.load(home / "hosts.yml")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        message = b"read"
        try:
            os.setgid(65534)
            os.setuid(65534)
            site.load(home / "hosts.yml")
        except InvalidSiteError as error:
            message = error.message.encode()
        finally:
            os.write(writer, message)
            os._exit(0)
    os.waitpid(child, 0)
    assert "not readable" in os.read(reader, 4096).decode()
