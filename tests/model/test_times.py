"""Times: what people write is one moment or is refused; what readers see cannot be misread."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from itertools import product
from zoneinfo import ZoneInfo, available_timezones

import pytest
from babel import localedata
from babel.dates import format_skeleton
from hypothesis import given
from hypothesis import strategies as st

from commcast.model import times
from commcast.model.times import brief_duration, moment, parse_instant, short_duration, span, spoken_duration
from tests.support.values import rows

BERLIN = ZoneInfo("Europe/Berlin")
AT = datetime(2026, 11, 21, 9, 5, tzinfo=UTC)  # 10:05 in Berlin
MINUTE = timedelta(minutes=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


LENGTHS = {"20m": 20, "1h30m": 90, "1.5h": 90, "2d": 2880, "1 hour": 60, " 90 min ": 90}
INSTANTS = {
    **dict.fromkeys(("2026-11-21T10:05+01:00", "2026-11-21 10:05+01:00", "2026-11-21T10:05 +0100"), AT),
    **dict.fromkeys(("2026-11-21T09:05Z", "2026-11-21T10:05"), AT),
    "2026-11-21T09:05:30Z": AT + MINUTE / 2,
    "2026-11-21T9:05:30.25Z": AT + timedelta(seconds=30.25),
}
CLOCK_TIMES = {"14:00": "2026-11-21T13:00", "10:05": "2026-11-22T09:05", "9:30": "2026-11-22T08:30"}
TIMEFRAMES = {
    "unknown": (None, None),
    "30m": (None, "2026-11-21T09:35"),
    "1h to 2h": ("2026-11-21T10:05", "2026-11-21T11:05"),
    "by 14:00": (None, "2026-11-21T13:00"),
    "by 2026-11-22 14:00": (None, "2026-11-22T13:00"),
}
PROMISES = {"20m": 20, "10:30": 25, "2026-11-21T10:30+01:00": 25}


instant = partial(parse_instant, zone=BERLIN)
clock_time = partial(times.parse_clock_time, after=AT, zone=BERLIN)
promise = partial(times.parse_promise, at=AT, zone=BERLIN)


def timeframe(text: str) -> tuple[datetime | None, datetime | None]:
    found = times.parse_timeframe(text, AT, BERLIN)
    assert found.known is (found.latest is not None)
    return found.earliest, found.latest


def test_what_people_write_has_one_meaning() -> None:
    """A length of time; a moment; the next such time of day; an estimate and a promise from an update on."""
    assert {text: times.parse_duration(text) / MINUTE for text in LENGTHS} == LENGTHS
    assert {text: instant(text) for text in INSTANTS} == INSTANTS
    assert {text: clock_time(text) for text in CLOCK_TIMES} == {
        text: utc(at) for text, at in CLOCK_TIMES.items()
    }
    spans = {text: tuple(at and utc(at) for at in span) for text, span in TIMEFRAMES.items()}
    assert {text: timeframe(text) for text in TIMEFRAMES} == spans
    assert {text: (promise(text) - AT) / MINUTE for text in PROMISES} == PROMISES


REFUSED: list[tuple[Callable[[str], object], str, list[str]]] = [
    (times.parse_duration, "write", ["", "20", "1:30", "-5m", "0m", "20m ago", "soon", "m", "9999d"]),
    (times.parse_duration, "write", ["1" * 50 + "m", "9" * 20 + "h"]),
    (instant, "does not exist; check day", ["2026-02-30T10:00Z", "2026-11-21T25:00Z", "2026-11-21T24:00Z"]),
    (instant, "does not exist; check day", ["2026-11-21T23:59:60Z", "2026-13-01T10:00Z"]),
    (instant, "years .*; ", ["99999-01-01T10:00Z", "1999-12-31T23:59Z"]),
    (instant, "offset .*; ", ["2026-11-21T10:00+15:00"]),
    (instant, "not a date and time; ", ["2026-11-21", "21.11.2026 10:05", "2026-11-21T10:05+01:00\n"]),
    (instant, "not a date and time; ", ["٢٠٢٦-11-21T10:05Z", "tomorrow", ""]),
    (instant, "does not exist .*; ", ["2026-03-29T02:30"]),
    (instant, r"occurs twice .*; .*02:30\+02:00 or 2026-10-25T02:30\+01:00", ["2026-10-25T02:30"]),
    (lambda text: parse_instant(text, None), "no offset .*; ", ["2026-11-21T10:05"]),
    (clock_time, "clock time; write", ["24:00", "12:60", "2pm", "1400", "", "14:00:00"]),
    (lambda text: times.parse_clock_time(text, utc("2026-03-28T20:00"), BERLIN), "does not exist", ["02:30"]),
    (timeframe, "; ", ["soon", "2", "2h to 1h", "1h to", "by noon", "by 2026-11-21 09:00", "1 to 2h"]),
    (promise, "; ", ["20", "soon", "2026-11-21T10:05+01:00", "2026-11-21T10:00+01:00", "0m", "10:99"]),
]


@pytest.mark.parametrize(("read", "what", "texts"), REFUSED)
def test_what_can_be_misread_is_refused(read: Callable[[str], object], what: str, texts: list[str]) -> None:
    for text in texts:
        with pytest.raises(ValueError, match=what):
            read(text)


OFFSETS = st.integers(-12 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(2000, 1, 2), datetime(2100, 12, 30), timezones=OFFSETS)  # noqa: DTZ001


@given(st.integers(min_value=1, max_value=500_000), MOMENTS)
def test_a_length_and_a_moment_that_are_written_read_back(minutes: int, moment: datetime) -> None:
    assert times.parse_duration(short_duration(minutes * MINUTE)) == minutes * MINUTE
    assert parse_instant(times.write_instant(moment), None) == moment.replace(microsecond=0)


@given(st.text(max_size=40), st.sampled_from([timeframe, promise]))
def test_any_text_is_a_time_or_a_value_error(text: str, read: Callable[[str], object]) -> None:
    try:
        read(text)
    except ValueError as error:
        assert "; " in str(error)


def test_lengths_are_short_in_files_and_words_for_readers() -> None:
    short = {30: "30s", 60: "1m", 7500: "2h5m", 90_000: "1d1h"}
    assert [short_duration(timedelta(seconds=each)) for each in short] == [*short.values()]


# A length in minutes, the language, and how it is said in a sentence and in brackets.
SAID = """
0    | en    | less than a minute       | less than a minute
1    | en    | 1 minute                 | 1 min
93   | en    | 1 hour 33 minutes        | 1 h 33 min
1500 | en    | 1 day 1 hour             | 1 day 1 h
3065 | en    | 2 days 3 hours 5 minutes | 2 days 3 h
125  | en-US | 2 hours 5 minutes        | 2 h 5 min
0    | de-AT | weniger als eine Minute  | weniger als eine Minute
125  | de    | 2 Stunden 5 Minuten      | 2 h 5 min
1501 | de    | 1 Tag 1 Stunde 1 Minute  | 1 Tag 1 h
3065 | de    | 2 Tage 3 Stunden 5 Minuten | 2 Tage 3 h
0    | fr    | moins d'une minute       | moins d'une minute
61   | fr    | 1 heure 1 minute         | 1 h 1 min
3065 | fr    | 2 jours 3 heures 5 minutes | 2 jours 3 h
0    | es    | menos de un minuto       | menos de un minuto
125  | es    | 2 horas 5 minutos        | 2 h 5 min
3065 | es    | 2 días 3 horas 5 minutos | 2 días 3 h
0    | pl    | < 1 minuta               | < 1 minuta
125  | xx    | 2 hours 5 minutes        | 2 h 5 min
"""


@pytest.mark.parametrize(("minutes", "language", "spoken", "brief"), rows(SAID))
def test_a_length_is_said_in_the_reader_s_language(
    minutes: str, language: str, spoken: str, brief: str
) -> None:
    length = int(minutes) * MINUTE + MINUTE / 2
    assert (spoken_duration(length, language), brief_duration(length, language)) == (spoken, brief)


# When it is, where the reader is, when they read it, a form, and what they see in it.
SHOWN = """
2026-11-21T10:05 | Europe/Berlin | 2026-11-21T09:05 | iso   | 2026-11-21T11:05:00+01:00
2026-11-21T10:05 | Europe/Berlin | 2026-11-21T09:05 | clock | 11:05 CET
2026-11-21T10:05 | Europe/Berlin | 2026-11-21T09:05 | short | 11:05 CET
2026-11-21T10:05 | Europe/Berlin | 2026-11-21T09:05 | full  | Sat 21 Nov 2026, 11:05 CET (10:05 UTC)
2026-11-21T23:05 | Europe/Berlin | 2026-11-21T09:05 | short | Sun 22 Nov, 00:05 CET
2027-01-01T09:00 | Europe/Berlin | 2026-11-21T09:05 | short | Fri 1 Jan 2027, 10:00 CET
2026-11-21T09:05 | Europe/Berlin |                  | short | Sat 21 Nov, 10:05 CET
2026-10-25T00:30 | Europe/Berlin |                  | clock | 02:30 CEST
2026-10-25T01:30 | Europe/Berlin |                  | clock | 02:30 CET
2026-11-21T09:05 | UTC               | 2026-11-21T09:05 | short | 09:05 UTC
2026-11-21T09:05 | UTC               | 2026-11-21T09:05 | full  | Sat 21 Nov 2026, 09:05 UTC
2026-11-21T09:05 | Asia/Kathmandu    | 2026-11-21T09:05 | clock | 14:50 UTC+5:45
2026-11-21T09:05 | America/Sao_Paulo | 2026-11-21T09:05 | clock | 06:05 UTC-3
2026-11-21T09:05 | Pacific/Marquesas | 2026-11-21T09:05 | clock | 23:35 UTC-9:30
2026-11-21T09:05 | America/New_York  | 2026-11-21T09:05 | clock | 04:05 EST
2026-11-21T09:05 | America/Chicago   | 2026-11-21T09:05 | clock | 03:05 CST (UTC-6)
2026-11-21T09:05 | Asia/Shanghai     | 2026-11-21T09:05 | short | 17:05 CST (UTC+8)
2026-11-21T09:05 | Asia/Kolkata      | 2026-11-21T09:05 | short | 14:35 IST (UTC+5:30)
2026-07-21T09:05 | Europe/London     | 2026-07-21T09:05 | short | 10:05 BST (UTC+1)
2026-11-21T09:05 | America/Chicago   | 2026-11-21T09:05 | short | 03:05 CST (UTC-6)
2026-11-21T10:05 | Europe/Berlin | 2026-11-21T09:05 | short | 11:05 CET
2026-11-21T10:05 | Europe/Berlin | 2026-11-21T09:05 | day   | Sat 21 Nov
2026-11-21T10:05 | Europe/Berlin | 2026-11-21T09:05 | utc   | 10:05 UTC
2026-11-21T23:05 | Europe/Berlin | 2026-11-21T09:05 | short | Sun 22 Nov, 00:05 CET
2026-11-21T23:05 | Europe/Berlin |                  | day   | Sun 22 Nov
2026-11-21T23:05 | Europe/Berlin | 2026-11-21T09:05 | utc   | Sat 23:05 UTC
2027-01-01T09:00 | Europe/Berlin | 2026-11-21T09:05 | short | Fri 1 Jan 2027, 10:00 CET
2027-01-01T09:00 | Europe/Berlin | 2026-11-21T09:05 | day   | Fri 1 Jan 2027
2026-11-21T09:05 | Etc/UTC       | 2026-11-21T09:05 | utc   |
2026-11-21T09:05 | Asia/Shanghai |                  | short | Sat 21 Nov, 17:05 CST (UTC+8)
"""


@pytest.mark.parametrize(("at", "zone", "told", "form", "shown"), rows(SHOWN))
def test_a_moment_names_its_zone_and_odd_days(at: str, zone: str, told: str, form: str, shown: str) -> None:
    assert moment(utc(at), ZoneInfo(zone), utc(told) if told else None)[form] == shown


# Read at AT: start, end, where the reader is, a form, and what they see in it.
SPANS = """
2026-11-21T03:42 | 2026-11-21T04:42 | Europe/Berlin | short | 04:42-05:42 CET
2026-11-21T03:42 | 2026-11-21T04:42 | Europe/Berlin | full    | Sat 21 Nov 2026, 04:42 to 05:42 CET (03:42 to 04:42 UTC)
2026-11-21T22:30 | 2026-11-21T23:30 | Europe/Berlin | short | 23:30 - Sun 22 Nov, 00:30 CET
2026-11-21T23:30 | 2026-11-22T00:30 | Europe/Berlin | short | Sun 22 Nov, 00:30-01:30 CET
2026-11-20T22:30 | 2026-11-20T23:30 | Europe/Berlin | short | Fri 20 Nov, 23:30 - Sat 21 Nov, 00:30 CET
2026-11-21T23:30 | 2026-11-22T00:30 | America/New_York | short | 18:30-19:30 EST
2026-11-21T23:30 | 2026-11-22T00:30 | UTC | short | 23:30 - Sun 22 Nov, 00:30 UTC
2026-11-21T23:30 | 2026-11-22T00:30 | UTC | full    | Sat 21 Nov 2026, 23:30 to Sun 22 Nov, 00:30 UTC
2026-11-21T09:05 | 2026-11-21T10:05 | Asia/Kathmandu | short | 14:50-15:50 UTC+5:45
2026-11-21T03:42 | 2026-11-21T04:42 | Europe/Berlin | short   | 04:42-05:42 CET
2026-11-21T03:42 | 2026-11-21T04:42 | Europe/Berlin | start   | 04:42
2026-11-21T03:42 | 2026-11-21T04:42 | Europe/Berlin | end     | 05:42 CET
2026-11-21T03:42 | 2026-11-21T04:42 | Europe/Berlin | utc     | 03:42 to 04:42 UTC
2026-11-22T03:42 | 2026-11-22T04:42 | Europe/Berlin | short   | Sun 22 Nov, 04:42-05:42 CET
2026-11-22T03:42 | 2026-11-22T04:42 | Europe/Berlin | start   | Sun 22 Nov, 04:42
2026-11-22T03:42 | 2026-11-22T04:42 | Europe/Berlin | end     | 05:42 CET
2026-12-05T21:00 | 2026-12-06T01:00 | Europe/Berlin | short   | Sat 5 Dec, 22:00 - Sun 6 Dec, 02:00 CET
2026-12-05T21:00 | 2026-12-06T01:00 | Europe/Berlin | end     | Sun 6 Dec, 02:00 CET
2026-11-21T22:30 | 2026-11-21T23:30 | Europe/Berlin | short   | 23:30 - Sun 22 Nov, 00:30 CET
2026-10-25T00:30 | 2026-10-25T01:30 | Europe/Berlin | short   | Sun 25 Oct, 02:30 CEST - 02:30 CET
2026-10-25T00:30 | 2026-10-25T01:30 | Europe/Berlin | start   | Sun 25 Oct, 02:30 CEST
2026-11-01T06:30 | 2026-11-01T07:30 | America/Chicago | short | Sun 1 Nov, 01:30 CDT (UTC-5) - 01:30 CST (UTC-6)
2026-11-21T09:05 | 2026-11-21T10:05 | UTC | utc     |
"""  # noqa: E501


@pytest.mark.parametrize(("start", "end", "zone", "form", "shown"), rows(SPANS))
def test_a_span_names_its_zone_and_days_once(start: str, end: str, zone: str, form: str, shown: str) -> None:
    assert span(utc(start), utc(end), ZoneInfo(zone), AT)[form] == shown


def test_who_may_not_know_the_zone_is_told_the_distance_from_utc() -> None:
    """The letters of a zone that nobody wrote for a reader, and letters that several countries use."""
    zones = [ZoneInfo(key) for key in ("Europe/Berlin", "Asia/Kathmandu", "UTC")]
    shown = [moment(AT, zone, AT, with_offset=True)["short"].partition(" ")[2] for zone in zones]
    assert shown == ["CET (UTC+1)", "UTC+5:45", "UTC"]
    assert span(AT, AT + 60 * MINUTE, BERLIN, AT, with_offset=True)["short"] == "10:05-11:05 CET (UTC+1)"
    assert span(AT, AT + 60 * MINUTE, ZoneInfo("America/Chicago"), AT)["short"] == "03:05-04:05 CST (UTC-6)"
    used: dict[str, set[timedelta | None]] = {}
    for key, month in product(available_timezones(), (1, 7)):
        local = datetime(2026, month, 15, tzinfo=UTC).astimezone(ZoneInfo(key))
        used.setdefault(local.tzname() or "", set()).add(local.utcoffset())
    assert {letters for letters, offsets in used.items() if len(offsets) > 1} <= times._AMBIGUOUS


def test_a_change_of_the_clocks_inside_a_span_shows_both_letters_and_no_zone_is_refused() -> None:
    shown = span(utc("2026-10-25T00:30"), utc("2026-10-25T01:30"), BERLIN, utc("2026-10-24T23:00"))
    assert (shown["start"], shown["end"]) == ("02:30 CEST", "02:30 CET")
    assert shown["utc"] == "00:30 to 01:30 UTC"
    naive = AT.replace(tzinfo=None)
    with pytest.raises(ValueError, match="without a zone"):
        moment(naive, BERLIN, AT)
    with pytest.raises(ValueError, match="without a zone"):
        span(AT, naive, BERLIN, AT)


# Told on Wed 18 Nov 2026: the language, when it is, where the reader is, a form, and what they see in it.
IN_LANGUAGES = """
en    | 2026-11-21T09:05 | Europe/Berlin    | short | Sat 21 Nov, 10:05 CET
en-GB | 2026-09-21T09:05 | Europe/Berlin    | full  | Mon 21 Sep 2026, 11:05 CEST (09:05 UTC)
en-US | 2026-11-21T09:05 | America/New_York | short | Sat, Nov 21, 04:05 EST
en-US | 2026-11-21T19:05 | America/Chicago  | full  | Sat, Nov 21, 2026, 13:05 CST (19:05 UTC)
de    | 2026-11-21T09:05 | Europe/Berlin    | clock | 10:05 MEZ
de    | 2026-11-21T09:05 | Europe/Berlin    | short | Sa., 21. Nov., 10:05 MEZ
de-AT | 2026-07-21T09:05 | Europe/Vienna    | day   | Di., 21. Juli
de-DE | 2026-03-21T09:05 | Europe/Berlin    | full  | Sa., 21. März 2026, 10:05 MEZ (09:05 UTC)
DE_ch | 2027-01-01T09:05 | Europe/Zurich    | short | Fr., 1. Jan. 2027, 10:05 MEZ
de    | 2026-10-25T00:30 | Europe/Berlin    | clock | 02:30 MESZ
de    | 2026-10-25T01:30 | Europe/Berlin    | clock | 02:30 MEZ
de    | 2026-03-29T01:00 | Europe/Berlin    | clock | 03:00 MESZ
de    | 2026-07-21T09:05 | Europe/Athens    | clock | 12:05 OESZ
de    | 2026-11-21T09:05 | Europe/Dublin    | clock | 09:05 GMT
de    | 2026-11-21T09:05 | Africa/Casablanca | clock | 10:05 UTC+1
de    | 2026-11-21T09:05 | Asia/Shanghai    | clock | 17:05 CST (UTC+8)
de    | 2026-11-21T23:05 | Europe/Berlin    | utc   | Sa. 23:05 UTC
de    | 2026-11-21T09:05 | UTC              | full  | Sa., 21. Nov. 2026, 09:05 UTC
fr    | 2026-02-21T09:05 | Europe/Paris     | short | sam. 21 févr., 10:05 CET
fr    | 2026-12-21T09:05 | Europe/Paris     | full  | lun. 21 déc. 2026, 10:05 CET (09:05 UTC)
fr    | 2026-11-21T09:05 | UTC              | clock | 09:05 UTC
fr-CA | 2026-07-21T09:05 | America/Toronto  | clock | 05:05 HAE
es    | 2026-11-21T09:05 | Europe/Madrid    | short | sáb, 21 nov, 10:05 CET
es-MX | 2026-11-21T09:05 | Asia/Dubai       | clock | 13:05 UTC+4
ja    | 2026-11-21T09:05 | Asia/Tokyo       | short | 11月21日(土), 18:05 JST
xx-YY | 2026-11-21T09:05 | Europe/Berlin    | short | Sat 21 Nov, 10:05 CET
"""
SPANS_IN_LANGUAGES = """
de | 2026-11-18T03:42 | 2026-11-18T04:42 | short | 04:42-05:42 MEZ
de | 2026-12-05T21:00 | 2026-12-06T01:00 | short | Sa., 5. Dez., 22:00 - So., 6. Dez., 02:00 MEZ
de | 2026-12-05T21:00 | 2026-12-06T01:00 | start | Sa., 5. Dez., 22:00
de | 2026-12-05T21:00 | 2026-12-06T01:00 | end   | So., 6. Dez., 02:00 MEZ
de | 2026-12-05T03:00 | 2026-12-05T05:00 | full  | Sa., 5. Dez. 2026, 04:00 bis 06:00 MEZ (03:00 bis 05:00 UTC)
de | 2026-10-25T00:30 | 2026-10-25T01:30 | short | So., 25. Okt., 02:30 MESZ - 02:30 MEZ
fr | 2026-12-05T03:00 | 2026-12-05T05:00 | short | sam. 5 déc., 04:00-06:00 CET
fr | 2026-12-05T03:00 | 2026-12-05T05:00 | full  | sam. 5 déc. 2026, 04:00 à 06:00 CET (03:00 à 05:00 UTC)
es | 2026-12-05T03:00 | 2026-12-05T05:00 | full  | sáb, 5 dic 2026, 04:00 a 06:00 CET (03:00 a 05:00 UTC)
pl | 2026-12-05T03:00 | 2026-12-05T05:00 | full  | sob., 5 gru 2026, 04:00 - 06:00 CET (03:00 - 05:00 UTC)
"""  # noqa: E501
TOLD = utc("2026-11-18T09:05")


@pytest.mark.parametrize(("language", "at", "zone", "form", "shown"), rows(IN_LANGUAGES))
def test_a_moment_is_shown_in_the_reader_s_language(
    language: str, at: str, zone: str, form: str, shown: str
) -> None:
    assert moment(utc(at), ZoneInfo(zone), TOLD, language=language)[form] == shown


@pytest.mark.parametrize(("language", "start", "end", "form", "shown"), rows(SPANS_IN_LANGUAGES))
def test_a_span_is_shown_in_the_reader_s_language(
    language: str, start: str, end: str, form: str, shown: str
) -> None:
    assert span(utc(start), utc(end), BERLIN, TOLD, language=language)[form] == shown


def test_english_days_are_those_of_babel() -> None:
    """They are written out in commcast. The one difference: Babel's British English says Sept."""
    for day in (AT + timedelta(days=n) for n in range(366)):
        ours = moment(day, ZoneInfo("UTC"), day)["day"]
        assert ours == format_skeleton("MMMEd", day, locale="en_GB").replace("Sept", "Sep")


