"""The HTML pages of reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from cloudlet_deploy import content
from cloudlet_deploy.smoke.palette import PALETTE
from cloudlet_deploy.smoke.words import clean


def rendered(name: str, filters: Mapping[str, Callable[..., str]], **values: Any) -> str:
    """The page of a template. Strings of servers and hosts are shown as text and nothing else."""
    environment = Environment(
        loader=FileSystemLoader(content.root() / "templates" / "report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    return environment.get_template(name).render(palette=PALETTE, **values)


def _shown(value: Any) -> Any:
    """Each value as it goes into the page; ours, marked as HTML, as it is."""
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value
