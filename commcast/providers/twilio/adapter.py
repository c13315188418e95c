"""The Twilio adapter: one request per text, over kept connections."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any

from commcast.config.settings import TwilioProvider
from commcast.model.incident import Channel
from commcast.model.message import NOT_BEGUN, Blame, Delivery, Outcome, OutcomeKind, Sms
from commcast.providers.http import OverHttp, Turns, as_they_come
from commcast.providers.twilio.client import Credentials, TwilioClient, is_e164, is_service, sendable
from commcast.providers.twilio.outcomes import outcome

LONGEST_VALIDITY = 36_000  # seconds: the longest that Twilio keeps a text in its queue
LATE_VALIDITY = 3600  # seconds, for a text that is sent after its promise on purpose
_SHORT_CODE = re.compile(r"[0-9]{3,8}")


class TwilioAdapter(OverHttp[TwilioClient]):
    """Texts through Twilio's Messages API.

    `clock` returns the current time (aware). Raises ProviderError if HTTPS_PROXY cannot work.

    A messaging service, if one is set (or if the message's sender is one), picks a number for each reader; if
    the sender is a number or a short code, that one of its pool is used. A name is not sent with a service:
    for countries that accept no names, the service has a number.
    """

    channel = Channel.SMS
    name = "twilio"
    batch_size = 1

    def __init__(
        self, provider: TwilioProvider, credentials: Credentials, clock: Callable[[], datetime]
    ) -> None:
        self.per_second, self.window = provider.per_second, provider.connections
        self._provider, self._clock = provider, clock
        self._client = TwilioClient(provider.base_url, credentials, provider.timeout.total_seconds())
        self._turns = Turns(provider.connections)

    def halt(self) -> None:
        """Begin no further text; those in flight finish."""
        self._turns.halt()

    async def send(self, batch: Sequence[Delivery]) -> AsyncIterator[Outcome]:
        """Yield one outcome per text as answers come, with as many in flight as there are connections."""
        texts = [(item.delivery, item.message) for item in batch if isinstance(item.message, Sms)]
        if len(texts) < len(batch):
            raise TypeError("twilio carries texts only")
        async with aclosing(as_they_come(self._in_turn(*text) for text in texts)) as answers:
            async for answer in answers:
                yield answer

    async def _in_turn(self, delivery: int, sms: Sms) -> Outcome:
        async with self._turns as may_begin:
            if may_begin:
                return await self._hand_over(delivery, sms)
        return Outcome(delivery, OutcomeKind.NOT_TAKEN, NOT_BEGUN)

    async def _hand_over(self, delivery: int, sms: Sms) -> Outcome:
        if not is_e164(sms.to):
            return Outcome(delivery, OutcomeKind.REJECTED, "not a number with a country code")
        sender = self._sender(sms.sender)
        if not sender:
            words = "there is no sender: set messaging_service or from"
            return Outcome(delivery, OutcomeKind.NOT_TAKEN, words, blame=Blame.ACCOUNT)
        answer = await self._client.create_message(**sender, **self._fields(sms))
        return outcome(delivery, answer, self._clock())

    def _sender(self, sender: str) -> dict[str, Any]:
        service = sender if is_service(sender) else self._provider.messaging_service
        if not service:
            return {"from_": sendable(sender)} if sender else {}
        is_number = is_e164(sender) or _SHORT_CODE.fullmatch(sender)
        return {"messaging_service_sid": service, **({"from_": sender} if is_number else {})}

    def _fields(self, sms: Sms) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "to": sms.to,
            "body": sendable(sms.body),
            # Look-alikes are replaced before the preview: what was shown is what is sent.
            "smart_encoded": False,
        }
        if sms.valid_until is not None:
            left = int((sms.valid_until - self._clock()).total_seconds())
            fields["validity_period"] = min(left, LONGEST_VALIDITY) if left > 0 else LATE_VALIDITY
        if self._provider.status_callback:
            fields["status_callback"] = self._provider.status_callback
        return fields
