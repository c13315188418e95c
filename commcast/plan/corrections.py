"""Corrections: who is told that an earlier message was wrong, and who only gets the right one (pure).

Readers who received, or may have received, the wrong message on a channel are told so there, nobody else.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from commcast.model.history import History, ReaderHistory
from commcast.model.incident import SENTENCES, Incident, Update
from commcast.model.text import holds, put_right
from commcast.plan import reasons
from commcast.plan.notices import Notice, NoticeKind

# Texts that an update may repeat. What it omits is carried forward, except the texts of an end.
_WORDS = (
    *("issue", "resolution", "scope", "works", "data", "action", "short", "cause", "nothing_new", "offer"),
    "internal",
)
_OF_AN_END = (
    *("resolution", "action", "cause", "fixed", "remains", "if_it_persists", "change", "because"),
    "merged_into",
)


def correcting(incident: Incident, history: History) -> tuple[Update, ...]:
    """Return the released updates that correct earlier ones."""
    return tuple(
        update
        for update in incident.updates
        if update.corrects and update.wrong and update.number in history.releases
    )


def corrects_here(notice: Notice, history: History) -> bool:
    """Return whether this notice is the first on its channel to correct something sent there."""
    return any(
        each.by == notice.number or (f"{NoticeKind.UPDATE}:{each.by}", notice.channel) not in history.begun
        for each in notice.wrong_words
    )


def is_for_others(notice: Notice, history: ReaderHistory) -> str:
    """Return why an SMS without an event does not go to this reader; "" if it does."""
    if not notice.is_plain or (notice.wrong_words and history.waits) or is_newcomer(notice, history):
        return ""
    return reasons.UPDATE_NOT_TEXTED


def is_newcomer(notice: Notice, history: ReaderHistory) -> bool:
    """Return whether this would be a reader's first message although others got one before."""
    if notice.is_end or notice.told_elsewhere or "first" in notice.events:
        return False
    return not history.told and not history.is_known


def has_right_words(notice: Notice, history: ReaderHistory) -> str:
    """Return why a corrected end does not go to this reader (they got the right one); "" if it does."""
    is_correction = any(each.by == notice.number for each in notice.wrong_words)
    if not is_correction or not notice.is_end or history.waits:
        return ""
    if notice.events & {"resolved", "retracted"}:
        return ""  # only now is it over: an earlier update was corrected, and the end is news
    return reasons.RIGHT_END_TOLD if history.heard >= notice.number - 1 else ""


def is_for_former_reader(notice: Notice, history: ReaderHistory) -> bool:
    """Return whether a reader who is no longer on any list is told anyway.

    Readers who were told that it is over are told when it is not: what they know has become wrong.
    """
    return _is_for_all(notice) or bool(history.told_wrong)


def goes_to_former_readers(notice: Notice) -> bool:
    """Return whether any reader who is no longer on a list may be told."""
    return _is_for_all(notice) or bool(notice.wrong_words)


def _is_for_all(notice: Notice) -> bool:
    return notice.is_end or notice.only_told or "reopened" in notice.events


def says(update: Update, wrong: str) -> bool:
    """Return whether any text of an update contains `wrong`."""
    texts = [getattr(update, key) for key in {*_WORDS, *_OF_AN_END}]
    texts += [text for words in update.words_in_force.values() for text in words.model_dump().values()]
    texts += [text for words in update.translations_in_force.values() for text in words.values()]
    return any(holds(text, wrong) for text in texts if text)


def corrected(update: Update, wrong: str, right: str) -> dict[str, Any]:
    """Return the keys of a new update that says `right` wherever `update`, the newest, says `wrong`.

    Other texts are carried forward. An end carries nothing forward, so it is repeated in full, as are texts
    for one audience, translations and the short form, which hold only until the sentence they stand for is
    written anew.
    """
    fixed = partial(put_right, wrong=wrong, right=right)
    texts = {key: text for key in _WORDS if (text := getattr(update, key))}
    keys: dict[str, Any] = {k: fixed(text) for k, text in texts.items() if k == "short" or holds(text, wrong)}
    if update.is_end:
        keys |= {"status": update.status.value, "ended": update.ended}
        keys |= {key: fixed(text) for key in _OF_AN_END if (text := getattr(update, key))}
        if update.issue != update.fixed:
            keys["issue"] = fixed(update.issue)
    if update.words_in_force:
        keys["for"] = {
            name: {key: fixed(text) for key, text in words.model_dump().items() if text}
            for name, words in update.words_in_force.items()
        }
    # What is put right has no translation until somebody writes one; a translation may itself be wrong.
    repeated = {key for key in SENTENCES if key in keys and keys[key] == getattr(update, key)}
    for tag, each in update.translations_in_force.items():
        holding = {key for key, text in each.items() if key not in keys and holds(text, wrong)}
        if kept := {key: fixed(text) for key, text in each.items() if key in repeated | holding}:
            keys.setdefault("translations", {})[tag] = kept
    return keys
