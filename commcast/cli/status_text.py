"""The status as styled lines and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from commcast.cli.output import BOLD, DIM, RED, YELLOW, aligned, picked
from commcast.cli.present import NAMES, RECEIPTS, clock_in, notice_in_words
from commcast.model.times import short_duration
from commcast.oncall.ticks import LET_IT_RUN, ran_ago, silence, usually

if TYPE_CHECKING:
    from commcast.ledger.oncall import LastNudge
    from commcast.ledger.overview import BroadcastCounts
    from commcast.model.oncall import Drift
    from commcast.operations.status import AudienceProgress, DeskStatus, IncidentProgress


COUNTED = ("accepted", "pending", "claimed", "held", "unknown", "rejected", "skipped")
WORD_OF = {"pending": "waiting", "claimed": "on the way"}


def moment(at: datetime, found: DeskStatus) -> str:
    """Return a time as the desk's clocks show it, with its day if that is not today."""
    return clock_in(found.zone, at, found.now)


def due_in_words(promised: datetime | None, found: DeskStatus) -> str:
    """Return a deadline with how long it is away: "11:25, in 12m", "LATE by 3m"."""
    if promised is None:
        return "none due"
    away = promised - found.now
    if away.total_seconds() < 0:
        return f"LATE by {short_duration(-away)}"
    return f"{moment(promised, found)}, in {short_duration(away)}"


def counts_in_words(each: IncidentProgress) -> list[str]:
    """Return how many deliveries are in each state that occurs."""
    return [
        f"{each.counts[state]} {WORD_OF.get(state, state)}" for state in COUNTED if each.counts.get(state)
    ]


Line = tuple[str, str]  # the text, and its style or ""
_TITLE, _NAME, _TOLD = 76, 14, 36  # columns
_MAY_HAVE_HEARD = frozenset({"accepted", "unknown", "claimed", "pending"})
_ON_TIME = timedelta(minutes=1)  # what is late by less is not called late


def below(each: IncidentProgress, found: DeskStatus) -> Iterator[Line]:
    """Yield the lines under an incident."""
    yield _cut(each.title, _TITLE), ""
    yield from _first_word(each, found)
    yield from _audience_lines(each, found)
    yield from _deliveries(each)
    if not each.over:
        yield from _people(each, found)
    yield from _to_do(each)


def _first_word(each: IncidentProgress, found: DeskStatus) -> Iterator[Line]:
    """Yield when the first message is due by the cadence, or that it was late."""
    if each.over or each.first_due is None or each.began is None:
        return
    within = f"the cadence says within {short_duration(each.first_due - each.began)}"
    if each.first_told is not None:
        if each.first_told - each.first_due >= _ON_TIME:
            came = short_duration(each.first_told - each.began)
            yield f"the first message went out {came} after the start; {within}", ""
    elif not each.audiences:
        colour = RED if each.first_due < found.now else ""
        yield f"first message due: {due_in_words(each.first_due, found)}; {within}", colour


def _audience_lines(each: IncidentProgress, found: DeskStatus) -> Iterator[Line]:
    """Yield what each audience was told last and is promised; after an end, only what is pending."""
    shown = [one for one in each.audiences if not each.over or one.promised or one.waits]
    width = min(max((len(one.audience) for one in shown), default=0), _NAME)
    told = [_told(one, found) for one in shown]
    wide = min(max(map(len, told), default=0), _TOLD)
    for one, words in zip(shown, told, strict=True):
        due = due_in_words(one.promised, found)
        text = f"{_cut(one.audience, width).ljust(width)}  {_cut(words, wide).ljust(wide)}  {due}"
        unreached = not one.notice and not one.waits
        yield text, RED if one.is_late(found.now) else YELLOW if unreached else ""


def _told(one: AudienceProgress, found: DeskStatus) -> str:
    if not one.notice:
        return f"nobody told yet, {one.waits:,} wait" if one.waits else "nobody was reached"
    at = f" {moment(one.told_at, found)}" if one.told_at else ""
    by = ", ".join(NAMES[channel] for channel in dict.fromkeys(one.channels))
    return f"{notice_in_words(one.notice, one.number)}{at} by {by}"


