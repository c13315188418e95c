"""What still stands of what an audience was promised: the rules, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from commcast.model.history import Heard, NewestRelease, audience_progress

AT = datetime(2026, 11, 21, 9, 5, tzinfo=UTC)


def at(minute: int) -> datetime:
    return AT + timedelta(minutes=minute)


def update(number: int, promised: int | None = None, **more: int | str) -> Heard:
    """Return an update that two of the audience were told, with its promise in minutes after AT."""
    given = {"notice": f"update:{number}", "channel": "email", "told": 2, **more}
    by = None if promised is None else at(promised)
    return Heard(number=number, at=at(10 * number) if given["told"] else None, promised=by, **given)  # type: ignore[arg-type]


def holding(number: int, promised: int, **more: int | str) -> Heard:
    return update(number, promised, notice=f"holding:{promised}", **more)


def text(number: int, promised: int) -> Heard:
    return update(number, promised, notice=f"holding:{promised}/customers", channel="sms")


OPEN, SECOND, ENDED = NewestRelease(1, False), NewestRelease(2, False), NewestRelease(2, True)


@pytest.mark.parametrize(
    ("heard", "newest", "promised"),
    [
        pytest.param([update(1, 20)], OPEN, 20, id="what was said stands"),
        pytest.param([update(1, 20, told=0, waits=2)], OPEN, None, id="what reached nobody promises nothing"),
        pytest.param([update(1, 20), update(2, 40)], SECOND, 40, id="newer words take its place"),
        pytest.param([update(1, 20), holding(1, 40)], OPEN, 40, id="a holding statement does, too"),
        pytest.param([update(1, 20), holding(1, 40), update(2, 60)], SECOND, 60, id="and a human after it"),
        pytest.param(
            [update(1, 20), update(1, 25, channel="sms")], OPEN, 20, id="the earliest of its channels"
        ),
        pytest.param(
            [update(1, 20), update(1, 120, channel="sms"), update(2, 40)],
            SECOND,
            40,
            id="a mail keeps what mails promised",
        ),
        pytest.param(
            [update(1, 20), update(1, 30, channel="sms"), update(2, 40)],
            SECOND,
            30,
            id="and not what a text promised to who gets no mail",
        ),
        pytest.param(
            [update(1, 20), update(1, 15, channel="sms"), text(1, 90), update(2)],
            SECOND,
            90,
            id="a text keeps that",
        ),
        pytest.param(
            [update(1, 20), update(1, 15, channel="sms"), text(1, 90)],
            OPEN,
            20,
            id="and keeps nothing that mails promised",
        ),
        pytest.param(
            [update(1, 20), update(2, 40, told=0)], SECOND, 20, id="refused by everybody: it stands"
        ),
        pytest.param([update(1, 20), update(2, 40, told=0, waits=2)], SECOND, 20, id="it waits: it stands"),
        pytest.param([update(1, 20), update(2, 40, waits=1)], SECOND, 20, id="one reader still waits"),
        pytest.param([update(1, 20)], SECOND, 20, id="released, but nobody was told"),
        pytest.param([update(1, 20), update(2)], ENDED, None, id="the end promises nothing"),
        pytest.param([update(1, 20), update(2, waits=1)], ENDED, 20, id="the end is not told to everybody"),
        pytest.param([update(1, 20), update(2, told=0, waits=2)], ENDED, 20, id="the end waits to be told"),
        pytest.param(
            [update(1, 20), update(2, told=0, held=2)], ENDED, 20, id="the end waits for the morning"
        ),
        pytest.param([update(1, 20)], ENDED, None, id="nobody is left to hear the end"),
        pytest.param([update(1, 20)], NewestRelease(2, False, elsewhere=True), None, id="told elsewhere"),
        pytest.param([], OPEN, None, id="nothing"),
    ],
)
def test_a_promise_stands_until_something_newer_is_told(
    heard: Sequence[Heard], newest: NewestRelease, promised: int | None
) -> None:
    found = audience_progress("customers", heard, newest)
    assert found.promised == (None if promised is None else at(promised))
    assert found.is_late(at(100)) is (promised is not None)


def test_the_newest_notice_that_reached_somebody_is_what_it_was_told() -> None:
    heard = [update(1, 20), holding(1, 40), holding(1, 40, channel="sms"), update(2, 60, told=0, waits=3)]
    found = audience_progress("customers", heard, SECOND)
    assert (found.notice, found.channels, found.told_at, found.waits) == (
        "holding:40",
        ("email", "sms"),
        at(10),
        3,
    )


def test_who_only_gets_texts_was_told_by_the_text_that_kept_a_promise() -> None:
    """It is the last word to an audience without mail; one with mail knows newer words, or these as well."""
    first, kept = update(1, 15, channel="sms"), text(2, 90)
    found = audience_progress("customers", [first, kept], SECOND)
    assert (found.notice, found.number, found.told_at) == ("holding:90/customers", 2, at(20))
    assert found.promised == at(90)
    found = audience_progress("customers", [update(1, 20), first, kept], SECOND)
    assert (found.notice, found.told_at) == ("update:1", at(10))
