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
    """Some text; `anchor` is start, middle or end."""

    x: float
    y: float
    text: str
    what: str
    anchor: str = "start"


class MessageMark(NamedTuple):
    """A message: a shape given by `what`, with a letter or number in it; without one it is small."""

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
_CROWD = 60  # so many marks in a lane are small, wherever they are
_RARE = {Shape.CORRECTION, Shape.END}
_LEVELS, _LEVEL = 2, -21.0  # rows of marks, from a lane's line upwards
_ROWS, _ROW = 3, 13.0  # rows of promises, from 18 below a lane's line downwards


def mark_of(telling: Telling) -> tuple[str, str]:
    """Return the shape of a message's mark, and the letter or number in it."""
    what = telling.shape.name.lower().replace("_", "-")
    return what, _LETTERS.get(telling.shape, str(telling.number))


def timeline_of(figures: Figures, clock: Clock, width: float = 1100) -> Drawing:
    """Return the timeline: time runs to the right, one lane below another.

    Names are beside the lanes or, if it is narrower than 600 pixels, above them.
    """
    return _Plot(figures, clock, width).made


def _moments(figures: Figures) -> list[datetime]:
    """Return every moment that the timeline shows."""
    story = figures.story
    moments = [beginning(story), figures.until, story.first_release]
    moments += [each.first_at for each in story.tellings if each.first_at]
    moments += [promise.promised for promise in figures.promises if promise.state is not Kept.OPEN]
    moments += [promise.word_at for promise in figures.promises if promise.word_at]
    return moments


class _Placed(NamedTuple):
    """A message with its place along the axis, where its mark is shown, and on which level."""

    telling: Telling
    along: float
    shown: float
    level: int


