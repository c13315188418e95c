"""The connections of one adapter, and which letter goes over which."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import cast

import aiosmtplib

from commcast.adapters.smtp_dialogue import Dialogue
from commcast.adapters.smtp_letter import Batch, Letter
from commcast.adapters.smtp_opening import Opening, close, name_of, offered, words_of
from commcast.adapters.smtp_outcomes import Answer, Stage
from commcast.adapters.smtp_pipeline import Pipeline
from commcast.adapters.smtp_talk import Talk
from commcast.config_providers import SmtpProvider

_CANCEL_AGAIN = 0.05  # seconds


class Pool:
    """Spreads letters over at most `provider.connections` connections.

    A letter goes to an idle connection, else behind a body in flight; else it waits, and another connection
    is opened. The first is opened alone, and so is the next after one that failed: a door that is closed is
    knocked at once, and a wrong password is said once. Only with `per_second` each letter that waits has one.
    """

    def __init__(
        self, provider: SmtpProvider, password: str, context: ssl.SSLContext | None, deadline: float
    ) -> None:
        self._provider, self._password, self._context = provider, password, context
        self._deadline, self._timeout = deadline, provider.timeout.total_seconds()
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Letter] = deque()
        self._fresh: deque[Letter] = deque()  # only for connections that nothing went over yet
        self._talks: set[Talk] = set()
        # Sets that keep their order: who can take a letter.
        self._idle: dict[Talk, None] = {}
        self._roomy: dict[Talk, None] = {}
        self._openings: set[asyncio.Task[None]] = set()
        # A letter that has its slot waits for nobody's opening: those that waited would go all at once.
        self._is_paced = bool(provider.per_second)
        self._proved = self._halted = False
        self._open_again_at = 0.0

    # --- what the adapter asks

    def post(self, letter: Letter) -> None:
        """Take a letter in; it is answered in its time, whatever happens."""
        if self._halted:
            letter.not_begun()
            return
        self._waiting.append(letter)
        self._spread()

    def forget(self, batch: Batch) -> None:
        """Nobody waits for these letters any more: begin none of them, and end what can be ended."""
        for queue in (self._waiting, self._fresh):
            kept = [letter for letter in queue if letter.batch is not batch]
            queue.clear()
            queue.extend(kept)
        for talk in tuple(self._talks):
            talk.forget(batch)

    def halt(self) -> None:
        """Give back at once what is not begun, and take nothing more."""
        self._halted = True
        for queue in (self._fresh, self._waiting):
            while queue:
                queue.popleft().not_begun()

    async def close(self, farewell: float) -> None:
        """Leave: say QUIT where nothing is under way, wait `farewell` seconds at the most, close the rest."""
        self.halt()
        talks = tuple(self._talks)
        try:
            leaving = (talk.leave(farewell) for talk in talks)
            await asyncio.gather(self._end_openings(), *leaving, return_exceptions=True)
        finally:
            for talk in talks:
                talk.abort()

    async def _end_openings(self) -> None:
        """Cancel what is being opened until it has ended.

        Once is not enough: asyncio.wait_for of Python 3.11, in which the library waits for a reply, forgets a
        cancellation that comes together with that reply.
        """
        while self._openings:
            for opening in self._openings:
                opening.cancel()
            await asyncio.wait(self._openings, timeout=_CANCEL_AGAIN)
            self._openings = {opening for opening in self._openings if not opening.done()}

    # --- what the talks ask

    def take(self, talk: Talk) -> Letter | None:
        return self._take(self._waiting, talk) if self._waiting else None

    def again(self, letter: Letter) -> None:
        if letter.batch.is_closed:
            return
        if self._halted:
            letter.not_begun()
        else:
            self._fresh.append(letter)

    def is_free(self, talk: Talk) -> None:
        self._roomy.pop(talk, None)
        letter = self.take(talk)
        if letter is not None:
            talk.give(letter)
        else:
            self._idle[talk] = None

    def has_room(self, talk: Talk) -> None:
        self._roomy[talk] = None

    def is_gone(self, talk: Talk) -> None:
        self._talks.discard(talk)
        self._idle.pop(talk, None)
        self._roomy.pop(talk, None)
        while self._waiting and self._waiting[0].due <= self._loop.time():
            self._waiting.popleft().not_begun()
        self._spread()

    # --- within

    def _spread(self) -> None:
        """Give what waits to those who can take it, and open what is missing."""
        while self._waiting:
            takers = self._idle or self._roomy
            if not takers:
                break
            talk = next(iter(takers))
            letter = self._take(self._waiting, talk)
            if letter is not None:
                del takers[talk]
                talk.give(letter)
        self._open()

    def _take(self, queue: deque[Letter], talk: Talk) -> Letter | None:
        """Return the next letter that this talk can hand over; answer those that nobody can."""
        while queue:
            letter = queue.popleft()
            if letter.due <= self._loop.time():
                letter.not_begun()
            elif letter.needs_smtputf8 and not talk.offered.smtputf8:
                letter.answered(Answer(Stage.MAIL, "missing"))
            else:
                return letter
        return None

    def _open(self) -> None:
        opening = len(self._openings)
        wanted = len(self._waiting) + len(self._fresh) - opening
        if wanted <= 0:
            return
        free = self._provider.connections - len(self._talks) - opening
        if not (self._proved or self._is_paced):
            free = min(free, 1 - opening)
        if self._talks and not self._fresh and self._loop.time() < self._open_again_at:
            return  # the server takes no more of us: those that are open serve all
        for _ in range(min(wanted, free)):
            task = self._loop.create_task(self._run(Opening(self._provider, self._password, self._context)))
            self._openings.add(task)

    async def _run(self, opening: Opening) -> None:
        try:
            async with asyncio.timeout(self._deadline):
                client = await opening.run()
        except Exception as error:  # whatever the library makes of what a server sends: it is one answer
            self._leave_opening()
            self._failed(Answer(opening.stage, name_of(error, opening.stage), words_of(error)))
        except BaseException:
            self._leave_opening()
            raise
        else:
            self._leave_opening()
            self._opened(client)

    def _leave_opening(self) -> None:
        self._openings.discard(cast(asyncio.Task[None], asyncio.current_task()))

    def _opened(self, client: aiosmtplib.SMTP) -> None:
        if self._halted:
            close(client, cast(asyncio.WriteTransport, client.transport))
            return
        self._proved = True
        talk: Talk
        if offered(client).pipelining:
            talk = Pipeline(self, client, self._timeout)
        else:
            talk = Dialogue(self, client, self._timeout)
        self._talks.add(talk)
        letter = self._take(self._fresh, talk)
        if letter is not None:
            talk.give(letter)
        else:
            self.is_free(talk)
        self._open()

    def _failed(self, answer: Answer) -> None:
        """Tell those who needed this connection; all, where there is no other to serve them."""
        self._proved = False
        self._open_again_at = self._loop.time() + self._timeout
        for _ in range(1 if self._openings else len(self._fresh)):
            if self._fresh:
                self._fresh.popleft().answered(answer)
        while self._waiting and not self._talks and not self._openings:
            self._waiting.popleft().answered(answer)
        self._open()
