"""Rows of a list that is still going in are nobody's to see: every look-up answers as without them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, update

from commcast.ledger import tables as schema
from commcast.ledger.broadcasts import Broadcast, broadcasts_of, held_rows, open_broadcasts
from commcast.ledger.chronicle import (
    Scope,
    messages_accepted,
    read_counted,
    read_promised,
    read_stated,
    read_texts,
    read_texts_sent,
)
from commcast.ledger.claims import ripe_now
from commcast.ledger.history import (
    count_skipped,
    deliveries,
    histories,
    incident_history,
    tallies,
    told_people,
    what_was_said,
)
from commcast.ledger.oncall import failures, last_nudges, nudges_given, tick_snapshot
from commcast.ledger.overview import count_broadcasts, overviews, under_way
from commcast.ledger.receipts import open_ids, open_providers
from commcast.ledger.releases import unfinished_incidents
from commcast.ledger.resolutions import candidates
from commcast.ledger.store import Ledger
from commcast.ledger.suppressions import held_back_since, look_back, messages_lately
from commcast.ledger.tables import State, stamp
from commcast.ledger.unknowns import Which, acts, count_open, doubt_groups, doubts, ids_of_others
from commcast.ledger.wrong_words import frozen_words, on_their_way, other_stories, told_among, told_wrong
from commcast.model.history import WrongWords
from commcast.model.incident import Channel
from commcast.plan.reasons import HELD_BACK
from tests.support.desk import NOW, fill

LATER = NOW + timedelta(minutes=10)
DEAD = "gone|boot|pid:[1]|1|1"
KEYS = ["a", "b", "c", *(state.value for state in State)]
SINCE = NOW - timedelta(days=1)


def spread(ledger: Ledger, broadcast: Broadcast) -> None:
    """Put the rows of a broadcast into every state there is, each as its state is named."""
    d = schema.delivery.c
    of_it = update(schema.delivery).where(d.broadcast == broadcast.id)
    with ledger.write() as connection:
        for state in State:
            connection.execute(of_it.where(d.key == state.value).values(state=state))
        connection.execute(of_it.where(d.state == State.HELD).values(not_before=stamp(NOW)))
        connection.execute(of_it.where(d.state == State.SKIPPED).values(reason=HELD_BACK))
        ended = d.state.in_([State.ACCEPTED, State.UNKNOWN])
        taken = {"provider": "fake", "provider_id": "its-" + d.key, "claimed_at": stamp(NOW)}
        connection.execute(of_it.where(ended).values(**taken))
        connection.execute(of_it.where(d.state == State.ACCEPTED).values(receipt="delivered"))


def put(ledger: Ledger, number: int, *, finish: bool, more: int = 0, **where: Any) -> Broadcast:
    keys = [*KEYS, *(f"k{each}" for each in range(more))]
    broadcast = fill(ledger, keys, number=number, finish=finish, **where)
    spread(ledger, broadcast)
    return broadcast


@pytest.fixture
def told(ledger: Ledger) -> Ledger:
    """A ledger in which something of everything was told: two incidents, both channels, a nudge."""
    put(ledger, 1, finish=True, status="investigating")
    put(ledger, 1, finish=True, channel="sms")
    put(ledger, 2, finish=True, status="identified")
    put(ledger, 1, finish=True, incident="~pay7")
    put(ledger, 1, finish=True, incident="web1")
    with ledger.write() as connection:
        nudge = schema.broadcast.c.incident == "~pay7"
        for table in (schema.broadcast, schema.delivery):
            of_nudge = table.c.incident == "~pay7"
            connection.execute(update(table).where(of_nudge).values(notice="nudge:draft:1"))
        assert connection.execute(schema.broadcast.select().where(nudge)).all()
        release = {"digest": "x", "title": "Web", "status": "investigating", "severity": 2, "facts": {}}
        times = {"at": stamp(NOW), "released_at": stamp(NOW), "how": "yes", "by": "dana"}
        connection.execute(schema.release.insert().values(incident="web1", number=1, **release, **times))
        connection.execute(schema.meta.insert().values(name="held_back:email", value=stamp(NOW)))
    return ledger


def being_frozen(ledger: Ledger, owner: str, more: int) -> None:
    """Let lists go in beside all that: newer and older words, other channels, nudges, an incident's first."""
    for incident, number, channel in (
        ("pay7", 3, "email"),
        ("pay7", 3, "sms"),
        ("pay7", 0, "email"),
        ("web1", 2, "email"),
        ("new1", 1, "email"),
        ("~pay7", 2, "email"),
        ("~new1", 2, "sms"),
    ):
        put(
            ledger,
            number,
            finish=False,
            more=more,
            incident=incident,
            channel=channel,
            owner=owner,
            now=LATER,
        )
    with ledger.write() as connection:
        for table in (schema.broadcast, schema.delivery):
            of_nudge = (table.c.incident.like("~%"), table.c.notice == "update:2")
            connection.execute(update(table).where(*of_nudge).values(notice="nudge:draft:2"))


def wrong_words() -> list[WrongWords]:
    return [WrongWords(each, Channel.EMAIL, "customers", 9, "said", NOW) for each in range(1, 20)]


def lately(connection: Connection) -> dict[str, int]:
    recently = look_back(connection, "pay7", "update:9", "email", LATER, cap=1)
    return messages_lately(connection, recently, "pay7", KEYS)


