"""Whether what was wanted is in force: judged from what the running host says, never from files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from cloudlet_deploy.tuning.types import HostReading, Scalar, Seen

#: Java rounds its heap up to whole regions, of which the largest has 32 MB.
_HEAP_REGION_MB = 32


class State(StrEnum):
    """What became of a wanted value."""

    EFFECTIVE = "effective"
    NOT_EFFECTIVE = "not effective"
    #: The file on the host says something else: nothing was applied since.
    NOT_APPLIED = "not applied"
    #: Nothing that runs could be asked.
    NOT_SEEN = "not seen"


@dataclass(frozen=True)
class Verdict:
    """One setting of one host: wanted by the site, configured on the host, in force there."""

    variable: str
    wanted: Scalar
    configured: Scalar | None
    effective: Scalar | None
    state: State
    cause: str = ""
    #: How much of it is in use at the moment, where that can be told.
    in_use: int | None = None


def judge(wanted: Mapping[str, Scalar], reading: HostReading) -> tuple[Verdict, ...]:
    """A verdict for each setting that the host has and the site gives a value."""
    return tuple(
        _verdict(variable, wanted[variable], seen, reading)
        for variable, seen in reading.settings.items()
        if variable in wanted and not left_alone(variable, wanted[variable])
    )


def left_alone(variable: str, value: Scalar) -> bool:
    """Whether ``value`` means that the kernel keeps what it has."""
    return variable.startswith("kernel_") and value in (0, "", "leave")


def same(variable: str, wanted: Scalar, found: Scalar | None) -> bool:
    """Whether ``found`` is what ``wanted`` comes to on a host."""
    if variable.endswith("_heap_mb") and isinstance(wanted, int) and isinstance(found, int):
        return 0 <= found - wanted < _HEAP_REGION_MB
    return found is not None and str(found) == str(wanted)


def _verdict(variable: str, wanted: Scalar, seen: Seen, reading: HostReading) -> Verdict:
    state, cause = State.EFFECTIVE, ""
    if not same(variable, wanted, seen.effective):
        state, cause = State.NOT_EFFECTIVE, _cause(variable, wanted, seen, reading)
        if seen.settable and seen.configured is not None and str(seen.configured) != str(wanted):
            state, cause = State.NOT_APPLIED, f"the file on the host says {seen.configured}"
        elif seen.settable and seen.effective is None:
            state = State.NOT_SEEN
    return Verdict(
        *(variable, wanted, seen.configured, seen.effective, state, cause), in_use=seen.in_use
    )


def _cause(variable: str, wanted: Scalar, seen: Seen, reading: HostReading) -> str:
    """Why a value that the host was given is not the one in force."""
    if seen.cause:
        return seen.cause
    cap = reading.nofile_hard
    if variable.endswith("_nofile") and cap is not None and seen.effective == cap:
        return f"systemd cut it to {cap}, its own hard limit, and went on silently"
    somaxconn = reading.settings.get("kernel_somaxconn")
    queue = variable.endswith(("_accept_queue", "_rpc_backlog"))
    if queue and somaxconn is not None and somaxconn.effective == seen.effective:
        return f"the kernel cut it to net.core.somaxconn, which is {somaxconn.effective}"
    if variable.endswith("_tasks_max"):
        return f"a slice above the unit, or the container, allows {seen.effective}"
    if seen.configured is None:
        return "nothing of ours sets it"
    return f"it was given {wanted} and has {seen.effective}"
