"""Public words name the desk, never a person: over every status, every public audience and every channel."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from commcast.model.incident import (
    MAINTENANCE_STATUSES,
    Channel,
    Incident,
    Kind,
    Recipient,
    Status,
    View,
    Window,
)
from commcast.rendering.context import NO_OCCASION, Occasion, build_context, recipient_values
from commcast.rendering.render import Renderer
from commcast.rendering.templates import Templates, Wording, shipped_templates
from tests.support.values import AT, config_of, incident_of, update_of

CHANNELS = ("email", "sms")
CONFIG = config_of(
    people={
        "dana": {"name": "Dana Reyes", "email": "dana@acme.example", "phone": "+4915199999901"},
        "sam": {"name": "Sam Okafor", "email": "sam@acme.example", "phone": "+4915199999902"},
    },
    audiences={
        "customers": {"recipients": "c.csv", "channels": CHANNELS},
        "partners": {"recipients": "p.csv", "channels": CHANNELS},
        "support": {"recipients": "s.csv", "channels": CHANNELS, "view": "internal"},
    },
)
NAMES = ("dana", "reyes", "sam ", "okafor", "99999901", "99999902")
OCCASIONS = (
    NO_OCCASION,
    Occasion(now=AT, broken=AT - timedelta(minutes=30), unchanged_since=AT - timedelta(hours=1), step=2),
)


TEMPLATES = Templates(None, shipped_templates())


@cache
def compiled(wording: str) -> Renderer:
    return Renderer(Wording.from_json(wording))


def owned(status: Status) -> Incident:
    """Return an incident with an owner and a backup that came to this status."""
    maintenance = status in MAINTENANCE_STATUSES
    window = (
        Window(start=AT + timedelta(days=1), end=AT + timedelta(days=1, hours=2)) if maintenance else None
    )
    people: dict[str, Any] = {"owner": "dana", "backup": "sam", "window": window}
    first = Status.SCHEDULED if maintenance else Status.INVESTIGATING
    updates = (
        update_of(1, first, **people),
        update_of(
            2, status, fixed="Rolled back.", because="It was wrong.", internal="Sam is on it", **people
        ),
    )
    return incident_of(*updates, kind=Kind.MAINTENANCE if maintenance else Kind.INCIDENT)


def words(audience: str, status: Status, occasion: Occasion) -> Iterator[str]:
    """Yield all that one reader gets on every channel."""
    incident = owned(status)
    latest = incident.latest
    context = build_context(
        CONFIG,
        incident,
        latest,
        audience,
        zone=ZoneInfo("Europe/Berlin"),
        locale="",
        first=False,
        next_update_by=None if latest.is_end else AT + timedelta(hours=1),
        previous=incident.update(1),
        occasion=occasion,
    )
    reader = recipient_values(Recipient(2, email="ann@example.com", name="Ann"), CONFIG.audiences[audience])
    view = CONFIG.audiences[audience].view
    for channel in Channel:
        renderer = compiled(TEMPLATES.choose(audience, view, status, "", channel).to_json())
        if channel is Channel.SMS:
            yield renderer.sms(context, reader).body
        else:
            mail = renderer.email(context, reader)
            yield "\n".join([mail.subject, mail.text, mail.html or ""])


@pytest.mark.parametrize("occasion", OCCASIONS, ids=["plain", "held and late"])
@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("audience", [name for name, a in CONFIG.audiences.items() if a.view is View.PUBLIC])
def test_no_public_word_names_a_person(audience: str, status: Status, occasion: Occasion) -> None:
    for text in words(audience, status, occasion):
        assert not [name for name in NAMES if name in text.casefold()]


def test_inside_the_one_who_leads_is_named() -> None:
    """Without that the test above would find nothing to miss."""
    assert any("Dana Reyes" in text for text in words("support", Status.IDENTIFIED, NO_OCCASION))
