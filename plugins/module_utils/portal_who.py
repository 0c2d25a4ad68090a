# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Who may use the portal now, by the approved accounts, the host and LDAP, which have to agree.

A person is in if the account is approved, the host has it as a person's, LDAP has one entry for
it, and that entry has a claim that nobody else has there. An answer is an answer: whom LDAP or the
host's name service does not have is out, and if it has nobody, all are.

The role ``ondemand_portal`` installs this file on hosts beside the program ``portal-people``, so it
imports nothing of ours. LDAP needs python3-ldap. Python 3.9 and later.
"""

import contextlib
import os
import pwd
import queue
import re
import threading
from typing import NamedTuple

_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
#: Valid as names, but root, or a number to Lua, C and others.
_NEVER = frozenset(["root", "inf", "infinity", "nan"])
_LEAST_ID, _NOBODY = 1000, 65534
_LONGEST_CLAIM = 1024
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
#: Values in one question to LDAP, and entries in its answer.
_BATCH, _MOST = 100, 1000
_STEPS = 5


class Refused(Exception):
    """It cannot be done; ``next_step`` says what the user is to do, ``code`` is the exit code."""

    def __init__(self, message, next_step, code=1):
        super().__init__(message)
        self.next_step = next_step
        self.code = code


class Directory(NamedTuple):
    """How LDAP is asked, by one URI after the other until one answers.

    ``timeout`` is in seconds, for each step; all steps at one URI have five times that.
    """

    uri: str
    base: str
    bind_dn: str
    password_file: str
    ca_file: str
    account_attribute: str
    claim_attribute: str
    filter: str
    timeout: int
    start_tls: bool = False


class Config(NamedTuple):
    """The configuration file. ``delegated_gids`` are pairs of first and count."""

    ldap: dict
    approved: list
    minimum_uid: int
    delegated_gids: list
    instruments: dict
    keep_minutes: int
    site_directory: str
    extrausers_directory: str
    shell: str
    cut: list
    pod_root_gid: int = 0


class Instrument(NamedTuple):
    """Who may reach it: the members of a group of the host."""

    group: str


class Person(NamedTuple):
    """An approved account as the host has it, and its claims. ``gids`` are all of its groups."""

    account: str
    uid: int
    gid: int
    home: str
    gids: tuple
    claims: tuple = ()


# ---- the configuration ------------------------------------------------------------------------


def _made(kind, document, where):
    fields = kind.__annotations__
    if not isinstance(document, dict):
        raise ValueError("%s is no mapping" % where)
    wrong = ["unknown: %s" % key for key in sorted(set(document) - set(fields))]
    needed = set(fields) - set(kind._field_defaults)
    wrong += ["missing: %s" % key for key in sorted(needed - set(document))]
    wrong += ["not %s: %s" % (fields[key].__name__, key) for key, value in sorted(document.items())
              if key in fields and type(value) is not fields[key]]  # fmt: skip
    if wrong:
        raise ValueError("%s: %s" % (where, ", ".join(wrong)))
    return kind(**document)


def configured(document):
    """(Config, Directory, {name: Instrument}) of a document. Raises ValueError."""
    config = _made(Config, document, "configuration")
    directory = _made(Directory, config.ldap, "ldap")
    instruments = {name: _made(Instrument, one, name) for name, one in config.instruments.items()}
    uris = directory.uri.split()
    attributes = (directory.account_attribute, directory.claim_attribute)
    rules = [
        (uris and all(
            uri.startswith("ldaps://") or (uri.startswith("ldap://") and directory.start_tls)
            for uri in uris), "ldap.uri must be ldaps://, or ldap:// with start_tls"),
        (directory.bind_dn, "ldap.bind_dn is empty"),
        (all(re.fullmatch("[A-Za-z][A-Za-z0-9-]*", one) for one in attributes),
         "ldap.account_attribute and claim_attribute must be names of attributes"),
        (re.fullmatch(r"\(.+\)", directory.filter), "ldap.filter must be in parentheses"),
        (directory.timeout > 0, "ldap.timeout must be above 0"),
        (config.keep_minutes > 0, "keep_minutes must be above 0"),
        (config.minimum_uid >= _LEAST_ID, "minimum_uid must be 1000 or more"),
        (all(isinstance(one, str) for one in config.approved), "approved must be names"),
        (config.cut and all(isinstance(one, str) for one in config.cut), "cut must be a command"),
        (all(isinstance(pair, list) and [type(one) for one in pair] == [int, int]
             for pair in config.delegated_gids), "delegated_gids must be pairs of numbers"),
        (all(re.fullmatch("[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name) for name in instruments),
         "names of instruments may have letters, digits, _ and -"),
        (len({name.lower() for name in instruments}) == len(instruments),
         "names of instruments must differ by more than case"),
        (not re.search("[:\n]", config.shell), "shell must be a path"),
    ]  # fmt: skip
    for holds, told in rules:
        if not holds:
            raise ValueError(told)
    return config, directory, instruments


# ---- LDAP -------------------------------------------------------------------------------------


def _password(path):
    try:
        with open(path, encoding="utf-8") as stream:
            if os.fstat(stream.fileno()).st_mode & 0o077:
                raise Refused("%s may be read by others than its owner" % path, "chmod 600 it.", 4)
            password = stream.read().rstrip("\n")
    except (OSError, ValueError) as exc:
        raise Refused("%s: %s" % (path, exc), "Apply again.", 4) from exc
    if not password:
        # To a directory this is a bind of nobody, and it succeeds.
        raise Refused("%s is empty" % path, "Set the bind account's password, apply again.", 4)
    return password


def _session(ldap, directory, password):
    connection = ldap.initialize(directory.uri)
    for option, value in (
        (ldap.OPT_PROTOCOL_VERSION, 3),
        (ldap.OPT_REFERRALS, 0),
        (ldap.OPT_NETWORK_TIMEOUT, directory.timeout),
        (ldap.OPT_TIMEOUT, directory.timeout),
        (ldap.OPT_X_TLS_CACERTFILE, directory.ca_file),
        (ldap.OPT_X_TLS_REQUIRE_CERT, ldap.OPT_X_TLS_DEMAND),
        # The last one: it makes the others hold.
        (ldap.OPT_X_TLS_NEWCTX, 0),
    ):
        connection.set_option(option, value)
    if directory.start_tls:
        connection.start_tls_s()
    connection.simple_bind_s(directory.bind_dn, password)
    return connection


def _search(ldap, connection, directory, attribute, values):
    """{dn: (accounts, claims)} of the entries that have one of ``values``; claims as bytes."""
    found, values = {}, sorted(values)
    names = (directory.account_attribute, directory.claim_attribute)
    for at in range(0, len(values), _BATCH):
        terms = ["(%s=%s)" % (attribute, ldap.filter.escape_filter_chars(value))
                 for value in values[at : at + _BATCH]]  # fmt: skip
        wanted = "(&%s(|%s))" % (directory.filter, "".join(terms))
        rows = connection.search_ext_s(
            directory.base, ldap.SCOPE_SUBTREE, wanted, list(names),
            timeout=directory.timeout, sizelimit=_MOST,
        )  # fmt: skip
        for dn, attributes in rows:
            if dn is not None:  # else it points to another server
                lower = {key.lower(): value for key, value in attributes.items()}
                accounts, claims = (set(lower.get(name.lower(), [])) for name in names)
                found[dn] = ({one.decode("utf-8", "replace") for one in accounts}, claims)
    return found


def claim_of(value):
    """The claim in the bytes of an attribute, or None if no portal could be told it."""
    with contextlib.suppress(UnicodeDecodeError):
        claim = value.decode("utf-8")
        if 0 < len(value) <= _LONGEST_CLAIM and not _CONTROL.search(claim):
            return claim
    return None


def answered(directory, accounts):
    """({account: claims}, [what was left out]) by LDAP. Raises Refused."""
    # Nothing of what a host sets for its other programs, such as not to look at certificates.
    os.environ["LDAPNOINIT"] = "1"
    try:
        import ldap
        import ldap.filter
    except ImportError as exc:
        raise Refused("Python has no ldap: %s" % exc, "Install python3-ldap.") from exc
    password, faults = _password(directory.password_file), []
    for uri in directory.uri.split():
        one = directory._replace(uri=uri)
        try:
            found = _within(_STEPS * directory.timeout, _asked, ldap, one, password, accounts)
            return _agreed(directory, accounts, *found)
        # ValueError is an option with a bad value.
        except (ldap.LDAPError, TimeoutError, ValueError) as exc:
            told = exc.args[0] if exc.args and isinstance(exc.args[0], dict) else {"desc": exc}
            why = ": ".join(str(told[key]) for key in ("desc", "info") if told.get(key))
            faults.append("%s: %s" % (uri, why or type(exc).__name__))
    raise Refused(
        "; ".join(faults),
        "Does it answer, and does %s fit its certificate? The next run asks again."
        % directory.ca_file,
    )


def _within(seconds, call, *arguments):
    """What ``call`` returns or raises. Raises TimeoutError.

    libldap limits each step, but a server that is silent in the TLS handshake may hold it for ever.
    """
    answers = queue.SimpleQueue()

    def work():
        try:
            answers.put((call(*arguments), None))
        except Exception as exc:
            answers.put((None, exc))

    threading.Thread(target=work, daemon=True).start()
    try:
        answer, failure = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError("no answer in %s s" % seconds) from None
    if failure:
        raise failure
    return answer


def _asked(ldap, directory, password, accounts):
    """({dn: (accounts, claims)} of the accounts, the same of all who have a claim of these)."""
    connection = _session(ldap, directory, password)
    try:
        entries = _search(ldap, connection, directory, directory.account_attribute, accounts)
        known = {claim_of(value) for _, values in entries.values() for value in values} - {None}
        holders = _search(ldap, connection, directory, directory.claim_attribute, known)
    finally:
        connection.unbind_s()
    return entries, {**holders, **entries}


def _agreed(directory, accounts, entries, holders):
    notes, offered = [], {}
    for account in sorted(accounts):
        mine = [values for names, values in entries.values() if account in names]
        if len(mine) != 1:
            notes.append("%s: LDAP has %d entries" % (account, len(mine)))
            continue
        good = {claim for claim in map(claim_of, mine[0]) if claim}
        if len(good) < len(mine[0]) or not good:
            what = "a malformed" if mine[0] else "no"
            kind = directory.claim_attribute
            notes.append("%s: its LDAP entry has %s %s" % (account, what, kind))
        offered[account] = good
    claims = {}
    for account, good in offered.items():
        mine = claims[account] = []
        for claim in sorted(good):
            owners = sum(claim.encode("utf-8") in values for _, values in holders.values())
            if owners > 1 or sum(claim in others for others in offered.values()) > 1:
                notes.append("%s: others have the claim %s, too" % (account, ascii(claim)))
            else:
                mine.append(claim)
    return claims, notes


# ---- the host ---------------------------------------------------------------------------------


def delegated(gid, config):
    """Whether the group may be in the pod."""
    return gid >= _LEAST_ID and any(
        first <= gid < first + count for first, count in config.delegated_gids
    )


def local(account, config):
    """The Person of an approved account, without claims. Raises ValueError with the reason."""
    if not _NAME.fullmatch(account) or account in _NEVER:
        raise ValueError("no valid name")
    try:
        entry = pwd.getpwnam(account)
    except KeyError:
        raise ValueError("the host has no such account") from None
    if entry.pw_name != account:
        raise ValueError("to the host it is %s" % entry.pw_name)
    if entry.pw_uid < config.minimum_uid or entry.pw_uid == _NOBODY:
        raise ValueError("the uid %d is not a person's" % entry.pw_uid)
    if not delegated(entry.pw_gid, config):
        raise ValueError("its primary group %d is not delegated" % entry.pw_gid)
    if re.search("[:\n]", entry.pw_dir) or not entry.pw_dir.startswith("/"):
        raise ValueError("its home is no path")
    gids = tuple(sorted(set(os.getgrouplist(account, entry.pw_gid))))
    return Person(account, entry.pw_uid, entry.pw_gid, entry.pw_dir, gids)


def people_now(config, directory):
    """([Person], [what was left out]): who is in. Raises Refused."""
    known, notes = {}, []
    for account in sorted(set(config.approved)):
        try:
            known[account] = local(account, config)
        except ValueError as exc:
            notes.append("%s: %s" % (ascii(account)[1:-1], exc))
    claims, more = answered(directory, set(known)) if known else ({}, [])
    found = [known[account]._replace(claims=tuple(mine)) for account, mine in claims.items()]
    return [person for person in found if person.claims], notes + more
