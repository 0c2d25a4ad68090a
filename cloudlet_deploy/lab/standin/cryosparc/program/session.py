"""Live sessions: poll the raw directory, and have jobs of a lane process what is new."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from . import templates, wire
from .settings import API, Settings

POLL = 1.0
#: Movies of one job, and jobs of one session at a time.
BATCH, AT_A_TIME = 40, 4
#: Seconds that a lane's command may take, that a job may be gone from the queue unreported, and
#: until a lane that refused a job is tried again.
_COMMAND, _GRACE, _PAUSE = 60.0, 5.0, 5.0
#: What ssh returns when it did not get through.
_AWAY = 255
Row = dict[str, Any]


def run(settings: Settings) -> None:
    """Serve all running sessions, for ever; what fails is tried again at the next turn."""
    live = Live(settings)
    while True:
        began = time.monotonic()
        try:
            live.turn()
        except (OSError, wire.Refused, templates.TemplateError) as error:
            print(f"{time.strftime('%H:%M:%S')} {error}", file=sys.stderr, flush=True)
        time.sleep(max(0.1, POLL - (time.monotonic() - began)))


class Live:
    """What is known of the sessions between two turns."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        #: Size and time of each file at the turn before: what still grows has to wait.
        self.seen: dict[str, tuple[int, float]] = {}
        #: Sessions whose lane did not take a job, and until when nothing is sent to it.
        self.paused: dict[str, float] = {}
        self.gone: dict[str, float] = {}
        self.local: dict[str, subprocess.Popen[bytes]] = {}

    def ask(self, method: str, **params: Any) -> Any:
        settings = self.settings
        return wire.ask_api(settings.hostname, settings.base_port + API, method, **params)

    def turn(self) -> None:
        sessions = self.ask("get", collection="sessions")
        if not sessions:
            return
        lanes, jobs = self.ask("get", collection="lanes"), self.ask("get", collection="jobs")
        paused = self.ask("get", collection="instance").get("maintenance", False)
        for key, session in sessions.items():
            own = {name: job for name, job in jobs.items() if job["session"] == key}
            lane = lanes.get(session["lane"])
            for name, job in own.items():
                if job["state"] == "submitted" and lane:
                    self._look(name, job, lane)
            if session["state"] == "running" and lane and not paused:
                self._advance(key, session, lane, jobs, own)

    def _advance(self, key: str, session: Row, lane: Row, jobs: Row, own: Row) -> None:
        ready = self._ready(session, own)
        running = sum(job["state"] == "submitted" for job in own.values())
        while ready and running < AT_A_TIME and time.monotonic() > self.paused.get(key, 0):
            batch, ready = ready[:BATCH], ready[BATCH:]
            name = f"J{1 + len(jobs)}"
            jobs[name] = job = {"session": key, "movies": batch, "state": "new"}
            self._submit(name, job, session, lane)
            running += 1

    def _ready(self, session: Row, own: Row) -> list[str]:
        """Names in the raw directory that are whole and that nobody works on or has done."""
        with os.scandir(session["raw"]) as entries:
            found = {
                entry.name: entry.stat()
                for entry in entries
                if entry.is_file() and not entry.name.startswith(".")
            }
        taken = {
            movie
            for job in own.values()
            for movie in (
                job["movies"] if job["state"] in ("new", "submitted") else job.get("done", ())
            )
        }
        output = Path(session["project"], session["name"])
        made = {path.name for path in output.iterdir()} if output.is_dir() else set()
        ready = []
        for name, status in sorted(found.items(), key=lambda item: item[1].st_mtime):
            path, now = f"{session['raw']}/{name}", (status.st_size, status.st_mtime)
            whole = self.seen.get(path) == now and status.st_size > 0
            self.seen[path] = now
            done = name in taken or f"{Path(name).stem}_patch_aligned.mrc" in made
            if whole and not done:
                ready.append(name)
        return ready

    def _submit(self, name: str, job: Row, session: Row, lane: Row) -> None:
        directory = Path(session["project"], name)
        output = Path(session["project"], session["name"])
        directory.mkdir(exist_ok=True)
        output.mkdir(exist_ok=True)
        movies = {movie: self._movie(session, output, movie) for movie in job["movies"]}
        (directory / "job.json").write_text(json.dumps({"output": str(output), "movies": movies}))
        self.ask("set_job", key=name, job=job)
        settings = self.settings
        arguments = (
            f"--project P1 --job {name} --job_dir {shlex.quote(str(directory))} "
            f"--master_hostname {settings.hostname} "
            f"--master_command_core_port {settings.base_port + API}"
        )
        try:
            if lane["type"] == "cluster":
                job["cluster_job"] = self._queue(name, directory, arguments, session, lane)
            else:
                self._run_here(name, directory, arguments)
            job["state"] = "submitted"
        except (OSError, templates.TemplateError) as error:
            # Its movies are ready again, in a while.
            self.paused[job["session"]] = time.monotonic() + _PAUSE
            job.update(state="failed", why=f"{name}: not submitted: {error}")
        self.ask("set_job", key=name, job=job)

    def _movie(self, session: Row, output: Path, name: str) -> str:
        """Where the job finds the movie: where it lies, or a copy of it in the project."""
        path = Path(session["raw"], name)
        if not session["copy"]:
            return str(path)
        copies = output / "import_movies"
        copies.mkdir(exist_ok=True)
        if not (copies / name).exists():
            shutil.copyfile(path, copies / f".{name}")
            (copies / f".{name}").rename(copies / name)
        return str(copies / name)

    def _queue(self, name: str, directory: Path, arguments: str, session: Row, lane: Row) -> str:
        info = lane["info"]
        log = directory / "job.log"
        values = {
            "num_cpu": 2,
            "num_gpu": 1,
            "ram_gb": 1.0,
            "job_dir_abs": str(directory),
            "project_dir_abs": session["project"],
            "job_log_path_abs": str(log),
            "worker_bin_path": info["worker_bin_path"],
            "run_args": arguments,
            "project_uid": "P1",
            "job_uid": name,
            "job_creator": "standin",
            "cryosparc_username": "standin@localhost",
        }
        values["run_cmd"] = f"{info['worker_bin_path']} run {arguments} > {log} 2>&1"
        script = directory / "queue_sub_script.sh"
        script.write_text(templates.fill(lane["script"], values))
        script.chmod(0o755)
        command = templates.fill(info["qsub_cmd_tpl"], {**values, "script_path_abs": str(script)})
        done = _send(info, command)
        numbers = re.findall(r"\d+", done.stdout)
        if done.returncode != 0 or not numbers:
            said = (done.stderr or done.stdout).strip()
            raise OSError(f"{command}: exit code {done.returncode}: {said}")
        return str(numbers[-1])

    def _run_here(self, name: str, directory: Path, arguments: str) -> None:
        worker = self.settings.root.parent / "cryosparc_worker" / "bin" / "cryosparcw"
        with (directory / "job.log").open("ab") as log:
            self.local[name] = subprocess.Popen(
                [str(worker), "run", *shlex.split(arguments)], stdout=log, stderr=log
            )

    def _look(self, name: str, job: Row, lane: Row) -> None:
        """A job that is gone without a report has failed: its movies are ready again."""
        if lane["type"] == "cluster":
            command = templates.fill(
                lane["info"]["qstat_cmd_tpl"], {"cluster_job_id": job["cluster_job"]}
            )
            done = _send(lane["info"], command)
            if done.returncode == _AWAY:
                return
            there = done.returncode == 0 and job["cluster_job"] in re.findall(r"\d+", done.stdout)
        else:
            child = self.local.get(name)
            there = child is not None and child.poll() is None
        if there:
            self.gone.pop(name, None)
        elif time.monotonic() - self.gone.setdefault(name, time.monotonic()) > _GRACE:
            why = f"{name}: ended without a report"
            self.ask("set_job", key=name, job={**job, "state": "failed", "why": why})


def _send(info: Row, command: str) -> subprocess.CompletedProcess[str]:
    whole = templates.fill(info["send_cmd_tpl"], {"command": command})
    try:
        return subprocess.run(
            whole, shell=True, capture_output=True, text=True, timeout=_COMMAND, check=False
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(whole, _AWAY, "", f"no answer within {_COMMAND:.0f} s")
