"""Runs an incident's open broadcasts to their end, and ends well on a signal."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from commcast.adapters.base import Adapter
from commcast.broadcast import Ended, Run
from commcast.errors import ExitCode, Interrupted, gravest
from commcast.ledger.claims import settle_lost
from commcast.ledger.freeze import Broadcast, open_broadcasts
from commcast.ledger.stops import stop_incident
from commcast.ledger.store import Ledger
from commcast.message import OutcomeKind
from commcast.model import Channel

# Longer than the longest hand-over with the one that waits before it; then another host may call it unknown.
LEASE = timedelta(minutes=30)


@dataclass(slots=True)
class Delivered:
    """What one run did over an incident's broadcasts.

    `lost` counts claims of dead runs, now unknown; `expired` those who were not told before the promise of
    their words had passed.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    waiting: int = 0
    expired: int = 0
    stopped_by: str = ""
    refused: str = ""
    refuses_everybody: bool = False
    down: str = ""
    signal: int = 0

    def add(self, ended: Ended) -> None:
        self.outcomes.update(ended.outcomes)
        self.waiting += ended.waiting
        self.expired += ended.expired
        self.stopped_by = self.stopped_by or ended.stopped_by
        self.refused = self.refused or ended.refused
        self.refuses_everybody = self.refuses_everybody or ended.refuses_everybody
        self.down = self.down or ended.down

    @property
    def handed_over(self) -> int:
        """How many messages a provider was given in this run, whatever became of them."""
        return sum(self.outcomes.values()) - self.outcomes[OutcomeKind.NOT_TAKEN]

    def exit_code(self, tolerate: float) -> ExitCode:
        """Return the code this run ends in; `tolerate` is the share of rejects that is no failure."""
        codes = [ExitCode.DONE]
        if self.signal:
            codes.append(ExitCode.INTERRUPTED if self.signal == signal.SIGINT else ExitCode.TERMINATED)
        if self.refused:
            codes.append(ExitCode.REFUSED)
        if self.stopped_by or self.expired:
            codes.append(ExitCode.DECISION)
        if self.lost or self.outcomes[OutcomeKind.UNKNOWN] or self._rejects_too_many(tolerate):
            codes.append(ExitCode.UNKNOWN_OUTCOME)
        if self.waiting and not self.stopped_by:
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
class Deliverer:
    """Delivers for one process. `adapter_for` makes a channel's adapter; `clock` gives aware now."""

    ledger: Ledger
    adapter_for: Callable[[Channel], Adapter]
    owner: str
    clock: Callable[[], datetime]
    progress: Callable[[str], None]

    def deliver(self, incident: str) -> Delivered:
        """Deliver all frozen broadcasts of an incident.

        A person's Ctrl-C stops the incident, and so does a provider that refuses everybody: each further run
        would cost more readers.
        """
        delivered = Delivered()
        with self.ledger.write() as connection:
            delivered.lost = settle_lost(connection, self.clock())
        asyncio.run(self._deliver(incident, delivered))
        reason = "a provider that refused everybody" if delivered.refuses_everybody else ""
        if reason or delivered.signal == signal.SIGINT:
            with self.ledger.write() as connection:
                stop_incident(connection, incident, reason or "Ctrl-C", self.clock())
        return delivered

    async def _deliver(self, incident: str, delivered: Delivered) -> None:
        halt = asyncio.Event()
        loop = asyncio.get_running_loop()

        def caught(number: int) -> None:
            delivered.signal = delivered.signal or number
            halt.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, caught, number)
        try:
            with self.ledger.read() as connection:
                broadcasts = open_broadcasts(connection, incident)
            # Side by side: nobody's text waits behind two hundred thousand mails.
            channels = {broadcast.channel for broadcast in broadcasts}
            ended = await asyncio.gather(
                *(
                    self._one_channel([b for b in broadcasts if b.channel == channel], halt, delivered)
                    for channel in sorted(channels)
                ),
                return_exceptions=True,
            )
            for error in ended:
                if error is not None:
                    raise error
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    async def _one_channel(
        self, broadcasts: Sequence[Broadcast], halt: asyncio.Event, delivered: Delivered
    ) -> None:
        for broadcast in broadcasts:
            run = Run(
                broadcast=broadcast,
                ledger=self.ledger,
                adapter=self.adapter_for(Channel(broadcast.channel)),
                owner=self.owner,
                lease=LEASE,
                clock=self.clock,
                halt=halt,
                progress=self.progress,
            )
            try:
                delivered.add(await run.deliver())
            except BaseException:
                halt.set()  # a ledger that cannot be written ends the other channel too
                raise
