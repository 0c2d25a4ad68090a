"""What the interop tests share: the stand-in built once, and a certificate authority."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudlet_deploy.lab import standin
from cloudlet_deploy.lab.ca import Pki


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prepared home of the BeStMan stand-in."""
    if not (standin.JAR_DIRECTORY / "jglobus-gss.jar").exists():
        pytest.skip("not installed: libjglobus-gss-java")
    home = tmp_path_factory.mktemp("standin") / "home"
    standin.build(home)
    return home


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """The lab's certificate authority with one host, ``localhost``."""
    pki = Pki(tmp_path_factory.mktemp("pki"))
    pki.ensure(("localhost",))
    return pki
