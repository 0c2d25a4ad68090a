"""What hosts report of themselves and of their settings, as the tuning model takes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from cloudlet_deploy.errors import RunFailedError
from cloudlet_deploy.tuning.types import HostReading, Scalar, Seen

_T = TypeVar("_T")

#: The playbook whose reports these are.
PLAYBOOK = "tuning"


def reading(
    host: str,
    components: frozenset[str],
    groups: frozenset[str],
    report: Mapping[str, Any],
    reserved_mb: int = 0,
) -> HostReading:
    """What ``host`` is and has, of what the module ``host_tuning`` reported.

    ``reserved_mb`` is memory in MiB that other services of ours on it may take. Raises
    RunFailedError for a report of another form: numbers are computed of nothing that was guessed.
    """
    form = _Form(host, report)
    settings = form.take("settings", dict)
    return HostReading(
        host=host,
        components=components,
        groups=groups,
        memory_mb=form.number("memory_mb"),
        cores=form.number("cores"),
        kernel=form.take("kernel", str),
        container=form.take("container", str),
        nic_mbps=form.perhaps_number("nic_mbps"),
        nofile_hard=form.perhaps_number("nofile_hard"),
        java_version=form.perhaps_number("java_version"),
        reserved_mb=reserved_mb,
        settings={name: _seen(_Form(host, one, f"{name}: ")) for name, one in settings.items()},
    )


def problems(host: str, report: Mapping[str, Any]) -> tuple[str, ...]:
    """What the host could not be asked, in words. Raises RunFailedError as ``reading`` does."""
    return tuple(str(one) for one in _Form(host, report).take("problems", list))


def _seen(form: _Form) -> Seen:
    return Seen(
        configured=form.scalar("configured"),
        effective=form.scalar("effective"),
        before=form.scalar("before"),
        settable=form.take("settable", bool),
        cause=form.take("cause", str),
        in_use=form.count("in_use"),
    )


class _Form:
    """A part of a host's report, taken by its keys; ``where`` begins what is said of it."""

    def __init__(self, host: str, part: Any, where: str = "") -> None:
        self._host = host
        self._part = part
        self._where = where

    def take(self, key: str, kind: type[_T]) -> _T:
        """The value of ``key``, which is a ``kind``."""
        value: object = self._value(key)
        if not isinstance(value, kind):
            raise self._refused(f"{key} is {value!r}")
        return value

    def number(self, key: str) -> int:
        """The value of ``key``, a number of at least 1."""
        value = self.perhaps_number(key)
        if value is None:
            raise self._refused(f"{key} is missing")
        return value

    def perhaps_number(self, key: str) -> int | None:
        """The same, or None where the host does not know it."""
        value = self._value(key)
        if value is None:
            return None
        # A bool is an int to Python.
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self._refused(f"{key} is {value!r}")
        return value

    def count(self, key: str) -> int | None:
        """The value of ``key``, a number of 0 or more, or None."""
        value = self._value(key)
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
            return value
        raise self._refused(f"{key} is {value!r}")

    def scalar(self, key: str) -> Scalar | None:
        """A value as the inventory writes it, or None."""
        value = self._value(key)
        if value is None or isinstance(value, int | str):
            return value
        raise self._refused(f"{key} is {value!r}")

    def _value(self, key: str) -> Any:
        if not isinstance(self._part, Mapping) or key not in self._part:
            raise self._refused(f"{key} is missing")
        return self._part[key]

    def _refused(self, words: str) -> RunFailedError:
        return RunFailedError(
            f"{self._host}: the report of host_tuning cannot be used: {self._where}{words}.",
            next_step="Is another release of cloudlet-deploy installed beside this one? "
            "'cloudlet-deploy --version' and the collection's galaxy.yml must agree.",
        )
