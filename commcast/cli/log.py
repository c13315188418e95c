"""The command log: what was sent, when, to how many, and what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commcast.cli.options import FolderOption, JsonOption, clock
from commcast.cli.output import DIM, picked, put, say, show, show_json, table
from commcast.cli.present import NAMES, RECEIPTS, clock_in
from commcast.cli.session import desk_to_read
from commcast.errors import InputError, LedgerError
from commcast.model.incident import Channel
from commcast.model.message import NOT_BEGUN

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from commcast.ledger.history import Told
    from commcast.ledger.store import Ledger
    from commcast.ledger.tallies import DeliveryCount
    from commcast.ledger.unknowns import Act
    from commcast.model.release import Release
    from commcast.report.story import StoryNudge, Telling


def log(
    incident: Annotated[str | None, typer.Argument(metavar="[ID]", help="Only this incident.")] = None,
    channel: Annotated[Channel | None, typer.Option("--channel", help="Only email, or only sms.")] = None,
    addresses: Annotated[
        bool, typer.Option("--addresses", help="List every delivery, with its address in full.")
    ] = False,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    """Show every message that was sent: when, to how many people, and with what outcome.

    The times are when a provider accepted it for the first and for the last reader; NEXT BY is the time by
    which it promised the next update. Nudges and other messages to your own people are listed separately.

    Deliveries of unknown outcome are listed one by one: the provider may or may not have them, and they are
    never resent automatically. Below them you see what was done about such deliveries, and by whom.

    Example: commcast log pay7 --channel sms
    """
    with desk_to_read(folder, clock()) as (desk, ledger):
        record, zone = _read(known_ledger(ledger), incident, channel, addresses), desk.config.zone
    if incident is not None and not record.said:
        raise nothing_sent_for(incident)
    if as_json:
        show_json("log", _document(record, addresses))
    elif not record.said:
        show("Nothing has been sent yet.")
    else:
        _show(record, zone, addresses)


def known_ledger(ledger: Ledger | None) -> Ledger:
    """Return the ledger. Raises LedgerError if there is none."""
    if ledger is None:
        raise LedgerError("there is no ledger in this folder; see: commcast doctor")
    return ledger


def nothing_sent_for(incident: str) -> InputError:
    """Return the error for an incident of which the ledger knows no message."""
    return InputError(f"nothing was sent for an incident {incident!r:.60}; commcast log lists all")


@dataclass(slots=True)
class Record:
    """What was sent, and its outcomes.

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
    releases: list[Release] = field(default_factory=list)


def _read(ledger: Ledger, incident: str | None, channel: Channel | None, everyone: bool) -> Record:
    """Return the record of one incident, or of all; with `everyone` it lists every delivery."""
    from commcast.ledger.chronicle import Scope, read_stated
    from commcast.ledger.history import deliveries, tallies
    from commcast.ledger.releases import read_releases
    from commcast.ledger.tables import State
    from commcast.ledger.unknowns import acts
    from commcast.report.reading import read_nudges, read_tellings

    channels = {channel} if channel else set(Channel)

    def chosen(found: Iterable[Any]) -> list[Any]:
        return [each for each in found if each.channel in channels]

    states = tuple(State) if everyone else (State.UNKNOWN,)
    with ledger.read() as connection:
        record = Record(chosen(tallies(connection, incident)))
        for name in dict.fromkeys(each.incident for each in record.said):
            record.tellings[name] = chosen(read_tellings(connection, name))
            told = read_nudges(connection, name)
            record.nudges[name] = [each for each in told if channel in (None, each.way)]
            record.stated.update(read_stated(connection, Scope(name)))
            record.listed += chosen(deliveries(connection, name, states))
            record.acts += chosen(acts(connection, name))
            record.releases += read_releases(connection, name).values()
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
            {"incident": name, "by": each.way, **picked(each, "notice", "at", "count", "outcome")}
            for name, nudges in record.nudges.items()
            for each in nudges
        ],
        "deliveries": [
            {**asdict(each), "address": shown_address(each.address, addresses)} for each in record.listed
        ],
        "releases": [picked(each, "incident", "number", "at", "by", "how") for each in record.releases],
        "acts": [{**asdict(each), "address": shown_address(each.address, addresses)} for each in record.acts],
    }


