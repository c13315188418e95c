"""The words of a pass: what it did over each incident, whom it woke, and the same as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from commcast.cli.outcomes import trouble_document
from commcast.cli.status_words import notice_in_words
from commcast.errors import CommcastError, ExitCode

if TYPE_CHECKING:
    from commcast.delivering import Delivered
    from commcast.nudging import Nudged
    from commcast.plan.nudging import Nudge
    from commcast.tick import Ticked


def nudged_in_words(nudged: Nudged) -> str:
    """Return who was woken and for what."""
    why = why_in_words(nudged.nudges)
    text = f"nudged {' and '.join(nudged.people)}: {why}" if nudged.people else f"nudged: {why}"
    came = delivered_in_words(nudged.delivered) if nudged.delivered else ""
    return f"{text} ({came})" if came else text


def why_in_words(nudges: Iterable[Nudge]) -> str:
    """Return what somebody is woken for, each reason once."""
    return " and ".join(dict.fromkeys(_WHY[nudge.why] for nudge in nudges))


_WHY = {
    "promise": "word is due",
    "late": "a promise is broken",
    "held": "a holding statement goes out",
    "draft": "a draft waits",
    "estimate": "an estimate has passed",
    "broken file": "its file is broken",
    "handover": "it is offered to somebody else",
    "taken": "it was taken over",
}


def delivered_in_words(delivered: Delivered) -> str:
    """Return what one run did over an incident, "" for nothing."""
    parts = [f"{count} {kind}" for kind, count in sorted(delivered.outcomes.items()) if kind != "not_taken"]
    if delivered.lost:
        parts.append(f"{delivered.lost} unknown: an earlier run ended before the answer came")
    if delivered.held_back:
        all_of_them = "nobody hears it: all " if delivered.nobody_heard else ""
        parts.append(f"{all_of_them}{delivered.held_back} had as many messages as an hour allows")
    if delivered.expired:
        parts.append(f"{delivered.expired} not told: the promise in their words had passed")
    if left := delivered.waiting - delivered.planned:
        parts.append(f"{left} waiting")
    if delivered.planned and delivered.planned_at:
        parts.append(f"{delivered.planned} to follow at {delivered.planned_at:%H:%M} UTC")
    if delivered.stopped_by and delivered.waiting:
        parts.append(f"stopped by {delivered.stopped_by}")
    for each in delivered.taken_over:
        parts.append(f"{each.provider} took no more ({each.why}), {each.by} took over the rest")
    for trouble in delivered.troubles:
        parts.append(f"{trouble.provider} {'refuses us' if trouble.refuses else 'is down'}: {trouble.why}")
    about = dict.fromkeys(notice_in_words(notice, number) for notice, number in delivered.frozen)
    return f"{', '.join(about)}: {', '.join(parts)}" if about and parts else ", ".join(parts)


def as_document(ticked: Ticked, code: ExitCode) -> dict[str, Any]:
    """Return what a pass did as JSON."""
    return {
        "incidents": {
            **{name: _nothing(stopped_by) for name, stopped_by in ticked.quiet.items()},
            **{name: _outcomes(done) for name, done in ticked.delivered.items()},
        },
        "nudged": {
            name: {"nudges": [nudge.id for nudge in nudged.nudges], "unreached": nudged.unreached}
            for name, nudged in ticked.nudged.items()
        },
        "faults": {path: str(error).splitlines() for path, error in ticked.errors.items()},
        "exit_code": int(code),
    }


def _outcomes(delivered: Delivered) -> Mapping[str, Any]:
    return {
        "outcomes": {str(kind): count for kind, count in delivered.outcomes.items()},
        "lost": delivered.lost,
        "waiting": delivered.waiting,
        "planned": delivered.planned,
        "stopped_by": delivered.stopped_by,
        **trouble_document(delivered),
    }


def _nothing(stopped_by: str) -> Mapping[str, Any]:
    return {
        "outcomes": {},
        "lost": 0,
        "waiting": 0,
        "planned": 0,
        "stopped_by": stopped_by,
        "troubles": [],
        "taken_over": [],
    }


def fault_in_words(path: str, error: CommcastError) -> str:
    text = str(error)
    return text if path in text else f"{path}: {text}"
