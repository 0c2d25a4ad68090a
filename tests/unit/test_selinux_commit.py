"""The transaction of ``selinux_set``: which calls it makes of libsemanage, and when it gives up."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import selinux_commit


class Semanage:
    """Writes down its calls; answers as the bindings do, ``fails`` with -1 or as OSError."""

    SEMANAGE_FCONTEXT_ALL, SEMANAGE_PROTO_TCP = 0, 0

    def __init__(self, fails: str = "", raises: bool = False) -> None:
        self.fails, self.raises = fails, raises
        self.calls: list[str] = []
        self.texts: list[str] = []

    def __getattr__(self, name: str) -> Any:
        short = name.removeprefix("semanage_")

        def call(*arguments: Any) -> Any:
            plain = [str(one) for one in arguments if one != "handle"]
            self.calls.append(" ".join([short, *plain]))
            if short == self.fails:
                if self.raises:
                    raise OSError(0, "Error")
                return -1
            if short == "module_install_file":
                path = Path(arguments[1])
                self.texts.append(f"{path.name}: {path.read_text()}")
            answers = {"handle_create": "handle", "is_managed": 1}
            pair = short.endswith(("_create", "_from_string"))
            return answers.get(short, [0, short] if pair else 0)

        return call


WANTED = {
    "boolean": {"a": True, "b": None},
    "context": {"/x": "u:r:t", "/y": None},
    "policy-module": {"m": "(cil)", "n": None},
    "port": {"tcp/1-9": "u:r:p", "tcp/7": None},
    "login": {"svc": "unconfined_u:s0", "gone": None},
}


def test_all_kinds_go_in_one_transaction() -> None:
    semanage = Semanage()
    selinux_commit.commit(semanage, WANTED)
    assert semanage.texts == ["m.cil: (cil)"]
    verbs = [call.split()[0] for call in semanage.calls]
    assert verbs.count("begin_transaction") == verbs.count("commit") == 1
    assert verbs[-2:] == ["disconnect", "handle_destroy"]
    for verb in ("module_remove n", "bool_set_value bool_create 1", "set_default_priority 400",
                 "bool_del_local bool_key_create", "fcontext_modify_local fcontext_key_create",
                 "fcontext_del_local fcontext_key_create", "port_set_range port_create 1 9",
                 "port_key_create 7 7 0", "port_del_local port_key_create",
                 "seuser_set_sename seuser_create unconfined_u",
                 "seuser_set_mlsrange seuser_create s0",
                 "seuser_del_local seuser_key_create"):  # fmt: skip
        assert any(call.startswith(verb) for call in semanage.calls), verb


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("fails", ["connect", "commit", "port_modify_local"])
def test_a_step_that_fails_ends_it(
    fails: str, raises: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    semanage = Semanage(fails, raises)
    monkeypatch.setitem(sys.modules, "semanage", semanage)
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(WANTED)))
    assert selinux_commit.main() == selinux_commit.REFUSED
    # Without a cause in the bindings' exception, libsemanage's own words have to do.
    assert bool(capsys.readouterr().err) is not raises
    assert fails == "commit" or "commit" not in semanage.calls


def test_without_a_store_and_without_bindings(monkeypatch: pytest.MonkeyPatch) -> None:
    unmanaged = SimpleNamespace(
        semanage_handle_create=lambda: "h", semanage_is_managed=lambda _h: 0
    )
    with pytest.raises(selinux_commit.Failed, match="no policy store"):
        selinux_commit.commit(unmanaged, {})
    monkeypatch.setitem(sys.modules, "semanage", None)
    assert selinux_commit.main() == selinux_commit.NO_BINDINGS
