"""What status shows as JSON: one stable document."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from commcast.cli.status_words import COUNTED, RECEIPTS

if TYPE_CHECKING:
    from commcast.cli.standings import DeskStatus, Standing
    from commcast.drift import Drift
    from commcast.heard import AudienceStanding
    from commcast.ledger.nudged import Nudged
    from commcast.ledger.overview import UnderWay


def as_document(found: DeskStatus) -> dict[str, Any]:
    """Return the status as JSON."""
    return {
        "now": found.now.isoformat(),
        "last_tick": _iso(found.ticks.last),
        "ticks": _ticks_document(found.ticks.drift),
        "overdue": list(found.overdue),
        "broken": dict(found.broken),
        "pauses": {name: until.isoformat() for name, until in found.pauses.items()},
        "sending": [_sending_document(each) for each in found.sending],
        "incidents": [_incident_document(each, found.now) for each in found.standings],
    }


def _sending_document(each: UnderWay) -> dict[str, Any]:
    return {
        "incident": each.incident,
        "notice": each.notice,
        "channel": each.channel,
        "done": each.done,
        "total": each.total,
        "rejected": each.counts.get("rejected", 0),
        "unknown": each.counts.get("unknown", 0),
    }


def _incident_document(each: Standing, now: datetime) -> dict[str, Any]:
    return {
        "id": each.id,
        "title": each.title,
        "status": each.status,
        "severity": each.severity,
        "update": each.number,
        "drafts": list(each.drafts),
        "over": each.over,
        "told_elsewhere": each.elsewhere,
        "last_told": _iso(each.told_at),
        "next_update_by": _iso(each.promised),
        "overdue": each.is_late(now),
        "deliveries": {state: each.counts.get(state, 0) for state in COUNTED},
        "receipts": {kind: each.receipts.get(kind, 0) for kind in RECEIPTS},
        "stopped_by": each.stopped_by or None,
        "file": each.has_file,
        "first_word_due": _iso(each.first_due),
        "first_word": _iso(each.first_told),
        "audiences": [_audience_document(one, now) for one in each.audiences],
        "on_duty": _duty_document(each),
        "nudged": _nudged_document(each.nudged) if each.nudged else None,
    }


def _audience_document(each: AudienceStanding, now: datetime) -> dict[str, Any]:
    return {
        "audience": each.audience,
        "last_told": _iso(each.told_at),
        "notice": each.notice or None,
        "update": each.number or None,
        "channels": list(each.channels),
        "next_update_by": _iso(each.promised),
        "overdue": each.is_late(now),
        "waiting": each.waits,
    }


def _duty_document(each: Standing) -> dict[str, Any]:
    offered = each.duty.offered
    return {
        "owner": each.duty.owner,
        "backup": each.duty.backup,
        "offered_to": offered.person if offered else None,
        "offered_at": _iso(offered.offered_at) if offered else None,
    }


def _nudged_document(each: Nudged) -> dict[str, Any]:
    return {
        "notice": each.notice,
        "at": _iso(each.at),
        "people": [{"name": name, "channel": by, "state": state} for name, by, state in each.people],
        "command": each.called or None,
    }


def _ticks_document(drift: Drift | None) -> dict[str, Any] | None:
    """Return how far ticks are apart, in seconds; None where there were too few to tell."""
    if drift is None:
        return None
    return {
        "typical_seconds": round(drift.typical.total_seconds()),
        "worst_seconds": round(drift.worst.total_seconds()),
        "shortest_promise_seconds": round(drift.shortest_promise.total_seconds()),
        "gaps": drift.gaps,
        "hosts": list(drift.hosts),
    }


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
