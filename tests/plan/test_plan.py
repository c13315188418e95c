"""The plan: what is due, to whom, corrections and follow-ups, and the reason for each line."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commcast.model.history import History, ReaderHistory, Said, WrongWords
from commcast.model.incident import (
    AudienceWords,
    Channel,
    Incident,
    Level,
    NextWord,
    Recipient,
    Update,
    Window,
)
from commcast.model.incident import Status as S
from commcast.model.text import holds
from commcast.plan import corrections, reasons
from commcast.plan.due import due, follow_ups_due
from commcast.plan.notices import Notice, NoticeKind, audiences_of, notice_of
from commcast.plan.readers import decide
from commcast.rendering.context import next_word
from tests.support import values
from tests.support.values import AT, READER, cases, config_of, incident_of, standing_of, story, update_of

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
CONFIG = config_of()
LOUD = config_of(channels={"email": {"from": "status@acme.example"}, "sms": {}})
BEGUN = story(S.INVESTIGATING)
OVER = story(S.INVESTIGATING, S.RESOLVED)


def lines(of: Incident, history: History, *, now: datetime = AT, **more: Any) -> dict[str, tuple[bool, str]]:
    found = due(of, history, more.pop("config", CONFIG), now, **more)
    return {line.notice.channel.value: (line.is_due, line.reason) for line in found}


def notice(of: Incident = BEGUN, channel: Channel = Channel.EMAIL, told: int = 0, **changed: Any) -> Notice:
    history = standing_of(of, len(of.updates), told=told)
    return replace(notice_of(of, of.latest, channel, history, CONFIG), **changed)


def decided(recipient: Recipient, of: Notice, history: ReaderHistory) -> tuple[str, str]:
    found = decide(recipient, of, history, LOUD, AT)
    return found.action.value, found.reason


TWO = story(S.INVESTIGATING, S.IDENTIFIED)
MILD = story(S.INVESTIGATING, severities=(3,))
FIRST, ENDED = (True, "update 1, first"), (True, "update 2, resolved")
SENT, ELSEWHERE = (False, "already sent"), (False, "sent elsewhere, before this ledger existed")
STALE = (False, "its own promise has passed; send it anyway with --late")


def begun(notice: str, channel: Channel) -> History:
    return standing_of(OVER, 1, 2, told=1, begun=frozenset({(notice, channel)}))


Line = tuple[bool, str] | None
OLD_HISTORY = History(values.released(OVER, 1, how="elsewhere") | values.released(OVER, 2))
PLAIN_AFTER_OLD = History(values.released(TWO, 1, how="elsewhere") | values.released(TWO, 2))
PLAIN_AND_TEXTED = replace(PLAIN_AFTER_OLD, told_up_to={Channel.SMS: 1})
IS_PLAIN = (True, "update 2, released"), (False, "routine updates do not go by SMS")
DUE: dict[str, tuple[Incident, History, Line, Line]] = {
    "nobody released it": (BEGUN, History(), None, None),
    "the released update left the file": (BEGUN, History(values.released(TWO, 2)), None, None),
    "the first, on each channel": (BEGUN, standing_of(BEGUN, 1), FIRST, FIRST),
    "no audience uses the channel": (MILD, standing_of(MILD, 1), FIRST, None),
    "told elsewhere": (BEGUN, standing_of(BEGUN, 1, how="elsewhere"), ELSEWHERE, ELSEWHERE),
    "what follows old history is no first": (OVER, OLD_HISTORY, ENDED, ENDED),
    "a plain update is mailed and not texted": (TWO, standing_of(TWO, 1, 2, told=1), *IS_PLAIN),
    "the first text after old history is not plain": (TWO, PLAIN_AFTER_OLD, *(IS_PLAIN[0],) * 2),
    "once texted from here, plain updates are plain again": (TWO, PLAIN_AND_TEXTED, *IS_PLAIN),
    "its mails were begun": (OVER, begun("update:2", Channel.EMAIL), SENT, ENDED),
    "its texts were begun": (OVER, begun("update:2", Channel.SMS), ENDED, SENT),
    "an earlier one was begun": (OVER, begun("update:1", Channel.SMS), ENDED, ENDED),
}


def test_only_the_newest_released_update_is_due_once_on_each_channel_and_its_line_says_what_it_is() -> None:
    for rule, (incident, history, email, sms) in DUE.items():
        each = lines(incident, history)
        assert (each.get("email"), each.get("sms")) == (email, sms), rule
    three = story(S.INVESTIGATING, S.IDENTIFIED, S.MONITORING)
    found = due(three, standing_of(three, 1, 2), CONFIG, AT)
    assert {line.notice.id for line in found} == {"update:2"}
    first = due(BEGUN, standing_of(BEGUN, 1), CONFIG, AT)[0].notice
    assert (first.id, first.number, first.severity, first.told_elsewhere) == ("update:1", 1, 1, False)
    assert first.next_update_by["customers"] == AT + 20 * MINUTE
    assert all(line.notice.told_elsewhere for line in due(OVER, OLD_HISTORY, CONFIG, AT))
    # An event that is not wanted by text is only mailed.
    config = config_of(channels={"email": {"from": "a@acme.example"}, "sms": {"events": ["first"]}})
    for history in (standing_of(OVER, 1, 2, told=1), OLD_HISTORY):
        by_event = lines(OVER, history, config=config)
        assert {channel: is_due for channel, (is_due, _) in by_event.items()} == {"email": True, "sms": False}


def test_an_update_older_than_its_own_promise_is_stale_unless_sent_late() -> None:
    """Severity 1 promises word every 20 minutes, to support here every 60; an end promises nothing."""
    history = standing_of(BEGUN, 1)
    assert lines(BEGUN, history, now=AT + 20 * MINUTE - timedelta(microseconds=1))["email"] == FIRST
    assert lines(BEGUN, history, now=AT + 20 * MINUTE)["email"] == STALE
    assert lines(BEGUN, history, now=AT + 3 * DAY, late=True)["email"] == FIRST
    assert lines(OVER, standing_of(OVER, 1, 2, told=1), now=AT + 9 * DAY)["email"] == ENDED
    config = config_of(cadence={"1": {"every": "20m", "support": "60m"}})  # only once all wait in vain
    found = lines(BEGUN, history, now=AT + 30 * MINUTE, config=config)
    assert found == {"email": FIRST, "sms": STALE}


@cases("""
    kind                | asked | minute | found
    follow-up:review    |       | 0      | waits
    follow-up:review    | yes   | 0      | due
    follow-up:review    | yes   | 129600 | due
    follow-up:review    | yes   | 129601 |
    follow-up:check-in  |       | 0      | waits
    follow-up:check-in  |       | 2024   | waits
    follow-up:check-in  |       | 2025   | due   # 09:00 of Monday where it comes first: a Saturday's end
    follow-up:check-in  |       | 6344   | due
    follow-up:check-in  |       | 6345   |
