"""What holds for every role: its spec is the one declaration, and its templates tell the truth."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from cloudlet_deploy import cli, content
from cloudlet_deploy.site import components
from tests.contract.rendering import Render

ROLES = content.roles()
_ROLE = pytest.mark.parametrize("role", sorted(ROLES))

#: Keys that the server's own source knows, which takes any other without a word.
RC_KEYS = frozenset(
    [
        "securePort",
        "FactoryID",
        "protocol",
        "GridMapFileName",
        "KeyFileName",
        "CertFileName",
        "EventLogLocation",
        "eventLogLevel",
        "noEventLog",
        "noCacheLog",
        "useBerkeleyDB",
        "disableSpaceMgt",
        "supportedProtocolList",
        "protocolSelectionPolicy",
        "pluginLib",
        "localPathListToBlock",
        "localPathListAllowed",
        "accessFileSysViaSudo",
        "noSudoOnLs",
        "checkSizeWithFS",
        "showChecksumWhenListingFile",
        "fsConcurrency",
        "GUMSProtocol",
        "GUMSserviceURL",
        "GUMSCurrHostDN",
        "MaxMappedIDCached",
        "LifetimeSecondsMappedIDCached",
    ]
)


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text()) if path.is_file() else None


def _options(role: str) -> dict[str, dict[str, Any]]:
    spec = _yaml(ROLES[role] / "meta" / "argument_specs.yml")
    options: dict[str, dict[str, Any]] = spec["argument_specs"]["main"]["options"]
    return options


def _sources(role: str) -> Iterator[tuple[Path, str]]:
    """What may use a variable: everything but the declaration and what is made from it."""
    for folder in ("tasks", "vars", "templates", "meta"):
        for path in sorted((ROLES[role] / folder).rglob("*")):
            if path.is_file():
                yield path, path.read_text()


def _words(text: str, prefix: str) -> set[str]:
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return set(re.findall(rf"(?<![\w./-]){prefix}_\w+", code))


@_ROLE
def test_every_option_has_a_type_a_description_and_the_prefix_of_the_role(role: str) -> None:
    for name, option in _options(role).items():
        assert name.startswith(role + "_"), name
        assert option["type"] and option["description"], name
        assert ("default" in option) != bool(option.get("required")), name


@_ROLE
def test_defaults_are_those_of_the_spec(role: str) -> None:
    declared = {name: o["default"] for name, o in _options(role).items() if "default" in o}
    assert (_yaml(ROLES[role] / "defaults" / "main.yml") or {}) == declared


@pytest.mark.parametrize("user", sorted(ROLES))
def test_every_variable_used_is_declared(user: str) -> None:
    # The name of a role may begin with that of another, as hdfs_fuse does.
    declared = set(components.of_groups()) | set(ROLES)
    declared = declared.union(*(_options(owner) for owner in ROLES))
    for owner in ROLES:
        for path, text in _sources(user):
            if owner == "host_check":
                continue  # the name of its action begins as its variables would
            assert _words(text, owner) <= declared, path
    for _name, option in _options(user).items():
        for owner in ROLES:
            assert _words(str(option.get("default", "")), owner) <= declared


@_ROLE
def test_every_declared_option_is_used(role: str) -> None:
    used = set().union(*(_words(text, role) for _path, text in _sources(role)), set())
    used |= _words(str([option.get("default") for option in _options(role).values()]), role)
    if role == "smoke":  # the most of it is for the command line
        package = Path(cli.__file__).parents[1]
        for path in (*(package / "smoke").glob("*.py"), package / "cli" / "_smoking.py"):
            used |= {f"smoke_{key}" for key in re.findall(r'\["(\w+)"\]', path.read_text())}
    assert set(_options(role)) <= used


@_ROLE
def test_every_internal_variable_is_defined(role: str) -> None:
    defined = set(_yaml(ROLES[role] / "vars" / "main.yml") or {})
    for dependency in (_yaml(ROLES[role] / "meta" / "main.yml") or {}).get("dependencies", []):
        name = dependency["role"].rpartition(".")[2]
        defined |= set(_yaml(ROLES[name] / "vars" / "main.yml"))
    used: set[str] = set()
    for _path, text in _sources(role):
        used |= set(re.findall(r"(?<!\w)__[a-z]\w+", text))
        defined |= set(re.findall(r"(?:register: |loop_var: |set_fact:\n +)(__\w+)", text))
    assert used <= defined
    assert {name for name in defined if name.startswith(f"__{role}_")} <= used


@_ROLE
def test_readme_names_every_option(role: str) -> None:
    """That it is current to the letter is checked by scripts/generate-docs --check."""
    readme = (ROLES[role] / "README.md").read_text()
    assert [name for name in _options(role) if name not in readme] == []


@_ROLE
def test_no_injected_facts(role: str) -> None:
    hosts = {"ansible_play_hosts", "ansible_play_hosts_all"}
    magic = {"ansible_facts", "ansible_check_mode", *hosts}
    for path, text in _sources(role):
        assert set(re.findall(r"(?<![\w.])ansible_\w+", text)) <= magic, path


@_ROLE
def test_a_role_that_changes_something_can_undo_it(role: str) -> None:
    if f"{role}_state" not in _options(role):
        # The last of them takes away what it brought before it ends.
        assert role in ("host_check", "rollback", "destroy", "smoke", "data_watch")
        return
    modules = {
        state: [
            (key, value.get("component") or value.get("name"))
            for task in _yaml(ROLES[role] / "tasks" / f"{state}.yml")
            for key, value in task.items()
            if key.startswith("cloudlet.deploy.")
            and key.endswith("_set")
            # It makes and undoes nothing of its own.
            and value.get("state") != "activated"
        ]
        for state in ("present", "absent")
    }
    # Units of one role may start in several tasks.
    assert modules["absent"] == list(dict.fromkeys(modules["present"]))[::-1]


# ---- what the templates of the door say ---------------------------------------------------


def _pairs(text: str) -> list[tuple[str, str]]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(key, value) for key, _, value in (line.partition("=") for line in lines)]


def test_the_rc_file_has_only_keys_that_the_server_knows(render: Render) -> None:
    plain = _pairs(render("bestman", "bestman2.rc.j2"))
    other = _pairs(
        render(
            "bestman",
            "bestman2.rc.j2",
            bestman_mapping="gums",
            bestman_gums_url="https://gums.example.org:8443/x",
            bestman_transfer_selection="random",
            bestman_selection_class="org.example.Random",
            bestman_selection_jar="random.jar",
        )
    )
    for pairs in (plain, other):
        assert len(dict(pairs)) == len(pairs)
        assert set(dict(pairs)) <= RC_KEYS
    assert dict(plain)["supportedProtocolList"] == "gsiftp://data1.example.org"
    assert "protocolSelectionPolicy" not in dict(plain)
    assert dict(other)["protocolSelectionPolicy"] == (
        "class=org.example.Random&jarFile=random.jar&name=gsiftp"
    )
    assert "GridMapFileName" not in dict(other)
    assert dict(other)["GUMSCurrHostDN"] == "/O=Grid/OU=lab/CN=localhost"


def test_the_environment_is_plain_and_feeds_the_unit(render: Render) -> None:
    settings = {"bestman_heap_mb": 5256, "bestman_stack_kb": 200, "bestman_accept_queue": 4000}
    environment = _pairs(render("bestman", "environment.j2", **settings))
    values = dict(environment)
    assert len(values) == len(environment), "each name once"
    for key, value in environment:
        assert re.fullmatch(r"[A-Z0-9_]+", key)
        assert not re.search(r"""["'$\s]""", value), (key, value)
    unit = render("bestman", "bestman2.service.j2", **settings)
    needed = set(re.findall(r"\$\{?([A-Z0-9_]+)\}?", unit))
    assert needed <= set(values)
    assert values["BESTMAN_MAX_JAVA_HEAP"] == "5256"
    assert values["BESTMAN_JAVA_STACK_SIZE"] == "200"
    assert values["BESTMAN_CONNECTOR_QUEUESIZE"] == "4000"


