"""Log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commcast.cli.options import FolderOption, JsonOption, clock
from commcast.cli.output import say, show, show_json, wrapped_table
from commcast.cli.present import NAMES
from commcast.cli.session import desk_to_read
from commcast.errors import InputError, LedgerError
from commcast.model.incident import Channel

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from commcast.ledger.history import OutcomeTally, Told
    from commcast.ledger.store import Ledger
    from commcast.ledger.unknowns import Act
    from commcast.report.story import StoryNudge, Telling


def log(
    incident: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Only this incident.", show_default=False)
    ] = None,
    channel: Annotated[
        Channel | None, typer.Option("--channel", help="Only email, or only sms.", show_default=False)
    ] = None,
    addresses: Annotated[
        bool, typer.Option("--addresses", help="List every delivery, with its address in full.")
    ] = False,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Show every message that was said: when, to how many, and what became of it.

    The times are when the first and the last reader's provider took it ("accepted"); the next word is what
    it promised. What an incident's own people were told, such as nudges, is listed apart.

    A delivery of unknown outcome is listed by itself: the provider may or may not have it, and it is never
    sent again by itself. What was done about such ones is listed with who did it.

    Example: commcast log pay7 --channel sms
    """
    with desk_to_read(folder, clock()) as (desk, ledger):
        if ledger is None:
            raise LedgerError("there is no ledger in this folder: nothing is known of what was told")
        said = _said(ledger, incident, channel)
        record = _record(ledger, list(dict.fromkeys(each.incident for each in said)), channel)
        listed = list(_listed(ledger, said, channel, addresses))
        done = list(_acts(ledger, said, channel))
        zone = desk.config.zone
    if incident is not None and not said:
        raise InputError(f"nothing was said of an incident {incident!r:.60}; commcast log lists all")
    if as_json:
        document = {
            "said": [_document(each) for each in said],
            **_record_document(record),
            "deliveries": _masked(listed, addresses),
            "acts": [_act_document(act, addresses) for act in done],
        }
        show_json("log", document)
    elif not said:
        show("Nothing was said yet.")
    else:
        _show(record, listed, zone, addresses)
        _show_acts(done, zone, addresses)
        _hint(listed)


@dataclass(frozen=True, slots=True)
class Record:
    """What was said of incidents, by their ids, the promises in it, and what their own people were told."""

    said: Mapping[str, tuple[Telling, ...]]
    stated: Mapping[tuple[str, str, str, str], datetime]
    nudges: Mapping[str, tuple[StoryNudge, ...]]


def _record(ledger: Ledger, incidents: Iterable[str], channel: Channel | None) -> Record:
    """Return the full record of incidents: a few queries for each."""
    from commcast.ledger.chronicle import Scope, read_stated
    from commcast.report.reading import read_nudges, read_tellings

    said, stated, nudges = {}, {}, {}
    with ledger.read() as connection:
        for name in incidents:
            tellings = read_tellings(connection, name)
            said[name] = tuple(each for each in tellings if channel in (None, each.channel))
            stated.update(read_stated(connection, Scope(name)))
            told = read_nudges(connection, name)
            nudges[name] = tuple(each for each in told if channel in (None, each.way))
    return Record(said, stated, nudges)


def _record_document(record: Record) -> dict[str, Any]:

    return {
        "messages": [
            said_document(name, each, record.stated)
            for name, tellings in record.said.items()
            for each in tellings
        ],
        "nudges": [nudge_document(name, each) for name, nudges in record.nudges.items() for each in nudges],
    }


def _said(ledger: Ledger, incident: str | None, channel: Channel | None) -> list[OutcomeTally]:
    from commcast.ledger.history import tallies

    with ledger.read() as connection:
        return [each for each in tallies(connection, incident) if channel in (None, each.channel)]


def _listed(
    ledger: Ledger, said: Iterable[OutcomeTally], channel: Channel | None, everyone: bool
) -> Iterable[Told]:
    """Yield single deliveries: all of them where addresses are asked for, else those of unknown outcome."""
    from commcast.ledger.history import deliveries
    from commcast.ledger.tables import State

    states = tuple(State) if everyone else (State.UNKNOWN,)
    with ledger.read() as connection:
        for incident in dict.fromkeys(each.incident for each in said):
            for told in deliveries(connection, incident, states):
                if channel in (None, told.channel):
                    yield told


