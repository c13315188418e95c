"""Makes the finished message from a group's words and a reader's values, before and after the freeze."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache, partial
from typing import Any, NamedTuple

from commcast.config.contact import contact_for
from commcast.config.settings import Config
from commcast.errors import TemplateError
from commcast.model.incident import Channel
from commcast.model.message import CalendarFile, Email, Mailbox, Message, Sms, Spliced, read_mailbox
from commcast.model.text import measure
from commcast.rendering.fields import Fields
from commcast.rendering.render import EmailContent, Renderer, SmsContent
from commcast.rendering.splice import CutMail, Shared, cut_mail
from commcast.rendering.templates import Wording

Content = EmailContent | SmsContent


class ReaderWords:
    """What one reader reads. `digest` is frozen, and compared again at delivery.

    It is the hex digest of the content or, if it starts with "s1:", of a skeleton and its spliced values.
    """

    __slots__ = ("_content", "_cut", "_spliced", "_values", "digest")

    def __init__(
        self,
        content: Content | None,
        digest: str,
        spliced: Spliced | None = None,
        cut: CutMail | None = None,
        values: tuple[str, ...] = (),
    ) -> None:
        """Keep the content, or the cut email and the values of which it is made when it is read."""
        self._content, self._spliced = content, spliced
        self._cut, self._values = cut, values
        self.digest = digest

    @property
    def content(self) -> Content:
        """What the reader reads."""
        if self._content is None:
            assert self._cut is not None and self.spliced is not None  # noqa: S101 - one of the two is there
            self._content = self._cut.content(self.spliced)
        return self._content

    @property
    def spliced(self) -> Spliced | None:
        """How an email was put together, None if it was rendered for this reader alone."""
        if self._spliced is None and self._cut is not None:
            self._spliced = self._cut.spliced(self._values)
        return self._spliced

    def are_frozen_as(self, digest: str) -> bool:
        """Return whether these words were frozen as `digest`; older versions digested the content only."""
        return digest == self.digest or (":" not in digest and digest == content_digest(self.content))


class Envelope(NamedTuple):
    """What a group's messages carry besides their content; frozen with it."""

    sender: str
    reply_to: str = ""
    list_unsubscribe: str = ""

    def to_json(self) -> dict[str, str]:
        """Return the envelope as JSON values, to be frozen."""
        return self._asdict()


@dataclass(frozen=True, slots=True)
class ReaderGroup:
    """Readers who are told the same: one audience, time zone and locale on one channel.

    `context` is JSON only, so that a frozen group renders the same as a new one. `next_update_by` is the
    promise that the message makes; without one it stays true until `stands_until`.
    """

    channel: Channel
    incident: str
    audience: str
    zone: str
    locale: str
    wording: Wording
    context: Mapping[str, Any]
    envelope: Envelope
    next_update_by: datetime | None
    renderer: Renderer
    stands_until: datetime | None = None
    calendar: CalendarFile | None = field(default=None, init=False, repr=False, compare=False)
    _shared: Shared[CutMail | ReaderWords] | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Find out from the syntax tree what can be made once for many readers."""
        if found := self.context.get("calendar"):
            object.__setattr__(self, "calendar", CalendarFile(found["name"], found["text"]))
        fields = self.renderer.fields
        if fields is not None and self.channel is Channel.SMS:
            # Look-alike characters and runs of spaces may reach across the edges of a value: no splicing.
            fields = Fields((), (*fields.bare, *fields.keys))
        if fields is not None:
            object.__setattr__(self, "_shared", Shared(fields.keys, partial(self._make, fields.bare)))

    def words(self, values: Mapping[str, Any], *, line: int = 0) -> ReaderWords:
        """Return what one reader reads. Raises TemplateError, naming the `line` of their list.

        Splicing, sharing and rendering for this reader alone all give the same.
        """
        made = self._shared.get(values) if self._shared else None
        if isinstance(made, ReaderWords):
            return made
        own = made.values_of(values) if made else None
        if made is None or own is None:
            return _alone(self.alone(values, line))
        words = ReaderWords(None, "", cut=made, values=own)
        # Which of several skeletons exist depends on earlier readers: then the content is digested.
        is_the_only_one = self.renderer.fields is not None and not self.renderer.fields.keys
        words.digest = f"s1:{made.digest(own)}" if is_the_only_one else content_digest(words.content)
        return words

    def _make(self, bare: Sequence[str], values: Mapping[str, Any]) -> CutMail | ReaderWords | None:
        """Return what readers with the same key fields share; None if nothing can be shared."""
        try:
            if self.channel is Channel.SMS:
                return _alone(self.renderer.sms(self.context, values))
            cut = cut_mail(self.renderer, self.context, values, bare)
        except TemplateError:  # reported when rendering for the reader alone, with their line
            return None
        if cut is None or cut.fields:
            return cut
        return _alone(cut.content(cut.spliced(())), cut.spliced(()))

    def alone(self, values: Mapping[str, Any], line: int = 0) -> Content:
        """Return what one reader reads, rendered for them alone. Raises TemplateError as `words` does."""
        try:
            if self.channel is Channel.EMAIL:
                return self.renderer.email(self.context, values)
            return self.renderer.sms(self.context, values)
        except TemplateError as error:
            reader = f" (for the reader in line {line} of audience {self.audience})" if line else ""
            raise TemplateError(f._replace(what=f.what + reader) for f in error.faults) from None


class DeliveryKey(NamedTuple):
    """What identifies a delivery; its Message-ID is derived from it."""

    incident: str
    notice: str
    channel: Channel
    key: str


@lru_cache(maxsize=64)
def renderer_for(wording: str) -> Renderer:
    """Return the renderer of a wording given as JSON, compiled once per process."""
    return Renderer(Wording.from_json(wording))


def envelope_of(config: Config, channel: Channel, incident: str, audience: str, now: datetime) -> Envelope:
    """Return the envelope that the configuration gives a channel's messages to an audience."""
    if channel is Channel.SMS:
        return Envelope(sender=config.channels.sms.sender if config.channels.sms else "")
    assert config.channels.email is not None  # noqa: S101 - an audience cannot name a channel without a table
    return Envelope(
        sender=config.channels.email.sender,
        reply_to=contact_for(config, audience, now).reply_to.replace("{id}", incident),
        list_unsubscribe=config.send.unsubscribe,
    )


