"""The figures of a report, each defined here with its units: computed from a story alone (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from enum import StrEnum
from itertools import pairwise

from commcast.model.incident import over_since
from commcast.model.times import is_past
from commcast.plan.reminders import is_inside
from commcast.report.story import Pledge, Shape, Story, StoryUpdate, Telling


class Kept(StrEnum):
    """What became of a promise."""

    KEPT = "kept"
    PARTLY = "partly"
    LATE = "late"
    BROKEN = "never"
    OPEN = "open"


FIRST_WORD = "first word"  # stands for the notice that promised it, as none did
NIGHT = (time(21), time(8))  # if the configuration sets no quiet hours
# Nothing was resolved, so estimates cannot be compared with such an end.
_NOT_AN_END = {"retracted", "merged", "cancelled"}
# Nothing has happened yet: readers are waiting for the announced time, not for a message.
_STILL_AHEAD = {"expected", "scheduled", "rescheduled"}


@dataclass(frozen=True, slots=True)
class Promise:
    """A promise that one message made to one audience at `made_at`: the next message by `promised`.

    `share` (0 to 1) is how many of its readers who could still be reached had a later message accepted by
    then. kept: all but `tolerate` of them. partly: fewer. late: nobody by then, but somebody afterwards.
    never: nobody at all, and its time has passed. open: its time has not come. `late` is the time from
    `promised` until the first reader had the next message (partly: the last reader), None if the promise was
    kept or nobody had one. `by_holding` says that the next message was a holding statement.
    """

    notice: str
    audience: str
    made_at: datetime
    promised: datetime
    state: Kept
    share: float
    readers: int
    late: timedelta | None
    word_at: datetime | None
    by_holding: bool


@dataclass(frozen=True, slots=True)
class Gap:
    """A time without a message to an audience: from one to the next, or to the end."""

    start: datetime
    end: datetime

    @property
    def length(self) -> timedelta:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class AudienceFigures:
    """One audience. A message counts from the moment its first reader had it.

    `first_at` is when its first reader had the first message, `first_all_at` when its last reader had it.
    `from_start` is the time from the start of the incident to the first message (None if the start is
    unknown, nobody was told, or it was announced before), `from_release` the same from the first release.
    `silence` is the longest gap, None for none. `messages` counts notices that reached it, on any channel.
    """

    name: str
    first_at: datetime | None
    first_all_at: datetime | None
    from_start: timedelta | None
    from_release: timedelta | None
    silence: Gap | None
    messages: int
    promises: tuple[Promise, ...]
    outcomes: Counter[str]
    texts_at_night: int

    @property
    def kept(self) -> int:
        return sum(promise.state is Kept.KEPT for promise in self.promises)

    @property
    def due(self) -> int:
        """How many promises are not open: their time has come."""
        return sum(promise.state is not Kept.OPEN for promise in self.promises)


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimate of the end: when it was given, for when (`earliest` only for a range), and the real end.

    `off` is the real end minus `latest`: above zero, it took longer than estimated. In a range it is zero,
    before the range the real end minus `earliest`. None while the incident is not over, or if it was
    withdrawn. One that later updates only carry forward counts once; a wrong one that was corrected does not.
    """

    number: int
    said_at: datetime
    earliest: datetime | None
    latest: datetime
    ended: datetime | None

    @property
    def off(self) -> timedelta | None:
        if self.ended is None:
            return None
        if self.earliest is None or self.ended > self.latest:
            return self.ended - self.latest
        return min(timedelta(), self.ended - self.earliest)

    @property
    def held(self) -> bool | None:
        """Whether it was over by `latest`; None if unknown."""
        return None if self.off is None else self.off <= timedelta()


