"""What readers are owed: the first word, the next update, the end. Whoever asks what is late asks here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from commcast.config.settings import Config
from commcast.model.history import History, Said
from commcast.model.incident import Channel, Incident, Kind, Status
from commcast.model.release import ELSEWHERE, drafts
from commcast.model.times import is_past
from commcast.plan.cadence import promises
from commcast.plan.notices import audiences_of


class Word(StrEnum):
    """What an audience is waiting for."""

    FIRST = "first word"
    NEXT = "next update"
    END = "end"


class Owed(NamedTuple):
    """A word that an audience is owed by a time; `made` is the message that promised it, None for none.

    An incident that nobody has released owes its first word to "", as nobody knows yet who gets it.
    """

    audience: str
    word: Word
    by: datetime
    made: Said | None = None

    def is_late(self, now: datetime) -> bool:
        return is_past(self.by, now)


class NewestRelease(NamedTuple):
    """The last released update: its number, whether it is an end, and whether another ledger told it."""

    number: int
    is_end: bool
    elsewhere: bool = False


def owed_to(audience: str, said: Sequence[Said], newest: NewestRelease, first: timedelta) -> Iterator[Owed]:
    """Yield what one audience is owed. `said` is all that was sent to it, in order, whoever it reached.

    While it has reached nobody, the first word is owed within `first` of the time when it was to be sent;
    also by text alone, since some may get only texts. Any newer notice keeps a promise. What a text promised
    to readers who only get texts is kept by a newer text. Readers for whom the newest notice is still pending
    have the promise of the one before: that one is open as well, whatever texts say in the meantime. The end
    settles a promise once it is told, and at once if nobody is left to be told.
    """
    heard = [each for each in said if each.heard]
    if not heard:
        unheard = [each for each in said if each.waits or (not each.held and each.number == newest.number)]
        if unheard and not newest.elsewhere and (not newest.is_end or any(each.waits for each in unheard)):
            yield Owed(audience, Word.FIRST, min(each.at for each in said) + first)
        return
    for channel in sorted({each.channel for each in said} - {each.channel for each in heard}):
        unheard = [each for each in said if each.channel is channel]
        if any(each.waits for each in unheard):
            yield Owed(audience, Word.FIRST, min(each.at for each in unheard) + first)
    word = Word.END if newest.is_end else Word.NEXT
    mails = [each for each in heard if each.channel is Channel.EMAIL]
    mail_waits = any(each.waits and each.channel is Channel.EMAIL for each in said)
    for made in _standing(told_of(mails if mails and mail_waits else heard), said, newest):
        if made.channel is not Channel.SMS and made.promised:
            yield Owed(audience, word, made.promised, made)
    texts = [each for each in heard if each.channel is Channel.SMS]
    if texts and _stands(texts[-1].number, said, newest):
        for made in texts[-2:] if texts[-1].waits else texts[-1:]:
            yield from (Owed(audience, word, by, made) for by in made.text_promises)


def told_of(heard: Sequence[Said]) -> list[Said]:
    """Return what counts as told to an audience as a whole: its last notice is the last thing it was told.

    A notice that names the audience goes only to those to whom a text promised it; it counts only if nobody
    in the audience gets email.
    """
    by_mail = any(each.channel is Channel.EMAIL for each in heard)
    return [each for each in heard if not (by_mail and "/" in each.notice)]


def _standing(told: Sequence[Said], said: Sequence[Said], newest: NewestRelease) -> Iterator[Said]:
    """Yield the messages whose promises are open: the last one, and the one before if readers still wait."""
    last = [each for each in told if each.notice == told[-1].notice]
    before = [each for each in told if each.notice != told[-1].notice]
    if _stands(told[-1].number, said, newest):
        yield from last
    if before and any(each.waits for each in last):
        yield from (each for each in before if each.notice == before[-1].notice)


def _stands(told: int, said: Iterable[Said], newest: NewestRelease) -> bool:
    """Return whether a promise made with update `told` is still open."""
    if told == newest.number:
        return not newest.is_end
    if newest.elsewhere:
        return False
    return not newest.is_end or any(each.waits or each.held for each in said)


def with_elsewhere(said: Sequence[Said], number: int, incident: Incident, config: Config) -> Sequence[Said]:
    """Return `said` with update `number`, the last that was told before this ledger began; 0 for none.

    What it promised must not end in silence: neither now nor while newer updates have reached nobody.
    """
    if not 0 < number <= len(incident.updates) or (update := incident.update(number)).is_end:
        return said
    by = promises(config, incident, update)
    before = [
        Said(f"update:{number}", number, Channel.EMAIL, name, update.at, by[name])
        for name in audiences_of(incident, update, config)
    ]
    return sorted([*before, *said], key=lambda each: each.number)


def first_word_by(incident: Incident, config: Config, drafted: datetime) -> datetime | None:
    """Return when the first word is due by the cadence; planned and expected events have no such time.

    It counts from the start; from when the incident was written down (`drafted`) if the file names none.
    """
    first = incident.updates[0]
    if incident.kind is Kind.MAINTENANCE or first.status is Status.EXPECTED:
        return None
    began = incident.started if incident.started_written else drafted
    return began + config.cadence_of(first.severity).first


def owed(
    incident: Incident, history: History, config: Config, drafted: datetime | None = None
) -> tuple[Owed, ...]:
    """Return all that readers of an incident are owed, late or not; `drafted` is as for `first_word_by`."""
    if not history.releases:
        by = first_word_by(incident, config, drafted or incident.started)
        is_draft = bool(drafts(incident, ())) and not incident.latest.is_end
        return (Owed("", Word.FIRST, by),) if by and is_draft else ()
    number = max(history.releases)
    update = incident.update(number)
    newest = NewestRelease(number, update.is_end, history.releases[number].how == ELSEWHERE)
    before = max((each.number for each in history.releases.values() if each.how == ELSEWHERE), default=0)
    told = with_elsewhere((*history.unsaid, *history.said), before, incident, config)
    first = config.cadence_of(update.severity).first
    return tuple(
        each
        for name in dict.fromkeys(one.audience for one in told)
        for each in owed_to(name, [one for one in told if one.audience == name], newest, first)
    )
