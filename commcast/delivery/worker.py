"""Sends all frozen broadcasts of an incident, channels side by side, with a fallback provider."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from functools import partial
from typing import NamedTuple

from commcast.delivery.run import BroadcastRun, Ended
from commcast.errors import ExitCode, Interrupted, TryAgain, gravest
from commcast.ledger.broadcasts import Broadcast, is_anything_claimed, open_broadcasts
from commcast.ledger.claims import waiting
from commcast.ledger.fence import stop_incident
from commcast.ledger.settle import settle_lost
from commcast.ledger.store import Ledger
from commcast.ledger.tables import OWN_STORY
from commcast.model.incident import Channel
from commcast.model.message import DeliveryProgress, OutcomeKind
from commcast.providers.base import Adapter
from commcast.signals import ending_in_order


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's factory; COMMCAST_EVENT_LOOP=asyncio chooses Python's own, to compare."""
    if os.environ.get("COMMCAST_EVENT_LOOP") == "asyncio":
        return None
    try:
        import uvloop
    except ImportError:  # there is none for this platform
        return None
    return uvloop.new_event_loop


@dataclass(frozen=True, slots=True)
class TakenOver:
    """A provider that took nothing (`why`), and the one that took over from it."""

    provider: str
    why: str
    by: str


class Trouble(NamedTuple):
    """A provider that refuses us, as a whole or for some readers, so that a person has to act, or is down."""

    provider: str
    why: str
    refuses: bool


@dataclass(slots=True)
class Delivered:
    """What one run did for all broadcasts of an incident.

    `lost` counts claims of dead runs, now unknown; `expired` the readers who could not be told before the
    promise in their message had passed. `planned` of those waiting wait because others are told first; a tick
    sends to them from `planned_at`. `taken_over` says where a fallback stepped in: what the first provider
    said is then no trouble of this run, but somebody should know.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    waiting: int = 0
    planned: int = 0
    planned_at: datetime | None = None
    expired: int = 0
    stopped_by: str = ""
    refuses_everybody: bool = False
    signal: int = 0
    frozen: list[tuple[str, int]] = field(default_factory=list)
    held_back: int = 0
    troubles: list[Trouble] = field(default_factory=list)
    taken_over: list[TakenOver] = field(default_factory=list)

    def add(self, ended: Ended) -> None:
        self.outcomes.update(ended.outcomes)
        self.waiting += ended.waiting
        self.planned += ended.planned
        self.planned_at = min(filter(None, (self.planned_at, ended.planned_at)), default=None)
        self.expired += ended.expired
        self.stopped_by = self.stopped_by or ended.stopped_by
        self.refuses_everybody = self.refuses_everybody or ended.refuses_everybody
        self._note(ended.provider, ended.refused, refuses=True)
        self._note(ended.provider, ended.refused_some, refuses=True)
        self._note(ended.provider, ended.down, refuses=False)

    def hand_on(self, ended: Ended, takeover: TakenOver) -> None:
        """Count a run whose remaining messages another provider takes over."""
        self.outcomes.update(ended.outcomes)
        self.expired += ended.expired
        self.taken_over.append(takeover)
        self._note(ended.provider, ended.refused_some, refuses=True)

    def _note(self, provider: str, why: str, *, refuses: bool) -> None:
        trouble = Trouble(provider, why, refuses)
        if why and trouble not in self.troubles:
            self.troubles.append(trouble)

    @property
    def handed_over(self) -> int:
        """How many messages a provider was given in this run, regardless of the outcome."""
        return sum(self.outcomes.values()) - self.outcomes[OutcomeKind.NOT_TAKEN]

    @property
    def nobody_heard(self) -> bool:
        """Whether the cap held this message back from all its readers."""
        return bool(self.held_back and not self.handed_over and not self.waiting)

    def exit_code(self, tolerate: float) -> ExitCode:
        """Return this run's exit code; `tolerate` is the share of rejects that is no failure."""
        codes = [ExitCode.DONE]
        if self.signal:
            codes.append(ExitCode.INTERRUPTED if self.signal == signal.SIGINT else ExitCode.TERMINATED)
        if any(trouble.refuses for trouble in self.troubles):
            codes.append(ExitCode.REFUSED)
        if self.stopped_by or self.expired or self.nobody_heard:
            codes.append(ExitCode.DECISION)
        rejected, accepted = self.outcomes[OutcomeKind.REJECTED], self.outcomes[OutcomeKind.ACCEPTED]
        if self.lost or self.outcomes[OutcomeKind.UNKNOWN] or rejected > tolerate * (rejected + accepted):
            codes.append(ExitCode.UNKNOWN_OUTCOME)
        if self.waiting > self.planned and not self.stopped_by:
            codes.append(ExitCode.TRY_AGAIN)
        return gravest(codes)


