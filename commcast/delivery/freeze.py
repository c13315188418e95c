"""That stream into the ledger, and back out of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from sqlalchemy import Connection

from commcast.delivery.rows import ListCount, PendingRow, check_not_empty
from commcast.delivery.tally import RowDigest
from commcast.errors import DecisionNeeded, LedgerError
from commcast.ledger.broadcasts import (
    Broadcast,
    Composition,
    FrozenRow,
    HeldRow,
    add_composition,
    begin_freeze,
    drop_freeze,
    finish_freeze,
    read_composition,
    thaw_row,
)
from commcast.ledger.bulk import GatheredRow, Gathering
from commcast.ledger.claims import Claim
from commcast.ledger.store import Ledger
from commcast.ledger.suppressions import erased_key, note_held_back
from commcast.ledger.tables import State, stamp
from commcast.ledger.wrong_words import end_wrong_words
from commcast.model.history import WrongWords
from commcast.model.incident import Channel, NextWord
from commcast.model.message import Message
from commcast.plan.notices import Notice
from commcast.plan.readers import WAS_ERASED, Action
from commcast.plan.reasons import HELD_BACK
from commcast.rendering.compose import DeliveryKey, Envelope, ReaderGroup, build_message, renderer_for
from commcast.rendering.templates import Wording

# How long after the promise of the others words may still go that state no time.
TEXT_STANDS = timedelta(hours=2)
_STATE_OF = {Action.HOLD: State.HELD, Action.SKIP: State.SKIPPED}
_PENDING = State.PENDING.value
# Separators of two texts of JSON, and of what stands in one: JSON never holds them, not even in its texts.
_BETWEEN, _INSIDE = "\x1f", "\x1e"
_all_as_json = json.JSONEncoder(separators=(_INSIDE, ": ")).encode


class RowStream(Protocol):
    """The deliveries owed of one notice: its rows some hundreds at a time, and what reading them counted."""

    @property
    def notice(self) -> Notice: ...
    @property
    def counts(self) -> Mapping[str, ListCount]: ...
    def chunks(self) -> Iterator[list[PendingRow]]: ...


def silent(_rows: int) -> None:
    """Tell nobody how far a freeze is."""


@dataclass(frozen=True, slots=True)
class Freezer:
    """Freezes for one process. `owner` is its name in the ledger; `progress` hears a list's rows so far."""

    ledger: Ledger
    owner: str
    now: datetime
    progress: Callable[[int], None] = silent

    def freeze(
        self,
        pending: Sequence[RowStream],
        *,
        expected: Sequence[str] | None = None,
        wrong_words: Sequence[WrongWords] = (),
    ) -> bool:
        """Freeze all notices or none; return False where another living process is freezing one of them.

        What waits of `misstated` words ends in the same moment: nobody gets them after their correction.
        `expected` are the digests a person said yes to, in the same order. Raises DecisionNeeded where lists
        or templates have changed since, InputError where one of them is wrong; both leave nothing behind.
        """
        mine: list[Broadcast] = []
        try:
            for position, deliveries in enumerate(pending):
                broadcast, to_fill = self._begin(deliveries)
                if not to_fill:
                    self._drop(mine)
                    return False
                mine.append(broadcast)
                digest = self._fill(broadcast, deliveries)
                if expected is not None and digest != expected[position]:
                    raise DecisionNeeded(
                        "the lists, the templates or the incident have changed since you looked; nothing was "
                        "sent: look again with the same command"
                    )
        except BaseException:
            self._drop(mine)
            raise
        with self.ledger.write() as connection:
            is_open = finish_freeze(connection, mine, self.owner, self.now)
            if is_open and wrong_words:
                end_wrong_words(connection, {each.composition for each in wrong_words}, self.now)
            return is_open

    def _begin(self, pending: RowStream) -> tuple[Broadcast, bool]:
        notice = pending.notice
        with self.ledger.write() as connection:
            return begin_freeze(
                connection,
                incident=notice.incident,
                notice=notice.id,
                number=notice.number,
                channel=notice.channel,
                owner=self.owner,
                now=self.now,
            )

    def _fill(self, broadcast: Broadcast, pending: RowStream) -> str:
        digest, words = RowDigest(), _FrozenGroups(self.ledger, broadcast.id, self.now)
        done, audience, held_back = 0, "", False
        with Gathering(self.ledger, broadcast, self.now) as gathering:
            for chunk in pending.chunks():
                digest.add(chunk)
                if chunk[0].audience != audience:
                    gathering.end_of_part()
                    audience = chunk[0].audience
                rows = self._gathered(chunk, words)
                gathering.add(rows)
                held_back = held_back or any(row.decision.reason == HELD_BACK for row in chunk)
                done += len(rows)
                self.progress(done)
            gathering.finish()
        if held_back:
            with self.ledger.write() as connection:
                note_held_back(connection, broadcast.channel, self.now)
        check_not_empty(pending.notice, pending.counts)
        return digest.hexdigest()

    def _gathered(self, chunk: Sequence[PendingRow], words: _FrozenGroups) -> list[GatheredRow]:
        """Return what the ledger keeps of those who are owed something."""
        told = [row for row in chunk if row.decision.action is not Action.NOT_DUE]
        rows: list[GatheredRow] = []
        for row, values in zip(told, _as_json([row.values for row in told]), strict=True):
            key, address, audience, decision, _, group, made = row
            if made is None or group is None or decision.action is not Action.SEND:
                rows.append(self._not_sent(row, values))
                continue
            composition, expires_at = words.of(group)
            later = stamp(decision.until) if decision.until else None
            sent = (_PENDING, decision.reason, later, expires_at)
            rows.append((key, address, audience, composition, values, made.digest, *sent))
        return rows

    def _not_sent(self, row: PendingRow, values: str) -> GatheredRow:
        key, address, until = row.key, row.address, row.decision.until
        if row.decision.reason == WAS_ERASED.reason:
            # An old list still tells of somebody who was erased: nothing of it is kept.
            key, address, values = erased_key(self.ledger.secret, row.key), "", "{}"
        state = _STATE_OF[row.decision.action].value
        not_before = stamp(until) if until else None
        return (key, address, row.audience, None, values, "", state, row.decision.reason, not_before, None)

    def _drop(self, broadcasts: Sequence[Broadcast]) -> None:
        if broadcasts:
            with self.ledger.write() as connection:
                drop_freeze(connection, broadcasts, self.owner)


