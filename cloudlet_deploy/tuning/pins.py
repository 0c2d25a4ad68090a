"""From drafts to settings: a pin wins, and what speaks against it is said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from cloudlet_deploy.tuning import door, hdfs, kernel, transfer
from cloudlet_deploy.tuning.carried import SYSTEM_MB
from cloudlet_deploy.tuning.case import Case
from cloudlet_deploy.tuning.rule import Draft, Order, as_int, whole
from cloudlet_deploy.tuning.types import Pin, Scalar, Setting
from cloudlet_deploy.tuning.verdict import left_alone

_LIMITLESS = float("inf")
#: Settings whose sum must fit into memory.
_OF_MEMORY = (
    *(door.HEAP, door.STACK, door.THREADS),
    *(hdfs.MOUNT_HEAP, transfer.SESSIONS),
)


def settle(case: Case, drafts: Iterable[Draft], clients: int) -> tuple[Setting, ...]:
    """The settings of a host, with the pins and the objections to them."""
    settings = {draft.rule.variable: _setting(case, draft, clients) for draft in drafts}
    wanted = {variable: one.wanted for variable, one in settings.items()}
    for variable, one in settings.items():
        if one.pin is not None:
            clash = _clash(case, one, wanted, clients)
            objection = " ".join(filter(None, (one.objection, clash)))
            settings[variable] = replace(one, objection=objection)
    return tuple(settings.values())


def _setting(case: Case, draft: Draft, clients: int) -> Setting:
    rule = draft.rule
    seen, pin = case.seen(rule.variable), case.pins.get(rule.variable)
    now = seen.configured if seen.effective is None else seen.effective
    return Setting(
        variable=rule.variable,
        component=rule.component,
        title=rule.title,
        unit=rule.unit,
        now=now,
        recommended=draft.value,
        reason=draft.reason,
        formula=rule.formula,
        source=rule.source,
        applied=rule.applied,
        verified=rule.verified,
        inputs=draft.inputs,
        pin=pin,
        objection="" if pin is None else _objection(draft, pin, now, clients),
        settable=seen.settable,
        cause=seen.cause,
    )


def _objection(draft: Draft, pin: Pin, now: Scalar | None, clients: int) -> str:
    """What speaks against a pin when it is looked at by itself."""
    rule = draft.rule
    alone = left_alone(rule.variable, pin.value)
    value = now if alone else pin.value
    if value is None or not _worse(draft, value):
        return ""
    unit = f" {rule.unit}" if rule.unit else ""
    found, best = f"{_shown(value)}{unit}", f"{_shown(draft.value)}{unit}"
    subject = f"Left alone it stays {found}" if alone else f"It is {found}"
    harm = f": {rule.harm}" if rule.harm else ""
    if not _judged(draft, value):
        return f"{subject}, which the model cannot compare with {best}."
    return f"{subject}, and {best} is recommended for {clients} clients{harm}."


def _worse(draft: Draft, value: Scalar) -> bool:
    """Whether ``value`` bears less than the recommended one; so is what cannot be compared."""
    best = draft.value
    if draft.rule.order is Order.EXACT or isinstance(best, bool):
        if isinstance(best, bool):  # the only one of them costs capacity when it is on
            return not best and _is_on(value)
        return str(value) != str(best)
    if not _judged(draft, value):
        return True
    return _amount(draft.rule.variable, value) < _amount(draft.rule.variable, best)


def _judged(draft: Draft, value: Scalar) -> bool:
    """Whether ``value`` can be compared with the recommended one."""
    if draft.rule.order is Order.EXACT or isinstance(draft.value, bool):
        return True
    return _amount(draft.rule.variable, value) >= 0


def _amount(variable: str, value: Scalar) -> float:
    """How much a value allows; -1 where that cannot be told before a run."""
    if variable == transfer.PORTS.variable:
        return transfer.width(value) or -1
    number = as_int(value)
    if str(value) == "infinity" or (variable == transfer.SESSIONS.variable and number == -1):
        return _LIMITLESS
    return -1 if number is None else number


def _is_on(value: Scalar) -> bool:
    return str(value).lower() in ("true", "yes", "on", "1")


def _clash(case: Case, one: Setting, wanted: Mapping[str, Scalar], clients: int) -> str:
    """What speaks against a pin beside the other settings of the host."""
    variable, value = one.variable, as_int(one.wanted)
    if variable == transfer.SESSIONS.variable and value == -1:
        most = transfer.memory_mb(case, clients) // transfer.planned_mb(case)
        return f"Without a limit sessions end where memory does, at about {most}."
    if value is None or left_alone(variable, one.wanted):
        return ""
    queue = kernel.somaxconn_in_force(case, clients)
    if variable in (door.QUEUE.variable, hdfs.BACKLOG.variable) and value > queue:
        return f"The kernel cuts it to net.core.somaxconn, which is {queue}."
    hard = case.reading.nofile_hard
    # Where even what is recommended is cut, the pin is not what is wrong.
    limits = (door.NOFILE.variable, transfer.NOFILE.variable)
    if variable in limits and hard and value > max(hard, as_int(one.recommended) or 0):
        return f"systemd cuts it to {hard}, its own hard limit."
    if variable == door.STACK.variable and value < door.STACK_LEAST_KB:
        return f"Java 17 does not start with less than {door.STACK_LEAST_KB} KB."
    return _memory_clash(case, one, wanted)


def _memory_clash(case: Case, one: Setting, wanted: Mapping[str, Scalar]) -> str:
    """A pin that takes more memory than recommended, where all does not fit then."""
    value, best = as_int(one.wanted), as_int(one.recommended)
    if one.variable not in {rule.variable for rule in _OF_MEMORY} or value is None or best is None:
        return ""
    if value <= best:
        return ""
    taken = memory_taken_mb(case, wanted)
    free = case.reading.memory_mb - case.reading.reserved_mb
    return f"All services together may then take {taken} MB of {free}." if taken > free else ""


def memory_taken_mb(case: Case, wanted: Mapping[str, Scalar]) -> int:
    """MB that door, mount and sessions may take with the ``wanted`` values."""

    def number(variable: str) -> int:
        return max(0, as_int(wanted.get(variable)) or 0)

    each = transfer.measured_mb(case) if case.is_door else transfer.planned_mb(case)
    stacks = number(door.THREADS.variable) * number(door.STACK.variable) / 1024
    return whole(
        number(door.HEAP.variable)
        + stacks
        + SYSTEM_MB * case.is_door
        + number(hdfs.MOUNT_HEAP.variable)
        + number(transfer.SESSIONS.variable) * each
    )


def _shown(value: Scalar) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)
