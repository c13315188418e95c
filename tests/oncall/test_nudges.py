"""Nudges: at which moments an incident's people are told, for what, whom, and that each is given once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from commcast.config.settings import Config
from commcast.model.history import History, Said
from commcast.model.incident import Channel, Status, Timeframe
from commcast.model.oncall import Handover
from commcast.oncall.nudge_text import headline
from commcast.oncall.nudges import Nudge, Why, broken_file_nudge, first_nudge, handing_nudges, nudges_due
from commcast.oncall.people import Reach, reach, unreachable, variables_of
from commcast.plan.cadence import GRACE
from commcast.plan.due import due
from tests.plan.test_promises import HOLDS, MINUTE, Told, begun
from tests.support.values import AT, cases, config_of, incident_of, released, story, update_of

S = Status


def nudges(told: Told, now: datetime, given_before: frozenset[str] = frozenset()) -> tuple[Nudge, ...]:
    lines = due(told.incident, told.history, told.config, now)
    return nudges_due(told.incident, told.history, lines, told.config, now, drafted={}, nudged=given_before)


def quiet(*statuses: Status, after: int = 0) -> Told:
    """Return an incident with these updates, told some minutes after AT; silence is left to the nudge."""
    told = Told(story(*(statuses or (S.INVESTIGATING,))), config_of())
    told.release()
    told.tick(AT + after * MINUTE)
    return told


@cases("""
    silence              | held_at | minute | mark | why     | both | held
                         |         | 14     |      |         |      |
                         |         | 15     | 75   | promise |      |
                         |         | 20     | 75   | promise |      |
                         |         | 21     | late | late    | both |
    customers support    |         | 15     | 75   | promise |      | support customers
    customers            |         | 15     | 75   | promise |      | customers
    customers severity 2 |         | 15     | 75   | promise |      |
    customers stopped    |         | 17     | 75   | promise |      |
    customers            |         | 17     | held | held    | both | customers   # the owner is likely asleep
    customers            | 17      | 36     | 75   | promise | both | customers
""")
def test_when_and_how_somebody_is_nudged_about_a_promise(
    silence: str, held_at: str, minute: str, mark: str, why: str, both: str, held: str
) -> None:
    """Those in `[silence]` are held, in its severities: the rest hear nothing by itself."""
    table: dict[str, object] = dict.fromkeys({"customers", "support"} & {*silence.split()}, "hold")
    told = begun(config_of(silence=table | ({"severities": [2]} if "severity" in silence else {})))
    told.history = replace(told.history, stopped_by="dana" if "stopped" in silence else "")
    if held_at:
        told.tick(AT + int(held_at) * MINUTE)
    found = [each for each in nudges(told, AT + int(minute) * MINUTE) if "customers" in each.audiences]
    shown = [(each.id.rpartition(":")[2], each.why, each.backup_too, " ".join(each.held)) for each in found]
    assert shown == ([(mark, why, bool(both), held)] if mark else [])
    stop = "dana stopped it; commcast resume pay7 lifts the stop." if "stopped" in silence else ""
    assert {each.note for each in found} <= {stop}


def test_a_nudge_is_given_once_with_the_line_to_paste_and_twice_in_a_long_wait() -> None:
    told = quiet()
    (nudge,) = nudges(told, AT + 15 * MINUTE)
    assert (nudge.id, nudge.deadline) == ("nudge:2026-11-21T09:25:00Z:75", AT + 20 * MINUTE)
    assert set(nudge.audiences) == {"board", "customers", "support"}
    assert nudge.line == 'commcast update pay7 --nothing-new "…" --next 20m'
    assert nudges(told, AT + 16 * MINUTE, frozenset({nudge.id})) == ()
    said = Said("update:1", 1, Channel.EMAIL, "customers", AT, AT + 60 * MINUTE)
    told.config = config_of(cadence={"1": {"every": "60m"}})
    told.history = replace(told.history, said=(said,))
    ids = [tuple(n.id.rpartition(":")[2] for n in nudges(told, AT + m * MINUTE)) for m in (29, 30, 50, 51)]
    assert ids == [(), ("50",), ("50",), ("85",)]


def test_what_was_never_sent_is_told_to_the_backup_too_and_nobody_is_nudged_after_the_end() -> None:
    told = Told(story(S.INVESTIGATING), config_of())
    told.release()
    (unsent,) = nudges(told, AT + 21 * MINUTE)
    assert (unsent.why, unsent.backup_too, unsent.line) == (Why.LATE, True, "commcast send pay7 --late")
    told = quiet()
    told.write(AT + 5 * MINUTE, S.RESOLVED)
    assert [nudges(told, AT + minute * MINUTE) for minute in range(5, 100)] == [()] * 95


@settings(max_examples=40)
@given(st.lists(st.integers(1, 90), max_size=20), st.booleans())
def test_no_promise_passes_without_a_nudge(gaps: list[int], holds: bool) -> None:
    """Whenever a tick looks after three quarters of a wait, somebody was or is nudged; nothing twice."""
    told = begun(HOLDS if holds else config_of())
    now, seen = AT, frozenset[str]()
    for gap in gaps:
        now += timedelta(minutes=gap)
        found = nudges(told, now, seen)
        assert len({nudge.id for nudge in found}) == len(found)
        seen |= {nudge.id for nudge in found}
        told.tick(now)
        for said in told.history.said:
            newer = [each for each in told.history.said if each.audience == said.audience]
            is_last = all(each.at <= said.at for each in newer)
            if said.promised and now > said.promised and is_last and said.channel is Channel.EMAIL:
                assert any(said.promised.strftime("%Y-%m-%dT%H:%M:%SZ:") in each for each in seen)


@cases("""
    draft | minute | nudge              | says
    1     | 2      |                    |
    1     | 3      | nudge:draft:1      | the first message is due by 10:15 CET (09:15 UTC), in 7 minutes
    1     | 11     | nudge:draft:1:late | the first message was due by 10:15 CET (09:15 UTC), 1 minute ago
    2     | 11     | nudge:draft:2      | A draft is waiting to be sent   # readers know of it
