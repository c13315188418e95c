"""One story told in full, and with all that is optional left out, to test the shipped templates with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from commcast.config.settings import Config
from commcast.model.history import History, Said
from commcast.model.incident import (
    SENTENCES,
    Channel,
    Incident,
    Kind,
    Recipient,
    Status,
    Timeframe,
    Update,
    Window,
)
from commcast.model.release import Release, digest
from commcast.rendering.colours import brand_facts

AT = datetime(2026, 11, 21, 9, 5, tzinfo=UTC)

CONFIG = {
    "organisation": {"name": "Acme Pay", "zone": "Europe/Berlin"},
    "audiences": {
        "customers": {"recipients": "c.csv", "rank": 9, "channels": ["email", "sms"], "severities": [1, 2]},
        "support": {"recipients": "s.csv", "rank": 1, "view": "internal"},
        "board": {"recipients": "b.csv", "rank": 1, "severities": [1]},
    },
    "channels": {"email": {"from": "status@acme.example"}, "sms": {"quiet": "21:00-08:00"}},
}

READER = Recipient(2, email="Ann@example.com", email_key="ann@example.com", phone="+4915112345671")


def rows(table: str) -> list[list[str]]:
    """Return the cells of a table written as text: a row a line, | between the cells."""
    return [[cell.strip() for cell in line.split("|")] for line in table.strip().splitlines()]


def cases(table: str) -> pytest.MarkDecorator:
    """Parametrize a test over such a table: its first row names the arguments, " # " begins a comment."""
    names, *found = rows("\n".join(line.partition(" # ")[0] for line in table.splitlines()))
    return pytest.mark.parametrize(names, found)


def config_of(**changed: Any) -> Config:
    """Return the configuration with whole tables replaced."""
    return Config.model_validate({**CONFIG, **changed})


def update_of(number: int, status: Status = Status.IDENTIFIED, **more: Any) -> Update:
    """Return update `number`, ten minutes after the one before it."""
    said: dict[str, Any] = {"at": AT + timedelta(minutes=10 * (number - 1)), "severity": 1}
    said |= {"line": 5 + number, "at_written": True, "timeframe": Timeframe()}
    said |= {"issue": "Cards fail.", "resolution": "We roll back."}
    return Update(number=number, status=status, **{**said, **more})


def incident_of(*updates: Update, **more: Any) -> Incident:
    """Return an incident that said these updates."""
    said = {"id": "pay7", "path": "incidents/pay7.yaml", "title": "Cards fail", "started": AT, **more}
    return Incident(updates=updates, **said)


def story(*statuses: Status, severities: tuple[int, ...] = ()) -> Incident:
    """Return an incident that went through these statuses."""
    planned, start = Status.SCHEDULED in statuses, AT + timedelta(days=1)
    window = Window(start=start, end=start + timedelta(hours=2)) if planned else None
    said = enumerate(zip(statuses, severities or (1,) * len(statuses), strict=True), 1)
    updates = (update_of(n, status, severity=severity, window=window) for n, (status, severity) in said)
    return incident_of(*updates, kind=Kind.MAINTENANCE if planned else Kind.INCIDENT)


def released(incident: Incident, *numbers: int, how: str = "yes") -> dict[int, Release]:
    """Return releases of these updates, as they stand in the incident now."""
    digests = {number: digest(incident, incident.update(number)) for number in numbers}
    return {number: Release("pay7", number, found, AT, how, "dana") for number, found in digests.items()}


def standing_of(
    incident: Incident, *numbers: int, told: int = 0, how: str = "yes", begun: frozenset[Any] = frozenset()
) -> History:
    """Return what is known where these updates were released, and all channels spoke up to `told`."""
    said = [Said(f"update:{told}", told, by, "customers", AT, None) for by in Channel if told]
    up_to = dict.fromkeys(Channel, told) if told else {}
    return History(released(incident, *numbers, how=how), begun, up_to, tuple(said))


AUDIENCES = ("customers", "executives", "support", "partners", "internal")
PUBLIC = ("customers", "partners")
# What a subject begins with, and the status it is sent at.
MOMENTS = {
    name: (status, label)
    for name, status, label in rows("""
        expected      | expected      | Expected
        first_notice  | investigating | Investigating
        update        | investigating | Update
        found         | identified    | Identified
        monitoring    | monitoring    | Monitoring
        no_change     | identified    | Update
        unconfirmed   | scheduled     | Update
        correction    | identified    | Correction
        resolved      | resolved      | Resolved
        reopened      | reopened      | Back again
        false_alarm   | retracted     | False alarm
        merged        | merged        | Update
        planned_work  | scheduled     | Planned work
        reminder      | scheduled     | Reminder
        started       | in_progress   | Started
        checking      | verifying     | Update
        finished      | completed     | Finished
        new_time      | rescheduled   | New time
        taking_longer | extended      | Taking longer
        cancelled     | cancelled     | Cancelled
        check_in      | resolved      | How is it now?
        review        | resolved      | Review
        """)
}
PLANNED = (
    *("unconfirmed", "planned_work", "reminder", "started", "checking", "finished", "new_time"),
    *("taking_longer", "cancelled"),
)
FOLLOW_UPS = ("check_in", "review")  # after the end, by email only
ENDS = ("resolved", "false_alarm", "merged", "finished", "cancelled", *FOLLOW_UPS)

Context = dict[str, Any]
UNTIMED = dict.fromkeys(("earliest", "latest", "span"))
WORDS: dict[bool, Context] = {  # by whether it is planned work
    False: {
        "issue": "Some EU customers see an error when they pay by card.",
        "resolution": "We're rolling back the 09:45 release and checking that payments recover.",
        "action": "Please don't pay twice; we show pending payments under Orders.",
        "scope": "card payments in the EU",
        "works": "bank transfer and PayPal",
        "data": "no payment is lost",
    },
    True: {
        "issue": "Card payments pause for up to 10 minutes within this time.",
        "resolution": "We're moving the payment database to new hardware.",
        "action": "Please run your payouts before 22:00 CET.",
        "scope": "all merchants in the EU",
        "works": "refunds and reports",
        "data": "nothing changes",
    },
}
# What an end may say besides, and what it is true of.
AT_THE_END = {
    "fixed": "We rolled back the 09:45 release.",
    "remains": "Receipts of the last two hours arrive by tonight.",
    "change": "Releases now go to 1% of payments first.",
}
INSIDE: Context = {"text": "db-eu-3 did not fail over; vendor case 88123", "severity": 1}
INSIDE |= {"severity_label": "SEV-1", "owner": "Dana Reyes", "components": ["payments-api"]}
CONTACT = {"reply_to": "help+pay7@acme.example", "phone": "+49 30 5550100", "hours": "Mon-Fri 08:00-18:00"}
CONTACT |= {"after_hours": ""}
DANA: Context = {"name": "Dana", "greeting": "Hello Dana,", "email": "dana@example.com", "locale": "en"}
DANA |= {"timezone": "Europe/Berlin", "tags": [], "components": [], "by_email": True, "level": "all"}
HOLDING: Context = {"age": "20 minutes", "step": 1, "unconfirmed": None}


def moment(clock: str, utc: str, day: str = "Sat 21 Nov 2026", *, later: bool = False) -> dict[str, str]:
    """Return a time in Berlin in all its forms; `later` writes the day into the short form as well."""
    return {
        "iso": f"2026-11-21T{clock}:00+01:00",
        "clock": f"{clock} CET",
        "short": f"{day[:-5]}, {clock} CET" if later else f"{clock} CET",
        "day": day[:-5],
        "full": f"{day}, {clock} CET ({utc} UTC)",
        "utc": f"{utc} UTC",
    }


def span(start: str, start_utc: str, end: str, end_utc: str, day: str = "") -> dict[str, str]:
    """Return a stretch of time on one day in Berlin in all its forms; `day` is written where it is given."""
    short, utc = f"{day[:-5]}, " if day else "", f"{start_utc} to {end_utc} UTC"
    return {
        "short": f"{short}{start}-{end} CET",
        "start": f"{short}{start}",
        "end": f"{end} CET",
        "full": f"{day or 'Sat 21 Nov 2026'}, {start} to {end} CET ({utc})",
        "utc": utc,
    }


def _window(start: str, start_utc: str, end: str, end_utc: str) -> dict[str, Any]:
    day = "Sun 29 Nov 2026"
    begins, ends = moment(start, start_utc, day, later=True), moment(end, end_utc, day, later=True)
    window = {"span": span(start, start_utc, end, end_utc, day), "start": begins, "end": ends}
    return {**window, "length": "1 hour 30 minutes", "has_begun": False, "is_over": False}


def _blank_update(status: str) -> Context:
    timeframe = {"known": False, "confidence": "low", "passed": False, **UNTIMED}
    said = {"number": 2, "status": status, "at": moment("10:05", "09:05"), "timeframe": timeframe}
    said |= dict.fromkeys(("first", "scope_unknown", "nothing_to_do"), False)
    said |= dict.fromkeys(("urgent", "in_parts", "own_words", "happened_own"), False)
    changed = ("unchanged_since", "severity_changed", "estimate_moved", "earlier_timeframe")
    optional = (*changed, "ended", "duration", "window", "previous_window", "expected", "link", "offer")
    return said | dict.fromkeys((*SENTENCES, *optional))


def _told_in_full(name: str) -> Context:
    late = {"earliest": moment("11:05", "10:05"), "latest": moment("12:05", "11:05")}
    late["span"] = span("11:05", "10:05", "12:05", "11:05")
    told: Context = {"timeframe": {"known": True, "confidence": "low", "passed": False, **late}}
    told |= {"if_it_persists": "Sign out, sign in again, then write to us."}
    told |= {"because": "The first check was wrong.", "cause": "a faulty release"}
    told |= {"link": "https://acme.example/status/pay7"}
    if name in ("resolved", "finished", *FOLLOW_UPS):
        told |= {"ended": moment("12:10", "11:10"), "duration": "2 h 18 min", **AT_THE_END}
    if name == "expected":
        told["expected"] = {"at": moment("12:00", "11:00"), "passed": False, "was": None}
    if name in PLANNED:
        told["window"] = _window("22:00", "21:00", "23:30", "22:30")
    if name in ("new_time", "taking_longer"):
        told["previous_window"] = _window("20:00", "19:00", "21:30", "20:30")
    return told


def _occasion(name: str) -> Context:
    """Return what makes a message one of this moment, besides its update."""
    if name in ("no_change", "unconfirmed"):
        unconfirmed = "start" if name == "unconfirmed" else None
        since, now = moment("10:05", "09:05"), moment("10:22", "09:22")
        return {"holding": {**HOLDING, "since": since, "now": now, "unconfirmed": unconfirmed}}
    if name == "merged":
        return {"merged_into": {"id": "net3", "title": "The network is slow"}}
    if name in FOLLOW_UPS:
        review = "https://acme.example/reviews/pay7"
        return {"follow_up": {"kind": name.replace("_", "-"), "review": review, "is_link": True}}
    wrong = {"at": moment("10:05", "09:05"), "wrong": "Refunds fail.", "right": "Refunds work."}
    makes: dict[str, Context] = {
        "reminder": {"reminder": {"ahead": "1 day"}},
        "correction": {"corrections": [wrong]},
    }
    return makes.get(name, {})


_TONES = dict.fromkeys(("resolved", "completed"), "good")
_TONES |= dict.fromkeys(("monitoring", "expected", "extended"), "watch")
_TONES |= {"cancelled": "calm"}


def full(audience: str, name: str, **changes: Any) -> Context:
    """Return the context of `audience` at a moment with every fact; `changes` go into the update."""
    planned, (status, _) = name in PLANNED, MOMENTS[name]
    update = _blank_update(status) | WORDS[planned] | _told_in_full(name) | changes
    update = {
        "happened": update["issue"],
        "did": update["fixed"],
        "told_customers": update["issue"],
        "came_back": None,
    } | update
    incident: Context = {"id": "pay7", "kind": "maintenance" if planned else "incident"}
    incident["title"] = "Payment database moves" if planned else "Card payments fail in the EU"
    incident |= {"started": moment("09:52", "08:52"), "started_known": True}
    is_public, is_end = audience in PUBLIC, name in ENDS
    context: Context = {
        "organisation": {"name": "Acme Pay", "status_url": "https://status.acme.example"},
        "brand": brand_facts(""),
        "contact": {**CONTACT},
        "incident": incident | {"affected": ["Card payments", "Refunds"], "affected_known": True},
        "planned": planned,
        "tone": _TONES.get(status, "plan" if planned else "calm" if is_end else "bad"),
        "update": update,
        "next_update_by": None if is_end else moment("10:25", "09:25"),
        "promised_at_start": False,
        "sent": moment("10:22", "09:22"),
        "next_word": None if is_end else "update",
        **dict.fromkeys(("held_back", "facts_from", "broken_promise", "holding", "reminder", "calendar")),
        **dict.fromkeys(("catch_up", "follow_up", "feedback", "merged_into")),
        "corrections": [],
        "audience": {"name": audience, "view": "public" if is_public else "internal", "public": is_public},
        "language": "en",
        "recipient": {**DANA},
    }
    return context | _occasion(name) | ({} if is_public else {"internal": {**INSIDE}})


def minimal(audience: str, name: str, **changes: Any) -> Context:
    """Return the same with everything that may be missing missing."""
    context = full(audience, name)
    needed = ("issue", "happened", "told_customers", "expected") + ("window",) * (name in PLANNED)
    kept = {key: context["update"][key] for key in needed} | {
        "did": None,
        "came_back": None,
        "resolution": "",
    }
    context["update"] = _blank_update(MOMENTS[name][0]) | kept | changes
    context["organisation"]["status_url"] = ""
    context["contact"] = dict.fromkeys(("reply_to", "phone", "hours", "after_hours"), "")
    context["incident"] |= {"started_known": False, "affected": [], "affected_known": False}
    context["recipient"] |= {"greeting": "Hello,", "by_email": False}
    context["recipient"] |= dict.fromkeys(("name", "locale", "timezone"), "")
    if "internal" in context:
        context["internal"] |= {"text": None, "owner": None, "components": []}
    return context
