"""What SendGrid can be asked: Email Activity, bounces, blocks, unsubscribes, and what the key may do."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

from commcast.config.settings import SendGridProvider
from commcast.model.incident import Channel
from commcast.model.message import Receipt, ReceiptKind
from commcast.providers.base import Asked, Seen, Sighting, SuppressionEntry
from commcast.providers.http import LONGEST_TALK, HttpAnswer, OverHttp, checked, list_in
from commcast.providers.sendgrid.letter import OWN_ID
from commcast.providers.sendgrid.request import SendGridClient
from commcast.recipients.addresses import normalise_email

_PAGE = 500  # rows: the most that SendGrid returns at once
_MOST_PAGES = 1000
_OLD_PAGES = 20  # of bounces from before the time in question, at each call
_ASKED_AT_ONCE = 20  # deliveries per query: a URL's length and the queries per minute are limited
_MOST_FOUND = 1000
_CLOCKS = timedelta(minutes=5)  # how far SendGrid's clock may be from ours
_MANY_YEARS = 4_102_444_800  # Unix time of the year 2100
_NO_ACTIVITY = frozenset({400, 403, 404})
_LONGEST_ADDRESS = 320  # characters kept of an address that cannot be read
_RECEIPTS = {"delivered": ReceiptKind.DELIVERED, "not_delivered": ReceiptKind.FAILED}
_REFUSED = "SendGrid did not deliver it"
_LISTS = ("bounces", "blocks", "unsubscribes")
_CODE = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_QUOTABLE = re.compile(r"[^\"'\\\x00-\x20\x7f-\x9f]{1,1000}")


class SendGridRecords(OverHttp[SendGridClient]):
    """The records of one account. `clock` returns the current time (aware).

    Raises ProviderError if there is no usable key.
    """

    channel = Channel.EMAIL
    name = "sendgrid"
    _longest = LONGEST_TALK

    def __init__(self, provider: SendGridProvider, key: str | None, clock: Callable[[], datetime]) -> None:
        self._client = SendGridClient(provider.base_url, key, provider.timeout.total_seconds())
        self._group, self._clock = provider.asm_group, clock

    async def look(self, asked: Sequence[Asked], known: Collection[str]) -> AsyncIterator[Sighting]:  # noqa: ARG002
        """Yield what Email Activity says. Not every account has it; an email shows up after about a minute.

        Our own id identifies each mail, so `known` is not needed.
        """
        waiting = [each for each in asked if _is_quotable(each)]
        for each in asked:
            if not _is_quotable(each):
                yield Sighting(
                    each.delivery, Seen.CANNOT, detail="its address or id cannot be used in a query"
                )
        while waiting:
            part, waiting = _next_part(waiting)
            found = await self._activity(" OR ".join(f"({_is_own(each)})" for each in part))
            lost = [] if found is None else [each for each in part if not _of(each, found)]
            others = await self._activity(_to_any(lost, self._clock())) if lost else []
            for each in part:
                yield _sighting(each, found, others)

    async def receipts(self, since: datetime, open_ids: Collection[str]) -> AsyncIterator[Receipt]:
        """Yield bounces and blocks, and which of `open_ids` were delivered if the account has Email Activity.

        Email Activity limits how often it may be asked; the rest comes with a later call.
        """
        new = {"start_time": str(int(since.timestamp()))}
        for name, kind, query, pages in (
            ("bounces", ReceiptKind.BOUNCED, new, _MOST_PAGES),
            # An email to an address that bounced long ago is accepted and dropped: old entries count as well.
            ("bounces", ReceiptKind.BOUNCED, {}, _OLD_PAGES),
            ("blocks", ReceiptKind.FAILED, new, _MOST_PAGES),
        ):
            async for row in self._rows(name, query, pages):
                receipt = _receipt(kind, row)
                if receipt and (query or receipt.at < since):
                    yield receipt
        for open_id in self._by_turns(open_ids):
            messages = await self._activity(f'msg_id LIKE "{open_id}%"', patient=False)
            if messages is None:
                return
            for message in messages:
                if told := _told(message, open_id):
                    yield told

    async def listed(self, names: Collection[str]) -> AsyncIterator[SuppressionEntry]:
        """Yield the entries of the lists "bounces", "blocks" or "unsubscribes", each address once per list.

        Members of our unsubscribe group count as unsubscribed. Entries without a date get the current time.
        """
        for name in (each for each in _LISTS if each in names):
            seen: set[str] = set()
            async for row in self._rows(name, {}, _MOST_PAGES):
                if (entry := self._entry(name, row)) and entry.address not in seen:
                    seen.add(entry.address)
                    yield entry

    async def scopes(self) -> tuple[str, ...]:
        """Return what the key may do, as SendGrid names it ("mail.send")."""
        found = await self._read("scopes", {}, "its own scopes", "")
        names = list_in(found.get("scopes") if isinstance(found, dict) else None, "SendGrid")
        return tuple(name for name in names if isinstance(name, str) and re.fullmatch(r"[\w.]{1,100}", name))

    async def _rows(self, name: str, query: Mapping[str, str], pages: int) -> AsyncIterator[dict[str, Any]]:
        """Yield the rows of a list, each once: the list may grow at its beginning while it is read."""
        seen: set[bytes] = set()
        for page in range(pages):
            paging = {**query, "limit": str(_PAGE), "offset": str(page * _PAGE)}
            found = await self._read(f"suppression/{name}", paging, name, "suppression.read")
            rows = list_in(found, "SendGrid")
            for row in rows:
                mark = blake2b(json.dumps(row, sort_keys=True).encode(), digest_size=16).digest()
                if isinstance(row, dict) and mark not in seen:
                    seen.add(mark)
                    yield row
            if len(rows) < _PAGE:
                break
        if name == "unsubscribes" and self._group:
            path = f"asm/groups/{self._group}/suppressions"
            found = await self._read(path, {}, "the unsubscribe group", "asm.groups.read")
            for address in list_in(found, "SendGrid"):
                yield {"email": address}

    def _entry(self, name: str, row: Mapping[str, Any]) -> SuppressionEntry | None:
        # An address that we cannot read is passed on as it is, so that an import can count it.
        address = _key(row.get("email")) or str(row.get("email") or "")[:_LONGEST_ADDRESS]
        at = _moment(row.get("created")) or self._clock()
        return SuppressionEntry(name, address, at, _code(row)) if address else None

    def _by_turns(self, open_ids: Collection[str]) -> list[str]:
        """Return the ids that can be asked for, starting at another one each minute, so that none starves."""
        known = sorted(each for each in open_ids if re.fullmatch(r"[A-Za-z0-9._-]{1,100}", each))
        start = int(self._clock().timestamp() // 60) % len(known) if known else 0
        return known[start:] + known[:start]

    async def _activity(self, query: str, *, patient: bool = True) -> list[dict[str, Any]] | None:
        """Return what Email Activity finds; None without one or, unless `patient`, if we asked too often."""
        answer = await self._client.get("messages", {"query": query, "limit": str(_MOST_FOUND)})
        if answer.status in _NO_ACTIVITY or (answer.status == 429 and not patient):
            return None
        found = _checked(answer, "Email Activity", "messages.read")
        messages = found.get("messages") if isinstance(found, dict) else None
        if not isinstance(messages, list):
            return None
        return [message for message in messages if isinstance(message, dict)]

    async def _read(self, path: str, query: Mapping[str, str], what: str, scope: str) -> Any:
        return _checked(await self._client.get(path, query), what, scope)


def _checked(answer: HttpAnswer, what: str, scope: str) -> Any:
    refusals = {
        401: "SendGrid refuses the key; set SENDGRID_API_KEY to one that works",
        403: f"the key may not read {what}; {f'give it the scope {scope}' if scope else 'use another key'}",
    }
    otherwise = f"SendGrid does not return {what} ({answer.status}); check base_url"
    return checked(answer, "SendGrid", what, refusals, otherwise)


def _is_quotable(asked: Asked) -> bool:
    return bool(_QUOTABLE.fullmatch(asked.address) and _QUOTABLE.fullmatch(asked.own_id))


def _is_own(asked: Asked) -> str:
    own_id = asked.own_id.removeprefix("<").removesuffix(">")
    # What mail/send calls a custom argument is a unique argument here.
    return f'unique_args[\'{OWN_ID}\']="{own_id}" AND to_email="{asked.address}"'


def _to_any(asked: Sequence[Asked], now: datetime) -> str:
    """Return the query for all emails to these people since our first one can have left."""
    people = " OR ".join(f'to_email="{each.address}"' for each in asked)
    begun, ended = _stamp(min(each.begun for each in asked) - _CLOCKS), _stamp(now + _CLOCKS)
    return f'({people}) AND last_event_time BETWEEN TIMESTAMP "{begun}" AND TIMESTAMP "{ended}"'


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _next_part(waiting: Sequence[Asked]) -> tuple[list[Asked], list[Asked]]:
    """Return the deliveries to ask about next, and the others.

    One query holds no address twice, because the address alone tells its answers apart.
    """
    part: dict[str, Asked] = {}
    others = []
    for each in waiting:
        if len(part) >= _ASKED_AT_ONCE or part.setdefault(each.address.casefold(), each) is not each:
            others.append(each)
    return list(part.values()), others


def _of(asked: Asked, messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    key = _key(asked.address) or asked.address.casefold()
    return [message for message in messages if _key(message.get("to_email")) == key]


def _sighting(
    asked: Asked, found: Sequence[Mapping[str, Any]] | None, others: Sequence[Mapping[str, Any]] | None
) -> Sighting:
    if found is None or others is None:
        detail = "the account has no Email Activity, or the key may not read it"
        return Sighting(asked.delivery, Seen.CANNOT, detail=detail)
    ours = _of(asked, found)
    same = [message for message in ours if _squeezed(message.get("subject")) == _squeezed(asked.words)]
    if not same:
        return Sighting(asked.delivery, Seen.FOREIGN if ours or _of(asked, others) else Seen.NOTHING)
    # If one copy was delivered, it was taken, whatever became of another.
    best = min(same, key=_is_refused)
    seen, detail = (Seen.REFUSED, _REFUSED) if _is_refused(best) else (Seen.TAKEN, "")
    return Sighting(asked.delivery, seen, _request_id(best.get("msg_id")), detail)


def _is_refused(message: Mapping[str, Any]) -> bool:
    return message.get("status") == "not_delivered"


def _squeezed(words: object) -> str:
    return " ".join(re.sub(r"[\W_]+", " ", str(words)).split())


def _request_id(msg_id: object) -> str:
    """Return the X-Message-Id, with which a message's own id begins."""
    return re.sub(r"[^A-Za-z0-9_-]", "", str(msg_id or "").partition(".")[0])[:100]


