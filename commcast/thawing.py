"""From what was frozen back to the finished message of one claimed delivery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection

from commcast.compose import DeliveryKey, Envelope, Group, build_message, renderer_for
from commcast.errors import LedgerError
from commcast.ledger.claims import Claim
from commcast.ledger.freeze import Broadcast, Composition, read_composition
from commcast.message import Message
from commcast.model import Channel
from commcast.wording.templating import Wording


@dataclass(frozen=True, slots=True)
class FrozenWords:
    """The words of one frozen broadcast, read once each. `secret` is the ledger's."""

    broadcast: Broadcast
    secret: bytes = field(repr=False)
    _groups: dict[int, Group] = field(default_factory=dict)

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


def thawed_group(broadcast: Broadcast, frozen: Composition) -> Group:
    """Return a group as it was frozen."""
    return Group(
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
