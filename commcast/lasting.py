"""How long a broadcast lasts at its provider's limit, and whether its last words come after their promise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from commcast.config import Config
from commcast.model import Channel
from commcast.survey import Survey


@dataclass(frozen=True, slots=True)
class Lasting:
    """One channel's messages of one release, at its provider's limit.

    `per_second` is the limit, in messages; `last_at` (aware) is when the last of `messages` is handed over
    at best; `promised` is the earliest time by which these mails say that more comes, None at an end, and for
    texts, which state none.
    """

    channel: Channel
    messages: int
    per_second: float
    length: timedelta
    last_at: datetime
    promised: datetime | None

    @property
    def outlasts_promise(self) -> bool:
        """Whether the last reader would be told of a time that has already passed."""
        return self.promised is not None and self.last_at > self.promised


def lastings(config: Config, survey: Survey, now: datetime) -> Iterator[Lasting]:
    """Yield how long each channel takes that has a limit. Channels are delivered side by side."""
    messages: Counter[Channel] = Counter()
    promises: dict[Channel, datetime] = {}
    for notice in survey.notices:
        channel = notice.notice.channel
        messages[channel] += notice.send
        for by in notice.notice.next_update_by.values():
            if by is not None and channel is Channel.EMAIL:  # texts state no time
                promises[channel] = min(by, promises.get(channel, by))
    for channel, count in messages.items():
        if (limit := config.per_second(channel)) and count:
            length = timedelta(seconds=count / limit)
            yield Lasting(channel, count, limit, length, now + length, promises.get(channel))
