"""Fills the vendor's templates of lanes: names, arithmetic and the filters that scripts use."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

_PLACE = re.compile(r"\{\{\s*(.*?)\s*\}\}")
_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}
_FILTERS: dict[str, Callable[[Any], Any]] = {"int": int, "float": float, "round": round}


class TemplateError(Exception):
    """A template that cannot be filled."""


def fill(text: str, values: Mapping[str, Any]) -> str:
    """``text`` with each ``{{ expression }}`` replaced; TemplateError for what is not known."""
    return _PLACE.sub(lambda place: str(_value(place[1], values)), text)


def _value(expression: str, values: Mapping[str, Any]) -> Any:
    inner, *filters = (part.strip() for part in expression.split("|"))
    try:
        found = _node(ast.parse(inner, mode="eval").body, values)
        for name in filters:
            found = _FILTERS[name](found)
    except (SyntaxError, KeyError, TypeError, ValueError) as error:
        raise TemplateError(f"{{{{ {expression} }}}} cannot be filled: {error}") from error
    return found


def _node(node: ast.expr, values: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return values[node.id]
    if isinstance(node, ast.BinOp):
        return _OPERATORS[type(node.op)](_node(node.left, values), _node(node.right, values))
    raise ValueError("only names, numbers and arithmetic")
