"""The figures of a report, each by its definition: pure, so a story is a handful of values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from commcast.report.documents import as_document
from commcast.report.figures import Kept, figures_of, gaps, is_night
from commcast.report.story import NightTexts, Pledge, Shape, Story, StoryUpdate, Telling, Texts
from commcast.report.trend import Per, trend_document, trend_headline, trend_of
from commcast.report.words import clock_of, headline, subject, tables

UTC_ZONE = ZoneInfo("UTC")

BEGAN = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return BEGAN + timedelta(minutes=minutes)


def stage(number: int, minutes: float, status: str = "investigating", **more: object) -> StoryUpdate:
    values: dict[str, object] = {"severity": 1, "is_end": status in {"resolved", "retracted"}, **more}
    return StoryUpdate(number, at(minutes), at(minutes), status, **values)  # type: ignore[arg-type]


def telling(number: int, minutes: float, shape: Shape = Shape.UPDATE, audience: str = "customers") -> Telling:
    name = f"holding:{minutes}" if shape is Shape.HOLDING else f"update:{number}"
    return Telling(
        name, shape, number, "email", audience, at(minutes), at(minutes), at(minutes + 1), {"accepted": 10}
    )


def pledge(
    made: float, promised: float, in_time: int, first: float | None, last: float | None, **more: int
) -> Pledge:
    readers, gone = more.get("readers", 100), more.get("gone", 0)
    first_at, last_at = (at(first) if first is not None else None), (at(last) if last is not None else None)
    return Pledge("update:1", "customers", at(made), at(promised), readers, gone, in_time, first_at, last_at)


def story(
    tellings: Sequence[Telling] = (),
    pledges: Sequence[Pledge] = (),
    stages: Sequence[StoryUpdate] = (stage(1, 10),),
    now: float = 600,
) -> Story:
    return Story(
        "pay7",
        "Cards fail",
        "incident",
        at(now),
        BEGAN,
        tuple(stages),
        tuple(tellings),
        tuple(pledges),
    )


@pytest.mark.parametrize(
    ("made", "state", "late"),
    [
        (pledge(10, 30, 100, 29, 30), Kept.KEPT, None),
        (pledge(10, 30, 99, 29, 55), Kept.KEPT, None),  # within what is tolerated
        (pledge(10, 30, 90, 29, 35), Kept.PARTLY, 5),  # until the last of them had word
        (pledge(10, 30, 0, 41, 60), Kept.LATE, 11),  # until the first had word
        (pledge(10, 30, 0, None, None), Kept.BROKEN, None),
        (pledge(10, 700, 0, None, None), Kept.OPEN, None),
        (pledge(10, 700, 40, 29, 35), Kept.OPEN, None),  # the others may still have it in time
        (pledge(10, 30, 60, 29, 30, gone=40), Kept.KEPT, None),  # who opted out waits for nothing
    ],
)
def test_a_promise_is_kept_by_what_its_readers_had_in_time(
    made: Pledge, state: Kept, late: int | None
) -> None:
    (audience,) = figures_of(story([telling(1, 10)], [made])).audiences
    (promise,) = audience.promises
    assert promise.state is state
    assert promise.late == (None if late is None else timedelta(minutes=late))


def test_a_promise_to_nobody_who_is_left_is_none() -> None:
    made = pledge(10, 30, 0, None, None, readers=3, gone=3)
    (audience,) = figures_of(story([telling(1, 10)], [made])).audiences
    assert audience.promises == ()


def test_what_is_tolerated_is_the_folders_own() -> None:
    told = story([telling(1, 10)], [pledge(10, 30, 90, 29, 35)])
    assert figures_of(told, tolerate=0.02).kept == 0
    assert figures_of(told, tolerate=0.1).kept == 1


def test_a_holding_statement_keeps_a_promise_and_is_named() -> None:
    told = [telling(1, 10), telling(1, 28, Shape.HOLDING)]
    figures = figures_of(story(told, [pledge(10, 30, 100, 28, 28)]))
    (promise,) = figures.promises
    assert (promise.state, promise.by_holding) == (Kept.KEPT, True)
    assert figures.holdings == 1


def test_first_words_are_reckoned_from_the_beginning_and_from_the_first_yes() -> None:
    told = story([telling(1, 13), telling(1, 15, audience="executives")], stages=[stage(1, 10)])
    customers, executives = figures_of(told).audiences
    assert (customers.from_start, customers.from_release) == (timedelta(minutes=13), timedelta(minutes=3))
    assert executives.from_start == timedelta(minutes=15)
    assert customers.first_all_at == at(14)


def test_nobody_knows_the_time_to_the_first_word_where_the_beginning_is_not_known() -> None:
    (audience,) = figures_of(replace(story([telling(1, 13)]), started=None)).audiences
    assert (audience.from_start, audience.from_release) == (None, timedelta(minutes=3))


def test_a_silence_is_between_messages_and_until_the_end_or_now() -> None:
    told = [telling(1, 10), telling(2, 30), telling(3, 90)]
    (audience,) = figures_of(story(told, now=100)).audiences
    assert audience.silence is not None
    assert audience.silence.length == timedelta(minutes=60)
    (audience,) = figures_of(story(told, now=200)).audiences
    assert audience.silence is not None
    assert (audience.silence.start, audience.silence.end) == (at(90), at(200))


def test_a_promised_text_ends_the_silence_of_an_audience_that_only_gets_texts() -> None:
    """Where others of it get mail, the text went to some readers alone, and breaks no silence of the rest."""
    first, kept = replace(telling(1, 10), channel="sms"), telling(1, 120, Shape.HOLDING)
    kept = replace(kept, channel="sms", notice="holding:130/customers")
    ends = [gap.end for gap in gaps(story([first, kept], now=200), "customers")]
    assert ends == [at(120), at(200)]
    ends = [gap.end for gap in gaps(story([telling(1, 10), first, kept], now=200), "customers")]
    assert ends == [at(200)]


def test_an_audience_that_never_heard_of_the_end_is_silent_until_it() -> None:
    stages = [stage(1, 10), stage(2, 120, "resolved")]
    found = list(gaps(story([telling(1, 10)], stages=stages), "customers"))
    assert [gap.end for gap in found] == [at(120)]


def test_after_an_end_nobody_waits_for_word() -> None:
    stages = [stage(1, 10), stage(2, 60, "resolved"), stage(3, 500, "reopened"), stage(4, 520, "resolved")]
    told = [
        telling(1, 10),
        telling(2, 60, Shape.END),
        telling(3, 500),
        telling(4, 520, Shape.END),
        telling(4, 900, Shape.FOLLOW_UP),
    ]
    lengths = [gap.length for gap in gaps(story(told, stages=stages), "customers")]
    assert lengths == [timedelta(minutes=50), timedelta(minutes=20)]


def test_an_end_that_corrects_an_earlier_one_ends_the_silence_and_is_a_correction() -> None:
    stages = [stage(1, 10), stage(2, 60, "resolved"), stage(3, 80, "resolved"), stage(4, 500, "reopened")]
    told = [
        telling(1, 10),
        telling(2, 60, Shape.END),
        telling(3, 80, Shape.CORRECTION),
        telling(4, 500),
    ]
    figures = figures_of(story(told, stages=stages, now=510))
    assert figures.corrections == 1
    (audience,) = figures.audiences
    assert audience.silence is not None
    assert audience.silence.length == timedelta(minutes=50)


def test_no_silence_begins_with_what_is_only_announced() -> None:
    stages = [
        stage(1, 0, "scheduled"),
        stage(2, 1000, "in_progress"),
        stage(3, 1100, "completed", is_end=True),
    ]
    told = [
        telling(1, 0),
        replace(telling(1, 940, Shape.REMINDER), notice="reminder:1:1h"),
        telling(2, 1000),
        telling(3, 1100, Shape.END),
    ]
    work = replace(story(told, stages=stages), kind="maintenance", started=None)
    assert [gap.length for gap in gaps(work, "customers")] == [timedelta(minutes=100)]
    assert figures_of(work).down is None


def test_estimates_are_held_against_the_real_end_and_count_once() -> None:
    stages = [
        stage(1, 10),
        stage(2, 20, earliest=at(40), latest=at(60)),
        stage(3, 30, earliest=at(40), latest=at(60)),  # carried on
        stage(4, 70, latest=at(100)),
        stage(5, 95, "resolved", latest=at(100), ended=at(90)),
    ]
    first, second = figures_of(story([telling(1, 10)], stages=stages)).estimates
    assert (first.number, first.off, first.held) == (2, timedelta(minutes=30), False)
    assert (second.number, second.off, second.held) == (4, timedelta(minutes=-10), True)


@pytest.mark.parametrize(
    ("ended", "off", "held", "said"),
    [
        (39, -1, True, "1 min earlier than said"),
        (40, 0, True, "within what was said"),
        (50, 0, True, "within what was said"),
        (60, 0, True, "within what was said"),
        (61, 1, False, "1 min later than said"),
    ],
)
def test_an_end_within_a_stated_range_is_what_was_said(ended: int, off: int, held: bool, said: str) -> None:
    stages = [stage(1, 10, earliest=at(40), latest=at(60)), stage(2, 70, "resolved", ended=at(ended))]
    figures = figures_of(story([telling(1, 10)], stages=stages))
    (estimate,) = figures.estimates
    assert (estimate.off, estimate.held) == (timedelta(minutes=off), held)
    (table,) = [each for each in tables(figures, clock_of(figures, UTC_ZONE)) if "Estimates" in each.title]
    assert table.rows[0][-1] == said
    assert as_document(figures)["estimates"][0]["off_seconds"] == off * 60


def test_an_estimate_for_another_day_names_its_day() -> None:
    stages = [stage(1, 10, latest=at(10 + 24 * 60))]
    figures = figures_of(story([telling(1, 10)], stages=stages, now=20))
    (table,) = [each for each in tables(figures, clock_of(figures, UTC_ZONE)) if "Estimates" in each.title]
    assert table.rows == (("09:10", "22 Nov 09:10", "not over", "open"),)


def test_what_is_open_says_so_behind_its_time_and_zone() -> None:
    figures = figures_of(story([telling(1, 10)], now=20))
    assert subject(figures, clock_of(figures, UTC_ZONE)).endswith("21 Nov 2026, 09:00 UTC, not over yet")


def expected(*more: StoryUpdate) -> Story:
    """Return what was said to be coming at 9:10, and then `more`; nobody wrote when it began."""
    tellings = [telling(1, 10), telling(2, 3000)]
    known = story(tellings, stages=[stage(1, 10, "expected"), *more], now=5000)
    return replace(known, started=None)


def test_what_was_expected_begins_when_it_came() -> None:
    """As for planned work: what was said before is an announcement, and no beginning."""
    came = expected(stage(2, 3000), stage(3, 3100, "resolved"))
    figures = figures_of(came)
    assert "23 Nov 2026, 11:00 to 23 Nov 12:40" in subject(figures, clock_of(figures, UTC_ZONE))
    assert "announced 2 d 1 h before it began" in headline(figures).lower()
    assert figures.down is None
    figures = figures_of(replace(came, started=at(2990)))
    assert "23 Nov 2026, 10:50 to" in subject(figures, clock_of(figures, UTC_ZONE))
    assert figures.audiences[0].from_start is None
    assert figures.down == timedelta(minutes=110)


def test_what_was_expected_and_never_came_has_no_beginning_but_its_announcement() -> None:
    for story_of in (expected(), expected(stage(2, 3000, "retracted"))):
        figures = figures_of(story_of)
        assert "21 Nov 2026, 09:10" in subject(figures, clock_of(figures, UTC_ZONE))
        assert "before it began" not in headline(figures)


def test_the_time_down_of_a_trend_says_what_is_still_open() -> None:
    still = figures_of(story([telling(1, 10)], now=20))
    over = figures_of(story([telling(1, 10)], stages=[stage(1, 10), stage(2, 70, "resolved")]))
    for all_figures, said in [
        ([over], "1 h 10 min down."),
        ([still], "20 min down so far, still open."),
        ([still, over], "1 h 30 min down so far, 1 of them still open."),
    ]:
        trend = trend_of(all_figures, BEGAN, at(600), UTC_ZONE, per=Per.WEEK)
        assert trend_headline(trend).endswith(said)
    assert trend_document(trend)["total"]["still_open"] == 1
    unknown = [replace(each, story=replace(each.story, started=None)) for each in (still, over)]
    for figures, said in zip(unknown, ["given, still open.", "given, no time down known."], strict=True):
        assert trend_headline(trend_of([figures], BEGAN, at(600), UTC_ZONE, per=Per.WEEK)).endswith(said)


def test_an_estimate_of_what_was_no_incident_is_not_judged() -> None:
    stages = [stage(1, 10, latest=at(60)), stage(2, 20, "retracted")]
    figures = figures_of(story([telling(1, 10)], stages=stages))
    assert [each.held for each in figures.estimates] == [None]
    assert figures.down is None


def test_a_statement_counts_once_for_all_its_audiences_by_mail_and_by_text() -> None:
    """The notice of a promised text names its audience; those of one moment are one statement."""
    mails = [telling(1, 30, Shape.HOLDING, name) for name in ("customers", "vips", "board")]
    texts = [
        replace(each, notice=f"holding:130/{each.audience}", channel="sms", first_at=at(130))
        for each in mails[:2]
    ]
    figures = figures_of(story([telling(1, 10), *mails, *texts]))
    assert figures.holdings == 2
    (said,) = [each for each in tables(figures, clock_of(figures, UTC_ZONE)) if each.title == "What was said"]
    assert [row[:3] for row in said.rows[1:]] == [
        ("09:30", "holding statement", "customers 10, vips 10, board 10"),
        ("11:10", "holding statement", "customers SMS 10, vips SMS 10"),
    ]


@pytest.mark.parametrize("status", ["retracted", "cancelled", "resolved"])
def test_an_end_stays_when_its_words_are_put_right_later(status: str) -> None:
    """Only what says another end moves it; and what is opened again ends by its own last word."""
    end = stage(2, 70, status, is_end=True, ended=at(70) if status == "resolved" else None)
    later = stage(3, 200, status, is_end=True, corrects=(2,), ended=at(200) if end.ended else None)
    assert figures_of(story([telling(1, 10)], stages=[stage(1, 10), end, later])).ended == at(70)
    other = replace(later, ended=at(60))
    assert figures_of(story([telling(1, 10)], stages=[stage(1, 10), end, other])).ended == at(60)
    again = [stage(4, 300, "reopened"), stage(5, 400, "resolved")]
    assert figures_of(story([telling(1, 10)], stages=[stage(1, 10), end, later, *again])).ended == at(400)
    assert figures_of(story([telling(1, 10)], stages=[stage(1, 10), end, again[0]])).ended is None


def test_cost_is_segments_times_the_price_and_nothing_without_one() -> None:
    told = replace(story([telling(1, 10)]), texts=Texts(10, 20))
    assert figures_of(told, sms_price=0.5).cost == 10
    assert figures_of(told).cost is None


def test_texts_at_night_are_counted_by_the_readers_own_clock() -> None:
    berlin, tokyo = datetime(2026, 11, 21, 20, 59), datetime(2026, 11, 22, 4, 59)  # noqa: DTZ001 - as shown
    told = replace(
        story([telling(1, 10)]),
        nights=(NightTexts("customers", berlin, 3), NightTexts("customers", tokyo, 4)),
    )
    assert figures_of(told).texts_at_night == 4


@pytest.mark.parametrize(
    ("clock", "expected"),
    [((20, 59), False), ((21, 0), True), ((3, 0), True), ((7, 59), True), ((8, 0), False)],
)
def test_the_night_reaches_over_midnight(clock: tuple[int, int], expected: bool) -> None:
    assert is_night(time(*clock), (time(21), time(8))) is expected
    assert not is_night(time(12), (time(21), time(8)))
    assert is_night(time(12), (time(11), time(13)))
