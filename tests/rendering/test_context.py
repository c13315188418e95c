"""Each audience's context holds what it may see, in plain JSON; a public one holds nothing from inside."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commcast.config.settings import Config
from commcast.model.incident import (
    AudienceWords,
    Incident,
    Kind,
    Recipient,
    Status,
    Timeframe,
    Update,
    Window,
)
from commcast.rendering.context import NO_OCCASION, Occasion, build_context, recipient_values

BERLIN = ZoneInfo("Europe/Berlin")
AT = datetime(2026, 11, 21, 9, 5, tzinfo=UTC)
NEXT = AT + timedelta(minutes=20)
PUBLIC_KEYS = {
    "organisation",
    "contact",
    "incident",
    "update",
    "next_update_by",
    "next_word",
    "held_back",
    "facts_from",
    "broken_promise",
    "holding",
    "reminder",
    "calendar",
    "corrections",
    "catch_up",
    "follow_up",
    "feedback",
    "merged_into",
    "label",
    "audience",
    "locale",
}


def config() -> Config:
    return Config.model_validate(
        {
            "organisation": {"name": "Acme Pay", "zone": "Europe/Berlin", "status_url": "https://s.example"},
            "contact": {"reply_to": "help+{id}@acme.example", "phone": "+49 30 5550100"},
            "people": {"dana": {"name": "Dana Reyes"}},
            "components": {
                "payments-api": {"public": "Card payments"},
                "payments-db": {"public": "Card payments"},
            },
            "channels": {"email": {"from": "status@acme.example"}, "sms": {}},
            "audiences": {
                "customers": {"recipients": "a.csv", "channels": ["email", "sms"]},
                "texted": {"recipients": "a.csv", "channels": ["sms"]},
                "support": {"recipients": "b.csv", "view": "internal"},
            },
        }
    )


def update(**changes: Any) -> Update:
    fields: dict[str, Any] = {
        "number": 1,
        "line": 3,
        "at": AT,
        "at_written": True,
        "status": Status.INVESTIGATING,
        "severity": 2,
        "affected": ("payments-api", "payments-db"),
        "owner": "dana",
        "issue": "Some customers see an error.",
        "resolution": "We roll back.",
        "timeframe": Timeframe(),
    }
    return Update(**{**fields, **changes})


def incident(*updates: Update, **changes: Any) -> Incident:
    fields: dict[str, Any] = {
        "id": "pay7",
        "path": "incidents/pay7.yaml",
        "title": "Card payments fail",
        "started": AT - timedelta(minutes=13),
        "updates": updates,
    }
    return Incident(**{**fields, **changes})


def context(
    told: Update,
    *earlier: Update,
    audience: str = "customers",
    previous: Update | None = None,
    occasion: Occasion = NO_OCCASION,
    **changes: Any,
) -> dict[str, Any]:
    promise = None if told.is_end else told.at + timedelta(minutes=20)
    return build_context(
        config(),
        incident(*earlier, told, **changes),
        told,
        audience,
        zone=BERLIN,
        locale="en",
        first=not earlier,
        next_update_by=promise,
        previous=previous,
        occasion=occasion,
    )


def test_an_estimate_has_passed_by_the_clock_and_not_by_its_text() -> None:
    """In the autumn night 02:45+02:00 is before 02:30+01:00."""
    now = datetime(2026, 10, 25, 2, 45, tzinfo=timezone(timedelta(hours=2)))
    latest = datetime(2026, 10, 25, 2, 30, tzinfo=timezone(timedelta(hours=1)))
    told = update(at=now, timeframe=Timeframe(latest=latest))
    assert not context(told)["update"]["timeframe"]["passed"]
    later = Occasion(now=latest + timedelta(minutes=1))
    assert context(told, occasion=later)["update"]["timeframe"]["passed"]


def test_an_estimate_that_took_the_place_of_another_names_it() -> None:
    before = update(timeframe=Timeframe(latest=AT + timedelta(minutes=30)))
    told = update(number=2, at=AT + timedelta(hours=1), timeframe=Timeframe())
    earlier = context(told, before, previous=before)["update"]["earlier_timeframe"]
    assert earlier["passed"]
    assert earlier["latest"]["both"] == "10:35 CET (09:35 UTC)"
    same = update(number=2, timeframe=before.timeframe)
    assert context(same, before, previous=before)["update"]["earlier_timeframe"] is None


def test_a_public_context_has_the_public_keys_and_no_others() -> None:
    shown = context(update(internal="db-eu-3 is dead"))
    assert set(shown) == PUBLIC_KEYS
    assert shown["incident"]["affected"] == ["Card payments"]
    assert shown["contact"]["reply_to"] == "help+pay7@acme.example"
    assert shown["next_update_by"]["both"] == "10:25 CET (09:25 UTC)"


def test_an_internal_context_also_has_what_is_inside() -> None:
    shown = context(update(internal="db-eu-3 is dead"), audience="support")
    assert shown["internal"] == {
        "text": "db-eu-3 is dead",
        "severity": 2,
        "severity_label": "SEV-2",
        "owner": "Dana Reyes",
        "components": ["payments-api", "payments-db"],
    }
    assert set(shown) == {*PUBLIC_KEYS, "internal"}


SECRET = st.text("QXZJKV", min_size=6, max_size=12)


@given(SECRET, SECRET, SECRET, st.sampled_from(list(Status)))
def test_a_secret_from_inside_is_nowhere_in_a_public_context(
    internal: str, owner: str, component: str, status: Status
) -> None:
    told = update(
        internal=f"it is {internal}", owner=owner, backup=owner, affected=(component,), status=status
    )
    text = json.dumps(context(told))
    assert not any(secret in text for secret in (internal, owner, component, "incidents/"))
    inside = json.dumps(context(told, audience="support"))
    assert all(secret in inside for secret in (internal, owner, component))


@given(st.sampled_from(list(Status)))
def test_a_context_survives_json_unchanged(status: Status) -> None:
    shown = context(update(status=status, ended=AT, window=Window(start=AT, end=NEXT)))
    assert json.loads(json.dumps(shown)) == shown


def test_an_audience_reads_its_own_words_about_the_same_facts() -> None:
    told = update(words={"support": AudienceWords(issue="Card revenue is down 40%.")})
    other = context(told, audience="support")["update"]
    assert (other["issue"], other["resolution"]) == ("Card revenue is down 40%.", "We roll back.")
    assert context(told)["update"]["issue"] == "Some customers see an error."


@pytest.mark.parametrize(
    "status", [Status.RESOLVED, Status.RETRACTED, Status.MERGED, Status.COMPLETED, Status.CANCELLED]
)
def test_an_end_promises_no_next_update(status: Status) -> None:
    assert context(update(status=status))["next_update_by"] is None


def test_what_is_no_end_cannot_go_out_without_a_promise() -> None:
    told = update()
    with pytest.raises(ValueError, match="no next update"):
        build_context(
            config(),
            incident(told),
            told,
            "customers",
            zone=BERLIN,
            locale="",
            first=True,
            next_update_by=None,
            previous=None,
        )


@pytest.mark.parametrize(
    ("before", "now", "change"), [(3, 2, "worse"), (1, 2, "better"), (2, 2, None), (None, 2, None)]
)
def test_a_change_of_severity_is_told_against_what_was_heard_last(
    before: int | None, now: int, change: str | None
) -> None:
    previous = update(severity=before) if before else None
    assert context(update(severity=now), previous=previous)["update"]["severity_changed"] == change


def test_unchanged_since_looks_past_updates_that_had_no_news_either() -> None:
    second = update(number=2, at=AT + timedelta(minutes=20), nothing_new="still rolling back")
    third = update(number=3, at=AT + timedelta(minutes=40), nothing_new="rollback at 60%")
    shown = context(third, update(), second)["update"]
    assert shown["unchanged_since"]["clock"] == "10:05 CET"
    assert context(update())["update"]["unchanged_since"] is None


def test_an_estimate_is_shown_as_clock_times() -> None:
    frame = Timeframe(earliest=AT + timedelta(hours=1), latest=AT + timedelta(hours=2))
    shown = context(update(timeframe=frame))["update"]["timeframe"]
    assert (shown["known"], shown["confidence"]) == (True, "low")
    assert (shown["earliest"]["clock"], shown["latest"]["clock"]) == ("11:05 CET", "12:05 CET")
    assert shown["span"]["both"] == "11:05 to 12:05 CET (10:05 to 11:05 UTC)"
    unknown = context(update())["update"]["timeframe"]
    assert (unknown["known"], unknown["span"]) == (False, None)
    assert context(update(timeframe=Timeframe(latest=NEXT)))["update"]["timeframe"]["span"] is None


def test_duration_counts_from_the_beginning_not_from_our_first_word() -> None:
    told = update(status=Status.RESOLVED, ended=AT + timedelta(minutes=112))
    assert context(told)["update"]["duration"] == "2 hours 5 minutes"
    assert context(told)["incident"]["started_known"] is True


def test_a_start_that_nobody_wrote_gives_no_duration() -> None:
    told = update(status=Status.RESOLVED, ended=AT + timedelta(minutes=112))
    shown = context(told, started_written=False)
    assert (shown["incident"]["started_known"], shown["update"]["duration"]) == (False, None)


def test_components_without_a_public_name_are_given_but_not_named() -> None:
    shown = context(update(affected=("db-eu-3",)))["incident"]
    assert (shown["affected"], shown["affected_known"]) == ([], True)
    assert context(update(affected=()))["incident"]["affected_known"] is False


def test_a_maintenance_lasts_from_its_work_not_from_its_announcement() -> None:
    window = Window(start=AT + timedelta(days=2), end=AT + timedelta(days=2, hours=3))
    begun = update(number=2, status=Status.IN_PROGRESS, at=AT + timedelta(days=2, minutes=5), window=window)
    done = update(
        number=3,
        status=Status.COMPLETED,
        at=AT + timedelta(days=2, hours=2),
        ended=AT + timedelta(days=2, hours=2),
        window=window,
    )
    shown = context(done, update(status=Status.SCHEDULED), begun, kind=Kind.MAINTENANCE)["update"]
    assert shown["duration"] == "1 hour 55 minutes"
    assert shown["window"]["length"] == "3 hours"
    assert shown["window"]["span"]["sms"] == "10:05 to 13:05 CET"


def test_a_moved_window_shows_the_one_it_replaces() -> None:
    old, new = Window(start=AT, end=NEXT), Window(start=NEXT, end=NEXT + timedelta(hours=1))
    moved = context(update(window=new), previous=update(window=old))["update"]
    assert moved["previous_window"]["start"]["clock"] == "10:05 CET"
    assert context(update(window=new), previous=update(window=new))["update"]["previous_window"] is None


def test_a_readers_own_columns_stand_beside_ours_and_never_hide_them() -> None:
    reader = Recipient(line=2, email="d@x.example", name="Dana", extra={"plan": "gold", "name": "Eve"})
    values = recipient_values(reader, config().audiences["customers"])
    assert (values["plan"], values["name"], values["greeting"]) == ("gold", "Dana", "Hello Dana,")
    assert json.loads(json.dumps(values)) == values
    assert recipient_values(Recipient(line=2), config().audiences["customers"])["greeting"] == "Hello,"


@pytest.mark.parametrize(
    ("audience", "email", "expected"),
    [("customers", "d@x.example", True), ("customers", "", False), ("texted", "d@x.example", False)],
)
def test_by_email_is_true_only_where_mail_really_comes(audience: str, email: str, expected: bool) -> None:
    values = recipient_values(Recipient(line=2, email=email, phone="+491"), config().audiences[audience])
    assert values["by_email"] is expected
