"""Faults of a site against a small collection of its own, and against the real roles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cloudlet_deploy import content, site
from cloudlet_deploy.errors import CloudletError, RunFailedError
from cloudlet_deploy.site import Vault, components, schema
from cloudlet_deploy.site.validation import Fault, Severity, unchecked, validate

OPTIONS: dict[str, Any] = {
    "bestman_port": {
        "type": "int",
        "default": 8443,
        "description": ["Port of the C(door).", "Range: 1 to 65535."],
    },
    "bestman_stack_kb": {"type": "int", "description": ["Stack.", "Range: 144 or more."]},
    "bestman_path": {"type": "path", "required": True, "description": "Where the data is."},
    "bestman_mode": {"type": "str", "choices": ["gridmap", "gums"]},
    "bestman_debug": {"type": "bool"},
    "bestman_ratio": {"type": "float"},
    "bestman_levels": {"type": "list", "elements": "str", "choices": ["INFO", "WARN"]},
    "bestman_token": {"type": "str", "no_log": True, "choices": ["a", "b"]},
    "bestman_transfer_servers": {"type": "list", "elements": "str"},
    "bestman_map": {
        "type": "list",
        "elements": "dict",
        "options": {
            "dn": {"type": "str", "required": True},
            "uid": {"type": "int"},
        },
    },
}
PLAYBOOK = """\
- {hosts: "gridftp:bestman", roles: [{role: cloudlet.deploy.base, tags: [base]}]}
- hosts: gridftp
  tasks:
    - block:
        - ansible.builtin.include_role: {name: cloudlet.deploy.gridftp}
