"""Freezes owed deliveries: lists and words go into the ledger by chunks, then all channels open at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice

from sqlalchemy import Connection

from commcast.compose import Group
from commcast.errors import DecisionNeeded
from commcast.ledger.freeze import (
    Broadcast,
    Composition,
    FrozenRow,
    HeldRow,
    add_composition,
    add_rows,
    begin_freeze,
    drop_freeze,
    finish_freeze,
    thaw_row,
)
from commcast.ledger.schema import State
from commcast.ledger.store import Ledger
from commcast.ledger.suppressions import erased_key
from commcast.model import Channel
from commcast.owed import CHUNK, OwedDeliveries, OwedRow, check_not_empty
from commcast.plan import WAS_ERASED, Action
from commcast.survey import RowDigest

# How long after the promise of the mails a text may still go that states no time.
TEXT_STANDS = timedelta(hours=2)
_STATE_OF = {Action.SEND: State.PENDING, Action.HOLD: State.HELD, Action.SKIP: State.SKIPPED}


def silent(_rows: int) -> None:
    """Tell nobody how far a freeze is."""


@dataclass(frozen=True, slots=True)
class Freezer:
    """Freezes for one process. `owner` is its name in the ledger; `progress` hears a list's rows so far."""

    ledger: Ledger
    owner: str
    now: datetime
    progress: Callable[[int], None] = silent

    def freeze(self, owed: Sequence[OwedDeliveries], *, expected: Sequence[str] | None = None) -> bool:
        """Freeze all notices or none; return False where another living process is freezing one of them.

        `expected` are the digests a person said yes to, in the same order. Raises DecisionNeeded where lists
        or templates have changed since, InputError where one of them is wrong; both leave nothing behind.
        """
        mine: list[Broadcast] = []
        try:
            for position, deliveries in enumerate(owed):
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
            return finish_freeze(connection, mine, self.owner, self.now)

    def _begin(self, owed: OwedDeliveries) -> tuple[Broadcast, bool]:
        notice = owed.notice
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

    def _fill(self, broadcast: Broadcast, owed: OwedDeliveries) -> str:
        digest = RowDigest()
        compositions: dict[int, int] = {}
        rows = self._recorded(owed, digest)
        done = 0
        while chunk := list(islice(rows, CHUNK)):
            with self.ledger.write() as connection:
                frozen = [_frozen(connection, broadcast, row, compositions, self.now) for row in chunk]
                add_rows(connection, broadcast, [self._without_erased(row) for row in frozen], self.now)
            done += len(chunk)
            self.progress(done)
        check_not_empty(owed.notice, owed.counts)
        return digest.hexdigest()

    def _without_erased(self, row: FrozenRow) -> FrozenRow:
        """Return the row; that of somebody who was erased without what an old list still tells of them."""
        if row.reason != WAS_ERASED.reason:
            return row
        return replace(row, key=erased_key(self.ledger.secret, row.key), address="", recipient={})

    def _recorded(self, owed: OwedDeliveries, digest: RowDigest) -> Iterator[OwedRow]:
        for row in owed:
            digest.add(row)
            if row.decision.action is not Action.NOT_OWED:
                yield row

    def _drop(self, broadcasts: Sequence[Broadcast]) -> None:
        if broadcasts:
            with self.ledger.write() as connection:
                drop_freeze(connection, broadcasts, self.owner)


@dataclass(frozen=True, slots=True)
class Thawed:
    """A held delivery with the words made for it now, or the reason why it is dropped."""

    held: HeldRow
    owed: OwedRow | None
    reason: str = ""


def thaw(ledger: Ledger, rows: Sequence[Thawed], now: datetime) -> None:
    """Let held deliveries go with words made now, or skip them, in one transaction."""
    compositions: dict[int, int] = {}
    with ledger.write() as connection:
        for row in rows:
            group = row.owed.group if row.owed else None
            frozen = FrozenRow(
                key=row.held.key,
                address=row.held.address,
                audience=row.held.audience,
                composition=_composition_of(connection, row.held.broadcast, group, compositions),
                recipient=row.held.recipient,
                digest=row.owed.digest if row.owed else "",
                state=State.PENDING if row.owed else State.SKIPPED,
                reason=row.reason,
                expires_at=_expiry(group, now),
            )
            thaw_row(connection, row.held, frozen, now)


def _frozen(
    connection: Connection, broadcast: Broadcast, row: OwedRow, compositions: dict[int, int], now: datetime
) -> FrozenRow:
    group = row.group if row.decision.action is Action.SEND else None
    return FrozenRow(
        key=row.key,
        address=row.address,
        audience=row.audience,
        composition=_composition_of(connection, broadcast.id, group, compositions),
        recipient=row.values,
        digest=row.digest if group is not None else "",
        state=_STATE_OF[row.decision.action],
        reason=row.decision.reason if row.decision.action is not Action.SEND else "",
        not_before=row.decision.until,
        expires_at=_expiry(group, now),
    )


def _composition_of(
    connection: Connection, broadcast: int, group: Group | None, compositions: dict[int, int]
) -> int | None:
    """Return the number of a group's frozen words, put in when the group is met first."""
    if group is None:
        return None
    if id(group) not in compositions:
        compositions[id(group)] = add_composition(connection, broadcast, frozen_words(group))
    return compositions[id(group)]


def _expiry(group: Group | None, now: datetime) -> datetime | None:
    """Return when words become stale: at their promise, unless they are sent late on purpose.

    A text that states no time is not false when the promise of the mails passes, and plain updates are not
    texted: who is dropped here would hear nothing before the end. It stands for a while longer.
    """
    if group is None or group.next_update_by is None:
        return None
    states_no_time = "next_update_by." not in group.wording.to_json()
    stands = TEXT_STANDS if group.channel is Channel.SMS and states_no_time else timedelta()
    until = group.next_update_by + stands
    return None if until <= now else until


def frozen_words(group: Group) -> Composition:
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
