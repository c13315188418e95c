"""The pending deliveries of one notice, as a stream: recipients, decisions, and the words made for each.

Preview, the question before sending and the freeze all read this one stream, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain, islice
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from commcast.config.settings import CONFIG_NAME, Config
from commcast.errors import Fault, InputError
from commcast.ledger.history import histories, told_people
from commcast.ledger.store import Ledger
from commcast.ledger.suppressions import Recently, held_back_since, look_back, messages_lately
from commcast.model.history import NOBODY_KNOWS, FormerReader, Listener, ReaderHistory, WrongWords, level_of
from commcast.model.incident import Channel, Incident, NextWord, Recipient, Update
from commcast.plan import reasons
from commcast.plan.corrections import goes_to_former_readers, is_for_former_reader, is_newcomer
from commcast.plan.notices import Notice, NoticeKind
from commcast.plan.promises import promise_to
from commcast.plan.readers import Action, Decision, decide, is_never_held_back
from commcast.recipients.lists import Repeats, open_recipients
from commcast.rendering.compose import Content, ReaderGroup, ReaderWords, envelope_of, renderer_for
from commcast.rendering.context import (
    Correction,
    Occasion,
    build_context,
    next_word,
    recipient_values,
)
from commcast.rendering.moments import has_begun, moment_of
from commcast.rendering.sentences import language_of, message_language
from commcast.rendering.templates import Templates, Wording

CHUNK = 1000  # former readers looked up in the ledger at once
REPEATED = Decision(Action.NOT_DUE, reasons.SAME_ADDRESS)
_CASES_KEPT = 4096


class PendingRow(NamedTuple):
    """One recipient of a notice; `words` and `group` are set if a message goes, now or later."""

    key: str
    address: str
    audience: str
    decision: Decision
    values: Mapping[str, Any]
    group: ReaderGroup | None = None
    words: ReaderWords | None = None

    @property
    def content(self) -> Content | None:
        """What the reader reads, None if no message goes."""
        return self.words.content if self.words else None

    @property
    def is_correction(self) -> bool:
        """Whether the reader is told that an earlier message was wrong."""
        return self.group is not None and bool(self.group.context.get("corrections"))

    @property
    def digest(self) -> str:
        """The digest of the words, "" if no message goes."""
        return self.words.digest if self.words else ""


@dataclass(slots=True)
class ListCount:
    """What reading one audience's list gave."""

    file: str
    rows: int
    skipped: int
    faults: list[str]
    warnings: list[str] = field(default_factory=list)


