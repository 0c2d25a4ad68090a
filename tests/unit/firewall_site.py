"""Settings of a firewall at random, and the ruleset that the role's template makes of them."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import jinja2
from ansible_collections.cloudlet.deploy.plugins.plugin_utils import firewall_rules
from hypothesis import strategies as st

from cloudlet_deploy import content

_TEMPLATES = content.roles()["firewall"] / "templates"


def _network(version: int, number: int, prefix: int) -> str:
    """A network in one of the two ways of writing it: whole, or a plain address."""
    size = 32 if version == 4 else 128
    prefix = min(prefix, size)
    masked = number >> (size - prefix) << (size - prefix)
    network = ip_network((masked, prefix))
    return str(network.network_address) if prefix == size and number % 2 else str(network)


#: Close to each other, so that they overlap, touch and hold one another.
NETWORKS = st.one_of(
    st.sampled_from(["0.0.0.0/0", "::/0", "10.0.0.0/8", "2001:db8::/32"]),
    st.builds(
        _network,
        st.just(4),
        st.integers(0x0A000000, 0x0A0000FF),
        st.integers(22, 32),
    ),
    st.builds(
        _network,
        st.just(6),
        st.integers(0x20010DB8 << 96, (0x20010DB8 << 96) + 255),
        st.integers(118, 128),
    ),
)
PORTS = st.integers(2811, 2819) | st.integers(1, 65535)
SERVICES = st.lists(
    st.builds(
        lambda port, size, networks, site: {
            "what": "x",
            "first": port,
            "last": min(port + size, 65535),
            "networks": networks,
            "site": site,
        },
        PORTS,
        st.sampled_from([0, 0, 1, 5, 1000]),
        st.lists(NETWORKS, max_size=4),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)
SITES = st.lists(NETWORKS.filter(lambda text: not text.endswith("/0")), min_size=1, max_size=6)


def plan(
    services: list[dict[str, Any]], site: list[str], said: tuple[str, ...] = ("ssh 22",)
) -> dict[str, Any]:
    """The role's plan for ``services`` on a host of a site with these addresses."""
    hostvars = {"one.example.org": {"firewall_addresses": site}}
    found: dict[str, Any] = firewall_rules.plan(
        services,
        list(hostvars),
        hostvars,
        "one.example.org",
        override="firewall_addresses",
        networks=[],
        said=list(said),
    )
    return found


def rendered(template: str, made: dict[str, Any]) -> str:
    """What the role writes; Ansible's own options of Jinja."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(str(_TEMPLATES)),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    source = Path(_TEMPLATES, template).read_text()
    return environment.from_string(source).render(__firewall_plan=made)
