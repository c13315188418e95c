"""Sends all frozen broadcasts of an incident, with a fallback provider."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from commcast.delivery.recorder import what_is_left
from commcast.delivery.run import BroadcastRun, Ended
from commcast.errors import ExitCode, Interrupted, ProviderError, TryAgain, gravest
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

# COMMCAST_EVENT_LOOP=asyncio: Python's own, to find out whether a trouble is uvloop's, or what it is worth.
CHOICE = "COMMCAST_EVENT_LOOP"


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if os.environ.get(CHOICE) == "asyncio":
        return None
    try:
        import uvloop
    except ImportError:  # there is none for this platform
        return None
    return uvloop.new_event_loop


# Longer than the longest hand-over with the one that waits before it; then another host may call it unknown.
LEASE = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class TakenOver:
    """A provider that refused as a whole (`why`), and the one that took over what it had not taken."""

    provider: str
    why: str
    by: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """A provider that refuses us as a whole, which a person has to mend, or that takes nothing for now."""

    provider: str
    why: str
    refuses: bool


@dataclass(slots=True)
class Delivered:
    """What one run did over an incident's broadcasts.

    `lost` counts claims of dead runs, now unknown; `expired` those who were not told before the promise of
    their words had passed. `planned` of those waiting wait because others hear first; a tick sends to them
    from `planned_at`. `taken_over` names where a fallback stepped in: what its provider had said is
    then no trouble of this run, but somebody should know.
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
        for why, refuses in ((ended.refused, True), (ended.down, False)):
            trouble = Trouble(ended.provider, why, refuses)
            if why and trouble not in self.troubles:
                self.troubles.append(trouble)

    def hand_on(self, ended: Ended, takeover: TakenOver) -> None:
        """Count a run whose rest another provider takes over."""
        self.outcomes.update(ended.outcomes)
        self.expired += ended.expired
        self.taken_over.append(takeover)

    @property
    def refused(self) -> str:
        """Why a provider refuses us, "" where none does."""
        return next((trouble.why for trouble in self.troubles if trouble.refuses), "")

    @property
    def down(self) -> str:
        """Why a provider takes nothing now, "" where each does."""
        return next((trouble.why for trouble in self.troubles if not trouble.refuses), "")

    @property
    def handed_over(self) -> int:
        """How many messages a provider was given in this run, whatever became of them."""
        return sum(self.outcomes.values()) - self.outcomes[OutcomeKind.NOT_TAKEN]

    @property
    def nobody_heard(self) -> bool:
        """Whether the cap kept these words from everybody who was to read them."""
        return bool(self.held_back and not self.handed_over and not self.waiting)

    def exit_code(self, tolerate: float) -> ExitCode:
        """Return the code this run ends in; `tolerate` is the share of rejects that is no failure."""
        codes = [ExitCode.DONE]
        if self.signal:
            codes.append(ExitCode.INTERRUPTED if self.signal == signal.SIGINT else ExitCode.TERMINATED)
        if self.refused:
            codes.append(ExitCode.REFUSED)
        if self.stopped_by or self.expired or self.nobody_heard:
            codes.append(ExitCode.DECISION)
        if self.lost or self.outcomes[OutcomeKind.UNKNOWN] or self._rejects_too_many(tolerate):
            codes.append(ExitCode.UNKNOWN_OUTCOME)
        if self.waiting > self.planned and not self.stopped_by:
            codes.append(ExitCode.TRY_AGAIN)
        return gravest(codes)

    def _rejects_too_many(self, tolerate: float) -> bool:
        rejected = self.outcomes[OutcomeKind.REJECTED]
        answered = rejected + self.outcomes[OutcomeKind.ACCEPTED]
        return rejected > tolerate * answered


