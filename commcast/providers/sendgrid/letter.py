"""One mail as SendGrid sees it: what all mails of a request share, and what is one reader's own."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import parseaddr
from functools import lru_cache
from typing import Any

from commcast.config.settings import SendGridProvider
from commcast.model.message import (
    Blame,
    CalendarFile,
    Delivery,
    Email,
    Mailbox,
    Outcome,
    OutcomeKind,
    Pieces,
    Skeleton,
)
from commcast.providers.mime import LONGEST_NAME, bracketed, one_line, wire_address
from commcast.providers.sendgrid.client import OWN_ID

_SKELETONS_KEPT = 256


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """One group's mail with its places numbered through subject, text and HTML.

    `plain` and `escaped` are the numbers of the reader's values for each place: first in subject and text,
    then in the HTML.
    """

    subject: Pieces
    text: Pieces
    html: Pieces
    plain: tuple[int, ...]
    escaped: tuple[int, ...]

    @property
    def places(self) -> int:
        return len(self.plain) + len(self.escaped)

    @property
    def literals(self) -> list[str]:
        return [piece for piece in (*self.subject, *self.text, *self.html) if isinstance(piece, str)]

    def filled(self, at: Sequence[str]) -> tuple[str, str, str]:
        """Return subject, text and HTML with a text at each place."""
        return _joined(self.subject, at), _joined(self.text, at), _joined(self.html, at)


def cut_of(email: Email) -> tuple[Cut, tuple[str, ...]] | None:
    """Return where a mail is cut, and the reader's own text for each place; None if it has to go whole.

    The cut filled with these texts is then exactly the mail, and JSON and mails can hold them.
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
    numbers: list[int] = []

    def numbered(pieces: Pieces) -> Pieces:
        found: list[str | int] = []
        for piece in pieces:
            if isinstance(piece, int):
                numbers.append(piece)
            found.append(piece if isinstance(piece, str) else len(numbers) - 1)
        return tuple(found)

    subject, text = numbered(skeleton.subject), numbered(skeleton.text)
    plain = tuple(numbers)
    cut = Cut(subject, text, numbered(skeleton.html), plain, tuple(numbers[len(plain) :]))
    return cut if _is_whole("".join(cut.literals)) else None


def _is_whole(text: str) -> bool:
    """Whether the text holds neither lone surrogates nor NUL."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in text


def _joined(pieces: Pieces, at: Sequence[str]) -> str:
    return "".join([at[p] if type(p) is int else p for p in pieces])  # type: ignore[misc]


_BROKEN = re.compile(r"[\x00\ud800-\udfff]")  # what no JSON text or mail can hold
_SEPARATORS = re.compile(r"[;,]")  # SendGrid takes them for the end of a name
_TAME_NAME = re.compile(r"[\w.'-]+(?: [\w.'-]+)*")  # nothing in it is unshown or separates
_OFF = {"enable": False}


@dataclass(frozen=True, slots=True)
class ReaderView:
    """What one reader sees of a mail."""

    subject: str
    text: str
    html: str


@dataclass(frozen=True, slots=True)
class SplitEmail:
    """One mail taken apart: what all mails of a request share, and what is one reader's own.

    `cut` is set if filling it with the reader's `own` texts gives exactly this mail.
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
        """What must be the same in mails that are merged line by line."""
        return self.frame, self.reading.text.count("\n"), _line_count(self.reading.html)


def letter_of(item: Delivery, provider: SendGridProvider, frames: dict[object, str]) -> SplitEmail | Outcome:
    """Return a mail taken apart, or its outcome if it cannot be sent. `frames` are those made so far."""
    email = item.message
    if not isinstance(email, Email):
        raise TypeError("sendgrid carries mail only")
    listed = email.references, email.list_id, email.list_unsubscribe
    shared = (email.sender, email.reply_to, *listed, email.calendar)
    try:
        if shared not in frames:
            frames[shared] = json.dumps(_frame(email, provider))
    except ValueError:
        words = "the sender, reply address or a header cannot stand in a mail"
        return Outcome(item.delivery, OutcomeKind.NOT_TAKEN, words, blame=Blame.ACCOUNT)
    cut, own = cut_of(email) or (None, ())
    if cut:
        reading = ReaderView(email.subject, email.text, email.html)
    else:
        reading = ReaderView(one_line(email.subject), _unbroken(email.text), _unbroken(email.html))
    try:
        person = _person(email)
        if not reading.subject or not reading.text:
            raise ValueError("the mail has no subject or no text")
    except ValueError as error:
        return Outcome(item.delivery, OutcomeKind.REJECTED, str(error))
    return SplitEmail(item.delivery, frames[shared], person, reading, cut, own)


def _frame(email: Email, provider: SendGridProvider) -> dict[str, Any]:
    """Return everything in a request except its readers, subject and content."""
    frame: dict[str, Any] = {"from": _mailbox(email.sender)}
    if email.reply_to:
        name, address = parseaddr(email.reply_to)
        frame["reply_to"] = _mailbox(Mailbox(address, name))
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
        "type": "text/calendar",  # a parameter is refused; the method stands in the file
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
    headers["Auto-Submitted"] = "auto-generated"  # RFC 3834: no vacation replies
    return headers


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
    except UnicodeError:  # it would quote what it stumbles over
        raise ValueError("the address cannot stand in a mail; write it as name@example.com") from None
    if not address.isascii():
        raise ValueError("the address is not ASCII before its @, which SendGrid does not take")
    name = mailbox.name
    if len(name) > LONGEST_NAME or not _TAME_NAME.fullmatch(name):
        name = " ".join(_SEPARATORS.sub(" ", one_line(name)).split())[:LONGEST_NAME].strip()
    return {"email": address, "name": name} if name else {"email": address}


def _unbroken(text: str) -> str:
    try:
        text.encode()  # a hundred times faster than a search, and nearly always right
    except UnicodeEncodeError:
        return _BROKEN.sub("\ufffd", text)
    return text.replace("\x00", "\ufffd")


def _line_count(html: str) -> int:
    return html.count("\n") if html else -1
