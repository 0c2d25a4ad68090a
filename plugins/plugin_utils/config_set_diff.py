# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Makes the diffs of ``config_set`` on the controller, from what the module saw."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any


def diff_entries(raw: list[dict[str, Any]], contents: Mapping[str, bytes]) -> list[dict[str, str]]:
    """Entries for Ansible's ``diff`` result.

    ``raw`` is the module's account of each changed path, ``contents`` the rendered files.
    Secret and binary files are shown by their digests, never by content.
    """
    entries: list[dict[str, str]] = []
    for change in raw:
        if change["kind"] == "file" and change["action"] != "attributes":
            entries.append(_content(change, contents))
        entries += _attributes(change)
    return entries


def _content(change: dict[str, Any], contents: Mapping[str, bytes]) -> dict[str, str]:
    path = change["path"]
    before = _decoded(change.get("before_content"))
    after = _decoded(change.get("target_content"))
    if after is None and not change["secret"]:
        after = contents.get(path)
    sides = [(change.get("before"), before), (change.get("target"), after)]
    texts = [b"" if state is None else content for state, content in sides]
    if change["secret"] or not all(_is_text(text) for text in texts):
        shown = [_digest(state, change["secret"]) for state, _ in sides]
    else:
        shown = [text.decode("utf-8") for text in texts if text is not None]
    return {
        "before_header": path if change.get("before") else f"{path} (absent)",
        "after_header": path if change.get("target") else f"{path} (absent)",
        "before": shown[0],
        "after": shown[1],
    }


def _attributes(change: dict[str, Any]) -> list[dict[str, str]]:
    told = [
        "".join(f"{key}: {state[key]}\n" for key in ("owner", "group", "mode")) if state else ""
        for state in (change.get("before"), change.get("target"))
    ]
    if told[0] == told[1]:
        return []
    header = f"{change['path']} ({change['kind']} attributes)"
    return [{"before_header": header, "after_header": header, "before": told[0], "after": told[1]}]


def _digest(state: dict[str, Any] | None, secret: bool) -> str:
    if state is None:
        return ""
    kind = "secret" if secret else "binary or large"
    return f"({kind}) sha256 {state['sha256']}\n"


def _decoded(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


def _is_text(content: bytes | None) -> bool:
    if content is None or b"\0" in content:
        return False
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
