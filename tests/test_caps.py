"""Caps: how many messages one address gets in an hour, what no cap holds back, and how that is said."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from commcast.model.history import ReaderHistory
from commcast.model.incident import Channel, Level, Status
from commcast.plan import reasons
from commcast.plan.notices import notice_of
from commcast.plan.readers import Action, decide
from tests.support.desk import START, Bench, update_text, write_desk, write_incident
from tests.support.values import AT, READER, config_of, standing_of, story

S = Status
AGAIN = {
    "status": "reopened",
    "issue": "It fails again.",
    "resolution": "We look again.",
    "timeframe": "unknown",
}
CAPPED = "held back: as many messages as one address gets in an hour"
PLAIN = story(S.INVESTIGATING, S.IDENTIFIED)
SEVERAL = (S.IDENTIFIED, S.MONITORING, S.RESOLVED, S.RETRACTED, S.MERGED)


@given(
    lately=st.integers(0, 20),
    cap=st.integers(1, 20),
    told=st.booleans(),
    status=st.sampled_from(SEVERAL),
    severities=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    channel=st.sampled_from(list(Channel)),
)
def test_a_cap_holds_back_only_what_can_wait(
    lately: int, cap: int, told: bool, status: Status, severities: tuple[int, int], channel: Channel
) -> None:
    incident = story(S.INVESTIGATING, status, severities=severities)
    config = config_of(send={"most_an_hour": cap}, channels={"email": {"from": "a@acme.example"}, "sms": {}})
    notice = notice_of(incident, incident.latest, channel, standing_of(incident, 2, told=1), config)
    found = decide(READER, notice, ReaderHistory(told=told, lately=lately), config, AT)
    can_wait = told and not incident.latest.is_end and severities[1] >= severities[0]
    assert (found.reason == CAPPED) == (can_wait and lately >= cap)
    assert found.action is (Action.SKIP if found.reason == CAPPED else found.action)


def test_no_cap_holds_back_what_a_level_asks_for() -> None:
    notice = notice_of(PLAIN, PLAIN.latest, Channel.EMAIL, standing_of(PLAIN, 2, told=1), config_of())
    key = READER._replace(level=Level.KEY)
    found = decide(key, notice, ReaderHistory(told=True, lately=99), config_of(), AT)
    assert found.reason == reasons.KEY_ONLY, "what is not owed is not held back"


# Through the engine


def say(bench: Bench, name: str, minutes: int, more: str = "") -> None:
    """Let an incident say something new at a minute."""
    path = bench.folder / "incidents" / f"{name}.yaml"
    bench.now = START + timedelta(minutes=minutes)
    if not path.exists():
        write_incident(bench.folder, name, at=bench.now)
    elif more or bench.rows(name):
        more = more or update_text(bench.now, resolution=f"We try what we know after {minutes} minutes.")
        path.write_text(path.read_text() + more)
    bench.send(name)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    write_desk(tmp_path, extra="most_an_hour = 3")
    return Bench(tmp_path)


def mailed(bench: Bench, name: str, number: int) -> dict[str, str]:
    """Return what became of the mails of an update, by address."""
    return {
        row.address: row.reason or row.state.value
        for row in bench.rows(name)
        if row.notice == f"update:{number}" and row.channel == "email"
    }


def test_a_cap_counts_over_all_incidents_and_lets_go_after_an_hour(bench: Bench) -> None:
    say(bench, "pay7", 0)
    say(bench, "net3", 1)
    say(bench, "pay7", 2)
    say(bench, "net3", 3)
    assert set(mailed(bench, "net3", 2).values()) == {CAPPED}
    say(bench, "pay7", 62)
    assert CAPPED not in mailed(bench, "pay7", 3).values()


def test_what_was_held_back_is_said_once_in_the_next_message(bench: Bench) -> None:
    for minute in (0, 1, 2, 3, 4):
        say(bench, "pay7", minute)
    assert set(mailed(bench, "pay7", 5).values()) == {CAPPED}
    say(bench, "pay7", 70)
    told = bench.mails()[-1].read_text()
    assert "We held back 2 messages to you" in told
    say(bench, "pay7", 100)
    assert "held back" not in bench.mails()[-1].read_text()


def test_no_cap_holds_back_a_first_notice_a_worsening_or_an_end(tmp_path: Path) -> None:
    write_desk(tmp_path, extra="most_an_hour = 1")
    bench = Bench(tmp_path)
    write_incident(tmp_path, severity=2)
    bench.send()
    say(bench, "net3", 1)
    say(bench, "pay7", 2, update_text(START + timedelta(minutes=2), severity="1"))
    end = update_text(
        START + timedelta(minutes=3), status="resolved", fixed="Rolled back.", remains="nothing"
    )
    say(bench, "pay7", 3, end)
    again = update_text(START + timedelta(minutes=4), **AGAIN)
    say(bench, "pay7", 4, again)
    assert not [row for row in bench.rows("pay7") + bench.rows("net3") if row.reason == CAPPED]


def test_who_was_told_nothing_hears_the_first_whatever_the_others_got(bench: Bench) -> None:
    for minute in (0, 1, 2):
        say(bench, "pay7", minute)
    path = bench.folder / "audiences" / "customers.csv"
    path.write_text(path.read_text() + "new@example.com,,New\n")
    say(bench, "pay7", 3)
    assert mailed(bench, "pay7", 4)["new@example.com"] != CAPPED
    assert mailed(bench, "pay7", 4)["ann@example.com"] == CAPPED


Statement = tuple[str, object]


@pytest.fixture
def statements(bench: Bench) -> Iterator[list[Statement]]:
    said: list[Statement] = []

    def keep(*given: object) -> None:
        said.append((str(given[2]).lower(), given[3]))

    event.listen(bench.ledger.engine, "before_cursor_execute", keep)
    yield said
    event.remove(bench.ledger.engine, "before_cursor_execute", keep)


def counting(statements: list[Statement]) -> list[Statement]:
    return [each for each in statements if "coalesce(delivery.claimed_at" in each[0]]


def test_nobody_is_counted_where_fewer_broadcasts_spoke_than_the_cap(
    bench: Bench, statements: list[Statement]
) -> None:
    for minute in (0, 1, 2):
        say(bench, "pay7", minute)
    assert counting(statements) == []
    say(bench, "pay7", 3)
    assert len(counting(statements)) == 2, "one for each list of that channel: a chunk each"


def test_who_is_counted_is_found_by_an_index(bench: Bench, statements: list[Statement]) -> None:
    for minute in (0, 1, 2, 3):
        say(bench, "pay7", minute)
    sql, values = counting(statements)[0]
    with bench.ledger.read() as connection:
        plan = connection.exec_driver_sql(f"explain query plan {sql}", values).all()  # type: ignore[arg-type]
    steps = [str(row[3]).lower() for row in plan]
    assert any("search delivery using index sqlite_autoindex_delivery" in step for step in steps), steps
    assert not any("scan delivery" in step for step in steps), steps


# Over random histories

MOVES = st.lists(
    st.tuples(
        st.sampled_from(["pay7", "net3"]), st.integers(1, 40), st.sampled_from(["plain", "worse", "end"])
    ),
    min_size=3,
    max_size=10,
)


@settings(max_examples=8, deadline=None)
@given(moves=MOVES, cap=st.integers(1, 3))
def test_no_hour_holds_more_than_the_cap_but_for_what_none_holds_back(
    moves: list[tuple[str, int, str]], cap: int
) -> None:
    with TemporaryDirectory() as folder:
        write_desk(Path(folder), extra=f"most_an_hour = {cap}")
        bench = Bench(Path(folder))
        exempt: dict[tuple[str, str], bool] = {}
        severity: dict[str, int] = {}
        minute = 0
        for name, after, move in moves:
            minute += after
            if severity.get(name) == 0:
                continue  # it is over
            number = sum(key[0] == name for key in exempt) + 1
            at = START + timedelta(minutes=minute)
            more = {
                "plain": update_text(at, resolution=f"Way {number}."),
                "worse": update_text(at, severity=str(max(1, severity.get(name, 3) - 1))),
                "end": update_text(at, status="resolved", fixed="Rolled back.", remains="nothing"),
            }[move]
            is_worse = move == "worse" and severity.get(name, 3) > 1
            exempt[name, f"update:{number}"] = number == 1 or is_worse or move == "end"
            first = name not in severity
            severity[name] = 3 if first else 0 if move == "end" else severity[name] - is_worse
            if first:
                write_list_of_all(bench, name, at)
            say(bench, name, minute, "" if first else more)
        told: dict[str, list[datetime]] = {}
        rows = [row for name in severity for row in bench.rows(name) if row.channel == "email"]
        for row in sorted(rows, key=lambda each: each.changed_at):
            lately = [at for at in told.get(row.address, []) if row.changed_at - at < timedelta(hours=1)]
            if row.state == "accepted":
                assert exempt[row.incident, row.notice] or len(lately) < cap
                told.setdefault(row.address, []).append(row.changed_at)
            else:
                assert row.reason == CAPPED
                assert not exempt[row.incident, row.notice] and len(lately) >= cap
        bench.ledger.close()


def write_list_of_all(bench: Bench, name: str, at: datetime) -> None:
    """Write an incident of severity 3 that all audiences hear of."""
    path = write_incident(bench.folder, name, at=at, severity=3)
    path.write_text(path.read_text().replace("severity: 3", "severity: 3\naudiences: [support, customers]"))
