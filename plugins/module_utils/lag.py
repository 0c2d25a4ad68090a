# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""How far the processing of an instrument's movies is behind.

Output belongs to the movie whose name, without its ending, is in the output's name; if several
are, to the longest. The lag is the age of the oldest movie that came after the last one with
output and has none itself. So all that is processed makes no lag, what stands still makes one
that grows, and a movie that was passed over (a bad one, say) counts as skipped and not as lag.

Reads directories only, each once. Runs on Python 3.9 and later.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import posixpath
import re
import stat
import time

from ansible_collections.cloudlet.deploy.plugins.module_utils import config_files, in_time

#: Seconds that all directories of a host together may take to answer.
PATIENCE = 20


def look(watches, patience=PATIENCE, now=time.time):
    """The report of each of ``watches``, which are those of ``host_needs``, in their order.

    With ``problem`` set nothing else was seen. Times are seconds since 1970 by the files' server,
    ages are against the host's clock.
    """
    outcomes = in_time.each([_task(watch) for watch in watches], patience)
    return [_report(watch, outcomes[at], now()) for at, watch in enumerate(watches)]


def _task(watch):
    def task():
        _see_mounted(watch)
        return measured(watch)

    return task


def _see_mounted(watch):
    """Raises OSError for a mount that is not there: its empty directory would tell of rest."""
    for what in ("raw", "output"):
        path = posixpath.normpath(watch[what]) + "/"
        for point in watch.get("mounts") or ():
            if path.startswith(point.rstrip("/") + "/") and not config_files.is_mounted(point):
                raise OSError("%s is not mounted" % point)


def _report(watch, outcome, now):
    told = {key: watch[key] for key in ("name", "component", "limit")}
    told["problem"] = outcome.problem
    if outcome.late:
        told["problem"] = "%s or %s: %s" % (watch["raw"], watch["output"], outcome.problem)
    if told["problem"]:
        return told
    told.update(outcome.told)
    since = told.pop("since")
    told["lag"] = 0.0 if since is None else round(max(0.0, now - since), 1)
    told["ahead"] = round(max(0.0, told["raw"]["time"] - now), 1) if told["raw"] else 0.0
    return told


def measured(watch):
    """What is in the two directories. Raises OSError for one that cannot be read."""
    raw, output, since = {}, {}, None
    same = posixpath.normpath(watch["raw"]) == posixpath.normpath(watch["output"])
    for entry, path in _files(watch["raw"], watch["raw_pattern"]):
        if same and fnmatch.fnmatchcase(entry.name, watch["output_pattern"]):
            continue
        # It may be moved away under our eyes.
        with contextlib.suppress(FileNotFoundError):
            # At once, as network file systems remember for a second what they told with the name.
            seen = entry.stat()
            if stat.S_ISREG(seen.st_mode):
                raw[os.path.splitext(entry.name)[0]] = (seen.st_mtime_ns, path)
    if not raw:
        # An unmounted or mistyped directory of output is to be told now, not with the first movie.
        os.stat(watch["output"])
    outputs = _files(watch["output"], watch["output_pattern"]) if raw else ()
    names, number = _Names(raw), 0
    for entry, path in outputs:
        number += 1
        found = names.within(entry.name)
        if found is not None:
            output[found] = path
    last = max((raw[stem] for stem in output), default=None)
    without = [at for stem, at in raw.items() if stem not in output]
    waiting = [at for at in without if last is None or at > last]
    newest = max(raw.values(), default=None)
    if waiting:
        since = min(waiting)[0] / 1e9
    made = None
    if last is not None:
        path = output[next(stem for stem in output if raw[stem] == last)]
        with contextlib.suppress(FileNotFoundError):
            made = {"path": path, "time": os.stat(os.path.join(watch["output"], path)).st_mtime}
    return {
        "raw": newest and {"path": newest[1], "time": newest[0] / 1e9},
        "output": made,
        "movies": len(raw),
        "outputs": number,
        "processed": len(output),
        "waiting": len(waiting),
        "skipped": len(without) - len(waiting),
        "since": since,
    }


def _files(directory, pattern, below=""):
    """Each name that fits, with its path below ``directory``. Directories are read once.

    Whether it is a file is not asked: SSHFS would be asked for each once more.
    """
    first, _, rest = pattern.partition("/")
    fits = re.compile(fnmatch.translate(first)).match
    with os.scandir(os.path.normpath(os.path.join(directory, below))) as entries:
        for entry in entries:
            if not fits(entry.name) or (entry.name[0] == "." and first[0] != "."):
                continue
            path = below + entry.name
            if not rest:
                yield entry, path
            elif entry.is_dir():
                yield from _files(directory, rest, path + "/")


class _Names:
    """Names of movies, to be found within names of output."""

    def __init__(self, names):
        self._names = names
        self._lengths = sorted({len(name) for name in names}, reverse=True)

    def within(self, text):
        """The longest name in ``text``; a number in it is not the begin of a longer one."""
        for length in self._lengths:
            for begin in range(len(text) - length + 1):
                end = begin + length
                name = text[begin:end]
                if name in self._names and not _cut(text, begin) and not _cut(text, end):
                    return name
        return None


def _cut(text, at):
    """Whether there is a digit on both sides of ``at``."""
    return 0 < at < len(text) and text[at - 1].isdigit() and text[at].isdigit()