def content_digest(content: Content) -> str:
    """Return the digest of the content itself: frozen, and checked again at delivery."""
    parts = [content.body] if isinstance(content, SmsContent) else [*content]
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()


def _alone(content: Content, spliced: Spliced | None = None) -> ReaderWords:
    return ReaderWords(content, content_digest(content), spliced)


def build_message(
    words: ReaderWords,
    envelope: Envelope,
    delivery: DeliveryKey,
    *,
    address: str,
    name: str,
    secret: bytes,
    now: datetime,
    valid_until: datetime | None = None,
    calendar: CalendarFile | None = None,
) -> Message:
    """Return the finished message of one delivery. `secret` keys its Message-ID, `now` becomes its Date."""
    content = words.content
    if isinstance(content, SmsContent):
        return Sms(to=address, body=content.body, valid_until=valid_until, sender=envelope.sender)
    email, domain = _email_of(envelope, delivery.incident, secret)
    own_id = _keyed(secret, delivery.incident, delivery.notice, delivery.channel, delivery.key)
    return email(
        to=Mailbox(address, name),
        subject=content.subject,
        text=content.text,
        html=content.html,
        message_id=f"<{own_id}@{domain}>",
        date=now,
        calendar=calendar,
        spliced=words.spliced,
    )


@lru_cache(maxsize=64)
def _email_of(envelope: Envelope, incident: str, secret: bytes) -> tuple[partial[Email], str]:
    """Return what all emails of one envelope about one incident have in common, and the sender's domain."""
    sender = read_mailbox(envelope.sender)
    domain = sender.address.rpartition("@")[2]
    email = partial(
        Email,
        sender=sender,
        # One fixed name per incident, so that all its emails land in one thread (RFC 5322 3.6.4).
        references=(f"<{incident}.{_keyed(secret, incident)}@{domain}>",),
        reply_to=envelope.reply_to,
        list_unsubscribe=_unsubscribe(envelope.list_unsubscribe),
        list_id=f"<incidents.{domain}>",
    )
    return email, domain


def mark_test(content: Content, audience: str) -> ReaderWords:
    """Return the same content, marked as a test for an audience in every place a reader looks first."""
    mark = f"[TEST for {audience}]"
    if isinstance(content, SmsContent):
        body = f"{mark} {content.body}"
        return _alone(SmsContent(body, measure(body), content.replaced))
    note = "This is a test message; nothing has happened."
    html = content.html
    if html:
        tag = re.search("<body[^>]*>", html, re.IGNORECASE)
        start = tag.end() if tag else 0
        marked = f'<p style="margin:0;padding:12px;font-weight:bold">{mark} {note}</p>'
        html = f"{html[:start]}{marked}{html[start:]}"
    return _alone(EmailContent(f"{mark} {content.subject}", f"{mark} {note}\n\n{content.text}", html))


def _keyed(secret: bytes, *parts: str) -> str:
    return hmac.digest(secret, "\0".join(parts).encode(), "sha256").hex()[:32]


def _unsubscribe(url: str) -> str:
    if not url:
        return ""
    if url.startswith("mailto:") and "?" not in url:
        url += "?subject=unsubscribe"
    return f"<{url}>"