@dataclass
class PendingRows:
    """All pending deliveries of one notice; `counts` is filled as the lists are read.

    Without a `ledger` nobody was told anything. `early` is how long before their promise texts go by
    themselves, None for as long as commcast.toml says. `all_told` is for tests: as if all were told before.
    Each iteration reads the lists again; only one at a time.
    """

    config: Config
    templates: Templates
    incident: Incident
    notice: Notice
    now: datetime
    ledger: Ledger | None
    early: timedelta | None = None
    all_told: bool = False
    counts: dict[str, ListCount] = field(default_factory=dict)
    _groups: dict[tuple[str, Listener], ReaderGroup] = field(default_factory=dict)
    _wordings: dict[tuple[str, str, str], Wording] = field(default_factory=dict)
    _cases: dict[tuple[Any, ...], tuple[Decision, ReaderGroup | None]] = field(default_factory=dict)
    _seen: Repeats = field(default_factory=Repeats)
    _recently: Recently | None = None

    def __iter__(self) -> Iterator[PendingRow]:
        """Yield each address once: the audience of best rank wins.

        Raises InputError or TemplateError; then nothing of the notice may leave.
        """
        return chain.from_iterable(self.chunks())

    def begin(self) -> None:
        """Forget which addresses were met."""
        self._seen = Repeats()

    def chunks(self) -> Iterator[list[PendingRow]]:
        """Yield the rows some hundreds at a time and never none, by audience; former readers come last."""
        for _, rows in read_together([self]):
            yield rows

    def rows_of(self, audience: str, people: Sequence[Recipient]) -> list[PendingRow]:
        """Return the row of each reader; the ledger is asked once for all of them."""
        on_mail = self.notice.channel is Channel.EMAIL
        keys = [person.email_key if on_mail else person.phone for person in people]
        known_of = self.histories([key for key in keys if key])
        known, told_of = self._cases, self.config.audiences[audience]
        mails = Channel.EMAIL in told_of.channels
        rows = []
        for person, key in zip(people, keys, strict=True):
            line, email, _, phone, _, locale, zone, components, _, level, _ = person
            history = known_of.get(key, NOBODY_KNOWS) if known_of else NOBODY_KNOWS
            by_email = on_mail or (bool(email) and mails)
            case = (audience, not key, history, components, level, zone, locale, by_email)
            decision, group = known.get(case) or self._decided(case, person)
            decision = self._unless_repeated(key, decision)
            address, language = email if on_mail else phone, group.wording.language if group else ""
            values = recipient_values(person, told_of, language)
            # What is held is rendered too, so that faults show now; its words are made again when it goes.
            if group is None or decision is REPEATED:
                rows.append(PendingRow(key, address, audience, decision, values))
            else:
                words = group.words(values, line=line)
                rows.append(PendingRow(key, address, audience, decision, values, group, words))
        return rows

    def _decided(self, case: tuple[Any, ...], person: Recipient) -> tuple[Decision, ReaderGroup | None]:
        """Return the decision for all readers with the same case, and the group whose words they get."""
        audience, _, history, *_, by_email = case
        decision = decide(person, self.notice, history, self.config, self.now, audience=audience)
        group = None
        if decision.action in {Action.SEND, Action.HOLD}:
            word = next_word(person.level, self.notice.channel, by_email=by_email)
            group = self._group(audience, self._listener(person.timezone, person.locale, word, history))
        if len(self._cases) >= _CASES_KEPT:
            self._cases.clear()
        self._cases[case] = decision, group
        return decision, group

    def _unless_repeated(self, key: str, decision: Decision) -> Decision:
        """Return the decision, or REPEATED for an address that had another one before."""
        if decision.action is not Action.NOT_DUE:
            return decision if self._seen.add(key) else REPEATED
        # A reader who does not get it in this audience may get it in the next one.
        return REPEATED if key and key in self._seen else decision

    def histories(self, keys: Sequence[str]) -> Mapping[str, ReaderHistory]:
        """Return what the ledger knows of these addresses; those it knows nothing of are left out."""
        if self.all_told:
            return dict.fromkeys(keys, ReaderHistory(told=True))
        if self.ledger is None:
            return {}
        notice, channel = self.notice, self.notice.channel
        with self.ledger.read() as connection:
            found = histories(
                connection,
                self.ledger.secret,
                notice.incident,
                notice.id,
                channel,
                keys,
                notice.wrong_words,
                notice.merged,
            )
            if self._recently is None:  # what was said in the last hour is looked up once
                cap = None if is_never_held_back(notice) else self.config.send.most_an_hour
                self._recently = look_back(connection, notice.incident, notice.id, channel, self.now, cap=cap)
            if self._recently.is_quiet:
                return found
            lately = messages_lately(connection, self._recently, notice.incident, keys)
            held_back = held_back_since(connection, self._recently, keys, reasons.HELD_BACK)
        for key in lately.keys() | held_back.keys():
            history = found.get(key, NOBODY_KNOWS)
            found[key] = history._replace(lately=lately.get(key, 0), held_back=held_back[key])
        return found

    def _told_before(self) -> Iterator[FormerReader]:
        if self.ledger is None:
            return
        notice = self.notice
        with self.ledger.read() as connection:
            yield from told_people(
                connection, notice.incident, notice.channel, notice.id, notice.merged, notice.told_from
            )

    def former_readers(self) -> Iterator[list[PendingRow]]:
        """Yield those who were told that it began and are on no list now: they are told how it ended."""
        former, notice = self._told_before(), self.notice
        while chunk := list(islice(former, CHUNK)):
            known = self.histories([person.key for person in chunk])
            rows = []
            for person in chunk:
                history = known.get(person.key, NOBODY_KNOWS)
                if not is_for_former_reader(notice, history):
                    continue
                if notice.only_told and person.audience not in notice.audiences:
                    continue
                if person.audience not in self.config.audiences:
                    raise InputError(_gone(person.audience, notice))
                if person.key not in self._seen:
                    reader = person.as_recipient(notice.channel)
                    decision = decide(
                        reader, notice, history, self.config, self.now, audience=person.audience
                    )
                    rows.append(self.written(person, self._unless_repeated(person.key, decision), history))
            if rows:
                yield rows

    def reader(self, key: str, address: str, audience: str, values: Mapping[str, Any]) -> FormerReader:
        """Return the reader of a row that is stored; what its values leave out is the desk's."""
        zone = str(values.get("timezone") or self.config.organisation.zone)
        return FormerReader(key, address, audience, zone, str(values.get("locale") or ""), values)

    def written(self, person: FormerReader, decision: Decision, history: ReaderHistory) -> PendingRow:
        """Return the row of a reader who is on no list, with the words rendered for them if it is sent."""
        row = PendingRow(person.key, person.address, person.audience, decision, person.values)
        if decision.action not in {Action.SEND, Action.HOLD}:
            return row
        by_email = bool(person.values.get("by_email"))
        word = next_word(level_of(person.values), self.notice.channel, by_email=by_email)
        zone = str(person.values.get("timezone") or "")
        group = self._group(person.audience, self._listener(zone, person.locale, word, history))
        return row._replace(group=group, words=group.words(person.values))

    def _listener(self, zone: str, locale: str, word: NextWord, history: ReaderHistory) -> Listener:
        broken = history.promised if history.promised and history.promised < self.now else None
        is_new = is_newcomer(self.notice, history)
        known, where = bool(zone), zone or self.config.organisation.zone
        return Listener(where, locale, word, history.held_back, broken, history.told_wrong, is_new, known)

    def _group(self, audience: str, listener: Listener) -> ReaderGroup:
        if (audience, listener) not in self._groups:
            self._groups[audience, listener] = self._make_group(audience, listener)
        return self._groups[audience, listener]

    def _wording(self, audience: str, locale: str, moment: str) -> Wording:
        if (audience, locale, moment) not in self._wordings:
            view, channel = self.config.audiences[audience].view, self.notice.channel
            desk = language_of(self.config)
            chosen = self.templates.choose(audience, view, moment, locale, channel, desk=desk)
            self._wordings[audience, locale, moment] = chosen
        return self._wordings[audience, locale, moment]

    def _make_group(self, audience: str, listener: Listener) -> ReaderGroup:
        update = self.incident.update(self.notice.number)
        locale, zone, word = listener.locale, ZoneInfo(listener.zone), listener.next_word
        first = "first" in self.notice.events or listener.is_new
        previous, occasion = self._heard_before(update, listener), self._occasion(audience, listener)
        moment = moment_of(update, occasion, first=first, has_begun=has_begun(update, previous))
        wording = self._wording(audience, locale, moment)
        promise = promise_to(
            self.notice, audience, word, update, self.config, zone, self.now, early=self.early
        )
        if promise is None and word is NextWord.EMAIL:
            occasion = occasion._replace(next_word=NextWord.KEY)
        context = build_context(
            self.config,
            self.incident,
            update,
            audience,
            zone=zone,
            language=message_language(wording.language, locale),
            first=first,
            next_update_by=promise,
            previous=previous,
            occasion=occasion,
            # A holding statement changes no plan, so it brings no calendar entry.
            with_calendar=self.notice.channel is Channel.EMAIL and not self.notice.holds,
        )
        return ReaderGroup(
            channel=self.notice.channel,
            incident=self.incident.id,
            audience=audience,
            zone=listener.zone,
            locale=locale,
            wording=wording,
            context=context,
            envelope=envelope_of(self.config, self.notice.channel, self.incident.id, audience, self.now),
            next_update_by=promise,
            renderer=renderer_for(wording.to_json()),
            stands_until=self.notice.next_update_by.get(audience),
        )

    def _broken(self, audience: str, listener: Listener) -> datetime | None:
        """Return the promise to these readers that was broken; of a text, only what a text promised."""
        if listener.next_word in {NextWord.KEY, NextWord.END}:
            return None
        return listener.broken if self.notice.channel is Channel.SMS else self.notice.broken.get(audience)

    def _heard_before(self, update: Update, listener: Listener) -> Update | None:
        """Return the update to compare with: none for a newcomer, nor for a correction."""
        if not self.notice.after or update.corrects or listener.is_new:
            return None
        return self.incident.update(self.notice.after)

    def _occasion(self, audience: str, listener: Listener) -> Occasion:
        notice = self.notice
        hold = notice.holds.get(audience)
        is_late = notice.keeps is not None and hold is None
        return Occasion(
            now=self.now,
            broken=self._broken(audience, listener),
            unchanged_since=hold.since if hold else None,
            step=hold.step if hold else 0,
            ahead=notice.ahead,
            next_word=listener.next_word,
            held_back=listener.held_back,
            facts_from=self.incident.update(notice.number).at if is_late else None,
            corrections=tuple(correction_of(self.incident, each) for each in listener.told_wrong),
            catches_up=listener.is_new,
            # Not every update is texted.
            knows_up_to=notice.after if notice.channel is Channel.SMS else None,
            goes_on_as=notice.goes_on_as,
            follow_up=notice.id.partition(":")[2] if notice.kind is NoticeKind.FOLLOW_UP else "",
            knows_zone=listener.knows_zone,
        )


