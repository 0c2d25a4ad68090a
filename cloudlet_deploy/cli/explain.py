"""``explain``: what one variable of one host is, and where it comes from."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cloudlet_deploy.cli.options import AnsibleOptions, output_option, site_options
from cloudlet_deploy.errors import ExitCode

if TYPE_CHECKING:
    from cloudlet_deploy.site.explanation import Explanation, Place

_WIDTH = 80
_INDENT = 10


@click.command("explain")
@site_options
@click.argument("host")
@click.argument("variable")
@output_option
def command(options: AnsibleOptions, host: str, variable: str, output: str) -> ExitCode:
    """Say what VARIABLE is on HOST, where it comes from and what it means.

    Shows the value, the file and line that sets it, the places that it overrides, what the
    role says of it, and what `validate` finds wrong with it. Secret values are masked. No
    host is touched.

    \b
    Examples:
      cloudlet-deploy explain -i mysite door.example.org bestman_heap_mb
      cloudlet-deploy explain -i mysite door.example.org gridftp_port --output json
    """
    from cloudlet_deploy.cli._site import load_site  # --help needs none of it
    from cloudlet_deploy.site import explanation

    found = explanation.explain(load_site(options), host, variable)
    if output == "json":
        from cloudlet_deploy.cli import render

        render.document("explain", ExitCode.DONE, _as_data(found))
    else:
        for line in _as_text(found):
            click.echo(line)
    return ExitCode.DONE


def _as_data(found: Explanation) -> dict[str, Any]:
    return {
        "host": found.host,
        "variable": found.variable,
        "state": found.state.value,
        "detail": found.detail,
        "secret": found.secret,
        "value": _masked(found, found.value),
        "origin": _place(found, found.place) if found.place else None,
        "lost": [_place(found, place) for place in found.lost],
        "spec": _spec(found),
        "deployed": found.deployed,
        "faults": [{**vars(f), "severity": f.severity.value} for f in found.faults],
    }


def _place(found: Explanation, place: Place) -> dict[str, Any]:
    return {
        "source": place.source.value,
        "file": place.file,
        "line": place.line,
        "column": place.column,
        "written": _masked(found, _written(place.written)),
    }


def _spec(found: Explanation) -> dict[str, Any] | None:
    option = found.option
    if option is None:
        return None
    return {
        "role": option.role,
        "type": option.type,
        "elements": option.elements,
        "required": option.required,
        "default": option.default,
        "choices": list(option.choices),
        "minimum": option.minimum,
        "maximum": option.maximum,
        "form": option.form,
        "secret": option.secret,
        "description": list(option.description),
    }


def _masked(found: Explanation, value: object) -> object:
    from cloudlet_deploy.run.secrets import MASK

    return MASK if found.secret and value is not None else value


def _written(value: object) -> object:
    """What stands in the file; of what is encrypted only that it is."""
    from cloudlet_deploy.site.model import Unknown

    if isinstance(value, dict):
        return {key: _written(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_written(item) for item in value]
    return f"({value.why.value})" if isinstance(value, Unknown) else value


def _as_text(found: Explanation) -> Iterator[str]:
    yield f"{found.variable} on {found.host}"
    state = found.state.value
    if state == "known":
        yield from _row("value", _shown(_masked(found, found.value)))
    else:
        yield from _row("value", f"{state}: {found.detail}" if found.detail else state)
    place = found.place
    if place is not None:
        yield from _row("from", f"{_near(place)} ({place.source.value})")
        written = _masked(found, _written(place.written))
        if not found.secret and written != found.value:
            yield from _row("written", _shown(written))
    for number, lost in enumerate(found.lost):
        words = f"{_near(lost)} ({lost.source.value}): "
        text = words + _shown(_masked(found, _written(lost.written)))
        yield from _row("overrides" if number == 0 else "", text)
    yield from _about(found)
    for fault in found.faults:
        yield from _row(fault.severity.value, f"{fault.message}. {fault.next_step}")


def _about(found: Explanation) -> Iterator[str]:
    from cloudlet_deploy.site import schema

    option = found.option
    if option is None:
        yield from _row("spec", "no role declares it")
        return
    words = [option.kind, "required" if option.required else f"default {_shown(option.default)}"]
    if option.choices:
        words.append(f"one of {', '.join(map(str, option.choices))}")
    yield from _row("spec", f"{', '.join(words)}; role {option.role}")
    for paragraph in option.description:
        yield from _row("", schema.plain(paragraph))
    if not found.deployed:
        yield from _row("note", f"{found.host} does not get the role {option.role}.")


def _row(title: str, text: str) -> Iterator[str]:
    first, rest = f"  {title:<{_INDENT}}", " " * (_INDENT + 2)
    for number, line in enumerate(text.splitlines() or [""]):
        yield textwrap.fill(
            line,
            _WIDTH,
            initial_indent=rest if number else first,
            subsequent_indent=rest,
            break_long_words=False,
            break_on_hyphens=False,
            drop_whitespace=True,
        )


def _shown(value: object) -> str:
    """A scalar as it is, a list or mapping as YAML."""
    import yaml

    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value) if value != "" else '""'
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000)
    return text.strip()


def _near(place: Place) -> str:
    """Where it is, relative to the working directory, or for a role to the collection."""
    from cloudlet_deploy import content

    return place.where.removeprefix(f"{Path.cwd()}/").removeprefix(f"{content.root()}/")
