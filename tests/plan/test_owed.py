"""What an audience is owed, by everything that was sent to it; everybody who asks what is late asks this."""

from __future__ import annotations

from datetime import datetime, timedelta

from commcast.model.history import Said
from commcast.model.incident import Channel
from commcast.plan.owed import NewestRelease, Word, owed_to
from tests.support.values import AT

MINUTE = timedelta(minutes=1)


def at(minute: int) -> datetime:
    return AT + minute * MINUTE


def update(number: int, promised: int | None = None, notice: str = "", **more: bool) -> Said:
    """Return an update that some of the audience were told, with its promise in minutes after AT."""
    by = None if promised is None else at(promised)
    notice = notice or f"update:{number}"
    return Said(notice, number, Channel.EMAIL, "customers", at(10 * number), by, (), **more)


def holding(number: int, promised: int) -> Said:
    return update(number, promised, f"holding:{promised}")


def sms(number: int, promised: int, notice: str = "", **more: bool) -> Said:
    made = update(number, promised, notice, **more)
    return made._replace(channel=Channel.SMS, text_promises=(at(promised),))


def text(number: int, promised: int) -> Said:
    return sms(number, promised, f"holding:{promised}/customers")


OPEN, SECOND, ENDED = NewestRelease(1, False), NewestRelease(2, False), NewestRelease(2, True)
FIRST = update(1, 20)
UNREAD, REFUSED = update(1, 20, heard=False, waits=True), update(1, 20, heard=False)
UNSENT = update(2, 40, heard=False, waits=True)
LATER = [update(3, 60, heard=False, waits=True), sms(3, 120)]
ANNOUNCED = 10 + 15  # when the first words were to go, and the cadence
STANDS: dict[str, tuple[list[Said], NewestRelease, int | None]] = {
    "nothing": ([], OPEN, None),
    "what was said stands": ([FIRST], OPEN, 20),
    "what reached nobody is owed as the first word": ([UNREAD], OPEN, ANNOUNCED),
    "also if it was refused by everybody": ([REFUSED], OPEN, ANNOUNCED),
    "also by text alone, for those who get only texts": (
        [update(1, 90), sms(1, 120, heard=False, waits=True)],
        OPEN,
        ANNOUNCED,
    ),
    "an audience with nobody left in it is owed nothing": ([REFUSED], SECOND, None),
    "nor is it for those who sleep": ([update(1, 20, heard=False, held=True)], OPEN, None),
    "the first word is owed though it is over": ([UNREAD], ENDED, ANNOUNCED),
    "an end refused by everybody ends it": ([REFUSED, update(2, heard=False)], ENDED, None),
    "newer words take its place": ([FIRST, update(2, 40)], SECOND, 40),
    "a holding statement does, too": ([FIRST, holding(1, 40)], OPEN, 40),
    "and a human after it": ([FIRST, holding(1, 40), update(2, 60)], SECOND, 60),
    "the earliest of its channels": ([FIRST, sms(1, 25)], OPEN, 20),
    "a mail keeps what mails promised": ([FIRST, sms(1, 120), update(2, 40)], SECOND, 40),
    "and not what a text promised to who gets no mail": ([FIRST, sms(1, 30), update(2, 40)], SECOND, 30),
    "a text keeps that": ([FIRST, sms(1, 15), text(1, 90), update(2)], SECOND, 90),
    "not while one reader still waits for it": ([sms(1, 15), sms(2, 90, waits=True)], SECOND, 15),
    "and keeps nothing that mails promised": ([FIRST, sms(1, 15), text(1, 90)], OPEN, 20),
    "nor does one to readers of texts, while the mail waits": ([FIRST, UNSENT, sms(2, 120)], SECOND, 20),
    "though the mail before that waits, too": (
        [FIRST, UNSENT, sms(2, 99), *LATER],
        NewestRelease(3, False),
        20,
    ),
    "refused by everybody: it stands": ([FIRST, update(2, 40, heard=False)], SECOND, 20),
    "it waits: it stands": ([FIRST, UNSENT], SECOND, 20),
    "one reader still waits": ([FIRST, update(2, 40, waits=True)], SECOND, 20),
    "released, but nobody was told": ([FIRST], SECOND, 20),
    "the end promises nothing": ([FIRST, update(2)], ENDED, None),
    "the end is not told to everybody": ([FIRST, update(2, waits=True)], ENDED, 20),
    "the end waits to be told": ([FIRST, update(2, heard=False, waits=True)], ENDED, 20),
    "the end waits for the morning": ([FIRST, update(2, heard=False, held=True)], ENDED, 20),
    "nobody is left to hear the end": ([FIRST], ENDED, None),
    "told elsewhere": ([FIRST], NewestRelease(2, False, elsewhere=True), None),
}


def test_what_is_owed_and_until_when() -> None:
    for rule, (said, newest, by) in STANDS.items():
        found = [*owed_to("customers", said, newest, 15 * MINUTE)]
        assert min((each.by for each in found), default=None) == (None if by is None else at(by)), rule
        word = Word.END if newest.is_end else Word.NEXT
        assert all(each.word is (word if each.made else Word.FIRST) for each in found), rule


def test_a_promise_is_kept_within_its_minute() -> None:
    """Readers are told minutes, so that seconds break nothing."""
    (owed,) = owed_to("customers", [FIRST], OPEN, 15 * MINUTE)
    seconds = timedelta(seconds=1)
    assert [owed.is_late(at(20) + after * seconds) for after in (-1, 0, 59, 60)] == [
        False,
        False,
        False,
        True,
    ]
