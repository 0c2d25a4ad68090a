"""Runs locust in processes of its own and hands on what its master tells."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from cloudlet_deploy.errors import RunFailedError
from cloudlet_deploy.run import tether
from cloudlet_deploy.smoke import job as jobs
from cloudlet_deploy.smoke.job import Job

#: Seconds that the load processes have to come.
_COMING = 60
_TICK = 0.1


class Engine:
    """One locust master, with ``processes`` workers here or ``expected`` ones from elsewhere.

    A context: whatever ends the block, no process of it is left.
    """

    def __init__(self, job: Job, *, processes: int = 0, expected: int = 0) -> None:
        self.port = _free_port()
        self._scratch = Path(tempfile.mkdtemp(prefix="cloudlet-smoke-"))
        self._log = self._scratch / "locust.log"
        path = self._scratch / "job.json"
        job.write(path)
        locustfile = Path(__file__).with_name("locustfile.py")
        workers = (
            ["--processes", str(processes), "--master-port", str(self.port)]
            if processes
            else ["--master", "--expect-workers", str(expected)]
        )
        self._command = [
            *(sys.executable, str(tether.__file__)),
            *(f"--parent={os.getpid()}", f"--scratch={self._scratch}", "--"),
            *(sys.executable, "-m", "locust", "-f", str(locustfile), "--headless"),
            *("--only-summary", "--loglevel", "WARNING", "--reset-stats", "--stop-timeout", "0"),
            # Loopback: locust's port asks nobody for a password. Others come by ssh.
            *("--master-bind-host", "127.0.0.1", "--master-bind-port", str(self.port)),
            *("--expect-workers-max-wait", str(_COMING)),
            *workers,
        ]
        self._environment = {**os.environ, jobs.VARIABLE: str(path)}
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Engine:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                errors="replace",
            )
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._process is not None:
            self._process.wait()
        import shutil

        shutil.rmtree(self._scratch, ignore_errors=True)

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def events(self) -> Iterator[dict[str, Any] | None]:
        """What the master tells until its last word; None now and then, while it says nothing.

        Raises RunFailedError if it ends without one.
        """
        while True:
            try:
                line = self._lines.get(timeout=_TICK)
            except Empty:
                yield None
                continue
            if line is None:
                raise self._broken_off()
            if not line.startswith('{"event"'):
                continue  # a summary of locust's own
            told: dict[str, Any] = json.loads(line)
            yield told
            if told["event"] == "end":
                return

    def stop(self) -> None:
        """Have the load end now; what was measured is still told. Returns at once."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def _broken_off(self) -> RunFailedError:
        text = self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""
        last = [line for line in text.splitlines() if line.strip()]
        said = last[-1].strip() if last else "it said nothing"
        return RunFailedError(
            f"The load engine (locust) ended before its time: {said}",
            next_step="If load hosts are used, can they start Python, and does ssh forward ports "
            "to them? Otherwise this is a fault of cloudlet-deploy.",
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
