# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""One transaction of the policy store: run as a program, with what is wanted on its input.

A program of its own, because libsemanage's Python is there for the system's Python only, which
need not be the one that modules run with (and is 3.6 on EL 8, so nothing newer is used here), and
because libsemanage writes what it complains of to standard error. The command ``semanage`` would
read the whole policy with Python first, which takes longer than the transaction.
"""

import json
import os
import sys
import tempfile

#: Exit codes beside 0: there are no bindings, or the transaction was refused.
NO_BINDINGS, REFUSED = 3, 4
PRIORITY = 400


class Failed(Exception):
    """A step did not succeed; the message says which."""


def commit(semanage, wanted):
    """Have ``wanted``, by kind; None stands for no local entry. Raises Failed.

    ``{"boolean": {NAME: bool}, "context": {EXPRESSION: CONTEXT}, "policy-module": {NAME: CIL},
    "port": {"PROTOCOL/FIRST-LAST": CONTEXT}, "login": {ACCOUNT: "USER:LEVELS"}}``
    """
    handle = semanage.semanage_handle_create()
    if not handle or semanage.semanage_is_managed(handle) != 1:
        raise Failed("there is no policy store")
    _done(semanage.semanage_connect(handle), "connect to the policy store")
    try:
        _done(semanage.semanage_begin_transaction(handle), "begin a transaction")
        for kind, change in (
            ("policy-module", _module),
            ("boolean", _boolean),
            ("context", _context),
            ("port", _port),
            ("login", _login),
        ):
            for name, value in sorted(wanted.get(kind, {}).items()):
                change(semanage, handle, name, value)
        _done(semanage.semanage_commit(handle), "commit")
    finally:
        semanage.semanage_disconnect(handle)
        semanage.semanage_handle_destroy(handle)


def _done(code, what):
    """The last of what a call returned. It returns a number, negative for a failure, or more."""
    values = code if isinstance(code, (list, tuple)) else [code]
    if values[0] < 0:
        raise Failed("cannot " + what)
    return values[-1]


def _module(semanage, handle, name, text):
    _done(semanage.semanage_set_default_priority(handle, PRIORITY), "set the priority")
    if text is None:
        _done(semanage.semanage_module_remove(handle, name), "remove the module " + name)
        return
    directory = tempfile.mkdtemp(prefix="cloudlet-")
    path = os.path.join(directory, name + ".cil")
    try:
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(text)
        _done(semanage.semanage_module_install_file(handle, path), "install the module " + name)
    finally:
        if os.path.exists(path):
            os.unlink(path)
        os.rmdir(directory)


def _boolean(semanage, handle, name, value):
    key = _done(semanage.semanage_bool_key_create(handle, name), "name " + name)
    if value is None:
        _done(semanage.semanage_bool_del_local(handle, key), "forget " + name)
        return
    one = _done(semanage.semanage_bool_create(handle), "make " + name)
    _done(semanage.semanage_bool_set_name(handle, one, name), "name " + name)
    semanage.semanage_bool_set_value(one, int(value))
    _done(semanage.semanage_bool_modify_local(handle, key, one), "set " + name)


def _context(semanage, handle, expression, value):
    every = semanage.SEMANAGE_FCONTEXT_ALL
    key = _done(
        semanage.semanage_fcontext_key_create(handle, expression, every), "name " + expression
    )
    if value is None:
        _done(semanage.semanage_fcontext_del_local(handle, key), "forget " + expression)
        return
    one = _done(semanage.semanage_fcontext_create(handle), "make " + expression)
    _done(semanage.semanage_fcontext_set_expr(handle, one, expression), "name " + expression)
    semanage.semanage_fcontext_set_type(one, every)
    context = _done(semanage.semanage_context_from_string(handle, value), "read " + value)
    _done(semanage.semanage_fcontext_set_con(handle, one, context), "set " + expression)
    _done(semanage.semanage_fcontext_modify_local(handle, key, one), "set " + expression)


def _port(semanage, handle, name, value):
    protocol, _slash, numbers = name.partition("/")
    first, _dash, last = numbers.partition("-")
    pair = int(first), int(last or first)
    number = getattr(semanage, "SEMANAGE_PROTO_" + protocol.upper())
    key = _done(semanage.semanage_port_key_create(handle, pair[0], pair[1], number), "name " + name)
    if value is None:
        _done(semanage.semanage_port_del_local(handle, key), "forget " + name)
        return
    one = _done(semanage.semanage_port_create(handle), "make " + name)
    semanage.semanage_port_set_proto(one, number)
    semanage.semanage_port_set_range(one, pair[0], pair[1])
    context = _done(semanage.semanage_context_from_string(handle, value), "read " + value)
    _done(semanage.semanage_port_set_con(handle, one, context), "set " + name)
    _done(semanage.semanage_port_modify_local(handle, key, one), "set " + name)


def _login(semanage, handle, name, value):
    key = _done(semanage.semanage_seuser_key_create(handle, name), "name " + name)
    if value is None:
        _done(semanage.semanage_seuser_del_local(handle, key), "forget " + name)
        return
    user, _colon, levels = value.partition(":")
    one = _done(semanage.semanage_seuser_create(handle), "make " + name)
    _done(semanage.semanage_seuser_set_name(handle, one, name), "name " + name)
    _done(semanage.semanage_seuser_set_sename(handle, one, user), "set " + name)
    _done(semanage.semanage_seuser_set_mlsrange(handle, one, levels), "set " + name)
    _done(semanage.semanage_seuser_modify_local(handle, key, one), "set " + name)


def main():
    try:
        import semanage
    except ImportError:
        return NO_BINDINGS
    try:
        commit(semanage, json.load(sys.stdin))
    except Failed as exc:
        # libsemanage's own complaints stand before it.
        sys.stderr.write("%s\n" % exc)
        return REFUSED
    except OSError as exc:
        # Newer bindings raise it instead of returning a number, and mostly without a cause.
        if exc.errno:
            sys.stderr.write("%s\n" % exc)
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
