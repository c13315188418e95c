"""One email as SendGrid sees it: what all emails of a request share, and what is one reader's own."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from commcast.config.settings import SendGridProvider
from commcast.model.message import (
    Blame,
    CalendarFile,
    Delivery,
    Email,
    Mailbox,
    Outcome,
    OutcomeKind,
    Skeleton,
    read_mailbox,
)
from commcast.providers.mime import LONGEST_NAME, NO_AUTOMATIC_REPLY, bracketed, one_line, wire_address

OWN_ID = "commcast_delivery"  # the custom argument that holds an email's Message-ID without its brackets
_SKELETONS_KEPT = 256
_BROKEN = re.compile(r"[\x00\ud800-\udfff]")  # what no JSON text or email can hold
_SEPARATORS = re.compile(r"[;,]")  # SendGrid takes them for the end of a name
_TAME_NAME = re.compile(r"[\w.'-]+(?: [\w.'-]+)*")  # nothing in it is invisible or separates
_OFF = {"enable": False}


class ReaderView(NamedTuple):
    """What one reader sees of an email."""

    subject: str
    text: str
    html: str


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """One group's email with places for a reader's values.

    `plain` and `escaped` are the numbers of these values, in the order of their places: first in subject and
    text, then in the HTML.
    """

    skeleton: Skeleton
    plain: tuple[int, ...]
    escaped: tuple[int, ...]

    @property
    def literals(self) -> list[str]:
        parts = (*self.skeleton.subject, *self.skeleton.text, *self.skeleton.html)
        return [piece for piece in parts if isinstance(piece, str)]

    def filled(self, at: Sequence[str]) -> ReaderView:
        """Return the email with a text at each place."""
        texts, parts = iter(at), (self.skeleton.subject, self.skeleton.text, self.skeleton.html)
        return ReaderView(
            *("".join([piece if isinstance(piece, str) else next(texts) for piece in part]) for part in parts)
        )


def cut_of(email: Email) -> tuple[Cut, tuple[str, ...]] | None:
    """Return where an email is cut, and the reader's own text for each place; None if it has to go whole.

    The cut filled with these texts is then exactly the email, and JSON and email can hold them.
    """
    how = email.spliced
    cut = _cut(how.skeleton) if how else None
    if how is None or cut is None:
        return None
    own = (*[how.values[number] for number in cut.plain], *[how.escaped[number] for number in cut.escaped])
    is_right = cut.filled(own) == (email.subject, email.text, email.html)
    if is_right and _is_whole("".join(own)) and one_line(email.subject) == email.subject:
        return cut, own
    return None


@lru_cache(_SKELETONS_KEPT)
def _cut(skeleton: Skeleton) -> Cut | None:
    plain, escaped = (
        tuple(piece for piece in pieces if isinstance(piece, int))
        for pieces in ((*skeleton.subject, *skeleton.text), skeleton.html)
    )
    cut = Cut(skeleton, plain, escaped)
    return cut if _is_whole("".join(cut.literals)) else None


def _is_whole(text: str) -> bool:
    """Return whether the text holds neither lone surrogates nor NUL."""
    try:
        text.encode()  # a hundred times faster than a search
    except UnicodeEncodeError:
        return False
    return "\x00" not in text


@dataclass(frozen=True, slots=True)
class SplitEmail:
    """One email taken apart: what all emails of a request share, and what is one reader's own.

    `cut` is set if filling it with the reader's `own` texts gives exactly this email.
    """

    delivery: int
    frame: str  # JSON
    person: dict[str, Any]
    reading: ReaderView
    cut: Cut | None
    own: tuple[str, ...]

    @property
    def address(self) -> str:
        return str(self.person["to"][0]["email"]).casefold()

    @property
    def shape(self) -> tuple[str, int, int]:
        """What must be the same in emails that are merged line by line."""
        html = self.reading.html
        return self.frame, self.reading.text.count("\n"), html.count("\n") if html else -1


def letter_of(item: Delivery, provider: SendGridProvider, frames: dict[object, str]) -> SplitEmail | Outcome:
    """Return an email taken apart, or its outcome if it cannot be sent. `frames` are those made so far."""
    email = item.message
    if not isinstance(email, Email):
        raise TypeError("sendgrid carries email only")
    listed = email.references, email.list_id, email.list_unsubscribe
    shared = (email.sender, email.reply_to, *listed, email.calendar)
    try:
        if shared not in frames:
            frames[shared] = json.dumps(_frame(email, provider))
    except ValueError:
        words = "the sender, reply address or a header cannot be put into an email"
        return Outcome(item.delivery, OutcomeKind.NOT_TAKEN, words, blame=Blame.ACCOUNT)
    cut, own = cut_of(email) or (None, ())
    reading = ReaderView(email.subject, email.text, email.html)
    if not cut:
        reading = ReaderView(one_line(email.subject), _unbroken(email.text), _unbroken(email.html))
    try:
        person = _person(email)
        if not reading.subject or not reading.text:
            raise ValueError("the email has no subject or no text")
    except ValueError as error:
        return Outcome(item.delivery, OutcomeKind.REJECTED, str(error))
    return SplitEmail(item.delivery, frames[shared], person, reading, cut, own)


def _frame(email: Email, provider: SendGridProvider) -> dict[str, Any]:
    """Return everything in a request except its readers, subject and content."""
    frame: dict[str, Any] = {"from": _mailbox(email.sender)}
    if email.reply_to:
        frame["reply_to"] = _mailbox(read_mailbox(email.reply_to))
    frame["headers"] = _headers(email, provider)
    if email.calendar is not None:
        frame["attachments"] = [_attachment(email.calendar)]
    frame["categories"] = [provider.category]
    if provider.asm_group:
        frame["asm"] = {"group_id": provider.asm_group}
    # Nothing is added and no link rewritten: what a preview shows is what arrives.
    frame["mail_settings"] = {"footer": _OFF}
    frame["tracking_settings"] = {
        "click_tracking": {"enable": False, "enable_text": False},
        "open_tracking": _OFF,
        "subscription_tracking": _OFF,
        "ganalytics": _OFF,
    }
    return frame


def _attachment(calendar: CalendarFile) -> dict[str, str]:
    return {
        "content": b64encode(calendar.text.encode()).decode(),
        "type": "text/calendar",  # SendGrid refuses a parameter; the method is in the file
        "filename": calendar.name,
        "disposition": "attachment",
    }


def _headers(email: Email, provider: SendGridProvider) -> dict[str, str]:
    headers = {}
    if email.references:
        headers["In-Reply-To"] = bracketed(email.references[-1], "references")
        headers["References"] = " ".join(bracketed(each, "references") for each in email.references)
    if email.list_id:
        headers["List-Id"] = bracketed(email.list_id, "list_id")
    if email.list_unsubscribe and not provider.asm_group:  # a group brings its own, and RFC 2369 allows one
        headers["List-Unsubscribe"] = bracketed(email.list_unsubscribe, "list_unsubscribe")
    return headers | NO_AUTOMATIC_REPLY


def _person(email: Email) -> dict[str, Any]:
    """Return the personalization of one reader. Raises ValueError, which does not name the address."""
    own_id = bracketed(email.message_id, "message_id")
    return {
        "to": [_mailbox(email.to)],
        "headers": {"Message-ID": own_id},
        "custom_args": {OWN_ID: own_id[1:-1]},
    }


def _mailbox(mailbox: Mailbox) -> dict[str, str]:
    try:
        address = wire_address(mailbox.address)
    except UnicodeError:  # its own words would quote the address
        raise ValueError("the address cannot be put into an email; write it as name@example.com") from None
    if not address.isascii():
        raise ValueError("the address is not ASCII before its @, which SendGrid does not accept")
    name = mailbox.name
    if len(name) > LONGEST_NAME or not _TAME_NAME.fullmatch(name):
        name = " ".join(_SEPARATORS.sub(" ", one_line(name)).split())[:LONGEST_NAME].strip()
    return {"email": address, "name": name} if name else {"email": address}


def _unbroken(text: str) -> str:
    return text if _is_whole(text) else _BROKEN.sub("\ufffd", text)