LANGUAGES = sorted(identifier.replace("_", "-") for identifier in localedata.locale_identifiers())


def is_plain(text: str) -> bool:
    """Return whether a text has no control character, no invisible mark, and no space but the plain one."""
    joiners = str.maketrans("", "", "\u200c\u180e")  # Persian and Mongolian need them inside words
    kinds = {char: unicodedata.category(char) for char in text.translate(joiners)}
    return all(char == " " or kind not in {"Cc", "Cf", "Zs", "Zl", "Zp"} for char, kind in kinds.items())


def test_every_language_that_babel_knows_shows_day_and_time() -> None:
    for language in LANGUAGES:
        shown = moment(AT, BERLIN, TOLD, language=language)
        assert "21" in shown["day"] and "2026" in shown["full"] and "M11" not in shown["day"], language
        assert "10:05 " in shown["clock"], language
        assert all(map(is_plain, [*shown.values(), spoken_duration(3065 * MINUTE, language)])), language


@given(st.text(max_size=20) | st.from_regex(r"[a-z]{2}[-_][A-Za-z0-9_-]{0,12}", fullmatch=True))
def test_a_language_that_nobody_knows_is_english_and_no_error(language: str) -> None:
    shown = moment(AT, BERLIN, TOLD, language=language)
    assert shown["clock"][:6] == "10:05 " and all(map(is_plain, shown.values()))
    assert brief_duration(93 * MINUTE, language) == "1 h 33 min"