""")
def test_when_somebody_is_nudged_about_a_draft(draft: str, minute: str, nudge: str, says: str) -> None:
    told = Told(story(S.INVESTIGATING), HOLDS)
    told.history = History(released(told.incident, 1) if draft == "2" else {})
    now, drafted = AT + int(minute) * MINUTE, {int(draft): AT}
    found = nudges_due(told.incident, told.history, (), HOLDS, now, drafted=drafted, nudged=())
    shown = [(each.id, each.line, each.backup_too) for each in found]
    assert shown == [(nudge, "commcast send pay7", "late" in nudge)] * bool(nudge)
    assert all(headline(HOLDS, each, now).endswith(says) for each in found)


def test_a_passed_estimate_and_a_broken_file_are_nudged_for_once() -> None:
    update = update_of(1, S.INVESTIGATING, timeframe=Timeframe(latest=AT + 10 * MINUTE))
    told = begun(config_of(), incident_of(update))
    assert nudges(told, AT + 9 * MINUTE) == ()
    (nudge,) = nudges(told, AT + 10 * MINUTE)
    assert nudge.why is Why.ESTIMATE
    assert nudges(told, AT + 11 * MINUTE, frozenset({nudge.id})) == ()
    one, same, other = (broken_file_nudge(told.incident, faults).id for faults in "aab")
    assert one == same != other


def test_both_ends_of_a_window_are_nudged_for() -> None:
    planned, working = quiet(S.SCHEDULED), quiet(S.SCHEDULED, S.IN_PROGRESS, after=10)
    window = planned.incident.latest.window
    assert window is not None
    for told, moment, verb in ((planned, window.start, "start"), (working, window.end, "complete")):
        found = [[*nudges(told, moment - before * MINUTE)] for before in (31, 30, 10)]
        assert [[each.id.rpartition(":")[2] for each in some] for some in found] == [[], ["30m"], ["10m"]]
        assert {nudge.line for some in found for nudge in some} == {f"commcast {verb} pay7"}
    said = working.history.said[0]._replace(promised=window.start + 40 * MINUTE)
    working.history = replace(working.history, said=(said,))
    (nudge,) = nudges(working, window.start + 41 * MINUTE)  # nothing begins or ends then
    assert nudge.line.startswith("commcast update pay7 --nothing-new")
    assert first_nudge(planned.incident.latest, AT, window.start + GRACE) == window.start - 30 * MINUTE


NAMES = {"dana": "Dana Reyes", "sam": "Sam Oyo", "kim": "Kim"}
PEOPLE = config_of(people={key: {"name": name} for key, name in NAMES.items()})
OWNED = incident_of(update_of(1, owner="dana"))
OFFERED = Handover("sam", "dana", AT)
TAKEN = Handover("sam", "dana", AT, taken_by="sam", taken_at=AT + timedelta(minutes=2))


def of_handovers(*handovers: Handover, after: int = 1, nudged: Sequence[str] = ()) -> tuple[Nudge, ...]:
    return handing_nudges(OWNED, handovers, PEOPLE, AT + timedelta(minutes=after), nudged=nudged)


def test_an_offer_is_told_to_both_once_and_once_more_when_nobody_takes_it() -> None:
    (first,) = of_handovers(OFFERED)
    assert first.line == "commcast take pay7 --as sam"
    assert (first.line_for, first.line_of_others) == ("sam", "commcast status pay7")
    assert of_handovers(OFFERED, nudged=[first.id]) == ()
    (again,) = of_handovers(OFFERED, after=10, nudged=[first.id])
    assert again.note == "Sam Oyo hasn't taken this over yet"
    assert of_handovers(OFFERED, after=60, nudged=[first.id, again.id]) == ()


LATER = Handover("kim", "sam", AT + timedelta(minutes=5))


def test_who_is_told_of_a_hand_over_and_nobody_of_what_moves_nothing() -> None:
    """The last one alone is news; root is nobody who could be told."""
    for handovers, told, note in (
        ([OFFERED], "dana sam", "Dana Reyes is handing this over to Sam Oyo"),
        ([Handover("sam", "kim", AT)], "dana sam kim", "Kim is handing this over to Sam Oyo"),
        ([Handover("sam", "root", AT)], "dana sam", "root is handing this over to Sam Oyo"),
        ([TAKEN], "dana sam", "Sam Oyo has taken this over from Dana Reyes"),
        ([TAKEN, LATER], "sam kim", "Sam Oyo is handing this over to Kim"),
        (
            [OFFERED._replace(note="watch db")],
            "dana sam",
            "Dana Reyes is handing this over to Sam Oyo: watch db",
        ),
    ):
        (found,) = of_handovers(*handovers)
        assert (" ".join(found.told), found.note) == (told, note)
    assert of_handovers() == ()
    assert of_handovers(Handover("dana", "dana", AT)) == ()
    assert of_handovers(Handover("dana", "", AT, taken_by="dana", taken_at=AT)) == ()
    ended = story(Status.INVESTIGATING, Status.RESOLVED)
    assert handing_nudges(ended, [OFFERED], PEOPLE, AT, nudged=()) == ()


SET = {"DANA_MAIL": "Dana@Acme.example", "DANA_PHONE": "+4915112345671", "ODD": "dana at acme"}


def config_with(**person: str) -> Config:
    return config_of(people={"dana": {"name": "Dana Reyes", **person}})


@cases("""
    mail              | call             | email             | phone          | fault
    dana@acme.example |                  | dana@acme.example |                |
    env:DANA_MAIL     |                  | Dana@acme.example |                |
    Dana <dana@acme.example> |           | dana@acme.example |                |
                      | env:DANA_PHONE   |                   | +4915112345671 |
                      | +49 151 12345671 |                   | +4915112345671 |
    env:NOT_SET       | env:DANA_PHONE   |  | +4915112345671  | NOT_SET is not set: the email of dana; set it
    env:ODD           |                  |  |                 | the email of dana is not one address
                      |                  |  |                 | dana has no address; write email or phone in
""")
def test_an_address_is_in_file_or_variable(mail: str, call: str, email: str, phone: str, fault: str) -> None:
    """A phone is made E.164; a fault names no address."""
    config = config_with(email=mail, phone=call)
    assert reach("dana", config, SET) == Reach("Dana Reyes", email, phone, "dana")
    found = unreachable("dana", config, SET)
    assert len(found) == bool(fault)
    assert all(each.startswith(fault) and "at acme" not in each for each in found)


def test_whom_nobody_knows_is_called_by_the_key_and_variables_that_hold_addresses_are_known() -> None:
    assert reach("kim", config_of(), {}) == Reach("kim", key="kim")
    assert unreachable("kim", config_of(), {}) == ("no [people.kim] in commcast.toml; add it",)
    config = config_with(email="env:DANA_MAIL", phone="+4915112345671")
    assert variables_of(config) == {"DANA_MAIL": "the email of dana"}
