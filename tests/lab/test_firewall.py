"""The firewall on real hosts: who is served, who is refused, and that nothing else changes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from tests.lab.conftest import CLI, CLIENT, DOOR, SERVERS, TRANSFER, TestLab, set_values
from tests.lab.snapshot import difference
from tests.unit.firewall_site import SERVICES, SITES, plan, rendered

pytestmark = pytest.mark.lab
DEFINITION = Path(__file__).resolve().parents[2] / "inventories" / "lab"
UNIT = "cloudlet-firewall.service"
#: Where HDFS listens; here something else does.
CLOSED = (8020, 9864, 9866, 9870)
STORED = "/srv/storage/lab"
ADMINS_RULES = """flush ruleset
table inet admins {
	set friends { type ipv4_addr; elements = { 198.51.100.7 } }
	chain input {
		type filter hook input priority filter; policy accept;
		ip saddr @friends tcp dport 25 drop
	}
}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestLab]:
    """The lab's own site on hosts that may filter packets."""
    definition = tmp_path_factory.mktemp("firewall") / "site"
    shutil.copytree(DEFINITION, definition)
    for group in ("bestman", "gridftp"):
        path = definition / "group_vars" / f"{group}.yml"
        known = yaml.safe_load(path.read_text()).get("lab_capabilities", [])
        set_values(path, lab_capabilities=sorted({*known, "NET_ADMIN"}))
    up = [CLI, "lab", "up", "--name", "t-firewall", "--from", str(definition), "--output", "json"]
    made = subprocess.run(up, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    try:
        yield TestLab("t-firewall", Path(json.loads(made.stdout)["site"]))
    finally:
        down = [CLI, "lab", "down", "--name", "t-firewall"]
        subprocess.run(down, check=True, capture_output=True)


def address(lab: TestLab, host: str) -> str:
    document = yaml.safe_load((lab.site / "lab_connection.yml").read_text())
    found: str = document["all"]["hosts"][host]["ansible_host"]
    return found


def configure(lab: TestLab, **values: Any) -> None:
    set_values(lab.site / "group_vars" / "all.yml", **values)


def reach(lab: TestLab, source: str, target: str, *ports: int) -> set[str]:
    """What becomes of connections from one host to another: open, refused, or silence."""
    program = f"""
import socket
for port in {ports!r}:
    try:
        socket.create_connection(({target!r}, port), 5).close()
        print("open")
    except Exception as error:
        print(type(error).__name__)
"""
    return set(lab.run(source, "python3 -", stdin=program).stdout.split())


def ruleset(lab: TestLab, host: str) -> str:
    """All tables but ours."""
    told = lab.run(host, "nft list ruleset").stdout
    return re.sub(r"(?ms)^table inet cloudlet \{.*?^\}\n", "", told)


def in_place(lab: TestLab, host: str) -> bool:
    """Whether our table is loaded, and still keeps strangers out."""
    loaded = "reject" in lab.run(host, "nft list table inet cloudlet", check=False).stdout
    refused = reach(lab, CLIENT, host, *CLOSED) == {"ConnectionRefusedError"}
    assert loaded == refused
    return loaded


def listen(lab: TestLab, host: str) -> None:
    lab.run(
        host,
        "; ".join(
            f"systemd-run -q --unit=fake{port} python3 -m http.server {port}" for port in CLOSED
        ),
    )


@pytest.fixture(scope="module")
def story(lab: TestLab) -> dict[str, Any]:
    """A door whose admin has rules, a transfer server that never saw nft; then an apply."""
    lab.run(DOOR, "apt-get install -y --no-download nftables")
    lab.run(DOOR, "cat >/etc/nftables.conf", stdin=ADMINS_RULES)
    lab.run(DOOR, "systemctl enable --now nftables.service")
    for host in SERVERS:
        listen(lab, host)
    told: dict[str, Any] = {
        "rules": ruleset(lab, DOOR),
        "open": reach(lab, CLIENT, TRANSFER, *CLOSED),
        "bare": {host: lab.snapshot(host) for host in SERVERS},
    }
    lab.apply()
    told["unmanaged"] = lab.run(DOOR, "nft list tables").stdout.split("\n")
    configure(
        lab,
        firewall_client_networks=[f"{address(lab, CLIENT)}/32"],
        firewall_extra_ports=[{"port": port} for port in CLOSED],
    )
    told["plan"] = lab.plan("--component", "firewall")
    lab.apply("--component", "firewall")
    return told


def test_a_site_that_names_nobody_gets_no_rules(story: dict[str, Any]) -> None:
    assert story["open"] == {"open"}
    assert story["unmanaged"] == ["table inet admins", ""]


def test_the_plan_says_all_that_happens(lab: TestLab, story: dict[str, Any]) -> None:
    told = [
        (change["kind"], change["name"], change["action"])
        for host in story["plan"]["plan"]["hosts"]
        if host["host"] == TRANSFER
        for component in host["components"]
        for change in component["changes"]
    ]
    assert told == [
        ("package", "nftables", "install"),
        ("directory", "/etc/cloudlet-deploy", "create"),
        ("directory", "/etc/systemd/system/nftables.service.d", "create"),
        ("file", "/etc/cloudlet-deploy/firewall.nft", "create"),
        ("file", "/etc/systemd/system/cloudlet-firewall.service", "create"),
        ("file", "/etc/systemd/system/nftables.service.d/cloudlet.conf", "create"),
        ("validator", "nft", "not-validated"),  # comes with the package
        ("unit", UNIT, "enable"),
        ("unit", UNIT, "start"),
    ]
    assert "Nothing to do." in lab.apply().stdout
    assert lab.cli("status").returncode == 0


def test_strangers_are_refused_and_the_site_is_not(lab: TestLab, story: dict[str, Any]) -> None:
    for host in SERVERS:
        assert reach(lab, CLIENT, host, *CLOSED) == {"ConnectionRefusedError"}
    assert reach(lab, DOOR, TRANSFER, *CLOSED) == {"open"}
    assert reach(lab, TRANSFER, DOOR, *CLOSED, 8443) == {"open"}
    # A host speaks to itself by its own address, as the health checks do.
    assert reach(lab, DOOR, DOOR, *CLOSED, 8443) == {"open"}


def test_clients_are_served_data_channels_too(lab: TestLab, story: dict[str, Any]) -> None:
    lab.as_alice("head -c 20000000 /dev/urandom >/tmp/sent")
    lab.as_alice(f"globus-url-copy -p 2 file:///tmp/sent gsiftp://{TRANSFER}{STORED}/sent")
    lab.as_alice(f"globus-url-copy gsiftp://{TRANSFER}{STORED}/sent file:///tmp/back")
    assert lab.as_alice("cmp /tmp/sent /tmp/back").returncode == 0
    listed = lab.as_alice(f"gfal-ls 'srm://{DOOR}:8443/srm/v2/server?SFN={STORED}'").stdout
    assert "sent" in listed.split()


def test_the_rules_of_others_are_as_they_were(lab: TestLab, story: dict[str, Any]) -> None:
    assert ruleset(lab, DOOR) == story["rules"]


def test_what_flushes_all_tables_brings_ours_back(lab: TestLab, story: dict[str, Any]) -> None:
    for verb in ("reload", "restart", "stop", "start"):
        lab.run(DOOR, f"systemctl {verb} nftables.service")
        assert in_place(lab, DOOR), verb
    assert ruleset(lab, DOOR) == story["rules"]


def test_rules_that_a_hand_flushed_are_planned_and_come_back(
    lab: TestLab, story: dict[str, Any]
) -> None:
    lab.run(TRANSFER, "nft flush ruleset")
    assert not in_place(lab, TRANSFER)
    seen = lab.cli("status", "--limit", TRANSFER)
    assert (seen.returncode, "rules of the firewall" in seen.stdout) == (2, True), seen.stdout
    found = lab.cli("plan", "--component", "firewall")
    assert found.returncode == 2, found.stdout + found.stderr
    assert not in_place(lab, TRANSFER)
    lab.apply("--component", "firewall")
    assert in_place(lab, TRANSFER)
    assert "Nothing to do." in lab.apply("--component", "firewall").stdout


def test_rules_are_there_after_a_power_cut(lab: TestLab, story: dict[str, Any]) -> None:
    for verb in ("kill", "start"):
        subprocess.run([CLI, "lab", verb, "--name", lab.name, DOOR], check=True)
    listen(lab, DOOR)
    assert in_place(lab, DOOR)
    assert ruleset(lab, DOOR) == story["rules"]
    assert lab.run(DOOR, f"systemctl is-active {UNIT}").stdout == "active\n"


def test_a_network_that_lost_its_right_is_refused_and_rollback_gives_it_back(
    lab: TestLab, story: dict[str, Any]
) -> None:
    held = (
        "import socket, sys\n"
        f"held = socket.create_connection(({TRANSFER!r}, 2811), 5)\n"
        "held.recv(1000)\n"
        "print('held', flush=True)\n"
        "sys.stdin.readline()\n"
        "held.sendall(b'QUIT\\r\\n')\n"
        "print(held.recv(1000), flush=True)\n"
    )
    lab.run(CLIENT, "cat >/tmp/held.py", stdin=held)
    client = subprocess.Popen(
        lab.ssh(CLIENT, "python3 /tmp/held.py"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert client.stdout is not None and client.stdout.readline() == "held\n"
    lab.run(TRANSFER, "systemd-run -q --unit=fake50500 python3 -m http.server 50500")
    configure(lab, firewall_client_networks=["192.0.2.0/24"])
    applied = lab.apply("--component", "firewall")
    assert re.search(rf"reload +unit +{UNIT}", applied.stdout), applied.stdout
    served = reach(lab, CLIENT, TRANSFER, 2811, 50500) | reach(lab, CLIENT, DOOR, 8443)
    assert served == {"ConnectionRefusedError"}
    # An open connection outlives it, and ssh is nobody's business here.
    said, _ = client.communicate("\n", timeout=30)
    assert said.startswith("b'2"), said
    assert reach(lab, CLIENT, TRANSFER, 22) == {"open"}
    back = lab.cli("rollback", "--yes")
    assert back.returncode == 0, back.stdout + back.stderr
    assert reach(lab, CLIENT, TRANSFER, 2811, 50500) == {"open"}
    assert in_place(lab, TRANSFER)


def test_a_port_of_ssh_is_refused_in_plan_and_apply(lab: TestLab, story: dict[str, Any]) -> None:
    before = {host: lab.snapshot(host) for host in SERVERS}
    path = lab.site / "group_vars" / "all.yml"
    kept = path.read_text()
    configure(lab, firewall_extra_ports=[{"port": 20, "last": 25}])
    for command in (("plan",), ("apply", "--yes", "--no-preflight")):
        refused = lab.cli(*command)
        words = " ".join((refused.stdout + refused.stderr).split())
        assert refused.returncode == 1, words
        assert "firewall_extra_ports[0] (20,25) holds port 22" in words
    path.write_text(kept)
    for host in SERVERS:
        assert not difference(before[host], lab.snapshot(host))


def test_nft_takes_rulesets_of_all_kinds(lab: TestLab, story: dict[str, Any]) -> None:
    made: list[str] = []

    @settings(max_examples=100, deadline=None, database=None, suppress_health_check=[*HealthCheck])
    @given(SERVICES, SITES)
    def collect(services: list[dict[str, Any]], site: list[str]) -> None:
        made.append(rendered("firewall.nft.j2", plan(services, site, said=("ssh 0",))))

    collect()
    program = (
        "import json, subprocess, sys\n"
        "for text in json.load(sys.stdin):\n"
        "    done = subprocess.run(['nft', '-c', '-f', '-'], input=text, text=True,\n"
        "                          capture_output=True)\n"
        "    if done.returncode:\n"
        "        print(done.stderr, text)\n"
    )
    lab.run(TRANSFER, "cat >/tmp/check.py", stdin=program)
    assert len(made) >= 50
    assert lab.run(TRANSFER, "python3 /tmp/check.py", stdin=json.dumps(made)).stdout == ""


def test_destroy_leaves_what_was_there_before(lab: TestLab, story: dict[str, Any]) -> None:
    done = lab.cli("destroy", "--confirm", lab.site.name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert lab.run(DOOR, "nft list ruleset").stdout == story["rules"]
    assert reach(lab, CLIENT, DOOR, *CLOSED) == {"open"}
    for host in SERVERS:
        after = lab.snapshot(host)
        assert after.packages == story["bare"][host].packages
        new = after.files.keys() - story["bare"][host].files.keys()
        assert [path for path in new if "cloudlet" in path or "nftables" in path] == []


def test_where_firewalld_runs_it_opens_the_same_ports(lab: TestLab, story: dict[str, Any]) -> None:
    # A minimal host lacks this file, without which Debian's firewalld does not start.
    lab.run(TRANSFER, "cat >/etc/protocols", stdin=Path("/etc/protocols").read_text())
    lab.run(TRANSFER, "apt-get install -y --no-download firewalld && sleep 2")
    assert lab.run(TRANSFER, "firewall-cmd --state").stdout == "running\n"
    zones = lab.run(TRANSFER, "firewall-cmd --list-all-zones").stdout
    ports = (*CLOSED, 50500)
    assert reach(lab, CLIENT, TRANSFER, *ports) == {"OSError"}, "firewalld does not filter"
    configure(lab, firewall_client_networks=[address(lab, CLIENT)])
    lab.apply("--limit", TRANSFER, "--component", "firewall")
    assert reach(lab, CLIENT, TRANSFER, 50500) == {"open"}
    assert reach(lab, CLIENT, TRANSFER, *CLOSED) == {"ConnectionRefusedError"}
    assert reach(lab, DOOR, TRANSFER, *ports) == {"open"}
    assert lab.run(TRANSFER, "firewall-cmd --list-all-zones").stdout == zones
    lab.run(TRANSFER, "systemctl restart firewalld && sleep 2")
    assert in_place(lab, TRANSFER)
    again = lab.apply("--limit", TRANSFER, "--component", "firewall")
    assert "Nothing to do." in again.stdout
    gone = lab.cli("destroy", "--limit", TRANSFER, "--confirm", lab.site.name)
    assert gone.returncode == 0, gone.stdout + gone.stderr
    assert "cloudlet" not in lab.run(TRANSFER, "firewall-cmd --get-policies").stdout
    assert reach(lab, CLIENT, TRANSFER, *ports) == {"OSError"}
