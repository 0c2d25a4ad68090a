"""Passwords of a run, and the promise that they are not told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

#: What stands in a record where a secret was.
MASK = "********"

#: Shorter values are too common as parts of words to be masked wherever they appear.
_SHORTEST = 4


@dataclass(frozen=True)
class Secrets:
    """Passwords that the user typed. They reach Ansible in files that are removed at once."""

    become: str | None = field(default=None, repr=False)
    #: Label and password of each vault identity; the label "default" is Ansible's.
    vault: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def values(self) -> Iterator[str]:
        """Every password."""
        if self.become:
            yield self.become
        yield from (password for _, password in self.vault)


class Redactor:
    """Masks known secrets in text that is kept or shown."""

    def __init__(self, secrets: Iterable[object]) -> None:
        found: set[str] = set()
        for secret in secrets:
            found.update(_strings(secret))
        # The longest first: a secret may contain another.
        self._secrets = sorted(found, key=lambda value: (-len(value), value))

    def __call__(self, text: str) -> str:
        """``text`` with every known secret masked."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text


def _strings(value: object) -> Iterator[str]:
    """The strings in ``value`` that identify a secret: whole ones and their long lines.

    A key of many lines shows up one line at a time in messages.
    """
    if isinstance(value, dict):
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, list | tuple | set):
        for part in value:
            yield from _strings(part)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _strings(str(value))
    elif isinstance(value, str):
        yield from (
            text
            for text in {value, value.strip(), *(line.strip() for line in value.splitlines())}
            if len(text) >= _SHORTEST
        )
