"""How log looks: one line a message, what its own people were told, and single deliveries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from commcast.cli.present import NAMES
from commcast.cli.wrapped import wrapped_table
from commcast.model import Channel

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from commcast.report.story import Nudged, Telling

LONGEST_REASON = 76
_AMONG = ("delivered", "bounced", "failed")  # of the accepted ones

Said = Mapping[str, Sequence["Telling"]]  # by incident
Stated = Mapping[tuple[str, str, str, str], datetime]  # by incident, notice, channel, audience


def said_table(said: Said, stated: Stated, zone: ZoneInfo) -> str:
    """Return what was said: when the first and the last had it, what, to whom, by which provider, and the
    promise it made."""
    many = len(said) > 1
    rows = []
    for incident, tellings in said.items():
        for each in tellings:
            by = stated.get((incident, each.notice, each.channel, each.audience))
            at = each.first_at or each.frozen_at
            rows.append(
                (
                    *([incident] if many else []),
                    _span(at, each.last_at, zone, with_year=many),
                    _name(each.notice),
                    NAMES[Channel(each.channel)],
                    each.audience,
                    ", ".join(outcomes(each)),
                    ", ".join(each.providers) or "-",
                    _clock(by, at, zone) if by else "-",
                )
            )
    head = ("TIME", "NOTICE", "BY", "AUDIENCE", "OUTCOME", "THROUGH", "NEXT BY")
    return wrapped_table((*(["ID"] if many else []), *head), rows)


def outcomes(each: Telling) -> Iterator[str]:
    """Yield how many deliveries ended how, what providers said later of accepted ones behind those."""
    for outcome, count in each.outcomes.items():
        if outcome in _AMONG:
            continue
        word = outcome.partition(":")[0]
        later = [f"{each.outcomes[kind]:,} {kind}" for kind in _AMONG if each.outcomes.get(kind)]
        also = f" ({', '.join(later)})" if later and outcome == "accepted" else ""
        yield f"{count:,} {word}{also}"


def reasons(said: Said) -> Iterator[str]:
    """Yield why deliveries were skipped, each reason once."""
    counts: dict[str, int] = {}
    for tellings in said.values():
        for each in tellings:
            for outcome, count in each.outcomes.items():
                if ": " in outcome:
                    counts[outcome] = counts.get(outcome, 0) + count
    for outcome, count in counts.items():
        yield f"  {count:,} {outcome[:LONGEST_REASON]}"


def nudge_lines(nudges: Iterable[Nudged], zone: ZoneInfo) -> Iterator[str]:
    """Yield what the people of an incident were told themselves."""
    for each in nudges:
        at, by = each.at.astimezone(zone), NAMES.get(each.way, each.way)
        name = _nudge_name(each.notice)
        yield f"  {at.day:2} {at:%b %H:%M}  {name:<8}  {by:<7}  {each.count:,} {each.outcome}"


def said_document(incident: str, each: Telling, stated: Stated) -> dict[str, Any]:
    """Return one message as JSON."""
    by = stated.get((incident, each.notice, each.channel, each.audience))
    return {
        "incident": incident,
        "notice": each.notice,
        "update": each.number,
        "channel": each.channel,
        "audience": each.audience,
        "first_accepted": each.first_at.isoformat() if each.first_at else None,
        "last_accepted": each.last_at.isoformat() if each.last_at else None,
        "providers": list(each.providers),
        "next_update_by": by.isoformat() if by else None,
        "deliveries": dict(each.outcomes),
    }


def nudge_document(incident: str, each: Nudged) -> dict[str, Any]:
    """Return one nudge as JSON."""
    return {
        "incident": incident,
        "notice": each.notice,
        "at": each.at.isoformat(),
        "by": each.way,
        "count": each.count,
        "outcome": each.outcome,
    }


def _name(notice: str) -> str:
    """Return a notice as people call it: update 3, holding."""
    kind, _, rest = notice.partition(":")
    return f"{kind} {rest}" if rest.isdigit() else kind


def _nudge_name(notice: str) -> str:
    """Return what one's own people were told: a nudge, or that somebody hands over or has taken over."""
    why = notice.split(":")[1] if ":" in notice else ""
    return why if why in {"handover", "taken"} else _name(notice)


def _span(first: datetime, last: datetime | None, zone: ZoneInfo, *, with_year: bool) -> str:
    """Return when the first and the last had it: 21 Nov 10:05-10:09."""
    start = first.astimezone(zone)
    until = _clock(last, first, zone) if last else ""
    begun = f"{start:%Y-%m-%d %H:%M}" if with_year else f"{start.day} {start:%b %H:%M}"
    return f"{begun}-{until}" if until and until != f"{start:%H:%M}" else begun


def _clock(at: datetime, reference: datetime, zone: ZoneInfo) -> str:
    local = at.astimezone(zone)
    same = local.date() == reference.astimezone(zone).date()
    return f"{local:%H:%M}" if same else f"{local.day} {local:%b %H:%M}"