""")
def test_a_review_waits_for_a_yes_and_a_check_in(kind: str, asked: str, minute: str, found: str) -> None:
    """A review is news for 90 days, a check-in waits for the morning and is asked for three."""
    end = OVER.latest.model_copy(update={"check_in": ("customers",)})
    over = OVER.model_copy(update={"updates": (OVER.update(1), end), "postmortem": "https://acme.example/r"})
    told = tuple(Said(f"update:{n}", n, Channel.EMAIL, "customers", AT, None) for n in (1, 2))
    history = replace(standing_of(over, 1, 2, told=2), said=told, asked=bool(asked))
    now = OVER.latest.at + int(minute) * MINUTE
    lines = {line.notice.id: line.is_due for line in follow_ups_due(over, history, CONFIG, now)}
    assert lines.get(kind) is {"due": True, "waits": False}.get(found)
    begun = replace(history, begun=frozenset({(kind, Channel.EMAIL)}))
    assert kind not in {line.notice.id for line in follow_ups_due(over, begun, CONFIG, now)}


@cases("""
    statuses                                 | severities | events
    investigating identified monitoring      |       | first ; ;
    investigating resolved                   |       | first resolved ; resolved
    investigating retracted                  |       | first retracted ; retracted
    investigating merged                     |       | first resolved ; resolved
    investigating resolved reopened reopened | | first reopened resolved ; reopened resolved ; reopened ;
    scheduled in_progress in_progress        |       | first started ; started ;
    scheduled rescheduled rescheduled        |       | correction first ; correction ;
    scheduled cancelled                      |       | first retracted ; retracted
    scheduled in_progress extended           |       | first started ; started ;
    scheduled in_progress completed          |       | first resolved started ; resolved started ; resolved
    investigating identified                 | 2 3   | first ;
    investigating identified                 | 2 2   | first ;
    investigating identified identified      | 3 2 2 | first ; worse ;
    investigating identified identified      | 2 1 2 | first ; ;
