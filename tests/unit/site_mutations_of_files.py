"""More classes of mutations: of certificates, keys and secrets, and of how files are written."""

from __future__ import annotations

import json

from cryptography.hazmat.primitives.asymmetric import ec

from tests.unit.grid_site import DOOR, TRANSFER, certificate, private_key
from tests.unit.site_draft import RIGHT, Draft, encrypted, inline_vault
from tests.unit.site_mutations import (
    ACCEPTED,
    REJECTED,
    UNCHECKED,
    UNREADABLE,
    Mutation,
    Told,
    accepted,
    rejected,
    set_to,
    unchecked,
    unreadable,
)

#: The tables hold the mutations of both modules.
__all__ = ["ACCEPTED", "REJECTED", "UNCHECKED", "UNREADABLE", "Mutation", "Told"]

# --- material on this machine -------------------------------------------------------------


def _material(draft: Draft, variable: str) -> Told:
    return Told(variable, "group_vars/all.yml", draft.line_of("group_vars/all.yml", f"{variable}:"))


def _spoil(draft: Draft, name: str, text: str, mode: int = 0o600) -> None:
    host = draft.random.choice([DOOR, TRANSFER])
    draft.spoilt().write(host, name, text, mode)


@rejected
def file_that_is_missing(draft: Draft) -> Told:
    name = draft.random.choice(["hostcert.pem", "hostkey.pem"])
    draft.spoilt().path(DOOR, name).unlink()
    kind = "certificate" if "cert" in name else "key"
    return _material(draft, f"grid_trust_host_{kind}")


@rejected
def certificate_out_of_time(draft: Draft) -> Told:
    times = draft.random.choice([(-9.0, -1.0), (-400.0, -35.0), (1.0, 9.0)])
    _spoil(draft, "hostcert.pem", certificate(starts=times[0], ends=times[1]))
    return _material(draft, "grid_trust_host_certificate")


@rejected
def no_certificate(draft: Draft) -> Told:
    text = draft.random.choice(["", "nonsense", private_key(), certificate()[:200]])
    _spoil(draft, "hostcert.pem", text)
    return _material(draft, "grid_trust_host_certificate")


@rejected
def key_that_cannot_serve(draft: Draft) -> Told:
    curve = ec.generate_private_key(ec.SECP256R1())
    bad = ["", "nonsense", private_key(), private_key(curve), private_key(passphrase=b"x")]
    _spoil(draft, "hostkey.pem", draft.random.choice(bad))
    return _material(draft, "grid_trust_host_key")


@rejected
def key_for_everybody(draft: Draft) -> Told:
    draft.spoilt().path(DOOR, "hostkey.pem").chmod(draft.random.choice([0o644, 0o604, 0o666]))
    return _material(draft, "grid_trust_host_key")


@rejected
def directory_without_cas(draft: Draft) -> Told:
    directory = draft.spoilt().directory / "certificates"
    for suffix in draft.random.choice([(".0",), (".signing_policy",), (".0", ".signing_policy")]):
        for path in directory.glob(f"*{suffix}"):
            path.unlink()
    return _material(draft, "grid_trust_ca_files")


@accepted
def certificate_that_ends_soon(draft: Draft) -> Told:
    material = draft.spoilt()
    material.write(DOOR, "hostcert.pem", certificate(ends=draft.random.uniform(0.1, 29)))
    material.write(DOOR, "hostkey.pem", private_key())
    return _material(draft, "grid_trust_host_certificate")


@accepted
def key_for_its_group(draft: Draft) -> Told:
    draft.spoilt().path(DOOR, "hostkey.pem").chmod(0o640)
    return _material(draft, "grid_trust_host_key")


@accepted
def vaulted_key(draft: Draft) -> None:
    path = draft.spoilt().path(DOOR, "hostkey.pem")
    draft.material.write(DOOR, "hostkey.pem", encrypted(path.read_text()), 0o644)
    draft.vault = RIGHT


@unchecked
def vaulted_key_without_password(draft: Draft) -> Told:
    draft.spoilt().write(DOOR, "hostkey.pem", encrypted("x"))
    return _material(draft, "grid_trust_host_key")


@accepted
def material_of_a_component_that_goes(draft: Draft) -> None:
    draft.set("grid_trust_host_key", "/nowhere/key.pem", "all")
    for role in ("grid_trust", "bestman"):
        draft.add(f"{role}_state", "absent", "all")


# --- secrets ------------------------------------------------------------------------------

_SECRETS = ("ansible_become_password", "ansible_password", "ansible_ssh_pass")


