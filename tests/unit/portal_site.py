"""A good site with a portal, and changes of it, for the tests of ``validate``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from cloudlet_deploy import site
from cloudlet_deploy.site.faults import Fault

HOST = "cloudlet.example.org"
BOTH = f"cloudlet: {{hosts: {{{HOST}: }}}}\nportal: {{hosts: {{{HOST}: }}}}\n"
INSTRUMENT = {"name": "titan", "title": "Titan", "address": "192.0.2.10", "group": "em"}
GOOD = {
    "ondemand_portal_servername": "portal.example.org",
    "ondemand_portal_image": "localhost/ondemand:4.2.3",
    "ondemand_portal_oidc_metadata_url": "https://cilogon.org/.well-known/openid-configuration",
    "ondemand_portal_oidc_client_id": "cilogon:/client_id/1",
    "ondemand_portal_oidc_client_secret": "{{ vault_secret }}",
    "ondemand_portal_oidc_scope": "openid email org.cilogon.userinfo",
    "ondemand_portal_claim": "eppn",
    "ondemand_portal_identity_providers": ["https://idp.example.edu/shibboleth"],
    "ondemand_portal_ldap_uri": "ldaps://ldap.example.org",
    "ondemand_portal_ldap_base": "dc=example,dc=org",
    "ondemand_portal_ldap_bind_dn": "cn=portal,dc=example,dc=org",
    "ondemand_portal_ldap_bind_password": "{{ vault_password }}",
    "ondemand_portal_ldap_claim_attribute": "eduPersonPrincipalName",
    "ondemand_portal_instruments": [INSTRUMENT],
    "podman_host_approved_users": ["alice"],
}
GLOBUS = "https://auth.globus.org/.well-known/openid-configuration"
GOOGLE = "https://accounts.google.com/.well-known/openid-configuration"
GITHUB = "http://github.com/login/oauth/authorize"


def a_site(home: Path, hosts: str = BOTH, /, **changes: object) -> site.Site:
    """A site with the good settings, one a line, and ``changes``; None leaves a setting out."""
    (home / "group_vars").mkdir(parents=True, exist_ok=True)
    (home / "hosts.yml").write_text(hosts)
    wanted = {name: value for name, value in (GOOD | changes).items() if value is not None}
    lines = [f"{name}: {json.dumps(value)}\n" for name, value in wanted.items()]
    (home / "group_vars/all.yml").write_text("".join(lines))
    return site.load(home)


def some_instruments(*parts: Mapping[str, object]) -> list[dict[str, object]]:
    """Good instruments, each with what is given of it; None leaves a key out."""
    found = [{**INSTRUMENT, "name": f"i{n}", **part} for n, part in enumerate(parts)]
    return [{key: value for key, value in one.items() if value is not None} for one in found]


def some_sites(*parts: Mapping[str, object]) -> list[dict[str, object]]:
    """Good programs behind the gate, each with what is given of it."""
    good = {"port": 61000, "group": "em"}
    return [
        {"name": f"s{n}", "servername": f"s{n}.example.org", **good, **part}
        for n, part in enumerate(parts)
    ]


def line_of(home: Path, name: str) -> int:
    """The line of a setting in the site."""
    lines = (home / "group_vars/all.yml").read_text().splitlines()
    return 1 + next(n for n, line in enumerate(lines) if line.startswith(f"{name}:"))


def the_one(faults: list[Fault]) -> Fault:
    """The only fault."""
    assert len(faults) == 1, faults
    return faults[0]