- {hosts: bestman, roles: [cloudlet.deploy.bestman]}
"""
GOOD = {"bestman_path": "/srv"}


@pytest.fixture
def collection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "collection"
    _dump(root / "playbooks/storage_element.yml", yaml.safe_load(PLAYBOOK))
    _dump(root / "playbooks/cloudlet.yml", [])
    for role, options in {"base": {}, "gridftp": {}, "bestman": OPTIONS}.items():
        spec = {"argument_specs": {"main": {"options": options}}}
        _dump(root / f"roles/{role}/meta/argument_specs.yml", spec)
    monkeypatch.setattr(content, "root", lambda: root)
    return root


def _dump(path: Path, data: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


def _site(tmp_path: Path, variables: dict[str, Any], **groups: str) -> site.Site:
    names = groups or {"bestman": "door", "gridftp": "dtn"}
    home = tmp_path / "site"
    _dump(home / "hosts.yml", {group: {"hosts": {host: None}} for group, host in names.items()})
    _dump(home / "group_vars/all.yml", variables)
    return site.load(home)


def _one(faults: list[Fault]) -> Fault:
    assert len(faults) == 1, faults
    return faults[0]


@pytest.mark.usefixtures("collection")
class TestAgainstASmallCollection:
    def test_a_good_site_has_no_fault(self, tmp_path: Path) -> None:
        variables = {
            "bestman_port": 8444,
            "bestman_path": "/srv",
            "bestman_mode": "gums",
            "bestman_debug": "yes",
            "bestman_ratio": 1,
            "bestman_levels": ["INFO"],
            "bestman_map": [{"dn": "/CN=a", "uid": "7"}, {"dn": "/CN=b"}],
            "other": object.__name__,
        }
        assert validate(_site(tmp_path, variables)) == []

    @pytest.mark.parametrize(
        ("variable", "value", "where", "message"),
        [
            ("bestman_port", "many", "bestman_port", "must be a whole number"),
            ("bestman_port", 0, "bestman_port", "must be 1 to 65535"),
            ("bestman_port", "65536", "bestman_port", "must be 1 to 65535"),
            ("bestman_stack_kb", 128, "bestman_stack_kb", "must be 144 or more"),
            ("bestman_mode", "ldap", "bestman_mode", "must be one of gridmap, gums"),
            ("bestman_debug", "perhaps", "bestman_debug", "must be true or false"),
            ("bestman_ratio", "half", "bestman_ratio", "must be a number"),
            ("bestman_path", ["/srv"], "bestman_path", "must be a path"),
            ("bestman_levels", {"a": 1}, "bestman_levels", "must be a list"),
            ("bestman_levels", ["INFO", "x"], "bestman_levels[1]", "must be one of INFO, WARN"),
            ("bestman_levels", "INFO,x", "bestman_levels[1]", "must be one of INFO, WARN"),
            ("bestman_map", [{"uid": 1}], "bestman_map[0]", "the key dn is missing"),
            ("bestman_map", [{"dn": "a", "uid": "x"}], "bestman_map[0].uid", "must be a whole"),
            ("bestman_map", [{"dn": "a", "id": 1}], "bestman_map[0].id", "no such key"),
            ("bestman_map", ["a"], "bestman_map[0]", "must be a mapping"),
            ("bestman_prot", 1, "bestman_prot", "no role has a variable"),
        ],
    )
    def test_each_fault_is_named(
        self, tmp_path: Path, variable: str, value: object, where: str, message: str
    ) -> None:
        fault = _one(validate(_site(tmp_path, GOOD | {variable: value})))
        assert fault.variable == where
        assert message in fault.message
        assert fault.file == str(tmp_path / "site/group_vars/all.yml")
        assert fault.line is not None
        assert fault.next_step
        assert fault.severity is Severity.ERROR

    def test_all_faults_are_found_at_once_in_order(self, tmp_path: Path) -> None:
        variables = {"bestman_port": "x", "bestman_mode": "x", "bestman_debug": "x"}
        names = [fault.variable for fault in validate(_site(tmp_path, variables))]
        assert names == ["bestman_debug", "bestman_mode", "bestman_port", "bestman_path"]

    def test_a_near_name_is_offered(self, tmp_path: Path) -> None:
        fault = _one(validate(_site(tmp_path, GOOD | {"bestman_prot": 1})))
        assert fault.next_step == "Did you mean bestman_port?"
        assert fault.hosts == ("door", "dtn")

    def test_a_far_name_gets_the_list(self, tmp_path: Path) -> None:
        fault = _one(validate(_site(tmp_path, GOOD | {"bestman_zzzzzzzzzzzz": 1})))
        assert "bestman_debug, bestman_levels" in fault.next_step

    def test_a_missing_variable_says_what_it_is(self, tmp_path: Path) -> None:
        fault = _one(validate(_site(tmp_path, {})))
        assert fault.message == "required by bestman, but not set"
        assert fault.next_step == "Set bestman_path (path): Where the data is."
        assert fault.hosts == ("door",)

    def test_a_null_does_not_bring_the_default_back(self, tmp_path: Path) -> None:
        assert validate(_site(tmp_path, GOOD | {"bestman_stack_kb": None})) == []
        fault = _one(validate(_site(tmp_path, GOOD | {"bestman_port": None})))
        assert (fault.variable, fault.line) == ("bestman_port", 2)
        assert "remove the line to have the default (8443)" in fault.next_step
        fault = _one(validate(_site(tmp_path, {"bestman_path": None})))
        assert (fault.variable, fault.message) == ("bestman_path", "must not be empty")

    def test_secret_values_are_not_shown(self, tmp_path: Path) -> None:
        faults = validate(_site(tmp_path, GOOD | {"bestman_token": "geheim"}))
        assert {fault.variable for fault in faults} == {"bestman_token"}
        assert [fault.value for fault in faults] == [None, None]
        assert "geheim" not in repr(faults)

    def test_vaulted_values_are_not_shown(self, tmp_path: Path) -> None:
        from ansible.parsing.vault import VaultLib, VaultSecret

        _site(tmp_path, GOOD)
        secret = VaultLib([("default", VaultSecret(b"pw"))]).encrypt("bestman_port: geheim\n")
        (tmp_path / "site/group_vars/bestman.yml").write_bytes(secret)
        loaded = site.load(tmp_path / "site", vault=Vault(passwords=(("default", "pw"),)))
        fault = _one(validate(loaded))
        assert fault.variable == "bestman_port"
        assert "geheim" not in repr(fault)

    def test_values_that_cannot_be_known_are_no_fault(self, tmp_path: Path) -> None:
        variables = GOOD | {
            "bestman_port": "{{ ansible_facts['port'] }}",
            "bestman_map": [{"dn": "{{ lookup('env', 'DN') }}"}],
            "bestman_levels": ["{{ hostvars['dtn'].level }}"],
        }
        assert validate(_site(tmp_path, variables)) == []

    def test_a_locked_file_may_hold_what_is_missing(self, tmp_path: Path) -> None:
        from ansible.parsing.vault import VaultLib, VaultSecret

        _site(tmp_path, {})
        secret = VaultLib([("default", VaultSecret(b"pw"))]).encrypt("bestman_path: /srv\n")
        (tmp_path / "site/group_vars/bestman.yml").write_bytes(secret)
        assert validate(site.load(tmp_path / "site")) == []

    def test_a_template_is_checked_by_its_result(self, tmp_path: Path) -> None:
        variables = GOOD | {"low": 0, "bestman_port": "{{ low }}"}
        assert _one(validate(_site(tmp_path, variables))).message == "must be 1 to 65535"

    def test_a_broken_template_is_a_fault(self, tmp_path: Path) -> None:
        fault = _one(validate(_site(tmp_path, GOOD | {"bestman_mode": "{{ 1 + }}"})))
        assert "no valid template" in fault.message

    def test_only_targeted_hosts_are_looked_at(self, tmp_path: Path) -> None:
        _site(tmp_path, {})
        assert validate(site.load(tmp_path / "site", limit="gridftp")) == []

    def test_a_door_needs_a_transfer_server(self, tmp_path: Path) -> None:
        fault = _one(validate(_site(tmp_path, GOOD, bestman="door")))
        assert "no transfer server" in fault.message
        named = GOOD | {"bestman_transfer_servers": ["gsiftp://elsewhere"]}
        assert validate(_site(tmp_path, named, bestman="door")) == []

    def test_hosts_in_no_group_of_ours(self, tmp_path: Path) -> None:
        fault = _one(validate(_site(tmp_path, {}, web="www")))
        assert fault.next_step == "Put the hosts into these groups: gridftp, bestman."

    def test_ansibles_notices_are_warnings(self, tmp_path: Path) -> None:
        _site(tmp_path, GOOD)
        with (tmp_path / "site/group_vars/all.yml").open("a") as stream:
            stream.write("bestman_path: /srv2\n")
        fault = _one(validate(site.load(tmp_path / "site")))
        assert fault.severity is Severity.WARNING

    def test_components_follow_the_playbook(self, tmp_path: Path) -> None:
        loaded = _site(tmp_path, {}, bestman="both", gridftp="both")
        assert components.of_host(loaded.hosts["both"]) == ("base", "gridftp", "bestman")
        assert components.of_groups()["bestman"] == ("base", "bestman")

    def test_a_malformed_spec_is_our_fault(self, collection: Path, tmp_path: Path) -> None:
        path = _dump(collection / "roles/bad/meta/argument_specs.yml", {"argument_specs": []})
        with pytest.raises(RunFailedError, match="argument_specs"):
            schema.read_spec("bad", path)


# --- properties ---------------------------------------------------------------------------

_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["{{ x }}", "{{", "{% if %}", "INFO", "/srv", "8443", "a,b", "{a: 1}"])
)
_TREES = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["dn", "uid", "hosts", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
_HEALTH = (HealthCheck.function_scoped_fixture, HealthCheck.too_slow)


def _ansible_accepts(name: str, value: object) -> bool:
    """The verdict that the role's own start would give (an empty variable is not set)."""
    if value is None:
        return True
    return not ArgumentSpecValidator({name: OPTIONS[name]}).validate({name: value}).error_messages


