"""Ansible's tags on values: where one was written, and whether it is secret.

This interface is internal to ansible-core. What this project uses of it, for 2.19 to 2.21,
is wrapped here and nowhere else.
"""

from __future__ import annotations

import re
import traceback

from ansible._internal._datatag._tags import Origin as OriginTag
from ansible._internal._datatag._tags import SourceWasEncrypted
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import EncryptedString, VaultHelper, VaultLib
from ansible.template import trust_as_template

from cloudlet_deploy.errors import InvalidSiteError
from cloudlet_deploy.site.model import Origin, Unknown, Why

#: How Ansible calls what an inventory plugin read or a program printed.
_PROGRAM = re.compile(r"^<inventory .*(?:source|from) '(?P<path>[^']+)'")


def from_command_line(text: str, option: str) -> str:
    """``text`` tagged as typed by the user in ``option``: its templates are trusted."""
    tagged: str = trust_as_template(OriginTag(description=option).tag(text))
    return tagged


def origin_of(value: object) -> Origin | None:
    """Where ``value`` was written, if Ansible knows it. Booleans and nulls carry no tags."""
    tag = OriginTag.get_tag(value)
    if tag is None:
        return None
    return _origin(tag)


def _origin(tag: OriginTag) -> Origin:
    path = str(tag.path or tag.description)
    # What a program printed has no lines: the program is the place.
    if not tag.path and (made := _PROGRAM.search(path)):
        return Origin(made["path"])
    return Origin(path, tag.line_num, tag.col_num)


def is_encrypted(value: object) -> bool:
    """Whether ``value`` is one vaulted string."""
    return isinstance(value, EncryptedString)


def from_encrypted_file(data: object) -> bool:
    """Whether ``data`` is what a file that is encrypted as a whole holds."""
    return bool(SourceWasEncrypted.is_tagged_on(data))


def decrypt(loader: DataLoader, value: object) -> str | None:
    """The text of a vaulted string; None without any password.

    Raises:
        InvalidSiteError: no password that was given opens it.
    """
    vault: VaultLib = loader._vault
    if not vault.secrets:
        return None
    try:
        return str(vault.decrypt(VaultHelper.get_ciphertext(value, with_tags=True)), "utf-8")
    except (AnsibleError, UnicodeDecodeError) as error:
        raise InvalidSiteError("no vault password that was given opens it") from error


def decrypt_text(loader: DataLoader, data: bytes) -> str | Unknown:
    """The text of a file that is encrypted as a whole."""
    vault: VaultLib = loader._vault
    if not vault.secrets:
        return Unknown(Why.VAULTED)
    try:
        return str(vault.decrypt(data), "utf-8", "replace")
    except AnsibleError:
        return Unknown(Why.WRONG_PASSWORD, "no vault password that was given opens it")


def failed_at(error: BaseException) -> Origin:
    """The most exact place that ``error`` or one of its causes names."""
    best = Origin("")
    cause: BaseException | None = error
    while cause is not None:
        origin = origin_of(getattr(cause, "obj", None))
        if isinstance(getattr(cause, "obj", None), OriginTag):
            origin = _origin(cause.obj)  # type: ignore[attr-defined]
        if origin is not None and (not best.path or (origin.line and not best.line)):
            best = origin
        cause = cause.__cause__ or cause.__context__
    return best if best.line else Origin(best.path, _line_of_ini(error))


def _line_of_ini(error: BaseException) -> int | None:
    """The line that Ansible's INI parser was at; it forgets the number when it fails."""
    cause: BaseException | None = error
    while cause is not None:
        for frame, _ in traceback.walk_tb(cause.__traceback__):
            lines, line = frame.f_locals.get("lines"), frame.f_locals.get("line")
            if frame.f_code.co_name == "_parse" and isinstance(lines, list):
                same = (n for n, text in enumerate(lines, 1) if str(text).strip() == line)
                return next(same, None)
        cause = cause.__cause__ or cause.__context__
    return None


def reason(error: BaseException) -> str:
    """What ``error`` says, in one line."""
    text = str(getattr(error, "message", "") or error) or type(error).__name__
    return " ".join(text.split())
