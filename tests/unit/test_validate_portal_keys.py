"""What ``validate`` tells of a portal's redirect URI, and of its secrets and keys."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from cloudlet_deploy import site
from cloudlet_deploy.cli import main
from cloudlet_deploy.site.faults import Severity
from cloudlet_deploy.site.validation import unchecked, validate
from tests.unit.grid_site import certificate, private_key
from tests.unit.portal_site import a_site, some_sites, the_one


def test_the_redirect_uri_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a_site(tmp_path, ondemand_portal_sites=some_sites({}, {}))
    told = [(u.variable, u.detail) for u in unchecked(site.load(tmp_path))]
    for variable, name in {
        "ondemand_portal_servername": "portal.example.org",
        "ondemand_portal_sites": "s1.example.org",
    }.items():
        uri = f"https://{name}/oidc: register"
        assert any(uri in detail for named, detail in told if named == variable), (uri, told)
    assert main(["validate", "-i", str(tmp_path)]) == 0
    assert "https://portal.example.org/oidc" in capsys.readouterr().out


def test_a_portal_that_is_to_go_needs_no_redirect_uri(tmp_path: Path) -> None:
    loaded = a_site(tmp_path, ondemand_portal_state="absent")
    assert "ondemand_portal_servername" not in {u.variable for u in unchecked(loaded)}


@pytest.mark.parametrize(
    "name", ["ondemand_portal_oidc_client_secret", "ondemand_portal_ldap_bind_password"]
)
def test_secrets_in_plain_text(name: str, tmp_path: Path) -> None:
    a_site(tmp_path, **{name: "geheim"})
    for mode, severity in ((0o644, Severity.ERROR), (0o600, Severity.WARNING)):
        (tmp_path / "group_vars/all.yml").chmod(mode)
        found = the_one(validate(site.load(tmp_path)))
        assert (found.severity, found.variable) == (severity, name)
        assert "in plain text" in found.message
        assert "geheim" not in repr(found)


@pytest.fixture
def pair(tmp_path: Path) -> dict[str, object]:
    """Settings that name a certificate and its key, of a kind that grid services do not read."""
    return _pair(tmp_path / "pair", ec.generate_private_key(ec.SECP256R1()))


def _pair(where: Path, key: ec.EllipticCurvePrivateKey) -> dict[str, object]:
    where.mkdir()
    files = {"certificate": certificate(key=key), "key": private_key(key)}
    for name, text in files.items():
        (where / name).write_text(text)
        (where / name).chmod(0o600)
    return {f"portal_front_{name}_file": str(where / name) for name in files}


def test_the_front_takes_keys_of_any_kind(tmp_path: Path, pair: dict[str, object]) -> None:
    assert validate(a_site(tmp_path / "site", **pair)) == []


def test_the_key_of_the_front_is_not_for_everybody(tmp_path: Path, pair: dict[str, object]) -> None:
    (tmp_path / "pair/key").chmod(0o644)
    found = the_one(validate(a_site(tmp_path / "site", **pair)))
    assert found.variable == "portal_front_key_file"
    assert "may be read by everybody" in found.message


def test_certificate_and_key_of_the_front_belong_together(
    tmp_path: Path, pair: dict[str, object]
) -> None:
    other = _pair(tmp_path / "other", ec.generate_private_key(ec.SECP256R1()))
    mixed = {**pair, "portal_front_key_file": other["portal_front_key_file"]}
    found = the_one(validate(a_site(tmp_path / "site", **mixed)))
    assert (found.severity, found.variable) == (Severity.ERROR, "portal_front_key_file")
    assert "do not belong together" in found.message


def test_the_key_of_the_front_is_there(tmp_path: Path, pair: dict[str, object]) -> None:
    (tmp_path / "pair/key").unlink()
    found = the_one(validate(a_site(tmp_path / "site", **pair)))
    assert (found.severity, found.variable) == (Severity.ERROR, "portal_front_key_file")
    assert "does not exist" in found.message
