"""One incident's figures as text and tables."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from commcast.report.figures import AudienceFigures, Estimate, Figures, Kept, Promise, worst_severity
from commcast.report.story import Shape, Story, Telling

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Clock:
    """Shows times in the desk's time zone, with the day if the story is longer than one day.

    They are shown with the year too if it changes in the story, and with the zone if its clocks change.
    `letters` are those of the zone, such as CET.
    """

    def __init__(self, zone: ZoneInfo, moments: Iterable[datetime]) -> None:
        local = [at.astimezone(zone) for at in sorted(moments)]
        self.zone = zone
        self.letters = " and ".join(dict.fromkeys(f"{each:%Z}" for each in local))
        self._days = {each.date() for each in local}

    def time(self, at: datetime) -> str:
        """Return a time like 10:24, or 21 Nov 10:24 if the day is not clear."""
        local = at.astimezone(self.zone)
        shown = f"{local:%H:%M %Z}" if " and " in self.letters else f"{local:%H:%M}"
        return shown if self._days == {local.date()} else f"{self.day(at)} {shown}"

    def day(self, at: datetime) -> str:
        local = at.astimezone(self.zone)
        return day_of(local) + (f" {local.year}" if len({each.year for each in self._days}) > 1 else "")

    def full(self, at: datetime) -> str:
        local = at.astimezone(self.zone)
        return f"{day_of(local)} {local:%Y, %H:%M %Z}"

    def hour_or_day(self, at: datetime, before: datetime | None) -> str:
        """Return the label of a moment on an axis: its time, or its day if `before` was on another day."""
        local = at.astimezone(self.zone)
        is_new = before is None or before.astimezone(self.zone).date() != local.date()
        return self.day(at) if is_new and len(self._days) > 1 else f"{local:%H:%M}"


def day_of(at: date) -> str:
    """Return a day like 21 Nov, in English whatever the machine's locale."""
    return f"{at.day} {_MONTHS[at.month - 1]}"