@dataclass(frozen=True, slots=True)
class Figures:
    """What a report shows of one incident.

    `ended` is when it was over, according to the last end or its correction; `until` is the end of the period
    shown: the last message, or now. `holdings` and `corrections` count notices, once for all audiences.
    `cost` is the number of text segments times the price of one, None if no price is set.
    """

    story: Story
    ended: datetime | None
    until: datetime
    audiences: tuple[AudienceFigures, ...]
    estimates: tuple[Estimate, ...]
    holdings: int
    corrections: int
    cost: float | None

    @property
    def promises(self) -> tuple[Promise, ...]:
        return tuple(promise for each in self.audiences for promise in each.promises)

    @property
    def kept(self) -> int:
        return sum(each.kept for each in self.audiences)

    @property
    def due(self) -> int:
        return sum(each.due for each in self.audiences)

    @property
    def outcomes(self) -> Counter[str]:
        return sum((each.outcomes for each in self.audiences), Counter())

    @property
    def down(self) -> timedelta | None:
        """How long it lasted, until its end or now, without the time it was over; None if unknown."""
        return self._since(self.story.started)

    @property
    def down_at_least(self) -> timedelta | None:
        """The same; from the first word, or from when what was expected came, if its start is unknown."""
        story = self.story
        first = story.began_at if story.was_expected else story.stages[0].at
        return self._since(story.started or first)

    def _since(self, start: datetime | None) -> timedelta | None:
        if start is None or self.story.is_planned or self.withdrawn:
            return None
        lasted = (self.ended or self.story.now) - start - over_since(self.story.stages)[1]
        return max(timedelta(), lasted)

    @property
    def is_open(self) -> bool:
        """Whether it is an incident that is not over: its downtime continues."""
        return not self.story.is_planned and not self.story.is_over

    @property
    def withdrawn(self) -> bool:
        """Whether it ended without being resolved: a false alarm, cancelled or merged into another one."""
        return self.story.stages[-1].status in _NOT_AN_END

    @property
    def texts_at_night(self) -> int:
        return sum(each.texts_at_night for each in self.audiences)


def figures_of(
    story: Story,
    *,
    tolerate: float = 0.02,
    sms_price: float = 0.0,
    night: tuple[time, time] = NIGHT,
    first_within: Callable[[int], timedelta] | None = None,
) -> Figures:
    """Return the figures of a story. `tolerate` is the share (0 to 1) of readers a kept promise may miss.

    `first_within` gives the time for the first word by severity. One that came later, or never, counts as a
    promise that was not kept; one in time only shows in the times of the first message.
    """
    ended, _ = over_since(story.stages)
    names = dict.fromkeys(each.audience for each in story.tellings)
    by = _first_word_by(story, first_within) if first_within else None
    audiences = [_audience(name, story, tolerate, night, by) for name in names]
    told = [each.last_at for each in story.tellings if each.last_at and each.shape is not Shape.FOLLOW_UP]
    moments = [stage.released_at for stage in story.stages] + told + ([ended] if ended else [])
    return Figures(
        story=story,
        ended=ended,
        until=max(moments) if story.is_over else max(story.now, *moments),
        audiences=tuple(audiences),
        estimates=tuple(_estimates(story, ended)),
        holdings=len({each.statement for each in story.tellings if each.shape is Shape.HOLDING}),
        corrections=len({each.notice for each in story.tellings if each.shape is Shape.CORRECTION}),
        cost=story.texts.segments * sms_price if sms_price else None,
    )


def tellings_of(story: Story, audience: str) -> list[Telling]:
    """Return, for each notice, the telling that reached an audience first, oldest first."""
    reached = [each for each in story.tellings if each.audience == audience and each.first_at is not None]
    first: dict[str, Telling] = {}
    for each in sorted(reached, key=lambda each: each.first_at or each.frozen_at):
        first.setdefault(each.notice, each)
    return list(first.values())


def _first_word_by(story: Story, first_within: Callable[[int], timedelta]) -> datetime | None:
    """Return when the first word was owed, None for planned and expected events and if others told it."""
    if story.is_planned or story.was_expected or story.stages[0].elsewhere:
        return None
    return story.first_release + first_within(story.stages[0].severity)


def _first_word(name: str, story: Story, by: datetime) -> Pledge:
    """Return the first word as a promise to all who were to be told; nobody counts who opted out before."""
    theirs = [each for each in story.tellings if each.audience == name]
    told = tellings_of(story, name)[:1]
    meant = sum(
        count
        for each in theirs
        if each.notice == theirs[0].notice
        for outcome, count in each.outcomes.items()
        if not outcome.startswith("skipped: hears nothing")
    )
    at = told[0].first_at if told else None
    is_in_time = at is not None and not is_past(by, at)
    return Pledge(
        notice=FIRST_WORD,
        audience=name,
        made_at=story.first_release,
        promised=by,
        first_at=at,
        last_at=told[0].last_at if told else None,
        readers=meant,
        gone=0,
        in_time=meant if is_in_time else 0,
    )