@pytest.mark.usefixtures("collection")
@settings(max_examples=150, deadline=None, suppress_health_check=_HEALTH)
@given(name=st.sampled_from(sorted(set(OPTIONS) - {"bestman_path"})), value=_TREES)
def test_what_passes_here_passes_when_the_role_starts(
    tmp_path: Path, name: str, value: object
) -> None:
    loaded = _site(tmp_path, GOOD | {name: value})
    parts = repr(loaded.hosts["door"].values[name].value)
    if "Unknown(" not in parts and not validate(loaded):
        assert _ansible_accepts(name, loaded.hosts["door"].values[name].value)


@pytest.mark.usefixtures("collection")
@settings(max_examples=150, deadline=None, suppress_health_check=_HEALTH)
@given(
    inventory=_TREES | st.dictionaries(st.sampled_from(["all", "bestman", "gridftp"]), _TREES),
    variables=_TREES | st.dictionaries(st.sampled_from(sorted(OPTIONS)), _TREES, max_size=4),
)
def test_any_yaml_is_read_or_refused_with_a_clear_error(
    tmp_path: Path, inventory: object, variables: object
) -> None:
    _dump(tmp_path / "site/hosts.yml", inventory)
    _dump(tmp_path / "site/group_vars/all.yml", variables)
    # Any error but these fails the test.
    try:
        validate(site.load(tmp_path / "site"))
    except CloudletError as error:
        assert error.message


