"""Rows of a list that is still going in are nobody's to see: every look-up answers as without them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, update

from commcast.ledger import broadcasts, chronicle, history, oncall, overview, suppressions, wrong_words
from commcast.ledger import tables as schema
from commcast.ledger.chronicle import Scope
from commcast.ledger.claims import ripe_now
from commcast.ledger.receipts import open_ids, open_providers
from commcast.ledger.releases import unfinished_incidents
from commcast.ledger.resolutions import candidates
from commcast.ledger.store import Ledger
from commcast.ledger.tables import State, stamp
from commcast.ledger.unknowns import Which, acts, count_open, doubt_groups, doubts, ids_of_others
from commcast.model.history import WrongWords
from commcast.model.incident import Channel
from commcast.plan.reasons import HELD_BACK
from tests.ledger.conftest import ask, do, rewrite
from tests.support.desk import NOW, fill

LATER = NOW + timedelta(minutes=10)
DEAD = "gone|boot|pid:[1]|1|1"
KEYS = ["a", "b", "c", *(state.value for state in State)]
SINCE = NOW - timedelta(days=1)
Look = Callable[[Connection], Any]


def put(ledger: Ledger, number: int, *, finish: bool, more: int = 0, **where: Any) -> None:
    """Fill a broadcast, and put its rows into every state there is, each as its state is named."""
    keys = [*KEYS, *(f"k{each}" for each in range(more))]
    of_it = schema.delivery.c.broadcast == fill(ledger, keys, number=number, finish=finish, **where).id
    d = schema.delivery.c
    for state in State:
        rewrite(ledger, of_it, d.key == state.value, state=state)
    rewrite(ledger, of_it, d.state == State.HELD, not_before=stamp(NOW))
    rewrite(ledger, of_it, d.state == State.SKIPPED, reason=HELD_BACK)
    taken = {"provider": "fake", "provider_id": "its-" + d.key, "claimed_at": stamp(NOW)}
    rewrite(ledger, of_it, d.state.in_([State.ACCEPTED, State.UNKNOWN]), **taken)
    rewrite(ledger, of_it, d.state == State.ACCEPTED, receipt="delivered")


@pytest.fixture
def told(ledger: Ledger) -> Ledger:
    """A ledger in which something of everything was told: two incidents, both channels, a nudge."""
    put(ledger, 1, finish=True, status="investigating")
    put(ledger, 1, finish=True, channel="sms")
    put(ledger, 2, finish=True, status="identified")
    put(ledger, 1, finish=True, incident="~pay7")
    put(ledger, 1, finish=True, incident="web1")
    call_nudge(ledger, "nudge:draft:1", "update:1")
    web = {"incident": "web1", "number": 1, "digest": "x", "title": "Web", "status": "investigating"}
    more = {"severity": 2, "facts": {}, "at": NOW, "released_at": NOW, "how": "yes", "by": "dana"}
    do(ledger, lambda c: c.execute(schema.release.insert().values(**web, **more)))
    do(ledger, suppressions.note_held_back, "email", NOW)
    return ledger


def call_nudge(ledger: Ledger, name: str, notice: str) -> None:
    """Give what the incidents' own people are told its right name."""
    for table in (schema.broadcast, schema.delivery):
        own = (table.c.incident.like("~%"), table.c.notice == notice)
        do(ledger, lambda c, of=table, own=own: c.execute(update(of).where(*own).values(notice=name)))


def being_frozen(ledger: Ledger, owner: str, more: int) -> None:
    """Let lists go in beside all that: newer and older words, other channels, nudges, an incident's first."""
    for incident, number, channel in (
        *(("pay7", 3, "email"), ("pay7", 3, "sms"), ("pay7", 0, "email"), ("web1", 2, "email")),
        *(("new1", 1, "email"), ("~pay7", 2, "email"), ("~new1", 2, "sms")),
    ):
        where = {"incident": incident, "channel": channel, "owner": owner, "now": LATER}
        put(ledger, number, finish=False, more=more, **where)
    call_nudge(ledger, "nudge:draft:2", "update:2")


WRONG = [WrongWords(each, Channel.EMAIL, "customers", 9, "said", NOW) for each in range(1, 20)]


def lately(look: Callable[..., Any], *given: Any) -> Look:
    return lambda c: look(c, suppressions.look_back(c, "pay7", "update:9", "email", LATER, cap=1), *given)


def heard(channel: str, notice: str) -> Look:
    return lambda c: history.histories(c, b"secret", "pay7", notice, channel, KEYS, WRONG, ["new1"])


