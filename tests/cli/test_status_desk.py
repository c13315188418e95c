"""status as the desk: every audience with its promise, who is on duty, who was nudged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from commcast.ledger import tables as schema
from commcast.ledger.oncall import offer, take
from commcast.ledger.tables import stamp
from commcast.model.message import OutcomeKind
from tests.support.desk import Bench, update_text, write_desk, write_incident, write_list
from tests.support.providers import FakeAdapter, saying
from tests.support.terminal import run

DESK = """\
[people.sam]
name = "Sam Okafor"
[audiences.executives]
recipients = "audiences/executives.csv"
rank = 3
severities = [1]
[audiences.partners]
recipients = "audiences/partners.csv"
rank = 5
[cadence.1]
every = "20m"
executives = "30m"
"""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    write_desk(tmp_path, extra=DESK)
    for name in ("executives", "partners"):
        write_list(tmp_path, name, "email,name", [f"a@{name}.example,A"])
    write_incident(tmp_path)
    made = Bench(tmp_path)
    made.later(minutes=1)
    yield made
    made.ledger.close()


def shown(bench: Bench, *arguments: str, expect: int = 0, **later: float) -> list[str]:
    """Return what status prints so much later."""
    now = (bench.now + timedelta(**later)).isoformat()
    result = run("status", *arguments, "--now", now, folder=bench.folder, expect=expect)
    return [line.rstrip() for line in result.stdout.splitlines()]


def document(bench: Bench, *arguments: str, expect: int = 0, **later: float) -> Any:
    return json.loads("\n".join(shown(bench, *arguments, "--json", expect=expect, **later)))


def say_more(bench: Bench, **keys: str) -> None:
    path = bench.folder / "incidents" / "pay7.yaml"
    path.write_text(path.read_text() + update_text(bench.now, **keys))


def test_each_audience_has_what_it_was_told_and_its_own_promise(bench: Bench) -> None:
    bench.send()
    assert shown(bench, minutes=21)[3:7] == [
        "  support     update 1 10:06 by email       LATE by 2m",
        "  executives  update 1 10:06 by email       10:35, in 8m",
        "  partners    update 1 10:06 by email       LATE by 2m",
        "  customers   update 1 10:06 by email, SMS  LATE by 2m",
    ]


def test_the_last_word_to_who_only_gets_texts_is_their_last_text(tmp_path: Path) -> None:
    only_texts = [",+4915112345671,Ann", ",+4915112345672,Bob"]
    write_desk(tmp_path, customers=only_texts, extra='[silence]\ncustomers = "hold"\n')
    write_incident(tmp_path)
    bench = Bench(tmp_path)
    bench.send()
    bench.later(hours=1, minutes=58)
    bench.tick()
    (line,) = [each for each in shown(bench) if each.startswith("  customers")]
    assert line.startswith("  customers  promised text 12:03 by SMS")
    customers = document(bench)["incidents"][0]["audiences"][1]
    assert customers["notice"].startswith("holding:")
    assert customers["last_told"] == bench.now.isoformat()


def test_json_has_the_promise_of_each_audience(bench: Bench) -> None:
    bench.send()
    (incident,) = document(bench, minutes=21)["incidents"]
    assert [each["audience"] for each in incident["audiences"]] == [
        "support",
        "executives",
        "partners",
        "customers",
    ]
    customers = incident["audiences"][-1]
    assert (customers["notice"], customers["channels"], customers["overdue"]) == (
        "update:1",
        ["email", "sms"],
        True,
    )
    assert incident["audiences"][1]["overdue"] is False
    assert incident["next_update_by"] == customers["next_update_by"]


def test_overdue_prints_only_what_is_late_and_ends_with_4(bench: Bench) -> None:
    bench.send()
    write_incident(bench.folder, "dns2", at=bench.now, severity=2)
    bench.send("dns2")
    assert shown(bench, "--overdue", minutes=5) == []
    lines = shown(bench, "--overdue", expect=4, minutes=21)
    assert not any("dns2" in line or "executives" in line for line in lines)
    assert [line.split()[0] for line in lines if "LATE" in line] == [
        "pay7",
        "support",
        "partners",
        "customers",
    ]
    late = document(bench, "--overdue", expect=4, minutes=21)
    assert late["overdue"] == ["pay7"]
    assert [each["id"] for each in late["incidents"]] == ["pay7"]


def test_an_audience_that_heard_something_newer_is_not_late(bench: Bench) -> None:
    """Only partners refuse the second update: only they are still owed word."""
    bench.send()
    bench.later(minutes=10)
    say_more(bench, nothing_new="Still at it.")
    bench.adapter = lambda channel: FakeAdapter(channel)
    bench.release()
    bench.freeze()
    with bench.ledger.write() as connection:
        d = schema.delivery.c
        partners = schema.delivery.update().where(d.audience == "partners", d.notice == "update:2")
        connection.execute(partners.values(state="rejected"))
    bench.worker.deliver("pay7")
    lines = shown(bench, "--overdue", expect=4, minutes=12)
    assert [line.split()[0] for line in lines if "LATE" in line] == ["pay7", "partners"]


def test_an_incident_that_ended_owes_nothing(bench: Bench) -> None:
    bench.send()
    bench.later(minutes=30)
    say_more(bench, status="resolved", fixed="Rolled back.")
    bench.send()
    assert shown(bench, "--overdue", hours=2) == []


def test_three_incidents_and_four_audiences_fit_eighty_columns(bench: Bench) -> None:
    bench.send()
    for name, severity in (("dns2", 2), ("login4", 1)):
        write_incident(bench.folder, name, at=bench.now, severity=severity)
        bench.send(name)
    with bench.ledger.write() as connection:
        offer(connection, "pay7", "sam", by="dana", now=bench.now)
    for days in (0, 40):
        lines = shown(bench, days=days)
        assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines if line[:1] not in {" ", "T"}][1:] == ["pay7", "login4", "dns2"]


def test_who_is_on_duty_and_an_offer_that_waits_are_shown(bench: Bench) -> None:
    bench.send()
    assert "  dana has it" in shown(bench)
    with bench.ledger.write() as connection:
        offer(connection, "pay7", "sam", by="dana", now=bench.now)
    lines = shown(bench, minutes=5)
    assert "  dana has it" in lines
    assert "  offered to sam 5m ago, not taken yet: commcast take pay7 --as sam" in lines
    with bench.ledger.write() as connection:
        take(connection, "pay7", "sam", by="sam", now=bench.now)
    assert "  sam has it" in shown(bench)
    (incident,) = document(bench)["incidents"]
    assert incident["on_duty"] == {"owner": "sam", "backup": None, "offered_to": None, "offered_at": None}


@pytest.mark.parametrize("is_gone", [True, False])
def test_who_is_on_duty_is_known_though_the_file_is_broken_or_gone(bench: Bench, is_gone: bool) -> None:
    """A tick wakes that owner from the ledger: status asks nobody to name one."""
    bench.send()
    path = bench.folder / "incidents" / "pay7.yaml"
    path.unlink() if is_gone else path.write_text("updates: [")
    lines = shown(bench, minutes=1)
    assert "  dana has it" in lines
    assert "  its file is gone or broken; what is frozen of it still goes out" in lines
    with bench.ledger.write() as connection:
        take(connection, "pay7", "sam", by="sam", now=bench.now)
    assert "  sam has it" in shown(bench)
    assert document(bench)["incidents"][0]["on_duty"]["owner"] == "sam"


def nudged(bench: Bench, minute: int, states: dict[str, str], called: str = "") -> None:
    """Leave a nudge in the ledger as one is told: a story of the incident's own people."""
    at, notice = stamp(bench.now + timedelta(minutes=minute)), f"nudge:{minute}"
    with bench.ledger.write() as connection:
        for channel, state in states.items():
            made = connection.execute(
                schema.broadcast.insert()
                .values(
                    incident="~pay7",
                    notice=notice,
                    number=1,
                    channel=channel,
                    state="frozen",
                    owner="",
                    created_at=at,
                )
                .returning(schema.broadcast.c.id)
            )
            connection.execute(
                schema.delivery.insert().values(
                    broadcast=made.scalar_one(),
                    incident="~pay7",
                    notice=notice,
                    channel=channel,
                    key=channel,
                    address=channel,
                    audience="people",
                    recipient={"name": "Dana Reyes"},
                    digest="",
                    state=state,
                    changed_at=at,
                )
            )
        if called:
            row = {"incident": "pay7", "notice": notice, "at": at, "state": called, "detail": ""}
            connection.execute(schema.call.insert().values(**row))


