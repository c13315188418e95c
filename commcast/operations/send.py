"""The one path from released words to settled deliveries: freeze, thaw, deliver."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby

from commcast.delivery.deliver import Delivered, Deliverer, stopping_on_interrupt, unsaid
from commcast.delivery.freeze import Freezer, Thawed, silent, thaw
from commcast.delivery.lookups import lookup_in, no_former_readers
from commcast.delivery.rows import CHUNK, PendingRow, PendingRows
from commcast.errors import ProviderError, TryAgain
from commcast.ledger.broadcasts import HeldRow, find_broadcast, held_rows
from commcast.ledger.history import count_skipped
from commcast.ledger.releases import lift_stop_to_correct
from commcast.ledger.settle import current_owner
from commcast.ledger.store import Ledger
from commcast.ledger.tables import BroadcastState
from commcast.model.history import ReaderHistory
from commcast.model.incident import Channel, Incident
from commcast.model.message import DeliveryProgress
from commcast.operations.desk import Desk, Plan, hold_before, make_plan
from commcast.operations.earlier_words import with_mistakes
from commcast.operations.quiet_hours import STALE, held_notice, readers_of, reason_to_drop
from commcast.plan.notices import Notice
from commcast.plan.readers import SEND
from commcast.plan.reasons import HELD_BACK
from commcast.providers import registry
from commcast.providers.base import Adapter

# How long another process may take to freeze the same notice before this one says "try again".
FREEZE_PATIENCE = 120.0  # seconds


@dataclass(frozen=True)
class Sender:
    """Sends for one process: by hand, from cron or from a workflow, always the same way."""

    desk: Desk
    deliverer: Deliverer
    freezing: Callable[[int], None] = silent  # hears how many rows of a list are frozen

    def send(self, plan: Plan, *, expected: Sequence[str] | None = None) -> Delivered:
        """Freeze what is owed of an incident, then hand over all of it that is open.

        `expected` are the digests of what a person saw and released. Sending again sends nothing new.
        Raises InputError, DecisionNeeded, LedgerError or TryAgain; then nothing of the notice has left.
        """
        with stopping_on_interrupt(self.deliverer.ledger, plan.incident.id, self.deliverer.clock):
            if plan.halted_by:
                # Nothing is frozen of what was stopped: the list that is mended meanwhile is what goes.
                return self._report_stop(plan)
            if plan.deliveries:
                self._freeze(plan, expected)
            self._go_on(plan)
            stale = self._thaw(plan)
            delivered = self.deliverer.deliver(plan.incident.id)
            delivered.expired += stale
            self._note_frozen(plan, delivered)
            return delivered

    def _note_frozen(self, plan: Plan, delivered: Delivered) -> None:
        """Note what this run was about, and how many hear nothing of it because they heard so much lately."""
        notices = [each.notice for each in plan.deliveries]
        delivered.frozen = list(dict.fromkeys((notice.id, notice.number) for notice in notices))
        if notices:
            ids = {notice.id for notice in notices}
            with self.deliverer.ledger.read() as connection:
                delivered.held_back = count_skipped(connection, plan.incident.id, ids, HELD_BACK)

    def _go_on(self, plan: Plan) -> None:
        """Lift the stop that a correction put: no wrong words wait any more."""
        if plan.history.correcting:
            with self.deliverer.ledger.write() as connection:
                lift_stop_to_correct(
                    connection, plan.incident.id, self.deliverer.owner, self.deliverer.clock()
                )

    def _report_stop(self, plan: Plan) -> Delivered:
        delivered = self.deliverer.deliver(plan.incident.id)
        delivered.stopped_by = delivered.stopped_by or plan.halted_by
        return delivered

    def check_providers(self, plan: Plan) -> None:
        """Refuse settings that no provider can work with, while a person can mend them: nothing is released.

        Raises ProviderError, or ConfigError where a channel is gone.
        """
        deliverer = self.deliverer
        found = [error for _, error in unusable(plan, deliverer.adapter_for, deliverer.fallback_for)]
        if found:
            raise ProviderError(found[0].provider, [fault for error in found for fault in error.faults])

    def send_released(self, incident: Incident, *, late: bool = False) -> Delivered:
        """Send what is released and owed of an incident."""
        return self.send(make_plan(self.desk, incident, self.deliverer.ledger, late=late))

    def _freeze(self, plan: Plan, expected: Sequence[str] | None) -> None:
        """Freeze, or wait for the process that is freezing the same notice; then share the work.

        If that one dies meanwhile, the next attempt takes over from it.
        """
        deliveries, wrong_words = plan.deliveries, plan.history.wrong_words
        freezer = Freezer(self.deliverer.ledger, self.deliverer.owner, self.desk.now, self.freezing)
        deadline = time.monotonic() + FREEZE_PATIENCE
        while not freezer.freeze(deliveries, expected=expected, wrong_words=wrong_words):
            if all(self._is_frozen(each.notice) for each in deliveries):
                return
            if time.monotonic() > deadline:
                raise TryAgain("another process has been preparing this broadcast for two minutes")
            time.sleep(0.1)

    def _is_frozen(self, notice: Notice) -> bool:
        with self.deliverer.ledger.read() as connection:
            found = find_broadcast(connection, notice.incident, notice.id, notice.channel)
        if found is None:
            raise TryAgain("the other process that was preparing this broadcast gave it up")
        return found.state is BroadcastState.FROZEN

    def _thaw(self, plan: Plan) -> int:
        """Make the words of what quiet hours held back, now that its time has come.

        Returns how many are not told because nobody has written since.
        """
        ledger, now = self.deliverer.ledger, self.desk.now
        with ledger.read() as connection:
            held = held_rows(connection, plan.incident.id, now)
        if not held:
            return 0
        history = with_mistakes(self.desk.config, plan.incident, plan.history, ledger)
        plan = replace(plan, history=history)
        stale = 0
        for _, rows in groupby(held, key=lambda row: (row.broadcast, row.audience)):
            of_one = list(rows)
            writer = self._writer(plan, of_one[0])
            for start in range(0, len(of_one), CHUNK):
                thawed = self._thawed(plan, of_one[start : start + CHUNK], writer)
                thaw(ledger, thawed, now)
                stale += sum(row.reason == STALE for row in thawed)
        return stale

    def _thawed(self, plan: Plan, rows: Sequence[HeldRow], writer: PendingRows) -> list[Thawed]:
        standing_of = readers_of(self.desk, plan, rows, self.deliverer.ledger)
        return [
            Thawed(row, None, reason)
            if (reason := reason_to_drop(self.desk, plan, row, standing_of(row.key)))
            else Thawed(row, _words_for(writer, row, standing_of(row.key)))
            for row in rows
        ]

    def _writer(self, plan: Plan, row: HeldRow) -> PendingRows:
        return PendingRows(
            self.desk.config,
            plan.templates or self.desk.templates,
            plan.incident,
            held_notice(self.desk, plan, row),
            self.desk.now,
            lookup_in(self.deliverer.ledger, self.desk.config, self.desk.now),
            no_former_readers,
            hold_before(self.desk, self.deliverer.ledger),
        )


def unusable(
    plan: Plan, adapter_for: Callable[[Channel], Adapter], fallback_for: Callable[[Channel], Adapter | None]
) -> Iterator[tuple[Channel, ProviderError]]:
    """Yield each channel of what is owed that no provider can serve, and why; nothing is opened.

    Raises ConfigError where a channel is gone.
    """
    for channel in dict.fromkeys(each.notice.channel for each in plan.deliveries):
        try:
            adapter_for(channel)
        except ProviderError as error:
            try:
                if fallback_for(channel) is None:
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


def make_sender(
    desk: Desk,
    ledger: Ledger,
    *,
    clock: Callable[[], datetime],
    progress: DeliveryProgress,
    halting: Callable[[], None] = unsaid,
) -> Sender:
    """Return what sends for this process, and tells `progress` how far it is. `clock` gives aware now.

    `halting` is called when a signal asks a run to end.
    """
    deliverer = Deliverer(
        ledger=ledger,
        adapter_for=lambda channel: registry.adapter_for(desk.config, channel, clock),
        fallback_for=lambda channel: registry.fallback_for(desk.config, channel, clock),
        owner=current_owner(),
        clock=clock,
        progress=progress,
        halting=halting,
    )
    return Sender(desk, deliverer, progress.freezing)
