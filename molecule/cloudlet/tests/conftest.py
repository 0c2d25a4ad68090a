"""Hosts and visitors that all tests of the scenario share."""

from __future__ import annotations

import pytest
from hosts import come, host
from testinfra.host import Host
from visitor import IDP, PORTAL, Visitor


@pytest.fixture(scope="session")
def portal() -> Host:
    return host(PORTAL)


@pytest.fixture(scope="session")
def directory() -> Host:
    return host("ldap.lab.test")


@pytest.fixture(scope="session")
def provider() -> Host:
    return host(IDP)


@pytest.fixture(scope="session")
def visitors() -> dict[str | None, Visitor]:
    """One of each kind, each with a session as far as they get one."""
    return {sub: come(sub) for sub in (None, "unknown", "mallory", "carol", "bob", "alice")}
