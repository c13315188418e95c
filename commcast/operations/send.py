"""The one path from released words to settled deliveries: freeze, thaw, deliver."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import groupby

from sqlalchemy import Connection

from commcast.delivery.freeze import Thawed, freeze, read_whole, thaw
from commcast.delivery.lookups import lookup_in
from commcast.delivery.rows import CHUNK, PendingRow, PendingRows
from commcast.delivery.worker import Delivered, Worker, stopping_on_interrupt
from commcast.errors import ProviderError, TryAgain
from commcast.ledger.broadcasts import HeldRow, find_broadcast, held_rows
from commcast.ledger.fence import lift_stop_to_correct
from commcast.ledger.history import count_skipped
from commcast.ledger.settle import current_owner
from commcast.ledger.store import Ledger
from commcast.ledger.tables import BroadcastState
from commcast.model.history import ReaderHistory
from commcast.model.incident import Channel, Incident
from commcast.model.message import DeliveryProgress
from commcast.operations.desk import Desk, Plan, make_plan
from commcast.operations.earlier_words import with_mistakes
from commcast.operations.quiet_hours import STALE, held_notice, readers_of, reason_to_drop
from commcast.plan.notices import Notice
from commcast.plan.readers import SEND
from commcast.plan.reasons import HELD_BACK
from commcast.providers import registry
from commcast.providers.base import Adapter

# How long another process may take to freeze the same notice before this one says "try again".
FREEZE_PATIENCE = 120.0  # seconds


def send(desk: Desk, worker: Worker, plan: Plan) -> Delivered:
    """Freeze what is released and due of an incident, then hand over all of it that is open.

    Nobody looks at it first: a person's words go through `release.say_yes`. Sending again sends nothing new.
    Raises InputError, LedgerError or TryAgain; then nothing of the notice has left.
    """
    with stopping_on_interrupt(worker.ledger, plan.incident.id, worker.clock):
        freeze_released(desk, worker, plan)
        return hand_over(desk, worker, plan)


def freeze_released(desk: Desk, worker: Worker, plan: Plan) -> None:
    """Freeze what is released and due, but nothing of what was stopped: a list may be mended meanwhile.

    Raises as `send`.
    """
    if plan.halted_by:
        return
    if plan.deliveries:
        _freeze(desk, worker, plan)
    if plan.history.correcting:  # no wrong words wait any more
        with worker.ledger.write() as connection:
            lift_stop_to_correct(connection, plan.incident.id, worker.owner, worker.clock())


def send_released(desk: Desk, worker: Worker, incident: Incident, *, late: bool = False) -> Delivered:
    """Send what is released and due of an incident."""
    return send(desk, worker, make_plan(desk, incident, worker.ledger, late=late))


def hand_over(desk: Desk, worker: Worker, plan: Plan, *, risen: bool = False) -> Delivered:
    """Hand over what is frozen of an incident, and what quiet hours held back until now.

    `risen` says that the ledger's generation has just risen.
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
        history = (
            with_mistakes(connection, desk.config, plan.incident, plan.history) if held else plan.history
        )
    stale = _let_go(desk, worker.ledger, replace(plan, history=history), held)
    delivered = worker.deliver(plan.incident.id, risen=risen)
    delivered.expired += stale
    delivered.frozen, delivered.held_back = list(frozen), held_back
    return delivered


def check_providers(worker: Worker, plan: Plan) -> None:
    """Refuse settings that no provider can work with, while a person can mend them: nothing is released.

    Raises ProviderError, or ConfigError where a channel is gone.
    """
    found = [error for _, error in unusable(plan, worker.adapter_for, worker.fallback_for)]
    if found:
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
    """Make the words of what quiet hours held back, now that its time has come.

    Returns how many are not told because nobody has written since.
    """
    stale = 0
    for _, rows in groupby(held, key=lambda row: (row.broadcast, row.audience)):
        of_one = list(rows)
        writer = _writer(desk, ledger, plan, of_one[0])
        for start in range(0, len(of_one), CHUNK):
            thawed = _thawed(desk, ledger, plan, of_one[start : start + CHUNK], writer)
            thaw(ledger, thawed, desk.now)
            stale += sum(row.reason == STALE for row in thawed)
    return stale


def _thawed(
    desk: Desk, ledger: Ledger, plan: Plan, rows: Sequence[HeldRow], writer: PendingRows
) -> list[Thawed]:
    history_of = readers_of(desk, plan, rows, ledger)
    return [
        Thawed(row, None, reason)
        if (reason := reason_to_drop(desk, plan, row, history_of(row.key)))
        else Thawed(row, _words_for(writer, row, history_of(row.key)))
        for row in rows
    ]


def _writer(desk: Desk, ledger: Ledger, plan: Plan, row: HeldRow) -> PendingRows:
    return PendingRows(
        desk.config,
        plan.templates or desk.templates,
        plan.incident,
        held_notice(desk, plan, row),
        desk.now,
        lookup_in(ledger, desk.config, desk.now),
        None,
        plan.known.hold_before(desk.config),
    )


def unusable(
    plan: Plan,
    adapter_for: Callable[[Channel], Adapter],
    fallback_for: Callable[[Channel], Adapter | None] | None,
) -> Iterator[tuple[Channel, ProviderError]]:
    """Yield each channel of what is owed that no provider can serve, and why; nothing is opened.

    Raises ConfigError where a channel is gone.
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


def _words_for(writer: PendingRows, row: HeldRow, history: ReaderHistory) -> PendingRow:
    values = row.recipient
    return writer.written(
        row.key,
        row.address,
        row.audience,
        SEND,
        values,
        str(values.get("timezone") or writer.config.organisation.zone),
        str(values.get("locale") or ""),
        history=history,
    )


def make_worker(
    desk: Desk,
    ledger: Ledger,
    *,
    clock: Callable[[], datetime],
    progress: DeliveryProgress,
    halting: Callable[[], None] | None = None,
) -> Worker:
    """Return what delivers for this process, and tells `progress` how far it is. `clock` gives aware now.

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
    )
