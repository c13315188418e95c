"""How the readers of an audience reach a person now (pure)."""

from __future__ import annotations

import re
from datetime import datetime
from typing import NamedTuple

from commcast.config.settings import Config, ContactOf
from commcast.model.hours import opens_at, parse_hours
from commcast.model.incident import View

_MERELY_REPLY = re.compile(
    r"(?:please |just |simply )*(?:reply|answer|respond|write back)(?: (?:to|by|on|with))?"
    r"(?: (?:this|the|our|an?))?(?: (?:e-?mail|mail|message))?[.!]?",
    re.IGNORECASE,
)


class OpenContact(NamedTuple):
    """How readers reach a person at one moment; "" for what they have not.

    `reply_to` may hold {id}. `phone` is "" while it is closed, `after_hours` while it is open. `hours` are as
    written; `opens_at` is aware, None while it is open.
    """

    reply_to: str = ""
    phone: str = ""
    hours: str = ""
    opens_at: datetime | None = None
    after_hours: str = ""


def contact_for(config: Config, audience: str, now: datetime) -> OpenContact:
    """Return how the readers of an audience reach a person at `now` (aware).

    [contact] is for the public: an audience with the internal view has only a table of its own, so that
    nobody of ours is told to call our own hotline.
    """
    own = config.contact.audiences.get(audience) or ContactOf.model_construct()
    is_public = config.audiences[audience].view is View.PUBLIC
    general = config.contact.model_dump(include=set(ContactOf.model_fields)) if is_public else {}
    contact = ContactOf.model_construct(**{**general, **own.model_dump(exclude_unset=True)})
    opens = opens_at(parse_hours(contact.hours), now, config.zone)
    after = contact.after_hours if opens else ""
    if contact.reply_to and _MERELY_REPLY.fullmatch(after.strip()):
        after = ""
    return OpenContact(contact.reply_to, "" if opens else contact.phone, contact.hours, opens, after)