@dataclass(frozen=True, slots=True)
class Thawed:
    """A held delivery with the words made for it now, or the reason why it is dropped."""

    held: HeldRow
    written: PendingRow | None
    reason: str = ""


def thaw(ledger: Ledger, rows: Sequence[Thawed], now: datetime) -> None:
    """Let held deliveries go with words made now, or skip them, in one transaction."""
    compositions: dict[int, int] = {}
    with ledger.write() as connection:
        for row in rows:
            group = row.written.group if row.written else None
            frozen = FrozenRow(
                key=row.held.key,
                address=row.held.address,
                audience=row.held.audience,
                composition=_composition_of(connection, row.held.broadcast, group, compositions),
                recipient=row.held.recipient,
                digest=row.written.digest if row.written else "",
                state=State.PENDING if row.written else State.SKIPPED,
                reason=row.reason,
                expires_at=_expiry(group, now),
            )
            thaw_row(connection, row.held, frozen, now)


class _FrozenGroups:
    """The words of a freeze's groups, put into the ledger when a group is met first."""

    def __init__(self, ledger: Ledger, broadcast: int, now: datetime) -> None:
        self._ledger, self._broadcast, self._now = ledger, broadcast, now
        self._known: dict[int, tuple[int, str | None]] = {}

    def of(self, group: ReaderGroup) -> tuple[int, str | None]:
        """Return the number of a group's words, and when they become stale."""
        found = self._known.get(id(group))
        if found is None:
            with self._ledger.write() as connection:
                number = add_composition(connection, self._broadcast, frozen_words(group))
            expiry = _expiry(group, self._now)
            found = self._known[id(group)] = (number, stamp(expiry) if expiry else None)
        return found


