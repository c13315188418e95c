"""Finished mails -> the fewest mail/send requests that give each reader exactly these words."""

from __future__ import annotations

import json
import re
import secrets
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parseaddr
from typing import Any

from commcast.adapters.mime import LONGEST_NAME, bracketed, one_line, wire_address
from commcast.config_providers import SendGridProvider
from commcast.message import Blame, Email, HandOver, Mailbox, Outcome, OutcomeKind
from commcast.providers.sendgrid_client import OWN_ID

# SendGrid's mail/send: at most 1,000 personalizations, under 30 MB, 10,000 bytes of substitutions a person.
MOST_READERS = 1000
LARGEST_REQUEST = 29_900_000  # bytes
MOST_SUBSTITUTED = 10_000  # bytes

_BROKEN = re.compile(r"[\x00\ud800-\udfff]")  # what no JSON text or mail can hold
_SEPARATORS = re.compile(r"[;,]")  # SendGrid takes them for the end of a name
_OFF = {"enable": False}


@dataclass(frozen=True, slots=True)
class Reading:
    """What one reader sees of a mail."""

    subject: str
    text: str
    html: str


@dataclass(frozen=True, slots=True)
class Request:
    """One body for mail/send. `deliveries` are in the order of its personalizations."""

    body: dict[str, Any]
    deliveries: tuple[int, ...]

    def part(self, indices: Iterable[int]) -> Request:
        """Return the request for some of its readers only."""
        kept = list(indices)
        everybody = self.body["personalizations"]
        body = {**self.body, "personalizations": [everybody[index] for index in kept]}
        return Request(body, tuple(self.deliveries[index] for index in kept))


@dataclass(frozen=True, slots=True)
class _Letter:
    """One mail taken apart: what all mails of a request share, and what is one reader's own."""

    delivery: int
    frame: str  # JSON
    person: dict[str, Any]
    reading: Reading

    @property
    def address(self) -> str:
        return str(self.person["to"][0]["email"]).casefold()

    @property
    def shape(self) -> tuple[str, int, int]:
        """What must be alike in mails that are merged line by line."""
        return self.frame, self.reading.text.count("\n"), _line_count(self.reading.html)


def requests(
    batch: Sequence[HandOver],
    provider: SendGridProvider,
    draw: Callable[[], str] = lambda: secrets.token_hex(16),
) -> tuple[list[Request], list[Outcome]]:
    """Return the requests for a batch, and the outcomes of the mails that can be in none.

    `draw` gives 128 random bits in hexadecimal: what stands for a reader's own line cannot be foreseen, so
    no incident text can name it.
    """
    refused: list[Outcome] = []
    alike: dict[tuple[str, int, int], list[_Letter]] = defaultdict(list)
    frames: dict[object, str] = {}
    for item in batch:
        letter = _letter(item, provider, frames)
        if isinstance(letter, Outcome):
            refused.append(letter)
        else:
            alike[letter.shape].append(letter)
    made: list[Request] = []
    for letters in alike.values():
        for group in _groups(letters):
            _make(group, draw, made, refused)
    return made, refused


def expand(body: Mapping[str, Any], index: int) -> Reading:
    """Return what the reader of a personalization will see, as SendGrid's substitution makes it."""
    own = body["personalizations"][index].get("substitutions", {})
    content = {part["type"]: part["value"] for part in body["content"]}
    parts = [body["subject"], content["text/plain"], content.get("text/html", "")]
    for tag, value in own.items():
        parts = [part.replace(tag, value) for part in parts]
    return Reading(*parts)


def _letter(item: HandOver, provider: SendGridProvider, frames: dict[object, str]) -> _Letter | Outcome:
    """Return the letter of a mail, or the outcome that it has at once. `frames` are those made so far."""
    email = item.message
    if not isinstance(email, Email):
        raise TypeError("sendgrid carries mail only")
    shared = (email.sender, email.reply_to, email.references, email.list_id, email.list_unsubscribe)
    try:
        if shared not in frames:
            frames[shared] = json.dumps(_frame(email, provider))
    except ValueError:
        words = "the sender, reply address or a header cannot stand in a mail"
        return Outcome(item.delivery, OutcomeKind.NOT_TAKEN, words, blame=Blame.ACCOUNT)
    reading = Reading(one_line(email.subject), _unbroken(email.text), _unbroken(email.html))
    try:
        person = _person(email)
        if not reading.subject or not reading.text:
            raise ValueError("the mail has no subject or no text")
    except ValueError as error:
        return Outcome(item.delivery, OutcomeKind.REJECTED, str(error))
    return _Letter(item.delivery, frames[shared], person, reading)


