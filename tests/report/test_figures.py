"""The figures of a report, each by its definition, from a story's values; and the story, from the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import event, insert, text, update

from commcast.ledger import tables as schema
from commcast.ledger.chronicle import Promised
from commcast.ledger.store import Ledger
from commcast.ledger.tables import stamp
from commcast.report.documents import as_document
from commcast.report.figures import Figures, Kept, Promise, figures_of, gaps
from commcast.report.reading import _pledges, read_stories, read_story, read_tellings
from commcast.report.story import NightTexts, Pledge, Shape, Story, StoryUpdate, Telling, Texts
from commcast.report.trend import Per, trend_document, trend_headline, trend_of, trend_table
from commcast.report.words import Clock, ReportTable, cards, clock_of, headline, name_of, subject, tables
from tests.support.scenario import FIRST, ReportedNight, Told, clock, night_of_pay7, say, tell
from tests.support.values import cases

UTC_ZONE = ZoneInfo("UTC")
BEGAN = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
SHAPES = {shape.name[0].lower(): shape for shape in Shape} | {"": Shape.UPDATE, "f": Shape.FOLLOW_UP}
ENDS = {"resolved", "retracted", "cancelled", "completed"}


def at(minutes: float) -> datetime:
    return BEGAN + timedelta(minutes=minutes)


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


def stages(written: str, **more: dict[str, Any]) -> tuple[StoryUpdate, ...]:
    """Return "1@10 2@60=resolved": updates by number, minute and status; `more` is by number: _2={...}."""
    made = []
    for number, each in enumerate(written.split(), 1):
        moment, _, status = each.partition("@")[2].partition("=")
        status = status or "investigating"
        values: dict[str, Any] = {"severity": 1, "is_end": status in ENDS, **more.get(f"_{number}", {})}
        made.append(StoryUpdate(number, at(float(moment)), at(float(moment)), status, **values))
    return tuple(made)


def tellings(written: str, audience: str = "customers") -> tuple[Telling, ...]:
    """Return "1@10 h1@28 s1@60": messages by kind, update and minute, each to ten readers.

    The kinds are those of SHAPES; s is a text, after the first one a promised one.
    """
    made: list[Telling] = []
    for each in written.split():
        name, _, moment = each.partition("@")
        kind, number, first = name.rstrip("0123456789"), int(name.lstrip("hecfrs")), at(float(moment))
        shape, channel = SHAPES.get(kind, Shape.UPDATE), "sms" if kind == "s" else "email"
        notice = f"update:{number}" if shape in {Shape.UPDATE, Shape.END} else f"{shape.value}:{moment}"
        if kind == "s" and any(other.channel == "sms" for other in made):
            notice = f"holding:{moment}/{audience}"
        last = first + timedelta(minutes=1)
        made.append(Telling(notice, shape, number, channel, audience, first, first, last, {"accepted": 10}))
    return tuple(made)


def pledge(written: str) -> Pledge:
    """Return "10 30 90/100-3 29 35": made, promised, in time of so many less those gone, first and last."""
    made, promised, counts, *came = written.split()
    in_time, readers, gone = map(int, f"{counts}-0".replace("-", "/").split("/")[:3])
    first, last = (at(float(each)) for each in came) if came else (None, None)
    when = (at(float(made)), at(float(promised)), first, last)
    return Pledge("update:1", "customers", *when, readers, gone, in_time)


def story(
    said: str | tuple[Telling, ...] = "1@10",
    went: str | tuple[StoryUpdate, ...] = "1@10",
    *pledges: Pledge,
    now: float = 600,
    **more: Any,
) -> Story:
    told = tellings(said) if isinstance(said, str) else said
    updates = stages(went) if isinstance(went, str) else went
    made = Story("pay7", "Cards fail", "incident", at(now), BEGAN, updates, told, pledges)
    return replace(made, **more)


def tones(figures: Figures) -> dict[str, str]:
    return {card.label: card.tone for card in cards(figures, clock_of(figures, UTC_ZONE))}


def table_of(figures: Figures, title: str) -> ReportTable:
    (found,) = [each for each in tables(figures, clock_of(figures, UTC_ZONE)) if each.title.startswith(title)]
    return found


@cases("""
    made                  | state  | late
    10 30 100/100 29 30   | kept   |
    10 30 99/100 29 55    | kept   |      # within what is tolerated
    10 30 90/100 29 35    | partly | 5    # until the last of them had it
    10 30 0/100 41 60     | late   | 11   # until the first had it
    10 30 0/100           | never  |
    10 700 0/100          | open   |
    10 700 40/100 29 35   | open   |      # the others may still have it in time
    10 30 60/100-40 29 30 | kept   |      # who opted out waits for nothing