def held_back(connection: Connection) -> dict[str, int]:
    recently = look_back(connection, "pay7", "update:9", "email", LATER, cap=1)
    return held_back_since(connection, recently, KEYS, HELD_BACK)


def heard(channel: str, notice: str) -> Callable[[Connection], Any]:
    return lambda c: histories(c, b"secret", "pay7", notice, channel, KEYS, wrong_words(), ["new1"])


LOOKUPS: dict[str, Callable[[Connection], Any]] = {
    "readers of the next update": heard("email", "update:3"),
    "readers of an update that was told": heard("email", "update:2"),
    "readers by text": heard("sms", "update:3"),
    "who was told before": lambda c: list(told_people(c, "pay7", "email", "update:9", ["new1"])),
    "who was told from an update on": lambda c: list(told_people(c, "pay7", "email", "update:9", (), 3)),
    "skipped ones": lambda c: count_skipped(c, "pay7", {"update:2", "update:3"}, HELD_BACK),
    "tallies": lambda c: tallies(c, "pay7"),
    "tallies of all": tallies,
    "tallies of one that is only being frozen": lambda c: tallies(c, "new1"),
    "the log": lambda c: list(deliveries(c, "pay7")),
    "an incident's history": lambda c: incident_history(c, "pay7"),
    "the history of a new one": lambda c: incident_history(c, "new1"),
    "what was said": lambda c: what_was_said(c, "pay7"),
    "broadcasts": lambda c: broadcasts_of(c, "pay7"),
    "broadcasts of a new one": lambda c: broadcasts_of(c, "new1"),
    "open broadcasts": open_broadcasts,
    "held rows": lambda c: held_rows(c, "pay7", LATER),
    "held rows of a new one": lambda c: held_rows(c, "new1", LATER),
    "what may go now": lambda c: list(ripe_now(c, LATER)),
    "unfinished incidents": unfinished_incidents,
    "frozen words": lambda c: list(frozen_words(c, "pay7")),
    "who heard wrong words": lambda c: told_wrong(c, "pay7", "email", KEYS, wrong_words()),
    "on their way": lambda c: on_their_way(c, "pay7"),
    "other stories": lambda c: other_stories(c, "pay7"),
    "told of another story": lambda c: [told_among(c, each, KEYS) for each in other_stories(c, "pay7")],
    "counts by broadcast": count_broadcasts,
    "under way": lambda c: under_way(count_broadcasts(c)),
    "overviews": overviews,
    "report: counts": lambda c: read_counted(c, Scope(since=SINCE)),
    "report: counts of nudges": lambda c: read_counted(c, Scope("~pay7")),
    "report: promises": lambda c: read_promised(c, Scope("pay7")),
    "report: promises stated": lambda c: read_stated(c, Scope("pay7")),
    "report: texts": lambda c: read_texts(c, Scope("pay7")),
    "report: texts sent": lambda c: read_texts_sent(c, "pay7"),
    "report: accepted": lambda c: messages_accepted(c, "pay7"),
    "nudges given": lambda c: (nudges_given(c, "pay7"), nudges_given(c, "new1")),
    "last nudges": last_nudges,
    "why a nudge reached nobody": lambda c: failures(c, "pay7", "nudge:draft:2"),
    "what a tick asks": lambda c: tick_snapshot(c, with_command=False),
    "providers to ask for receipts": lambda c: open_providers(c, SINCE),
    "ids to ask for receipts": lambda c: open_ids(c, "fake", Channel.EMAIL, SINCE),
    "unknown ones by group": lambda c: doubt_groups(c, Which()),
    "unknown ones": lambda c: doubts(c, Which(), ["", "fake"], after=0, limit=1000),
    "unknown ones to decide about": lambda c: candidates(c, Which(), LATER),
    "ids of others": lambda c: ids_of_others(c, "email", KEYS, ()),
    "acts": lambda c: list(acts(c, "pay7")),
    "open ones": count_open,
    "what spoke lately": lambda c: look_back(c, "pay7", "update:9", "email", LATER, cap=1),
    "messages lately": lately,
    "held back since": held_back,
}  # fmt: skip


@pytest.mark.parametrize("more", [0, 2000], ids=["small", "large"])
def test_every_look_up_answers_as_without_a_list_that_is_going_in(told: Ledger, more: int) -> None:
    with told.read() as connection:
        before = {name: look(connection) for name, look in LOOKUPS.items()}
    being_frozen(told, DEAD if more else "elsewhere|boot|pid:[1]|11|99", more)
    with told.read() as connection:
        after = {name: look(connection) for name, look in LOOKUPS.items()}
    assert [name for name in LOOKUPS if after[name] != before[name]] == []


def test_newer_words_end_nothing_of_a_list_that_is_going_in_nor_wait_for_it(ledger: Ledger) -> None:
    """The end goes to readers for whom, but for such rows, nothing waits."""
    fill(ledger, ["a"], finish=False, status="investigating")
    fill(ledger, ["a"], number=2, status="resolved")
    with ledger.read() as connection:
        rows = connection.execute(schema.delivery.select().order_by(schema.delivery.c.id)).all()
    assert [(row.notice, row.state) for row in rows] == [("update:1", "pending"), ("update:2", "pending")]
