#!/usr/bin/python
# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Users and the worker of a CryoSPARC master. Python 3.9 and later."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cryosparc_register
short_description: Make users and a worker known to CryoSPARC's master
version_added: 0.1.0
description:
  - A user that is missing is made. One that is there is never changed, and none is removed.
  - A worker is connected when the master does not know it, and again when it is to be other than
    it was connected.
  - Passwords are told to C(cryosparcm) by standard input.
  - In check mode a master that does not answer knows nobody but whom the ledger has.
options:
  directory:
    description: Where CryoSPARC is installed.
    type: path
    required: true
  version:
    description: Its version.
    type: str
    required: true
  account:
    description: The account that it runs as.
    type: str
    required: true
  hostname:
    description: Name of the master, and of the worker.
    type: str
    required: true
  port:
    description: The first of its ports.
    type: int
    required: true
  users:
    description: Users to have.
    type: list
    elements: dict
    default: []
    suboptions:
      email:
        description: Address that the user logs in with.
        type: str
        required: true
      username:
        description: Name that others see.
        type: str
        required: true
      first_name:
        description: Given name.
        type: str
        required: true
      last_name:
        description: Family name.
        type: str
        required: true
      password:
        description: The first password.
        type: str
        required: true
  worker:
    description: Options of C(cryosparcw connect) beside names and port, such as C(--lane default);
      without it the host is not connected.
    type: list
    elements: str
  state_dir:
    description: Where the ledger is.
    type: path
    default: /var/lib/cloudlet-deploy
attributes:
  check_mode:
    support: full
author: [The cloudlet-deploy founders]
"""

EXAMPLES = r"""
- name: Make users and worker known
  cloudlet.deploy.cryosparc_register:
    directory: /opt/cryosparc
    version: v5.0.1
    account: cryosparc
    hostname: cryosparc.example.org
    port: 61000
    worker: [--lane, default, --nossd, --no-gpu]
"""

RETURN = r"""
changes:
  description: What was, or would be, done.
  type: list
  returned: always
"""

import os  # noqa: E402
import re  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils import (  # noqa: E402
    cryosparc_host,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import (  # noqa: E402
    change,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.cryosparc_layout import (  # noqa: E402
    MEMBERS,
    OWNER,
    Layout,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.cryosparc_program import (  # noqa: E402
    Programs,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.host_state import (  # noqa: E402
    STATE_DIR,
    Ledger,
    StateError,
    locked,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.idmaps import Refused  # noqa: E402

USER, WORKER = "cryosparc-user", "cryosparc-worker"


def words_of(text):
    """The words of a table that a program of the vendor printed."""
    return set(re.split(r"[\s|,;'\"()\[\]{}]+", text))


class Register:
    """The members of one master."""

    def __init__(self, options, programs=Programs):
        self.options = options
        self.layout = Layout(options["directory"])
        self.programs = programs
        # Version 4 has other words for the same.
        later = cryosparc_host.number(options["version"])[0] >= 5
        self.create, self.list = (
            (("user", "create"), ("user", "list")) if later else (("createuser",), ("listusers",))
        )

    def note(self):
        """Whom the ledger has: ``{"users": [EMAIL, ...], "worker": WORDS}``."""
        found = Ledger(self.options["state_dir"]).notes(MEMBERS).get(self.layout.directory)
        return found or {"users": [], "worker": None}

    def act(self, check):
        """The module's result."""
        options, note = self.options, self.note()
        known, workers = self._known(note, check)
        users = [user for user in options["users"] if user["email"] not in known]
        connect = None
        if options["worker"] is not None:
            there = options["hostname"] in workers
            if not there or note["worker"] != self._words():
                connect = "change" if there else "connect"
        changes = [change(USER, user["email"], "create", user["username"]) for user in users]
        if connect:
            changes.append(
                change(WORKER, options["hostname"], connect, " ".join(options["worker"]))
            )
        if not check:
            for user in users:
                self._make(user)
            if connect:
                self._connect(workers, update=connect == "change")
            if changes:
                self._write_down()
        return {"changed": bool(changes), "changes": changes}

    def _known(self, note, check):
        """Words of what the master says of its users and of its workers."""
        try:
            return tuple(
                words_of(self._manage("Asking the master", *words).out)
                for words in (self.list, ("worker", "list"))
                if words == self.list or self.options["worker"] is not None
            ) + (() if self.options["worker"] is not None else (set(),))
        except (Refused, KeyError):
            if not check:
                raise
            return set(note["users"]), {self.options["hostname"]} if note["worker"] else set()

    def _words(self):
        options = self.options
        names = ["--worker", options["hostname"], "--master", options["hostname"]]
        return [*names, "--port", str(options["port"]), *options["worker"]]

    def _manage(self, what, *words, secrets=()):
        programs = self.programs(self.options["account"])
        program = self.layout.program("master")
        if not os.path.exists(program):
            raise Refused("%s is not there" % program, "Apply the whole role.")
        return programs.checked(what, program, *words, secrets=secrets)

    def _make(self, user):
        words = ["--email", user["email"], "--username", user["username"]]
        words += ["--firstname", user["first_name"], "--lastname", user["last_name"]]
        secrets = ("--password", user["password"])
        self._manage("Making the user %s" % user["email"], *self.create, *words, secrets=secrets)

    def _connect(self, lanes, update):
        words = self._words()
        lane = words[words.index("--lane") + 1] if "--lane" in words else "default"
        if update:
            words.append("--update")
        if lane != "default" and lane not in lanes:
            words.append("--newlane")
        programs = self.programs(self.options["account"])
        program = self.layout.program("worker")
        programs.checked("Connecting the worker", program, "connect", *words)

    def _write_down(self):
        state_dir = self.options["state_dir"]
        with locked(state_dir):
            ledger = Ledger(state_dir)
            ledger.record(MEMBERS, self.layout.directory, None, OWNER)
            users = [user["email"] for user in self.options["users"]]
            worker = self._words() if self.options["worker"] is not None else None
            ledger.note(MEMBERS, self.layout.directory, {"users": users, "worker": worker})
            ledger.save()


def refuse_wrong(users):
    """Raise Refused for users that cannot be told apart, or to a program by lines."""
    for key in ("email", "username"):
        values = [user[key] for user in users]
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise Refused(
                "cryosparc_users: the %s %s is there twice" % (key, twice[0]),
                "Leave one of them.",
            )
    for user in users:
        if not user["password"] or "\n" in user["password"]:
            raise Refused(
                "cryosparc_users: the password of %s is empty or has several lines" % user["email"],
                "Give one line.",
            )


class Discreet(AnsibleModule):
    """A module that does not write its arguments, passwords in a list among them, to the log."""

    def _log_invocation(self):
        pass


def main():
    text = {"type": "str", "required": True}
    user = dict.fromkeys(("email", "username", "first_name", "last_name"), text)
    module = Discreet(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "version": text,
            "account": text,
            "hostname": text,
            "port": {"type": "int", "required": True},
            "users": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": dict(user, password=dict(text, no_log=True)),
            },
            "worker": {"type": "list", "elements": "str"},
            "state_dir": {"type": "path", "default": STATE_DIR},
        },
        supports_check_mode=True,
    )
    try:
        refuse_wrong(module.params["users"])
        result = Register(module.params).act(module.check_mode)
    except Refused as exc:
        module.fail_json(msg="%s." % exc, next_step=exc.next_step, changes=[])
    except (StateError, OSError, KeyError) as exc:
        module.fail_json(msg="cryosparc_register: %s" % exc)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
