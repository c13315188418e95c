"""Which moment of an incident a message tells of: the name of its template."""

from __future__ import annotations

from commcast.model.incident import END_STATUSES, Channel, Status, Update
from commcast.rendering.context import Occasion, unconfirmed

_TURNS = END_STATUSES | {Status.REOPENED}
_OPEN = frozenset({Status.INVESTIGATING, Status.IDENTIFIED, Status.MONITORING})
_BY_STATUS = {
    Status.EXPECTED: "expected",
    Status.INVESTIGATING: "update",
    Status.IDENTIFIED: "found",
    Status.MONITORING: "monitoring",
    Status.RESOLVED: "resolved",
    Status.REOPENED: "reopened",
    Status.RETRACTED: "false_alarm",
    Status.MERGED: "merged",
    Status.SCHEDULED: "planned_work",
    Status.IN_PROGRESS: "started",
    Status.VERIFYING: "checking",
    Status.COMPLETED: "finished",
    Status.RESCHEDULED: "new_time",
    Status.EXTENDED: "taking_longer",
    Status.CANCELLED: "cancelled",
}
# Every moment with when it is, in the order in which an incident may meet them.
MOMENTS = {
    "expected": "a problem is expected",
    "first_notice": "the first message, at status investigating",
    "update": "a later message at status investigating, and every progress note (nothing_new)",
    "found": "status identified",
    "monitoring": "status monitoring",
    "no_change": "a holding statement",
    "unconfirmed": "a holding statement once a planned or expected time has passed",
    "correction": "something wrong was sent",
    "resolved": "status resolved",
    "reopened": "status reopened",
    "false_alarm": "status retracted",
    "merged": "status merged",
    "planned_work": "status scheduled",
    "reminder": "a reminder of planned work",
    "started": "status in_progress",
    "checking": "status verifying",
    "finished": "status completed",
    "new_time": "status rescheduled",
    "taking_longer": "status extended",
    "cancelled": "status cancelled",
    "check_in": "the question on the next working day whether all is well",
    "review": "the review, once it is written",
}
FOLLOW_UPS = {"review": "review", "check-in": "check_in"}  # by email only


def moments_on(channel: Channel) -> list[str]:
    """Return the moments that a channel tells of."""
    is_text = channel is Channel.SMS
    return [moment for moment in MOMENTS if not (is_text and moment in FOLLOW_UPS.values())]


def moment_of(update: Update, occasion: Occasion, *, first: bool, has_begun: bool = False) -> str:
    """Return the moment of a message, one of MOMENTS.

    `first` means that these readers were told nothing before; `has_begun` that what they were told to expect
    has begun. A correction does not hide an end, nor that it came back.
    """
    if occasion.follow_up:
        return FOLLOW_UPS[occasion.follow_up]
    if occasion.step and occasion.now:
        return "unconfirmed" if unconfirmed(update, occasion.now) else "no_change"
    if occasion.corrections and (update.corrects or update.status not in _TURNS):
        return "correction"
    if occasion.ahead:
        return "reminder"
    if update.nothing_new and not first and update.status not in _TURNS:
        return "update"
    if update.status is Status.INVESTIGATING and (first or has_begun):
        return "first_notice"
    return _BY_STATUS[update.status]


def has_begun(update: Update, previous: Update | None) -> bool:
    """Return whether what readers were told to expect has begun; `previous` is what they were told last."""
    return previous is not None and previous.status is Status.EXPECTED and update.status in _OPEN