def _telling_document(incident: str, each: Telling, next_by: datetime | None) -> dict[str, Any]:
    return {
        "incident": incident,
        **picked(each, "notice", "channel", "audience", "providers"),
        "update": each.number,
        "first_accepted": each.first_at,
        "last_accepted": each.last_at,
        "next_update_by": next_by,
        "deliveries": dict(each.outcomes),
    }


def shown_address(address: str, in_full: bool) -> str:
    """Return an address as it is shown: masked unless `in_full`; "" was erased."""
    from commcast.recipients.addresses import mask

    if not address:
        return "(erased)"
    return address if in_full else mask(address)


def _show(record: Record, zone: ZoneInfo, addresses: bool) -> None:
    put(_table(record, zone))
    for line in [*_reasons(record), *_released(record, zone)]:
        show(line)
    for incident, nudges in record.nudges.items():
        if nudges:
            show(f"\nSent to your own people about {incident}:")
        for nudge in nudges:
            show(_nudge_line(nudge, zone))
    if record.listed:
        show("\n" + ("Every delivery:" if addresses else "Unknown, one by one (they may have arrived):"))
    for told in record.listed:
        show(_line(told, zone, addresses))
    _show_acts(record.acts, zone, addresses)
    for incident in dict.fromkeys(told.incident for told in record.listed if told.state == "unknown"):
        say(
            "Nothing unknown is resent automatically.\n"
            f"Ask Twilio or SendGrid: commcast reconcile {incident}\n"
            f"If they cannot tell, or for SMTP: commcast resend {incident} --unknown, or commcast settle"
        )


def _released(record: Record, zone: ZoneInfo) -> Iterator[str]:
    for each in record.releases:
        name = (
            f"{each.incident} update {each.number}" if len(record.tellings) > 1 else f"Update {each.number}"
        )
        at = f"{each.at.astimezone(zone):%Y-%m-%d %H:%M}"
        yield f"{name} was released by {each.by} {_HOW[each.how]}, {at}"


_HOW = {"question": "at the question", "yes": "with --yes", "elsewhere": "before the ledger was adopted"}
_DONE = {
    "reconcile": "asked",
    "resend": "released again by",
    "settle": "settled by",
    "restore": "ledger restored by",
}


def _show_acts(done: list[Act], zone: ZoneInfo, addresses: bool) -> None:
    """Print what was done about unknown deliveries, grouped; with `addresses` one by one."""
    groups: dict[tuple[str, ...], list[Act]] = {}
    for act in done:
        alike = (act.incident, act.notice, act.channel, act.what, act.became, act.by, act.detail)
        groups.setdefault((*alike, act.address) if addresses else alike, []).append(act)
    if groups:
        show("\nWhat was done about unknown deliveries:")
    for some in groups.values():
        show(_act_line(some, zone, addresses))


def _act_line(some: list[Act], zone: ZoneInfo, addresses: bool) -> str:
    act = some[-1]
    to = shown_address(act.address, addresses) if len(some) == 1 else f"{len(some):,} readers"
    became = "" if act.what == "resend" else f": {act.became}"
    parts = (
        f"{act.at.astimezone(zone):%Y-%m-%d %H:%M}",
        act.incident,
        act.notice.replace(":", " "),
        NAMES[act.channel],
        to,
        f"{_DONE[act.what]} {act.by}{became}",
        act.detail,
    )
    return "  " + "  ".join(filter(None, parts))


def _line(told: Told, zone: ZoneInfo, addresses: bool) -> str:
    parts = (
        f"{told.changed_at.astimezone(zone):%H:%M:%S}",
        told.incident,
        told.notice.replace(":", " "),
        NAMES[told.channel],
        shown_address(told.address, addresses),
        *(told.state, told.provider, told.provider_id, told.reason),
        told.receipt and f"then {told.receipt}",
        told.receipt_detail,
    )
    return "  " + "  ".join(filter(None, parts))


