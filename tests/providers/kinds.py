"""What an outcome can say, and who is at fault: short names for tables."""

from __future__ import annotations

from commcast.model.message import Blame, OutcomeKind

ACCEPTED, REJECTED = OutcomeKind.ACCEPTED, OutcomeKind.REJECTED
UNKNOWN, NOT_TAKEN = OutcomeKind.UNKNOWN, OutcomeKind.NOT_TAKEN
RECIPIENT, PROVIDER, ACCOUNT = Blame.RECIPIENT, Blame.PROVIDER, Blame.ACCOUNT
UNCLEAR, FOR_ONE = Blame.UNCLEAR, Blame.ACCOUNT_FOR_ONE
