# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""The part of ``config_set`` that runs on the controller: renders, packs, makes diffs."""

from __future__ import annotations

import base64
import json
import os
import zlib
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template
from ansible_collections.cloudlet.deploy.plugins.plugin_utils import (
    config_set_args,
    config_set_diff,
    lease_holder,
)

_MODULE = "cloudlet.deploy.config_set"
_FACT = "cloudlet_units_pending"
#: In check mode: directories that sets before this one would have made.
_FORESEEN = "cloudlet_foreseen_directories"
_KINDS = ("restart", "reload")


class ActionModule(ActionBase):
    """Renders all files of the set and sends them in one call."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the task; see the module's documentation."""
        task_vars = dict(task_vars or {})
        super().run(tmp, task_vars)
        try:
            request = config_set_args.checked(self._task.args)
            contents = self._contents(request, task_vars)
        except config_set_args.ArgumentError as exc:
            raise AnsibleActionFail(str(exc)) from None
        run = task_vars.get("cloudlet_run_id")
        request["run"] = None if run is None else str(run)
        request["leased"] = bool(task_vars.get("cloudlet_leased"))
        if self._task.check_mode:
            request["foreseen"] = task_vars.get("ansible_facts", {}).get(_FORESEEN) or []
        args = {"payload": _packed(request, contents)}
        if self._task.args.get("state_dir") is not None:
            args["state_dir"] = self._task.args["state_dir"]
        result = self._execute_module(module_name=_MODULE, module_args=args, task_vars=task_vars)
        holder = result.pop("lease", None)
        if holder and lease_holder.is_dead(holder):
            if result.get("failed") and run is None:
                request["disregard"] = holder["run"]
                args["payload"] = _packed(request, contents)
                result = self._execute_module(
                    module_name=_MODULE, module_args=args, task_vars=task_vars
                )
                result.pop("lease", None)
        elif holder and not result.get("failed"):
            # Ansible hands it on as a warning of this task, so of this host.
            self._display.warning(lease_holder.at_work(holder))
        return self._finished(result, contents, task_vars)

    def _contents(self, request: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, bytes]:
        """Content by path. With state absent nothing is rendered: its variables may be gone."""
        if request["state"] == "absent":
            return {}
        contents: dict[str, bytes] = {}
        for entry in request["files"]:
            path = entry["path"]
            where = f"config_set {request['name']}: {path}"
            try:
                if "template" in entry:
                    contents[path] = self._rendered(entry["template"], path, task_vars)
                elif "src" in entry:
                    found = self._find_needle("files", entry["src"])
                    contents[path] = self._from_file(found)
                else:
                    contents[path] = entry["content"].encode("utf-8", "surrogateescape")
            except (AnsibleError, OSError, UnicodeError) as exc:
                source = entry.get("template") or entry.get("src") or "content"
                raise AnsibleActionFail(f"{where} cannot be made from {source}.") from exc
        config_set_args.check_size(
            request["name"], ((path, len(content)) for path, content in contents.items())
        )
        return contents

    def _from_file(self, found: str) -> bytes:
        real = self._loader.get_real_file(found)
        try:
            return Path(real).read_bytes()
        finally:
            self._loader.cleanup_tmp_file(real)

    def _rendered(self, name: str, path: str, task_vars: dict[str, Any]) -> bytes:
        """What ``ansible.builtin.template`` would write, with its variables and search path."""
        source = self._find_needle("templates", name)
        text = trust_as_template(self._loader.get_text_file_contents(source))
        bases = [*task_vars.get("ansible_search_path", []), self._loader.get_basedir()]
        bases.append(os.path.dirname(source))
        searchpath = [where for base in bases for where in (os.path.join(base, "templates"), base)]
        variables = {**_template_variables(name, source, path), **task_vars}
        templar = self._templar.copy_with_new_env(
            searchpath=searchpath, available_variables=variables
        )
        overrides = {"trim_blocks": True, "lstrip_blocks": False, "newline_sequence": "\n"}
        rendered = templar.template(text, escape_backslashes=False, overrides=overrides)
        return ("" if rendered is None else str(rendered)).encode("utf-8", "surrogateescape")

    def _finished(
        self, result: dict[str, Any], contents: dict[str, bytes], task_vars: dict[str, Any]
    ) -> dict[str, Any]:
        """The module's result without what must not be told, with diffs and the fact."""
        result.pop("invocation", None)
        raw = result.pop("raw_diff", [])
        pending = result.pop("all_units_pending", None)
        if result.get("failed") or pending is None:
            return result
        if self._task.diff:
            result["diff"] = config_set_diff.diff_entries(raw, contents)
        facts = task_vars.get("ansible_facts", {}) if self._task.check_mode else {}
        result["ansible_facts"] = {_FACT: _together(facts.get(_FACT) or {}, pending)}
        made = {
            change["name"]
            for change in result["changes"]
            if (change["kind"], change["action"]) == ("directory", "create")
        }
        if self._task.check_mode and made:
            made.update(facts.get(_FORESEEN) or ())
            result["ansible_facts"][_FORESEEN] = sorted(made)
        return result


def _template_variables(name: str, source: str, path: str) -> dict[str, Any]:
    """The names that templates commonly use; the time and the controller's paths are left out.

    Those would make the same configuration differ between two controllers.
    """
    return {
        "ansible_managed": "Managed by cloudlet-deploy: changes made by hand are replaced.",
        "template_path": name,
        "template_fullpath": source,
        "template_destpath": path,
    }


def _packed(request: dict[str, Any], contents: dict[str, bytes]) -> str:
    """The request as one opaque text; the module's ``decode`` is its inverse."""
    files = [
        {key: value for key, value in entry.items() if key not in config_set_args.SOURCES}
        | {"content": base64.b64encode(contents[entry["path"]]).decode("ascii")}
        for entry in request["files"]
        if entry["path"] in contents
    ]
    document = json.dumps({**request, "files": files}).encode("utf-8")
    return base64.b64encode(zlib.compress(document, 6)).decode("ascii")


def _together(before: dict[str, Any], now: dict[str, list[str]]) -> dict[str, list[str]]:
    """Pending units of this set and of those that came earlier in the play."""
    both = {kind: set(before.get(kind) or []) | set(now[kind]) for kind in _KINDS}
    both["reload"] -= both["restart"]
    return {kind: sorted(both[kind]) for kind in _KINDS}
