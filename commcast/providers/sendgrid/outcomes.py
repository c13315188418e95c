"""What each answer of SendGrid means for a request's readers: the table OUTCOMES, and how it is read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from commcast.model.message import Blame, Outcome, OutcomeKind
from commcast.providers.http import HttpAnswer, retry_after, without_answer

_LONGEST_ID = 100
_MOST_ERRORS = 5000  # of one answer; a request has 1,000 readers at most
_FIELD = re.compile(r"[A-Za-z_-]{1,40}(?:\.(?:[A-Za-z_-]{1,40}|\d{1,4})){0,5}")
_READER = re.compile(r"personalizations\.(\d{1,4})(?:\.(.*))?")
_ADDRESS = re.compile(r"to(?:\.\d+)?(?:\.email)?")


@dataclass(frozen=True, slots=True)
class Rule:
    """What an answer means; `said` is a pattern for its status, followed by " id" if it names one.

    `narrows` marks a refusal of a whole request that may be due to a single reader in it.
    """

    said: str
    kind: OutcomeKind
    blame: Blame
    words: str
    narrows: bool = False


_ACCEPTED, _REJECTED = OutcomeKind.ACCEPTED, OutcomeKind.REJECTED
_UNKNOWN, _NOT_TAKEN = OutcomeKind.UNKNOWN, OutcomeKind.NOT_TAKEN
_PROVIDER, _ACCOUNT, _ONE = Blame.PROVIDER, Blame.ACCOUNT, Blame.RECIPIENT

# The first line that fits counts. Sources: SendGrid's API description and its responses, 4xx and rate-limits
# pages; RFC 9110; RFC 8470. 200 comes from a sandbox or somebody else's server: nothing is known to be
# queued. 408 says that our request never arrived whole; we know that it left whole, so it cannot be trusted.
# 425 says that the request was not begun, which its RFC promises. 407 is a proxy's: SendGrid saw nothing.
# fmt: off
OUTCOMES: tuple[Rule, ...] = (
    Rule("202 id", _ACCEPTED, _ONE, ""),
    Rule(r"2\d\d.*", _UNKNOWN, _ONE, "an answer that is not SendGrid's came after the request was sent"),
    Rule(r"3\d\d.*", _NOT_TAKEN, _ACCOUNT, "we are sent to another server, and do not go: look at base_url"),
    Rule(r"400.*|413.*", _REJECTED, _ONE, "SendGrid refuses the request", narrows=True),
    Rule(r"401.*", _NOT_TAKEN, _ACCOUNT, "the key is refused, or the account has used up its credits"),
    Rule(r"403.*", _NOT_TAKEN, _ACCOUNT, "the sender is not verified, or the key may not send"),
    Rule(r"404.*|405.*", _NOT_TAKEN, _ACCOUNT, "there is no mail/send at this server: look at base_url"),
    Rule(r"407.*", _NOT_TAKEN, _ACCOUNT, "the proxy wants a login"),
    Rule(r"408.*", _UNKNOWN, _ONE, "the server says that it stopped waiting for a request that was sent"),
    Rule(r"425.*", _NOT_TAKEN, _PROVIDER, "the server did not begin with the request"),
    Rule(r"429.*", _NOT_TAKEN, _PROVIDER, "SendGrid takes no more requests now"),
    Rule(r"4\d\d.*", _NOT_TAKEN, _ACCOUNT, "SendGrid does not take such a request"),
    Rule(r"5\d\d.*", _UNKNOWN, _ONE, "SendGrid failed after the request was sent"),
)
# fmt: on
_UNLISTED = Rule("", _UNKNOWN, _ONE, "no rule speaks of this answer")


@dataclass(frozen=True, slots=True)
class NamedInRefusal:
    """What a refusal names: readers by their place in the request, and fields of the message itself.

    `beyond` says that some reader is named for something other than an address.
    """

    readers: frozenset[int] = frozenset()
    fields: tuple[str, ...] = ()
    beyond: bool = False


def judge(answer: HttpAnswer) -> Rule:
    """Return the rule for a whole answer. An answer that no line covers is unknown: nobody is told twice."""
    said = f"{answer.status} id" if request_id(answer) else str(answer.status)
    return next((rule for rule in OUTCOMES if re.fullmatch(rule.said, said)), _UNLISTED)


def outcomes(deliveries: Iterable[int], answer: HttpAnswer, now: datetime) -> list[Outcome]:
    """Return what the answer, whole or not, means for readers of its request."""
    if answer.trouble is not None:
        return [without_answer(delivery, answer) for delivery in deliveries]
    rule = judge(answer)
    if rule.kind is _ACCEPTED:
        own_id = request_id(answer)
        return [Outcome(delivery, _ACCEPTED, provider_id=own_id) for delivery in deliveries]
    wait = retry_after(answer.headers, now) if rule.blame is _PROVIDER else None
    words = f"{rule.words} ({answer.status})"
    return [
        Outcome(delivery, rule.kind, words, blame=rule.blame, retry_after=wait) for delivery in deliveries
    ]


def request_id(answer: HttpAnswer) -> str:
    """Return SendGrid's name for the request, or "". All its readers share it."""
    return re.sub(r"[^A-Za-z0-9._-]", "", answer.headers.get("x-message-id", ""))[:_LONGEST_ID]


def named(answer: HttpAnswer, count: int) -> NamedInRefusal:
    """Return what a refusal of a request with `count` readers names; nothing if it cannot be read.

    If all of several readers are named for something other than an address, the message is at fault.
    """
    readers: set[int] = set()
    beyond: set[str] = set()
    fields: set[str] = set()
    for text in _fields(answer.body):
        reader = _READER.fullmatch(text)
        if reader is None:
            fields.add(text)
        elif int(reader[1]) < count:
            readers.add(int(reader[1]))
            if not _ADDRESS.fullmatch(reader[2] or ""):
                beyond.add(".".join(filter(None, ("personalizations", reader[2]))))
    if count > 1 and len(readers) == count and beyond:
        fields |= beyond
    return NamedInRefusal(frozenset(readers), tuple(sorted(fields)), bool(beyond))


def _fields(body: str) -> Iterator[str]:
    """Yield the fields that SendGrid complains about; its own sentences may hold an address."""
    try:
        errors = json.loads(body)["errors"]
    except (ValueError, TypeError, LookupError, RecursionError):
        return
    for error in errors[:_MOST_ERRORS] if isinstance(errors, list) else ():
        text: Any = error.get("field") if isinstance(error, dict) else None
        if isinstance(text, str) and _FIELD.fullmatch(text):
            yield text