@pytest.mark.one_core
def test_jetty_gets_its_threads(render: Render) -> None:
    tree = ElementTree.fromstring(render("bestman", "jetty.xml.j2", bestman_container_threads=2520))
    values = {node.get("name"): node.text for node in tree.iter("Set")}
    assert (values["minThreads"], values["maxThreads"]) == ("10", "2520")


@pytest.mark.one_core
@pytest.mark.parametrize("sudo", [True, False])
def test_the_unit_is_hardened_as_far_as_sudo_lets_it(render: Render, sudo: bool) -> None:
    unit = render("bestman", "bestman2.service.j2", bestman_sudo=sudo)
    # All of these imply NoNewPrivileges, under which sudo cannot work.
    assert ("NoNewPrivileges=true" in unit) is not sudo
    assert ("PrivateDevices=true" in unit) is not sudo
    assert "LimitNOFILE=65536\n" in unit
    assert "TasksMax=1536\n" in unit and "LimitNPROC=1536\n" in unit


@pytest.mark.one_core
def test_gridftp_without_a_limit_of_sessions_has_none_of_tasks(render: Render) -> None:
    assert "TasksMax=164\n" in render("gridftp", "unit.conf.j2")
    assert "TasksMax=infinity\n" in render("gridftp", "unit.conf.j2", gridftp_connections_max=-1)
    config = render("gridftp", "gridftp.conf.j2", gridftp_options={"threads": 2})
    assert "restrict_paths RW/srv/storage\n" in config
    assert config.endswith("threads 2\n")