def _table(record: Record, zone: ZoneInfo) -> str:
    """Return one row per notice, audience and channel: when, outcomes, providers, and the promise it made."""
    many, rows = len(record.tellings) > 1, []
    told = chain.from_iterable(record.tellings.values())
    both = ((each.first_at or each.frozen_at, each.last_at) for each in told)
    local = [at.astimezone(zone) for at in chain.from_iterable(both) if at]
    day = "%Y-%m-%d" if many or len({at.year for at in local}) > 1 else "%-d %b"
    letters = " %Z" if len({at.utcoffset() for at in local}) > 1 else ""
    for incident, tellings in record.tellings.items():
        for each in tellings:
            by = record.stated.get((incident, each.notice, each.channel, each.audience))
            at = each.first_at or each.frozen_at
            cells = (
                _span(at, each.last_at, zone, day, letters),
                f"update {each.number}" if each.shape == "update" else _name(each.notice),
                NAMES[each.channel],
                each.audience,
                ", ".join(_outcomes(each)),
                ", ".join(each.providers) or "-",
                clock_in(zone, by, at) if by else "-",
            )
            rows.append((incident, *cells) if many else cells)
    head = ("TIME", "NOTICE", "BY", "AUDIENCE", "OUTCOME", "THROUGH", "NEXT BY")
    return table(("ID", *head) if many else head, rows, DIM)


def _outcomes(each: Telling) -> Iterator[str]:
    """Yield the count of each outcome; what providers later said about accepted ones is in brackets."""
    for outcome, count in each.outcomes.items():
        if outcome in RECEIPTS:
            continue
        word = outcome.partition(":")[0]
        later = [f"{each.outcomes[kind]:,} {kind}" for kind in RECEIPTS if each.outcomes.get(kind)]
        also = f" ({', '.join(later)})" if later and outcome == "accepted" else ""
        yield f"{count:,} {word}{also}"


def _reasons(record: Record) -> Iterator[str]:
    """Yield why deliveries were rejected, wait or were skipped, each cause once with its count.

    What a server says differs from reader to reader: the words before the first colon are the cause.
    """
    causes: dict[tuple[str, str], str] = {}
    counts: Counter[str] = Counter()
    for one in record.said:
        if one.reason not in {"", NOT_BEGUN} and (word := _WITH_CAUSE.get(one.state)):
            cause = causes.setdefault((word, one.reason.partition(": ")[0]), f"{word}: {one.reason}")
            counts[cause] += one.count
    for each in chain.from_iterable(record.tellings.values()):
        counts.update({outcome: count for outcome, count in each.outcomes.items() if ": " in outcome})
    for outcome, count in counts.items():
        yield f"  {count:,} {outcome[:_LONGEST_REASON]}"


_LONGEST_REASON = 120
_WITH_CAUSE = {"rejected": "rejected", "pending": "waiting", "held": "waiting"}


def _nudge_line(each: StoryNudge, zone: ZoneInfo) -> str:
    at, by = each.at.astimezone(zone), NAMES.get(each.way, each.way)
    why = each.notice.split(":")[1] if ":" in each.notice else ""
    name = why if why in {"handover", "taken"} else _name(each.notice)
    return f"  {at.day:2} {at:%b %H:%M}  {name:<8}  {by:<7}  {each.count:,} {each.outcome}"


def _name(notice: str) -> str:
    """Return a notice as people call it: update 3, holding."""
    kind, _, rest = notice.partition(":")
    return f"{kind} {rest}" if rest.isdigit() else kind


def _span(first: datetime, last: datetime | None, zone: ZoneInfo, day: str, letters: str) -> str:
    """Return when the first and the last reader got it: 21 Nov 10:05-10:09."""
    start = first.astimezone(zone)
    until = clock_in(zone, last, first) if last else ""
    begun = f"{start:{day} %H:%M{letters}}"
    return f"{begun}-{until}" if until and until != f"{start:%H:%M}" else begun