_TEXT = "all:\n  children:\n    bestman: {hosts: {door: {bestman_port: '8443'}}}\n    gridftp:\n"


@pytest.mark.usefixtures("collection")
@settings(max_examples=150, deadline=None, suppress_health_check=_HEALTH)
@given(data=st.data())
def test_any_mutation_of_the_text_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    text = _TEXT
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 6))
        text = text[:at] + data.draw(st.text(max_size=4)) + text[at + cut :]
    home = tmp_path / "site"
    home.mkdir(exist_ok=True)
    (home / "hosts.yml").write_bytes(text.encode("utf-8", "surrogatepass"))
    # Any error but these fails the test.
    try:
        validate(site.load(home))
    except CloudletError as error:
        assert error.message


# --- the real roles -----------------------------------------------------------------------

_NAMES = sorted({name for spec in schema.role_specs().values() for name in spec.options})
_ODD = st.sampled_from(
    ["/a\0b", "/", "50000,51000", 10**30, -1, "~", "/tmp", "gsiftp://a:9", "x.y"]
)
_ENTRIES = st.lists(
    st.dictionaries(
        st.sampled_from(["dn", "account", "name", "uid", "path", "mode", "vo"]), _SCALARS | _ODD
    ),
    max_size=3,
)


@settings(max_examples=100, deadline=None, suppress_health_check=_HEALTH)
@given(
    variables=st.dictionaries(
        st.sampled_from(_NAMES), _SCALARS | _ODD | _ENTRIES | _TREES, max_size=6
    )
)
@example(variables={"bestman_accept_queue": float("inf")})
def test_any_value_of_a_real_variable_is_judged(
    tmp_path: Path, variables: dict[str, object]
) -> None:
    loaded = _site(tmp_path, variables, bestman="se", gridftp="se")
    for fault in validate(loaded):
        assert fault.message and fault.file
    for one in unchecked(loaded):
        assert one.detail


def test_every_component_of_the_real_playbooks_declares_its_variables() -> None:
    specs = schema.role_specs()
    for group, roles in components.of_groups().items():
        assert set(roles) <= set(specs), group


def test_the_real_roles_prefix_their_variables_and_describe_them() -> None:
    for role, spec in schema.role_specs().items():
        for name, option in spec.options.items():
            assert name.startswith(f"{role}_")
            assert option.description, name


def test_the_real_playbooks_name_plain_groups() -> None:
    for name in components.PLAYBOOKS:
        for play in yaml.safe_load(content.playbook(name).read_text()):
            parts = str(play["hosts"]).replace(",", ":").split(":")
            assert all(part.isidentifier() for part in parts), play["hosts"]
