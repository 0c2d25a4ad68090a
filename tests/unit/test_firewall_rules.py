"""Who may reach which port: the rules against a plain reading of the settings."""

from __future__ import annotations

import re
import shutil
import subprocess
from ipaddress import ip_address, ip_network
from typing import Any
from xml.etree import ElementTree

import pytest
from ansible_collections.cloudlet.deploy.plugins.plugin_utils import firewall_rules
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.firewall_site import NETWORKS, SERVICES, SITES, plan, rendered

NFT = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin:/usr/local/sbin")
_RULE = re.compile(
    r"(?:(?P<family>ip6?) saddr \{ (?P<nets>[^}]*) \}|meta nfproto (?P<all>ipv[46])) "
    r"tcp dport \{ (?P<ports>[^}]*) \} accept"
)


def _holds(ports: str, port: int) -> bool:
    spans = [tuple(map(int, text.split("-"))) for text in ports.split(", ")]
    return any(span[0] <= port <= span[-1] for span in spans)


def _lets_in(ruleset: str, source: str, port: int) -> bool:
    """What the chain does with a new connection; written anew, from nft's manual."""
    address = ip_address(source)
    for line in map(str.strip, ruleset.partition("chain input")[2].splitlines()):
        if match := _RULE.fullmatch(line):
            if match["all"]:
                same = match["all"] == f"ipv{address.version}"
            else:
                same = any(
                    address in ip_network(text)
                    for text in match["nets"].split(", ")
                    if ip_network(text).version == address.version
                )
            if same and _holds(match["ports"], port):
                return True
        elif line.endswith("counter reject with tcp reset"):
            if _holds(re.findall(r"\{ (.*?) \}", line)[0], port):
                return False
        elif "saddr" in line or "nfproto" in line:
            raise AssertionError(f"a rule of another kind: {line}")
    return True


def _wanted(services: list[dict[str, Any]], site: list[str], source: str, port: int) -> bool:
    address = ip_address(source)

    def among(texts: list[str]) -> bool:
        return any(
            address in ip_network(text)
            for text in texts
            if ip_network(text).version == address.version
        )

    own = [one for one in services if one["first"] <= port <= one["last"]]
    return not own or any((one["site"] and among(site)) or among(one["networks"]) for one in own)


def _probes(services: list[dict[str, Any]], site: list[str]) -> list[tuple[str, int]]:
    """Sources and ports at, inside and just outside of every edge."""
    networks = [
        ip_network(text) for text in {*site, *(n for one in services for n in one["networks"])}
    ]
    sources = {"192.0.2.1", "2001:db8:ffff::1"}
    for network in networks:
        low, high = int(network.network_address), int(network.broadcast_address)
        top = 2**network.max_prefixlen
        make = type(network.network_address)
        sources |= {str(make(n)) for n in (low - 1, low, high, high + 1) if 0 <= n < top}
    ports = {
        n for s in services for n in (s["first"] - 1, s["first"], s["last"], s["last"] + 1, 22)
    }
    return [(source, port) for source in sources for port in ports if 0 < port < 65536]


@settings(max_examples=60, deadline=None)
@given(SERVICES, SITES)
def test_exactly_those_come_in_that_the_settings_name(
    services: list[dict[str, Any]], site: list[str]
) -> None:
    made = plan(services, site, said=("ssh 0",))
    ruleset = rendered("firewall.nft.j2", made)
    for source, port in _probes(services, site):
        assert _lets_in(ruleset, source, port) == _wanted(services, site, source, port), (
            source,
            port,
            ruleset,
        )


@settings(max_examples=60, deadline=None)
@given(SERVICES, SITES, st.integers(1, 65535) | st.just(22))
def test_a_port_of_ssh_is_in_no_rule_or_there_are_none(
    services: list[dict[str, Any]], site: list[str], ssh: int
) -> None:
    made = plan(services, site, said=(f"ssh {ssh}",))
    held = any(one["first"] <= ssh <= one["last"] for one in services)
    assert bool(made["faults"]) == held
    if held:
        assert made["rules"] == {}
        assert str(ssh) in made["faults"][0] and "lock" in made["faults"][0]
    else:
        assert not any(_holds(ports, ssh) for ports in made["rules"]["ports"])


@settings(max_examples=100, deadline=None)
@given(SERVICES, SITES, st.randoms())
def test_the_order_of_the_settings_changes_nothing(
    services: list[dict[str, Any]], site: list[str], random: Any
) -> None:
    made = plan(services, site, said=("ssh 0",))["rules"]
    random.shuffle(services)
    random.shuffle(site)
    for one in services:
        random.shuffle(one["networks"])
    assert plan(services, site, said=("ssh 0",))["rules"] == made