def length(span: timedelta) -> str:
    """Return a duration to the minute, or to the hour from a day on: 34 min, 1 h 16 min, 2 d 3 h."""
    hours, minutes = divmod(max(0, span // timedelta(minutes=1)), 60)
    days, hours = divmod(hours, 24)
    counts = {"d": days, "h": hours, "min": 0 if days else minutes}
    return " ".join(f"{count} {unit}" for unit, count in counts.items() if count) or "under 1 min"


def roughly(span: timedelta) -> str:
    """Return a duration in its largest unit only: 6 d, 23 h."""
    hours = span / timedelta(hours=1)
    return f"{hours / 24:.0f} d" if hours >= 36 else f"{hours:.0f} h"


def many(count: int, word: str) -> str:
    """Return a number with its word: 1 promise, 15 promises."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def cut(text: str, most: int) -> str:
    """Return `text` cut to at most `most` characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


_WAYS = {"email": "email", "sms": "SMS", "command": "command"}
_FIRST_OUTCOMES = ("accepted", "delivered", "bounced", "failed", "rejected", "unknown", "waiting", "held")


@dataclass(frozen=True, slots=True)
class Card:
    """One of the most important figures; `tone` is good, bad or plain."""

    figure: str
    label: str
    note: str = ""
    tone: str = "plain"


@dataclass(frozen=True, slots=True)
class ReportTable:
    """Rows under a heading; `bad` are the numbers (from 0) of rows about something that went wrong.

    A page may show a `small` table next to another, and shows `said` in place of its rows.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    bad: frozenset[int] = frozenset()
    small: bool = True
    said: tuple[Said, ...] = ()


class Said(NamedTuple):
    """What some audiences read that begins alike: when, what it was, to whom, and the next update by when.

    `texts` are its different texts: to whom, subject and text.
    """

    at: str
    telling: Telling
    lead: str
    to: str
    by: str
    texts: tuple[tuple[str, str, str], ...]


def clock_of(figures: Figures, zone: ZoneInfo) -> Clock:
    """Return the clock of a story, which covers its start, end and messages."""
    story = figures.story
    moments = [each.first_at for each in story.tellings if each.first_at]
    return Clock(zone, [beginning(story), figures.until, *moments])


def beginning(story: Story) -> datetime:
    """Return when a story starts: when the incident began or, if unknown, the first release."""
    return story.started or story.first_release


def headline(figures: Figures) -> str:
    """Return the report in one line: promises, first message, longest silence."""
    parts = []
    if figures.due:
        parts.append(f"kept {figures.kept:,} of {many(figures.due, 'promise')}")
    first, _ = _first_and_last(figures)
    if first and first.from_start is not None:
        parts.append(f"first message after {length(first.from_start)}")
    if (ahead := _ahead(figures)) is not None:
        parts.append(f"announced {length(ahead)} before it began")
    if (silent := _most_silent(figures)) and silent.silence:
        parts.append(f"longest silence {length(silent.silence.length)}")
    if not any(each.first_at for each in figures.audiences):
        parts.insert(0, "nobody was told")
    text = ", ".join(parts) or "no promise was due"
    return f"{text[0].upper()}{text[1:]}."


def subject(figures: Figures, clock: Clock) -> str:
    """Return what it was and when, in one line."""
    story = figures.story
    parts = [story.incident, f"severity {worst_severity(story.stages)}"]
    if story.is_planned:
        parts = [story.incident, story.kind]
    start = story.began_at or beginning(story)
    until = f" to {clock.time(figures.ended)}" if figures.ended else ""
    still = "" if figures.ended else ", not over yet"
    parts.append(f"{clock.full(start)}{until}{still}")
    if figures.down is not None and figures.ended:
        parts.append(length(figures.down))
    if figures.withdrawn:
        parts.append(story.stages[-1].status)
    return " · ".join(parts)


def cards(figures: Figures, clock: Clock) -> Iterator[Card]:
    """Yield the most important figures."""
    if figures.due:
        missed = figures.due - figures.kept
        note = f"{missed} not kept" if missed else "every one of them"
        yield share_card(figures.kept, figures.due, "promises kept", note)
    first, last = _first_and_last(figures)
    if first and last and first.from_start is not None and last.from_start is not None:
        note = "to every audience"
        if length(last.from_start) != length(first.from_start):
            note = f"to {first.name}; {last.name} after {length(last.from_start)}"
        yield Card(length(first.from_start), "until the first message", note)
    if (ahead := _ahead(figures)) is not None:
        label = "notice of the work" if figures.story.is_planned else "known ahead"
        yield Card(length(ahead), label, "from the first message to the start")
    if (silent := _most_silent(figures)) and (gap := silent.silence):
        note = f"{silent.name}, {clock.time(gap.start)} to {clock.time(gap.end)}"
        yield Card(length(gap.length), "longest silence", note)
    judged = [each for each in figures.estimates if each.held is not None]
    if judged:
        held = sum(bool(each.held) for each in judged)
        yield share_card(held, len(judged), "estimates held", "over by the time we named")
    yes, no = figures.story.feedback
    if yes + no:
        yield Card(f"{yes / (yes + no):.0%}", "felt well informed", f"{yes:,} yes, {no:,} no")


def share_card(count: int, total: int, label: str, note: str) -> Card:
    """Return the card of how many succeeded out of how many, in percent of 100 and more: good if all did."""
    tone = "good" if count == total else "bad"
    if total < 100:
        return Card(f"{count} of {total}", label, note, tone)
    return Card(f"{100 * count // total}%", label, f"{count:,} of {total:,}", tone)


def tables(figures: Figures, clock: Clock) -> Iterator[ReportTable]:
    """Yield the tables of a report, the most important first, without empty ones."""
    made = (
        _audiences(figures, clock),
        _not_kept(figures, clock),
        _estimates(figures, clock),
        _messages(figures, clock),
        _deliveries(figures),
    )
    yield from (table for table in made if table.rows)


def facts(figures: Figures) -> Iterator[tuple[str, str]]:
    """Yield the less important figures as (label, text)."""
    held_up = sum(promise.by_holding and promise.state is Kept.KEPT for promise in figures.promises)
    also = f"; they kept {many(held_up, 'promise')}" if held_up else ""
    yield "Holding statements", f"{figures.holdings}{also}" if figures.holdings else "none"
    yield "Corrections", str(figures.corrections or "none")
    yield "Texts", _texts(figures)
    if figures.story.texts.count:
        yield "Texts at night", f"{figures.texts_at_night:,}" if figures.texts_at_night else "none"
    yes, no = figures.story.feedback
    yield "Well informed?", f"{yes:,} yes, {no:,} no" if yes + no else "nobody was asked, or answered"
    if figures.story.postmortem:
        yield "Review", " ".join(figures.story.postmortem.split())


def said_of(promise: Promise, clock: Clock) -> str:
    """Return what became of a promise, as text."""
    if promise.state is Kept.OPEN:
        return "still open"
    if promise.state is Kept.BROKEN:
        return "no message came"
    how = " by a holding statement" if promise.by_holding else ""
    if promise.state is Kept.KEPT:
        return f"kept{how}"
    late = length(promise.late or timedelta())
    if promise.state is Kept.PARTLY:
        return f"{promise.share:.0%} in time, the last {late} late{how}"
    return f"{late} late{how}, at {clock.time(promise.word_at)}" if promise.word_at else f"{late} late"


def name_of(telling: Telling) -> str:
    """Return the name of a message: "update 3", "holding statement"."""
    if telling.shape in {Shape.UPDATE, Shape.CORRECTION}:
        return f"{telling.shape} {telling.number}"
    return str(telling.shape)


def _first_and_last(figures: Figures) -> tuple[AudienceFigures | None, AudienceFigures | None]:
    """Return the audience that got its first message first, and the one that got it last."""
    told = [each for each in figures.audiences if each.from_start is not None]
    told.sort(key=lambda each: each.from_start or timedelta())
    return (told[0], told[-1]) if told else (None, None)


def _ahead(figures: Figures) -> timedelta | None:
    """Return how long before its start the first reader was told; None if it was not announced."""
    first = min((each.first_at for each in figures.audiences if each.first_at), default=None)
    began = figures.story.began_at
    return began - first if began and first and began > first else None


def _most_silent(figures: Figures) -> AudienceFigures | None:
    silent = [(each.silence.length, each) for each in figures.audiences if each.silence]
    return max(silent, key=lambda pair: pair[0])[1] if silent else None


def _audiences(figures: Figures, clock: Clock) -> ReportTable:
    rows = tuple(_audience(each, clock) for each in figures.audiences)
    head = ("Audience", "First message", "After yes", "Longest silence", "Messages", "Kept")
    note = "First message: since it began. After yes: since the first yes to an update."
    if figures.story.is_planned or (figures.story.was_expected and not figures.story.started):
        note = "After yes: since the first yes to an update."
    elif not figures.story.started:
        note = "Its file does not say when it began, so the time to the first message is not known."
    return ReportTable("By audience", head, rows, note, small=False)


def _audience(each: AudienceFigures, clock: Clock) -> tuple[str, ...]:
    first = "never" if each.first_at is None else clock.time(each.first_at)
    silence = "none"
    if each.silence:
        silence = f"{length(each.silence.length)} from {clock.time(each.silence.start)}"
    return (
        each.name,
        length(each.from_start) if each.from_start is not None else first,
        length(each.from_release) if each.from_release is not None else "never",
        silence,
        str(each.messages),
        f"{each.kept} of {each.due}" if each.due else "none due",
    )


def _not_kept(figures: Figures, clock: Clock) -> ReportTable:
    wrong: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for each in sorted(figures.promises, key=lambda promise: promise.promised):
        if each.state not in {Kept.KEPT, Kept.OPEN}:
            wrong[clock.time(each.promised), clock.time(each.made_at), said_of(each, clock)].append(
                each.audience
            )
    rows = tuple((by, ", ".join(to), said, came) for (by, said, came), to in wrong.items())
    head = ("Promised for", "To", "Said at", "What became of it")
    return ReportTable("Promises that were not kept", head, rows, bad=frozenset(range(len(rows))))


def _messages(figures: Figures, clock: Clock) -> ReportTable:
    """Return what was said, by time, channel and audience; audiences that read the same share a row.

    Texts promised for the same moment are one message.
    """
    alike: defaultdict[tuple[str, str], list[Telling]] = defaultdict(list)
    first: dict[str, datetime] = {}
    for each in sorted(figures.story.tellings, key=lambda each: each.first_at or figures.until):
        if each.first_at:
            first.setdefault(each.statement, each.first_at)
            alike[each.statement, each.lead or "cannot be read any more"].append(each)
    found = [
        Said(
            clock.time(first[statement]),
            told[0],
            said,
            _readers(told),
            _promised(told, clock),
            tuple(_texts_of(told)),
        )
        for (statement, said), told in sorted(alike.items(), key=lambda pair: first[pair[0][0]])
    ]
    rows = tuple((each.at, name_of(each.telling), each.lead, each.to, each.by) for each in found)
    head = ("At", "What", "How it begins", "To how many", "Next by")
    return ReportTable("What was said", head, rows, small=False, said=tuple(found))


def _promised(tellings: Iterable[Telling], clock: Clock) -> str:
    """Return by when most were promised the next update, then whom for another time."""
    times: defaultdict[str, list[str]] = defaultdict(list)
    for each in tellings:
        times[clock.time(each.next_update_by) if each.next_update_by else "none"].append(each.audience)
    most, *others = sorted(times, key=lambda time: -len(times[time]))
    return ", ".join((most, *(f"{', '.join(dict.fromkeys(times[time]))} {time}" for time in others)))


def _texts_of(tellings: Iterable[Telling]) -> Iterator[tuple[str, str, str]]:
    """Yield each different text with its subject, and who read it."""
    alike: defaultdict[tuple[str, str], list[Telling]] = defaultdict(list)
    for each in tellings:
        alike[each.subject, each.text].append(each)
    yield from ((_readers(told), *words) for words, told in alike.items() if words[1])


def _readers(tellings: Iterable[Telling]) -> str:
    counts: Counter[str] = Counter()
    for each in tellings:
        if each.reached:
            counts[f"{each.audience} SMS" if each.channel == "sms" else each.audience] += each.reached
    return ", ".join(f"{way} {count:,}" for way, count in counts.items())


def _estimates(figures: Figures, clock: Clock) -> ReportTable:
    rows = []
    for each in figures.estimates:
        given = clock.time(each.latest)
        if each.earliest:
            given = f"{clock.time(each.earliest)} to {given}"
        real = clock.time(each.ended) if each.ended else "not known" if figures.withdrawn else "not over"
        rows.append((clock.time(each.said_at), given, real, _off(each)))
    late = frozenset(i for i, each in enumerate(figures.estimates) if each.held is False)
    head = ("Said at", "Over by", "Really over", "Off by")
    return ReportTable("Estimates against the real end", head, tuple(rows), bad=late)


def _off(estimate: Estimate) -> str:
    off = estimate.off
    if off is None:
        return "open"
    if estimate.earliest and not off:
        return "within what was said"
    if abs(off) < timedelta(minutes=1):
        return "on time"
    return f"{length(abs(off))} {'later' if off > timedelta() else 'earlier'} than said"


def _deliveries(figures: Figures) -> ReportTable:
    ways: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for each in figures.story.tellings:
        ways[each.channel].update(each.outcomes)
    found = {outcome for counts in ways.values() for outcome in counts}
    order = [*(o for o in _FIRST_OUTCOMES if o in found), *sorted(found - set(_FIRST_OUTCOMES))]
    among = {"delivered", "bounced", "failed"}
    rows = tuple(
        (
            f"of these {outcome}" if outcome in among else outcome,
            *(f"{counts[outcome]:,}" for counts in ways.values()),
        )
        for outcome in order
    )
    head = ("Outcome", *(_WAYS[way] for way in ways))
    return ReportTable("Deliveries", head, rows, "Accepted: by the provider.")


def people_table(figures: Figures, clock: Clock) -> ReportTable:
    """Return the nudges to our own people, one row per nudge and outcome."""
    alike: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for each in figures.story.nudges:
        alike[clock.time(each.at), each.notice, each.outcome][each.way] += each.count
    rows = tuple(
        (at, ", ".join(f"{_WAYS.get(way, way)} {count:,}" for way, count in ways.items()), outcome)
        for (at, _, outcome), ways in alike.items()
    )
    return ReportTable("Nudges to our own people", ("At", "By", "Outcome"), rows)


def _texts(figures: Figures) -> str:
    texts = figures.story.texts
    if not texts.count:
        return "none"
    about = "" if texts.exact else "about "
    cost = f", {about}{figures.cost:,.2f} in all" if figures.cost is not None else ", no price is set"
    return f"{many(texts.count, 'text')}, {about}{many(texts.segments, 'segment')}{cost}"
