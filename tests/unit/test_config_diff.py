"""Diffs of config_set: what is shown, and what never is."""

from __future__ import annotations

import base64
from typing import Any

from ansible_collections.cloudlet.deploy.plugins.plugin_utils.config_set_diff import diff_entries

SIDE = {"owner": "root", "group": "root", "mode": "0644", "sha256": "d1", "size": 3}


def change(**more: Any) -> dict[str, Any]:
    base = {"path": "/etc/a", "kind": "file", "action": "change", "secret": False}
    sides = {"before": SIDE, "target": {**SIDE, "sha256": "d2"}}
    return {**base, **sides, "before_content": base64.b64encode(b"old\n").decode(), **more}


def test_text_is_shown() -> None:
    assert diff_entries([change()], {"/etc/a": b"new\n"}) == [
        {"before_header": "/etc/a", "after_header": "/etc/a", "before": "old\n", "after": "new\n"}
    ]


def test_created_and_removed_files_say_absent() -> None:
    made = change(before=None, action="create", before_content=None)
    entry = diff_entries([made], {"/etc/a": b"new\n"})[0]
    assert entry["before_header"] == "/etc/a (absent)" and entry["before"] == ""
    gone = change(target=None, action="remove")
    entry = diff_entries([gone], {})[0]
    assert entry["after_header"] == "/etc/a (absent)" and entry["after"] == ""
    assert entry["before"] == "old\n"


def test_attributes_have_their_own_entry() -> None:
    only = change(action="attributes", target={**SIDE, "mode": "0600"})
    [entry] = diff_entries([only], {"/etc/a": b"same"})
    assert entry["before_header"] == "/etc/a (file attributes)"
    assert (entry["before"], entry["after"]) == (
        "owner: root\ngroup: root\nmode: 0644\n",
        "owner: root\ngroup: root\nmode: 0600\n",
    )
    both = diff_entries([change(target={**SIDE, "owner": "x", "sha256": "d2"})], {"/etc/a": b"n"})
    assert len(both) == 2


def test_secret_shows_digests_even_if_contents_are_there() -> None:
    entries = diff_entries([change(secret=True)], {"/etc/a": b"hunter2\n"})
    assert entries[0]["before"] == "(secret) sha256 d1\n"
    assert entries[0]["after"] == "(secret) sha256 d2\n"
    assert "hunter2" not in str(entries) and "old" not in str(entries)


def test_binary_and_unknown_contents_show_digests() -> None:
    for after in (b"a\0b", b"\xff\xfe"):
        [entry] = diff_entries([change()], {"/etc/a": after})
        assert entry["after"] == "(binary or large) sha256 d2\n"
        assert entry["before"] == "(binary or large) sha256 d1\n"
    [entry] = diff_entries([change(before_content=None)], {"/etc/a": b"text"})
    assert entry["before"] == "(binary or large) sha256 d1\n"


def test_what_is_put_back_comes_from_the_host() -> None:
    back = change(target_content=base64.b64encode(b"found\n").decode())
    assert diff_entries([back], {})[0]["after"] == "found\n"
