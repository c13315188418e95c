"""Reads the stories that a report is computed from out of the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from commcast.errors import TemplateError
from commcast.ledger import chronicle
from commcast.ledger.chronicle import Promised, ReleaseRecord, Scope, TextsAt, WordsSent
from commcast.ledger.oncall import calls
from commcast.ledger.tables import OWN_STORY, State
from commcast.ledger.tallies import DeliveryCount
from commcast.model.incident import END_STATUSES, Channel, Kind
from commcast.model.release import ELSEWHERE
from commcast.plan.notices import NoticeKind
from commcast.rendering.compose import renderer_for
from commcast.rendering.render import EmailContent, SmsContent
from commcast.report.story import NightTexts, Pledge, Shape, Story, StoryNudge, StoryUpdate, Telling, Texts

_Key = TypeVar("_Key", bound=Hashable)
_Row = TypeVar("_Row", DeliveryCount, Promised, ReleaseRecord, TextsAt)
_WAITING = {State.PENDING: "waiting", State.CLAIMED: "waiting", State.HELD: "held"}
_SHAPES: dict[str, Shape] = {
    NoticeKind.HOLDING: Shape.HOLDING,
    NoticeKind.REMINDER: Shape.REMINDER,
    NoticeKind.FOLLOW_UP: Shape.FOLLOW_UP,
    "correction": Shape.CORRECTION,
}


def read_story(connection: Connection, incident: str, now: datetime) -> Story | None:
    """Return the story of an incident, None if nothing was sent about it.

    The number of queries does not grow with the number of messages.
    """
    stories = _stories(connection, Scope(incident), now)
    if not stories:
        return None
    (story,) = stories
    texts, count = chronicle.read_texts_sent(connection, incident)
    return replace(
        story,
        tellings=_with_words(story.tellings, chronicle.read_words_sent(connection, incident)),
        nudges=read_nudges(connection, incident),
        feedback=chronicle.read_answers(connection, incident),
        texts=_measured(texts, count),
    )


def read_stories(connection: Connection, since: datetime, now: datetime) -> tuple[Story, ...]:
    """Return the stories of all incidents first released since then, oldest first, for a trend.

    They have no nudges, feedback or segments. The number of queries is always the same.
    """
    return tuple(sorted(_stories(connection, Scope(since=since), now), key=lambda each: each.first_release))


def read_tellings(connection: Connection, incident: str) -> tuple[Telling, ...]:
    """Return everything sent about an incident, oldest first; "~pay7" is what was sent to its own people."""
    stages = {each.number: _stage(each) for each in chronicle.read_released(connection, Scope(incident))}
    return _tellings(chronicle.read_counted(connection, Scope(incident)), stages)


def _stories(connection: Connection, scope: Scope, now: datetime) -> list[Story]:
    def by_incident(rows: Iterable[_Row]) -> dict[str, list[_Row]]:
        return _grouped(rows, lambda row: row.incident)

    counted = by_incident(chronicle.read_counted(connection, scope))
    promised = by_incident(chronicle.read_promised(connection, scope))
    texts = by_incident(chronicle.read_texts(connection, scope))
    return [
        _story(releases, counted[name], promised.get(name, []), texts.get(name, []), now)
        for name, releases in by_incident(chronicle.read_released(connection, scope)).items()
        if name in counted
    ]


def _grouped(rows: Iterable[_Row], key: Callable[[_Row], _Key]) -> dict[_Key, list[_Row]]:
    """Return the rows by key, both in the order in which they come."""
    groups: dict[_Key, list[_Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def _story(
    released: Sequence[ReleaseRecord],
    counted: Iterable[DeliveryCount],
    promised: Iterable[Promised],
    texts: Iterable[TextsAt],
    now: datetime,
) -> Story:
    newest = released[-1]
    about: Mapping[str, Any] = newest.facts.get("incident", {})
    stages = tuple(map(_stage, released))
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


def _stage(release: ReleaseRecord) -> StoryUpdate:
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


def _tellings(counted: Iterable[DeliveryCount], stages: Mapping[int, StoryUpdate]) -> tuple[Telling, ...]:
    known: dict[tuple[str, str], int] = {}  # the newest update told so far, by channel and audience
    found = []
    for rows in _grouped(counted, lambda row: (row.notice, row.channel, row.audience)).values():
        one, (to, number) = rows[0], ((rows[0].channel, rows[0].audience), rows[0].number)
        found.append(
            _telling(rows, _shape(one.notice, stages.get(number), is_news=number > known.get(to, number)))
        )
        known[to] = max(number, known.get(to, 0))
    return tuple(found)


def _telling(rows: Sequence[DeliveryCount], shape: Shape) -> Telling:
    one = rows[0]
    accepted = [row for row in rows if row.state is State.ACCEPTED]
    outcomes: Counter[str] = Counter()
    for row in rows:
        outcomes[_outcome(row)] += row.count
        if row.state is State.ACCEPTED and row.receipt:
            outcomes[row.receipt] += row.count
    return Telling(
        notice=one.notice,
        shape=shape,
        number=one.number,
        channel=one.channel,
        audience=one.audience,
        frozen_at=one.frozen_at,
        first_at=min((row.first_at for row in accepted), default=None),
        last_at=max((row.last_at for row in accepted), default=None),
        outcomes=outcomes,
        providers=tuple(dict.fromkeys(row.provider for row in rows if row.provider)),
    )


def _outcome(row: DeliveryCount) -> str:
    if row.state is State.SKIPPED:
        return f"skipped: {row.reason or 'no reason kept'}"
    return _WAITING.get(row.state, row.state.value)


def _shape(notice: str, stage: StoryUpdate | None, *, is_news: bool) -> Shape:
    """Return what a notice was, from the kind in its id and from its update.

    A statement that tells its readers a newer update is that update: a person wrote it.
    """
    if shape := _SHAPES.get(notice.partition(":")[0]):
        return Shape.UPDATE if shape is Shape.HOLDING and is_news else shape
    if stage is not None and stage.corrects:
        return Shape.CORRECTION
    return Shape.END if stage is not None and stage.is_end else Shape.UPDATE


def _pledges(promised: Iterable[Promised]) -> tuple[Pledge, ...]:
    """Return the promises; equal ones that a notice made on both channels are one."""
    groups = _grouped(promised, lambda row: (row.notice, row.audience, row.promised))
    return tuple(
        Pledge(
            notice=notice,
            audience=audience,
            promised=by,
            made_at=min(row.made_at for row in rows),
            readers=sum(row.readers for row in rows),
            gone=sum(row.gone for row in rows),
            in_time=sum(row.in_time for row in rows),
            first_at=min((row.first_at for row in rows if row.first_at), default=None),
            last_at=max((row.last_at for row in rows if row.last_at), default=None),
        )
        for (notice, audience, by), rows in groups.items()
    )


def read_nudges(connection: Connection, incident: str) -> tuple[StoryNudge, ...]:
    """Return the nudges to our own people about an incident, oldest first."""
    own = chronicle.read_counted(connection, Scope(f"{OWN_STORY}{incident}"))
    told = [StoryNudge(row.notice, row.last_at, row.channel, row.count, _outcome(row)) for row in own]
    for call in calls(connection, incident):
        outcome = f"{call.state}: {call.detail}" if call.detail else call.state
        told.append(StoryNudge(call.nudge, call.at, "command", 1, outcome))
    return tuple(sorted(told, key=lambda each: each.at))


# What templates may choose words by, and what is nobody's own.
_NOT_PERSONAL = {"locale", "timezone", "level"}


def _with_words(tellings: Iterable[Telling], sent: Iterable[WordsSent]) -> tuple[Telling, ...]:
    words = {(each.notice, each.channel, each.audience): each for each in sent}

    def told(telling: Telling) -> Telling:
        known = words.get((telling.notice, telling.channel, telling.audience))
        if known is None:
            return telling
        match _rendered(known, _anonymous(known.recipient)):
            case EmailContent(subject=subject, text=text):
                telling = replace(telling, subject=subject, text=text.strip())
            case SmsContent(body=body):
                telling = replace(telling, text=body)
        return replace(telling, next_update_by=known.promised)

    return tuple(map(told, tellings))


def _anonymous(recipient: Mapping[str, Any]) -> dict[str, Any]:
    """Return a reader's values with "[name]" in place of the name, and so on; a link remains one."""
    hidden = {
        key: f"{'https://' if '://' in value else ''}[{key}]"
        for key, value in recipient.items()
        if isinstance(value, str) and value and key not in _NOT_PERSONAL
    }
    greeting = str(recipient.get("greeting", "")).replace(recipient.get("name") or "[name]", "[name]")
    return {**recipient, **hidden, "greeting": greeting}


def _rendered(sent: WordsSent, recipient: Mapping[str, Any]) -> EmailContent | SmsContent | None:
    """Return the words as this reader reads them; None if the values they need have been erased."""
    try:
        renderer = renderer_for(sent.wording)
        render = renderer.sms if sent.channel == Channel.SMS else renderer.email
        return render(sent.context, recipient)
    except TemplateError:
        return None


def _measured(texts: Iterable[WordsSent], count: int) -> Texts:
    """Return the segments of all texts; if there are very many, an estimate from those given."""
    known = segments = 0
    for text in texts:
        if isinstance(sms := _rendered(text, text.recipient), SmsContent):
            known += text.readers
            segments += sms.size.segments * text.readers
    return Texts(count, round(segments * count / known), exact=known == count) if known else Texts(count)
