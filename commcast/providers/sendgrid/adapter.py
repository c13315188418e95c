"""The SendGrid adapter: many readers per request; a refused one is narrowed down to the reader at fault."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime

from commcast.config.settings import SendGridProvider
from commcast.model.incident import Channel
from commcast.model.message import NOT_BEGUN, Blame, Delivery, Outcome, OutcomeKind
from commcast.providers.http import Doubts, HttpAnswer, OverHttp, Turns, as_they_come
from commcast.providers.sendgrid.outcomes import judge, named, outcomes
from commcast.providers.sendgrid.request import Request, SendGridClient, requests

DEADLINE = 12 * 60.0  # seconds for one `send`, narrowing included: a claim's lease outlasts two
BATCHES_A_SECOND = 20  # a limit of messages per second is not used up by one burst of all of them
MOST_CLAIMED = 20_000  # deliveries in flight: databases take statements of some tens of thousands of values
_LONGEST_FIELDS = 100


class SendGridAdapter(OverHttp[SendGridClient]):
    """Email through SendGrid's Web API.

    `clock` returns the current time (aware). Raises ProviderError if there is no usable key.
    """

    channel = Channel.EMAIL
    name = "sendgrid"

    def __init__(self, provider: SendGridProvider, key: str | None, clock: Callable[[], datetime]) -> None:
        connections = min(provider.connections, MOST_CLAIMED // provider.batch)
        self.per_second = provider.per_second
        self.batch_size = provider.batch
        if self.per_second:
            self.batch_size = min(provider.batch, max(1, int(self.per_second // BATCHES_A_SECOND)))
        self.window = connections * self.batch_size
        self._provider, self._clock = provider, clock
        self._timeout = provider.timeout.total_seconds()
        self._client = SendGridClient(provider.base_url, key, self._timeout)
        self._turns, self._doubts = Turns(connections), Doubts("SendGrid")
        self._building = asyncio.Lock()

    def halt(self) -> None:
        """Begin no further request, not even in a `send` that is under way."""
        self._turns.halt()

    async def send(self, batch: Sequence[Delivery]) -> AsyncIterator[Outcome]:
        """Yield one outcome per email. After an answer that is neither yes nor no, the rest is not tried.

        Only a refused request, of which SendGrid took nothing, is sent again, in parts.
        """
        if self.batch_size > 1:
            async for outcome in self._hand_over(batch):
                yield outcome
            return
        # With one reader per request, a batch is a window of requests.
        async with aclosing(as_they_come(self._alone(item) for item in batch)) as answers:
            async for told in answers:
                for outcome in told:
                    yield outcome

    async def _alone(self, item: Delivery) -> list[Outcome]:
        return [outcome async for outcome in self._hand_over([item])]

    async def _hand_over(self, batch: Sequence[Delivery]) -> AsyncIterator[Outcome]:
        last_begin = asyncio.get_running_loop().time() + DEADLINE - self._timeout
        made, unsendable = await self._requests(batch)
        for each in unsendable:
            yield each
        course = _Course(made[::-1], self._doubts)
        while course.waiting:
            request = course.waiting.pop()
            answer = None if course.rest else await self._ask(request, course, last_begin)
            for each in course.heed(request, answer, self._clock()):
                yield each

    async def _requests(self, batch: Sequence[Delivery]) -> tuple[list[Request], list[Outcome]]:
        """Make the requests in a thread, one batch at a time: threads that compute hold up the event loop."""
        async with self._building:
            if not self._turns.is_halted:
                return await asyncio.to_thread(requests, batch, self._provider)
        return [], [Outcome(item.delivery, OutcomeKind.NOT_TAKEN, NOT_BEGUN) for item in batch]

    async def _ask(self, request: Request, course: _Course, last_begin: float) -> HttpAnswer | None:
        """Return the answer to a request; None if it is not sent, which `course.rest` explains."""
        async with self._turns as may_begin:
            if not may_begin:
                course.end(Blame.RECIPIENT, NOT_BEGUN)
            elif asyncio.get_running_loop().time() > last_begin:
                course.end(Blame.PROVIDER, "not tried in time")
            else:
                return await self._client.post_mail(request.body)
        return None


@dataclass(slots=True)
class _Course:
    """The state of one `send`. The last of `waiting` is next; `rest`, once set, is the outcome of all."""

    waiting: list[Request]
    doubts: Doubts
    rest: Outcome | None = None

    def heed(self, request: Request, answer: HttpAnswer | None, now: datetime) -> list[Outcome]:
        """Return the outcomes that an answer gives; parts of the request that are tried again wait.

        Without an answer, the request was not sent.
        """
        if answer is None:
            return self._untried(request.deliveries)
        if judge(answer).doubtful:
            return self._narrow(request, answer, now)
        found = outcomes(request.deliveries, answer, now)
        first = found[0]
        if first.kind is OutcomeKind.ACCEPTED:
            self.doubts.has_accepted = True
        elif first.kind is OutcomeKind.NOT_TAKEN:
            self.rest = first
        else:
            self.end(Blame.PROVIDER, "not tried: the answer to an earlier request was lost")
        return found

    def end(self, blame: Blame, words: str) -> None:
        """Try nothing more."""
        self.rest = Outcome(0, OutcomeKind.NOT_TAKEN, words, blame=blame)

    def _untried(self, deliveries: Iterable[int]) -> list[Outcome]:
        assert self.rest is not None  # noqa: S101 - asked only when it is set
        return [self.rest._replace(delivery=delivery) for delivery in deliveries]

    def _narrow(self, request: Request, answer: HttpAnswer, now: datetime) -> list[Outcome]:
        count = len(request.deliveries)
        found = named(answer, count)
        if found.fields:
            fields = ", ".join(found.fields)[:_LONGEST_FIELDS]
            self.end(Blame.ACCOUNT, f"SendGrid refuses the message: {fields} ({answer.status})")
            return self._untried(request.deliveries)
        if not found.readers and count > 1:
            self.waiting += [request.part(range(count // 2, count)), request.part(range(count // 2))]
            return []
        refused = found.readers or {0}
        (told,) = outcomes([0], answer, now)
        if found.beyond or not found.readers:
            told = self.doubts.weigh(told, answer.status)
        if told.blame is Blame.ACCOUNT:
            self.rest = told
            return self._untried(request.deliveries)
        if others := [index for index in range(count) if index not in refused]:
            self.waiting.append(request.part(others))
        return [told._replace(delivery=request.deliveries[index]) for index in sorted(refused)]