""")
def test_events_are_what_is_new_since_a_channel_spoke(statuses: str, severities: str, events: str) -> None:
    """One entry for each update that may have been the last there, from none on; worse is than that."""
    of = story(*map(S, statuses.split()), severities=tuple(map(int, severities.split())))
    found = [sorted(notice(of, told=told).events) for told in range(len(of.updates))]
    assert found == [each.split() for each in events.split(";")]


def test_what_is_expected_has_the_events_of_planned_work_and_each_move_is_one() -> None:
    for newer, events in (
        (update_of(2, S.EXPECTED, expected_at=AT + DAY), set()),
        (update_of(2, S.EXPECTED, expected_at=AT + 2 * DAY), {"correction"}),
        (update_of(2, S.EXPECTED, expected_at=AT + 2 * DAY, corrects=(1,)), set()),
        (update_of(2, S.INVESTIGATING), {"started"}),
        (update_of(2, S.RETRACTED), {"retracted"}),
    ):
        coming = update_of(1, S.EXPECTED, expected_at=AT + DAY)
        assert notice(incident_of(coming, newer), told=1).events == events
    moved = story(S.SCHEDULED, S.RESCHEDULED)
    again = update_of(3, S.RESCHEDULED, window=Window(start=AT + 3 * DAY, end=AT + 3 * DAY + 2 * HOUR))
    assert notice(incident_of(*moved.updates, again, kind=moved.kind), told=2).events == {"correction"}


@cases("""
    severities | number | hearing
    1          | 1      | board support customers   # the best rank first, then by name
    1 4        | 2      | board support customers   # who heard of it stays
    4 2        | 1      | support
    4 2        | 2      | support customers         # who joins when it becomes worse
