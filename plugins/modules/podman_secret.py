#!/usr/bin/python
# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""The secrets of one account's Podman, in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: podman_secret
short_description: Keep secrets of an account's Podman, and tell when they are others than before
version_added: 0.1.0
description:
  - Makes, replaces and removes secrets as the account whose pods read them. A content goes to
    C(podman secret create) by its standard input, and to nothing else.
  - Podman does not tell what a secret holds. The ledger has the id that Podman gave it, and a
    salted digest of its content. So a secret that another hand deleted or replaced is found, and
    made again; whoever killed the run between both is made up for by the next one.
  - Podman's storage is looked into as a file, and Podman is started only where that does not tell.
  - A secret of the same name that is not ours is refused, and never removed.
  - Pods read a secret when they start. Their units must be restarted when RV(ids) are others.
options:
  component:
    description: Who needs the secrets. With O(state=absent) it may be left out; then those of all
      components are meant.
    type: str
  state:
    description: Whether they are there. V(absent) removes all that were made for the component.
    type: str
    choices: [present, absent]
    default: present
  account:
    description: Whose Podman has them. It need not exist yet in check mode.
    type: str
  secrets:
    description: All that the component needs of this account. Others of the component are removed.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Its name, as Podman 4.3 takes it. That is 64 letters, digits, C(-), C(_) and
          C(.) at most, with a letter or digit at both ends.
        type: str
        required: true
      content:
        description: What it holds, of 1 to 511999 bytes in UTF-8.
        type: str
      generate:
        description: Number of random bytes, 16 to 1024, that the host draws for it in place of
          O(secrets[].content). It holds them as hexadecimal digits. They are drawn once, whatever
          number is here later, and nobody but its Podman has them.
        type: int
      certificate:
        description: A name, of a host, for which the host makes a key and a certificate that is
          signed with it, in place of O(secrets[].content). Key and certificate are one secret, in
          PEM; they are made once, and are good for ten years. The certificate is told
          (RV(certificates)).
        type: str
      rotate:
        description: A word of your choice. When it is another one than at the last time, new bytes
          are drawn, or a new key.
        type: str
        default: ""
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
- name: Hand the portal its secrets
  cloudlet.deploy.podman_secret:
    component: ondemand_portal
    account: oodsvc
    secrets:
      - {name: portal-oidc, content: "{{ vaulted_client_secret }}"}
      - {name: portal-passphrase, generate: 32}
  register: portal_secrets
"""

RETURN = r"""
changes:
  description: What was, or would be, made, replaced and removed, by name.
  type: list
  returned: always
ids:
  description: The id that Podman has for each of O(secrets), by its name. It is another one after
    each change; empty in check mode for one that would be made or replaced.
  type: dict
  returned: unless O(state=absent)
certificates:
  description: Each certificate that was made, by the name of its secret; empty in check mode for
    one that would be made.
  type: dict
  returned: unless O(state=absent)
left:
  description: Secrets that stay although they were ours, as another hand has replaced them.
  type: list
  returned: always
