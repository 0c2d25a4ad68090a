"""What ``validate`` knows of a portal: who comes in, by which claim, and what they reach."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import subid_people

from cloudlet_deploy import site
from cloudlet_deploy.site.checks.portal import SYSTEM_GROUPS
from cloudlet_deploy.site.faults import Severity
from cloudlet_deploy.site.validation import validate
from tests.unit.portal_site import (
    GITHUB,
    GLOBUS,
    GOOGLE,
    HOST,
    a_site,
    line_of,
    some_instruments,
    the_one,
)


def test_a_good_portal(tmp_path: Path) -> None:
    assert validate(a_site(tmp_path)) == []


# --- errors -------------------------------------------------------------------------------

ERRORS: dict[str, tuple[dict[str, Any], str, str]] = {
    "another name in front": (
        {"portal_front_servername": "www.example.org"},
        "portal_front_servername",
        "is www.example.org, but ondemand_portal_servername is portal.example.org",
    ),
    "another port in front": (
        {"ondemand_portal_port": 8444, "portal_front_port": 8443},
        "portal_front_port",
        "is 8443, but ondemand_portal_port is 8444",
    ),
    "no openid": (
        {"ondemand_portal_oidc_scope": "email org.cilogon.userinfo"},
        "ondemand_portal_oidc_scope",
        "does not have openid",
    ),
    "openid in a word": (
        {"ondemand_portal_oidc_scope": "openid2 email org.cilogon.userinfo"},
        "ondemand_portal_oidc_scope",
        "does not have openid",
    ),
    "no provider": (
        {"ondemand_portal_identity_providers": []},
        "ondemand_portal_identity_providers",
        "is empty",
    ),
    "without TLS": (
        {"ondemand_portal_ldap_uri": "http://ldap.example.org"},
        "ondemand_portal_ldap_uri",
        "must be ldaps://HOST, or ldap://HOST for StartTLS",
    ),
    "a socket": (
        {"ondemand_portal_ldap_uri": "ldapi:///"},
        "ondemand_portal_ldap_uri",
        "must be ldaps://HOST",
    ),
    "a host alone": (
        {"ondemand_portal_ldap_uri": "ldap.example.org"},
        "ondemand_portal_ldap_uri",
        "must be ldaps://HOST",
    ),
    "no host": (
        {"ondemand_portal_ldap_uri": "ldaps://"},
        "ondemand_portal_ldap_uri",
        "must be ldaps://HOST",
    ),
    "a port that is none": (
        {"ondemand_portal_ldap_uri": "ldaps://ldap.example.org:many"},
        "ondemand_portal_ldap_uri",
        "must be ldaps://HOST",
    ),
    "no directory": (
        {"ondemand_portal_ldap_uri": ""},
        "ondemand_portal_ldap_uri",
        "must be ldaps://HOST",
    ),
    "one of two without TLS": (
        {"ondemand_portal_ldap_uri": "ldaps://a.example.org gopher://b.example.org"},
        "ondemand_portal_ldap_uri",
        "must be ldaps://HOST",
    ),
    "anonymous": (
        {"ondemand_portal_ldap_bind_dn": " "},
        "ondemand_portal_ldap_bind_dn",
        "is empty: the directory would be asked anonymously",
    ),
    "anonymous without password": (
        {"ondemand_portal_ldap_bind_password": ""},
        "ondemand_portal_ldap_bind_password",
        "is empty: the directory would be asked anonymously",
    ),
    "no group": (
        {"ondemand_portal_instruments": some_instruments({}, {"group": None})},
        "ondemand_portal_instruments[1]",
        "the key group is missing",
    ),
    "an empty group": (
        {"ondemand_portal_instruments": some_instruments({}, {"group": " "})},
        "ondemand_portal_instruments[1].group",
        "is empty: only members of a group",
    ),
    "a group of the system": (
        {"ondemand_portal_instruments": some_instruments({"group": "users"})},
        "ondemand_portal_instruments[0].group",
        "is users, a group of the system",
    ),
    "the group of the pods' account": (
        {"ondemand_portal_instruments": some_instruments({"group": "oodsvc"})},
        "ondemand_portal_instruments[0].group",
        "is oodsvc, a group of the system",
    ),
    "one name twice": (
        {"ondemand_portal_instruments": some_instruments({}, {}, {"name": "i0"})},
        "ondemand_portal_instruments[2].name",
        "has the name i0 too",
    ),
    "the portal itself": (
        {"ondemand_portal_instruments": some_instruments({}, {"address": "127.0.0.1"})},
        "ondemand_portal_instruments[1].address",
        "is 127.0.0.1, which is the portal itself",
    ),
    "the portal's host": (
        {"ansible_host": "192.0.2.10"},
        "ondemand_portal_instruments[0].address",
        "is 192.0.2.10, which is the address of the portal's host",
    ),
    "the portal's host by its name": (
        {
            "ondemand_portal_servername": "192.0.2.10",
            "portal_front_servername": "192.0.2.10",
        },
        "ondemand_portal_instruments[0].address",
        "which is the address of the portal's host",
    ),
    "a delegated uid in the base range": (
        {"podman_host_base_start": 200000, "podman_host_delegated_uids": ["5000", "265535"]},
        "podman_host_delegated_uids[1]",
        "265535 meets the base range, 200000 to 265535",
    ),
    "delegated gids around the base range": (
        {"podman_host_base_start": 200000, "podman_host_delegated_gids": ["199999-300000"]},
        "podman_host_delegated_gids[0]",
        "199999-300000 meets the base range",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_is_refused(name: str, tmp_path: Path) -> None:
    changes, variable, message = ERRORS[name]
    found = the_one(validate(a_site(tmp_path, **changes)))
    assert (found.severity, found.variable) == (Severity.ERROR, variable)
    assert message in found.message
    assert found.hosts == (HOST,)
    assert found.next_step
    where = line_of(tmp_path, variable.partition("[")[0])
    assert (found.file, found.line) == (str(tmp_path / "group_vars/all.yml"), where)


def test_a_portal_is_on_a_host_of_the_cloudlet(tmp_path: Path) -> None:
    hosts = f"cloudlet: {{hosts: {{other.example.org: }}}}\nportal: {{hosts: {{{HOST}: }}}}\n"
    found = the_one(validate(a_site(tmp_path, hosts)))
    assert (found.severity, found.hosts) == (Severity.ERROR, (HOST,))
    assert "is in the group portal, but not in cloudlet" in found.message
    assert found.next_step == "Put it into the group cloudlet too."
    assert found.file == str(tmp_path / "hosts.yml")


def test_both_groups_may_come_from_one_above(tmp_path: Path) -> None:
    hosts = f"cloudlet: {{children: {{portal: }}}}\nportal: {{hosts: {{{HOST}: }}}}\n"
    assert validate(a_site(tmp_path, hosts)) == []


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    changes: dict[str, object] = {}
    for name in ("another name in front", "no openid", "without TLS", "anonymous"):
        changes |= ERRORS[name][0]
    assert len(validate(a_site(tmp_path, **changes))) == 4


def test_the_line_of_an_instrument_is_its_own(tmp_path: Path) -> None:
    a_site(tmp_path, ondemand_portal_instruments=None)
    (tmp_path / "group_vars/portal.yml").write_text(
        "ondemand_portal_instruments:\n"
        "  - {name: titan, title: T, address: 192.0.2.10, group: em}\n"
        "  - name: titan\n"
        "    title: Titan\n"
        '    address: "::1"\n'
        "    group: wheel\n"
    )
    found = {(f.variable.partition(".")[2], f.line): f for f in validate(site.load(tmp_path))}
    assert set(found) == {("name", 3), ("address", 5), ("group", 6)}
    assert "the instrument in line 2 has the name titan too" in found["name", 3].message


# --- warnings -----------------------------------------------------------------------------

WARNINGS: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "eppn is not asked for": (
        {"ondemand_portal_oidc_scope": "openid email"},
        "ondemand_portal_oidc_scope",
        "does not ask for org.cilogon.userinfo, with which cilogon.org sends eppn and idp",
        "Add org.cilogon.userinfo.",
    ),
    "idp is not asked for": (
        {"ondemand_portal_oidc_scope": "openid", "ondemand_portal_claim": "sub"},
        "ondemand_portal_oidc_scope",
        "does not ask for org.cilogon.userinfo, with which cilogon.org sends idp",
        "Add org.cilogon.userinfo.",
    ),
    "email is not asked for": (
        {
            "ondemand_portal_oidc_metadata_url": GLOBUS,
            "ondemand_portal_oidc_scope": "openid profile",
            "ondemand_portal_claim": "email",
        },
        "ondemand_portal_oidc_scope",
        "does not ask for email, with which auth.globus.org sends email",
        "Add email.",
    ),
    "e-mail of Google": (
        {"ondemand_portal_oidc_metadata_url": GOOGLE, "ondemand_portal_claim": "email"},
        "ondemand_portal_claim",
        "is email, which people of Google can change",
        "Make it sub, or eppn where all providers send it.",
    ),
    "e-mail of GitHub through CILogon": (
        {
            "ondemand_portal_identity_providers": ["https://idp.example.edu/shibboleth", GITHUB],
            "ondemand_portal_claim": "email",
        },
        "ondemand_portal_claim",
        "is email, which people of GitHub can change",
        "Make it sub, or eppn where all providers send it.",
    ),
    "eppn of GitHub": (
        {"ondemand_portal_identity_providers": [GITHUB]},
        "ondemand_portal_claim",
        "is eppn, which GitHub does not send",
        "Make it sub, or take GitHub out.",
    ),
    "nobody": (
        {"podman_host_approved_users": []},
        "podman_host_approved_users",
        "nobody can come into the portal",
        "Name the accounts of those who may come in podman_host_approved_users.",
    ),
    "nobody of those whose ids are delegated": (
        {"ondemand_portal_approved_users": []},
        "ondemand_portal_approved_users",
        "nobody can come into the portal",
        "Name the accounts of those who may come in ondemand_portal_approved_users.",
    ),
}


@pytest.mark.parametrize("name", WARNINGS)
def test_is_warned_of(name: str, tmp_path: Path) -> None:
    changes, variable, message, next_step = WARNINGS[name]
    found = the_one(validate(a_site(tmp_path, **changes)))
    assert (found.severity, found.variable) == (Severity.WARNING, variable)
    assert message in found.message
    assert found.next_step == next_step
    assert found.line == line_of(tmp_path, variable)


def test_nobody_is_named_at_all(tmp_path: Path) -> None:
    found = the_one(validate(a_site(tmp_path, podman_host_approved_users=None)))
    assert (found.severity, found.variable) == (Severity.WARNING, "podman_host_approved_users")
    assert found.file == str(tmp_path / "hosts.yml")


# --- good ones ----------------------------------------------------------------------------

ACCEPTED: dict[str, dict[str, Any]] = {
    "StartTLS": {"ondemand_portal_ldap_uri": "ldap://ldap.example.org:389"},
    "two directories": {"ondemand_portal_ldap_uri": "ldaps://a.example.org ldaps://[2001:db8::1]"},
    "the same name in front": {"portal_front_servername": "Portal.Example.Org"},
    "Globus": {
        "ondemand_portal_oidc_metadata_url": GLOBUS,
        "ondemand_portal_oidc_scope": "openid",
        "ondemand_portal_claim": "sub",
    },
    "sub of Google": {
        "ondemand_portal_oidc_metadata_url": GOOGLE,
        "ondemand_portal_claim": "sub",
        "ondemand_portal_provider_claim": "iss",
        "ondemand_portal_identity_providers": ["https://accounts.google.com"],
    },
    "e-mail of an institution": {"ondemand_portal_claim": "email"},
    "a name that only ends like Google's": {
        "ondemand_portal_identity_providers": ["https://idp.notgoogle.com"],
        "ondemand_portal_claim": "email",
    },
    "no instruments": {"ondemand_portal_instruments": []},
    "two with one address": {"ondemand_portal_instruments": some_instruments({}, {"port": 5901})},
    "an address that a run knows": {
        "ondemand_portal_instruments": some_instruments(
            {"address": "{{ hostvars['x'].ansible_host }}"}
        )
    },
    "the host chooses the base range": {"podman_host_delegated_uids": ["5000"]},
    "ids beside the base range": {
        "podman_host_base_start": 200000,
        "podman_host_base_count": 2000,
        "podman_host_delegated_uids": ["199999", "202000-210000"],
    },
    "a portal that is to go": {
        "ondemand_portal_state": "absent",
        "portal_front_state": "absent",
        "ondemand_portal_claim": "email",
        "ondemand_portal_identity_providers": [GITHUB],
        "podman_host_approved_users": [],
    },
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_is_accepted(name: str, tmp_path: Path) -> None:
    assert validate(a_site(tmp_path, **ACCEPTED[name])) == []


@pytest.mark.parametrize(
    "name",
    ["ondemand_portal_ldap_uri", "ondemand_portal_oidc_scope", "ondemand_portal_ldap_bind_dn"],
)
def test_what_init_left_is_told_as_that_alone(name: str, tmp_path: Path) -> None:
    found = the_one(validate(a_site(tmp_path, **{name: "CHANGE-ME"})))
    assert found.message == "still holds the placeholder that `init` wrote"


# --- many at once -------------------------------------------------------------------------


def test_id_ranges_overlap_as_sets_do(tmp_path: Path) -> None:
    random, base = Random(8), range(3000, 5000)
    edges = [(2000, 2999), (2000, 3000), (3000, 3000), (4999, 4999), (5000, 5000)]
    lows = (random.randrange(1000, 7000) for _ in range(200))
    wanted = [*edges, *((low, low + random.choice((0, 1, 500, 4000))) for low in lows)]
    texts = [f"{low}" if low == high else f"{low}-{high}" for low, high in wanted]
    faults = validate(
        a_site(
            tmp_path,
            podman_host_base_start=base.start,
            podman_host_base_count=len(base),
            podman_host_delegated_uids=texts,
        )
    )
    meets = {n for n, (low, high) in enumerate(wanted) if set(range(low, high + 1)) & set(base)}
    assert {f.variable for f in faults} == {f"podman_host_delegated_uids[{n}]" for n in meets}
    assert 50 < len(meets) < 200


@pytest.mark.parametrize(
    "own", ["127.0.0.1", "127.8.9.10", "0.0.0.0", "::1", "::", "::ffff:7f00:1"]
)
def test_no_form_of_loopback_is_an_instrument(own: str, tmp_path: Path) -> None:
    parts = [{"address": "192.0.2.11"}, {"address": own}, {"address": "2001:db8::5"}]
    found = the_one(
        validate(a_site(tmp_path, ondemand_portal_instruments=some_instruments(*parts)))
    )
    assert found.variable == "ondemand_portal_instruments[1].address"


def test_every_group_with_roots_powers_is_one_of_the_system(tmp_path: Path) -> None:
    assert subid_people.NEVER_GROUPS <= SYSTEM_GROUPS
    groups = [*sorted(SYSTEM_GROUPS), "em", "rooters"]
    parts = [{"group": group} for group in groups]
    faults = validate(a_site(tmp_path, ondemand_portal_instruments=some_instruments(*parts)))
    assert {f.variable for f in faults} == {
        f"ondemand_portal_instruments[{n}].group" for n in range(len(SYSTEM_GROUPS))
    }
