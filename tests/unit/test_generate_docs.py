"""``scripts/generate-docs``: the reference is made from the code, and --check tells when not."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from cloudlet_deploy.errors import ExitCode
from cloudlet_deploy.site import schema

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "generate-docs"


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The script's functions, writing below ``tmp_path``."""
    found = runpy.run_path(str(SCRIPT))
    for name in ("pages", "outdated", "main"):
        monkeypatch.setitem(found[name].__globals__, "ROOT", tmp_path)
    return found


def _run(script: dict[str, Any], monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    monkeypatch.setattr(sys, "argv", ["generate-docs", *options])
    code: int = script["main"]()
    return code


def test_check_tells_what_is_out_of_date(
    script: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _run(script, monkeypatch, "--check") == 1
    assert list(tmp_path.iterdir()) == []
    assert _run(script, monkeypatch) == 0
    assert _run(script, monkeypatch, "--check") == 0
    page = tmp_path / "docs/reference/exit-codes.md"
    page.write_text(page.read_text().replace("`75`", "`76`"))
    capsys.readouterr()
    assert _run(script, monkeypatch, "--check") == 1
    assert "+| `75` | LOCKED |" in capsys.readouterr().out


def test_every_code_and_every_variable_has_its_row(script: dict[str, Any], tmp_path: Path) -> None:
    pages = script["pages"]()
    codes = pages[tmp_path / "docs/reference/exit-codes.md"]
    assert all(f"| `{int(code)}` | {code.name} | {code.meaning} |" in codes for code in ExitCode)
    for role, spec in schema.role_specs().items():
        page = pages[tmp_path / f"roles/{role}/README.md"]
        assert all(f"| `{name}` |" in page for name in spec.options)
    assert "| `grid_trust_gridmap[].dn` | str | *required* |" in pages[
        tmp_path / "roles/grid_trust/README.md"
    ]  # fmt: skip
