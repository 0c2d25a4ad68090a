"""A lane's templates: what we fill is what CryoSPARC's Jinja fills."""

from __future__ import annotations

from typing import Any

import jinja2
import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils.cryosparc_lane_template import (
    NUMBERS,
    SCRIPT_NAMES,
    TemplateError,
    fill,
    problems,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.cryosparc_lanes import planned

WORDS = st.text("abc/_ -$\"'\\é{}|%", max_size=12)
VALUES = st.fixed_dictionaries(
    {
        name: st.integers(0, 4096) | st.floats(0, 4096) if name in NUMBERS else WORDS
        for name in SCRIPT_NAMES
    }
)
_PLAIN = st.text("ab #=-\n$", max_size=8)
_BLANKS = st.sampled_from(["", " ", "  "])
_SCALED = st.builds(
    "(%s * %s%s) | int".__mod__,
    st.tuples(
        st.sampled_from(NUMBERS),
        st.sampled_from(["1", "1000", "1.5", "0.25"]),
        st.sampled_from(["", " + 0.999", " + 3"]),
    ),
)
PLACES = st.builds(
    "{{%s%s%s}}".__mod__, st.tuples(_BLANKS, st.sampled_from(SCRIPT_NAMES) | _SCALED, _BLANKS)
)
TEMPLATES = st.lists(_PLAIN | PLACES, max_size=8).map("".join)
JINJA = jinja2.Environment(autoescape=False, keep_trailing_newline=True)


@given(TEMPLATES, VALUES)
def test_it_is_filled_as_jinja_fills_it(text: str, values: dict[str, Any]) -> None:
    assert problems(text) == []
    assert fill(text, values) == JINJA.from_string(text).render(values)


@given(
    values=VALUES,
    cpus=st.sampled_from([1, 0.1, 1.5, 2, 33.3333333]),
    memory=st.sampled_from([1, 0.001, 1.25, 100]),
    remote=st.booleans(),
)
def test_what_we_write_is_filled_alike(
    values: dict[str, Any], cpus: float, memory: float, remote: bool
) -> None:
    login = "cs@login.example.org" if remote else ""
    lane = planned(cpu_factor=cpus, memory_factor=memory, login=login)
    assert fill(lane["script"], values) == JINJA.from_string(lane["script"]).render(values)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{{ run_cdm }}", "run_cdm is no variable"),
        ("{{ (project_uid * 2) | int }}", "project_uid is no number"),
        ("{{ num_cpu + 1 }}", "neither a name nor"),
        ("{{ }}", "neither a name nor"),
        ("{{ num_cpu", "{{, which belongs to no place"),
        ("num_cpu }}", "}}, which belongs to no place"),
        ("{% if num_gpu %}", "{%, which is not filled"),
        ("{# a #}", "{#, which is not filled"),
    ],
)
def test_what_cannot_be_filled_is_told(text: str, told: str) -> None:
    (found,) = problems(text)
    assert told in found


def test_a_place_that_is_not_known_is_an_error() -> None:
    with pytest.raises(TemplateError, match="run_cdm"):
        fill("{{ run_cdm }}", {"run_cmd": "x"})
