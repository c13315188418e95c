"""From one group's words and one reader's values to the finished message, before and after the freeze."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parseaddr
from functools import lru_cache
from typing import Any

from commcast.config import Config
from commcast.errors import Fault, TemplateError
from commcast.message import Email, Mailbox, Message, Sms, Spliced
from commcast.model import Channel
from commcast.wording.rendering import EmailContent, Renderer, SmsContent
from commcast.wording.sms import measure
from commcast.wording.templating import Wording

Content = EmailContent | SmsContent


@dataclass(frozen=True, slots=True)
class Words:
    """One reader's words. `digest` is frozen, and compared again when they are handed over.

    `spliced` tells how a mail's words came about, None where they were rendered for this reader alone.
    """

    content: Content
    digest: str
    spliced: Spliced | None = None


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a group's messages carry besides their words; frozen with them."""

    sender: str
    reply_to: str = ""
    list_unsubscribe: str = ""

    def to_json(self) -> dict[str, str]:
        return {"sender": self.sender, "reply_to": self.reply_to, "list_unsubscribe": self.list_unsubscribe}


@dataclass(frozen=True, slots=True)
class Group:
    """Readers who get the same words: one audience, time zone and locale on one channel.

    `context` is JSON only, so that a frozen group renders the same as a fresh one.
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

    def words(self, values: Mapping[str, Any], *, line: int = 0) -> Words:
        """Return the words for one reader. Raises TemplateError, naming the `line` of their list."""
        content = self._rendered(values, line)
        return Words(content, content_digest(content))

    def _rendered(self, values: Mapping[str, Any], line: int) -> Content:
        try:
            if self.channel is Channel.EMAIL:
                return self.renderer.email(self.context, values)
            return self.renderer.sms(self.context, values)
        except TemplateError as error:
            raise _for_reader(error, self.audience, line) from None


@dataclass(frozen=True, slots=True)
class DeliveryKey:
    """What makes a delivery that one and no other; its Message-ID is derived from it."""

    incident: str
    notice: str
    channel: Channel
    key: str


@lru_cache(maxsize=64)
def renderer_for(wording: str) -> Renderer:
    """Return the renderer of a wording given as JSON, compiled once a process."""
    return Renderer(Wording.from_json(wording))


def envelope_of(config: Config, channel: Channel, incident: str) -> Envelope:
    """Return the envelope that the configuration gives a channel's messages."""
    if channel is Channel.SMS:
        return Envelope(sender=config.channels.sms.sender if config.channels.sms else "")
    assert config.channels.email is not None  # noqa: S101 - an audience cannot name a channel without a table
    return Envelope(
        sender=config.channels.email.sender,
        reply_to=config.contact.reply_to.replace("{id}", incident),
        list_unsubscribe=config.send.unsubscribe,
    )


def content_digest(content: Content) -> str:
    """Return the digest of the words themselves: frozen, and checked again when they are handed over."""
    parts = (
        [content.subject, content.text, content.html] if isinstance(content, EmailContent) else [content.body]
    )
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()


def build_message(
    words: Words,
    envelope: Envelope,
    delivery: DeliveryKey,
    *,
    address: str,
    name: str,
    secret: bytes,
    now: datetime,
    valid_until: datetime | None = None,
) -> Message:
    """Return the finished message of one delivery. `secret` keys its Message-ID, `now` becomes its Date."""
    content = words.content
    if isinstance(content, SmsContent):
        return Sms(to=address, body=content.body, valid_until=valid_until, sender=envelope.sender)
    sender_name, sender = parseaddr(envelope.sender)
    own_id = _keyed(secret, delivery.incident, delivery.notice, delivery.channel, delivery.key)
    domain = sender.rpartition("@")[2]
    return Email(
        sender=Mailbox(sender, sender_name),
        to=Mailbox(address, name),
        subject=content.subject,
        text=content.text,
        html=content.html,
        message_id=f"<{own_id}@{domain}>",
        # One fixed name an incident, so that every mail of it lands in one thread (RFC 5322 3.6.4).
        references=(f"<{delivery.incident}.{_keyed(secret, delivery.incident)}@{domain}>",),
        reply_to=envelope.reply_to,
        list_unsubscribe=_unsubscribe(envelope.list_unsubscribe),
        list_id=f"<incidents.{domain}>",
        date=now,
        spliced=words.spliced,
    )


def mark_test(content: Content, audience: str) -> Words:
    """Return the same words marked as a test for an audience in every place where a reader looks first."""
    mark = f"[TEST for {audience}]"
    if isinstance(content, SmsContent):
        body = f"{mark} {content.body}"
        marked: Content = SmsContent(body, measure(body), content.replaced)
        return Words(marked, content_digest(marked))
    note = "This is a test message; nothing has happened."
    html = content.html
    if html:
        head, body, rest = _after_body_tag(html)
        html = f'{head}{body}<p style="margin:0;padding:12px;font-weight:bold">{mark} {note}</p>{rest}'
    marked = EmailContent(
        subject=f"{mark} {content.subject}", text=f"{mark} {note}\n\n{content.text}", html=html
    )
    return Words(marked, content_digest(marked))


def _after_body_tag(html: str) -> tuple[str, str, str]:
    start = html.lower().find("<body")
    end = html.find(">", start) + 1
    return (html[:start], html[start:end], html[end:]) if start >= 0 else ("", "", html)


def _keyed(secret: bytes, *parts: str) -> str:
    return hmac.new(secret, "\0".join(parts).encode(), hashlib.sha256).hexdigest()[:32]


def _unsubscribe(url: str) -> str:
    if not url:
        return ""
    if url.startswith("mailto:") and "?" not in url:
        url += "?subject=unsubscribe"
    return f"<{url}>"


def _for_reader(error: TemplateError, audience: str, line: int) -> TemplateError:
    reader = f" (for the reader in line {line} of audience {audience})" if line else ""
    return TemplateError(Fault(f.file, f.line, f.column, f"{f.what}{reader}", f.remedy) for f in error.faults)
