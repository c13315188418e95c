"""When this process may hand over: a provider's limit, its slots, and the pauses it asks for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from commcast.adapters.base import Adapter
from commcast.ledger.pacing import Pace

LATE = timedelta(milliseconds=50)  # a hand-over that missed its slot by more takes another one
LATE_BATCH = timedelta(milliseconds=200)  # making a request of many readers takes its time
AFTER_SILENCE = 120.0  # seconds a provider is left alone that answered nothing: each try costs a reader
LONGEST_WAIT = timedelta(seconds=35)  # a run waits no longer than this for a provider to be ready again
LONGEST_PAUSES = timedelta(seconds=60)  # all the pauses together that a run grants a provider
_FIRST_LEAD, _LONGEST_LEAD = 0.02, 5.0  # seconds from a claim to its slot: what the disk and the loop need
_FORGETTING = 0.9  # how much of a longer lead stays with each transaction that did not need it


@dataclass(slots=True)
class Throttle:
    """What one run has to respect at one provider. `clock` gives aware now.

    `closed_until` is until when the provider asked to be left alone, None while it did not.
    """

    adapter: Adapter
    clock: Callable[[], datetime]
    closed_until: datetime | None = None
    _paused: timedelta = field(default_factory=timedelta)
    _lead: float = _FIRST_LEAD

    @property
    def limit(self) -> Pace:
        """The provider's limit, for the next claims."""
        lead = timedelta(seconds=self._lead)
        return Pace(self.adapter.name, self.adapter.per_second, self.adapter.batch_size, lead)

    @property
    def is_closed(self) -> bool:
        """Whether the provider asked, in this run, to be left alone for now."""
        return self.closed_until is not None and self.closed_until > self.clock()

    def claimed_in(self, seconds: float) -> None:
        """Give the next claims slots that this disk can keep: the last transaction took `seconds`."""
        self._lead = min(max(_FIRST_LEAD, self._lead * _FORGETTING, 2 * seconds), _LONGEST_LEAD)

    def asked_to_pause(self, seconds: float) -> None:
        """Begin nothing more for so long."""
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
        """Wait for a slot, or for the run's end; False where it was missed, for then others are crowded."""
        if slot is None:
            return True
        ending = asyncio.create_task(over.wait())
        await asyncio.wait({ending}, timeout=max((slot - self.clock()).total_seconds(), 0))
        ending.cancel()
        if self.clock() <= slot + (LATE if self.adapter.batch_size == 1 else LATE_BATCH):
            return True
        self._lead = min(self._lead * 2, _LONGEST_LEAD)
        return False
