"""How the people of a desk are reached, and what is said where they cannot be."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from commcast.config.settings import Config
from commcast.oncall.people import Reach, reach, unreachable, variables_of
from tests.support.values import config_of

SET = {"DANA_MAIL": "Dana@Acme.example", "DANA_PHONE": "+4915112345671", "ODD": "dana at acme"}


def config_with(**person: str) -> Config:
    return config_of(people={"dana": {"name": "Dana Reyes", **person}})


@pytest.mark.parametrize(
    ("person", "email", "phone"),
    [
        pytest.param({"email": "dana@acme.example"}, "dana@acme.example", "", id="as it stands there"),
        pytest.param({"email": "env:DANA_MAIL"}, "Dana@acme.example", "", id="from the environment"),
        pytest.param({"phone": "env:DANA_PHONE"}, "", "+4915112345671", id="a phone, too"),
        pytest.param({"phone": "+49 151 12345671"}, "", "+4915112345671", id="a phone is made E.164"),
        pytest.param({"email": "env:NOT_SET", "phone": "env:DANA_PHONE"}, "", "+4915112345671", id="one is"),
        pytest.param({"email": "env:ODD"}, "", "", id="what is no address is left out"),
        pytest.param({}, "", "", id="none"),
    ],
)
def test_an_address_stands_in_the_file_or_in_the_environment(
    person: Mapping[str, str], email: str, phone: str
) -> None:
    assert reach("dana", config_with(**person), SET) == Reach("Dana Reyes", email, phone, "dana")


def test_whom_nobody_knows_is_called_by_the_key() -> None:
    config = config_of()
    assert reach("kim", config, {}) == Reach("kim", key="kim")
    assert unreachable("kim", config, {}) == ("'kim' is not a known person; known: nobody yet",)


@pytest.mark.parametrize(
    ("person", "said"),
    [
        ({"email": "dana@acme.example"}, ()),
        ({}, ("dana has no address; write email or phone in [people.dana] of commcast.toml",)),
        (
            {"email": "env:NOT_SET", "phone": "env:DANA_PHONE"},
            ("NOT_SET is not set: the email of dana; set it where commcast runs",),
        ),
    ],
)
def test_what_keeps_a_person_from_being_reached_is_said(
    person: Mapping[str, str], said: tuple[str, ...]
) -> None:
    assert unreachable("dana", config_with(**person), SET) == said


def test_a_fault_names_no_address() -> None:
    (fault,) = unreachable("dana", config_with(email="env:ODD"), SET)
    assert fault.startswith("the email of dana is not an email address")
    assert "acme" not in fault


def test_the_variables_that_hold_addresses_are_known() -> None:
    config = config_with(email="env:DANA_MAIL", phone="+4915112345671")
    assert variables_of(config) == {"DANA_MAIL": "the email of dana"}