""")
def test_a_promise_is_kept_by_what_its_readers_had_in_time(made: str, state: str, late: str) -> None:
    (promise,) = figures_of(story("1@10", "1@10", pledge(made))).promises
    assert (promise.state, promise.late) == (state, minutes(float(late)) if late else None)


def test_a_promise_to_nobody_who_is_left_is_none_and_what_is_tolerated_is_the_folders_own() -> None:
    assert figures_of(story("1@10", "1@10", pledge("10 30 0/3-3"))).promises == ()
    told = story("1@10", "1@10", pledge("10 30 90/100 29 35"))
    assert [figures_of(told, tolerate=share).kept for share in (0.02, 0.1)] == [0, 1]
    figures = figures_of(story("1@10 h1@28", "1@10", pledge("10 30 100/100 28 28")))
    (promise,) = figures.promises
    assert (promise.state, promise.by_holding, figures.holdings) == (Kept.KEPT, True, 1)
    assert tones(figures)["promises kept"] == "good"


@cases("""
    said  | outcomes              | promises
    1@10  | accepted              |
    1@25  | accepted              |          # within its minute
    1@31  | accepted              | late 6
          | rejected              | never
          | skipped: hears nothing|          # whoever opted out is owed nothing
""")
def test_a_first_word_that_came_late_or_never_is_a_promise_not_kept(
    said: str, outcomes: str, promises: str
) -> None:
    never = Telling("update:1", Shape.UPDATE, 1, "email", "customers", at(10), None, None, {outcomes: 3})
    told = tellings(said) if said else (never,)
    found = figures_of(story(told, "1@10"), first_within=lambda severity: minutes(15)).promises
    shown = [f"{each.state} {(each.late and each.late // minutes(1)) or ''}".strip() for each in found]
    assert shown == ([promises] if promises else [])


def test_the_same_promise_by_email_and_by_text_is_one() -> None:
    def row(channel: str, written: str) -> Promised:
        return Promised("pay7", channel=channel, **pledge(written)._asdict())

    mail, sms = row("email", "10 30 90/100 29 35"), row("sms", "11 30 5/10-1 28 40")
    assert _pledges([mail, sms]) == (pledge("10 30 95/110-1 28 40"),)
    assert len(_pledges([mail, row("sms", "11 31 5/10-1 28 40")])) == 2


def test_first_words_are_counted_from_the_beginning_and_from_the_first_release() -> None:
    told = story(tellings("1@13") + tellings("1@15", "executives"))
    customers, executives = figures_of(told).audiences
    assert (customers.from_start, customers.from_release) == (minutes(13), minutes(3))
    assert (executives.from_start, customers.first_all_at) == (minutes(15), at(14))
    unknown = figures_of(replace(told, started=None)).audiences[0]
    assert (unknown.from_start, unknown.from_release) == (None, minutes(3))


PLANNED: dict[str, Any] = {"kind": "maintenance", "started": None}


@cases("""
    told                         | went                | found
    1@10 2@30 3@90               | 1@10                | 10-30 30-90 90-200   # until now
    1@10                         | 1@10 2@120=resolved | 10-120               # until its end, not after it
    1@10 e2@60 3@80 e4@90 f4@900 | 1@10 2@60=resolved 3@80 4@90=resolved         | 10-60 80-90
    1@10 e2@60 c3@80 4@90        | 1@10 2@60=resolved 3@80=resolved 4@90         | 10-60 90-200   # corrected
    1@0 r1@80 2@90 e3@99         | 1@0=scheduled 2@90=in_progress 3@99=completed | 90-99
    s1@10 s1@120                 | 1@10                | 10-120 120-200       # for texts only
    1@10 s1@10 s1@120            | 1@10                | 10-200