@contextmanager
def stopping_on_interrupt(ledger: Ledger, incident: str, clock: Callable[[], datetime]) -> Iterator[None]:
    """Make a person's Ctrl-C final: the incident is stopped, so that no tick goes on with it.

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
            f"Interrupted; {incident} is stopped. commcast resume {incident} goes on with it.",
            ExitCode.INTERRUPTED,
        ) from None


@dataclass(frozen=True)
class Worker:
    """Delivers for one process. `clock` gives aware now; `halting` is called when a signal ends a run.

    `adapter_for` makes a channel's adapter, `fallback_for` the one that takes over where the first as a
    whole refuses, None where there is none.
    """

    ledger: Ledger
    adapter_for: Callable[[Channel], Adapter]
    owner: str
    clock: Callable[[], datetime]
    progress: DeliveryProgress
    fallback_for: Callable[[Channel], Adapter | None] | None = None
    halting: Callable[[], None] | None = None

    def deliver(self, incident: str, *, risen: bool = False) -> Delivered:
        """Deliver all frozen broadcasts of an incident; `risen` says that the generation has just risen.

        A person's Ctrl-C stops the incident, and so does a provider that refuses everybody: each further run
        would cost more readers.
        """
        delivered = Delivered()
        broadcasts, is_claimed = self._open_now(incident)
        if is_claimed:
            with self.ledger.write() as connection:
                delivered.lost = settle_lost(connection, self.clock())
            broadcasts, _ = self._open_now(incident)
        if not broadcasts:
            return delivered
        if not risen:
            self.ledger.rise()  # before the first message leaves: a copy of before is older from now on
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(self._deliver(broadcasts, delivered))
        if delivered.handed_over:
            # So that a copy made in the middle is older, too. Who is locked out here does so at the next run.
            with suppress(TryAgain):
                self.ledger.rise()
        reason = "a provider that refused everybody" if delivered.refuses_everybody else ""
        # The people of an incident are woken the next time all the same: nothing stops their own story.
        stops = not incident.startswith(OWN_STORY)
        if stops and (reason or delivered.signal == signal.SIGINT):
            with self.ledger.write() as connection:
                stop_incident(connection, incident, reason or "Ctrl-C", self.clock())
        return delivered

    def _open_now(self, incident: str) -> tuple[dict[Broadcast, int], bool]:
        """Return the open broadcasts with how many wait in each, and whether anything at all is claimed."""
        with self.ledger.read() as connection:
            found = {each: waiting(connection, each.id)[0] for each in open_broadcasts(connection, incident)}
            return found, is_anything_claimed(connection)

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
            # Side by side: nobody's text waits behind two hundred thousand mails.
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
            channel = Channel(broadcast.channel)
            try:
                ended = await self._with(partial(self.adapter_for, channel), broadcast, to_go, halt)
                takes_over = self.fallback_for if _takes_nothing(ended) else None
                fallback = takes_over(channel) if takes_over else None
                if fallback is not None:
                    # Only what certainly was not taken: nothing unknown is ever handed to a second provider.
                    why, left = ended.refused or ended.down, ended.waiting
                    delivered.hand_on(ended, TakenOver(ended.provider, why, fallback.name))

                    def at_hand(adapter: Adapter = fallback) -> Adapter:
                        return adapter

                    ended = await self._with(at_hand, broadcast, left, halt, waits=False)
                delivered.add(ended)
            except BaseException:
                halt.set()  # a ledger that cannot be written ends the other channel too
                raise

    async def _with(
        self,
        make: Callable[[], Adapter],
        broadcast: Broadcast,
        to_go: int,
        halt: asyncio.Event,
        *,
        waits: bool = True,
    ) -> Ended:
        """Deliver through one provider. One that cannot be spoken to refuses us; another channel goes on."""
        begun: BroadcastRun | None = None
        try:
            begun = self._run(broadcast, make(), to_go, halt, waits=waits)
            return await begun.deliver()
        except ProviderError as error:
            refused = "; ".join(f"{fault.what}; {fault.remedy}" for fault in error.faults)
            return self._counted(broadcast, Ended(provider=error.provider, refused=refused))
        except asyncio.CancelledError:
            if begun is None:
                raise
            # Ctrl-C once more: what was open is settled as unknown; nothing is left to do but to count.
            begun.ended.interrupted = True
            return self._counted(broadcast, begun.ended)

    def _counted(self, broadcast: Broadcast, ended: Ended) -> Ended:
        """Return how a run ended that could not count what waits."""
        with self.ledger.read() as connection:
            ended.count(what_is_left(connection, broadcast.id, self.clock()))
        return ended

    def _run(
        self, broadcast: Broadcast, adapter: Adapter, to_go: int, halt: asyncio.Event, *, waits: bool
    ) -> BroadcastRun:
        return BroadcastRun(
            broadcast=broadcast,
            ledger=self.ledger,
            adapter=adapter,
            owner=self.owner,
            lease=LEASE,
            clock=self.clock,
            halt=halt,
            progress=self.progress,
            to_go=to_go,
            waits=waits,
        )


def _takes_nothing(ended: Ended) -> bool:
    """Return whether a provider as a whole refused, and left work that another may do."""
    refused = (ended.refused and not ended.refuses_everybody) or ended.down
    left = ended.waiting - ended.planned
    return bool(refused and left and not ended.stopped_by and not ended.interrupted)
