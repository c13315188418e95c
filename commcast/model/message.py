"""What is handed to a provider, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Mailbox:
    """One address with the name a reader sees; `name` may be empty."""

    address: str
    name: str = ""


Pieces = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Skeleton:
    """One group's mail rendered once, cut at the places where a reader's values go.

    A text among the pieces stands for itself, a number for the reader's value of that number. No text is
    empty, and no two texts follow each other. The same object serves all readers of its group, so that what
    is worked out of it once (a frame of encoded lines) can be kept by its identity.
    """

    subject: Pieces
    text: Pieces
    html: Pieces


@dataclass(frozen=True, slots=True)
class Spliced:
    """How one reader's words came about: a skeleton, and the values put into it.

    `escaped` are the same values as they stand in HTML. No value is empty, begins or ends with white space,
    or holds a character that ends a line or that mails may not hold.
    """

    skeleton: Skeleton
    values: tuple[str, ...]
    escaped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CalendarFile:
    """A calendar entry that goes with a mail; the lines of `text` end in CRLF (RFC 5545)."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Email:
    """One finished mail for one addressee.

    `text` and `html` use "\\n" line ends; `html` is empty for a text-only mail.
    `message_id` and `references` are complete with angle brackets. `message_id` is the same
    whenever the same delivery is built again, so that mail systems can drop a second copy (RFC 7352).
    `spliced` tells how subject, text and html came about, where they were spliced: a short way to the same
    bytes, never to others.
    """

    sender: Mailbox
    to: Mailbox
    subject: str
    text: str
    html: str
    message_id: str
    references: tuple[str, ...] = ()
    reply_to: str = ""
    list_unsubscribe: str = ""
    list_id: str = ""
    date: datetime | None = None
    calendar: CalendarFile | None = None
    spliced: Spliced | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Sms:
    """One finished text message. `to` is E.164; `valid_until` (aware) is when it has become stale.

    `sender` is a number, a name or a messaging service; "" leaves the choice to the provider's settings.
    """

    to: str
    body: str
    valid_until: datetime | None = None
    sender: str = ""


Message = Email | Sms


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery's finished message on its way to a provider. `delivery` is the ledger's row number."""

    delivery: int
    message: Message


NOT_BEGUN = "not begun"  # the detail of what was given back before anything was done about it


class OutcomeKind(StrEnum):
    """What an adapter may say of one hand-over.

    accepted   the provider took responsibility (250, 202, 201); nobody says "delivered"
    rejected   the provider said no to this recipient, for good
    unknown    handed over, and the answer was lost: never sent again by itself
    not_taken  the provider certainly did not take it: back to pending, a later run tries again
    """

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    NOT_TAKEN = "not_taken"


class Blame(StrEnum):
    """Whom a refusal speaks of.

    recipient  this address alone; the others do not suffer
    provider   the provider as a whole is down or busy: the next tick tries again (exit 75)
    account    credentials or sender are refused: the broadcast stops at once (exit 78)
    """

    RECIPIENT = "recipient"
    PROVIDER = "provider"
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One delivery's answer.

    `provider_id` is the provider's own name for it (a queue id, a SID), empty where none was given.
    `detail` is a short reason, safe to store and to show: no secret, no address.
    `retry_after` is in seconds and only meant with `not_taken`; None when the provider named no time.
    `suppress` asks that this address be told nothing more (opted out, mailbox does not exist).
    `opted_out` says that the reader asked for silence: that speaks of nobody else.
    """

    delivery: int
    kind: OutcomeKind
    detail: str = ""
    provider_id: str = ""
    blame: Blame = Blame.RECIPIENT
    retry_after: float | None = None
    suppress: bool = False
    opted_out: bool = False


class DeliveryProgress(Protocol):
    """Is told how far a send has come, always from the same thread. Its methods must not raise."""

    def freezing(self, rows: int) -> None:
        """Note how many rows of the current list are rendered and frozen so far."""

    def begins(self, broadcast: str, waiting: int) -> None:
        """Note that `waiting` deliveries of a broadcast ("pay7 email") are about to be handed over.

        Called again if another provider takes over what the first one did not take.
        """

    def settled(self, broadcast: str, outcomes: Mapping[str, int]) -> None:
        """Note the outcomes of further deliveries: how many by OutcomeKind value."""


class Unheard:
    """Shows no progress."""

    def freezing(self, rows: int) -> None: ...

    def begins(self, broadcast: str, waiting: int) -> None: ...

    def settled(self, broadcast: str, outcomes: Mapping[str, int]) -> None: ...


class ReceiptKind(StrEnum):
    """What became of an accepted message, as the provider says later. `delivered` is final."""

    DELIVERED = "delivered"
    BOUNCED = "bounced"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Receipt:
    """One later word of a provider, joined to a delivery by `provider_id`, by `key` (the address as the
    ledger compares it), or by both where both are given.

    `at` (aware) is when it happened. By `key` alone it speaks of what was handed over before `at`; where
    `lasting` is set the provider also drops what is handed over after it. `suppress` asks that the address
    be told nothing more.
    """

    kind: ReceiptKind
    at: datetime
    detail: str = ""
    provider_id: str = ""
    key: str = ""
    lasting: bool = False
    suppress: bool = False