@contextmanager
def stopping_on_interrupt(ledger: Ledger, incident: str, clock: Callable[[], datetime]) -> Iterator[None]:
    """Make a person's Ctrl-C final: stop the incident, so that no tick goes on with it.

    Raises Interrupted.
    """
    try:
        yield
    except (KeyboardInterrupt, Interrupted) as error:
        if isinstance(error, Interrupted) and error.exit_code is not ExitCode.INTERRUPTED:
            raise  # SIGTERM: the next run goes on
        with ledger.write() as connection:
            stop_incident(connection, incident, "Ctrl-C", clock())
        raise Interrupted(
            f"Interrupted; {incident} is stopped. Continue with: commcast resume {incident}",
            ExitCode.INTERRUPTED,
        ) from None


@dataclass(frozen=True)
class Worker:
    """Delivers for one process. `clock` gives aware now; `halting` is called when a signal ends a run.

    `adapter_for` makes a channel's adapter, `fallback_for` the one that takes over if the first one takes
    nothing, None if there is none.
    """

    ledger: Ledger
    adapter_for: Callable[[Channel], Adapter]
    owner: str
    clock: Callable[[], datetime]
    progress: DeliveryProgress
    fallback_for: Callable[[Channel], Adapter | None] | None = None
    halting: Callable[[], None] | None = None
    zone: tzinfo = UTC

    def deliver(self, incident: str, *, risen: bool = False) -> Delivered:
        """Deliver all frozen broadcasts of an incident; `risen` means that the generation has just risen.

        A person's Ctrl-C stops the incident, and so does a provider that refuses everybody: every further run
        would cost more readers.
        """
        delivered = Delivered()
        broadcasts, is_claimed = self._open_now(incident)
        if is_claimed:
            with self.ledger.write() as connection:
                delivered.lost = settle_lost(connection, self.clock(), incident)
            broadcasts, _ = self._open_now(incident)
        if not broadcasts:
            return delivered
        if not risen:
            self.ledger.rise()  # before the first message leaves: a copy of before is older from now on
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(self._deliver(broadcasts, delivered))
        if delivered.handed_over:
            # So that a copy made meanwhile is older, too. If the ledger is locked now, the next run does it.
            with suppress(TryAgain):
                self.ledger.rise()
        reason = "a provider that refused everybody" if delivered.refuses_everybody else ""
        # Nothing stops nudges: an incident's own people are nudged again next time.
        stops = not incident.startswith(OWN_STORY)
        if stops and (reason or delivered.signal == signal.SIGINT):
            with self.ledger.write() as connection:
                stop_incident(connection, incident, reason or "Ctrl-C", self.clock())
        return delivered

    def _open_now(self, incident: str) -> tuple[dict[Broadcast, int], bool]:
        """Return the open broadcasts with how many wait in each, and whether anything is claimed."""
        with self.ledger.read() as connection:
            found = {each: waiting(connection, each.id)[0] for each in open_broadcasts(connection, incident)}
            return found, is_anything_claimed(connection, incident)

    async def _deliver(self, broadcasts: Mapping[Broadcast, int], delivered: Delivered) -> None:
        halt = asyncio.Event()
        running: list[asyncio.Task[None]] = []

        def in_order(number: int) -> None:
            delivered.signal = number
            halt.set()
            if self.halting:
                self.halting()

        def at_once() -> None:
            for task in running:
                task.cancel()

        with ending_in_order(asyncio.get_running_loop(), in_order, at_once):
            # Side by side: no text waits behind two hundred thousand emails.
            for channel in sorted({broadcast.channel for broadcast in broadcasts}):
                of_channel = {each: to_go for each, to_go in broadcasts.items() if each.channel == channel}
                running.append(asyncio.create_task(self._one_channel(of_channel, halt, delivered)))
            for error in await asyncio.gather(*running, return_exceptions=True):
                if error is not None and not isinstance(error, asyncio.CancelledError):
                    raise error

    async def _one_channel(
        self, broadcasts: Mapping[Broadcast, int], halt: asyncio.Event, delivered: Delivered
    ) -> None:
        """Deliver the broadcasts of one channel in turn; a fallback takes over what was not taken."""
        for broadcast, to_go in broadcasts.items():
            run = partial(
                BroadcastRun,
                broadcast,
                self.ledger,
                owner=self.owner,
                clock=self.clock,
                halt=halt,
                progress=self.progress,
                zone=self.zone,
            )
            try:
                ended = await run(make=self.adapter_for, to_go=to_go).deliver()
                if self.fallback_for and ended.can_be_taken_over:
                    # Only what certainly was not taken: nothing unknown is ever handed to a second provider.
                    left, why = ended.waiting, ended.refused or ended.down
                    second = await run(make=self.fallback_for, to_go=left, waits=False).deliver()
                    if second.provider:
                        delivered.hand_on(ended, TakenOver(ended.provider, why, second.provider))
                        ended = second
                delivered.add(ended)
            except BaseException:
                halt.set()  # a ledger that cannot be written ends the other channel too
                raise
