"""What was sent, to whom, and with what outcome."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby

from sqlalchemy import Connection, and_, case, func, or_, select

from commcast.ledger import tables
from commcast.ledger.fence import stops_in_force
from commcast.ledger.oncall import last_tick
from commcast.ledger.releases import read_releases
from commcast.ledger.suppressions import erased_among, suppressed_among
from commcast.ledger.tables import IS_FROZEN, IS_TEXT_PROMISE, MAYBE_TOLD, WAITING, State, one_of
from commcast.ledger.tallies import REASON, DeliveryCount, count_deliveries
from commcast.ledger.wrong_words import NOTHING_HEARD, told_wrong
from commcast.model.history import FormerReader, History, ReaderHistory, Said, WrongWords
from commcast.model.incident import Channel

_broadcast, _composition, _delivery = tables.frozen_broadcast, tables.composition, tables.delivery

# Another process may send to waiting readers at any moment: the end is prepared for them too, and the freeze
# skips it if they were not told (`finish_freeze`).
_TOLD_OR_WAITING = (*MAYBE_TOLD, *WAITING)


@dataclass(frozen=True, slots=True)
class Told:
    """One delivery, for the log. `receipt` is what its provider reported later, "" for nothing yet."""

    incident: str
    notice: str
    channel: str
    audience: str
    address: str
    state: State
    reason: str
    provider: str
    provider_id: str
    attempts: int
    changed_at: datetime
    receipt: str = ""
    receipt_at: datetime | None = None
    receipt_detail: str = ""


def histories(
    connection: Connection,
    secret: bytes,
    incident: str,
    notice: str,
    channel: str,
    keys: Sequence[str],
    wrong_words: Sequence[WrongWords] = (),
    merged: Sequence[str] = (),
) -> dict[str, ReaderHistory]:
    """Return what the ledger knows about those of `keys` that it knows; erased ones are found by their hash.

    `wrong_words` are those of this channel. Readers who were told of an incident `merged` into this one count
    as told of this one.
    """
    heard = _heard(connection, secret, (incident, *merged), notice, channel, keys)
    suppressed = suppressed_among(connection, secret, channel, keys)
    known = heard.states.keys() | heard.earlier | suppressed.keys()
    wrong = told_wrong(connection, incident, channel, keys, wrong_words)
    return {
        key: ReaderHistory(
            heard.states.get(key, ""),
            key in heard.told,
            suppressed.get(key, ""),
            promised=heard.promised.get(key),
            is_known=key in heard.earlier,
            told_wrong=wrong.get(key, NOTHING_HEARD).wrong,
            waits=wrong.get(key, NOTHING_HEARD).waits,
            heard=wrong.get(key, NOTHING_HEARD).up_to,
            news_waits=key in heard.news,
        )
        for key in known
    }


@dataclass(frozen=True, slots=True)
class _Heard:
    """By key: the state of this notice's delivery, who was told anything earlier, and what texts promised.

    `earlier` are all with an earlier delivery, whatever its outcome, `news` those to whom an update is still
    to be sent.
    """

    states: dict[str, str] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)
    earlier: set[str] = field(default_factory=set)
    news: set[str] = field(default_factory=set)
    promised: dict[str, datetime] = field(default_factory=dict)


def _heard(
    connection: Connection,
    secret: bytes,
    incidents: Sequence[str],
    notice: str,
    channel: str,
    keys: Sequence[str],
) -> _Heard:
    """Return what these readers were told of the first of these incidents, and those merged into it."""
    d, heard = _delivery.c, _Heard()
    if not _was_spoken_of(connection, incidents, channel):
        return heard
    by_hash = erased_among(connection, secret, channel, keys)
    rows = connection.execute(
        select(d.key, d.incident, d.notice, d.state, d.composition)
        .where(
            d.incident.in_(incidents),
            d.channel == channel,
            one_of(connection, d.key, [*keys, *by_hash]),
            IS_FROZEN,
        )
        .order_by(*([d.id] if channel == Channel.SMS else []))
    )
    latest: dict[str, int | None] = {}
    for row in rows:
        key = by_hash.get(row.key, row.key)
        if row.notice == notice and row.incident == incidents[0]:
            heard.states[key] = row.state
            continue
        heard.earlier.add(key)
        if row.state in WAITING and row.notice.startswith("update:"):
            heard.news.add(key)
        if row.state in _TOLD_OR_WAITING:
            heard.told.add(key)
            latest[key] = row.composition
    if channel == Channel.SMS and latest:
        promises = _text_promises(connection, incidents[0])
        heard.promised.update((key, at) for key, made in latest.items() if (at := promises.get(made)))
    return heard


def _text_promises(connection: Connection, incident: str) -> dict[int | None, datetime]:
    """Return, by composition, the time promised to readers who only get texts."""
    rows = connection.execute(
        select(_composition.c.id, _composition.c.next_update_by)
        .join(_broadcast, _broadcast.c.id == _composition.c.broadcast)
        .where(_broadcast.c.incident == incident, _broadcast.c.channel == Channel.SMS, IS_TEXT_PROMISE)
    )
    return {row.id: row.next_update_by for row in rows}


def _was_spoken_of(connection: Connection, incidents: Sequence[str], channel: str) -> bool:
    """Return whether there are any broadcasts to look through."""
    found = connection.execute(
        select(_broadcast.c.id)
        .where(_broadcast.c.incident.in_(incidents), _broadcast.c.channel == channel)
        .limit(1)
    )
    return found.one_or_none() is not None


def told_people(
    connection: Connection,
    incident: str,
    channel: str,
    notice: str,
    merged: Sequence[str] = (),
    told_from: int = 0,
) -> Iterator[FormerReader]:
    """Yield everybody who was told anything else of an incident on a channel, or waits to be, as last frozen.

    Readers of incidents `merged` into it count too. With `told_from`, only those count who were told that
    update or a newer one.
    """
    states = MAYBE_TOLD if told_from else _TOLD_OR_WAITING
    newer = select(_broadcast.c.id).where(_broadcast.c.incident == incident, _broadcast.c.number >= told_from)
    latest = (
        select(func.max(_delivery.c.id))
        .where(
            _delivery.c.incident.in_((incident, *merged)),
            _delivery.c.channel == channel,
            or_(_delivery.c.notice != notice, _delivery.c.incident != incident),
            _delivery.c.address != "",
            # Held deliveries have no words yet: earlier ones show the reader's zone and language.
            _delivery.c.composition.is_not(None),
            _delivery.c.state.in_(states),
            IS_FROZEN,
            *([_delivery.c.broadcast.in_(newer)] if told_from else []),
        )
        .group_by(_delivery.c.key)
    )
    rows = connection.execute(
        select(
            *(_delivery.c.key, _delivery.c.address, _delivery.c.audience),
            *(_composition.c.zone, _composition.c.locale, _delivery.c.recipient),
        )
        .join(_composition, _composition.c.id == _delivery.c.composition)
        .where(_delivery.c.id.in_(latest))
        .order_by(_delivery.c.id)
    )
    for row in rows:
        yield FormerReader(*row)


def count_skipped(connection: Connection, incident: str, notices: Collection[str], reason: str) -> int:
    """Count the deliveries of these notices that were skipped for this reason."""
    d = _delivery.c
    skipped = (d.state == State.SKIPPED, d.reason == reason, IS_FROZEN)
    wanted = (d.incident == incident, d.notice.in_(notices), *skipped)
    return connection.execute(select(func.count()).where(*wanted)).scalar_one()


def tallies(connection: Connection, incident: str | None = None) -> list[DeliveryCount]:
    """Count deliveries by notice, channel, audience, state and reason, in the order things were sent.

    Without an incident: of all incidents, without nudges to their own people.
    """
    wanted = None if incident is None else _delivery.c.incident == incident
    return count_deliveries(connection, wanted, REASON)


def deliveries(
    connection: Connection, incident: str, states: Sequence[State] = tuple(State)
) -> Iterator[Told]:
    """Yield an incident's deliveries in the order of freezing."""
    d = _delivery.c
    rows = connection.execute(
        select(
            *(d.incident, d.notice, d.channel, d.audience, d.address, d.state, d.reason),
            *(func.coalesce(column, "") for column in (d.provider, d.provider_id)),
            *(d.attempts, d.changed_at, func.coalesce(d.receipt, ""), d.receipt_at),
            func.coalesce(d.receipt_detail, ""),
        )
        .where(d.incident == incident, d.state.in_(states), IS_FROZEN)
        .order_by(d.id)
    )
    for row in rows:
        yield Told(*row)


