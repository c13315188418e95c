"""Asks the ledger what a plan needs of readers and of earlier words: who heard what, what was wrong of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from commcast.config import Config
from commcast.ledger.freeze import broadcasts_of
from commcast.ledger.merged import merged_into
from commcast.ledger.store import Ledger
from commcast.model import Channel, Incident, Update
from commcast.plan.corrections import correcting
from commcast.plan.notices import Notice, newest_released
from commcast.standing import NOBODY_KNOWS, IncidentStanding, PersonStanding

# Lists and words are imported where something is owed: most ticks find nothing.
if TYPE_CHECKING:
    from commcast.listeners import FormerReader
    from commcast.owed import Lookup, ToldBefore


def with_earlier_words(
    config: Config, incident: Incident, standing: IncidentStanding, ledger: Ledger | None
) -> IncidentStanding:
    """Return the standing with what of earlier words matters to the newest, where these are still to go."""
    newest = newest_released(incident, standing)
    if newest is None or any(f"update:{newest.number}" == notice for notice, _ in standing.begun):
        return standing
    return _with_merged(newest, incident, with_mistakes(config, incident, standing, ledger), ledger)


def with_mistakes(
    config: Config, incident: Incident, standing: IncidentStanding, ledger: Ledger | None
) -> IncidentStanding:
    """Return the standing with the frozen words that were corrected since."""
    corrections = correcting(incident, standing)
    if ledger is None or not corrections:
        return standing
    from commcast.tracing import trace

    with ledger.read() as connection:
        return replace(standing, misstated=trace(connection, incident, corrections, config.zone))


def _with_merged(
    newest: Update, incident: Incident, standing: IncidentStanding, ledger: Ledger | None
) -> IncidentStanding:
    """Return the standing with the incidents that go on as this one, where its end is to be told."""
    if ledger is None or not newest.is_end:
        return standing
    with ledger.read() as connection:
        merged = merged_into(connection, incident.id)
        channels = frozenset(
            Channel(each.channel) for name in merged for each in broadcasts_of(connection, name)
        )
    return replace(standing, merged=merged, merged_on=channels)


def lookup_in(ledger: Ledger, config: Config, now: datetime) -> Lookup:
    """Return what asks a ledger for the standing of many addresses."""
    from commcast.ledger.history import standings
    from commcast.ledger.recent import Recently, held_back_since, look_back, messages_lately
    from commcast.plan.people import is_never_held_back
    from commcast.plan.reasons import HELD_BACK

    recently: dict[str, Recently] = {}  # one notice is looked up: what spoke lately is found out once

    def lookup(notice: Notice, keys: Sequence[str]) -> Mapping[str, PersonStanding]:
        incident, channel = notice.incident, notice.channel
        with ledger.read() as connection:
            found = standings(
                connection,
                ledger.secret,
                incident,
                notice.id,
                channel,
                keys,
                notice.misstated,
                notice.merged,
            )
            if notice.id not in recently:
                cap = None if is_never_held_back(notice) else config.send.most_an_hour
                recently[notice.id] = look_back(connection, incident, notice.id, channel, now, cap=cap)
            if recently[notice.id].is_quiet:
                return found
            lately = messages_lately(connection, recently[notice.id], incident, keys)
            held_back = held_back_since(connection, recently[notice.id], keys, HELD_BACK)
        for key in lately.keys() | held_back.keys():
            standing = found.get(key, NOBODY_KNOWS)
            found[key] = standing._replace(lately=lately.get(key, 0), held_back=held_back[key])
        return found

    return lookup


def told_before_in(ledger: Ledger) -> ToldBefore:
    """Return what asks a ledger for those who were told before."""
    from commcast.ledger.history import told_people
    from commcast.listeners import FormerReader

    def told_before(notice: Notice) -> Iterable[FormerReader]:
        with ledger.read() as connection:
            people = told_people(
                connection, notice.incident, notice.channel, notice.id, notice.merged, notice.told_from
            )
            for person in people:
                yield FormerReader(
                    person.key, person.address, person.audience, person.zone, person.locale, person.recipient
                )

    return told_before
