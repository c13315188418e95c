"""How status shows an incident below its line: each audience, who is on duty, what somebody should do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from commcast.cli.colour import RED, YELLOW
from commcast.cli.present import NAMES
from commcast.cli.status_words import RECEIPTS, counts_in_words, due_in_words, moment, notice_in_words
from commcast.durations import short_duration

if TYPE_CHECKING:
    from commcast.cli.standings import DeskStatus, Standing
    from commcast.heard import AudienceStanding
    from commcast.ledger.nudged import Nudged

Line = tuple[str, str]  # the text, and its colour or ""
_TITLE, _NAME, _TOLD = 76, 14, 36  # columns
_MAY_HAVE_HEARD = frozenset({"accepted", "unknown", "claimed", "pending"})
_ON_TIME = timedelta(minutes=1)  # what is later by less than this is not said to be late


def below(each: Standing, found: DeskStatus) -> Iterator[Line]:
    """Yield the lines under an incident."""
    yield _cut(each.title, _TITLE), ""
    yield from _first_word(each, found)
    yield from _audience_lines(each, found)
    yield from _deliveries(each)
    if not each.over:
        yield from _people(each, found)
    yield from _to_do(each)


def _first_word(each: Standing, found: DeskStatus) -> Iterator[Line]:
    """Say of a first word that it was late, or is: later after the start than the cadence has it."""
    if each.over or each.first_due is None or each.began is None:
        return
    within = f"the cadence says within {short_duration(each.first_due - each.began)}"
    if each.first_told is not None:
        if each.first_told - each.first_due >= _ON_TIME:
            came = short_duration(each.first_told - each.began)
            yield f"the first word came {came} after the start; {within}", ""
    elif not each.audiences:
        colour = RED if each.first_due < found.now else ""
        yield f"first word to anybody: {due_in_words(each.first_due, found)}; {within}", colour


def _audience_lines(each: Standing, found: DeskStatus) -> Iterator[Line]:
    """Yield what each audience was told last, and when it expects more; of what is over, what is owed."""
    shown = [one for one in each.audiences if not each.over or one.promised or one.waits]
    width = min(max((len(one.audience) for one in shown), default=0), _NAME)
    told = [_told(one, found) for one in shown]
    wide = min(max(map(len, told), default=0), _TOLD)
    for one, words in zip(shown, told, strict=True):
        due = due_in_words(one.promised, found)
        text = f"{_cut(one.audience, width).ljust(width)}  {_cut(words, wide).ljust(wide)}  {due}"
        unreached = not one.notice and not one.waits
        yield text, RED if one.is_late(found.now) else YELLOW if unreached else ""


def _told(one: AudienceStanding, found: DeskStatus) -> str:
    if not one.notice:
        return f"nobody told yet, {one.waits:,} wait" if one.waits else "nobody was reached"
    at = f" {moment(one.told_at, found)}" if one.told_at else ""
    by = ", ".join(NAMES[channel] for channel in dict.fromkeys(one.channels))
    # It may hold newer facts, or say that nothing is new: its notice does not tell.
    notice = "promised text" if "/" in one.notice else notice_in_words(one.notice, one.number)
    return f"{notice}{at} by {by}"


def _deliveries(each: Standing) -> Iterator[Line]:
    if also := counts_in_words(each)[1:]:
        yield f"also {', '.join(also)}", ""
    if each.receipts:
        said = [f"{each.receipts[kind]:,} {kind}" for kind in RECEIPTS if each.receipts.get(kind)]
        yield f"of {each.counts.get('accepted', 0):,} accepted: {', '.join(said)}", ""


def _people(each: Standing, found: DeskStatus) -> Iterator[Line]:
    """Say who is on duty, whom the incident was offered to, and who was nudged last."""
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
        if not any(state in _MAY_HAVE_HEARD for *_, state in _ways(each.nudged)):
            yield "nobody was woken by that: commcast doctor", RED


def _nudged(nudged: Nudged) -> str:
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


def _ways(nudged: Nudged) -> list[tuple[str, str, str]]:
    return [*nudged.people, ("", "command", nudged.called)]


def _to_do(each: Standing) -> Iterator[Line]:
    if each.counts.get("unknown"):
        yield f"{each.counts['unknown']} may or may not have arrived: commcast reconcile {each.id}", YELLOW
    if each.drafts and not each.over:
        many = "1 draft waits" if len(each.drafts) == 1 else f"{len(each.drafts)} drafts wait"
        yield f"{many} for a yes: commcast send {each.id}", YELLOW
    if each.stopped_by:
        yield f"stopped by {each.stopped_by}: commcast resume {each.id}", YELLOW
    if not each.has_file:
        yield "its file is gone or broken; what is frozen of it still goes out", YELLOW


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
