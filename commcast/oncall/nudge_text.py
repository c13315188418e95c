"""What a nudge says: the facts for its templates, and the JSON for [nudge] command."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from commcast.config.settings import Config
from commcast.model.incident import Incident, Kind
from commcast.model.times import moment, spoken_duration
from commcast.oncall.nudges import Nudge

_HINTS = {
    "promise": "If nothing is new, say just that. Paste this and finish the sentence:",
    "late": "Say what is so now, even if nothing is new. Paste this and finish the sentence:",
    "held": "Say what is so now; any word of yours takes over. Paste this and finish the sentence:",
    "draft": "Nothing goes out before somebody says yes to it:",
    "estimate": "Say what readers may expect now:",
    "broken file": "Nothing new goes out of it before it is mended. This names every fault:",
    "handover": "Until somebody takes it, it stays where it was:",
    "taken": "Where it stands:",
}


def nudge_context(
    config: Config, incident: Incident, nudge: Nudge, on_duty: str, now: datetime
) -> dict[str, Any]:
    """Return what the templates of a nudge may use: plain JSON values, times in the organisation's zone."""
    latest = incident.latest
    return {
        "organisation": {"name": config.organisation.name},
        "incident": {
            "id": incident.id,
            "title": incident.title,
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
        },
    }


def _hint(nudge: Nudge) -> str:
    """Return what to do with the line; one without "…" is whole as it stands."""
    hint = _HINTS[nudge.why]
    return hint if "…" in nudge.line else hint.replace(" and finish the sentence", "")


def command_document(
    config: Config, incident: Incident, nudge: Nudge, context: dict[str, Any], people: Sequence[str]
) -> dict[str, Any]:
    """Return what the command of [nudge] reads: one stable document, versioned."""
    told = context["nudge"]
    return {
        "commcast": "nudge",
        "version": 1,
        "id": nudge.id,
        "why": nudge.why,
        "organisation": config.organisation.name,
        "incident": incident.id,
        "title": incident.title,
        "severity": incident.latest.severity,
        "people": list(people),
        "deadline": nudge.deadline.isoformat() if nudge.deadline else None,
        "audiences": list(nudge.audiences),
        "text": told["headline"],
        "command": nudge.line,
    }


def headline(config: Config, nudge: Nudge, now: datetime, form: str = "both") -> str:
    """Return in one sentence what is due; `form` is how its time is written (clocktimes.moment)."""
    if nudge.note and nudge.deadline is None:
        return nudge.note
    if nudge.deadline is None:
        return {"draft": "A draft waits for a yes"}.get(nudge.why, "Somebody is needed")
    by = moment(nudge.deadline, config.zone, now)[form]
    left = nudge.deadline - now
    some = "" if set(nudge.audiences) <= set(nudge.held) else " to some"
    if nudge.why == "held" and left <= timedelta():
        return f"Nobody wrote by {by}: a holding statement goes out late{some}"
    away = f"in {spoken_duration(left)}" if left > timedelta() else f"{spoken_duration(-left)} ago"
    return {
        "promise": f"Word is due by {by}, {away}",
        "held": f"Nobody wrote: a holding statement goes out{some} before {by}",
        "late": f"The promise of {by} is broken, {away}",
        "estimate": f"Our estimate of {by} has passed",
    }[nudge.why]


def _says(nudge: Nudge) -> list[str]:
    """Return what else is so, and what becomes of those who wait if nobody writes."""
    found = [nudge.note] if nudge.note and nudge.deadline is not None else []
    left = [name for name in nudge.audiences if name not in nudge.held]
    held, nothing = ", ".join(nudge.held), ", ".join(left)
    if nudge.why == "promise" and not nudge.held:
        found.append("If nobody writes, nothing goes out and the promise is broken.")
    elif nudge.why == "promise":
        found.append("If nobody writes, a holding statement goes out by itself shortly before.")
    if nudge.held and left and nudge.why in {"promise", "held"}:
        found.append(f"It goes only to: {held}")
        found.append(f"Without word from you these hear nothing, and the promise is broken: {nothing}")
    return found
