"""From the ledger's rows to the stories that a report is reckoned from."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from commcast.ledger.chronicle import (
    CountedOutcome,
    Promised,
    Released,
    Scope,
    TextsAt,
    TextSent,
    read_answers,
    read_counted,
    read_promised,
    read_released,
    read_texts,
    read_texts_sent,
)
from commcast.ledger.oncall import Call, calls
from commcast.ledger.tables import OWN_STORY, State
from commcast.model.incident import END_STATUSES, Kind
from commcast.model.release import ELSEWHERE
from commcast.plan.notices import NoticeKind
from commcast.rendering.render import Renderer
from commcast.rendering.templates import Wording
from commcast.report.story import NightTexts, Pledge, Shape, Story, StoryNudge, StoryUpdate, Telling, Texts

_WAITING = {State.PENDING: "waiting", State.CLAIMED: "waiting", State.HELD: "held"}
_SHAPES = {
    NoticeKind.HOLDING: Shape.HOLDING,
    NoticeKind.REMINDER: Shape.REMINDER,
    NoticeKind.FOLLOW_UP: Shape.FOLLOW_UP,
}


def read_story(connection: Connection, incident: str, now: datetime) -> Story | None:
    """Return the story of an incident, None where nothing was released of it.

    The number of queries does not grow with what was said.
    """
    stories = _stories(connection, Scope(incident), now)
    if not stories:
        return None
    (story,) = stories
    answers = read_answers(connection, incident)
    texts, count = read_texts_sent(connection, incident)
    return replace(
        story,
        nudges=read_nudges(connection, incident),
        feedback=(sum(each.yes for each in answers), sum(each.no for each in answers)),
        texts=_measured(texts, count),
    )


def read_stories(connection: Connection, since: datetime, now: datetime) -> tuple[Story, ...]:
    """Return the stories of all incidents first spoken of since then, oldest first, for a trend.

    They hold no nudges, no feedback and no segments. The number of queries is the same for any number.
    """
    return tuple(sorted(_stories(connection, Scope(since=since), now), key=lambda each: each.first_release))


def read_tellings(connection: Connection, incident: str) -> tuple[Telling, ...]:
    """Return all that was said of an incident, oldest first; "~pay7" is what its own people were told."""
    stages = {each.number: _stage(each) for each in read_released(connection, Scope(incident))}
    return _tellings(read_counted(connection, Scope(incident)), stages)


def _stories(connection: Connection, scope: Scope, now: datetime) -> list[Story]:
    released: defaultdict[str, list[Released]] = defaultdict(list)
    counted: defaultdict[str, list[CountedOutcome]] = defaultdict(list)
    promised: defaultdict[str, list[Promised]] = defaultdict(list)
    texts: defaultdict[str, list[TextsAt]] = defaultdict(list)
    for release in read_released(connection, scope):
        released[release.incident].append(release)
    for row in read_counted(connection, scope):
        counted[row.incident].append(row)
    for promise in read_promised(connection, scope):
        promised[promise.incident].append(promise)
    for text in read_texts(connection, scope):
        texts[text.incident].append(text)
    return [
        _story(releases, counted[name], promised[name], texts[name], now)
        for name, releases in released.items()
        if counted[name]
    ]


def _story(
    released: Sequence[Released],
    counted: Iterable[CountedOutcome],
    promised: Iterable[Promised],
    texts: Iterable[TextsAt],
    now: datetime,
) -> Story:
    newest = released[-1]
    about: Mapping[str, Any] = newest.facts.get("incident", {})
    stages = tuple(_stage(each) for each in released)
    kind = about.get("kind", Kind.INCIDENT.value)
    knows = kind == Kind.INCIDENT.value and about.get("started_written", True)
    return Story(
        incident=newest.incident,
        title=newest.title,
        kind=kind,
        now=now,
        started=_time(about.get("started")) if knows else None,
        stages=stages,
        tellings=_tellings(counted, {stage.number: stage for stage in stages}),
        pledges=_pledges(promised),
        nights=tuple(
            NightTexts(each.audience, each.minute.astimezone(ZoneInfo(each.zone)), each.count)
            for each in texts
        ),
        postmortem=about.get("postmortem") or "",
    )


def _stage(release: Released) -> StoryUpdate:
    update: Mapping[str, Any] = release.facts.get("update", {})
    timeframe, window = update.get("timeframe") or {}, update.get("window") or {}
    return StoryUpdate(
        number=release.number,
        at=release.at,
        released_at=release.released_at,
        status=release.status,
        severity=release.severity,
        is_end=release.status in END_STATUSES,
        earliest=_time(timeframe.get("earliest")),
        latest=_time(timeframe.get("latest")) or _time(window.get("end")),
        ended=_time(update.get("ended")),
        corrects=tuple(update.get("corrects") or ()),
        elsewhere=release.how == ELSEWHERE,
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if text else None


def _tellings(counted: Iterable[CountedOutcome], stages: Mapping[int, StoryUpdate]) -> tuple[Telling, ...]:
    groups: dict[tuple[str, str, str], list[CountedOutcome]] = {}
    for row in counted:
        groups.setdefault((row.notice, row.channel, row.audience), []).append(row)
    return tuple(_telling(rows, stages) for rows in groups.values())


def _telling(rows: Sequence[CountedOutcome], stages: Mapping[int, StoryUpdate]) -> Telling:
    one = rows[0]
    accepted = [row for row in rows if row.state is State.ACCEPTED]
    outcomes: Counter[str] = Counter()
    for row in rows:
        outcomes[_outcome(row)] += row.count
        if row.state is State.ACCEPTED and row.receipt:
            outcomes[row.receipt] += row.count
    return Telling(
        notice=one.notice,
        shape=_shape(one.notice, stages.get(one.number)),
        number=one.number,
        channel=one.channel,
        audience=one.audience,
        frozen_at=one.frozen_at,
        first_at=min((row.first_at for row in accepted), default=None),
        last_at=max((row.last_at for row in accepted), default=None),
        outcomes=outcomes,
        providers=tuple(dict.fromkeys(row.provider for row in rows if row.provider)),
    )


def _outcome(row: CountedOutcome) -> str:
    if row.state is State.SKIPPED:
        return f"skipped: {row.reason or 'no reason kept'}"
    return _WAITING.get(row.state, row.state.value)


def _shape(notice: str, stage: StoryUpdate | None) -> Shape:
    """Return what a notice was: its id tells its kind, and the update behind it what that was about."""
    kind = notice.partition(":")[0]
    if kind == Shape.CORRECTION:
        return Shape.CORRECTION
    if kind in _SHAPES:
        return _SHAPES[NoticeKind(kind)]
    if stage is not None and stage.corrects:
        return Shape.CORRECTION
    return Shape.END if stage is not None and stage.is_end else Shape.UPDATE


def _pledges(promised: Iterable[Promised]) -> tuple[Pledge, ...]:
    """Return the promises with those of a message's channels put together where they are the same."""
    groups: dict[tuple[str, str, datetime], list[Promised]] = {}
    for row in promised:
        groups.setdefault((row.notice, row.audience, row.promised), []).append(row)
    return tuple(
        Pledge(
            notice=notice,
            audience=audience,
            made_at=min(row.made_at for row in rows),
            promised=by,
            readers=sum(row.readers for row in rows),
            gone=sum(row.gone for row in rows),
            in_time=sum(row.in_time for row in rows),
            first_at=min((row.first_at for row in rows if row.first_at), default=None),
            last_at=max((row.last_at for row in rows if row.last_at), default=None),
        )
        for (notice, audience, by), rows in groups.items()
    )


def read_nudges(connection: Connection, incident: str) -> tuple[StoryNudge, ...]:
    """Return what the people of an incident were told themselves, oldest first."""
    own = read_counted(connection, Scope(f"{OWN_STORY}{incident}"))
    told = [StoryNudge(row.notice, row.last_at, row.channel, row.count, _outcome(row)) for row in own]
    told += [
        StoryNudge(call.nudge, call.at, "command", 1, _called(call)) for call in calls(connection, incident)
    ]
    return tuple(sorted(told, key=lambda each: each.at))


def _called(call: Call) -> str:
    return f"{call.state}: {call.detail}" if call.detail else call.state


def _measured(texts: Sequence[TextSent], count: int) -> Texts:
    """Return the segments of all texts; of very many different ones, as if the rest were like these."""
    known = sum(text.count for text in texts)
    if not known:
        return Texts()
    renderers: dict[str, Renderer] = {}
    segments = 0
    for text in texts:
        if text.wording not in renderers:
            renderers[text.wording] = Renderer(Wording.from_json(text.wording))
        content = renderers[text.wording].sms(text.context, text.recipient)
        segments += content.size.segments * text.count
    return Texts(count, round(segments * count / known), exact=known == count)