def read_together(deliveries: Sequence[PendingRows]) -> Iterator[tuple[int, list[PendingRow]]]:
    """Yield the rows of several notices, with the notice's number from 0: each list is read once for all.

    Those of a notice come some hundreds at a time and never none, by audience; former readers come last.
    Raises InputError or TemplateError; then nothing of them may leave.
    """
    listed: dict[str, list[tuple[int, PendingRows]]] = {}
    for number, each in enumerate(deliveries):
        each.begin()
        for audience in () if each.notice.only_told else each.notice.audiences:
            listed.setdefault(audience, []).append((number, each))
    for audience in _by_rank(listed, deliveries):
        hearing = listed[audience]
        reading = open_recipients(audience, hearing[0][1].config)
        for people in reading.chunks():
            for number, each in hearing:
                yield number, each.rows_of(audience, people)
        for _, each in hearing:
            faults, warnings = (list(map(str, found)) for found in (reading.faults, reading.warnings))
            file = each.config.audiences[audience].recipients
            each.counts[audience] = ListCount(file, reading.rows, reading.skipped, faults, warnings)
    for number, each in enumerate(deliveries):
        if goes_to_former_readers(each.notice):
            yield from ((number, rows) for rows in each.former_readers())
        each.begin()  # do not keep a million addresses