def _composition_of(
    connection: Connection, broadcast: int, group: ReaderGroup | None, compositions: dict[int, int]
) -> int | None:
    """Return the number of a group's frozen words, put in when the group is met first."""
    if group is None:
        return None
    if id(group) not in compositions:
        compositions[id(group)] = add_composition(connection, broadcast, frozen_words(group))
    return compositions[id(group)]


def _as_json(values: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return each as json.dumps writes it, at half the cost of calling it for each."""
    if not values:
        return []
    joined = _all_as_json(values)[1:-1].replace(f"}}{_INSIDE}{{", f"}}{_BETWEEN}{{")
    texts = joined.replace(_INSIDE, ", ").split(_BETWEEN)
    # Where values hold objects themselves, they too were taken apart.
    return texts if len(texts) == len(values) else [json.dumps(each) for each in values]


def _expiry(group: ReaderGroup | None, now: datetime) -> datetime | None:
    """Return when words become stale: at their promise, unless they are sent late on purpose.

    Words that state no time are not false when the promise to the others passes, and who is dropped here
    would hear nothing before the end: plain updates are not texted, nor sent to who wants key events only.
    They stand for a while longer.
    """
    if group is None:
        return None
    until = group.next_update_by
    if until is None:
        until = group.stands_until + TEXT_STANDS if group.stands_until else None
    elif group.channel is Channel.SMS and group.context["next_word"] == NextWord.EMAIL:
        states_no_time = "next_update_by." not in group.wording.to_json()
        until += TEXT_STANDS if states_no_time else timedelta()
    return None if until is None or until <= now else until


def frozen_words(group: ReaderGroup) -> Composition:
    """Return a group's words as the ledger keeps them."""
    return Composition(
        audience=group.audience,
        zone=group.zone,
        locale=group.locale,
        wording=group.wording.to_json(),
        context=group.context,
        envelope=group.envelope.to_json(),
        next_update_by=group.next_update_by,
    )


@dataclass(frozen=True, slots=True)
class FrozenWords:
    """The words of one frozen broadcast, read once each. `secret` is the ledger's."""

    broadcast: Broadcast
    secret: bytes = field(repr=False)
    _groups: dict[int, ReaderGroup] = field(default_factory=dict)

    def load(self, connection: Connection, claims: Sequence[Claim]) -> None:
        """Read the words that these claims need and that are not known yet."""
        for composition in {claim.composition for claim in claims} - self._groups.keys() - {None}:
            frozen = read_composition(connection, composition)
            self._groups[composition] = thawed_group(self.broadcast, frozen)

    def message(self, claim: Claim, now: datetime) -> Message:
        """Return the finished message of a claim whose words are loaded.

        Raises LedgerError where the words do not render as they did when they were released.
        """
        group = self._groups.get(claim.composition)
        if group is None:
            raise LedgerError("its words were never made: the ledger was restored while quiet hours held it")
        words = group.words(claim.recipient)
        if not words.are_frozen_as(claim.digest):
            raise LedgerError(
                "the frozen words do not render as they did when they were released (another version of the "
                "program or of Jinja?); nothing more was sent: finish with the version that froze them"
            )
        return build_message(
            words,
            group.envelope,
            DeliveryKey(self.broadcast.incident, claim.notice, group.channel, claim.key),
            address=claim.address,
            name=str(claim.recipient.get("name", "")),
            secret=self.secret,
            now=now,
            valid_until=group.next_update_by,
            calendar=group.calendar,
        )


def thawed_group(broadcast: Broadcast, frozen: Composition) -> ReaderGroup:
    """Return a group as it was frozen."""
    return ReaderGroup(
        channel=Channel(broadcast.channel),
        incident=broadcast.incident,
        audience=frozen.audience,
        zone=frozen.zone,
        locale=frozen.locale,
        wording=Wording.from_json(frozen.wording),
        context=frozen.context,
        envelope=Envelope(**frozen.envelope),
        next_update_by=frozen.next_update_by,
        renderer=renderer_for(frozen.wording),
    )
