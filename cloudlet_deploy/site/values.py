"""Turns what was written into plain values, as far as that can be known offline.

A template is evaluated when all it needs is in the inventory. It is *deferred* when it
names facts, other hosts' variables, lookups (which may reach out to the network or change
files) or a variable that the inventory does not have: roles and playbooks may set it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jinja2 import Environment, TemplateSyntaxError, nodes

from cloudlet_deploy.errors import InvalidSiteError
from cloudlet_deploy.site import ansible_tags as tags
from cloudlet_deploy.site.ansible_inventory import RawHost, templar
from cloudlet_deploy.site.model import Host, Origin, Place, Unknown, Value, Why

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
_SYNTAX = Environment(extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"])


def host_of(raw: RawHost, loader: Any) -> Host:
    """The host with every value evaluated as far as possible."""
    resolver = _Resolver(raw, loader)
    values = {name: resolver.value(name) for name in raw.values}
    return Host(raw.name, raw.groups, values, raw.origin, raw.locked_files)


class _Resolver:
    """Evaluates the variables of one host, each once."""

    def __init__(self, raw: RawHost, loader: Any) -> None:
        self._raw = raw
        self._loader = loader
        self._plain: dict[str, Any] = {}
        self._problems: dict[str, Unknown | None] = {}
        self._secrets: dict[str, bool] = {}

    def value(self, name: str) -> Value:
        raw = self._raw.values[name]
        origins = dict(_origins(raw))
        return Value(
            name=name,
            raw=self._walk(raw, evaluate=False),
            value=self._walk(raw, evaluate=True),
            origin=self._raw.origins[name],
            origins=origins,
            secret=self._is_secret(name),
        )

    def _walk(self, node: Any, *, evaluate: bool) -> Any:
        if isinstance(node, Mapping):
            return {_plain(k): self._walk(v, evaluate=evaluate) for k, v in node.items()}
        if tags.is_encrypted(node):
            return self._decrypted(node)
        if isinstance(node, str):
            return self._evaluated(node) if evaluate and _is_template(node) else _plain(node)
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
        try:
            names = _names(template)
        except TemplateSyntaxError as error:
            return Unknown(Why.BROKEN, f"this is no valid template: {error.message}")
        for name in names:
            if (problem := self._problem(name)) is not None:
                return problem
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
            leaves = _leaves(self._raw.values.get(name))
            self._secrets[name] = (
                origin is not None and origin.path in self._raw.encrypted_files
            ) or any(self._leaf_is_secret(leaf) for leaf in leaves)
        return self._secrets[name]

    def _leaf_is_secret(self, leaf: Any) -> bool:
        if tags.is_encrypted(leaf):
            return True
        if not isinstance(leaf, str) or not _is_template(leaf):
            return False
        try:
            return any(self._is_secret(name) for name in _names(leaf))
        except TemplateSyntaxError:
            return False


def _is_template(text: str) -> bool:
    return any(mark in text for mark in ("{{", "{%", "{#"))


def _names(template: str) -> frozenset[str]:
    """Every name in ``template``: its variables, and functions such as ``lookup``."""
    tree = _SYNTAX.parse(str(template))
    loaded = (node.name for node in tree.find_all(nodes.Name) if node.ctx == "load")
    stored = {node.name for node in tree.find_all(nodes.Name) if node.ctx != "load"}
    return frozenset(loaded) - stored - frozenset({"range", "dict", "namespace", "joiner"})


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
