"""doctor on people who are to be woken, and on the monitor that wakes them when nothing else does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from commcast.ledger.oncall import take
from tests.support.desk import Bench, update_text
from tests.support.terminal import bench_now, run

PEOPLE = """\
[people.sam]
name = "Sam Okafor"
email = "env:SAM_MAIL"
[people.kim]
name = "Kim Lee"
phone = "+4915199999903"
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = bench_now(tmp_path)
    config(bench, PEOPLE)
    return bench


def config(bench: Bench, more: str) -> None:
    path = bench.folder / "commcast.toml"
    path.write_text(path.read_text() + more)


def checks(bench: Bench, about: str) -> list[tuple[str, str]]:
    found = json.loads(run("doctor", "--json", folder=bench.folder).stdout)["checks"]
    return [(each["state"], each["what"]) for each in found if each["about"] == about]


def test_an_owner_without_an_address_is_warned_of(bench: Bench) -> None:
    assert checks(bench, "people") == [("warn", "dana has no address, and owns pay7")]


def test_who_owns_nothing_needs_no_address(bench: Bench) -> None:
    path = bench.folder / "incidents" / "pay7.yaml"
    path.write_text(path.read_text().replace("owner: dana", "owner: kim"))
    assert checks(bench, "people") == []


def test_an_incident_that_ended_needs_nobody(bench: Bench) -> None:
    path = bench.folder / "incidents" / "pay7.yaml"
    path.write_text(path.read_text() + update_text(bench.now, status="resolved", fixed="Rolled back."))
    assert checks(bench, "people") == []


def test_a_variable_that_is_not_set_is_named_and_its_value_never(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ("warn", "SAM_MAIL is not set: the email of sam") in checks(bench, "secret")
    monkeypatch.setenv("SAM_MAIL", "sam@secret.example")
    assert ("ok", "SAM_MAIL is set") in checks(bench, "secret")
    assert "secret.example" not in run("doctor", folder=bench.folder).output


def test_who_took_it_over_is_who_has_to_be_reached(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with bench.ledger.write() as connection:
        take(connection, "pay7", "sam", by="sam", now=bench.now)
    assert checks(bench, "people") == [("warn", "sam has no address that can be used, and owns pay7")]
    monkeypatch.setenv("SAM_MAIL", "sam at acme")
    ((state, what),) = checks(bench, "people")
    assert (state, what.partition(" (")[0]) == ("warn", "the email of sam is not an email address")
    monkeypatch.setenv("SAM_MAIL", "sam@acme.example")
    assert checks(bench, "people") == []


def test_the_heartbeat_is_known_by_its_host_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    config(bench, '[tick]\nheartbeat_url = "env:BEAT"\n')
    assert ("warn", "BEAT is not set: where the heartbeat goes") in checks(bench, "secret")
    monkeypatch.setenv("BEAT", "https://beat.example/t0ken")
    assert checks(bench, "heartbeat") == [("ok", "goes to beat.example after every tick that went well")]
    monkeypatch.setenv("BEAT", "http://beat.example/t0ken")
    assert checks(bench, "heartbeat") == [("warn", "goes to beat.example in the clear")]
    for odd in ("t0ken", "https://[::1"):
        monkeypatch.setenv("BEAT", odd)
        assert checks(bench, "heartbeat") == [("warn", "goes to no web address")]
    assert "t0ken" not in run("doctor", folder=bench.folder).output


def test_a_desk_without_people_is_told_how_to_name_one(desk: Path) -> None:
    found = json.loads(run("doctor", "--json", folder=desk).stdout)["checks"]
    ((what, remedy),) = [(each["what"], each["remedy"]) for each in found if each["about"] == "people"]
    assert what == "nobody can be woken before a promise breaks: there is no [people]"
    assert "[people.dana]" in remedy
    assert "name, email and phone" in remedy
    assert "owner: dana" in remedy
    path = desk / "commcast.toml"
    path.write_text(path.read_text() + '[nudge]\ncommand = ["notify-oncall"]\n')
    assert "[people.dana]" not in run("doctor", folder=desk).stdout