@pytest.mark.skipif(NFT is None, reason="nft is not installed")
@settings(max_examples=100, deadline=None)
@given(SERVICES, SITES)
def test_nft_takes_every_ruleset(services: list[dict[str, Any]], site: list[str]) -> None:
    ruleset = rendered("firewall.nft.j2", plan(services, site, said=("ssh 0",)))
    # A name space of its own has an empty ruleset, and needs no root.
    done = subprocess.run(
        ["unshare", "-rn", str(NFT), "-c", "-f", "-"],
        input=ruleset,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr + ruleset


@settings(max_examples=50, deadline=None)
@given(SERVICES, SITES)
def test_firewalld_is_told_to_open_the_same(
    services: list[dict[str, Any]], site: list[str]
) -> None:
    made = plan(services, site, said=("ssh 0",))
    policy = ElementTree.fromstring(rendered("policy.xml.j2", made))
    told = set()
    for rule in policy.iter("rule"):
        assert [child.tag for child in rule][-2:] == ["port", "accept"]
        source, port = rule.find("source"), rule.find("port")
        assert port is not None and port.get("protocol") == "tcp"
        network = source.get("address") if source is not None else None
        told.add((rule.get("family"), network, port.get("port")))
    assert told == {
        (f"ipv{one['version']}", network, port)
        for one in made["rules"]["accepts"]
        for network in one["networks"] or [None]
        for port in one["ports"]
    }


def _ports(*rows: tuple[str, str, str, int | str, str]) -> list[dict[str, Any]]:
    names = ("group", "state", "variable", "ports", "who")
    return [dict(zip(names, values, strict=True)) for values in rows]


def test_ports_for_clients_are_left_alone_until_clients_are_named() -> None:
    ports = _ports(
        ("gridftp", "present", "gridftp_port", 2811, "clients"),
        ("gridftp", "present", "range", "50000,51000", "clients"),
        ("hdfs_datanode", "present", "dn", 9866, "site"),
        ("hdfs_datanode", "absent", "gone", 9864, "site"),
        ("bestman", "present", "unset", "", "clients"),
    )
    groups = ["bestman", "gridftp", "hdfs_datanode"]
    nobody: dict[str, list[str]] = {"clients": []}
    closed = firewall_rules.services(ports, groups, nobody, [])
    assert [one["what"] for one in closed] == ["dn"]
    named = {"clients": ["192.0.2.0/24"]}
    opened = firewall_rules.services(ports, groups, named, [{"port": 9100}])
    assert [(one["what"], one["first"], one["last"], one["networks"]) for one in opened] == [
        ("gridftp_port", 2811, 2811, ["192.0.2.0/24"]),
        ("range", 50000, 51000, ["192.0.2.0/24"]),
        ("dn", 9866, 9866, []),
        ("firewall_extra_ports[0]", 9100, 9100, []),
    ]
    assert all(one["site"] for one in opened)
    assert firewall_rules.services(ports, ["lab_clients"], named, []) == []


PORTAL_PORTS = _ports(
    ("portal", "present", "portal_front", "443", "visitors"),
    ("portal", "present", "ondemand_portal_port", 8443, "nobody"),
    ("gridftp", "present", "gridftp_port", 2811, "clients"),
)


@pytest.mark.parametrize(
    ("visitors", "front"),
    [
        (["0.0.0.0/0"], {"192.0.2.1": True, "10.0.0.1": True, "2001:db8::1": False}),
        (["192.0.2.0/24"], {"192.0.2.1": True, "10.0.0.1": False, "2001:db8::1": False}),
        ([], {"192.0.2.1": True, "10.0.0.1": True, "2001:db8::1": True}),
    ],
)
def test_a_portal_is_for_visitors_and_its_pod_for_the_host_alone(
    visitors: list[str], front: dict[str, bool]
) -> None:
    """Hosts of the same site's storage, as 10.0.0.1, are visitors like others."""
    named = {"clients": ["198.51.100.0/24"], "visitors": visitors}
    managed = firewall_rules.services(PORTAL_PORTS, ["cloudlet", "portal"], named, [])
    ruleset = rendered("firewall.nft.j2", plan(managed, ["10.0.0.1"]))
    for source, expected in front.items():
        assert _lets_in(ruleset, source, 443) is expected, ruleset
        assert not _lets_in(ruleset, source, 8443) and _lets_in(ruleset, source, 2811)


def test_a_portal_is_no_host_of_the_storage() -> None:
    groups = {"portal": ["portal.example.org"], "gridftp": ["data.example.org"], "bestman": ["x"]}
    assert firewall_rules.site_hosts(PORTAL_PORTS, groups) == ["data.example.org"]


HOSTVARS: dict[str, dict[str, Any]] = {
    "by-address": {"ansible_host": "10.0.0.1"},
    "by-name": {"ansible_host": "two.internal"},
    "plain.example.org": {},
    "told": {"ansible_host": "198.51.100.1", "firewall_addresses": ["10.0.0.4", "2001:db8::4"]},
    "six": {"ansible_host": "[2001:db8::5]"},
}


def test_names_are_asked_for_where_the_inventory_has_no_address() -> None:
    names = firewall_rules.names_to_ask(list(HOSTVARS), HOSTVARS, "firewall_addresses")
    assert names == ["by-address", "two.internal", "by-name", "plain.example.org", "six"]


def test_a_host_is_known_by_all_its_addresses_that_others_reach() -> None:
    told = [
        ("by-address", "192.168.7.1"),
        ("two.internal", "10.0.0.2"),
        ("two.internal", "fe80::1%eth0"),
        ("plain.example.org", "127.0.1.1"),
        ("plain.example.org", "2001:db8::3"),
        ("plain.example.org", "10.0.0.3"),
    ]
    known, unknown = firewall_rules.site_addresses(
        list(HOSTVARS), HOSTVARS, "firewall_addresses", told
    )
    assert unknown == []
    assert known == {
        "by-address": ["10.0.0.1", "192.168.7.1"],
        "by-name": ["10.0.0.2"],
        "plain.example.org": ["10.0.0.3", "2001:db8::3"],
        "told": ["10.0.0.4", "2001:db8::4"],
        "six": ["2001:db8::5"],
    }


def test_a_host_without_any_address_is_refused_by_name() -> None:
    service = [{"what": "dn", "first": 9866, "last": 9866, "networks": [], "site": True}]
    hosts = ["by-address", "by-name"]
    made = firewall_rules.plan(
        service,
        hosts,
        HOSTVARS,
        "by-address",
        override="firewall_addresses",
        networks=[],
        said=["ssh 22", "address by-name 127.0.1.1"],
    )
    (fault,) = made["faults"]
    assert fault.startswith("by-name has no address") and "on by-address" in fault
    assert "Set firewall_addresses" in fault


def test_the_port_of_the_inventory_counts_where_the_host_tells_none() -> None:
    service = [{"what": "dn", "first": 2222, "last": 2222, "networks": [], "site": True}]
    hostvars = {"a": {"ansible_host": "10.0.0.1", "ansible_port": 2222}}
    made = firewall_rules.plan(
        service, ["a"], hostvars, "a", override="firewall_addresses", networks=[], said=[]
    )
    assert "dn (2222) holds port 2222" in made["faults"][0]


@pytest.mark.parametrize(
    ("said", "lost"),
    [
        (["unit active", "table loaded"], False),
        (["unit active"], True),
        (["table loaded"], False),
        ([], False),
    ],
)
def test_rules_are_lost_where_the_unit_believes_in_them(said: list[str], lost: bool) -> None:
    service = [{"what": "dn", "first": 9866, "last": 9866, "networks": [], "site": True}]
    assert plan(service, ["10.0.0.1"], ("ssh 22", *said))["lost"] is lost


@pytest.mark.parametrize("text", ["10.0.0.1", "10.0.0.0/8", "0.0.0.0/0", "::1", "2001:db8::/32"])
def test_addresses_and_networks_are_networks(text: str) -> None:
    assert firewall_rules.network_problem(text) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("10.0.0.1/8", "must be 10.0.0.0/8 for the whole network, or 10.0.0.1 for"),
        ("10.0.0/8", "must be an address or a network"),
        ("door.example.org", "must be an address or a network"),
        ("10.0.0.0/33", "must be an address or a network"),
        ("10.0.0.1-10.0.0.9", "must be an address or a network"),
        ("", "must be an address or a network"),
        ("fe80::1%eth0/64", "must be an address or a network"),
    ],
)
def test_what_is_no_network_is_told_with_what_to_write(text: str, words: str) -> None:
    assert words in (firewall_rules.network_problem(text) or "")


@given(NETWORKS)
def test_every_network_of_the_tests_is_one(text: str) -> None:
    assert firewall_rules.network_problem(text) is None
