"""A report as one JSON document. Times are ISO 8601; lengths are whole seconds and say so in their names."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from commcast.report.figures import AudienceFigures, Estimate, Figures, Gap, Promise, worst_severity
from commcast.report.story import Nudged, Telling


def as_document(figures: Figures) -> dict[str, Any]:
    """Return all figures of one incident."""
    story = figures.story
    yes, no = story.feedback
    return {
        "incident": story.incident,
        "title": story.title,
        "kind": story.kind,
        "severity": worst_severity(story.stages),
        "status": story.stages[-1].status,
        "now": _at(story.now),
        "started": _at(story.started),
        "first_release": _at(story.first_release),
        "ended": _at(figures.ended),
        "down_seconds": _seconds(figures.down),
        "promises": {
            "made": len(figures.promises),
            "due": figures.due,
            "kept": figures.kept,
            "each": [_promise(each) for each in figures.promises],
        },
        "audiences": [_audience(each) for each in figures.audiences],
        "messages": [_telling(each) for each in story.tellings],
        "holding_statements": figures.holdings,
        "corrections": figures.corrections,
        "estimates": [_estimate(each) for each in figures.estimates],
        "deliveries": dict(figures.outcomes),
        "texts": {
            "count": figures.texts.count,
            "segments": figures.texts.segments,
            "exact": figures.texts.exact,
            "cost": figures.cost,
            "at_night": figures.texts_at_night,
        },
        "nudges": [_nudge(each) for each in figures.nudges],
        "feedback": {"yes": yes, "no": no},
        "postmortem": story.postmortem or None,
    }


def _audience(each: AudienceFigures) -> dict[str, Any]:
    return {
        "audience": each.name,
        "first_at": _at(each.first_at),
        "first_all_at": _at(each.first_all_at),
        "first_after_start_seconds": _seconds(each.from_start),
        "first_after_release_seconds": _seconds(each.from_release),
        "longest_silence": _gap(each.silence),
        "messages": each.messages,
        "deliveries": dict(each.outcomes),
        "texts_at_night": each.texts_at_night,
    }


def _gap(gap: Gap | None) -> dict[str, Any] | None:
    if gap is None:
        return None
    return {"start": _at(gap.start), "end": _at(gap.end), "seconds": _seconds(gap.length)}


def _promise(each: Promise) -> dict[str, Any]:
    return {
        "notice": each.notice,
        "audience": each.audience,
        "made_at": _at(each.made_at),
        "promised": _at(each.promised),
        "state": each.state.value,
        "share": round(each.share, 4),
        "readers": each.readers,
        "late_seconds": _seconds(each.late),
        "word_at": _at(each.word_at),
        "by_holding_statement": each.by_holding,
    }


def _telling(each: Telling) -> dict[str, Any]:
    return {
        "notice": each.notice,
        "what": each.shape.value,
        "update": each.number,
        "channel": each.channel,
        "audience": each.audience,
        "first_at": _at(each.first_at),
        "last_at": _at(each.last_at),
        "deliveries": dict(each.outcomes),
        "providers": list(each.providers),
    }


def _estimate(each: Estimate) -> dict[str, Any]:
    return {
        "update": each.number,
        "said_at": _at(each.said_at),
        "earliest": _at(each.earliest),
        "latest": _at(each.latest),
        "ended": _at(each.ended),
        "off_seconds": _seconds(each.off),
        "held": each.held,
    }


def _nudge(each: Nudged) -> dict[str, Any]:
    return {
        "notice": each.notice,
        "at": _at(each.at),
        "by": each.way,
        "count": each.count,
        "outcome": each.outcome,
    }


def _at(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _seconds(length: timedelta | None) -> int | None:
    return None if length is None else int(length.total_seconds())