@rejected
def secret_for_everybody(draft: Draft) -> Told:
    return set_to(draft, draft.random.choice(_SECRETS), "geheim")


@rejected
def secret_behind_a_template(draft: Draft) -> Told:
    file, line = draft.add("admin_password", "geheim", "all")
    draft.set(draft.random.choice(_SECRETS), "'{{ admin_password }}'")
    return Told("admin_password", file, line)


@accepted
def secret_for_the_owner(draft: Draft) -> Told:
    told = set_to(draft, draft.random.choice(_SECRETS), "geheim")
    draft.modes[told.file] = 0o600
    return told


@accepted
def secret_in_a_vault(draft: Draft) -> None:
    set_to(draft, draft.random.choice(_SECRETS), inline_vault("geheim"))


# --- how it is written --------------------------------------------------------------------

_FILES = ("hosts.yml", "group_vars/all.yml", "group_vars/bestman.yml")


@unreadable
def tab(draft: Draft) -> Told:
    name = draft.random.choice(_FILES)
    lines = draft.files[name].rstrip().count("\n") + 2
    draft.files[name] = draft.files[name].rstrip() + "\n\tx: 1\n"
    return Told("", name, lines)


@unreadable
def bracket_left_open(draft: Draft) -> Told:
    name = draft.random.choice(_FILES)
    draft.files[name] = draft.files[name].rstrip() + "\nx: [1, 2\n"
    return Told("", name)


@unreadable
def two_colons(draft: Draft) -> Told:
    name = draft.random.choice(_FILES)
    line = draft.files[name].rstrip().count("\n") + 2
    draft.files[name] = draft.files[name].rstrip() + "\nx: y: z\n"
    return Told("", name, line)


@unreadable
def list_of_variables(draft: Draft) -> Told:
    name = draft.random.choice(_FILES[1:])
    draft.files[name] = "- bestman_port: 8443\n"
    return Told("", name)


@unreadable
def program_that_fails(draft: Draft) -> Told:
    text = draft.random.choice(["#!/bin/sh\nexit 3\n", "#!/bin/sh\necho no json\n"])
    del draft.files["hosts.yml"]
    draft.files["hosts"], draft.modes["hosts"] = text, 0o755
    return Told("", "hosts")


@accepted
def key_twice(draft: Draft) -> Told:
    draft.set("bestman_port", "8444", "group")
    file, line = draft.add("bestman_port", "8445", "group")
    return Told("", file, line)


@accepted
def ini(draft: Draft) -> None:
    del draft.files["hosts.yml"]
    port = draft.random.randint(2000, 9000)
    draft.files["hosts"] = f"[bestman]\n{DOOR} bestman_port={port}\n\n[gridftp]\n{TRANSFER}\n"


@rejected
def wrong_value_in_ini(draft: Draft) -> Told:
    del draft.files["hosts.yml"]
    draft.files["hosts"] = f"[gridftp]\n{TRANSFER}\n[bestman]\n{DOOR} bestman_port=many\n"
    return Told("bestman_port", "hosts")


def _program(draft: Draft, variables: dict[str, object]) -> None:
    del draft.files["hosts.yml"]
    said = {
        "_meta": {"hostvars": {DOOR: variables}},
        "bestman": {"hosts": [DOOR]},
        "gridftp": {"hosts": [TRANSFER]},
    }
    draft.files["hosts"] = f"#!/bin/sh\ncat <<'END'\n{json.dumps(said)}\nEND\n"
    draft.modes["hosts"] = 0o755


@accepted
def program(draft: Draft) -> None:
    _program(draft, {"bestman_port": draft.random.randint(2000, 9000)})


@rejected
def wrong_value_of_a_program(draft: Draft) -> Told:
    _program(draft, {"bestman_port": "many"})
    return Told("bestman_port", "hosts")


@accepted
def read_only(draft: Draft) -> None:
    draft.modes = dict.fromkeys(draft.files, 0o444)


@accepted
def other_ways_to_write_yaml(draft: Draft) -> None:
    name = "group_vars/bestman.yml"
    more = draft.random.choice(
        ["x: &a [1]\ny: *a\n", "# ä\n", "x: |\n  {{ '{{' }}\n", "...\n", "'quoted name': 1\n"]
    )
    draft.files[name] = draft.files[name].rstrip() + "\n" + more
    if draft.random.random() < 0.5:
        draft.files[name] = draft.files[name].replace("\n", "\r\n")


@unchecked
def vaulted_file(draft: Draft) -> Told:
    draft.files[f"host_vars/{DOOR}.yml"] = encrypted("bestman_port: many\n")
    return Told("", f"host_vars/{DOOR}.yml")
