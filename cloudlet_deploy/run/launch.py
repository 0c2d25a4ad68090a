"""Runs one ``RunPlan`` with ansible-runner and hands on what it tells.

Everything that the run writes on the controller is in one fresh 0700 directory that is
gone afterwards. No secret is on a command line or in the environment: passwords and extra
vars are files in that directory, removed as soon as Ansible has read them.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cloudlet_deploy import content
from cloudlet_deploy.errors import CloudletError, RunFailedError
from cloudlet_deploy.run import signals, tether
from cloudlet_deploy.run.command import environment, playbook_command
from cloudlet_deploy.run.events import Event, redacted, translate
from cloudlet_deploy.run.outcome import Collector, RunOutcome
from cloudlet_deploy.run.plan import RunPlan
from cloudlet_deploy.run.reasons import no_start
from cloudlet_deploy.run.secrets import Redactor, Secrets

Observer = Callable[[Event], None]

#: Seconds between looks at the queue, hence the delay of Ctrl-C.
_TICK = 0.1

#: Seconds that the tether may take to end Ansible before its own end is forced.
_ENDING = 5.0


#: ansible-core 2.20 and later put a socket below the scratch directory, and the kernel takes
#: 107 characters for the path of one: so many are left for the directory above.
_LONGEST_DIRECTORY = 46


def _short_directory() -> str:
    """The directory for temporary files, or /tmp where its path leaves no room for a socket."""
    usual = tempfile.gettempdir()
    return usual if len(usual) <= _LONGEST_DIRECTORY else "/tmp"


def launch(
    plan: RunPlan,
    secrets: Secrets,
    observe: Observer = lambda event: None,
    redact: Redactor | None = None,
) -> RunOutcome:
    """Run ``plan`` to its end and return what it came to.

    ``observe`` gets every event in the calling thread, after ``redact`` has masked what it
    knows (by default the passwords in ``secrets``). A signal (Ctrl-C, TERM, HUP) stops
    Ansible; the outcome then says ``interrupted``. Raises RunFailedError if Ansible could
    not start, says nothing for ``plan.silence`` seconds or takes longer than
    ``plan.deadline``, UsageError or InvalidSiteError if what it complained of is an option or
    the inventory.
    """
    started = time.monotonic()
    collector = Collector()
    scratch = Path(tempfile.mkdtemp(prefix="cloudlet-deploy-", dir=_short_directory()))
    try:
        process = _Process(plan, secrets, scratch, redact or Redactor(secrets.values()))
        interrupted = process.follow(collector, observe)
        outcome = collector.outcome(interrupted=interrupted, seconds=time.monotonic() - started)
        if not outcome.complete and not interrupted:
            raise _broken_off(process, collector)
        return outcome
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _broken_off(process: _Process, collector: Collector) -> CloudletError:
    """Why the playbook did not come to its end."""
    if process.problem is not None:
        return RunFailedError(
            f"ansible-runner failed: {process.problem}",
            next_step="Run the command again with --debug and report the traceback.",
        )
    if process.gave_up:
        return RunFailedError(
            f"Ansible {process.gave_up} and was stopped.",
            next_step="Look on the hosts for a process that hangs (a dead mount, a lock).",
        )
    return no_start(process.output(), process.exit_status, began=not collector.empty)


class _Process:
    """One ansible-playbook under its tether, its events in a queue."""

    def __init__(self, plan: RunPlan, secrets: Secrets, scratch: Path, redact: Redactor) -> None:
        #: Why Ansible was given up; empty while it is not.
        self.gave_up = ""
        self._plan = plan
        self.problem: BaseException | None = None
        self.exit_status: int | None = None
        self._redact = redact
        self._scratch = scratch
        self._secret_files = scratch / "secrets"
        self._queue: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        self._stopping = False
        self._done = threading.Event()
        self._runner = self._prepare(plan, secrets)

    def _prepare(self, plan: RunPlan, secrets: Secrets) -> Any:
        # Slow to import, and nothing but a run needs them.
        from ansible_runner import Runner
        from ansible_runner.config.runner import RunnerConfig

        self._secret_files.mkdir(mode=0o700)
        (self._scratch / "tmp").mkdir(mode=0o700)
        collections = content.link_collection(self._scratch / "collections")
        config = RunnerConfig(
            private_data_dir=str(self._scratch),
            playbook=str(plan.playbook),
            fact_cache_type="memory",
            ident="run",
            quiet=True,
        )
        config.prepare()
        # Not as ``settings``: the runner forgets those when it finds no file of them.
        config.pexpect_timeout = 1
        own = environment(config.env, scratch=self._scratch, collections=collections)
        config.env = {**own, **plan.environment}
        config.cwd = str(Path.cwd())
        config.command = [
            sys.executable,
            str(tether.__file__),
            f"--parent={os.getpid()}",
            f"--scratch={self._scratch}",
            "--",
            *playbook_command(plan, secrets, self._secret_files),
        ]
        return Runner(config, event_handler=self._take)

    def _take(self, event: Mapping[str, Any]) -> bool:
        """The runner's handler: must return at once. False: write no file of the event."""
        self._queue.put(event)
        return False

    def _run(self) -> None:
        try:
            _, self.exit_status = self._runner.run()
        except BaseException as error:  # told by the thread that waits
            self.problem = error
        finally:
            self._done.set()
            self._queue.put(None)

    def follow(self, collector: Collector, observe: Observer) -> bool:
        """Run, handing on events, until the end. Returns whether a signal ended it."""
        with signals.noted() as caught:
            # The kernel ends the tether with this thread, and it lives as long as the run.
            thread = threading.Thread(target=self._run, name="ansible-runner", daemon=True)
            thread.start()
            try:
                for raw in self._heard(caught):
                    if raw.get("event") == "playbook_on_start":
                        shutil.rmtree(self._secret_files, ignore_errors=True)
                    if (event := translate(raw)) is not None:
                        event = redacted(event, self._redact)
                        collector.add(event)
                        observe(event)
            finally:
                # Also when the observer failed: nothing goes on unwatched.
                if thread.is_alive():
                    self._stop()
                thread.join()
            return bool(caught)

    def _heard(self, caught: list[int]) -> Iterator[Mapping[str, Any]]:
        """The runner's events until its last; stops Ansible when told to, or when it hangs."""
        began = last = time.monotonic()
        while True:
            if not self._stopping and (caught or (why := self._too_long(began, last))):
                self.gave_up = "" if caught else why
                self._stop()
            try:
                raw = self._queue.get(timeout=_TICK)
            except queue.Empty:
                continue
            if raw is None:
                return
            last = time.monotonic()
            yield raw

    def _too_long(self, began: float, last: float) -> str:
        """Why to give up Ansible now, or nothing. Both are moments of the monotonic clock."""
        now, silence, deadline = time.monotonic(), self._plan.silence, self._plan.deadline
        if now - last > silence:
            return f"said nothing for {silence:.0f} s"
        if deadline is not None and now - began > deadline:
            return f"took longer than {deadline:.0f} s"
        return ""

    def _stop(self) -> None:
        """Have the tether end Ansible; if it does not, end the tether."""
        if not self._stopping:
            self._stopping = True
            threading.Thread(target=self._end_tether, daemon=True).start()

    def _end_tether(self) -> None:
        deadline = time.monotonic() + _ENDING
        while not self._done.wait(0.2):
            late = time.monotonic() > deadline
            # Its file may not be there yet: it is about to start.
            with contextlib.suppress(OSError, ValueError):
                pid = int((self._scratch / tether.PID_FILE).read_text())
                os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)

    def output(self) -> str:
        """What Ansible printed outside its events."""
        with contextlib.suppress(OSError):
            path = Path(self._runner.config.artifact_dir) / "stdout"
            return self._redact(path.read_text(encoding="utf-8", errors="replace"))
        return ""