"""

import hashlib  # noqa: E402
import hmac  # noqa: E402
import os  # noqa: E402
import re  # noqa: E402
import secrets as random  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import (  # noqa: E402
    change,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.host_state import (  # noqa: E402
    STATE_DIR,
    Ledger,
    StateError,
    locked,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.idmaps import Refused  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils.podman_secrets import (  # noqa: E402
    Store,
    self_signed,
)

#: Kind of the ledger's entries, ACCOUNT/NAME. The note of one has ``id``, None from before its
#: secret is touched until it is made, and ``salt`` and ``digest`` or, if generated, ``drawn``.
KIND = "podman-secret"
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?\Z")
_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", re.DOTALL)
#: A host's name, as a certificate's subject and a command's word may have it.
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,62}[A-Za-z0-9])?\Z")
#: Podman refuses contents from this number of bytes on.
_TOO_LARGE = 512000


def refuse_wrong(wanted):
    """Raise Refused for secrets (the module's argument) that no Podman would take."""
    names = [one["name"] for one in wanted]
    for one in wanted:
        size = None if one["content"] is None else len(one["content"].encode("utf-8"))
        fault = (
            "is no name that Podman 4.3 takes"
            if not _NAME.match(one["name"])
            else "is there twice"
            if names.count(one["name"]) > 1
            else "has %d bytes, and Podman takes 1 to %d" % (size, _TOO_LARGE - 1)
            if size is not None and not 0 < size < _TOO_LARGE
            else "is to be of %d random bytes, and 16 to 1024 can be" % one["generate"]
            if one["generate"] is not None and not 16 <= one["generate"] <= 1024
            else "is a certificate for %s, which is no host" % one["certificate"]
            if one["certificate"] is not None and not _HOST.match(one["certificate"])
            else ""
        )
        if fault:
            raise Refused("The secret %s %s" % (one["name"], fault), "Correct it in the inventory.")


class SecretSet:
    """The secrets of one component; ``store`` makes the ``Store`` of an account."""

    def __init__(self, component, state_dir=STATE_DIR, store=Store, check=False):
        self.component = component
        self.state_dir = state_dir
        self.store = store
        self.check = check

    def present(self, account, wanted):
        """Have exactly the ``wanted`` ones (the module's argument); the module's result."""
        refuse_wrong(wanted)
        store = self.store(account)
        plan = _Plan(self, account, wanted, Ledger(self.state_dir), store.ids())
        if not self.check and plan.touches:
            if not store.exists:
                raise Refused(
                    "%s: the account %s does not exist" % (os.uname().nodename, account),
                    "Make it before this task, then apply again.",
                )
            with locked(self.state_dir):
                plan = _Plan(self, account, wanted, Ledger(self.state_dir), store.ids())
                plan.carry_out(store)
        ids = {one["name"]: plan.ids.get(one["name"], "") for one in wanted}
        shown = {
            one["name"]: plan.certificate(one["name"])
            for one in wanted
            if one["certificate"] is not None
        }
        return dict(plan.told(), ids=ids, certificates=shown)

    def absent(self):
        """Remove what was made, of all accounts; the module's result."""
        result = {"changed": False, "changes": [], "left": []}
        owned = Ledger(self.state_dir).owned(KIND, self.component)
        for account in sorted({key.partition("/")[0] for key in owned}):
            one = self.present(account, []) if self.store(account).exists else self._lost(account)
            for key in ("changes", "left"):
                result[key] += one[key]
        result["changed"] = bool(result["changes"])
        return result

    def _lost(self, account):
        if not self.check:
            with locked(self.state_dir):
                _Plan(self, account, [], Ledger(self.state_dir), {}).carry_out(None)
        return {"changes": [], "left": []}


class _Plan:
    """What is to be done for one account: ``found`` has its {name: id}."""

    def __init__(self, own, account, wanted, ledger, found):
        self.account, self.ledger, self.component = account, ledger, own.component
        self.found = found
        #: The ids at the end, as far as they are known.
        self.ids = dict(found)
        self.notes = ledger.notes(KIND)
        prefix = account + "/"
        owned = ledger.owned(KIND, own.component)
        self.owned = sorted(key[len(prefix) :] for key in owned if key.startswith(prefix))
        #: (the secret, why it is made or replaced).
        self.making = []
        for one in wanted:
            self._refuse_foreign(one["name"])
            reason = self._reason(one)
            if reason:
                self.making.append((one, reason))
                self.ids[one["name"]] = ""
        self.leaving = [n for n in self.owned if n not in {one["name"] for one in wanted}]
        self.removing = [n for n in self.leaving if n in found and self._is_ours(n)]
        self.touches = bool(self.making or self.leaving)
        self.made = False

    def _key(self, name):
        return self.account + "/" + name

    def _note(self, name):
        return self.notes.get(self._key(name)) or {}

    def _is_ours(self, name):
        """Whether what is there of our name is what we made, as far as can be told."""
        return self._note(name).get("id") in (None, self.found[name])

    def _refuse_foreign(self, name):
        others = self.ledger.owned(KIND, None)
        if name in self.owned or (name not in self.found and self._key(name) not in others):
            return
        entry = self.ledger.entries.get("%s:%s" % (KIND, self._key(name)))
        whose = "of %s" % ", ".join(entry["owners"]) if entry else "not made by cloudlet-deploy"
        raise Refused(
            "%s: the account %s has a secret %s already, and it is %s"
            % (os.uname().nodename, self.account, name, whose),
            "Give ours another name, or if nobody needs that one remove it: 'podman secret rm %s' "
            "as %s." % (name, self.account),
        )

    def _reason(self, one):
        """Why it is to be made or replaced, in words; "" if it is as wanted."""
        name, note = one["name"], self._note(one["name"])
        if name not in self.found:
            return "was deleted" if note.get("id") else "not there yet"
        if note.get("id") is None:
            return "an earlier run was interrupted"
        if note["id"] != self.found[name]:
            return "was replaced by another hand"
        if one["content"] is None:
            same = note.get("drawn") == one["rotate"] and note.get("host") == one["certificate"]
            return "" if same else "it is drawn anew"
        salt, digest = note.get("salt", ""), note.get("digest", "")
        same = hmac.compare_digest(digest, _digest(salt, one["content"]))
        return "" if same else "other content"

    def carry_out(self, store):
        """Do it. The ledger knows before Podman does."""
        for name in self.removing:
            store.drop(self.found[name])
        for name in self.leaving:
            self.ledger.release(KIND, self._key(name), self.component)
        for one, _ in self.making:
            key = self._key(one["name"])
            self.ledger.record(KIND, key, {"exists": False}, self.component)
            self.ledger.note(KIND, key, {"id": None})
        self.ledger.save()
        for one, _ in self.making:
            self._make(store, one)
        self.made = True

    def _make(self, store, one):
        name = one["name"]
        if one["certificate"] is not None:
            content = self_signed(one["certificate"])
            shown = _CERTIFICATE.search(content).group()
            note = {"drawn": one["rotate"], "host": one["certificate"], "certificate": shown}
        elif one["content"] is None:
            content, note = random.token_hex(one["generate"]), {"drawn": one["rotate"]}
        else:
            content, salt = one["content"], random.token_hex(16)
            note = {"salt": salt, "digest": _digest(salt, content)}
        if name in self.found:
            store.drop(self.found[name])
        self.ids[name] = note["id"] = store.make(name, content.encode("utf-8"))
        self.ledger.note(KIND, self._key(name), note)
        self.ledger.save()

    def certificate(self, name):
        """The certificate of a secret that has one, "" before it is made."""
        making = name in {one["name"] for one, _ in self.making}
        note = (
            (self.ledger.notes(KIND).get(self._key(name)) or {}) if self.made or not making else {}
        )
        return note.get("certificate", "")

    def told(self):
        """The module's result but the ids."""
        changes = [
            change(
                "secret",
                self._key(one["name"]),
                "change" if one["name"] in self.found else "create",
                reason,
            )
            for one, reason in self.making
        ]
        changes += [change("secret", self._key(name), "remove") for name in self.removing]
        left = [self._key(n) for n in self.leaving if n in self.found and n not in self.removing]
        return {"changed": bool(changes), "changes": changes, "left": left}


def _digest(salt, content):
    return hmac.new(salt.encode("ascii"), content.encode("utf-8"), hashlib.sha256).hexdigest()


def argument_spec():
    """The module's arguments; DOCUMENTATION says what they mean."""
    return {
        "component": {"type": "str"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "account": {"type": "str"},
        "secrets": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "no_log": False,
            "options": {
                "name": {"type": "str", "required": True},
                "content": {"type": "str", "no_log": True},
                "generate": {"type": "int"},
                "certificate": {"type": "str"},
                "rotate": {"type": "str", "default": ""},
            },
            "mutually_exclusive": [("content", "generate", "certificate")],
            "required_one_of": [("content", "generate", "certificate")],
        },
        "state_dir": {"type": "path", "default": STATE_DIR},
    }


class Discreet(AnsibleModule):
    """A module that does not write its arguments to the host's log.

    Ansible writes them there as the text of a Python list, and does not recognize in it what must
    not be logged if that has several lines or quotes.
    """

    def _log_invocation(self):
        pass


def main():
    module = Discreet(
        argument_spec=argument_spec(),
        required_if=[("state", "present", ("component", "account"))],
        supports_check_mode=True,
    )
    options = module.params
    own = SecretSet(options["component"], options["state_dir"], check=module.check_mode)
    try:
        if options["state"] == "present":
            result = own.present(options["account"], options["secrets"])
        else:
            result = own.absent()
    except Refused as exc:
        module.fail_json(msg="%s." % exc, next_step=exc.next_step, changes=[])
    except (StateError, OSError) as exc:
        module.fail_json(msg="Podman's secrets: %s" % exc)
    for name in result["left"]:
        told = "%s: the secret %s stays: another hand has replaced it"
        module.warn(told % (os.uname().nodename, name))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
