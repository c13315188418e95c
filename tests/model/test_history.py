"""History: which promises still stand, and that a release is a yes to these very words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from commcast.model.history import Heard, NewestRelease, audience_progress
from commcast.model.incident import AudienceWords, Status, Timeframe, Window
from commcast.model.release import changed, digest, drafts, facts
from tests.support.values import AT, incident_of, released, story, update_of


def at(minute: int) -> datetime:
    return AT + timedelta(minutes=minute)


def update(number: int, promised: int | None = None, **more: int | str) -> Heard:
    """Return an update that two of the audience were told, with its promise in minutes after AT."""
    given = {"notice": f"update:{number}", "channel": "email", "told": 2, **more}
    by = None if promised is None else at(promised)
    return Heard(number=number, at=at(10 * number) if given["told"] else None, promised=by, **given)  # type: ignore[arg-type]


def holding(number: int, promised: int, **more: int | str) -> Heard:
    return update(number, promised, notice=f"holding:{promised}", **more)


def text(number: int, promised: int) -> Heard:
    return update(number, promised, notice=f"holding:{promised}/customers", channel="sms")


def sms(number: int, promised: int, **more: int) -> Heard:
    return update(number, promised, channel="sms", **more)


OPEN, SECOND, ENDED = NewestRelease(1, False), NewestRelease(2, False), NewestRelease(2, True)
FIRST = update(1, 20)
STANDS: dict[str, tuple[list[Heard], NewestRelease, int | None]] = {
    "nothing": ([], OPEN, None),
    "what was said stands": ([FIRST], OPEN, 20),
    "what reached nobody promises nothing": ([update(1, 20, told=0, waits=2)], OPEN, None),
    "newer words take its place": ([FIRST, update(2, 40)], SECOND, 40),
    "a holding statement does, too": ([FIRST, holding(1, 40)], OPEN, 40),
    "and a human after it": ([FIRST, holding(1, 40), update(2, 60)], SECOND, 60),
    "the earliest of its channels": ([FIRST, sms(1, 25)], OPEN, 20),
    "a mail keeps what mails promised": ([FIRST, sms(1, 120), update(2, 40)], SECOND, 40),
    "and not what a text promised to who gets no mail": ([FIRST, sms(1, 30), update(2, 40)], SECOND, 30),
    "a text keeps that": ([FIRST, sms(1, 15), text(1, 90), update(2)], SECOND, 90),
    "not while one reader still waits for it": ([sms(1, 15), sms(2, 90, waits=1)], SECOND, 15),
    "and keeps nothing that mails promised": ([FIRST, sms(1, 15), text(1, 90)], OPEN, 20),
    "refused by everybody: it stands": ([FIRST, update(2, 40, told=0)], SECOND, 20),
    "it waits: it stands": ([FIRST, update(2, 40, told=0, waits=2)], SECOND, 20),
    "one reader still waits": ([FIRST, update(2, 40, waits=1)], SECOND, 20),
    "released, but nobody was told": ([FIRST], SECOND, 20),
    "the end promises nothing": ([FIRST, update(2)], ENDED, None),
    "the end is not told to everybody": ([FIRST, update(2, waits=1)], ENDED, 20),
    "the end waits to be told": ([FIRST, update(2, told=0, waits=2)], ENDED, 20),
    "the end waits for the morning": ([FIRST, update(2, told=0, held=2)], ENDED, 20),
    "nobody is left to hear the end": ([FIRST], ENDED, None),
    "told elsewhere": ([FIRST], NewestRelease(2, False, elsewhere=True), None),
}


@pytest.mark.parametrize(("heard", "newest", "promised"), STANDS.values(), ids=STANDS.keys())
def test_a_promise_stands_until_something_newer_is_told(
    heard: Sequence[Heard], newest: NewestRelease, promised: int | None
) -> None:
    found = audience_progress("customers", heard, newest)
    assert found.promised == (None if promised is None else at(promised))
    assert found.is_late(at(100)) is (promised is not None)


def test_the_newest_notice_that_reached_somebody_is_what_it_was_told() -> None:
    heard = [update(1, 20), holding(1, 40), holding(1, 40, channel="sms"), update(2, 60, told=0, waits=3)]
    found = audience_progress("customers", heard, SECOND)
    assert (found.notice, found.channels, found.told_at, found.waits) == (
        "holding:40",
        ("email", "sms"),
        at(10),
        3,
    )


def test_who_only_gets_texts_was_told_by_the_text_that_kept_a_promise() -> None:
    """It is the last word to an audience without mail; one with mail knows newer words, or these as well."""
    first, kept = update(1, 15, channel="sms"), text(2, 90)
    found = audience_progress("customers", [first, kept], SECOND)
    assert (found.notice, found.number, found.told_at) == ("holding:90/customers", 2, at(20))
    assert found.promised == at(90)
    found = audience_progress("customers", [update(1, 20), first, kept], SECOND)
    assert (found.notice, found.told_at) == ("update:1", at(10))


# --- release ------------------------------------------------------------------------------------------------

BASE = incident_of(update_of(1, ended=None))


def digest_with(update: dict[str, Any], **more: Any) -> str:
    """Return the digest of BASE with other values in its update, or in the incident itself."""
    other = incident_of(update_of(1, **update), **more)
    return digest(other, other.latest)


@pytest.mark.parametrize(
    "update",
    [
        {"at": AT + timedelta(minutes=1)},
        {"status": Status.MONITORING},
        {"severity": 2},
        {"affected": ("api",)},
        {"audiences": ("board",)},
        {"timeframe": Timeframe(latest=AT)},
        {"next_update": AT + timedelta(minutes=5)},
        {"words": {"board": AudienceWords(issue="x")}},
        {"window": Window(start=AT, end=AT + timedelta(hours=1))},
        {"ended": AT},
        *(
            {key: "x"}
            for key in ("issue", "resolution", "scope", "action", "nothing_new", "fixed", "remains")
        ),
        *({key: "x"} for key in ("if_it_persists", "because", "wrong", "right", "merged_into")),
    ],
    ids=lambda update: next(iter(update)),
)
def test_all_that_a_reader_may_get_is_in_the_digest(update: dict[str, Any]) -> None:
    assert digest_with(update) != digest(BASE, BASE.latest)


@pytest.mark.parametrize("more", [{"title": "Other"}, {"started": AT - timedelta(hours=1)}])
def test_the_incidents_own_words_are_in_the_digest(more: dict[str, Any]) -> None:
    assert digest_with({}, **more) != digest(BASE, BASE.latest)


def test_what_no_reader_gets_may_change() -> None:
    inner = {"internal": "db-eu-3", "owner": "dana", "owner_named": True, "backup": "sam", "line": 99}
    assert digest_with({**inner, "at_written": False}) == digest(BASE, BASE.latest)
    assert digest_with({}, id="web1", path="incidents/web1.yaml", dedupe_key="k") == digest(BASE, BASE.latest)


def test_every_field_of_an_update_was_thought_of() -> None:
    """A new field is published and so in the digest, unless it is named as internal here and there."""
    from commcast.model.release import _NOT_PUBLISHED

    assert set(type(BASE.latest).model_fields) >= _NOT_PUBLISHED
    internal = {"internal", "owner", "owner_named", "backup", "number", "line", "at_written"}
    assert internal == _NOT_PUBLISHED


def test_a_released_update_that_is_as_it_was_is_no_fault() -> None:
    two = story(Status.INVESTIGATING, Status.IDENTIFIED)
    assert changed(two, released(two, 1, 2)) == []
    assert changed(two, {}) == []


def test_a_released_update_that_changed_or_is_gone_is_named_with_its_line() -> None:
    three = story(Status.INVESTIGATING, Status.IDENTIFIED, Status.MONITORING)
    now = incident_of(three.update(1), update_of(2, issue="Cards work."))
    faults = changed(now, released(three, 3, 2, 1))
    assert [(fault.line, fault.what.partition(" was")[0]) for fault in faults] == [
        (7, "update 2"),
        (0, "update 3"),
    ]
    assert all("put it back as it was" in fault.remedy for fault in faults)


def test_drafts_are_what_nobody_released() -> None:
    three = story(Status.INVESTIGATING, Status.IDENTIFIED, Status.MONITORING)
    assert drafts(three, [2]) == (1, 3)
    assert drafts(three, released(three, 1, 2, 3)) == ()


def test_facts_hold_what_was_known_then() -> None:
    found = facts(BASE, BASE.latest)
    assert found["incident"]["title"] == "Cards fail"
    assert "updates" not in found["incident"]
    assert found["update"]["issue"] == "Cards fail."


def test_a_changed_release_says_how_it_was() -> None:
    then = incident_of(update_of(1, issue="It is slow."))
    now = incident_of(update_of(1, issue="It is very slow. " + "x" * 100))
    (fault,) = changed(now, released(then, 1), lambda _number: facts(then, then.latest))
    assert 'has changed since: issue was "It is slow."; now "It is very slow. xxx' in fault.what
    assert fault.what.endswith('x…"')
    assert len(fault.what) < 200
