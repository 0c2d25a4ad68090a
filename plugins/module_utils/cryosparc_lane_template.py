# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""The templates of a CryoSPARC lane: what its master fills in, and the same without Jinja.

CryoSPARC fills ``{{ name }}`` by Jinja, which hosts lack. A lane of ours has no other places than
names and ``{{ (name * NUMBER + NUMBER) | int }}``, so that it can be tried as the master fills it.
Runs on Python 3.9 and later.
"""

from __future__ import annotations

import re

#: What the master knows when it makes the script of a job.
SCRIPT_NAMES = (
    "run_cmd",
    "num_cpu",
    "num_gpu",
    "ram_gb",
    "job_dir_abs",
    "project_dir_abs",
    "job_log_path_abs",
    "worker_bin_path",
    "run_args",
    "project_uid",
    "job_uid",
    "job_creator",
    "cryosparc_username",
)
#: What has a number, and so may be reckoned with.
NUMBERS = ("num_cpu", "num_gpu", "ram_gb")
_NUMBER = r"\d+(?:\.\d+)?"
_PLACE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_NAME = re.compile(r"\s*(\w+)\s*\Z")
_SCALED = re.compile(
    r"\s*\(\s*(\w+)\s*\*\s*(%s)\s*(?:\+\s*(%s)\s*)?\)\s*\|\s*int\s*\Z" % (_NUMBER, _NUMBER)
)


class TemplateError(Exception):
    """A template that cannot be filled; the message names the place."""


def fill(text, values):
    """``text`` with each place filled from ``values``, as Jinja does it. Raises TemplateError."""

    def filled(place):
        name = _NAME.match(place.group(1))
        if name and name.group(1) in values:
            return str(values[name.group(1)])
        scaled = _SCALED.match(place.group(1))
        if scaled and scaled.group(1) in values:
            number, factor, more = scaled.groups()
            return str(int(values[number] * float(factor) + float(more or 0)))
        raise TemplateError("%s cannot be filled" % place.group())

    return _PLACE.sub(filled, text)


def problems(text, names=SCRIPT_NAMES):
    """What of ``text`` cannot be filled where ``names`` are known: each place and why."""
    found = []
    for place in _PLACE.finditer(text):
        name, scaled = _NAME.match(place.group(1)), _SCALED.match(place.group(1))
        if name or scaled:
            known = NUMBERS if scaled else names
            asked = (scaled or name).group(1)
            if asked not in known:
                kind = "no number" if asked in names else "no variable"
                found.append("%s, and %s is %s of CryoSPARC's" % (place.group(), asked, kind))
        else:
            found.append("%s, which is neither a name nor (name * number) | int" % place.group())
    rest = _PLACE.sub("", text)
    found += ["%s, which belongs to no place" % mark for mark in ("{{", "}}") if mark in rest]
    found += ["%s, which is not filled in a lane" % mark for mark in ("{%", "{#") if mark in rest]
    return found
