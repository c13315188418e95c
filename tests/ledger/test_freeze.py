"""Freezing: all channels open at once or none, a dead process's half is taken over, newer words end older."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from commcast.errors import TryAgain
from commcast.ledger import broadcasts as freeze
from commcast.ledger import tables as schema
from commcast.ledger.broadcasts import FREEZE_LEASE, finish_freeze, held_rows, open_broadcasts
from commcast.ledger.history import deliveries
from commcast.ledger.store import Ledger
from commcast.ledger.tables import BroadcastState, State
from commcast.model.message import OutcomeKind
from tests.ledger.conftest import ask, do, rewrite
from tests.support.desk import ME, NOW, OTHER, ROW, WORDS, answer, claim, fill, said, states, told, yes_to

TICK = timedelta(microseconds=1)
FIRST: dict[str, Any] = {"incident": "pay7", "notice": "update:1", "number": 1, "channel": "email"}
HELD = replace(ROW, state=State.HELD)


def compositions(ledger: Ledger) -> int:
    return len(ask(ledger, lambda c: c.execute(schema.composition.select()).all()))


WHO: dict[str, tuple[bool, str, timedelta, bool, bool]] = {
    "frozen": (True, OTHER, FREEZE_LEASE, True, False),
    "a living process's": (False, OTHER, FREEZE_LEASE - TICK, False, False),
    "a dead process's half": (False, OTHER, timedelta(), True, True),
    "its own half": (False, ME, timedelta(), False, True),
    "one that never ended, wherever it ran": (False, OTHER, FREEZE_LEASE, False, True),
}


@pytest.mark.parametrize("name", WHO)
def test_who_fills_a_broadcast(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """What is taken over is empty; who lost it puts nothing more in, and does not open it."""
    finish, owner, later, dead, mine = WHO[name]
    there = fill(ledger, "a", finish=finish)
    monkeypatch.setattr(freeze, "is_dead", lambda who: dead and who == ME)
    found, to_fill = do(ledger, freeze.begin_freeze, owner=owner, now=NOW + later, **FIRST)
    state = BroadcastState.FROZEN if finish else BroadcastState.FREEZING
    assert (found.id, found.owner, found.state, to_fill) == (there.id, owner if mine else ME, state, mine)
    assert found == ask(ledger, freeze.find_broadcast, "pay7", "update:1", "email")
    assert (states(ledger), compositions(ledger)) == (({}, 0) if mine else ({"a": "pending"}, 1))
    if owner == OTHER and mine:
        assert do(ledger, freeze.begin_freeze, owner=ME, now=NOW + later, **FIRST) == (found, False)
        assert not do(ledger, finish_freeze, [there], ME, NOW)
        with pytest.raises(TryAgain, match="taken this broadcast over"):
            do(ledger, freeze.add_rows, there, [replace(ROW, key="b", address="b")], NOW)
        assert states(ledger) == {}


def test_nothing_opens_unless_all_can_and_then_once(ledger: Ledger) -> None:
    mine = fill(ledger, "a", finish=False)
    theirs = fill(ledger, ["+1"], channel="sms", owner=OTHER, finish=False)
    assert not do(ledger, finish_freeze, [mine, theirs], ME, NOW)
    assert (claim(ledger, mine).claims, claim(ledger, theirs).claims) == ((), ())
    assert do(ledger, finish_freeze, [mine], ME, NOW)
    assert not do(ledger, finish_freeze, [mine], ME, NOW)
    with pytest.raises(TryAgain):  # nothing goes into a list that is frozen
        do(ledger, freeze.add_rows, mine, [replace(ROW, key="b", address="b")], NOW)
    assert told(ledger).keys() == {"a", "+1"}


def test_dropping_takes_back_rows_and_words_of_ones_own_unopened_broadcasts(ledger: Ledger) -> None:
    half = fill(ledger, "a", finish=False)
    whole = fill(ledger, "b", number=2)
    theirs = fill(ledger, "c", number=3, owner=OTHER, finish=False)
    do(ledger, freeze.drop_freeze, [half, whole, theirs], ME)
    assert (states(ledger), compositions(ledger)) == ({"b": "pending", "c": "pending"}, 2)
    assert [b.number for b in ask(ledger, freeze.broadcasts_of, "pay7")] == [2]
    assert ask(ledger, freeze.find_broadcast, "pay7", "update:1", "email") is None
    assert ask(ledger, freeze.find_broadcast, "pay7", "update:3", "email") == theirs


WAYS: dict[str, dict[str, Any]] = {name: {"status": name} for name in ("resolved", "completed")}
WAYS |= {
    "sms": {"channel": "sms"},
    "web1": {"incident": "web1"},
    "held": {"row": HELD},
    "half": {"finish": False},
}


def play(ledger: Ledger, steps: str) -> list[str]:
    """Freeze updates ("number ways: keys"), and let something happen to one of the first; return all rows."""
    made = []
    for step in steps.split(" / "):
        how, is_update, keys = step.partition(": ")
        if is_update:
            number, *ways = how.split()
            more = {name: value for way in ways for name, value in WAYS[way].items()}
            made.append(fill(ledger, keys.split(), number=int(number), **more))
        elif step == "elsewhere":
            do(ledger, yes_to, 1, "investigating", how="elsewhere")
        elif step == "doubt":
            rewrite(ledger, state=State.PENDING, doubted=1)
        elif step == "open":
            assert do(ledger, finish_freeze, made[-1:], ME, NOW)
        else:
            (taken,) = claim(ledger, made[0], 1).claims
            kinds = [OutcomeKind(step)] if step != "claim" else []
            answer(ledger, made[0], [said(taken.delivery, kind) for kind in kinds])
    found = [*ask(ledger, deliveries, "pay7"), *ask(ledger, deliveries, "web1")]
    where = {("email", "pay7"): "", ("sms", "pay7"): " sms", ("email", "web1"): " web1"}
    rows = ((f"{r.notice[-1]}{where[r.channel, r.incident]} {r.address}", r.state, r.reason) for r in found)
    shown = {"superseded": "ended", "was never told that it began": "never began"}
    return [f"{row}: {shown.get(why, state)}" for row, state, why in rows]


STORIES = """
newer words end what still waits of older ones
1: a b c d / accepted / 1 sms held: b / 2: a b c
1 a: accepted, 1 b: ended, 1 c: ended, 1 d: pending, 1 sms b: held, 2 a: pending, 2 b: pending, 2 c: pending
older ones frozen late end nothing, nor newer ones of another incident
1 web1: a / 2: a / 1: a
2 a: pending, 1 a: pending, 1 web1 a: pending
after the end nobody hears of the beginning, on a list or not
1: told waits gone / accepted / 2 resolved: told waits
1 told: accepted, 1 waits: ended, 1 gone: ended, 2 told: pending, 2 waits: never began
who is being told while the end is made ready gets it
1: a b / 2 resolved half: a b / claim / open
1 a: claimed, 1 b: ended, 2 a: pending, 2 b: never began
who may have heard some of it gets the end
1: a / unknown / 2: a / 3 resolved: a
1 a: unknown, 2 a: ended, 3 a: pending
who waits for a second copy gets the end instead
1: a / unknown / doubt / 2 resolved: a
1 a: ended, 2 a: pending
an end ends nothing on another channel or of another incident
1 web1: a / 1 sms: a / 2 resolved: a
1 sms a: pending, 2 a: pending, 1 web1 a: pending
who heard of it before this ledger gets the end
elsewhere / 2: a / 3 resolved: a
2 a: ended, 3 a: pending
who wants the end only gets it
1: a / 2 completed: a end-only
1 a: ended, 2 a: pending, 2 end-only: pending
""".strip().splitlines()


@pytest.mark.parametrize("number", range(0, len(STORIES), 3), ids=STORIES[::3])
def test_what_newer_words_end(ledger: Ledger, number: int) -> None:
    """What was given up is skipped, but unknown if it may have arrived."""
    steps, found = STORIES[number + 1 : number + 3]
    assert ", ".join(play(ledger, steps)) == found
    ended = {row.state for row in told(ledger).values() if row.reason == "superseded"}
    assert ended <= {State.UNKNOWN if "doubt" in steps else State.SKIPPED}


def test_open_broadcasts_are_the_frozen_ones_with_something_left(ledger: Ledger) -> None:
    done = fill(ledger, "a", incident="done1")
    taken = claim(ledger, done).claims[0]
    answer(ledger, done, [said(taken.delivery, OutcomeKind.ACCEPTED)])
    fill(ledger, "a", incident="half1", finish=False)
    for name, state in (("pend1", State.PENDING), ("held1", State.HELD), ("skip1", State.SKIPPED)):
        fill(ledger, "a", incident=name, row=replace(ROW, state=state))
    assert not ask(ledger, freeze.is_anything_claimed, "take1")
    claim(ledger, fill(ledger, "a", incident="take1"))
    assert [ask(ledger, freeze.is_anything_claimed, each) for each in ("take1", "pend1")] == [True, False]
    assert [b.incident for b in ask(ledger, open_broadcasts)] == ["pend1", "held1", "take1"]
    assert [b.incident for b in ask(ledger, open_broadcasts, "held1")] == ["held1"]


def test_held_rows_come_up_at_their_time_and_thaw_once(ledger: Ledger) -> None:
    """What waits for a provider is not held."""
    until = NOW + timedelta(hours=5)
    other = fill(ledger, "a")
    mine = claim(ledger, other).claims[0]
    answer(ledger, other, [said(mine.delivery, OutcomeKind.NOT_TAKEN, wait=timedelta(0))])
    broadcast = fill(ledger, ["+1", "+2"], channel="sms", row=replace(HELD, not_before=until))
    assert ask(ledger, held_rows, "pay7", until - TICK) == ask(ledger, held_rows, "web1", until) == ()
    first, second = ask(ledger, held_rows, "pay7", until)
    words = do(ledger, freeze.add_composition, broadcast.id, WORDS)
    do(ledger, freeze.thaw_row, first, replace(ROW, composition=words), until)
    do(ledger, freeze.thaw_row, second, replace(ROW, state=State.SKIPPED, reason="over"), until)
    do(ledger, freeze.thaw_row, second, replace(ROW, composition=words), until)
    assert ask(ledger, held_rows, "pay7", until) == ()
    assert states(ledger) == {"a": "pending", "+1": "pending", "+2": "skipped"}
    assert told(ledger)["+2"].reason == "over"
    assert [c.key for c in claim(ledger, broadcast, now=until).claims] == ["+1"]
