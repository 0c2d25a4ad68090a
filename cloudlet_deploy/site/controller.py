"""Files on this machine, the controller, that a site names: looked at, never changed."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cloudlet_deploy.site.unknown import Unknown, Why

#: How a file begins that is encrypted with ansible-vault.
_VAULT_HEADER = b"$ANSIBLE_VAULT;"
#: Certificates, keys and lists of revoked certificates are far smaller.
_LARGEST = 8 << 20


@dataclass(frozen=True)
class Material:
    """What a file is. ``text`` is None if it is missing, unreadable, or ``unknown`` (vaulted).

    ``problem`` says why it cannot be read, as what follows the file's name in a sentence.
    """

    path: str
    text: str | None = field(default=None, repr=False)
    mode: int | None = None
    problem: str = ""
    vaulted: bool = False
    unknown: Unknown | None = None

    @property
    def readable_by(self) -> str:
        """Who else than the owner may read it: "everybody", "its group" or nobody ("")."""
        if self.mode is None:
            return ""
        if self.mode & stat.S_IROTH:
            return "everybody"
        return "its group" if self.mode & stat.S_IRGRP else ""


@dataclass
class Controller:
    """Reads each file once. ``decrypt`` opens what is encrypted with ansible-vault."""

    decrypt: Callable[[bytes], str | Unknown] | None = None
    _seen: dict[str, Material] = field(default_factory=dict)

    def look(self, path: str) -> Material:
        """The file ``path``; never raises for one that is missing or unreadable."""
        if path not in self._seen:
            self._seen[path] = self._look(path)
        return self._seen[path]

    def _look(self, path: str) -> Material:
        mode = None
        try:
            status = Path(path).stat()
            mode = stat.S_IMODE(status.st_mode)
            # Reading a pipe or a device could wait for ever.
            regular = stat.S_ISREG(status.st_mode) and status.st_size <= _LARGEST
            data = Path(path).read_bytes() if regular else b""
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            missing = isinstance(error, FileNotFoundError)
            problem = "does not exist" if missing else f"cannot be read: {reason}"
            return Material(path, mode=mode, problem=problem)
        if not data.strip():
            return Material(path, mode=mode, problem="is empty" if regular else "is no such file")
        return self._opened(path, mode, data)

    def _opened(self, path: str, mode: int, data: bytes) -> Material:
        vaulted = data.startswith(_VAULT_HEADER)
        text: str | Unknown = data.decode("utf-8", "replace")
        if vaulted:
            text = self.decrypt(data) if self.decrypt else Unknown(Why.VAULTED)
        if isinstance(text, Unknown):
            return Material(path, mode=mode, vaulted=vaulted, unknown=text)
        return Material(path, text, mode, vaulted=vaulted)
