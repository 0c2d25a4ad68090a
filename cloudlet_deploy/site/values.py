"""Turns what was written into plain values, as far as that can be known offline.

A template is evaluated when all it needs is in the inventory. It is *deferred* when it
names facts, other hosts' variables, lookups (which may reach out to the network or change
files) or a variable that the inventory does not have: roles and playbooks may set it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from cloudlet_deploy.errors import InvalidSiteError
from cloudlet_deploy.site import ansible_tags as tags
from cloudlet_deploy.site import components, role_files
from cloudlet_deploy.site.ansible_inventory import RawHost, Written, templar
from cloudlet_deploy.site.model import Host, Origin, Place, Source, Unknown, Value, Why
from cloudlet_deploy.site.templates import is_template, names_in, problem_of

#: Names in templates that only a run can tell.
_RUN_ONLY = frozenset(
    {
        "ansible_facts",
        "ansible_local",
        "hostvars",
        "lookup",
        "now",
        "omit",
        "play_hosts",
        "q",
        "query",
        "vars",
    }
)


def host_of(raw: RawHost, loader: Any) -> Host:
    """The host with every value evaluated as far as possible."""
    resolver = _Resolver(raw, loader)
    values = {name: resolver.value(name) for name in raw.values}
    roles = components.of_groups_of(raw.groups)
    defaults = role_files.defaults_of(roles)
    # What a role sees: here its defaults are known, which in the inventory's own templates
    # depend on the role that asks.
    inside = _Resolver(_within_roles(raw, roles, defaults), loader)
    return Host(
        name=raw.name,
        groups=raw.groups,
        values=values,
        origin=raw.origin,
        locked_files=raw.locked_files,
        defaults=_defaults(defaults, inside, raw, loader),
        refusals=tuple(_refusals(roles, inside)),
        weaker={name: tuple(map(resolver.weaker, lost)) for name, lost in raw.weaker.items()},
    )


def _within_roles(raw: RawHost, roles: Sequence[str], defaults: Mapping[str, Any]) -> RawHost:
    values = {**defaults, **raw.values, **role_files.vars_of(roles)}
    return replace(raw, values=values)


def _defaults(
    defaults: Mapping[str, Any], inside: _Resolver, raw: RawHost, loader: Any
) -> dict[str, Value]:
    found = {}
    for name, default in defaults.items():
        # A default that is overridden is of interest to `explain` only: left as written.
        overridden = name in raw.values
        resolver = _Resolver(replace(raw, values={}), loader) if overridden else inside
        origin = tags.origin_of(default) or Origin("")
        found[name] = resolver.value_of(name, default, origin, Source.DEFAULT)
    return found


def _refusals(roles: Sequence[str], inside: _Resolver) -> Iterator[str]:
    for role in roles:
        sentences = inside.evaluated(role_files.faults_variable(role))
        if isinstance(sentences, list):
            yield from (text for text in sentences if isinstance(text, str) and text)


class _Resolver:
    """Evaluates the variables of one host, each once."""

    def __init__(self, raw: RawHost, loader: Any) -> None:
        self._raw = raw
        self._loader = loader
        self._plain: dict[str, Any] = {}
        self._problems: dict[str, Unknown | None] = {}
        self._secrets: dict[str, bool] = {}

    def value(self, name: str) -> Value:
        raw = self._raw
        secret = self._is_secret(name)
        return self.value_of(name, raw.values[name], raw.origins[name], raw.sources[name], secret)

    def value_of(
        self, name: str, raw: Any, origin: Origin, source: Source, secret: bool = False
    ) -> Value:
        """The value that ``raw``, written at ``origin``, has on this host."""
        return Value(
            name=name,
            raw=self._walk(raw, evaluate=False),
            value=self._walk(raw, evaluate=True),
            origin=origin,
            origins=dict(_origins(raw)),
            secret=secret,
            source=source,
        )

    def weaker(self, written: Written) -> Value:
        """A definition that lost, as it was written."""
        return Value(
            name="",
            raw=self._walk(written.value, evaluate=False),
            value=None,
            origin=written.origin,
            secret=self._holds_secret(written.value, written.origin),
            source=written.source,
        )

    def evaluated(self, name: str) -> Any:
        """The value of a variable; None if there is none, or an ``Unknown``."""
        return self._walk(self._raw.values.get(name), evaluate=True)

    def _walk(self, node: Any, *, evaluate: bool) -> Any:
        if isinstance(node, Mapping):
            return {_plain(k): self._walk(v, evaluate=evaluate) for k, v in node.items()}
        if tags.is_encrypted(node):
            return self._decrypted(node)
        if isinstance(node, str):
            return self._evaluated(node) if evaluate and is_template(node) else _plain(node)
        if isinstance(node, list | tuple | set | frozenset):
            return [self._walk(item, evaluate=evaluate) for item in node]
        return _plain(node)

    def _decrypted(self, node: Any) -> str | Unknown:
        try:
            text = tags.decrypt(self._loader, node)
        except InvalidSiteError as error:
            return Unknown(Why.WRONG_PASSWORD, error.message)
        return Unknown(Why.VAULTED) if text is None else text

    def _evaluated(self, template: str) -> Any:
        if problem := problem_of(template):
            return Unknown(Why.BROKEN, f"this is no valid template: {problem}")
        for name in names_in(template):
            if (unknown := self._problem(name)) is not None:
                return unknown
        variables = {**self._raw.magic, **self._plain}
        try:
            result = templar(self._loader, variables).template(template)
        except Exception as error:  # filters raise what they like; only a run can tell
            return Unknown(Why.DEFERRED, str(error))
        return self._walk(result, evaluate=False)

    def _problem(self, name: str) -> Unknown | None:
        """Why a template that names ``name`` cannot be evaluated; None if it can."""
        if name in self._problems:
            return self._problems[name]
        self._problems[name] = Unknown(Why.DEFERRED, f"{name} refers to itself")
        self._problems[name] = self._find_problem(name)
        return self._problems[name]

    def _find_problem(self, name: str) -> Unknown | None:
        if name in _RUN_ONLY:
            return Unknown(Why.DEFERRED, f"{name} is known in a run only")
        if name in self._raw.values:
            value = self._walk(self._raw.values[name], evaluate=True)
            self._plain[name] = value
            return next(_unknowns(value), None)
        if name in self._raw.magic:
            return None
        return Unknown(Why.DEFERRED, f"{name} is not in the inventory")

    def _is_secret(self, name: str) -> bool:
        if name not in self._secrets:
            self._secrets[name] = False  # ends the recursion of variables that name each other
            origin = self._raw.origins.get(name)
            self._secrets[name] = self._holds_secret(self._raw.values.get(name), origin)
        return self._secrets[name]

    def _holds_secret(self, raw: Any, origin: Origin | None) -> bool:
        if origin is not None and origin.path in self._raw.encrypted_files:
            return True
        return any(self._leaf_is_secret(leaf) for leaf in _leaves(raw))

    def _leaf_is_secret(self, leaf: Any) -> bool:
        if tags.is_encrypted(leaf):
            return True
        if not isinstance(leaf, str) or not is_template(leaf):
            return False
        return any(self._is_secret(name) for name in names_in(leaf))


def _plain(value: Any) -> Any:
    """``value`` without Ansible's tags: str, int, float, bool or None, as it is otherwise."""
    for kind in (bool, str, int, float):
        if isinstance(value, kind):
            return kind(value) if kind is not str else str.__str__(value)
    return value


def _leaves(node: Any) -> Iterator[Any]:
    yield node
    if isinstance(node, Mapping):
        for value in node.values():
            yield from _leaves(value)
    elif isinstance(node, list | tuple):
        for item in node:
            yield from _leaves(item)


def _unknowns(node: Any) -> Iterator[Unknown]:
    return (leaf for leaf in _leaves(node) if isinstance(leaf, Unknown))


def _origins(node: Any, place: Place = ()) -> Iterator[tuple[Place, Origin]]:
    """Where each part of ``node`` was written, as far as Ansible knows."""
    if isinstance(node, Mapping):
        children = [(_plain(key), key, value) for key, value in node.items()]
    elif isinstance(node, list | tuple):
        children = [(index, None, item) for index, item in enumerate(node)]
    else:
        return
    for step, key, child in children:
        origin = tags.origin_of(child) or tags.origin_of(key)
        if origin is not None:
            yield (*place, step), origin
        yield from _origins(child, (*place, step))
