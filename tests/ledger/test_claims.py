"""Claims: one owner a delivery, settled by that owner alone, never back from unknown; pace and owners."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from commcast.ledger import broadcasts, claims, fence, releases, settle
from commcast.ledger import tables as schema
from commcast.ledger.broadcasts import Broadcast, FrozenRow
from commcast.ledger.history import deliveries
from commcast.ledger.settle import SendLimit, close, closed_until, current_owner, is_dead, pauses, settle_lost
from commcast.ledger.store import Ledger, open_ledger
from commcast.ledger.suppressions import Suppression, list_suppressions, suppress, suppress_refused
from commcast.ledger.tables import ALL_INCIDENTS, State, stamp
from commcast.model.message import OutcomeKind
from tests.ledger.conftest import ask, do, plans_of, rewrite
from tests.support import desk
from tests.support.desk import LEASE, ME, NOW, OTHER, ROW, answer, claim, fill, said, states, told
from tests.support.values import cases

ACCEPTED, REJECTED, NOT_TAKEN = OutcomeKind.ACCEPTED, OutcomeKind.REJECTED, OutcomeKind.NOT_TAKEN
DEAD = "elsewhere|boot|pid:[1]|12|99"
TICK = timedelta(microseconds=1)


def one(ledger: Ledger, **row: Any) -> tuple[Broadcast, int]:
    """Freeze an update to one address and claim it; return the broadcast and the delivery's number."""
    broadcast = fill(ledger, "a", row=replace(ROW, **row))
    return broadcast, claim(ledger, broadcast).claims[0].delivery


def claimed(ledger: Ledger, broadcast: Broadcast, count: int = 10, **more: Any) -> str:
    return "".join(each.key for each in claim(ledger, broadcast, count, **more).claims)


def test_what_one_process_claimed_no_other_can(ledger: Ledger) -> None:
    broadcast = fill(ledger, "abc")
    assert claimed(ledger, broadcast, 2) == "ab"
    second = open_ledger(ledger.path, desk.DESK)
    assert claimed(second, broadcast, owner=OTHER) == "c"
    second.close()
    assert claimed(ledger, broadcast) == ""


def test_a_claim_and_a_skip_that_lost_the_race_take_nothing(ledger: Ledger) -> None:
    """Where a database lets two look at the same candidates, the update itself must see who was first."""
    broadcast = fill(ledger, "a")
    taker = claims._Taker(ME, LEASE, NOW)
    ((_, _, _, *fields),) = ask(ledger, claims._candidates, broadcast.id, 9, taker)
    seen = claims.Claim(*fields)
    assert claimed(ledger, broadcast, owner=OTHER) == "a"
    assert do(ledger, claims._take, [seen], taker) == ()
    do(ledger, claims._skip, [seen.delivery], "opted out", NOW)
    assert states(ledger) == {"a": "claimed"}
    answer(ledger, broadcast, [said(seen.delivery, ACCEPTED)], owner=OTHER)
    assert states(ledger) == {"a": "accepted"}


def test_a_claim_carries_all_that_a_message_needs_and_says_who_is_handed_it(ledger: Ledger) -> None:
    """Killed now, the delivery is asked for where it went, not where it had been before."""
    broadcast = fill(ledger, "a")
    found = claim(ledger, broadcast, limit=pace(0, provider="sendgrid")).claims[0]
    assert (found.channel, found.key, found.address, found.notice) == ("email", "a", "a", "update:1")
    assert (found.digest, found.attempts, found.recipient) == ("d", 1, {"name": "Ann"})
    answer(ledger, broadcast, [said(found.delivery, NOT_TAKEN)])
    claim(ledger, broadcast, limit=pace(0))
    assert told(ledger)["a"].provider == "smtp"


def test_an_unfinished_list_and_a_failed_transaction_leave_no_claim(ledger: Ledger) -> None:
    assert claimed(ledger, fill(ledger, "a", number=2, finish=False)) == ""
    broadcast = fill(ledger, "b")
    with pytest.raises(RuntimeError), ledger.write() as connection:
        claims.settle_and_claim(connection, broadcast.id, [], count=1, owner=ME, lease=LEASE, now=NOW)
        raise RuntimeError
    assert (states(ledger), told(ledger)["b"].attempts) == ({"a": "pending", "b": "pending"}, 0)