# Any time; and the nights in which clocks change, by an hour and by half of one.
CHANGES = [utc(f"2026-{at}") for at in ("03-29T01:00", "10-25T01:00", "11-01T06:00", "04-04T15:00")]
NIGHTS = st.builds(lambda at, n: at + n * MINUTE, st.sampled_from(CHANGES), st.integers(-180, 180))
TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC)) | NIGHTS  # noqa: DTZ001
ZONES = st.sampled_from(["Europe/Berlin", "Europe/Dublin", "America/New_York", "Australia/Lord_Howe"])


@given(TIMES, ZONES.map(ZoneInfo) | st.timezones(), st.sampled_from(["en", "de", "fr", "es"]), st.booleans())
def test_every_form_is_the_exact_moment_in_plain_characters(
    at: datetime, zone: ZoneInfo, language: str, with_offset: bool
) -> None:
    show = partial(moment, zone=zone, reference=AT, with_offset=with_offset, language=language)
    shown, later = show(at), at + 60 * MINUTE
    stretch = span(at, later, zone, AT, with_offset=with_offset, language=language)
    for text in (*shown.values(), *stretch.values()):
        assert is_plain(text) and len(text) < 110
        assert language != "en" or text.isascii()
    local = datetime.fromisoformat(shown["iso"])
    assert abs((local - at).total_seconds()) < 1
    ends = local, datetime.fromisoformat(show(later)["iso"])
    clocks = [f"{each:%H:%M}" for each in ends]
    assert all(clocks[0] in shown[form] for form in ("clock", "short", "full"))
    assert clocks[0] in stretch["start"] and clocks[1] in stretch["end"]
    assert all(clocks[0] in stretch[form] and clocks[1] in stretch[form] for form in ("short", "full"))
    assert str(local.day) in shown["day"] and str(local.year) in shown["full"]
    is_utc = local.tzname() == "UTC" and "UTC" in shown["clock"]
    assert f"{at:%H:%M} UTC" in (shown["clock"] if is_utc and not shown["utc"] else shown["utc"])
    assert shown["full"] != show(later)["full"] and stretch["start"] != stretch["end"]
