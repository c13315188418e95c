"""What a provider's answers mean for a whole run: go on, try again later, or end it."""

from __future__ import annotations

from dataclasses import dataclass, field

from commcast.message import Blame, Outcome, OutcomeKind

FAILURES_IN_A_ROW = 20  # a provider that takes nothing so often is down: the run ends, nothing is lost
FIRST_REFUSALS = 20  # so many refused and none accepted: it is us, not them (a relay that is not open to us)
NO_REASON = "it gives no reason"  # an adapter may leave it out, and the run must end all the same
NOT_BEGUN = "not begun"
LONGEST_RETRY = 86_400.0  # seconds: no provider's "try again later" is believed beyond a day
GREYLISTED = 60.0  # seconds: one reader's "not now" waits for a later run


@dataclass(slots=True)
class Verdict:
    """What the answers so far say of a run.

    `patience` is how many failures in a row end it. `refused` is the provider's word where it refuses us as a
    whole, `down` where it takes nothing; "" while neither. `refused_for_good` are those it will never serve.
    """

    patience: int
    refused: str = ""
    down: str = ""
    refuses_everybody: bool = False
    refused_for_good: list[Outcome] = field(default_factory=list)
    _accepts: bool = False
    _in_row: int = 0
    _refused_first: int = 0

    @property
    def is_final(self) -> bool:
        """Whether the run is to end."""
        return bool(self.refused or self.down)

    @property
    def to_suppress(self) -> list[Outcome]:
        """Who is to hear nothing more; nobody where all were refused, for that is more likely our fault."""
        return self.refused_for_good if self._accepts else []

    def heed(self, outcome: Outcome) -> None:
        """Take one answer into account."""
        if outcome.kind is OutcomeKind.ACCEPTED:
            self._in_row, self._accepts = 0, True
        elif outcome.kind is OutcomeKind.REJECTED:
            self._in_row = 0
            self._heed_refusal(outcome)
        elif outcome.kind is OutcomeKind.UNKNOWN or outcome.blame is Blame.PROVIDER:
            self._heed_failure(outcome)
        elif outcome.blame is Blame.ACCOUNT:
            self.refused = self.refused or outcome.detail or NO_REASON

    def wait(self, outcome: Outcome) -> float:
        """Return in how many seconds what was not taken may be tried again."""
        if outcome.retry_after is not None:
            return min(max(outcome.retry_after, 0.0), LONGEST_RETRY)
        if outcome.blame is Blame.RECIPIENT:
            return 0.0 if outcome.detail == NOT_BEGUN else GREYLISTED
        # Seconds, not minutes: somebody waits at the shell, and the next tick tries again anyway.
        return float(min(2 ** (self._in_row // 4), 8))

    def _heed_failure(self, outcome: Outcome) -> None:
        """Stop where nothing is taken, or nothing is answered: a silent provider would cost us the list."""
        self._in_row += 1
        if self._in_row >= min(FAILURES_IN_A_ROW, self.patience):
            self.down = outcome.detail or NO_REASON

    def _heed_refusal(self, outcome: Outcome) -> None:
        """Stop where everybody is refused from the first: one message, not fifty thousand."""
        if outcome.suppress:
            self.refused_for_good.append(outcome)
        self._refused_first += 1
        if self._refused_first >= FIRST_REFUSALS and not self._accepts:
            self.refuses_everybody = True
            self.refused = f"the first {self._refused_first} recipients were all refused: {outcome.detail}"
