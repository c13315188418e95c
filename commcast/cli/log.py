"""The command log: what was sent, when, to how many, and what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commcast.cli.options import FolderOption, JsonOption, clock
from commcast.cli.output import DIM, say, show, show_json, show_painted, table
from commcast.cli.present import NAMES
from commcast.cli.session import desk_to_read
from commcast.errors import InputError, LedgerError
from commcast.model.incident import Channel

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from commcast.ledger.history import Told
    from commcast.ledger.store import Ledger
    from commcast.ledger.tallies import DeliveryCount
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
    """Show every message that was sent: when, to how many, and what became of it.

    The times are when a provider accepted it for the first and for the last reader; NEXT BY is the time by
    which it promised the next update. Nudges and other messages to your own people are listed separately.

    Deliveries of unknown outcome are listed one by one: the provider may or may not have them, and they are
    never sent again by themselves. Below them you see what was done about such deliveries, and by whom.

    Example: commcast log pay7 --channel sms
    """
    with desk_to_read(folder, clock()) as (desk, ledger):
        record, zone = _read(known_ledger(ledger), incident, channel, addresses), desk.config.zone
    if incident is not None and not record.said:
        raise InputError(f"nothing was said of an incident {incident!r:.60}; commcast log lists all")
    if as_json:
        show_json("log", _document(record, addresses))
    elif not record.said:
        show("Nothing was said yet.")
    else:
        _show(record, zone, addresses)


def known_ledger(ledger: Ledger | None) -> Ledger:
    """Return the ledger. Raises LedgerError if there is none."""
    if ledger is None:
        raise LedgerError("there is no ledger in this folder: nothing is known of what was told")
    return ledger


@dataclass(slots=True)
class Record:
    """What was said, and what became of it.

    `tellings`, and `nudges` of an incident's own people, are by incident. `stated` has when the next update
    was promised, by incident, notice, channel and audience. `listed` are single deliveries; `acts` is what
    was done about those of unknown outcome.
    """

    said: list[DeliveryCount]
    tellings: dict[str, list[Telling]] = field(default_factory=dict)
    stated: dict[tuple[str, str, str, str], datetime] = field(default_factory=dict)
    nudges: dict[str, list[StoryNudge]] = field(default_factory=dict)
    listed: list[Told] = field(default_factory=list)
    acts: list[Act] = field(default_factory=list)


def _read(ledger: Ledger, incident: str | None, channel: Channel | None, everyone: bool) -> Record:
    """Return the record of one incident, or of all; with `everyone` it lists every delivery."""
    from commcast.ledger.chronicle import Scope, read_stated
    from commcast.ledger.history import deliveries, tallies
    from commcast.ledger.tables import State
    from commcast.ledger.unknowns import acts
    from commcast.report.reading import read_nudges, read_tellings

    channels = {channel} if channel else set(Channel)
    states = tuple(State) if everyone else (State.UNKNOWN,)
    with ledger.read() as connection:
        said = [each for each in tallies(connection, incident) if each.channel in channels]
        record = Record(said)
        for name in dict.fromkeys(each.incident for each in said):
            record.tellings[name] = [
                each for each in read_tellings(connection, name) if each.channel in channels
            ]
            told = read_nudges(connection, name)
            record.nudges[name] = [each for each in told if channel in (None, each.way)]
            record.stated.update(read_stated(connection, Scope(name)))
            record.listed += [
                each for each in deliveries(connection, name, states) if each.channel in channels
            ]
            record.acts += [each for each in acts(connection, name) if each.channel in channels]
    return record


_SAID = ("incident", "notice", "number", "channel", "audience", "state", "reason", "count", "changed_at")


def _document(record: Record, addresses: bool) -> dict[str, Any]:
    return {
        "said": [{name: getattr(each, name) for name in _SAID} for each in record.said],
        "messages": [
            _telling_document(name, each, record.stated.get((name, each.notice, each.channel, each.audience)))
            for name, tellings in record.tellings.items()
            for each in tellings
        ],
        "nudges": [
            {
                "incident": name,
                "notice": each.notice,
                "at": each.at,
                "by": each.way,
                "count": each.count,
                "outcome": each.outcome,
            }
            for name, nudges in record.nudges.items()
            for each in nudges
        ],
        "deliveries": [{**asdict(each), "address": _address(each, addresses)} for each in record.listed],
        "acts": [{**asdict(each), "address": _address(each, addresses)} for each in record.acts],
    }


def _telling_document(incident: str, each: Telling, next_by: datetime | None) -> dict[str, Any]:
    return {
        "incident": incident,
        "notice": each.notice,
        "update": each.number,
        "channel": each.channel,
        "audience": each.audience,
        "first_accepted": each.first_at,
        "last_accepted": each.last_at,
        "providers": list(each.providers),
        "next_update_by": next_by,
        "deliveries": dict(each.outcomes),
    }


def _address(told: Told | Act, in_full: bool) -> str:
    from commcast.recipients.addresses import mask

    if not told.address:
        return "(erased)"
    return told.address if in_full else mask(told.address)


def _show(record: Record, zone: ZoneInfo, addresses: bool) -> None:
    show_painted(_table(record, zone))
    for line in _reasons(record):
        show(line)
    for incident, nudges in record.nudges.items():
        if nudges:
            show(f"\nTold to our own people, of {incident}:")
        for nudge in nudges:
            show(_nudge_line(nudge, zone))
    if record.listed:
        show("\n" + ("Every delivery:" if addresses else "Unknown, one by one (they may have arrived):"))
    for told in record.listed:
        show(_line(told, zone, addresses))
    _show_acts(record.acts, zone, addresses)
    for incident in dict.fromkeys(told.incident for told in record.listed if told.state == "unknown"):
        say(
            f"Nothing unknown is ever sent again by itself. Ask the provider: commcast reconcile {incident}\n"
            f"What it cannot tell, a person decides: commcast resend {incident} --unknown, or commcast settle"
        )


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


_AMONG = ("delivered", "bounced", "failed")  # of the accepted ones


def _table(record: Record, zone: ZoneInfo) -> str:
    """Return when the first and the last had it, what, to whom, by which provider, and what it promised."""
    many = len(record.tellings) > 1
    rows = []
    for incident, tellings in record.tellings.items():
        for each in tellings:
            by = record.stated.get((incident, each.notice, each.channel, each.audience))
            at = each.first_at or each.frozen_at
            cells = (
                _span(at, each.last_at, zone, with_year=many),
                _name(each.notice),
                NAMES[each.channel],
                each.audience,
                ", ".join(_outcomes(each)),
                ", ".join(each.providers) or "-",
                _clock(by, at, zone) if by else "-",
            )
            rows.append((incident, *cells) if many else cells)
    head = ("TIME", "NOTICE", "BY", "AUDIENCE", "OUTCOME", "THROUGH", "NEXT BY")
    return table(("ID", *head) if many else head, rows, DIM)


def _outcomes(each: Telling) -> Iterator[str]:
    """Yield how many deliveries ended how; what providers said later of accepted ones, in brackets."""
    for outcome, count in each.outcomes.items():
        if outcome in _AMONG:
            continue
        word = outcome.partition(":")[0]
        later = [f"{each.outcomes[kind]:,} {kind}" for kind in _AMONG if each.outcomes.get(kind)]
        also = f" ({', '.join(later)})" if later and outcome == "accepted" else ""
        yield f"{count:,} {word}{also}"


def _reasons(record: Record) -> Iterator[str]:
    """Yield why deliveries were skipped, each reason once."""
    counts: Counter[str] = Counter()
    for each in chain.from_iterable(record.tellings.values()):
        counts.update({outcome: count for outcome, count in each.outcomes.items() if ": " in outcome})
    for outcome, count in counts.items():
        yield f"  {count:,} {outcome[:_LONGEST_REASON]}"


_LONGEST_REASON = 76


def _nudge_line(each: StoryNudge, zone: ZoneInfo) -> str:
    at, by = each.at.astimezone(zone), NAMES.get(each.way, each.way)
    why = each.notice.split(":")[1] if ":" in each.notice else ""
    name = why if why in {"handover", "taken"} else _name(each.notice)
    return f"  {at.day:2} {at:%b %H:%M}  {name:<8}  {by:<7}  {each.count:,} {each.outcome}"


def _name(notice: str) -> str:
    """Return a notice as people call it: update 3, holding."""
    kind, _, rest = notice.partition(":")
    return f"{kind} {rest}" if rest.isdigit() else kind


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