def _receipt(kind: ReceiptKind, row: Mapping[str, Any]) -> Receipt | None:
    key, at = _key(row.get("email")), _moment(row.get("created"))
    if not key or at is None:
        return None
    # SendGrid drops what goes to a bounced address; a blocked one it tries.
    lasting = kind is ReceiptKind.BOUNCED
    words = " ".join(filter(None, ("bounced" if lasting else "blocked", _code(row))))
    return Receipt(kind, at, words, key=key, lasting=lasting, suppress=lasting)


def _told(message: Mapping[str, Any], open_id: str) -> Receipt | None:
    key, at = _key(message.get("to_email")), _time(message.get("last_event_time"))
    mine = str(message.get("msg_id", "")).startswith(open_id)  # "_" stands for any character in LIKE
    kind = _RECEIPTS.get(str(message.get("status")))
    if kind is None or not mine or not key or at is None:
        return None
    detail = "" if kind is ReceiptKind.DELIVERED else _REFUSED
    return Receipt(kind, at, detail, provider_id=open_id, key=key)


def _key(address: object) -> str:
    """Return the address as the ledger compares it, or "" if it is no address."""
    try:
        return normalise_email(address)[1] if isinstance(address, str) else ""
    except ValueError:
        return ""


def _code(row: Mapping[str, Any]) -> str:
    """Return the enhanced code of a bounce: its words may hold the address."""
    found = _CODE.match(str(row.get("status", "")))
    return found[0] if found else ""


def _moment(seconds: object) -> datetime | None:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < _MANY_YEARS:
        return None
    return datetime.fromtimestamp(seconds, UTC)


def _time(text: object) -> datetime | None:
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
