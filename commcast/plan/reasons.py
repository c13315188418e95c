"""Every reason that the plan gives, for a channel or for a reader: the table is docs/reasons.md (pure).

What stands in braces is filled in. A line of `preview`, a skipped row and a held row carry these words.
"""

from __future__ import annotations

# Why a notice is due on a channel, or is not.
UPDATE_OWED = "update {number}, {events}"
UPDATE_TOLD_ELSEWHERE = "told elsewhere, before this ledger"
ALREADY_SENT = "already sent"
HELD_FOR_THE_NIGHT = "quiet hours hold back {held} of {number} until they end"
UPDATE_TO_NEWCOMERS = "update {number}, to those who come late and were never told"
UPDATE_NOT_TEXTED = "a plain update does not go by SMS"
UPDATE_STALE = "older than its own promise; send it all the same with --late"
NOBODY_WROTE = "nobody wrote before the promise"
HOLD_LATER = "goes out by itself from {time} if nobody writes before"
LEFT_TO_NUDGE = "silence is left to the nudge (commcast.toml, [silence])"
TEXT_OWED = "the text promised by {promise}, with the facts of update {number}"
TEXT_HOLDS = "the text promised by {promise}: nothing is new since update {number}"
TEXT_LATER = "the text promised by {promise} goes out by itself shortly before"
TEXT_LEFT_TO_NUDGE = "nothing is new for the text promised by {promise}, and [silence] leaves that to a nudge"
REMINDER_OWED = "reminder, {offset} before the start"
REMINDER_NOT_TEXTED = "reminders do not go by SMS"
REMINDER_TOO_LATE = "quiet hours last until it would be too late for this reminder"

REVIEW_OWED = "the review, to those who were told the end"
REVIEW_WAITS = "the review waits for a person: commcast send {incident}"
CHECK_IN_OWED = "asks how it is, on the working day after the end"
CHECK_IN_LATER = "asks how it is, from {time} on"

# Why a reader is not told: no trace of it is kept.
NO_EMAIL = "has no email address"
NO_PHONE = "has no phone number"
IN_LEDGER = "already in the ledger: {state}"
SAME_ADDRESS = "the same address again"
OTHER_COMPONENTS = "follows other components"
NEVER_TOLD = "was never told that it began"
NO_TEXT_PROMISED = "was promised no text by this time"
END_ONLY = "wants to hear of the end only"
RIGHT_END_TOLD = "was told the end, in words that were right"
KEY_ONLY = "wants to hear of key events only"

# Why a reader is skipped: the ledger keeps that.
HEARS_NOTHING = "hears nothing: {why}"
HELD_BACK = "held back: as many messages as one address gets in an hour"

# Why a message goes later.
UNTIL_MORNING = "until 09:00 of their next working day"
QUIET_HOURS = "quiet hours"
AFTER_LEAD = "after those who hear first"
