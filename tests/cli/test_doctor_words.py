"""doctor on lists and templates: whether each can be opened, without reading a list to its end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.desk import Bench, update_text, write_list
from tests.support.terminal import bench_now, run


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return bench_now(tmp_path)


def checks(bench: Bench, about: str, expect: int = 0) -> list[tuple[str, str, str]]:
    found = json.loads(run("doctor", "--json", folder=bench.folder, expect=expect).stdout)["checks"]
    return [(each["state"], each["what"], each["remedy"]) for each in found if each["about"] == about]


def write_template(bench: Bench, name: str, text: str) -> None:
    path = bench.folder / "templates" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_good_lists_and_templates_are_counted(bench: Bench) -> None:
    assert checks(bench, "lists") == [("ok", "2 can be opened", "")]
    ((state, what, _),) = checks(bench, "templates")
    assert (state, what.partition(" ")[2]) == ("ok", "can be used")


def test_broken_lists_are_counted_and_the_first_fault_is_named(bench: Bench) -> None:
    write_list(bench.folder, "customers", "street", ["Main St"])
    (bench.folder / "audiences" / "support.csv").unlink()
    ((state, what, remedy),) = checks(bench, "lists", expect=2)
    assert (state, remedy) == ("FAIL", "see: commcast lint")
    assert (
        what == "2 are broken: audiences/support.csv: is not there; make it, or name another file under "
        "[audiences]"
    )


def test_a_bad_row_is_none_of_its_matters(bench: Bench) -> None:
    """Lists are opened, not read: a million rows would take too long."""
    write_list(bench.folder, "customers", "email,phone,name", ["ann@example.com,,Ann", "nobody,,"])
    assert checks(bench, "lists") == [("ok", "2 can be opened", "")]


@pytest.mark.parametrize("name", ["customers/email.txt.j2", "customers/resolved.sms.txt.j2"])
def test_a_template_that_does_not_compile_fails_though_nobody_is_told_now(bench: Bench, name: str) -> None:
    write_template(bench, name, "{% if")
    ((state, what, remedy),) = checks(bench, "templates", expect=2)
    assert (state, remedy) == ("FAIL", "see: commcast lint")
    assert what.startswith(f"1 is broken: templates/{name}:1: ")


def test_a_template_that_fails_for_an_open_incident_is_found(bench: Bench) -> None:
    write_template(bench, "customers/sms.txt.j2", "{{ nosuch }}")
    ((state, what, _),) = checks(bench, "templates", expect=2)
    assert (state, what.partition(" (")[0]) == (
        "FAIL",
        "1 is broken: templates/customers/sms.txt.j2:1: 'nosuch' is undefined; check the spelling, and that "
        "each row has this column",
    )
    path = bench.folder / "incidents" / "pay7.yaml"
    path.write_text(path.read_text() + update_text(bench.now, status="resolved", fixed="Rolled back."))
    assert checks(bench, "templates")[0][0] == "ok"
