"""Every value that the tuning model recommends is one that the roles take."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudlet_deploy import tuning
from cloudlet_deploy.site import schema
from cloudlet_deploy.tuning import HostReading, Load, Pin, Shape
from tests.unit.tuning_cases import LOADS, SHAPES, readings

pytestmark = pytest.mark.one_core  # it runs no Ansible

_TYPES = {"int": int, "str": str, "bool": bool}


def test_every_setting_is_a_variable_of_its_role() -> None:
    for rule in tuning.RULES:
        assert rule.variable in schema.role_specs()[rule.component].options


@settings(max_examples=100, deadline=None)
@given(readings(), LOADS, SHAPES, st.integers(1, 100_000))
def test_every_value_is_of_the_declared_type_and_range(
    reading: HostReading, load: Load, shape: Shape, threads: int
) -> None:
    for pins in ({}, {"bestman_container_threads": Pin(threads, "x:1")}):
        for one in tuning.advise(reading, load, shape, pins).settings:
            option = schema.role_specs()[one.component].options[one.variable]
            assert type(one.recommended) is _TYPES[option.type], one
            if isinstance(one.recommended, int):
                assert option.minimum is None or one.recommended >= option.minimum, one
                assert option.maximum is None or one.recommended <= option.maximum, one
            if option.choices:
                assert one.recommended in option.choices, one
            if option.form == "listening port range":
                first, last = map(int, str(one.recommended).split(","))
                assert 1024 <= first < last <= 65535, one
            elif option.form == "number or infinity":
                assert str(one.recommended).isdigit(), one