def _acts(ledger: Ledger, said: Iterable[OutcomeTally], channel: Channel | None) -> Iterable[Act]:
    """Yield what was done about lost answers."""
    from commcast.ledger.unknowns import acts

    with ledger.read() as connection:
        for incident in dict.fromkeys(each.incident for each in said):
            yield from (act for act in acts(connection, incident) if channel in (None, act.channel))


def _act_document(act: Act, addresses: bool) -> dict[str, Any]:
    return {**asdict(act), "address": _address(act, addresses), "at": act.at.isoformat()}


def _masked(listed: Iterable[Told], addresses: bool) -> list[dict[str, Any]]:
    return [
        {
            **_document(told),
            "address": _address(told, addresses),
            "receipt_at": told.receipt_at.isoformat() if told.receipt_at else None,
        }
        for told in listed
    ]


def _document(each: OutcomeTally | Told) -> dict[str, Any]:
    return {**asdict(each), "changed_at": each.changed_at.isoformat()}


def _address(told: Told | Act, in_full: bool) -> str:
    from commcast.recipients.addresses import mask

    if not told.address:
        return "(erased)"
    return told.address if in_full else mask(told.address)


def _show(record: Record, listed: list[Told], zone: ZoneInfo, addresses: bool) -> None:

    show(said_table(record.said, record.stated, zone))
    for line in reasons(record.said):
        show(line)
    for incident, nudges in record.nudges.items():
        if nudges:
            show(f"\nTold to our own people, of {incident}:")
            show("\n".join(nudge_lines(nudges, zone)))
    if listed:
        show("\n" + ("Every delivery:" if addresses else "Unknown, one by one (they may have arrived):"))
        show("\n".join(_line(told, zone, addresses) for told in listed))


_DONE = {
    "reconcile": "asked",
    "resend": "released again by",
    "settle": "settled by",
    "restore": "ledger restored by",
}


def _show_acts(done: list[Act], zone: ZoneInfo, addresses: bool) -> None:
    """Print what was done about lost answers, what is alike in one line; with addresses, one by one."""
    groups: dict[tuple[str, ...], list[Act]] = {}
    for act in done:
        alike = (act.incident, act.notice, act.channel, act.what, act.became, act.by, act.detail)
        groups.setdefault((*alike, act.address) if addresses else alike, []).append(act)
    if groups:
        show("\nDone about lost answers:")
    for some in groups.values():
        show(_act_line(some, zone, addresses))


def _act_line(some: list[Act], zone: ZoneInfo, addresses: bool) -> str:
    act = some[-1]
    to = _address(act, addresses) if len(some) == 1 else f"{len(some):,} readers"
    became = "" if act.what == "resend" else f": {act.became}"
    parts = [
        f"{act.at.astimezone(zone):%Y-%m-%d %H:%M}",
        act.incident,
        act.notice.replace(":", " "),
        NAMES[act.channel],
        to,
        f"{_DONE[act.what]} {act.by}{became}",
        *([act.detail] if act.detail else []),
    ]
    return "  " + "  ".join(parts)


def _hint(listed: list[Told]) -> None:
    """Say what can follow for those of unknown outcome."""
    for incident in dict.fromkeys(told.incident for told in listed if told.state == "unknown"):
        say(
            f"Nothing unknown is ever sent again by itself. Ask the provider: commcast reconcile {incident}\n"
            f"What it cannot tell, a person decides: commcast resend {incident} --unknown, or commcast settle"
        )


def _line(told: Told, zone: ZoneInfo, addresses: bool) -> str:
    parts = [
        f"{told.changed_at.astimezone(zone):%H:%M:%S}",
        told.incident,
        told.notice.replace(":", " "),
        NAMES[told.channel],
        _address(told, addresses),
        told.state,
        *(part for part in (told.provider, told.provider_id, told.reason) if part),
        *([f"then {told.receipt}"] if told.receipt else []),
        *([told.receipt_detail] if told.receipt_detail else []),
    ]
    return "  " + "  ".join(parts)


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


def nudge_lines(nudges: Iterable[StoryNudge], zone: ZoneInfo) -> Iterator[str]:
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


def nudge_document(incident: str, each: StoryNudge) -> dict[str, Any]:
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
