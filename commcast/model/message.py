"""What a provider is given, and what became of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import unquote
from enum import StrEnum
from typing import NamedTuple, Protocol

_MAILBOX = re.compile(
    r"(?P<name>[^<>]*?)\s*<(?P<bracketed>[^@\s<>,;]+@[^@\s<>,;]+)>|(?P<bare>[^@\s<>,;]+@[^@\s<>,;]+)"
)
_SECOND_ADDRESS = re.compile(r"\S@\S+\s*[,;]")


class Mailbox(NamedTuple):
    """One address with the name a reader sees; `name` may be empty."""

    address: str
    name: str = ""


def read_mailbox(text: str) -> Mailbox:
    """Return the one mailbox of `Name <address>` or `address`; a name may hold a colon or an @.

    Raises ValueError for anything else: two addresses, or none.
    """
    found = _MAILBOX.fullmatch(text.strip())
    if not found or _SECOND_ADDRESS.search(found["name"] or ""):
        raise ValueError("is not one address")
    return Mailbox(found["bracketed"] or found["bare"], unquote(found["name"] or ""))


Pieces = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Skeleton:
    """One group's email rendered once, cut at the places of a reader's values.

    A piece is text, or the number of a reader's value. No text is empty, and no two texts follow each other.
    All readers of a group share one object, so that what is derived from it (a frame of encoded lines) can be
    cached by its identity.
    """

    subject: Pieces
    text: Pieces
    html: Pieces


class Spliced(NamedTuple):
    """How one reader's email was made: a skeleton, and the values put into it.

    `escaped` are the same values as they appear in HTML. No value is empty, begins or ends with white space,
    or contains a line end or a character that is not allowed in email.
    """

    skeleton: Skeleton
    values: tuple[str, ...]
    escaped: tuple[str, ...]


class CalendarFile(NamedTuple):
    """A calendar entry that goes with an email; the lines of `text` end in CRLF (RFC 5545)."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Email:
    """One finished email for one addressee.

    `text` and `html` use "\\n" line ends; `html` is empty for a text-only email.
    `message_id` and `references` are complete with angle brackets. `message_id` is the same whenever the same
    delivery is built again, so that mail systems can drop a second copy (RFC 7352).
    `spliced` says how subject, text and html were made, if they were spliced: a shortcut to the same bytes.
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
    """One finished text message. `to` is E.164; after `valid_until` (aware) it is stale.

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


NOT_BEGUN = "not begun"  # the detail of a delivery that was given back untouched


class OutcomeKind(StrEnum):
    """What an adapter may report of one hand-over.

    accepted   the provider took responsibility (250, 202, 201); nobody says "delivered"
    rejected   the provider refused this recipient for good
    unknown    handed over, but the answer was lost: never sent again automatically
    not_taken  the provider certainly did not take it: back to pending, a later run tries again
    """

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    NOT_TAKEN = "not_taken"


class Blame(StrEnum):
    """What a refusal is about.

    recipient  this address only; the others are not affected
    provider   the provider as a whole is down or busy: the next tick tries again (exit 75)
    account    our credentials, sender, limit or content: the broadcast stops at once (exit 78)
    account for one  the same, but for this reader only, as in a region that we may not text: the others go
               on, the run ends with exit 78
    unclear    this address or us, it does not say: the row waits, and several in a row are about us
    """

    RECIPIENT = "recipient"
    PROVIDER = "provider"
    ACCOUNT = "account"
    ACCOUNT_FOR_ONE = "account for one"
    UNCLEAR = "unclear"


class Outcome(NamedTuple):
    """One delivery's answer.

    `provider_id` is the provider's own name for it (a queue id, a SID), empty if it gave none.
    `detail` is a short reason, safe to store and to show: no secret, no address.
    `retry_after` is in seconds and only used with `not_taken`; None if the provider gave no time.
    `suppress` means that this address should get no more messages (opted out, mailbox does not exist).
    `opted_out` means that this reader opted out, which says nothing about anybody else.
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
    """Is told how far a send has got, always from the same thread. Its methods must not raise."""

    def freezing(self, rows: int) -> None:
        """Note how many rows of the current list are rendered and frozen so far."""

    def begins(self, broadcast: str, waiting: int) -> None:
        """Note that `waiting` deliveries of a broadcast ("pay7 email") are about to be handed over.

        Called again if another provider takes over from the first.
        """

    def settled(self, broadcast: str, outcomes: Mapping[str, int]) -> None:
        """Note the outcomes of further deliveries: how many by OutcomeKind value."""


class Unheard:
    """Shows no progress."""

    def freezing(self, rows: int) -> None: ...

    def begins(self, broadcast: str, waiting: int) -> None: ...

    def settled(self, broadcast: str, outcomes: Mapping[str, int]) -> None: ...


class ReceiptKind(StrEnum):
    """What happened to an accepted message, as the provider reports later. `delivered` is final."""

    DELIVERED = "delivered"
    BOUNCED = "bounced"
    FAILED = "failed"


class Receipt(NamedTuple):
    """A provider's later report of one delivery.

    It is joined to the delivery by `provider_id`, by `key` (the address as the ledger compares it), or by
    both if both are given. `at` (aware) is when it happened. With `key` alone it is about what was handed
    over before `at`; if `lasting` is set, the provider also drops what is handed over later. `suppress` means
    that the address should get no more messages.
    """

    kind: ReceiptKind
    at: datetime
    detail: str = ""
    provider_id: str = ""
    key: str = ""
    lasting: bool = False
    suppress: bool = False
