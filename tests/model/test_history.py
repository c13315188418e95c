"""What was said and promised, what a release is a yes to, who is on call, and how late ticks come."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any

from commcast.model.incident import AudienceWords, Incident, Status, Timeframe, Update, Window
from commcast.model.oncall import Drift, Handover, OnDuty, drift_of, on_duty_for, owner_since, who_is_on_duty
from commcast.model.release import _NOT_PUBLISHED, changed, digest, drafts, facts
from commcast.oncall.ticks import not_kept
from tests.support.values import AT, cases, config_of, incident_of, released, story, update_of

MINUTE = timedelta(minutes=1)


def at(minute: int) -> datetime:
    return AT + minute * MINUTE


BASE = incident_of(update_of(1, ended=None))


def digest_with(update: dict[str, Any], **more: Any) -> str:
    """Return the digest of BASE with other values in its update, or in the incident itself."""
    other = incident_of(update_of(1, **update), **more)
    return digest(other, other.latest)


OTHER_VALUES: dict[str, Any] = {
    **dict.fromkeys(("issue", "resolution", "scope", "action", "nothing_new", "fixed", "remains"), "x"),
    **dict.fromkeys(("works", "data", "cause", "change", "link", "offer", "offer_name"), "x"),
    **dict.fromkeys(("urgent", "offer_public"), True),
    **dict.fromkeys(("short", "if_it_persists", "because", "wrong", "right", "merged_into"), "x"),
    **dict.fromkeys(("next_update", "expected_at", "ended"), AT + 5 * MINUTE),
    **dict.fromkeys(("audiences", "check_in", "affected"), ("board",)),
}
OTHER_VALUES |= {"at": AT + MINUTE, "status": Status.MONITORING, "severity": 2, "corrects": (1,)}
OTHER_VALUES |= {"timeframe": Timeframe(latest=AT), "words": {"board": AudienceWords(issue="x")}}
OTHER_VALUES["translations"] = {"de": {"issue": "x"}}
OTHER_VALUES["window"] = Window(start=AT, end=AT + timedelta(hours=1))


def test_all_that_a_reader_may_get_is_in_the_digest_and_nothing_else() -> None:
    """A new field of an update is published, and so in the digest, unless it is named as internal."""
    internal = {"internal", "owner", "owner_named", "backup", "number", "line", "at_written"}
    internal |= {
        "words_in_force",
        "translations_in_force",
    }  # these are in the digest of the update that wrote them
    assert internal == _NOT_PUBLISHED
    assert set(OTHER_VALUES) == set(Update.model_fields) - internal - {"next_clock"}
    same = digest(BASE, BASE.latest)
    assert [name for name, value in OTHER_VALUES.items() if digest_with({name: value}) == same] == []
    assert digest_with({}, title="Other") != same != digest_with({}, started=AT - timedelta(hours=1))
    inner = {"internal": "db-eu-3", "owner": "dana", "owner_named": True, "backup": "sam", "line": 99}
    assert digest_with({**inner, "at_written": False}) == same
    assert digest_with({}, id="web1", path="incidents/web1.yaml") == same


def test_an_older_release_keeps_its_digest() -> None:
    """Keys of later versions, also in words for one audience, change nothing while they are empty."""
    incident = incident_of(update_of(1, scope="EU", words={"board": AudienceWords(issue="Revenue is down.")}))
    released = "f4b4b6dd6b3263c93ca1d828065b5dd205e1a27e7590fef85c801b14c344af3b"
    assert digest(incident, incident.latest) == released


def test_a_released_update_that_changed_or_is_gone_is_named_with_its_line() -> None:
    three = story(Status.INVESTIGATING, Status.IDENTIFIED, Status.MONITORING)
    assert changed(three, released(three, 1, 2)) == changed(three, {}) == []
    assert (drafts(three, [2]), drafts(three, released(three, 1, 2, 3))) == ((1, 3), ())
    now = incident_of(three.update(1), update_of(2, issue="Cards work."))
    faults = changed(now, released(three, 3, 2, 1))
    assert [(one.line, one.what.partition(" was")[0]) for one in faults] == [(7, "update 2"), (0, "update 3")]
    assert all("put it back; " in fault.remedy for fault in faults)


def test_a_changed_release_says_how_it_was() -> None:
    then = incident_of(update_of(1, issue="It is slow."))
    now = incident_of(update_of(1, issue="It is very slow. " + "x" * 100))
    (fault,) = changed(now, released(then, 1), lambda _number: facts(then, then.latest))
    assert 'has changed since: issue was "It is slow."; now "It is very slow. xxx' in fault.what
    assert fault.what.endswith('x…"')
    assert len(fault.what) < 200
    assert "updates" not in facts(BASE, BASE.latest)["incident"]


def offered(person: str, minute: int = 0) -> Handover:
    return Handover(person, "dana", AT + minute * MINUTE)


def taken(person: str, minute: int = 0) -> Handover:
    """Return a hand-over that was offered at a minute, and taken in the next one."""
    at = AT + minute * MINUTE
    return Handover(person, "dana", at, taken_by=person, taken_at=at + MINUTE)


@cases("""
    happened    | owner | backup | waits_for
                | dana  | sam    |        # the file's own words
    alex?       | dana  | sam    | alex   # until it is taken the earlier owner is
    alex        | alex  | sam    |
    alex? kim?  | dana  | sam    | kim    # the second offer replaces the first
    alex? kim   | kim   | sam    |        # taken by another: no offer
    alex kim?   | alex  | sam    | kim
    alex kim    | kim   | sam    |
    sam         | sam   | dana   |        # the backup takes over: two people stay two
    sam dana    | dana  | sam    |
    dana        | dana  | sam    |        # taken by its owner: nothing moves
    dana?       | dana  | sam    |        # offered to its owner: nothing waits
