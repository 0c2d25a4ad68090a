"""Single values: missing, of the wrong type, out of range or malformed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from cloudlet_deploy.site import schema
from cloudlet_deploy.site.checks.forms import malformed, units_hint
from cloudlet_deploy.site.faults import Fault, Severity, Subject, article, at, fault, short, shown
from cloudlet_deploy.site.model import Host, Place, Unknown, Value, Why
from cloudlet_deploy.site.schema import Option
from cloudlet_deploy.site.types import coerced

#: What `init` writes where only the admin knows the value.
PLACEHOLDER = "CHANGE-ME"

#: What to do about values that are wrong although they are unknown.
_REMEDIES = {
    Why.BROKEN: "Correct the template.",
    Why.WRONG_PASSWORD: "Give the right one with --vault-password-file or --vault-id.",
}


def wrong_values(subject: Subject) -> Iterator[Fault]:
    """Missing variables, wrong types, choices, ranges and forms."""
    missing: dict[str, list[Host]] = {}
    declared: dict[str, Option] = {}
    for host in subject.targets:
        for option in subject.options(host):
            value = host.values.get(option.name)
            if value is not None:
                yield from of_spec(host, option, value)
            elif option.required and not host.locked_files:
                missing.setdefault(option.name, []).append(host)
                declared[option.name] = option
    for name, hosts in missing.items():
        yield _missing(declared[name], hosts)


def of_spec(host: Host, option: Option, value: Value) -> Iterator[Fault]:
    """What the spec of ``option`` has against ``value``, part by part."""
    return _Walk(host, value).faults(option, value.value, ())


def _missing(option: Option, hosts: list[Host]) -> Fault:
    """One fault for all hosts; it points at the first one, as nothing else is written."""
    what = f": {schema.plain(option.description[0])}" if option.description else ""
    found = fault(
        f"required by {option.role}, but not set",
        f"Set {option.name} ({option.kind}){what}",
        hosts[0].origin,
        variable=option.name,
    )
    return replace(found, hosts=tuple(host.name for host in hosts))


@dataclass(frozen=True)
class _Walk:
    """Checks one value of one host, part by part."""

    host: Host
    value: Value

    def faults(self, option: Option, found: object, place: Place) -> Iterator[Fault]:
        if isinstance(found, Unknown):
            if found.why in _REMEDIES:
                yield self._fault(place, option, found.detail, _REMEDIES[found.why])
            return
        if found is None:
            yield from self._of_nothing(option, place)
            return
        if isinstance(found, str) and PLACEHOLDER in found:
            yield from self._of_placeholder(option, place)
            return
        value, problem = coerced(option, found)
        problem = problem or malformed(option, found)
        if problem:
            next_step = units_hint(option, found) or _say(option)
            yield self._fault(place, option, problem, next_step, found)
            return
        yield from self._of_number(option, value, place)
        yield from self._of_parts(option, value, place)

    def _of_nothing(self, option: Option, place: Place) -> Iterator[Fault]:
        """A null wins over the role's default, and passes Ansible's own check unless required."""
        if option.required:
            yield self._fault(place, option, "must not be empty", _say(option))
        elif option.default is not None:
            default = "" if option.secret else f" ({short(option.default)})"
            yield self._fault(
                place,
                option,
                "is null, which the role would take for its value",
                f"Give it a value, or remove the line to have the default{default}.",
            )

    def _of_placeholder(self, option: Option, place: Place) -> Iterator[Fault]:
        if PLACEHOLDER in str(self.value.raw):  # elsewhere it comes from another variable
            message = "still holds the placeholder that `init` wrote"
            yield self._fault(place, option, message, _say(option), severity=Severity.WARNING)

    def _of_number(self, option: Option, found: object, place: Place) -> Iterator[Fault]:
        if option.minimum is None or not isinstance(found, int | float):
            return
        if found < option.minimum or (option.maximum is not None and found > option.maximum):
            above = f"to {option.maximum}" if option.maximum is not None else "or more"
            message = f"must be {option.minimum} {above}"
            yield self._fault(place, option, message, _say(option), found)

    def _of_parts(self, option: Option, found: object, place: Place) -> Iterator[Fault]:
        if isinstance(found, list) and option.elements:
            element = replace(
                option,
                name=f"each part of {option.name}",
                type=option.elements,
                elements=None,
                required=True,
            )
            for index, item in enumerate(found):
                yield from self.faults(element, item, (*place, index))
        elif isinstance(found, dict) and option.options:
            yield from self._of_keys(option, found, place)

    def _of_keys(
        self, option: Option, found: Mapping[object, object], place: Place
    ) -> Iterator[Fault]:
        for key, part in found.items():
            step = key if isinstance(key, str | int) else str(key)
            if key in option.options:
                yield from self.faults(option.options[str(key)], part, (*place, step))
                continue
            near = difflib.get_close_matches(str(key), list(option.options), n=1)
            hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(option.options)}."
            yield self._fault((*place, step), option, "there is no such key", hint)
        for name, inner in option.options.items():
            if inner.required and name not in found:
                yield self._fault(place, option, f"the key {name} is missing", _say(inner))

    def _fault(
        self,
        place: Place,
        option: Option,
        message: str,
        next_step: str,
        found: object = None,
        *,
        severity: Severity = Severity.ERROR,
    ) -> Fault:
        secret = self.value.secret or option.secret
        return fault(
            message,
            next_step,
            at(self.host, self.value, place),
            host=self.host,
            variable=shown(self.value.name, place),
            value=None if secret or found is None else short(found),
            severity=severity,
        )


def _say(option: Option) -> str:
    """What the spec says of ``option``, as a next step."""
    what = f" {schema.plain(option.description[0])}" if option.description else ""
    if option.form in schema.FORMS and option.type == "str":
        return f"Write {schema.FORMS[option.form]}.{what}"
    return f"{option.name} is {article(option.kind)}.{what}"


#: "NAME is VALUE: what to do", or "NAME: what is wrong".
_SENTENCE = re.compile(r"(?P<name>\w+)(?P<colon>:?) (?P<rest>.*)", re.DOTALL)


def refused_by_roles(subject: Subject) -> Iterator[Fault]:
    """Settings that do not fit together, in the words of the role that refuses them."""
    for host in subject.targets:
        known = {option.name for option in subject.wanted(host)}
        for sentence in host.refusals:
            match = _SENTENCE.fullmatch(sentence)
            value = host.effective(match["name"]) if match and match["name"] in known else None
            if match is None or value is None:
                continue
            problem, colon, remedy = match["rest"].partition(": ")
            if match["colon"] or not colon:
                problem, remedy = match["rest"].rstrip("."), "correct it."
            yield fault(
                problem,
                remedy[:1].upper() + remedy[1:],
                at(host, value),
                host=host,
                variable=value.name,
            )
