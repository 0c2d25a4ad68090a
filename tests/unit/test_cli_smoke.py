"""What ``smoke`` refuses before it loads anything, and the profile that it makes of its options."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cloudlet_deploy import content, site
from cloudlet_deploy.cli import main
from cloudlet_deploy.errors import InvalidSiteError, UsageError
from cloudlet_deploy.lab.ca import Pki
from cloudlet_deploy.smoke import profile, settings
from cloudlet_deploy.smoke.types import Kind


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's directory with certificate and key."""
    pki = Pki(tmp_path_factory.mktemp("pki"))
    pki.ensure(())
    return pki.user("alice")


@pytest.fixture
def inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example of a real site, for somebody without any grid certificate."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("X509_USER_PROXY", "X509_USER_CERT", "X509_USER_KEY", "X509_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    return Path(shutil.copytree(content.root() / "inventories" / "ucsd", tmp_path / "site"))


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--clients", "abc"], "'abc' is no whole number"),
        (["--clients", "50,0"], "'0' is no whole number"),
        (["--clients", ""], "'' is no whole number"),
        (["--clients", "100001"], "from 1 to 100000"),
        (["--entries", "10,-3"], "'-3' is no whole number"),
        (["--full", "--clients", "5"], "--full has its own"),
        (["--key", "k.pem"], "--key is the key of --cert"),
        (["--cert", "c.pem", "--proxy", "p.pem"], "exclude each other"),
        ([], "There is no grid certificate to test with"),
        (["--seconds", "0"], "--seconds"),
    ],
)
def test_wrong_options_are_usage(
    inventory: Path, capsys: pytest.CaptureFixture[str], args: list[str], said: str
) -> None:
    assert main(["smoke", "-i", str(inventory), *args]) == 64
    assert said in " ".join(capsys.readouterr().err.split())


def credential(user: Path) -> list[str]:
    certificates = str(user.parents[1] / "certificates")
    cert, key = str(user / "usercert.pem"), str(user / "userkey.pem")
    return ["--cert", cert, "--key", key, "--ca-dir", certificates]


def test_a_production_site_is_not_loaded_without_a_terminal(
    inventory: Path, user: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = ["-e", "{smoke_production: true}"]
    assert main(["smoke", "-i", str(inventory), *credential(user), *mark]) == 64
    assert "marked as production" in capsys.readouterr().err


def test_an_unknown_baseline_is_usage_and_a_broken_one_a_failed_check(
    inventory: Path, user: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["smoke", "-i", str(inventory), *credential(user), "--baseline"]
    assert main([*args, "20200101T000000Z-000000"]) == 64
    broken = tmp_path / "campaign.json"
    broken.write_text("{")
    assert main([*args, str(broken)]) == 5
    assert str(broken) in capsys.readouterr().err.replace("\n", "")


@pytest.mark.parametrize(
    ("settings_", "said"),
    [
        ({"smoke_clients": "many"}, "smoke_clients"),
        ({"smoke_seconds": 0}, "smoke_seconds"),
        ({"smoke_cliens": [5]}, "Did you mean smoke_clients?"),
    ],
)
def test_wrong_settings_are_told_by_validate(
    inventory: Path, capsys: pytest.CaptureFixture[str], settings_: dict[str, object], said: str
) -> None:
    import yaml

    (inventory / "group_vars" / "zz_smoke.yml").unlink(missing_ok=True)
    everywhere = inventory / "group_vars" / "all.yml"
    everywhere.write_text(everywhere.read_text() + yaml.safe_dump(settings_))
    assert main(["validate", "-i", str(inventory)]) == 4
    assert said in capsys.readouterr().out


def test_settings_that_contradict_each_other_are_refused(inventory: Path) -> None:
    for name, value in (("bestman", 5), ("gridftp", 7)):
        path = inventory / "group_vars" / f"{name}.yml"
        path.write_text(f"{path.read_text()}\nsmoke_seconds: {value}\n")
    with pytest.raises(InvalidSiteError, match=r"smoke_seconds is 5 .* and 7 "):
        settings.of_site(site.load((inventory,)))


def test_the_quick_profile_is_the_one_that_the_help_tells(inventory: Path) -> None:
    found = settings.quick(settings.of_site(site.load((inventory,))), gridftp=True)
    points = [(p.kind, p.clients, p.entries) for p in found.points("/base")]
    assert points == [
        (Kind.LS, 50, 10),
        (Kind.LS, 200, 10),
        (Kind.LS, 500, 10),
        (Kind.LS, 50, 100),
        (Kind.LS, 50, 1000),
        (Kind.MLSC, 50, 10),
    ]
    assert found.seconds() < 150 and found.sizes == (10, 100, 1000)
    assert {p.path for p in found.points("/base")} == {"/base/10", "/base/100", "/base/1000"}


def test_the_full_profile_ends_with_the_overload() -> None:
    points = profile.FULL.points("/base")
    assert [p.number for p in points] == list(range(1, len(points) + 1))
    assert [p.overload for p in points[-2:]] == [False, True]
    assert points[-1].clients == profile.FULL.most_clients == 4000
    assert len({(p.kind, p.clients, p.entries, p.overload) for p in points}) == len(points)


def test_numbers_refuse_digits_of_other_scripts() -> None:
    assert profile.numbers("50, 200,50", "--clients", 1000) == (50, 200)
    with pytest.raises(UsageError):
        profile.numbers("\u0665", "--clients", 1000)
