"""What holds messages back: caps on messages per hour, and an audience that is told before all others."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from commcast.config.settings import Config
from commcast.model.history import History, ReaderHistory, Said
from commcast.model.incident import Channel, Incident, Level, Status
from commcast.plan import reasons
from commcast.plan.due import TICK_IS_GONE, others_wait
from commcast.plan.notices import notice_of
from commcast.plan.readers import Action, decide
from tests.support.desk import START, Bench, update_text, write_desk, write_incident
from tests.support.values import AT, READER, config_of, released, standing_of, story

S = Status
MINUTE = timedelta(minutes=1)
OVER = {"status": "resolved", "fixed": "Rolled back.", "remains": "nothing"}
XAGAIN = {"status": "reopened", "issue": "Again.", "resolution": "We look.", "timeframe": "unknown"}
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


def say(bench: Bench, name: str, minutes: int, more: str = "") -> None:
    """Let an incident say something new at a minute."""
    path = bench.folder / "incidents" / f"{name}.yaml"
    bench.now = START + minutes * MINUTE
    if not path.exists():
        write_incident(bench.folder, name, at=bench.now)
    elif more or bench.rows(name):
        more = more or update_text(bench.now, resolution=f"We try what we know after {minutes} minutes.")
        path.write_text(path.read_text() + more)
    bench.send(name)


@pytest.fixture
def capped(tmp_path: Path) -> Bench:
    """A desk that tells one address three times an hour at most."""
    write_desk(tmp_path, extra="most_an_hour = 3")
    return Bench(tmp_path)


def test_what_was_held_back_is_said_once_in_the_next_message(capped: Bench) -> None:
    for minute in (0, 1, 2, 3, 4):
        say(capped, "pay7", minute)
    held = {row.reason for row in capped.rows() if (row.notice, row.channel) == ("update:5", "email")}
    assert held == {CAPPED}
    say(capped, "pay7", 70)
    assert "We skipped 2 messages to avoid" in capped.mails()[-1].read_text()
    say(capped, "pay7", 100)
    assert "skipped" not in capped.mails()[-1].read_text()


def counts(bench: Bench) -> list[tuple[str, Any]]:
    """Return the list into which each query goes, from now on, that counts what readers got lately."""
    said: list[tuple[str, Any]] = []

    def keep(*given: Any) -> None:
        if "coalesce(delivery.claimed_at" in given[2].lower():
            said.append((given[2], given[3]))

    event.listen(bench.ledger.engine, "before_cursor_execute", keep)
    return said


def test_readers_are_counted_by_an_index_once_as_many_broadcasts_spoke_as_the_cap(capped: Bench) -> None:
    said = counts(capped)
    for minute in (0, 1, 2):
        say(capped, "pay7", minute)
    assert said == []
    say(capped, "pay7", 3)
    assert len(said) == 2, "one for each list of that channel: a chunk each"
    with capped.ledger.read() as connection:
        plan = connection.exec_driver_sql(f"explain query plan {said[0][0]}", said[0][1]).all()
    steps = [str(row[3]).lower() for row in plan]
    assert any("search delivery using index sqlite_autoindex_delivery" in step for step in steps), steps
    assert not any("scan delivery" in step for step in steps), steps


NAMES, KINDS = st.sampled_from(["pay7", "net3"]), st.sampled_from(["plain", "worse", "end"])
MOVES = st.lists(st.tuples(NAMES, st.integers(1, 40), KINDS), min_size=3, max_size=10)


@settings(max_examples=8, deadline=None)
@given(moves=MOVES, cap=st.integers(1, 3))
def test_no_hour_of_all_incidents_holds_more_than_the_cap_but_for_what_none_holds_back(
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
            at = START + minute * MINUTE
            more = {
                "plain": update_text(at, resolution=f"Way {number}."),
                "worse": update_text(at, severity=str(max(1, severity.get(name, 3) - 1))),
                "end": update_text(at, **OVER),
            }[move]
            is_worse = move == "worse" and severity.get(name, 3) > 1
            exempt[name, f"update:{number}"] = number == 1 or is_worse or move == "end"
            first = name not in severity
            severity[name] = 3 if first else 0 if move == "end" else severity[name] - is_worse
            if first:
                path = write_incident(bench.folder, name, at=at, severity=3)
                told_all = "severity: 3\naudiences: [support, customers]"
                path.write_text(path.read_text().replace("severity: 3", told_all))
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


def leading(lead: str = "5m") -> Config:
    audiences = {
        "customers": {"recipients": "c.csv", "rank": 9, "channels": ["email", "sms"]},
        "support": {"recipients": "s.csv", "rank": 1, "lead": lead},
    }
    return config_of(audiences=audiences, cadence={"3": {"every": "30m"}})


def waits(
    incident: Incident,
    *,
    told: int = 0,
    lead: str = "5m",
    tick: timedelta | None = MINUTE,
    promised: timedelta | None = None,
    channel: Channel = Channel.EMAIL,
) -> dict[str, timedelta]:
    """Return how long each audience waits after the newest update; `tick` is how long ago one was."""
    desk, now = leading(lead), incident.latest.at
    by = now + promised if promised is not None else None
    history = History(
        releases=released(incident, len(incident.updates)),
        told_up_to=dict.fromkeys(Channel, told) if told else {},
        said=(Said("update:1", 1, channel, "customers", AT, by),) if by else (),
        last_tick=now - tick if tick is not None else None,
    )
    notice = notice_of(incident, incident.latest, channel, history, desk)
    return {name: at - now for name, at in others_wait(notice, incident, history, desk, now).items()}


def mild(*statuses: Status) -> Incident:
    return story(*statuses, severities=(3,) * len(statuses))


FIRST, TWO = mild(S.INVESTIGATING), mild(S.INVESTIGATING, S.IDENTIFIED)


@pytest.mark.parametrize(
    ("incident", "options", "minutes"),
    [
        pytest.param(FIRST, {}, 5, id="as long as the lead"),
        pytest.param(FIRST, {"channel": Channel.SMS}, 5, id="also for texts, which the first gets none of"),
        pytest.param(FIRST, {"lead": "50m"}, 15, id="at most half of what the words promise"),
        pytest.param(FIRST, {"tick": TICK_IS_GONE - MINUTE}, 5, id="ticks still run"),
        pytest.param(TWO, {"promised": 6 * MINUTE}, 3, id="half of an earlier promise"),
        (TWO, {}, 5),
        (mild(S.INVESTIGATING, S.RESOLVED), {}, 0),
        (mild(S.INVESTIGATING, S.RETRACTED), {}, 0),
        (mild(S.INVESTIGATING, S.RESOLVED, S.REOPENED), {}, 5),
        (mild(S.SCHEDULED), {}, 5),
        (mild(S.SCHEDULED, S.RESCHEDULED), {}, 0),
        (mild(S.SCHEDULED, S.IN_PROGRESS), {}, 0),
        (mild(S.SCHEDULED, S.CANCELLED), {}, 0),
    ],
)
def test_how_long_the_others_wait(incident: Incident, options: dict[str, Any], minutes: int) -> None:
    found = waits(incident, told=len(incident.updates) - 1, **options)
    assert found == ({"customers": minutes * MINUTE} if minutes else {})


@given(
    lead=st.integers(1, 60),
    promised=st.none() | st.integers(-60, 600),
    severity=st.integers(1, 4),
    tick=st.none() | st.integers(0, 30),
)
def test_a_wait_is_short_and_ends_before_any_promise(
    lead: int, promised: int | None, severity: int, tick: int | None
) -> None:
    found = waits(
        story(S.INVESTIGATING, S.IDENTIFIED, severities=(severity, severity)),
        told=1,
        lead=f"{lead}m",
        promised=None if promised is None else promised * MINUTE,
        tick=None if tick is None else tick * MINUTE,
    )
    assert found.keys() <= {"customers"}
    for wait in found.values():
        assert severity > 2 and tick is not None and tick < 10
        assert timedelta() < wait <= lead * MINUTE
        assert promised is None or wait < promised * MINUTE


def test_a_lead_of_more_than_an_hour_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than an hour"):
        leading("61m")


def test_a_correction_reaches_those_who_wait_before_the_wrong_words_do(tmp_path: Path) -> None:
    """Support read the wrong words and is told so; the customers read the right ones only, and at once."""
    write_desk(tmp_path)
    write_incident(tmp_path, severity=3)
    bench = Bench(tmp_path)
    bench.edit("commcast.toml", "rank = 1\n", 'rank = 1\nlead = "5m"\n')
    bench.tick()
    bench.send()
    words = {"issue": "Some customers see an error when they pay by voucher.", "corrects": "1"}
    right = update_text(bench.later(minutes=2), **words, wrong="by card", right="by voucher")
    write_incident(bench.folder, severity=3, more=right)
    bench.send()
    bench.later(minutes=10)
    bench.tick()
    told = {(row.notice, row.audience, row.channel) for row in bench.rows() if row.state == "accepted"}
    assert told == {
        ("update:1", "support", "email"),
        ("update:2", "support", "email"),
        ("update:2", "customers", "email"),
        ("update:2", "customers", "sms"),
    }
    mails = [text for path in bench.mails() if "@example.com" in (text := path.read_text())]
    texts = [path.read_text() for path in bench.texts()]
    assert len(mails) == len(texts) == 2
    assert not any("pay by card" in text for text in [*mails, *texts])