class _Plot:
    def __init__(self, figures: Figures, clock: Clock, width: float) -> None:
        self.figures, self.clock, self.is_wide = figures, clock, width >= 600
        self.name = min(22, max([14, *(len(each.name) for each in figures.audiences)]))  # characters
        self.start, self.end = (18.0 + 9 * self.name if self.is_wide else 16.0), width - 32
        self.lane, self.base = (116.0, 52.0) if self.is_wide else (134.0, 70.0)
        self.scale = Scale(_moments(figures), self.start, self.end)
        self.made = Drawing(width)
        self.first = self._bounds()
        self.bottom = self.first + self.lane * len(figures.audiences)
        self._axis()
        for number, each in enumerate(figures.audiences):
            self._lane(self.first + number * self.lane, number, each)
        self.made.height = self.bottom + 8

    def _bounds(self) -> float:
        """Label the start and the end; return where the first lane begins."""
        story, ended = self.figures.story, self.figures.ended
        start = story.began_at or beginning(story)
        began = f"{'began' if story.started or story.began_at else 'first'} {self.clock.time(start)}"
        along, first = self.scale.at(start), 58.0
        self.made.labels.append(Label(along, 16, began, "bound began"))
        if ended:
            over, text = self.scale.at(ended), f"over {self.clock.time(ended)}"
            fits = over + 8 * len(text) < self.made.width
            if (over if fits else over - 8 * len(text)) < along + 8 * len(began):
                first += 16
            self.made.labels.append(Label(over, first - 42, text, "bound over", "start" if fits else "end"))
            title = f"lasted {length(max(ended - start, timedelta()))}"
            what = "work" if story.is_planned else "down"
            self._bar(self.made.bars, (along, over), first - 8, 5, what, title)
        return first

    def _axis(self) -> None:
        story, ended = self.figures.story, self.figures.ended
        self._cross_line(self.scale.at(story.began_at or beginning(story)), "began")
        if ended:
            self._cross_line(self.scale.at(ended), "over")
        breaks = [(self.scale.places[i] + self.scale.places[i + 1]) / 2 for i in self.scale.breaks]
        taken = [(along, 56.0) for along in breaks]
        shown: datetime | None = None
        for tick in ticks(self.scale, (self.end - self.start) / 64):
            along = self.scale.at(tick)
            self._cross_line(along, "grid")
            if any(abs(along - other) < room for other, room in taken):
                continue
            taken.append((along, 63.0))
            self._axis_label(along, self.clock.hour_or_day(tick, shown))
            shown = tick
        for i, along in zip(self.scale.breaks, breaks, strict=True):
            self._cross_line(along, "break")
            self._axis_label(along, f"… {roughly(self.scale.moments[i + 1] - self.scale.moments[i])} …")

    def _lane(self, top: float, number: int, each: AudienceFigures) -> None:
        base = top + self.base
        if number % 2 == 0:
            self.made.bars.insert(0, Bar(0, top, self.made.width, self.lane, "lane"))
        self._lane_name(top, base, each)
        self.made.lines.append(Line(self.start, base, self.end, base, "base"))
        placed = list(self._placed(tellings_of(self.figures.story, each.name)))
        crowded = len(placed) > _CROWD or any(
            shown - along > 2 * _MARK or along < shown > self.end + _MARK / 2 for _, along, shown, _ in placed
        )
        self._promises(base + 18, each.promises, crowded=crowded)
        if each.silence:
            self._silence(base, each.silence, [] if crowded else [along for _, along, _, _ in placed])
        self._messages(base, each, placed, crowded=crowded)

    def _lane_name(self, top: float, base: float, each: AudienceFigures) -> None:
        notes = [many(each.messages, "message"), *([f"{each.kept} of {each.due} kept"] if each.due else [])]
        labels, name = self.made.labels, cut(each.name, self.name if self.is_wide else 18)
        labels.append(Label(12 if self.is_wide else 24, base - 8 if self.is_wide else top + 18, name, "name"))
        if self.is_wide:
            labels += [Label(12, base + 9 + 15 * i, note, "note") for i, note in enumerate(notes)]
        else:
            labels.append(Label(self.made.width - 12, top + 18, ", ".join(notes), "note", "end"))

    def _placed(self, told: Iterable[Telling]) -> Iterator[_Placed]:
        """Yield where marks belong and where they are shown: a little later rather than on top of another."""
        taken = [-_MARK] * _LEVELS
        for telling in told:
            if telling.first_at is None:
                continue
            along = self.scale.at(telling.first_at)
            level = _first_free(taken, along)
            shown = max(along, taken[level] - 2)
            taken[level] = shown + _MARK
            yield _Placed(telling, along, shown, level)

    def _messages(
        self, base: float, each: AudienceFigures, placed: Iterable[_Placed], *, crowded: bool
    ) -> None:
        """Draw the marks; in a crowded lane small and at their true places, but for corrections and ends."""
        clear = 0.0
        for telling, along, shown, level in placed:
            what, letter = mark_of(telling)
            if crowded:
                shown, level = along, 0
                if telling.shape in _RARE and along >= clear:
                    level, clear = _LEVELS - 1, along + _MARK
                else:
                    letter = ""
            y = base + level * _LEVEL
            if level:
                self.made.lines.append(Line(shown, base, shown, y, "stem"))
            self.made.marks.append(MessageMark(shown, y, what, letter, self._title(telling, each)))

    def _title(self, telling: Telling, each: AudienceFigures) -> str:
        ways = [
            t for t in self.figures.story.tellings if (t.notice, t.audience) == (telling.notice, each.name)
        ]
        readers = ", ".join(f"{t.reached:,} by {'SMS' if t.channel == 'sms' else t.channel}" for t in ways)
        at = self.clock.time(telling.first_at) if telling.first_at else ""
        return f"{name_of(telling)} at {at}: {each.name}, {readers}"

    def _promises(self, top: float, promises: Sequence[Promise], *, crowded: bool) -> None:
        taken = [0.0] * _ROWS
        drawn: set[tuple[datetime, Kept]] = set()
        placed: list[tuple[int, float, float, Promise]] = []
        for promise in sorted(promises, key=lambda each: (each.made_at, each.promised)):
            if (promise.promised, promise.state) in drawn:
                continue  # repeated, for example by a reminder
            drawn.add((promise.promised, promise.state))
            start, until = self.scale.at(promise.made_at), self.scale.at(promise.promised)
            if promise.late or promise.state is Kept.BROKEN:
                until = self.scale.at(promise.promised + promise.late) if promise.late else self.end
            row = _first_free(taken, start)
            # With room for the text after it.
            has_text = promise.state not in _FINE and not crowded
            taken[row] = until + 2 + (8 * len(_lateness(promise)) if has_text else 0)
            placed.append((row, start, until, promise))
        words: list[tuple[float, float, float]] = []
        for row, start, until, promise in placed:
            self._promise(top + row * _ROW, promise, start, until)
            if crowded or promise.state in _FINE:
                continue
            size = 8 * len(_lateness(promise))
            below = until > self.end - size
            first, last = (until - size, until) if below else (until + 1, until + size)
            y = top + row * _ROW + (18 if below else 7)
            is_taken = any(
                r == row + below and s < last and u > first and p is not promise for r, s, u, p in placed
            ) or any(abs(y - other) < 12 and s < last and u > first for s, u, other in words)
            if not is_taken:
                words.append((first, last, y))
                x, anchor = (until, "end") if below else (until + 5, "start")
                self.made.labels.append(Label(x, y, _lateness(promise), "late", anchor))

    def _promise(self, top: float, promise: Promise, start: float, until: float) -> None:
        title = (
            f"promised for {self.clock.time(promise.promised)} at {self.clock.time(promise.made_at)}: "
            f"{said_of(promise, self.clock)}"
        )
        end, what = self.scale.at(promise.promised), f"span {promise.state.name.lower()}"
        self._bar(self.made.spans, (start, max(end, start + 2)), top, 6, what, title)
        self._bar(self.made.spans, (end - 1, end + 1), top - 2, 10, "deadline")
        if promise.state not in _FINE and until > end:
            self._bar(self.made.spans, (end, until), top - 1, 8, "span overdue", title)

    def _silence(self, base: float, gap: Gap, marks: Sequence[float]) -> None:
        start, end = self.scale.at(gap.start), self.scale.at(gap.end)
        title = f"longest silence, {self.clock.time(gap.start)} to {self.clock.time(gap.end)}"
        self._bar(self.made.spans, (start, end), base - 3, 6, "silence", title)
        text = length(gap.length) + (" of silence" if end - start > 130 else "")
        # A text to some readers only may fall within it: the label stays clear of that.
        places = [start + share * (end - start) for share in (0.5, 0.25, 0.75)]
        room = 3.6 * len(text) + _MARK / 2
        along = next((at for at in places if all(abs(at - mark) > room for mark in marks)), places[0])
        along = max(self.start + room, min(along, self.made.width - room))
        self.made.labels.append(Label(along, base - 14, text, "quiet", "middle"))

    def _axis_label(self, along: float, text: str) -> None:
        self.made.labels.append(Label(along, self.first - 20, text, "tick", "middle"))

    def _cross_line(self, along: float, what: str) -> None:
        """Draw a line across all lanes at one time."""
        self.made.lines.append(Line(along, self.first - 12, along, self.bottom, what))

    @staticmethod
    def _bar(
        into: list[Bar], between: tuple[float, float], y: float, height: float, what: str, title: str = ""
    ) -> None:
        start, end = between
        into.append(Bar(start, y, max(0.0, end - start), height, what, title))


def _lateness(promise: Promise) -> str:
    return "no message" if promise.late is None else f"{length(promise.late)} late"


def _first_free(taken: Sequence[float], along: float) -> int:
    """Return the first row that is not taken at `along`, else the one that is free first."""
    return next((row for row, until in enumerate(taken) if until <= along), taken.index(min(taken)))
