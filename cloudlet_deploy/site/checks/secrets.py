"""Secrets that stand in plain text in the inventory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from cloudlet_deploy.site.faults import Fault, Severity, Subject, fault, shown
from cloudlet_deploy.site.model import Host, Place, Source, Value
from cloudlet_deploy.site.schema import Option
from cloudlet_deploy.site.templates import is_template, names_in

#: Secrets of Ansible's own, for the way to the hosts.
CONNECTION = frozenset(
    {
        "ansible_become_pass",
        "ansible_become_password",
        "ansible_password",
        "ansible_private_key_passphrase",
        "ansible_ssh_pass",
        "ansible_ssh_password",
        "ansible_ssh_private_key_passphrase",
        "ansible_sudo_pass",
        "ansible_su_pass",
    }
)
_ANY = Option("", "")


def in_plain_text(subject: Subject) -> Iterator[Fault]:
    """Secrets that are not vaulted: an error where others may read the file, else a warning."""
    for host in subject.targets:
        options = {option.name: option for option in subject.options(host)}
        for name, value in host.values.items():
            option = options.get(name, _ANY)
            for place, text in _secrets(option, value.raw, (), name in CONNECTION):
                for source, there in _written(host, value, place, text):
                    yield from _of_secret(subject, host, source, there)


def _secrets(
    option: Option, raw: object, place: Place, secret: bool
) -> Iterator[tuple[Place, str]]:
    """The texts inside of ``raw`` that are to be kept secret."""
    secret = secret or option.secret
    if isinstance(raw, Mapping):
        for key, item in raw.items():
            inner = option.options.get(str(key), _ANY)
            yield from _secrets(inner, item, (*place, str(key)), secret)
    elif isinstance(raw, list):
        for index, item in enumerate(raw):
            yield from _secrets(option, item, (*place, index), secret)
    elif secret and isinstance(raw, str | int) and not isinstance(raw, bool) and raw != "":
        yield place, str(raw)


def _written(
    host: Host, value: Value, place: Place, text: str, seen: frozenset[str] = frozenset()
) -> Iterator[tuple[Value, Place]]:
    """Where a secret stands: here, or in the variables that a template here names."""
    if not is_template(text):
        if not value.secret:
            yield value, place
        return
    for name in names_in(text) - seen:
        other = host.values.get(name)
        if other is not None and isinstance(other.raw, str):
            yield from _written(host, other, (), other.raw, seen | {name})


def _of_secret(subject: Subject, host: Host, value: Value, place: Place) -> Iterator[Fault]:
    origin = value.origin_of(place)
    if value.source is Source.EXTRA and not origin.path.startswith("/"):
        yield fault(
            "a secret on the command line is seen by everybody who lists processes",
            "Give it in a file with -e @FILE, or in a vault.",
            origin,
            host=host,
            variable=shown(value.name, place),
            severity=Severity.WARNING,
        )
        return
    material = subject.site.controller.look(origin.path)
    open_to_all = material.readable_by == "everybody"
    # An inventory may be made by a program, which is no place where the secret stands.
    if value.source is Source.EXTRA and not open_to_all:
        return
    if _is_program(origin.path):
        return
    mode = f" (mode {material.mode:04o})" if material.mode is not None else ""
    yield fault(
        f"a secret in plain text, in a file that everybody may read{mode}"
        if open_to_all
        else "a secret in plain text",
        f"Encrypt it: ansible-vault encrypt_string --stdin-name {value.name}"
        + (f"; or chmod 600 {origin.path}." if open_to_all else ", or give it with -e @FILE."),
        origin,
        host=host,
        variable=shown(value.name, place),
        severity=Severity.ERROR if open_to_all else Severity.WARNING,
    )


def _is_program(path: str) -> bool:
    """Whether an inventory is made by running ``path``."""
    try:
        status = Path(path).stat()
        with Path(path).open("rb") as stream:
            return bool(status.st_mode & 0o111) and stream.read(2) == b"#!"
    except OSError:
        return False
