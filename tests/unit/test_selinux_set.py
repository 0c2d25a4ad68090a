"""``selinux_set`` over a directory of ordinary files that stands for a host with SELinux.

On a virtual machine the same was seen with the real policy store and kernel.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import (
    selinux_policy,
    selinux_relabel,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.host_state import Ledger, StateError
from ansible_collections.cloudlet.deploy.plugins.module_utils.selinux_engine import Engine
from ansible_collections.cloudlet.deploy.plugins.module_utils.selinux_policy import Policy, Refused

from tests.unit.selinux_host import (
    CIL,
    CONNECT,
    CONTAINERS,
    EVERYTHING,
    RELAY,
    RULE,
    TYPES,
    Host,
    whole,
)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host(tmp_path)
    monkeypatch.setattr(Policy, "commit", lambda _self, wanted: host.commit(wanted))
    monkeypatch.setattr(
        Policy, "knows", lambda _self, type_: type_ in TYPES or type_ == "cloudlet_t"
    )
    monkeypatch.setattr(selinux_relabel.commands, "run", host.run)
    monkeypatch.setattr(selinux_relabel, "mounts", lambda: [selinux_relabel.Mount("/", "ext4")])
    monkeypatch.setattr(selinux_relabel, "homes", lambda: {"/srv/people/ann": "the home of ann"})
    return host


def told(result: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    return [(c["kind"], c["name"], c["action"], c["detail"]) for c in result["changes"]]


def both(host: Host, component: str | None = "portal", **asked: Any) -> list[Any]:
    """What is changed, which is what check mode says; and once more nothing is."""
    before = host.snapshot()
    planned = host(component, check=True).present(asked)
    assert host.snapshot() == before
    made = host(component).present(asked)
    assert made == planned
    ledger = (host.state / "ledger.json").read_bytes() if host.state.exists() else b""
    commits = len(host.commits)
    again = host(component).present(asked)
    assert not again["changed"] and not again["changes"] and len(host.commits) == commits
    assert not ledger or (host.state / "ledger.json").read_bytes() == ledger
    return told(made)


def test_all_comes_in_one_transaction_and_goes_in_one(host: Host) -> None:
    pristine = host.snapshot()
    digest = both(host, **EVERYTHING)[0][3].removeprefix("none -> ")
    assert len(host.commits) == 1 and len(digest) == 12
    assert told(host(None, check=True).absent()) == [
        ("policy-module", "cloudlet_mount", "restore", f"{digest} -> none"),
        ("boolean", CONNECT, "restore", "in the store: off -> not set"),
        ("boolean", RELAY, "restore", "on -> off"),
        ("context", RULE, "restore", "container_file_t -> none"),
        ("context", CONTAINERS, "restore", "like /var/lib/containers -> none"),
        ("port", "tcp/8444", "restore", "http_port_t -> none"),
        ("login", "svc", "restore", "unconfined_u:s0 -> none"),
        ("label", "/srv/x", "restore", "2 paths, container_file_t -> var_t"),
    ]
    assert host.live(RELAY) == "1" and host.labels["/srv/x/a"] == "container_file_t"
    gone = host(None).absent()
    assert told(host(None).absent()) == [] and len(gone["changes"]) == 8
    assert len(host.commits) == 2 and host.snapshot() == pristine
    assert Ledger(str(host.state)).entries == {}


def test_what_is_told_when_it_comes(host: Host) -> None:
    assert [(*one[:3], one[3].split(" -> ")[-1]) for one in both(host, **EVERYTHING)[1:]] == [
        ("boolean", CONNECT, "set", "off"),
        ("boolean", RELAY, "set", "on"),
        ("context", RULE, "set", "container_file_t"),
        ("context", CONTAINERS, "set", "like /var/lib/containers"),
        ("port", "tcp/8444", "set", "http_port_t"),
        ("login", "svc", "set", "unconfined_u:s0"),
        ("label", "/srv/x", "set", "container_file_t"),
    ]


def test_a_boolean_that_was_turned_round_is_put_back(host: Host) -> None:
    both(host, **EVERYTHING)
    # By a hand, until the next boot: no transaction is needed.
    (host.kernel / "booleans" / RELAY).write_text("0 0")
    commits = len(host.commits)
    assert both(host, **EVERYTHING) == [("boolean", RELAY, "set", "off -> on")]
    assert len(host.commits) == commits and host.live(RELAY) == "1"
    assert (host.kernel / "commit_pending_bools").read_text() == "1"
    # By an update, from the next boot on.
    (host.store / "booleans.local").write_text(f"{RELAY}=0\n")
    assert both(host, **EVERYTHING) == [
        ("boolean", CONNECT, "set", "in the store: not set -> off"),
        ("boolean", RELAY, "set", "in the store: off -> on"),
    ]


def test_what_is_named_no_more_gets_back_what_a_hand_had_made(host: Host) -> None:
    theirs: dict[str, dict[str, Any]] = {
        "boolean": {CONNECT: True},
        "context": {RULE: whole("zope_port_t")},
        "policy-module": {"cloudlet_mount": "(old)\n"},
    }
    host.by_hand(theirs)
    (host.kernel / "booleans" / CONNECT).write_text("1 1")
    (host.files / "file_contexts.subs").write_text(f"/opt/a /opt/b\n{CONTAINERS} /opt/c\n")
    before = host.snapshot()
    asked = {key: value for key, value in EVERYTHING.items() if key != "relabel"}
    both(host, **asked)
    assert (host.files / "file_contexts.subs").read_text() == (
        f"/opt/a /opt/b\n{CONTAINERS} /var/lib/containers\n"
    )
    both(host)
    assert host.snapshot() == before


def test_what_two_want_stays_until_the_last_goes_and_they_must_agree(host: Host) -> None:
    both(host, "one", booleans={RELAY: True})
    both(host, "two", booleans={RELAY: True})
    with pytest.raises(Refused, match=f"boolean {RELAY}: wanted off, but on by one and two"):
        host("three").present({"booleans": {RELAY: False}})
    assert told(host("one").absent()) == [] and host.live(RELAY) == "1"
    assert both(host, "two", booleans={RELAY: False}) == [("boolean", RELAY, "set", "on -> off")]
    host("two").absent()
    assert Ledger(str(host.state)).entries == {}


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_killed_call_is_finished_by_the_next(host: Host, moment: str) -> None:
    pristine = host.snapshot()
    host.kill_at = moment
    with pytest.raises(KeyboardInterrupt):
        host().present(EVERYTHING)
    host.kill_at = ""
    both(host, **EVERYTHING)
    assert host.live(RELAY) == "1" and host.labels["/srv/x"] == "container_file_t"
    host.kill_at = moment
    with pytest.raises(KeyboardInterrupt):
        host(None).absent()
    host.kill_at = ""
    host(None).absent()
    assert host.snapshot() == pristine and Ledger(str(host.state)).entries == {}


def test_a_transaction_that_is_refused_changes_nothing_and_can_be_taken_back(host: Host) -> None:
    pristine = host.snapshot()
    host.broken = "the policy was not changed: Failed to resolve"
    with pytest.raises(Refused, match="Failed to resolve"):
        host().present(EVERYTHING)
    assert host.snapshot() == pristine
    host.broken = ""
    assert told(host().absent()) == [] and Ledger(str(host.state)).entries == {}


@pytest.mark.parametrize(
    ("asked", "message", "step"),
    [
        ({"booleans": {"httpd_can_network_rely": True}}, f"did you mean {RELAY}?", ""),
        ({"booleans": {RELAY: "on"}}, "'on' is neither true nor false", ""),
        ({"contexts": [{"path": "/srv/x", "type": "contaner_file_t"}]},
         "no type contaner_file_t; did you mean container_file_t?", ""),
        ({"contexts": [{"path": "/etc/pki/x(/.*)?", "type": "var_t"}]}, "keeps its labels", ""),
        ({"contexts": [{"path": "/var/run/x(/.*)?", "type": "var_t"}]},
         "/var/run is labeled like /run", "Write it as /run/x(/.*)?."),
        ({"contexts": [{"path": "/srv/(", "type": "var_t"}]}, "no regular expression", ""),
        ({"contexts": [{"path": "/.*", "type": "var_t"}]}, "no pattern of absolute paths", ""),
        ({"equivalents": [{"path": "/var/run", "like": "/srv"}]}, "itself has it like /run", ""),
        ({"ports": [{"port": "70000", "protocol": "tcp", "type": "http_port_t"}]}, "neither", ""),
        ({"modules": [{"name": "container", "cil": CIL}]}, "hide another one", "cloudlet_"),
        ({"modules": [{"name": "x", "cil": "(allow"}]}, "parentheses", ""),
        ({"logins": [{"account": "svc", "user": "x y", "levels": "s0"}]}, "is no name", ""),
        ({"logins": [{"account": "svc", "user": "u", "levels": "c0"}]}, "is no level", ""),
        ({"relabel": ["/home/ann"]}, "what is in /home (homes) keeps its labels", "directory"),
    ],
)  # fmt: skip
def test_slips_are_refused_before_anything_is_done(
    host: Host, asked: dict[str, Any], message: str, step: str
) -> None:
    for check in (True, False):
        with pytest.raises(Refused, match=re.escape(message)) as caught:
            host(check=check).present({**EVERYTHING, **asked})
        assert step in caught.value.next_step and caught.value.next_step
    assert not host.state.exists() and host.commits == []


def test_what_a_package_may_bring_is_only_warned_of_in_a_plan(host: Host) -> None:
    asked = {"booleans": {"zebra": True}, "contexts": [{"path": "/srv/x", "type": "new_t"}]}
    planned = host(check=True).present(asked)
    assert len(planned["changes"]) == 2
    assert [w for w in planned["warnings"] if "package" in w] == planned["warnings"] != []
    with pytest.raises(Refused, match=r"no boolean zebra.*no type new_t"):
        host().present(asked)
    module = {"name": "cloudlet_x", "cil": "(type new_t) ; (\n(roletype object_r new_t)"}
    del asked["booleans"]
    assert host().present({**asked, "modules": [module]})["changed"]


def test_ports_of_another_hand_are_not_taken(host: Host) -> None:
    theirs = "staff_u:object_r:zope_port_t:s0"
    host.by_hand({"port": {"tcp/8440-8450": theirs, "udp/1": whole("var_t")}})
    assert host.policy.found("port") == {
        "tcp/8440-8450": theirs, "udp/1": whole("var_t")}  # fmt: skip
    for port in ("8444", "8440-8450"):
        ports = [{"port": port, "protocol": "tcp", "type": "http_port_t"}]
        with pytest.raises(Refused, match=r"has a local setting .*already"):
            host().present({"ports": ports})
    # The same one is as good, and ours makes room for ours.
    ours = {"port": "8440-8450", "protocol": "tcp", "type": "zope_port_t"}
    assert both(host, ports=[ours]) == []
    host().absent()
    assert "tcp/8440-8450" in host.policy.found("port")
    first = {"port": "9000-9010", "protocol": "tcp", "type": "http_port_t"}
    both(host, ports=[first])
    assert len(both(host, ports=[{**first, "port": "9005"}])) == 2


def test_a_changed_module_is_installed_again(host: Host) -> None:
    both(host, modules=[{"name": "cloudlet_x", "cil": "(a)"}])
    ((kind, name, action, detail),) = both(host, modules=[{"name": "cloudlet_x", "cil": "(b)"}])
    assert (kind, name, action) == ("policy-module", "cloudlet_x", "set")
    assert re.fullmatch(r"[0-9a-f]{12} -> [0-9a-f]{12}", detail)
    (host.store / "modules/400/cloudlet_x/lang_ext").write_text("pp")
    with pytest.raises(Refused, match="not in CIL"):
        host().present({"modules": [{"name": "cloudlet_x", "cil": "(b)"}]})


@pytest.mark.parametrize(
    ("now", "configured", "accept", "refused"),
    [
        ("1", "enforcing", [], ""),
        ("0", "enforcing", [], "permissive now"),
        ("1", "permissive", [], "permissive in /etc/selinux/config"),
        ("0", "permissive", ["permissive"], ""),
        ("0", "disabled", ["permissive"], "disabled in /etc/selinux/config"),
        ("", "disabled", ["permissive"], "disabled now and disabled in"),
        ("", "disabled", ["disabled"], ""),
        # A kernel without it does not ask what the file says.
        ("", "enforcing", ["disabled"], ""),
        ("", "enforcing", [], "disabled now"),
    ],
)
def test_only_an_accepted_mode_is_let_pass(
    host: Host, now: str, configured: str, accept: list[str], refused: str
) -> None:
    host.config(configured)
    (host.kernel / "enforce").write_text(now)
    if not now:
        (host.kernel / "enforce").unlink()
    if refused:
        with pytest.raises(Refused, match=refused) as caught:
            host().present(EVERYTHING, accept)
        assert "selinux_accept_mode" in caught.value.next_step and host.commits == []
        return
    result = host().present(EVERYTHING, accept)
    mode = {"1": "enforcing", "0": "permissive", "": "disabled"}[now]
    assert result["mode"] == mode
    assert bool(result["changes"]) is (mode != "disabled") and bool(host.commits) is bool(now)
    assert bool(result["warnings"]) is (mode == "disabled")


def test_a_host_without_selinux_is_disabled_and_has_nothing_to_give_back(tmp_path: Path) -> None:
    engine = Engine(None, str(tmp_path / "state"), str(tmp_path))
    assert engine.absent() == {
        "changed": False, "changes": [], "mode": "disabled", "warnings": [],
    }  # fmt: skip
    assert not (tmp_path / "state").exists()


def test_what_was_set_is_given_back_where_selinux_was_disabled_since(host: Host) -> None:
    both(host, **EVERYTHING)
    (host.kernel / "enforce").unlink()
    for path in (host.kernel / "booleans").iterdir():
        path.unlink()
    host.config("disabled")
    assert ("boolean", RELAY, "restore", "in the store: on -> not set") in told(host().absent())
    assert Ledger(str(host.state)).entries == {} and host.policy.found("boolean") == {}


def test_certificates_in_a_directory_are_found_before_anything_is_changed(host: Host) -> None:
    host.labels["/srv/x/tls.key"] = "var_t"
    with pytest.raises(Refused, match=r"/srv/x/tls.key looks like a certificate"):
        host().present(EVERYTHING)
    assert host.commits == []


def test_a_directory_that_cannot_be_given_back_does_not_keep_the_rest(host: Host) -> None:
    both(host, **EVERYTHING)
    host.labels["/srv/x/tls.key"] = "container_file_t"
    result = host(None).absent()
    assert "tls.key" in result["warnings"][0] and host.policy.found("context") == {}
    assert Ledger(str(host.state)).entries == {}


def test_a_damaged_ledger_is_refused_by_name(host: Host) -> None:
    both(host, **EVERYTHING)
    path = host.state / "ledger.json"
    document = json.loads(path.read_text())
    document["entries"][f"boolean:{RELAY}"]["before"] = "on"
    path.write_text(json.dumps(document))
    with pytest.raises(StateError, match=f"boolean:{RELAY} is not as it was written"):
        host(None).absent()


def test_without_bindings_the_next_step_names_the_package(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(selinux_policy, "_PYTHONS", ())
    with pytest.raises(Refused, match="no Python with libsemanage") as caught:
        host.policy.commit({"boolean": {RELAY: True}})
    assert "python3-semanage" in caught.value.next_step