def incident_history(connection: Connection, incident: str) -> History:
    """Return what was released and sent for an incident, and whether it is stopped."""
    frozen = connection.execute(
        select(_broadcast.c.notice, _broadcast.c.channel, _broadcast.c.number).where(
            _broadcast.c.incident == incident
        )
    ).all()
    told_up_to: dict[Channel, int] = {}
    for row in frozen:
        channel = Channel(row.channel)
        told_up_to[channel] = max(row.number, told_up_to.get(channel, 0))
    stops, words = stops_in_force(connection, incident), what_was_said(connection, incident)
    said = tuple(each for each in words if _is_live(each))
    return History(
        releases=read_releases(connection, incident),
        begun=frozenset((row.notice, Channel(row.channel)) for row in frozen),
        told_up_to=told_up_to,
        said=said,
        unsaid=(*(each for each in words if not _is_live(each)), *_held_for_the_night(connection, incident)),
        stopped_by=stops[0].by if stops else "",
        last_tick=last_tick(connection),
        correcting=bool(stops) and all(stop.is_for_correction for stop in stops),
    )


def _held_for_the_night(connection: Connection, incident: str) -> Iterator[Said]:
    """Yield what quiet hours hold back: its words are made when they end."""
    b, d = _broadcast.c, _delivery.c
    rows = connection.execute(
        select(b.notice, b.number, b.channel, d.audience, b.created_at)
        .join(_delivery, d.broadcast == b.id)
        .where(b.incident == incident, d.state == State.HELD, d.composition.is_(None))
        .group_by(b.id, d.audience)
        .order_by(b.id)
    )
    for notice, number, channel, audience, at in rows:
        yield Said(notice, number, Channel(channel), audience, at, None, heard=False, held=True)


