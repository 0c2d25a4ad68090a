"""What a template is, and what it names."""

from __future__ import annotations

import warnings
from functools import lru_cache

from jinja2 import Environment, TemplateSyntaxError, nodes

_SYNTAX = Environment(extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"])
_OWN = frozenset({"range", "dict", "namespace", "joiner"})


def is_template(text: str) -> bool:
    """Whether Ansible would evaluate ``text``."""
    return any(mark in text for mark in ("{{", "{%", "{#"))


@lru_cache(maxsize=4096)
def names_in(template: str) -> frozenset[str]:
    """Every name in ``template``: its variables, and functions such as ``lookup``.

    Empty if it does not parse; ``problem_of`` says why.
    """
    try:
        tree = _parsed(template)
    except TemplateSyntaxError:
        return frozenset()
    loaded = (node.name for node in tree.find_all(nodes.Name) if node.ctx == "load")
    stored = {node.name for node in tree.find_all(nodes.Name) if node.ctx != "load"}
    return frozenset(loaded) - stored - _OWN


@lru_cache(maxsize=4096)
def problem_of(template: str) -> str | None:
    """Why ``template`` does not parse, if it does not."""
    try:
        _parsed(template)
    except TemplateSyntaxError as error:
        return error.message or "it does not parse"
    return None


def _parsed(template: str) -> nodes.Template:
    with warnings.catch_warnings():
        # A backslash in a template is Jinja's to warn of, once, in the run.
        warnings.simplefilter("ignore", DeprecationWarning)
        return _SYNTAX.parse(str(template))
