"""Classes of mutations of a site, each of which says what `validate` has to make of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from cloudlet_deploy.site.schema import Option
from tests.unit.grid_site import DOOR, TRANSFER
from tests.unit.site_draft import (
    PLACES,
    RIGHT,
    Draft,
    inline_vault,
    options,
)


@dataclass(frozen=True)
class Told:
    """What has to be told: of which variable, at which file and line (None: anywhere in it)."""

    variable: str
    file: str = ""
    line: int | None = None


Mutation = Callable[[Draft], Told | None]
#: By name: an error, a warning (or nothing at all), a value that is named as not checked, and
#: a site that cannot be read.
REJECTED: dict[str, Mutation] = {}
ACCEPTED: dict[str, Mutation] = {}
UNCHECKED: dict[str, Mutation] = {}
UNREADABLE: dict[str, Mutation] = {}


def _into(table: dict[str, Mutation]) -> Callable[[Mutation], Mutation]:
    def register(mutation: Mutation) -> Mutation:
        table[mutation.__name__] = mutation
        return mutation

    return register


rejected, accepted = _into(REJECTED), _into(ACCEPTED)
unchecked, unreadable = _into(UNCHECKED), _into(UNREADABLE)


def set_to(draft: Draft, variable: str, value: str, place: str = "", host: str = "") -> Told:
    file, line = draft.set(variable, value, place, host)
    return Told(variable, file, line)


def _one(draft: Draft, found: list[Option]) -> Option:
    return draft.random.choice(found)


# --- single values ------------------------------------------------------------------------


@rejected
def word_for_number(draft: Draft) -> Told:
    return set_to(draft, _one(draft, options("int", where="minimum")).name, draft.random.choice(["many", "1.5.2", "'0x'"]))  # fmt: skip  # noqa: E501


@rejected
def below_range(draft: Draft) -> Told:
    option = _one(draft, options("int", where="minimum"))
    return set_to(draft, option.name, str((option.minimum or 0) - draft.random.randint(1, 99)))


@rejected
def above_range(draft: Draft) -> Told:
    option = _one(draft, options("int", where="maximum"))
    return set_to(draft, option.name, str((option.maximum or 0) + draft.random.randint(1, 99)))


@rejected
def size_with_unit(draft: Draft) -> Told:
    name = draft.random.choice(["bestman_heap_mb", "bestman_stack_kb", "bestman_event_log_bytes"])
    return set_to(draft, name, draft.random.choice(["2g", "2048m", "64K", "1 GiB"]))


@rejected
def no_such_choice(draft: Draft) -> Told:
    option = _one(draft, options("str", where="choices"))
    return set_to(draft, option.name, draft.random.choice(["other", "'Present '", "'1'"]))


@rejected
def word_for_bool(draft: Draft) -> Told:
    return set_to(draft, _one(draft, options("bool")).name, draft.random.choice(["perhaps", "2"]))


@rejected
def mapping_for_text_or_list(draft: Draft) -> Told:
    return set_to(draft, _one(draft, options("str", "path", "list")).name, "{a: b}")


@rejected
def null_instead_of_default(draft: Draft) -> Told:
    option = _one(draft, options("int", "str", "bool", "list", "path", with_default=True))
    return set_to(draft, option.name, "null")


@rejected
def misspelled(draft: Draft) -> Told:
    name = _one(draft, options("int", "str", "bool", "list", "path")).name
    role, _, rest = name.partition("_")
    at = draft.random.randrange(len(rest))
    wrong = f"{role}_{rest[:at]}{draft.random.choice('qzx')}{rest[at:]}"
    return set_to(draft, wrong, "1")


@rejected
def relative_path(draft: Draft) -> Told:
    option = _one(draft, options("path"))
    return set_to(draft, option.name, draft.random.choice(["data", "./data", "~/data", "$HOME/x"]))


@rejected
def relative_path_in_list(draft: Draft) -> Told:
    name = draft.random.choice(["bestman_paths_allowed", "gridftp_paths_allowed"])
    told = set_to(draft, name, "[/srv/storage, data]")
    return Told(f"{name}[1]", told.file, told.line)


@rejected
def relative_file(draft: Draft) -> Told:
    name = draft.random.choice(["grid_trust_host_key", "bestman_certificate", "bestman_archive"])
    return set_to(draft, name, "files/one.pem")


@rejected
def broken_template(draft: Draft) -> Told:
    option = _one(draft, options("int", "str", "path"))
    return set_to(draft, option.name, draft.random.choice(["'{{ 1 + }}'", "'{{ x'", "'{% if %}'"]))


@rejected
def bad_server(draft: Draft) -> Told:
    told = set_to(draft, "bestman_transfer_servers", draft.random.choice(["[data1]", "['http://x']", "['gsiftp://a b']"]))  # fmt: skip  # noqa: E501
    return Told("bestman_transfer_servers[0]", told.file, told.line)


@rejected
def directory_outside_of_the_storage(draft: Draft) -> Told:
    path = draft.random.choice(["../a", "/srv/a", "a/../../b", ".", "''"])
    told = set_to(draft, "storage_directories", f"[{{path: {path}, owner: b, group: c}}]")
    return Told("storage_directories[0].path", told.file, told.line)


@rejected
def unquoted_mode(draft: Draft) -> Told:
    told = set_to(draft, "storage_directories", "[{path: a, owner: b, group: c, mode: 0755}]")
    return Told("storage_directories[0].mode", told.file, told.line)


@rejected
def missing(draft: Draft) -> Told:
    name = draft.random.choice(["storage_path", "grid_trust_host_key"])
    draft.drop(name)
    line = min(draft.line_of("hosts.yml", f"{host}:") for host in (DOOR, TRANSFER))
    return Told(name, "hosts.yml", line)


@rejected
def settings_that_do_not_fit(draft: Draft) -> Told:
    name, value = draft.random.choice(
        [
            ("bestman_container_threads", "12"),
            ("bestman_paths_allowed", "[]"),
            ("bestman_transfer_selection", "random"),
            ("bestman_mapping", "gums"),
            ("bestman_install", "archive"),
            ("bestman_java_options", "['-Da=b c']"),
        ]
    )
    return set_to(draft, name, value)


@accepted
def number_in_range(draft: Draft) -> None:
    option = _one(draft, [o for o in options("int", where="maximum") if not o.form])
    # The threads have to stay more than those that are kept and accept.
    low = max(option.minimum or 0, 1000) if option.name.endswith("threads") else option.minimum
    high = 200 if option.name.endswith(("threads_min", "acceptors")) else option.maximum
    value = draft.random.choice([low, min(high or 0, 60000)])
    # As --extra-vars gives them, too: as text.
    set_to(draft, option.name, draft.random.choice([f"{value}", f"'{value}'"]))


@accepted
def any_bool(draft: Draft) -> None:
    value = draft.random.choice(["yes", "no", "true", "'1'", "off"])
    set_to(draft, _one(draft, options("bool")).name, value)


@accepted
def unrelated_variable(draft: Draft) -> None:
    set_to(
        draft, draft.random.choice(["ntp_server", "site_name", "my_bestman_port"]), "{a: [1, 2]}"
    )


@accepted
def template_of_the_inventory(draft: Draft) -> None:
    draft.add("base", "7000", "all")
    set_to(draft, "bestman_port", "'{{ base + 443 }}'", "host_vars")


@accepted
def wrong_value_that_a_stronger_place_overrides(draft: Draft) -> None:
    weak, strong = sorted(draft.random.sample(range(len(PLACES)), 2))
    draft.set("bestman_port", "many", PLACES[weak])
    draft.add("bestman_port", "8444", PLACES[strong])


@rejected
def wrong_value_that_overrides_a_good_one(draft: Draft) -> Told:
    weak, strong = sorted(draft.random.sample(range(len(PLACES)), 2))
    draft.set("bestman_port", "8444", PLACES[weak])
    return Told("bestman_port", *draft.add("bestman_port", "many", PLACES[strong]))


@unchecked
def facts(draft: Draft) -> Told:
    option = _one(draft, options("int", "str", "path", "bool"))
    template = draft.random.choice(["ansible_facts['x']", "hostvars['a'].b", "lookup('env', 'X')"])
    return set_to(draft, option.name, f'"{{{{ {template} }}}}"')


@unchecked
def vaulted_without_password(draft: Draft) -> Told:
    option = _one(draft, options("int", "str", "path", "bool"))
    return set_to(draft, option.name, inline_vault("x"))


@accepted
def vaulted_with_password(draft: Draft) -> None:
    draft.vault = RIGHT
    set_to(draft, "bestman_port", inline_vault("8444"))


@rejected
def wrong_value_in_a_vault(draft: Draft) -> Told:
    draft.vault = RIGHT
    return set_to(draft, "bestman_port", inline_vault("many"))


@rejected
def vault_of_another_password(draft: Draft) -> Told:
    draft.vault = RIGHT
    return set_to(draft, "bestman_port", inline_vault("8444", "wrong"))


# --- lists of mappings --------------------------------------------------------------------


@rejected
def malformed_account(draft: Draft) -> Told:
    part, entry = draft.random.choice(
        [
            (".uidd", "{name: a, uid: 5, uidd: 6}"),
            (".uid", "{name: a, uid: 0}"),
            (".name", "{name: a b, uid: 5}"),
            ("", "{name: a}"),
        ]
    )
    told = set_to(draft, "grid_trust_accounts", f"[{entry}]")
    return Told(f"grid_trust_accounts[0]{part}", told.file, told.line)


@rejected
def accounts_with_one_number(draft: Draft) -> Told:
    told = set_to(draft, "grid_trust_accounts", "[{name: a, uid: 7}, {name: b, uid: 7}]")
    return Told("grid_trust_accounts[1].uid", told.file, told.line)


_BAD_NAMES = (
    "CN=A,O=Grid",
    "O=Grid/CN=A",
    "/O=Grid//CN=A",
    "/CN=",
    "/A B",
    "/O=Grid/=x",
    '/CN=a"b',
)


@rejected
def malformed_dn(draft: Draft) -> Told:
    name = json.dumps(draft.random.choice(_BAD_NAMES))
    told = set_to(draft, "grid_trust_gridmap", f"[{{dn: {name}, account: a}}]")
    return Told("grid_trust_gridmap[0].dn", told.file, told.line)


@rejected
def dn_with_two_accounts(draft: Draft) -> Told:
    entries = ("{dn: /O=Grid/CN=A, account: a}", "{dn: /O=Grid/CN=A, account: b}")
    told = set_to(draft, "grid_trust_gridmap", f"[{', '.join(entries)}]")
    return Told("grid_trust_gridmap[1].dn", told.file, told.line)


@rejected
def dn_without_account(draft: Draft) -> Told:
    told = set_to(draft, "grid_trust_gridmap", "[{dn: /O=Grid/CN=A, account: ''}]")
    return Told("grid_trust_gridmap[0].account", told.file, told.line)


@accepted
def names_of_all_forms(draft: Draft) -> None:
    names = ["/DC=org/O=Grid/CN=host/a.b", "/C=DE/CN=Ü", "/CN=a/emailAddress=a@b", "/1.2.3=x/CN=c"]
    entries = ", ".join(f"{{dn: {json.dumps(name)}, account: a}}" for name in names)
    set_to(draft, "grid_trust_gridmap", f"[{entries}]")


@accepted
def the_same_entry_twice(draft: Draft) -> Told:
    told = set_to(draft, "grid_trust_gridmap", "[{dn: /CN=a, account: a}, {dn: /CN=a, account: a}]")
    return Told("grid_trust_gridmap[1].dn", told.file, told.line)


# --- ports, memory, groups ----------------------------------------------------------------


@rejected
def one_port_for_two_services(draft: Draft) -> Told:
    draft.hosts(bestman=DOOR, gridftp=DOOR)
    draft.set("gridftp_port", "8443", "all")
    return set_to(draft, "bestman_port", "8443", draft.random.choice(["all", "group", "host_vars"]))


@rejected
def port_inside_of_the_data_ports(draft: Draft) -> Told:
    draft.hosts(bestman=DOOR, gridftp=DOOR)
    low = draft.random.randint(8000, 8443)
    return set_to(draft, "gridftp_port_range", f'"{low},{low + 500}"', "all")


@rejected
def malformed_port_range(draft: Draft) -> Told:
    bad = ["50000", "50000-51000", "51000,50000", "1,2000", "60000,70000", "a,b", "50000,", "''"]
    return set_to(draft, "gridftp_port_range", json.dumps(draft.random.choice(bad)))


@accepted
def port_range(draft: Draft) -> None:
    low = draft.random.randint(20000, 60000)
    name = draft.random.choice(["gridftp_port_range", "bestman_data_port_range"])
    set_to(draft, name, f'"{low},{low + draft.random.randint(0, 5000)}"')


@rejected
def heap_beyond_memory(draft: Draft) -> Told:
    memory = draft.random.randint(256, 4096)
    draft.set("host_check_memory_mb", str(memory), "all")
    return set_to(draft, "bestman_heap_mb", str(memory + draft.random.randint(0, 4096)))


@accepted
def heap_within_memory(draft: Draft) -> None:
    heap = draft.random.randint(64, 4096)
    draft.set("host_check_memory_mb", str(2 * heap + 300), "all")
    set_to(draft, "bestman_heap_mb", str(heap))


@rejected
def group_without_hosts(draft: Draft) -> Told:
    draft.hosts(bestman=DOOR, gridftp=None)
    draft.set("bestman_transfer_servers", "['gsiftp://elsewhere.example.org:2811']", "all")
    return Told("", "hosts.yml", draft.line_of("hosts.yml", "gridftp:"))


@rejected
def door_without_transfer_server(draft: Draft) -> Told:
    draft.hosts(bestman=DOOR)
    return Told("bestman_transfer_servers", "hosts.yml", draft.line_of("hosts.yml", DOOR))


@rejected
def misspelled_group(draft: Draft) -> Told:
    name = draft.random.choice(["gridftpd", "grid_ftp", "gridfpt"])
    draft.hosts(bestman=DOOR, **{name: TRANSFER})
    draft.set("bestman_transfer_servers", "['gsiftp://elsewhere.example.org']", "all")
    return Told("", "hosts.yml", draft.line_of("hosts.yml", name))


@accepted
def servers_elsewhere(draft: Draft) -> None:
    draft.hosts(bestman=DOOR)
    set_to(draft, "bestman_transfer_servers", "['gsiftp://a.example.org', 'gsiftp://[::1]:2811']")


@accepted
def one_host_for_both(draft: Draft) -> None:
    draft.hosts(bestman=DOOR, gridftp=DOOR)
