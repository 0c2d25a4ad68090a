"""The same state as the roles make, as pyinfra operations; only to be timed.

``scripts/benchmark-apply`` writes what the hosts hold into ``state.json`` beside a copy of
this file: per host its groups, accounts, directories, files (content, owner, mode), packages
and units. pyinfra must then find nothing to change.
"""

import json
from io import BytesIO
from pathlib import Path

from pyinfra import host
from pyinfra.operations import apt, files, server, systemd

state = json.loads(Path("state.json").read_text())[host.name]

for name, gid in state["groups"]:
    server.group(name=f"group {name}", group=name, gid=gid)
for account in state["accounts"]:
    server.user(
        name=f"account {account['name']}",
        user=account["name"],
        uid=account["uid"],
        group=account["group"],
        home=account["home"],
        shell=account["shell"],
        ensure_home=False,
    )
apt.packages(name="packages", packages=state["packages"])
for path, owner, group, mode in state["directories"]:
    files.directory(name=path, path=path, user=owner, group=group, mode=mode)
for path, owner, group, mode, content in state["files"]:
    files.put(
        name=path,
        src=BytesIO(bytes.fromhex(content)),
        dest=path,
        user=owner,
        group=group,
        mode=mode,
    )
for unit in state["units"]:
    systemd.service(name=unit, service=unit, running=True, enabled=True)