def _deliveries(each: IncidentProgress) -> Iterator[Line]:
    if also := counts_in_words(each)[1:]:
        yield f"also {', '.join(also)}", ""
    if each.receipts:
        said = [f"{each.receipts[kind]:,} {kind}" for kind in RECEIPTS if each.receipts.get(kind)]
        yield f"of {each.counts.get('accepted', 0):,} accepted: {', '.join(said)}", ""


def _people(each: IncidentProgress, found: DeskStatus) -> Iterator[Line]:
    """Yield who is on duty, who the incident was offered to, and who was nudged last."""
    duty = each.duty
    has_it = f"{duty.owner} has it" if duty.owner else "nobody owns it: name an owner, or commcast take"
    backup = f", backup {duty.backup}" if duty.backup else ""
    yield f"{has_it}{backup}", "" if duty.owner else YELLOW
    if duty.offered is not None:
        ago = short_duration(max(found.now - duty.offered.offered_at, timedelta()))
        person = duty.offered.person
        take = f"commcast take {each.id} --as {person}"
        yield f"offered to {person} {ago} ago, not taken yet: {take}", YELLOW
    if each.nudged is not None:
        yield _cut(f"nudged {moment(each.nudged.at, found)}: {_nudged(each.nudged)}", _TITLE), YELLOW
        if _MAY_HAVE_HEARD.isdisjoint({each.nudged.called, *(state for *_, state in each.nudged.people)}):
            yield "that nudge reached nobody: commcast doctor", RED


def _nudged(nudged: LastNudge) -> str:
    by_name: dict[str, list[str]] = {}
    for name, channel, state in nudged.people:
        arrived = "" if state == "accepted" else f" ({state})"
        by_name.setdefault(name, []).append(f"{NAMES[channel]}{arrived}")
    parts = [f"{name} by {' and '.join(ways)}" for name, ways in by_name.items()]
    if nudged.called:
        parts.append(
            "by command" if nudged.called == "accepted" else nudged.detail or f"{nudged.called} by command"
        )
    return ", ".join(parts)


def _to_do(each: IncidentProgress) -> Iterator[Line]:
    if each.counts.get("unknown"):
        yield f"{each.counts['unknown']} may or may not have arrived: commcast log {each.id}", YELLOW
    if each.drafts and not each.over:
        many = "1 draft is waiting" if len(each.drafts) == 1 else f"{len(each.drafts)} drafts are waiting"
        yield f"{many} to be released: commcast send {each.id}", YELLOW
    if each.stopped_by:
        from commcast.model.history import way_on

        yield f"stopped by {each.stopped_by}: {way_on(each.id, each.stopped_by)}", YELLOW
    if not each.has_file:
        yield "its file is gone or broken; messages that are already frozen still go out", YELLOW


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


CLOSED_SHOWN = 10
_HEAD = ("ID", "SEV", "STATUS", "LAST TOLD", "NEXT UPDATE", "DELIVERIES")


def lines_of(found: DeskStatus) -> Iterator[Line]:
    """Yield the table and what is broken."""
    closed = [each for each in found.histories if each.over]
    shown = [*(each for each in found.histories if not each.over), *closed[:CLOSED_SHOWN]]
    if shown:
        yield from _table_lines(found, shown)
    elif not found.broken:
        yield 'No incidents yet. Declare one: commcast declare "…"', ""
    if len(closed) > CLOSED_SHOWN:
        yield f"and {len(closed) - CLOSED_SHOWN} older ones that have ended: commcast status --json", ""
    for fault in found.broken.values():
        yield f"broken: {fault}", RED


def _table_lines(found: DeskStatus, shown: list[IncidentProgress]) -> Iterator[Line]:
    head, *rows = aligned([_HEAD, *(_row(each, found) for each in shown)])
    yield head, DIM
    for each, row in zip(shown, rows, strict=True):
        yield row, RED if each.is_late(found.now) else "" if each.over else BOLD
        yield from ((f"  {text}", style) for text, style in below(each, found))