@pytest.mark.parametrize("stopped", ["pay7", ALL_INCIDENTS, "web1"])
def test_a_stop_holds_at_the_very_next_claim(ledger: Ledger, stopped: str) -> None:
    broadcast, holds = fill(ledger, "ab"), stopped != "web1"
    first = claim(ledger, broadcast, 1).claims[0]
    do(ledger, fence.stop_incident, stopped, "dana", NOW)
    turn = answer(ledger, broadcast, [said(first.delivery, ACCEPTED)], 1)
    assert (len(turn.claims), turn.stopped_by) == ((0, "dana") if holds else (1, ""))
    assert states(ledger) == {"a": "accepted", "b": "pending" if holds else "claimed"}
    do(ledger, fence.lift_stop, stopped, "dana", NOW)
    assert len(claim(ledger, broadcast).claims) == holds


def test_what_must_not_go_any_more_is_skipped_at_the_claim(ledger: Ledger) -> None:
    """An opt-out on its channel, also as another tool writes it; a promise that passed. Those behind go."""
    by = NOW + timedelta(minutes=20)
    broadcast = fill(ledger, "abcde", row=replace(ROW, expires_at=by))
    do(ledger, suppress, "sms", "c", reason="asked", by="x", now=NOW)
    rows = [{"channel": "email", "key": key, "reason": "asked", "by": "x", "at": NOW} for key in "ab"]
    do(ledger, lambda connection: connection.execute(schema.suppression.insert(), rows))
    assert claimed(ledger, broadcast, 1) == "c"
    assert claimed(ledger, broadcast, 1, now=by - TICK) == "d"
    late = claim(ledger, broadcast, now=by)
    assert (late.claims, late.expired) == ((), 1)
    found = {key: (row.state.value, row.reason) for key, row in told(ledger).items()}
    gone = dict.fromkeys("ab", ("skipped", "opted out")) | dict.fromkeys("cd", ("claimed", ""))
    assert found == gone | {"e": ("held", "its promise had passed: it is written anew")}


@pytest.mark.parametrize(("change", "state"), [
    ({"notice": "holding:2026-11-21T09:25:00Z"}, "skipped"),  # the next one says the same
    ({"doubted": 1}, "unknown"),  # they may have had it
    ({"channel": "sms"}, "held"),
    ({}, "held"),
])  # fmt: skip
def test_only_an_update_that_nobody_can_have_had_is_written_anew(
    ledger: Ledger, change: dict[str, Any], state: str
) -> None:
    broadcast = fill(ledger, "a", row=replace(ROW, expires_at=NOW))
    if change:
        do(ledger, lambda connection: connection.execute(schema.delivery.update().values(**change)))
    assert claim(ledger, broadcast, now=NOW).expired == 1
    assert [row.state.value for row in told(ledger).values()] == [state]
    due = ask(ledger, broadcasts.held_rows, "pay7", NOW)
    assert [row.key for row in due] == (["a"] if state == "held" else [])


def test_what_may_go_now_is_counted_by_notice(ledger: Ledger) -> None:
    times = [("not_before", NOW + TICK), ("not_before", NOW), ("expires_at", NOW), ("expires_at", NOW + TICK)]
    fill(ledger, "ab", incident="web0")
    for number, (name, at) in enumerate(times, 1):
        fill(ledger, "ab", incident=f"web{number}", row=FrozenRow(**{**asdict(ROW), name: at}))
    found = [(each.incident, each.deliveries) for each in ask(ledger, claims.ripe_now, NOW)]
    assert found == [("web0", 2), ("web2", 2), ("web4", 2)]
    assert [each.incident for each in ask(ledger, claims.ripe_now, NOW, "web2")] == ["web2"]


def test_older_words_that_were_not_taken_do_not_follow_newer_ones_that_are_ready_for_them(
    ledger: Ledger,
) -> None:
    first = fill(ledger, "ab")
    mine = claim(ledger, first).claims
    fill(ledger, "a", number=2)
    answer(ledger, first, [said(each.delivery, NOT_TAKEN) for each in mine])
    assert claimed(ledger, first) == "b"
    found = ask(ledger, deliveries, "pay7")[0]
    assert (found.address, found.notice, found.reason) == ("a", "update:1", "superseded")
    for number, state in ((3, State.SKIPPED), (4, State.REJECTED)):  # these go nowhere
        fill(ledger, "b", number=number, row=replace(ROW, state=state))
    for elsewhere in ({"finish": False}, {"channel": "sms"}, {"incident": "web1"}):
        fill(ledger, "b", number=5, **elsewhere)
    answer(ledger, first, [said(mine[1].delivery, NOT_TAKEN)])
    assert claimed(ledger, first) == "b"


