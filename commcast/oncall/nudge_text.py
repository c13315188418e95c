"""What a nudge says: the values for its templates, and the JSON for [nudge] command."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from socket import gethostname
from typing import Any

from commcast.config.settings import Config
from commcast.model.incident import Incident, Kind
from commcast.model.times import moment, spoken_duration
from commcast.oncall.nudges import Nudge

_HINTS = {
    "promise": "If nothing is new, say just that. Paste this and finish the sentence:",
    "late": "Say where things stand, even if nothing is new. Paste this and finish the sentence:",
    "untold": "Every tick tries again; commcast log says why. To try now:",
    "provider": "Every tick tries again. To look closer:",
    "held": "Say where things stand; your update takes over. Paste this and finish the sentence:",
    "draft": "Nothing is sent until somebody says yes:",
    "estimate": "Tell readers what to expect now:",
    "broken file": "Nothing new is sent from it until it is fixed. This lists every error:",
    "handover": "Nothing changes until somebody takes it:",
    "taken": "Where it stands:",
}

_DRAFT = "A draft is waiting for a yes"


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
            "headline": headline(config, nudge, now, "both"),
            "headline_sms": headline(config, nudge, now, "sms"),
            "waiting": ", ".join(nudge.audiences),
            "says": _says(nudge),
            "on_duty": on_duty,
            "hint": _hint(nudge),
            "line": nudge.line,
            "line_sms": nudge.line.replace("…", "..."),
            "host": gethostname(),
            "folder": str(config.folder.absolute()),
        },
    }


def _hint(nudge: Nudge) -> str:
    """Return what to do with the line; only one with "…" has to be completed."""
    hint = _HINTS[nudge.why]
    return hint if "…" in nudge.line else hint.replace(" and finish the sentence", "")


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


def headline(config: Config, nudge: Nudge, now: datetime, form: str = "both") -> str:
    """Return in one sentence what is due; `form` is how its time is written (`model.times.moment`)."""
    if nudge.deadline is None:
        return nudge.note or _DRAFT
    by = moment(nudge.deadline, config.zone, now)[form]
    left = nudge.deadline - now
    some = "" if set(nudge.audiences) <= set(nudge.held) else " to some"
    away = f"in {spoken_duration(left)}" if left > timedelta() else f"{spoken_duration(-left)} ago"
    held = f"Nobody wrote: a holding statement goes out{some} before {by}"
    if left <= timedelta():
        held = f"Nobody wrote by {by}: a holding statement goes out late{some}"
    return {
        "draft": f"{_DRAFT}; the first message {'is' if left > timedelta() else 'was'} due by {by}, {away}",
        "promise": f"An update is due by {by}, {away}",
        "held": held,
        "late": f"The promise of {by} is broken, {away}",
        "estimate": f"Our estimate of {by} has passed",
    }[nudge.why]


def _says(nudge: Nudge) -> list[str]:
    """Return the nudge's note, and what those who wait get if nobody writes."""
    found = [nudge.note] if nudge.note and nudge.deadline is not None else []
    left = [name for name in nudge.audiences if name not in nudge.held]
    if nudge.why == "promise" and not nudge.held:
        found.append("If nobody writes, nothing is sent and the promise is broken.")
    elif nudge.why == "promise":
        found.append("If nobody writes, a holding statement is sent automatically shortly before.")
    if nudge.held and left and nudge.why in {"promise", "held"}:
        found.append(f"It only goes to: {', '.join(nudge.held)}")
        found.append(f"Unless you write, these get nothing and the promise is broken: {', '.join(left)}")
    return found
