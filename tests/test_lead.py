"""An audience that hears before all others: who waits, until when, and what ends the waiting."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commcast.errors import ExitCode
from commcast.ledger.releases import lift_stop, stop_incident
from commcast.model.history import History, Said
from commcast.model.incident import Channel, Incident, Status
from commcast.plan.due import TICK_IS_GONE, others_wait
from commcast.plan.notices import notice_of
from tests.support.desk import START, Bench, update_text, write_desk, write_incident
from tests.support.values import AT, config_of, released, story

S = Status
MINUTE = timedelta(minutes=1)
LEAD = "[audiences.support]\n"


def config(lead: str = "5m", every: str = "30m") -> object:
    audiences = {
        "customers": {"recipients": "c.csv", "rank": 9, "channels": ["email", "sms"]},
        "support": {"recipients": "s.csv", "rank": 1, "lead": lead},
    }
    return config_of(audiences=audiences, cadence={"3": {"every": every}})


def waits(
    incident: Incident,
    *,
    told: int = 0,
    lead: str = "5m",
    tick: timedelta | None = MINUTE,
    promised: datetime | None = None,
    now: datetime = AT,
    channel: Channel = Channel.EMAIL,
) -> dict[str, timedelta]:
    settings = config(lead)
    said = (Said("update:1", 1, channel, "customers", AT, promised),) if promised else ()
    history = History(
        releases=released(incident, len(incident.updates)),
        told_up_to=dict.fromkeys(Channel, told) if told else {},
        said=said,
        last_tick=now - tick if tick is not None else None,
    )
    notice = notice_of(incident, incident.latest, channel, history, settings)  # type: ignore[arg-type]
    found = others_wait(notice, incident, history, settings, now)  # type: ignore[arg-type]
    return {name: at - now for name, at in found.items()}


MILD = story(S.INVESTIGATING, severities=(3,))


def test_the_others_wait_as_long_as_the_lead() -> None:
    assert waits(MILD) == {"customers": 5 * MINUTE}
    assert waits(MILD, channel=Channel.SMS) == {"customers": 5 * MINUTE}, "who has the lead gets no texts"


@pytest.mark.parametrize("severity", [1, 2])
def test_nobody_waits_for_the_worst(severity: int) -> None:
    assert waits(story(S.INVESTIGATING, severities=(severity,))) == {}


@pytest.mark.parametrize(
    ("ago", "wait"), [(None, False), (TICK_IS_GONE, False), (TICK_IS_GONE - MINUTE, True)]
)
def test_nobody_waits_where_no_tick_would_send_the_rest(ago: timedelta | None, wait: bool) -> None:
    assert bool(waits(MILD, tick=ago)) == wait


@pytest.mark.parametrize(
    ("statuses", "wait"),
    [
        ((S.INVESTIGATING, S.IDENTIFIED), True),
        ((S.INVESTIGATING, S.RESOLVED), False),
        ((S.INVESTIGATING, S.RETRACTED), False),
        ((S.INVESTIGATING, S.RESOLVED, S.REOPENED), True),
        ((S.SCHEDULED,), True),
        ((S.SCHEDULED, S.RESCHEDULED), False),
        ((S.SCHEDULED, S.IN_PROGRESS), False),
        ((S.SCHEDULED, S.CANCELLED), False),
    ],
)
def test_ends_and_corrections_wait_for_nobody(statuses: tuple[Status, ...], wait: bool) -> None:
    found = waits(story(*statuses, severities=(3,) * len(statuses)), told=len(statuses) - 1)
    assert bool(found) == wait


def test_nobody_waits_past_a_promise_made_to_them() -> None:
    two = story(S.INVESTIGATING, S.IDENTIFIED, severities=(3, 3))
    now = two.latest.at
    assert waits(two, told=1, now=now, promised=now + 6 * MINUTE) == {"customers": 3 * MINUTE}
    assert waits(two, told=1, now=now, promised=now + 2 * MINUTE) == {}
    assert waits(two, told=1, now=now, promised=now - MINUTE) == {}


def test_nobody_waits_past_half_of_what_the_words_promise() -> None:
    assert waits(MILD, lead="50m") == {"customers": 15 * MINUTE}


@given(
    lead=st.integers(1, 60),
    promised=st.none() | st.integers(-60, 600),
    severity=st.integers(1, 4),
    tick=st.none() | st.integers(0, 30),
)
def test_a_wait_is_short_and_ends_before_any_promise(
    lead: int, promised: int | None, severity: int, tick: int | None
) -> None:
    two = story(S.INVESTIGATING, S.IDENTIFIED, severities=(severity, severity))
    now = two.latest.at
    found = waits(
        two,
        told=1,
        now=now,
        lead=f"{lead}m",
        promised=None if promised is None else now + promised * MINUTE,
        tick=None if tick is None else tick * MINUTE,
    )
    assert found.keys() <= {"customers"}
    for wait in found.values():
        assert severity > 2 and tick is not None and tick < 10
        assert timedelta() < wait <= lead * MINUTE
        assert promised is None or wait < promised * MINUTE


def test_a_lead_of_more_than_an_hour_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than an hour"):
        config("61m")


# Through the engine


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    write_desk(tmp_path)
    path = tmp_path / "commcast.toml"
    path.write_text(path.read_text().replace(LEAD, LEAD + 'lead = "5m"\n'))
    write_incident(tmp_path, severity=3)
    bench = Bench(tmp_path)
    bench.tick()
    return bench


def test_support_hears_first_and_the_next_tick_tells_the_rest(bench: Bench) -> None:
    delivered = bench.send()
    assert delivered.exit_code(0.02) is ExitCode.DONE
    assert (delivered.planned, delivered.waiting) == (4, 4)
    assert delivered.planned_at == START + 5 * MINUTE
    assert bench.states() == {("email", "accepted"): 1, ("email", "pending"): 2, ("sms", "pending"): 2}
    bench.later(minutes=4)
    assert bench.tick().exit_code(0.02) is ExitCode.DONE
    assert len(bench.mails()) == 1
    bench.later(minutes=1)
    bench.tick()
    assert bench.states() == {("email", "accepted"): 3, ("sms", "accepted"): 2}


def test_everybody_hears_at_once_where_no_tick_has_run_lately(bench: Bench) -> None:
    bench.later(minutes=10)
    write_incident(bench.folder, severity=3, at=bench.now)
    bench.send()
    assert bench.states() == {("email", "accepted"): 3, ("sms", "accepted"): 2}


def test_newer_words_win_over_those_that_wait(bench: Bench) -> None:
    bench.send()
    at = bench.later(minutes=2)
    bench.tick()
    write_incident(bench.folder, severity=3, more=update_text(at, severity="1"))
    bench.send()
    assert bench.states() == {("email", "accepted"): 1, ("email", "skipped"): 2, ("sms", "skipped"): 2}
    assert bench.states(notice="update:2") == {("email", "accepted"): 3, ("sms", "accepted"): 2}
    bench.later(minutes=5)
    bench.tick()
    assert len(bench.mails()) == 1 + 3


def test_who_still_waits_hears_nothing_where_it_is_over_before(bench: Bench) -> None:
    bench.send()
    end = update_text(bench.later(minutes=2), status="resolved", fixed="Rolled back.", remains="nothing")
    write_incident(bench.folder, severity=3, more=end)
    bench.send()
    bench.later(minutes=10)
    bench.tick()
    assert {row.audience for row in bench.rows() if row.state == "accepted"} == {"support"}


def test_a_stop_halts_those_who_wait(bench: Bench) -> None:
    bench.send()
    with bench.ledger.write() as connection:
        stop_incident(connection, "pay7", "dana", bench.now)
    bench.later(minutes=6)
    bench.tick()
    assert len(bench.mails()) == 1
    with bench.ledger.write() as connection:
        lift_stop(connection, "pay7", "dana", bench.now)
    bench.tick()
    assert len(bench.mails()) == 3


def test_a_correction_reaches_those_who_wait_before_the_wrong_words_do(bench: Bench) -> None:
    """Support read the wrong words and is told so; the customers read the right ones only, and at once."""
    bench.send()
    right = update_text(
        bench.later(minutes=2),
        issue="Some customers see an error when they pay by voucher.",
        corrects="1",
        wrong="by card",
        right="by voucher",
    )
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
