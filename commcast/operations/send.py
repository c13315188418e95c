"""The one path from released words to settled deliveries: freeze, release what quiet hours held, deliver."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import groupby

from sqlalchemy import Connection

from commcast.delivery.freeze import Thawed, freeze, read_whole, thaw
from commcast.delivery.rows import CHUNK, PendingRows
from commcast.delivery.worker import Delivered, Worker, stopping_on_interrupt
from commcast.errors import ProviderError, TryAgain
from commcast.ledger.broadcasts import HeldRow, find_broadcast, held_rows
from commcast.ledger.fence import lift_stop_to_correct
from commcast.ledger.history import count_skipped
from commcast.ledger.settle import current_owner
from commcast.ledger.store import Ledger
from commcast.ledger.tables import BroadcastState
from commcast.model.history import NOBODY_KNOWS, ReaderHistory
from commcast.model.incident import Channel, Incident
from commcast.model.message import DeliveryProgress
from commcast.operations.desk import Desk, Plan, make_plan
from commcast.operations.earlier_words import with_mistakes
from commcast.operations.held import STALE, quiet_until, reason_to_drop, writer_of
from commcast.plan.notices import Notice
from commcast.plan.readers import SEND
from commcast.plan.reasons import HELD_BACK, QUIET_HOURS
from commcast.providers import registry
from commcast.providers.base import Adapter

# How long another process may take to freeze the same notice before this one says "try again".
FREEZE_PATIENCE = 120.0  # seconds


def send(desk: Desk, worker: Worker, plan: Plan) -> Delivered:
    """Freeze what is released and due of an incident, then hand over all of it that is open.

    Nothing is asked: what a person writes goes through `release.say_yes`. Sending again sends nothing new.
    Raises InputError, LedgerError or TryAgain; then nothing of the notice has left.
    """
    with stopping_on_interrupt(worker.ledger, plan.incident.id, worker.clock):
        freeze_released(desk, worker, plan)
        return hand_over(desk, worker, plan)


def freeze_released(desk: Desk, worker: Worker, plan: Plan) -> None:
    """Freeze what is released and due, but nothing that was stopped: somebody may be fixing a list.

    Raises as `send`.
    """
    if plan.halted_by:
        return
    if plan.deliveries:
        _freeze(desk, worker, plan)
    if plan.history.correcting:  # no wrong words are pending any more
        with worker.ledger.write() as connection:
            lift_stop_to_correct(connection, plan.incident.id, worker.owner, worker.clock())


def send_released(desk: Desk, worker: Worker, incident: Incident, *, late: bool = False) -> Delivered:
    """Send what is released and due of an incident."""
    return send(desk, worker, make_plan(desk, incident, worker.ledger, late=late))


def hand_over(desk: Desk, worker: Worker, plan: Plan, *, risen: bool = False) -> Delivered:
    """Hand over what is frozen of an incident, and what quiet hours or a provider held back until now.

    `risen` means that the ledger's generation has just risen.
    """
    if plan.halted_by:
        delivered = worker.deliver(plan.incident.id)
        delivered.stopped_by = delivered.stopped_by or plan.halted_by
        return delivered
    frozen = dict.fromkeys((each.notice.id, each.notice.number) for each in plan.deliveries)
    with worker.ledger.read() as connection:
        held = held_rows(connection, plan.incident.id, desk.now)
        ids = {notice for notice, _ in frozen}
        held_back = count_skipped(connection, plan.incident.id, ids, HELD_BACK) if ids else 0
        if held:
            history = with_mistakes(connection, desk.config, plan.incident, plan.history)
            plan = replace(plan, history=history)
    stale = _let_go(desk, worker.ledger, plan, held)
    delivered = worker.deliver(plan.incident.id, risen=risen)
    delivered.expired += stale
    delivered.frozen, delivered.held_back = list(frozen), held_back
    return delivered


def check_providers(worker: Worker, plan: Plan) -> None:
    """Refuse settings that no provider can work with, before anything is released.

    Raises ProviderError, or ConfigError if a channel is gone.
    """
    if found := [error for _, error in unusable(plan, worker.adapter_for, worker.fallback_for)]:
        raise ProviderError(found[0].provider, [fault for error in found for fault in error.faults])


def _freeze(desk: Desk, worker: Worker, plan: Plan) -> None:
    """Freeze, or wait for the process that is freezing the same notice; then share the work.

    If that one dies meanwhile, the next attempt takes over from it.
    """
    ledger, deadline = worker.ledger, time.monotonic() + FREEZE_PATIENCE
    notices, wrong = [each.notice for each in plan.deliveries], plan.history.wrong_words
    told = worker.progress.freezing
    while not freeze(ledger, notices, read_whole(plan.deliveries), wrong, worker.owner, desk.now, told):
        with ledger.read() as connection:
            if all(_is_frozen(connection, each.notice) for each in plan.deliveries):
                return
        if time.monotonic() > deadline:
            raise TryAgain("another process has been preparing this broadcast for two minutes")
        time.sleep(0.1)


def _is_frozen(connection: Connection, notice: Notice) -> bool:
    found = find_broadcast(connection, notice.incident, notice.id, notice.channel)
    if found is None:
        raise TryAgain("the other process that was preparing this broadcast gave it up")
    return found.state is BroadcastState.FROZEN


def _let_go(desk: Desk, ledger: Ledger, plan: Plan, held: Sequence[HeldRow]) -> int:
    """Make the words of what quiet hours held back and may go now, and of what could not go in time.

    Returns how many readers are not told because nobody has written since.
    """
    stale = 0
    for _, rows in groupby(held, key=lambda row: (row.broadcast, row.audience)):
        of_one = list(rows)
        writer = writer_of(desk, ledger, plan, of_one[0])
        for start in range(0, len(of_one), CHUNK):
            some = of_one[start : start + CHUNK]
            known = writer.histories([row.key for row in some])
            thawed = [_thawed(desk, plan, row, known.get(row.key, NOBODY_KNOWS), writer) for row in some]
            thaw(ledger, thawed, desk.now)
            stale += sum(row.reason == STALE for row in thawed)
    return stale


def _thawed(desk: Desk, plan: Plan, row: HeldRow, history: ReaderHistory, writer: PendingRows) -> Thawed:
    if reason := reason_to_drop(desk, plan, row, history):
        return Thawed(row, None, reason)
    if until := quiet_until(desk, plan, row):
        return Thawed(row, None, QUIET_HOURS, until)
    reader = writer.reader(row.key, row.address, row.audience, row.recipient)
    return Thawed(row, writer.written(reader, SEND, history))


def unusable(
    plan: Plan,
    adapter_for: Callable[[Channel], Adapter],
    fallback_for: Callable[[Channel], Adapter | None] | None,
) -> Iterator[tuple[Channel, ProviderError]]:
    """Yield each channel of what is due that no provider can serve, and why; nothing is opened.

    Raises ConfigError if a channel is gone.
    """
    for channel in dict.fromkeys(each.notice.channel for each in plan.deliveries):
        try:
            adapter_for(channel)
        except ProviderError as error:
            try:
                if fallback_for is None or fallback_for(channel) is None:
                    yield channel, error
            except ProviderError as second:
                yield channel, ProviderError(error.provider, [*error.faults, *second.faults])


def make_worker(
    desk: Desk,
    ledger: Ledger,
    *,
    clock: Callable[[], datetime],
    progress: DeliveryProgress,
    halting: Callable[[], None] | None = None,
) -> Worker:
    """Return this process's worker, which tells `progress` how far it is. `clock` gives aware now.

    `halting` is called when a signal asks a run to end.
    """
    return Worker(
        ledger=ledger,
        adapter_for=lambda channel: registry.adapter_for(desk.config, channel, clock),
        fallback_for=lambda channel: registry.fallback_for(desk.config, channel, clock),
        owner=current_owner(),
        clock=clock,
        progress=progress,
        halting=halting,
        zone=desk.config.zone,
    )