PLEDGES: tuple[Callable[..., Any], ...] = (chronicle.read_promised, chronicle.read_stated)
LOOKUPS: dict[str, Look] = {
    **{f"readers of {of}": heard(*of.split()) for of in ("email update:3", "email update:2", "sms update:3")},
    "who was told before": lambda c: list(history.told_people(c, "pay7", "email", "update:9", ["new1"])),
    "told from an update on": lambda c: list(history.told_people(c, "pay7", "email", "update:9", (), 3)),
    "skipped ones": lambda c: history.count_skipped(c, "pay7", {"update:2", "update:3"}, HELD_BACK),
    "tallies": lambda c: [history.tallies(c, name) for name in (None, "pay7", "new1")],
    "the log": lambda c: list(history.deliveries(c, "pay7")),
    "histories": lambda c: [history.incident_history(c, name) for name in ("pay7", "new1")],
    "what was said": lambda c: history.what_was_said(c, "pay7"),
    "broadcasts": lambda c: [broadcasts.broadcasts_of(c, name) for name in ("pay7", "new1")],
    "open broadcasts": broadcasts.open_broadcasts,
    "held rows": lambda c: [broadcasts.held_rows(c, name, LATER) for name in ("pay7", "new1")],
    "what may go now": lambda c: list(ripe_now(c, LATER)),
    "unfinished incidents": unfinished_incidents,
    "frozen words": lambda c: list(wrong_words.frozen_words(c, "pay7")),
    "who heard wrong words": lambda c: wrong_words.told_wrong(c, "pay7", "email", KEYS, WRONG),
    "on their way": lambda c: wrong_words.on_their_way(c, "pay7"),
    "other stories": lambda c: wrong_words.other_stories(c, "pay7"),
    "told of another story": lambda c: [
        wrong_words.told_among(c, story, KEYS) for story in wrong_words.other_stories(c, "pay7")
    ],
    "counts by broadcast": overview.count_broadcasts,
    "under way": lambda c: overview.under_way(overview.count_broadcasts(c)),
    "overviews": overview.overviews,
    "report: counts": lambda c: chronicle.read_counted(c, Scope(since=SINCE)),
    "report: counts of nudges": lambda c: chronicle.read_counted(c, Scope("~pay7")),
    "report: promises, those stated": lambda c: [look(c, Scope("pay7")) for look in PLEDGES],
    "report: texts": lambda c: (chronicle.read_texts(c, Scope("pay7")), chronicle.read_texts_sent(c, "pay7")),
    "report: words": lambda c: chronicle.read_words_sent(c, "pay7"),
    "report: accepted": lambda c: chronicle.messages_accepted(c, "pay7"),
    "nudges given": lambda c: (oncall.nudges_given(c, "pay7"), oncall.nudges_given(c, "new1")),
    "last nudges": oncall.last_nudges,
    "why a nudge reached nobody": lambda c: oncall.failures(c, "pay7", "nudge:draft:2"),
    "what a tick asks": lambda c: oncall.tick_snapshot(c, with_command=False),
    "providers to ask for receipts": lambda c: open_providers(c, SINCE),
    "ids to ask for receipts": lambda c: open_ids(c, "fake", Channel.EMAIL, SINCE),
    "unknown ones by group": lambda c: doubt_groups(c, Which()),
    "unknown ones": lambda c: doubts(c, Which(), ["", "fake"], after=0, limit=1000),
    "unknown ones to decide about": lambda c: candidates(c, Which(), LATER),
    "ids of others": lambda c: ids_of_others(c, "email", KEYS, ()),
    "acts": lambda c: list(acts(c, "pay7")),
    "open ones": count_open,
    "what spoke lately": lambda c: suppressions.look_back(c, "pay7", "update:9", "email", LATER, cap=1),
    "messages lately": lately(suppressions.messages_lately, "pay7", KEYS),
    "held back since": lately(suppressions.held_back_since, KEYS, HELD_BACK),
}  # fmt: skip


@pytest.mark.parametrize("more", [0, 2000], ids=["small", "large"])
def test_every_look_up_answers_as_without_a_list_that_is_going_in(told: Ledger, more: int) -> None:
    before = ask(told, lambda connection: {name: look(connection) for name, look in LOOKUPS.items()})
    being_frozen(told, DEAD if more else "elsewhere|boot|pid:[1]|11|99", more)
    after = ask(told, lambda connection: {name: look(connection) for name, look in LOOKUPS.items()})
    assert [name for name in LOOKUPS if after[name] != before[name]] == []


def test_newer_words_end_nothing_of_a_list_that_is_going_in_nor_wait_for_it(ledger: Ledger) -> None:
    """The end goes to readers for whom, but for such rows, nothing waits."""
    fill(ledger, ["a"], finish=False, status="investigating")
    fill(ledger, ["a"], number=2, status="resolved")
    rows = ask(ledger, lambda c: c.execute(schema.delivery.select().order_by(schema.delivery.c.id)).all())
    assert [(row.notice, row.state) for row in rows] == [("update:1", "pending"), ("update:2", "pending")]
