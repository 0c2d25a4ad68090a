# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Takes down what a role needs of a host, for one later task that looks at all of it."""

from __future__ import annotations

from ansible.plugins.action import ActionBase

_FACT = "cloudlet_needs"


def _list(**options):
    return {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": options,
    }


_TEXT = {"type": "str", "required": True}
_MB = {"type": "int", "required": True}
#: Ways to read what is in force, and what each of them must be told.
_READ_WITH = {
    "at_start": [],
    "backlog": ["port"],
    "environment": ["name"],
    "hadoop": ["port", "key"],
    "jvm": ["flag"],
    "limit": ["name"],
    "sysctl": ["name"],
    "tasks_max": [],
}
#: Ways to read how much of it is in use, likewise.
_USE_WITH = {"files": [], "jmx": ["bean", "attribute"], "maps": [], "threads": []}
_SPEC = {
    "component": _TEXT,
    "accounts": {"type": "list", "elements": "dict", "default": []},
    "groups": {"type": "list", "elements": "dict", "default": []},
    "authorities": {"type": "list", "elements": "str", "default": []},
    "certificates": _list(
        path=_TEXT,
        source={"type": "str", "default": ""},
        text={"type": "str", "default": ""},
        host={"type": "str", "default": ""},
    ),
    "directories": _list(
        path=_TEXT,
        what=_TEXT,
        mounted={"type": "bool", "default": False},
        free_mb={"type": "int", "default": 0},
    ),
    "health": {"type": "list", "elements": "dict", "default": []},
    "memory": _list(what=_TEXT, mb=_MB, at_most={"type": "bool", "default": False}),
    "names": _list(name=_TEXT, what=_TEXT),
    "packages": {"type": "list", "elements": "str", "default": []},
    "ports": _list(
        port={"type": "int", "required": True},
        last={"type": "int"},
        unit={"type": "str", "default": ""},
        what=_TEXT,
    ),
    "probes": _list(
        argv={"type": "list", "elements": "str", "required": True}, what=_TEXT, next_step=_TEXT
    ),
    "programs": _list(name=_TEXT, argv={"type": "list", "elements": "str", "required": True}),
    "space": _list(path=_TEXT, what=_TEXT, mb=_MB),
    "tuned": _list(
        variable=_TEXT,
        unit={"type": "str", "default": ""},
        file=_TEXT,
        pattern=_TEXT,
        read={
            "type": "dict",
            "required": True,
            "options": {
                "kind": {"type": "str", "required": True, "choices": list(_READ_WITH)},
                "name": {"type": "str"},
                "flag": {"type": "str"},
                "divide": {"type": "int", "default": 1},
                "port": {"type": "int"},
                "key": {"type": "str"},
            },
            "required_if": [("kind", kind, more) for kind, more in _READ_WITH.items()],
        },
        **{"as": {"type": "str", "choices": ["int", "str", "bool"], "default": "int"}},
        values={"type": "dict", "default": {}},
        use={
            "type": "dict",
            "options": {
                "kind": {"type": "str", "required": True, "choices": list(_USE_WITH)},
                "bean": {"type": "str"},
                "attribute": {"type": "str"},
            },
            "required_if": [("kind", kind, more) for kind, more in _USE_WITH.items()],
        },
    ),
    "units": {"type": "list", "elements": "str", "default": []},
    "watches": _list(
        name=_TEXT,
        raw=_TEXT,
        raw_pattern=_TEXT,
        output=_TEXT,
        output_pattern=_TEXT,
        limit={"type": "int", "required": True},
        mounts={"type": "list", "elements": "str", "default": []},
    ),
}


class ActionModule(ActionBase):
    """Never goes to the host."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _, needs = self.validate_argument_spec(argument_spec=_SPEC)
        component = needs.pop("component")
        known = dict((task_vars or {}).get("ansible_facts", {}).get(_FACT) or {})
        known[component] = {key: value for key, value in needs.items() if value}
        result.update(changed=False, changes=[], ansible_facts={_FACT: known})
        return result