""")
def test_who_hears_of_an_update(severities: str, number: str, hearing: str) -> None:
    of = tuple(map(int, severities.split()))
    told = story(*[S.INVESTIGATING, S.MONITORING][: len(of)], severities=of)
    assert audiences_of(told, told.update(int(number)), CONFIG) == tuple(hearing.split())
    named = incident_of(update_of(1, audiences=("customers",)))
    assert audiences_of(named, named.latest, CONFIG) == ("customers",)


API, WEB = frozenset({"api"}), READER._replace(components=("web",))
TOLD, NEW = ReaderHistory(told=True), ReaderHistory()
END_ONLY, KEY_ONLY = READER._replace(level=Level.END), READER._replace(level=Level.KEY)
END, TEXT = notice(OVER, told=1), notice(channel=Channel.SMS)
SKIPPED = ReaderHistory(suppressed="asked")
ELSEWHERE_END, API_END = replace(END, told_elsewhere=True), replace(END, affected=API)
NO_EMAIL, NO_PHONE = READER._replace(email="", email_key=""), READER._replace(phone="")
NOT_TOLD, FOLLOWS = "was never told that it began", "follows other components"


def test_what_is_done_for_a_reader_has_a_reason() -> None:
    for recipient, of, history, *done in (
        (READER, notice(), NEW, "send", ""),
        (NO_EMAIL, notice(), NEW, "not owed", "has no email address"),
        (NO_PHONE, TEXT, NEW, "not owed", "has no phone number"),
        (READER, notice(), ReaderHistory(state="unknown"), "not owed", "already in the ledger: unknown"),
        (WEB, notice(affected=API), NEW, "not owed", FOLLOWS),
        (WEB._replace(components=("web", "api")), notice(affected=API), NEW, "send", ""),
        (WEB, notice(), NEW, "send", ""),
        (READER, notice(affected=API), NEW, "send", ""),
        (WEB, API_END, TOLD, "send", ""),
        (WEB._replace(level=Level.END), API_END, NEW, "not owed", FOLLOWS),
        (READER, END, NEW, "not owed", NOT_TOLD),
        (READER, ELSEWHERE_END, NEW, "send", ""),
        (END_ONLY, notice(), NEW, "not owed", "only wants to know the end"),
        (END_ONLY, END, NEW, "send", ""),
        (KEY_ONLY, notice(TWO, told=1), TOLD, "not owed", "only wants key events"),
        (KEY_ONLY, notice(), NEW, "send", ""),
        (READER, notice(), SKIPPED, "skip", "hears nothing: asked"),
        (READER, END, SKIPPED, "not owed", NOT_TOLD),
    ):
        assert [*decided(recipient, of, history)] == done, (recipient, history)


PLAIN = notice(TWO, told=1)
WORSE = notice(story(S.INVESTIGATING, S.IDENTIFIED, severities=(3, 1)), told=1)


def hears(level: Level, of: Notice, history: ReaderHistory = TOLD) -> bool:
    return decided(READER._replace(level=level), of, history)[0] == "send"


LEVELS: dict[str, tuple[Notice, bool, bool]] = {
    "a plain update": (PLAIN, False, False),
    "a holding one": (replace(PLAIN, kind=NoticeKind.HOLDING, only_told=True), False, False),
    "a reminder": (replace(PLAIN, kind=NoticeKind.REMINDER), False, False),
    "worse": (WORSE, True, False),
    "planned work starts": (notice(story(S.SCHEDULED, S.IN_PROGRESS), told=1), True, False),
    "planned work moves": (notice(story(S.SCHEDULED, S.RESCHEDULED), told=1), True, True),
    "a correction": (replace(PLAIN, events=frozenset({"correction"})), True, True),
    "not over": (notice(story(S.INVESTIGATING, S.RESOLVED, S.REOPENED), told=2), True, True),
    "over": (END, True, True),
    "withdrawn": (notice(story(S.INVESTIGATING, S.RETRACTED), told=1), True, True),
}


def test_who_was_told_hears_on_by_their_level_and_what_is_first_to_a_reader_is_a_key_event() -> None:
    for rule, (of, key, end) in LEVELS.items():
        assert [hears(level, of) for level in (Level.ALL, Level.KEY, Level.END)] == [True, key, end], rule
    assert hears(Level.KEY, PLAIN, NEW)
    assert not hears(Level.END, PLAIN, NEW)
    assert not hears(Level.KEY, replace(PLAIN, told_elsewhere=True), NEW), "they may know it"
    assert not hears(Level.END, replace(PLAIN, events=frozenset({"correction"})), NEW), "of nothing they know"


EVENTS = ("first", "worse", "correction", "retracted", "reopened", "resolved", "started")


KINDS = (NoticeKind.UPDATE, NoticeKind.HOLDING, NoticeKind.REMINDER)


@given(st.frozensets(st.sampled_from(EVENTS)), st.sampled_from(KINDS), st.booleans(), st.booleans())
def test_who_wants_less_hears_no_more(
    events: frozenset[str], kind: NoticeKind, is_end: bool, told: bool
) -> None:
    """And always the end."""
    of = replace(PLAIN, events=events, kind=kind, is_end=is_end, strangers=frozenset({Level.END}))
    history = ReaderHistory(told=told)
    if hears(Level.END, of, history) and told:
        assert hears(Level.KEY, of, history)
    if hears(Level.KEY, of, history):
        assert hears(Level.ALL, of, history)
    assert hears(Level.END, of, history) or not is_end


@given(level=st.sampled_from(list(Level)), channel=st.sampled_from(list(Channel)), by_email=st.booleans())
def test_a_time_is_promised_only_to_who_hears_all(level: Level, channel: Channel, by_email: bool) -> None:
    word = next_word(level, channel, by_email=by_email)
    assert (word in {NextWord.UPDATE, NextWord.EMAIL}) == (level is Level.ALL)
    assert (word is NextWord.EMAIL) == (level is Level.ALL and channel is Channel.SMS and by_email)


WRONG = WrongWords(7, Channel.SMS, "customers", 2, "3 hours", AT)
KNOWS = ReaderHistory(told=True, is_known=True, heard=1)


def text(**changes: Any) -> Notice:
    """Return the text that update 2 is, in which nothing is an event."""
    return notice(TWO, Channel.SMS, **{"events": frozenset(), **changes})


def update(status: S = S.INVESTIGATING, **changes: Any) -> Update:
    said = {"issue": "It takes 3 hours.", "resolution": "We look into it."}
    return update_of(1, status, **{**said, **changes})


def test_a_plain_text_goes_to_those_whose_words_were_wrong_and_to_newcomers() -> None:
    wrong = text(is_plain=True, wrong_words=(WRONG,))
    for of, history, told in (
        *((text(is_plain=True), KNOWS, False), (text(is_plain=True), NEW, True), (text(), KNOWS, True)),
        *((wrong, KNOWS, False), (wrong, KNOWS._replace(waits=True), True)),
    ):
        assert (corrections.is_for_others(of, history) == "") == told


def test_a_correction_keeps_what_is_translated_of_what_it_repeats() -> None:
    """What is put right has no translation until somebody writes one: the old one is as wrong."""
    german = {"de": {"issue": "3 Stunden.", "fixed": "Weg.", "cause": "Ein Release."}}
    said: dict[str, Any] = {"fixed": "It works.", "cause": "A release.", "works": "Transfers."}
    said["translations_in_force"] = german
    keys = corrections.corrected(update(S.RESOLVED, **said), "3 hours", "2 hours")
    assert keys["translations"] == {"de": {"fixed": "Weg.", "cause": "Ein Release."}}
    assert (keys["issue"], keys["cause"], "works" in keys) == ("It takes 2 hours.", "A release.", False)
    assert "translations" not in corrections.corrected(update(**said), "3 hours", "2 hours")
    assert corrections.corrected(update(**said), "Transfers", "Cards")["works"] == "Cards."
    of_translation = corrections.corrected(update(**said), "3 Stunden", "2 Stunden")
    assert of_translation == {"translations": {"de": {"issue": "2 Stunden."}}}
    assert corrections.says(update(**said), "3 Stunden")


def test_a_corrected_end_is_not_told_again_to_who_read_it_right() -> None:
    end = text(number=3, is_end=True, wrong_words=(WRONG._replace(by=3),))
    assert corrections.has_right_words(end, KNOWS._replace(heard=2)) == reasons.RIGHT_END_TOLD
    assert corrections.has_right_words(end, KNOWS) == "", "they know of the beginning only"
    assert corrections.has_right_words(end, KNOWS._replace(heard=2, waits=True)) == ""
    assert corrections.has_right_words(text(number=3, is_end=True), KNOWS._replace(heard=2)) == ""
    after = text(number=3, is_end=True, wrong_words=(WRONG,))
    assert corrections.has_right_words(after, KNOWS._replace(heard=2)) == "", "not the end's own words"


@given(*[st.booleans()] * 5)
def test_whom_nothing_was_ever_meant_for(
    told: bool, known: bool, end: bool, elsewhere: bool, first: bool
) -> None:
    events = frozenset({"first"} if first else ())
    about = text(is_end=end, told_elsewhere=elsewhere, events=events)
    is_new = corrections.is_newcomer(about, ReaderHistory(told=told, is_known=known))
    assert is_new == (not any((told, known, end, elsewhere, first)))


def test_a_former_reader_hears_ends_and_corrections_of_what_they_read() -> None:
    assert not corrections.is_for_former_reader(text(), KNOWS)
    assert corrections.is_for_former_reader(text(), KNOWS._replace(told_wrong=(WRONG,)))
    assert corrections.is_for_former_reader(text(is_end=True), KNOWS)
    assert corrections.is_for_former_reader(text(only_told=True), KNOWS)


def test_only_what_holds_wrong_words_is_said_anew() -> None:
    assert corrections.corrected(update(), "3 hours", "1 hour") == {"issue": "It takes 1 hour."}
    words = {"executives": AudienceWords(issue="Down for 3 hours."), "support": AudienceWords(scope="EU")}
    keys = corrections.corrected(update(words_in_force=words, short="Cards."), "3 hours", "1 hour")
    assert keys["for"] == {"executives": {"issue": "Down for 1 hour."}, "support": {"scope": "EU"}}
    assert keys["short"] == "Cards."  # a new issue would end it


def test_an_end_is_said_once_more_as_a_whole() -> None:
    done = "Done after 3 hours."
    end = update(S.RESOLVED, issue=done, fixed=done, resolution="", remains="Receipts.", ended=AT)
    keys = {"status": "resolved", "ended": AT, "fixed": "Done after 1 hour.", "remains": "Receipts."}
    assert corrections.corrected(end, "3 hours", "1 hour") == {**keys, "issue": "Done after 1 hour."}
    fixed = update(S.RESOLVED, issue="Rolled back.", fixed="Rolled back.", remains=done, ended=AT)
    assert "issue" not in corrections.corrected(fixed, "3 hours", "1 hour"), "what was fixed says it"
    told = update(S.RESOLVED, issue="Cards fail.", fixed=done, ended=AT)
    assert corrections.corrected(told, "3 hours", "1 hour")["issue"] == "Cards fail."


SENTENCE = st.text("abc 123.,", min_size=1, max_size=40).map(str.strip).filter(bool)


@given(issue=SENTENCE, resolution=SENTENCE, fixed=SENTENCE, wrong=SENTENCE)
def test_what_is_said_anew_holds_no_wrong_words(issue: str, resolution: str, fixed: str, wrong: str) -> None:
    for status in (S.INVESTIGATING, S.RESOLVED):
        mended = fixed if status is S.RESOLVED else None
        said = update(status=status, issue=issue, resolution=resolution, fixed=mended)
        keys = corrections.corrected(said, wrong, "RIGHT")
        texts = [text for text in keys.values() if isinstance(text, str)]
        assert not any(holds(text, wrong) for text in texts)
        assert corrections.says(said, wrong) == any("RIGHT" in text for text in texts)


# docs/reasons.md holds every reason that the plan gives, and no other.
PLAN = Path(reasons.__file__).parent
PAGE = Path(__file__).parents[2] / "docs" / "reasons.md"
GIVEN = {name: value for name, value in vars(reasons).items() if name.isupper()}


def documented(*sections: str) -> list[str]:
    """Return the first cell of each row of the tables in these sections."""
    parts = re.split(r"^## (.+)$", PAGE.read_text(), flags=re.MULTILINE)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    return [cell for name in sections for cell in re.findall(r"^\| `([^`]+)` \|", found[name], re.MULTILINE)]


# A reason that stands where it is given: `return False, "…"`, Due(notice, True, "…"), Decision(x, "…").
WRITTEN_OUT = re.compile(r"""(?:return (?:True|False), |(?:Due|Decision)\([^()"]*)f?["']""")


def test_the_plan_writes_its_reasons_in_one_place_only_and_the_table_has_each_once() -> None:
    """Another reason is a constant in plan/reasons.py and a row in docs/reasons.md."""
    assert sorted(documented("For a notice on a channel", "For a reader")) == sorted(GIVEN.values())
    code = {path.name: path.read_text() for path in PLAN.glob("*.py")}
    assert {name: found for name, text in code.items() if (found := WRITTEN_OUT.findall(text))} == {}


def test_every_constant_is_used_and_what_happens_to_a_row_later_is_what_the_ledger_says() -> None:
    code = "\n".join(path.read_text() for path in PLAN.parent.rglob("*.py"))
    assert [name for name in GIVEN if len(re.findall(rf"\b{name}\b", code)) < 2] == []
    assert (found := documented("What happens to a row later"))
    assert [reason for reason in found if f'"{reason}"' not in code] == []


@pytest.mark.parametrize("status", [S.RETRACTED, S.MERGED, S.CANCELLED, S.RESOLVED, S.COMPLETED])
def test_who_only_wants_the_end_hears_none_of_what_they_never_heard_of(status: S) -> None:
    begun = S.SCHEDULED if status in {S.CANCELLED, S.COMPLETED} else S.INVESTIGATING
    of = notice(story(begun, status), told=1)
    assert hears(Level.END, of, NEW) == (status in {S.RESOLVED, S.COMPLETED})
    assert hears(Level.END, of, TOLD)


@pytest.mark.parametrize("level", Level)
def test_what_is_over_before_the_first_word_is_told_to_all(level: Level) -> None:
    assert hears(level, notice(OVER), NEW)
    assert hears(level, notice(story(S.RESOLVED)), NEW)
    assert hears(level, notice(OVER, told=1), NEW) == (level is Level.END)
