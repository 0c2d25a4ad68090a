"""Whether a value has the type and one of the choices that an option asks for."""

from __future__ import annotations

from typing import Any

from cloudlet_deploy.site.schema import Option

_WORDS = {
    "bool": "true or false",
    "dict": "a mapping",
    "float": "a number",
    "int": "a whole number",
    "list": "a list",
    "path": "a path",
    "str": "a text",
}


def coerced(option: Option, found: object) -> tuple[object, str | None]:
    """``found`` as the role will see it, and what is wrong with it, not with its parts.

    Ansible's validator decides, with its conversions: a text "80" is an int, and one "a,b"
    is a list. One thing it lets pass is refused here: a list or mapping where a text is
    wanted, which it would write out as Python does. The message never holds the value.
    """
    from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

    spec: dict[str, Any] = {"type": option.type, "required": True}
    value, passed = _validated(ArgumentSpecValidator({"it": spec}), found)
    if not passed or (option.type in ("str", "path") and isinstance(found, list | dict)):
        return found, f"must be {_WORDS.get(option.type, option.type)}"
    # The choices of a list are those of its elements, which are looked at one by one.
    if option.choices and option.type != "list":
        spec["choices"] = list(option.choices)
        value, passed = _validated(ArgumentSpecValidator({"it": spec}), found)
        if not passed:
            return found, f"must be one of {', '.join(map(str, option.choices))}"
    return value, None


def _validated(validator: Any, found: object) -> tuple[object, bool]:
    try:
        result = validator.validate({"it": found})
    except OverflowError:  # Ansible makes a number of YAML's .inf before it looks at it
        return None, False
    return result.validated_parameters.get("it"), not result.error_messages