""")
def test_a_silence_is_between_messages_and_until_the_end_or_now(told: str, went: str, found: str) -> None:
    """A promised text ends the silence of readers of texts, but none where others get email."""
    more: dict[str, Any] = PLANNED if "scheduled" in went else {}
    made = story(told, went, now=200, **more)
    silences = list(gaps(made, "customers"))
    ends = [[(each - BEGAN).seconds // 60 for each in (gap.start, gap.end)] for gap in silences]
    assert [f"{start}-{end}" for start, end in ends] == found.split()
    (audience,) = figures_of(made).audiences
    assert audience.silence and audience.silence.length == max(gap.length for gap in silences)


def test_planned_work_and_what_was_no_incident_have_no_time_down_and_an_end_may_be_a_correction() -> None:
    assert figures_of(story("1@0", "1@0=scheduled 2@9=completed", **PLANNED)).down is None
    assert figures_of(story("1@10 e2@60 c3@80", "1@10 2@60=resolved 3@80=resolved")).corrections == 1
    figures = figures_of(story(went=stages("1@10 2@20=retracted", _1={"latest": at(60)})))
    assert ([each.held for each in figures.estimates], figures.down) == ([None], None)


def test_estimates_are_held_against_the_real_end_and_count_once() -> None:
    span = {"earliest": at(40), "latest": at(60)}  # carried on by update 3
    last = {"latest": at(100), "ended": at(90)}
    went = stages("1@10 2@20 3@30 4@70 5@95=resolved", _2=span, _3=span, _4={"latest": at(100)}, _5=last)
    first, second = figures_of(story(went=went)).estimates
    assert (first.number, first.off, first.held) == (2, minutes(30), False)
    assert (second.number, second.off, second.held) == (4, minutes(-10), True)
    put_right = stages("1@10 2@12 3@70=resolved", _1={"latest": at(190)}, _2=last | {"corrects": (1,)})
    assert [each.number for each in figures_of(story(went=put_right)).estimates] == [2], (
        "the wrong one is no estimate"
    )
    figures = figures_of(story(went=stages("1@10", _1={"latest": at(10 + 24 * 60)}), now=20))
    assert table_of(figures, "Estimates").rows == (("09:10", "22 Nov 09:10", "not over", "open"),)


def test_an_end_within_a_stated_range_is_what_was_said() -> None:
    early, late, within = "1 min earlier than said", "1 min later than said", "within what was said"
    for ended, off, said in ((39, -1, early), (40, 0, within), (60, 0, within), (61, 1, late)):
        over = {"ended": at(ended)}
        went = stages("1@10 2@70=resolved", _1={"earliest": at(40), "latest": at(60)}, _2=over)
        figures = figures_of(story(went=went))
        (estimate,) = figures.estimates
        assert (estimate.off, estimate.held) == (minutes(off), off < 1)
        assert table_of(figures, "Estimates").rows[0][-1] == said
        assert as_document(figures)["estimates"][0]["off_seconds"] == off * 60


def test_a_story_over_a_change_of_clocks_or_years_names_the_zone_or_the_year() -> None:
    def clock(*moments: str) -> Clock:
        return Clock(ZoneInfo("Europe/Berlin"), [datetime.fromisoformat(f"{at}+00:00") for at in moments])

    doubled = clock("2026-10-25T00:30", "2026-10-25T01:30")
    shown = [doubled.time(datetime(2026, 10, 25, hour, 30, tzinfo=UTC)) for hour in (0, 1)]
    assert (shown, doubled.letters) == (["02:30 CEST", "02:30 CET"], "CEST and CET")
    new_year = clock("2026-12-31T22:50", "2026-12-31T23:10")
    shown = [new_year.time(datetime(2026, 12, 31, hour, 0, tzinfo=UTC)) for hour in (22, 23)]
    assert (shown, new_year.letters) == (["31 Dec 2026 23:00", "1 Jan 2027 00:00"], "CET")
    assert clock("2026-11-21T10:05").time(datetime(2026, 11, 21, 10, 5, tzinfo=UTC)) == "11:05"


@cases("""
    went                                 | started | title                        | first            | down
    1@10                                 | 0    | 2026, 09:00 UTC, not over yet   | message after 10 | 5000
    1@10=expected 2@3000 3@3100=resolved |      | 2026, 11:00 UTC to 23 Nov 12:40 | 2 d 1 h before   |
    1@10=expected 2@3000 3@3100=resolved | 2990 | to 23 Nov 12:40 · 1 h 50 min    | 1 h before       | 110
    1@10=expected                        |      | 2026, 09:10 UTC, not over yet   | longest silence  |
    1@10=expected 2@3000=retracted       |      | to 23 Nov 11:00 · retracted     | no promise was due. |
