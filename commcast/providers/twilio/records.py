"""What Twilio can be asked: which texts it has, what became of them, and the state of the account."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from commcast.config.settings import TwilioProvider
from commcast.model.incident import Channel
from commcast.model.message import Receipt, ReceiptKind
from commcast.providers.base import Asked, Seen, Sighting
from commcast.providers.http import (
    LONGEST_TALK,
    HttpAnswer,
    OverHttp,
    as_they_come,
    checked,
    list_in,
    mail_date,
    nonsense,
)
from commcast.providers.twilio.client import (
    CONSOLE,
    GAVE_UP,
    Credentials,
    TwilioClient,
    error_code,
    is_e164,
    is_service,
    message_sid,
    sendable,
)

_PAUSE = 10.0  # seconds until a text that the list did not show is looked up again
_BEFORE = timedelta(minutes=2)  # how far Twilio's clock may be from ours
_AFTER = timedelta(minutes=10)  # how late after a request it may create the message
_DAY = timedelta(days=1)
_LONGEST_NAME = 120
_LONGEST_WORDS = 4000  # characters kept of a text; ours have at most 1,600
_MOST_TEXTS = 5000  # to one number within days
_TRIAL = "Sent from your Twilio trial account - "  # what a trial account writes before every text
_ARRIVED = frozenset({"delivered", "read"})
# What a later error number means. Sources: one page per number under https://www.twilio.com/docs/api/errors.
_LATER = {
    "21610": "opted out",  # comes late if a messaging service sends
    "30001": "the queue was full",
    "30002": "the account is suspended",
    "30003": "unreachable",
    "30004": "blocked",
    "30005": "unknown number",
    "30006": "landline",
    "30007": "filtered",
    "30008": "unknown error",
}
# Unreachable today (30003, 30005, 30008) says nothing about tomorrow.
_SUPPRESSING = frozenset({"21610", "30004", "30006"})


@dataclass(frozen=True, slots=True)
class TwilioAccount:
    """The account in Twilio's words: `status` is "active" if it may send, `type` is "Trial" or "Full"."""

    status: str
    type: str
    name: str


@dataclass(frozen=True, slots=True)
class _Text:
    """One outbound message of the account's list."""

    sid: str
    to: str
    words: str
    state: str
    code: str
    created: datetime | None
    changed: datetime | None

    @property
    def gave_up(self) -> bool:
        return self.state in GAVE_UP

    @property
    def reason(self) -> str:
        """Why it did not arrive, in a few words."""
        return ": ".join(filter(None, (self.code, _LATER.get(self.code, self.state))))

    def is_of(self, asked: Asked) -> bool:
        """Whether it was created when this delivery was handed over."""
        at = self.created
        return at is not None and asked.begun - _BEFORE <= at <= asked.ended + _AFTER


