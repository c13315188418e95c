"""Receipts: what providers later report about accepted deliveries.

A receipt is replaced only by a stronger one: failed, bounced, delivered. So it doesn't matter in which order
receipts come, how often, or to how many processes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, update

from commcast.ledger import tables
from commcast.ledger.suppressions import Suppression, erased_key, suppress_new
from commcast.ledger.tables import IS_FROZEN, State
from commcast.model.incident import Channel
from commcast.model.message import Receipt, ReceiptKind

_delivery = tables.delivery

# A receipt that names only an address is about a message sent within this time before it.
WITHIN = timedelta(hours=72)
# Providers report whole seconds, and clocks differ a little.
GRACE = timedelta(seconds=2)
LONGEST_WORDS = 120  # characters kept of a provider's text
_STRENGTH = {ReceiptKind.FAILED: 0, ReceiptKind.BOUNCED: 1, ReceiptKind.DELIVERED: 2}
# A time outside this range is nonsense, and adding to it would overflow.
_BEGINNING, _END = datetime(1970, 1, 1, tzinfo=UTC), datetime(2900, 1, 1, tzinfo=UTC)
# When it was handed over; before revision 0002 this was not stored separately.
_HANDED = func.coalesce(_delivery.c.claimed_at, _delivery.c.changed_at)


@dataclass(slots=True)
class Joined:
    """What some receipts changed: deliveries by the kind they got, and newly suppressed addresses.

    `foreign` counts receipts about none of our deliveries.
    """

    counts: Counter[str] = field(default_factory=Counter)
    suppressed: int = 0
    foreign: int = 0

    def add(self, other: Joined) -> None:
        self.counts.update(other.counts)
        self.suppressed += other.suppressed
        self.foreign += other.foreign


@dataclass(slots=True)
class _AcceptedRow:
    """An accepted delivery with its receipt so far; `address` is empty if it was erased."""

    id: int
    key: str
    address: str
    provider_id: str
    handed: datetime
    receipt: str
    at: datetime | None
    detail: str


def open_providers(connection: Connection, since: datetime) -> dict[tuple[str, Channel], int]:
    """Count deliveries accepted since then that have no receipt, by provider and channel."""
    d = _delivery.c
    rows = connection.execute(
        select(d.provider, d.channel, func.count())
        .where(*_is_open(since), d.provider != "")
        .group_by(d.provider, d.channel)
        .order_by(d.provider, d.channel)
    )
    return {(row[0], Channel(row[1])): row[2] for row in rows}


def open_ids(connection: Connection, provider: str, channel: Channel, since: datetime) -> frozenset[str]:
    """Return the provider's ids of deliveries accepted since then that have no receipt."""
    d = _delivery.c
    rows = connection.execute(
        select(d.provider_id)
        .where(*_is_open(since), d.provider == provider, d.channel == channel, d.provider_id != "")
        .distinct()
    )
    return frozenset(rows.scalars())


def _is_open(since: datetime) -> tuple[Any, ...]:
    return (
        _delivery.c.state == State.ACCEPTED,
        _delivery.c.receipt.is_(None),
        since <= _HANDED,
        IS_FROZEN,
    )


def join_receipts(
    connection: Connection,
    secret: bytes,
    *,
    provider: str,
    channel: Channel,
    receipts: Sequence[Receipt],
    now: datetime,
) -> Joined:
    """Match receipts to their deliveries, as described in `Receipt`; return what changed.

    An address is suppressed only if something changes: a person allowed again by hand is not suppressed by
    the same receipt a second time. For an erased person only the kind is kept.
    """
    receipts = [each._replace(at=min(max(each.at, _BEGINNING), _END)) for each in receipts]
    rows = _Rows(connection, secret, provider, channel, receipts)
    joined, changed, silenced = Joined(), dict[int, _AcceptedRow](), list[Suppression]()
    for receipt in receipts:
        spoken_of = [*_spoken_of(receipt, rows)]
        joined.foreign += not spoken_of
        for row, said in spoken_of:
            was = row.receipt
            if not _weigh(row, said):
                continue
            changed[row.id] = row
            joined.counts[row.receipt] += row.receipt != was
            if receipt.suppress and row.address:
                silenced.append(Suppression(channel, row.key, _reason(receipt), provider, receipt.at))
    _keep(connection, changed.values())
    joined.suppressed = len(suppress_new(connection, secret, channel, silenced, now))
    return joined


