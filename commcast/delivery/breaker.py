"""Whether a run goes on, waits or ends, judged by its provider's answers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from commcast.ledger.settle import SendLimit
from commcast.model.message import NOT_BEGUN, Blame, Outcome, OutcomeKind
from commcast.providers.base import Adapter

FAILURES_IN_A_ROW = 20  # after these a provider counts as down: the run ends, nothing is lost
FIRST_REFUSALS = 20  # with none accepted: it is us, not the readers (a relay that is not open to us)
LOST_REQUESTS = 2  # whole requests unanswered in a row: each costs as many readers as it carries
NO_REASON = "it gives no reason"  # an adapter may leave it out, and the run has to end even so
LONGEST_RETRY = 3_600.0  # seconds: a provider's "try again later" is not believed beyond an hour
SHORTEST_PAUSE = 1.0  # seconds: "at once" is not an answer to "too many"
_LATEST_AFTER = 5.0  # seconds after a named time within which the processes that wait for it come back
GREYLISTED = 60.0  # seconds: one reader's "not now" waits for a later run
# Seconds that a reader waits who may be the cause of a refusal: the next run begins with others.
NEXT_IN_LINE = 300.0


@dataclass(slots=True)
class CircuitBreaker:
    """What the answers so far mean for a run.

    `patience` is how many requests may fail in a row, `batch` how many readers a request carries. `refused`
    is the provider's reason if it refuses us as a whole, `refused_some` if it refuses us for some readers,
    `down` if it takes nothing, else "". `is_silent` means that it is down because answers were lost, each of
    which costs a reader; `accepts` that it has accepted somebody. `chance` gives numbers from 0 to 1, so that
    many processes don't all come back at once.
    """

    patience: int
    batch: int = 1
    refused: str = ""
    refused_some: str = ""
    down: str = ""
    refuses_everybody: bool = False
    is_silent: bool = False
    accepts: bool = False
    refused_for_good: list[Outcome] = field(default_factory=list)
    opted_out: list[Outcome] = field(default_factory=list)
    chance: Callable[[], float] = random.random
    _failed_in_row: int = 0
    _unknown_in_row: int = 0
    _unclear_in_row: int = 0
    _unclear: str = ""
    _last_failed: int = -1
    _refused_first: int = 0

    @property
    def is_final(self) -> bool:
        """Whether the run has to end."""
        return bool(self.refused or self.down)

    @property
    def to_suppress(self) -> list[Outcome]:
        """Whom to suppress: readers who opted out, and those whom the provider will never serve.

        None of the latter if all were refused, as that is more likely our fault.
        """
        return [*self.opted_out, *(self.refused_for_good if self.accepts else [])]

    def heed(self, outcome: Outcome, request: int) -> None:
        """Take one answer into account. `request` is the number of the request that it answers."""
        for_one = outcome.blame is Blame.ACCOUNT_FOR_ONE
        if for_one:
            self.refused_some = self.refused_some or outcome.detail or NO_REASON
        if outcome.kind is OutcomeKind.ACCEPTED:
            self._failed_in_row = self._unknown_in_row = self._unclear_in_row = 0
            self.accepts = True
        elif outcome.kind is OutcomeKind.REJECTED:
            self._failed_in_row = self._unknown_in_row = self._unclear_in_row = 0
            if not for_one:
                self._heed_refusal(outcome)
        elif outcome.kind is OutcomeKind.UNKNOWN or outcome.blame is Blame.PROVIDER:
            self._heed_failure(outcome, request)
        elif outcome.blame is Blame.ACCOUNT:
            self.refused = self.refused or outcome.detail or NO_REASON
        elif for_one or outcome.blame is Blame.UNCLEAR:
            self._unclear, self._unclear_in_row = outcome.detail or NO_REASON, self._unclear_in_row + 1
            if self._unclear_in_row >= min(FAILURES_IN_A_ROW, self.patience):
                self.refused = self.refused or self._unclear

    def conclude(self) -> None:
        """Judge a run that is over: if several were refused, unclear why, and nobody accepted, it is us."""
        if self._unclear_in_row > 1 and not self.accepts:
            self.refused = self.refused or self._unclear

    def wait(self, outcome: Outcome) -> float:
        """Return in how many seconds to try again what was not taken, never before a named time."""
        if outcome.retry_after is not None:
            named = max(outcome.retry_after, SHORTEST_PAUSE)
            return min(named + min(named / 10, _LATEST_AFTER) * self.chance(), LONGEST_RETRY)
        if outcome.blame is Blame.RECIPIENT:
            return 0.0 if outcome.detail == NOT_BEGUN else GREYLISTED
        if outcome.blame in {Blame.UNCLEAR, Blame.ACCOUNT_FOR_ONE}:
            return NEXT_IN_LINE
        # Seconds, not minutes: somebody waits at the shell, and the next tick tries again anyway.
        return min(2.0 ** (self._failed_in_row // 4), 8.0) * (1 + self.chance()) / 2

    def _heed_failure(self, outcome: Outcome, request: int) -> None:
        """Stop if nothing is taken, or nothing is answered: a silent provider would cost us the list."""
        if outcome.kind is OutcomeKind.NOT_TAKEN and outcome.retry_after is not None:
            return  # it is up and says when: the pause is kept, and a run's waiting has its own limit
        if outcome.kind is OutcomeKind.UNKNOWN:
            self._unknown_in_row += 1
        if request != self._last_failed:
            self._failed_in_row, self._last_failed = self._failed_in_row + 1, request
        too_many_failed = self._failed_in_row >= min(FAILURES_IN_A_ROW, self.patience)
        if too_many_failed or self._loses_too_many():
            self.down = outcome.detail or NO_REASON
            self.is_silent = outcome.kind is OutcomeKind.UNKNOWN

    def _loses_too_many(self) -> bool:
        """Return whether requests with many readers were lost too often."""
        if self.batch == 1:
            return False  # each request is one reader: counted as a failure
        allowed = max(FAILURES_IN_A_ROW, LOST_REQUESTS * self.batch) if self.accepts else LOST_REQUESTS
        return self._unknown_in_row >= allowed

    def _heed_refusal(self, outcome: Outcome) -> None:
        """Stop if everybody is refused from the start: one error, not fifty thousand."""
        if outcome.opted_out:
            # A reader's own "stop" says nothing about anybody else.
            self.opted_out.append(outcome)
            return
        if outcome.suppress:
            self.refused_for_good.append(outcome)
        self._refused_first += 1
        if self._refused_first >= FIRST_REFUSALS and not self.accepts:
            self.refuses_everybody = True
            self.refused = f"the first {self._refused_first} recipients were all refused: {outcome.detail}"


LATE = timedelta(milliseconds=50)  # a request that missed its slot by more takes another one
LATE_BATCH = timedelta(milliseconds=200)  # a request of many readers takes longer to make
AFTER_SILENCE = 120.0  # seconds that a provider without answers is left alone: each try costs a reader
LONGEST_WAIT = timedelta(seconds=35)  # a run waits no longer than this for a provider to be ready again
LONGEST_PAUSES = timedelta(seconds=60)  # all pauses together that a run grants a provider
_FIRST_LEAD, _LONGEST_LEAD = 0.02, 5.0  # seconds from a claim to its slot: what the disk and the loop need
_FORGETTING = 0.9  # how much of a longer lead stays with each transaction that did not need it


@dataclass(slots=True)
class RateLimiter:
    """What one run has to respect at one provider. `clock` gives aware now.

    `closed_until` is until when the provider asked to be left alone, None if it did not.
    """

    adapter: Adapter
    clock: Callable[[], datetime]
    closed_until: datetime | None = None
    _paused: timedelta = field(default_factory=timedelta)
    _lead: float = _FIRST_LEAD

    @property
    def limit(self) -> SendLimit:
        """The provider's limit, for the next claims."""
        lead = timedelta(seconds=self._lead)
        return SendLimit(self.adapter.name, self.adapter.per_second, self.adapter.batch_size, lead)

    @property
    def is_closed(self) -> bool:
        """Whether the provider asked, in this run, to be left alone for now."""
        return self.closed_until is not None and self.closed_until > self.clock()

    def claimed_in(self, seconds: float) -> None:
        """Give the next claims slots that this disk can keep: the last transaction took `seconds`."""
        self._lead = min(max(_FIRST_LEAD, self._lead * _FORGETTING, 2 * seconds), _LONGEST_LEAD)

    def asked_to_pause(self, seconds: float) -> None:
        """Begin nothing more for this long."""
        until = self.clock() + timedelta(seconds=seconds)
        if self.closed_until is None or until > self.closed_until:
            self.closed_until = until

    def outlasts_us(self, until: datetime) -> bool:
        """Return whether a pause is longer than a person at the shell can wait."""
        pause = until - self.clock()
        return pause > LONGEST_WAIT or self._paused + pause > LONGEST_PAUSES

    def paused_for(self, pause: timedelta) -> None:
        """Count a pause that was kept."""
        self._paused += pause

    async def slot_is_kept(self, slot: datetime | None, over: asyncio.Event) -> bool:
        """Wait for a slot, or for the run's end; False if it was missed: using it late crowds others."""
        if slot is None:
            return True
        ending = asyncio.create_task(over.wait())
        await asyncio.wait({ending}, timeout=max((slot - self.clock()).total_seconds(), 0))
        ending.cancel()
        if self.clock() <= slot + (LATE if self.adapter.batch_size == 1 else LATE_BATCH):
            return True
        self._lead = min(self._lead * 2, _LONGEST_LEAD)
        return False
