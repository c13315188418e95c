"""What a nudge says: the values for its templates, and the JSON for [nudge] command."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from socket import gethostname
from typing import Any

from commcast.config.settings import Config
from commcast.model.incident import Incident, Kind
from commcast.model.text import as_sentence
from commcast.model.times import moment, spoken_duration
from commcast.oncall.nudges import Nudge

_HINTS = {
    "promise": "If nothing has changed, just say so.",
    "late": "Say where things stand, even if nothing has changed.",
    "untold": "Every tick tries again, and commcast log says why. This tries now.",
    "provider": "Every tick tries again.",
    "held": "Say where things stand: your update takes over.",
    "draft": "Nothing goes out until somebody confirms it.",
    "estimate": "Tell readers what to expect now.",
    "broken file": "This lists every error.",
    "handover": "Nothing changes until it's taken.",
    "taken": "This shows where it stands.",
}

_DRAFT = "A draft is waiting to be sent"


def nudge_context(
    config: Config, incident: Incident, nudge: Nudge, on_duty: str, now: datetime
) -> dict[str, Any]:
    """Return what the templates of a nudge may use: plain JSON values, times in the organisation's zone."""
    latest = incident.latest
    return {
        "organisation": {"name": config.organisation.name},
        "incident": {
            "id": incident.id,
            "title": incident.title_as_of(),
            "label": f"SEV-{latest.severity} " if incident.kind is Kind.INCIDENT else "",
        },
        "nudge": {
            "headline": headline(config, nudge, now),
            "subject": headline(config, nudge, now, "short"),
            "lead": _lead(config, nudge, now, "long"),
            "lead_sms": _lead(config, nudge, now, "short"),
            "on_duty": on_duty,
            "hint": _HINTS[nudge.why],
            "paste": "paste and complete" if "…" in nudge.line else "paste",
            "line": nudge.line,
            "line_sms": nudge.line.replace("…", "..."),
            "host": gethostname(),
            "folder": str(config.folder.absolute()),
        },
    }


def command_document(
    config: Config, incident: Incident, nudge: Nudge, context: dict[str, Any], people: Sequence[str]
) -> dict[str, Any]:
    """Return what the command of [nudge] reads: one stable, versioned document."""
    told = context["nudge"]
    return {
        "commcast": "nudge",
        "version": 1,
        "id": nudge.id,
        "why": nudge.why,
        "organisation": config.organisation.name,
        "incident": incident.id,
        "title": incident.title_as_of(),
        "severity": incident.latest.severity,
        "people": list(people),
        "deadline": nudge.deadline.isoformat() if nudge.deadline else None,
        "audiences": list(nudge.audiences),
        "text": told["headline"],
        "command": nudge.line,
        **{key: told[key] for key in ("host", "folder")},
    }


def headline(config: Config, nudge: Nudge, now: datetime, form: str = "long") -> str:
    """Return in one sentence what is due; `form` is `short` for a text, else `long`."""
    if nudge.deadline is None:
        return nudge.note or _DRAFT
    shown = moment(nudge.deadline, config.zone, now)
    by = shown["short"] + (f" ({shown['utc']})" if form == "long" and shown["utc"] else "")
    left = nudge.deadline - now
    away = f"in {spoken_duration(left)}" if left > timedelta() else f"{spoken_duration(-left)} ago"
    going = f"Nobody has written, so an automatic statement goes to {_listed(nudge.held)} before {by}"
    if left <= timedelta():
        going = f"Nobody wrote by {by}, so an automatic statement goes to {_listed(nudge.held)}, late"
    return {
        "draft": f"{_DRAFT}; the first message {'is' if left > timedelta() else 'was'} due by {by}, {away}",
        "promise": f"An update is due by {by}" + (f", {away}" if form == "long" else ""),
        "held": going,
        "late": f"The update promised by {by} is {spoken_duration(-left)} late",
        "estimate": f"Our estimate of {by} has passed",
    }[nudge.why]


def _lead(config: Config, nudge: Nudge, now: datetime, form: str) -> str:
    """Return what is due, who is waiting, and what they get if nobody writes."""
    said = headline(config, nudge, now, form)
    if nudge.why in {"promise", "late"} and nudge.audiences:
        several = len(nudge.audiences) > 1 or nudge.audiences[0].endswith("s")
        said += f"; {_listed(nudge.audiences)} {'are' if several else 'is'} waiting"
    note = nudge.note if nudge.deadline is not None else ""
    return " ".join(filter(None, map(as_sentence, (said, _if_nobody_writes(config, nudge, now), note))))


def _if_nobody_writes(config: Config, nudge: Nudge, now: datetime) -> str:
    left = [name for name in nudge.audiences if name not in nudge.held]
    if nudge.why == "held" and left:
        return f"Unless you write, nothing goes to {_listed(left)} and that promise is broken"
    if nudge.why != "promise":
        return ""
    if nudge.held_at is None:
        return "Unless you write, they get nothing and the promise is broken"
    at = f"{max(nudge.held_at, now).astimezone(config.zone):%H:%M}"
    if not left:
        return f"An automatic statement goes to them at {at} unless you write"
    both = f"{_listed(nudge.held)} at {at}, but nothing to {_listed(left)}"
    return f"Unless you write, an automatic statement goes to {both}"


def _listed(names: Sequence[str]) -> str:
    """Return names as a sentence has them: "customers, partners and support"."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