class _Rows:
    """The deliveries that some receipts may be about, by provider id or by address."""

    def __init__(
        self,
        connection: Connection,
        secret: bytes,
        provider: str,
        channel: Channel,
        receipts: Sequence[Receipt],
    ) -> None:
        self._connection = connection
        self._ours = (
            IS_FROZEN,
            _delivery.c.state == State.ACCEPTED,
            _delivery.c.provider == provider,
            _delivery.c.channel == channel,
        )
        self._by_id: dict[str, list[_AcceptedRow]] = {}
        self._by_key: dict[str, list[_AcceptedRow]] = {}
        self._known: dict[int, _AcceptedRow] = {}
        self._find_ids([each.provider_id for each in receipts if each.provider_id and not each.key])
        self._find_keys(secret, [each for each in receipts if each.key])

    def with_id(self, provider_id: str) -> Sequence[_AcceptedRow]:
        return self._by_id.get(provider_id, ())

    def to(self, key: str) -> Sequence[_AcceptedRow]:
        """Return the deliveries to an address in the order of sending."""
        return self._by_key.get(key, ())

    def _find_ids(self, ids: Sequence[str]) -> None:
        named = _delivery.c.provider_id != ""  # the condition of the partial index
        for row in self._select(_delivery.c.provider_id.in_(ids), named) if ids else ():
            self._by_id.setdefault(row.provider_id, []).append(row)

    def _find_keys(self, secret: bytes, receipts: Sequence[Receipt]) -> None:
        if not receipts:
            return
        keys = {each.key for each in receipts}
        by_hash = {erased_key(secret, key): key for key in keys}
        earliest = min(each.at for each in receipts) - WITHIN
        names_one = any(each.provider_id for each in receipts)  # then its delivery may be of any age
        young = [] if names_one else [earliest <= _HANDED]
        for row in self._select(_delivery.c.key.in_([*keys, *by_hash]), *young):
            self._by_key.setdefault(by_hash.get(row.key, row.key), []).append(row)

    def _select(self, *where: Any) -> Iterator[_AcceptedRow]:
        """Yield rows, locked if the database locks rows; each delivery is always the same object."""
        d = _delivery.c
        found = self._connection.execute(
            select(
                *(d.id, d.key, d.address, func.coalesce(d.provider_id, ""), _HANDED),
                *(func.coalesce(d.receipt, ""), d.receipt_at, func.coalesce(d.receipt_detail, "")),
            )
            .where(*self._ours, *where)
            .order_by(_HANDED, d.id)
            .with_for_update()
        )
        for row in found:
            yield self._known.setdefault(row.id, _AcceptedRow(*row))


def _spoken_of(receipt: Receipt, rows: _Rows) -> Iterator[tuple[_AcceptedRow, Receipt]]:
    """Yield the deliveries that a receipt is about, each with the receipt for that one."""
    if receipt.provider_id:
        found = rows.to(receipt.key) if receipt.key else rows.with_id(receipt.provider_id)
        yield from ((row, receipt) for row in found if row.provider_id == receipt.provider_id)
        return
    before = [row for row in rows.to(receipt.key) if row.handed <= receipt.at + GRACE]
    if before and before[-1].handed >= receipt.at - WITHIN:
        yield before[-1], receipt
    if receipt.lasting:
        dropped = receipt._replace(kind=ReceiptKind.FAILED, detail=f"dropped: {receipt.detail}")
        # The weakest kind: it never replaces a receipt.
        yield from ((row, dropped) for row in rows.to(receipt.key)[len(before) :])


def _weigh(row: _AcceptedRow, said: Receipt) -> bool:
    """Keep the stronger of the row's receipt and this one in `row`; return whether anything changed."""
    detail = harmless(said.detail) if row.address else ""
    if not row.receipt:
        row.receipt, row.at, row.detail = said.kind.value, said.at, detail
        return True
    was, before = ReceiptKind(row.receipt), row.at or _BEGINNING
    if was is ReceiptKind.DELIVERED:
        if said.kind is not ReceiptKind.BOUNCED or said.at <= before:
            return False
        # Some servers accept an email and return it later: delivered stays, but proves no reader.
        row.at, row.detail = said.at, _bounced_later(detail, row)
        return True
    if _STRENGTH[said.kind] <= _STRENGTH[was]:
        return False
    if was is ReceiptKind.BOUNCED and before > said.at:
        row.receipt, row.detail = said.kind.value, _bounced_later(row.detail, row)
    else:
        row.receipt, row.at, row.detail = said.kind.value, said.at, detail
    return True


def _bounced_later(words: str, row: _AcceptedRow) -> str:
    return f"bounced later: {words}".removesuffix(": ") if row.address else ""


def _reason(receipt: Receipt) -> str:
    """Return why an address is suppressed: the receipt's kind, once, then its text."""
    kind = receipt.kind.value
    words = harmless(receipt.detail).removeprefix(kind).lstrip(": ")
    return f"{kind}: {words}" if words else kind


def _keep(connection: Connection, rows: Any) -> None:
    kept = [{"delivery": row.id, "kind": row.receipt, "said_at": row.at, "words": row.detail} for row in rows]
    if kept:
        connection.execute(
            update(_delivery)
            .where(_delivery.c.id == bindparam("delivery"), _delivery.c.state == State.ACCEPTED)
            .values(
                receipt=bindparam("kind"), receipt_at=bindparam("said_at"), receipt_detail=bindparam("words")
            ),
            kept,
        )


def harmless(words: str) -> str:
    """Return a provider's text on one short line, without addresses, phone numbers and long codes."""
    shown = re.sub(r"\S*(?:@|%40)\S*", "*", words[:1000])
    shown = re.sub(r"[^ -~]+", " ", shown)
    shown = re.sub(r"\+?\d[\d ()/-]{5,}\d|\w{25,}", "*", shown)
    return " ".join(shown.split())[:LONGEST_WORDS].strip()
