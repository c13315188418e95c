"""Freezes rows and words in the ledger, and reads them back as messages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from commcast.delivery.rows import PendingRow, PendingRows, check_not_empty, read_together
from commcast.errors import LedgerError
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
from commcast.model.incident import Channel
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


class Keeper:
    """Keeps what the stream of a release gives: rows in `gathering`, words in memory, until a yes.

    `notices` are those whose rows are taken, by their numbers from 0; `progress` is told how many rows there
    are so far.
    """

    def __init__(
        self,
        gathering: Gathering,
        notices: Sequence[Notice],
        secret: bytes,
        now: datetime,
        progress: Callable[[int], None],
    ) -> None:
        self.gathering = gathering
        self.held_back: set[Channel] = set()  # where a cap holds something back
        self._notices, self._secret, self._now, self._progress = notices, secret, now, progress
        self._audience = ""
        self._words: dict[int, tuple[int, str | None]] = {}

    def take(self, number: int, rows: Sequence[PendingRow]) -> None:
        """Keep the rows of one audience that something is decided for. Raises as `Gathering.add` does."""
        if rows[0].audience != self._audience:
            self.gathering.end_of_part()
            self._audience = rows[0].audience
        self.gathering.add(number, self._rows(number, rows))
        if any(row.decision.reason == HELD_BACK for row in rows):
            self.held_back.add(self._notices[number].channel)
        self._progress(self.gathering.count)

    def _rows(self, number: int, chunk: Sequence[PendingRow]) -> list[GatheredRow]:
        told = [row for row in chunk if row.decision.action is not Action.NOT_DUE]
        rows: list[GatheredRow] = []
        for row, values in zip(told, _as_json([row.values for row in told]), strict=True):
            key, address, audience, decision, _, group, made = row
            if made is None or group is None or decision.action is not Action.SEND:
                rows.append(self._not_sent(row, values))
                continue
            words, expires_at = self._words.get(id(group)) or self._words_of(number, group)
            later = stamp(decision.until) if decision.until else None
            sent = (_PENDING, decision.reason, later, expires_at)
            rows.append((key, address, audience, words, values, made.digest, *sent))
        return rows

    def _words_of(self, number: int, group: ReaderGroup) -> tuple[int, str | None]:
        """Take a group's words; return their number, and when they become stale."""
        expiry = _expiry(group, self._now)
        found = self.gathering.add_words(number, frozen_words(group)), stamp(expiry) if expiry else None
        self._words[id(group)] = found
        return found

    def _not_sent(self, row: PendingRow, values: str) -> GatheredRow:
        key, address, until = row.key, row.address, row.decision.until
        if row.decision.reason == WAS_ERASED.reason:
            # An old list still has somebody who was erased: nothing of that row is kept.
            key, address, values = erased_key(self._secret, row.key), "", "{}"
        state = _STATE_OF[row.decision.action].value
        not_before = stamp(until) if until else None
        return (key, address, row.audience, None, values, "", state, row.decision.reason, not_before, None)


def begin_all(
    connection: Connection, notices: Iterable[Notice], owner: str, now: datetime
) -> tuple[Broadcast, ...]:
    """Begin to fill the broadcasts of these notices; () if one is filled, or another process fills it."""
    begun = [
        begin_freeze(
            connection,
            incident=notice.incident,
            notice=notice.id,
            number=notice.number,
            channel=notice.channel,
            owner=owner,
            now=now,
        )
        for notice in notices
    ]
    if all(mine for _, mine in begun):
        return tuple(broadcast for broadcast, _ in begun)
    drop_freeze(connection, [broadcast for broadcast, mine in begun if mine], owner)
    return ()


def open_all(
    connection: Connection,
    broadcasts: Sequence[Broadcast],
    held_back: Iterable[Channel],
    wrong_words: Iterable[WrongWords],
    owner: str,
    now: datetime,
) -> bool:
    """Open filled broadcasts to claims, all at once; return False if one is no longer ours to open.

    What is pending of older words and of `wrong_words` ends in the same transaction: nobody gets them after
    their correction.
    """
    if not finish_freeze(connection, broadcasts, owner, now):
        return False
    if compositions := {each.composition for each in wrong_words}:
        end_wrong_words(connection, compositions, now)
    for channel in held_back:
        note_held_back(connection, channel, now)
    return True


def freeze(
    ledger: Ledger,
    notices: Sequence[Notice],
    rows: Iterable[tuple[int, Sequence[PendingRow]]],
    wrong_words: Sequence[WrongWords],
    owner: str,
    now: datetime,
    progress: Callable[[int], None],
) -> bool:
    """Freeze released notices, all or none, as their rows are read, without a question.

    `rows` come with the number of their notice, from 0. Returns False if another living process is freezing
    one of them. What goes wrong while rows are read is raised; then nothing stays behind.
    """
    with ledger.write() as connection:
        broadcasts = begin_all(connection, notices, owner, now)
    if not broadcasts:
        return False
    try:
        with Gathering(ledger, now, broadcasts) as gathering:
            keeper = Keeper(gathering, notices, ledger.secret, now, progress)
            for number, some in rows:
                keeper.take(number, some)
            gathering.finish()
    except BaseException:
        with ledger.write() as connection:
            drop_freeze(connection, broadcasts, owner)
        raise
    with ledger.write() as connection:
        return open_all(connection, broadcasts, keeper.held_back, wrong_words, owner, now)


def read_whole(deliveries: Sequence[PendingRows]) -> Iterator[tuple[int, Sequence[PendingRow]]]:
    """Yield all rows of these notices, as `freeze` takes them. Raises InputError if lists hold nobody."""
    yield from read_together(deliveries)
    for each in deliveries:
        check_not_empty(each.notice, each.counts)


@dataclass(frozen=True, slots=True)
class Thawed:
    """A delivery that was held, with the words made for it now, or the reason why it is dropped.

    With `until` it is not dropped but held longer.
    """

    held: HeldRow
    written: PendingRow | None
    reason: str = ""
    until: datetime | None = None


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
                state=State.PENDING if row.written else State.HELD if row.until else State.SKIPPED,
                reason=row.reason,
                not_before=row.until,
                expires_at=_expiry(group, now),
            )
            thaw_row(connection, row.held, frozen, now)


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
    # If values hold objects themselves, these were taken apart, too.
    return texts if len(texts) == len(values) else [json.dumps(each) for each in values]


def _expiry(group: ReaderGroup | None, now: datetime) -> datetime | None:
    """Return when words become stale: at their promise, unless they are sent late on purpose.

    Words that state no time are not wrong when the promise to the others passes, and a reader dropped here
    would be told nothing until the end. Such words stand a while longer.
    """
    if group is None:
        return None
    until = group.next_update_by
    if until is None:
        until = group.stands_until + TEXT_STANDS if group.stands_until else None
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

        Raises LedgerError if the words do not render as they did when they were released.
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
