"""What the ledger knows of each reader of a notice, and who was told before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from commcast.config.settings import Config
from commcast.ledger.store import Ledger
from commcast.model.history import NOBODY_KNOWS, FormerReader, ReaderHistory
from commcast.plan.notices import Notice

# Ask the ledger for the standing of many addresses, those that it knows nothing of left out; and for who was
# told, but may be on no list any more.
Lookup = Callable[[Notice, Sequence[str]], Mapping[str, ReaderHistory]]
ToldBefore = Callable[[Notice], Iterable[FormerReader]]


def lookup_in(ledger: Ledger, config: Config, now: datetime) -> Lookup:
    """Return what asks a ledger for the standing of many addresses."""
    from commcast.ledger.history import histories
    from commcast.ledger.suppressions import Recently, held_back_since, look_back, messages_lately
    from commcast.plan.readers import is_never_held_back
    from commcast.plan.reasons import HELD_BACK

    recently: dict[str, Recently] = {}  # one notice is looked up: what spoke lately is found out once

    def lookup(notice: Notice, keys: Sequence[str]) -> Mapping[str, ReaderHistory]:
        incident, channel = notice.incident, notice.channel
        with ledger.read() as connection:
            found = histories(
                connection,
                ledger.secret,
                incident,
                notice.id,
                channel,
                keys,
                notice.wrong_words,
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
            history = found.get(key, NOBODY_KNOWS)
            found[key] = history._replace(lately=lately.get(key, 0), held_back=held_back[key])
        return found

    return lookup


def told_before_in(ledger: Ledger) -> ToldBefore:
    """Return what asks a ledger for those who were told before."""
    from commcast.ledger.history import told_people

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