@pytest.mark.parametrize("first", list(OutcomeKind))
@pytest.mark.parametrize("second", list(OutcomeKind))
def test_only_the_owner_settles_and_once(ledger: Ledger, first: OutcomeKind, second: OutcomeKind) -> None:
    """What was lost may be answered after all, but never goes back to pending."""
    broadcast, delivery = one(ledger)
    answer(ledger, broadcast, [said(delivery, first)], owner=OTHER)
    assert states(ledger) == {"a": "claimed"}
    answer(ledger, broadcast, [])
    answer(ledger, broadcast, [said(delivery, first)])
    row = told(ledger)["a"]
    state = "pending" if first is NOT_TAKEN else first.value
    assert (row.state, row.reason) == (state, f"said {first}")
    assert (row.provider, row.provider_id) == ("fake", "its-id")
    assert do(ledger, settle_lost, NOW + LEASE) == 0  # what was answered is not lost when its lease ends
    answer(ledger, broadcast, [said(delivery, second)])
    answered = first is OutcomeKind.UNKNOWN and second is not NOT_TAKEN
    assert states(ledger) == {"a": second.value if answered else state}


def test_a_claim_ends_by_its_lease_or_with_its_owner(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once if that process is dead."""
    broadcast = fill(ledger, "abc")
    claim(ledger, broadcast, 1, owner=DEAD)
    claim(ledger, broadcast, 1)
    assert do(ledger, settle_lost, NOW + LEASE - TICK) == 0
    monkeypatch.setattr(settle, "is_dead", lambda owner: owner == DEAD)
    assert do(ledger, settle_lost, NOW) == 1
    assert states(ledger) == {"a": "unknown", "b": "claimed", "c": "pending"}
    assert do(ledger, settle_lost, NOW + LEASE) == 1
    assert (told(ledger)["b"].reason, told(ledger)["b"].state) == (settle.NO_ANSWER, "unknown")


def test_what_was_not_taken_waits_for_its_time(ledger: Ledger) -> None:
    broadcast = fill(ledger, "abc")
    for each, minutes in zip(claim(ledger, broadcast, 2).claims, (7, 5), strict=True):
        answer(ledger, broadcast, [said(each.delivery, NOT_TAKEN, wait=timedelta(minutes=minutes))])
    later = NOW + timedelta(minutes=5)
    assert ask(ledger, claims.waiting, broadcast.id) == (3, later)
    assert claimed(ledger, broadcast, now=later - TICK) == "c"
    early = claim(ledger, broadcast, now=later - TICK)
    assert (early.claims, early.next_try) == ((), later)
    assert [(c.key, c.attempts) for c in claim(ledger, broadcast, now=later).claims] == [("b", 2)]


def test_who_a_provider_names_dead_is_suppressed(ledger: Ledger) -> None:
    _, delivery = one(ledger)
    do(ledger, suppress_refused, [said(delivery, REJECTED).outcome], NOW)
    said_so = Suppression("email", "a", "refused for good: said rejected", "provider", NOW)
    assert ask(ledger, list_suppressions) == (said_so,)


def test_a_second_copy_for_a_person(ledger: Ledger) -> None:
    """That it was refused does not say that the first was; a first answer after all keeps it back."""
    broadcast, delivery = one(ledger)
    for goes, kind, state in (
        (True, REJECTED, "unknown"),
        (False, ACCEPTED, "accepted"),
        (False, REJECTED, "pending"),
    ):
        rewrite(ledger, state=State.PENDING, doubted=1)
        assert not goes or claimed(ledger, broadcast) == "a"
        answer(ledger, broadcast, [said(delivery, kind)])
        assert states(ledger) == {"a": state}
        assert claimed(ledger, broadcast) == ("a" if state == "pending" else "")


def test_the_table_refuses_a_second_row_for_one_notice_channel_and_address(
    ledger: Ledger,
) -> None:
    broadcast = fill(ledger, "a", finish=False)
    words = do(ledger, broadcasts.add_composition, broadcast.id, desk.WORDS)
    again = replace(ROW, key="a", address="second", composition=words)
    do(ledger, desk.add_rows, broadcast, [again])
    assert list(told(ledger)) == ["a"]
    columns = ", ".join(each.name for each in schema.delivery.c if each.name != "id")
    with pytest.raises(IntegrityError), ledger.write() as connection:
        connection.execute(text(f"insert into delivery ({columns}) select {columns} from delivery"))  # noqa: S608
    assert states(ledger) == {"a": "pending"}
    with pytest.raises(IntegrityError):
        rewrite(ledger, state="sent")


def test_what_a_run_asks_again_and_again_is_found_by_an_index(ledger: Ledger) -> None:
    """A million rows that are done cost nothing: no statement reads the whole table."""
    broadcast = fill(ledger, "a")

    def run() -> None:
        mine = claim(ledger, broadcast).claims[0]
        answer(ledger, broadcast, [said(mine.delivery, NOT_TAKEN)])
        with ledger.write() as connection:
            settle_lost(connection, NOW)
            claims.waiting(connection, broadcast.id)
            broadcasts.open_broadcasts(connection, "pay7")
            broadcasts.held_rows(connection, "pay7", NOW)
            releases.unfinished_incidents(connection)
            claims._RIPE_FOR_ANOTHER.rows(connection, broadcast=broadcast.id, now=stamp(NOW), most=1)
            claims._MINE.run(connection, ids="[1]", by_owner=ME)
            suppress_refused(connection, [said(mine.delivery, REJECTED).outcome], NOW)

    plans = plans_of(ledger, ("select", "update"), run)
    assert len(plans) > 15
    assert [plan for plan in plans if plan.startswith("SCAN delivery")] == []


SOON = timedelta(milliseconds=20)


def pace(per_second: float, batch: int = 1, provider: str = "smtp") -> SendLimit:
    return SendLimit(provider, per_second, batch, SOON)


def take(ledger: Ledger, limit: SendLimit, wanted: int, seconds: float = 0) -> tuple[datetime, ...]:
    """Take what may be taken of `wanted` in one transaction, as a claim does."""
    now = NOW + timedelta(seconds=seconds)
    with ledger.write() as connection:
        slot = settle.next_slot(connection, limit, now)
        return settle.take_slots(connection, limit, slot, min(wanted, settle.room(limit, slot, now)))


def test_slots_are_evenly_spaced_from_the_lead_on_never_shared_and_within_a_second(ledger: Ledger) -> None:
    """Also less than one a second; and a batch takes one slot, and the time of its messages."""
    taken = take(ledger, pace(20), 4) + take(ledger, pace(20), 4)
    assert taken == tuple(NOW + SOON + number * timedelta(seconds=0.05) for number in range(8))
    assert len(take(ledger, pace(20, provider="twilio"), 20)) == 20  # a pace of its own
    slots = take(ledger, pace(100, batch=5, provider="sendgrid"), 12)
    assert (len(slots), slots[1] - slots[0]) == (3, timedelta(seconds=0.05))
    fast, slow, batches = pace(20, 1, "fast"), pace(0.2, 1, "slow"), pace(100, 5, "batches")
    assert [len(take(ledger, fast, 500, seconds)) for seconds in (0, 0, 0.5)] == [20, 0, 10]
    assert [len(take(ledger, slow, 500, seconds)) for seconds in (0, 4, 5)] == [1, 0, 1]
    assert len(take(ledger, batches, 500)) == 20


@pytest.mark.parametrize("per_second", [20.0, 100.0])
def test_unused_slots_are_not_saved_up(ledger: Ledger, per_second: float) -> None:
    """After a quiet minute nobody may send a minute's worth at once, nor wait for a clock set back."""
    take(ledger, pace(per_second), 1)
    slots = take(ledger, pace(per_second), 5, 60)
    assert slots[0] >= NOW + timedelta(minutes=1)
    assert slots[-1] - slots[0] == 4 * timedelta(seconds=1 / per_second)
    take(ledger, pace(per_second), 5, 3 * 60 * 60)
    assert take(ledger, pace(per_second), 1) == (NOW + SOON,)


LOOK = st.tuples(st.integers(0, 900), st.integers(1, 40))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([1.0, 7.0, 20.0, 33.3]), st.lists(LOOK, min_size=2, max_size=25))
def test_no_rolling_second_holds_more_than_the_limit(ledger: Ledger, per_second: float, looks: Any) -> None:
    """No matter who asks, when, and for how many."""
    do(ledger, lambda connection: connection.exec_driver_sql("delete from pace"))
    milliseconds, taken = 0, list[datetime]()
    for wait, wanted in looks:
        milliseconds += wait
        taken += take(ledger, pace(per_second), wanted, milliseconds / 1000)
    assert taken == sorted(taken)
    for start in taken:
        within = [slot for slot in taken if start <= slot < start + timedelta(seconds=1)]
        assert len(within) <= -(-per_second // 1)


def test_a_closed_provider_is_claimed_for_by_nobody_until_its_longest_pause_ends(ledger: Ledger) -> None:
    broadcast = fill(ledger, "ab")
    until = NOW + timedelta(seconds=90)
    do(ledger, close, "smtp", until)
    do(ledger, close, "smtp", NOW + timedelta(seconds=5))
    assert [ask(ledger, closed_until, "smtp", now) for now in (NOW, until)] == [until, None]
    turn = claim(ledger, broadcast, limit=pace(0))
    assert (turn.claims, turn.closed_until, turn.next_try) == ((), until, until)
    # Another provider is not closed, and when the time has come neither is this one.
    assert claimed(ledger, broadcast, 1, limit=pace(0, provider="sendgrid"), owner=OTHER) == "a"
    assert claimed(ledger, broadcast, now=until, limit=pace(0)) == "b"


def test_who_takes_over_waits_by_plan_but_not_for_the_first_providers_time(ledger: Ledger) -> None:
    """That one was told "later" is not another's business; that others hear first is everybody's."""
    later = NOW + timedelta(minutes=5)
    broadcast = fill(ledger, "ab", row=replace(ROW, not_before=later))
    assert ask(ledger, claims.planned, broadcast.id, NOW) == (2, later)
    same, other = pace(0, provider="fake"), pace(0, provider="sendgrid")
    assert claimed(ledger, broadcast, limit=other, waits=False) == ""
    for each in claim(ledger, broadcast, now=later, limit=same, waits=False).claims:
        answer(ledger, broadcast, [said(each.delivery, NOT_TAKEN, wait=LEASE)])
    assert ask(ledger, claims.planned, broadcast.id, NOW) == (0, None), "these wait for a provider"
    # Its own "later" is kept: a greylisted reader is not asked for again and again.
    assert claimed(ledger, broadcast) == claimed(ledger, broadcast, limit=same, waits=False) == ""
    assert claimed(ledger, broadcast, limit=other, waits=False) == "ab"


def test_a_pause_is_lifted_by_a_person_or_void_where_no_clock_meant_it(ledger: Ledger) -> None:
    """One written while this machine's clock was a month ahead: a tick is not silent for a month."""
    broadcast, delivery = one(ledger)
    month, until = timedelta(days=30), NOW + timedelta(minutes=50)
    answer(ledger, broadcast, [said(delivery, NOT_TAKEN, wait=month)])
    do(ledger, close, "smtp", until)
    assert ask(ledger, pauses, NOW) == {"smtp": until}
    do(ledger, settle.reopen)
    assert ask(ledger, pauses, NOW) == {}
    do(ledger, close, "smtp", NOW + month)
    assert ask(ledger, pauses, NOW) == {}
    assert claimed(ledger, broadcast, limit=pace(0)) == "a"


def renamed(owner: str, **parts: str) -> str:
    names = ("host", "boot", "space", "pid", "started")
    found = dict(zip(names, owner.split("|"), strict=True))
    return "|".join({**found, **parts}[name] for name in names)


@cases("""
    boot         | space            | started | runs
    mine/today   | pid:[4026531836] |         | True
    mine/today   | pid:[4026531836] | 1       | False   # another process has its number
    mine/today   | pid:[1]          | 1       |         # in a container
    mine/before  | pid:[4026531836] |         | False   # the machine was started anew
    other/before | pid:[4026531836] |         |         # another machine of the same host name
    mine/before  | pid:[1]          |         |    # a container: the id may be its image's
    /before      | pid:[4026531836] |         |         # nothing tells that machine from others
    mine/        | pid:[4026531836] | 1       |
    today        | pid:[4026531836] | 1       | False   # as an earlier version wrote it
    before       | pid:[4026531836] | 1       |
""")
def test_what_is_known_of_a_claims_process(
    boot: str, space: str, started: str, runs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it is dead only if it certainly ran on this machine; otherwise its claims end with their lease."""
    pid, began = current_owner().split("|")[3:]
    monkeypatch.setattr(settle, "_here", lambda: "web|mine/today|pid:[4026531836]")
    for host in ("web", "other"):
        known = settle.runs("|".join((host, boot, space, pid, started or began)))
        assert known is ({"True": True, "False": False}.get(runs) if host == "web" else None)


@pytest.mark.linux("/proc")
def test_who_is_called_dead() -> None:
    """Proof of death is needed, and nothing less will do."""
    script = "from commcast.ledger.settle import current_owner as o; print(o())"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    gone = subprocess.check_output([sys.executable, "-c", script], text=True, env=env).strip()
    me = current_owner()
    assert (is_dead(gone), is_dead(me), gone != me == current_owner()) == (True, False, True)
    # A zombie keeps its number and start time, and does nothing more.
    child = subprocess.Popen([sys.executable, "-c", ""])
    try:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert settle._started(child.pid) == ""
        assert is_dead(renamed(current_owner(), pid=str(child.pid), started="1"))
    finally:
        child.wait()