def _audience(
    name: str, story: Story, tolerate: float, night: tuple[time, time], first_by: datetime | None
) -> AudienceFigures:
    told = tellings_of(story, name)
    pledges = [each for each in story.pledges if each.audience == name and each.readers > each.gone]
    if first_by is not None and (word := _first_word(name, story, first_by)).readers:
        state = _state(word, word.in_time / word.readers, story, tolerate)
        pledges[:0] = [word] if state in {Kept.LATE, Kept.BROKEN} else []
    first = told[0].first_at if told else None
    announced = bool(story.was_expected and first and story.began_at and first < story.began_at)
    everybody = [
        each.last_at
        for each in story.tellings
        if each.audience == name and told and each.notice == told[0].notice and each.last_at
    ]
    return AudienceFigures(
        name=name,
        first_at=first,
        first_all_at=max(everybody, default=None),
        from_start=first - story.started if first and story.started and not announced else None,
        from_release=first - story.first_release if first else None,
        silence=max(gaps(story, name), key=lambda gap: gap.length, default=None),
        messages=len(told),
        promises=tuple(_promise(each, told, story, tolerate) for each in pledges),
        outcomes=sum((Counter(each.outcomes) for each in story.tellings if each.audience == name), Counter()),
        texts_at_night=sum(
            each.count
            for each in story.nights
            if each.audience == name and is_inside(each.local.time(), night)
        ),
    )


def gaps(story: Story, audience: str) -> Iterator[Gap]:
    """Yield the times without a message to an audience, between its messages and until the end or now.

    Nobody waits for a message after an end, nor after the announcement of planned work or of an expected
    incident, so no silence begins there. Follow-ups (reviews, check-ins) end no silence, nor do promised
    texts to some readers if others get email.
    """
    by_mail = any(t.audience == audience and t.channel == "email" and t.first_at for t in story.tellings)
    told = [
        each
        for each in tellings_of(story, audience)
        if each.shape is not Shape.FOLLOW_UP and not (by_mail and each.is_for_some)
    ]
    # An end that corrects an earlier one is an end too.
    nothing_owed = {s.number for s in story.stages if s.is_end or s.status in _STILL_AHEAD}
    for before, after in pairwise(told):
        if before.number not in nothing_owed and before.first_at and after.first_at:
            yield Gap(before.first_at, after.first_at)
    if not told or told[-1].number in nothing_owed or not (last := told[-1].first_at):
        return
    until = story.stages[-1].released_at if story.is_over else story.now
    if until > last:
        yield Gap(last, until)


def _promise(pledge: Pledge, told: list[Telling], story: Story, tolerate: float) -> Promise:
    could = pledge.readers - pledge.gone
    share = min(1.0, pledge.in_time / could)
    state = _state(pledge, share, story, tolerate)
    word_at = pledge.last_at if state is Kept.PARTLY else pledge.first_at
    late = word_at - pledge.promised if word_at and state in {Kept.PARTLY, Kept.LATE} else None
    next_one = next(
        (each for each in told if each.first_at and pledge.first_at and each.first_at >= pledge.first_at),
        None,
    )
    return Promise(
        notice=pledge.notice,
        audience=pledge.audience,
        made_at=pledge.made_at,
        promised=pledge.promised,
        state=state,
        share=share,
        readers=pledge.readers,
        late=late if late is None or late > timedelta() else timedelta(),
        word_at=pledge.first_at,
        by_holding=next_one is not None and next_one.shape is Shape.HOLDING,
    )


def _state(pledge: Pledge, share: float, story: Story, tolerate: float) -> Kept:
    if pledge.in_time and share >= 1 - tolerate:
        return Kept.KEPT
    if not is_past(pledge.promised, story.now):
        return Kept.OPEN
    if pledge.in_time:
        return Kept.PARTLY
    return Kept.LATE if pledge.first_at else Kept.BROKEN


def _estimates(story: Story, ended: datetime | None) -> Iterator[Estimate]:
    known = None if story.stages[-1].status in _NOT_AN_END else ended
    before: tuple[datetime | None, datetime | None] = (None, None)
    put_right = {number: each for each in story.stages for number in each.corrects}
    for stage in story.stages:
        stated, right = (stage.earliest, stage.latest), put_right.get(stage.number, stage)
        is_right = (right.earliest, right.latest) == stated
        if stated != before and stage.latest is not None and not stage.is_end and is_right:
            yield Estimate(stage.number, stage.at, stage.earliest, stage.latest, known)
        before = stated


def worst_severity(stages: Iterable[StoryUpdate]) -> int:
    """Return the worst severity that an incident had; 1 is the worst."""
    return min(stage.severity for stage in stages)