def _is_live(said: Said) -> bool:
    return said.heard or said.waits or said.held


def what_was_said(connection: Connection, incident: str) -> tuple[Said, ...]:
    """Return what each audience was told on each channel, or may still be, oldest first.

    Also words that reached nobody and wait for nobody: refused, or given up.
    """
    b, c = _broadcast.c, _composition.c
    of_these = select(_delivery.c.id).where(_delivery.c.composition == c.id)
    states = (MAYBE_TOLD, (State.PENDING, State.CLAIMED), (State.HELD,))
    found_in = [case((of_these.where(_delivery.c.state.in_(some)).exists(), 1), else_=0) for some in states]
    by_text = and_(b.channel == Channel.SMS, IS_TEXT_PROMISE)
    groups = connection.execute(
        select(b.id, b.notice, b.number, b.channel, b.created_at, c.audience)
        .add_columns(c.next_update_by, case((by_text, 1), else_=0), *found_in)
        .join(_composition, c.broadcast == b.id)
        .where(b.incident == incident)
        .order_by(b.id, c.audience)
    )
    found: list[Said] = []
    for (_, notice, number, channel, at, audience), of_one in groupby(groups, key=lambda row: row[:6]):
        rows = list(of_one)
        # What was promised in words that reached nobody, and will not, was promised to nobody.
        live = [row for row in rows if any(row[8:])] or rows
        promises = [(row[6], row[7]) for row in live if row[6]]
        texts = tuple(sorted({by for by, is_text in promises if is_text}))
        earliest = min((by for by, _ in promises), default=None)
        flags = [any(row[place] for row in rows) for place in (8, 9, 10)]
        found.append(Said(notice, number, Channel(channel), audience, at, earliest, texts, *flags))
    return tuple(found)
