"""What each answer of Twilio means for one text: the table OUTCOMES, and how it is read."""

from __future__ import annotations

from datetime import datetime

from commcast.model.message import Blame, Outcome, OutcomeKind
from commcast.providers.http import HttpAnswer, Rule, object_in, outcome_of, table
from commcast.providers.twilio.client import GAVE_UP, error_code, message_sid

_REJECTED, _NOT_TAKEN = OutcomeKind.REJECTED, OutcomeKind.NOT_TAKEN
_PROVIDER, _ACCOUNT, _ONE, _UNCLEAR = Blame.PROVIDER, Blame.ACCOUNT, Blame.RECIPIENT, Blame.UNCLEAR
_FOR_ONE = Blame.ACCOUNT_FOR_ONE
_REFUSED = r"4\d\d "
_EITHER = r"(?:4\d\d|201 failed) "  # with a messaging service, some refusals come after the 201

# Sources: Twilio's API description (201, the states of a message); its error dictionary,
# https://www.twilio.com/docs/api/errors, one page per number; the support article on retries ("429 responses
# aren't processed and are safe to retry", which is not said of any 5xx).
# 21635 is what 21614 was for a landline, 21265, 21266 and 21268 are parts of the old 21211 (changelog of
# 2024-07-10): a valid number that never gets texts is rejected each time, and is not suppressed.
# fmt: off
OUTCOMES = table(
    "Twilio",
    Rule(_EITHER + "21610", _REJECTED, _ONE, "opted out of our texts", suppress=True, opted_out=True),
    Rule(_EITHER + "21211", _REJECTED, _ONE, "it is not a phone number", suppress=True),
    Rule(_EITHER + "(?:21614|21635)", _REJECTED, _ONE, "the number cannot receive texts", suppress=True),
    Rule(_REFUSED + "(?:21265|21266|21268)", _REJECTED, _ONE, "texts cannot be sent to this kind of number"),
    Rule(_REFUSED + "(?:21612|21662|21668|21910)",
         _REJECTED, _FOR_ONE, "our sender cannot reach this number: use another from"),
    Rule(_REFUSED + "21408",
         _REJECTED, _FOR_ONE, "the account may not text this region: enable it at Twilio"),
    Rule(_REFUSED + "21608", _NOT_TAKEN, _ACCOUNT, "a trial account may text verified numbers only"),
    Rule(_REFUSED + "(?:21602|21605|21617|21618|21619|21658)", _NOT_TAKEN, _ACCOUNT, "the body is refused"),
    Rule(_REFUSED + "(?:21611|30001)", _NOT_TAKEN, _PROVIDER, "our sender's queue at Twilio is full"),
    Rule(_REFUSED + "(?:20429|14107|30022|30454|63038)", _NOT_TAKEN, _PROVIDER, "our limit is reached"),
    Rule(_REFUSED + "(?:21212|21267|21601|21603|21606|21607|21616|21657|21659|21660|21661|21663)",
         _NOT_TAKEN, _ACCOUNT, "the sender is refused: check from"),
    Rule(_REFUSED + "(?:2170[1-5]|21709|2171[125])",
         _NOT_TAKEN, _ACCOUNT, "the messaging service is refused: check messaging_service"),
    Rule(_REFUSED + "(?:21609|2162[0-4]|21626)",
         _NOT_TAKEN, _ACCOUNT, "a setting is refused: check [providers.twilio]"),
    Rule(_REFUSED + "(?:10001|20005|20403|21472|30002)",
         _NOT_TAKEN, _ACCOUNT, "the account is suspended or not active"),
    Rule(_REFUSED + "(?:20003|20008|70051)|401.*", _NOT_TAKEN, _ACCOUNT, "the credentials are refused"),
    Rule("400.*", _NOT_TAKEN, _UNCLEAR, "Twilio refuses the text, for us or for this number"),
    Rule("403.*", _NOT_TAKEN, _ACCOUNT, "the account may not send texts"),
    Rule("404.*|405.*", _NOT_TAKEN, _ACCOUNT, "there is no such account at base_url"),
    Rule("201 failed.*", _REJECTED, _ONE, "Twilio accepted the text but did not send it"),
)
# fmt: on


def said_by(answer: HttpAnswer) -> str:
    """Return a whole answer as "400 21211": the status, and Twilio's error number if there is one.

    A 201 is "201 taken", "201 failed" with the number, or "201" if it names no message.
    """
    found = object_in(answer)
    if answer.status != 201:
        parts = str(answer.status), error_code(found.get("code"))
    elif not message_sid(found):
        return "201"
    elif found.get("status") in GAVE_UP:
        parts = "201 failed", error_code(found.get("error_code"))
    else:
        return "201 taken"
    return " ".join(filter(None, parts))


def outcome(delivery: int, answer: HttpAnswer, now: datetime) -> Outcome:
    """Return what the answer, whole or not, means for one delivery."""
    sid = message_sid(object_in(answer)) if answer.status == 201 else ""
    return outcome_of(delivery, answer, said_by(answer), OUTCOMES, now, sid)