""")
def test_what_is_open_or_expected_says_so(went: str, started: str, title: str, first: str, down: str) -> None:
    """What was expected begins when it came, as planned work does: what was said before announces it."""
    began = at(float(started)) if started else None
    figures = figures_of(story("1@10 2@3000", went, started=began, now=5000))
    assert subject(figures, clock_of(figures, UTC_ZONE)).endswith(title)
    assert first in headline(figures).lower()
    assert ("before it began" in headline(figures)) == ("before" in first)
    assert figures.down == (minutes(float(down)) if down else None)


def test_the_time_down_of_a_trend_says_what_is_still_open() -> None:
    still, over = figures_of(story(now=20)), figures_of(story(went="1@10 2@70=resolved"))
    unknown, ended = (replace(each, story=replace(each.story, started=None)) for each in (still, over))
    expected, came = (
        figures_of(story(went=f"1@10=expected{later}", started=None)) for later in ("", " 2@30 3@70=resolved")
    )
    for all_figures, said in [
        *(([over], "1 h 10 min down."), ([still], "20 min down so far, still open.")),
        *(([unknown], "at least 10 min down so far, still open."), ([ended], "at least 1 h down.")),
        ([over, ended], "at least 2 h 10 min down."),
        *(([expected], "given, still open."), ([came], "at least 40 min down.")),
        ([still, over], "1 h 30 min down so far, 1 of them still open."),
    ]:
        trend = trend_of(all_figures, BEGAN, at(600), UTC_ZONE, per=Per.WEEK)
        assert trend_headline(trend).endswith(said)
    assert trend_document(trend)["total"]["still_open"] == 1
    assert (
        trend_table(trend_of([ended], BEGAN, at(600), UTC_ZONE, per=Per.WEEK)).rows[-1][-1] == "at least 1 h"
    )


def test_a_statement_counts_once_for_all_its_audiences_by_email_and_by_text() -> None:
    """The notice of a promised text names its audience; those of one moment are one statement."""
    mails = [each for name in ("customers", "vips", "board") for each in tellings("h1@30", name)]
    sms: dict[str, Any] = {"channel": "sms", "first_at": at(130)}
    texts = [replace(each, notice=f"holding:130/{each.audience}", **sms) for each in mails[:2]]
    figures = figures_of(story((*tellings("1@10"), *mails, *texts)))
    assert figures.holdings == 2
    assert [(row[0], row[1], row[3]) for row in table_of(figures, "What was said").rows[1:]] == [
        ("09:30", "holding statement", "customers 10, vips 10, board 10"),
        ("11:10", "holding statement", "customers SMS 10, vips SMS 10"),
    ]


@pytest.mark.parametrize(
    ("text", "lead"),
    [
        (
            "Hello Ann,\n\nCards fail, in the EU and in each and all of its shops.\n\nMore.",
            "Cards fail, in the EU and in each and all of its shops.",
        ),
        (
            "UPDATE: Cards\n\nWe look on.\n\n- You see: “Wait!”, right after\nyour code.",
            "We look on. You see: “Wait!”, right after your code.",
        ),
        (
            "Acme: Cards fail. Since 09:52 CET. Please pay in cash. No",
            "Acme: Cards fail. Since 09:52 CET. Please pay in cash.",
        ),
        ("Hello", ""),
    ],
)
def test_a_message_is_known_by_its_first_sentences_without_greeting_and_headings(
    text: str, lead: str
) -> None:
    (telling,) = tellings("1@10")
    assert replace(telling, text=text).lead == lead


@pytest.mark.parametrize("status", ["retracted", "cancelled", "resolved"])
def test_an_end_stays_when_its_words_are_corrected_later(status: str) -> None:
    """Only what says another end moves it; and what is opened again ends by its own last word."""
    own = {"ended": at(70)} if status == "resolved" else {}
    repeated = {"ended": at(200)} if own else {}
    written = f"1@10 2@70={status} 3@200={status} 4@300=reopened 5@400=resolved"
    again = stages(written, _2=own, _3={"corrects": (2,), **repeated})
    other = stages(written, _2=own, _3={"corrects": (2,), "ended": at(60)})
    assert figures_of(story(went=again[:3])).ended == at(70)
    assert figures_of(story(went=other[:3])).ended == at(60)
    assert figures_of(story(went=again)).ended == at(400)
    assert figures_of(story(went=again)).down == minutes(400 - (300 - 70)), "it was over in between"
    assert figures_of(story(went=again[:4])).ended is None


def test_cost_is_segments_times_the_price_and_texts_at_night_are_by_the_readers_own_clock() -> None:
    told = story(texts=Texts(10, 20))
    assert [figures_of(told, sms_price=price).cost for price in (0.5, 0)] == [10, None]
    berlin, tokyo = datetime(2026, 11, 21, 20, 59), datetime(2026, 11, 22, 4, 59)  # noqa: DTZ001 - as shown
    nights = (NightTexts("customers", berlin, 3), NightTexts("customers", tokyo, 4))
    assert figures_of(story(nights=nights)).texts_at_night == 4


NAMES = {
    "promises": "notice audience made_at promised state share readers late_seconds word_at "
    "by_holding_statement",
    "audiences": "audience first_at first_all_at first_after_start_seconds first_after_release_seconds "
    "longest_silence messages deliveries texts_at_night",
    "messages": "notice what update channel audience first_at last_at deliveries providers subject text "
    "next_update_by lead",
    "estimates": "update said_at earliest latest ended off_seconds held",
    "longest_silence": "start end seconds",
    "texts": "count segments exact cost at_night",
}


def test_the_document_has_these_names() -> None:
    """Scripts rely on them: another name of a field in our code is no reason to change one."""
    went = stages("1@10 2@70=resolved", _1={"latest": at(60)})
    document = as_document(figures_of(story("1@10", went, pledge("10 30 0/100 41 60"))))
    shown = {name: document[name] for name in ("audiences", "messages", "estimates")}
    shown = {name: found[0] for name, found in shown.items()} | {"texts": document["texts"]}
    shown["promises"] = document["promises"]["each"][0]
    shown["longest_silence"] = shown["audiences"]["longest_silence"]
    assert {name: " ".join(found) for name, found in shown.items()} == NAMES


def story_of(night: ReportedNight) -> Story:
    with night.bench.ledger.read() as connection:
        told = read_story(connection, "pay7", clock("18:00"))
    assert told is not None
    return told


def promise_to_customers(night: ReportedNight, readers: int) -> Promise:
    wanted = ("customers", "update:1", readers)
    made = figures_of(story_of(night)).promises
    return next(each for each in made if (each.audience, each.notice, each.readers) == wanted)


@contextmanager
def said_to(ledger: Ledger) -> Iterator[list[str]]:
    statements: list[str] = []
    keep = lambda *given: statements.append(str(given[2]))  # noqa: E731
    event.listen(ledger.engine, "before_cursor_execute", keep)
    yield statements
    event.remove(ledger.engine, "before_cursor_execute", keep)


def test_a_whole_night(tmp_path: Path) -> None:
    figures = figures_of(story_of(night_of_pay7(tmp_path)), sms_price=0.0712)
    assert figures.ended == clock("12:01")
    assert (figures.due, figures.kept, figures.holdings, figures.corrections) == (21, 18, 1, 1)
    bad = [label for label, tone in tones(figures).items() if tone == "bad"]
    assert bad == ["promises kept", "estimates held"]
    late = [each for each in figures.promises if each.state is not Kept.KEPT]
    assert sorted(each.audience for each in late) == ["customers", "executives", "support"]
    assert {(each.notice.partition(":")[0], each.late) for each in late} == {("holding", minutes(11))}
    customers = next(each for each in figures.audiences if each.name == "customers")
    assert customers.from_start == minutes(9)
    assert customers.silence is not None
    assert (customers.silence.start, customers.silence.end) == (clock("10:55"), clock("11:26"))
    off = [(each.held, each.off) for each in figures.estimates]
    assert off == [(False, minutes(42)), (False, minutes(1)), (True, minutes(-4))]
    assert figures.story.texts.count == 24
    assert figures.cost == pytest.approx(figures.story.texts.segments * 0.0712)
    assert [each.way for each in figures.story.nudges] == ["email", "command"]
    shapes = [each.shape for each in figures.story.tellings if each.audience == "support"]
    assert "".join(shape.name[0] for shape in shapes) == "UUUHUCUE"


@pytest.mark.parametrize("erased", [False, True])
def test_what_was_said_is_what_its_readers_read_without_what_is_their_own(
    tmp_path: Path, erased: bool
) -> None:
    """By time, channel and audience, also when the readers have been erased since."""
    night = night_of_pay7(tmp_path)
    if erased:
        with night.bench.ledger.write() as connection:
            connection.execute(update(schema.delivery).values(recipient={}))
    figures = figures_of(story_of(night))
    said = table_of(figures, "What was said").said
    first = [each for each in said if name_of(each.telling) == "update 1"]
    assert len(first) > 1, "customers by email and by text, colleagues"
    texts = [text for each in said for _, _, text in each.texts]
    assert all(FIRST["issue"] in text for each in first for _, _, text in each.texts)
    assert not [text for text in texts if "Customer 0" in text or "Mira Sol" in text]
    assert any("[name]" in text for text in texts) is not erased
    shapes = {each.telling.shape for each in said}
    assert shapes == {Shape.UPDATE, Shape.HOLDING, Shape.CORRECTION, Shape.END}
    mailed = next(each for each in as_document(figures)["messages"] if each["audience"] == "customers")
    assert mailed["next_update_by"] == clock("10:21").isoformat()
    assert mailed["lead"] in " ".join(mailed["text"].replace("- ", "").split())


def test_a_promise_is_kept_reader_by_reader(tmp_path: Path) -> None:
    """Three of twelve get the second update after the promise of the first, two never."""
    night = ReportedNight(tmp_path)
    night.say("10:01", **FIRST)
    night.say("10:19", nothing_new="We look on.")
    d = schema.delivery
    second = (d.c.notice == "update:2", d.c.audience == "customers")
    came_late, never = ([f"c{i}@example.com" for i in numbers] for numbers in ((0, 1, 2), (3, 4)))
    late = update(d).where(*second, d.c.key.in_(came_late)).values(changed_at=stamp(clock("10:40")))
    with night.bench.ledger.write() as connection:
        connection.execute(late)
        connection.execute(update(d).where(*second, d.c.key.in_(never)).values(state="rejected"))
    # A text that states no time promises none: the readers are those of the emails.
    promise = promise_to_customers(night, 12)
    assert (promise.state, promise.late) == (Kept.PARTLY, minutes(19))
    assert promise.share == pytest.approx(7 / 12)


def test_who_opted_out_since_was_owed_nothing(
    tmp_path: Path,
) -> None:
    with ReportedNight(tmp_path / "released", customers=0).bench.ledger.read() as connection:
        assert read_story(connection, "pay7", clock("18:00")) is None
    night = ReportedNight(tmp_path / "told", customers=2)
    night.say("10:01", **FIRST)
    opted_out = {"channel": "email", "key": "c0@example.com", "reason": "opted out", "by": "test"}
    with night.bench.ledger.write() as connection:
        connection.execute(insert(schema.suppression).values(**opted_out, at=stamp(night.bench.now)))
    night.say("10:19", nothing_new="We look on.")
    promise = promise_to_customers(night, 2)
    assert (promise.state, promise.share) == (Kept.KEPT, 1.0)


def test_a_text_promises_for_itself_to_who_gets_no_email(tmp_path: Path) -> None:
    """Texts come every two hours at the latest: that is another promise than the one of the emails."""
    night = ReportedNight(tmp_path, rows=(",+4915112999999,Only Text",))
    night.say("10:01", **FIRST)
    night.say("10:19", nothing_new="We look on.")
    ended = clock("12:01").isoformat()
    night.say("12:06", status="resolved", ended=ended, fixed="Done.", if_it_persists="Call us.")
    promise = promise_to_customers(night, 1)
    assert (promise.promised, promise.state, promise.late) == (clock("12:01"), Kept.LATE, minutes(5))


def test_an_update_of_a_person_that_a_promised_text_tells_is_no_holding_statement(tmp_path: Path) -> None:
    told = Told(
        desk={"customers": [",+4915112345671,Ann"], "extra": '[silence]\ncustomers = "hold"\n'},
        acts={30: say(resolution="A fix is on its way."), 150: say(nothing_new="Half of it works.")},
        ticks=[117, 237, 357],
        heard={"+4915112345671": "0 text, 117 text, 237 text, 357 text"},
    )
    with tell(tmp_path, told).bench.ledger.read() as connection:
        texts = [each for each in read_tellings(connection, "pay7") if each.channel == "sms"]
    assert [(name_of(each), each.number) for each in texts] == [
        *(("update 1", 1), ("update 2", 2), ("update 3", 3)),
        ("holding statement", 3),
    ]


def test_what_a_person_settled_later_was_heard_when_it_was_handed_over(tmp_path: Path) -> None:
    night = ReportedNight(tmp_path, customers=1)
    night.say("10:01", **FIRST)
    settled = {"what": "settle", "became": "accepted", "detail": "", "by": "dana"}
    with night.bench.ledger.write() as connection:
        row = connection.execute(
            update(schema.delivery)
            .where(schema.delivery.c.audience == "customers", schema.delivery.c.channel == "email")
            .values(changed_at=stamp(clock("16:00")), claimed_at=stamp(clock("10:01")))
            .returning(schema.delivery.c.id)
        ).scalar_one()
        connection.execute(insert(schema.act).values(delivery=row, **settled, at=stamp(clock("16:00"))))
    customers = next(each for each in figures_of(story_of(night)).audiences if each.name == "customers")
    assert customers.first_at == clock("10:01")


def test_a_report_and_a_trend_take_few_queries_however_many_readers_there_are(tmp_path: Path) -> None:
    """One incident's finds its deliveries by an index; a trend leaves out what began before."""
    night = night_of_pay7(tmp_path, customers=60)
    with said_to(night.bench.ledger) as statements:
        story_of(night)
    queries = [each for each in statements if "SELECT" in each]
    assert len(queries) <= 10
    with night.bench.ledger.engine.connect() as connection:
        for query in queries:
            if "FROM delivery" in query:
                plan = connection.execute(text(f"explain query plan {query.replace('?', 'null')}")).all()
                assert "?" in query
                assert not [row.detail for row in plan if row.detail == "SCAN delivery"], query
    with said_to(night.bench.ledger) as statements, night.bench.ledger.read() as connection:
        (told,) = read_stories(connection, clock("10:01"), clock("18:00"))
    assert sum("SELECT" in each for each in statements) <= 4
    assert told.title == "Card payments fail in the EU"
    with night.bench.ledger.read() as connection:
        assert read_stories(connection, clock("10:02"), clock("18:00")) == ()