""")
def test_who_is_on_duty(happened: str, owner: str, backup: str, waits_for: str) -> None:
    """What was offered has a question mark; what was not was taken, five minutes after the one before."""
    steps = enumerate(happened.split())
    handovers = [(offered if name[-1] == "?" else taken)(name.strip("?"), 5 * n) for n, name in steps]
    found = who_is_on_duty("dana", "sam", handovers)
    assert (found.owner, found.backup) == (owner, backup)
    assert (found.offered.person if found.offered else "") == waits_for


def test_an_incident_without_an_owner_can_be_taken_and_a_later_owner_in_the_file_counts() -> None:
    assert who_is_on_duty(None, None, [taken("sam")]) == OnDuty("sam", None)
    assert who_is_on_duty(None, "sam", [taken("sam")]) == OnDuty("sam", None)
    for handover, owner in ((taken("sam"), "kim"), (offered("sam"), "kim"), (taken("sam", 40), "sam")):
        assert who_is_on_duty("kim", None, [handover], owner_since=AT + 30 * MINUTE) == OnDuty(owner, None)


def owned(*owners: str | None, named: int = 1) -> Incident:
    """Return an incident whose updates have these owners; update `named` names its own."""
    pairs = enumerate(owners, 1)
    return incident_of(*(update_of(n, owner=owner, owner_named=n == named) for n, owner in pairs))


def test_the_file_names_an_owner_anew_where_an_update_does() -> None:
    """dana lost it to sam: whom the file names after that has it, another one or the same one again."""
    once = owned(None, None, None), owned("dana", "dana", "dana")
    anew = owned("dana", "kim", "kim"), owned("dana", "dana", "dana", named=2)
    assert [owner_since(each) for each in (*once, *anew)] == [None, None, at(10), at(10)]
    owners = [on_duty_for(each, [taken("sam", 5)]).owner for each in (*once, *anew)]
    assert owners == ["sam", "sam", "kim", "dana"]
    assert {on_duty_for(each, [taken("sam", 10)]).owner for each in (*once, *anew)} == {"sam"}


def ticks(*apart: float) -> Sequence[datetime]:
    return [AT + minutes * MINUTE for minutes in accumulate(apart, initial=0.0)]


DRIFTS: dict[str, tuple[Sequence[float], int, int]] = {
    "cron": ([1] * 30, 1, 1),
    "of few the worst is the latest": ([5, 5, 17, 5, 5, 8], 5, 17),
    "of many the two latest of a hundred do not count": ([1] * 97 + [7, 1, 9], 1, 1),
    "but one in ten does": ([5] * 90 + [17] * 10, 5, 17),
    "a machine that slept is a gap": ([5, 5, 5, 5, 480, 5], 5, 5),
    "hourly ticks are no gaps": ([60, 62, 70, 90, 61], 62, 90),
    "two hosts at once are one": ([5, *[0.05, 4.95] * 3, 0.05], 5, 5),
}


def test_typical_and_worst_and_too_few_ticks_tell_nothing() -> None:
    for rule, (apart, typical, worst) in DRIFTS.items():
        found = drift_of(ticks(*apart))
        assert found is not None, rule
        assert (found.typical, found.worst) == (typical * MINUTE, worst * MINUTE), rule
    assert {drift_of(ticks(*apart)) for apart in ([], [1], [1, 1, 1], [0.1] * 10)} == {drift_of([])} == {None}
    found = drift_of(ticks(5, 5, 480, 5, 5, 600), ["b", "a", "b"])
    assert found == Drift(5 * MINUTE, 5 * MINUTE, 6, 2, 600 * MINUTE, ("b", "a"))


def test_every_promise_shorter_than_ticks_can_keep_is_named() -> None:
    drift = Drift(5 * MINUTE, timedelta(minutes=16, seconds=40))
    assert (drift.hold_before, drift.shortest_promise) == (17 * MINUTE, 20 * MINUTE)
    own = {"first": "10m", "every": "15m", "after_2h": "60m", "board": "10m"}
    config = config_of(cadence={"1": own, "3": {"every": "20m"}})
    assert not_kept(drift, config) == ("cadence.1.every = 15m", "cadence.1.board = 10m")
    assert not_kept(Drift(MINUTE, 2 * MINUTE), config) == ()
    only = config_of(audiences={"customers": {"recipients": "c.csv", "severities": [1]}})
    assert not_kept(Drift(20 * MINUTE, 25 * MINUTE), only) == ("cadence.1.every = 20m",)
