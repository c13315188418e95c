"""What each answer of SendGrid means for a request's readers: the table OUTCOMES, and how it is read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from commcast.model.message import Blame, Outcome, OutcomeKind
from commcast.providers.http import HttpAnswer, Rule, object_in, outcome_of, rule_for, table

_LONGEST_ID = 100
_MOST_ERRORS = 5000  # of one answer; a request has 1,000 readers at most
_FIELD = re.compile(r"[A-Za-z_-]{1,40}(?:\.(?:[A-Za-z_-]{1,40}|\d{1,4})){0,5}")
_READER = re.compile(r"personalizations\.(\d{1,4})(?:\.(.*))?")
_ADDRESS = re.compile(r"to(?:\.\d+)?(?:\.email)?")
_NOT_TAKEN, _ACCOUNT = OutcomeKind.NOT_TAKEN, Blame.ACCOUNT

# Sources: SendGrid's API description and its responses, 4xx and rate-limits pages. 200 comes from a sandbox
# or somebody else's server: nothing is known to be queued. A refusal is of the whole request, though a single
# reader in it may be the cause.
# fmt: off
OUTCOMES = table(
    "SendGrid",
    Rule("400|413", OutcomeKind.REJECTED, Blame.RECIPIENT, "SendGrid refuses the request", doubtful=True),
    Rule("401", _NOT_TAKEN, _ACCOUNT, "the key is refused, or the account has used up its credits"),
    Rule("403", _NOT_TAKEN, _ACCOUNT, "the sender is not verified, or the key may not send"),
    Rule("404|405", _NOT_TAKEN, _ACCOUNT, "there is no mail/send at this server: check base_url"),
)
# fmt: on


@dataclass(frozen=True, slots=True)
class NamedInRefusal:
    """What a refusal names: readers by their place in the request, and fields of the message itself.

    `beyond` says that some reader is named for something other than an address.
    """

    readers: frozenset[int] = frozenset()
    fields: tuple[str, ...] = ()
    beyond: bool = False


def judge(answer: HttpAnswer) -> Rule:
    """Return the rule for a whole answer."""
    return rule_for(_said_by(answer), OUTCOMES)


def outcomes(deliveries: Iterable[int], answer: HttpAnswer, now: datetime) -> list[Outcome]:
    """Return what the answer, whole or not, means for readers of its request."""
    one = outcome_of(0, answer, _said_by(answer), OUTCOMES, now, request_id(answer))
    return [one._replace(delivery=delivery) for delivery in deliveries]


def _said_by(answer: HttpAnswer) -> str:
    return "202 taken" if request_id(answer) else str(answer.status)


def request_id(answer: HttpAnswer) -> str:
    """Return SendGrid's name for a request that it took, or "". All its readers share it."""
    name = answer.headers.get("x-message-id", "") if answer.status == 202 else ""
    return re.sub(r"[^A-Za-z0-9._-]", "", name)[:_LONGEST_ID]


def named(answer: HttpAnswer, count: int) -> NamedInRefusal:
    """Return what a refusal of a request with `count` readers names; nothing if it cannot be read.

    If all of several readers are named for something other than an address, the message is at fault.
    SendGrid's own sentences are not used: they may hold an address.
    """
    readers: set[int] = set()
    beyond: set[str] = set()
    fields: set[str] = set()
    errors = object_in(answer).get("errors")
    for error in errors[:_MOST_ERRORS] if isinstance(errors, list) else ():
        text = error.get("field") if isinstance(error, dict) else None
        if not isinstance(text, str) or not _FIELD.fullmatch(text):
            continue
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
