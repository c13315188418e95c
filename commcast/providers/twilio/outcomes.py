"""What each answer of Twilio means for one text: the table OUTCOMES, and how it is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from commcast.model.message import Blame, Outcome, OutcomeKind
from commcast.providers.http import HttpAnswer, retry_after, without_answer
from commcast.providers.twilio.client import GAVE_UP, error_code, message_sid, parsed


@dataclass(frozen=True, slots=True)
class Rule:
    """What an answer means; `said` is a pattern for the whole of what `said_by` returns.

    `doubtful` says that it is not known who is at fault.
    """

    said: str
    kind: OutcomeKind
    blame: Blame
    words: str
    suppress: bool = False
    opted_out: bool = False
    doubtful: bool = False


_ACCEPTED, _REJECTED = OutcomeKind.ACCEPTED, OutcomeKind.REJECTED
_UNKNOWN, _NOT_TAKEN = OutcomeKind.UNKNOWN, OutcomeKind.NOT_TAKEN
_PROVIDER, _ACCOUNT, _ONE = Blame.PROVIDER, Blame.ACCOUNT, Blame.RECIPIENT
_REFUSED = r"4\d\d "
_EITHER = r"(?:4\d\d|201 failed) "  # with a messaging service, some refusals come after the 201

# The first line that fits counts. Sources: Twilio's API description (201, the states of a message); its error
# dictionary, https://www.twilio.com/docs/api/errors, one page a number; the support article on retries ("429
# responses aren't processed and are safe to retry", which is said of no 5xx); RFC 9110; RFC 8470.
# 21635 is what 21614 was for a landline, 21265, 21266 and 21268 are parts of the old 21211 (changelog of
# 2024-07-10): a valid number that never gets texts is rejected each time, and is not suppressed.
# 408 says that our request never arrived whole; we know that it left whole, so it cannot be trusted.
# 407 is a proxy's: Twilio saw nothing.
# fmt: off
OUTCOMES: tuple[Rule, ...] = (
    Rule("201 taken", _ACCEPTED, _ONE, ""),
    Rule("429.*", _NOT_TAKEN, _PROVIDER, "Twilio takes no more texts now"),
    Rule("408.*", _UNKNOWN, _ONE, "the server says that it stopped waiting for a request that was sent"),
    Rule("425.*", _NOT_TAKEN, _PROVIDER, "the server did not begin with the request"),
    Rule(_EITHER + "21610", _REJECTED, _ONE, "they opted out of our texts", suppress=True, opted_out=True),
    Rule(_EITHER + "21211", _REJECTED, _ONE, "it is not a phone number", suppress=True),
    Rule(_EITHER + "(?:21614|21635)", _REJECTED, _ONE, "the number gets no texts", suppress=True),
    Rule(_REFUSED + "(?:21265|21266|21268)", _REJECTED, _ONE, "texts cannot be sent to this kind of number"),
    Rule(_REFUSED + "(?:21612|21662|21668|21910)", _REJECTED, _ONE, "no way leads from our sender to them"),
    Rule(_REFUSED + "21608", _REJECTED, _ONE, "a trial account may text verified numbers only"),
    Rule(_REFUSED + "(?:21602|21605|21617|21618|21619|21658)", _REJECTED, _ONE, "the words cannot be texted"),
    Rule(_REFUSED + "(?:21611|30001)", _NOT_TAKEN, _PROVIDER, "our sender's queue at Twilio is full"),
    Rule(_REFUSED + "(?:20429|14107|30022|30454|63038)", _NOT_TAKEN, _PROVIDER, "our limit there is reached"),
    Rule(_REFUSED + "21408",
         _NOT_TAKEN, _ACCOUNT, "the account may not text this region: enable it, or suppress the number"),
    Rule(_REFUSED + "(?:21212|21267|21601|21603|21606|21607|21616|21657|21659|21660|21661|21663)",
         _NOT_TAKEN, _ACCOUNT, "the sender is refused: look at from"),
    Rule(_REFUSED + "(?:2170[1-5]|21709|2171[125])",
         _NOT_TAKEN, _ACCOUNT, "the messaging service is refused: look at messaging_service"),
    Rule(_REFUSED + "(?:21609|2162[0-4]|21626)",
         _NOT_TAKEN, _ACCOUNT, "a setting is refused: look at [providers.twilio]"),
    Rule(_REFUSED + "(?:10001|20005|20403|21472|30002)",
         _NOT_TAKEN, _ACCOUNT, "the account is suspended or not active"),
    Rule(_REFUSED + "(?:20003|20008|70051)|401.*", _NOT_TAKEN, _ACCOUNT, "the credentials are refused"),
    Rule("400.*", _REJECTED, _ONE, "Twilio refuses the text", doubtful=True),
    Rule("403.*", _NOT_TAKEN, _ACCOUNT, "the account may not send texts"),
    Rule("404.*|405.*", _NOT_TAKEN, _ACCOUNT, "there is no such account at base_url"),
    Rule("407.*", _NOT_TAKEN, _ACCOUNT, "the proxy wants a login"),
    Rule(r"4\d\d.*", _NOT_TAKEN, _ACCOUNT, "Twilio does not take such a request"),
    Rule("201 failed.*", _REJECTED, _ONE, "Twilio took the text and did not send it"),
    Rule(r"2\d\d.*", _UNKNOWN, _ONE, "an answer that is not Twilio's came after the request was sent"),
    Rule(r"3\d\d.*", _NOT_TAKEN, _ACCOUNT, "we are sent to another server, and do not go: look at base_url"),
    Rule(r"5\d\d.*", _UNKNOWN, _ONE, "Twilio failed after the request was sent"),
)
# fmt: on
_UNLISTED = Rule("", _UNKNOWN, _ONE, "no rule speaks of this answer")


def said_by(answer: HttpAnswer) -> str:
    """Return a whole answer as "400 21211": the status, and Twilio's number of the error if there is one.

    A 201 is "201 taken", "201 failed" with the number, or "201" if it names no message.
    """
    return _said(answer, parsed(answer))


def _said(answer: HttpAnswer, found: Mapping[str, Any]) -> str:
    if answer.status != 201:
        return " ".join(filter(None, (str(answer.status), error_code(found.get("code")))))
    if not message_sid(found):
        return "201"
    if found.get("status") in GAVE_UP:
        return " ".join(filter(None, ("201 failed", error_code(found.get("error_code")))))
    return "201 taken"


def judge(said: str) -> Rule:
    """Return the rule for an answer. An answer that no line covers is unknown: nobody is told twice."""
    return next((rule for rule in OUTCOMES if re.fullmatch(rule.said, said)), _UNLISTED)


def is_doubtful(answer: HttpAnswer) -> bool:
    """Whether a refusal may be our fault as well as a recipient's: its number is not known."""
    return answer.trouble is None and judge(said_by(answer)).doubtful


def outcome(delivery: int, answer: HttpAnswer, now: datetime) -> Outcome:
    """Return what the answer, whole or not, means for one delivery."""
    if answer.trouble is not None:
        return without_answer(delivery, answer)
    found = parsed(answer)
    said = _said(answer, found)
    rule = judge(said)
    sid = message_sid(found) if answer.status == 201 else ""
    if rule.kind is _ACCEPTED:
        return Outcome(delivery, rule.kind, provider_id=sid)
    wait = retry_after(answer.headers, now) if rule.blame is _PROVIDER else None
    return Outcome(
        delivery,
        rule.kind,
        f"{rule.words} ({said})",
        provider_id=sid,
        blame=rule.blame,
        retry_after=wait,
        suppress=rule.suppress,
        opted_out=rule.opted_out,
    )