class TwilioRecords(OverHttp[TwilioClient]):
    """The records of one account. `clock` returns the current time (aware); `sleep` waits that many seconds.

    Raises ProviderError if HTTPS_PROXY cannot work.
    """

    channel = Channel.SMS
    name = "twilio"
    _longest = LONGEST_TALK

    def __init__(
        self,
        provider: TwilioProvider,
        credentials: Credentials,
        clock: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = TwilioClient(provider.base_url, credentials, provider.timeout.total_seconds())
        self._variables, self._at_once = credentials.variables, provider.connections
        self._clock, self._sleep = clock, sleep

    async def look(self, asked: Sequence[Asked], known: Collection[str]) -> AsyncIterator[Sighting]:
        """Yield what the list of messages says. The list lags, so a missing text is looked up again after a
        pause, this time without dates: a text that is still queued has no date yet.
        """
        given = set(known)
        waiting: dict[str, list[Asked]] = {}
        for each in sorted(asked, key=lambda each: each.begun):
            if is_e164(each.address):
                waiting.setdefault(each.address, []).append(each)
            else:
                yield Sighting(each.delivery, Seen.CANNOT, detail="not a number with a country code")
        for is_last in (False, True):
            lost: dict[str, list[Asked]] = {}
            async for group, texts in self._ask(waiting, is_dated=not is_last):
                for each in group:
                    if found := _found(each, texts, given):
                        yield found
                    elif is_last:
                        yield _missed(each, texts)
                    else:
                        lost.setdefault(each.address, []).append(each)
            if not lost:
                return
            await self._sleep(_PAUSE)
            waiting = lost

    async def receipts(self, since: datetime, open_ids: Collection[str]) -> AsyncIterator[Receipt]:
        """Yield what became of these messages, each once; nothing for those still on their way."""
        waiting = set(open_ids)
        if not waiting:
            return
        async for page in self._client.list_messages(date_sent_after=_day(since - _DAY)):
            for text in self._texts(page):
                if text.sid in waiting:
                    waiting.discard(text.sid)
                    if text.gave_up or text.state in _ARRIVED:
                        yield self._receipt(text)
            if not waiting:
                return

    async def account(self) -> TwilioAccount:
        """Return the state of the account. Raises Refused or TryAgain."""
        found = self._checked(await self._client.account(), "the account")
        words = (_shown(found.get(name)) for name in ("status", "type", "friendly_name"))
        return TwilioAccount(*words)

    async def balance(self) -> tuple[Decimal, str]:
        """Return the account's balance and its currency ("USD"). Raises Refused or TryAgain."""
        found = self._checked(await self._client.balance(), "the balance")
        try:
            amount = Decimal(str(found.get("balance")))
        except InvalidOperation:
            amount = Decimal("NaN")
        if not amount.is_finite():
            raise nonsense("Twilio")
        return amount, _shown(found.get("currency"))

    async def knows_sender(self, sender: str) -> bool | None:
        """Return whether a number or a messaging service is the account's own; None for any other sender.

        A name or a short code cannot be asked for in one way. Raises Refused or TryAgain.
        """
        if is_service(sender):
            answer = await self._client.messaging_service(sender)
            if answer.status == 404:
                return False
            return self._checked(answer, "the messaging service").get("sid") == sender
        if not is_e164(sender):
            return None
        found = self._checked(await self._client.numbers_like(sender), "the account's numbers")
        return any(row.get("phone_number") == sender for row in _rows(found, "incoming_phone_numbers"))

    async def _ask(
        self, groups: Mapping[str, list[Asked]], *, is_dated: bool
    ) -> AsyncIterator[tuple[list[Asked], list[_Text]]]:
        """Yield each number's deliveries with the number's messages; several numbers are asked at once."""
        waiting = list(groups.values())
        for start in range(0, len(waiting), self._at_once):
            part = waiting[start : start + self._at_once]
            asking = as_they_come(self._texts_to(group, is_dated) for group in part)
            for answer in [each async for each in asking]:
                yield answer

    async def _texts_to(self, group: list[Asked], is_dated: bool) -> tuple[list[Asked], list[_Text]]:
        begun, ended = min(each.begun for each in group), max(each.ended for each in group)
        # Whole days, one more on each side: Twilio sends for up to ten hours, and reads a bound by the day.
        dates = {"date_sent_after": _day(begun - _DAY), "date_sent_before": _day(ended + 2 * _DAY)}
        to = group[0].address
        texts: list[_Text] = []
        async for page in self._client.list_messages(to=to, **(dates if is_dated else {})):
            these = list(self._texts(page))
            texts += [text for text in these if text.to == to]
            if len(texts) > _MOST_TEXTS:
                raise nonsense("Twilio")
            # The newest come first: nothing of that time is on a later page.
            if these and all(text.created and text.created < begun - _DAY for text in these):
                break
        return group, texts

    def _texts(self, page: HttpAnswer) -> Iterator[_Text]:
        for row in _rows(self._checked(page, "its messages"), "messages"):
            sid = message_sid(row)
            if sid and str(row.get("direction")).startswith("outbound"):
                yield _Text(
                    sid,
                    str(row.get("to")),
                    _words(str(row.get("body") or "")),
                    _shown(row.get("status")),
                    error_code(row.get("error_code")),
                    mail_date(row.get("date_created")),
                    mail_date(row.get("date_updated")) or mail_date(row.get("date_sent")),
                )

    def _receipt(self, text: _Text) -> Receipt:
        at = text.changed or self._clock()
        if not text.gave_up:
            return Receipt(ReceiptKind.DELIVERED, at, provider_id=text.sid)
        suppress = text.code in _SUPPRESSING
        return Receipt(ReceiptKind.FAILED, at, text.reason, provider_id=text.sid, suppress=suppress)

    def _checked(self, answer: HttpAnswer, what: str) -> dict[str, Any]:
        """Return the object in a good answer. Raises Refused or TryAgain for any other."""
        login = f"Twilio refuses access to {what} ({answer.status}); check {self._variables} at {CONSOLE}"
        where = f"check TWILIO_ACCOUNT_SID at {CONSOLE} and base_url"
        otherwise = f"Twilio does not return {what} ({answer.status}); {where}"
        found = checked(answer, "Twilio", what, {401: login, 403: login}, otherwise)
        if not found or not isinstance(found, dict):
            raise nonsense("Twilio")
        return found


def _found(asked: Asked, texts: Sequence[_Text], given: set[str]) -> Sighting | None:
    """Return the sighting of our exact words; `given` are messages that belong to other deliveries."""
    words = _words(sendable(asked.words))
    ours = [text for text in texts if text.is_of(asked) and text.sid not in given]
    same = [text for text in ours if words in {text.words, text.words.removeprefix(_TRIAL)}]
    if not same:
        return None
    # If one copy was sent, it was taken, whatever became of another.
    first = min(same, key=lambda text: (text.gave_up, text.created))
    given.add(first.sid)
    many = f"{len(same)} messages have our text" if len(same) > 1 else ""
    detail = "; ".join(filter(None, (first.reason if first.gave_up else "", many)))
    return Sighting(asked.delivery, Seen.REFUSED if first.gave_up else Seen.TAKEN, first.sid, detail)


def _missed(asked: Asked, texts: Sequence[_Text]) -> Sighting:
    if others := sum(text.is_of(asked) for text in texts):
        return Sighting(asked.delivery, Seen.FOREIGN, detail=f"other messages at that time: {others}")
    return Sighting(asked.delivery, Seen.NOTHING)


def _rows(found: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    return [row for row in list_in(found.get(name), "Twilio") if isinstance(row, dict)]


def _words(text: str) -> str:
    return text.replace("\r\n", "\n")[:_LONGEST_WORDS]


def _shown(found: object) -> str:
    """Return Twilio's words in a form that can be shown: on one line, short, and without an address."""
    text = "".join(letter if letter.isprintable() else " " for letter in str(found or "")[:1000])
    return " ".join(re.sub(r"\S*@\S*|\+?\d{7,}", "*", text).split())[:_LONGEST_NAME]


def _day(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d")