def test_the_last_nudge_is_shown_under_its_incident_and_is_none_of_its_own(bench: Bench) -> None:
    bench.send()
    nudged(bench, 10, {"email": "accepted"})
    nudged(bench, 15, {"email": "accepted", "sms": "rejected"}, "accepted")
    lines = shown(bench, minutes=16)
    assert "  nudged 10:21: Dana Reyes by email and SMS (rejected), by command" in lines
    assert not any("~" in line for line in lines)
    found = document(bench, minutes=16)
    assert [each["id"] for each in found["incidents"]] == ["pay7"]
    assert found["incidents"][0]["nudged"]["command"] == "accepted"
    assert found["incidents"][0]["deliveries"]["accepted"] == 7


def test_a_nudge_that_waits_is_nothing_that_is_being_sent_to_readers(bench: Bench) -> None:
    bench.send()
    nudged(bench, 10, {"email": "pending"})
    assert document(bench, minutes=16)["sending"] == []


def test_a_late_first_word_is_said(bench: Bench) -> None:
    path = bench.folder / "incidents" / "pay7.yaml"
    began = bench.now - timedelta(minutes=25)
    path.write_text(path.read_text().replace("severity: 1", f"severity: 1\nstarted: {began.isoformat()}"))
    within = "the cadence says within 15m"
    assert f"  first word to anybody: LATE by 10m; {within}" in shown(bench)
    bench.send()
    assert f"  the first word came 25m after the start; {within}" in shown(bench)