def _by_rank(names: Iterable[str], deliveries: Sequence[PendingRows]) -> list[str]:
    """Return audiences in an order that keeps each notice's own."""
    order = {name: place for each in deliveries for place, name in enumerate(each.notice.audiences)}
    known = deliveries[0].config.audiences if deliveries else {}
    return sorted(names, key=lambda name: (known[name].rank if name in known else 0, order[name], name))


def correction_of(incident: Incident, wrong_words: WrongWords) -> Correction:
    """Return what a reader is told of words that were wrong."""
    update = incident.update(wrong_words.by)
    return Correction(
        at=wrong_words.at,
        wrong=wrong_words.said,
        right=update.right or "",
        timeframe=update.timeframe if wrong_words.is_timeframe else None,
        ended=update.ended if wrong_words.is_end else None,
        is_short=wrong_words.channel is Channel.SMS,
    )


def _gone(audience: str, notice: Notice) -> Fault:
    return Fault(
        CONFIG_NAME,
        0,
        0,
        f"audience {audience} was told about {notice.incident} and is gone: its readers would miss the end",
        f"put [audiences.{audience}] back until they are told",
    )


def check_not_empty(notice: Notice, counts: Mapping[str, ListCount]) -> None:
    """Refuse a notice whose lists have no usable row. Raises InputError."""
    if notice.only_told or not notice.audiences:
        return  # all who were told before may have opted out
    if not any(count.rows > count.skipped for count in counts.values()):
        verb = "have" if len(counts) > 1 else "has"
        files = ", ".join(count.file for count in counts.values())
        raise InputError(f"no recipients: {files} {verb} no usable row")
