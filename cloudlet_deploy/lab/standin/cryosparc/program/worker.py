"""``cryosparcw``: connects a worker, and runs jobs."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

from . import wire
from .settings import API, DATABASE

_BLOCK = 1 << 20
#: Of each movie, how much its output has.
_KEPT = 1 << 16
#: How long a job tries to tell the master what it has done, in seconds.
_PATIENCE = 600.0


def connect(given: argparse.Namespace) -> None:
    """Tell the master of this worker."""
    license_id = os.environ.get("CRYOSPARC_LICENSE_ID", "")
    wire.ask_api(
        given.master,
        given.port + API,
        "connect_worker",
        hostname=given.worker,
        license_digest=hashlib.sha256(license_id.encode()).hexdigest(),
        lane=given.lane,
        update=given.update,
        new_lane=given.newlane,
        ssdpath=None if given.nossd else given.ssdpath,
        ssdquota=given.ssdquota,
        ssdreserve=given.ssdreserve,
        gpus="" if given.no_gpu else given.gpus,
        cpus=given.cpus,
        rams=given.rams,
        sshstr=given.sshstr,
    )
    print(f"The worker {given.worker} is registered in the lane {given.lane}.")


def run(given: argparse.Namespace) -> None:
    """Run one job of a live session; SystemExit where the master cannot be reached."""
    base = given.master_command_core_port - API
    for what, port in (("database", base + DATABASE), ("API", base + API)):
        try:
            socket.create_connection((given.master_hostname, port), 10).close()
        except OSError as error:
            where = f"{given.master_hostname}:{port}"
            raise SystemExit(f"{socket.gethostname()}: no {what} at {where}: {error}") from error
    job = json.loads(Path(given.job_dir, "job.json").read_text())
    target = Path(job["output"])
    target.mkdir(exist_ok=True)
    done: list[str] = []
    failed: dict[str, str] = {}
    for name, path in job["movies"].items():
        try:
            process(Path(path), target / f"{Path(name).stem}_patch_aligned.mrc")
            done.append(name)
        except OSError as error:
            failed[name] = str(error)
            print(f"{name}: {error}", file=sys.stderr, flush=True)
    _report(given, done, failed)


def process(movie: Path, output: Path) -> None:
    """Read the whole movie, and have its output at once and whole."""
    digest, head = hashlib.sha256(), b""
    with movie.open("rb") as stream:
        for block in iter(lambda: stream.read(_BLOCK), b""):
            digest.update(block)
            head = head or block[:_KEPT]
    part = output.with_name(f".{output.name}.{os.getpid()}")
    with part.open("wb") as stream:
        stream.write(f"stand-in of an aligned movie, sha256 {digest.hexdigest()}\n".encode() + head)
        stream.flush()
        os.fsync(stream.fileno())
    part.rename(output)


def _report(given: argparse.Namespace, done: list[str], failed: dict[str, str]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            wire.ask_api(given.master_hostname, given.master_command_core_port, "report",
                         key=given.job, done=done, failed=failed)  # fmt: skip
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("cryosparcw")
    commands = parser.add_subparsers(required=True)
    to_master = commands.add_parser("connect")
    to_master.set_defaults(work=connect)
    to_master.add_argument("--worker", required=True)
    to_master.add_argument("--master", required=True)
    to_master.add_argument("--port", type=int, required=True)
    to_master.add_argument("--lane", default="default")
    for option in ("ssdpath", "ssdquota", "ssdreserve", "gpus", "cpus", "rams", "sshstr"):
        to_master.add_argument(f"--{option}")
    for flag in ("nossd", "newlane", "update", "no-gpu"):
        to_master.add_argument(f"--{flag}", action="store_true")
    job = commands.add_parser("run")
    job.set_defaults(work=run)
    for option in ("project", "job", "job_dir", "master_hostname"):
        job.add_argument(f"--{option}", required=True)
    job.add_argument("--master_command_core_port", type=int, required=True)
    return parser


def main() -> None:
    given: Any = _parser().parse_args()
    try:
        given.work(given)
    except (wire.Refused, OSError) as error:
        raise SystemExit(f"ERROR: {error}") from error


if __name__ == "__main__":
    main()
