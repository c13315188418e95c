"""Every reason that the plan gives, for a channel or for a reader; explained in docs/reasons.md (pure).

Text in braces is filled in. `preview` shows these, and skipped and held rows keep them in the ledger.
"""

from __future__ import annotations

# Why a notice is due on a channel, or not.
UPDATE_OWED = "update {number}, {events}"
UPDATE_TOLD_ELSEWHERE = "sent elsewhere, before this ledger existed"
ALREADY_SENT = "already sent"
HELD_FOR_THE_NIGHT = "quiet hours hold back {held} of {number} until they end"
UPDATE_TO_NEWCOMERS = "update {number}, to readers who joined late"
UPDATE_NOT_TEXTED = "routine updates do not go by SMS"
UPDATE_STALE = "its own promise has passed; send it anyway with --late"
NOBODY_WROTE = "nobody posted before the promised time"
HOLD_LATER = "is sent automatically from {time} unless somebody posts first"
LEFT_TO_NUDGE = "no holding statement, only a nudge (commcast.toml, [silence])"
TEXT_OWED = "the text promised by {promise}, with the facts of update {number}"
TEXT_HOLDS = "the text promised by {promise}: nothing is new since update {number}"
TEXT_LATER = "the text promised by {promise} is sent automatically shortly before"
TEXT_LEFT_TO_NUDGE = "nothing is new for the text promised by {promise}: only a nudge ([silence])"
REMINDER_OWED = "reminder, {offset} before the start"
REMINDER_NOT_TEXTED = "reminders do not go by SMS"
REMINDER_TOO_LATE = "quiet hours last until it would be too late for this reminder"

REVIEW_OWED = "the review, to readers who were told the end"
REVIEW_WAITS = "the review is waiting to be released: commcast send {incident}"
CHECK_IN_OWED = "check-in, on the working day after the end"
CHECK_IN_LATER = "check-in, from {time}"

# Why a reader is not told; the ledger does not keep these.
NO_EMAIL = "has no email address"
NO_PHONE = "has no phone number"
IN_LEDGER = "already in the ledger: {state}"
SAME_ADDRESS = "the same address again"
OTHER_COMPONENTS = "follows other components"
NEVER_TOLD = "was never told that it began"
NO_TEXT_PROMISED = "was promised no text by this time"
NEWS_WAITS = "the update itself is still to be sent to them"
END_ONLY = "only wants to know the end"
RIGHT_END_TOLD = "was told the end correctly"
KEY_ONLY = "only wants key events"

# Why a reader is skipped; the ledger keeps these.
HEARS_NOTHING = "hears nothing: {why}"
HELD_BACK = "held back: as many messages as one address gets in an hour"

# Why a message is sent later.
UNTIL_MORNING = "until 09:00 of their next working day"
QUIET_HOURS = "quiet hours"
AFTER_LEAD = "after those who are told first"