def _frame(email: Email, provider: SendGridProvider) -> dict[str, Any]:
    """Return all of a request but its readers, subject and content."""
    frame: dict[str, Any] = {"from": _mailbox(email.sender)}
    if email.reply_to:
        name, address = parseaddr(email.reply_to)
        frame["reply_to"] = _mailbox(Mailbox(address, name))
    frame["headers"] = _headers(email, provider)
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
    """Return the personalization of one reader. Raises ValueError without the address."""
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
    name = " ".join(_SEPARATORS.sub(" ", one_line(mailbox.name)).split())[:LONGEST_NAME].strip()
    return {"email": address, "name": name} if name else {"email": address}


def _unbroken(text: str) -> str:
    try:
        text.encode()  # a hundred times faster than a search, and nearly always right
    except UnicodeEncodeError:
        return _BROKEN.sub("\ufffd", text)
    return text.replace("\x00", "\ufffd")


def _line_count(html: str) -> int:
    return html.count("\n") if html else -1


def _groups(letters: Sequence[_Letter]) -> Iterator[list[_Letter]]:
    """Yield the letters in groups in which no address stands twice, and none is too large."""
    times: Counter[str] = Counter()
    rounds: dict[int, list[_Letter]] = defaultdict(list)
    for letter in letters:
        rounds[times[letter.address]].append(letter)
        times[letter.address] += 1
    for group in rounds.values():
        for start in range(0, len(group), MOST_READERS):
            yield group[start : start + MOST_READERS]


def _make(
    letters: Sequence[_Letter], draw: Callable[[], str], made: list[Request], refused: list[Outcome]
) -> None:
    """Make the requests for letters of one shape."""
    request = _merged(letters, draw)
    fits = [index for index, letter in enumerate(letters) if _is_right(request.body, index, letter)]
    _keep(request if len(fits) == len(letters) else request.part(fits), made, refused)
    # Whom substitution would not give these very words gets them as they are, with those of the same words.
    literal: dict[Reading, list[_Letter]] = defaultdict(list)
    for index in set(range(len(letters))).difference(fits):
        literal[letters[index].reading].append(letters[index])
    for group in literal.values():
        _keep(_merged(group, draw), made, refused)


def _is_right(body: Mapping[str, Any], index: int, letter: _Letter) -> bool:
    size = len(json.dumps(body["personalizations"][index].get("substitutions", {})))
    return size <= MOST_SUBSTITUTED and expand(body, index) == letter.reading


def _keep(request: Request, made: list[Request], refused: list[Outcome]) -> None:
    count = len(request.deliveries)
    if not count:
        return
    if len(json.dumps(request.body)) < LARGEST_REQUEST:
        made.append(request)
    elif count == 1:
        words = "the mail is too large for SendGrid"
        refused.append(Outcome(request.deliveries[0], OutcomeKind.REJECTED, words))
    else:
        _keep(request.part(range(count // 2)), made, refused)
        _keep(request.part(range(count // 2, count)), made, refused)


def _merged(letters: Sequence[_Letter], draw: Callable[[], str]) -> Request:
    """Return one request: lines that are alike in all mails as they are, any other as a tag."""
    readings = [letter.reading for letter in letters]
    mark = _mark(readings, draw)
    own: list[dict[str, str]] = [{} for _ in letters]
    subject, text, html = (
        "\n".join(_lines([getattr(reading, part).split("\n") for reading in readings], mark, own))
        for part in ("subject", "text", "html")
    )
    persons = [
        {**letter.person, "substitutions": values} if values else letter.person
        for letter, values in zip(letters, own, strict=True)
    ]
    content = [{"type": "text/plain", "value": text}]
    if html:
        content.append({"type": "text/html", "value": html})
    body = {
        "personalizations": persons,
        **json.loads(letters[0].frame),
        "subject": subject,
        "content": content,
    }
    return Request(body, tuple(letter.delivery for letter in letters))


def _mark(readings: Iterable[Reading], draw: Callable[[], str]) -> str:
    """Return how this request's tags begin; none of its mails holds it."""
    whole = {part for each in readings for part in (each.subject, each.text, each.html)}
    while True:
        mark = f"-c{draw()}n"
        if not any(mark in part for part in whole):
            return mark


def _lines(mails: Sequence[Sequence[str]], mark: str, own: Sequence[dict[str, str]]) -> Iterator[str]:
    """Yield the lines that stand for all mails; note in `own` what each reader's tags become."""
    for lines in zip(*mails, strict=True):
        if lines.count(lines[0]) == len(lines):
            yield lines[0]
            continue
        tag = f"{mark}{len(own[0])}-"
        for values, line in zip(own, lines, strict=True):
            values[tag] = line
        yield tag
