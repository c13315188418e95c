"""Corrections: who is told that earlier words were wrong, and who only gets the right ones (pure).

Readers who got, or may have got, the wrong words on a channel are told so there, and nobody else is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from commcast.model.history import History, ReaderHistory
from commcast.model.incident import AudienceWords, Incident, Update
from commcast.model.text import holds, put_right
from commcast.plan import reasons
from commcast.plan.notices import Notice, NoticeKind

# What an update may say again; what it leaves out is carried forward, except what only an end says.
_WORDS = ("issue", "resolution", "scope", "action", "nothing_new", "internal")
_OF_AN_END = ("resolution", "action", "fixed", "remains", "if_it_persists", "because", "merged_into")


def correcting(incident: Incident, history: History) -> tuple[Update, ...]:
    """Return the released updates that correct earlier ones."""
    return tuple(
        update
        for update in incident.updates
        if update.corrects and update.wrong and update.number in history.releases
    )


def corrects_here(notice: Notice, history: History) -> bool:
    """Return whether this notice is the first on its channel that corrects something said there."""
    return any(
        each.by == notice.number or (f"{NoticeKind.UPDATE}:{each.by}", notice.channel) not in history.begun
        for each in notice.wrong_words
    )


def is_for_others(notice: Notice, history: ReaderHistory) -> str:
    """Return why a text without any event does not go to this reader, "" if it does."""
    if not notice.is_plain or (notice.wrong_words and history.waits) or is_newcomer(notice, history):
        return ""
    return reasons.UPDATE_NOT_TEXTED


def is_newcomer(notice: Notice, history: ReaderHistory) -> bool:
    """Return whether a reader hears of this for the first time although others were told before."""
    if notice.is_end or notice.told_elsewhere or "first" in notice.events:
        return False
    return not history.told and not history.is_known


def has_right_words(notice: Notice, history: ReaderHistory) -> str:
    """Return why a corrected end does not go to this reader, "" if it does: they read the right one."""
    is_correction = any(each.by == notice.number for each in notice.wrong_words)
    if not is_correction or not notice.is_end or history.waits:
        return ""
    if notice.events & {"resolved", "retracted"}:
        return ""  # it is over only now: words before the end were corrected, and the end is news
    return reasons.RIGHT_END_TOLD if history.heard >= notice.number - 1 else ""


def is_for_former_reader(notice: Notice, history: ReaderHistory) -> bool:
    """Return whether somebody who is on no list any more is told anyway.

    Readers who were told that it is over hear that it is not: the end they know has become wrong.
    """
    return _is_for_all(notice) or bool(history.told_wrong)


def goes_to_former_readers(notice: Notice) -> bool:
    """Return whether anybody who is on no list any more may be told."""
    return _is_for_all(notice) or bool(notice.wrong_words)


def _is_for_all(notice: Notice) -> bool:
    return notice.is_end or notice.only_told or "reopened" in notice.events


def says(update: Update, wrong: str) -> bool:
    """Return whether any words of an update contain what is wrong."""
    texts = [getattr(update, key) for key in {*_WORDS, *_OF_AN_END}]
    texts += [text for words in update.words.values() for text in words.model_dump().values()]
    return any(holds(text, wrong) for text in texts if text)


def corrected(update: Update, wrong: str, right: str) -> dict[str, Any]:
    """Return the keys of the update that says `right` where `update`, the newest, says `wrong`.

    Other words are carried forward by themselves; an end, which carries nothing forward, and words for one
    audience are said in full again.
    """

    def mended(text: str) -> str:
        return put_right(text, wrong, right)

    texts = {key: getattr(update, key) for key in _WORDS}
    keys: dict[str, Any] = {key: mended(text) for key, text in texts.items() if text and holds(text, wrong)}
    if update.is_end:
        keys |= _end(update, mended)
    if update.words:
        keys["for"] = {name: _words(words, mended) for name, words in update.words.items()}
    return keys


def _end(update: Update, mended: Any) -> dict[str, Any]:
    said = {key: mended(text) for key in _OF_AN_END if (text := getattr(update, key))}
    if update.issue != update.fixed:
        said["issue"] = mended(update.issue)
    return {"status": update.status.value, "ended": update.ended, **said}


def _words(words: AudienceWords, mended: Any) -> Mapping[str, str]:
    return {key: mended(text) for key, text in words.model_dump().items() if text}
