"""The timeline of one incident, as shapes to draw."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import accumulate, pairwise
from typing import NamedTuple

from commcast.report.figures import AudienceFigures, Figures, Gap, Kept, Promise, tellings_of
from commcast.report.story import Shape, Telling
from commcast.report.words import Clock, beginning, cut, length, many, name_of, roughly, said_of

_STEPS = [timedelta(minutes=minutes) for minutes in (5, 10, 15, 30, 60, 120, 180, 360, 720)]
# Longer periods without events are drawn shorter than they are, and marked.
_BREAK_ABOVE, _BREAK_SHARE, _BREAK_DRAWN = timedelta(hours=6), 0.25, 0.1


class Scale:
    """Maps moments to pixels along the axis. `breaks` numbers the long gaps, which are drawn shorter."""

    def __init__(self, moments: Iterable[datetime], start: float, end: float) -> None:
        self.moments = sorted(set(moments))
        lengths = [after - before for before, after in pairwise(self.moments)]
        rest, broken = sum(lengths, timedelta()), set[int]()
        for i in sorted(range(len(lengths)), key=lambda i: lengths[i], reverse=True):
            if lengths[i] > max(_BREAK_ABOVE, _BREAK_SHARE * rest):
                rest -= lengths[i]
                broken.add(i)
        self.breaks = sorted(broken)
        drawn = [each.total_seconds() for each in lengths]
        for i in broken:
            drawn[i] = _BREAK_DRAWN * (rest.total_seconds() or 1.0)
        size = (end - start) / (sum(drawn) or 1.0)
        self.places = [start + along * size for along in accumulate(drawn, initial=0.0)]

    def at(self, moment: datetime) -> float:
        """Return the pixel of a moment; one outside the axis is at its edge."""
        if len(self.moments) < 2:
            return self.places[0]
        i = max(0, min(bisect_right(self.moments, moment) - 1, len(self.moments) - 2))
        before, after = self.moments[i], self.moments[i + 1]
        share = min(1.0, max(0.0, (moment - before) / (after - before)))
        return self.places[i] + share * (self.places[i + 1] - self.places[i])


def ticks(scale: Scale, most: float) -> Iterator[datetime]:
    """Yield round clock times at equal distances, at most `most` of them."""
    first, last = scale.moments[0], scale.moments[-1]
    span = last - first
    shown = span - sum((scale.moments[i + 1] - scale.moments[i] for i in scale.breaks), timedelta())
    step = next((each for each in _STEPS if shown / each <= most), timedelta(days=1))
    while span / step > 500:  # a story of months
        step *= 2
    whole = timedelta(seconds=int(first.timestamp()) % int(step.total_seconds()))
    tick = first.replace(microsecond=0) - whole
    while tick <= last:
        if tick >= first and not any(scale.moments[i] < tick < scale.moments[i + 1] for i in scale.breaks):
            yield tick
        tick += step


class Bar(NamedTuple):
    """A rectangle; `what` is its CSS class, `title` its tooltip."""

    x: float
    y: float
    width: float
    height: float
    what: str
    title: str = ""


class Line(NamedTuple):
    """A straight line."""

    x1: float
    y1: float
    x2: float
    y2: float
    what: str


class Label(NamedTuple):
    """Some text; `anchor` is start, middle or end; `turned` text runs upwards."""

    x: float
    y: float
    text: str
    what: str
    anchor: str = "start"
    turned: bool = False


class MessageMark(NamedTuple):
    """A message: a shape given by `what`, with a letter or number in it."""

    x: float
    y: float
    what: str
    text: str
    title: str


@dataclass(slots=True)
class Drawing:
    """All shapes of one drawing; those of one kind are in drawing order."""

    width: float
    height: float = 0.0
    bars: list[Bar] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    spans: list[Bar] = field(default_factory=list)
    marks: list[MessageMark] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)


_MARK = 20.0  # closer marks would touch
_FINE = {Kept.KEPT, Kept.OPEN}
_LETTERS = {
    Shape.HOLDING: "H",
    Shape.REMINDER: "R",
    Shape.FOLLOW_UP: "F",
    Shape.CORRECTION: "C",
    Shape.END: "✓",
}
_ROOMY = 80  # a lane this wide has room for text beside its line


class _Frame(NamedTuple):
    """The layout: time runs along from `start` to `end`; lanes are across, each `lane` wide from `first` on.

    `base` is the place of a lane's line in it; marks are in `levels` rows from there, `level` apart, promises
    in `rows` rows from `span` beyond the line, `row` apart.
    """

    wide: bool
    width: float
    start: float
    end: float
    first: float
    lane: float
    base: float
    levels: int
    level: float
    rows: int
    span: float
    row: float


def wide_timeline(figures: Figures, clock: Clock, width: float = 1100) -> Drawing:
    """Return the timeline for wide pages: time runs to the right."""
    frame = _Frame(True, width, 144, width - 34, 58, 116, 52, 2, -21, 3, 18, 13)
    return _Plot(figures, clock, frame).drawing()


def tall_timeline(figures: Figures, clock: Clock) -> Drawing:
    """Return the timeline for a phone: time runs down, as long as the messages need."""
    count = max(1, len(figures.audiences))
    lane = 306 / min(count, 5)
    room, start = _room(figures), 66 if lane > _ROOMY else 140
    frame = _Frame(False, 54 + lane * count, start, start + room, 50, lane, 28, 2, -19, 2, 13, 8)
    return _Plot(figures, clock, frame).drawing()


def _room(figures: Figures) -> float:
    """Return the length of a tall timeline on which most neighbouring marks don't touch."""
    scale = Scale(_moments(figures), 0, 1)
    closest = [
        scale.at(after.first_at) - scale.at(before.first_at)
        for each in figures.audiences
        for before, after in pairwise(tellings_of(figures.story, each.name))
        if before.first_at and after.first_at and after.first_at > before.first_at
    ]
    if not closest:
        return 320
    closest.sort()
    return max(320.0, min(1400.0, (_MARK + 4) / closest[len(closest) // 10]))


def _moments(figures: Figures) -> list[datetime]:
    """Return every moment that the timeline shows."""
    story = figures.story
    moments = [beginning(story), figures.until, story.first_release]
    moments += [each.first_at for each in story.tellings if each.first_at]
    moments += [promise.promised for promise in figures.promises if promise.state is not Kept.OPEN]
    moments += [promise.word_at for promise in figures.promises if promise.word_at]
    return moments


class _Plot:
    def __init__(self, figures: Figures, clock: Clock, frame: _Frame) -> None:
        self.figures, self.clock, self.frame = figures, clock, frame
        self.scale = Scale(_moments(figures), frame.start, frame.end)
        self.made = Drawing(frame.width)
        self.bottom = frame.first + frame.lane * len(figures.audiences)

    def drawing(self) -> Drawing:
        """Return all shapes."""
        self._axis()
        self._bounds()
        for number, each in enumerate(self.figures.audiences):
            self._lane(number, each)
        self.made.height = self.bottom + 8 if self.frame.wide else self.frame.end + 20
        return self.made

    def _axis(self) -> None:
        clear = 64.0 if self.frame.wide else 30.0
        breaks = [(self.scale.places[i] + self.scale.places[i + 1]) / 2 for i in self.scale.breaks]
        # On a tall page, the labels of the start and end are among those of the hours.
        taken = [] if self.frame.wide else [(self.scale.at(at), 26.0) for at in self._ends]
        taken += [(along, 56.0 if self.frame.wide else 16.0) for along in breaks]
        shown: datetime | None = None
        for tick in ticks(self.scale, (self.frame.end - self.frame.start) / clear):
            along = self.scale.at(tick)
            self._cross_line(along, "grid")
            if any(abs(along - other) < room for other, room in taken):
                continue
            taken.append((along, clear - 1))
            self._axis_label(along, self.clock.hour_or_day(tick, shown))
            shown = tick
        for i, along in zip(self.scale.breaks, breaks, strict=True):
            self._cross_line(along, "break")
            quiet = roughly(self.scale.moments[i + 1] - self.scale.moments[i])
            self._axis_label(along, f"… {quiet} …" if self.frame.wide else quiet)

    @property
    def _ends(self) -> list[datetime]:
        """When it began and, if it is over, when it ended."""
        story, ended = self.figures.story, self.figures.ended
        return [story.began_at or beginning(story), *([ended] if ended else [])]

    def _bounds(self) -> None:
        """Draw the start and end across all lanes."""
        story, ended = self.figures.story, self.figures.ended
        start = story.began_at or beginning(story)
        began, over = self.scale.at(start), self.scale.at(ended) if ended else None
        close = over is not None and over - began < (250 if self.frame.wide else 34)
        word = "began" if story.started or story.began_at else "first"
        self._bound(start, word, "began", "end" if close else "start")
        if ended and over is not None:
            room = over < self.frame.end - 160
            self._bound(ended, "over", "over", "start" if room else "end", 14 if close else 0)
            title = f"lasted {length(max(ended - start, timedelta()))}"
            across = self.frame.first - (8 if self.frame.wide else 6)
            what = "work" if story.is_planned else "down"
            self.made.bars.append(self._bar(began, over, across, 5, what, title))

    def _bound(self, at: datetime, text: str, what: str, anchor: str, lower: float = 0) -> None:
        """Draw one of the two; on a tall page its label is among the hours, moved down by `lower`."""
        along, kind = self.scale.at(at), f"bound {what}"
        self._cross_line(along, what)
        if self.frame.wide:
            self.made.labels.append(Label(along, 16, f"{text} {self.clock.time(at)}", kind, anchor))
            return
        hour = f"{at.astimezone(self.clock.zone):%H:%M}"
        self.made.labels.append(Label(42, along - 2 + lower, text, kind, "end"))
        self.made.labels.append(Label(42, along + 12 + lower, hour, kind, "end"))

    def _lane(self, number: int, each: AudienceFigures) -> None:
        across = self.frame.first + number * self.frame.lane
        base = across + self.frame.base
        if number % 2 == 0:
            start, end = (0.0, self.frame.width) if self.frame.wide else (0.0, self.frame.end + 20)
            self.made.bars.insert(0, self._bar(start, end, across, self.frame.lane, "lane"))
        self._lane_name(across, each)
        self._line((self.frame.start, base), (self.frame.end, base), "base")
        told = tellings_of(self.figures.story, each.name)
        self._promises(base + self.frame.span, each.promises)
        if each.silence:
            self._silence(base, each.silence, [self.scale.at(one.first_at) for one in told if one.first_at])
        self._messages(base, each, told)

    def _lane_name(self, across: float, each: AudienceFigures) -> None:
        of = " of " if self.frame.lane > _ROOMY else "/"
        notes = [many(each.messages, "message"), f"{each.kept}{of}{each.due} kept" if each.due else ""]
        if self.frame.wide:
            base = across + self.frame.base
            self.made.labels.append(Label(12, base - 8, cut(each.name, 14), "name"))
            for i, note in enumerate(filter(None, notes)):
                self.made.labels.append(Label(12, base + 9 + 15 * i, note, "note"))
            return
        fits, turned = int(self.frame.lane / 7.5), self.frame.lane <= _ROOMY
        name = cut(each.name, 10 if turned else fits)
        x, y = (across + 24, self.frame.start - 50) if turned else (across + 6, 18)
        self.made.labels.append(Label(x, y, name, "name", turned=turned))
        y = self.frame.start - 32
        self.made.labels.append(Label(across + 6, y, cut(notes[1] or notes[0], fits + 2), "note"))

    def _messages(self, base: float, each: AudienceFigures, told: Sequence[Telling]) -> None:
        taken = [-_MARK] * (self.frame.levels if self.frame.lane > _ROOMY else 1)
        for telling in told:
            if telling.first_at is None:
                continue
            along = self.scale.at(telling.first_at)
            level = _first_free(taken, along)
            along = max(along, taken[level] - 2)  # a little later rather than on top of another
            taken[level] = along + _MARK
            across = base + level * self.frame.level
            if level:
                self._line((along, base), (along, across), "stem")
            x, y = self._point(along, across)
            what = telling.shape.name.lower().replace("_", "-")
            letter = _LETTERS.get(telling.shape, str(telling.number))
            self.made.marks.append(MessageMark(x, y, what, letter, self._title(telling, each)))

    def _title(self, telling: Telling, each: AudienceFigures) -> str:
        ways = [
            t for t in self.figures.story.tellings if (t.notice, t.audience) == (telling.notice, each.name)
        ]
        readers = ", ".join(f"{t.reached:,} by {'SMS' if t.channel == 'sms' else t.channel}" for t in ways)
        at = self.clock.time(telling.first_at) if telling.first_at else ""
        return f"{name_of(telling)} at {at}: {each.name}, {readers}"

    def _promises(self, across: float, promises: Sequence[Promise]) -> None:
        taken = [0.0] * self.frame.rows
        drawn: set[tuple[datetime, Kept]] = set()
        placed: list[tuple[int, float, float, float, Promise]] = []
        for promise in sorted(promises, key=lambda each: (each.made_at, each.promised)):
            if (promise.promised, promise.state) in drawn:
                continue  # repeated, for example by a reminder
            drawn.add((promise.promised, promise.state))
            start, end = self.scale.at(promise.made_at), self.scale.at(promise.promised)
            until = self.scale.at(promise.promised + promise.late) if promise.late else end
            if promise.state is Kept.BROKEN:
                until = self.frame.end
            row = _first_free(taken, start)
            # With room for the text after it.
            text = 8 * len(_lateness(promise)) if self.frame.wide and promise.state not in _FINE else 0
            taken[row] = until + 2 + text
            placed.append((row, start, end, until, promise))
        for row, start, end, until, promise in placed:
            size = 8 * len(_lateness(promise))
            below = until > self.frame.end - size
            first, last = (until - size, until) if below else (until + 1, until + size)
            on_the_text = [p for r, s, _, u, p in placed if r == row + below and s < last and u > first]
            label = None if set(on_the_text) - {promise} else "below" if below else "behind"
            self._promise(across + row * self.frame.row, promise, start, end, until, label)

    def _promise(
        self, across: float, promise: Promise, start: float, end: float, until: float, label: str | None
    ) -> None:
        """Draw one; on a wide page its text is behind or below it, None if a bar is there."""
        title = (
            f"promised for {self.clock.time(promise.promised)} at {self.clock.time(promise.made_at)}: "
            f"{said_of(promise, self.clock)}"
        )
        what = f"span {promise.state.name.lower()}"
        self.made.spans.append(self._bar(start, max(end, start + 2), across, 6, what, title))
        self.made.spans.append(self._bar(end - 1, end + 1, across - 2, 10, "deadline"))
        if promise.state in _FINE:
            return
        if until > end:
            self.made.spans.append(self._bar(end, until, across - 1, 8, "span overdue", title))
        text = _lateness(promise)
        if self.frame.wide and label:
            x, y, anchor = (until, 18, "end") if label == "below" else (until + 5, 7, "start")
            self.made.labels.append(Label(x, across + y, text, "late", anchor))
        elif not self.frame.wide:
            middle = (end + until) / 2
            if until - end > 7 * len(text):  # there is room beside its bar
                self.made.labels.append(Label(across + 19, middle, text, "late", "middle", turned=True))
            elif self.frame.lane > _ROOMY:
                self.made.labels.append(Label(across + 11, middle + 4, text.replace(" late", ""), "late"))

    def _silence(self, base: float, gap: Gap, marks: Sequence[float]) -> None:
        start, end = self.scale.at(gap.start), self.scale.at(gap.end)
        title = f"longest silence, {self.clock.time(gap.start)} to {self.clock.time(gap.end)}"
        self.made.spans.append(self._bar(start, end, base - 3, 6, "silence", title))
        text = length(gap.length)
        if self.frame.wide and end - start > 130:
            text += " of silence"
        # A text to some readers only may fall within it: the label stays clear of that.
        places = [start + share * (end - start) for share in (0.5, 0.25, 0.75)]
        room = 3.6 * len(text) + _MARK / 2
        along = next((at for at in places if all(abs(at - mark) > room for mark in marks)), places[0])
        if self.frame.wide:
            self.made.labels.append(Label(along, base - 14, text, "quiet", "middle"))
        else:
            self.made.labels.append(Label(base - 9, along, text, "quiet", "middle", turned=True))

    def _axis_label(self, along: float, text: str) -> None:
        if self.frame.wide:
            self.made.labels.append(Label(along, self.frame.first - 20, text, "tick", "middle"))
        else:
            self.made.labels.append(Label(42, along + 4, text, "tick", "end"))

    def _cross_line(self, along: float, what: str) -> None:
        """Draw a line across all lanes at one time."""
        first, last = (self.frame.first - 12, self.bottom) if self.frame.wide else (46, self.frame.width)
        self._line((along, first), (along, last), what)

    def _line(self, start: tuple[float, float], end: tuple[float, float], what: str) -> None:
        self.made.lines.append(Line(*self._point(*start), *self._point(*end), what))

    def _bar(self, start: float, end: float, across: float, thick: float, what: str, title: str = "") -> Bar:
        x, y = self._point(start, across)
        length = max(0.0, end - start)
        size = (length, thick) if self.frame.wide else (thick, length)
        return Bar(x, y, *size, what, title)

    def _point(self, along: float, across: float) -> tuple[float, float]:
        return (along, across) if self.frame.wide else (across, along)


def _lateness(promise: Promise) -> str:
    return "no message" if promise.late is None else f"{length(promise.late)} late"


def _first_free(taken: Sequence[float], along: float) -> int:
    """Return the first row that is not taken at `along`, else the one that is free first."""
    return next((row for row, until in enumerate(taken) if until <= along), taken.index(min(taken)))
