"""How the generations of config sets look: per host and component, the newest first."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from cloudlet_deploy.cli import render
from cloudlet_deploy.cli._plan_view import number
from cloudlet_deploy.run.generations import Generation, History


def show(hosts: Iterable[str], found: Sequence[History]) -> None:
    """A block per host; the present generation of each set is marked."""
    out = render.console()
    for host in hosts:
        out.print(render.text(host, "bold"), soft_wrap=True)
        own = [one for one in found if one.host == host]
        if not own:
            render.lines("  nothing of cloudlet-deploy")
        for one in own:
            out.print(render.text(f"  {one.name}", "bold cyan"), soft_wrap=True)
            for generation in reversed(one.generations):
                present = generation.number == one.current
                line = render.text(f"  {'*' if present else ' '} {_row(generation)}")
                out.print(line, style="green" if present else "", soft_wrap=True)
    if found:
        render.lines("* is in place. 'rollback --to GENERATION --component NAME' brings one back.")


def _row(one: Generation) -> str:
    """Number, local time, run and number of paths that it changed: 75 columns at most."""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.time))
    by = one.run or "(Ansible alone)"
    changed = "" if one.changed is None else number(len(one.changed), "path")
    told = f"as {one.same_as}" if one.same_as else changed
    return f"{one.number:>4}  {when}  {by:<24}  {told}".rstrip()


def as_data(hosts: Iterable[str], found: Sequence[History]) -> list[dict[str, Any]]:
    """The form of docs/reference/json.md; times in UTC."""
    return [
        {
            "host": host,
            "sets": [
                {
                    "component": one.name,
                    "current": one.current,
                    "unfinished": one.unfinished,
                    "generations": [_data(generation) for generation in one.generations],
                }
                for one in found
                if one.host == host
            ],
        }
        for host in hosts
    ]


def _data(one: Generation) -> dict[str, Any]:
    when = datetime.fromtimestamp(one.time, UTC).isoformat(timespec="seconds")
    return {**asdict(one), "time": when.replace("+00:00", "Z")}