def _row(each: IncidentProgress, found: DeskStatus) -> tuple[str, ...]:
    told = moment(each.told_at, found) if each.told_at else "elsewhere" if each.elsewhere else "never"
    return (
        each.id,
        str(each.severity),
        each.status.replace("_", " "),
        told,
        due_in_words(each.promised, found),
        (counts_in_words(each) or ["none"])[0],
    )


def warnings(found: DeskStatus) -> Iterator[str]:
    """Yield what puts promises at risk, if anything is open."""
    for name, until in found.pauses.items():
        yield f"{name} is paused until {moment(until, found)}: it asked for that, or did not answer."
    if not found.has_ledger and found.doubt:
        return
    if not found.has_ledger:
        yield "There is no ledger in this folder, so it is not known what was sent. See: commcast doctor"
    elif all(each.over for each in found.histories):
        return
    else:
        if words := silence(found.ticks, found.now):
            yield f"{words[:1].upper()}{words[1:]}. {LET_IT_RUN}"
        if found.too_late:
            yield found.too_late


def last_tick_line(found: DeskStatus) -> str:
    """Return when the last tick ran if anything is open and it ran when it should; else ""."""
    last, drift = found.ticks
    if last is None or all(each.over for each in found.histories) or silence(found.ticks, found.now):
        return ""
    often = f"; they come {usually(drift)}" if drift and not found.too_late else ""
    return f"The last tick ran {ran_ago(last, found.now)}{often}."


def as_document(found: DeskStatus) -> dict[str, Any]:
    """Return the status as JSON."""
    return {
        "now": found.now,
        "last_tick": found.ticks.last,
        "ticks": _ticks_document(found.ticks.drift),
        "overdue": list(found.overdue),
        "doubt": found.doubt or None,
        "broken": dict(found.broken),
        "pauses": dict(found.pauses),
        "sending": [_sending_document(each) for each in found.sending],
        "incidents": [_incident_document(each, found.now) for each in found.histories],
    }


def _sending_document(each: BroadcastCounts) -> dict[str, Any]:
    return {
        **picked(each, "incident", "notice", "channel", "done", "total"),
        **{state: each.counts.get(state, 0) for state in ("rejected", "unknown")},
    }


def _incident_document(each: IncidentProgress, now: datetime) -> dict[str, Any]:
    return {
        **picked(each, "id", "title", "status", "severity", "drafts", "over"),
        "update": each.number,
        "told_elsewhere": each.elsewhere,
        "last_told": each.told_at,
        "next_update_by": each.promised,
        "overdue": each.is_late(now),
        "deliveries": {state: each.counts.get(state, 0) for state in COUNTED},
        "receipts": {kind: each.receipts.get(kind, 0) for kind in RECEIPTS},
        "stopped_by": each.stopped_by or None,
        "file": each.has_file,
        "first_word_due": each.first_due,
        "first_word": each.first_told,
        "audiences": [_audience_document(one, now) for one in each.audiences],
        "on_duty": _duty_document(each),
        "nudged": _nudged_document(each.nudged) if each.nudged else None,
    }


def _audience_document(each: AudienceProgress, now: datetime) -> dict[str, Any]:
    return {
        **picked(each, "audience", "channels"),
        "last_told": each.told_at,
        "notice": each.notice or None,
        "update": each.number or None,
        "next_update_by": each.promised,
        "overdue": each.is_late(now),
        "waiting": each.waits,
    }


def _duty_document(each: IncidentProgress) -> dict[str, Any]:
    offered = each.duty.offered
    return {
        **picked(each.duty, "owner", "backup"),
        "offered_to": offered.person if offered else None,
        "offered_at": offered.offered_at if offered else None,
    }


def _nudged_document(each: LastNudge) -> dict[str, Any]:
    return {
        **picked(each, "notice", "at"),
        "people": [{"name": name, "channel": by, "state": state} for name, by, state in each.people],
        "command": each.called or None,
    }


def _ticks_document(drift: Drift | None) -> dict[str, Any] | None:
    """Return how far ticks are apart; None if there were too few to tell."""
    if drift is None:
        return None
    lengths = picked(drift, "typical", "worst", "shortest_promise")
    seconds = {f"{name}_seconds": round(length.total_seconds()) for name, length in lengths.items()}
    return {**seconds, **picked(drift, "gaps", "hosts")}
