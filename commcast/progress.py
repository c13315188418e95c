"""What a send tells of how far it is, while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Progress(Protocol):
    """Hears how far a send is. All is told from one thread; what it does with it must not raise."""

    def freezing(self, rows: int) -> None:
        """Hear how many rows of the list at hand are rendered and frozen so far."""

    def begins(self, broadcast: str, waiting: int) -> None:
        """Hear that `waiting` deliveries of a broadcast ("pay7 email") are about to be handed over.

        Said again where another provider takes over what the first one did not take.
        """

    def settled(self, broadcast: str, outcomes: Mapping[str, int]) -> None:
        """Hear what has become of further deliveries: how many by OutcomeKind value."""


class Unheard:
    """Tells nobody."""

    def freezing(self, rows: int) -> None: ...

    def begins(self, broadcast: str, waiting: int) -> None: ...

    def settled(self, broadcast: str, outcomes: Mapping[str, int]) -> None: ...
