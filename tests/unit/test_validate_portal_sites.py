"""What ``validate`` tells of other programs behind the portal's gate."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from cloudlet_deploy.site.validation import validate
from tests.unit.portal_site import a_site, some_sites, the_one

#: The second of two programs, and what is told of it.
WRONG: dict[str, tuple[Mapping[str, object], str, str]] = {
    "everybody reaches it": ({"group": "users"}, "group", "is users, a group of the system"),
    "the portal's name": (
        {"servername": "Portal.example.org"},
        "servername",
        "the name of the portal",
    ),
    "the first one's name": (
        {"servername": "s0.example.org"},
        "servername",
        "the name of the site in line",
    ),
}


@pytest.mark.parametrize(("second", "key", "told"), WRONG.values(), ids=WRONG)
def test_what_is_wrong(second: Mapping[str, object], key: str, told: str, tmp_path: Path) -> None:
    found = the_one(validate(a_site(tmp_path, ondemand_portal_sites=some_sites({}, second))))
    assert found.variable == f"ondemand_portal_sites[1].{key}"
    assert told in found.message


def test_two_of_one_group_are_good(tmp_path: Path) -> None:
    assert validate(a_site(tmp_path, ondemand_portal_sites=some_sites({}, {}))) == []