def test_a_first_word_in_time_is_nothing_to_tell(bench: Bench) -> None:
    assert "  first word to anybody: 10:20, in 14m; the cadence says within 15m" in shown(bench)
    bench.send()
    assert not any("first word" in line for line in shown(bench))


def test_whom_nobody_reached_and_who_waits_are_told_apart(bench: Bench) -> None:
    bench.adapter = lambda channel: FakeAdapter(channel, answer=saying(OutcomeKind.REJECTED))
    bench.send()
    assert "  partners    nobody was reached  none due" in shown(bench)


def test_a_nudge_that_woke_nobody_says_so(bench: Bench) -> None:
    bench.send()
    at = stamp(bench.now)
    row = {"incident": "pay7", "notice": "nudge:1", "at": at, "state": "rejected"}
    with bench.ledger.write() as connection:
        connection.execute(schema.call.insert().values(**row, detail="nobody can be reached"))
    lines = shown(bench)
    assert "  nudged 10:06: nobody can be reached" in lines
    assert "  nobody was woken by that: commcast doctor" in lines


def test_that_it_was_handed_over_is_no_nudge(bench: Bench) -> None:
    bench.send()
    row = {"incident": "pay7", "notice": "nudge:handover:sam:1", "at": stamp(bench.now), "state": "accepted"}
    with bench.ledger.write() as connection:
        connection.execute(schema.call.insert().values(**row, detail=""))
    assert not any("nudged" in line for line in shown(bench))
